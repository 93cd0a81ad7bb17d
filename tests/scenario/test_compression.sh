#!/usr/bin/env bash
# tests/scenario/test_compression.sh - the level of what a backup stores: the repository's, the configuration's, the command's.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
mkdir "$T/data"
: > "$T/vbackup.conf"
size=0
new_data() { seq "$1" $(($1 + 60000)) > "$T/data/numbers"; size=$(stat -c %s "$T/data/numbers"); } # nothing that is there already
packs() { du -sb --apparent-size "$T/repo/packs" | cut -f1; }
added() { # NAME ARGUMENT...: how much a backup of new data adds
    local name=$1 before; shift
    before=$(packs)
    ok "$name" vb backup -q --allow-live "$@" "$T/data"
    added=$(($(packs) - before))
}
ok "init" vb init -q
new_data 100000
added "as the repository has it"
ok "... compressed" test "$added" -lt $((size / 2))
new_data 200000
added "--compression 0" --compression 0
ok "... as it is" test "$added" -ge "$size"
printf '[requester]\ncompression = 0\n' > "$T/vbackup.conf"
new_data 300000
added "compression = 0"
ok "... as it is" test "$added" -ge "$size"
new_data 400000
added "--compression 9 goes before" --compression 9
ok "... compressed" test "$added" -lt $((size / 2))
: > "$T/vbackup.conf"
ok "restore" vb restore -q latest --target "$T/back"
ok "restored as it was" cmp "$T/data/numbers" "$T/back$T/data/numbers"
for level in 20 -1 fast; do
    out=$(vb backup -q --allow-live "--compression=$level" "$T/data" 2>&1)
    is "level $level is refused" "$?" 2
    like "level $level: what it may be" "$out" "0 to 19"
done
ok "check" vb check -q --read-data
done_testing
