#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The writers of a scope in a run of `vbackup replicate`: three targets behind a private sshd, each with a recorder.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_REPOSITORY
remote_available || skip_all "$SSHD_WHY"
export VBACKUP_WRITER_PATH="$abs_top_builddir/.libs:$VBACKUP_WRITER_PATH"
log=$T/log

recorder() { # NAME [LINE...]: a section [writer rec] of this host
    printf '[writer rec]\nmodule = %s\nname = %s\nlog = %s\ncontent = %s\n' "${MODULE:-recorder}" "$1" "$log" "$T/content-$1"
    shift
    [ $# = 0 ] || printf '%s\n' "$@"
}
source_is() { # [LINE...]
    {
        recorder S "$@"
        for i in 1 2 3; do
            cat <<END
[host t$i]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $SSHD_DIR/id_ed25519
known-hosts = $SSHD_DIR/known_hosts
END
        done
    } > "$T/vbackup.conf"
    chmod 600 "$T/vbackup.conf"
}
target_is() { # NUMBER [LINE...]
    local n=$1
    shift
    recorder "T$n" "$@" > "$T/t$n.conf"
}
# what sshd runs: the scope's name says whose it is
cat > "$T/far-vbackup" <<END
#!/bin/sh
for last; do :; done
n=\${last#site}
export VBACKUP_STATE_DIR="$T/state-t\$n" VBACKUP_CONFIG="$T/t\$n.conf" VBACKUP_WRITER_PATH="$VBACKUP_WRITER_PATH"
export VBACKUP_LIBEXECDIR="$VBACKUP_LIBEXECDIR" ASAN_OPTIONS="${ASAN_OPTIONS:-}"
exec "$abs_top_builddir/vbackup" "\$@"
END
chmod 755 "$T/far-vbackup"
export VBACKUP_REMOTE_COMMAND="$T/far-vbackup"
calls() { tr '\n' ';' < "$log" 2>/dev/null; }
run() { : > "$log"; vb replicate web "$@" > "$T/out" 2>&1; status=$?; }

source_is
mkdir -p "$T/a"
echo page > "$T/a/page"
echo one > "$T/content-S"
ok "a scope with a writer" vb scope add web "$T/a" --writer rec
like "... is shown" "$(vb scope list)" "writers: rec"
vb scope set web --writer other > "$T/out" 2>&1
is "a writer that is not configured is refused" $? 2
guid=$(vb scope list web --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')
for i in 1 2 3; do
    target_is "$i"
    mkdir -p "$T/tree$i" "$T/state-t$i"
    "$T/far-vbackup" scope add --join "$guid" --writer rec -- "site$i" "$T/tree$i" > /dev/null 2>&1 ||
        VBACKUP_STATE_DIR=$T/state-t$i VBACKUP_CONFIG=$T/t$i.conf vb scope add "site$i" "$T/tree$i" --join "$guid" --writer rec > /dev/null
done

# --- one target ---
run t1:site1
is "one target, different" "$status" 0
is "REPL-T2 the calls" "$(calls)" "S signature;T1 signature;S serialize;S propagate t1:site1 differs;T1 deserialize;S propagate2 t1:site1 differs;"
is "... the content is there" "$(cat "$T/content-T1")" one
is "... and so are the files" "$(cat "$T/tree1/page")" page
like "... which is told" "$(cat "$T/out")" "writers carried over: rec"
run t1:site1
is "REPL-T1 equal: no payload" "$(calls)" "S signature;T1 signature;S propagate2 t1:site1 same;"
echo two > "$T/content-S"
echo more > "$T/a/more"
run t1:site1 -n
is "REPL-T94 a dry run only signs" "$(calls)" "S signature;T1 signature;"
like "... and tells" "$(cat "$T/out")" "writers that would be carried over: rec"
is "... nothing happened" "$(cat "$T/content-T1")" one

# --- three ---
echo two > "$T/content-T1"
run t1:site1 t2:site2 t3:site3
is "three targets" "$status" 0
is "REPL-T3 signature and serialize once at the source" "$(grep -c '^S signature' "$log") $(grep -c '^S serialize' "$log")" "1 1"
is "... propagate twice" "$(grep -c '^S propagate t' "$log")" 2
is "... deserialize on two" "$(grep deserialize "$log" | sort | tr '\n' ';')" "T2 deserialize;T3 deserialize;"
is "... propagate2 on all" "$(grep propagate2 "$log" | sort | tr '\n' ';')" \
    "S propagate2 t1:site1 same;S propagate2 t2:site2 differs;S propagate2 t3:site3 differs;"
is "... with the same bytes" "$(cat "$T"/content-T[123])" "$(printf 'two\ntwo\ntwo')"
is "... and the files" "$(cat "$T"/tree[123]/more)" "$(printf 'more\nmore\nmore')"

# --- failures ---
echo three > "$T/content-S"
echo three > "$T/a/page"
target_is 2 "fail = deserialize"
run t1:site1 t2:site2 t3:site3
is "REPL-T8 deserialize fails on one" "$status" 3
like "... and is named" "$(cat "$T/out")" "t2:site2.*writer 'rec': deserialize: told to fail"
is "... its files are as they were" "$(cat "$T/tree2/page")" page
is "... and it hears no more" "$(grep -c 'propagate2 t2' "$log")" 0
is "... the others are through" "$(cat "$T/tree1/page" "$T/tree3/page" "$T/content-T3" | sort -u)" three
source_is "fail = serialize"
target_is 2
run t2:site2
is "REPL-T5 serialize fails" "$status" 1
is "... nothing else is called" "$(calls)" "S signature;T2 signature;S serialize;"
source_is "fail = signature"
run t1:site1 t2:site2 t3:site3
is "REPL-T7 the source's signature fails" "$status" 1
is "... nothing else is called" "$(calls)" "S signature;"
is "... and it is told once" "$(grep -c 'told to fail' "$T/out")" 1
source_is "fail = propagate2"
run t1:site1 t2:site2 t3:site3
is "REPL-T9 propagate2 fails: the targets failed" "$status" 1
is "... their data are in place" "$(cat "$T/tree2/page")" three
source_is
echo four > "$T/content-S"
target_is 2 "hang = deserialize"
vb scope set web --writer-limit 5s
run t1:site1 t2:site2 t3:site3
is "REPL-T13 one hangs" "$status" 3
like "... is killed" "$(cat "$T/out")" "did not answer deserialize within 5 s"
is "... the others are through" "$(cat "$T/content-T1" "$T/content-T3" | sort -u)" four
target_is 2 "crash = signature"
run t2:site2
like "a writer that dies is told" "$(cat "$T/out")" "writer 'rec': signature: it ended in the middle"

# --- missing ---
: > "$T/t2.conf"
echo five > "$T/a/page"
run t2:site2 t3:site3
is "REPL-T12 a target without it fails" "$status" 3
is "... before anything changes" "$(cat "$T/tree2/page")" three
run t2:site2 t3:site3 --skip-missing-writers
is "... unless it may be left out" "$status" 0
echo six > "$T/a/page"
target_is 2
VBACKUP_STATE_DIR=$T/state-t2 VBACKUP_CONFIG=$T/t2.conf vb scope set site2 --writer none
run t2:site2
like "a writer that the target's scope does not name is not started" "$(cat "$T/out")" "does not take part there"
is "... it is asked nothing" "$(grep -c T2 "$log")" 0
run t2:site2 t3:site3 --skip-missing-writers
is "REPL-T12 --skip-missing-writers" "$status" 0
is "... with one warning" "$(grep -c "writer 'rec' does not take part there; it is left out" "$T/out")" 1
is "... and the files" "$(cat "$T/tree2/page")" six
done_testing
