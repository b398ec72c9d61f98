#!/usr/bin/env bash
# Clients of the fluent project's own, in each mode of the forward protocol: every event must arrive, and none twice. fluentd
# and Fluent Bit have no package here.
#
# @fluent-org/logger comes from npm and fluent-logger from PyPI, into directories of their own. AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

COUNT=${COUNT:-2000}
modules=$target/e2e-node
build_agent
install_python_packages fluent-logger==0.11.1
[ -d "$modules/node_modules/@fluent-org/logger" ] || {
    say "installing @fluent-org/logger"
    npm install --silent --prefix "$modules" @fluent-org/logger@1.0.10 >/dev/null
}
read -r port _ <<<"$other_ports"
clean_up() { :; }

start_webhook
start_agent "fluent:127.0.0.1:$port"
say "Message, Forward, PackedForward and CompressedPackedForward, acknowledged"
NODE_MODULES=$(realpath "$modules/node_modules") node "$e2e/fluent_clients.mjs" "$port" "$COUNT"
say "fluent-logger for Python"
"$venv/bin/python" "$e2e/fluent_clients.py" "$port" "$COUNT"
stop_agent
check_balance
python3 - "$dir/events" "$COUNT" <<'END'
import collections, json, sys

count = int(sys.argv[2])
found = collections.Counter()
with open(sys.argv[1]) as events:
    for line in events:
        event = json.loads(line)
        found[event["mode"], event["n"]] += 1
modes = ["Message", "Forward", "PackedForward", "CompressedPackedForward", "python"]
expected = {(mode, number): 1 for mode in modes for number in range(count)}
if found != expected:
    sys.exit(f"{sum(found.values())} events arrived, {len(found)} of {len(expected)}")
END
say "fluent clients: all of $((5 * COUNT)) events arrived, none twice"
