#!/usr/bin/env python3
"""Compares what was answered with what arrived, by request id.

usage: compare.py ANSWERS EVENTS ID_FIELD [--record-per-key] [--missing-at-most N]

Says what it found. Fails if a record is missing (or more than N are), came twice, or belongs to no request.
"""

import argparse
import collections
import json
import sys

arguments = argparse.ArgumentParser()
arguments.add_argument("answers")
arguments.add_argument("events")
arguments.add_argument("id_field")
arguments.add_argument("--record-per-key", action="store_true")
arguments.add_argument("--missing-at-most", type=int, default=0)
options = arguments.parse_args()


def lines(path):
    with open(path, "rb") as file:
        return [json.loads(line) for line in file]


noted = lines(options.answers)
failed = sum("failed" in line for line in noted)
expected = {
    line["id"]: 1 + (len(line["keys"]) if options.record_per_key else 0) for line in noted if "id" in line
}
arrived = collections.defaultdict(list)
for event in lines(options.events):
    arrived[event[options.id_field]].append(event.get("key"))

missing = sum(max(0, count - len(set(arrived[id]))) for id, count in expected.items())
twice = sum(len(keys) - len(set(keys)) for keys in arrived.values())
surplus = sum(len(set(keys)) > expected.get(id, 1) for id, keys in arrived.items())
# A request without an answer may have come to the server all the same, and have its record.
unasked = sum(id not in expected for id in arrived)
print(
    f"{len(expected)} answers, {failed} requests without one; {sum(expected.values())} records expected, "
    f"{sum(map(len, arrived.values()))} arrived: {missing} missing, {twice} twice, {unasked} of other requests, {surplus} requests with too many"
)
fine = missing <= options.missing_at_most and twice == surplus == 0 and unasked <= failed
sys.exit(0 if fine and expected else 1)
