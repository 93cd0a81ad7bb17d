#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The watchdog and a file system that is really frozen: see tests/root/agent_freeze.c.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available xfs || skip_all "$LOOPFS_WHY"
loopfs_mount xfs 512M || skip_all "no xfs on loop devices here"
VB_FREEZE_DIR=$LOOPFS
export VB_FREEZE_DIR
while read -r line; do
    case $line in
    "ok "*) pass "${line#ok * - }" ;;
    "not ok "*) fail "${line#not ok * - }" ;;
    [0-9]*..[0-9]*) ;;
    *) echo "# $line" ;;
    esac
done < <("$abs_top_builddir/agent_freeze" 2>&1)
done_testing
