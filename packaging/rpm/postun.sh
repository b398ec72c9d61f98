if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    [ "$1" = 0 ] || systemctl try-restart s3-audit-webhook
fi
# cargo-generate-rpm can't name directories.
if [ "$1" = 0 ]; then
    rm -rf /usr/share/doc/s3-audit-webhook
    rmdir /etc/s3-audit-webhook 2>/dev/null || :
fi
