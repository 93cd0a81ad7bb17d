#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# test_repository_damage with every bit of every byte and every length.
VBACKUP_TEST_LONG=1 exec "$abs_top_builddir/test_repository_damage"
