#!/usr/bin/env bash
# Lays out what every package holds, as it lies under its prefix: this directory with install.sh is what the tarball
# has, `make install` copies from it, and deb/build.sh and rpm/build.sh make their packages of it.
#
# usage: stage.sh BINARY MANUAL STAGE       MANUAL is what `make manual` has written

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$1 manual=$2 stage=$3
name=s3-audit-webhook

put() { # mode, file, where
    install -D -m "$1" "$2" "$stage/$3"
}

rm -rf "$stage"
put 755 "$binary" bin/$name
put 644 "$here/systemd/$name.service" lib/systemd/system/$name.service
put 644 "$here/systemd/agent.env" etc/agent.env
for page in "$manual"/*.[15]; do
    put 644 "$page" "share/man/man${page##*.}/${page##*/}"
done
put 644 "$manual/$name.bash" share/bash-completion/completions/$name
put 644 "$manual/_$name" share/zsh/site-functions/_$name
put 644 "$manual/$name.fish" share/fish/vendor_completions.d/$name.fish
for document in README.md CHANGELOG.md LICENSE packaging/webhook.env; do
    put 644 "$here/../$document" "share/doc/$name/${document##*/}"
done
# The pages that the README leads to, and what those show and lead to, in the same places, for those who have the package
# alone. tests/integrations/pages.sh follows all links there.
(
    cd "$here/.."
    printf '%s\n' ARCHITECTURE.md CONTRIBUTING.md DESIGN.md SECURITY.md packaging/webhook.env
    find packaging/{docs,servers,splunk,prometheus,grafana,kubernetes,ansible} tests/bench/{NOTES.md,report} -type f
) | while read -r file; do
    put 644 "$here/../$file" "share/doc/$name/$file"
done
put 755 "$here/install.sh" install.sh
# The image's empty directory.
mkdir "$stage/state"
# Without the time, that would differ.
gzip -9n "$stage"/share/man/man?/* "$stage/share/doc/$name/CHANGELOG.md"
