#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Traced from the record "window" to "window-closed": no system call of ours touches the volume, by path or by descriptor, but
#   frozen xfs   the watchdog's FIFREEZE and FITHAW on what it opened before
#   btrfs        one ioctl of the provider, which makes the snapshot of what it opened before, and a close
#   reflink      the provider, which clones; it syncs nothing
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available xfs || skip_all "$LOOPFS_WHY"
command -v strace > /dev/null || skip_all "no strace"
strace -o /dev/null true 2> /dev/null || skip_all "strace may not trace here"
vb() { "$abs_top_builddir/run" vbackup "$@"; }
tap_cleanup() {
    local p
    for p in $(pgrep -f "vbackup-agent supervisor"); do
        grep -qzF "VBACKUP_STATE_DIR=$T/" "/proc/$p/environ" 2> /dev/null && kill "$p"
    done
    loopfs_cleanup
}

# traced NAME, the configuration of the providers at standard input: a traced backup of what is at $LOOPFS; sets begin, end
# (lines of the two records), worker and provider (processes)
traced() {
    local dir=$T/$1
    mkdir -p "$dir" "$LOOPFS/data"
    for i in 1 2 3 4 5; do echo "$i" > "$LOOPFS/data/$i"; done
    { printf '[agent]\nidle-exit = 1s\n'; cat; printf '[writer null]\ncomponent = app\napp.path = %s\nevent-log = %s\n' \
        "$LOOPFS/data" "$dir/events"; } > "$dir/vbackup.conf"
    export VBACKUP_CONFIG=$dir/vbackup.conf VBACKUP_STATE_DIR=$dir/state VBACKUP_RUNTIME_DIR=$dir/run VBACKUP_REPOSITORY=$dir/repo
    trace=$dir/trace
    ok "$1: a repository" vb init -q
    strace -f -y -tt -s 256 -o "$trace" "$abs_top_builddir/run" vbackup backup -q > "$dir/log" 2>&1
    is "$1: the traced backup succeeds" $? 0
    begin=$(grep -n 'write(.*window set=' "$trace" | head -1 | cut -d: -f1)
    end=$(grep -n 'write(.*window-closed set=' "$trace" | head -1 | cut -d: -f1)
    worker=$(sed -n "${begin:-1}p" "$trace" | awk '{ print $1 }')
    provider=$(grep 'execve(.*"provider-host"' "$trace" | awk '{ print $1 }' | sort -u | tr '\n' ' ')
    ok "$1: both records are in the trace" [ -n "$begin" -a -n "$end" -a -n "$worker" -a -n "$provider" ]
    is "$1: the worker starts no process and syncs nothing in the window" \
        "$(in_window | awk -v p="$worker" '$1 == p' |
            grep -E ' (fork|vfork|clone|clone3|execve|fsync|syncfs|open|openat|creat|rename[a-z0-9]*|unlink[a-z]*)\(' | head -5)" ""
    # The trace sees what it is to see: outside of the window the volume is named.
    ok "$1: the volume is read afterwards" sh -c "sed -n '$((end + 1)),\$p' '$trace' | grep -qF '$LOOPFS'"
}
in_window() { sed -n "$((begin + 1)),$((end - 1))p" "$trace"; }
touching() { in_window | grep -F "$LOOPFS"; } # the volume
of_provider() { awk -v all=" $provider" '{ ours = index(all, " " $1 " ") > 0 } ours == '"$1"; }

# ---- an xfs that is frozen ----
loopfs_mount xfs 512M || skip_all "no xfs on loop devices here"
traced frozen << END
[provider null]
enable = yes
hold = 2
level = 2
delay = commit:300
[provider btrfs]
enabled = no
[provider reflink]
enabled = no
END
freeze=$(grep -n 'FIFREEZE' "$trace" | head -1 | cut -d: -f1)
thaw=$(grep -n 'FITHAW' "$trace" | tail -1 | cut -d: -f1)
ok "frozen: it was frozen and thawed" [ -n "$freeze" -a -n "$thaw" ]
ok "frozen: for as long as the commit took" [ "$((thaw - freeze))" -gt 10 ]
is "frozen: no other system call touches the file system until it is thawed" \
    "$(sed -n "${freeze},${thaw}p" "$trace" | grep -F "$LOOPFS" | grep -v 'FIFREEZE\|FITHAW' | head -5)" ""

# ---- clones on an xfs ----
loopfs_mount xfs 512M || bail "no second xfs"
traced reflink << END
[provider btrfs]
enabled = no
END
ok "reflink: the files are cloned in the window" [ "$(touching | of_provider 1 | grep -c FICLONE)" = 5 ]
is "reflink: nobody but the provider touches the volume in the window" "$(touching | of_provider 0 | head -5)" ""
is "reflink: the provider syncs nothing and removes nothing in the window" \
    "$(in_window | of_provider 1 | grep -E ' (fsync|fdatasync|syncfs|sync|unlink[a-z]*|rename[a-z0-9]*)\(' | head -5)" ""

# ---- a snapshot on btrfs ----
if ! loopfs_available btrfs || ! loopfs_mount btrfs 512M; then
    skip "the window of a btrfs" "no btrfs on loop devices here"
    done_testing
fi
traced btrfs < /dev/null
is "btrfs: the snapshot is one call in the window" "$(touching | grep -c 'ioctl(.*BTRFS_IOC_SNAP_CREATE')" 1
is "btrfs: nobody but the provider touches the volume in the window" "$(touching | of_provider 0 | head -5)" ""
is "btrfs: and the provider with nothing else" "$(touching | of_provider 1 | grep -v 'BTRFS_IOC_SNAP_CREATE\| close(' | head -5)" ""
is "btrfs: the provider syncs nothing and removes nothing in the window" \
    "$(in_window | of_provider 1 | grep -E ' (fsync|fdatasync|syncfs|sync|unlink[a-z]*|rename[a-z0-9]*)\(' | head -5)" ""
done_testing
