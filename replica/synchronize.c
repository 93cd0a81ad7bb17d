/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/synchronize.c - vbackup/replica.h: the synchronizer, its state, and the agent.
 *
 * What is to be sent is gathered when it is configured, so that directories come before what they hold whatever the order in
 * which they changed.  A step is a slice of it.
 */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "replica/synchronize.h"

#define STATE_FORMAT 1u
#define STEP 100u
#define KNOWN_FLAGS (VB_SYNC_UNICODE | VB_SYNC_NO_DELETIONS | VB_SYNC_NO_SOFT_DELETIONS | VB_SYNC_ASSOCIATED | VB_SYNC_NORMAL | \
                     VB_SYNC_NO_CONFLICTS | VB_SYNC_ONLY_FIELDS | VB_SYNC_CATCHUP | VB_SYNC_PROGRESS)
#define ALL_FIELDS (VB_FIELD_CONTENT | VB_FIELD_MODE | VB_FIELD_OWNER | VB_FIELD_ATTRIBUTES)

/* ---- the state ---- */

struct vb_sync_state *vb_sync_state_new(enum vb_sync_kind kind)
{
    struct vb_sync_state *s = vb_alloc(sizeof *s);
    s->kind = kind;
    s->k = vb_knowledge_new();
    return s;
}

struct vb_sync_state *vb_sync_state_load(const void *p, size_t n)
{
    const unsigned char *b = p;
    if (n < 2 || b[0] != STATE_FORMAT || (b[1] != VB_SYNC_HIERARCHY && b[1] != VB_SYNC_CONTENTS))
        return NULL;
    struct vb_knowledge *k = vb_knowledge_load(b + 2, n - 2);
    if (!k)
        return NULL;
    struct vb_sync_state *s = vb_alloc(sizeof *s);
    s->kind = (enum vb_sync_kind)b[1];
    s->k = k;
    return s;
}

void *vb_sync_state_save(const struct vb_sync_state *s, size_t *n)
{
    const unsigned char head[2] = { STATE_FORMAT, (unsigned char)s->kind };
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add(&b, head, sizeof head);
    vb_knowledge_encode(s->k, &b);
    *n = b.len;
    return vb_buf_take_str(&b);
}

void vb_sync_state_free(struct vb_sync_state *s)
{
    if (!s)
        return;
    vb_knowledge_free(s->k);
    free(s);
}

/* ---- what is to be sent ---- */

struct entry {
    struct vb_item item;
    unsigned fields;
    bool soft;          /* it left the restriction */
    const struct vb_item *from; /* it was renamed */
    bool sent;          /* together with another entry */
};

struct vb_synchronizer {
    struct vb_metadata *m;
    struct vb_synchronizer_setup set;
    struct vb_knowledge *source, *known; /* ours as of config; theirs as of the last step */
    struct entry *v;
    size_t n, cap, at;
    struct vb_strv except;  /* left out, or in conflict: not learnt */
    uint64_t total, done;
    bool configured, conflict;
    struct vb_error last;
};

struct vb_synchronizer *vb_synchronizer_open(struct vb_metadata *m)
{
    struct vb_synchronizer *x = vb_alloc(sizeof *x);
    x->m = m;
    return x;
}

static void forget_set(struct vb_synchronizer *x)
{
    for (size_t i = 0; i < x->n; i++)
        vb_item_clear(&x->v[i].item);
    free(x->v);
    x->v = NULL;
    x->n = x->cap = x->at = 0;
    x->total = x->done = 0;
    x->configured = x->conflict = false;
    vb_strv_clear(&x->except);
    vb_knowledge_free(x->source);
    vb_knowledge_free(x->known);
    x->source = x->known = NULL;
}

void vb_synchronizer_close(struct vb_synchronizer *x)
{
    if (!x)
        return;
    forget_set(x);
    vb_error_clear(&x->last);
    free(x);
}

const char *vb_synchronizer_error(const struct vb_synchronizer *x)
{
    return x->last.text ? x->last.text : "";
}

static bool is_hidden(const char *path)
{
    return path[0] == '.' || strstr(path, "/.") != NULL;
}

static bool of_kind(const struct vb_synchronizer *x, const struct vb_item *i)
{
    unsigned which = x->set.flags & (VB_SYNC_NORMAL | VB_SYNC_ASSOCIATED);
    if ((i->kind == VB_ITEM_DIR) != (x->set.state->kind == VB_SYNC_HIERARCHY))
        return false;
    return which == 0 || which == (VB_SYNC_NORMAL | VB_SYNC_ASSOCIATED) || (which == VB_SYNC_ASSOCIATED) == is_hidden(i->path);
}

static int gather_one(void *arg, const struct vb_item *i)
{
    struct vb_synchronizer *x = arg;
    struct entry e = { .fields = ALL_FIELDS };
    if (!of_kind(x, i) || (i->deleted && (x->set.flags & VB_SYNC_NO_DELETIONS))) {
        vb_strv_add(&x->except, i->path);
        return 0;
    }
    if (!i->deleted && x->set.restriction) {
        const struct vb_metadata_item v = vb_metadata_item_of(i);
        if (!x->set.restriction(x->set.restriction_arg, &v)) {
            vb_strv_add(&x->except, i->path);
            e.soft = vb_knowledge_contains(x->known, i->path, &i->created) && !(x->set.flags & VB_SYNC_NO_SOFT_DELETIONS);
            if (!e.soft)
                return 0;
        }
    }
    if (i->have_base && !memcmp(i->base, i->content, VB_HASH_LEN))
        e.fields &= ~(unsigned)VB_FIELD_CONTENT;
    e.fields &= ~x->set.without;
    if ((x->set.flags & VB_SYNC_ONLY_FIELDS) && !i->deleted && !e.soft && !(e.fields & x->set.fields))
        return 0;
    VB_GROW(x->v, x->n, x->cap);
    vb_item_copy(&e.item, i);
    x->v[x->n++] = e;
    x->total += x->set.flags & VB_SYNC_PROGRESS ? i->size : 1;
    return 0;
}

static bool goes(const struct entry *e)
{
    return e->item.deleted || e->soft;
}

/* What lives in order of path; then what goes, from below. */
static int sending_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (goes(x) != goes(y))
        return goes(x) ? 1 : -1;
    int c = strcmp(x->item.path, y->item.path);
    return goes(x) ? -c : c;
}

static int by_new_name(const void *a, const void *b)
{
    const struct entry *const *x = a, *const *y = b;
    return strcmp((*x)->item.moved_to, (*y)->item.moved_to);
}

static int name_is(const void *key, const void *b)
{
    const struct entry *const *y = b;
    return strcmp(key, (*y)->item.moved_to);
}

static void pair_renames(struct vb_synchronizer *x)
{
    struct entry **moved = vb_alloc_n(x->n ? x->n : 1, sizeof *moved);
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++)
        if (x->v[i].item.deleted && x->v[i].item.moved_to)
            moved[n++] = &x->v[i];
    if (n)
        qsort(moved, n, sizeof *moved, by_new_name);
    for (size_t i = 0; i < x->n && n && !goes(&x->v[i]); i++) {
        struct entry **e = bsearch(x->v[i].item.path, moved, n, sizeof *moved, name_is);
        if (!e || (*e)->sent)
            continue;
        x->v[i].from = &(*e)->item;
        (*e)->sent = true;
    }
    free(moved);
}

int vb_synchronizer_config(struct vb_synchronizer *x, const struct vb_synchronizer_setup *setup)
{
    struct vb_synchronizer_setup s = { .size = 0 };
    uint64_t next;
    bool last;
    memcpy(&s, setup, setup->size < sizeof s ? setup->size : sizeof s);
    vb_error_clear(&x->last);
    forget_set(x);
    if (!s.state || !s.collector)
        vb_fail(&x->last, VB_E_USAGE, "a synchronizer needs a state and a collector");
    else if (s.flags & ~(unsigned)KNOWN_FLAGS)
        vb_fail(&x->last, VB_E_NOT_SUPPORTED, "flags 0x%x are not carried over", s.flags & ~(unsigned)KNOWN_FLAGS);
    if (x->last.code != VB_OK)
        return VB_SYNC_FAILED;
    x->set = s;
    x->source = vb_replica_knowledge(x->m->store, x->m->scope, "", NULL, &x->last);
    x->known = vb_knowledge_copy(s.state->k);
    if (!x->source || vb_replica_publish(x->m->store, &x->last) < 0)
        return VB_SYNC_FAILED;
    x->configured = true;
    if (s.flags & VB_SYNC_CATCHUP)
        return VB_SYNC_DONE;
    const struct vb_changes_query q = { .known = s.state->k };
    if (vb_replica_changes(x->m->store, x->m->scope, &q, gather_one, x, &next, &last, &x->last) < 0)
        return VB_SYNC_FAILED;
    if (x->n)
        qsort(x->v, x->n, sizeof *x->v, sending_order);
    if (s.collector->import_move)
        pair_renames(x);
    return VB_SYNC_DONE;
}

/* ---- a step ---- */

static bool taken(int result)
{
    return result == VB_SYNC_DONE || result == VB_SYNC_IGNORE || result == VB_SYNC_OBJECT_DELETED || result == VB_SYNC_NEWER_HERE;
}

static int held(struct vb_synchronizer *x, int result)
{
    const struct vb_collector_ops *c = x->set.collector;
    const char *why = c->last_error ? c->last_error(x->set.collector_arg) : NULL;
    vb_fail(&x->last, VB_E_UNEXPECTED, "a step of the synchronization is held: %s", why && *why ? why : "the collector refused it");
    return result == VB_SYNC_DONE || result == VB_SYNC_MORE ? VB_SYNC_FAILED : result;
}

static int send_live(struct vb_synchronizer *x, const struct entry *e)
{
    const struct vb_collector_ops *c = x->set.collector;
    const struct vb_metadata_item v = vb_metadata_item_of(&e->item);
    if (e->from) {
        const struct vb_metadata_item from = vb_metadata_item_of(e->from);
        return c->import_move(x->set.collector_arg, &from, &v, x->source);
    }
    return c->import_change(x->set.collector_arg, &v, x->source, e->fields);
}

static int send_gone(struct vb_synchronizer *x, size_t from, size_t to, bool soft)
{
    struct vb_metadata_item *views = vb_alloc_n(to - from, sizeof *views);
    const struct vb_metadata_item **list = vb_alloc_n(to - from, sizeof *list);
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        if (!goes(&x->v[i]) || x->v[i].sent || x->v[i].soft != soft)
            continue;
        views[n] = vb_metadata_item_of(&x->v[i].item);
        list[n] = &views[n];
        n++;
    }
    int result = n ? x->set.collector->import_deletion(x->set.collector_arg, soft ? VB_SYNC_SOFT_DELETE : 0, list, n, x->source)
                   : VB_SYNC_DONE;
    free(views);
    free(list);
    return result;
}

static void learn_entry(struct vb_synchronizer *x, const struct entry *e)
{
    if (!e->soft)
        vb_knowledge_set_item(x->known, e->item.path, &e->item.changed);
    if (e->from)
        vb_knowledge_set_item(x->known, e->from->path, &e->from->changed);
}

static int one_step(struct vb_synchronizer *x)
{
    size_t to = x->at + (x->set.step ? x->set.step : STEP);
    if (to > x->n)
        to = x->n;
    bool *left = vb_alloc_n(to - x->at + 1, sizeof *left);
    int result = VB_SYNC_DONE;
    for (size_t i = x->at; i < to && taken(result); i++) {
        if (goes(&x->v[i]))
            continue;
        result = send_live(x, &x->v[i]);
        left[i - x->at] = result == VB_SYNC_CONFLICT;
        if (result == VB_SYNC_CONFLICT)
            result = VB_SYNC_DONE;
    }
    for (int soft = 0; soft < 2 && taken(result); soft++) {
        result = send_gone(x, x->at, to, soft != 0);
        for (size_t i = x->at; i < to && result == VB_SYNC_CONFLICT; i++)
            left[i - x->at] |= goes(&x->v[i]) && x->v[i].soft == (soft != 0);
        if (result == VB_SYNC_CONFLICT)
            result = VB_SYNC_DONE;
    }
    if (!taken(result)) {
        free(left);
        return held(x, result);
    }
    for (size_t i = x->at; i < to; i++) {
        x->done += x->set.flags & VB_SYNC_PROGRESS ? x->v[i].item.size : 1;
        if (!left[i - x->at]) {
            learn_entry(x, &x->v[i]);
            continue;
        }
        x->conflict = true;
        vb_strv_add(&x->except, x->v[i].item.path);
        if (x->v[i].from)
            vb_strv_add(&x->except, x->v[i].from->path);
    }
    free(left);
    x->at = to;
    return VB_SYNC_DONE;
}

int vb_synchronizer_synchronize(struct vb_synchronizer *x, uint64_t *steps, uint64_t *done)
{
    int result = x->configured ? VB_SYNC_DONE : VB_SYNC_UNSYNCHRONIZED;
    if (x->configured && x->at < x->n) {
        vb_error_clear(&x->last);
        result = one_step(x);
    }
    if (steps)
        *steps = x->total;
    if (done)
        *done = x->done;
    if (result != VB_SYNC_DONE)
        return result;
    if (x->at < x->n)
        return VB_SYNC_MORE;
    vb_knowledge_learn(x->known, x->source, (const char *const *)x->except.v, x->except.n);
    return x->conflict ? VB_SYNC_CONFLICT : VB_SYNC_DONE;
}

int vb_synchronizer_update_state(struct vb_synchronizer *x, struct vb_sync_state *other)
{
    struct vb_sync_state *to = other ? other : x->set.state;
    vb_error_clear(&x->last);
    if (!x->configured)
        return VB_SYNC_UNSYNCHRONIZED;
    if (to->kind != x->set.state->kind) {
        vb_fail(&x->last, VB_E_USAGE, "the state belongs to another kind of synchronization");
        return VB_SYNC_FAILED;
    }
    vb_knowledge_join(to->k, x->known); /* the collector of this store may have added to it */
    return VB_SYNC_DONE;
}

/* ---- the agent ---- */

struct defined {
    struct vb_synchronizer *x;
    struct vb_synchronizer_setup setup;
    struct vb_sync_state *collector_state;
    bool running;
};
struct vb_sync_agent {
    struct defined *v;
    size_t n, cap;
    void (*save)(void *arg, size_t which, const struct vb_sync_state *state);
    void *arg;
};

struct vb_sync_agent *vb_sync_agent_new(void (*save)(void *arg, size_t which, const struct vb_sync_state *state), void *arg)
{
    struct vb_sync_agent *a = vb_alloc(sizeof *a);
    a->save = save;
    a->arg = arg;
    return a;
}

void vb_sync_agent_free(struct vb_sync_agent *a)
{
    if (!a)
        return;
    free(a->v);
    free(a);
}

size_t vb_sync_agent_add(struct vb_sync_agent *a, struct vb_synchronizer *x, const struct vb_synchronizer_setup *setup,
                         struct vb_sync_state *collector_state)
{
    struct defined d = { .x = x, .collector_state = collector_state };
    memcpy(&d.setup, setup, setup->size < sizeof d.setup ? setup->size : sizeof d.setup);
    d.setup.size = sizeof d.setup;
    VB_GROW(a->v, a->n, a->cap);
    a->v[a->n] = d;
    return a->n++;
}

static int run_one(struct vb_sync_agent *a, size_t which, uint64_t max_steps)
{
    struct defined *d = &a->v[which];
    const struct vb_collector_ops *c = d->setup.collector;
    int result = VB_SYNC_DONE;
    if (!d->running) {
        result = c && c->config ? c->config(d->setup.collector_arg, d->collector_state, d->setup.flags) : VB_SYNC_DONE;
        if (result == VB_SYNC_DONE)
            result = vb_synchronizer_config(d->x, &d->setup);
        if (result != VB_SYNC_DONE)
            return result;
        d->running = true;
    }
    for (uint64_t i = 0; max_steps == 0 || i < max_steps; i++) {
        result = vb_synchronizer_synchronize(d->x, NULL, NULL);
        if (result != VB_SYNC_DONE && result != VB_SYNC_MORE && result != VB_SYNC_CONFLICT)
            break;
        int updated = vb_synchronizer_update_state(d->x, NULL);
        if (updated == VB_SYNC_DONE && c->update_state)
            updated = c->update_state(d->setup.collector_arg, NULL);
        if (updated != VB_SYNC_DONE)
            return updated;
        if (a->save)
            a->save(a->arg, which, d->setup.state);
        if (result != VB_SYNC_MORE)
            break;
    }
    d->running = result == VB_SYNC_MORE;
    return result;
}

int vb_sync_agent_run(struct vb_sync_agent *a, uint64_t max_steps)
{
    int sum = VB_SYNC_DONE;
    for (size_t i = 0; i < a->n; i++) {
        int result = run_one(a, i, max_steps);
        if (sum == VB_SYNC_DONE || (sum == VB_SYNC_MORE && result != VB_SYNC_DONE))
            sum = result;
    }
    return sum;
}
