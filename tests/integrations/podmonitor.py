#!/usr/bin/env python3
"""Each PodMonitor selects the pod with the agent that is beside it, and names the scrape job as the alerts expect it.

usage: podmonitor.py ALERTS MANIFESTS...
"""

import re
import sys
from pathlib import Path

import yaml

(job,) = re.findall(r'up\{job="([^"]+)"\}', Path(sys.argv[1]).read_text(encoding="utf-8"))
for manifests in sys.argv[2:]:
    resources = list(yaml.safe_load_all(Path(manifests).read_text(encoding="utf-8")))
    (monitor,) = (found["spec"] for found in resources if found["kind"] == "PodMonitor")
    (pod,) = (found["spec"]["template"] for found in resources if found["kind"] in ("DaemonSet", "Deployment", "StatefulSet"))
    wanted, there = monitor["selector"]["matchLabels"], pod["metadata"]["labels"]
    if not wanted or not wanted.items() <= there.items():
        sys.exit(f"{manifests}: the PodMonitor selects {wanted}, and the pod has {there}")
    containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    ports = {port["name"] for container in containers for port in container.get("ports", [])}
    for endpoint in monitor["podMetricsEndpoints"]:
        if endpoint["port"] not in ports:
            sys.exit(f"{manifests}: the pod has no port {endpoint['port']}")
        if {"targetLabel": "job", "replacement": job} not in endpoint.get("relabelings", []):
            sys.exit(f"{manifests}: the job is not always {job}")
