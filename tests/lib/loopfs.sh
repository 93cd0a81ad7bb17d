# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/loopfs.sh - file systems on loop devices for root tests.  Source it after tests/tap.sh; a test that defines
# its own tap_cleanup calls loopfs_cleanup there.
#
#   loopfs_mount TYPE SIZE [MOUNT-OPTIONS]    makes, mounts, and prints nothing; sets LOOPFS (the mount point)
#   loopfs_umount DIR

LOOPFS_BASE=$T/loopfs
mkdir -p "$LOOPFS_BASE"
LOOPFS_MOUNTS=()

loopfs_umount() {
    umount "$1" 2>/dev/null || umount -l "$1" 2>/dev/null
}

loopfs_cleanup() {
    local m
    for m in "${LOOPFS_MOUNTS[@]}"; do loopfs_umount "$m"; done
    LOOPFS_MOUNTS=()
}
tap_cleanup() { loopfs_cleanup; }

loopfs_mount() {
    local type=$1 size=$2 options=${3:-} n=${#LOOPFS_MOUNTS[@]} image dir
    image=$LOOPFS_BASE/image$n dir=$LOOPFS_BASE/mnt$n
    mkdir -p "$dir" && truncate -s "$size" "$image" || return 1
    case $type in
        xfs) mkfs.xfs -q -m reflink=1 "$image" ;;
        btrfs) mkfs.btrfs -q "$image" 2>/dev/null ;;
        ext4) mkfs.ext4 -q "$image" ;;
        *) echo "loopfs: unknown type '$type'" >&2; return 1 ;;
    esac || return 1
    mount -o "loop${options:+,$options}" "$image" "$dir" || return 1
    LOOPFS_MOUNTS+=("$dir")
    LOOPFS=$dir
}
