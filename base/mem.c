/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/mem.c - allocation that never returns NULL, and scope cleanup. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

static void die_no_memory(void) __attribute__((noreturn));
static void die_no_memory(void)
{
    static const char line[] = "vbackup: memory exhausted\n";
    ssize_t r = write(STDERR_FILENO, line, sizeof line - 1);
    (void)r;
    abort();
}

void *vb_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p) {
        die_no_memory();
    }
    return p;
}

void *vb_alloc_n(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) {
        die_no_memory();
    }
    return p;
}

void *vb_realloc_n(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        die_no_memory();
    }
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q) {
        die_no_memory();
    }
    return q;
}

char *vb_strdup(const char *s)
{
    return s ? vb_memdup(s, strlen(s) + 1) : NULL;
}

char *vb_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = vb_alloc_n(len + 1, 1);
    memcpy(p, s, len);
    return p;
}

void *vb_memdup(const void *p, size_t n)
{
    void *q = malloc(n ? n : 1); /* not zeroed first: chunks of files are copied here */
    if (!q) {
        die_no_memory();
    }
    if (n) {
        memcpy(q, p, n);
    }
    return q;
}

char *vb_vprintf(const char *fmt, va_list ap)
{
    char *s = NULL;
    if (vasprintf(&s, fmt, ap) < 0 || !s) {
        die_no_memory();
    }
    return s;
}

char *vb_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = vb_vprintf(fmt, ap);
    va_end(ap);
    return s;
}

void vb_free_ptr(void *pp)
{
    int saved = errno;
    void *p;
    memcpy(&p, pp, sizeof p); /* pp points to some other pointer type: no aliasing */
    free(p);
    memset(pp, 0, sizeof p);
    errno = saved;
}

void vb_close_fd(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        *fd = -1;
        errno = saved;
    }
}

void vb_close_file(void *fpp)
{
    FILE *f;
    memcpy(&f, fpp, sizeof f);
    if (f) {
        int saved = errno;
        fclose(f);
        memset(fpp, 0, sizeof f);
        errno = saved;
    }
}

void vb_close_dir(void *dpp)
{
    DIR *d;
    memcpy(&d, dpp, sizeof d);
    if (d) {
        int saved = errno;
        closedir(d);
        memset(dpp, 0, sizeof d);
        errno = saved;
    }
}

void vb_strv_take(struct vb_strv *l, char *s)
{
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = s;
}

void vb_strv_add(struct vb_strv *l, const char *s)
{
    vb_strv_take(l, vb_strdup(s));
}

bool vb_strv_has(const struct vb_strv *l, const char *s)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->v[i], s) == 0) {
            return true;
        }
    }
    return false;
}

static int cmp_str(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void vb_strv_sort(struct vb_strv *l)
{
    if (l->n > 1) {
        qsort(l->v, l->n, sizeof *l->v, cmp_str);
    }
}

void vb_strv_clear(struct vb_strv *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i]);
    }
    free(l->v);
    l->v = NULL;
    l->n = 0;
    l->cap = 0;
}

void vb_wipe(void *p, size_t n)
{
    if (n) {
        explicit_bzero(p, n);
    }
}

void vb_heap_keep(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
}
