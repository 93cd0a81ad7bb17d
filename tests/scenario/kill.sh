# shellcheck shell=bash
# tests/scenario/kill.sh - for test_kill_backup.sh and test_kill_restore.sh: the requester is killed after each record of its journal of a run
# over two hosts.  Each time: nobody stays frozen, nothing of the job is left, earlier backups are intact, and the
# run is either taken up where it was (within the lease) or ended by the agents themselves (after it).
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
grep -q "^#define VB_FAULT_POINTS 1" "$abs_top_builddir/config.h" || skip_all "built without --enable-fault-points"
remote_available || skip_all "no second host: $SSHD_WHY"

FILES=5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0002
mkdir "$T/front" "$T/back"
echo front > "$T/front/a"; echo back > "$T/back/b"
{
    echo "[requester]"; echo "allow-live = yes"; echo "name = front"; remote_host backend
    cat <<END
[writer null]
component = app
app.path = $T/front
app.depends = $FILES|\\\\backend\\|db
event-log = $T/events
topology-lock = $T/lock
END
} > "$T/vbackup.conf"
cat > "$T/backend.conf" <<END
[writer files]
component = db
db.path = $T/back
END
ok "init" vb init
ok "a first backup" vb backup -q
first=$(vb list --json | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | head -1)

whole() { # earlier backups can still be read in full
    vb check --read-data -q && vb restore "$first" -q --target "$T/out" && diff -r "$T/front" "$T/out/front$T/front" &&
        diff -r "$T/back" "$T/out/backend$T/back" && rm -rf "$T/out"
}

# one KIND MODE N: kill at record N; 1 when the point was never reached
one() {
    local kind=$1 mode=$2 n=$3 run lease=20s status
    [ "$mode" = resume ] || lease=300ms
    : > "$T/events"; touch "$T/armed"
    # shellcheck disable=SC2086
    VBACKUP_TEST_KILL=requester:$n VBACKUP_TEST_KILL_FILE=$T/armed vb $kind -q --lease $lease > "$T/log" 2>&1
    status=$?
    if [ -e "$T/armed" ]; then
        rm "$T/armed"
        is "$kind: journal has less than $n records; not killed, status" "$status" 0
        return 1
    fi
    run=$(vb resume --list)
    if [ "$mode" = resume ]; then
        if [ -n "$run" ]; then
            # after the last record there is nothing left to do but to forget the run
            ok "$kind killed at $n: taken up where it was" vb resume -q "$run"
        else
            pass "$kind killed at $n: had ended already"
        fi
    else
        [ -z "$run" ] || vb resume --forget "$run"
    fi
    ok "$kind killed at $n, $mode: nothing of the job is left" no_agents_left
    is "$kind killed at $n, $mode: nobody stays frozen" "$(held "$T/events")" ""
    is "$kind killed at $n, $mode: the topology lock is gone" "$(ls "$T/lock" 2>/dev/null)" ""
    if [ "$kind" != backup ]; then
        is "$kind killed at $n, $mode: no half-written file is left" "$(find "$T/front" "$T/back" -type f -name '.*')" ""
    fi
    return 0
}
