#!/usr/bin/env bash
# tests/scenario/test_shadow.sh - vbackup shadow on the null provider: contexts, life times, properties, deletion and every
# refusal, without root.  btrfs, exposure and revert are in tests/root/test_shadow.sh.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
mkdir "$T/data" "$T/other"; echo one > "$T/data/a"
V=$T/data
conf() { # extra lines of [provider null]
    printf '[requester]\nname = here\n[provider null]\nenable = yes\nlevel = 2\natomic = yes\n%s\n' "$1"
    printf '[provider reflink]\nenabled = no\n[provider btrfs]\nenabled = no\n[writer null]\ncomponent = app\napp.path = %s\n' "$T/data"
    printf 'event-log = %s\n' "$T/events"
    printf '%s\n' "${2:-}"
}
configure() { conf "$@" > "$T/vbackup.conf"; chmod 600 "$T/vbackup.conf"; }
configure ""
shadow() { vb shadow "$@"; }
run() { out=$(shadow "$@" 2> "$T/err" < /dev/null); status=$?; err=$(cat "$T/err"); }
ids() { shadow list --json "$@" | jq -r .snapshot_id; }
count() { ids "$@" | grep -c .; }
refused() { # NAME STATUS CODE ARGUMENT...
    local name=$1 want=$2 code=$3; shift 3
    run "$@" --json
    is "$name: exit status" "$status" "$want"
    is "$name: code" "$(printf '%s' "$out" | jq -r 'select(.message_type == "error").code')" "$code"
}

# ---- 1. create ----
refused "a volatile one with nothing to do" 2 USAGE create --no-writers "$V"
refused "nothing named" 2 USAGE create --persistent
refused "VSS-S-5 context 'all'" 2 USAGE create --context all "$V"
refused "a relative path on another host" 2 USAGE create --host here --persistent --no-writers data
refused "VSS-B-45 a component in a context without writers" 1 UNSUPPORTED_CONTEXT create --no-writers -p -C null
refused "VSS-S-7 differential and plex" 1 UNSUPPORTED_CONTEXT create -p --attribute plex --attribute differential "$V"
refused "VSS-S-8 client-accessible takes nothing" 1 UNSUPPORTED_CONTEXT create --client-accessible --attribute plex "$V"
refused "VSS-S-9 an attribute that no provider honours" 1 VOLUME_NOT_SUPPORTED create -p --no-writers --attribute plex "$V"
refused "a volume that does not exist" 1 OBJECT_NOT_FOUND create -p --no-writers "$T/nowhere"
refused "a provider that does not exist" 1 VOLUME_NOT_SUPPORTED_BY_PROVIDER create -p --no-writers --provider none "$V"
run create --dry-run --json --persistent "$V"
is "--dry-run: exit status" "$status" 0
is "... says who would make it" "$(jq -r '.message_type, .snapshots[0].provider' <<< "$out" | paste -sd ' ')" "shadow_plan null"
is "... and makes nothing" "$(count --unfinished)" 0

cat > "$T/inside" <<END
#!/bin/sh
env | grep ^VBACKUP_SHADOW_ | sort > '$T/env'
vbackup shadow list --json > '$T/inside.list'
exit \${1:-0}
END
chmod 755 "$T/inside"
: > "$T/events"
run create --no-writers --exec "$T/inside" "$V"
is "VSS-S-64 volatile without writers: exit status" "$status" 0
is "... --exec sees it" "$(jq -r '.state + " " + .context' "$T/inside.list")" "created file-share-backup"
is "... by the variables" "$(sed -n 's/VBACKUP_SHADOW_ID_1=//p' "$T/env")" "$(jq -r .snapshot_id "$T/inside.list")"
is "... all of them" "$(sed 's/=.*//' "$T/env" | paste -sd ' ')" \
    "VBACKUP_SHADOW_COUNT VBACKUP_SHADOW_ID_1 VBACKUP_SHADOW_PATH_1 VBACKUP_SHADOW_SET VBACKUP_SHADOW_VOLUME_1"
is "... and is gone with its requester" "$(count --unfinished)" 0
is "VSS-B-45 no writer heard of it" "$(grep -Ec 'freeze|prepare' "$T/events")" 0
run create --no-writers --exec "$T/inside 7" "$V"
is "the exit status of --exec is ours" "$status" 7
run create --no-writers --exec "$T/none" "$V"
is "a command that cannot be run" "$([ "$status" -ne 0 ] && echo refused)" refused

: > "$T/events"
run create --exec "$T/inside" --json "$V"
is "VSS-S-4 volatile with writers: exit status" "$status" 0
is "... the component that lies there takes part" "$(jq -r 'select(.message_type == "shadow_set").components[0].component' <<< "$out")" app
for e in freeze thaw post_snapshot backup_complete backup_shutdown; do
    like "... its writer got $e" "$(tr - _ < "$T/events")" "$e"
done
run create --exec "$T/inside 1" --json "$V"
is "a command that fails: exit status" "$status" 1
run create --require "null writer:app" --exec true "$V"
is "-wi: a required component that is there" "$status" 0
refused "-wi: a required component that is not" 1 WRITER_INCONSISTENT_SNAPSHOT create -p --require "null writer:other" "$V"
run create --exclude null --exec "$T/inside" --json "$V"
is "-wx: an excluded writer has no component in the set" "$(jq -r 'select(.message_type == "shadow_set").components | length' <<< "$out")" 0
run create -C "null writer:app" --exec true --json
is "components instead of volumes" "$(jq -r 'select(.message_type == "shadow_set").snapshots | length' <<< "$out")" 1
# the command is killed: the job ends with its lease, and the shadow copy with the job
vbackup shadow create --no-writers --exec "sleep 60" "$V" > /dev/null 2>&1 &
pid=$!
for _ in $(seq 100); do [ "$(count)" = 1 ] && break; sleep 0.1; done
kill -TERM $pid; wait $pid
is "VSS-S-64 SIGTERM: its shadow copy goes at once" "$(count --unfinished)" 0

# ---- 2. persistent, and what is told of it ----
run create --persistent --json --note "before the upgrade" --script "$T/vars" --save "$T/bundle" "$V"
is "VSS-S-10 persistent: exit status" "$status" 0
set1=$(jq -r .set_id <<< "$out"); id1=$(jq -r '.snapshots[0].snapshot_id' <<< "$out")
is "... survives its requester" "$(ids)" "$id1"
# shellcheck source=/dev/null
is "--script: a shell reads it" "$(. "$T/vars"; echo "$VBACKUP_SHADOW_SET $VBACKUP_SHADOW_ID_1")" "$set1 $id1"
is "--save: the bundle names the set" "$(jq -r '.format + " " + .set.set_id' "$T/bundle")" "vbackup-shadow-bundle $set1"
like "... holds the backup components document" "$(jq -r .backup_components "$T/bundle")" "BACKUP_COMPONENTS.*$set1|$set1"
like "... and the writers' metadata" "$(jq -r '.writers[].metadata' "$T/bundle")" WRITER_METADATA
item=$(shadow list --json "$id1")
is "VSS-S-16 every property is told" "$(jq -r '[.snapshot_id, .set_id, .snapshots_at_creation, .device, .volume, .originating_machine,
    .service_machine, .provider_id, .attributes, .created, .state] | map(. != null) | all' <<< "$item")" true
is "... the note" "$(jq -r .note <<< "$item")" "before the upgrade"
is "... the context" "$(jq -r .context <<< "$item")" app-rollback
run list "${id1:0:8}"; like "an abbreviated id will do" "$out" "$id1"
refused "an unknown id" 1 OBJECT_NOT_FOUND list 00000000-0000-4000-8000-000000000000
run set "$id1" --note other; is "set: a note" "$(shadow list --json "$id1" | jq -r .note)" other
refused "set without a property" 2 USAGE set "$id1"
run create -p --no-writers --json "$V" "$T/other"
is "VSS-S-1 a set" "$(jq -r '.snapshots | length' <<< "$out")" 1
run create --client-accessible --no-writers --json "$V"; id3=$(jq -r '.snapshots[0].snapshot_id' <<< "$out")
is "VSS-S-20 by context" "$(ids --context client-accessible)" "$id3"
is "... all of them" "$(count)" 3
run providers --json; is "VSS-S-19 providers" "$(jq -r 'select(.name == "null") | .type, .provider_id' <<< "$out" | paste -sd ' ')" \
    "software 0b6a3a55-5d3f-4a43-8c8d-6d1f2f0e7a01"
run volumes --json; like "volumes, with who would take them" "$(jq -r .provider <<< "$out")" null
run writers --json; is "writers and states" "$(jq -r '.name + " " + .state' <<< "$out" | head -1)" "null writer stable"

# ---- 3. limits ----
configure "" "[shadow]
max-client-accessible = 1
max-per-volume = 3"
refused "VSS-S-24 one client-accessible too many" 1 MAX_SNAPSHOTS create --client-accessible --no-writers "$V"
refused "VSS-S-24 one too many" 1 MAX_SNAPSHOTS create -p --no-writers "$V"
is "... leaves nothing behind" "$(count --unfinished)" 3
configure ""

# ---- 4. expose: the refusals ----
mkdir "$T/at"
refused "VSS-S-51 a client-accessible one is not exposed" 1 UNSUPPORTED_CONTEXT expose "$id3" "$T/at"
refused "VSS-S-53 unexpose one that is not exposed" 1 OBJECT_NOT_FOUND unexpose "$id1"

# ---- revert and break: the refusals ----
refused "VSS-S-60 a provider that cannot revert" 1 NOT_SUPPORTED revert --force "$id1"
refused "VSS-S-54 a software provider vetoes break" 1 NOT_SUPPORTED break "$id1" "$T/copy"
refused "VSS-S-56 a provider that cannot send" 1 NOT_SUPPORTED export "$id1" "$T/file"
ok "... makes no file" test ! -e "$T/file"
echo none > "$T/nofile"
refused "... nor takes away one that is there" 1 NOT_SUPPORTED export "$id1" "$T/nofile"
is "... which stays as it was" "$(cat "$T/nofile")" none
refused "a file that is no export" 1 CORRUPT import "$T/nofile" "$T/other"
configure "revert = yes"
refused "VSS-S-61 a writer keeps its data there" 8 VOLUME_IN_USE revert "$id1"
configure "revert = yes
in-use = yes"
run revert "$id1" --force --json
is "VSS-S-60 revert by force" "$status $(jq -r .message_type <<< "$out")" "0 shadow_reverted"
is "... the old state is a shadow copy of its own" "$(shadow list --json "$(jq -r .old_state <<< "$out")" | jq -r .note)" "before the revert to $id1"
shadow delete -q "$(jq -r .old_state <<< "$out")"
run revert "$id1" --force --discard
is "... unless told otherwise" "$status $(count)" "0 3"
configure "revert = yes
crash = revert"
refused "a provider that dies in a revert" 1 UNEXPECTED_PROVIDER_ERROR revert "$id1" --force
configure ""
is "... leaves no record behind" "$(count --unfinished)" 3

# ---- 5. delete ----
refused "delete nothing" 2 USAGE delete
refused "delete in two ways" 2 USAGE delete --all "$id1"
refused "delete an unknown one" 1 OBJECT_NOT_FOUND delete 00000000-0000-4000-8000-000000000000
refused "delete an unknown set" 1 OBJECT_NOT_FOUND delete --set 00000000-0000-4000-8000-000000000000
refused "delete all asks" 5 GUARD delete --all
run delete --dry-run --all; is "... --dry-run names them" "$(grep -c 'would delete' <<< "$out") $(count)" "3 3"
vol=$(shadow list --json "$id1" | jq -r .subvolume)
run delete --oldest "$vol" --json; is "delete the oldest of a volume" "$(jq -r .snapshot_id <<< "$out")" "$id1"
is "... it is gone" "$(ids | grep -c "$id1")" 0
configure "fail = delete"
run delete --all --yes
is "VSS-S-21 stops at the first error: exit status" "$status" 1
like "... says how many were deleted, and which was not" "$err" "0 deleted, then shadow copy '[0-9a-f-]{36}' was not"
is "... it is still there" "$(count)" 2
configure ""
run delete "$id3"; is "delete one" "$status $(count)" "0 1"
set2=$(shadow list --json | jq -r .set_id)
run delete --set "$set2"; is "delete a set" "$status $(count)" "0 0"
is "VSS-S-23 nothing is left of them" "$(find "$VBACKUP_STATE_DIR/agent/shadows" "$VBACKUP_STATE_DIR/providers" -type f | wc -l)" 0

# ---- 6. orphans (S-67) ----
vbackup shadow create --no-writers --persistent --json "$V" > "$T/o" 2>&1
orphan=$(jq -r '.snapshots[0].snapshot_id' "$T/o")
rm -f "$VBACKUP_STATE_DIR"/agent/shadows/*
is "one without a record is an orphan" "$(shadow list --json --orphans | jq -r .snapshot_id)" "$orphan"
run delete --orphans; is "delete --orphans" "$status $(count --orphans)" "0 0"
run create --no-writers --exec "vbackup shadow delete --orphans" "$V"
is "one that a job uses is none" "$status" 0
run create --no-writers --exec "$T/del" "$V" # no such command; nothing stays
cat > "$T/del" <<END
#!/bin/sh
vbackup shadow delete "\$VBACKUP_SHADOW_ID_1" --json
END
chmod 755 "$T/del"
run create --no-writers --exec "$T/del" "$V"
is "one of a running job is not deleted by others: busy" "$status" 8
like "... whose it is" "$err" 'belongs to job'

# ---- 7. scripts (table 8.2) ----
script() { cat > "$T/script"; run run "$T/script" "$@"; }
: > "$T/events"
script <<END
# a persistent set, used and deleted
set context persistent
set metadata $T/bundle2
writer verify "null writer"
add volume $V alias data
begin backup
create
exec $T/inside
list shadows all
end backup
delete shadows id %data%
END
is "VSS-8.2 a whole backup session: exit status" "$status" 0
like "... the alias names the shadow copy in the program's environment" "$(env -i sh -c ". $T/env; :" ; cat "$T/inside.list")" app-rollback
like "... the writers heard of it" "$(tr - _ < "$T/events")" backup_complete
is "... the bundle holds the aliases" "$(jq -r '.aliases | has("data") and has("VSS_SHADOW_1")' "$T/bundle2")" true
is "... nothing is left" "$(count --unfinished)" 0
script <<END
add volume $V
create
exec $T/inside 4
list shadows
END
is "VSS-8.2 exec that fails ends the script, with its exit status" "$status" 4
is "... and the volatile set goes" "$(count --unfinished)" 0
script --json <<END
set context volatile nowriters
add volume $V
create
reset
list shadows
create
END
like "VSS-8.2 reset forgets everything" "$err" "script: line 6: neither a volume"
is "... also the shadow copies" "$(count --unfinished)" 0
script <<< $'create\nbogus'
is "VSS-8.2 a malformed script: exit status" "$status" 2
like "... file and line" "$err" "script: line 2: there is no command 'bogus'"
script <<< 'set option transportable rollbackrecover'
like "VSS-8.2 options that exclude each other" "$err" "line 1: attribute 'transportable' excludes"
script <<< 'expose %none% /x'
like "VSS-8.2 an alias that is none" "$err" "line 1: there is no alias 'none'"
script <<END
set context clientaccessible
add volume $V
create
list writers
list providers
delete shadows oldest $vol
END
is "VSS-8.2 client-accessible: made, listed, the oldest deleted" "$status $(count)" "0 0"
script --dry-run <<< 'create'
is "--dry-run only checks" "$status" 0
out=$(vb shadow run "$T/nowhere" 2>&1); status=$?
is "a script that is not there" "$([ $status -ne 0 ] && echo refused)" refused

ok "nothing is left running" no_agents_left
is "nothing is left over" "$(count --unfinished)" 0
done_testing
