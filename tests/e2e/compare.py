#!/usr/bin/env python3
"""Compares what was answered with what arrived, by request id.

usage: compare.py ANSWERS EVENTS ID_FIELD [--record-per-key] [--missing-at-most N | --last-may-be-missing]

Says what it found. Fails if a record is missing, came twice, or belongs to no request. N records may be missing, or
only those of a client's last request before one without an answer.
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
arguments.add_argument("--last-may-be-missing", action="store_true")
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

missing = {id: count - len(set(arrived[id])) for id, count in expected.items() if count > len(set(arrived[id]))}
# The requests that were a client's last before one without an answer.
last, previous = set(), {}
for line in noted:
    if "failed" in line:
        last.add(previous.get(line["client"]))
    previous[line["client"]] = line.get("id")
missing_last = sum(count for id, count in missing.items() if id in last)
missing = sum(missing.values())
twice = sum(len(keys) - len(set(keys)) for keys in arrived.values())
surplus = sum(len(set(keys)) > expected.get(id, 1) for id, keys in arrived.items())
# A request without an answer may have come to the server all the same, and have its record.
unasked = sum(id not in expected for id in arrived)
print(
    f"{len(expected)} answers, {failed} requests without one; {sum(expected.values())} records expected, "
    f"{sum(map(len, arrived.values()))} arrived: {missing} missing, {missing_last} of these right before a failed request; "
    f"{twice} twice, {unasked} of other requests, {surplus} requests with too many"
)
may_be_missing = missing_last if options.last_may_be_missing else options.missing_at_most
fine = missing <= may_be_missing and twice == surplus == 0 and unasked <= failed
sys.exit(0 if fine and expected else 1)
