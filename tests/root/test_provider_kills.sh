#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Worker, supervisor and the provider's own process killed while real shadow copies are made: btrfs, reflink on xfs, and an
# xfs that is frozen.  The calls where most is at stake; every call in test_provider_kills_long.sh.
CALLS=${CALLS-"commit pre_final delete"}
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available btrfs xfs || skip_all "$LOOPFS_WHY"
kills() { # BASE DIR, more variables
    local base=$1 dir=$2
    shift 2
    env ${CALLS:+KILLS_CALLS="$CALLS"} ${ALL:+KILLS_ALL=1} KILLS_BASE="$base" KILLS_DATA="$dir" "$@" \
        "$abs_top_builddir/run" "$abs_top_builddir/test_provider_kills" > "$T/kills.log" 2>&1
    local rc=$?
    sed -n 's/^# \(.* killed\)/# \1/p' "$T/kills.log" | sort > "$T/kills.seen"
    [ $rc = 0 ] && [ -s "$T/kills.seen" ] || { cat "$T/kills.log" >&2; return 1; }
    cat "$T/kills.seen"
}
loopfs_mount btrfs 1G || skip_all "no btrfs on loop devices here"
b=$LOOPFS
ok "btrfs: killed inside of the calls, and nothing is left" kills btrfs "$b"
is "no snapshot is left on the btrfs" "$(btrfs subvolume list -s "$b" | wc -l)" 0
is "nor anything else" "$(find "$b" -name '.vbackup*' | wc -l)" 0
loopfs_mount xfs 512M || bail "no xfs"
x=$LOOPFS
ok "reflink: killed inside of the calls, and nothing is left" kills reflink "$x"
is "no clone is left on the xfs" "$(find "$x" -name '.vbackup*' | wc -l)" 0
loopfs_mount xfs 512M || bail "no second xfs"
y=$LOOPFS
[ -z "$CALLS" ] || CALLS=commit # the file system is there for one at a time
ok "a frozen xfs: killed inside of the calls, and it is thawed" kills null "$y" KILLS_HOLD=2 KILLS_SERIAL=1
ok "it can be unmounted" umount "$y"
done_testing
