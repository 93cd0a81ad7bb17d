/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/knowledge.c - which versions a replica has seen: sorted vectors, compared by merging. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tracking/knowledge.h"

struct vector { /* ascending by replica */
    struct vb_version *v;
    size_t n, cap;
};
struct entry {
    char *item;
    struct vector ticks;
};
struct vb_knowledge {
    struct vector main;
    struct entry *items; /* ascending by item; only what differs from main, after fold() */
    size_t n, cap;
};

int vb_replica_id_compare(const struct vb_replica_id *a, const struct vb_replica_id *b)
{
    return memcmp(a->b, b->b, sizeof a->b);
}

bool vb_replica_id_is_none(const struct vb_replica_id *id)
{
    static const struct vb_replica_id none;
    return vb_replica_id_compare(id, &none) == 0;
}

void vb_replica_id_hex(const struct vb_replica_id *id, char out[2 * VB_REPLICA_ID_LEN + 1])
{
    for (size_t i = 0; i < VB_REPLICA_ID_LEN; i++) {
        out[2 * i] = "0123456789abcdef"[id->b[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[id->b[i] & 15];
    }
    out[2 * VB_REPLICA_ID_LEN] = 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool vb_replica_id_parse(const char *hex, struct vb_replica_id *out)
{
    if (strlen(hex) != 2 * VB_REPLICA_ID_LEN)
        return false;
    for (size_t i = 0; i < VB_REPLICA_ID_LEN; i++) {
        int hi = digit(hex[2 * i]), lo = digit(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        out->b[i] = (unsigned char)(hi << 4 | lo);
    }
    return true;
}

bool vb_version_equal(const struct vb_version *a, const struct vb_version *b)
{
    return a->tick == b->tick && vb_replica_id_compare(&a->replica, &b->replica) == 0;
}

/* ---- vectors ---- */

/* Where the replica is or belongs. */
static size_t vector_find(const struct vector *l, const struct vb_replica_id *id, bool *there)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = vb_replica_id_compare(&l->v[mid].replica, id);
        if (c == 0) {
            *there = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *there = false;
    return lo;
}

static const struct vb_version *vector_get(const struct vector *l, const struct vb_replica_id *id)
{
    bool there;
    size_t at = vector_find(l, id, &there);
    return there ? &l->v[at] : NULL;
}

static void vector_set(struct vector *l, const struct vb_version *v)
{
    bool there;
    size_t at = vector_find(l, &v->replica, &there);
    if (!there) {
        VB_GROW(l->v, l->n, l->cap);
        memmove(&l->v[at + 1], &l->v[at], (l->n - at) * sizeof *l->v);
        l->n++;
    }
    l->v[at] = *v;
}

static void vector_copy(struct vector *to, const struct vector *from)
{
    *to = (struct vector){ .n = from->n, .cap = from->n };
    to->v = from->n ? vb_memdup(from->v, from->n * sizeof *from->v) : NULL;
}

/* ---- items ---- */

static size_t item_find(const struct vb_knowledge *k, const char *item, bool *there)
{
    size_t lo = 0, hi = k->n;
    if (k->n && strcmp(k->items[k->n - 1].item, item) < 0) { /* in order of path, as they are loaded and applied */
        *there = false;
        return k->n;
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(k->items[mid].item, item);
        if (c == 0) {
            *there = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *there = false;
    return lo;
}

static const struct entry *item_get(const struct vb_knowledge *k, const char *item)
{
    bool there;
    size_t at = item_find(k, item, &there);
    return there ? &k->items[at] : NULL;
}

static struct entry *item_add(struct vb_knowledge *k, const char *item)
{
    bool there;
    size_t at = item_find(k, item, &there);
    if (!there) {
        VB_GROW(k->items, k->n, k->cap);
        memmove(&k->items[at + 1], &k->items[at], (k->n - at) * sizeof *k->items);
        k->items[at] = (struct entry){ .item = vb_strdup(item) };
        k->n++;
    }
    return &k->items[at];
}

static uint64_t main_tick(const struct vb_knowledge *k, const struct vb_replica_id *id)
{
    const struct vb_version *v = vector_get(&k->main, id);
    return v ? v->tick : 0;
}

static uint64_t entry_tick(const struct vb_knowledge *k, const struct entry *e, const struct vb_replica_id *id)
{
    const struct vb_version *v = e ? vector_get(&e->ticks, id) : NULL;
    return v ? v->tick : main_tick(k, id);
}

/* Drops what the main entries say already, so that equal knowledge has equal form. */
static void fold(struct vb_knowledge *k)
{
    size_t items = 0;
    for (size_t i = 0; i < k->n; i++) {
        struct entry *e = &k->items[i];
        size_t n = 0;
        for (size_t j = 0; j < e->ticks.n; j++)
            if (e->ticks.v[j].tick != main_tick(k, &e->ticks.v[j].replica))
                e->ticks.v[n++] = e->ticks.v[j];
        e->ticks.n = n;
        if (n) {
            k->items[items++] = *e;
        } else {
            free(e->item);
            free(e->ticks.v);
        }
    }
    k->n = items;
}

/* ---- life ---- */

struct vb_knowledge *vb_knowledge_new(void)
{
    return vb_alloc(sizeof(struct vb_knowledge));
}

void vb_knowledge_free(struct vb_knowledge *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++) {
        free(k->items[i].item);
        free(k->items[i].ticks.v);
    }
    free(k->items);
    free(k->main.v);
    free(k);
}

void vb_knowledge_free_ptr(struct vb_knowledge **k)
{
    vb_knowledge_free(*k);
    *k = NULL;
}

struct vb_knowledge *vb_knowledge_copy(const struct vb_knowledge *k)
{
    struct vb_knowledge *c = vb_knowledge_new();
    vector_copy(&c->main, &k->main);
    c->n = c->cap = k->n;
    c->items = k->n ? vb_alloc_n(k->n, sizeof *c->items) : NULL;
    for (size_t i = 0; i < k->n; i++) {
        c->items[i].item = vb_strdup(k->items[i].item);
        vector_copy(&c->items[i].ticks, &k->items[i].ticks);
    }
    return c;
}

/* ---- questions ---- */

uint64_t vb_knowledge_tick(const struct vb_knowledge *k, const struct vb_replica_id *replica)
{
    return main_tick(k, replica);
}

uint64_t vb_knowledge_item_tick(const struct vb_knowledge *k, const char *item, const struct vb_replica_id *replica)
{
    return entry_tick(k, item_get(k, item), replica);
}

bool vb_knowledge_contains(const struct vb_knowledge *k, const char *item, const struct vb_version *v)
{
    return v->tick <= vb_knowledge_item_tick(k, item, &v->replica);
}

bool vb_knowledge_is_empty(const struct vb_knowledge *k)
{
    if (k->main.n)
        return false;
    for (size_t i = 0; i < k->n; i++)
        for (size_t j = 0; j < k->items[i].ticks.n; j++)
            if (k->items[i].ticks.v[j].tick)
                return false;
    return true;
}

/* Of one item: what `b` has of the replicas in `l` beyond what `a` has. */
static bool beyond(const struct vb_knowledge *a, const struct entry *ea, const struct vb_knowledge *b, const struct entry *eb,
                   const struct vector *l, struct vb_version *v)
{
    for (size_t i = 0; i < l->n; i++) {
        uint64_t has = entry_tick(b, eb, &l->v[i].replica);
        if (has > entry_tick(a, ea, &l->v[i].replica)) {
            *v = (struct vb_version){ l->v[i].replica, has };
            return true;
        }
    }
    return false;
}

bool vb_knowledge_missing(const struct vb_knowledge *k, const struct vb_knowledge *other, const char **item,
                          struct vb_version *v)
{
    *item = NULL;
    if (beyond(k, NULL, other, NULL, &other->main, v))
        return true;
    for (size_t i = 0, j = 0; i < k->n || j < other->n;) {
        int c = i == k->n ? 1 : j == other->n ? -1 : strcmp(k->items[i].item, other->items[j].item);
        const struct entry *mine = c <= 0 ? &k->items[i++] : NULL;
        const struct entry *its = c >= 0 ? &other->items[j++] : NULL;
        if ((mine && beyond(k, mine, other, its, &mine->ticks, v)) || (its && beyond(k, mine, other, its, &its->ticks, v))) {
            *item = mine ? mine->item : its->item;
            return true;
        }
    }
    return false;
}

bool vb_knowledge_covers(const struct vb_knowledge *k, const struct vb_knowledge *other)
{
    const char *item;
    struct vb_version v;
    return !vb_knowledge_missing(k, other, &item, &v);
}

bool vb_knowledge_equal(const struct vb_knowledge *a, const struct vb_knowledge *b)
{
    return vb_knowledge_covers(a, b) && vb_knowledge_covers(b, a);
}

/* ---- changes ---- */

void vb_knowledge_raise(struct vb_knowledge *k, const struct vb_version *v)
{
    if (v->tick > main_tick(k, &v->replica)) {
        /* An item without an entry of its own follows the main one; those with one keep it, but never below what the
         * main entry says they were known for: a lower entry stays lower on purpose. */
        vector_set(&k->main, v);
        fold(k);
    }
}

void vb_knowledge_set_item(struct vb_knowledge *k, const char *item, const struct vb_version *v)
{
    bool there;
    size_t at = item_find(k, item, &there);
    if (v->tick == main_tick(k, &v->replica) && !there)
        return;
    vector_set(&item_add(k, item)->ticks, v);
    if (v->tick == main_tick(k, &v->replica)) {
        struct entry *e = &k->items[at];
        size_t i = vector_find(&e->ticks, &v->replica, &there);
        memmove(&e->ticks.v[i], &e->ticks.v[i + 1], (--e->ticks.n - i) * sizeof *e->ticks.v);
        if (!e->ticks.n) {
            free(e->item);
            free(e->ticks.v);
            memmove(e, e + 1, (--k->n - at) * sizeof *e);
        }
    }
}

/* Gives `item` of `to` the higher of what a and b know, for each replica that any of the vectors names. */
static void take_higher(struct vb_knowledge *to, const char *item, const struct vb_knowledge *a, const struct entry *ea,
                        const struct vb_knowledge *b, const struct entry *eb)
{
    const struct vector *const lists[] = { ea ? &ea->ticks : NULL, eb ? &eb->ticks : NULL };
    for (size_t l = 0; l < VB_COUNT(lists); l++)
        for (size_t i = 0; lists[l] && i < lists[l]->n; i++) {
            const struct vb_replica_id *id = &lists[l]->v[i].replica;
            uint64_t x = entry_tick(a, ea, id), y = entry_tick(b, eb, id);
            vb_knowledge_set_item(to, item, &(struct vb_version){ *id, x > y ? x : y });
        }
}

void vb_knowledge_join(struct vb_knowledge *k, const struct vb_knowledge *other)
{
    struct vb_knowledge *sum = vb_knowledge_new();
    vector_copy(&sum->main, &k->main);
    for (size_t i = 0; i < other->main.n; i++)
        if (other->main.v[i].tick > main_tick(sum, &other->main.v[i].replica))
            vector_set(&sum->main, &other->main.v[i]);
    for (size_t i = 0, j = 0; i < k->n || j < other->n;) {
        int c = i == k->n ? 1 : j == other->n ? -1 : strcmp(k->items[i].item, other->items[j].item);
        const struct entry *mine = c <= 0 ? &k->items[i++] : NULL;
        const struct entry *its = c >= 0 ? &other->items[j++] : NULL;
        take_higher(sum, mine ? mine->item : its->item, k, mine, other, its);
    }
    struct vb_knowledge old = *k;
    *k = *sum;
    *sum = old;
    vb_knowledge_free(sum);
}

struct vb_knowledge *vb_knowledge_project(const struct vb_knowledge *k, const char *const *items, size_t n)
{
    struct vb_knowledge *p = vb_knowledge_new();
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = item_get(k, items[i]);
        for (size_t j = 0; j < k->main.n; j++)
            vb_knowledge_set_item(p, items[i], &(struct vb_version){ k->main.v[j].replica,
                                                                     entry_tick(k, e, &k->main.v[j].replica) });
        for (size_t j = 0; e && j < e->ticks.n; j++)
            vb_knowledge_set_item(p, items[i], &e->ticks.v[j]);
    }
    return p;
}

void vb_knowledge_learn(struct vb_knowledge *k, const struct vb_knowledge *other, const char *const *except, size_t n)
{
    VB_AUTO_KNOWLEDGE *before = n ? vb_knowledge_copy(k) : NULL;
    vb_knowledge_join(k, other);
    for (size_t i = 0; i < n; i++) {
        const struct entry *had = item_get(before, except[i]);
        const struct entry *now = item_get(k, except[i]);
        struct vector named;
        vector_copy(&named, &k->main);
        for (size_t j = 0; now && j < now->ticks.n; j++)
            vector_set(&named, &now->ticks.v[j]);
        for (size_t j = 0; j < named.n; j++)
            vb_knowledge_set_item(k, except[i], &(struct vb_version){ named.v[j].replica,
                                                                      entry_tick(before, had, &named.v[j].replica) });
        free(named.v);
    }
}

int vb_knowledge_each(const struct vb_knowledge *k,
                      int (*fn)(void *arg, const char *item, const struct vb_version *v), void *arg)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->main.n; i++)
        r = fn(arg, NULL, &k->main.v[i]);
    for (size_t i = 0; i < k->n; i++)
        for (size_t j = 0; r == 0 && j < k->items[i].ticks.n; j++)
            r = fn(arg, k->items[i].item, &k->items[i].ticks.v[j]);
    return r;
}

/* ---- bytes ---- */

#define FORM 1
#define VERSION_BYTES (VB_REPLICA_ID_LEN + 8)

static void put_version(struct vb_buf *out, const struct vb_version *v)
{
    vb_buf_add(out, v->replica.b, sizeof v->replica.b);
    vb_buf_add_u64(out, v->tick);
}

void vb_knowledge_encode(const struct vb_knowledge *k, struct vb_buf *out)
{
    vb_buf_add_u8(out, FORM);
    vb_buf_add_u32(out, (uint32_t)k->main.n);
    for (size_t i = 0; i < k->main.n; i++)
        put_version(out, &k->main.v[i]);
    vb_buf_add_u32(out, (uint32_t)k->n);
    for (size_t i = 0; i < k->n; i++) {
        size_t len = strlen(k->items[i].item);
        vb_buf_add_u32(out, (uint32_t)len);
        vb_buf_add(out, k->items[i].item, len);
        vb_buf_add_u16(out, (uint16_t)k->items[i].ticks.n);
        for (size_t j = 0; j < k->items[i].ticks.n; j++)
            put_version(out, &k->items[i].ticks.v[j]);
    }
}

static bool get_vector(struct vb_reader *r, uint32_t n, struct vector *l)
{
    const unsigned char *p;
    if (n > r->left / VERSION_BYTES)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct vb_version v;
        if (!vb_get_bytes(r, VB_REPLICA_ID_LEN, &p) || !vb_get_u64(r, &v.tick))
            return false;
        memcpy(v.replica.b, p, VB_REPLICA_ID_LEN);
        if (vb_replica_id_is_none(&v.replica) || (i && vb_replica_id_compare(&l->v[i - 1].replica, &v.replica) >= 0))
            return false;
        VB_GROW(l->v, l->n, l->cap);
        l->v[l->n++] = v;
    }
    return true;
}

static bool get_item(struct vb_reader *r, struct vb_knowledge *k)
{
    uint32_t len;
    uint16_t n;
    const unsigned char *p;
    if (!vb_get_u32(r, &len) || len == 0 || len > VB_ITEM_PATH_MAX || !vb_get_bytes(r, len, &p) || memchr(p, 0, len))
        return false;
    VB_GROW(k->items, k->n, k->cap);
    struct entry *e = &k->items[k->n++];
    *e = (struct entry){ .item = vb_strndup((const char *)p, len) };
    if (k->n > 1 && strcmp(e[-1].item, e->item) >= 0)
        return false;
    if (!vb_get_u16(r, &n) || n == 0 || !get_vector(r, n, &e->ticks))
        return false;
    for (size_t i = 0; i < e->ticks.n; i++)
        if (e->ticks.v[i].tick == main_tick(k, &e->ticks.v[i].replica))
            return false;
    return true;
}

struct vb_knowledge *vb_knowledge_decode(const void *p, size_t n, struct vb_error *err)
{
    struct vb_reader r;
    uint8_t form;
    uint32_t count;
    vb_reader_init(&r, p, n);
    if (!vb_get_u8(&r, &form) || form != FORM) {
        vb_fail(err, n ? VB_E_NEWER_FORMAT : VB_E_CORRUPT, "knowledge: form %d, this program reads form %d",
                n ? ((const unsigned char *)p)[0] : 0, FORM);
        return NULL;
    }
    struct vb_knowledge *k = vb_knowledge_new();
    bool ok = vb_get_u32(&r, &count) && get_vector(&r, count, &k->main);
    for (size_t i = 0; ok && i < k->main.n; i++)
        ok = k->main.v[i].tick != 0;
    ok = ok && vb_get_u32(&r, &count);
    for (uint32_t i = 0; ok && i < count; i++)
        ok = get_item(&r, k);
    if (ok && r.left == 0)
        return k;
    vb_fail(err, VB_E_CORRUPT, "knowledge: broken off or not in its form at byte %zu of %zu", n - r.left, n);
    vb_knowledge_free(k);
    return NULL;
}
