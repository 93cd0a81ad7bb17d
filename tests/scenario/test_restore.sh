#!/usr/bin/env bash
# tests/scenario/test_restore.sh - what people do with a backup of plain paths, without a configuration: back where it was, only with
# consent where something is there.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_CONFIG
export HOME=$T/home XDG_CONFIG_HOME=$T/home/.config
mkdir -p "$T/home" "$T/data/sub/deep" "$T/single"
echo one > "$T/data/a"
echo two > "$T/data/sub/b"
echo deep > "$T/data/sub/deep/c"
ln -s a "$T/data/link"
echo alone > "$T/single/file"; echo other > "$T/single/other"
cp -a "$T/data" "$T/before"
ok "init" vb init -q
ok "backup of two paths, one of them a file" vb backup -q --allow-live "$T/data" "$T/single/file"

# ---- back where it was ----
out=$(vb restore 2>&1); status=$?
is "over existing data without consent: exit status" "$status" 5
like "... and what to do" "$out" "hint: .*--target.*--overwrite"
rm -rf "$T/data" "$T/single/file"
out=$(vb restore latest 2>&1); status=$?
is "what is gone comes back where it was: exit status" "$status" 0
ok "... as it was" diff -r --no-dereference "$T/before" "$T/data"
is "... the single file too" "$(cat "$T/single/file")" alone
is "... and nothing else in its directory is touched" "$(cat "$T/single/other")" other
echo spoilt > "$T/data/a"
ok "over existing data with consent" vb restore -q --overwrite
is "... as it was" "$(cat "$T/data/a")" one
done_testing
