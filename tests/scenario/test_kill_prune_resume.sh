#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The requester of a backup dies, others forget and prune, and then the run is taken up: what it had stored is there still,
# as long as its lease is.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
grep -q "^#define VB_FAULT_POINTS 1" "$abs_top_builddir/config.h" || skip_all "built without --enable-fault-points"
printf '[requester]\nname = here\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir "$T/src"
head -c 400000 /dev/urandom > "$T/src/same"; echo 0 > "$T/src/round"
ok "init" vb init -q
ok "a first backup" vb backup -q "$T/src"
killed=0
for n in 6 10 14 18 22; do
    echo "$n" > "$T/src/round"; head -c 200000 /dev/urandom > "$T/src/new"
    touch "$T/armed"
    VBACKUP_TEST_KILL=requester:$n VBACKUP_TEST_KILL_FILE=$T/armed vb backup -q --lease 60s "$T/src" > "$T/log" 2>&1
    [ ! -e "$T/armed" ] || { rm "$T/armed"; break; }
    killed=$((killed + 1))
    run=$(vb resume --list)
    # all else is forgotten, and goes in two prunes without any delay
    ok "killed at $n: the others are forgotten" vb forget -q --force "$(vb list --json | jq -rs '.[0].id')"
    ok "killed at $n: prune" vb prune -q --delay 0s
    ok "killed at $n: prune again" vb prune -q --delay 0s
    if [ -n "$run" ]; then
        ok "killed at $n: taken up" vb resume -q "$run"
    else
        ok "killed at $n: had ended, another one" vb backup -q "$T/src"
    fi
    ok "killed at $n: no damage" vb check -q --read-data
    rm -rf "$T/out"
    ok "killed at $n: comes back" vb restore -q latest --target "$T/out"
    ok "killed at $n: byte by byte" diff -r "$T/src" "$T/out$T/src"
    ok "killed at $n: one more for the next round" vb backup -q "$T/src"
done
is "some were killed" "$((killed > 1))" 1
done_testing
