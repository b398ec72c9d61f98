#!/bin/sh
# The changelog that a Debian package must have. What has changed stands in changelog.gz, our CHANGELOG.md.
#
# usage: changelog.sh VERSION, with the time in SOURCE_DATE_EPOCH

set -eu
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' "$(dirname "$0")/../../Cargo.toml")
cat <<END
s3-audit-webhook ($1-1) stable; urgency=medium

  * See changelog.gz, beside this file.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
