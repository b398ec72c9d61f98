# shellcheck shell=bash disable=SC2317 # it takes what await calls for unreachable
# What the end-to-end tests share: processes that end with the test, the agent, its webhook, S3 requests,
# and the comparison of what S3 answered with what arrived. To be sourced.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
e2e=tests/e2e
target=${CARGO_TARGET_DIR:-target}
AGENT=${AGENT:-$target/release/s3-audit-webhook}
venv=$target/e2e-venv
dir=$(mktemp -d)
export AWS_ACCESS_KEY_ID=AKIAENDTOEND00000001 AWS_SECRET_ACCESS_KEY=onlyForThisTestOnLoopback0000000000000001
export NO_PROXY=127.0.0.1
began=$SECONDS

say() { printf '[%3d s] %s\n' $((SECONDS - began)) "$*"; }

# Process ids by name. Only these are ever signalled.
declare -A pids

start() { # name, command...: its output goes to $dir/name.log
    local name=$1
    shift
    : >>"$dir/$name.log"
    "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}

stop() { # name, [signal]: leaves the exit code in $ended
    local pid=${pids[$1]}
    unset "pids[$1]"
    has_ended() { ! kill -0 "$pid"; }
    {
        kill -s "${2:-TERM}" "$pid"
        await 60 "the end of $1" has_ended
        wait "$pid" && ended=0 || ended=$?
    } 2>/dev/null # the shell tells of every process that it sees killed
}

running() { kill -0 "${pids[$1]}" 2>/dev/null; }

finish() {
    local code=$? name log
    trap - EXIT ERR
    set +e
    trap '' PIPE # nobody may be reading any more
    for name in "${!pids[@]}"; do
        kill -s KILL "${pids[$name]}"
        wait "${pids[$name]}"
    done 2>/dev/null
    clean_up
    if [ "$code" != 0 ]; then
        for log in "$dir"/*.log; do
            [ -e "$log" ] || continue
            printf -- '---- %s\n' "${log##*/}"
            tail -n 30 "$log" | cut -c 1-300
        done
        say "FAILED${why:+: $why}"
    fi
    rm -rf --one-file-system "$dir"
    exit "$code"
}
clean_up() { :; } # for what a test leaves elsewhere
trap finish EXIT
trap 'exit 130' INT TERM

# Why a test failed is its last line, below the logs, for who sees only the end. The command that failed if nothing
# was said; the shell goes through the lines of the callers too, the first of them tells.
why=
set -E
trap ': "${why:="${BASH_SOURCE[0]}:$LINENO: $BASH_COMMAND"}"' ERR

fail() {
    why=$*
    say "$*" >&2
    exit 1
}

await() { # seconds, what, command...: until the command succeeds
    local seconds=$1 what=$2 until=$((SECONDS + $1))
    shift 2
    until "$@"; do
        if [ $SECONDS -ge $until ]; then
            fail "waited $seconds s in vain for $what"
        fi
        sleep 0.1
    done
}

install_debian_packages() { # package...
    { [ "$(id -u)" = 0 ] && type apt-get >/dev/null 2>&1; } ||
        fail "this needs from Debian: $*. Install that, or run this as root where apt-get is"
    say "installing $*"
    {
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
    } >"$dir/apt-get.log" 2>&1
}

needs() { # command[:Debian's package]...
    local one missing=()
    for one in "$@"; do
        type "${one%:*}" >/dev/null 2>&1 || missing+=("${one#*:}")
    done
    [ ${#missing[@]} = 0 ] || install_debian_packages "${missing[@]}"
}

# Debian has Python without what makes a venv, or has none.
python3 -c 'import ensurepip' 2>/dev/null || install_debian_packages python3-venv

# Ports that nobody has, from below those that outgoing connections get.
free_ports() {
    python3 - <<'END'
import random, socket
taken = []
while len(taken) < 10:
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", random.randrange(10000, 30000)))
        taken.append(one)
    except OSError:
        pass
print(*(one.getsockname()[1] for one in taken))
END
}
# shellcheck disable=SC2034 # each test takes its own from the others
read -r webhook s3 other_ports <<<"$(free_ports)"

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

install_python_packages() { # name==version...
    # One that could not be finished has Python, but no pip.
    [ -x "$venv/bin/pip" ] || python3 -m venv --clear "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check "$@"
}

build_agent() {
    [ -x "$AGENT" ] || cargo build --release --locked
    [ -x "$AGENT" ] || fail "no agent at $AGENT"
}

start_webhook() { # more options of it
    cargo build --locked --quiet --example receiver
    start webhook "$target/debug/examples/receiver" --events "$dir/events" "$@" "127.0.0.1:$webhook"
    await 20 "the webhook" listens "$webhook"
}

# Each run of the agent has a log of its own, whose last line is its balance.
agent_runs=0

start_agent() { # source
    local log=agent-$((++agent_runs))
    start "$log" env S3_AUDIT_WEBHOOK_AUTH_TOKEN='Splunk end-to-end' "$AGENT" run --no-proxy \
        --endpoint "http://127.0.0.1:$webhook" --source "$1" --backoff-max 1s --state-dir "$dir/state"
    await 20 "the agent's start" grep -q started: "$dir/$log.log"
}

stop_agent() {
    stop "agent-$agent_runs"
    [ "$ended" = 0 ] || fail "the agent ended with $ended"
    say "agent $(tail -n 1 "$dir/agent-$agent_runs.log" | sed 's/.*stopped:/stopped:/')"
}

restart_agent() { # source
    stop_agent
    start_agent "$1"
}

# $dir/answers has the requests of one part of a test, and $dir/events what arrived in it.

traffic=("$venv/bin/python" "$e2e/traffic.py" "http://127.0.0.1:$s3" "$dir/answers")

start_traffic() { start traffic "${traffic[@]}"; }

stop_traffic() {
    stop traffic
    [ "$ended" = 0 ] || fail "the requests ended with $ended"
}

answers() { { grep '"id"' "$dir/answers" 2>/dev/null || true; } | wc -l; }

await_answers() { # how many
    local so_many=$(($(answers) + $1))
    at_least() { [ "$(answers)" -ge "$so_many" ] || ! running traffic; }
    await 60 "$1 more answers" at_least
    running traffic || fail "the traffic ended early"
}

compare() { "$venv/bin/python" "$e2e/compare.py" "$dir/answers" "$dir/events" "$@"; }

# All has arrived, or nothing more has for 10 s.
await_the_rest() { # options of compare
    local count=0 before quiet=0
    until compare "$@" >/dev/null || [ $quiet = 20 ]; do
        sleep 0.5
        before=$count count=$(wc -l <"$dir/events")
        quiet=$((count > before ? 0 : quiet + 1))
    done
}

# The agents' balances, all together, are what the webhook has, and nothing was dropped.
check_balance() {
    local arrived delivered
    arrived=$(wc -l <"$dir/events")
    delivered=$(cat "$dir"/agent-*.log |
        sed -n 's/.*stopped: received \([0-9]*\), delivered \1, dropped 0, buffered 0$/\1/p' |
        awk '{ sum += $1 } END { print sum + 0, "events in", NR, "runs" }')
    [ "$delivered" = "$arrived events in $agent_runs runs" ] ||
        fail "$arrived events arrived; without loss, the agent delivered $delivered of $agent_runs"
}

# The next part of a test begins with nothing. The webhook goes on appending to its file.
forget() {
    rm -f "$dir/answers" "$dir"/agent-*.log
    : >"$dir/events"
    agent_runs=0
}
