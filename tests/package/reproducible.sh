#!/usr/bin/env bash
# Builds all packages once more, from a copy of this tree in another directory and from nothing, and compares sums.
#
# usage: reproducible.sh DIST TARGETS, with the time in SOURCE_DATE_EPOCH

set -euo pipefail
dist=$(realpath "$1")
cd "$(dirname "$0")/../.."
: "${SOURCE_DATE_EPOCH:?is the commit\'s time}"
other=$(mktemp -d)
trap 'rm -rf "$other"' EXIT

git ls-files -z | tar --null --files-from - --create | tar --extract --directory "$other"
env -u CARGO_TARGET_DIR -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -C "$other" dist TARGETS="$2" >"$other/log" 2>&1 || {
    cat "$other/log" >&2
    exit 1
}
diff "$dist/SHA256SUMS" "$other/target/dist/SHA256SUMS" || {
    echo 'package: FAILED: another build of the same has other bytes' >&2
    exit 1
}
echo 'package: reproducible: ok'
