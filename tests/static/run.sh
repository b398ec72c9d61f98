#!/usr/bin/env bash
# Runs the static binary where nothing else is: in a chroot that holds its two files of /etc alone,
# and beside a foreign glibc with NSS modules that nsswitch.conf names. Each time it has to find the
# webhook by its name, through a DNS server, and to deliver. The DNS server has port 53 of a network
# namespace. Where modules lie in wait, a control that looks names up as static programs usually do
# must crash, so that it shows if a case has lost its teeth.
#
# usage: run.sh AGENT RECEIVER       needs root; apt for the foreign glibcs, which it keeps beside AGENT

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
agent=$(realpath "$1")
receiver=$(realpath "$2")
foreign=$(dirname "$agent")/foreign
releases='bullseye trixie'
ip=127.0.0.77

skip() {
    echo "static: SKIPPED: $*"
    exit 0
}

fail() {
    echo "static: FAILED: $*" >&2
    exit 1
}

need() { # command, Debian package
    command -v "$1" >/dev/null || {
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy "$2"
    } >/dev/null 2>&1 || skip "no $1 here"
}

# Where this machine gets Debian's packages from.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/*$'
}

# Unpacks libc6 and an NSS module of a Debian release into $foreign/RELEASE. This machine's own
# packages stay as they are: apt works in a directory of its own.
fetch_glibc() { # release
    local dir=$foreign/$1 keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ ! -e "$dir/version" ] || return 0
    command -v apt-get >/dev/null && [ -e $keys ] || return 1
    local mirror
    mirror=$(mirror) || { apt-get update -qq && mirror=$(mirror); } || return 1
    rm -rf "$dir"
    mkdir -p "$dir"/{apt/lists/partial,apt/archives/partial,root}
    : >"$dir/apt/status"
    echo "deb [signed-by=$keys] $mirror $1 main" >"$dir/apt/sources.list"
    cat >"$dir/apt/conf" <<EOF
Dir::Etc::SourceList "$dir/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "$dir/apt";
Dir::State::Status "$dir/apt/status";
Dir::Cache "$dir/apt";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
EOF
    (
        cd "$dir/apt"
        export APT_CONFIG=$dir/apt/conf
        timeout 120 apt-get update -qq && timeout 120 apt-get download -qq libc6 libcap2 libnss-myhostname
    ) || return 1
    local package
    for package in "$dir"/apt/*.deb; do
        dpkg-deb -x "$package" "$dir/root"
    done
    dpkg-deb -f "$dir"/apt/libc6_*.deb Version >"$dir/version.new"
    rm -r "$dir/apt"
    mv "$dir/version.new" "$dir/version"
}

if [ -z "${IN_NAMESPACE-}" ]; then
    [ "$(id -u)" = 0 ] || skip 'needs root'
    need unshare util-linux
    need ip iproute2
    need python3 python3-minimal
    need openssl openssl
    unshare --net --pid --fork true 2>/dev/null || skip 'no network namespace is to be had here'
    for release in $releases; do
        fetch_glibc "$release" || echo "static: $release's glibc is not to be had through apt" >&2
    done
    # The first process of a PID namespace takes the others with it.
    IN_NAMESPACE=1 exec unshare --net --pid --fork --kill-child --mount-proc "$0" "$@" </dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ulimit -c 0
ip link set lo up

await() { # pattern, file
    for _ in $(seq 100); do
        if grep -q "$1" "$2" 2>/dev/null; then return; fi
        sleep 0.1
    done
    cat "$2" >&2
    fail "waited for '$1' in vain"
}

python3 "$here/dns.py" $ip >"$work/dns" 2>&1 &
"$receiver" $ip:8088 >>"$work/received" 2>&1 &
await ready "$work/dns"
await http: "$work/received"

events=$here/../data/minio.ndjson
count=$(wc -l <"$events")
expected=0

make_root() { # name
    mkdir -p "$work/$1/etc"
    cp "$agent" "$work/$1/s3-audit-webhook"
    echo 'nameserver 127.0.0.1' >"$work/$1/etc/resolv.conf"
    echo "$ip webhook.hosts" >"$work/$1/etc/hosts"
}

deliver() { # root's name, URL's scheme and host, port, more options...
    local log=$work/log status=0
    timeout 20 chroot "$work/$1" /s3-audit-webhook run --no-proxy --endpoint "$2:$3/services/collector/raw" \
        --auth-token 'Splunk 0' "${@:4}" <"$events" 2>"$log" || status=$?
    expected=$((expected + count))
    if [ $status != 0 ] || ! grep -q "delivered $count\b" "$log" || [ "$(received)" != $expected ]; then
        cat "$log" >&2
        fail "$1: exit code $status, $(received) events of $expected arrived at $2"
    fi
}

received() {
    awk '$1 == "received" { events += $2 } END { print events + 0 }' "$work/received"
}

resolve_and_deliver() { # root's name
    deliver "$1" http://webhook.hosts 8088
    deliver "$1" "http://$1.webhook.test" 8088
    grep -qx "$1.webhook.test" "$work/dns" || fail "$1: the DNS server was not asked"
}

control() { # root's name; its exit code, 128 and more if a signal killed it
    cp "$work/control" "$work/$1/control"
    (
        chroot "$work/$1" /control "control-$1.webhook.test"
        exit $?
    ) >"$work/log" 2>&1 || return $?
}

control_crashes() { # root's name
    local status=0
    control "$1" || status=$?
    [ $status -ge 128 ] || fail "$1: the control did not crash (exit code $status), so this shows nothing"
}

gcc -static -o "$work/control" "$here/control.c" 2>"$work/log" || { cat "$work/log" >&2; fail 'no control'; }

make_root bare
resolve_and_deliver bare
[ "$(cd "$work/bare" && echo * etc/*)" = 'etc s3-audit-webhook etc/hosts etc/resolv.conf' ] || fail 'not bare'
control bare || fail "bare: the control finds no name (exit code $?)"
echo 'static: in an empty chroot: ok'

make_root tls
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tls.webhook.test \
    -config <(printf '[req]\ndistinguished_name=name\n[name]\n') -addext subjectAltName=DNS:tls.webhook.test \
    -keyout "$work/key.pem" -out "$work/tls/ca.pem" 2>"$work/log" || { cat "$work/log" >&2; fail 'no certificate'; }
"$receiver" --cert "$work/tls/ca.pem" --key "$work/key.pem" $ip:8443 >>"$work/received" 2>&1 &
await https: "$work/received"
deliver tls https://tls.webhook.test 8443 --ca-file /ca.pem
env -u SSL_CERT_FILE -u SSL_CERT_DIR chroot "$work/tls" /s3-audit-webhook run --no-proxy \
    --endpoint https://tls.webhook.test:8443/ --auth-token 'Splunk 0' </dev/null 2>"$work/log" || fail "without a CA file: exit code $?"
grep -q 'using those bundled with this program' "$work/log" || { cat "$work/log" >&2; fail 'no word of bundled roots'; }
echo 'static: over TLS, in a chroot with a CA file: ok'

if command -v gdb >/dev/null; then
    mkfifo "$work/quiet"
    mkdir -p "$work/debug$(dirname "$agent")"
    ln -s "$agent.debug" "$work/debug$(dirname "$agent")/"
    "$agent" run --config /dev/null --no-proxy --endpoint http://webhook/ --auth-token none --source stdin \
        --state-dir "$work/state" <>"$work/quiet" 2>"$work/log" &
    await started "$work/log"
    # As the page on security has it. Each thread's stack ends where threads begin.
    gdb -batch -iex "set debug-file-directory $work/debug" -p $! -ex 'thread apply all bt' >"$work/stacks" 2>"$work/log" || fail 'gdb'
    kill $!
    for part in 'at src/source/stdin.rs:' 'at src/delivery/sender.rs:' 'in main ()'; do
        grep -q "$part" "$work/stacks" || { cat "$work/stacks" "$work/log" >&2; fail "no '$part' in the stacks"; }
    done
    [ "$(grep -c ' clone3* ()$' "$work/stacks")" = $(($(grep -c '^Thread ' "$work/stacks") - 1)) ] || fail 'a stack does not end'
    echo 'static: stacks with names and lines: ok'
else
    echo 'static: SKIPPED: stacks: no gdb here'
fi

make_root trap
mkdir "$work/trap/lib"
ln -s lib "$work/trap/lib64"
gcc -shared -fPIC -nostdlib -o "$work/trap/lib/libnss_trap.so.2" "$here/trap.c"
echo 'hosts: trap files dns' >"$work/trap/etc/nsswitch.conf"
control_crashes trap
resolve_and_deliver trap
echo 'static: beside an NSS module that kills who loads it: ok'

for release in $releases; do
    [ -e "$foreign/$release/version" ] || { echo "static: SKIPPED: beside $release's glibc: none to be had"; continue; }
    version=$(cat "$foreign/$release/version")
    if [ "${version%%-*}" = "$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" ]; then
        echo "static: SKIPPED: beside $release's glibc: it is this machine's own"
        continue
    fi
    cp -r "$foreign/$release/root" "$work/$release"
    make_root "$release"
    echo 'hosts: myhostname files dns' >"$work/$release/etc/nsswitch.conf"
    control_crashes "$release"
    resolve_and_deliver "$release"
    echo "static: beside glibc $version: ok"
done
