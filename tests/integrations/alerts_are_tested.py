#!/usr/bin/env python3
"""Every alert has a test in which it fires, and one in which it does not.

usage: alerts_are_tested.py ALERTS TESTS
"""

import re
import sys

alerts, tests = (open(path, encoding="utf-8").read() for path in sys.argv[1:])
declared = set(re.findall(r"- alert: (\w+)", alerts))
silent = set(re.findall(r"\{eval_time: \w+, alertname: (\w+)\}", tests))
firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests))
for what, tested in (("in which it is silent", silent), ("in which it fires", firing)):
    if declared != tested:
        sys.exit(f"alerts without a test {what}, or the other way round: {sorted(declared ^ tested)}")
