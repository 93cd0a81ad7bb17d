#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Killed inside of every call, at its beginning and at its end, on real file systems: some minutes.
CALLS='' ALL=1
. "$abs_top_srcdir/tests/root/test_provider_kills.sh"
