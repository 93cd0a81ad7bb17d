#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/increment_large.sh [MIB] [PERCENT] - what a backup costs when some pages of one large file have changed (root: btrfs on
# a loop device).
#
#   PERCENT (default 1) of the 4 KiB pages of a file of MIB (default 2048) are overwritten, at random and in one place;
#   the backup that compares extents beside one that reads everything (--no-detector) after as many other changes
#
# Page cache dropped before each.
set -eu
: "${abs_top_builddir:=$PWD}"
mib=${1:-2048} percent=${2:-1}
W=$(mktemp -d "${BENCH_DIR:-/var/tmp}/vb-bench-XXXXXX")
trap 'umount "$W/mnt" 2> /dev/null || true; rm -rf "$W"' EXIT
truncate -s $((mib * 4 + 2048))M "$W/image"
mkdir "$W/mnt"
if [ "$(id -u)" != 0 ] || ! mkfs.btrfs -q -f -m single "$W/image" > /dev/null 2>&1 || ! mount -o loop "$W/image" "$W/mnt"; then
    echo "skipped: changed ranges (needs root and loop devices)"
    exit 0
fi
(umask 077 && printf pw > "$W/password")
export VBACKUP_LOG=error VBACKUP_PASSWORD_FILE=$W/password VBACKUP_STATE_DIR=$W/state VBACKUP_RUNTIME_DIR=$W/run
vb() { "$abs_top_builddir/run" vbackup "$@" -q -r "$W/repo"; }
how() { "$abs_top_builddir/run" vbackup -r "$W/repo" show latest | sed -n 's/^ *\([0-9]* of [0-9]* files read; .*\)/\1/p'; }
timed() {
    local a b
    sync
    echo 3 > /proc/sys/vm/drop_caches
    a=$(date +%s%N)
    "$@" > /dev/null
    b=$(date +%s%N)
    echo $(((b - a) / 1000000))
}
# overwrites pages: FILE COUNT random|block SEED
pages() {
    python3 - "$@" << 'END'
import os, random, sys
name, count, how, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
f = os.open(name, os.O_WRONLY)
n = os.fstat(f).st_size // 4096
r = random.Random(seed)
for p in r.sample(range(n), count) if how == "random" else range(n * seed // 4, n * seed // 4 + count):
    os.pwrite(f, os.urandom(4096), p * 4096)
os.fsync(f)
END
}
v=$W/mnt/v
btrfs -q subvolume create "$v"
head -c "${mib}M" /dev/urandom > "$v/big"
sync -f "$v"
vb init > /dev/null
first=$(timed vb backup "$v")
nothing=$(timed vb backup "$v")
echo "$mib MiB in one file on btrfs, first backup: $first ms, nothing changed: $nothing ms"
for place in random block; do
    pages "$v/big" $((mib * 256 * percent / 100)) "$place" 1
    some=$(timed vb backup "$v")
    said=$(how)
    pages "$v/big" $((mib * 256 * percent / 100)) "$place" 2
    all=$(timed vb backup --no-detector "$v")
    echo "$percent % of its pages changed ($place): $some ms ($said); reading everything: $all ms"
done
