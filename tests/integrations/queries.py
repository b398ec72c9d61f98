#!/usr/bin/env python3
"""Asks a Prometheus that scrapes an agent: does every metric of the alerts exist, and has every query of the
dashboard a result?

usage: queries.py URL ALERTS DASHBOARD PAGE

PAGE: the metrics of another agent, which has what this one can't have.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

SECONDS = 20
PREFIX = "s3_audit_webhook_"
# As Grafana fills them in, but for a scrape a second.
VARIABLES = {"$instance": ".*", "$__rate_interval": "4s", "$__range": "1m"}

url, alerts, dashboard, page = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path, **parameters):
    address = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    return json.load(opener.open(address, timeout=10))["data"]


def result(query):
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    if "$" in query:
        sys.exit(f"a variable that Grafana has not, or this test does not know: {query}")
    return ask("query", query=query)["result"]


def metrics(text):
    return set(re.findall(rf"\b{PREFIX}\w+", text))


until = time.monotonic() + SECONDS
with open(dashboard, encoding="utf-8") as file:
    panels = json.load(file)["panels"]
queries = {target["expr"]: panel["title"] for panel in panels for target in panel["targets"]}
if not queries:
    sys.exit("the dashboard has no queries")
missing = dict(queries)
while missing:
    if time.monotonic() > until:
        sys.exit("without a result:\n" + "\n".join(f"{title}: {query}" for query, title in missing.items()))
    time.sleep(0.5)
    missing = {query: title for query, title in missing.items() if not result(query)}

there = {name for name in ask("label/__name__/values") if name.startswith(PREFIX)}
with open(page, encoding="utf-8") as file:
    there |= metrics(file.read())
with open(alerts, encoding="utf-8") as file:
    named = metrics(file.read()) | {name for query in queries for name in metrics(query)}
if named - there:
    sys.exit(f"no metric of the agent: {sorted(named - there)}")
print(f"{len(queries)} queries of the dashboard have results; alerts and dashboard name {len(named)} of {len(there)} metrics")
