#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The power of the storage fails while a backup or a prune is at work: the shutdown ioctl stops an xfs with what it has not
# written yet in memory.  What was reported durable is there, no earlier backup is lost, the next command needs no repair.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available xfs || skip_all "$LOOPFS_WHY"
command -v xfs_io > /dev/null || skip_all "no xfs_io (package xfsprogs)"
loopfs_mount xfs 500M || skip_all "no xfs on loop devices here"
image=${LOOPFS_DIRS[0]#*|}
export VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$LOOPFS/repo VBACKUP_CONFIG=$T/vbackup.conf
printf '[requester]\nname = here\nallow-live = yes\n[agent]\nidle-exit = 1s\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
vb() { "$abs_top_builddir/run" vbackup "$@"; }
mkdir "$T/src"
good=0 # backups that were reported
make_files() { for i in 1 2 3 4; do head -c 1500000 /dev/urandom > "$T/src/$i"; done; echo "$1" > "$T/src/round"; }

# cut DELAY COMMAND...: sets status; after it the file system is mounted again, as after a power cut
cut() {
    local delay=$1 pid; shift
    "$abs_top_builddir/run" vbackup "$@" > "$T/log" 2>&1 < /dev/null &
    pid=$!
    sleep "$delay"
    xfs_io -x -c shutdown "$LOOPFS" || fail "shutdown"
    wait "$pid"; status=$?
    umount "$LOOPFS" && mount -o loop "$image" "$LOOPFS" || fail "mounted again"
}
whole() { # the newest that was reported comes back
    rm -rf "$T/out"
    vb restore -q latest --target "$T/out" && diff -r "$T/src" "$T/out$T/src"
}

make_files 0
vb init -q > /dev/null && vb backup -q "$T/src" || bail "no backup to begin with"
good=1
for delay in 0.02 0.15 0.4; do
    make_files "$delay"
    cut "$delay" backup -q "$T/src"
    listed=$(vb list --json | jq -s length)
    if [ "$status" = 0 ]; then
        good=$((good + 1))
        is "cut after $delay s, reported: it is there" "$listed" "$good"
        ok "cut after $delay s, reported: it comes back" whole
    elif [ "$listed" = "$good" ] || [ "$listed" = $((good + 1)) ]; then # it may be there although nobody could say so
        pass "cut after $delay s, not reported: those before are there"
        good=$listed
    else
        fail "cut after $delay s: $listed backups are there, of $good"
    fi
    ok "cut after $delay s: no damage" vb check -q --read-data
done
make_files last
vb backup -q "$T/src" > "$T/log" 2>&1; status=$?
xfs_io -x -c shutdown "$LOOPFS" # in the moment in which it was reported
umount "$LOOPFS" && mount -o loop "$image" "$LOOPFS" || fail "mounted again"
good=$((good + 1))
is "reported, and then cut: exit status" "$status" 0
is "reported, and then cut: it is there" "$(vb list --json | jq -s length)" "$good"
ok "reported, and then cut: it comes back" whole
ok "the next backup needs no repair" vb backup -q "$T/src"
good=$((good + 1))
ok "it comes back" whole
vb forget -q --keep-last 1 --accept-change > /dev/null
for delay in 0.05 0.2; do
    cut "$delay" prune -q --delay 0s
    is "prune cut after $delay s: what is kept is there" "$(vb list --json | jq -s length)" 1
    ok "prune cut after $delay s: and comes back" whole
    ok "prune cut after $delay s: no damage" vb check -q --read-data
done
ok "the next prune needs no repair" vb prune -q --delay 0s
ok "and another backup" vb backup -q "$T/src"
ok "no damage" vb check -q --read-data
done_testing
