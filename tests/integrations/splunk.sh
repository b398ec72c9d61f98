#!/usr/bin/env bash
# Splunk's files against events of every server, and the commands of Splunk's page as they stand there, against the receiver
# that answers as Splunk's collector does. No Splunk is needed, and none is tried.
#
# AGENT=… is the agent to test.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
# shellcheck source=../e2e/page.sh
. "$e2e/page.sh"

build_agent

say "files"
python3 tests/integrations/splunk_props.py "$AGENT"

say "the page's commands"
needs curl openssl
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=splunk -addext subjectAltName=IP:127.0.0.1 \
    -addext basicConstraints=critical,CA:FALSE -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>>"$dir/openssl.log"
start_webhook --cert "$dir/ca.pem" --key "$dir/ca.key" --token 'Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0'
mkdir "$dir/bin" "$dir/state"
ln -s "$(realpath "$AGENT")" "$dir/bin/s3-audit-webhook"
export PATH=$dir/bin:$PATH S3_AUDIT_WEBHOOK_CONFIG=$dir/webhook.env S3_AUDIT_WEBHOOK_STATE_DIR=$dir/state

page() { # n: what the nth block prints
    {
        echo 'set -eu; shopt -s expand_aliases'
        block ../splunk/README sh "$1" | put https://splunk:8088 "https://127.0.0.1:$webhook"
    } >"$dir/page.sh"
    sed -i "s|/etc/ssl/splunk-ca.pem|$dir/ca.pem|" "$dir/page.sh"
    bash "$dir/page.sh" 2>>"$dir/page.log"
}

[ "$(page 1)" = '{"text":"Success","code":0}' ] || fail "curl: $(page 1)"
page 2 >"$dir/page-2.log"
grep -q '^delivered' "$dir/page-2.log" || fail "test did not deliver"
grep -q 'Splunk B5A7…BFB0' "$dir/page-2.log" || fail "show does not show the token"
rm "$dir/webhook.env"
# The guide's command has no --ca-file: its Splunk has a certificate that the host trusts.
SSL_CERT_FILE=$dir/ca.pem page 3 >"$dir/page-3.log"
# Of the quotes and backslashes that the guide has around it nothing is left; these quotes are the file's.
grep -qx 'S3_AUDIT_WEBHOOK_AUTH_TOKEN="Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0"' "$dir/webhook.env" ||
    fail "the guide's token was not taken"

say "Splunk: all held"
