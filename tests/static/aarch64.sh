#!/usr/bin/env bash
# The static program for aarch64 under qemu-user: version, a test event over TLS and by name, a file over TLS with its
# checkpoint and gzip, and standard input.
#
# usage: aarch64.sh PROGRAM RECEIVER

set -euo pipefail
program=$(realpath "$1") receiver=$(realpath "$2")
dir=$(mktemp -d)
server=
trap 'code=$?; [ -z "$server" ] || kill "$server"; [ $code = 0 ] || cat "$dir"/*.log >&2; rm -rf "$dir"' EXIT
fail() { echo "aarch64: FAILED: $*" >&2 && exit 1; }
agent() { qemu-aarch64-static "$program" "$@"; }
cd "$dir"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem 2>openssl.log
"$receiver" --cert cert.pem --key key.pem --events events >received 2>server.log &
server=$!
until [ -s received ]; do
    kill -0 "$server" || fail 'no webhook'
    sleep 0.1
done
port=$(sed -n '1s|.*:\([0-9]*\)/.*|\1|p' received)
url=https://localhost:$port/

agent --version | grep -qx "s3-audit-webhook [0-9.]*" || fail 'no version'
set -- --config /dev/null --endpoint "$url" --auth-token none --ca-file cert.pem --no-proxy
agent test "$@" >test.log 2>&1 || fail 'the test event'
grep -q '^TLS ' test.log || fail 'no TLS'
grep -q s3_audit_webhook_test events || fail 'the test event has not arrived'

await() { # events
    for _ in $(seq 300); do
        [ "$(wc -l <events)" -lt "$1" ] || return 0
        sleep 0.1
    done
    fail "$(wc -l <events) events have arrived, of $1"
}
follow() { # how many must be there then
    qemu-aarch64-static "$program" run "$@" --compress gzip --state-dir state --source file:audit.log --file-start beginning \
        2>>agent.log &
    local follower=$!
    await "$wanted"
    kill -TERM $follower
    wait $follower || fail 'it ended badly'
}
seq 1000 | sed 's/.*/{"n":&}/' >audit.log
wanted=1001 && follow "$@"
seq 1001 1500 | sed 's/.*/{"n":&}/' >>audit.log
wanted=1501 && follow "$@"
grep -v test events | diff - audit.log >differences || fail "the file's events are not there once each: $(head differences)"
echo '{"n":"stdin"}' | agent run "$@" 2>>agent.log
grep -q '"n":"stdin"' events || fail 'standard input'
echo 'aarch64: ok'
