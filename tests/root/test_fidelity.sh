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

# the whole way, with the real program
printf '[requester]\nallow-live = yes\n' > "$T/vbackup.conf"
export VBACKUP_CONFIG=$T/vbackup.conf VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$T/repo
vb() { "$abs_top_builddir/run" vbackup "$@"; }
ok "a repository" vb init
src=$T/src
mkdir -p "$src/plain"
echo plain > "$src/plain/f"
if loopfs_make ext4 64M "$src/mounted"; then
    echo mounted > "$src/mounted/g"
    ok "a file system mounted below is part of it" vb backup -q "$src"
    ok "and comes back" vb restore -q latest --target "$T/out"
    is "from both" "$(cat "$T/out$src/plain/f" "$T/out$src/mounted/g" 2>&1)" "plain
mounted"
fi

if loopfs_make ext4 16M "$T/small"; then
    head -c 30M /dev/urandom > "$src/plain/big"
    ok "more than fits, backed up" vb backup -q "$src/plain"
    got=$(vb restore latest --target "$T/small/out" 2>&1)
    like "more than fits is refused" "$got" "are needed, .* are free"
    is "and nothing was written" "$(find "$T/small" -mindepth 1 ! -name lost+found | wc -l)" 0
fi

# a device node that a user may not make: partly done
mkdir "$T/dev" "$T/user"
mknod "$T/dev/null" c 1 3 && echo file > "$T/dev/f"
ok "a device node is backed up" vb backup -q "$T/dev"
ok "and comes back, as root" vb restore -q latest --target "$T/devroot"
is "as a device" "$(stat -c %F "$T/devroot$T/dev/null")" "character special file"
chown -R nobody "$T/repo" "$T/user"
chmod 755 "$T"
install -m 600 -o nobody -g nogroup "$VBACKUP_PASSWORD_FILE" "$T/user/password" # a file of its owner's alone
got=$(as_user env VBACKUP_PASSWORD_FILE="$T/user/password" VBACKUP_STATE_DIR="$T/user/state" VBACKUP_RUNTIME_DIR="$T/user/run" "$abs_top_builddir/run" vbackup restore latest \
    --target "$T/user/out" 2>&1)
is "as a user the restore is partly done" $? 3
like "it says what is missing" "$got" "without 1 device node"
is "the rest is there" "$(cat "$T/user/out$T/dev/f")" file
chown -R root "$T/repo"

if loopfs_make btrfs 512M "$T/b"; then
    btrfs -q subvolume create "$T/b/data"
    mkdir "$T/b/data/x"
    echo old > "$T/b/data/x/f"
    btrfs -q subvolume create "$T/b/data/x/nested"
    echo inner > "$T/b/data/x/nested/g"
    got=$(vb backup "$T/b/data/x" 2>&1)
    is "a nested subvolume is part of the backup" "$? $(grep -c 'complete .* 2 files' <<< "$got")" "0 1"
    btrfs -q subvolume snapshot -r "$T/b/data/x/nested" "$T/b/data/x/kept"
    got=$(vb backup "$T/b/data/x" 2>&1)
    is "a backup without a nested read-only snapshot is partial" $? 3
    like "which is named" "$got" "x/kept': nested subvolume is not part of the shadow copy"
    btrfs -q subvolume delete "$T/b/data/x/kept"
    printf '[provider btrfs]\nnested = name\n' >> "$VBACKUP_CONFIG"
    got=$(vb backup "$T/b/data/x" 2>&1)
    is "a backup without a nested subvolume is partial" $? 3
    like "which is named" "$got" "x/nested': nested subvolume is not part of the shadow copy"
    is "no shadow copy is left" "$(btrfs subvolume list "$T/b" | wc -l) $(ls -A "$T/b/data")" "2 x"
fi
done_testing
