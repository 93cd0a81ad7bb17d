#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/increment.sh [FILES] - what a backup costs in which little has changed (root: loop devices).
#
#   the walk of the change detector beside a bare parallel statx walk, interleaved pairs on a tmpfs
#   btrfs generations: nothing changed, and 1,000 changed files in a tree of FILES and in one of a tenth
#   the same backups with the whole program
#   read live on ext4: the whole program by the walk and by the journal, beside a bare walk of the same tree
#
# Figures are medians of ROUNDS (default 5) in milliseconds; a change is not repeated.
set -eu
: "${abs_top_builddir:=$PWD}"
files=${1:-500000}
few=$((files / 10))
changed=$((few < 1000 ? few : 1000))
rounds=${ROUNDS:-5}
B=$abs_top_builddir/bench_walk
[ -x "$B" ] || { echo "make bench_walk first" >&2; exit 1; }
W=$(mktemp -d /dev/shm/vb-bench-XXXXXX)
service=
trap '[ -z "$service" ] || kill "$service"; umount "$W/mnt" 2> /dev/null || true; rm -rf "$W"' EXIT
export VBACKUP_JOURNAL=$W/journal.sock
cat /proc/1/maps > /dev/null 2>&1 || export VBACKUP_TEST_BLIND_PID=1 # see tests/root/test_journal.sh
export VBACKUP_LOG=error
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
ms() { cut -d' ' -f1; }
vb() { "$abs_top_builddir/run" vbackup "$@" -q -r "$W/repo" > /dev/null; }
timed() { local a b; a=$(date +%s%N); "$@"; b=$(date +%s%N); echo $(((b - a) / 1000000)); }
how() { "$abs_top_builddir/run" vbackup -r "$W/repo" show latest | sed -n 's/^ *\([0-9]* of [0-9]* files read; .*\)/\1/p'; }

mkdir "$W/tree" "$W/mnt"
"$B" make "$W/tree" "$files"
"$B" remember "$W/tree" "$W/tmpfs.look"
P=() D=()
"$B" bare "$W/tree" 2 > /dev/null
for ((r = 0; r < rounds; r++)); do
    P+=("$("$B" bare "$W/tree" 2 | ms)")
    D+=("$("$B" walk "$W/tree" "$W/tmpfs.look" 2 | ms)")
done
p=$(median "${P[@]}") d=$(median "${D[@]}")
awk -v n="$files" -v p="$p" -v d="$d" 'BEGIN {
    printf "%d files on tmpfs, nothing changed: bare walk %d ms, detector %d ms, %.2f x\n", n, p, d, d / p }'
rm -rf "$W/tree"

truncate -s 8G "$W/image"
if [ "$(id -u)" != 0 ] || ! mkfs.btrfs -q -f -m single "$W/image" > /dev/null 2>&1 || ! mount -o loop "$W/image" "$W/mnt"; then
    echo "skipped: btrfs generations (needs root and loop devices)"
    exit 0
fi
(umask 077 && printf pw > "$W/password")
export VBACKUP_PASSWORD_FILE=$W/password
for n in "$few" "$files"; do
    v=$W/mnt/v$n
    rm -rf "$W/repo"
    export VBACKUP_STATE_DIR=$W/state$n VBACKUP_RUNTIME_DIR=$W/run$n
    vb init
    btrfs -q subvolume create "$v"
    "$B" make "$v" "$n"
    sync -f "$v"
    sleep 1
    btrfs -q subvolume snapshot -r "$v" "$W/mnt/a$n"
    "$B" remember "$W/mnt/a$n" "$W/btrfs.look"
    first=$(timed vb backup "$v")
    btrfs -q subvolume snapshot -r "$v" "$W/mnt/b$n"
    G=() U=() K=()
    for ((r = 0; r < rounds; r++)); do
        G+=("$("$B" generations "$W/mnt/b$n" "$W/btrfs.look" | ms)")
        K+=("$("$B" bare "$W/mnt/b$n" 2 | ms)")
        U+=("$(timed vb backup "$v")")
    done
    unchanged=$(how)
    "$B" touch "$v" "$changed" $((n / changed))
    btrfs -q subvolume snapshot -r "$v" "$W/mnt/c$n"
    c=$("$B" generations "$W/mnt/c$n" "$W/btrfs.look" | ms)
    b=$(timed vb backup "$v")
    echo "$n files on btrfs, nothing changed: bare walk $(median "${K[@]}") ms, generations $(median "${G[@]}") ms," \
        "whole backup $(median "${U[@]}") ms ($unchanged)"
    echo "$n files on btrfs, $changed changed: generations $c ms, whole backup $b ms ($(how)), first backup $first ms"
done

umount "$W/mnt"
truncate -s 0 "$W/image"
truncate -s 8G "$W/image"
mkfs.ext4 -q -F -O inline_data -I 512 -N $((files + files / 10 + 50000)) "$W/image" && mount -o loop "$W/image" "$W/mnt" || exit 1
export VBACKUP_STATE_DIR=$W/state VBACKUP_RUNTIME_DIR=$W/run
for n in "$few" "$files"; do
    v=$W/mnt/v$n
    rm -rf "$W/repo"
    vb init
    mkdir "$v"
    "$B" make "$v" "$n"
    sync -f "$v"
    sleep 1
    first=$(timed vb backup --allow-live "$v")
    K=() U=() J=()
    for ((r = 0; r < rounds; r++)); do
        K+=("$("$B" bare "$v" 2 | ms)")
        U+=("$(timed vb backup --allow-live "$v")")
    done
    walked=$(how)
    "$abs_top_builddir/run" vbackup-journal run "$W/mnt" &
    service=$!
    while [ ! -S "$VBACKUP_JOURNAL" ]; do sleep 0.1; done
    vb backup --allow-live "$v"
    for ((r = 0; r < rounds; r++)); do J+=("$(timed vb backup --allow-live "$v")"); done
    told=$(how)
    k=$(median "${K[@]}") u=$(median "${U[@]}")
    echo "$n files on ext4, nothing changed: bare walk $k ms; whole backup by the walk $u ms" \
        "($(awk -v a="$u" -v b="$k" 'BEGIN { printf "%.2f", a / b }') x; $walked), by the journal $(median "${J[@]}") ms ($told)"
    "$B" touch "$v" "$changed" $((n / changed))
    b=$(timed vb backup --allow-live "$v")
    echo "$n files on ext4, $changed changed: whole backup $b ms ($(how)), first backup $first ms"
    kill "$service"
    wait "$service" || true
    service=
done
