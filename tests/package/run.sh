#!/usr/bin/env bash
# Uses every package as an administrator would: a Debian of this machine's release is set up in a directory and booted
# with systemd of its own, in a network of its own with a webhook in it; there packages are installed, configured,
# upgraded, removed. What is written to its disk is gone afterwards.
#
# usage: run.sh DIST OLDER STAGE RECEIVER      needs root, and apt for what it uses; the directory is kept beside DIST
#
# PACKAGES=… are those to try, of deb, rpm, tarball and image.
#
# DIST has this version's packages, OLDER the deb and the rpm of an earlier one, STAGE what the image is made of.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
DIST=$(realpath "$1") OLDER=$(realpath "$2") STAGE=$(realpath "$3") receiver=$(realpath "$4")
base=$(dirname "$DIST")/package-test
DIR=$(mktemp -d)
export DIST OLDER STAGE DIR

[ "$(id -u)" = 0 ] || { echo 'package: SKIPPED: needs root' && exit 0; }

need() { # command, Debian package
    command -v "$1" >/dev/null || {
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends "$2"
    } >"$DIR/apt.log" 2>&1 || { cat "$DIR/apt.log" >&2 && exit 1; }
}

webhook='' nspawn=''
finish() {
    local code=$?
    trap - EXIT
    [ -z "$webhook" ] || kill "$webhook" || true
    if [ -n "$nspawn" ]; then
        # It shuts the system down.
        kill "$nspawn" || true
        for _ in $(seq 300); do
            kill -0 "$nspawn" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$nspawn" 2>/dev/null || true
    fi
    [ "$code" = 0 ] || cat "$DIR"/*.log >&2
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

need debootstrap debootstrap
need systemd-nspawn systemd-container
need pgrep procps
need lintian lintian
need buildah buildah

# Debian's files, from where this machine gets its packages.
if [ ! -e "$base/complete" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    # shellcheck disable=SC2016 # it is apt's
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/*$')
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,rpm "$release" "$base/root" "$mirror" \
        >"$DIR/debootstrap.log"
    touch "$base/complete"
fi

systemd-nspawn --quiet --register=no --keep-unit --directory="$base/root" --volatile=overlay --boot --private-network \
    --machine="package-test-$$" --console=pipe </dev/null >"$DIR/boot.log" 2>&1 &
nspawn=$!
booting() { LEADER=$(pgrep -P $nspawn) && [ -S "/proc/$LEADER/root/run/systemd/private" ]; }
for _ in $(seq 300); do
    ! booting || break
    kill -0 $nspawn
    sleep 0.1
done
export LEADER
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

: >"$DIR/webhook.log"
nsenter -t "$LEADER" --net "$receiver" --events "$DIR/events" --tokens "$DIR/tokens" 127.0.0.1:8088 >"$DIR/webhook.log" 2>&1 &
webhook=$!
await 20 'the webhook' grep -q http: "$DIR/webhook.log"

for package in ${PACKAGES:-deb rpm tarball image}; do
    "$here/$package.sh"
    echo "package: $package: ok"
done
