#!/usr/bin/env bash
# Runs the commands of the pages: as root, in namespaces and overlays, so that nothing of this host changes. AGENT is the program.

set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --locked --example receiver
RECEIVER=$(realpath "${CARGO_TARGET_DIR:-target}/debug/examples/receiver")
export RECEIVER
exec python3 tests/integrations/page_commands.py "$AGENT"
