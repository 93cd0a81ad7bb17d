#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# From a write until the file is at a target on this machine, with replicate --watch.  Goal: 200 ms.
#     bench/watch.sh [WRITES] [FILES]      in the build directory, quiet machine; FILES that are there already
set -u
n=${1:-30} files=${2:-10000}
build=$PWD
T=$(mktemp -d "${TMPDIR:-/var/tmp}/vbackup-bench-watch.XXXXXX")
export VBACKUP_STATE_DIR=$T/state VBACKUP_CONFIG=$T/conf
: > "$T/conf"; chmod 600 "$T/conf"
service=
trap 'kill "$service" 2> /dev/null; wait; rm -rf "$T"' EXIT
mkdir "$T/a"
for d in $(seq $((files / 100))); do
    mkdir "$T/a/d$d"
    for f in $(seq 100); do echo "$d $f" > "$T/a/d$d/f$f"; done
done
"$build/vbackup" scope add bench "$T/a" --random 0 -q
"$build/vbackup" replicate bench "$T/b" -q
"$build/vbackup" replicate bench "$T/b" --watch -q &
service=$!
sleep 2
for i in $(seq "$n"); do
    t0=${EPOCHREALTIME/./}
    echo "$i" > "$T/a/d1/new$i"
    until [ -e "$T/b/d1/new$i" ]; do [ $((${EPOCHREALTIME/./} - t0)) -lt 10000000 ] || { echo "write $i did not arrive"; exit 1; }; done
    echo $((${EPOCHREALTIME/./} - t0))
    sleep 0.3
done > "$T/times"
sort -n "$T/times" | awk -v files="$files" '{ t[NR] = $1 / 1000 } END { printf "watch: %d writes beside %d files: median %.0f ms, 95 %% %.0f ms, worst %.0f ms (goal 200 ms)\n", NR, files, t[int((NR + 1) / 2)], t[int(NR * 0.95 + 0.5)], t[NR] }'
