#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Capture and restore on real file systems, as root and as an ordinary user; mount points, nested subvolumes, a full disk.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
chmod 755 "$T" "$LOOPFS_BASE"
cap=$abs_top_builddir/test_capture rules=$abs_top_builddir/test_capture_rules res=$abs_top_builddir/test_restore
unset CMOCKA_MESSAGE_OUTPUT
as_user() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }

for type in ext4 xfs btrfs; do
    if ! loopfs_mount $type 1500M; then
        skip "fidelity on $type" "no $type on loop devices here"
        continue
    fi
    mkdir -m 1777 "$LOOPFS/tmp"
    ok "$type: everything comes back, as root" env TMPDIR="$LOOPFS/tmp" "$cap"
    ok "$type: everything comes back, as a user" as_user env TMPDIR="$LOOPFS/tmp" "$cap"
    ok "$type: file sets mean what the rules say, as a user" as_user env TMPDIR="$LOOPFS/tmp" "$rules"
    ok "$type: restore in hostile places, as root" env TMPDIR="$LOOPFS/tmp" "$res"
    loopfs_remove "$LOOPFS"
done
done_testing
