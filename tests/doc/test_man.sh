#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every man page formats without complaint, is installed, and vbackup(1) mirrors the exit table of result.h.
. "${abs_top_srcdir:?}/tests/tap.sh"
cd "$abs_top_srcdir" || bail "no source tree"

mapfile -t pages < <(find doc writers providers samples -name '*.[1-8]' -type f | sort)
[ ${#pages[@]} -gt 0 ] || skip_all "there are no man pages yet"

lint() {
    if command -v mandoc >/dev/null; then mandoc -Tlint -Wwarning "$1"
    else LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -l "$1" 2>&1 >/dev/null | { ! grep .; }
    fi
}
render() {
    if command -v mandoc >/dev/null; then mandoc -Tutf8 -Owidth=200 "$1" | sed 's/.\x08//g'
    else MANWIDTH=200 man -l "$1" | sed 's/.\x08//g'
    fi
}
if ! command -v mandoc >/dev/null && ! command -v man >/dev/null; then
    skip_all "neither mandoc nor man is installed"
fi
for page in "${pages[@]}"; do
    ok "$page formats without complaint" lint "$page"
    ok "$page is installed" grep -rqF --include=Makefile.inc "$page" .
done

if [ -f doc/vbackup.1 ]; then
    section=$(render doc/vbackup.1 | sed -n '/^EXIT STATUS/,/^[A-Z]/p' | tr -s ' \t\n' '   ')
    rows=0
    while IFS='|' read -r number text; do
        rows=$((rows + 1))
        case $section in
        *" $number $text"*) pass "vbackup(1) says of exit status $number: $text" ;;
        *) fail "vbackup(1) says of exit status $number: $text" "EXIT STATUS is: $section" ;;
        esac
    done < <(sed -n 's|^ *VB_EXIT_[A-Z]* = \([0-9]*\),* */\* \(.*\) \*/$|\1\|\2|p' include/vbackup/result.h)
    is "the exit table has nine rows" "$rows" 9
fi
done_testing
