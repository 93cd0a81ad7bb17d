/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/support/support.c - text, configuration, time and paths for the in-box writers.
 */
#include "config.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "writers/support/support.h"

/* ---- memory ---- */

static void no_memory(void)
{
    abort();
}

char *vbw_printf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        no_memory();
    va_end(ap);
    return s;
}

char *vbw_strdup(const char *s)
{
    char *c = s != NULL ? strdup(s) : NULL;

    if (s != NULL && c == NULL)
        no_memory();
    return c;
}

void *vbw_alloc(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);

    if (p == NULL)
        no_memory();
    return p;
}

void vbw_free_ptr(void *pp)
{
    void **p = pp;

    free(*p);
    *p = NULL;
}

void vbw_list_take(struct vbw_list *l, char *s)
{
    if (l->n >= l->cap) {
        l->cap = l->cap > 0 ? l->cap * 2 : 8;
        l->v = reallocarray(l->v, l->cap, sizeof *l->v);
        if (l->v == NULL)
            no_memory();
    }
    l->v[l->n++] = s;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void vbw_list_sort(struct vbw_list *l)
{
    if (l->n > 1)
        qsort(l->v, l->n, sizeof *l->v, by_bytes);
}

void vbw_list_clear(struct vbw_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct vbw_list){ NULL, 0, 0 };
}

/* ---- failure ---- */

int vbw_fail(const struct vbw *w, enum vb_code code, const char *hint, const char *fmt, ...)
{
    VBW_AUTO char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        no_memory();
    va_end(ap);
    return w->svc->fail(w->h, code, text, hint);
}

static enum vb_code code_of_errno(int e)
{
    switch (e) {
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

int vbw_fail_errno(const struct vbw *w, int errnum, const char *hint, const char *fmt, ...)
{
    VBW_AUTO char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        no_memory();
    va_end(ap);
    return vbw_fail(w, code_of_errno(errnum), hint, "%s: %s", text, strerror(errnum));
}

/* ---- configuration ---- */

void vbw_list_option(const struct vbw *w, const char *key, struct vbw_list *l)
{
    const char *v;

    for (unsigned i = 0; (v = w->svc->option_n(w->h, key, i)) != NULL; i++)
        vbw_list_take(l, vbw_strdup(v));
}

const char *vbw_sub_option(const struct vbw *w, const char *name, const char *key)
{
    VBW_AUTO char *full = vbw_printf("%s.%s", name, key);

    return w->svc->option(w->h, full);
}

void vbw_list_sub_option(const struct vbw *w, const char *name, const char *key, struct vbw_list *l)
{
    VBW_AUTO char *full = vbw_printf("%s.%s", name, key);

    vbw_list_option(w, full, l);
}

int vbw_bool(const struct vbw *w, const char *key, const char *text, bool def, bool *v)
{
    static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off", "0" };

    *v = def;
    if (text == NULL)
        return 0;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcasecmp(text, yes[i]) == 0) {
            *v = true;
            return 0;
        }
        if (strcasecmp(text, no[i]) == 0) {
            *v = false;
            return 0;
        }
    }
    return vbw_fail(w, VB_E_CONFIG, "correct the writer's section in the configuration",
                    "'%s = %s': expected yes or no", key, text);
}

int vbw_duration_ms(const struct vbw *w, const char *key, const char *text, uint64_t def, uint64_t *v)
{
    char *end;

    *v = def;
    if (text == NULL)
        return 0;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    uint64_t unit = 0;
    if (strcmp(end, "ms") == 0)
        unit = 1;
    else if (*end == '\0' || strcmp(end, "s") == 0)
        unit = 1000;
    else if (strcmp(end, "m") == 0)
        unit = 60000;
    else if (strcmp(end, "h") == 0)
        unit = 3600000;
    if (!isdigit((unsigned char)text[0]) || errno != 0 || unit == 0 || n > UINT32_MAX)
        return vbw_fail(w, VB_E_CONFIG, "correct the writer's section in the configuration",
                        "'%s = %s': expected a duration such as 500ms, 90s or 5m", key, text);
    *v = (uint64_t)n * unit;
    return 0;
}

bool vbw_has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; p != NULL && *p != '\0';) {
        p += strspn(p, ", \t\n");
        size_t k = strcspn(p, ", \t\n");
        if (k == n && strncmp(p, word, n) == 0)
            return true;
        p += k;
    }
    return false;
}

/* ---- time ---- */

uint64_t vbw_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void vbw_nap_us(uint64_t us)
{
    struct timespec t = { (time_t)(us / 1000000u), (long)(us % 1000000u) * 1000L };

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* ---- paths ---- */

char *vbw_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);

    if (name[0] == '/')
        return vbw_strdup(name);
    return vbw_printf("%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
}

char *vbw_dirname(const char *path)
{
    char *d = vbw_clean(path), *slash = strrchr(d, '/');

    if (slash == NULL) {
        free(d);
        return vbw_strdup(".");
    }
    slash[slash == d ? 1 : 0] = '\0';
    return d;
}

const char *vbw_basename(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

char *vbw_clean(const char *path)
{
    char *out = vbw_alloc(strlen(path) + 2, 1);
    size_t n = 0;

    for (const char *p = path; *p != '\0';) {
        bool slash = *p == '/';
        while (*p == '/')
            p++;
        size_t k = strcspn(p, "/");
        if (k == 1 && p[0] == '.' && (slash || p[1] == '/')) {
            p += k; /* "/." says nothing */
            continue;
        }
        if (slash && (n == 0 || out[n - 1] != '/'))
            out[n++] = '/';
        memcpy(out + n, p, k);
        n += k;
        p += k;
    }
    if (n > 1 && out[n - 1] == '/')
        n--;
    out[n] = '\0';
    return out;
}

bool vbw_below(const char *path, const char *root)
{
    size_t n = strlen(root);

    if (strcmp(root, "/") == 0)
        return path[0] == '/';
    return strncmp(path, root, n) == 0 && (path[n] == '\0' || path[n] == '/');
}
