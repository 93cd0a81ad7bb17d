#!/usr/bin/env bash
# tests/scenario/test_library.sh - libvbackup: exports what the headers declare and nothing else, and a program of one page that
# links it backs up and reports.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
sym=$abs_top_srcdir/requester/libvbackup.sym
nm -D --defined-only "$abs_top_builddir/.libs/libvbackup.so" | awk '{ print $3 }' | grep '^vb_' | sort > "$T/exported"
ok "exports exactly the reviewed list" diff "$sym" "$T/exported"
cat "$abs_top_srcdir"/include/vbackup/*.h > "$T/headers"
undeclared=$(while read -r s; do grep -q "\b$s(" "$T/headers" || echo "$s"; done < "$sym")
is "every exported function is declared in a public header; not declared" "$undeclared" ""

mkdir "$T/data"; echo one > "$T/data/a"
: > "$T/vbackup.conf"
out=$(backup-program "$T/repo" "$T/data" 2>&1); status=$?
is "without a repository: exit status" "$status" 1
like "... and the reason" "$out" 'cannot open the repository'
ok "init" vb init
out=$(backup-program "$T/repo" "$T/data" 2> "$T/err"); status=$?
is "a program backs up: exit status" "$status" 0
like "... says what became of the component" "$out" 'complete, consistency (none|crash|application), [0-9]+ files'
like "... and names the backup" "$out" 'backup [0-9a-f-]{36}'
ok "vbackup restores it" vb restore -q --target "$T/out"
ok "as it was" diff -r "$T/data" "$T/out$T/data"
echo "[host x]" > "$T/vbackup.conf"; echo "port = many" >> "$T/vbackup.conf"
out=$(backup-program "$T/repo" "$T/data" 2>&1); status=$?
is "a malformed configuration: exit status" "$status" 2
like "... file and line" "$out" "vbackup.conf:2"

# --- replicas of a program's own ---
rp() { replica-program "$@" 2>&1; }
ok "a program puts a note" replica-program "$T/here.db" put greeting hello
ok "... another one elsewhere" replica-program "$T/there.db" put answer 42
like "... they meet" "$(rp "$T/here.db" with "$T/there.db")" "2 applied, 0 conflicts"
is "... and both have both" "$(rp "$T/here.db" list | cat -v)|$(rp "$T/there.db" list | cat -v)" "$(printf 'answer 42\ngreeting hello|answer 42\ngreeting hello')"
like "... again nothing is to do" "$(rp "$T/here.db" with "$T/there.db")" "0 applied"
ok "... a deletion" replica-program "$T/there.db" delete answer
like "... travels" "$(rp "$T/here.db" with "$T/there.db"; rp "$T/here.db" list | cat -v)" "greeting hello"
is "REPL-MSS-24 the first clean-up ever only looks at the clock" "$(rp "$T/here.db" clean 3600)" false
is "REPL-MSS-27 interval 0 removes all" "$(rp "$T/here.db" clean 0)" true
done_testing
