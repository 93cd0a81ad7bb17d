#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Traced from the record "window" to "window-closed": no system call of ours touches the file system that is frozen, by path or by
# descriptor, but the watchdog's FIFREEZE and FITHAW on what it opened before.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available xfs || skip_all "$LOOPFS_WHY"
command -v strace > /dev/null || skip_all "no strace"
strace -o /dev/null true 2> /dev/null || skip_all "strace may not trace here"
loopfs_mount xfs 512M || skip_all "no xfs on loop devices here"
mkdir "$LOOPFS/data"
echo one > "$LOOPFS/data/a"
cat > "$T/vbackup.conf" <<END
[agent]
idle-exit = 1s
[provider null]
enable = yes
hold = 2
level = 2
delay = commit:300
[provider btrfs]
enabled = no
[provider reflink]
enabled = no
[writer null]
component = app
app.path = $LOOPFS/data
event-log = $T/events
END
export VBACKUP_CONFIG=$T/vbackup.conf VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$T/repo
vb() { "$abs_top_builddir/run" vbackup "$@"; }
tap_cleanup() {
    local p
    for p in $(pgrep -f "vbackup-agent supervisor"); do
        grep -qzF "VBACKUP_STATE_DIR=$T/state" "/proc/$p/environ" 2> /dev/null && kill "$p"
    done
    loopfs_cleanup
}
ok "a repository" vb init -q
strace -f -y -tt -s 256 -o "$T/trace" "$abs_top_builddir/run" vbackup backup -q > "$T/log" 2>&1
is "the traced backup succeeds" $? 0

# From the first FIFREEZE to the last FITHAW that returned: every line that names the mount.
freeze=$(grep -n 'FIFREEZE' "$T/trace" | head -1 | cut -d: -f1)
thaw=$(grep -n 'FITHAW' "$T/trace" | tail -1 | cut -d: -f1)
ok "it was frozen and thawed" [ -n "$freeze" -a -n "$thaw" ]
ok "for as long as the commit took" [ "$((thaw - freeze))" -gt 10 ]
is "no other system call touches the frozen file system" \
    "$(sed -n "${freeze},${thaw}p" "$T/trace" | grep -F "$LOOPFS" | grep -v 'FIFREEZE\|FITHAW' | head -5)" ""
# The whole window, from the journal's record on: nothing is written to a file, nothing is synced, nothing is started by the agent.
begin=$(grep -n 'write(.*window set=' "$T/trace" | head -1 | cut -d: -f1)
end=$(grep -n 'write(.*window-closed set=' "$T/trace" | head -1 | cut -d: -f1)
worker=$(sed -n "${begin}p" "$T/trace" | awk '{ print $1 }')
ok "both records are in the trace" [ -n "$begin" -a -n "$end" -a -n "$worker" ]
is "the worker starts no process and syncs nothing in the window" \
    "$(sed -n "$((begin + 1)),$((end - 1))p" "$T/trace" | awk -v p="$worker" '$1 == p' |
        grep -E ' (fork|vfork|clone|clone3|execve|fsync|syncfs|open|openat|creat|rename[a-z0-9]*|unlink[a-z]*)\(' | head -5)" ""
# The trace sees what it is to see: outside of the window the mount is named.
ok "the file system is read afterwards" sh -c "sed -n '$((thaw + 1)),\$p' '$T/trace' | grep -qF '$LOOPFS/data'"
done_testing
