#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
exec "$abs_top_builddir/provider_contract" live
