#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every backup is a view over the same chunks and stands alone: whatever was made before it, and of whichever type, is forgotten
# and pruned, its record and what that refers to is all that restoring it needs.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
S=$T/src; mkdir -p "$S/d/e"
vb init -q > /dev/null || bail "no repository"
for i in $(seq 20); do head -c 20000 /dev/urandom > "$S/d/f$i"; done
head -c 600000 /dev/urandom > "$S/d/e/large"
types=(full full copy full)
for n in 0 1 2 3; do
    echo "state $n" > "$S/state"; head -c 3000 /dev/urandom >> "$S/d/e/large"; rm -f "$S/d/f$n"; echo "$n" > "$S/d/e/new$n"
    vb backup -q --type "${types[n]}" "$S" > /dev/null || fail "backup $n"
    cp -a "$S" "$T/state$n"
done
mapfile -t ids < <(vb list --json | jq -r .id)
is "four backups" "${#ids[@]}" 4
like "the later ones store little" "$(vb list --json | jq -s '(.[3].added_stored // .[3].added_bytes // 0) < 300000')" true
for n in 0 1 2 3; do
    rm -rf "$T/one" "$T/out"; cp -a "$T/repo" "$T/one"
    vb accept -q --repo "$T/one" > /dev/null # set back on purpose
    for k in 0 1 2 3; do
        [ "$k" = "$n" ] || vb forget -q --force --repo "$T/one" "${ids[k]}" > /dev/null || fail "backup $k is forgotten"
    done
    vb prune -q --delay 0s --repo "$T/one" > /dev/null && vb prune -q --delay 0s --repo "$T/one" > /dev/null || fail "prune"
    is "backup $n (${types[n]}) is the only one" "$(ls "$T/one/catalog" | wc -l)" 1
    ok "it is whole" vb check -q --read-data --repo "$T/one"
    ok "it restores" vb restore -q --repo "$T/one" "${ids[n]}" --target "$T/out"
    ok "byte by byte" diff -r "$T/state$n" "$T/out$S"
done
done_testing
