#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/replicate.sh [FILES [BIG_MIB]] - replication beside rsync and unison: the same trees, the same SSH on loopback, one after the
# other in turns.
#
#   first copy; nothing changed, beside a bare statx walk of both trees; 1 % changed; a large tree renamed; 4 KiB changed in a file
#   of BIG_MIB (default 4096; its bytes on the wire, too)
#
# Figures are medians of ROUNDS (default 3) in milliseconds.  BENCH_TMP: where the trees lie (default /dev/shm).
# What is left out, because it is not installed, is said.
set -eu
: "${abs_top_builddir:=$PWD}" "${abs_top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}"
. "$abs_top_srcdir/tests/lib/sshd.sh"
files=${1:-100000}
big=${2:-4096}
rounds=${ROUNDS:-3}
B=$abs_top_builddir/bench_walk
[ -x "$B" ] || { echo "make bench_walk first" >&2; exit 1; }
sshd_available || { echo "skipped: $SSHD_WHY"; exit 0; }
W=$(mktemp -d "${BENCH_TMP:-/dev/shm}/vb-replicate-XXXXXX")
trap 'sshd_stop; rm -rf "$W"' EXIT
sshd_init "$W/ssh" && sshd_start "LogLevel ERROR" && sshd_record
ssh="ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=$W/ssh/known_hosts -i $W/ssh/id_ed25519 -p $SSHD_PORT"
export VBACKUP_LOG=error VBACKUP_STATE_DIR=$W/state VBACKUP_CONFIG=$W/vbackup.conf VBACKUP_REMOTE_COMMAND=$W/far UNISON=$W/unison
(umask 077 && cat > "$W/vbackup.conf") <<END
[host far]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $W/ssh/id_ed25519
known-hosts = $W/ssh/known_hosts
END
cat > "$W/far" <<END
#!/bin/sh
VBACKUP_STATE_DIR='$W/state-far' VBACKUP_CONFIG= exec '$abs_top_builddir/run' vbackup "\$@"
END
chmod 755 "$W/far"
vb() { "$abs_top_builddir/run" vbackup "$@" > "$W/out" 2>&1 || { cat "$W/out" >&2; exit 1; }; }
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
timed() { local a b; a=$(date +%s%N); "$@"; b=$(date +%s%N); echo $(((b - a) / 1000000)); }

ours() { vb replicate bench far:bench -q --allow-deletes=all; }
with_rsync() { rsync -a --delete -e "$ssh" "$W/r-from/" "$SSHD_USER@$SSHD_HOST:$W/r-to/"; }
with_unison() {
    unison "$W/u-from" "ssh://$SSHD_USER@$SSHD_HOST/$W/u-to" -batch -silent -times -confirmbigdel=false -sshargs "${ssh#ssh }" \
        > /dev/null 2>&1 || true
}
tools="ours rsync"
command -v unison > /dev/null && tools="$tools unison" || echo "left out: unison is not installed"
command -v syncthing > /dev/null || echo "left out: syncthing is not installed"
tree_of() { case $1 in ours) echo "$W/o-from" ;; rsync) echo "$W/r-from" ;; *) echo "$W/u-from" ;; esac; }
run() { case $1 in ours) ours ;; rsync) with_rsync ;; *) with_unison ;; esac; }

# what PREPARE...: in each round each tool's tree is prepared, then the tool is timed
declare -A T
compare() {
    local what=$1 r t
    shift
    for t in $tools; do T[$t]=; done
    for ((r = 0; r < rounds; r++)); do
        for t in $tools; do
            "$@" "$(tree_of "$t")" "$r" "$t"
            sleep 0.1 # settled
            T[$t]="${T[$t]} $(timed run "$t")"
        done
    done
    # shellcheck disable=SC2086
    for t in $tools; do T[$t]=$(median ${T[$t]}); done
    printf '%-28s ours %7d ms   rsync %7d ms (%s x)' "$what" "${T[ours]}" "${T[rsync]}" \
        "$(awk -v a="${T[ours]}" -v b="${T[rsync]}" 'BEGIN { printf "%.2f", a / (b ? b : 1) }')"
    [ -z "${T[unison]:-}" ] || printf '   unison %7d ms' "${T[unison]}"
    echo
}

anew() { # an empty target, and nothing known of it
    case $3 in
    ours)
        rm -rf "$W/state" "$W/state-far" "$W/o-to" "$W/o-from/.vbackup"
        mkdir "$W/o-to"
        vb scope add bench "$W/o-from"
        guid=$("$abs_top_builddir/run" vbackup scope list bench --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')
        "$W/far" scope add bench "$W/o-to" --join "$guid" > /dev/null
        ;;
    rsync) rm -rf "$W/r-to"; mkdir "$W/r-to" ;;
    *) rm -rf "$W/u-to" "$W/unison"; mkdir "$W/u-to" ;;
    esac
}
nothing() { :; }
hundredth() { "$B" touch "$1" $((files / 100)) 97 > /dev/null; find "$1" -name nothing -quit; }
rename_large() { if [ -e "$1/large" ]; then mv "$1/large" "$1/moved"; else mv "$1/moved" "$1/large"; fi; }
four_kib() { dd if=/dev/urandom of="$1/big" bs=4096 count=1 seek=$((big * 128 + $2 * 997)) conv=notrunc status=none; }

mkdir "$W/o-from" "$W/r-from"
"$B" make "$W/o-from" "$files" > /dev/null
cp -a "$W/o-from/." "$W/r-from"
case $tools in *unison*) cp -a "$W/r-from" "$W/u-from" ;; esac
echo "$files files of $(du -sh "$W/r-from" | cut -f1); load $(cut -d' ' -f1 /proc/loadavg)"
compare "first copy" anew
compare "nothing changed" nothing
bare() { "$B" bare "$W/o-from" 2 > /dev/null; "$B" bare "$W/o-to" 2 > /dev/null; }
bare
walks=()
for ((r = 0; r < rounds; r++)); do walks+=("$(timed bare)"); done
w=$(median "${walks[@]}")
awk -v o="${T[ours]}" -v w="$w" 'BEGIN { printf "%-28s bare statx walk of both trees %d ms: ours %.2f x\n", "", w, o / (w ? w : 1) }'
compare "1 % changed" hundredth
for t in $tools; do
    d=$(tree_of "$t")
    mkdir "$d/large"
    for e in "$d"/*; do
        [ "$e" = "$d/large" ] || [ "$(find "$d/large" -mindepth 1 -maxdepth 1 | wc -l)" -ge 50 ] || mv "$e" "$d/large/"
    done
    run "$t"
done
compare "a large tree renamed" rename_large
for t in $tools; do
    head -c $((big << 20)) /dev/zero | openssl enc -aes-128-ctr -nosalt -pass pass:x 2> /dev/null > "$(tree_of "$t")/big"
    run "$t"
done
compare "4 KiB of $big MiB changed" four_kib
