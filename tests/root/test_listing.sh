#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The tree with every case on real file systems, as root and as a user, from shadow copies where there are any; volumes that are
# mounted below, bind mounts, and what is left out of them.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/listing.sh"
chmod 755 "$T" "$LOOPFS_BASE"
unset VBACKUP_CONFIG
export VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$T/repo
vb() { "$abs_top_builddir/run" vbackup "$@"; }
vb init -q || bail "no repository"

for type in ext4 xfs btrfs; do
    if ! loopfs_mount $type 500M; then
        skip "every case on $type" "no $type on loop devices here"
        continue
    fi
    live=--allow-live LISTING_DEPTH=100
    [ $type = btrfs ] && LISTING_DEPTH=10000
    [ $type = btrfs ] && live=--require-snapshot
    same_listing "$type, as root" "$LOOPFS/root" $live
    if [ $type = ext4 ]; then
        install -d -o nobody "$LOOPFS/user" "$T/u"
        install -m 600 -o nobody -g nogroup "$VBACKUP_PASSWORD_FILE" "$T/u/password"
        ok "$type, as a user" setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$T/u" \
            VBACKUP_PASSWORD_FILE="$T/u/password" VBACKUP_STATE_DIR="$T/u/state" VBACKUP_RUNTIME_DIR="$T/u/run" VBACKUP_REPOSITORY="$T/u/repo" bash -c '
            cd "$HOME"; T=$HOME
            . "$abs_top_srcdir/tests/lib/listing.sh"
            vb() { "$abs_top_builddir/run" vbackup "$@"; }
            ok() { local n=$1; shift; "$@" || { echo "not ok: $n"; bad=1; return 1; }; }
            is() { [ "$2" = "$3" ] || { echo "not ok: $1: $2"; bad=1; return 1; }; }
            vb init -q && same_listing user "$0/place" --allow-live && exit ${bad:-0}' "$LOOPFS/user"
    fi
    loopfs_remove "$LOOPFS"
done

# ---- VSS-B-28: what is mounted below ----
mounts() { # everything but what is not there to be saved
    "$abs_top_builddir/list_tree" "$1" | grep -v '^\./proc '
}
if loopfs_make ext4 64M "$T/vol"; then
    mkdir -p "$T/vol/src/plain" "$T/vol/src/bind" "$T/vol/src/tmpfs" "$T/vol/src/proc" "$T/vol/src/other" "$T/vol/elsewhere"
    echo plain > "$T/vol/src/plain/f"; echo hidden > "$T/vol/src/tmpfs/hidden"; echo else > "$T/vol/elsewhere/e"
    mount --bind "$T/vol/elsewhere" "$T/vol/src/bind"
    mount -t tmpfs -o mode=1750,uid=5 none "$T/vol/src/tmpfs"
    echo mem > "$T/vol/src/tmpfs/m"
    loopfs_make xfs 320M "$T/vol/src/other" && echo other > "$T/vol/src/other/o" && chmod 2711 "$T/vol/src/other"
    mounts "$T/vol/src" > "$T/mounts.before"
    mount -t proc none "$T/vol/src/proc" # only now: nobody can read all of it
    ok "volumes mounted below are members of the set" vb backup -q --allow-live "$T/vol/src"
    ok "... and come back" vb restore -q --target "$T/mout"
    mounts "$T/mout$T/vol/src" > "$T/mounts.after"
    ok "... as they were, with the roots' own modes" cmp "$T/mounts.before" "$T/mounts.after"
    diff "$T/mounts.before" "$T/mounts.after" | sed 's/^/# /'
    is "VSS-B-30 the record names their mount points" \
        "$(vb show --document components | grep -o "mountPoint=\"[^\"]*\"" | grep -c "$T/vol")" 4
    out=$(vb backup --allow-live --one-file-system "$T/vol/src" 2>&1)
    is "one file system" $? 0
    like "... what is mounted below is left out, and counted" "$out" "left out by exclusions: 0 files, 4 directories"
    is "VSS-B-30 ... and recorded, with what was mounted" \
        "$(vb show --json | jq -r '.left_out_mounts[] | "\(.path) \(.file_system)"' | sed "s|$T/vol/src/||" | sort | paste -sd ' ')" \
        "bind ext4 other xfs tmpfs tmpfs"
    like "... show says so" "$(vb show)" "left out [^ ]*:$T/vol/src/other: .* \(xfs\) is mounted there"
    rm -rf "$T/mout"
    vb restore -q --target "$T/mout"
    is "... its places are there, empty" "$(cd "$T/mout$T/vol/src" && find . -type f)" ./plain/f
    umount "$T/vol/src/proc" "$T/vol/src/tmpfs" "$T/vol/src/bind"
fi

if loopfs_make btrfs 300M "$T/bt"; then
    mkdir -p "$T/bt/src/bind" "$T/bt/inner"
    echo top > "$T/bt/src/t"; echo inner > "$T/bt/inner/i"
    mount --bind "$T/bt/inner" "$T/bt/src/bind"
    ok "btrfs: a bind mount below, from shadow copies" vb backup -q --require-snapshot "$T/bt/src"
    rm -rf "$T/mout"
    vb restore -q --target "$T/mout"
    is "... comes back" "$(cat "$T/mout$T/bt/src/t" "$T/mout$T/bt/src/bind/i")" "top
inner"
    umount "$T/bt/src/bind"
fi
done_testing
