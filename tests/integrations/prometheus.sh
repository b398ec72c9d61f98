#!/usr/bin/env bash
# Alerts and dashboard with a real Prometheus that scrapes a real agent: the alerts' own tests, every metric that
# they name is one of the agent's, and every query of the dashboard has a result.
#
# Prometheus comes from Debian, unpacked and not installed, so that no service is started. AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

build_agent
needs curl
here=tests/integrations
bin=$target/integrations/usr/bin
read -r status prometheus input tls tls_status _ <<<"$other_ports"

unpack_prometheus() {
    mkdir -p "$bin"
    (
        cd "$dir"
        apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }
    ) >"$dir/apt-get.log" 2>&1
    dpkg-deb --fsys-tarfile "$dir"/prometheus_*.deb |
        tar -x -C "$target/integrations" ./usr/bin/prometheus ./usr/bin/promtool
}

[ -x "$bin/promtool" ] || unpack_prometheus

say "alerts: their rules, and their tests"
"$bin/promtool" check rules packaging/prometheus/alerts.yml
"$bin/promtool" test rules "$here/alerts_test.yml"
python3 "$here/alerts_are_tested.py" packaging/prometheus/alerts.yml "$here/alerts_test.yml"

say "a real Prometheus scrapes a real agent"
cat >"$dir/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$PWD/packaging/prometheus/alerts.yml]
scrape_configs:
  - job_name: s3-audit-webhook
    static_configs: [{targets: ["127.0.0.1:$status"]}]
END
start_webhook
start agent env S3_AUDIT_WEBHOOK_AUTH_TOKEN=none "$AGENT" run --config /dev/null --no-proxy --state-dir "$dir/state" \
    --endpoint "http://127.0.0.1:$webhook" --source "http:127.0.0.1:$input" --source "file:$dir/broken.log" --spool-bytes 16MiB \
    --trail --redact s3 --exclude n=2 --status-listen "127.0.0.1:$status"
start prometheus "$bin/prometheus" --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/tsdb" \
    --web.listen-address="127.0.0.1:$prometheus" --log.level=warn
await 30 "Prometheus" listens "$prometheus"
await 20 "the agent" listens "$input"

# All the time some events are delivered, some are rejected, some are broken, and some requests are refused.
feed() {
    while sleep 0.3; do
        curl -s --noproxy '*' -o "$dir/answer" --data-binary "{\"n\":1,\"time\":$(date +%s)}" "http://127.0.0.1:$input/"
        curl -s --noproxy '*' -o "$dir/answer" --data-binary '{"reject":true}' "http://127.0.0.1:$input/"
        curl -s --noproxy '*' -o "$dir/answer" --data-binary 'garbage' "http://127.0.0.1:$input/"
        echo '{broken' >>"$dir/broken.log"
    done
}
start feed feed

# What an agent has with TLS only.
openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$dir/openssl.log"
start tls openssl s_server -accept "$tls" -cert "$dir/cert.pem" -key "$dir/key.pem" -www
await 20 "openssl" listens "$tls"
echo '{"n":1}' >"$dir/one.log"
start secure env S3_AUDIT_WEBHOOK_AUTH_TOKEN=none "$AGENT" run --config /dev/null --no-proxy --state-dir "$dir/secure" \
    --endpoint "https://localhost:$tls" --ca-file "$dir/cert.pem" --source "file:$dir/one.log" --status-listen "127.0.0.1:$tls_status"
has_expiry() {
    curl -s --noproxy '*' "http://127.0.0.1:$tls_status/metrics" >"$dir/secure.metrics" && grep -q 'certificate="webhook"' "$dir/secure.metrics"
}
await 20 "the certificate's expiry" has_expiry
stop secure
stop tls

python3 "$here/queries.py" "http://127.0.0.1:$prometheus" packaging/prometheus/alerts.yml packaging/grafana/dashboard.json \
    "$dir/secure.metrics"
stop feed
stop agent
grep -q 'stopped: received' "$dir/agent.log" || fail "no balance"

say "an outage of 90 s that fills the buffer: the alerts come before the first loss"
start short env S3_AUDIT_WEBHOOK_AUTH_TOKEN=none "$AGENT" run --config /dev/null --no-proxy --state-dir "$dir/state" --buffer-events 8000 \
    --endpoint "http://127.0.0.1:$webhook" --source "http:127.0.0.1:$input" --status-listen "127.0.0.1:$status"
await 20 "the agent" listens "$input"
stop webhook
python3 "$here/outage.py" "http://127.0.0.1:$prometheus" "http://127.0.0.1:$input/"
stop short

say "Prometheus and Grafana: all held"
