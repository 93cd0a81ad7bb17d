#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/numbers.sh [TREE_MB [FILE_MB]] - the figures of the repository beside restic and tar | zstd (default 1700 and 4096).
#
# Two sets of data, made from what this machine has: a tree of small files (documentation, headers, libraries) and one file
# of which half can be compressed.  Data, repositories and targets lie on a tmpfs.  Per round each work is done by each
# program in turn, so that the pairs are interleaved; the figures are medians of ROUNDS (default 5).  Wall time counts on an
# idle machine; on a busy one look at the processor time.  Memory is that of all processes of a command together.
#
#   ONLY=tree|file     one set of data only
#   PEERS="restic tar" the peers that are there
#   RT=1               run everything with real-time priority (root): the wall times of a busy machine become usable
set -eu
export LC_ALL=C
: "${abs_top_builddir:=$PWD}"
: "${abs_top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}"
tree_mb=${1:-1700} file_mb=${2:-4096} rounds=${ROUNDS:-5} only=${ONLY:-}
W=$(mktemp -d "${TMP_BENCH:-/dev/shm}/vb-numbers-XXXXXX")
trap 'rm -rf "$W"' EXIT
run=$abs_top_builddir/bench_run
[ -x "$run" ] && [ -x "$abs_top_builddir/bench_file" ] || { echo "make bench_run bench_file first" >&2; exit 1; }
peers=${PEERS:-}
[ -n "$peers" ] || { peers=tar; command -v restic > /dev/null && peers="tar restic"; }
has() { case " $peers " in *" $1 "*) true ;; *) false ;; esac; }
install -m 600 "$abs_top_srcdir/tests/password" "$W/password"
export VBACKUP_PASSWORD_FILE=$W/password VBACKUP_LOG=error VBACKUP_REPOSITORY=$W/vb/repo
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$W/restic/cache RESTIC_REPOSITORY=$W/restic/repo
vb() { "$abs_top_builddir/run" vbackup "$@" -q > /dev/null; }
rt=
[ -z "${RT:-}" ] || rt="chrt -r 1"

# meas WORK PROGRAM COMMAND...: one line to the table: work, program, wall, user + system, peak memory
meas() {
    local work=$1 program=$2 state figures
    shift 2
    state=$W/state.$RANDOM$RANDOM
    export VBACKUP_STATE_DIR=$state VBACKUP_RUNTIME_DIR=$state.run
    if [ "$program" = vbackup ]; then set -- "$abs_top_builddir/run" vbackup "$@" -q; fi
    $rt "$run" "$@" 3> "$W/figures" > "$W/log" 2>&1 || { echo "$work: $program failed:" >&2; cat "$W/log" >&2; exit 1; }
    read -r -a figures < "$W/figures"
    printf '%s\t%s\t%d\t%d\t%d\n' "$work" "$program" "${figures[0]}" $((figures[1] + figures[2])) "${figures[3]}" >> "$W/table"
}
size() { printf '%s\t%s\t%d\n' "$1" "$2" "$(du -sB1 --apparent-size "$3" | cut -f1)" >> "$W/sizes"; }
in_shell() { local w=$1 p=$2; shift 2; meas "$w" "$p" bash -c "$*"; }

make_tree() {
    local d want=$((tree_mb * 1000000))
    for d in /usr/share /usr/include /usr/lib/gcc /usr/lib/python3 /usr/lib/git-core /usr/lib/perl5 /usr/lib/x86_64-linux-gnu; do
        [ ! -d "$d" ] || find "$d" -xdev -type f -size -20M -printf '%s %p\n'
    done | sort -k2 > "$W/all"
    # every so many files, in order, until it is enough: the mix stays that of the machine
    awk -v want="$want" '{ s[NR] = $1; $1 = ""; p[NR] = substr($0, 2); all += s[NR] } END {
        share = want / all; for (i = 1; i <= NR; i++) { acc += share; if (acc >= 1 || share >= 1) { acc -= 1; print p[i] } } }' \
        "$W/all" > "$W/list"
    mkdir -p "$W/tree"
    tar -C / -cf - --no-recursion -T "$W/list" 2> /dev/null | tar -C "$W/tree" -xf -
}
make_file() {
    mkdir -p "$W/one" "$W/two"
    "$abs_top_builddir/bench_file" "$W/one/big" "$W/two/big" "$file_mb"
}

fresh() {
    rm -rf "$W/vb" "$W/restic" "$W/tar.zst"
    mkdir -p "$W/vb" "$W/restic"
    vb init
    ! has restic || restic init -q
}
out() { rm -rf "$W/out"; mkdir "$W/out"; }

backup() { # WORK DIRECTORY
    ! has tar || in_shell "$1" tar "tar -C $2 -cf - . | zstd -q -T2 -3 -f -o $W/tar.zst"
    ! has restic || meas "$1" restic restic backup -q "$2"
    meas "$1" vbackup backup --allow-live "$2"
}
sizes() {
    ! has tar || size "$1" tar "$W/tar.zst"
    ! has restic || size "$1" restic "$W/restic/repo"
    size "$1" vbackup "$W/vb/repo"
}
restore() { # WORK DIRECTORY
    out
    ! has tar || in_shell "$1" tar "zstd -dcq $W/tar.zst | tar -C $W/out -xf -"
    out
    ! has restic || meas "$1" restic restic restore -q latest --target "$W/out"
    out
    meas "$1" vbackup restore latest --target "$W/out"
    diff -r --no-dereference "$2" "$W/out/$2" > "$W/log" || { echo "restored data differ:" >&2; head "$W/log" >&2; exit 1; }
    out
}

tree_round() {
    local some
    fresh
    backup "first backup, small files" "$W/tree"
    sizes "small files"
    ! has restic || meas "nothing changed, small files" restic restic backup -q "$W/tree"
    meas "nothing changed, small files" vbackup backup --allow-live "$W/tree"
    restore "restore, small files" "$W/tree"
    some=$(sed -n "$(($(wc -l < "$W/list") / 2))p" "$W/list")
    ! has restic || in_shell "one small file" restic "restic dump latest '$W/tree$some' > $W/out/one"
    meas "one small file" vbackup restore latest "$W/tree$some" --target "$W/out"
    ! has restic || meas "list all" restic restic ls latest
    meas "list all" vbackup ls latest
    ! has restic || meas "check" restic restic check -q
    meas "check" vbackup check
    # half of the files are gone in the last backup, and it alone is kept
    mv "$W/tree" "$W/whole"
    mkdir "$W/tree"
    awk 'NR % 2' "$W/list" | tar -C "$W/whole" -cf - --no-recursion --transform 's,^/*,,' -T <(awk 'NR % 2 { print "." $0 }' "$W/list") |
        tar -C "$W/tree" -xf -
    ! has restic || restic backup -q "$W/tree"
    VBACKUP_STATE_DIR=$W/state.half VBACKUP_RUNTIME_DIR=$W/state.half.run "$run" "$abs_top_builddir/run" vbackup backup -q \
        --allow-live "$W/tree" > /dev/null 3> /dev/null
    ! has restic || meas "prune" restic restic forget -q --keep-last 1 --prune
    in_shell "prune" "vbackup (2 x prune)" "set -e; v='$abs_top_builddir/run vbackup'; \$v forget -q --keep-last 1; \
        \$v prune -q --delay 0; \$v prune -q --delay 0"
    rm -rf "$W/tree"
    mv "$W/whole" "$W/tree"
}

file_round() {
    fresh
    backup "first backup, one file" "$W/one"
    sizes "one file"
    restore "restore, one file" "$W/one"
    # the same path with other content
    mv "$W/one" "$W/kept"
    mv "$W/two" "$W/one"
    touch "$W/one/big"
    local w="1 % of the pages changed"
    ! has restic || meas "$w" restic restic backup -q "$W/one"
    meas "$w" vbackup backup --allow-live "$W/one"
    sizes "one file, then 1 % changed"
    mv "$W/one" "$W/two"
    mv "$W/kept" "$W/one"
}

[ "$only" = file ] || make_tree
[ "$only" = tree ] || make_file
for ((r = 0; r < rounds; r++)); do
    [ "$only" = file ] || tree_round
    [ "$only" = tree ] || file_round
done

[ "$only" = file ] || printf 'small files: %d files, %d MB\n' "$(wc -l < "$W/list")" \
    "$(($(du -sb --apparent-size "$W/tree" | cut -f1) / 1000000))"
[ "$only" = tree ] || printf 'one file: %d MB\n' "$file_mb"
printf 'medians of %d interleaved rounds, %d processors, load %s; ratio is peer / vbackup (tar: vbackup / tar)\n\n' \
    "$rounds" "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)"
awk -F'\t' '
    function med(s,   a, n, i, j, t) { n = split(s, a, " "); for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j] + 0 < a[j-1] + 0; j--) {
        t = a[j]; a[j] = a[j-1]; a[j-1] = t } return a[int((n + 1) / 2)] }
    { p = $2; sub(/ .*/, "", p); if (!($1 in seen)) { seen[$1]; order[++k] = $1 }
      w[$1, p] = w[$1, p] " " $3; c[$1, p] = c[$1, p] " " $4; m[$1, p] = m[$1, p] " " $5 }
    END { split("vbackup restic tar", ps, " ")
        printf "%-30s %-8s %8s %8s %8s   %s\n", "work", "program", "wall ms", "cpu ms", "MiB", "ratio of wall, cpu, memory"
        for (i = 1; i <= k; i++) for (j = 1; j <= 3; j++) if ((order[i], ps[j]) in w) {
            W = med(w[order[i], ps[j]]); C = med(c[order[i], ps[j]]); M = med(m[order[i], ps[j]])
            if (j == 1) { vw = W; vc = C; vm = M; r = "" }
            else if (j == 2) r = sprintf("restic / vbackup %5.2f %5.2f; memory of vbackup %4.2f", W / vw, C / vc, vm / M)
            else r = sprintf("vbackup / tar    %5.2f %5.2f", vw / W, vc / C)
            printf "%-30s %-8s %8d %8d %8.0f   %s\n", order[i], ps[j], W, C, M / 1024, r } }' "$W/table"
echo
awk -F'\t' '{ if (!($1 in seen)) { seen[$1]; order[++k] = $1 } s[$1, $2] = $3 } END { for (i = 1; i <= k; i++) {
    o = order[i]; printf "stored, %-28s vbackup %8.1f MB", o, s[o, "vbackup"] / 1e6
    if ((o, "restic") in s) printf "   restic %8.1f MB (vbackup %.3f of it)", s[o, "restic"] / 1e6, s[o, "vbackup"] / s[o, "restic"]
    if ((o, "tar") in s) printf "   tar.zst %8.1f MB", s[o, "tar"] / 1e6
    print "" } }' "$W/sizes"
awk -F'\t' '$1 == "one file" { a[$2] = $3 } $1 ~ /changed/ { b[$2] = $3 } END { if (b["vbackup"]) {
    printf "added by the change: vbackup %.1f MB", (b["vbackup"] - a["vbackup"]) / 1e6
    if (b["restic"]) printf ", restic %.1f MB (vbackup %.3f of it)", (b["restic"] - a["restic"]) / 1e6, \
        (b["vbackup"] - a["vbackup"]) / (b["restic"] - a["restic"])
    print "" } }' "$W/sizes"
