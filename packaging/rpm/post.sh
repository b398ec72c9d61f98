# The group is there alone if the user was removed while others were in it.
getent group s3-audit-webhook >/dev/null || groupadd --system s3-audit-webhook
getent passwd s3-audit-webhook >/dev/null || useradd --system --gid s3-audit-webhook --no-create-home \
    --home-dir /var/lib/s3-audit-webhook --shell /usr/sbin/nologin s3-audit-webhook
[ ! -d /run/systemd/system ] || systemctl daemon-reload
