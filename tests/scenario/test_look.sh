#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# find, cat, diff, stats, ls: looking into backups without restoring them.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
S=$T/src
mkdir -p "$S/deep/er" "$S/same"
echo one > "$S/a"; echo two > "$S/deep/b"; echo three > "$S/deep/er/c.txt"; echo same > "$S/same/x"
head -c 400000 /dev/urandom > "$S/large"
printf 'head' > "$S/holes"; truncate -s 300000 "$S/holes"; printf 'tail' >> "$S/holes"; truncate -s 400000 "$S/holes"
ln -s a "$S/link"; ln "$S/a" "$S/hard"
printf 'odd' > "$S/$(printf 'new\nline\033[31m')"
vb init -q > /dev/null && vb backup -q "$S" > /dev/null || bail "no backup to begin with"
first=$(vb list --json | jq -r .id)
cp -a "$S" "$T/before"
echo one-changed > "$S/a.new"; mv "$S/a.new" "$S/a" # hard keeps the old content
echo new > "$S/deep/new"; rm -r "$S/deep/er"; chmod 600 "$S/deep/b"
rm "$S/link"; mkdir "$S/link"; echo in > "$S/link/in"
{ head -c 200000 "$S/large"; echo insertion; tail -c 200000 "$S/large"; } > "$T/l" && cat "$T/l" > "$S/large"
vb backup -q "$S" > /dev/null
second=$(vb list --json | jq -r .id | tail -1)

try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}

# ---- find ----
try "find by name" 0 "backup ${first:0:8} of 20" vb find 'c.*'
is "in one of two backups" "$(vb find 'c.*' --json | jq -r .path)" "$S/deep/er/c.txt"
is "in both" "$(vb find x --json | jq -r .backup | sort | paste -sd' ')" "$(printf '%s\n' "$first" "$second" | sort | paste -sd' ')"
is "by path" "$(vb find "$S/deep/*" --json "$second" | jq -r '.path' | sort | paste -sd' ')" "$S/deep/b $S/deep/new"
is "directories only" "$(vb find '*' --type d --json "$second" | jq -r .path | grep -c "^$S")" 4
try "find nothing" 1 "no backup has a file" vb find 'nosuch*'
try "find of another host" 1 "no backup has" vb find x --host other
try "find since tomorrow" 1 "no backup has" vb find x --since 2999-01-01
try "find until now" 0 "x" vb find x --until 0s --since 1d
try "a time that is none" 2 "not a time" vb find x --since soon
try "a type that is none" 2 "not one of" vb find x --type q
try "no pattern" 2 "argument is missing" vb find
try "a backup that is none" 1 "no such backup" vb find x 00000000
unlike "control characters are shown as such" "$(vb find 'new?line*')" $'\033'

# ---- cat ----
ok "cat of the first" cmp <(vb cat "${first:0:8}" "$S/large") "$T/before/large"
ok "cat of the latest" cmp <(vb cat "$S/large") "$S/large"
ok "cat with holes" cmp <(vb cat latest "$S/holes") "$S/holes"
ok "cat of a hard link" cmp <(vb cat "$S/hard") "$S/hard"
try "cat of a directory" 2 "is a directory" vb cat "$S/deep"
try "cat of a symbolic link" 2 "is a symbolic link" vb cat "${first:0:8}" "$S/link"
try "cat of what is not there" 1 "is not in backup" vb cat "$S/nowhere"
try "cat of no path" 2 "name it by its path" vb cat latest
try "cat as JSON" 2 "where the file goes" vb cat --json "$S/a"
vb cat "$S/large" | head -c 10 > /dev/null
is "whoever stops reading ends it" "$((PIPESTATUS[0] != 0))" 1

# ---- diff ----
out=$(vb diff "$first" "$second"); echo "$out" > "$T/diff"
want="+ $S/deep/new
+ $S/link/in
- $S/deep/er/
- $S/deep/er/c.txt
M $S/a
M $S/large
T $S/link/
m $S/deep/b"
is "diff" "$(grep -E '^[-+MmT] ' "$T/diff" | LC_ALL=C sort | grep -v "^m $S\$\|^m $S/hard\|^m $S/$" )" "$want"
like "what an insertion costs is not the whole file" "$(vb diff "$first" "$second" --json | jq -r 'select(.message_type == "summary") | if .bytes_added < 250000 and .bytes_added > 9 then "part" else "all: \(.bytes_added)" end')" part
is "nothing differs from itself" "$(vb diff "$first" "$first" --json | jq -c '[.added,.removed,.changed,.metadata,.bytes_added]')" "[0,0,0,0,0]"
is "below a path only" "$(vb diff "$first" "$second" "$S/deep/er" -q | wc -l)" 2
back=$(vb diff "$second" "$first" --json | jq -c 'select(.message_type == "summary") | [.added,.removed]')
is "the other way round" "$(vb diff "$first" "$second" --json | jq -c 'select(.message_type == "summary") | [.removed,.added]')" "$back"
try "one backup" 2 "argument is missing" vb diff "$first"
try "a path instead of a backup" 2 "two backups are compared" vb diff "$first" "$S"
try "three backups" 2 "not a path" vb diff "$first" "$second" latest

# two file sets of one path
mkdir -p "$T/two/sub"; echo 1 > "$T/two/a.db"; echo 1 > "$T/two/b.log"; echo 1 > "$T/two/sub/c.log"
printf '[requester]\nname = web\nallow-live = yes\n[writer files]\ncomponent = two\ntwo.path = %s\ntwo.include = *.db\ntwo.include = *.log\n' "$T/two" > "$T/two.conf"
chmod 600 "$T/two.conf"
mkdir -m 700 "$T/run2"
with_two() { VBACKUP_RUNTIME_DIR=$T/run2 VBACKUP_STATE_DIR=$T/state2 VBACKUP_CONFIG=$T/two.conf VBACKUP_REPOSITORY=$T/repo2 vbackup "$@"; }
with_two init -q > /dev/null; with_two backup -q > "$T/log" 2>&1 || fail "two file sets are backed up" "$(cat "$T/log")"
echo 22 > "$T/two/b.log"; echo 22 > "$T/two/sub/c.log"; with_two backup -q > "$T/log" 2>&1
mapfile -t two < <(with_two list --json | jq -r .id)
is "diff: each file set is compared with its own" "$(with_two diff "${two[@]}" | grep '^[-+MT] ' | LC_ALL=C sort | paste -sd' ')" "M $T/two/b.log M $T/two/sub/c.log"

# ---- stats ----
try "stats" 0 "2 backups of" vb stats
vb stats --json > "$T/stats"
is "sizes fit together" "$(jq -s '(.[-1].compressed_bytes <= .[-1].deduplicated_bytes) and (.[-1].deduplicated_bytes < .[-1].logical_bytes * 1.5) and (map(select(.id) | .unique_compressed_bytes) | add) < .[-1].compressed_bytes' "$T/stats")" true
is "what one backup alone has" "$(vb stats "${second:0:8}" --json | jq -s '.[0].unique_bytes > 0 and .[0].deduplicated_bytes > .[0].unique_bytes')" true
is "a third of the same has next to nothing of its own" "$(vb backup -q "$S" > /dev/null; vb stats --json | jq -s '.[2].unique_bytes < 20000')" true
try "stats of none" 1 "no such backup" vb stats 12345678

# ---- ls ----
is "hard links are told" "$(vb ls "$first" --json "$S/a" "$S/hard" | jq -r .link_group | sort -u | grep -c '[1-9]')" 1
is "holes are told" "$(vb ls "$first" --json "$S/holes" | jq '.hole_bytes > 0 or .hole_bytes == null')" true
done_testing
