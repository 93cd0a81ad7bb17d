#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which provider takes which volume of a real mount table (S-25 to S-31), and what is said where none can: btrfs with a nested
# subvolume, xfs, ext4, bind mounts, tmpfs, overlayfs; several kinds in one set.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
loopfs_available btrfs xfs ext4 || skip_all "$LOOPFS_WHY"
LOOPFS_IMAGES=$(mktemp -d /dev/shm/vbackup-test.XXXXXX 2> /dev/null || echo "$LOOPFS_BASE")
extra=()
tap_cleanup() {
    local m
    scenario_cleanup 2> /dev/null
    for m in "${extra[@]}"; do umount -l "$m" 2> /dev/null; done
    loopfs_cleanup
    rm -rf "$LOOPFS_IMAGES"
}
loopfs_mount btrfs 512M || bail "no btrfs"
b=$LOOPFS
loopfs_mount xfs 512M || bail "no xfs"
x=$LOOPFS
loopfs_mount ext4 256M || bail "no ext4"
e=$LOOPFS
mkdir -p "$T/tmpfs" "$T/over" "$T/bind" && mount -t tmpfs none "$T/tmpfs" && extra+=("$T/tmpfs") || bail "no tmpfs"
for d in "$b" "$x" "$e" "$T/tmpfs"; do mkdir "$d/data" && echo content > "$d/data/file"; done
btrfs -q subvolume create "$b/data/nested" && echo deep > "$b/data/nested/file"
mkdir "$T/tmpfs/upper" "$T/tmpfs/work"
overlay=
if mount -t overlay none -o "lowerdir=$x/data,upperdir=$T/tmpfs/upper,workdir=$T/tmpfs/work" "$T/over" 2> /dev/null; then
    overlay=1 extra+=("$T/over")
fi

printf '[requester]\nname = here\n' > "$T/vbackup.conf" && chmod 600 "$T/vbackup.conf"
ok "init" vb init
plan() { vb plan backup "$@" 2>&1; }
said=$(plan "$b/data")
like "btrfs: the provider btrfs" "$said" "btrfs"
like "btrfs: the nested subvolume is said to be part of it" "$said" "nested subvolumes '$b/data/nested'"
like "VSS-S-25 xfs: the provider reflink" "$(plan "$x/data")" "reflink"
said=$(plan "$e/data")
like "ext4: refused unless a live reading or a freeze is allowed" "$said" "not allowed \(--allow-freeze\)"
like "ext4: why each other provider cannot" "$said" "provider 'reflink': neither xfs nor btrfs"
like "ext4: freeze-only where the job allows it" "$(plan --allow-freeze "$e/data")" "freeze-only"
like "ext4: live where only that is allowed" "$(plan --allow-live "$e/data")" "read live while it may change"
said=$(plan --allow-freeze "$T/tmpfs/data")
like "tmpfs: cannot be frozen, and is refused" "$said" "provider 'freeze-only': this file system cannot be frozen"
if [ -n "$overlay" ]; then
    said=$(plan --allow-freeze "$T/over")
    like "overlayfs: refused, with the volume and its type" "$said" "'$T/over' \(overlay\)"
else
    skip "overlayfs" "it cannot be mounted here"
fi

ok "reflink: a first backup" vb backup "$x/data"
ok "... and a second" vb backup "$x/data"
like "... that reads nothing, though every clone has an inode of its own" "$(vb show)" "0 of 1 files read; walk"
touch -m -d 2001-01-01 "$x/data/file"
ok "... and one after a time was changed" vb backup "$x/data"
like "... that reads this file" "$(vb show)" "1 of 1 files read; walk"

mount --bind "$x/data" "$T/bind" && extra+=("$T/bind")
like "a bind mount on xfs: the provider reflink" "$(plan "$T/bind")" "reflink"
ok "VSS-S-31 a directory and its bind mount in one set" vb backup "$x/data" "$T/bind"
is "no hidden directory is left" "$(find "$x" -name .vbackup)" ""

mkdir "$T/bind2" && mount --bind "$e/data" "$T/bind2" && extra+=("$T/bind2")
ok "VSS-S-31 a file system that is mounted twice is frozen once" vb backup --allow-freeze "$e/data" "$T/bind2"
ok "and thawed" timeout 5 touch "$e/data/between"

# several kinds in one set, one window
said=$(plan --allow-freeze "$b/data" "$x/data" "$e/data")
for p in btrfs reflink freeze-only; do like "VSS-S-27 several providers in one set: $p" "$said" "$p"; done
ok "VSS-S-27 a backup with three providers" vb backup --allow-freeze "$b/data" "$x/data" "$e/data"
said=$(vb show latest 2>&1)
like "VSS-B-40 how far apart they may be is recorded" "$said" "within [0-9]+\.[0-9] ms"
ok "restored" vb restore --target "$T/out" latest
is "the nested subvolume was captured" "$(cat "$T/out$b/data/nested/file")" deep
is "what was copied under freeze was captured" "$(cat "$T/out$e/data/file")" content
ok "ext4 is thawed" timeout 5 touch "$e/data/after"
is "no subvolume is left" "$(btrfs subvolume list "$b" | wc -l)" 1
is "no copy is left" "$(find "$T/state" -path '*freeze-only*' -name '????????-*')" ""
done_testing
