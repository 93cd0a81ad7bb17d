#!/usr/bin/env bash
# tests/scenario/test_bad_repository.sh - a repository that is missing, none, damaged, read-only, full or busy; and
# restores of what is not there or onto what is
. "$abs_top_srcdir/tests/scenario/bad.sh"
mkdir -p "$T/data"
echo one > "$T/data/a"; head -c 200000 /dev/urandom > "$T/data/b"
config() {
    {
        printf '[requester]\nallow-live = yes\nname = here\nlease = 2s\n[agent]\nidle-exit = 20s\n'
        printf '[writer null app]\ncomponent = a\na.path = %s\nevent-log = %s\ntopology-lock = %s\n' "$T/data" "$T/events" "$T/lock"
        [ $# = 0 ] || printf '%s\n' "$@"
    } > "$T/vbackup.conf"
}
sum() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }
config
ok "init" vb init -q

forget_events
run 30 backup --repo "$T/nowhere"
said "missing" 1 "'$T/nowhere'" "vbackup init"
untouched "missing"
mkdir "$T/other"; echo x > "$T/other/file"
run 30 backup --repo "$T/other"
said "not a repository" 1 "'$T/other'.*repository" "."
untouched "not a repository"
is "not a repository: nothing was put there" "$(ls "$T/other")" file
run 30 init --repo "$T/other"
if [ "$status" != 0 ]; then pass "init onto other files is refused (status $status)"; else fail "init onto other files" "$both"; fi
run 30 init
said "init of a repository that is there" 5 "$T/repo" ""
run 30 backup --repo ftp://example.org/x
said "another kind of location" 1 "ftp" "name a directory"

run 30 backup
is "a good backup" "$status" 0
good=$(backups | head -1)

# a second one at the same time: the repository takes both
config "delay.post-snapshot = 3s"
forget_events
vbackup backup -q > "$T/first.txt" 2>&1 < /dev/null &
pid=$!
for i in $(seq 60); do grep -q "post-snapshot begin" "$T/events" && break; sleep 0.1; done
mkdir -p "$T/apart"; echo apart > "$T/apart/file"
run 20 backup "$T/apart"
is "a second backup at the same time, of something else" "$status" 0
wait $pid
is "the first one goes on" "$?" 0
config
unharmed "a second backup"

# damage: of a pack, of a catalog entry
cp -r "$T/repo" "$T/damaged"
for f in $(find "$T/damaged/packs" "$T/damaged/data" -type f 2>/dev/null); do
    chmod u+w "$f"
    printf 'XXXXXXXX' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 2)) conv=notrunc status=none
done
run 30 check --read-data --repo "$T/damaged"
said "damaged packs, check" 1 "." ""
run 30 restore latest --repo "$T/damaged" --target "$T/out"
if [ "$status" != 0 ] && [ "$status" != 124 ]; then pass "damaged packs: the restore fails (status $status)"; else fail "damaged packs: restore" "$both"; fi
ok "damaged packs: no wrong content was put there" bash -c "! test -e '$T/out$T/data/b' || cmp '$T/data/b' '$T/out$T/data/b'"
rm -rf "$T/out" "$T/damaged"
cp -r "$T/repo" "$T/damaged"
entry=$(find "$T/damaged" -path '*catalog*' -type f | head -1)
chmod u+w "$entry"
printf 'XXXXXXXX' | dd of="$entry" bs=1 seek=20 conv=notrunc status=none
run 30 list --repo "$T/damaged"
like "damaged catalog entry: it is told" "$both" "."
if [ "$status" != 0 ]; then pass "damaged catalog entry: status $status"; else fail "damaged catalog entry: status" "$both"; fi
run 30 check --repo "$T/damaged"
if [ "$status" != 0 ]; then pass "damaged catalog entry, check: status $status"; else fail "damaged catalog entry, check" "$both"; fi

# full: no file may grow beyond a limit
forget_events
head -c 3000000 /dev/urandom > "$T/data/c"
before=$(backups)
(ulimit -f 1024; trap '' XFSZ; run 60 backup; echo "$status" > "$T/status"; echo "$both" > "$T/both")
status=$(cat "$T/status"); both=$(cat "$T/both")
said "full" 1 "(no space|File too large|full)" ""
unharmed "full"
rm "$T/data/c"
is "full: earlier backups are listed" "$(backups)" "$before"
ok "full: the repository is whole" vb check --read-data -q
run 30 backup
is "full: the next backup succeeds" "$status" 0

if [ "$(id -u)" != 0 ]; then
    chmod -R a-w "$T/repo"
    run 30 backup
    said "read-only" 1 "[Pp]ermission denied" "."
    run 30 restore "$good" --target "$T/out"
    is "read-only: a restore is possible" "$status" 0
    chmod -R u+w "$T/repo"
    rm -rf "$T/out"
else
    skip "read-only" "root writes everywhere"
fi

# restore
run 30 restore 01234567
said "no such backup" 1 "01234567" "vbackup list"
run 30 restore "$(backups | cut -c1 | uniq -d | head -1)"
[ -z "$(backups | cut -c1 | uniq -d)" ] || said "an ambiguous id" 2 "ambiguous|several|more than one|fits|at least 4" ""
run 30 restore latest -C app:nothing
if [ "$status" != 0 ]; then pass "a component that is not in the backup: status $status"; else fail "a component that is not in the backup" "$both"; fi
like "a component that is not in the backup: the text" "$both" "nothing"
run 30 restore latest -C nobody
like "a writer that is not in the backup: the text" "$both" "nobody"
if [ "$status" != 0 ]; then pass "a writer that is not in the backup: status $status"; else fail "a writer that is not in the backup" "$both"; fi

echo changed > "$T/data/a"
before=$(sum "$T/data")
forget_events
config "restore-method = if-not-there"
for how in "restore latest" "restore $good"; do
    # shellcheck disable=SC2086
    run 30 $how
    said "$how onto existing data" 5 "exist|overwrite" "overwrite"
    is "$how onto existing data: nothing is changed" "$(sum "$T/data")" "$before"
    ok "$how onto existing data: nothing of a job is left" no_agents_left
done
if [ "$(events | grep -c '^pre-restore$')" != 0 ]; then
    is "onto existing data: PostRestore is sent" "$(events | grep -c '^post-restore$')" "$(events | grep -c '^pre-restore$')"
fi
config
mkdir -p "$T/out$T/data"; echo mine > "$T/out$T/data/a"
before=$(sum "$T/out")
run 30 restore latest --target "$T/out"
said "--target onto existing data" 5 "exist|overwrite" "overwrite"
is "--target onto existing data: the file is what it was" "$(cat "$T/out$T/data/a")" mine
run 30 restore latest --overwrite
is "with consent: done" "$status" 0
is "with consent: the content is back" "$(cat "$T/data/a")" one
done_testing
