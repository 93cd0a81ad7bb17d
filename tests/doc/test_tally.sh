#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scripts/tally counts what the harness left, misses nothing, and ends with the one line that is promised.
. "${abs_top_srcdir:?}/tests/tap.sh"
command -v perl >/dev/null || skip_all "perl is not installed"
tally="$abs_top_srcdir/scripts/tally"

result() { mkdir -p "$(dirname "$T/b/$1")"; printf ':test-result: %s\n' "${@:2}" >"$T/b/$1.trs"; : >"$T/b/$1.log"; }
result test_a PASS PASS SKIP
echo 'SKIP: test_a 3 - third # SKIP no loop devices' >"$T/b/test_a.log"
result tests/s PASS
printf '%s\n' test_a tests/s.sh >"$T/list"

out=$("$tally" "one=$T/b:$T/list")
is "all well: status" $? 0
is "last line" "$(tail -n 1 <<<"$out")" "3 passed, 0 failed, 1 skipped"
like "a skip comes with its reason" "$out" 'no loop devices'

result tests/bad PASS FAIL ERROR
echo 'FAIL: tests/bad.sh 2 - second' >"$T/b/tests/bad.log"
echo tests/bad.sh >>"$T/list"
out=$("$tally" "one=$T/b:$T/list")
is "a failure: status" $? 1
is "the exit status of a failed program is no second failure" "$(tail -n 1 <<<"$out")" "4 passed, 1 failed, 1 skipped"
like "the failure is named" "$out" 'tests/bad.sh 2 - second'

result tests/bad PASS ERROR
is "a crash counts" "$("$tally" "one=$T/b:$T/list" | tail -n 1)" "4 passed, 1 failed, 1 skipped"
echo test_gone >>"$T/list"
is "a test without a result counts as failed" "$("$tally" "one=$T/b:$T/list" | tail -n 1)" "4 passed, 2 failed, 1 skipped"
is "a failed step counts" "$("$tally" "one=$T/b:$T/list" step:lint | tail -n 1)" "4 passed, 3 failed, 1 skipped"
: >"$T/none"
not_ok "no test at all is no success" "$tally" "one=$T/b:$T/none"
done_testing
