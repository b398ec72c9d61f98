#!/usr/bin/env bash
# The tarball and its install.sh: installed below a directory, and then for real, used, upgraded, removed, purged.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

say 'tarball: below DESTDIR'
tar -C "$root/root" -xzf "$DIST"/*-"$(uname -m)".tar.gz
unpacked=$(cd "$root/root" && echo $name-*)
inside env DESTDIR=/root/destdir PREFIX=/opt/audit "/root/$unpacked/install.sh"
(cd "$root/root/destdir" && find . -type f -not -path './opt/audit/share/*' | sort) >"$DIR/installed"
diff - "$DIR/installed" <<END || fail 'not what should be there'
./etc/$name/agent.env
./etc/systemd/system/$name.service
./opt/audit/bin/$name
END
grep -qx "ExecStart=/opt/audit/bin/$name run" "$root/root/destdir/etc/systemd/system/$name.service"
inside env DESTDIR=/root/destdir PREFIX=/opt/audit "/root/$unpacked/install.sh" purge
[ -z "$(find "$root/root/destdir" -type f)" ] || fail 'not all is removed'

say 'tarball: installed, and first use'
inside "/root/$unpacked/install.sh"
! is_active || fail 'it runs although nobody has said where events come from'
configure_and_start

say 'tarball: upgraded'
process=$(property MainPID)
inside "/root/$unpacked/install.sh"
check_upgraded "$process"

say 'tarball: uninstalled'
inside "/root/$unpacked/install.sh" uninstall
check_removed /usr/local
check_settings

say 'tarball: purged'
inside "/root/$unpacked/install.sh" purge
check_purged
! inside getent passwd $name >/dev/null || fail 'the user is left'

# Whom a page puts into its group leaves that behind, alone.
say 'tarball: installed once more'
inside groupadd --system $name
inside "/root/$unpacked/install.sh"
[ "$(inside id --group --name $name)" = $name ] || fail 'the user is in another group'
inside "/root/$unpacked/install.sh" purge
