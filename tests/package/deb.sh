#!/usr/bin/env bash
# The deb: linted, installed, used, upgraded, removed, purged; and in between the service with all that its unit
# promises, which is the same in all packages.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

lintian --allow-root --fail-on error,warning "$DIST"/*_"$(dpkg --print-architecture)".deb || fail 'lintian has found something'
cp "$OLDER"/*.deb "$root/root/older.deb"
cp "$DIST"/*_"$(command dpkg --print-architecture)".deb "$root/root/new.deb"
dpkg() { inside env DEBIAN_FRONTEND=noninteractive dpkg "$@" >"$DIR/dpkg.log" </dev/null || fail "dpkg $*"; }

drop_in() { # lines...
    mkdir -p "$root/etc/systemd/system/$name.service.d"
    printf '%s\n' '[Service]' "$@" >"$root/etc/systemd/system/$name.service.d/test.conf"
    inside systemctl daemon-reload
    inside systemctl restart $name || fail "it does not start with $*"
}

say 'deb: installed, it waits to be told what to do'
# As 0.1 has left it when it was removed.
inside env DPKG_MAINTSCRIPT_PACKAGE=$name deb-systemd-helper mask $name.service
dpkg --install /root/older.deb
! is_active || fail 'it runs although nobody has said where events come from'
inside systemd-analyze verify --man=no $name.service || fail 'systemd finds the unit wrong'
inside systemd-analyze security --no-pager --threshold=20 $name.service >"$DIR/security.log" || fail 'it is not hardened'
rm "$DIR/security.log"
! inside systemctl start --quiet $name 2>"$DIR/start.log" || fail 'it has started without a source'
logged 'no source is set' || fail 'it does not say what is missing'
[ "$(property ActiveState) $(property NRestarts)" = 'failed 0' ] || fail 'wrong usage is tried again'

say 'deb: first use'
configure_and_start
inside systemd-run --quiet --pipe -p EnvironmentFile=/etc/$name/agent.env $name check >"$DIR/checked"
grep -q '^source *file:/var/log/audit.log (from' "$DIR/checked" || fail "check: $(<"$DIR/checked")"
user=$(inside id -u $name)
grep -q "^Uid:.$user" "$root/proc/$(property MainPID)/status" || fail 'it does not run as its own user'
await 20 'its status' eval 'property StatusText | grep -q "received 1, delivered 1"'

say 'deb: upgraded'
process=$(property MainPID)
dpkg --install /root/new.deb
check_upgraded "$process"

say 'service: reloaded'
inside systemctl reload $name || fail 'no reload'
await 10 'the reload' logged 'settings read again'

say 'service: a settings file that is a link to one for several hosts'
inside sh -c "cp /etc/$name/webhook.env /srv/shared.env && chmod 644 /srv/shared.env && ln -sf /srv/shared.env /etc/$name/webhook.env"
inside systemctl restart $name
[ "$(inside stat -c '%a %U %G' /srv/shared.env)" = '644 root root' ] || fail 'the start changes who may read what a link leads to'
write_event
check_events
inside sh -c "rm /etc/$name/webhook.env && mv /srv/shared.env /etc/$name/webhook.env"

say 'service: a log file that a group can read'
inside chown root:adm /var/log/audit.log
inside chmod 640 /var/log/audit.log
drop_in 'SupplementaryGroups=adm'
write_event
check_events

say 'service: the token from a file that only root can read'
echo 'Splunk of-root' >"$root/root/token"
chmod 600 "$root/root/token"
drop_in 'SupplementaryGroups=adm' 'LoadCredential=token:/root/token' \
    'Environment=S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE=/run/credentials/s3-audit-webhook.service/token'
write_event
check_events
[ "$(tail -n 1 "$DIR/tokens")" = 'Splunk of-root' ] || fail "the token was $(tail -n 1 "$DIR/tokens")"

say "service: as the user of an S3 server whose socket nobody else can use"
inside useradd --system --user-group ceph
inside install -d -o ceph -g ceph -m 770 /run/ceph
# shellcheck disable=SC2016 # these are Perl's
inside systemd-run --quiet --unit=ceph --uid=ceph --gid=ceph perl -MIO::Socket::UNIX -e '
    my $socket = IO::Socket::UNIX->new(Local => "/run/ceph/ops.sock", Listen => 1) or die "socket: $!";
    my $reader = $socket->accept;
    $reader->syswrite("[{\"number\":'$((written + 1))'},\n");
    sleep;'
await 10 'the socket' test -S "$root/run/ceph/ops.sock"
drop_in 'User=ceph' 'Group=ceph' 'EnvironmentFile=' 'Environment=S3_AUDIT_WEBHOOK_SOURCE=unix:/run/ceph/ops.sock'
written=$((written + 1))
check_events
group=ceph check_settings
! inside setpriv --reuid=ceph --regid=ceph --clear-groups sh -c "echo >>/etc/$name/webhook.env" 2>"$DIR/denied.log" ||
    fail "Ceph's processes can redirect the events"
rm "$DIR/denied.log"
[ "$(inside stat -c %U "/proc/$(property MainPID)/environ")" = root ] || fail 'its user may read its memory'

say 'service: what may pass by itself is tried again, and a failed service is named'
mkdir -p "$root/etc/systemd/system/$name.service.d"
printf '%s\n' '[Service]' 'RestartSec=1s' 'Environment=S3_AUDIT_WEBHOOK_STATUS_LISTEN=127.0.0.1:9108' \
    >"$root/etc/systemd/system/$name.service.d/test.conf"
inside systemctl daemon-reload
# shellcheck disable=SC2016 # this is Perl's
inside systemd-run --quiet --unit=other perl -MIO::Socket::INET -e '
    my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1:9108", Listen => 1) or die "socket: $!";
    sleep;'
# Port 9108, as the kernel has it.
await 10 'the other program' inside grep -q ':2394 ' /proc/net/tcp
! inside systemctl restart $name 2>"$DIR/start.log" || fail 'two programs have one port'
inside systemctl stop other
await 20 'a start by itself' is_active
printf '%s\n' '[Service]' 'Environment=S3_AUDIT_WEBHOOK_BATCH_BYTES=0' >"$root/etc/systemd/system/$name.service.d/test.conf"
inside systemctl daemon-reload
! inside systemctl restart $name 2>"$DIR/start.log" || fail 'it has started with wrong settings'
rm "$DIR/start.log"
[ "$(property ActiveState)" = failed ] || fail 'wrong usage is tried again'
inside $name enable --no-test | grep -q 'start it again: systemctl restart' || fail 'enable does not name the failed service'
inside systemctl stop ceph

say "service: a socket of its own, that an S3 server of its group connects to"
drop_in 'EnvironmentFile=' 'Environment=S3_AUDIT_WEBHOOK_SOURCE=unix-listen:/run/s3-audit-webhook/audit.sock'
written=$((written + 1))
# shellcheck disable=SC2016 # this is Perl's
inside setpriv --reuid=ceph --regid=ceph --groups=$name perl -MIO::Socket::UNIX -e '
    my $socket = IO::Socket::UNIX->new("/run/s3-audit-webhook/audit.sock") or die "socket: $!";
    $socket->print("{\"number\":'$written'}\n");'
check_events

say 'service: an agent that hangs is ended by the watchdog, and started again'
inside chmod 644 /var/log/audit.log
drop_in 'WatchdogSec=2s' 'RestartSec=1s'
process=$(property MainPID)
inside sh -c "kill -STOP $process"
write_event
check_events
await 10 "the watchdog's word" logged 'Watchdog timeout'
has_restarted() { [ "$(property NRestarts)" = 1 ] && is_active; }
await 10 'the restart' has_restarted
rm -r "$root/etc/systemd/system/$name.service.d"
inside systemctl daemon-reload
inside systemctl restart $name
check_settings

say 'deb: what it says of itself'
field() { dpkg-deb --field "$DIST"/*_"$(inside dpkg --print-architecture)".deb "$1"; }
[ "$(field Recommends) $(field Depends)" = 'ca-certificates passwd' ] || fail 'its dependencies'
[ -n "$(field Homepage)" ] || fail 'it has no homepage'
for page in 1/$name 5/webhook.env; do
    [ -s "$root/usr/share/man/man${page%/*}/${page#*/}.${page%/*}.gz" ] || fail "no manual page ${page#*/}"
done

say 'deb: removed'
dpkg --remove $name
check_removed /usr
check_settings

say 'deb: purged'
dpkg --purge $name
check_purged
