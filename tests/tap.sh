# shellcheck shell=bash
# tests/tap.sh - sourced by shell tests: . "$abs_top_srcdir/tests/tap.sh"
#
#   ok NAME COMMAND...      passes if the command succeeds; its output is shown when it does not
#   not_ok NAME COMMAND...  passes if it fails
#   is NAME GOT WANT        passes if both texts are equal
#   like NAME TEXT REGEX    passes if the text matches the extended regular expression
#   pass NAME / fail NAME [DETAIL]
#   skip NAME REASON        counted and shown at the end of scripts/test
#   skip_all REASON         ends the program as skipped
#   bail REASON             ends the program: nothing more can be tested
#   done_testing            last line: prints the plan, exits with 1 if anything failed
#
# $T is a private scratch directory that is removed at the end (kept, and named, when KEEP is set).
: "${abs_top_srcdir:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
: "${abs_top_builddir:=$PWD}"
export abs_top_srcdir abs_top_builddir
# The password of every repository that a test makes, and a cheap derivation (in builds with fault points).
export VBACKUP_TEST_KEY_COST=2
unset VBACKUP_PASSWORD_COMMAND CREDENTIALS_DIRECTORY
tap_n=0
tap_failed=0
tap_finished=
T=$(mktemp -d "${TMPDIR:-/tmp}/vbackup-test.XXXXXX")
export VBACKUP_PASSWORD_FILE=$T.password # beside $T, which a test may want empty
(umask 077; cat "$abs_top_srcdir/tests/password" > "$VBACKUP_PASSWORD_FILE")

tap_cleanup() { :; } # a test may define its own: it runs before $T is removed
tap_exit() {
    local status=$?
    tap_cleanup
    rm -f "$T.password"
    if [ -n "${KEEP:-}" ]; then echo "# kept: $T"; else rm -rf "$T"; fi
    if [ -z "$tap_finished" ]; then
        echo "Bail out! the script ended early (status $status)"
        exit 99
    fi
}
trap tap_exit EXIT
trap 'exit 130' INT TERM HUP

pass() { tap_n=$((tap_n + 1)); echo "ok $tap_n - ${1//#/\\#}"; }
fail() {
    tap_n=$((tap_n + 1)); tap_failed=$((tap_failed + 1))
    echo "not ok $tap_n - ${1//#/\\#}"
    [ $# -lt 2 ] || printf '%s\n' "$2" | head -c 20000 | sed 's/^/# /'
}
ok() {
    local name=$1 out; shift
    if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "status $?: $*
$out"; fi
}
not_ok() {
    local name=$1 out; shift
    if out=$("$@" 2>&1); then fail "$name" "succeeded: $*
$out"; else pass "$name"; fi
}
is() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got:  $2
want: $3"; fi; }
like() { if printf '%s' "$2" | grep -Eq -- "$3"; then pass "$1"; else fail "$1" "got:     $2
no match: $3"; fi; }
unlike() { if printf '%s' "$2" | grep -Eq -- "$3"; then fail "$1" "got:   $2
matches: $3"; else pass "$1"; fi; }
skip() { tap_n=$((tap_n + 1)); echo "ok $tap_n - ${1//#/\\#} # SKIP $2"; }
skip_all() { tap_finished=1; echo "1..0 # SKIP $1"; exit 0; }
bail() { tap_finished=1; echo "Bail out! $1"; exit 99; }
done_testing() {
    tap_finished=1
    echo "1..$tap_n"
    [ "$tap_failed" = 0 ] || exit 1
    exit 0
}
