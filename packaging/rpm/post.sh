getent passwd s3-audit-webhook >/dev/null || useradd --system --user-group --no-create-home \
    --home-dir /var/lib/s3-audit-webhook --shell /usr/sbin/nologin s3-audit-webhook
[ ! -d /run/systemd/system ] || systemctl daemon-reload
