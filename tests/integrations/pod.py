#!/usr/bin/env python3
"""Does for a test what kubelet does with the manifest of a pod that has the agent in it.

usage: pod.py files MANIFEST FOLDER            lays out ConfigMaps and Secrets in FOLDER/VOLUME, or updates them
       pod.py start MANIFEST                   how to start the agent, as variables of a shell
       pod.py environment MANIFEST CONTAINER NAME
"""

import os
import shlex
import sys
import time

import yaml

AGENT = "s3-audit-webhook:0.2.0"

what, manifest = sys.argv[1:3]
with open(manifest, encoding="utf-8") as file:
    resources = list(yaml.safe_load_all(file))
(workload,) = (resource for resource in resources if resource["kind"] in ("DaemonSet", "Deployment", "StatefulSet"))
pod = workload["spec"]["template"]["spec"]
containers = pod.get("initContainers", []) + pod["containers"]
(agent,) = (container for container in containers if container["image"].endswith(AGENT))
group = pod.get("securityContext", {}).get("fsGroup")


def data(kind, name):
    (found,) = (one for one in resources if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found.get("data") or found["stringData"]


def write_files(folder):
    """As kubelet: a new directory each time, and one symbolic link that is put to it at once."""
    for volume in pod["volumes"]:
        if secret := volume.get("secret"):
            names = {one["metadata"]["name"] for one in resources if one["kind"] == "Secret"}
            if secret["secretName"] not in names:
                continue
            volume = volume | {"projected": {
                "defaultMode": secret["defaultMode"],
                "sources": [{"secret": {"name": secret["secretName"]}}],
            }}
        if "projected" not in volume:
            continue
        top = os.path.join(folder, volume["name"])
        version = f"..{time.time_ns()}"
        os.makedirs(os.path.join(top, version))
        mode = volume["projected"]["defaultMode"]
        for source in volume["projected"]["sources"]:
            ((kind, reference),) = source.items()
            kind = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
            for name, text in data(kind, reference["name"]).items():
                path = os.path.join(top, version, name)
                with open(path, "x", encoding="utf-8") as file:
                    file.write(text)
                os.chmod(path, mode)
                os.chown(path, 0, group or 0)
                if not os.path.lexists(os.path.join(top, name)):
                    os.symlink(os.path.join("..data", name), os.path.join(top, name))
        os.symlink(version, os.path.join(top, "..data_tmp"))
        os.rename(os.path.join(top, "..data_tmp"), os.path.join(top, "..data"))


def variables(container):
    for variable in container["env"]:
        if "value" in variable:
            yield variable["name"], variable["value"]
        else:
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
            yield variable["name"], "node-1"


def probes():
    ports = {port["name"]: port["containerPort"] for port in agent["ports"]}
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        probe = agent.get(kind, {})
        if "httpGet" in probe:
            yield f"http {ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
        if "tcpSocket" in probe:
            yield f"tcp {ports[probe['tcpSocket']['port']]}"


def array(name, words):
    print(f"{name}=({' '.join(map(shlex.quote, words))})")


def start():
    context = agent["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    user = context["runAsUser"]
    assert not context.get("runAsNonRoot") or user != 0
    added = [f"+{name.lower()}" for name in context["capabilities"].get("add", [])]
    assert context["capabilities"]["drop"] == ["ALL"]
    # The test's own chroot needs one more.
    bounding = ",".join(["-all", "+sys_chroot", *added])
    groups = f"--groups={group}" if group else "--clear-groups"
    main_group = context.get("runAsGroup", 0)
    array(
        "credentials",
        [f"--reuid={user}", f"--regid={main_group}", groups, f"--bounding-set={bounding}"]
        + ["--inh-caps=-all,+sys_chroot", "--ambient-caps=-all,+sys_chroot"],
    )
    array("command", agent["command"] + agent.get("args", []))
    array("environment", [f"{name}={value}" for name, value in variables(agent)])
    mounts = ((mount["name"], mount["mountPath"], "ro" if mount.get("readOnly") else "rw") for mount in agent["volumeMounts"])
    print(f"mounts={shlex.quote(chr(10).join(map(' '.join, mounts)))}")
    print(f"probes={shlex.quote(chr(10).join(probes()))}")
    print(f"hostname={shlex.quote(pod.get('hostname', 'minio-0'))}")


if what == "files":
    write_files(sys.argv[3])
elif what == "start":
    start()
else:
    (container,) = (container for container in containers if container["name"] == sys.argv[3])
    print(dict(variables(container))[sys.argv[4]])
