#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/story.sh [PAIRS] - the story (tests/lib/story.sh) under load: from the command to the first freeze, and the freeze windows beside
# the raw call that makes the same snapshot: `btrfs subvolume snapshot` on the back end, `cp --reflink` on the front end.
#
# Run as root in the build directory.  Interleaved pairs, medians and ratios; file systems are on loop devices.
: "${abs_top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${abs_top_builddir:=$PWD}"
pairs=${1:-7}
export abs_top_srcdir abs_top_builddir PATH="$abs_top_builddir:$PATH"
export VBACKUP_LIBEXECDIR=$abs_top_builddir VBACKUP_WRITER_PATH=$abs_top_builddir/.libs VBACKUP_SCHEMA_DIR=$abs_top_srcdir/documents/schema
T=$(mktemp -d)
. "$abs_top_srcdir/tests/lib/story.sh"
trap 'story_customers_stop; hosts_cleanup; loopfs_cleanup; rm -rf "$T"' EXIT
story_available || { echo "story.sh: cannot be measured here: $STORY_WHY"; exit 0; }
story_hosts 2 && story_configure 1 && story_vb init > /dev/null && story_customers_start 600 || exit 1

raw_btrfs() { # ms of the snapshot call alone, on the back end
    host_exec_root backend bash -c 'a=${EPOCHREALTIME/./}; btrfs subvolume snapshot -r /srv/pg /srv/pg/raw > /dev/null; b=${EPOCHREALTIME/./}
        btrfs subvolume delete /srv/pg/raw > /dev/null; echo $(((b - a) / 100))' | sed 's/.$/.&/'
}
raw_reflink() {
    front bash -c 'mkdir /srv/shop/raw; a=${EPOCHREALTIME/./}; cp -a --reflink=always /srv/shop/content /srv/shop/data /srv/shop/raw
        b=${EPOCHREALTIME/./}; rm -rf /srv/shop/raw; echo $(((b - a) / 100))' | sed 's/.$/.&/'
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }

for _ in $(seq $((pairs + 1))); do
    story_vb backup --json -q > "$T/json" 2> "$T/err" || { cat "$T/err"; exit 1; }
    jq -r 'select(.message_type == "summary") | .milliseconds_to_first_freeze' "$T/json" >> "$T/first"
    jq -r 'select(.message_type == "summary") | .milliseconds' "$T/json" >> "$T/whole"
    for h in front backend; do
        jq -r "select(.message_type == \"summary\") | .hosts[] | select(.name == \"$h\") | .window_microseconds / 1000" "$T/json" >> "$T/window.$h"
    done
    raw_btrfs >> "$T/raw.backend"
    raw_reflink >> "$T/raw.front"
done
for f in first whole window.front window.backend raw.front raw.backend; do sed -i 1d "$T/$f"; done # the first pair warms up
echo "story, $pairs pairs under load, median ms (min to max)"
line() { printf '  %-44s %8s   (%s to %s)\n' "$1" "$(median "$T/$2")" "$(sort -n "$T/$2" | head -1)" "$(sort -n "$T/$2" | tail -1)"; }
line "command to first freeze" first
line "whole backup, two hosts" whole
line "freeze window on the front end (xfs, reflink)" window.front
line "  cp -a --reflink=always of the same trees" raw.front
echo "  ratio $(ratio "$(median "$T/window.front")" "$(median "$T/raw.front")")"
line "freeze window on the back end (btrfs)" window.backend
line "  btrfs subvolume snapshot -r" raw.backend
echo "  ratio $(ratio "$(median "$T/window.backend")" "$(median "$T/raw.backend")")"
