#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Auto-recovery (S-11 to S-14) on a real btrfs: a writer repairs its shadow copy in PostSnapshot, and nobody does afterwards;
# also if the requester has left before (S-15).
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
loopfs_available btrfs || skip_all "$LOOPFS_WHY"
loopfs_mount btrfs 512M || skip_all "no btrfs on loop devices here"
b=$LOOPFS
tap_cleanup() {
    local p
    for p in $(pgrep -f "vbackup-agent supervisor"); do
        grep -qzF "VBACKUP_STATE_DIR=$T/state" "/proc/$p/environ" 2> /dev/null && kill "$p"
    done
    loopfs_cleanup
}
vb() { "$abs_top_builddir/run" vbackup "$@"; }
export VBACKUP_CONFIG=$T/vbackup.conf VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$T/repo
config() { # RECOVERY, PATH
    cat > "$T/vbackup.conf" << END
[agent]
idle-exit = 2s
[writer null]
component = app
app.path = $2
app.recovery = $1
app.repair = rolled-back
event-log = $T/events
END
}
mkdir "$b/data"
echo one > "$b/data/a"
config backup "$b/data"
ok "a repository" vb init -q
ok "VSS-S-12 VSS-S-13 a component with the flag: a backup" vb backup -q
ok "its writer repaired the shadow copy" grep -q "post-snapshot repairs" "$T/events"
not_ok "and not the original" [ -e "$b/data/rolled-back" ]
show() { vb export latest 2> "$T/export.log" | tar -xO --wildcards "*/$1" 2> /dev/null; }
is "the repaired file is in the backup" "$(show rolled-back)" repaired
is "beside the others" "$(show a)" one
# A shadow copy that was written to is no beginning for the next look.
echo two > "$b/data/a"
ok "the next backup" vb backup -q
is "has what changed" "$(show a)" two
is "and what was repaired" "$(show rolled-back)" repaired
rm "$b/data/a" && echo three > "$b/data/b"
ok "and the one after that" vb backup -q
is "has what was made" "$(show b)" three
is "without what was removed" "$(show a)" ""
is "no snapshot is left" "$(btrfs subvolume list -s "$b" | wc -l)" 0

# shadow copies that stay: read-only for everybody, once they are made
kept() { # attributes...
    : > "$T/events"
    vb shadow create --persistent "$@" -q "$b" > "$T/made" 2>&1 || { cat "$T/made" >&2; return 1; }
}
in_copy() { echo "$b"/.vbackup/*/data/"$1"; } # of the only one
gone() { vb shadow delete --all --yes -q > "$T/gone" 2>&1 || cat "$T/gone" >&2; }
ok "a persistent shadow copy" kept
is "is one" "$(ls "$b/.vbackup" | wc -l)" 1
ok "was repaired" [ "$(cat "$(in_copy rolled-back)")" = repaired ]
not_ok "and is read-only afterwards" touch "$(in_copy b)"
ok "it says so: autorecover" sh -c "'$abs_top_builddir/run' vbackup shadow list --json | grep -q autorecover"
gone
ok "VSS-S-11 with no-autorecovery" kept --attribute no-autorecovery
ok "the writer is told that it may not" grep -q "post-snapshot may-not-repair" "$T/events"
not_ok "and nothing is repaired" [ -e "$(in_copy rolled-back)" ]
gone
not_ok "VSS-S-14 it does not go together with transportable" kept --attribute transportable
ok "and the reason is said" grep -q "excludes 'transportable'" "$T/made"
config rollback "$b/data"
ok "VSS-S-13 a component that joins only in a roll-back" kept
not_ok "does not repair otherwise" grep -q "post-snapshot repairs" "$T/events"
gone
ok "and does if the requester wants it" kept --attribute rollback-recovery
ok "which the writer sees" grep -q "post-snapshot repairs" "$T/events"
gone
is "nothing is left" "$(btrfs subvolume list -s "$b" | wc -l)" 0
# PostSnapshot after the requester has left
config backup "$b/data"
echo "delay.post-snapshot = 3s" >> "$T/vbackup.conf"
jobs_left() { ls "$T/state/agent/jobs" 2> /dev/null | wc -l; }
finished() { for _ in $(seq 1 600); do [ "$(jobs_left)" = 0 ] && return 0; sleep 0.1; done; return 1; }
ok "VSS-S-15 a delayed PostSnapshot: the command returns" kept --attribute delayed-postsnapshot
is "while PostSnapshot is still under way" "$(grep -c 'post-snapshot end' "$T/events")" 0
is "and no list shows what is not finished" "$(vb shadow list --json 2> /dev/null | grep -c '"shadow')" 0
ok "the job ends by itself" finished
ok "PostSnapshot was done" grep -q 'post-snapshot end ok' "$T/events"
ok "and BackupShutdown" grep -q 'backup-shutdown end ok' "$T/events"
is "the shadow copy is repaired" "$(cat "$(in_copy rolled-back)")" repaired
not_ok "and read-only" touch "$(in_copy b)"
ok "it says so: delayed-postsnapshot" sh -c "'$abs_top_builddir/run' vbackup shadow list --json | grep -q delayed-postsnapshot"
gone
ok "once more" kept --attribute delayed-postsnapshot
worker=$(sed -n 's/.* worker job=.* pid=\([0-9]*\).*/\1/p' "$T/state/agent/supervisor.journal" | tail -1)
ok "and its worker dies" kill -9 "$worker"
ok "that is cleaned up after" finished
is "and nothing is left of it" "$(btrfs subvolume list -s "$b" | wc -l)" 0
mkdir "$T/plain" && echo x > "$T/plain/x"
config backup "$T/plain"
not_ok "VSS-S-9 no shadow copy that could be repaired: refused, though live reading is allowed" vb backup -q --allow-live
done_testing
