# shellcheck shell=bash
# What the packages' tests share: a Debian that has booted with systemd of its own, a webhook in its network, and what
# an administrator does to have events delivered. To be sourced; run.sh has started all of it.

set -euo pipefail
: "${LEADER:?is set by run.sh}" "${DIR:?is set by run.sh}"
name=s3-audit-webhook
# The booted system's files.
root=/proc/$LEADER/root
url=http://127.0.0.1:8088/services/collector/raw
token='Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0'
began=$SECONDS

# Runs a command in the booted system, to its end: one that is left would keep the system from shutting down.
inside() {
    (cd / && exec nsenter -t "$LEADER" --mount --uts --ipc --net --pid --cgroup --root "$@")
}

# How many events were written, and must have arrived.
written=0

say() { printf '[%3d s] %s\n' $((SECONDS - began)) "$*"; }

fail() {
    say "FAILED: $*" >&2
    inside journalctl --no-pager -o cat -u $name -n 20 >&2 || true
    exit 1
}

await() { # seconds, what, command...
    local seconds=$1 what=$2 until=$((SECONDS + $1))
    shift 2
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "waited $seconds s in vain for $what"
        sleep 0.1
    done
}

property() { inside systemctl show -P "$1" $name; }
is_active() { [ "$(property ActiveState)" = active ]; }
# Since this package's test has begun.
logged() { inside journalctl --no-pager -o cat -u $name --after-cursor "$cursor" | grep -q "$1"; }

write_event() {
    written=$((written + 1))
    echo "{\"number\":$written}" >>"$root/var/log/audit.log"
}

has_arrived() { [ "$(wc -l <"$DIR/events")" -ge $written ]; }

# Each event that was written is there once, and in order.
check_events() {
    await 20 "event $written" has_arrived
    diff <(seq $written | sed 's/.*/{"number":&}/') "$DIR/events" || fail 'what arrived is not what was written'
}

# The first use, and one event.
configure_and_start() {
    : >"$DIR/events"
    : >"$root/var/log/audit.log"
    written=0
    echo 'S3_AUDIT_WEBHOOK_SOURCE=file:/var/log/audit.log' >>"$root/etc/$name/agent.env"
    inside systemctl enable --now --quiet $name || fail 'it does not start'
    # It has waited for this.
    inside $name enable --no-test --endpoint $url --auth-token "$token" >"$DIR/enabled"
    ! grep -q 'no agent runs' "$DIR/enabled" || fail 'enable does not see the agent'
    await 20 'the settings to be taken over' logged "enabled (.*webhook http://127.0.0.1:8088"
    write_event
    check_events
    find "$root/usr" -path "*/share/doc/$name/packaging/docs/getting-started.md" | grep -q . || fail 'the pages are not there'
    # The unit hides much of /proc, but not the host's name.
    [ -e "$root/var/lib/$name/$(inside hostname).json" ] || fail "the agent does not know this host's name"
    cp "$root/etc/$name/agent.env" "$root/etc/$name/webhook.env" "$DIR/"
}

# After an upgrade: the service has another process, its settings are the same, it goes on where it was.
check_upgraded() { # the process that ran before
    await 20 'the service' is_active
    [ "$(property MainPID)" != "$1" ] || fail 'the service was not restarted'
    inside systemctl is-enabled --quiet $name || fail 'it is not enabled any more'
    check_settings
    write_event
    check_events
}

check_settings() {
    local file
    for file in agent.env webhook.env; do
        cmp "$DIR/$file" "$root/etc/$name/$file" || fail "$file is not as it was"
    done
    [ "$(inside stat -c '%a %U %G' /etc/$name/webhook.env)" = "640 root ${group-$name}" ] ||
        fail 'somebody else may read or write the settings file'
}

check_removed() { # prefix
    ! is_active || fail 'the service still runs'
    local file
    for file in bin/$name lib/systemd/system/$name.service; do
        [ ! -e "$root$1/$file" ] || fail "$1/$file is left"
    done
    [ "$(property LoadState)" != loaded ] || fail 'systemd still knows the service'
    inside getent passwd $name >/dev/null || fail 'the user is gone'
    [ -e "$root/var/lib/$name" ] || fail 'the state is gone'
}

# Nothing is left but what the package manager and the log know.
check_purged() {
    local left
    left=$(inside find / -xdev -name "*$name*" -not -path '/root/*' -not -path '/var/lib/dpkg/*' \
        -not -path '/usr/share/dbus*' -not -path '/var/lib/rpm/*' -not -path '/sys/*' -not -path '/proc/*')
    [ -z "$left" ] || fail "left behind: $left"
}

inside systemctl is-system-running --wait >/dev/null || fail 'the system has not come up'
# Where the log stood.
cursor=$(inside journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p')
