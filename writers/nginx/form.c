/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/nginx/form.c - a tree as bytes and back, and words that are other ones on another host.
 *
 * Form, all numbers big endian: "VBNGINX1" | u32 roots | entries: u8 type | u32 root | u32 mode | u32 length of path |
 * u64 length of data | path | data ...
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "writers/nginx/tree.h"

#define MAGIC "VBNGINX1"
#define HEAD (sizeof MAGIC - 1 + 4)
#define ENTRY_HEAD 21u
#define PATH_LONGEST 4096u

void ngx_bytes_add(struct ngx_bytes *b, const void *p, size_t n)
{
    if (n > b->cap - b->n) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (b->p == NULL)
            abort();
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put(struct ngx_bytes *b, uint64_t v, unsigned bytes)
{
    while (bytes-- > 0) {
        const unsigned char c = (unsigned char)(v >> (8 * bytes));
        ngx_bytes_add(b, &c, 1);
    }
}

static uint64_t get(const unsigned char *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

void ngx_tree_encode(const struct ngx_tree *t, struct ngx_bytes *b)
{
    ngx_bytes_add(b, MAGIC, sizeof MAGIC - 1);
    put(b, t->roots, 4);
    for (size_t i = 0; i < t->n; i++) {
        const struct ngx_entry *e = &t->v[i];
        put(b, (unsigned char)e->type, 1);
        put(b, e->root, 4);
        put(b, e->mode, 4);
        put(b, strlen(e->path), 4);
        put(b, e->n, 8);
        ngx_bytes_add(b, e->path, strlen(e->path));
        ngx_bytes_add(b, e->data, e->n);
    }
}

/* Below the root, and nowhere else. */
static bool path_good(const char *p, size_t n)
{
    if (n == 0 || n > PATH_LONGEST || memchr(p, '\0', n) != NULL)
        return false;
    for (size_t at = 0; at <= n;) {
        size_t k = 0;
        while (at + k < n && p[at + k] != '/')
            k++;
        if (k == 0 || (k == 1 && p[at] == '.') || (k == 2 && p[at] == '.' && p[at + 1] == '.'))
            return false;
        at += k + 1;
    }
    return true;
}

/* Nothing is ever written through a link: what an entry lies in is a directory that came before it. */
static bool parent_good(const struct ngx_tree *t, unsigned root, const char *path, size_t n)
{
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n == 0)
        return true;
    n--;
    for (size_t i = t->n; i-- > 0;) {
        const struct ngx_entry *e = &t->v[i];
        if (e->type == 'D' && e->root == root && strlen(e->path) == n && memcmp(e->path, path, n) == 0)
            return true;
    }
    return false;
}

const char *ngx_tree_decode(struct ngx_tree *t, const unsigned char *p, size_t n)
{
    *t = (struct ngx_tree){ .v = NULL };
    if (n < HEAD || memcmp(p, MAGIC, sizeof MAGIC - 1) != 0)
        return "it is no configuration that this version knows";
    uint64_t roots = get(p + sizeof MAGIC - 1, 4);
    if (roots == 0 || roots > NGX_MAX_ROOTS)
        return "the number of its directories is wrong";
    t->roots = (unsigned)roots;
    for (size_t at = HEAD; at < n;) {
        if (n - at < ENTRY_HEAD)
            return "it is cut";
        const unsigned char *h = p + at;
        uint64_t root = get(h + 1, 4), path_len = get(h + 9, 4), len = get(h + 13, 8);
        at += ENTRY_HEAD;
        if (path_len > n - at || len > n - at - path_len)
            return "it is cut";
        const char *path = (const char *)p + at, *data = path + path_len;
        if ((h[0] != 'D' && h[0] != 'F' && h[0] != 'L') || root >= roots || get(h + 5, 4) > 0777 ||
            !path_good(path, (size_t)path_len) || !parent_good(t, (unsigned)root, path, (size_t)path_len) || (h[0] == 'D' && len != 0) ||
            (h[0] == 'L' && (len == 0 || len >= PATH_LONGEST || memchr(data, '\0', (size_t)len) != NULL)))
            return "an entry of it is wrong";
        if (t->n >= t->cap) {
            t->cap = t->cap > 0 ? t->cap * 2 : 64;
            t->v = reallocarray(t->v, t->cap, sizeof *t->v);
            if (t->v == NULL)
                abort();
        }
        struct ngx_entry *e = &t->v[t->n++];
        *e = (struct ngx_entry){ .type = (char)h[0], .root = (unsigned)root, .mode = (mode_t)get(h + 5, 4), .n = (size_t)len };
        e->path = vbw_printf("%.*s", (int)path_len, path);
        e->data = vbw_alloc(e->n + 1, 1);
        if (len > 0)
            memcpy(e->data, data, e->n);
        t->bytes += e->n;
        at += (size_t)(path_len + len);
    }
    return NULL;
}

/* ---- words ---- */

static char *trimmed(const char *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        n--;
    }
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
        n--;
    return vbw_printf("%.*s", (int)n, p);
}

void ngx_words_clear(struct ngx_words *w)
{
    vbw_list_clear(&w->from);
    vbw_list_clear(&w->to);
    free(w->used);
    w->used = NULL;
}

unsigned ngx_words_parse(struct ngx_words *w, const char *text)
{
    unsigned number = 1;

    *w = (struct ngx_words){ .used = NULL };
    for (const char *line = text; *line != '\0'; number++) {
        size_t n = strcspn(line, "\n");
        VBW_AUTO char *all = trimmed(line, n);
        char *arrow = strstr(all, "=>");
        line += n + (line[n] == '\n');
        if (all[0] == '\0' || all[0] == '#')
            continue;
        char *from = arrow != NULL ? trimmed(all, (size_t)(arrow - all)) : NULL;
        if (from == NULL || from[0] == '\0') {
            free(from);
            return number;
        }
        vbw_list_take(&w->from, from);
        vbw_list_take(&w->to, trimmed(arrow + 2, strlen(arrow + 2)));
    }
    w->used = vbw_alloc(w->from.n, sizeof *w->used);
    return 0;
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* 192.0.2.1 is not in 192.0.2.10, and example.org not in www.example.org; a full stop behind is. */
static bool is_whole(const char *text, size_t n, size_t at, size_t len)
{
    size_t end = at + len;

    if (word_char(text[at]) && at > 0 && (word_char(text[at - 1]) || text[at - 1] == '.'))
        return false;
    if (!word_char(text[end - 1]) || end == n)
        return true;
    return !word_char(text[end]) && !(text[end] == '.' && end + 1 < n && word_char(text[end + 1]));
}

char *ngx_words_apply(struct ngx_words *w, const char *text, size_t n, size_t *len)
{
    struct ngx_bytes b = { NULL, 0, 0 };
    bool any = false;

    for (size_t at = 0; at < n;) {
        size_t best = SIZE_MAX, best_len = 0;
        for (size_t i = 0; i < w->from.n; i++) {
            size_t k = strlen(w->from.v[i]);
            if (k > best_len && k <= n - at && memcmp(text + at, w->from.v[i], k) == 0 && is_whole(text, n, at, k)) {
                best = i;
                best_len = k;
            }
        }
        if (best == SIZE_MAX) {
            ngx_bytes_add(&b, text + at++, 1);
            continue;
        }
        ngx_bytes_add(&b, w->to.v[best], strlen(w->to.v[best]));
        at += best_len;
        any = w->used[best] = true;
    }
    *len = b.n;
    ngx_bytes_add(&b, "", 1);
    if (any)
        return (char *)b.p;
    free(b.p);
    return NULL;
}

void ngx_tree_exchange(struct ngx_tree *t, struct ngx_words *w)
{
    for (size_t i = 0; i < t->n && w->from.n > 0; i++) {
        struct ngx_entry *e = &t->v[i];
        size_t len;
        if (e->type != 'F' || e->n == 0 || memchr(e->data, '\0', e->n) != NULL || strstr(e->data, "-----BEGIN ") != NULL)
            continue;
        char *other = ngx_words_apply(w, e->data, e->n, &len);
        if (other == NULL)
            continue;
        free(e->data);
        e->data = other;
        e->n = len;
    }
}
