#!/usr/bin/env bash
# tests/scenario/test_kill_restore.sh - a restore whose requester is killed after each record of its journal
. "$abs_top_srcdir/tests/scenario/kill.sh"

for mode in resume lease; do
    n=1
    while one "restore latest --overwrite" $mode $n; do n=$((n + ${KILL_STEP:-1})); [ $n -lt 200 ] || break; done
    ok "restore killed at record 1 to $((n - 1)) (every ${KILL_STEP:-1}), $mode: earlier backups are intact" whole
    ok "restore, $mode: the next run succeeds" vb restore latest -q --overwrite
    is "restore, $mode: the content is back" "$(cat "$T/front/a" "$T/back/b")" "front
back"
done
done_testing
