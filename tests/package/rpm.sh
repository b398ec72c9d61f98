#!/usr/bin/env bash
# The rpm: its payload and scripts, installed, used, upgraded, removed. By rpm itself, on Debian, since that is all it
# takes; its dependencies, which Debian's packages do not tell of, are not looked at.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

cp "$OLDER"/*.rpm "$root/root/older.rpm"
cp "$DIST"/*."$(uname -m)".rpm "$root/root/new.rpm"
# Debian's rpm wants to be told so, up to Debian 12.
force=--force-debian
inside rpm $force --version >/dev/null 2>&1 || force=
# shellcheck disable=SC2086 # it may be none
rpm() { inside rpm $force "$@"; }
change() { rpm --nodeps "$@" >"$DIR/rpm.log" 2>&1 || fail "rpm $*"; }

say 'rpm: its payload'
rpm -qlp /root/new.rpm | sort >"$DIR/listed"
{
    printf '%s\n' /etc/$name /etc/$name/agent.env
    cd "$STAGE" && find bin lib share -type f -printf '/usr/%p\n' && find share/doc/$name -type d -printf '/usr/%p\n'
} | sort >"$DIR/expected"
diff "$DIR/expected" "$DIR/listed" || fail 'its files are not those that were staged'
rpm -qp --recommends /root/new.rpm | grep -qx ca-certificates || fail 'it does not recommend trusted roots'
[ "$(rpm -qcp /root/new.rpm)" = /etc/$name/agent.env ] || fail 'agent.env is no configuration file'

say 'rpm: installed, and first use'
change --install /root/older.rpm
! is_active || fail 'it runs although nobody has said where events come from'
configure_and_start

say 'rpm: upgraded'
process=$(property MainPID)
change --upgrade /root/new.rpm
check_upgraded "$process"
changed=$(rpm -V --nodeps $name || true)
[ "${changed##* }" = /etc/$name/agent.env ] || fail "what is there is not its payload: $changed"

say 'rpm: removed'
change --erase $name
check_removed /usr
cmp "$DIR/agent.env" "$root/etc/$name/agent.env.rpmsave"
cmp "$DIR/webhook.env" "$root/etc/$name/webhook.env"
rm -r "${root:?}/etc/$name" "${root:?}/var/lib/$name"
check_purged
