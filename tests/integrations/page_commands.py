#!/usr/bin/env python3
"""Runs every command on the pages, but those that a comment marks as `not run`, with the reason, and compares what the pages
say that they print with what they do print.

usage: page_commands.py AGENT         as root: it runs in namespaces and overlays of its own, so that nothing of this host changes
       page_commands.py gateway PATH  writes events to whoever connects there, as Ceph RGW does

RECEIVER=… is the program that answers as Splunk's collector does.

There, https://splunk:8088 answers as Splunk's collector does. `…` in a command stands for nothing. A `run` that has no end gets
SIGTERM once it has started. Blocks of options are tried by tests/recipes.rs, those of rules by tests/rules.rs.
"""

import atexit
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "packaging"]
# What the first line of an indented block begins with, if it is a command.
COMMAND = re.compile(r"\$ |s3-audit-webhook |\(umask|(make|cargo|systemctl|systemd-run|journalctl|openssl|curl|jq|echo|mkdir|gzip|tail|kubectl|helm|"
                     r"ansible-playbook|apt|dpkg|rpm|dnf|tar|docker|podman|splunk|sudo|cp|git|install) ")
TOKEN = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0"


def blocks(page):
    """Line, language and text of each block of code, and the comment before it."""
    lines = page.read_text(encoding="utf-8").splitlines()
    place = 0
    comment = ""
    while place < len(lines):
        line = lines[place]
        fence = re.match(r"( *)```(\w*)$", line)
        start = place
        if fence:
            place = next(end for end in range(place + 1, len(lines)) if lines[end].strip() == "```")
            yield start + 1, fence[2], [text.removeprefix(fence[1]) for text in lines[start + 1 : place]], comment
            comment = ""
        elif line.startswith("    ") and not lines[place - 1].strip():
            while place + 1 < len(lines) and (lines[place + 1].startswith("    ") or not lines[place + 1].strip()):
                place += 1
            yield start + 1, "", [text[4:] for text in lines[start : place + 1]], comment
            comment = ""
        elif line.startswith("<!--"):
            comment = line
        elif line.strip():
            comment = ""
        place += 1


def commands(language, lines):
    """The commands of a block, without what they print."""
    is_command = COMMAND.match(lines[0]) or shutil.which(lines[0].split()[0])
    if language not in ("", "sh", "console") or language == "" and not is_command:
        return None
    if not any(line.startswith("$ ") for line in lines):
        return "\n".join(lines)
    taken = []
    for line in lines:
        if line.startswith("$ ") or taken and taken[-1].endswith("\\"):
            taken.append(line.removeprefix("$ "))
    return "\n".join(taken)


def serve(address, name=None):
    """A collector, with the certificate `name` if it speaks TLS, until the end."""
    identity = ["--cert", f"/etc/ssl/{name}.pem", "--key", f"/etc/ssl/{name}.key"] if name else []
    process = subprocess.Popen([os.environ["RECEIVER"], "--token", TOKEN, *identity, address], stdout=subprocess.PIPE)
    process.stdout.readline()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    atexit.register(process.terminate)


def gateway(path):
    """Writes an event every 10 ms, to one client after the other."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        client, _ = listener.accept()
        try:
            while True:
                client.sendall(b'{"bucket":"photos"},\n')
                time.sleep(0.01)
        except OSError:
            pass


def prepare(root):
    """What the pages take for granted on a host: names, users, files, and a collector that its CA vouches for."""
    for directory in ("etc", "var", "opt", "usr", "run"):
        upper, work = root / "upper" / directory, root / "work" / directory
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        layers = f"lowerdir=/{directory},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, f"/{directory}"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ("/etc/s3-audit-webhook", "/var/log/s3", "/var/lib/haproxy", "/opt/splunk/etc/auth"):
        pathlib.Path(name).mkdir(parents=True, exist_ok=True)
    with open("/etc/hosts", "a", encoding="utf-8") as hosts:
        hosts.write("127.0.0.2 splunk\n")
    with open("/etc/passwd", "a", encoding="utf-8") as users, open("/etc/group", "a", encoding="utf-8") as groups:
        for place, name in enumerate(("s3-audit-webhook", "haproxy"), 64001):
            users.write(f"{name}:x:{place}:{place}::/:/bin/false\n")
            groups.write(f"{name}:x:{place}:\n")
    make = """openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=CA' -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=splunk -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:splunk\nbasicConstraints=CA:FALSE\n' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile server.ext -out server.pem
        cat ca.pem >>/etc/ssl/certs/ca-certificates.crt
        cp ca.pem /etc/ssl/splunk-ca.pem; cp server.pem /opt/splunk/etc/auth/; cp server.pem server.key /etc/ssl/
        openssl req -x509 -newkey rsa:2048 -nodes -subj '/C=US/ST=CA/L=San Francisco/O=Splunk/CN=SplunkCommonCA' -keyout v1ca.key -out v1ca.pem
        openssl req -newkey rsa:2048 -nodes -subj /CN=SplunkServerDefaultCert/O=SplunkUser -keyout /etc/ssl/v1.key -out v1.csr
        openssl x509 -req -in v1.csr -CA v1ca.pem -CAkey v1ca.key -CAcreateserial -days 1000 -out /etc/ssl/v1.pem"""
    subprocess.run(["bash", "-ec", make], check=True, capture_output=True)
    subprocess.run(["hostname", "s3-1"], check=True)
    serve("127.0.0.1:8088")
    serve("127.0.0.2:8088", "server")
    serve("127.0.0.2:8089", "v1")


def provide(place, agent):
    """The files that the pages speak of, in a directory for one page."""
    place.mkdir()
    events = pathlib.Path("tests/data/minio.ndjson").read_text(encoding="utf-8")
    for name in ("audit.log", "old.log", "/var/log/s3/audit.log"):
        (place / name).write_text(events, encoding="utf-8")
    (place / "garbage").write_text("garbage\n", encoding="utf-8")
    (place / "empty").touch()
    place.chmod(0o755)
    (place / "rejected.json").write_text(json.dumps({"status": 400, "event": {"a": 1}}) + "\n", encoding="utf-8")
    settings = f"S3_AUDIT_WEBHOOK_ENABLED=true\nS3_AUDIT_WEBHOOK_ENDPOINT=https://splunk:8088/services/collector/raw\nS3_AUDIT_WEBHOOK_AUTH_TOKEN={TOKEN}\n"
    file = pathlib.Path("/etc/s3-audit-webhook/webhook.env")
    file.unlink(missing_ok=True)
    file.write_text(settings, encoding="utf-8")
    shutil.rmtree("/var/lib/s3-audit-webhook", ignore_errors=True)
    options = ["run", "--trail", "--dry-run", "--format", "hec", "--config", "/dev/null", "--state-dir", place / "trail"]
    with open(place / "audit.log", "rb") as source, open(place / "export.ndjson", "wb") as export:
        subprocess.run([agent, *options], stdin=source, stdout=export, stderr=subprocess.DEVNULL, check=True)


# In the place of programs that can't run here, or must not.
STAND_INS = """
shopt -s expand_aliases
make() { [ "$*" = build ]; }
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
systemctl() { :; }
# The log, without times.
log() { sed 's/^[^ ]* //' agent.log; }
# What `show` prints, or with other arguments that command, once it has this.
shown() {
    for _ in $(seq 300); do
        command s3-audit-webhook "${@:2}" >status
        grep -q "$1" status && break
        sleep 0.1
    done
    cat status
}
s3-audit-webhook() {
    if [ "$1" = show ] && [ -n "$(jobs -p)" ]; then
        shown 'last delivery' "$@"
    elif [ "$1" != run ]; then
        case " $* " in *" --auth-token - "*) command s3-audit-webhook "$@" <<<"$TOKEN" ;; *) command s3-audit-webhook "$@" ;; esac
    fi
    [ "$1" = run ] || return 0
    command s3-audit-webhook "$@" 2>agent.log <&0 &
    local pid=$!
    for _ in $(seq 300); do
        grep -qs ' started: ' agent.log && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    grep -qs ' started: ' agent.log && ! [ -p /dev/stdin ] && ! [ -f /dev/stdin ] && { kill $pid || true; }
    wait $pid || { cat agent.log >&2; return 1; }
}
"""


# For symptoms of the page on troubleshooting, what shows each.
SYMPTOMS = {
    "connection refused": "s3-audit-webhook test --endpoint http://127.0.0.1:1/ || true",
    "host name not found": "s3-audit-webhook test --endpoint http://nowhere.invalid/ || true",
    "TLS: the webhook does not speak it on this port": "s3-audit-webhook test --endpoint https://127.0.0.1:8088/ || true",
    "TLS: certificate of an unknown CA": "s3-audit-webhook test --ca-file /opt/splunk/etc/auth/server.pem || true",
    "HTTP 401": "s3-audit-webhook test --auth-token x || true",
    "HTTP 404": "s3-audit-webhook test --endpoint https://splunk:8088/x || true",
    "--config: … is not there": "s3-audit-webhook test --config nowhere || true",
    "no webhook is set": "rm /etc/s3-audit-webhook/webhook.env; s3-audit-webhook run || true",
    "this user may not read the settings": "chmod 600 /etc/s3-audit-webhook/*; command setpriv --reuid 65534 --clear-groups s3-audit-webhook run || true",
    "--source: … is no source": "s3-audit-webhook run --source files:x || true",
    "unexpected argument": "s3-audit-webhook run --sources x || true",
    "is not a setting of this version; ignored": "echo S3_AUDIT_WEBHOOK_ENDPIONT=x >>/etc/s3-audit-webhook/webhook.env; s3-audit-webhook run",
    "another process listens there": "s3-audit-webhook run --source http:127.0.0.1:8088 || true",
    "others on the network could post forged events": "s3-audit-webhook run --source http:0.0.0.0:9080 || true",
    "another agent keeps its checkpoint of … there": "s3-audit-webhook run --source file:audit.log &\ns3-audit-webhook run --source file:audit.log",
    "its events would be lost: webhook not enabled yet": "s3-audit-webhook run --config empty || true",
    "webhook disabled by …": "s3-audit-webhook disable; s3-audit-webhook run --source http:127.0.0.1:9080",
    "unavailable: no such socket": "s3-audit-webhook run --source unix:/nowhere",
    "Permission denied": "chmod 600 audit.log; command timeout 5 setpriv --reuid 65534 --clear-groups s3-audit-webhook run --source file:audit.log || true",
    "no such file yet; waiting for it": "s3-audit-webhook run --source file:/nowhere/x",
    "dropped … (malformed)": "s3-audit-webhook run <garbage",
    "dropped … (buffer full)": "cat audit.log | command s3-audit-webhook run --endpoint http://127.0.0.1:1/ --when-full drop --buffer-events 1 --shutdown-timeout 0s & sleep 3; kill -INT $!; wait $!",
    "dropped … (disabled)": "s3-audit-webhook disable; cat audit.log | command s3-audit-webhook run",
    "rejected …": "echo '{\"reject\":true}' | command s3-audit-webhook run",
    "redelivered": "echo '{\"hang_up\":true}' | command s3-audit-webhook run",
    "can't show this agent": "mkdir -m 700 private; command timeout 5 setpriv --reuid 65534 --clear-groups s3-audit-webhook run --state-dir private --source http:127.0.0.1:9080 || true",
}


def show_symptoms(place, programs):
    """Whether each symptom is shown, and the page marks those that are."""
    page = pathlib.Path("packaging/docs/troubleshooting.md").read_text(encoding="utf-8")
    rows = re.search(r"\|---.*?\n(.*?)\n\n", page, re.DOTALL)[1].splitlines()
    cells = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    marked = {re.search("`(.*?)`", cell)[1] for cell in cells if cell.endswith("¹")}
    if marked != set(SYMPTOMS):
        sys.exit(f"troubleshooting.md: these are marked and not tried, or the other way: {marked ^ set(SYMPTOMS)}")
    failed = 0
    for symptom, script in SYMPTOMS.items():
        provide(place, programs / "s3-audit-webhook")
        code, said = run(script + "\n[ ! -e agent.log ] || cat agent.log\n", place, programs)
        shown = [re.escape(part).replace("…", ".*") for part in re.findall("`(.*?)`", next(c for c in cells if f"`{symptom}`" in c))]
        if code or not any(re.search(part, said) for part in shown):
            failed += 1
            print(f"troubleshooting.md: {symptom}: exit code {code}\n{script}\n{said}")
        shutil.rmtree(place)
    print(f"{len(SYMPTOMS)} symptoms were tried")
    return failed


SETTINGS = "/etc/s3-audit-webhook/webhook.env"
# Of each block of output, and of commands that need more than they say: its page, how it begins, and what prints it.
OUTPUTS = {
    ("getting-started.md", "INFO  started"): "s3-audit-webhook run --source 'file:/var/log/s3/audit.log*'; log",
    ("getting-started.md", "s3-1  up"): """
        rm -f /var/lib/s3-audit-webhook/*
        s3-audit-webhook run --source 'file:/var/log/s3/audit.log*' &
        shown 'last delivery' show""",
    ("getting-started.md", "webhook   https://"): "s3-audit-webhook test",
    ("configuration.md", "$ s3-audit-webhook show"): f"""
        sed -i s/8088/8090/ {SETTINGS}
        "$RECEIVER" --token "$TOKEN" --cert /etc/ssl/server.pem --key /etc/ssl/server.key 127.0.0.2:8090 >collected & collector=$!
        python3 "$PAGE_COMMANDS_PY" gateway /var/run/ceph/rgw-ops.sock &
        until [ -S /var/run/ceph/rgw-ops.sock ]; do sleep 0.1; done
        s3-audit-webhook run --source unix:/var/run/ceph/rgw-ops.sock --backoff-max 1s &
        shown 'last delivery' show >/dev/null
        kill $collector
        shown 'last error' show""",
    ("tls.md", "$ s3-audit-webhook test"): f"sed -i s/8088/8089/ {SETTINGS}; s3-audit-webhook test || true",
    ("trail.md", "stream "): """
        python3 - <<'END' >damaged.ndjson
        import json
        lines = [json.loads(line) for line in open("export.ndjson")]
        numbered = {line["fields"]["audit_seq"]: line for line in lines}
        for number in (3, 5, 6, 7, 11):
            del numbered[number]
        last = numbered[max(numbered)]
        last["event"] |= {"record": 3, "final": 24}
        gap = {"reason": "buffer_full", "events": 3, "numbers": "5-7", "source": "stdin"}
        numbered[9]["event"] = last["event"] | {"s3_audit_webhook": "gap", "record": 2} | gap
        for line in [*numbered.values(), numbered[4]]:
            print(json.dumps(line))
        END
        s3-audit-webhook verify damaged.ndjson || true""",
}
COMPARED = set()
# What differs from run to run, and a name for it.
VARIES = [(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?", "TIME"), (r"\b[0-9a-f]{16,64}\b", "ID"), (r"\b(\d+(\.\d+)?(ms|us|[smhd]))+\b", "DURATION"),
          (r"[\d,-]*\d", "N"), (r"\(from .*", "(from PLACE"), (r"\b(\w+)s\b", r"\1"), (r" +", " ")]


def masked(line):
    for pattern, name in VARIES:
        line = re.sub(pattern, name, line)
    return line.strip()


def is_shown(lines, said):
    """Whether these lines of a page were printed, in this order; `…` stands for lines, or for a part of one."""
    pattern = "\n".join(re.escape(masked(line)) for line in lines)
    pattern = pattern.replace("…\n", "(.*\n)*?").replace("…", ".*")
    return re.search("^" + pattern + "$", "\n".join(map(masked, filter(str.strip, said.splitlines()))), re.MULTILINE)


def is_message(line):
    """Whether the pages of messages, which the program makes, have this line of the log."""
    pages = (pathlib.Path(f"packaging/docs/log-messages{which}.md").read_text(encoding="utf-8") for which in ("", "-sources", "-disks"))
    messages = re.findall(r"^- `\w+` (?:`` (.*?) ``|`(.*?)`)", "".join(re.sub(r"\n  (?=\S)", " ", page) for page in pages), re.MULTILINE)
    # Not those that any text would be.
    texts = [quoted or plain for quoted, plain in messages if not re.fullmatch(r"\w+ …", plain)]
    return any(re.fullmatch(re.escape(text).replace("…", ".*"), re.sub(" +", " ", line)) for text in texts)


def compare(page, lines, script, place, programs):
    """Whether what the page shows is what is printed."""
    lines = [line for line in lines if line.strip()]
    for key in OUTPUTS.keys() - COMPARED:
        if page.name == key[0] and lines[0].startswith(key[1]):
            script = textwrap.dedent(OUTPUTS[key])
            COMPARED.add(key)
            break
    if script is None and all(line.startswith(("INFO ", "WARN ", "ERROR ")) for line in lines):
        unknown = [line for line in lines if not is_message(line)]
        if unknown:
            print(f"{page}: no messages: {unknown}")
        return not unknown
    if script is None:
        print(f"{page}: nothing is known to print: {lines[0]}")
        return False
    output = [line for before, line in zip(["", *lines], lines) if not line.startswith("$ ") and not before.endswith("\\")]
    code, said = run(script, place, programs)
    if code or not is_shown(output, said):
        print(f"{page}: exit code {code}\n{script}\nshows\n" + "\n".join(output) + f"\nand printed\n{said}")
        return False
    return True


def run(script, place, programs):
    script = re.sub(r" …(?=\s|$)", "", script, flags=re.MULTILINE)
    started = r"\1 2>agent.log &\nuntil grep -qs ' started: ' agent.log; do sleep 0.1; done; log"
    script = re.sub(r"^(s3-audit-webhook run .*) &$", r"rm -f agent.log; command " + started, script, flags=re.MULTILINE)
    (place / "script").write_text("set -eo pipefail\n" + STAND_INS + script + "\n", encoding="utf-8")
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "TOKEN": TOKEN, "HOME": str(place), "PAGE_COMMANDS_PY": str(pathlib.Path(__file__).resolve())}
    ended = subprocess.run(["timeout", "60", "bash", "script"], cwd=place, env=environment, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return ended.returncode, ended.stdout.decode(errors="replace")


def main():
    if sys.argv[1] == "gateway":
        gateway(sys.argv[2])
    agent = pathlib.Path(sys.argv[1]).resolve()
    if os.environ.get("PAGE_COMMANDS") != "apart":
        os.environ["PAGE_COMMANDS"] = "apart"
        os.execvp("unshare", ["unshare", "--mount", "--net", "--uts", sys.executable, *sys.argv])
    started = time.monotonic()
    root = pathlib.Path(tempfile.mkdtemp(prefix="pages-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", root], check=True)
    home = pathlib.Path.cwd()
    programs = root / "programs"
    programs.mkdir()
    shutil.copy(agent, programs / "s3-audit-webhook")
    os.chdir(root)
    prepare(root)
    os.chdir(home)
    pages = [page for name in map(pathlib.Path, PAGES) for page in (sorted(name.rglob("*.md")) if name.is_dir() else [name])]
    failed = tried = skipped = compared = 0
    for page in pages:
        place = root / str(page).replace("/", "-")
        for number, language, text, comment in blocks(page):
            script = commands(language, text)
            # Options to choose from, and formulas.
            if text[0].startswith(("--", "# signatures")) or re.search("^[^{]* :?= ", text[0]):
                continue
            if re.match(r"<!-- not run: \S.* -->$", comment):
                skipped += 1
                continue
            is_output = language in ("", "console") and (script is None or any(line.startswith("$ ") for line in text))
            if script is None and not is_output:
                continue
            if not place.exists():
                provide(place, agent)
            tried += script is not None
            if is_output:
                compared += 1
                failed += not compare(page, text, script, place, programs)
                continue
            code, said = run(script, place, programs)
            if code:
                failed += 1
                print(f"{page}:{number}: exit code {code}\n{script}\n{said}")
    for key in OUTPUTS.keys() - COMPARED:
        failed += 1
        print(f"{key[0]}: shows no output that begins with {key[1]}")
    failed += show_symptoms(root / "symptoms", programs)
    subprocess.run(["umount", "--lazy", root], check=True)
    root.rmdir()
    print(f"{tried} blocks of commands were run, {skipped} are marked as not run, {compared} outputs were compared: {time.monotonic() - started:.0f} s")
    if failed or not tried:
        sys.exit(f"{failed} failed")


if __name__ == "__main__":
    main()
