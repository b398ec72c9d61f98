#!/usr/bin/env bash
# Prints the licences of what the program is made of, which ask to be passed on with it: each text once, with the crates
# that it is of.
#
# usage: licences.sh TARGET       TARGET is what the program is built for

set -euo pipefail
export LC_ALL=C
crates=$(mktemp -d)
trap 'rm -rf "$crates"' EXIT
# Where cargo has unpacked them.
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src

# One is left out: this program itself, which has its own LICENSE.
cargo tree --locked --edges normal --target "$1" --prefix none --format '{p}|{l}' | sed 's/ (.*)|/|/; s/ (\*)$//' |
    grep -v '^s3-audit-' | sort -u >"$crates/list"
while IFS='|' read -r crate licence; do
    name=${crate% v*} version=${crate#* v}
    files=$(find "$sources"/*/"$name-$version" -maxdepth 1 -type f -iname 'LICEN[CS]E*' -o -maxdepth 1 -iname 'COPYING*' |
        sort)
    [ -n "$files" ] || files=/dev/null
    for file in $files; do
        text=$(sha256sum <"$file")
        [ -e "$crates/${text%% *}" ] || cp "$file" "$crates/${text%% *}"
        echo "$name $version ($licence)" >>"$crates/${text%% *}.of"
    done
done <"$crates/list"

for of in "$crates"/*.of; do
    printf '%s\n' '----------------------------------------------------------------'
    sort -u "$of"
    echo
    cat "${of%.of}"
    echo
done
