#!/usr/bin/env bash
# Shows the main job end to end on this machine: a receiver that answers as Splunk's HTTP Event
# Collector does, the agent reading a followed file and a pipe, real captured events of Ceph RGW, an
# outage of the webhook, and the balance. Needs the release build; what it makes is in a directory
# that it removes.
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=${CARGO_TARGET_DIR:-target}/release
export S3_AUDIT_WEBHOOK_NO_PROXY=true
dir=$(mktemp -d)
pids=()
finish() {
    kill "${pids[@]}" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

say() { printf '\n== %s\n' "$*"; }

await() { # what, command...: waits for the command to succeed
    local what=$1
    shift
    for _ in $(seq 200); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.05
    done
    printf 'demo: waited 10 s for %s in vain; the log so far:\n' "$what" >&2
    cat "$dir/log" >&2
    exit 1
}

start_receiver() { # address
    : >"$dir/received"
    "$programs/examples/receiver" "$1" >"$dir/received" &
    receiver=$!
    pids+=("$receiver")
    await "the receiver" grep -q http "$dir/received"
}

stop_receiver() {
    kill "$receiver"
    wait "$receiver"
}

has_received() { # events
    [ "$(awk '$1 == "received" {n += $2} END {print n + 0}' "$dir/received")" -ge "$1" ]
}

say "A receiver in place of Splunk"
start_receiver 127.0.0.1:0
url=$(head -n 1 "$dir/received")
echo "listening: $url"

say "The agent reads a file that Ceph RGW appends its ops log to, and a pipe"
cat <<EOF
\$ export S3_AUDIT_WEBHOOK_AUTH_TOKEN='Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0'
\$ s3-audit-webhook run --endpoint $url --source file:ops.log --source stdin
EOF
mkfifo "$dir/pipe"
S3_AUDIT_WEBHOOK_AUTH_TOKEN='Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0' \
    "$programs/s3-audit-webhook" run --endpoint "$url" --source "file:$dir/ops.log" --source stdin \
    --report-interval 1s --backoff-max 1s --state-dir "$dir/state" <"$dir/pipe" 2>"$dir/log" &
agent=$!
pids+=("$agent")
exec 4>"$dir/pipe"
await "the agent" grep -q started "$dir/log"

say "226 events that a real RGW wrote go into the file; one of them is not even valid UTF-8"
cat tests/data/rgw-file.log >>"$dir/ops.log"
await "the events" has_received 226
tail -n +2 "$dir/received"

say "The webhook goes away; 22 MinIO events and a line of garbage come in meanwhile; it comes back"
stop_receiver
{ cat tests/data/minio.ndjson; echo "this is no event"; } >&4
await "the agent to notice" grep -q "delivery failed" "$dir/log"
address=${url#http://}
start_receiver "${address%%/*}"
await "the events" has_received 22
tail -n +2 "$dir/received"

say "SIGTERM; the agent's whole log: the garbage is accounted for, and nothing else was lost"
kill -TERM "$agent"
wait "$agent"
exec 4>&-
stop_receiver
cat "$dir/log"
grep -q 'received 249, delivered 248, dropped 1 (malformed 1), buffered 0' "$dir/log"
