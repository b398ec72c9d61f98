# $1 is how many versions will be there afterwards. The user, the settings and the state stay.
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl disable --now s3-audit-webhook || :
fi
