#!/usr/bin/env bash
# The Ansible role: clean for ansible-lint, and applied to a root of its own, a throw-away layer over this machine's:
# installed, run again, changed, given wrong values, disabled, removed.
#
# Where no systemd can run, a stand-in (systemctl, beside this) starts what the unit starts. DEB=… is the package to install;
# without it the test makes one that has only the program and its user. Ansible comes from PyPI. Needs root. AGENT=… is
# the agent to test.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

here=tests/integrations
venv=$target/integrations-venv

if [ -z "${IN_NAMESPACES-}" ]; then
    build_agent
    install_python_packages ansible-core==2.19.14 ansible-lint==26.10.1
    say "ansible-lint"
    (
        PATH=$(realpath "$venv")/bin:$PATH
        cd packaging/ansible
        ansible-lint --offline -q --strict --profile production
    )
    say "the collection"
    PATH=$(realpath "$venv")/bin:$PATH ansible-galaxy collection build --output-path "$dir" packaging/ansible
    tar -tzf "$dir/s3_audit-webhook-0.2.0.tar.gz" >"$dir/collection"
    grep -qx roles/s3_audit_webhook/tasks/main.yml "$dir/collection" || fail "the role is not in it"
    IN_NAMESPACES=1 unshare --mount --propagation private "$0"
    exit
fi

root=$dir/root
clean_up() {
    [ ! -s "$root/run/agent.pid" ] || kill -s KILL "$(<"$root/run/agent.pid")" 2>/dev/null
    cp "$root/var/log/agent.log" "$root/run/systemctl.log" "$dir" 2>/dev/null
    umount --recursive --lazy "$root" "$dir/layer"
}
mkdir "$root" "$dir/layer"
mount -t tmpfs layer "$dir/layer"
mkdir "$dir/layer/upper" "$dir/layer/work"
mount -t overlay root -o "lowerdir=/,upperdir=$dir/layer/upper,workdir=$dir/layer/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs run "$root/run"
# These may be on other filesystems, which the layer is not over.
for place in "$PWD" "$dir" "$(realpath "$target")"; do
    mkdir -p "$root$place"
    mount --bind "$place" "$root$place"
done
rm -rf --one-file-system "$root/etc/s3-audit-webhook" "$root/var/lib/s3-audit-webhook"
install "$here/systemctl" "$root/usr/bin/systemctl"

make_package() { # version
    local tree=$dir/package-$1
    mkdir -p "$tree/DEBIAN"
    install -D "$AGENT" "$tree/usr/bin/s3-audit-webhook"
    mkdir -p "$tree/etc/s3-audit-webhook"
    printf '%s\n' 'Package: s3-audit-webhook' "Version: $1" 'Architecture: all' 'Maintainer: test <test@example.com>' \
        'Description: the agent, for a test of the role' >"$tree/DEBIAN/control"
    printf '%s\n' '#!/bin/sh' 'id -u s3-audit-webhook >/dev/null 2>&1 || useradd --system s3-audit-webhook' >"$tree/DEBIAN/postinst"
    chmod 755 "$tree/DEBIAN/postinst"
    dpkg-deb --root-owner-group --build -Znone "$tree" "$dir/s3-audit-webhook_$1_all.deb" >"$dir/dpkg-deb.log"
    echo "$dir/s3-audit-webhook_$1_all.deb"
}
DEB=${DEB:-$(make_package 0.2.0)}

# What is given to the role, as extra variables on top.
play() { # name of the log, JSON...
    local log=$dir/$1.play.log extra=() json
    shift
    for json in "$@"; do extra+=(-e "$json"); done
    chroot "$root" env -i PATH="$(realpath "$venv")/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root LC_ALL=C.UTF-8 \
        ANSIBLE_ROLES_PATH="$PWD/packaging/ansible/roles" ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_PIPELINING=true \
        ansible-playbook -i localhost, -c local --diff "$PWD/$here/role.yml" \
        -e "s3_audit_webhook_package=$DEB s3_audit_webhook_endpoint=http://127.0.0.1:$webhook/services/collector/raw" \
        "${extra[@]}" </dev/null >"$log" 2>&1
}
recap() { sed -n 's/^localhost .*: //p' "$dir/$1.play.log" | tr -s ' '; }
told() { grep -c "^$1 s3-audit-webhook" "$root/run/systemctl.log" || true; }
arrived() { [ "$(wc -l <"$dir/events")" -ge "$1" ]; }

start_webhook

say "installs, and tries the webhook"
echo '{"n":1}' >"$root/var/log/s3.log"
play first
[ "$(chroot "$root" stat -c '%a %U %G' /etc/s3-audit-webhook/webhook.env)" = '640 root s3-audit-webhook' ] || fail "the settings' owner or mode"
await 20 "the event, and that of the test" arrived 2
grep -q s3_audit_webhook_test "$dir/events" || fail "the webhook was not tried"
! grep -q B5A79AAD "$dir/first.play.log" || fail "the token is in the output"
[ -e "$root/run/enabled" ] || fail "not enabled at boot"

say "changes nothing the second time"
play second
grep -q ' changed=0 ' <<<" $(recap second)" || fail "changed something: $(recap second)"

say "takes another webhook without a restart"
restarts=$(told restart)
# shellcheck disable=SC2016 # these are to be taken as they stand
play other '{"s3_audit_webhook_webhook_settings": {"COMPRESS": "none", "HEC_INDEX": "a\"b$c`d\\e"}}'
await 10 "the agent to notice" grep -q 'changed (.*HEC_INDEX' "$root/var/log/agent.log"
[ "$(told restart)" = "$restarts" ] || fail "the service was restarted"

say "restarts for another source"
# These, too, are to be taken as they stand.
# shellcheck disable=SC2016
other='o$t`h"er.log'
echo '{"n":2}' >"$root/var/log/$other"
play source "{\"s3_audit_webhook_sources\": [\"file:/var/log/${other//\"/\\\"}\"], \"s3_audit_webhook_agent_settings\": {\"BUFFER_BYTES\": 67108864}}"
grep -qx 'S3_AUDIT_WEBHOOK_BUFFER_BYTES="67108864"' "$root/etc/s3-audit-webhook/agent.env" || fail "a number is not as it was given"
[ "$(told restart)" -gt "$restarts" ] || fail "the service was not restarted"
await 20 "the other source's event" grep -q '"n":2' "$dir/events"

say "refuses wrong values before it writes them"
before=$(<"$root/etc/s3-audit-webhook/webhook.env")
! play wrong '{"s3_audit_webhook_webhook_settings": {"COMPRESS": "zip"}}' || fail "took a wrong value"
[ "$(<"$root/etc/s3-audit-webhook/webhook.env")" = "$before" ] || fail "wrote a wrong value"
grep -q 'fix: use none, gzip' "$dir/wrong.play.log" || fail "did not say what would be right"
! play order '{"s3_audit_webhook_webhook_settings": {"BACKOFF_MAX": "1ms"}}' || fail "took values that contradict each other"
[ "$(<"$root/etc/s3-audit-webhook/webhook.env")" = "$before" ] || fail "wrote values that contradict each other"
before=$(<"$root/etc/s3-audit-webhook/agent.env")
! play half '{"s3_audit_webhook_agent_settings": {"LISTEN_KEY": "/etc/hosts"}}' || fail "took a key without a certificate"
[ "$(<"$root/etc/s3-audit-webhook/agent.env")" = "$before" ] || fail "wrote a key without a certificate"
for setting in REJECT_FILE LISTEN_CERT LISTEN_TOKEN_FILE; do
    value=/dev/null
    [ $setting != REJECT_FILE ] || value=/run/later/rejected.json
    ! play unusable "{\"s3_audit_webhook_agent_settings\": {\"$setting\": \"$value\"}}" || fail "took an unusable $setting"
    grep -q "S3_AUDIT_WEBHOOK_$setting" "$dir/unusable.play.log" || fail "did not name $setting"
    [ "$(<"$root/etc/s3-audit-webhook/agent.env")" = "$before" ] || fail "wrote an unusable $setting"
done
! play missing '{"s3_audit_webhook_token": ""}' || fail "did without a token"
grep -q 'give s3_audit_webhook_package' "$dir/missing.play.log" || fail "did not say what is missing"

say "restarts for another user though the play fails later"
user='{"s3_audit_webhook_user": "daemon", "s3_audit_webhook_group": "daemon"}'
! play user "$user" '{"s3_audit_webhook_webhook_settings": {"COMPRESS": "zip"}}' || fail "took a wrong value"
grep -q 'fix: use none, gzip' "$dir/user.play.log" || fail "did not say what would be right"
runs_as() { grep -q "^Uid:[[:space:]]$(id -u "$1")[[:space:]]" "/proc/$(<"$root/run/agent.pid")/status"; }
runs_as daemon || fail "the service runs on as the user of before"
play righted "$user" '{"s3_audit_webhook_webhook_settings": {"HEC_SOURCE": "righted"}}'
await 10 "that user to read its settings" grep -q 'changed (.*HEC_SOURCE' "$root/var/log/agent.log"
play back

say "takes what is right before all is there"
play early '{"s3_audit_webhook_agent_settings": {"LISTEN_TOKEN_FILE": "/run/later/tokens"},
    "s3_audit_webhook_webhook_settings": {"HEADER": "X-Key: @/run/later/key"}, "s3_audit_webhook_test": false}'

say "fails if the webhook does not take the test"
! play refused "{\"s3_audit_webhook_endpoint\": \"http://127.0.0.1:1/services/collector/raw\"}" || fail "did not try"
grep -q 'connection refused' "$dir/refused.play.log" || fail "did not say why"

say "disables"
play disabled '{"s3_audit_webhook_enabled": false}'
await 10 "the agent to notice" grep -q 'webhook disabled by' "$root/var/log/agent.log"

say "removes"
play removed '{"s3_audit_webhook_state": "absent"}'
for path in /usr/bin/s3-audit-webhook /etc/s3-audit-webhook /var/lib/s3-audit-webhook /etc/systemd/system/s3-audit-webhook.service.d; do
    [ ! -e "$root$path" ] || fail "$path is still there"
done
[ ! -e "$root/run/agent.pid" ] || fail "the service was not stopped"
play again '{"s3_audit_webhook_state": "absent"}'
grep -q ' changed=0 ' <<<" $(recap again)" || fail "changed something: $(recap again)"

say "starts nothing if its first play fails"
starts=$(told '\(re\)\?start')
! play unborn '{"s3_audit_webhook_webhook_settings": {"COMPRESS": "zip"}}' || fail "took a wrong value"
[ -e "$root/usr/bin/s3-audit-webhook" ] || fail "the package is not there"
[ "$(told '\(re\)\?start')" = "$starts" ] || fail "started without its settings"

say "Ansible: all held"
