#!/usr/bin/env bash
# The pages of servers that push their events and can't be had here (MinIO, RustFS, Versity): an agent with the page's source, and
# a client that does what such a server would with the page's settings, according to its source. In a network of its own, since
# the pages' addresses are meant as they stand there.
#
# Needs root. AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
# shellcheck source=../e2e/page.sh
. "$e2e/page.sh"

if [ -z "${IN_NAMESPACES-}" ]; then
    build_agent
    needs curl ip:iproute2
    IN_NAMESPACES=1 unshare --net "$0"
    exit
fi
ip link set lo up
start_webhook

setting() { # page, name: what the server's settings on the page say
    block "$1" ini | sed -n "s/^$2=//p" | grep .
}

request() { # curl's arguments: it must be answered 200
    local status
    status=$(curl -s -o "$dir/answer" -w '%{http_code}' "$@")
    [ "$status" = 200 ] || fail "answered $status: $*"
}

# Event by event, as each is one request.
post_each() { # file, curl's arguments
    local event
    while read -r event; do request "${@:2}" --data-binary "$event"; done <"$1"
}

as_minio() {
    local endpoint
    endpoint=$(setting minio MINIO_AUDIT_WEBHOOK_ENDPOINT)
    [ "$(setting minio MINIO_AUDIT_WEBHOOK_ENABLE)" = on ] || fail "not enabled"
    # A batch has a line each, and no Content-Type.
    request -H 'Content-Type:' --data-binary @tests/data/minio.ndjson "$endpoint"
}

as_rustfs() {
    local endpoint
    endpoint=$(setting rustfs RUSTFS_AUDIT_WEBHOOK_ENDPOINT)
    [ "$(setting rustfs RUSTFS_OUTBOUND_ALLOW_ORIGINS)/" = "$endpoint" ] || fail "RustFS would not connect to $endpoint"
    request --head "$endpoint"
    post_each tests/data/rustfs.ndjson -H 'Content-Type: application/json' "$endpoint"
}

as_versity() {
    local endpoint
    endpoint=$(setting versity VGW_LOG_WEBHOOK_URL)
    # Empty, as Go's client sends it: with a length.
    request --data '' "$endpoint"
    post_each tests/data/versitygw.ndjson -H 'Content-Type: application/json; charset=utf-8' "$endpoint"
}

arrived() { [ "$(wc -l <"$dir/events")" -ge "$1" ]; }

for server in minio rustfs versity; do
    say "as $server"
    data=(tests/data/"$server"*.ndjson)
    start_agent "$(source_on "$server")"
    "as_$server"
    await 20 "the events" arrived "$(wc -l <"${data[0]}")"
    diff "${data[0]}" "$dir/events" >"$dir/difference.log" || fail "what arrived is not what was posted"
    stop_agent
    check_balance
    forget
done

say "servers that push: all held"
