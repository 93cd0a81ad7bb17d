/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/lvm/report.c - the report of `lvm lvs`, and sizes.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "providers/lvm/lvm.h"

#define MIB ((uint64_t)1 << 20)
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-"
#define NAME_MAX_LEN 127
#define MAX_ROWS 100000

/* ---- fields ---- */

static bool number(const char *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

static bool device_number(const char *p, size_t n, int *out)
{
    uint64_t v;
    *out = -1;
    if (n == 2 && !memcmp(p, "-1", 2))
        return true;
    if (!number(p, n, &v) || v > 0xfffff)
        return false;
    *out = (int)v;
    return true;
}

/* "", "7.25", "100.00" */
static bool percent(const char *p, size_t n, int *out)
{
    uint64_t whole, part;
    *out = -1;
    if (n == 0)
        return true;
    if (n < 4 || n > 6 || p[n - 3] != '.' || !number(p, n - 3, &whole) || !number(p + n - 2, 2, &part))
        return false;
    if (whole > 100 || (whole == 100 && part))
        return false;
    *out = (int)(whole * 100 + part);
    return true;
}

static bool all_of(const char *p, size_t n, const char *chars)
{
    for (size_t i = 0; i < n; i++)
        if (!p[i] || !strchr(chars, p[i]))
            return false;
    return true;
}

static bool name(const char *p, size_t n, bool may_be_empty, char **out)
{
    char *copy;
    if (n > 1 && p[0] == '[' && p[n - 1] == ']') { /* hidden ones, as lvs shows them */
        p++;
        n -= 2;
    }
    if ((n == 0 && !may_be_empty) || n > NAME_MAX_LEN || (n && p[0] == '-') || !all_of(p, n, NAME_CHARS))
        return false;
    copy = vb_ps_alloc(n + 1);
    memcpy(copy, p, n);
    *out = copy;
    return true;
}

static bool path(const char *p, size_t n, char **out)
{
    if (n && (n > 512 || n < 6 || memcmp(p, "/dev/", 5) != 0 || !all_of(p, n, NAME_CHARS "/") || memmem(p, n, "..", 2)))
        return false;
    char *copy = vb_ps_alloc(n + 1);
    memcpy(copy, p, n);
    *out = copy;
    return true;
}

static bool attributes(const char *p, size_t n, char **out)
{
    if (n != 10 || !all_of(p, n, NAME_CHARS))
        return false;
    char *copy = vb_ps_alloc(n + 1);
    memcpy(copy, p, n);
    *out = copy;
    return true;
}

/* ---- rows ---- */

static void lv_clear(struct vb_lvm_lv *v)
{
    free(v->vg);
    free(v->name);
    free(v->attr);
    free(v->origin);
    free(v->pool);
    free(v->path);
}

void vb_lvm_list_clear(struct vb_lvm_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        lv_clear(&l->v[i]);
    free(l->v);
    *l = (struct vb_lvm_list){ NULL, 0, 0 };
}

static bool row(const char *line, size_t n, struct vb_lvm_lv *v)
{
    const char *f[VB_LVM_N_COLUMNS];
    size_t len[VB_LVM_N_COLUMNS], k = 0;
    const char *p = line, *end = line + n;
    for (;;) {
        const char *bar = memchr(p, '|', (size_t)(end - p));
        if (k == VB_LVM_N_COLUMNS)
            return false;
        f[k] = p;
        len[k++] = (size_t)((bar ? bar : end) - p);
        if (!bar)
            break;
        p = bar + 1;
    }
    return k == VB_LVM_N_COLUMNS && name(f[0], len[0], false, &v->vg) && name(f[1], len[1], false, &v->name) &&
           attributes(f[2], len[2], &v->attr) && number(f[3], len[3], &v->size) &&
           name(f[4], len[4], true, &v->origin) && name(f[5], len[5], true, &v->pool) &&
           percent(f[6], len[6], &v->data) && percent(f[7], len[7], &v->metadata) &&
           device_number(f[8], len[8], &v->major) && device_number(f[9], len[9], &v->minor) &&
           number(f[10], len[10], &v->vg_free) && number(f[11], len[11], &v->extent) && v->extent > 0 &&
           path(f[12], len[12], &v->path);
}

int vb_lvm_parse(struct vb_lvm_list *l, const char *text, const char **why)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        const char *line = p;
        p += n + (p[n] == '\n');
        while (n && *line == ' ') {
            line++;
            n--;
        }
        if (n == 0)
            continue;
        struct vb_lvm_lv v = { .data = -1, .metadata = -1 };
        if (l->n == MAX_ROWS || !row(line, n, &v)) {
            lv_clear(&v);
            *why = l->n == MAX_ROWS ? "there are too many volumes" : "a line is not of the form that was asked for";
            return -1;
        }
        if (l->n == l->cap) {
            size_t cap = l->cap ? l->cap * 2 : 16;
            struct vb_lvm_lv *more = vb_ps_alloc(cap * sizeof *more);
            if (l->n)
                memcpy(more, l->v, l->n * sizeof *more);
            free(l->v);
            l->v = more;
            l->cap = cap;
        }
        l->v[l->n++] = v;
    }
    return 0;
}

const struct vb_lvm_lv *vb_lvm_by_number(const struct vb_lvm_list *l, unsigned major, unsigned minor)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].major >= 0 && (unsigned)l->v[i].major == major && (unsigned)l->v[i].minor == minor)
            return &l->v[i];
    return NULL;
}

const struct vb_lvm_lv *vb_lvm_by_name(const struct vb_lvm_list *l, const char *vg, const char *lv)
{
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->v[i].vg, vg) && !strcmp(l->v[i].name, lv))
            return &l->v[i];
    return NULL;
}

/* ---- what the attributes say (lvs(8)) ---- */

bool vb_lvm_is_thin(const struct vb_lvm_lv *lv)
{
    return lv->attr[0] == 'V' && lv->pool[0] && lv->attr[6] == 't';
}

bool vb_lvm_is_suspended(const struct vb_lvm_lv *lv)
{
    return lv->attr[4] == 's' || lv->attr[4] == 'S';
}

const char *vb_lvm_refusal(const struct vb_lvm_lv *lv)
{
    switch (lv->attr[0]) {
    case '-': case 'o': case 'm': case 'M': case 'r': case 'R': case 'C': break;
    case 'V':
        if (!vb_lvm_is_thin(lv))
            return "its kind of virtual volume cannot be snapshotted";
        break;
    case 's': case 'S': return "it is a shadow copy itself";
    case 'O': return "a shadow copy is being merged into it";
    default: return "its kind of logical volume cannot be snapshotted";
    }
    if (lv->attr[4] != 'a')
        return vb_lvm_is_suspended(lv) ? "the logical volume is suspended" : "the logical volume is not active";
    return NULL;
}

const char *vb_lvm_damage(const struct vb_lvm_lv *copy, const struct vb_lvm_lv *pool)
{
    if (copy->attr[4] == 'I' || copy->attr[4] == 'S')
        return "its change store is full, and the shadow copy is lost";
    if (!vb_lvm_is_thin(copy))
        return copy->data == 10000 ? "its change store is full, and the shadow copy is lost" : NULL;
    if (!pool)
        return "its thin pool is gone";
    switch (pool->attr[8]) {
    case 'D': return "its thin pool is out of space";
    case 'F': return "its thin pool has failed";
    case 'M': return "the thin pool's metadata are read-only";
    default: break;
    }
    if (pool->data == 10000)
        return "its thin pool is full";
    return pool->metadata == 10000 ? "the thin pool's metadata are full" : NULL;
}

/* ---- sizes ---- */

int vb_lvm_size(const char *text, uint64_t whole, uint64_t *bytes)
{
    size_t n = strspn(text, "0123456789");
    unsigned shift = 0;
    uint64_t v;
    if (!number(text, n, &v) || (text[n] && text[n + 1]))
        return -1;
    switch (text[n]) {
    case '%':
        if (v == 0 || v > 1000)
            return -1;
        *bytes = whole / 100 * v + whole % 100 * v / 100;
        return 0;
    case 0: break;
    case 'K': case 'k': shift = 10; break;
    case 'M': case 'm': shift = 20; break;
    case 'G': case 'g': shift = 30; break;
    case 'T': case 't': shift = 40; break;
    default: return -1;
    }
    return v == 0 || __builtin_mul_overflow(v, (uint64_t)1 << shift, bytes) ? -1 : 0;
}

uint64_t vb_lvm_store_least(uint64_t volume)
{
    return (volume < 500 * MIB ? 32 : 320) * MIB;
}

static uint64_t up(uint64_t v, uint64_t extent)
{
    return v > UINT64_MAX - extent ? v / extent * extent : (v + extent - 1) / extent * extent;
}

/* A store that holds every block of the volume once, with its own bookkeeping: it cannot overflow. */
static uint64_t store_most(uint64_t volume, uint64_t extent)
{
    return up(volume + volume / 100 + extent, extent);
}

uint64_t vb_lvm_store(const char *option, uint64_t volume, uint64_t extent, uint64_t free, const char **why)
{
    uint64_t most = store_most(volume, extent), least = up(vb_lvm_store_least(volume), extent), want = 0;
    if (least > most)
        least = most;
    if (option && vb_lvm_size(option, volume, &want) < 0) {
        *why = "'change-store' is neither a size (512M, 2G) nor a share (15%)";
        return 0;
    }
    if (option) {
        want = up(want, extent);
        least = want < most ? want : most; /* who names a size gets it or is told */
    } else {
        want = up(volume / 10, extent);
        want = want < least ? least : want;
    }
    if (want > most)
        want = most;
    if (want > free / extent * extent)
        want = free / extent * extent;
    if (want < least) {
        *why = "the volume group has too little free space for the change store";
        return 0;
    }
    return want;
}

uint64_t vb_lvm_grow(const char *max_option, const struct vb_lvm_lv *copy, uint64_t volume)
{
    uint64_t most = store_most(volume, copy->extent), max = most, step;
    if (copy->data < 7500)
        return 0;
    if (max_option && vb_lvm_size(max_option, volume, &max) == 0 && max > most)
        max = most;
    step = copy->size / 2 > 2 * copy->extent ? up(copy->size / 2, copy->extent) : 2 * copy->extent;
    if (step > copy->vg_free)
        step = copy->vg_free / copy->extent * copy->extent;
    if (max <= copy->size)
        return 0;
    max = (max - copy->size) / copy->extent * copy->extent;
    return step < max ? step : max;
}
