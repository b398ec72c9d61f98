#!/usr/bin/env bash
# A real Ceph RADOS Gateway with real S3 requests, its ops log socket through the agent to a webhook: every record
# must arrive, and none twice.
#
# RGW answers a request before it writes the record, and keeps records in memory while nobody reads them. If it ends
# during requests, also by SIGTERM, it may take to its grave the record of the last request of each client. What
# RGW has written is not lost, even if it is killed.
#
# Ceph comes from Debian, which needs root; boto3 from PyPI, into a directory of its own. AGENT=… is the agent to
# test, RESTARTS=… how often to restart it and RGW in each part.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=page.sh
. "$e2e/page.sh"

RESTARTS=${RESTARTS:-3}
build_agent
if ! type ceph ceph-mon ceph-osd radosgw >/dev/null 2>&1; then
    install_debian_packages ceph-common ceph-mon ceph-osd radosgw
fi
install_python_packages boto3==1.44.5
read -r mon _ <<<"$other_ports"
# RGW and the agent are told what the page says.
socket=/var/run/ceph/rgw-ops.sock
file=/var/log/ceph/rgw-ops.log
socket_source=$(source_on ceph-rgw | put $socket "$dir/ops.sock")
file_source=$(block ceph-rgw ini 3 | put S3_AUDIT_WEBHOOK_SOURCE= '' | put $file "$dir/ops.log")
fsid=11111111-2222-4333-8444-555555555555
export CEPH_CONF=$dir/ceph.conf

start_ceph() { # a monitor, and one disk in memory
    cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon host = v1:127.0.0.1:$mon
ms bind msgr2 = false
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
keyring = $dir/keyring
run dir = $dir
admin socket =
log file =
log to stderr = false
crash dir = $dir
osd pool default size = 1
osd pool default pg num = 8
mon allow pool size one = true
mon data = $dir/mon
osd data = $dir/osd
osd objectstore = memstore
osd crush update on start = false
osd class update on start = false
osd crush chooseleaf type = 0
[client.rgw]
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$s3
END
    mkdir "$dir/mon" "$dir/osd" "$dir/rgw"
    : >"$dir/keyring"
    {
        monmaptool --create --fsid $fsid --addv a "[v1:127.0.0.1:$mon]" "$dir/monmap"
        ceph-mon --mkfs -i a --monmap "$dir/monmap"
    } >>"$dir/mkfs.log" 2>&1
    start mon ceph-mon -f -i a
    await 60 "the monitor" ceph_says 'quorum' mon stat
    local uuid=99999999-0000-4000-8000-000000000001
    {
        ceph osd new $uuid 0
        # An OSD that does this itself, as it starts, at times finds the monitor not ready and ends.
        ceph osd crush add-bucket node host
        ceph osd crush move node root=default
        ceph osd crush add osd.0 1 host=node
        ceph-osd -i 0 --mkfs --osd-uuid $uuid
    } >>"$dir/mkfs.log" 2>&1
    start osd ceph-osd -f -i 0
    await 60 "the disk" ceph_says '1 up' osd stat
}

ceph_says() { # what, command...
    timeout 5 ceph --connect-timeout 3 "${@:2}" 2>>"$dir/ceph.log" | grep -q "$1"
}

set_up() { # the page's commands; a busy monitor refuses some at times: "problem getting command descriptions"
    await 60 "RGW's settings" sh -euc "$1" 2>>"$dir/ceph.log"
}

start_rgw() {
    start rgw radosgw -f -n client.rgw
    await 90 "radosgw" listens "$s3"
}

await_record_of_last_answer() {
    local id
    id=$(sed -n 's/.*"id": "\([^"]*\)".*/\1/p' "$dir/answers" | tail -n 1)
    await 10 "the record of $id" grep -q "$id" "$dir/events"
}

# RGW answers before it writes the record, and may keep that until it writes the next one: requests that come one by
# one push it out, but for the last one's at times.
pushed_out() {
    "${traffic[@]}" --rounds 1 --threads 1
    await_record_of_last_answer
}
push_out_records() { await 60 "the records that RGW keeps" pushed_out; }

end_part() { # [--last-may-be-missing]
    push_out_records
    await_the_rest trans_id
    compare trans_id "$@"
    stop_agent
    check_balance
    forget
}

start_ceph
set_up "$(block ceph-rgw sh | put $socket "$dir/ops.sock")"
start_rgw
radosgw-admin -n client.rgw user create --uid e2e --display-name e2e \
    --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" >/dev/null 2>>"$dir/mkfs.log"
start_webhook

say "requests of many kinds"
start_agent "$socket_source"
"${traffic[@]}" --rounds 6
end_part

say "the agent is restarted during requests"
start_agent "$socket_source"
start_traffic
for _ in $(seq "$RESTARTS"); do
    await_answers 100
    restart_agent "$socket_source"
done
await_answers 100
stop_traffic
end_part

say "the agent is down for a while; RGW keeps the records"
start_agent "$socket_source"
start_traffic
await_answers 100
stop_agent
await_answers 300
start_agent "$socket_source"
await_answers 100
stop_traffic
end_part

for how in TERM KILL; do
    say "RGW is ended by SIG$how between requests, and comes back"
    start_agent "$socket_source"
    for _ in $(seq "$RESTARTS"); do
        start_traffic
        await_answers 50
        stop_traffic
        push_out_records
        stop rgw "$how"
        start_rgw
    done
    end_part

    say "RGW is ended by SIG$how during requests, and comes back"
    start_agent "$socket_source"
    start_traffic
    for _ in $(seq "$RESTARTS"); do
        await_answers 100
        await_record_of_last_answer
        stop rgw "$how"
        start_rgw
    done
    await_answers 100
    stop_traffic
    end_part --last-may-be-missing
done

say "the file: it is rotated, and the agent is down for a while"
ceph config rm client.rgw rgw_ops_log_socket_path 2>>"$dir/ceph.log"
set_up "$(block ceph-rgw sh 2 | put $file "$dir/ops.log")"
stop rgw
start_rgw
start_agent "$file_source"
start_traffic
await_answers 100
# As logrotate does.
mv "$dir/ops.log" "$dir/ops.log.1"
kill -HUP "${pids[rgw]}"
await_answers 100
stop_agent
await_answers 300
start_agent "$file_source"
await_answers 100
stop_traffic
end_part

say "Ceph RGW: all held"
