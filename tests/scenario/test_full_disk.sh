#!/usr/bin/env bash
# tests/scenario/test_full_disk.sh - the file system of the requester's or of the agent's journal is full, from each record on
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
grep -q "^#define VB_FAULT_POINTS 1" "$abs_top_builddir/config.h" || skip_all "built without --enable-fault-points"

mkdir "$T/data"
echo one > "$T/data/a"
cat > "$T/vbackup.conf" <<END
[provider null]
enable = yes
hold = 1
level = 2
[writer null]
component = app
app.path = $T/data
event-log = $T/events
topology-lock = $T/lock
END
ok "init" vb init -q
ok "a first backup" vb backup -q
first=$(vb list --json | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | head -1)

# one ROLE N: the run with the disk full from the role's record N on; 1 when it was not reached any more
one() {
    : > "$T/events"
    VBACKUP_TEST_FULL=$1:$2 vb backup -q > "$T/log" 2>&1
    status=$?
    is "$1, full at $2: nobody stays frozen" "$(held "$T/events")" ""
    is "$1, full at $2: the topology lock is gone" "$(ls "$T/lock" 2>/dev/null)" ""
    ok "$1, full at $2: nothing of the job is left" no_agents_left
    [ $status != 0 ] || { ! grep -q 'No space left' "$T/log" && return 1; return 0; }
    like "$1, full at $2: it is said" "$(cat "$T/log")" 'cannot write the journal: .*No space left'
    like "$1, full at $2: what to do" "$(cat "$T/log")" 'hint: (make room|mend it)'
    ok "$1, full at $2: not over and over" [ "$(grep -c 'No space left' "$T/log")" -le 4 ]
    return 0
}

n=1
while one requester $n; do n=$((n + 1)); [ $n -lt 60 ] || break; done
ok "the requester's journal: a backup has that many records" [ $n -gt 8 ]
for n in 2 6 14 22 30; do
    for p in $(agent_pids supervisor); do kill "$p"; done
    ok "the supervisor ends" sh -c "for i in \$(seq 50); do [ -e '$T/run/agent.sock' ] || exit 0; sleep 0.1; done"
    one worker $n
done
for p in $(agent_pids supervisor); do kill "$p"; done
ok "earlier backups are intact" vb check --read-data -q
ok "they can be restored" vb restore "$first" -q --target "$T/out"
is "whole" "$(find "$T/out" -name a -exec cat {} +)" one
ok "with room again the next backup succeeds" vb backup -q
done_testing
