/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/extension.c - see extension.h. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "replica/extension.h"
#include "vbackup/writer.h"
#include "wire/protocol.h"

enum phase { P_LIST = 0, P_SIGN, P_SEND, P_LOAD, P_CORE, P_FINISH, P_FINISHED, P_FAILED };

struct pair {            /* one writer on one target */
    bool present, differs;
    uint64_t calls;      /* there */
};
struct target {
    enum phase phase;
    size_t at;           /* writer of the phase */
    bool busy;           /* something of it was begun */
    struct pair *of;     /* by writer */
    struct vb_error why;
};
struct source {
    struct vb_ext_writer w;
    bool is_signed, serialized;
    unsigned calls;      /* under way */
    bool serializing;
    struct vb_buf signature;
};

struct vb_ext_driver {
    struct vb_ext_options o;
    struct source *writers;
    struct target *targets;
    size_t n_writers, n_targets;
    bool ended;
    struct vb_error why;
};

struct vb_ext_driver *vb_ext_driver_new(const struct vb_ext_writer *w, size_t n_writers, size_t n_targets,
                                        const struct vb_ext_options *o)
{
    struct vb_ext_driver *d = vb_alloc(sizeof *d);
    d->o = o ? *o : (struct vb_ext_options){ .dry_run = false };
    d->n_writers = n_writers;
    d->n_targets = n_targets;
    d->writers = vb_alloc_n(n_writers ? n_writers : 1, sizeof *d->writers);
    d->targets = vb_alloc_n(n_targets ? n_targets : 1, sizeof *d->targets);
    for (size_t i = 0; i < n_writers; i++)
        d->writers[i].w = w[i];
    for (size_t t = 0; t < n_targets; t++)
        d->targets[t].of = vb_alloc_n(n_writers ? n_writers : 1, sizeof *d->targets[t].of);
    return d;
}

void vb_ext_driver_free(struct vb_ext_driver *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_writers; i++)
        vb_buf_clear(&d->writers[i].signature);
    for (size_t t = 0; t < d->n_targets; t++) {
        free(d->targets[t].of);
        vb_error_clear(&d->targets[t].why);
    }
    free(d->writers);
    free(d->targets);
    vb_error_clear(&d->why);
    free(d);
}

static bool has(uint64_t calls, enum vb_repl_call c)
{
    return (calls & (UINT64_C(1) << c)) != 0;
}

static bool over(const struct target *t)
{
    return t->phase >= P_FINISHED;
}

/* ---- what is due ---- */

/* An instance is called by one at a time, unless it says that it bears more (DSN-41). */
static bool source_free(const struct source *s)
{
    return s->calls == 0 || (s->w.flags & VB_REPLICATION_THREAD_SAFE) != 0;
}

static enum vb_ext_turn begin(struct vb_ext_driver *d, size_t t, enum vb_ext_kind kind, size_t writer, struct vb_ext_action *a)
{
    bool at_source = kind == VB_EXT_SOURCE_SIGNATURE || kind == VB_EXT_SERIALIZE || kind == VB_EXT_PROPAGATE || kind == VB_EXT_PROPAGATE2;
    if (at_source && !source_free(&d->writers[writer]))
        return VB_EXT_WAIT;
    *a = (struct vb_ext_action){ .kind = kind, .target = t, .writer = writer };
    if (kind != VB_EXT_LIST && kind != VB_EXT_CORE)
        a->differs = d->targets[t].of[writer].differs;
    d->targets[t].busy = true;
    d->writers[writer].calls += at_source;
    d->writers[writer].serializing = d->writers[writer].serializing || kind == VB_EXT_SERIALIZE;
    return VB_EXT_DO;
}

/* The payload of one writer for one target, once for all of them, then the word to this target. */
static enum vb_ext_turn send_one(struct vb_ext_driver *d, size_t t, bool *advance, struct vb_ext_action *a)
{
    struct target *x = &d->targets[t];
    struct source *s = &d->writers[x->at];
    *advance = false;
    if (!x->of[x->at].present || !x->of[x->at].differs) {
        *advance = true;
        return VB_EXT_WAIT;
    }
    if (has(s->w.calls, VB_REPL_SERIALIZE) && !s->serialized)
        return s->serializing ? VB_EXT_WAIT : begin(d, t, VB_EXT_SERIALIZE, x->at, a);
    if (has(s->w.calls, VB_REPL_PROPAGATE))
        return begin(d, t, VB_EXT_PROPAGATE, x->at, a);
    *advance = true;
    return VB_EXT_WAIT;
}

static bool skips(const struct vb_ext_driver *d, const struct target *x)
{
    const struct pair *p = &x->of[x->at];
    const struct source *s = &d->writers[x->at];
    if (!p->present)
        return true;
    switch (x->phase) {
    case P_SIGN: return !has(s->w.calls, VB_REPL_SIGNATURE) || !has(p->calls, VB_REPL_SIGNATURE);
    case P_LOAD: return !p->differs || !has(p->calls, VB_REPL_DESERIALIZE);
    case P_FINISH: return !has(s->w.calls, VB_REPL_PROPAGATE2);
    case P_LIST:
    case P_SEND:
    case P_CORE:
    case P_FINISHED:
    case P_FAILED: break;
    }
    return false;
}

static enum phase after(const struct vb_ext_driver *d, enum phase p)
{
    if (d->o.dry_run)
        return p == P_SIGN ? P_CORE : P_FINISHED;
    return (enum phase)(p + 1);
}

static enum vb_ext_turn source_signatures(struct vb_ext_driver *d, size_t t, struct vb_ext_action *a)
{
    for (size_t i = 0; i < d->n_writers; i++) {
        struct source *s = &d->writers[i];
        if (!s->is_signed && has(s->w.calls, VB_REPL_SIGNATURE))
            return s->calls ? VB_EXT_WAIT : begin(d, t, VB_EXT_SOURCE_SIGNATURE, i, a);
    }
    return VB_EXT_END;
}

static enum vb_ext_turn next_of(struct vb_ext_driver *d, size_t t, struct vb_ext_action *a)
{
    static const enum vb_ext_kind kinds[] = { [P_LIST] = VB_EXT_LIST, [P_SIGN] = VB_EXT_TARGET_SIGNATURE, [P_LOAD] = VB_EXT_DESERIALIZE,
                                              [P_CORE] = VB_EXT_CORE, [P_FINISH] = VB_EXT_PROPAGATE2 };
    struct target *x = &d->targets[t];
    if (x->busy)
        return VB_EXT_WAIT;
    if (over(x))
        return VB_EXT_END;
    enum vb_ext_turn first = source_signatures(d, t, a);
    if (first != VB_EXT_END)
        return first;
    for (;;) {
        bool single = x->phase == P_LIST || x->phase == P_CORE, advance = false;
        if (over(x))
            return VB_EXT_END;
        if (x->phase == P_LIST && !d->n_writers) {
            x->phase = P_CORE;
            continue;
        }
        if (!single && x->at >= d->n_writers) {
            x->phase = after(d, x->phase);
            x->at = 0;
            continue;
        }
        if (single)
            return begin(d, t, kinds[x->phase], 0, a);
        if (x->phase == P_SEND) {
            enum vb_ext_turn turn = send_one(d, t, &advance, a);
            if (!advance)
                return turn;
        } else if (!skips(d, x)) {
            return begin(d, t, kinds[x->phase], x->at, a);
        }
        x->at++;
    }
}

enum vb_ext_turn vb_ext_next(struct vb_ext_driver *d, size_t target, struct vb_ext_action *a)
{
    enum vb_ext_turn result = VB_EXT_END;
    if (target != VB_EXT_ANY)
        return next_of(d, target, a);
    for (size_t t = 0; t < d->n_targets; t++) {
        enum vb_ext_turn turn = next_of(d, t, a);
        if (turn == VB_EXT_DO)
            return turn;
        result = turn == VB_EXT_WAIT ? turn : result;
    }
    return result;
}

/* ---- how it went ---- */

static void fail_target(struct target *x, const struct vb_error *why)
{
    if (over(x))
        return;
    x->phase = P_FAILED;
    vb_error_copy(&x->why, why);
}

static void end_run(struct vb_ext_driver *d, const struct vb_error *why)
{
    if (d->ended)
        return;
    d->ended = true;
    vb_error_copy(&d->why, why);
    for (size_t t = 0; t < d->n_targets; t++)
        fail_target(&d->targets[t], why);
}

static void name_call(const struct vb_ext_driver *d, const struct vb_ext_action *a, struct vb_error *e)
{
    static const char *const words[] = { [VB_EXT_SOURCE_SIGNATURE] = "signature at the source", [VB_EXT_LIST] = "",
                                         [VB_EXT_TARGET_SIGNATURE] = "signature", [VB_EXT_SERIALIZE] = "serialize",
                                         [VB_EXT_PROPAGATE] = "propagate", [VB_EXT_DESERIALIZE] = "deserialize", [VB_EXT_CORE] = "",
                                         [VB_EXT_PROPAGATE2] = "propagate2" };
    if (a->kind != VB_EXT_LIST && a->kind != VB_EXT_CORE)
        vb_context(e, "writer '%s': %s", d->writers[a->writer].w.name, words[a->kind]);
}

/* What the target lacks is known before anything changes there (DSN-38). */
static void check_present(struct vb_ext_driver *d, struct target *x)
{
    for (size_t i = 0; i < d->n_writers && !d->o.skip_missing; i++) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        if (x->of[i].present)
            continue;
        vb_fail(&e, VB_E_PREREQUISITE, "writer '%s' does not take part there; nothing was changed", d->writers[i].w.name);
        vb_hint(&e, "there: a section [writer %s], and vbackup scope set NAME --writer %s; or use --skip-missing-writers",
                d->writers[i].w.name, d->writers[i].w.name);
        fail_target(x, &e);
        return;
    }
    for (size_t i = 0; i < d->n_writers; i++) /* without two signatures it always differs (DSN-37) */
        x->of[i].differs = !has(d->writers[i].w.calls, VB_REPL_SIGNATURE) || !has(x->of[i].calls, VB_REPL_SIGNATURE);
}

void vb_ext_done(struct vb_ext_driver *d, const struct vb_ext_action *a, const struct vb_error *why)
{
    struct target *x = &d->targets[a->target];
    struct source *s = a->kind != VB_EXT_LIST && a->kind != VB_EXT_CORE ? &d->writers[a->writer] : NULL;
    bool good = !why || why->code == VB_OK;
    x->busy = false;
    if (a->kind == VB_EXT_SOURCE_SIGNATURE || a->kind == VB_EXT_SERIALIZE || a->kind == VB_EXT_PROPAGATE || a->kind == VB_EXT_PROPAGATE2)
        s->calls--;
    if (!good) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_error_copy(&e, why);
        name_call(d, a, &e);
        if (a->kind == VB_EXT_SOURCE_SIGNATURE || a->kind == VB_EXT_SERIALIZE)
            end_run(d, &e);
        else
            fail_target(x, &e);
        return;
    }
    switch (a->kind) {
    case VB_EXT_SOURCE_SIGNATURE: s->is_signed = true; return;
    case VB_EXT_SERIALIZE:
        s->serialized = true;
        s->serializing = false;
        return;
    case VB_EXT_LIST: check_present(d, x); break;
    case VB_EXT_TARGET_SIGNATURE:
    case VB_EXT_PROPAGATE:
    case VB_EXT_DESERIALIZE:
    case VB_EXT_PROPAGATE2: x->at++; return;
    case VB_EXT_CORE: break;
    }
    if (!over(x)) {
        x->phase = a->kind == VB_EXT_LIST ? P_SIGN : after(d, P_CORE);
        x->at = 0;
    }
}

void vb_ext_sign(struct vb_ext_driver *d, size_t target, size_t writer, const void *signature, size_t n)
{
    struct vb_buf *own = &d->writers[writer].signature;
    if (target == VB_EXT_SOURCE) {
        vb_buf_reset(own);
        vb_buf_add(own, signature, n);
        return;
    }
    d->targets[target].of[writer].differs = own->len != n || (n && memcmp(own->data, signature, n) != 0);
}

void vb_ext_present(struct vb_ext_driver *d, size_t target, size_t writer, uint64_t calls)
{
    d->targets[target].of[writer].present = true;
    d->targets[target].of[writer].calls = calls;
}

void vb_ext_give_up(struct vb_ext_driver *d, size_t target, const struct vb_error *why)
{
    fail_target(&d->targets[target], why);
}

const struct vb_error *vb_ext_failure(const struct vb_ext_driver *d, size_t target)
{
    return d->targets[target].phase == P_FAILED ? &d->targets[target].why : NULL;
}

const struct vb_error *vb_ext_run_failure(const struct vb_ext_driver *d)
{
    return d->ended ? &d->why : NULL;
}

bool vb_ext_finished(const struct vb_ext_driver *d, size_t target)
{
    return d->targets[target].phase == P_FINISHED;
}

bool vb_ext_differs(const struct vb_ext_driver *d, size_t target, size_t writer)
{
    return d->targets[target].of[writer].present && d->targets[target].of[writer].differs;
}

bool vb_ext_missing(const struct vb_ext_driver *d, size_t target, size_t writer)
{
    return !d->targets[target].of[writer].present;
}
