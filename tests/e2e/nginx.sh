#!/usr/bin/env bash
# A real nginx with TLS before the webhook: versions of TLS, client certificates, wrong certificates, connections that
# it closes, bodies that it does not take, and reloads. What arrives is compared event by event.
#
# nginx and OpenSSL come from Debian, which needs root. AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

build_agent
type nginx openssl >/dev/null 2>&1 || install_debian_packages nginx-light openssl
read -r tls12 tls13 mutual expired elsewhere restless small _ <<<"$s3 $other_ports"
export S3_AUDIT_WEBHOOK_AUTH_TOKEN='Splunk end-to-end' S3_AUDIT_WEBHOOK_STATE_DIR=$dir/state
export S3_AUDIT_WEBHOOK_NO_PROXY=true S3_AUDIT_WEBHOOK_CONFIG=/dev/null
export S3_AUDIT_WEBHOOK_CA_FILE=$dir/ca.pem S3_AUDIT_WEBHOOK_BACKOFF_MAX=1s

# What openssl says is of interest only if it fails.
ssl() { openssl "$@" >>"$dir/openssl.log" 2>&1; }

certify() { # name, subject's alternative names, [expired]
    local end
    [ $# = 2 ] && end=$(date -u -d '+2 days' +%Y%m%d%H%M%SZ) || end=20210101000000Z
    ssl req -new -key "$dir/$1.key" -subj "/CN=$1" -config "$dir/ssl.conf" -out "$dir/$1.csr"
    ssl ca -batch -config "$dir/ssl.conf" -in "$dir/$1.csr" -out "$dir/$1.pem" -notext \
        -startdate 20200101000000Z -enddate "$end" -extfile <(echo "subjectAltName=$2")
}

make_certificates() {
    local name
    cat >"$dir/ssl.conf" <<END
[req]
distinguished_name = names
[names]
[ca]
default_ca = ours
[ours]
database = $dir/index
new_certs_dir = $dir
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
rand_serial = yes
policy = any
unique_subject = no
[any]
commonName = supplied
END
    : >"$dir/index"
    for name in ca strangers; do
        ssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -config "$dir/ssl.conf" \
            -addext basicConstraints=critical,CA:TRUE -keyout "$dir/$name.key" -out "$dir/$name.pem"
    done
    for name in server expired elsewhere; do
        ssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$dir/$name.key"
    done
    certify server DNS:localhost,IP:127.0.0.1
    certify expired DNS:localhost,IP:127.0.0.1 expired
    certify elsewhere DNS:elsewhere.example.com
    # A client's key in every form that OpenSSL writes.
    ssl genrsa -traditional -out "$dir/pkcs1.key" 2048
    ssl genpkey -algorithm RSA -out "$dir/pkcs8.key"
    ssl ecparam -genkey -name prime256v1 -out "$dir/sec1.key"
    ssl genpkey -algorithm ED25519 -out "$dir/ed25519.key"
    for name in pkcs1 pkcs8 sec1 ed25519; do certify "$name" "DNS:$name"; done
    ssl pkcs8 -topk8 -in "$dir/pkcs8.key" -passout pass:x -out "$dir/encrypted8.key"
    ssl rsa -traditional -in "$dir/pkcs1.key" -aes128 -passout pass:x -out "$dir/encrypted1.key"
}

server() { # port, certificate, directives...
    echo "server { listen 127.0.0.1:$1 ssl; ssl_certificate $dir/$2.pem; ssl_certificate_key $dir/$2.key;" \
        "location / { proxy_pass http://127.0.0.1:$webhook; proxy_http_version 1.1; } ${*:3} }"
}

start_nginx() {
    {
        echo "pid $dir/nginx.pid; error_log $dir/nginx-error.log; worker_processes 2;"
        echo 'events {}'
        echo 'http {'
        echo "log_format e2e '\$server_port \$ssl_protocol \$ssl_client_verify \$status \$connection';"
        echo "access_log $dir/access e2e; client_body_temp_path $dir/body; client_body_buffer_size 64k;"
        server "$tls12" server 'ssl_protocols TLSv1.2;'
        server "$tls13" server 'ssl_protocols TLSv1.3;'
        server "$mutual" server "ssl_verify_client on; ssl_client_certificate $dir/ca.pem;"
        server "$expired" expired
        server "$elsewhere" elsewhere
        server "$restless" server 'keepalive_requests 3; keepalive_timeout 1s;'
        server "$small" server 'client_max_body_size 10k; lingering_close off;'
        for module in proxy fastcgi uwsgi scgi; do echo "${module}_temp_path $dir/$module;"; done
        echo '}'
    } >"$dir/nginx.conf"
    start nginx nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/nginx-error.log" -g 'daemon off;'
    await 20 nginx listens "$small"
}

events() { # how many, from which on
    seq "${2:-1}" "$((${2:-1} + $1 - 1))" | sed 's/.*/{"number":&,"filler":"..............................................................."}/'
}

run_agent() { # port, options...: over what stands on standard input, to its end
    "$AGENT" run --endpoint "https://127.0.0.1:$1/services/collector/raw" "${@:2}" 2>"$dir/agent.log" ||
        fail "the agent ended with $?"
}

check() { # how many: they have arrived, each once and in order, and nothing was lost on the way
    diff <(events "$1") "$dir/events" >"$dir/difference.log" || fail "what arrived is not what was sent"
    grep -q "stopped: received $1, delivered $1, dropped 0, buffered 0" "$dir/agent.log" || fail "the agent's balance"
    : >"$dir/events"
}

is_silent() { ! grep -E ' (WARN|ERROR) ' "$dir/agent.log" || fail "the agent complains"; }

refused() { # port, what the agent says of it, options...
    start agent "$AGENT" run --endpoint "https://127.0.0.1:$1/" --shutdown-timeout 0 --source "file:$dir/one" "${@:3}"
    await 20 "the agent's word: $2" grep -q "ERROR .*$2" "$dir/agent.log"
    stop agent
    ! grep -q 'rejected 1 event' "$dir/agent.log" || fail "the event was given up"
    [ ! -s "$dir/events" ] || fail "something arrived"
    rm "$dir/agent.log"
}

events 1 >"$dir/one"
make_certificates
start_webhook
start_nginx

say "TLS 1.2 and TLS 1.3 alone"
for port in "$tls12" "$tls13"; do
    events 1000 | run_agent "$port" --batch-events 100
    is_silent
    check 1000
done
[ "$(cut -d ' ' -f 2 "$dir/access" | sort -u | xargs)" = 'TLSv1.2 TLSv1.3' ] || fail "other versions were spoken"

say "Client certificates: keys in every form"
for name in pkcs1 pkcs8 sec1 ed25519; do
    events 10 | run_agent "$mutual" --client-cert "$dir/$name.pem" --client-key "$dir/$name.key"
    is_silent
    check 10
done
cat "$dir/sec1.pem" "$dir/sec1.key" >"$dir/combined.pem"
chmod 600 "$dir/combined.pem"
events 10 | run_agent "$mutual" --client-cert "$dir/combined.pem"
check 10
for pair in 'pkcs8 encrypted8' 'pkcs1 encrypted1' 'pkcs1 sec1'; do
    read -r name key <<<"$pair"
    "$AGENT" run --endpoint "https://127.0.0.1:$mutual/" --client-cert "$dir/$name.pem" \
        --client-key "$dir/$key.key" </dev/null 2>"$dir/agent.log" && fail "$pair: taken for a pair" || ended=$?
    [ "$ended" = 1 ] || fail "$pair: exit code $ended" # of what may just be being renewed
    grep -q -e '--client-key: ' "$dir/agent.log" || fail "$pair: not named"
done

say "Client certificates: missing, and a stranger's"
refused "$mutual" 'No required SSL certificate was sent.*--client-cert'
refused "$mutual" 'The SSL certificate error.*--client-cert' \
    --client-cert "$dir/strangers.pem" --client-key "$dir/strangers.key"

say "Certificates of the server: expired, of another name, of an unknown CA"
refused "$expired" 'TLS: certificate expired on 2021-01-01'
refused "$elsewhere" 'TLS: certificate for another name: elsewhere.example.com'
refused "$tls13" 'TLS: certificate of an unknown CA' --ca-file "$dir/strangers.pem"

say "Connections that nginx closes after 3 requests, or when idle for a second"
slowly() { # events, one by one, with two long pauses
    events 40 | while read -r event; do
        printf '%s\n' "$event"
        case $event in *'r":10,'* | *'r":20,'*) sleep 1.1 ;; *) sleep 0.02 ;; esac
    done
}
slowly | run_agent "$restless" --batch-age 0
is_silent
check 40

say "Bodies over client_max_body_size, with the connection closed at once"
events 2000 | run_agent "$small" --batch-bytes 1MiB
grep -q ' 413 ' "$dir/access" || fail "no body was too large"
check 2000

say "nginx is reloaded during requests"
steadily() { events 400 | while read -r event; do printf '%s\n' "$event" && sleep 0.01; done; }
deliver_over_reloads() { # steadily, while nginx is reloaded five times
    (
        for _ in 1 2 3 4 5; do
            sleep 0.7
            kill -HUP "$(<"$dir/nginx.pid")"
        done
    ) &
    local reloads=$!
    steadily | run_agent "$tls13" --batch-age 0
    wait $reloads
}
deliver_over_reloads
[ "$(grep "^$tls13 " "$dir/access" | tail -n 400 | cut -d ' ' -f 5 | sort -u | wc -l)" -gt 1 ] ||
    fail "no connection was closed"
check 400

say "nginx is reloaded, and closes connections in the middle of requests: what comes twice is counted"
: >"$dir/events"
sed -i '1i worker_shutdown_timeout 20ms;' "$dir/nginx.conf"
kill -HUP "$(<"$dir/nginx.pid")"
touch "$dir/slow"
deliver_over_reloads
rm "$dir/slow"
diff <(events 400) <(sort -u -t : -k 2n "$dir/events") >"$dir/difference.log" || fail "what arrived is not what was sent"
arrived=$(wc -l <"$dir/events")
[ "$arrived" -gt 400 ] || fail "nothing came twice"
said=$(sed -n 's/.*stopped: received 400, delivered 400, dropped 0, .*redelivered \([0-9]*\).*/\1/p' "$dir/agent.log")
echo "$((arrived - 400)) events came twice; the agent counted $said"
[ "$((arrived - 400))" -le "${said:-0}" ] || fail "the agent counted $said events that may have come twice"
grep -q ' WARN .*redelivered' "$dir/agent.log" || fail "no line on what came twice"

say "nginx: all held"
