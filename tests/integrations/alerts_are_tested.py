#!/usr/bin/env python3
"""Every alert has a test in which it fires, and one in which it does not; and a runbook, which is a heading of a page.

usage: alerts_are_tested.py ALERTS TESTS, in the project's directory
"""

import pathlib
import re
import sys

sys.dont_write_bytecode = True
from links import anchors

alerts, tests = (open(path, encoding="utf-8").read() for path in sys.argv[1:])
declared = set(re.findall(r"- alert: (\w+)", alerts))
silent = set(re.findall(r"\{eval_time: \w+, alertname: (\w+)\}", tests))
firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests))
for what, tested in (("in which it is silent", silent), ("in which it fires", firing)):
    if declared != tested:
        sys.exit(f"alerts without a test {what}, or the other way round: {sorted(declared ^ tested)}")
runbooks = re.findall(r"runbook_url: https://[^/]+/(\S+)#(\S+)", alerts)
missing = {(page, anchor) for page, anchor in runbooks if anchor not in anchors(pathlib.Path(page))}
if len(runbooks) != len(declared) or missing:
    sys.exit(f"{len(runbooks)} runbooks of {len(declared)} alerts; no headings: {sorted(missing)}")
