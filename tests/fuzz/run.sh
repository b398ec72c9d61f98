#!/bin/sh
# Runs every fuzz target for so many seconds, from the seeds in corpus/ and what earlier runs have found, which is kept
# in corpus.tar.gz. What breaks a target is left in artifacts/. Without a sanitizer stable Rust will do, and it is four
# times as fast; the unsafe code of what is fuzzed only loads whole arrays.
set -eu
cd "$(dirname "$0")"

[ -d target/corpus ] || { mkdir -p target && tar -C target -xzf corpus.tar.gz; }
for target in answer certificate checkpoint fluent framer json msgpack parcel request rules segment settings state time verify; do
    mkdir -p "target/corpus/$target"
    cargo fuzz run --fuzz-dir . --sanitizer none "$target" "target/corpus/$target" "corpus/$target" -- \
        -max_total_time="$1" -max_len=40000 -timeout=20 -print_final_stats=1
done
