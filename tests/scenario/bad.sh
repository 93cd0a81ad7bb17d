# shellcheck shell=bash
# tests/scenario/bad.sh - for test_bad_*.sh: a front end here, a back end behind a private sshd, and what every refused or failed
# run must leave behind.
#
#   bad_hosts            front (null writer "app", holds a topology lock, needs db) and backend (files writer "db")
#   bad_config [LINE]... writes $T/vbackup.conf; LINEs follow the [host backend] section's own
#   run LIMIT ARG...     vbackup with its own time limit: $status, $out (standard output), $err (standard error), $both, $took (s)
#   said NAME STATUS REGEX [REGEX]   the last run's exit status, its text, and a hint
#   unharmed NAME        nobody stays frozen, the lock is gone, nothing of a job is left, earlier backups are as they were
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"

FILES=5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0002
export VBACKUP_TEST_LEASE=2s

run() {
    local limit=$1 began=$EPOCHREALTIME; shift
    timeout -k 5 "$limit" vbackup "$@" > "$T/out.txt" 2> "$T/err.txt" < /dev/null
    status=$?
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    out=$(cat "$T/out.txt"); err=$(cat "$T/err.txt")
    both="$out
$err"
}

said() { # one line that names what failed and where, and what to do next
    local name=$1 want=$2 text=$3 hint=${4:-}
    if [ "$status" != "$want" ]; then
        fail "$name: exit status $want" "got $status after $took s
$both"
    else
        pass "$name: exit status $want"
    fi
    like "$name: the text" "$both" "$text"
    [ -z "$hint" ] || like "$name: what to do" "$both" "hint: .*($hint)"
}

bad_config() { # LINE...: more of the back end's section
    {
        printf '[requester]\nallow-live = yes\nname = front\nanswer-limit = 2s\nlease = 2s\n'
        [ -n "${NO_BACKEND:-}" ] || remote_host backend
        [ $# = 0 ] || printf '%s\n' "$@"
        cat <<END2
[writer null]
component = app
app.path = $T/front
${DEPENDS-app.depends = $FILES|\\\\backend\\|db}
event-log = $T/events
topology-lock = $T/lock
END2
    } > "$T/vbackup.conf"
}

bad_hosts() {
    mkdir -p "$T/front" "$T/back"
    echo front > "$T/front/a"; echo back > "$T/back/b"
    bad_config "$@"
    printf '[agent]\nlease = 2s\nidle-exit = 20s\n[writer files]\ncomponent = db\ndb.path = %s\n' "$T/back" > "$T/backend.conf"
    ok "init" vb init -q
    ok "a first backup" vb backup -q
    first=$(backups | head -1)
}

backups() { vb list --json | grep -v '"state":"failed"' | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | sort; } # that can be restored
events() { awk '$4 == "end" { print $3 }' "$T/events" 2>/dev/null; }

unharmed() {
    is "$1: nobody stays frozen" "$(held "$T/events")" ""
    is "$1: the topology lock is gone" "$(ls "$T/lock" 2>/dev/null)" ""
    ok "$1: nothing of a job is left" no_agents_left
}
untouched() { # refused before anything is touched
    is "$1: no writer was asked to prepare" "$(events | grep -c 'prepare-backup')" 0
    unharmed "$1"
}
forget_events() { : > "$T/events"; }
