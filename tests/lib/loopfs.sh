# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/loopfs.sh - file systems on loop devices for tests that run as root: . "$abs_top_srcdir/tests/lib/loopfs.sh"
#
#   loopfs_available TYPE...        can these be made and mounted here? (else sets LOOPFS_WHY)
#   loopfs_make TYPE SIZE DIR [OPTIONS]   makes a file system (btrfs, xfs, ext4; SIZE as 512M) in an image, mounts it at DIR
#   loopfs_mount TYPE SIZE [OPTIONS]      the same at a place of its own choice; sets LOOPFS
#   loopfs_remove DIR               unmounts it and deletes its image
#   loopfs_cleanup                  removes all of them; a test that has its own tap_cleanup calls it there
#
# Images lie in LOOPFS_IMAGES (default LOOPFS_BASE, best on a tmpfs) and are sparse.  The loop device detaches itself when
# the last mount is gone, so that nothing is left even if the test is killed with its mount namespace.
LOOPFS_BASE=$T/loopfs # of what loopfs_mount makes
mkdir -p "$LOOPFS_BASE"
LOOPFS_DIRS=()

loopfs_available() {
    local t
    [ "$(id -u)" = 0 ] || { LOOPFS_WHY="not root"; return 1; }
    [ -e /dev/loop-control ] && losetup -f > /dev/null 2>&1 || { LOOPFS_WHY="no loop devices here"; return 1; }
    for t in "$@"; do
        command -v "mkfs.$t" > /dev/null || { LOOPFS_WHY="no mkfs.$t"; return 1; }
        grep -qw "$t" /proc/filesystems || modprobe -q "$t" 2> /dev/null || { LOOPFS_WHY="the kernel has no $t"; return 1; }
    done
}

loopfs_mkfs() {
    case $1 in
    btrfs) mkfs.btrfs -q -f -m single "$2" > /dev/null 2>&1 ;; # it tells its news whatever -q says
    xfs) mkfs.xfs -q -f -m reflink=1 "$2" ;;
    ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$2" ;;
    *) echo "loopfs: unknown type $1" >&2; return 1 ;;
    esac
}

loopfs_make() {
    local type=$1 size=$2 dir=$3 options=${4:-} images=${LOOPFS_IMAGES:-$LOOPFS_BASE} image
    mkdir -p "$dir" "$images" || return 1
    image=$(mktemp "$images/$type.XXXXXX") || return 1
    if truncate -s "$size" "$image" && loopfs_mkfs "$type" "$image" && mount -o "loop${options:+,$options}" "$image" "$dir"; then
        LOOPFS_DIRS+=("$dir|$image")
        return 0
    fi
    rm -f "$image"
    return 1
}

loopfs_mount() {
    LOOPFS=$LOOPFS_BASE/mnt${#LOOPFS_DIRS[@]}
    loopfs_make "$1" "$2" "$LOOPFS" "${3:-}"
}

# Thaws, in case a failed test left it frozen, and unmounts whatever lies on top of each other there.
loopfs_unmount() {
    local i
    for i in 1 2 3 4 5 6 7 8; do
        mountpoint -q "$1" || return 0
        fsfreeze --unfreeze "$1" 2> /dev/null
        umount -R "$1" 2> /dev/null || { [ "$i" -gt 4 ] && umount -R -l "$1"; } || sleep 0.2
    done
    ! mountpoint -q "$1"
}

loopfs_remove() {
    local i
    for i in "${!LOOPFS_DIRS[@]}"; do
        [ "${LOOPFS_DIRS[i]%%|*}" = "$1" ] || continue
        loopfs_unmount "$1" || return 1
        rm -f "${LOOPFS_DIRS[i]#*|}"
        unset "LOOPFS_DIRS[i]"
        return 0
    done
    return 1
}

loopfs_cleanup() {
    local i entries=("${LOOPFS_DIRS[@]}")
    for ((i = ${#entries[@]} - 1; i >= 0; i--)); do loopfs_remove "${entries[i]%%|*}"; done
}
tap_cleanup() { loopfs_cleanup; }
