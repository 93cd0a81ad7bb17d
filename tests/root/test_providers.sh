#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The contract of the providers that make real shadow copies, on real file systems, as root and as an ordinary user.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/everything.sh"

chmod 755 "$T" "$LOOPFS_BASE" # the ordinary user comes through here

if ! loopfs_mount btrfs 512M user_subvol_rm_allowed; then
    skip_all "no btrfs on loop devices here"
fi
b=$LOOPFS
subvolumes="btrfs subvolume list '$b' | wc -l"
ok "btrfs: the contract on the top subvolume" \
    "$prog" btrfs --volume "$b" --type btrfs --tree "$b/tree" --tree "$b/tree2" --watch "$subvolumes"
btrfs -q subvolume create "$b/sub"
ok "btrfs: the contract on two subvolumes at once" "$prog" btrfs --volume "$b/sub" --type btrfs --tree "$b/sub/tree" \
    --volume "$b" --type btrfs --tree "$b/tree" --watch "$subvolumes"
everything "$b/tree" || fail "btrfs: a tree with everything"
everything "$b/sub/tree" || fail "btrfs: a tree with everything"

# nested subvolumes: in their places, also inside of each other; read-only snapshots stay out
nest() {
    btrfs -q subvolume create "$1" && mkdir -p "$1/tree" && btrfs -q subvolume create "$1/tree/nested" &&
        mkdir -p "$1/tree/nested/x" && btrfs -q subvolume create "$1/tree/nested/x/deep" && everything "$1/tree/nested/x/deep/all"
}
nest "$b/outer" || bail "no nested subvolumes"
ok "btrfs: the contract with nested subvolumes, with every attribute" \
    "$prog" btrfs --volume "$b/outer" --type btrfs --tree "$b/outer/tree" --also "$b/outer/tree/nested" \
    --also "$b/outer/tree/nested/x/deep" --watch "$subvolumes" --compare "$same"
btrfs -q subvolume snapshot -r "$b/outer/tree/nested" "$b/outer/tree/snap"
ok "btrfs: a read-only snapshot inside stays out" "$prog" btrfs --volume "$b/outer" --type btrfs --tree "$b/outer/tree" \
    --also "$b/outer/tree/nested" --quick --compare 'test -e "$1/snap/file" && ! test -e "$2/snap/file" && test -e "$2/nested/file"'
ok "btrfs: nested = name leaves them out" "$prog" btrfs -o nested=name --volume "$b/outer" --type btrfs \
    --tree "$b/outer/tree" --quick --compare 'test -e "$1/nested/file" && ! test -e "$2/nested/file"'
unlock_everything "$b/outer/tree/nested/x/deep/all"
btrfs -q subvolume delete "$b/outer/tree/snap" "$b/outer/tree/nested/x/deep" "$b/outer/tree/nested" "$b/outer"

# one subvolume in two places: one snapshot for both
mkdir "$T/second" && mount --bind "$b/sub" "$T/second"
n=$(btrfs subvolume list "$b" | wc -l)
ok "VSS-S-31 btrfs: a subvolume that is mounted twice is snapshotted once" \
    "$prog" btrfs --volume "$b/sub" --type btrfs --volume "$T/second" --type btrfs --tree "$T/second/tree2" \
    --watch "$subvolumes" --quick --compare "test \$(btrfs subvolume list '$b' | wc -l) = $((n + 1))"
umount "$T/second"
mkdir "$b/kept"
ok "btrfs: snapshots kept in another place" \
    "$prog" btrfs --volume "$b/sub" --type btrfs --tree "$b/sub/tree" -o "place=$b/kept" --watch "$subvolumes; ls -A '$b/kept'"
ok "btrfs: every attribute is shown" "$prog" btrfs --volume "$b/sub" --type btrfs --tree "$b/sub/tree" \
    --quick --compare "$same"
ok "reflink: the contract on btrfs, with every attribute" \
    "$prog" reflink --volume "$b" --type btrfs --tree "$b/tree" --tree "$b/tree2" --compare "$same"
unlock_everything "$b/tree"; unlock_everything "$b/sub/tree"
for f in begin_prepare:lie end_prepare:fail end_prepare:lie pre_commit:fail commit:fail commit:lie post_commit:fail post_commit:lie \
    pre_final:fail post_final:fail snapshot_path:lie; do
    ok "VSS-B-41 btrfs with fault $f: the set fails, nothing is left" "$prog" fault --fault -o enable=yes -o base=btrfs \
        -o "fault=$f" --volume "$b/sub" --type btrfs --volume "$b" --type btrfs --watch "$subvolumes"
    ok "VSS-B-41 reflink with fault $f: the set fails, nothing is left" "$prog" fault --fault -o enable=yes -o base=reflink \
        -o "fault=$f" --volume "$b" --type btrfs
done
is "nothing is left on the btrfs" "$(btrfs subvolume list "$b" | wc -l)" 1

# an ordinary user, on a subvolume of his own
btrfs -q subvolume create "$b/home"
mkdir "$b/home/tree" && btrfs -q subvolume create "$b/home/tree/nested"
chown -R nobody: "$b/home"
ok "btrfs: the contract as the subvolume's owner" \
    setpriv --reuid=nobody --regid=nogroup --clear-groups "$prog" btrfs --volume "$b/home" --type btrfs --tree "$b/home/tree" \
    --also "$b/home/tree/nested"

if ! loopfs_mount xfs 512M; then
    skip "reflink on xfs" "no xfs on loop devices here"
    done_testing
fi
x=$LOOPFS
loopfs_mount xfs 512M || bail "no second xfs"
y=$LOOPFS
everything "$x/tree" || fail "xfs: a tree with everything"
ok "reflink: the contract on two xfs at once, with every attribute" \
    "$prog" reflink --volume "$x" --type xfs --tree "$x/tree" --tree "$x/tree2" \
    --volume "$y" --type xfs --tree "$y/tree" --compare "$same"

unlock_everything "$x/tree"
mkdir "$x/user" && chown nobody: "$x/user"
ok "reflink: the contract as an ordinary user" \
    setpriv --reuid=nobody --regid=nogroup --clear-groups "$prog" reflink --volume "$x" --type xfs --tree "$x/user/tree"
done_testing
