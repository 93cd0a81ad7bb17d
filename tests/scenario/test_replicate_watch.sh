#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# replicate --watch: changes arrive, settings and locks hold meanwhile, a target that is away gets all of it later.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_REPOSITORY
: > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir "$T/a"
echo one > "$T/a/f"
same() { diff -r --exclude=.vbackup "$1" "$2" > /dev/null 2>&1; }
within() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

vb scope add web "$T/a" --random 0 --interval 2 --guard 0 -q
vb replicate web "$T/b" -q
away=$(vb scope list --json | sed -n 's/.*"name":"\(web\.2\)".*/\1/p')
vbackup replicate web "$T/b" "$T/c" --watch > "$T/log" 2>&1 &
service=$!
tap_cleanup() { kill "$service" 2> /dev/null; scenario_cleanup; }
ok "what is there arrives" within 60 test -e "$T/c/f"
echo two > "$T/a/f"
ok "a change arrives" within 60 same "$T/a" "$T/b"
mkdir -p "$T/a/d/e"
echo deep > "$T/a/d/e/g"
ok "... a directory with what is in it" within 60 same "$T/a" "$T/c"
rm "$T/a/f"
ok "... a deletion" within 60 test ! -e "$T/b/f"
ok "REPL-T60 settings are changed while it runs" vb scope set web --exclude '*.tmp'
sleep 0.3
echo no > "$T/a/x.tmp"
echo yes > "$T/a/x"
ok "... and in force at the next round" within 60 test -e "$T/b/x"
is "... both" "$(ls "$T/b/x.tmp" 2>/dev/null)" ""
rm "$T/a/x.tmp"
ok "REPL-T64 a target is locked while it runs" vb lock "$away" --side in
echo held > "$T/a/held"
ok "... the other goes on" within 60 test -e "$T/c/held"
ok "REPL-T73 its state says why" within 60 grep -q "^$T/b: NO_SYNC, locked" "$T/log"
is "... and it got nothing" "$(ls "$T/b/held" 2>/dev/null)" ""
ok "... unlocked" vb unlock "$away" --side in
ok "REPL-T62 it gets all of it" within 60 same "$T/a" "$T/b"
ok "... and is in step again" within 60 bash -c "tail -n 3 '$T/log' | grep -q '^$T/b: OK'"
kill -TERM $service
wait $service
is "SIGTERM ends it" $? 0
like "the first state that is told is OK" "$(grep -o '/c: [A-Z_][A-Z_]*' "$T/log" | head -1)" "c: OK"
DESC="--watch does not go with --full"
vb replicate web "$T/b" --watch --full > "$T/out" 2>&1
is "$DESC" $? 2
vb replicate nothing "$T/b" --watch > "$T/out" 2>&1
is "an unknown scope ends it at once" $? 1
done_testing
