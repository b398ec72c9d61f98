#!/usr/bin/env bash
# What stands on the pages and can be looked up: every page's event is one of the captured or written ones, every link
# between files leads somewhere, in the project and in a package, and no page is too long. That the pages have every line of
# the log is a test of the messages.

set -euo pipefail
cd "$(dirname "$0")/../.."

python3 tests/integrations/page_examples.py
python3 tests/integrations/links.py

# What packages have: only the pages count here, not the program.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/manual"
touch "$dir/binary" "$dir"/manual/{x.1,x.5,s3-audit-webhook.bash,_s3-audit-webhook,s3-audit-webhook.fish}
packaging/stage.sh "$dir/binary" "$dir/manual" "$dir/stage"
python3 tests/integrations/links.py "$dir/stage/share/doc/s3-audit-webhook"
echo "pages: all held"
