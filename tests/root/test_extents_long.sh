#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Changed ranges of large files on a real btrfs, for long: many thousand random changes under many seeds (SEEDS, ROUNDS).
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"

chmod 755 "$T" "$LOOPFS_BASE"
for ((seed = 100; seed < 100 + ${SEEDS:-20}; seed++)); do
    if ! loopfs_mount btrfs 512M; then
        skip "random changes of large files" "${LOOPFS_WHY:-no btrfs on loop devices here}"
        break
    fi
    chmod 755 "$LOOPFS"
    ok "random changes of large files, seed $seed" \
        env TMPDIR="$LOOPFS" VB_TEST_SEED=$seed VB_TEST_ROUNDS="${ROUNDS:-400}" "$abs_top_builddir/test_capture_extents"
    loopfs_remove "$LOOPFS"
done
done_testing
