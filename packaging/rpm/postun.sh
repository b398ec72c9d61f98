if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    [ "$1" = 0 ] || systemctl try-restart s3-audit-webhook
fi
# cargo-generate-rpm can't name directories.
if [ "$1" = 0 ]; then
    rmdir /usr/share/doc/s3-audit-webhook /etc/s3-audit-webhook 2>/dev/null || :
fi
