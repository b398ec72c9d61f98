#!/usr/bin/env bash
# A real nginx and a real HAProxy with what their pages say: every request becomes an event, rotation and the agent's being
# away lose none, and no signature is logged.
#
# Both come from Debian, which needs root. AGENT=… is the agent to test, CAPTURE=FILE keeps the events.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
# shellcheck source=../e2e/page.sh
. "$e2e/page.sh"

build_agent
needs curl haproxy nginx:nginx-light
read -r backend haproxy _ <<<"$other_ports"
chmod 711 "$dir"

authorization='AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE0000TEST1/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=secret0'
presigned='X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE0000TEST2%2F20261122%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=secret1'

s3_request() { curl -s --noproxy '*' -o "$dir/answer" "$@"; }

requests() { # how many rounds of three
    for _ in $(seq "$1"); do
        s3_request -H "Authorization: $authorization" -A 'quote " backslash \ tab	é' "http://127.0.0.1:$frontend/photos/k%22e%0Ay%E9.jpg"
        s3_request -T tests/data/minio.ndjson "http://127.0.0.1:$frontend/photos/put?$presigned"
        s3_request -H 'Authorization: AWS AKIAEXAMPLE0000TEST3:secret2=' -X DELETE "http://127.0.0.1:$frontend/photos/%E2%82%AC"
    done
}

arrived() { [ "$(wc -l <"$dir/events")" -ge "$1" ]; }

check() { # page, how many
    await 20 "$2 events" arrived "$2"
    ! grep -q secret "$dir/events" || fail "a signature is in the log"
    for key in AKIAEXAMPLE0000TEST1 AKIAEXAMPLE0000TEST2; do
        [ "$(grep -c "\"access_key\":\"$key\"" "$dir/events")" = $(($2 / 3)) ] || fail "access key $key is not in a third of them"
    done
    python3 tests/integrations/page_event.py "packaging/servers/$1.md" "$dir/events" "$2"
    [ -z "${CAPTURE-}" ] || head -n 6 "$dir/events" >>"$CAPTURE"
    stop_agent
    check_balance
    forget
}

nginx_base() {
    echo "pid $dir/nginx.pid; error_log $dir/nginx-error.log; events {}"
    echo "http { access_log off; client_body_temp_path $dir/body;"
    for module in proxy fastcgi uwsgi scgi; do echo "${module}_temp_path $dir/$module;"; done
}

start_webhook

say "nginx"
frontend=$s3
log=/var/log/nginx/s3-audit.log
{
    nginx_base
    block nginx nginx
    echo "server { listen 127.0.0.1:$s3; $(block nginx nginx 2 | put $log "$dir/s3-audit.log")"
    echo "location / { proxy_pass http://127.0.0.1:$backend; } }"
    echo "server { listen 127.0.0.1:$backend; location / { return 200 'from S3'; } } }"
} >"$dir/nginx.conf"
start nginx nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/nginx-error.log" -g 'daemon off;'
await 20 nginx listens "$s3"
start_agent "$(source_on nginx | put $log "$dir/s3-audit.log")"
requests 2
# As Debian's logrotate does.
mv "$dir/s3-audit.log" "$dir/s3-audit.log.1"
kill -USR1 "$(<"$dir/nginx.pid")"
requests 2
stop_agent
requests 2
start_agent "$(source_on nginx | put $log "$dir/s3-audit.log")"
check nginx 18

say "HAProxy"
# It changes its root and its user, as Debian's does.
root=$dir/haproxy-root
socket=/var/lib/haproxy/s3-audit/agent.sock
install_directory() { block haproxy sh | put /var/lib/haproxy "$root" | put s3-audit-webhook root | sh -eu; }
mkdir "$root"
install_directory
{
    echo "global"
    echo "    chroot $root"
    echo "    user haproxy"
    echo "    group haproxy"
    echo "defaults"
    echo "    mode http"
    # As in Debian: what connects and asks nothing, such as this test, is no request.
    echo "    option dontlognull"
    for what in client server connect; do echo "    timeout $what 10s"; done
    block haproxy haproxy
    echo "frontend s3"
    echo "    bind 127.0.0.1:$haproxy"
    block haproxy haproxy 2
    echo "    default_backend s3"
    echo "backend s3"
    echo "    server s3 127.0.0.1:$backend"
} >"$dir/haproxy.cfg"
haproxy -c -q -f "$dir/haproxy.cfg"
start haproxy haproxy -db -f "$dir/haproxy.cfg"
await 20 HAProxy listens "$haproxy"
frontend=$haproxy
# As the service's unit.
umask 007
start_agent "$(source_on haproxy | put $socket "$root/s3-audit/agent.sock")"
requests 2
await 20 "events" arrived 6
stop_agent
requests 2
start_agent "$(source_on haproxy | put $socket "$root/s3-audit/agent.sock")"
requests 2
check haproxy 18

say "proxies: all held"
