#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The storage is set back, loses its newest backup, or holds another repository: the next command says so, whatever it is,
# and goes on only after `vbackup accept`.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
printf '[requester]\nname = here\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir "$T/src"; echo one > "$T/src/file"
try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 out status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
refused() { # NAME REGEX: every kind of command, each in one line and a hint
    local v out
    for v in "list" "backup -q $T/src" "restore -q latest --target $T/out" "forget --keep-last 1" "prune"; do
        # shellcheck disable=SC2086
        out=$(vb $v 2>&1 < /dev/null)
        is "$1: $v: exit status" "$?" 5
        like "$1: $v: says" "$out" "$2"
        is "$1: $v: one line and the hint" "$(grep -vc '^$' <<< "$out")" 2
        like "$1: $v: the hint" "$out" "hint: .*vbackup accept"
    done
}
back() { rm -rf "$T/repo"; cp -a "$1" "$T/repo"; }
count() { vb list --json | jq -s length; }

ok "init" vb init -q
ok "backup 1" vb backup -q "$T/src"
cp -a "$T/repo" "$T/before"
echo two >> "$T/src/file"
ok "backup 2" vb backup -q "$T/src"
cp -a "$T/repo" "$T/whole"
try "nothing to accept" 0 "nothing to accept: all" vb accept

back "$T/before"
refused "set back" "record number 2 of the ledger, which this machine saw on 20[0-9T:Z-]+, is not there"
try "set back, check" 5 "damage: .*record number 2 of the ledger" vb check
is "the error as JSON" "$(vb list --json 2> /dev/null | jq -r '[.code, .exit_status] | @csv')" '"GUARD",5'
is "nothing was added to it" "$(find "$T/repo/catalog" -type f | wc -l)" 1
back "$T/whole"
try "brought back again, all is well" 0 "" vb list
back "$T/before"
try "accept" 0 "accepted, .*record number 2 of the ledger" vb accept
is "from then on it is trusted" "$(count)" 1
try "check, too" 0 "no damage" vb check
ok "and gets the next backup" vb backup -q "$T/src"
is "accept as JSON" "$(vb accept --json | jq -c '[.message_type, .accepted, .backups]')" '["accept",null,2]'

# the newest backup withheld: its entry, or its record too
newest=$(find "$T/repo/catalog" -type f | sort | tail -n 1)
mv "$newest" "$T/kept"
refused "newest withheld" "the record of backup number 2 is missing in the catalog"
try "newest withheld, a machine that never was here" 5 "backup number 2 is missing" env VBACKUP_STATE_DIR="$T/state-new" "$abs_top_builddir/run" vbackup list
mv "$T/kept" "$newest"
try "it is back" 0 "" vb list
mv "$newest" "$T/kept"
try "lost for good" 0 "accepted, .*backup number 2 is missing" vb accept
is "the others are there" "$(count)" 1
ok "and the next backup" vb backup -q "$T/src"
mv "$(find "$T/repo/ledger" -type f | sort | tail -n 1)" "$T/kept"
refused "newest record withheld" "record number 3 of the ledger, which this machine saw"

# another repository in its place
rm -rf "$T/repo"
VBACKUP_STATE_DIR=$T/state-new vb init -q > /dev/null
refused "exchanged" "another repository lies there than before"
try "accept another one" 0 "accepted, .*another repository" vb accept
is "it is empty" "$(count)" 0
rm -rf "$T/repo"
ok "who makes one anew means it" vb init -q
is "and is not asked" "$(count)" 0
ok "a backup in it" vb backup -q "$T/src"
for f in "$T"/state/repositories/seen-*; do printf 'nonsense\n' > "$f"; done
try "a memory that is damaged" 1 "what was remembered of the repository is damaged" vb list
try "accepted" 0 "accepted, .*damaged" vb accept
is "it is remembered anew" "$(count)" 1
done_testing
