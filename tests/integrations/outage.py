#!/usr/bin/env python3
"""Posts 100 events a second to an agent whose webhook is away, until the first is lost, and asks a Prometheus that scrapes it:
have the alerts fired before?

usage: outage.py PROMETHEUS AGENT
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

prometheus, agent = sys.argv[1:]
BEFORE_LOSS = ("S3AuditBufferFullSoon", "S3AuditDeliveryFailing")
LONGEST = 180
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(query):
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    return json.load(opener.open(address, timeout=10))["data"]["result"]


began = time.monotonic()
fired = {}
posted = 0
while True:
    now = time.monotonic() - began
    if now > LONGEST:
        sys.exit(f"nothing was lost in {LONGEST} s; fired: {fired}")
    while posted < now * 100:
        try:
            opener.open(agent, data=b'{"n":1}\n' * 100, timeout=10).read()
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            # The client is told, and has its events still: this is where loss begins.
            break
        posted += 100
    else:
        for found in ask('ALERTS{alertstate="firing"}'):
            fired.setdefault(found["metric"]["alertname"], round(now, 1))
        time.sleep(0.5)
        continue
    break
print(f"the first loss after {now:.0f} s; alerts, and after how many seconds: {fired}")
missing = [name for name in BEFORE_LOSS if name not in fired]
if missing:
    sys.exit(f"not before the first loss: {missing}")
