#!/usr/bin/env bash
# Makes the package for Red Hat and SUSE of what stage.sh has laid out, with rpmbuild, which Debian's package rpm has too.
#
# usage: build.sh STAGE VERSION ARCH OUT, with the time in SOURCE_DATE_EPOCH

set -euo pipefail
: "${SOURCE_DATE_EPOCH:?is the time that all files get}"
stage=$(realpath "$1") version=$2 arch=$3 out=$4
here=$(cd "$(dirname "$0")" && pwd)
field() { sed -n "s|^$1 = \"\(.*\)\"|\1|p" "$here/../../Cargo.toml" | head -n 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$out"
rpmbuild -bb --quiet --target "$arch-linux" --define "_topdir $work" --define "_rpmdir $work/rpms" \
    --define "version $version" --define "stage $stage" --define "scripts $here" --define "summary_line $(field description)" \
    --define "url_line $(field homepage)" --define "packager_line $(cat "$here/../maintainer")" \
    --define "description_text $(fold -s -w 78 "$here/../description" | sed 's/ *$//')" \
    "$here/s3-audit-webhook.spec" 2>"$work/log" || { cat "$work/log" >&2 && exit 1; }
mv "$work/rpms/$arch"/*.rpm "$out/"
