#!/usr/bin/env bash
# Makes Debian's package of what stage.sh has laid out, with dpkg-deb alone.
#
# usage: build.sh STAGE VERSION ARCH OUT, with the time in SOURCE_DATE_EPOCH; ARCH as uname has it

set -euo pipefail
: "${SOURCE_DATE_EPOCH:?is the time that all files get}"
stage=$1 version=$2 arch=$3 out=$4
here=$(cd "$(dirname "$0")" && pwd)
name=s3-audit-webhook
field() { sed -n "s|^$1 = \"\(.*\)\"|\1|p" "$here/../../Cargo.toml" | head -n 1; }
maintainer=$(cat "$here/../maintainer")
case $arch in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; esac
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

put() { # mode, file, where
    install -D -m "$1" "$2" "$tree/$3"
}
doc=usr/share/doc/$name
# No conffile: everybody adds lines to it, and dpkg would ask at each upgrade with another one whose it is to be.
put 644 "$stage/etc/agent.env" usr/share/$name/agent.env
cp -r --no-preserve=ownership "$stage/bin" "$stage/lib" "$stage/share" "$tree/usr/"
# Debian has these elsewhere.
mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
mv "$tree/$doc/CHANGELOG.md.gz" "$tree/$doc/changelog.gz"
mkdir "$tree/$doc/examples"
mv "$tree/$doc/webhook.env" "$tree/$doc/examples/"
rm "$tree/$doc/LICENSE"
put 644 "$here/lintian-overrides" usr/share/lintian/overrides/$name
cat >"$tree/$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: $name
Source: $(field repository)

Files: *
Copyright: 2026 s3-audit-webhook maintainers
License: Apache-2.0
Comment: Licences of the libraries in the program are in THIRD-PARTY.txt, beside this file.

License: Apache-2.0
 On Debian systems it is in /usr/share/common-licenses/Apache-2.0.
END
gzip -9n >"$tree/$doc/changelog.Debian.gz" <<END
$name ($version-1) stable; urgency=medium

  * See changelog.gz, beside this file.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END

mkdir "$tree/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
cat >"$tree/DEBIAN/control" <<END
Package: $name
Version: $version-1
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(find "$tree/usr" -type f -printf "%s\n" | awk "{ kib += int((\$1 + 1023) / 1024) } END { print kib }")
Depends: passwd
Recommends: ca-certificates
Section: admin
Priority: optional
Homepage: $(field homepage)
Description: $(field description)
$(fold -s -w 75 "$here/../description" | sed 's/ *$//; s/^/ /')
END
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/${name}_$version-1_$arch.deb" >/dev/null
