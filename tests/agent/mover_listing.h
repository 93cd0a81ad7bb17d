/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/mover_listing.h - everything about a tree as text: kinds, modes, owners, times, targets, extended
 * attributes, inode flags, project ids, which names are one file, where the holes are, checksums.
 */
#ifndef VB_TESTS_AGENT_MOVER_LISTING_H
#define VB_TESTS_AGENT_MOVER_LISTING_H

#include <stdbool.h>

/* One line for each entry, in the order of the names' bytes. Caller frees. Changes the working directory meanwhile. */
char *listing_of(const char *path, bool times);

#endif
