#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tests/doc/test_guide_writer.sh - the commands of doc/guide-writer.md, taken from the guide itself.
. "$abs_top_srcdir/tests/tap.sh"
guide=$abs_top_srcdir/doc/guide-writer.md
ok "samples/writer-minimal.c has less than 150 lines" test "$(wc -l <"$abs_top_srcdir/samples/writer-minimal.c")" -lt 150

# Indented lines of a section are its commands; /tmp becomes the scratch directory.
commands() {
    sed -n "/^## $1\./,/^## /s/^    //p" "$guide" | sed "s|/tmp/|$T/|g; s|cp samples/|cp $abs_top_srcdir/samples/|;
        s|\$(pkg-config --cflags vbackup)|-I$abs_top_srcdir/include|"
}
chmod 755 "$T"
cd "$T" || bail "no scratch directory"
umask 022
export VBACKUP_STATE_DIR=$T/state
unset VBACKUP_WRITER_PATH VBACKUP_CONFIG
out=$(bash -e -c "$(commands 1)" 2>&1); status=$?
is "section 1 works" "$status" 0
[ "$status" = 0 ] || printf '%s\n' "$out" | sed 's/^/# /'
like "the facts are told" "$out" 'name=minimal writer'
out=$(bash -e -c "$(commands 2)" 2>&1); status=$?
is "section 2 works" "$status" 0
[ "$status" = 0 ] || printf '%s\n' "$out" | sed 's/^/# /'
is "the note is back" "$(tail -1 <<<"$out")" hello
done_testing
