#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/capture.sh [MEGABYTES] - backup and restore of a mixed tree beside `tar | zstd -3`, as interleaved pairs.
#
# Everything lies on a tmpfs, so that the disk's mood does not decide.  Both start with the tree in the page cache and end
# with a durable file there.  Figures are medians of ROUNDS (default 5); the ratio is what counts, the MB/s are this
# machine's.  A second backup of the same tree is measured too: tar has no such thing and does the first one again.
set -eu
: "${abs_top_builddir:=$PWD}"
mb=${1:-300}
rounds=${ROUNDS:-5}
W=$(mktemp -d /dev/shm/vb-bench-XXXXXX)
trap 'rm -rf "$W"' EXIT
export VBACKUP_STATE_DIR=$W/state VBACKUP_RUNTIME_DIR=$W/run VBACKUP_LOG=error
: "${abs_top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}"
[ -n "${VBACKUP_PASSWORD_FILE:-}" ] || export VBACKUP_PASSWORD_COMMAND="cat $abs_top_srcdir/tests/password"
vb() { "$abs_top_builddir/run" vbackup "$@" -q -r "$W/repo" > /dev/null; }

# a third text (small files), a third that cannot be compressed, a third like a database: pages with some noise
make_tree() {
    local third=$((mb / 3)) i
    mkdir -p "$W/src/text" "$W/src/media" "$W/src/db"
    local text=$W/text
    { cat "$(dirname "$0")"/../*/*.[ch] 2> /dev/null || true; cat /usr/include/*.h; } > "$text"
    local size; size=$(stat -c %s "$text")
    awk -v n=$((third * 64)) -v dir="$W/src/text" -v size="$size" 'BEGIN { RS = "\001" } { t = t $0 } END {
        for (i = 0; i < n; i++) { # 16 KiB each
            d = dir "/d" int(i / 256)
            if (i % 256 == 0) system("mkdir -p " d)
            f = d "/f" i
            printf "file %d\n%s", i, substr(t, i * 7919 % (size - 16384) + 1, 16000) > f
            close(f)
        } }' "$text"
    for ((i = 0; i < third; i += 8)); do head -c 8M /dev/urandom > "$W/src/media/m$i"; done
    head -c "${third}M" /dev/urandom | od -An -v -tx1 -w64 | head -c "${third}M" > "$W/src/db/pages"
    rm -f "$text"
}

now() { date +%s%N; }
timed() { local a b; a=$(now); "$@"; b=$(now); echo $(((b - a) / 1000000)); }
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
tar_backup() { tar -C "$W" -cf - src | zstd -q -3 -T1 > "$W/tar.zst"; sync "$W/tar.zst"; }
tar_restore() { rm -rf "$W/out"; mkdir "$W/out"; zstd -q -d -c "$W/tar.zst" | tar -C "$W/out" -xf -; }
first() { vb backup --allow-live "$W/src"; }
put_back() { vb restore latest --target "$W/out"; }

make_tree
bytes=$(du -sb --apparent-size "$W/src" | cut -f1)
files=$(find "$W/src" -type f | wc -l)
T=() V=() A=() TR=() VR=()
for ((r = 0; r < rounds; r++)); do
    T+=("$(timed tar_backup)")
    rm -rf "$W/repo"; vb init
    V+=("$(timed first)")
    A+=("$(timed first)")
    TR+=("$(timed tar_restore)")
    rm -rf "$W/out"
    VR+=("$(timed put_back)")
done
diff -r "$W/src" "$W/out/$W/src" > /dev/null || { echo "restored tree differs" >&2; exit 1; }
t=$(median "${T[@]}") v=$(median "${V[@]}") a=$(median "${A[@]}") tr=$(median "${TR[@]}") vr=$(median "${VR[@]}")
row() { awk -v n="$1" -v ms="$2" -v b="$bytes" -v peer="$3" \
    'BEGIN { printf "%-34s %7d ms  %7.1f MB/s  %5.2f x peer\n", n, ms, b / 1e6 / (ms / 1e3), ms / peer }'; }
printf '%d files, %d MB, medians of %d interleaved rounds, %d processors\n' "$files" $((bytes / 1000000)) "$rounds" "$(nproc)"
row "tar | zstd -3" "$t" "$t"
row "vbackup backup, first" "$v" "$t"
row "vbackup backup, nothing changed" "$a" "$t"
row "zstd -d | tar -x" "$tr" "$tr"
row "vbackup restore" "$vr" "$tr"
printf 'stored: tar.zst %d MB, repository %d MB\n' $(($(stat -c %s "$W/tar.zst") / 1000000)) $(($(du -sb "$W/repo" | cut -f1) / 1000000))
