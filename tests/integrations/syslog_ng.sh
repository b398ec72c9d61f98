#!/usr/bin/env bash
# A real syslog-ng as a client of http:, over 15 s without the webhook: it delivers every event, and the agent counts every event
# once, none of them as lost, however often syslog-ng had to send it.
#
# syslog-ng comes from Debian, which needs root. AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

events=60000

build_agent
needs syslog-ng:syslog-ng-core
compgen -G '/usr/lib/syslog-ng/*/libhttp.so' >/dev/null || install_debian_packages syslog-ng-mod-http
read -r listener _ <<<"$other_ports"

start_syslog_ng() {
    cat >"$dir/syslog-ng.conf" <<END
@version: 3.38
options { threaded(yes); stats-freq(0); keep-hostname(yes); log-msg-size(65536); time-reopen(1); };
source s { file("$dir/input" follow-freq(0.2) flags(no-parse) log-iw-size(2000)); };
destination d { http(url("http://127.0.0.1:$listener/") method("POST") headers("Content-Type: application/json")
  body("\${MSG}") delimiter("\\n") batch-lines(100) batch-timeout(100) workers(4) log-fifo-size(10000)); };
log { source(s); destination(d); flags(flow-control); };
END
    start syslog-ng syslog-ng --foreground --no-caps --cfgfile "$dir/syslog-ng.conf" --persist-file "$dir/persist" \
        --pidfile "$dir/syslog-ng.pid" --control "$dir/syslog-ng.ctl"
}

arrived() { [ "$(wc -l <"$dir/events")" -ge "$1" ]; }

# Less than what syslog-ng sends in 15 s, so that it is refused.
export S3_AUDIT_WEBHOOK_BUFFER_EVENTS=2000
start_webhook
start_agent "http:127.0.0.1:$listener"
seq -f '{"n":%.0f,"padding":"0123456789012345678901234567890123456789"}' "$events" >"$dir/all"
head -n 2000 "$dir/all" >"$dir/input"
start_syslog_ng
await 60 "the first events" arrived 2000
stop webhook
tail -n +2001 "$dir/all" >>"$dir/input"
sleep 15
refused() { grep -q 'requests* refused.*(503 buffer full), last from 127.0.0.1' "$dir/agent-1.log"; }
await 30 "a refusal in the log" refused
start_webhook
await 180 "all events" arrived "$events"
stop syslog-ng
stop_agent

last=$(tail -n 1 "$dir/agent-1.log")
expected="stopped: received $events, delivered $events, dropped 0, buffered 0, requests refused "
[[ $last == *"$expected"* ]] || fail "not '$expected…': $last"
LC_ALL=C sort -u "$dir/events" | cmp - <(LC_ALL=C sort "$dir/all") || fail "what arrived is not what was sent"
[ "$(wc -l <"$dir/events")" = "$events" ] || fail "some came twice"
say "syslog-ng: $events of $events over an outage of 15 s; ${last##*, }"
