#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The contract of the provider that copies while a file system is really frozen, the copies on another one.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/everything.sh"

loopfs_available xfs ext4 || skip_all "$LOOPFS_WHY"
loopfs_mount xfs 512M || bail "no xfs"
x=$LOOPFS
loopfs_mount xfs 512M || bail "no second xfs"
y=$LOOPFS
loopfs_mount ext4 256M || bail "no ext4"
e=$LOOPFS
everything "$e/tree" || fail "ext4: a tree with everything"
ok "freeze-only: the contract on ext4, with every attribute" "$prog" freeze-only --volume "$e" --type ext4 --tree "$e/tree" \
    -o "place=$y" --compare "$same" --watch "ls -A '$y'"
ok "freeze-only: the contract on two file systems at once" "$prog" freeze-only --volume "$e" --type ext4 --tree "$e/tree" \
    --volume "$x" --type xfs --tree "$x/tree" -o "place=$y"
not_ok "freeze-only: no copy goes to what is frozen" \
    "$prog" freeze-only --volume "$e" --type ext4 --tree "$e/tree" -o "place=$e"
not_ok "freeze-only: no more than the limit" \
    "$prog" freeze-only --volume "$e" --type ext4 --tree "$e/tree" -o "place=$y" -o max-bytes=100K
not_ok "freeze-only: no more files than the limit" \
    "$prog" freeze-only --volume "$e" --type ext4 --tree "$e/tree" -o "place=$y" -o max-files=5
not_ok "freeze-only: never the root file system" "$prog" freeze-only --volume / --type ext4 --tree "$T/any" -o "place=$y"
mount -o remount,strictatime "$e"
read_times() { (cd "$e/tree" && stat -c '%x %n' plain sub/random sub/second short sub sub/deep capable); }
before=$(read_times)
ok "freeze-only: the contract where access times are kept" \
    "$prog" freeze-only --volume "$e" --type ext4 --tree "$e/tree" -o "place=$y"
is "freeze-only: no access time of the originals has changed" "$(read_times)" "$before"
unlock_everything "$e/tree"
done_testing
