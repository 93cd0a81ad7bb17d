#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The format is what vbackup-repository(5) says: a reader made from that page alone reads what the program wrote.
. "${abs_top_srcdir:?}/tests/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
by_hand="$abs_top_srcdir/tests/store/decode_by_hand.py"
work=$T

ok "the worked example of the man page is right" python3 "$by_hand" --example "$abs_top_srcdir/doc/vbackup-repository.5"
ok "the program writes a repository" "$abs_top_builddir/make_sample" "$work"
ok "it is read by hand" python3 "$by_hand" "$work/repo" "$work/by-hand" "correct horse"
ok "every file is the same" diff -r "$work/files" "$work/by-hand"
not_ok "not with another password" python3 "$by_hand" "$work/repo" "$work/by-guess" "correct hors"
ok "without encryption: it is read by hand" python3 "$by_hand" "$work/plain" "$work/plain-by-hand"
ok "without encryption: every file is the same" diff -r "$work/files" "$work/plain-by-hand"
like "the sample is large enough to show lists" "$(python3 "$by_hand" "$work/plain" "$work/again")" '[1-9][0-9]* of them lists'

# A repository as the first programs made it, kept since: opened for ever.
tar -xzf "$abs_top_srcdir/tests/store/format0.tar.gz" -C "$work" --one-top-level=old
ok "format 0: the program reads it" "$abs_top_builddir/make_sample" --extract "$work/old/repo" "$work/old/extracted"
ok "format 0: every file is the same" diff -r "$work/old/files" "$work/old/extracted"
ok "format 0: it is read by hand" python3 "$by_hand" "$work/old/repo" "$work/old/by-hand"
ok "format 0: every file is the same by hand" diff -r "$work/old/files" "$work/old/by-hand"
ok "format 0: another backup is added, and all is there" "$abs_top_builddir/make_sample" --append "$work/old/repo"
ok "format 0: what was added is read by hand" python3 "$by_hand" "$work/old/repo" "$work/old/newer"
# Likewise format 1, which knew no ledger.
tar -xzf "$abs_top_srcdir/tests/store/format1.tar.gz" -C "$work" --one-top-level=one
for kind in repo plain; do
    ok "format 1, $kind: the program reads it" "$abs_top_builddir/make_sample" --extract "$work/one/$kind" "$work/one/extracted-$kind"
    ok "format 1, $kind: every file is the same" diff -r "$work/one/files" "$work/one/extracted-$kind"
    ok "format 1, $kind: it is read by hand" python3 "$by_hand" "$work/one/$kind" "$work/one/by-hand-$kind" "correct horse"
    ok "format 1, $kind: every file is the same by hand" diff -r "$work/one/files" "$work/one/by-hand-$kind"
    ok "format 1, $kind: another backup is added, and all is there" "$abs_top_builddir/make_sample" --append "$work/one/$kind"
    ok "format 1, $kind: what was added is read by hand" python3 "$by_hand" "$work/one/$kind" "$work/one/newer-$kind" "correct horse"
done
done_testing
