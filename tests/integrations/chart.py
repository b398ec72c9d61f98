#!/usr/bin/env python3
"""The Helm chart, by Helm's own code: linted, refused without a token, and rendered for each of its modes. What it makes is
what the kustomize bases are, so that what is tried with those holds for it.

usage: chart.py CHART OUT DAEMONSET DEPLOYMENT SIDECAR     OUT gets what was rendered; the others are what kustomize has built
"""

import sys
from pathlib import Path

import helm_python
import yaml

chart, out = sys.argv[1], Path(sys.argv[2])
built = {mode: list(yaml.safe_load_all(Path(path).read_text(encoding="utf-8")))
         for mode, path in zip(("daemonset", "deployment", "sidecar"), sys.argv[3:])}
GIVEN = {
    "token": "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0",
    "image": {"repository": "registry.example.com/s3-audit-webhook"},
}


def fail(what):
    sys.exit(f"chart: {what}")


def render(values, name="s3-audit-webhook"):
    merged = GIVEN | values
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(values=merged, name=name, namespace="rook-ceph")
    notes = "".join(text for path, text in files.items() if path.endswith("NOTES.txt"))
    text = "\n---\n".join(text for path, text in files.items() if path.endswith(".yaml"))
    return [found for found in yaml.safe_load_all(text) if found], notes


def pod(manifests):
    (workload,) = [found for found in manifests if found["kind"] in ("DaemonSet", "Deployment", "StatefulSet")]
    return workload["spec"]["template"]["spec"]


report = helm_python.lint(chart, values=GIVEN)
if problems := [message for message in report["messages"] if message.get("severity", "").lower() not in ("", "info", "unknown")]:
    fail(f"lint: {problems}")

for mode in ("daemonset", "deployment"):
    manifests, _ = render({"mode": mode})
    (out / f"helm.{mode}.yaml").write_text(yaml.safe_dump_all(manifests), encoding="utf-8")
    if pod(manifests) != pod(built[mode]):
        fail(f"{mode}: another pod than kustomize's:\n{yaml.safe_dump(pod(manifests))}\n{yaml.safe_dump(pod(built[mode]))}")
    kinds = sorted(found["kind"] for found in manifests)
    expected = sorted(found["kind"] for found in built[mode] if found["metadata"]["name"] != "s3-audit-webhook-clients")
    if kinds != expected:
        fail(f"{mode}: {kinds}, and kustomize has {expected}")

manifests, notes = render({"mode": "sidecar"})
if sorted(found["kind"] for found in manifests) != ["ConfigMap", "Secret"]:
    fail("sidecar: more than settings")
snippet = yaml.safe_load(notes.split("\n\n", 1)[1])["spec"]
server = pod(built["sidecar"])
if snippet["initContainers"] != server["initContainers"]:
    fail(f"sidecar: another container than kustomize's: {snippet['initContainers']}")
if any(volume not in server["volumes"] for volume in snippet["volumes"]):
    fail(f"sidecar: other volumes than kustomize's: {snippet['volumes']}")

# Of a sidecar, the pod is the server's.
monitored = {"enabled": True}
for mode, server_labels in (("daemonset", {}), ("deployment", {}), ("sidecar", {"matchLabels": {"app.kubernetes.io/name": "minio"}})):
    manifests, _ = render({"mode": mode, "podMonitor": monitored | server_labels})
    if mode == "sidecar":
        manifests += [found for found in built[mode] if found["kind"] == "StatefulSet"]
    (out / f"helm.monitored.{mode}.yaml").write_text(yaml.safe_dump_all(manifests), encoding="utf-8")

# Two releases in one namespace select pods of their own.
selectors = [next(found for found in render({}, name=name)[0] if found["kind"] == "DaemonSet")["spec"]["selector"] for name in "ab"]
if selectors[0] == selectors[1]:
    fail(f"two releases select the same pods: {selectors}")

openshift, _ = render({"openshift": True, "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}, name="other")
by_kind = {found["kind"]: found for found in openshift}
if pod(openshift)["containers"][0]["securityContext"]["seLinuxOptions"] != {"type": "spc_t"}:
    fail("openshift: no SELinux type")
if by_kind["RoleBinding"]["subjects"][0]["name"] != by_kind["ServiceAccount"]["metadata"]["name"] != "other":
    fail("openshift: the binding is for another account")
if by_kind["PodMonitor"]["metadata"]["labels"] != {"release": "prometheus"}:
    fail("podMonitor: its labels")
settings, _ = render({"settings": {"COMPRESS": "gzip"}, "env": {"BUFFER_BYTES": "32MiB"}, "existingSecret": "mine"})
by_kind = {found["kind"]: found for found in settings}
if "Secret" in by_kind or 'S3_AUDIT_WEBHOOK_COMPRESS="gzip"\n' not in by_kind["ConfigMap"]["data"]["webhook.env"]:
    fail("settings, or a secret though there is one")
if {"name": "S3_AUDIT_WEBHOOK_BUFFER_BYTES", "value": "32MiB"} not in pod(settings)["containers"][0]["env"]:
    fail("env")
# What users give: numbers, which Helm makes floats of, lists, and what YAML or the settings file gives a meaning.
given, _ = render({
    "endpoint": "https://a/x https://b/y?z=#1",
    "settings": {"BATCH_BYTES": 2000000, "HEC_INDEX": "it's a $\"`\\", "REJECT_AFTER": 5},
    "env": {"BUFFER_BYTES": 67108864, "TRAIL": True},
    "daemonset": {"source": ["file:/var/log/ceph/a #1.log", "http:127.0.0.1:9080"], "nodeSelector": {"rgw": "yes"},
                  "tolerations": [{"key": "storage", "operator": "Exists"}], "priorityClassName": ""},
    "image": GIVEN["image"] | {"pullSecrets": [{"name": "registry"}]},
})
lines = next(found for found in given if found["kind"] == "ConfigMap")["data"]["webhook.env"].splitlines()
for line in ('ENDPOINT="https://a/x https://b/y?z=#1"', 'BATCH_BYTES="2000000"', 'REJECT_AFTER="5"',
             r'''HEC_INDEX="it's a \$\"\`\\"'''):
    if f"S3_AUDIT_WEBHOOK_{line}" not in lines:
        fail(f"no {line} in {lines}")
env = {found["name"].removeprefix("S3_AUDIT_WEBHOOK_"): found.get("value") for found in pod(given)["containers"][0]["env"]}
if (env["SOURCE"], env["BUFFER_BYTES"], env["TRAIL"]) != ("file:/var/log/ceph/a #1.log,http:127.0.0.1:9080", "67108864", "true"):
    fail(f"env: {env}")
placed = pod(given)
if (placed["nodeSelector"]["rgw"], placed["tolerations"][0]["key"], placed["imagePullSecrets"]) != (
        "yes", "storage", [{"name": "registry"}]) or "priorityClassName" in placed:
    fail(f"placed: {placed}")
given, _ = render({"mode": "deployment", "deployment": {"spoolBytes": 3221225472, "storage": 4294967296, "nodeSelector": {"disk": "ssd"},
                                                         "storageClassName": "fast", "tlsSecret": "mine"}})
(out / "helm.given.yaml").write_text(yaml.safe_dump_all(given), encoding="utf-8")
claim = next(found for found in given if found["kind"] == "PersistentVolumeClaim")["spec"]
if (claim["resources"]["requests"]["storage"], claim["storageClassName"]) != ("4294967296", "fast"):
    fail(f"claim: {claim}")
if {"name": "S3_AUDIT_WEBHOOK_SPOOL_BYTES", "value": "3221225472"} not in pod(given)["containers"][0]["env"]:
    fail("spoolBytes")
if pod(given)["nodeSelector"] != {"disk": "ssd"}:
    fail("deployment: nodeSelector")
for wrong, what in (({"token": ""}, "give token"), ({"mode": "pod"}, "mode must be"), ({"endpoint": ""}, "give endpoint"),
                    ({"mode": "sidecar", "podMonitor": monitored}, "give podMonitor.matchLabels")):
    try:
        render(wrong)
    except helm_python.HelmError as error:
        if what not in str(error):
            fail(f"{wrong}: {error}")
    else:
        fail(f"{wrong}: rendered")
