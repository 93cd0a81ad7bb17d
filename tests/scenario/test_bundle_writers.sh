#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The writers' share of bundles (DSN-43): payloads made, taken in once and in order, acknowledged; secret ones refused.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_REPOSITORY
export VBACKUP_WRITER_PATH="$abs_top_builddir/.libs:$VBACKUP_WRITER_PATH"
log=$T/log
section() { # HOST MODULE [LINE...]
    local name=$1 module=$2
    shift 2
    { printf '[writer rec]\nmodule = %s\nname = %s\nlog = %s\ncontent = %s\n' "$module" "$name" "$log" "$T/content-$name"
      [ $# = 0 ] || printf '%s\n' "$@"; } > "$T/$name.conf"
    chmod 600 "$T/$name.conf"
}
S() { VBACKUP_STATE_DIR=$T/state-S VBACKUP_CONFIG=$T/S.conf vbackup "$@"; }
R() { VBACKUP_STATE_DIR=$T/state-R VBACKUP_CONFIG=$T/R.conf vbackup "$@"; }
calls() { tr '\n' ';' < "$log"; : > "$log"; }
is_status() { local want=$1; shift; "$@" > "$T/out" 2>&1; is "$DESC" $? "$want"; }
section S recorder
section R recorder
mkdir -p "$T/a" "$T/b" "$T/bundles" "$T/state-S" "$T/state-R"
: > "$log"
echo page > "$T/a/page"
echo one > "$T/content-S"
S scope add web "$T/a" --writer rec -q
guid=$(S scope list web --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')
R scope add web "$T/b" --join "$guid" --writer rec -q

ok "a bundle with a payload is made" S bundle create web "$T/bundles/1" --series spare
is "DSN-43 signature, serialize and propagate when it is made" "$(calls)" "S signature;S serialize;S propagate spare differs;"
ok "... is whole" S bundle verify "$T/bundles/1"
is "... and asks nobody" "$(calls)" ""
ok "a dry run" R bundle apply web "$T/bundles/1" -n
is "... only signs" "$(calls)" "R signature;"
ok "it is applied" R bundle apply web "$T/bundles/1"
is "... signature and deserialize where it is applied" "$(calls)" "R signature;R deserialize;"
is "... the content is there" "$(cat "$T/content-R")" one
is "... and the files" "$(cat "$T/b/page")" page
ok "applied again" R bundle apply web "$T/bundles/1"
is "... it asks nobody" "$(calls)" ""
echo two > "$T/content-S"
ok "a bundle without any change of files" S bundle create web "$T/bundles/2" --series spare
calls > /dev/null
like "... is applied all the same" "$(R bundle apply web "$T/bundles/2")" "bundles/2: applied"
is "... for its payload" "$(cat "$T/content-R")" two
calls > /dev/null
R bundle apply web "$T/bundles/1" -q
is "an old one does not set the writer back" "$(cat "$T/content-R")$(calls)" two
ok "an acknowledgement" R bundle ack web "$T/ack"
ok "... is applied" S bundle apply web "$T/ack"
is "DSN-43 propagate2 when it comes" "$(calls)" "S propagate2 spare differs;"
ok "... again" S bundle apply web "$T/ack"
is "... it is old" "$(calls)" ""
echo three > "$T/content-R"
echo three > "$T/content-S"
S bundle create web "$T/bundles/3" --series spare
calls > /dev/null
R bundle apply web "$T/bundles/3" -q
is "equal signatures save the work" "$(calls)" "R signature;"
section R recorder "fail = deserialize"
echo four > "$T/content-S"
echo four > "$T/a/page"
S bundle create web "$T/bundles/4" --series spare
DESC="a writer that fails" is_status 1 R bundle apply web "$T/bundles/4"
like "... is named" "$(cat "$T/out")" "writer 'rec': told to fail"
is "... before the files" "$(cat "$T/b/page")" page
section R recorder
ok "... and is asked again" R bundle apply web "$T/bundles/4"
is "... with all of it" "$(cat "$T/content-R" "$T/b/page")" "$(printf 'four\nfour')"
R scope set web --writer none
echo five > "$T/a/page"
S bundle create web "$T/bundles/5" --series spare
DESC="a writer that is not here" is_status 7 R bundle apply web "$T/bundles/5"
is "... before anything changes" "$(cat "$T/b/page")" four
ok "... may be left out" R bundle apply web "$T/bundles/5" --skip-missing-writers
is "... and the files come" "$(cat "$T/b/page")" five

section S recorder-online
calls > /dev/null
S bundle create web "$T/bundles/6" --series spare
is "DSN-43 no propagate if it needs the target" "$(calls)" "S signature;S serialize;"
section S recorder-secret
DESC="REPL-T14 a secret payload and a plain bundle" is_status 1 S bundle create web "$T/bundles/7" --series spare
like "... the writer is named" "$(cat "$T/out")" "writer 'rec': its payload is secret"
is "... there is no file" "$(ls "$T/bundles" | tr '\n' ' ')" "1 2 3 4 5 6 "
is "... and nothing was made" "$(calls)" ""
done_testing
