/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/entry_show.h - one entry of a directory, for people and as JSON; for ls, find and diff.
 */
#ifndef VB_REQUESTER_ENTRY_SHOW_H
#define VB_REQUESTER_ENTRY_SHOW_H

#include <jansson.h>
#include "store/chunk/tree.h"

char vb_entry_letter(enum vb_tree_type type); /* as ls prints it: '-', 'd', 'l' ... */
/* "-rw-r--r--"-like line without the end: type and mode, owner, group, size, time, path, target; caller frees. */
char *vb_entry_line(const char *full, const struct vb_tree_entry *e);
/* Adds everything that is known of it. */
void vb_entry_json(json_t *o, const char *full, const struct vb_tree_entry *e);

#endif
