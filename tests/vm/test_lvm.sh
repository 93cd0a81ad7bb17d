#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The contract of the lvm provider on real logical volumes, in the virtual machine.
exec bash "$abs_top_srcdir/tests/vm/run" --disk 1G "$abs_top_srcdir/tests/vm/guest_lvm.sh"
