#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An hour of random clients on one repository (VBACKUP_MODEL_SECONDS changes that), and the test of the test: without any
# one of the checks that the argument rests on, something goes wrong.
. "${abs_top_srcdir:?}/tests/tap.sh"
export VBACKUP_MODEL_SECONDS=${VBACKUP_MODEL_SECONDS:-3600} VBACKUP_TEST_LONG=1
out=$("$abs_top_builddir/test_repository_model" 2>&1); status=$?
printf '%s\n' "$out" | grep '^# ' | grep -v '^# skip'
is "all that was reported is there, at any time" "$status" 0
[ "$status" = 0 ] || printf '%s\n' "$out" | tail -n 20 | sed 's/^/# /'
out=$(VBACKUP_TEST_LONG='' VBACKUP_MODEL_DIR=1 VBACKUP_MODEL_SECONDS=$((VBACKUP_MODEL_SECONDS / 4)) "$abs_top_builddir/test_repository_model" 2>&1); status=$?
printf '%s\n' "$out" | grep '^# ' | grep -v '^# skip'
is "in a directory as well" "$status" 0
[ "$status" = 0 ] || printf '%s\n' "$out" | tail -n 20 | sed 's/^/# /'
done_testing
