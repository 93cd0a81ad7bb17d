#!/usr/bin/env bash
# tests/scenario/test_cut.sh - the connection to the back end is lost in the middle, at many moments: the SSH session is cut, or the
# relay there is killed.  The job goes on without it, is attached to again, and no event comes twice.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
remote_available || skip_all "no second host: $SSHD_WHY"

mkdir "$T/front" "$T/back"
echo front > "$T/front/a"
head -c 3000000 /dev/urandom > "$T/back/b"
NULL=$(vbackup-agent writer-host --dump null | sed -n 's/^class_id=//p')
{
    echo "[requester]"; echo "allow-live = yes"; echo "name = front"; remote_host backend
    cat <<END
[writer null]
component = app
app.path = $T/front
app.depends = $NULL|\\\\backend\\|db
event-log = $T/events
END
} > "$T/vbackup.conf"
cat > "$T/backend.conf" <<END
[writer null]
component = db
db.path = $T/back
event-log = $T/events-back
delay.prepare-backup = 400ms
delay.post-snapshot = 400ms
delay.backup-complete = 400ms
delay.pre-restore = 400ms
delay.post-restore = 400ms
END
ok "init" vb init

cut_session() { pkill -KILL -P "$SSHD_PID"; }
kill_relay() { local p; for p in $(pgrep -f 'vbackup-agent$'); do
    grep -qzF "$T/run-backend" "/proc/$p/environ" 2> /dev/null && kill -KILL "$p"; done; }

# once KIND HOW WAIT_MS: loses the connection WAIT_MS after the back end's writer was first told anything of this run
once() {
    local kind=$1 how=$2 wait=$3 pid event
    : > "$T/events"; : > "$T/events-back"
    event=prepare-backup; [ "$kind" = backup ] || event=pre-restore
    # shellcheck disable=SC2086
    vb $kind --lease 20s > "$T/out" 2>&1 &
    pid=$!
    for _ in $(seq 200); do grep -q " $event begin" "$T/events-back" && break; sleep 0.05; done
    sleep "$(printf '%d.%03d' $((wait / 1000)) $((wait % 1000)))"
    $how
    wait $pid
    is "$kind, $how after $wait ms: exit status" $? 0 || sed 's/^/# /' "$T/out"
    for event in $(awk '$4 == "begin" { print $3 }' "$T/events-back" | sort -u); do
        case $event in open | close | identify | backup-shutdown) continue ;; esac
        [ "$(grep -c " $event begin" "$T/events-back")" = 1 ] || fail "$kind, $how after $wait ms: '$event' came twice" "$(cat "$T/events-back")"
    done
    ok "$kind, $how after $wait ms: nothing of the job is left" no_agents_left
}
for wait in 0 300 600 900 1200; do
    once backup cut_session $wait
    once backup kill_relay $wait
done
ok "everything can be read" vb check --read-data
cp "$T/back/b" "$T/b"
for wait in 0 300 600 900; do
    rm "$T/back/b"
    once "restore latest --overwrite" cut_session $wait
    ok "the file is back" cmp "$T/b" "$T/back/b"
done
done_testing
