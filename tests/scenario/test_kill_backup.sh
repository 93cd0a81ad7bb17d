#!/usr/bin/env bash
# tests/scenario/test_kill_backup.sh - a backup whose requester is killed after each record of its journal
. "$abs_top_srcdir/tests/scenario/kill.sh"

for mode in resume lease; do
    n=1
    while one backup $mode $n; do n=$((n + ${KILL_STEP:-1})); [ $n -lt 200 ] || break; done
    ok "backup killed at record 1 to $((n - 1)) (every ${KILL_STEP:-1}), $mode: earlier backups are intact" whole
    ok "backup, $mode: the next run succeeds" vb backup -q
done
done_testing
