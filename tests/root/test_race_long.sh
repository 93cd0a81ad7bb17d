#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# test_race.sh for two hours: six attacks on two file systems, ten minutes each.
RACE_MS=${RACE_MS:-600000} exec bash "$abs_top_srcdir/tests/root/test_race.sh"
