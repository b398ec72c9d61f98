#!/usr/bin/env bash
# The image: built from its Containerfile, and its root run in a chroot as its user, since a container's engine can't
# be had everywhere.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
file=$(dirname "$0")/../../packaging/container/Containerfile
# With what it needs no kernel's help for.
builder() { buildah --root "$DIR/images" --runroot "$DIR/images.run" --storage-driver vfs "$@"; }
clean_up() {
    builder umount --all >/dev/null 2>&1 || true
    builder rm --all >/dev/null 2>&1 || true
}
trap clean_up EXIT

say 'image: built'
builder build --isolation chroot --file "$file" --build-context stage="$STAGE" --tag $name "$(dirname "$file")" >"$DIR/build.log" 2>&1 || fail "$(<"$DIR/build.log")"
inspect() { builder inspect --type image --format "{{.OCIv1.Config.$1}}" $name; }
[ "$(inspect User) $(inspect Entrypoint) $(inspect Cmd)" = "65532:65532 [/usr/bin/$name] [run]" ] || fail 'its configuration'
label() { builder inspect --type image --format "{{index .OCIv1.Config.Labels \"org.opencontainers.image.$1\"}}" $name; }
[ "$(label licenses)" = Apache-2.0 ] && [ "$(label version)" = "$("$STAGE/bin/$name" --version | cut -d ' ' -f 2)" ] || fail 'its labels'
container=$(builder from --pull-never $name)
image=$(builder mount "$container")
(cd "$image" && find . -type f | sort) >"$DIR/files"
diff - "$DIR/files" <<END || fail 'not what should be in it'
./usr/bin/$name
./usr/share/doc/$name/LICENSE
./usr/share/doc/$name/THIRD-PARTY.txt
END

say 'image: run'
: >"$DIR/events"
echo '{"number":1}' | nsenter -t "$LEADER" --net env S3_AUDIT_WEBHOOK_ENDPOINT=$url S3_AUDIT_WEBHOOK_AUTH_TOKEN="$token" \
    chroot --userspec=65532:65532 "$image" "/usr/bin/$name" run 2>"$DIR/agent.log" || fail "$(<"$DIR/agent.log")"
written=1
check_events
! grep -qE 'WARN|ERROR|show' "$DIR/agent.log" || fail "$(<"$DIR/agent.log")"
# Nobody else could have written its state.
[ -n "$(ls "$image/var/lib/$name")" ] || fail 'it has kept no state'
