#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# status and resolve: states with their reasons, backlog, locks, trash; conflicts that were left to the user.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_REPOSITORY
: > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir -p "$T/a"
for f in f g h k; do echo base > "$T/a/$f"; done
same() { diff -r --exclude=.vbackup "$1" "$2"; }
is_status() { local want=$1; shift; "$@" > "$T/out" 2>&1; is "$DESC" $? "$want"; }
ok "scope add" vb scope add web "$T/a"
vb status > "$T/out" 2>&1
is "a scope that met nobody is in step" $? 0
vb replicate web "$T/b" -q
like "after a pass the other side is complete" "$(vb status web)" "out $T/b +OK; last success 20[0-9T:-]+.*; complete"
like "... with --json" "$(vb status web --json)" '"direction":"out".*"backlog":0'
like "the other side has a master" "$(vb status web.2)" "in +[0-9a-f]{8} +OK; last success 20"

# --- locks, offline, unreachable ---
vb lock web --reason "moving house"
DESC="a locked scope: try later" is_status 8 vb status web
like "REPL-T73 ... who, since when and why" "$(cat "$T/out")" "locked .out. since 20.* by .*: moving house"
like "... and its links say so" "$(cat "$T/out")" "NO_SYNC: locked"
vb unlock web
DESC="unlocked" is_status 0 vb status web
vb replicate web nowhere:web > "$T/out" 2>&1
like "REPL-T73 a peer that cannot be reached is named with the reason" "$(vb status web)" "out nowhere:web +NEVER_REPLICATED: (unreachable|HOST_UNKNOWN)"
like "... and the text" "$(vb status web)" "host 'nowhere' is not in the host table"
mv "$T/b" "$T/away"
DESC="offline" is_status 8 vb status web.2
like "... with why" "$(cat "$T/out")" "offline: "
mv "$T/away" "$T/b"
DESC="no such scope" is_status 1 vb status nothing

# --- backlog ---
echo news > "$T/a/news"
vb replicate web "$T/c" -q # the scan for this one finds what the other lacks
like "how many items a peer lacks" "$(vb status web)" "$T/b +OK; .*; 1 items to go"
rm "$T/a/news"
vb replicate web "$T/b" "$T/c" -q
like "the trash has a size" "$(vb status web.3)" "trash: 1 files, 5"

# --- REPL-T27: deferred, listed, resolved ---
edit() { # FILE: on both sides; there is later
    echo "here $1" > "$T/a/$1"; touch -d '2020-01-01' "$T/a/$1"
    echo "there $1" > "$T/b/$1"
}
for f in f g h; do edit "$f"; done
rm "$T/b/k"; echo "here k" > "$T/a/k"
DESC="REPL-T27 defer leaves conflicts" is_status 4 vb replicate web "$T/b" --two-way --conflict defer
is "... both files as they were" "$(cat "$T/a/f" "$T/b/f")" "$(printf 'here f\nthere f')"
DESC="... status lists them" is_status 8 vb status web # nowhere:web wins over 4
is "... each" "$(grep -c '  conflict since 20' "$T/out")" 4
like "... a deletion as such" "$(cat "$T/out")" ": k; [0-9a-f]{8} deleted it"
is "... the other side as well" "$(vb status web.2 | grep -c '  conflict since 20')" 4
like "... with --json" "$(vb status web --json)" '"conflicts":\[\{"path":"f"'
DESC="... again the same" is_status 4 vb replicate web "$T/b" --two-way --conflict defer
DESC="resolve wants to know what to keep" is_status 2 vb resolve web f
DESC="... and a conflict" is_status 1 vb resolve web nothing --keep mine
DESC="REPL-T27 resolve --keep theirs" is_status 0 vb resolve web f --keep theirs
is "... theirs is here" "$(cat "$T/a/f")" "there f"
like "... ours in the trash" "$(cat "$T"/a/.vbackup/trash/*/f)" "here f"
DESC="resolve --keep mine" is_status 0 vb resolve web g --keep mine
is "... ours is there" "$(cat "$T/b/g")" "here g"
like "... theirs in the trash there" "$(cat "$T"/b/.vbackup/trash/*/g)" "there g"
DESC="resolve --keep both" is_status 0 vb resolve web h --keep both
is "... the later one has the name" "$(cat "$T/a/h" "$T/b/h")" "$(printf 'there h\nthere h')"
is "... the other lies beside it, on both sides" "$(cat "$T"/a/h.conflict-* "$T"/b/h.conflict-*)" "$(printf 'here h\nhere h')"
DESC="a conflict with a deletion" is_status 0 vb resolve web k --keep theirs
ok "... it is gone" test ! -e "$T/a/k"
ok "both sides are alike" same "$T/a" "$T/b"
DESC="... no conflict is left" is_status 8 vb status web # nowhere:web
unlike "... no conflict is left" "$(cat "$T/out"; vb status web.2)" "conflict"
like "REPL-T27 the next pass has nothing to do" "$(vb replicate web "$T/b" --two-way)" "nothing to do"

# --- resolved where the other cannot be reached from: with the next pass ---
edit f
echo "there again" > "$T/b/f"
vb replicate web "$T/b" --two-way --conflict defer -q
DESC="status of the other side has no other trouble" is_status 4 vb status web.2
DESC="resolved on the other side it waits for a pass" is_status 4 vb resolve web.2 f --keep theirs
like "... and says so" "$(cat "$T/out")" "with the next pass"
like "... status, too" "$(vb status web.2)" "to keep with the next pass: theirs"
vb replicate web "$T/b" --two-way --conflict defer -q
is "... which settles it" "$(cat "$T/a/f" "$T/b/f")" "$(printf 'here f\nhere f')"
like "... for both" "$(vb replicate web "$T/b" --two-way)" "nothing to do"
unlike "... and nothing is held" "$(vb status web; vb status web.2)" "conflict"
done_testing
