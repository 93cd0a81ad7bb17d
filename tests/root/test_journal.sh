#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The change journal (fanotify) on real file systems: random changes, what fanotify does not see, gaps, shadow copies.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"

rounds=${VB_JOURNAL_ROUNDS:-6}
prog=$abs_top_builddir/test_capture_journal
export VB_JOURNAL_PROGRAM=$abs_top_builddir/vbackup-journal VBACKUP_JOURNAL=$T/journal.sock
# the first process of this machine may be one that not even root may look into
cat /proc/1/maps > /dev/null 2>&1 || export VBACKUP_TEST_BLIND_PID=1
for type in ext4 xfs btrfs; do
    if ! loopfs_mount "$type" 512M; then
        skip "the journal on $type" "${LOOPFS_WHY:-no $type on loop devices here}"
        continue
    fi
    VB_TEST_IMAGE= VB_TEST_OPTIONS=ro
    case $type in # an image of btrfs cannot be mounted twice
    ext4) VB_TEST_IMAGE=${LOOPFS_DIRS[-1]#*|} ;;
    xfs) VB_TEST_IMAGE=${LOOPFS_DIRS[-1]#*|} VB_TEST_OPTIONS=ro,nouuid,norecovery ;;
    esac
    export VB_TEST_IMAGE VB_TEST_OPTIONS
    ok "the journal on $type: never a missed change" env TMPDIR="$LOOPFS" VB_TEST_ROUNDS="$rounds" timeout 300 "$prog"
done

# a volume that is mounted anew is another coverage
if loopfs_mount ext4 64M; then
    image=${LOOPFS_DIRS[-1]#*|}
    "$VB_JOURNAL_PROGRAM" run "$LOOPFS" 2> "$T/service.log" &
    service=$!
    for _ in $(seq 200); do [ -S "$VBACKUP_JOURNAL" ] && break; sleep 0.05; done
    status() { "$VB_JOURNAL_PROGRAM" status "$@"; }
    like "it says what it watches" "$(status)" "^$LOOPFS: watched since .* \\(the journal service was started\\)"
    is "the same for programs" "$(status --json | tr -d ' \n' | grep -o '"watching":[a-z]*')" '"watching":true'
    is "its socket is for root alone" "$(stat -c %a "$VBACKUP_JOURNAL")" 600
    ok "a watched volume can be unmounted" umount "$LOOPFS"
    ok "and mounted again" mount -o loop "$image" "$LOOPFS"
    like "which is told" "$(status)" "^$LOOPFS: watched since .*mounted anew"
    not_ok "a second service is refused" "$VB_JOURNAL_PROGRAM" run "$LOOPFS"
    kill "$service"
    wait "$service"
    is "it ends when told to" "$?" 0
    not_ok "without it there is no status" status
else
    skip "a volume mounted anew" "${LOOPFS_WHY:-no ext4 on loop devices here}"
fi
done_testing
