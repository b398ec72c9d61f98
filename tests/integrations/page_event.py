#!/usr/bin/env python3
"""The event that a page shows has the members of those that arrived, which have ids of their own, and are so many.

usage: page_event.py PAGE EVENTS COUNT
"""

import json
import re
import sys

page, path, count = sys.argv[1:]
with open(page, encoding="utf-8") as file:
    (example,) = re.findall(r"^```json\n(.*?)^```", file.read(), re.DOTALL | re.MULTILINE)
with open(path, encoding="utf-8") as file:
    events = [json.loads(line) for line in file]
if len(events) != int(count) or len({event["request_id"] for event in events}) != len(events):
    sys.exit(f"{len(events)} events, some of them twice, or not {count}")
for event in events:
    if list(event) != list(json.loads(example)):
        sys.exit(f"{page} shows another event than this: {event}")
