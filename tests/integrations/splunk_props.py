#!/usr/bin/env python3
"""Splunk's files: they can be parsed, belong together, and props.conf cuts the agents' bodies into their events and finds the
time that the agent finds itself. By a small model of what Splunk does with line breaks and times, not by Splunk.

usage: splunk_props.py AGENT
"""

import configparser
import datetime
import json
import re
import subprocess
import sys

FOLDER = "packaging/splunk"
# The source of each server, and events of it.
EVENTS = {
    "rgw": "tests/data/rgw-file.log",
    "minio": "tests/data/minio.ndjson",
    "weka": "tests/data/weka.ndjson",
    "versity": "tests/data/versitygw.ndjson",
    "rustfs": "tests/data/rustfs.ndjson",
    "seaweedfs": "tests/data/seaweedfs-fluent.json.bin",
    "proxy": "tests/data/proxy.ndjson",
}
CODES = {
    "%Y": r"(?P<Y>\d{4})",
    "%m": r"(?P<m>\d\d)",
    "%d": r"(?P<d>\d\d)",
    "%H": r"(?P<H>\d\d)",
    "%M": r"(?P<M>\d\d)",
    "%S": r"(?P<S>\d\d)",
    "%3N": r"(?P<N>\d{3})",
    "%6N": r"(?P<N>\d{1,6})",
    "%9N": r"(?P<N>\d{1,9})",
    "%s": r"(?P<s>\d{10})",
    "%Z": r"Z",
}


# What searches call the fields of all servers; a proxy's log has no bucket, and Ceph RGW's own names for user and bucket are these.
COMMON = {"command", "src", "status", "user", "object", "bucket", "http_user_agent"}
NAMES = {server: COMMON - ({"bucket"} if server == "proxy" else set()) for server in EVENTS}


# Of version 2, and of presigned URLs.
CREDENTIALS = ["AWS AKIA2:c2ln", "AKIA4/20260321/us-east-1/s3/aws4_request", "AKIA4%2F20260321", "AKIA2"]


def values(event, path):
    """What Splunk's field of this name has: a{}.b is b of each element of a."""
    found = [event]
    for part in path.split("."):
        name, is_list = part.removesuffix("{}"), part.endswith("{}")
        found = [value[name] for value in found if isinstance(value, dict) and name in value]
        if is_list:
            found = [element for value in found for element in value]
    return [value for value in found if value != ""]


def conf(name):
    """Splunk's syntax: key = value, with a backslash before a line's end that does not end it; # only at a line's start."""
    with open(f"{FOLDER}/{name}", encoding="utf-8") as file:
        text = file.read().replace("\\\n", "")
    parser = configparser.RawConfigParser(delimiters="=", comment_prefixes="#", strict=True)
    parser.optionxform = str
    parser.read_string(text)
    return parser


def time_of(event, stanza):
    """As Splunk: what stands behind the first match of the prefix, in milliseconds."""
    prefix = re.search(stanza["TIME_PREFIX"], event)
    if not prefix:
        return None
    pattern = "".join(
        CODES[part] if part.startswith("%") else re.escape(part)
        for part in re.findall(r"%\d?[A-Za-z]|[^%]+", stanza["TIME_FORMAT"])
    )
    behind = event[prefix.end() : prefix.end() + int(stanza["MAX_TIMESTAMP_LOOKAHEAD"])]
    found = re.match(pattern, behind)
    if not found:
        return None
    parts = found.groupdict()
    milliseconds = int((parts.get("N") or "0").ljust(3, "0")[:3])
    if parts.get("s"):
        return int(parts["s"]) * 1000 + milliseconds
    whole = [int(parts[part]) for part in "YmdHMS"]
    return int(datetime.datetime(*whole, tzinfo=datetime.timezone.utc).timestamp()) * 1000 + milliseconds


def body(agent, path, *options):
    """What the agent would post of these events."""
    command = [agent, "run", "--dry-run", "--config", "/dev/null", *options]
    with open(path, "rb") as file:
        events = file.read()
    if path.endswith("fluent.json.bin"):
        # fluent: is the source for these; here their records are enough.
        values, decoder, rest = [], json.JSONDecoder(), events.decode()
        while rest:
            value, end = decoder.raw_decode(rest)
            values.append(value)
            rest = rest[end:]
        events = "".join(json.dumps(record, separators=(",", ":")) + "\n" for _, _, record, _ in values).encode()
    return subprocess.run(command, input=events, capture_output=True, check=True).stdout.decode()


agent = sys.argv[1]
props = conf("props.conf")
general = props["source::s3-audit:..."]
with open("packaging/webhook.env", encoding="utf-8") as file:
    limit = int(re.search(r"MAX_EVENT_BYTES=(\d+)MiB", file.read()).group(1)) << 20
if int(general["TRUNCATE"]) != limit:
    sys.exit(f"TRUNCATE is {general['TRUNCATE']}, and the agent's longest event {limit}")
if set(props.sections()) != {"source::s3-audit:..."} | {f"source::s3-audit:{server}" for server in EVENTS}:
    sys.exit(f"props.conf has stanzas that are not tried here, or lacks some: {props.sections()}")

count = 0
COMMANDS = {}
for server, path in EVENTS.items():
    stanza = {**general, **props[f"source::s3-audit:{server}"]}
    events = [json.loads(line) for line in body(agent, path, "--format", "hec").splitlines()]
    lines = re.split(stanza["LINE_BREAKER"], body(agent, path))
    lines = [line for line in lines if line.strip("\r\n")]
    if [json.loads(line) for line in lines] != [event["event"] for event in events]:
        sys.exit(f"{server}: cut into {len(lines)} pieces, and these are not the {len(events)} events")
    aliases = stanza["FIELDALIAS-cim"].split()
    aliases = dict(zip(aliases[2::3], aliases[::3]))
    status = re.fullmatch(r"if\(tonumber\('([^']+)'\)<400, \"success\", \"failure\"\)", stanza["EVAL-action"])
    if not status:
        sys.exit(f"{server}: EVAL-action is not understood")
    user = re.fullmatch(r"replace\(coalesce\((.+)\), \"([^\"]+)\", \"\\1\"\)", stanza.get("EVAL-user", ""))
    if user:
        fields = re.findall(r"'([^']+)'", user.group(1))
        found = [[value for field in fields for value in values(event["event"], field)] for event in events]
        headers = [first for first, *_ in filter(None, found)]
        if not headers:
            sys.exit(f"{server}: no event has any of {fields}")
        for header in [*headers, *CREDENTIALS]:
            if not re.fullmatch(r"AKIA\w+", re.sub(user.group(2), r"\1", header)):
                sys.exit(f"{server}: EVAL-user does not find the key in {header}")
    for name in sorted(NAMES[server] - ({"user"} if user else set())):
        field = aliases.get(name, name)
        if not any(values(event["event"], field) for event in events):
            sys.exit(f"{server}: no event has {field}, which is to be {name}")
    command = aliases["command"]
    COMMANDS[server] = {str(value) for event in events for value in values(event["event"], command)}
    if aliases.keys() - NAMES[server]:
        sys.exit(f"{server}: aliases that are not tried here: {aliases.keys() - NAMES[server]}")
    if not all(values(event["event"], status.group(1)) for event in events):
        sys.exit(f"{server}: events without {status.group(1)}")
    for line, event in zip(lines, events):
        expected = round(event["time"] * 1000)
        if time_of(line, stanza) != expected:
            sys.exit(f"{server}: time {time_of(line, stanza)}, and the agent says {expected}: {line[:200]}")
        count += 1
    if not events:
        sys.exit(f"{server}: no events")

inputs = conf("inputs.conf")
index = inputs["http://s3-audit"]["index"]
searches = conf("savedsearches.conf")
for name in searches.sections():
    search = searches[name]
    if f"index={index} " not in search["search"]:
        sys.exit(f"{name}: does not search {index}")
    if search["enableSched"] == "1" and len(search["cron_schedule"].split()) != 5:
        sys.exit(f"{name}: is not scheduled")
    if search.get("alert.suppress") == "1" and search["alert.suppress.fields"] not in search["search"]:
        sys.exit(f"{name}: suppresses by what it does not give")
    for pattern in re.findall(r'regex command="([^"]+)"', search["search"]):
        commands = [command for events in COMMANDS.values() for command in events]
        if not any(re.search(pattern, command) for command in commands):
            sys.exit(f"{name}: no captured command is like {pattern}")
trail = {name for name in searches.sections() if "s3_audit_webhook=" in searches[name]["search"]}
if len(trail) < 3:
    sys.exit("searches of the trail are missing")
with open(f"{FOLDER}/README.md", encoding="utf-8") as file:
    readme = file.read()
if f"--hec-index {index} " not in readme:
    sys.exit(f"the page does not send to {index}")
for server in EVENTS:
    if f"`{server}`" not in readme:
        sys.exit(f"the page does not name {server}")
print(f"{count} events of {len(EVENTS)} servers have the time that the agent finds")
