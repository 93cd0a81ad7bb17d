#!/usr/bin/env bash
# tests/root/test_shadow.sh - vbackup shadow on real btrfs: content, exposure over a reboot, revert and a kill in the middle of
# it, break, and (where there is btrfs send) transport.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available btrfs || skip_all "$LOOPFS_WHY"
tap_cleanup() { umount "$T/at" 2> /dev/null; scenario_cleanup; loopfs_cleanup; }
loopfs_mount btrfs 512M || skip_all "no btrfs on loop devices here"
b=$LOOPFS V=$LOOPFS/data
btrfs -q subvolume create "$V"
echo one > "$V/file"
conf() { # extra lines of [provider btrfs], other sections
    printf '[requester]\nname = here\n[provider btrfs]\n%s\n[provider reflink]\nenabled = no\n%s\n' "$1" "$2"
}
configure() { conf "${1:-}" "${2:-}" > "$T/vbackup.conf"; chmod 600 "$T/vbackup.conf"; }
configure
shadow() { vb shadow "$@"; }
run() { out=$(shadow "$@" --json 2> "$T/err" < /dev/null); status=$?; err=$(cat "$T/err"); }
refused() { # NAME STATUS CODE ARGUMENT...
    local name=$1 want=$2 code=$3; shift 3
    run "$@"
    is "$name: exit status" "$status" "$want"
    is "$name: code" "$(printf '%s' "$out" | jq -r 'select(.message_type == "error").code')" "$code"
}
ids() { shadow list --json "$@" | jq -r .snapshot_id; }
count() { ids "$@" | grep -c .; }
path_of() { shadow list --json "$1" | jq -r .device; }
make() { shadow create --persistent --no-writers --json "$@" | jq -r '.snapshots[0].snapshot_id'; }
subvolumes() { btrfs subvolume list "$b" | wc -l; }

# ---- content ----
first=$(make "$V")
echo two > "$V/file"
is "it shows what was there" "$(cat "$(path_of "$first")/file")" one
not_ok "VSS-S-45 and cannot be written to" sh -c "echo x > '$(path_of "$first")/file'"
run create --no-writers --exec "cat $V/file" "$V"
is "volatile: nothing of it is left" "$status $(subvolumes)" "0 2"

# ---- expose ----
mkdir "$T/at" "$T/full" && touch "$T/full/x"
run create --no-writers --exec "vbackup shadow list --json" "$V"
cat > "$T/volatile" <<END
#!/bin/sh
vbackup shadow expose "\$VBACKUP_SHADOW_ID_1" "$T/at" --json
END
chmod 755 "$T/volatile"
out=$(shadow create --no-writers --exec "$T/volatile" "$V"); status=$?
is "VSS-S-51 only persistent ones are exposed" "$status" 1
like "... and why" "$out" UNSUPPORTED_CONTEXT
refused "a directory that is not empty" 5 GUARD expose "$first" "$T/full"
refused "a directory that is not there" 1 NOT_FOUND expose "$first" "$T/none"
run expose "$first" "$T/at"
is "expose" "$status $(cat "$T/at/file")" "0 one"
is "VSS-S-53 read-only" "$(findmnt -no OPTIONS "$T/at" | tr , '\n' | grep -cx -e ro -e nosuid -e nodev)" 3
is "VSS-S-16 the property says where" "$(shadow list --json "$first" | jq -r '.exposed_path + " " + (.attributes | map(select(. == "exposed-locally"))[0])')" "$T/at exposed-locally"
refused "exposed already" 1 OBJECT_ALREADY_EXISTS expose "$first" "$T/at"
refused "an exposed one is not broken off" 8 VOLUME_IN_USE break "$first" "$b/copy"
# a reboot: no mount, no supervisor
for p in $(agent_pids supervisor); do kill -9 "$p"; done
umount "$T/at"
shadow list > /dev/null
is "VSS-S-53 exposed again after a reboot" "$(cat "$T/at/file")" one
(cd "$T/at" && exec sleep 30) & holder=$!
sleep 0.2
refused "unexpose while it is used" 8 VOLUME_IN_USE unexpose "$first"
kill $holder; wait $holder 2> /dev/null
run unexpose "$first"
is "unexpose" "$status $(mountpoint -q "$T/at" && echo mounted)" "0 "
refused "VSS-S-53 unexpose again" 1 OBJECT_NOT_FOUND unexpose "$first"
run expose "$first" "$T/at"
second=$(make "$V")
run delete "$first"
is "VSS-S-23 deleting takes the exposure away" "$status $(mountpoint -q "$T/at" && echo mounted)" "0 "

# ---- revert ----
echo three > "$V/file"; mkdir "$V/dir"
out=$(shadow create --no-writers --exec "$T/revert" "$V" 2>&1) # there is no such command; nothing stays
cat > "$T/revert" <<END
#!/bin/sh
vbackup shadow revert "\$VBACKUP_SHADOW_ID_1" --json
END
chmod 755 "$T/revert"
out=$(shadow create --no-writers --exec "$T/revert" "$V")
like "VSS-S-60 a volatile one is refused" "$out" UNSUPPORTED_CONTEXT
refused "VSS-S-60 an unknown one" 1 OBJECT_NOT_FOUND revert 00000000-0000-4000-8000-000000000000
(exec 9< "$V/file"; exec sleep 30) & holder=$!
sleep 0.2
refused "VSS-S-60 in use" 8 VOLUME_IN_USE revert "$second"
like "... by whom" "$err" "sleep|bash"
is "... and untouched" "$(cat "$V/file")" three
run revert "$second" --dry-run
is "--dry-run" "$status $(cat "$V/file")" "0 three"
run revert "$second" --force
is "VSS-S-60 in use, by force" "$status $(cat "$V/file")" "0 two"
kill $holder; wait $holder 2> /dev/null
not_ok "... what came later is gone" test -e "$V/dir"
old=$(jq -r .old_state <<< "$out")
is "the state before is a shadow copy" "$(cat "$(path_of "$old")/file")" three
not_ok "... read-only" sh -c "echo x > '$(path_of "$old")/file'"
is "the shadow copy it was rolled back to is there as before" "$(cat "$(path_of "$second")/file") $(btrfs property get -ts "$(path_of "$second")" ro)" "two ro=true"
echo more >> "$V/file"; is "the volume is writable" "$(tail -1 "$V/file")" more
run revert "$old"
is "and back again" "$status $(cat "$V/file") $(test -d "$V/dir" && echo dir)" "0 three dir"
run revert "$second" --discard
is "--discard" "$status $(cat "$V/file")" "0 two"
is "... keeps nothing" "$(jq -r .old_state <<< "$out") $(count)" "null 3"
btrfs -q subvolume create "$V/nested"
refused "a nested subvolume would go out of sight" 1 NOT_SUPPORTED revert "$second"
mkdir "$V/dir2" && btrfs -q subvolume create "$V/dir2/inner" && echo deep > "$V/dir2/inner/file" && echo in > "$V/nested/file"
nest=$(make "$V")
run break "$nest" "$b/never" --keep
is "VSS-S-54 a shadow copy with nested ones is broken off with them" \
    "$status $(cat "$b/never/nested/file" "$b/never/dir2/inner/file" | paste -sd' ') $(stat -c %i "$b/never/nested")" "0 in deep 256"
is "... writable, all of them" "$(echo x > "$b/never/nested/x" && echo x > "$b/never/dir2/inner/x" && echo yes)" yes
run break "$nest" "$b/never2" --keep --read-only
is "... or read-only, all of them" "$status $( (echo x > "$b/never2/nested/x" || echo x > "$b/never2/dir2/inner/x" || echo x > "$b/never2/x") 2> /dev/null || echo ro)" "0 ro"
btrfs -q subvolume delete "$b/never/nested" "$b/never/dir2/inner" "$b/never"
for i in nested dir2/inner; do btrfs property set -ts "$b/never2/$i" ro false; done; btrfs property set -ts "$b/never2" ro false
btrfs -q subvolume delete "$b/never2/nested" "$b/never2/dir2/inner" "$b/never2"
btrfs -q subvolume create "$b/.vbackup-$nest"; btrfs -q subvolume create "$b/.vbackup-$nest/nested"
printf %s "$b/.vbackup-$nest" > "$VBACKUP_STATE_DIR/providers/btrfs/.copying-$nest"
shadow list > /dev/null
is "... what a kill left in the middle of that goes with the next call" \
    "$(find "$b" -maxdepth 1 -name '.vbackup-*' | wc -l) $(find "$VBACKUP_STATE_DIR/providers/btrfs" -name '.copying-*' | wc -l)" "0 0"
refused "... but not exported" 1 NOT_SUPPORTED export "$nest" "$T/never"
ok "... which leaves no file" test ! -e "$T/never"
echo out > "$V/nested/file"; btrfs -q subvolume delete "$V/dir2/inner"
(exec 9< "$V/nested/file"; exec sleep 30) & holder=$!
sleep 0.2
refused "VSS-S-60 in use in a nested subvolume" 8 VOLUME_IN_USE revert "$nest"
kill $holder; wait $holder 2> /dev/null
mount -t tmpfs none "$V/dir2"
refused "what is mounted inside would go out of sight" 1 NOT_SUPPORTED revert "$nest"
umount "$V/dir2"
run revert "$nest"
is "VSS-S-60 a revert takes the nested subvolumes along" "$status $(cat "$V/nested/file" "$V/dir2/inner/file" | paste -sd' ')" "0 in deep"
is "... writable" "$(echo x > "$V/nested/x" && echo x > "$V/dir2/inner/x" && echo yes)" yes
old=$(jq -r .old_state <<< "$out")
is "... and keeps what they held before, read-only" "$(cat "$(path_of "$old")/nested/file") $(btrfs property get -ts "$(path_of "$old")/nested" ro)" "out ro=true"
shadow delete -q "$nest"; shadow delete -q "$old"
btrfs -q subvolume delete "$V/nested" "$V/dir2/inner"; rm -r "$V/dir2"
top=$(make "$b")
refused "VSS-S-60 what is mounted cannot be exchanged" 1 NOT_SUPPORTED revert "$top"
shadow delete -q "$top"
W="[writer files]
component = app
app.path = $V"
configure "" "$W"
refused "VSS-S-61 a writer keeps its data there" 8 VOLUME_IN_USE revert "$second"
configure "" "$W
[shadow]
never-revert = files"
refused "VSS-S-61 a writer whose volumes are never reverted, even by force" 5 GUARD revert "$second" --force
configure

# ---- a kill at every step of a revert: finished by the next process, or never begun ----
if "$abs_top_builddir/vbackup-agent" --version > /dev/null && grep -q 'define VB_FAULT_POINTS' "$abs_top_builddir/config.h"; then
    for step in 1 2 3 4; do
        echo "step $step" > "$V/file"
        before=$(count)
        configure "kill-at = $step"
        shadow revert "$second" --json > "$T/out" 2>&1 # the fresh process dies there, too
        configure
        if [ "$step" = 3 ]; then # a reboot: the supervisor that starts sees to it
            for p in $(agent_pids supervisor); do kill -9 "$p"; done
            vbackup host test > /dev/null
            for _ in $(seq 50); do [ -z "$(find "$VBACKUP_STATE_DIR/providers" -name '.revert*')" ] && break; sleep 0.1; done
            is "VSS-S-60 it goes on after a reboot" "$(find "$VBACKUP_STATE_DIR/providers" -name '.revert*' | wc -l)" 0
        fi
        shadow list > /dev/null # whoever comes next finishes it
        is "VSS-S-60 killed at step $step: it is done" "$(cat "$V/file") $(cat "$(path_of "$second")/file")" "two two"
        kept=$(shadow list --json | jq -r 'select(.note == "before the revert to '"$second"'") | .snapshot_id' | tail -1)
        is "... the old state is kept, and nothing else is new" \
            "$(cat "$(path_of "$kept")/file") $(($(count) - before)) $(shadow list --json --orphans | grep -c .)" "step $step 1 0"
        is "... read-only, all of them" "$(for i in $(ids); do btrfs property get -ts "$(path_of "$i")" ro; done | sort -u)" ro=true
        shadow delete -q "$kept"
    done
    echo living > "$V/file"
    configure "kill-at = 1"
    shadow revert "$second" --json > "$T/out" 2>&1
    configure
    (exec 9< "$V/file"; exec sleep 30) & holder=$!
    sleep 0.2
    shadow list > /dev/null
    is "cut off before the exchange, and in use since: it is dropped" \
        "$(cat "$V/file") $(find "$VBACKUP_STATE_DIR/providers" -name '.revert*' | wc -l)" "living 0"
    kill $holder; wait $holder 2> /dev/null
    shadow delete -q "$(shadow list --json --orphans | jq -r .snapshot_id | tail -1)" # what was to be kept, and never came
    echo "used meanwhile" > "$V/file"
    (exec 9< "$V/file"; exec sleep 30) & holder=$!
    sleep 0.2
    configure "kill-at = 1"
    shadow revert "$second" --force --json > "$T/out" 2>&1
    configure
    shadow list > /dev/null
    is "cut off before the exchange, by force: it is finished although in use" "$(cat "$V/file")" two
    kill $holder; wait $holder 2> /dev/null
    kept=$(shadow list --json | jq -r 'select(.note == "before the revert to '"$second"'") | .snapshot_id' | tail -1)
    is "... and keeps the old state" "$(cat "$(path_of "$kept")/file")" "used meanwhile"
    shadow delete -q "$kept"
    is "no record of a revert is left" "$(find "$VBACKUP_STATE_DIR/providers" -name '.revert*' | wc -l)" 0
    is "no clone is left" "$(find "$b" -maxdepth 1 -name '.vb*' | wc -l)" "$(find "$b" -maxdepth 1 -name '.vbackup' | wc -l)"
else
    skip "kills in the middle of a revert" "built without fault points"
fi

# ---- an empty subvolume of somebody else in our directory is not a directory that a clone shows ----
btrfs -q subvolume create "$V/.vbackup/theirs"
refused "a subvolume that is not in the shadow copy, even in our directory" 1 NOT_SUPPORTED revert "$second"
btrfs -q subvolume delete "$V/.vbackup/theirs"

# ---- a record that cannot be read may be of what shares the place: nothing is deleted ----
seventh=$(make "$V")
echo torn > "$VBACKUP_STATE_DIR/providers/btrfs/00000000-0000-4000-8000-000000000007"
refused "nothing is deleted while a record cannot be read" 1 PROVIDER_VETO delete "$seventh"
rm "$VBACKUP_STATE_DIR/providers/btrfs/00000000-0000-4000-8000-000000000007"
run delete "$seventh"
is "... and then it is" "$status" 0

# ---- transport ----
mkdir "$b/import"
e=$(make --attribute transportable --note "to be moved" "$V")
refused "export over a file" 5 EXISTS export "$e" "$V/file"
is "... leaves it alone" "$(test -s "$V/file" && echo there)" there
run export "$e" "$T/moved"
is "VSS-S-56 export" "$status $(test -s "$T/moved" && echo file)" "0 file"
refused "VSS-S-57 import where it still is" 1 OBJECT_ALREADY_EXISTS import "$T/moved" "$b/import"
content=$(cat "$(path_of "$e")/file")
shadow delete -q "$e"
head -c -1 "$T/moved" > "$T/torn"
refused "a file that is cut off" 1 CORRUPT import "$T/torn" "$b/import"
python3 - "$T/moved" "$T/damaged" <<'END' 2> /dev/null || cp "$T/torn" "$T/damaged"
import sys
d = bytearray(open(sys.argv[1], 'rb').read())
d[60] ^= 0xff
open(sys.argv[2], 'wb').write(d)
END
run import "$T/damaged" "$b/import"
is "a stream that is damaged" "$([ "$status" -ne 0 ] && echo refused)" refused
is "... leaves nothing" "$(count) $(find "$b/import" -mindepth 1 | wc -l)" "$(count) 0"
run import "$T/moved" "$b/import"
is "VSS-S-57 import" "$status $(jq -r .snapshot_id <<< "$out")" "0 $e"
is "... the content" "$(cat "$(path_of "$e")/file")" "$content"
is "... where it came from, what it is" "$(shadow list --json "$e" | jq -r '.originating_machine != null and .note == "to be moved" and (.attributes | index("imported") != null)')" true
refused "VSS-S-57 import works once" 1 OBJECT_ALREADY_EXISTS import "$T/moved" "$b/import"
run delete "$e"
is "VSS-S-59 the importing host deletes it when done" "$status $(find "$b/import" -mindepth 1 | wc -l)" "0 0"

# ---- two at once ----
echo A > "$V/file"; at_a=$(make "$V"); echo B > "$V/file"; at_b=$(make "$V"); echo C > "$V/file"
before=$(count)
shadow revert "$at_a" --force --json > "$T/a" 2> /dev/null & pid_a=$!
shadow revert "$at_b" --force --json > "$T/b" 2> /dev/null & pid_b=$!
wait $pid_a; status_a=$?; wait $pid_b; status_b=$?
done=$(((status_a == 0) + (status_b == 0)))
is "VSS-S-60 two reverts of one volume at once: each is done, or refused because the other one runs" \
    "$(jq -r 'select(.message_type == "error").code' "$T/a" "$T/b" | sort -u | grep -vx REVERT_IN_PROGRESS) $((done > 0))" " 1"
case $status_a$status_b in 0[!0]*) want=A ;; [!0]*0) want=B ;; *) want="[AB]" ;; esac
like "... the volume holds one of them whole" "$(cat "$V/file")" "^$want\$"
is "... and as many old states were kept" "$(($(count) - before)) $(shadow list --json --orphans | grep -c .)" "$done 0"
for i in 1 2 3; do
    goes=$(make "$V")
    shadow create --persistent --no-writers -q "$V" & pid_a=$!
    shadow delete -q "$goes" & pid_b=$!
    wait $pid_a || echo "# create: status $?"
    wait $pid_b || echo "# delete: status $?"
done
is "a set is made while another one is deleted" "$(($(count) - before - done)) $(shadow list --json --orphans | grep -c .)" "3 0"

# ---- break ----
echo four > "$V/file"
third=$(make "$V")
refused "break where something is" 5 EXISTS break "$third" "$V"
run break "$third" "$b/copy" --keep
is "VSS-S-54 break: an ordinary volume" "$status $(cat "$b/copy/file")" "0 four"
echo mine > "$b/copy/file"; is "... writable" "$(cat "$b/copy/file") $(cat "$(path_of "$third")/file")" "mine four"
run break "$third" "$b/copy2" --read-only
is "VSS-S-55 break read-only, and out of our control" "$status $(cat "$b/copy2/file") $(ids | grep -c "$third")" "0 four 0"
not_ok "... read-only" sh -c "echo x > '$b/copy2/file'"
shadow delete -q --all --yes
is "deleting all leaves what was broken off" "$(cat "$b/copy/file" "$b/copy2/file" | paste -sd ' ')" "mine four"
is "and nothing else" "$(subvolumes) $(find "$VBACKUP_STATE_DIR/agent/shadows" -type f | wc -l)" "3 0"
ok "nothing is left running" no_agents_left
done_testing
