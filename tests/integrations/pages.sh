#!/usr/bin/env bash
# What stands on the pages and can be looked up: every page's event is one of the captured or written ones, and every link
# between files leads somewhere. That the operating page has every line of the log is a test of the messages.

set -euo pipefail
cd "$(dirname "$0")/../.."

python3 tests/integrations/page_examples.py
python3 tests/integrations/links.py
echo "pages: all held"
