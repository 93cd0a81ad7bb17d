/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow_script.h - scripts of `vbackup shadow run`, in the manner of DiskShadow: one command per line.
 *
 * Words are separated by blanks; double quotes hold a word together, and there are no escapes.  A line that begins with
 * '#' or `rem` says nothing.  The first words, in any case, name the command; the rest are its arguments.  The whole
 * file is checked before its first command runs: what is malformed is refused with its line.
 */
#ifndef VB_REQUESTER_SHADOW_SCRIPT_H
#define VB_REQUESTER_SHADOW_SCRIPT_H

#include "base/error.h"
#include "base/mem.h"

enum vb_script_command {
    VB_SC_SET_CONTEXT = 1, VB_SC_SET_OPTION, VB_SC_SET_VERBOSE, VB_SC_SET_METADATA, VB_SC_LOAD_METADATA,
    VB_SC_WRITER_VERIFY, VB_SC_WRITER_EXCLUDE, VB_SC_ADD_VOLUME, VB_SC_ADD_ALIAS, VB_SC_ADD,
    VB_SC_BEGIN_BACKUP, VB_SC_END_BACKUP, VB_SC_CREATE, VB_SC_EXEC, VB_SC_EXPOSE, VB_SC_UNEXPOSE, VB_SC_DELETE,
    VB_SC_LIST, VB_SC_IMPORT, VB_SC_REVERT, VB_SC_BREAK, VB_SC_RESET, VB_SC_EXIT
};

struct vb_script_line {
    unsigned number;              /* from 1 */
    enum vb_script_command command;
    struct vb_strv args;          /* as they stand, %NAME% included */
};
struct vb_script { struct vb_script_line *v; size_t n, cap; };

/* -1 with VB_E_USAGE and "line N: ..." for the first line that is malformed. */
int vb_script_parse(const void *text, size_t n, struct vb_script *out, struct vb_error *err);
void vb_script_clear(struct vb_script *s);

/* Replaces every %NAME% by its value among "NAME=VALUE"; "%%" is a percent sign.  NULL with an error for a name that is
 * not known, or a percent sign that stands alone.  Caller frees. */
char *vb_script_expand(const char *word, const struct vb_strv *aliases, struct vb_error *err);
/* Letters, digits and '_', not beginning with a digit. */
bool vb_script_name_valid(const char *name);

#endif
