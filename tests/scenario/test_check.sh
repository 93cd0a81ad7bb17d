#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# check as a user meets it: parts in turn with their promise, damage with what it means for whom, repair.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir "$T/src"
for i in 1 2 3; do head -c 300000 /dev/urandom > "$T/src/file$i"; done
vb init -q > /dev/null && vb backup -q "$T/src" > /dev/null || bail "no backup to begin with"

try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}

for bad in 0 1/0 2/3 0% 101% x 1/ -1; do
    try "a part that is none, $bad" 2 "not 1/N, a percentage or a size" vb check --read-data-subset "$bad"
done
try "a part and everything" 2 "not both" vb check --read-data-subset 1/2 --read-data
try "a part, and repair" 2 "not both" vb check --read-data-subset 1/2 --repair

try "the first part of three" 0 "all data are read once every 3 runs" vb check --read-data-subset 1/3
like "how many are to come" "$out" "2 runs to go; there was none before"
try "the second" 0 "1 run to go" vb check --read-data-subset 1/3
is "the third completes the round" "$(vb check --read-data-subset 1/3 --json | jq -c 'select(.message_type == "summary") | [.runs_for_all, .round_complete, .last_full_ms > 0]')" '[3,true,true]'
try "the next round knows of it" 0 "the one before was complete 20" vb check --read-data-subset 50%
echo "{ nonsense" > "$T/state/"check-*.json
try "a lost count begins anew" 0 "there was none before" vb check --read-data-subset 1/2
is "packs of all parts together" "$(for i in 1 2 3 4; do vb check --read-data-subset 1/4 --json; done | jq -s 'map(select(.message_type == "summary")) | (map(.packs_read) | add) == .[0].packs')" true
try "a size larger than all" 0 "once every 1 runs" vb check --read-data-subset 1G

# damage to file data: which file of which backup, and how much of it
for pack in "$T/repo/packs/"*/*; do # the largest is that of the data
    [ -n "$big" ] && [ "$(stat -c %s "$pack")" -lt "$(stat -c %s "$big")" ] || big=$pack
done
chmod u+w "$big"
printf 'XXXX' | dd of="$big" bs=1 seek=5000 conv=notrunc status=none
id=$(vb list --json | jq -r '.id[0:8]')
try "structure alone does not see it" 0 "structure only" vb check
try "reading does" 1 "damage: packs/" vb check --read-data
like "and says who lost what" "$out" "lost: backup $id: host 'web': '$T/src/file[123]': [0-9]+ of 300000 bytes are lost"
is "one file only" "$(vb check --read-data --json | jq -r 'select(.severity == "lost") | .text' | grep -c .)" 1
cp -a "$T/repo" "$T/before"
try "repair" 3 "mended: packs/.*chunks [0-9]+ were taken out, 0 lie elsewhere too, 1 are lost" vb check --repair
like "what stays lost" "$out" "lost: backup $id"
ok "nothing is deleted" cmp "$T/repo/broken/${big#"$T/repo/"}" "$T/before/${big#"$T/repo/"}"
try "the others are there" 0 "" vb restore -q latest --target "$T/out" "$T/src/file$(vb check --json | jq -r 'select(.severity == "lost") | .text' | grep -q file1 && echo 2 || echo 1)"
try "a second repair" 3 "nothing to repair" vb check --repair
try "the next backup" 0 "" vb backup -q "$T/src"
try "makes it whole" 0 "no damage found in 2 backups" vb check --read-data
like "what was set aside is still there" "$out" "note: broken/: .*set aside by a repair"
try "the old backup, too" 0 "" vb restore -q "$id" --target "$T/whole"
ok "byte by byte" diff -r "$T/src" "$T/whole$T/src"
rm -r "$T/repo/broken"
try "nothing to repair" 0 "nothing to repair" vb check --repair

# the index is made anew
for f in "$T/repo/index/"*; do chmod u+w "$f"; : > "$f"; done
try "an index that is gone is no damage" 0 "note: index/" vb check
try "repair makes one" 0 "mended: index/" vb check --repair
try "and it is whole" 0 "no damage" vb check --read-data
done_testing
