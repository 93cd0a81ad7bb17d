#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_story_kill_long.sh - real databases under load: requester, worker and supervisor of the front end are killed after each
# record of their journals, of a backup; the requester also of a restore.  Each time nobody stays held, and the run is taken up or
# the next one succeeds; in the end the shop is destroyed, restored and audited.
. "${abs_top_srcdir:?}/tests/root/story_test.sh"
STORY_SABOTAGE=
grep -q "^#define VB_FAULT_POINTS 1" "$abs_top_builddir/config.h" || skip_all "built without --enable-fault-points"
story_hosts 2 || bail "the hosts cannot be made"
ok "configured" story_configure 1
ok "init" story_vb init
mkdir -m 777 "$T/arm"
: > "$T/outside/journal"; chmod 666 "$T/outside/journal"
ok "customers order" story_customers_start 3600
ok "a first backup" story_vb backup -q

agents_down() { front sh -c 'pkill -KILL -f "vbackup-agent supervisor"'; sleep 0.3; return 0; }
killed() { # ROLE N ARGUMENT...
    local role=$1 n=$2; shift 2
    touch "$T/arm/armed"; chmod 666 "$T/arm/armed"
    front env VBACKUP_CONFIG=/home/vbt-front/vbackup.conf VBACKUP_TEST_KILL="$role:$n" \
        VBACKUP_TEST_KILL_FILE="$T/arm/armed" vbackup "$@" > "$T/out" 2>&1
    status=$?
    if [ -e "$T/arm/armed" ]; then rm -f "$T/arm/armed"; return 1; fi
}
free_again() {
    local i
    for i in $(seq 100); do
        front sh "$abs_top_srcdir/samples/shop-front/shop-admin" /srv/shop status 2> /dev/null | grep -q free && return 0
        sleep 0.1
    done
    return 1
}
orders_flow() { # both databases take orders: nothing is held
    local a
    a=$(wc -l < "$T/outside/journal")
    hosts_wait 10 sh -c "[ \$(grep -c . '$T/outside/journal') -gt $((a + 20)) ]"
}
for role in requester worker supervisor; do
    n=1
    while [ $n -lt 120 ]; do
        [ $role = requester ] || agents_down
        killed $role $n backup -q --lease 3s || break
        run=$(story_vb resume --list)
        if [ -n "$run" ]; then
            story_vb resume -q "$run" > "$T/out" 2>&1
            status=$?
            [ $role = requester ] && is "backup, requester killed at $n: taken up" $status 0
        fi
        ok "backup, $role killed at $n: the topology lock is free" free_again
        ok "backup, $role killed at $n: orders flow on both sides" orders_flow
        n=$((n + 1))
    done
    ok "backup, $role killed at each of $((n - 1)) records: the next one succeeds" story_vb backup -q
done
story_customers_stop
ok "both sides are right" story_auditor
ok "everything can be read" story_vb check --read-data
n=1
while [ $n -lt 120 ]; do
    story_destroy
    killed requester $n restore latest -q --lease 20s || break
    run=$(story_vb resume --list)
    if [ -n "$run" ]; then ok "restore, requester killed at $n: taken up" story_vb resume -q "$run"; fi
    # before the plan was made there is nothing to take up
    front test -e /srv/shop/data/shop.db || ok "restore, requester killed at $n: begun anew" story_vb restore latest -q --overwrite
    unlike "restore, requester killed at $n: every account is right" "$(story_auditor 2>&1)" 'wrong: (front|back) end: [0-9]+ accounts|cannot'
    n=$((n + 1))
done
is "restore killed at each of $((n - 1)) records; the last one was not, exit status" "$status" 0
done_testing
