/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/error.c - the error object. */
#include <config.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"

void vb_error_clear(struct vb_error *err)
{
    if (!err) {
        return;
    }
    int saved = errno;
    free(err->text);
    free(err->hint);
    err->text = NULL;
    err->hint = NULL;
    err->code = VB_OK;
    errno = saved;
}

/* Takes ownership of text.  The new text may have been made from the old one, so it is released last. */
static void error_set(struct vb_error *err, enum vb_code code, char *text)
{
    vb_error_clear(err);
    err->code = code;
    err->text = text;
}

int vb_fail(struct vb_error *err, enum vb_code code, const char *fmt, ...)
{
    if (!err) {
        return -1;
    }
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    error_set(err, code, text);
    errno = saved;
    return -1;
}

static enum vb_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return VB_E_NO_SPACE;
    case EACCES:
    case EPERM:
        return VB_E_ACCESS_DENIED;
    case ENOENT:
        return VB_E_NOT_FOUND;
    case EEXIST:
        return VB_E_EXISTS;
    default:
        return VB_E_IO;
    }
}

int vb_fail_errno(struct vb_error *err, int errnum, const char *fmt, ...)
{
    if (!err) {
        return -1;
    }
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    char *what = vb_vprintf(fmt, ap);
    va_end(ap);
    char *text = vb_printf("%s: %s", what, strerror(errnum));
    free(what);
    error_set(err, code_of_errno(errnum), text);
    errno = saved;
    return -1;
}

void vb_hint(struct vb_error *err, const char *fmt, ...)
{
    if (!err) {
        return;
    }
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    char *hint = vb_vprintf(fmt, ap);
    va_end(ap);
    free(err->hint);
    err->hint = hint;
    errno = saved;
}

void vb_context(struct vb_error *err, const char *fmt, ...)
{
    if (!err || !err->text) {
        return;
    }
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    char *what = vb_vprintf(fmt, ap);
    va_end(ap);
    char *text = vb_printf("%s: %s", what, err->text);
    free(what);
    free(err->text);
    err->text = text;
    errno = saved;
}

int vb_error_move(struct vb_error *to, struct vb_error *from)
{
    if (to == from || !from) {
        return -1;
    }
    if (!to) {
        vb_error_clear(from);
        return -1;
    }
    vb_error_clear(to);
    *to = *from;
    from->code = VB_OK;
    from->text = NULL;
    from->hint = NULL;
    return -1;
}

void vb_error_copy(struct vb_error *to, const struct vb_error *from)
{
    if (!to || to == from) {
        return;
    }
    vb_error_clear(to);
    if (from) {
        to->code = from->code;
        to->text = vb_strdup(from->text);
        to->hint = vb_strdup(from->hint);
    }
}

const char *vb_error_text(const struct vb_error *err)
{
    return err && err->text ? err->text : "no error";
}
