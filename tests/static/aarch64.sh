#!/usr/bin/env bash
# The static program for aarch64 under qemu-user: version, a test event over TLS and by name, a file over TLS with its
# checkpoint and gzip, and standard input.
#
# usage: aarch64.sh PROGRAM

set -euo pipefail
program=$(realpath "$1")
dir=$(mktemp -d)
server=
trap 'code=$?; [ -z "$server" ] || kill "$server"; [ $code = 0 ] || cat "$dir"/*.log >&2; rm -rf "$dir"' EXIT
fail() { echo "aarch64: FAILED: $*" >&2 && exit 1; }
agent() { qemu-aarch64-static "$program" "$@"; }
cd "$dir"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem 2>openssl.log
python3 - <<'END' >port 2>server.log &
import gzip, http.server, ssl

class Webhook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with open("events", "ab") as events:
            events.write(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
END
server=$!
until [ -s port ]; do
    kill -0 "$server" || fail 'no webhook'
    sleep 0.1
done
url=https://localhost:$(<port)/

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
