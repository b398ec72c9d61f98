#!/bin/sh
# Keeps in corpus.tar.gz what the runs have found, of inputs that reach the same code the shortest only.
set -eu
cd "$(dirname "$0")"

rm -rf target/kept
for found in target/corpus/*; do
    target=${found##*/}
    mkdir -p "target/kept/corpus/$target"
    cargo fuzz run --fuzz-dir . --sanitizer none "$target" "target/kept/corpus/$target" "$found" -- \
        -merge=1 -max_len=4000 -timeout=20
done
tar -C target/kept --sort name --owner 0 --group 0 --numeric-owner --mtime @0 -c corpus | gzip -9n >corpus.tar.gz
