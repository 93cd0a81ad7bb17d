#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Without a fault it keeps the contract as its base does.
exec "$abs_top_builddir/provider_contract" fault -o enable=yes -o base=null --original
