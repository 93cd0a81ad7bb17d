#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Restores as root into places where another user swaps everything he can, on real file systems.  RACE_MS: time for each of
# the six attacks; test_race_long.sh gives hours.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
chmod 755 "$T" "$LOOPFS_BASE"
unset CMOCKA_MESSAGE_OUTPUT
export RACE_MS=${RACE_MS:-500}
for type in ext4 btrfs; do
    if ! loopfs_mount $type 400M; then
        skip "races on $type" "no $type on loop devices here"
        continue
    fi
    mkdir -m 1777 "$LOOPFS/tmp"
    ok "$type: nothing outside is touched, whatever another user swaps meanwhile" \
        env TMPDIR="$LOOPFS/tmp" "$abs_top_builddir/test_restore_safe"
    loopfs_remove "$LOOPFS"
done
done_testing
