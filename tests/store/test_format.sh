#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The format is what vbackup-repository(5) says: a reader made from that page alone reads what the program wrote.
. "${abs_top_srcdir:?}/tests/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
by_hand="$abs_top_srcdir/tests/store/decode_by_hand.py"
work=$T

ok "the worked example of the man page is right" python3 "$by_hand" --example "$abs_top_srcdir/doc/vbackup-repository.5"
ok "the program writes a repository" "$abs_top_builddir/make_sample" "$work"
ok "it is read by hand" python3 "$by_hand" "$work/repo" "$work/by-hand"
ok "every file is the same" diff -r "$work/files" "$work/by-hand"
done_testing
