#!/usr/bin/env bash
# What can be looked up on the pages: every event is one of the captured or written ones, every reason for losses is there,
# every link between files leads somewhere, in the project and in a package, and no page is too long. The pages of options,
# metrics and log messages are those that `make manual` writes: `make check` compares them.

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
