# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/root/story_test.sh - the story, told once per shape; sourced by test_story.sh and test_story_three.sh.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/story.sh"
STORY_SABOTAGE=1

# The merged event log as lines "N HOST KIND EVENT PHASE WRITER".
events_take() { # BACKUP
    story_events "$1" > "$T/events.json" &&
        jq -r '[.n, .host // "requester", .kind, .event // "-", .phase // "-", .writer // "-"] | join(" ")' "$T/events.json" |
        grep -v ' gather ' > "$T/events"
}
first() { grep -nE "$1" "$T/events" | head -1 | cut -d: -f1; }
last() { grep -nE "$1" "$T/events" | tail -1 | cut -d: -f1; }
# before NAME A B: everything that matches A comes before everything that matches B, and both are there
before() {
    local a b
    a=$(last "$2"); b=$(first "$3")
    if [ -n "$a" ] && [ -n "$b" ] && [ "$a" -lt "$b" ]; then pass "$1"; else fail "$1" "'$2' at ${a:-never}, '$3' at ${b:-never}
$(grep -nE "$2|$3" "$T/events")"; fi
}
wall() { jq -r "select($1) | .wall_ms" "$T/events.json" | tail -1; }

watch_lock() { # the topology lock as an administrator sees it, with the time before and after each look
    rm -f "$T/outside/stop"
    front sh -c 'while [ ! -e '"$T"'/outside/stop ]; do a=$(date +%s%3N); s=$(/bin/sh '"$abs_top_srcdir"'/samples/shop-front/shop-admin /srv/shop status 2>/dev/null); echo "$a $(date +%s%3N) $s"; sleep 0.05; done' \
        > "$T/outside/lock" 2> /dev/null &
    lock_watcher=$!
}

backup_order() { # SHAPE
    local s=$1 w='shop.front'
    before "VSS-D-40 shape $s: front end: PrepareForBackup before its snapshot" '^[0-9]+ front event PrepareForBackup end' '^[0-9]+ front call DoSnapshotSet'
    before "VSS-B-36 shape $s: front end: PrepareForSnapshot before Freeze" '^[0-9]+ front event PrepareForSnapshot end' '^[0-9]+ front event Freeze begin'
    before "VSS-B-36 shape $s: front end: Freeze before Thaw" '^[0-9]+ front event Freeze end' '^[0-9]+ front event Thaw begin'
    before "VSS-B-36 shape $s: front end: Thaw before PostSnapshot" '^[0-9]+ front event Thaw end' '^[0-9]+ front event PostSnapshot begin'
    before "VSS-D-41 shape $s: the back end's job is sent after the front end's snapshot" '^[0-9]+ front event PostSnapshot end' '^[0-9]+ backend call OPEN'
    before "VSS-D-42 shape $s: back end: PrepareForBackup before its snapshot" '^[0-9]+ backend event PrepareForBackup end' '^[0-9]+ backend call DoSnapshotSet'
    before "VSS-D-42 shape $s: back end: snapshot before SetBackupSucceeded" '^[0-9]+ backend event PostSnapshot end' '^[0-9]+ backend call SetBackupSucceeded'
    before "VSS-D-42 shape $s: back end: SetBackupSucceeded before BackupComplete" '^[0-9]+ backend call SetBackupSucceeded' '^[0-9]+ backend event BackupComplete begin'
    before "VSS-D-43 VSS-D-44 shape $s: no success mark on the front end before the back end's end" '^[0-9]+ backend event BackupComplete end' '^[0-9]+ front call SetBackupSucceeded'
    before "VSS-D-43 shape $s: then the front end's BackupComplete" '^[0-9]+ front call SetBackupSucceeded' '^[0-9]+ front event BackupComplete begin'
    before "VSS-D-46 shape $s: the front end thaws before the back end freezes" '^[0-9]+ front event Thaw end' '^[0-9]+ backend event Freeze begin'
    is "VSS-B-42 shape $s: as many thaws as freezes" "$(grep -cE ' event Thaw end' "$T/events")" "$(grep -cE ' event Freeze end' "$T/events")"
    like "shape $s: the writer of the shop took part" "$(cat "$T/events")" "front event BackupComplete end $w"
}

restore_order() { # SHAPE, events of the restore in $T/restore.events
    local s=$1 save=$T/events.backup
    mv "$T/events" "$save"; cp "$T/restore.events" "$T/events"
    before "VSS-D-55 shape $s: the back end is restored after the front end's PreRestore" '^front +event +PreRestore .* end' '^backend +event +PreRestore .* begin'
    before "VSS-D-58 VSS-D-59 shape $s: the front end's PostRestore comes after the back end's" '^backend +event +PostRestore .* end' '^front +event +PostRestore .* begin'
    mv "$save" "$T/events"
}

lock_held_throughout() { # SHAPE: from the end of PrepareForBackup to the begin of BackupComplete
    local from to bad seen
    from=$(wall '.host=="front" and .event=="PrepareForBackup" and .phase=="end"')
    to=$(wall '.host=="front" and .event=="BackupComplete" and .phase=="begin"')
    bad=$(awk -v f="$from" -v t="$to" '$1 > f && $2 < t && /free/' "$T/outside/lock" | wc -l)
    seen=$(awk -v f="$from" -v t="$to" '$1 > f && $2 < t && /locked/' "$T/outside/lock" | wc -l)
    is "VSS-D-45 VSS-D-53 shape $1: the topology lock was seen free during the backup" "$bad" 0
    if [ "$seen" -gt 0 ]; then pass "shape $1: the lock was seen held $seen times"; else fail "shape $1: the lock was never seen held"; fi
    like "shape $1: and is free afterwards" "$(front sh "$abs_top_srcdir/samples/shop-front/shop-admin" /srv/shop status)" free
}

tell_story() { # SHAPE
    local s=$1 out id frozen thawed
    ok "shape $s: configured" story_configure "$s"
    : > "$T/outside/journal"; chmod 666 "$T/outside/journal"
    ok "shape $s: the books are opened anew" story_books
    front sh -c 'echo "the page of the backup" > /srv/shop/content/pages/index.html; echo "theme = plain" > /srv/shop/shop.conf'
    [ -e "$T/picture1" ] || front cat /srv/shop/content/pages/picture1 > "$T/picture1"
    front sh -c 'cat > /srv/shop/content/pages/picture1' < "$T/picture1"
    ok "shape $s: customers order on both sides" story_customers_start
    out=$(story_vb plan backup) || fail "shape $s: plan" "$out"
    like "shape $s: the plan names the back end's components and why" "$out" 'postgresql.*(needed by|needed)'
    watch_lock
    story_vb backup > "$T/backup.out" 2>&1; is "shape $s: backup, exit status" $? 0
    touch "$T/outside/stop"; wait "$lock_watcher"
    sed 's/^/# /' "$T/backup.out"
    unlike "shape $s: nothing was read live" "$(cat "$T/backup.out")" 'read live'
    sleep 1
    story_customers_stop
    ok "shape $s: both sides are right before the disaster" story_auditor
    events_take latest
    backup_order "$s"
    lock_held_throughout "$s"
    like "shape $s: the shop and its databases are complete, and consistent as a group" \
        "$(story_vb show | grep -cE '(shop-front writer:(shop|backend)|main.(cluster|config)) +complete +group')" "^$((s == 1 ? 3 : 3))$"
    frozen=$(wall '.host=="front" and .event=="Freeze" and .phase=="begin"')
    thawed=$(wall '.host=="front" and .event=="Thaw" and .phase=="end"')
    story_destroy
    not_ok "shape $s: the shop is gone" front test -e /srv/shop/data/shop.db
    not_ok "shape $s: the server is gone" backend $STORY_PG/psql -h /run/pg -d postgres -c 'SELECT 1'
    story_vb restore latest -v > "$T/restore.out" 2> "$T/restore.err"; is "shape $s: restore, exit status" $? 0
    sed 's/^/# /' "$T/restore.out"
    grep -E '^ +(front|backend|third) ' "$T/restore.err" | sed 's/^ *//' > "$T/restore.events"
    restore_order "$s"
    is "shape $s: what was overwritten after the thaw is as it was" "$(front cat /srv/shop/content/pages/index.html)" "the page of the backup"
    is "shape $s: what was deleted after the thaw is back" "$(front sha256sum < <(front cat /srv/shop/content/pages/picture1) | cut -d' ' -f1)" "$(sha256sum < "$T/picture1" | cut -d' ' -f1)"
    is "shape $s: the setting is back" "$(front cat /srv/shop/shop.conf)" "theme = plain"
    out=$(story_auditor --before-ms "$frozen" --front-thawed-ms "$thawed" 2>&1)
    is "shape $s: auditor, exit status" $? 0
    echo "$out" | sed 's/^/# /'
    : > "$T/outside/journal"
    ok "shape $s: both applications run again" story_customers_again
    out=$(story_auditor 2>&1) # the back end is of a later instant: orders it had taken alone leave gaps in the front end
    unlike "shape $s: and every account is right" "$out" 'wrong: (front|back) end: [0-9]+ accounts'
}

story_books() {
    backend $STORY_PG/psql -q -h /run/pg -d postgres -c 'DROP TABLE IF EXISTS accounts, ledger, orders' 2> /dev/null
    front rm -rf /srv/shop/data && front shop-workload init --dir /srv/shop --conninfo "$STORY_CONN"
}

story_customers_again() {
    front shop-workload run --dir /srv/shop --conninfo "$STORY_CONN" --journal "$T/outside/journal" --clients 2 --seconds 1
}

tap_cleanup() { hosts_cleanup; loopfs_cleanup; }
story_available || skip_all "$STORY_WHY"
