#!/usr/bin/env bash
# tests/scenario/test_bad_writer.sh - a writer that refuses, hangs, crashes, describes itself wrongly or names files that are not
# there, beside one that does everything right (B-50, B-65 to B-77)
. "$abs_top_srcdir/tests/scenario/bad.sh"
mkdir -p "$T/good" "$T/bad"
echo good > "$T/good/a"; echo bad > "$T/bad/b"

config() { # LINE... of the bad writer's section
    {
        printf '[requester]\nallow-live = yes\nname = here\nlease = 2s\n[agent]\nidle-exit = 20s\ntimeout-freeze = 2s\n'
        printf 'timeout-prepare-backup = 2s\ntimeout-prepare-snapshot = 2s\ntimeout-thaw = 2s\ntimeout-post-snapshot = 2s\n'
        printf 'timeout-backup-complete = 2s\ntimeout-backup-shutdown = 2s\ntimeout-identify = 2s\ntimeout-abort = 2s\n'
        printf '[writer null good]\ncomponent = a\na.path = %s\nevent-log = %s\ntopology-lock = %s\n' "$T/good" "$T/events" "$T/lock"
        printf '[writer null bad]\ncomponent = b\nb.path = %s\nevent-log = %s\n' "$T/bad" "$T/events"
        [ $# = 0 ] || printf '%s\n' "$@"
    } > "$T/vbackup.conf"
}
of() { awk -v w="$1" -v e="$2" '$2 == w && $3 == e && $4 == "end"' "$T/events" | wc -l; }
config
ok "init" vb init -q
run 30 backup
is "both are good: done" "$status" 0

# other NAME: the good writer has all its events, is thawed and its component is complete
other() {
    is "$1: the other writer was thawed" "$(of good thaw)" 1
    is "$1: the other writer hears BackupComplete" "$(of good backup-complete)" 1
    like "$1: the other component is complete" "$out" "here/good:a +complete"
    unharmed "$1"
}
hurt() { # NAME EVENT: exit 3, the bad one is named, the good one is whole
    said "$1" 3 "here.*(writer|component).*bad|bad.*b'"
    like "$1: the component is marked" "$out" "here/bad:b +(failed|partial)"
    other "$1"
}

for kind in retryable non-retryable timeout out-of-resources inconsistent; do
    forget_events
    config "fail.freeze = $kind"
    run 30 backup
    hurt "B-65 freeze refused, $kind"
done
for event in prepare-backup prepare-snapshot post-snapshot; do
    for kind in retryable non-retryable; do
        forget_events
        config "fail.$event = $kind"
        run 30 backup
        hurt "B-65 $event refused, $kind"
    done
done
for event in prepare-backup prepare-snapshot freeze post-snapshot; do
    for way in crash hang; do
        forget_events
        config "$way = $event"
        run 30 backup
        hurt "$way in $event"
    done
done
# What happens at the thaw or later leaves its data as they are.
for event in thaw backup-complete backup-shutdown; do
    for way in "fail.$event = non-retryable" "crash = $event" "hang = $event"; do
        forget_events
        config "$way"
        run 30 backup
        case $status in 0|3) pass "$way: status $status" ;; *) fail "$way: status 0 or 3" "$status: $both" ;; esac
        like "$way: it is told" "$both" "bad"
        unlike "$way: the component is not lost" "$out" "here/bad:b +failed"
        other "$way"
    done
done
for event in open identify; do
    for way in "fail.$event = non-retryable" "crash = $event" "hang = $event"; do
        forget_events
        config "$way"
        run 30 backup
        said "$way" 3 "bad"
        other "$way"
    done
done
for kind in separator relative-path dots directory-in-filespec wrong-kind duplicate; do
    forget_events
    config "broken = $kind"
    run 30 backup
    said "broken = $kind" 3 "bad"
    other "broken = $kind"
done

forget_events
config
rm -r "$T/bad"
run 30 backup
hurt "B-50 a directory that is not there"
mkdir "$T/bad"
config "b.filespec = *.dat"
forget_events
run 30 backup
said "B-50 no file fits the specification" 0 "complete"
echo bad > "$T/bad/b"

for event in identify prepare-backup prepare-snapshot freeze; do
    forget_events
    config "policy = required" "fail.$event = non-retryable"
    before=$(backups)
    run 30 backup
    said "a required writer fails in $event" 1 "required writer|bad"
    is "a required writer fails in $event: no backup is listed as good" "$(backups)" "$before"
    rm -rf "$T/out"
    ok "a required writer fails in $event: the latest good backup is still the latest" vb restore latest -q --target "$T/out"
    unharmed "a required writer fails in $event"
done
forget_events
config "fail.freeze = non-retryable"
run 30 backup --require bad
said "--require: a writer fails in freeze" 1 "a required writer failed: writer .bad."
unharmed "--require"
forget_events
run 30 backup --ignore bad
said "--ignore: it is not asked" 0 "complete"
is "--ignore: it is not asked" "$(of bad freeze)" 0
forget_events
config "fail.prepare-snapshot = retryable"
run 30 backup -C good
said "B-66 the veto of a writer without data in this backup" 0 "complete"

# cancel: at once, wherever it hangs
for event in identify prepare-backup prepare-snapshot freeze post-snapshot backup-complete; do
    forget_events
    config "hang = $event" "timeout = 1"
    sed -i '/^timeout = 1$/d; s/^timeout-\(.*\) = 2s/timeout-\1 = 20s/' "$T/vbackup.conf"
    vbackup backup > "$T/out.txt" 2> "$T/err.txt" < /dev/null &
    pid=$!
    for i in $(seq 100); do grep -q " bad $event begin" "$T/events" 2>/dev/null && break; sleep 0.1; done
    sleep 0.3
    began=$EPOCHREALTIME
    kill -INT $pid
    wait $pid; status=$?
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }')
    out=$(cat "$T/out.txt"); both="$out
$(cat "$T/err.txt")"
    if awk -v t="$took" 'BEGIN { exit !(t < 2) }'; then pass "cancel in $event: returns at once ($took s)"; else
        fail "cancel in $event: returns at once" "$took s"; fi
    said "cancel in $event" 1 "cancel|stopp"
    unharmed "cancel in $event"
done
config
run 30 backup
is "after all of it: all is well again" "$status" 0
ok "the repository is whole" vb check --read-data -q
done_testing
