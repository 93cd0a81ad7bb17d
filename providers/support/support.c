/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/support.c - failures, memory, and the hidden directory on the file system.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "providers/support/support.h"

void *vb_ps_alloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) {
        static const char text[] = "vbackup provider: out of memory\n";
        if (write(2, text, sizeof text - 1) < 0)
            abort();
        abort();
    }
    return p;
}

char *vb_ps_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(vb_ps_alloc(n), s, n);
}

static char *format(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
static char *format(const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    size_t size = n < 0 ? 1 : (size_t)n + 1;
    char *s = vb_ps_alloc(size);
    if (n > 0)
        vsnprintf(s, size, fmt, ap);
    return s;
}

char *vb_ps_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = format(fmt, ap);
    va_end(ap);
    return s;
}

int vb_ps_fail(const struct vb_ps *s, enum vb_code code, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    s->svc->fail(s->host, code, text, hint);
    free(text);
    return -1;
}

int vb_ps_fail_errno(const struct vb_ps *s, int errnum, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    enum vb_code code = errnum == ENOSPC || errnum == EDQUOT  ? VB_E_INSUFFICIENT_STORAGE
                        : errnum == EACCES || errnum == EPERM ? VB_E_ACCESS_DENIED
                        : errnum == ENOENT                    ? VB_E_OBJECT_NOT_FOUND
                                                              : VB_E_PROVIDER_VETO;
    vb_ps_fail(s, code, hint, "%s: %s", text, strerror(errnum));
    free(text);
    return -1;
}

bool vb_ps_below(const char *path, const char *root)
{
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    if (n == 1 && root[0] == '/')
        return path[0] == '/';
    return !strncmp(path, root, n) && (path[n] == 0 || path[n] == '/');
}

char *vb_ps_place_in(const char *dir)
{
    return vb_ps_printf("%s/%s", strcmp(dir, "/") ? dir : "", VB_PLACE);
}

/* A directory that somebody else made under our name is not used: he could swap what we put there. */
int vb_ps_place_open(const struct vb_ps *s, const char *dir)
{
    struct stat st, top;
    char *place = vb_ps_place_in(dir);
    bool made = stat(dir, &top) == 0 && mkdir(place, 0700) == 0;
    int fd = open(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        vb_ps_fail_errno(s, errno, "Give [provider NAME] place = DIR, a directory on the same file system.",
                         "directory '%s' for shadow copies cannot be made", place);
    } else if (st.st_uid != geteuid() || (st.st_mode & 022)) {
        vb_ps_fail(s, VB_E_ACCESS_DENIED, "Remove it, or give another place.",
                   "directory '%s' does not belong to this user alone", place);
    } else {
        fsetxattr(fd, VB_PLACE_MARK, "1", 1, 0);
        if (made) { /* we are no change of the user's data */
            struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, top.st_mtim };
            utimensat(AT_FDCWD, dir, t, 0);
        }
        free(place);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    free(place);
    return -1;
}

void vb_ps_place_leave(const char *dir_of_shadow_copy)
{
    struct stat top;
    char *place = vb_ps_strdup(dir_of_shadow_copy);
    char *slash = strrchr(place, '/');
    if (slash && slash != place) {
        *slash = 0; /* the place */
        char *up = vb_ps_strdup(place);
        char *cut = strrchr(up, '/');
        if (cut && !strcmp(cut + 1, VB_PLACE)) {
            cut[cut == up ? 1 : 0] = 0;
            bool known = stat(up, &top) == 0;
            if (rmdir(place) == 0 && known) {
                struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, top.st_mtim };
                utimensat(AT_FDCWD, up, t, 0);
            }
        }
        free(up);
    }
    free(place);
}
