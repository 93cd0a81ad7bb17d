#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Replication by the command: a directory, a second scope, another host by a private sshd, locks, guards, kills.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_REPOSITORY
: > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir -p "$T/a/d" "$T/c"
echo one > "$T/a/f"
echo two > "$T/a/d/g"
same() { diff -r --exclude=.vbackup "$1" "$2"; }

# --- a directory ---
ok "scope add" vb scope add web "$T/a"
like "scope list shows the defaults (REPL-T61)" "$(vb scope list)" "integrity file, extent tree, conflict both"
like "a dry run says what would be done" "$(vb replicate web "$T/b" -n)" "would be 3 created"
is "... and does nothing" "$(find "$T/b" -name .vbackup -prune -o -type f -print | wc -l)" 0
like "replicate to a directory that becomes a scope" "$(vb replicate web "$T/b")" "3 created"
ok "... which is alike then" same "$T/a" "$T/b"
like "REPL-T93 again there is nothing to do" "$(vb replicate web "$T/b")" "nothing to do"
echo more > "$T/b/there"
echo changed > "$T/a/f"
rm "$T/a/d/g"
out=$(vb replicate web "$T/b")
like "one way: changed, deleted, and what is extra is kept (REPL-T78)" "$out" "1 changed, 1 deleted.*extra: 1"
ok "two ways" vb replicate web "$T/b" --two-way
ok "... are alike" same "$T/a" "$T/b"
is "... what came from there is here" "$(cat "$T/a/there")" more
like "the deleted file is in the trash (DSN-21)" "$(cat "$T"/b/.vbackup/trash/*/d/g)" two
like "--json" "$(vb replicate web "$T/b" --json)" '"message_type":"replicate".*"created":0'

# --- refused ---
is_status() { local want=$1; shift; "$@" > "$T/out" 2>&1; is "$DESC" $? "$want"; }
DESC="an unknown scope is an error" is_status 1 vb replicate nothing "$T/b"
like "... with the way to make one" "$(cat "$T/out")" "hint: .*scope add nothing"
DESC="a scope in another's tree is refused" is_status 5 vb scope add inner "$T/a/d"
DESC="REPL-T65 a guard time above half the interval is refused" is_status 2 vb scope set web --interval 300 --guard 160
like "... and named" "$(cat "$T/out")" "guard"
ok "... 150 s is not" vb scope set web --interval 300 --guard 150
vb lock web --reason "moving house" && vb lock web
DESC="REPL-T62 a locked scope says try later" is_status 8 vb replicate web "$T/b"
vb unlock web
DESC="... still" is_status 8 vb replicate web "$T/b"
like "... and shows it" "$(vb scope list)" "locked: 1 out, 1 in"
vb unlock web
ok "... unlocked it goes" vb replicate web "$T/b"
DESC="REPL-T63 unlock without a lock is an error" is_status 1 vb unlock web
mv "$T/a" "$T/away"; mkdir "$T/a"
DESC="REPL-T50 an empty mount point is offline" is_status 8 vb replicate web "$T/b"
rmdir "$T/a"; mv "$T/away" "$T/a"
like "... and nothing was deleted" "$(vb replicate web "$T/b")" "nothing to do"
for i in $(seq 100); do echo "$i" > "$T/a/n$i"; done
vb replicate web "$T/b" -q
rm "$T"/a/n[1-9]*
DESC="REPL-T51 the guard" is_status 5 vb replicate web "$T/b"
like "... says how to pass it" "$(cat "$T/out")" "hint: .*--allow-deletes=100"
is "... nothing is gone" "$(ls "$T/b" | grep -c '^n')" 100
ok "... and can be told" vb replicate web "$T/b" --allow-deletes=all
is "... gone" "$(ls "$T/b" | grep -c '^n')" 0

# --- several targets, one of them out of reach ---
vb scope add second "$T/c" --join "$(vb scope list web --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')"
echo news > "$T/a/news"
DESC="REPL-T11 a target out of reach leaves the others alone" is_status 3 vb replicate web "$T/b" nowhere:web second
ok "... they are up to date" same "$T/a" "$T/c"
like "... and it is named" "$(cat "$T/out")" "nowhere"

mkdir "$T/held"
vb scope add held "$T/held" --join "$(vb scope list web --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')"
vb lock held --side in
echo "more news" > "$T/a/news"
DESC="REPL-T64 a lock at one of three targets defers that one" is_status 3 vb replicate web "$T/b" held second
ok "... the others have it" same "$T/b" "$T/c"
is "... it does not" "$(ls "$T/held")" ""
DESC="... alone it says try later" is_status 8 vb replicate web held
vb unlock held --side in
vb replicate web "$T/b" held second > "$T/out"
is "REPL-T11 when it is back, only it gets something" "$(grep -c 'nothing to do' "$T/out")" 2
ok "... all of it" same "$T/a" "$T/held"
vb scope rm held

# --- dropped at the target ---
name=$(vb scope list --json | sed -n "s#.*\"name\":\"\([^\"]*\)\".*\"root\":\"$T/b\".*#\1#p")
vb scope rm "$name"
ok "REPL-T74 a scope that is dropped at the target leaves its files" same "$T/a" "$T/b"
echo "again" > "$T/a/news"
ok "... and is registered again by the next pass" vb replicate web "$T/b"
is "... which brings what is new" "$(cat "$T/b/news")" again
is "... and keeps what it cannot know of as a copy (DSN-26)" "$(cat "$T"/b/news.conflict-*)" "more news"
rm "$T"/b/news.conflict-*

# --- many at once ---
echo "news for all" > "$T/a/passing"
vb replicate web "$T/m1" "$T/m2" "$T/m3" "$T/m4" "$T/m5" "$T/m6" --jobs 3 > "$T/out" 2>&1
is "many targets at once" $? 0
is "... one line for each" "$(grep -c "^$T/m[1-6]: .* created" "$T/out")" 6
for m in 1 2 3 4 5 6; do same "$T/a" "$T/m$m" || break; done
is "... all are alike" "$m" 6
is "... and each is known: nothing goes again" "$(vb replicate web "$T"/m[1-6] --json | grep -c '"created":0')" 6
rm "$T/a/passing"
DESC="a number of jobs that is none" is_status 2 vb replicate web "$T/m1" --jobs 0
vb replicate web "$T"/m[1-6] "$T/b" second -q
is "... deletions go everywhere" "$(ls "$T"/m[1-6]/passing 2>/dev/null | wc -l)" 0

# --- killed ---
head -c 30000000 /dev/urandom > "$T/a/big"
for i in $(seq 300); do echo "$i $RANDOM" > "$T/a/k$i"; done
for t in 0.1 0.2 0.3 0.5 0.7; do
    timeout -s KILL "$t" vbackup replicate web second -q > /dev/null 2>&1
done
sleep 0.3 # the other end sees it
vb replicate web second -q > "$T/out" 2>&1
is "REPL-T45 after kills it goes on" $? 0
ok "... to the same tree" same "$T/a" "$T/c"
like "... and nothing echoes" "$(vb replicate second "$T/a" 2>&1; vb replicate web second)" "nothing to do"
is "... without a conflict" "$(find "$T/a" "$T/c" -name '*.conflict-*' | wc -l)" 0

# --- by files ---
mkdir "$T/f" "$T/bundles"
guid=$(vb scope list web --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')
vb scope add away "$T/f" --join "$guid" -q
ok "bundle create" vb bundle create web "$T/bundles/z-first"
echo later > "$T/a/later"
vb bundle create web "$T/bundles/a-second"
DESC="REPL-T80 the second before the first" is_status 7 vb bundle apply away "$T/bundles/a-second"
like "... and what is expected" "$(cat "$T/out")" "this is number 2; expected is number 1"
like "bundle verify" "$(vb bundle verify "$T/bundles/z-first")" "whole: bundle of scope $guid, number 1"
ok "REPL-T81 a directory of them, in whatever order" vb bundle apply away "$T/bundles"
ok "... is alike" same "$T/a" "$T/f"
is "REPL-T79 and again" "$(vb bundle apply away "$T/bundles" | grep -c 'already applied')" 2
echo piped > "$T/a/piped"
ok "REPL-T89 through a pipe" bash -c "vbackup bundle create web - --series pipe --since nothing | vbackup bundle apply away -"
ok "... is alike" same "$T/a" "$T/f"
printf x | dd of="$T/bundles/z-first" bs=1 seek=200 conv=notrunc status=none
DESC="REPL-T82 a damaged one is refused" is_status 1 vb bundle verify "$T/bundles/z-first"
vb bundle ack away "$T/ack"
ok "an acknowledgement is applied" vb bundle apply web "$T/ack"

# --- another host ---
if remote_available; then
    cat > "$T/vbackup.conf" <<END
[host far]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $SSHD_DIR/id_ed25519
known-hosts = $SSHD_DIR/known_hosts
END
    mkdir -p "$T/state-far" "$T/e"
    cat > "$T/far-vbackup" <<END
#!/bin/sh
VBACKUP_STATE_DIR='$T/state-far' VBACKUP_CONFIG= exec '$abs_top_builddir/vbackup' "\$@"
END
    chmod 755 "$T/far-vbackup"
    export VBACKUP_REMOTE_COMMAND="$T/far-vbackup"
    guid=$(vb scope list web --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')
    ok "a scope on another host" "$T/far-vbackup" scope add site "$T/e" --join "$guid"
    ok "replicate over SSH" vb replicate web far:site
    ok "... is alike there" same "$T/a" "$T/e"
    echo "from far" > "$T/e/far"
    ok "... both ways" vb replicate web far:site --two-way
    is "... what changed there is here" "$(cat "$T/a/far")" "from far"
    DESC="a scope that is not there" is_status 1 vb replicate web far:other
    like "... is told by that host" "$(cat "$T/out")" "no scope 'other'"
else
    skip "another host" "$SSHD_WHY"
fi
ok "scope rm" vb scope rm second
ok "... the files stay" test -f "$T/c/news"
done_testing
