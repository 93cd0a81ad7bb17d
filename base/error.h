/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/error.h - one error object, handed up by out-parameter.
 *
 * A function that can fail returns 0 or -1 (or NULL for a pointer) and takes `struct vb_error *err`
 * last.  The object is untouched on success; callers that do not care pass NULL.  It holds
 *
 *   code   what may the caller do (include/vbackup/result.h)
 *   text   one line: lower case, no full stop, subject in single quotes, what failed first, then why
 *   hint   one sentence that tells the user what to do next, or NULL
 *
 * A lower message is never overwritten: callers add what they know with vb_context().
 */
#ifndef VB_BASE_ERROR_H
#define VB_BASE_ERROR_H

#include "vbackup/result.h"

struct vb_error {
    enum vb_code code;
    char *text; /* owned; NULL while there is no error */
    char *hint; /* owned; may be NULL */
};

#define VB_ERROR_INIT { VB_OK, NULL, NULL }

/* Releases the strings and returns the object to VB_ERROR_INIT.  Clearing twice is harmless. */
void vb_error_clear(struct vb_error *err);
#define VB_AUTO_ERROR __attribute__((cleanup(vb_error_clear))) struct vb_error

/* Sets the error (an earlier one in *err is released) and returns -1, so that callers can
 * `return vb_fail(...)`.  With err == NULL only returns -1.  errno is preserved. */
int vb_fail(struct vb_error *err, enum vb_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As vb_fail, with ": <text of errnum>" appended; the code is derived from errnum (ENOSPC and EDQUOT:
 * VB_E_NO_SPACE, EACCES/EPERM: VB_E_ACCESS_DENIED, ENOENT: VB_E_NOT_FOUND, EEXIST: VB_E_EXISTS,
 * otherwise VB_E_IO). */
int vb_fail_errno(struct vb_error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets the hint of an error that is already set; the earlier hint is replaced.  NULL err: no-op. */
void vb_hint(struct vb_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prepends "<context>: " to the text of an error that is already set. */
void vb_context(struct vb_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Moves *from to *to (if to is not NULL; otherwise releases it).  Returns -1. */
int vb_error_move(struct vb_error *to, struct vb_error *from);

/* Copies; *to is released first. */
void vb_error_copy(struct vb_error *to, const struct vb_error *from);

/* The text, or "no error"; never NULL. */
const char *vb_error_text(const struct vb_error *err);

#endif
