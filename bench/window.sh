#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/window.sh [PAIRS] - the freeze window of a PostgreSQL cluster on btrfs under a running pgbench, part by part, beside the bare snapshot
# call (the ioctl alone, through libbtrfsutil's one system call) and beside pg_backup_start and _stop, interleaved.
#
# Run as root in the build directory.  Medians; "ours" is what neither the writer nor the provider spent: at most 5 ms.
: "${abs_top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${abs_top_builddir:=$PWD}"
pairs=${1:-11}
export abs_top_srcdir abs_top_builddir
T=$(mktemp -d /tmp/vbackup-window.XXXXXX)
. "$abs_top_srcdir/tests/lib/loopfs.sh"
PGBIN=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -V | tail -1)
loopfs_available btrfs || { echo "window.sh: cannot be measured here: $LOOPFS_WHY"; rm -rf "$T"; exit 0; }
[ -x "$PGBIN/pgbench" ] || { echo "window.sh: cannot be measured here: no pgbench"; rm -rf "$T"; exit 0; }
as_pg() { setpriv --reuid=postgres --regid=postgres --init-groups env -C / "$@"; }
cleanup() {
    [ -z "${load:-}" ] || kill "$load" 2> /dev/null
    as_pg "$PGBIN/pg_ctl" -D "$T/fs/pg/data" -m immediate stop > /dev/null 2>&1
    for p in $(pgrep -f "vbackup-agent supervisor"); do
        grep -qzF "VBACKUP_STATE_DIR=$T/state" "/proc/$p/environ" 2> /dev/null && kill "$p"
    done
    sleep 0.5; loopfs_cleanup; rm -rf "$T"
}
trap cleanup EXIT
chmod 755 "$T"
loopfs_make btrfs 4G "$T/fs" && btrfs -q subvolume create "$T/fs/pg" && mkdir "$T/fs/pg/data" "$T/sock" && chown postgres "$T/fs/pg" "$T/fs/pg/data" "$T/sock" || exit 1
chmod 700 "$T/fs/pg/data"
as_pg "$PGBIN/initdb" -A trust -U postgres "$T/fs/pg/data" > /dev/null || exit 1
printf "listen_addresses = ''\nunix_socket_directories = '%s'\nmax_wal_size = 2GB\n" "$T/sock" >> "$T/fs/pg/data/postgresql.conf"
as_pg "$PGBIN/pg_ctl" -D "$T/fs/pg/data" -w -l "$T/sock/log" start > /dev/null || exit 1
as_pg "$PGBIN/pgbench" -h "$T/sock" -q -i -s "${SCALE:-20}" > /dev/null 2>&1 || exit 1
as_pg "$PGBIN/pgbench" -h "$T/sock" -c 2 -T 86400 > /dev/null 2>&1 &
load=$!
cat > "$T/vbackup.conf" <<END
[requester]
name = bench
[writer postgresql main]
data-directory = $T/fs/pg/data
conninfo = host=$T/sock user=postgres dbname=postgres
END
export VBACKUP_CONFIG=$T/vbackup.conf VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$T/repo
[ -n "${VBACKUP_PASSWORD_FILE:-}" ] || export VBACKUP_PASSWORD_COMMAND="cat $abs_top_srcdir/tests/password"
vb() { "$abs_top_builddir/run" vbackup "$@"; }
vb init -q > /dev/null || exit 1
cat > "$T/raw.py" <<'END'
import ctypes, fcntl, os, struct, sys, time
# BTRFS_IOC_SNAP_CREATE_V2, read-only: what the provider's commit is made of
src, dst = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY), os.open(sys.argv[2], os.O_RDONLY | os.O_DIRECTORY)
name = b"raw"
args = struct.pack("=qQQ4Q4040s", src, 0, 2, 0, 0, 0, 0, name)
args = bytearray(args) # changed in place: longer than 1 KiB is not taken otherwise
os.syncfs(src) if hasattr(os, "syncfs") else os.sync()
t = time.monotonic_ns()
fcntl.ioctl(dst, 0x50009417, args)
print((time.monotonic_ns() - t) / 1e6)
END
raw() {
    "${PYTHON:-python3}" "$T/raw.py" "$T/fs/pg" "$T/fs" >> "$T/raw" || exit 1
    btrfs -q subvolume delete "$T/fs/raw"
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
for _ in $(seq $((pairs + 1))); do
    vb backup --json -q > "$T/json" 2> "$T/err" || { cat "$T/err"; exit 1; }
    jq -r 'select(.message_type == "summary") | .hosts[0] | .window_microseconds / 1000' "$T/json" >> "$T/window"
    jq -r 'select(.message_type == "summary") | .hosts[0] | (.window_microseconds - ([.window_phases[].inner_microseconds] | add)) / 1000' \
        "$T/json" >> "$T/ours"
    jq -r 'select(.message_type == "summary") | .hosts[0].window_phases[] | "\(.name)\t\(.microseconds / 1000)\t\(.inner_microseconds / 1000)"' \
        "$T/json" >> "$T/phases.new"
    [ -e "$T/names" ] || cut -f1 "$T/phases.new" > "$T/names"
    while IFS=$'\t' read -r n a b; do echo "$a" >> "$T/phase.$n"; echo "$b" >> "$T/inner.$n"; done < "$T/phases.new"
    rm "$T/phases.new"
    raw
    jq -r --argjson raw "$(tail -1 "$T/raw")" 'select(.message_type == "summary") | .hosts[0] | .window_microseconds / 1000 - $raw -
        ([.window_phases[] | select(.name | test("^(freeze|thaw) ")) | .inner_microseconds] | add) / 1000' "$T/json" >> "$T/beyond"
done
for f in window ours raw beyond; do sed -i 1d "$T/$f"; done # the first pair warms up
echo "freeze window of PostgreSQL on btrfs under pgbench, $pairs pairs, median ms"
while read -r n; do
    sed -i 1d "$T/phase.$n" "$T/inner.$n"
    printf '  %-24s %9.3f   of it at work %9.3f\n' "$n" "$(median "$T/phase.$n")" "$(median "$T/inner.$n")"
done < "$T/names"
printf '  %-24s %9.3f   (%s to %s)\n' "whole window" "$(median "$T/window")" "$(sort -n "$T/window" | head -1)" "$(sort -n "$T/window" | tail -1)"
printf '  %-24s %9.3f   (%s to %s)\n' "bare snapshot ioctl" "$(median "$T/raw")" "$(sort -n "$T/raw" | head -1)" "$(sort -n "$T/raw" | tail -1)"
row() { printf '  %-24s %9.3f   (%.3f to %.3f)%s\n' "$1" "$(median "$T/$2")" "$(sort -n "$T/$2" | head -1)" "$(sort -n "$T/$2" | tail -1)" "$3"; }
row "ours" ours " neither a writer nor the provider was at work: at most 5"
row "beyond writers and ioctl" beyond " the same and what the provider does besides, and how much the two ioctls differ"
