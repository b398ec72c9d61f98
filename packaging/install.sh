#!/bin/sh
# Installs, upgrades or removes s3-audit-webhook from the directory that this file lies in.
#
#   install.sh              installs, or upgrades and restarts the service if it runs; settings stay as they are
#   install.sh uninstall    removes it; settings, state and the service's user stay
#   install.sh purge        removes these, too
#
# PREFIX=… (/usr/local) is where it goes. With DESTDIR=… all goes below that, for packagers, and this host's users and
# services are left alone.

set -eu
name=s3-audit-webhook
here=$(cd "$(dirname "$0")" && pwd)
: "${PREFIX:=/usr/local}" "${DESTDIR:=}"
prefix=$DESTDIR$PREFIX
settings=$DESTDIR/etc/$name
case $PREFIX in
    /usr | /usr/local) units=$prefix/lib/systemd/system ;;
    *) units=$DESTDIR/etc/systemd/system ;; # systemd looks nowhere else
esac

has_systemd() {
    [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]
}

documents() {
    (cd "$here" && find share -type f)
}

install_it() {
    install -d "$prefix/bin" "$units" "$settings"
    # Beside the running one, and then in its place.
    install -m 755 "$here/bin/$name" "$prefix/bin/.$name.new"
    mv -f "$prefix/bin/.$name.new" "$prefix/bin/$name"
    documents | while read -r file; do
        install -d "$prefix/${file%/*}"
        install -m 644 "$here/$file" "$prefix/$file"
    done
    sed "s|/usr/bin/$name|$PREFIX/bin/$name|" "$here/lib/systemd/system/$name.service" >"$units/$name.service"
    chmod 644 "$units/$name.service"
    [ -e "$settings/agent.env" ] || install -m 644 "$here/etc/agent.env" "$settings/agent.env"
    [ -z "$DESTDIR" ] || return 0
    # The group is there alone if the user was removed while others were in it.
    getent group $name >/dev/null || groupadd --system $name
    getent passwd $name >/dev/null || useradd --system --gid $name --no-create-home \
        --home-dir /var/lib/$name --shell /usr/sbin/nologin $name
    if has_systemd; then
        systemctl daemon-reload
        systemctl try-restart $name
    fi
}

uninstall() {
    if has_systemd; then
        systemctl disable --now $name 2>/dev/null || true
    fi
    rm -f "$prefix/bin/$name" "$units/$name.service"
    documents | while read -r file; do
        rm -f "$prefix/$file"
    done
    rm -rf "$prefix/share/doc/$name"
    if has_systemd; then
        systemctl daemon-reload
    fi
}

purge() {
    uninstall
    rm -rf "$settings" "$DESTDIR/var/lib/$name"
    if [ -z "$DESTDIR" ] && getent passwd $name >/dev/null; then
        userdel $name
    fi
}

case ${1-install} in
    uninstall | purge) "$1" ;;
    install) install_it ;;
    *)
        echo "usage: install.sh [uninstall|purge]" >&2
        exit 2
        ;;
esac
