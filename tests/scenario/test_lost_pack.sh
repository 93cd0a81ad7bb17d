#!/usr/bin/env bash
# tests/scenario/test_lost_pack.sh - a pack vanishes: check says what is lost, the next backup does not rely on what the agent
# remembers but stores it again, and with it the older backup is whole.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_CONFIG
export HOME=$T/home XDG_CONFIG_HOME=$T/home/.config
mkdir -p "$T/home" "$T/data/d/e"
for i in $(seq 30); do head -c 30000 /dev/urandom > "$T/data/d/f$i"; done
echo small > "$T/data/d/e/small"
sleep 1.1 # nothing here was made in the moment of the first look
ok "init" vb init -q
ok "a backup" vb backup -q --allow-live "$T/data"
ok "another, of nothing new" vb backup -q --allow-live "$T/data"
like "... for which nothing was read" "$(vb show)" "0 of 31 files read"
ok "the repository is whole" vb check -q
largest=$(find "$T/repo/packs" -type f -printf '%s %p\n' | sort -n | tail -1)
rm -f "${largest#* }"

out=$(vb check 2>&1); status=$?
is "check: exit status" "$status" 1
is "... of the pack three chunks are named" "$(grep -c 'is lost: its pack is missing or damaged' <<< "$out")" 3
like "... and how many more" "$out" "damage: packs/[^ ]*: and [0-9]+ more"
like "... what to do" "$out" "hint: a new backup stores again what is missing"
all=$(vb check --json 2>/dev/null | grep -c '"finding"')
if [ "$all" -gt 30 ]; then pass "... --json names all"; else fail "--json names all" "$all findings"; fi
out=$(vb restore latest --target "$T/out" 2>&1); status=$?
if [ "$status" != 0 ]; then pass "a restore fails (status $status)"; else fail "a restore of lost chunks" "$out"; fi
ok "... and puts no wrong content there" bash -c "cd '$T/data' && find . -type f | while read -r f; do
    ! test -e '$T/out$T/data/'\$f || cmp -s \$f '$T/out$T/data/'\$f || exit 1; done"
rm -rf "$T/out"

ok "the next backup" vb backup -q --allow-live "$T/data"
like "... reads everything" "$(vb show)" "31 of 31 files read"
ok "the repository is whole again" vb check -q --read-data
ok "it is restored" vb restore -q latest --target "$T/out"
ok "... as it was" diff -r "$T/data" "$T/out$T/data"
rm -rf "$T/out"
first=$(vb list --json | grep -o '"id": *"[^"]*"' | sed 's/.*"\([^"]*\)"$/\1/' | head -1)
ok "the first one as well" vb restore -q "$first" --target "$T/out"
ok "... as it was" diff -r "$T/data" "$T/out$T/data"
done_testing
