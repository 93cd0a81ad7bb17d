#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Change detection on real file systems: snapshots of btrfs (generations), xfs and ext4 (walk).
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"

chmod 755 "$T" "$LOOPFS_BASE" # a test gives up root
prog=$abs_top_builddir/test_capture_look
for type in btrfs xfs ext4; do
    if ! loopfs_mount "$type" 512M; then
        skip "random changes on $type" "${LOOPFS_WHY:-no $type on loop devices here}"
        continue
    fi
    chmod 755 "$LOOPFS"
    ok "random changes on $type: never a missed one" env TMPDIR="$LOOPFS" VB_TEST_ROUNDS=8 timeout 100 "$prog"
done
if loopfs_mount btrfs 512M; then
    chmod 755 "$LOOPFS"
    ok "random changes of large files: what is taken over is as it was" \
        env TMPDIR="$LOOPFS" VB_TEST_ROUNDS=25 timeout 200 "$abs_top_builddir/test_capture_extents"
else
    skip "random changes of large files" "${LOOPFS_WHY:-no btrfs on loop devices here}"
fi
done_testing
