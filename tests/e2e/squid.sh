#!/usr/bin/env bash
# A real Squid on the way to the webhook: with and without a password, what it refuses, what it can't reach, NO_PROXY,
# and its restart. What arrives is compared event by event.
#
# Squid comes from Debian, which needs root. AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

build_agent
type squid openssl >/dev/null 2>&1 || install_debian_packages squid openssl
read -r open guarded closed _ <<<"$s3 $other_ports"
unset NO_PROXY no_proxy HTTP_PROXY http_proxy HTTPS_PROXY https_proxy ALL_PROXY all_proxy
export S3_AUDIT_WEBHOOK_AUTH_TOKEN='Splunk end-to-end' S3_AUDIT_WEBHOOK_STATE_DIR=$dir/state
export S3_AUDIT_WEBHOOK_CONFIG=/dev/null S3_AUDIT_WEBHOOK_BACKOFF_MAX=1s
endpoint=http://127.0.0.1:$webhook/services/collector/raw

# It gives root up, and then needs its files all the same.
start_squid() {
    cat >"$dir/squid.conf" <<END
http_port 127.0.0.1:$open name=open
http_port 127.0.0.1:$guarded name=guarded
acl guarded myportname guarded
auth_param basic program /usr/lib/squid/basic_ncsa_auth $dir/passwords
acl known proxy_auth REQUIRED
acl served port $webhook $closed
http_access deny !served
http_access deny guarded !known
http_access allow all
pid_filename $dir/squid.pid
access_log stdio:$dir/squid/access
cache_log $dir/squid/cache.log
coredump_dir $dir/squid
cache deny all
shutdown_lifetime 1 seconds
END
    start squid squid -N -f "$dir/squid.conf"
    await 30 squid listens "$guarded"
}

events() { seq "$1" | sed 's/.*/{"number":&}/'; }

run_agent() { # options...: over what stands on standard input, to its end
    "$AGENT" run --endpoint "$endpoint" "$@" 2>"$dir/agent.log" || fail "the agent ended with $?"
    ! grep -q s3cret "$dir/agent.log" || fail "the password is in the log"
}

check() { # how many: they have arrived, each once and in order, and nothing was lost on the way
    diff <(events "$1") "$dir/events" >"$dir/difference.log" || fail "what arrived is not what was sent"
    grep -q "stopped: received $1, delivered $1, dropped 0, buffered 0" "$dir/agent.log" || fail "the agent's balance"
    : >"$dir/events"
}

# Squid writes a line when a connection ends, which may be a moment later.
tunnels() { grep -c "$1.* CONNECT 127.0.0.1:$webhook" "$dir/squid/access" 2>/dev/null || true; }
await_tunnels() { # how many there have been, of all
    so_many() { [ "$(tunnels /200)" = "$1" ]; }
    await 10 "$1 tunnels" so_many "$1"
}

complains() { # level and words, URL, options...
    start agent "$AGENT" run --endpoint "$2" --shutdown-timeout 0 --source "file:$dir/one" "${@:3}"
    await 20 "the agent's word: $1" grep -q "$1" "$dir/agent.log"
    stop agent
    ! grep -q 's3cret\|wr0ng' "$dir/agent.log" || fail "the password is in the log"
    rm "$dir/agent.log"
}

events 1 >"$dir/one"
mkdir "$dir/squid"
echo "me:$(openssl passwd -apr1 s3cret)" >"$dir/passwords"
chmod 755 "$dir"
chmod 644 "$dir/passwords"
chmod 777 "$dir/squid"
start_webhook
start_squid

say "Without a password, by --proxy and by the environment"
events 1000 | run_agent --batch-events 100 --proxy "http://127.0.0.1:$open"
grep -q "through proxy 127.0.0.1:$open" "$dir/agent.log" || fail "the proxy is not named"
check 1000
await_tunnels 1
events 10 | http_proxy=127.0.0.1:$open run_agent
check 10
await_tunnels 2

say "With a password"
events 10 | run_agent --proxy "http://me:s3cret@127.0.0.1:$guarded"
check 10
await_tunnels 3

say "NO_PROXY and --no-proxy"
events 10 | http_proxy=127.0.0.1:$open NO_PROXY=example.com,127.0.0.0/8 run_agent
check 10
events 10 | http_proxy=127.0.0.1:$open run_agent --no-proxy
check 10

say "A wrong password and none, a port that it does not serve, and a webhook that it can't reach"
complains 'ERROR .*wants another user and password (407)' "$endpoint" --proxy "me:wr0ng@127.0.0.1:$guarded"
complains 'ERROR .*wants another user and password (407)' "$endpoint" --proxy "127.0.0.1:$guarded"
complains 'ERROR .*refuses to connect to 127.0.0.1:9 (403)' http://127.0.0.1:9/ --proxy "127.0.0.1:$open"
complains "WARN .*can't connect to 127.0.0.1:$closed (503)" "http://127.0.0.1:$closed/" --proxy "127.0.0.1:$open"
[ ! -s "$dir/events" ] || fail "something arrived"
await_tunnels 3

say "Squid is restarted during requests"
steadily() { events 300 | while read -r event; do printf '%s\n' "$event" && sleep 0.02; done; }
(
    sleep 1
    kill "$(<"$dir/squid.pid")"
) &
steadily | run_agent --batch-age 0 --proxy "127.0.0.1:$open" &
running_agent=$!
await 20 "squid's end" eval '! running squid'
complaint() { grep -q "proxy 127.0.0.1:$open: connection refused" "$dir/agent.log"; }
await 20 "the agent's word of it" complaint
start_squid
wait $running_agent
# The answer to what was under way has gone with Squid, so that one may have come twice.
[ "$(uniq -d "$dir/events" | wc -l)" -le 1 ] || fail "more than one event came twice"
uniq "$dir/events" >"$dir/once" && cat "$dir/once" >"$dir/events"
check 300

say "squid: all held"
