#!/usr/bin/env bash
# tests/scenario/test_partial.sh - partial files: only what the writer says has changed is read, the whole file comes back (rule
# book, 9.4 and 3.5).
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
mkdir "$T/data" "$T/apart"
configure() { # LINES of the component
    cat > "$T/vbackup.conf" <<END
[requester]
name = here
[provider null]
enable = yes
level = 2
atomic = yes
[provider reflink]
enabled = no
[provider btrfs]
enabled = no
[writer null]
schema = 0x3
component = db
db.type = database
db.path = $T/data
event-log = $T/events
$1
END
    chmod 600 "$T/vbackup.conf"
}
back() { : > "$T/events"; out=$(vb backup "$@" 2>&1); status=$?; id=$(vb list --json | jq -rs 'last.id'); }
read_of() { vb show "$1" --json | jq -r '[.hosts[0].components[0].file_sets[].bytes_read] | add'; }
put() { printf '%s' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; } # FILE OFFSET TEXT
below() { [ "$1" -lt "$2" ] || { echo "$1 is not below $2"; return 1; }; }
size=$((40 << 20))
openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2> /dev/null | head -c "$size" > "$T/data/big"
openssl enc -aes-128-ctr -K 01 -iv 00 -in /dev/zero 2> /dev/null | head -c 3000000 > "$T/data/small"
cp "$T/data/small" "$T/apart/other"
truncate -s 8M "$T/data/holes"; put "$T/data/holes" 3000000 middle
configure ""
ok "init" vb init -q
back --type full
full=$id

# ---- what changed since the base is read alone ----
put "$T/data/big" 20000000 "twenty million"
put "$T/data/big" 35000000 "thirty-five million"
put "$T/data/small" 100 "one hundred"
put "$T/data/holes" 5000000 "in a hole"
cp -a "$T/data" "$T/changed"
configure "db.partial = $T/data/big 35000000:0x20,20000000:20
db.partial = $T/data/small 100:11
db.partial = $T/data/holes 5000000:9"
back --type incremental
is "VSS-I-26 a backup with partial files: exit status" "$status" 0
ok "VSS-I-26 only what is in the ranges, and around it, is read" below "$(read_of "$id")" 6000000
first=$id
rm -r "$T/data"
: > "$T/events"
ok "VSS-R-63 the chain is restored" vb restore -q "$first"
ok "... every byte as it was" diff -r "$T/data" "$T/changed"
is "VSS-R-71 the writer is told what it had said" "$(grep -o 'partial .*' "$T/events" | head -1)" \
    "partial $T/data/big 35000000:0x20,20000000:20 partial"
ok "below another place" vb restore -q "$first" --target "$T/out"
ok "... the same" diff -r "$T/out$T/data" "$T/changed"

# ---- what is outside of the ranges is as in the base; what the file has grown by is read ----
back --type full
put "$T/data/big" 1000000 "not told"
put "$T/data/big" 30000000 "told"
printf 'appended' >> "$T/data/big"
cp "$T/data/big" "$T/now"
configure "db.partial = $T/data/big 30000000:4"
back --type incremental
vb cat "$id" "$T/data/big" > "$T/composed"
is "the size is that of now" "$(stat -c %s "$T/composed")" "$((size + 8))"
is "... what was told is as it is now" "$(tail -c +30000001 "$T/composed" | head -c 4)" told
is "... and what was appended" "$(tail -c 8 "$T/composed")" appended
is "... what was not told is as it was" "$(cmp "$T/composed" "$T/now" | grep -c 'differ')" 1
back --type full
vb cat "$id" "$T/data/big" > "$T/composed"
ok "a full backup reads the whole file" cmp "$T/composed" "$T/now"

# ---- a base that the agent's memory is not of ----
put "$T/data/big" 100 "before the copy"
back --type copy
put "$T/data/big" 200 "after the copy"
cp "$T/data/big" "$T/now"
configure "db.partial = $T/data/big 100:15,200:14"
back --type incremental
vb cat "$id" "$T/data/big" > "$T/composed"
ok "where the last capture was not the base, the file is read whole" cmp "$T/composed" "$T/now"

# ---- a ranges file, and a file in no file set ----
configure ""; back --type full
put "$T/apart/other" 1000 "changed"
printf '\1\0\0\0\0\0\0\0\350\3\0\0\0\0\0\0\7\0\0\0\0\0\0\0' > "$T/apart/ranges"
configure "db.partial = $T/apart/other File=$T/apart/ranges"
back --type incremental
is "VSS-R-61 a ranges file: exit status" "$status" 0
is "VSS-R-61 it is in the backup, and the file, though in no file set" \
    "$(vb show "$id" --json | jq -r '.hosts[0].components[0].file_sets[] | "\(.path)/\(.filespec)"' | grep apart | paste -sd ' ')" \
    "$T/apart/ranges $T/apart/other"
cp -a "$T/apart" "$T/kept"; rm -r "$T/apart" "$T/data"
ok "... and comes back" vb restore -q "$id"
ok "... as it was" diff -r "$T/apart" "$T/kept"

# ---- refusals ----
refused() { # NAME PARTIAL TEXT
    configure "db.partial = $2"
    back --type incremental
    is "$1: exit status" "$status" 1
    like "... in one clear line" "$out" "$3"
}
refused "overlapping ranges" "$T/data/big 0:10,5:10" "partial file '$T/data/big': ranges '0:10' and '5:10' overlap"
refused "an empty range" "$T/data/big 5:0" "partial file '$T/data/big': range '5:0' is empty"
refused "a range beyond the end of the file" "$T/data/small 2999990:11" \
    "'$T/data/small': writer error: partial file: range '2999990:11' reaches beyond the 3000000 bytes of the file"
refused "VSS-I-26 a pattern" "$T/data/* 0:1" "is not one file with its full path"
refused "no ranges" "$T/data/big abc" "are not 'offset:length' pairs"
refused "a file that does not exist" "$T/data/none 0:1" "does not exist"
refused "a ranges file that is none" "$T/data/big File=$T/data/small" "ranges file '$T/data/small': ranges file has 3000000 bytes, which does not fit"
configure "db.partial = $T/data/small 0:10
db.partial = $T/data/small 5:10"
back --type incremental
like "a file that is named twice" "$out" "'$T/data/small': writer error: partial file: is named twice"
configure ""
back --type full
is "the next backup is whole again" "$status" 0
done_testing
