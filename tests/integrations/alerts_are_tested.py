#!/usr/bin/env python3
"""Every alert has a test in which it fires, and one in which it does not; and a runbook, which is a heading of the page.

usage: alerts_are_tested.py ALERTS TESTS PAGE
"""

import re
import sys

alerts, tests, page = (open(path, encoding="utf-8").read() for path in sys.argv[1:])
declared = set(re.findall(r"- alert: (\w+)", alerts))
silent = set(re.findall(r"\{eval_time: \w+, alertname: (\w+)\}", tests))
firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests))
for what, tested in (("in which it is silent", silent), ("in which it fires", firing)):
    if declared != tested:
        sys.exit(f"alerts without a test {what}, or the other way round: {sorted(declared ^ tested)}")
headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ ([\w ]+)$", page, re.M)}
runbooks = re.findall(r"runbook_url: .*/OPERATING.md#(\S+)", alerts)
if len(runbooks) != len(declared) or set(runbooks) - headings:
    sys.exit(f"{len(runbooks)} runbooks of {len(declared)} alerts; no headings: {sorted(set(runbooks) - headings)}")
