#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/sim/test_sim_long.sh - the simulation under a hundred thousand seeds that `make check` does not use.
export SIM_FROM=${SIM_FROM:-100001} SIM_SEEDS=${SIM_SEEDS:-100000}
exec "${abs_top_srcdir:?}/tests/run-unit" "${abs_top_builddir:?}/test_sim"
