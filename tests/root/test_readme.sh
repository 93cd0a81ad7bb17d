#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_readme.sh - scripts/demo works, and the README's first screen shows what it really prints.
. "${abs_top_srcdir:?}/tests/tap.sh"
[ "$(id -u)" = 0 ] || skip_all "not root"
"$abs_top_srcdir/scripts/demo" --built "$abs_top_builddir" > "$T/demo" 2> "$T/demo.err"
status=$?
if [ $status = 7 ]; then skip_all "$(tail -1 "$T/demo.err")"; fi
is "scripts/demo ends with" "$status" 0
# Numbers, sizes and ids differ from run to run; nothing else may.
plain() { sed -E 's/[0-9]+(\.[0-9]+)? (B|KiB|MiB|GiB)/SIZE/g; s/[0-9]+(\.[0-9]+)? (ms|s|min)\b/TIME/g; s/backup [0-9a-f]{8}/backup ID/; s/[0-9]+/N/g; s/ +/ /g'; }
awk '/^```/ { inside = !inside; next } inside && NF' "$abs_top_srcdir/README.md" | plain > "$T/readme"
plain < "$T/demo" > "$T/shown"
lines=$(wc -l < "$T/readme")
if [ "$lines" -gt 10 ]; then pass "the README shows $lines lines"; else fail "the README shows too little"; fi
# Each line of the README, in this order.
missing=$(awk 'NR == FNR { want[++n] = $0; next } i < n && $0 == want[i + 1] { i++ } END { if (i < n) print want[i + 1] }' "$T/readme" "$T/shown")
is "every line of the README is really shown, in this order; missing is" "$missing" ""
[ -z "$missing" ] || sed 's/^/# /' "$T/demo"
done_testing
