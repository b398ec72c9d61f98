#!/usr/bin/env bash
# What stands on the pages and can be looked up: every page's event is one of the captured or written ones, every link
# between files leads somewhere, and the operating page has every line of the log.

set -euo pipefail
cd "$(dirname "$0")/../.."

python3 tests/integrations/page_examples.py
python3 tests/integrations/links.py
python3 tests/integrations/log_lines.py packaging/OPERATING.md
echo "pages: all held"
