#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_shadow_kill_long.sh - `vbackup shadow` killed at many moments of everything it changes: some seconds later, without
# a next start, nothing is orphaned, half made or in use.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available btrfs || skip_all "$LOOPFS_WHY"
tap_cleanup() { umount "$T/at" 2> /dev/null; scenario_cleanup; loopfs_cleanup; }
loopfs_mount btrfs 1G || skip_all "no btrfs on loop devices here"
b=$LOOPFS V=$LOOPFS/data
btrfs -q subvolume create "$V"
btrfs -q subvolume create "$V/nested"
mkdir "$b/in" "$T/at"
echo inner > "$V/nested/file"
head -c 30000000 /dev/urandom > "$V/big"
printf '[requester]\nname = here\n[provider reflink]\nenabled = no\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
shadow() { vb shadow "$@"; }
make() { shadow create --persistent --no-writers --json "$1" | jq -r '.snapshots[0].snapshot_id'; }
DELAYS=${DELAYS:-"0.02 0.05 0.09 0.14 0.2 0.3 0.45 0.7"}

# One command, killed after a while; its agent is left alone with what was begun.
killed_after() { # SECONDS ARGUMENT...
    local d=$1 pid; shift
    (cd "$T" && exec "$abs_top_builddir/vbackup" shadow "$@") > "$T/out" 2>&1 < /dev/null & pid=$!
    sleep "$d"
    kill -KILL $pid 2> /dev/null
    wait $pid 2> /dev/null
}
# Every subvolume is one of ours by a record, or one of those that were there; nothing is half done.
whole() {
    [ -z "$(agent_pids worker)" ] || { echo "a worker is still there"; return 1; }
    shadow list --json --unfinished > "$T/list" || return 1
    local left
    left=$(jq -r 'select(.orphan or (.present | not) or .state != "created") | .snapshot_id' "$T/list")
    [ -z "$left" ] || { echo "orphaned or unfinished: $left"; cat "$T/list"; return 1; }
    left=$(find "$VBACKUP_STATE_DIR/providers" -name '.[rcl]*'; find "$b" -maxdepth 2 -name '.vbackup-*')
    [ -z "$left" ] || { echo "left: $left"; return 1; }
    jq -r .snapshot_id "$T/list" | sort > "$T/known"
    find "$b" -inum 256 -path '*/.vbackup/*' | sed -n 's|.*/\.vbackup/\([^/]*\)$|\1|p' | sort > "$T/there"
    diff "$T/known" "$T/there"
}
settles() { # NAME: within the lease and what comes after it
    local i
    for i in $(seq 90); do whole > "$T/why" 2>&1 && { pass "$1: nothing is orphaned or half done"; return; }; sleep 0.5; done
    fail "$1: nothing is orphaned or half done" "$(cat "$T/why"; agent_pids worker)"
}
alive() { is "$1: the volume lives" "$(timeout 20 sh -c "echo $RANDOM > '$V/alive' && sync -f '$V/alive' && cat '$V/nested/file'")" inner; }

for d in $DELAYS; do killed_after "$d" create --persistent --no-writers "$V"; done
settles "create, persistent"; alive "create, persistent"
for d in $DELAYS; do killed_after "$d" create --no-writers --exec "sleep 30" "$V"; done
settles "create, volatile"
is "create, volatile: the list says so, too" "$(jq -r 'select(.attributes | index("persistent") | not) | .snapshot_id' "$T/list")" ""

for d in $DELAYS; do id=$(make "$V"); killed_after "$d" delete "$id"; done
settles "delete"; alive "delete"
shadow delete -q --all --yes

id=$(make "$V")
for d in $DELAYS; do
    killed_after "$d" expose "$id" "$T/at"
    for _ in $(seq 60); do [ -z "$(agent_pids worker)" ] && break; sleep 0.5; done
    if mountpoint -q "$T/at"; then seen=$T/at; else seen=null; fi
    is "expose, killed after $d s: what is mounted is recorded" "$(shadow list --json "$id" | jq -r .exposed_path)" "$seen"
    [ "$seen" = null ] || shadow unexpose -q "$id"
done
settles "expose"

for d in $DELAYS; do
    echo "before $d" > "$V/file"
    killed_after "$d" revert "$id" --force
done
settles "revert"; alive "revert"
is "revert: every state that was kept is whole" "$(shadow list --json | jq -r 'select(.note // "" | startswith("before the revert")) | .device' |
    while read -r at; do cat "$at/nested/file"; done | sort -u | grep -vx inner)" ""
run=0
for d in $DELAYS; do run=$((run + 1)); killed_after "$d" break "$id" "$b/copy$run" --keep; done
settles "break"
is "break: a copy is whole, or not there" "$(for c in "$b"/copy*; do [ ! -e "$c" ] || cat "$c/nested/file"; done | sort -u | grep -vx inner)" ""
btrfs -q subvolume delete "$V/nested"
plain=$(make "$V")
run=0
for d in $DELAYS; do run=$((run + 1)); killed_after "$d" export "$plain" "$T/file$run"; done
settles "export"
shadow export -q "$plain" "$T/whole"
is "export: a file is whole, or not there" "$(for f in "$T"/file*; do [ ! -e "$f" ] || [ "$(tail -c 8 "$f")" = VBSHADOW ] || echo "$f"; done)" ""
shadow delete -q "$plain"
for d in $DELAYS; do
    killed_after "$d" import "$T/whole" "$b/in"
    for _ in $(seq 80); do [ -z "$(agent_pids worker)" ] && break; sleep 0.5; done
    whole > "$T/why" 2>&1 || fail "import, killed after $d s" "$(cat "$T/why")"
    shadow list --json "$plain" > /dev/null 2>&1 && shadow delete -q "$plain"
done
settles "import"
shadow delete -q --all --yes
is "and all of it can be deleted" "$(shadow list --json --unfinished) $(find "$b" -inum 256 -path '*/.vbackup/*' | wc -l)" " 0"
ok "nothing is left running" no_agents_left
done_testing
