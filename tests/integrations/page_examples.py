#!/usr/bin/env python3
"""Every server's page shows an event as it was captured, or written from the source: byte for byte but for spaces. The page on
the log has every reason for dropping events."""

import json
import pathlib
import re
import sys

EVENTS = {
    "ceph-rgw": "rgw-socket.bin",
    "seaweedfs": "seaweedfs-fluent.json.bin",
    "minio": "minio.ndjson",
    "rustfs": "rustfs.ndjson",
    "versity": "versitygw.ndjson",
}
# Their events are compared with what the real ones write, by proxies.sh.
ELSEWHERE = {"nginx", "haproxy"}
HEADINGS = ("## While the agent is unavailable", "## An event", "## Limitations")

pages = {path.stem: path.read_text(encoding="utf-8") for path in pathlib.Path("packaging/servers").glob("*.md")}
if set(pages) != set(EVENTS) | ELSEWHERE:
    sys.exit(f"these pages are not looked at, or not there: {set(pages) ^ (set(EVENTS) | ELSEWHERE)}")
for server, page in pages.items():
    for heading in HEADINGS:
        if f"\n{heading}\n" not in page:
            sys.exit(f"{server}: has no {heading}")
for server, name in EVENTS.items():
    examples = re.findall(r"^```json\n(.*?)^```", pages[server], re.DOTALL | re.MULTILINE)
    events = pathlib.Path("tests/data", name).read_bytes().decode(errors="replace")
    if not examples:
        sys.exit(f"{server}: shows no event")
    for example in examples:
        if json.dumps(json.loads(example), separators=(",", ":"), ensure_ascii=False) not in events:
            sys.exit(f"{server}: the event is none of {name}")

# Every reason for dropping events has its row.
reasons = re.search(r"`reason` of `events_dropped_total` \| (.*) \|", pathlib.Path("packaging/docs/metrics.md").read_text(encoding="utf-8"))[1]
rows = re.findall(r"^\| `([a-z ]+)` \|", pathlib.Path("packaging/docs/log.md").read_text(encoding="utf-8"), re.MULTILINE)
if set(rows) != {reason.replace("_", " ") for reason in re.findall("`(.*?)`", reasons)}:
    sys.exit(f"log.md: has other reasons for dropping events: {rows}")
print(f"{len(pages)} pages of servers")
