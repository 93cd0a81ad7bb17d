#!/usr/bin/env bash
# tests/scenario/test_kill_relay.sh - the relay is killed after each piece that it carried, of a backup and of a restore: the job is
# attached to again through another one, and no event comes twice.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
grep -q "^#define VB_FAULT_POINTS 1" "$abs_top_builddir/config.h" || skip_all "built without --enable-fault-points"
export VBACKUP_RELAY=copy # as over SSH; a local one would be gone at once
mkdir "$T/data"
echo content > "$T/data/a"
cat > "$T/vbackup.conf" <<END
[requester]
allow-live = yes
name = front
[writer null]
component = app
app.path = $T/data
event-log = $T/events
END
ok "init" vb init
ok "a first backup" vb backup -q

one() { # KIND N
    local status
    : > "$T/events"; touch "$T/armed"
    # shellcheck disable=SC2086
    VBACKUP_TEST_KILL=relay:$2 VBACKUP_TEST_KILL_FILE=$T/armed vb $1 -q --lease 20s > "$T/log" 2>&1
    status=$?
    if [ -e "$T/armed" ]; then
        rm "$T/armed"
        is "$1: no relay carries more than $(($2 - 1)) pieces; not killed, status" "$status" 0
        return 1
    fi
    # before the job was sent there is nothing to lose: then the run may end at once, with nothing touched
    if [ "$status" = 0 ]; then pass "$1, relay killed after piece $2: the run went on"; else
        is "$1, relay killed after piece $2: nobody was told anything but Identify" \
            "$(awk '$3 != "open" && $3 != "close" && $3 != "identify"' "$T/events" | wc -l)" 0
        like "... and the user knows why" "$(cat "$T/log")" 'front'
    fi
    is "$1, relay killed after piece $2: nobody stays frozen" "$(held "$T/events")" ""
    is "$1, relay killed after piece $2: no event came twice" \
        "$(awk '$4 == "begin" && $3 !~ /^(open|close|identify|backup-shutdown)$/ { n[$3]++ } END { for (e in n) if (n[e] > 1) print e }' "$T/events")" ""
    ok "$1, relay killed after piece $2: nothing of the job is left" no_agents_left
    return 0
}
for kind in backup "restore latest --overwrite"; do
    n=1
    while one "$kind" $n; do n=$((n + 1)); [ $n -lt 100 ] || break; done
done
ok "everything can be read" vb check --read-data
is "the content is there" "$(cat "$T/data/a")" content
done_testing
