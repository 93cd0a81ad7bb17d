/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* requester/replica_ext.c - see replica_ext.h. */
#include <config.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "replica/extension.h"
#include "requester/replica_ext.h"

struct writer {
    char *name;
    struct vb_ext_facts facts;
    int payload;
};

struct vb_ext_run {
    pthread_mutex_t lock;
    pthread_cond_t turn;
    struct vb_ext_driver *d;
    struct vb_ext_hosts *hosts;
    struct writer *w;
    size_t n;
    uint64_t limit_ms;
    char *dir;
    bool told; /* why the source ended the run */
};

/* A writer without the block is not called (DSN-37). */
static int learn(struct vb_ext_run *r, const struct vb_strv *names, const struct vb_ext_run_options *o, struct vb_error *err)
{
    r->w = vb_alloc_n(names->n ? names->n : 1, sizeof *r->w);
    for (size_t i = 0; i < names->n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_ext_facts f;
        if (vb_ext_hosts_facts(r->hosts, names->v[i], &f, err) < 0) {
            vb_context(err, "writer '%s'", names->v[i]);
            return -1;
        }
        if (f.replicates) {
            r->w[r->n++] = (struct writer){ .name = vb_strdup(names->v[i]), .facts = f, .payload = -1 };
        } else if (o->warn) {
            vb_fail(&why, VB_E_NOT_SUPPORTED, "writer '%s' takes no part in replication; it is not called", names->v[i]);
            o->warn(o->arg, &why);
        }
    }
    return 0;
}

int vb_ext_run_open(struct vb_cli *cli, struct vb_place *p, const struct vb_ext_run_options *o, struct vb_ext_run **out,
                    struct vb_error *err)
{
    struct vb_ext_run *r = vb_alloc(sizeof *r);
    struct vb_strv names = { NULL, 0, 0 };
    const struct vb_ext_options options = { .skip_missing = o->skip_missing, .dry_run = o->dry_run };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->turn, NULL);
    r->dir = vb_printf("%s/replica", cli->settings.state_dir);
    int result = vb_place_writers(p, &names, &r->limit_ms, err);
    r->hosts = vb_ext_hosts_new(NULL, cli->settings.state_dir, &names);
    if (result == 0)
        result = learn(r, &names, o, err);
    vb_strv_clear(&names);
    if (result < 0) {
        vb_ext_run_close(r);
        return -1;
    }
    VB_AUTO_FREE struct vb_ext_writer *w = vb_alloc_n(r->n ? r->n : 1, sizeof *w);
    for (size_t i = 0; i < r->n; i++)
        w[i] = (struct vb_ext_writer){ r->w[i].name, r->w[i].facts.calls, r->w[i].facts.flags };
    r->d = vb_ext_driver_new(w, r->n, o->n_targets, &options);
    *out = r;
    return 0;
}

void vb_ext_run_close(struct vb_ext_run *r)
{
    if (!r)
        return;
    vb_ext_driver_free(r->d);
    vb_ext_hosts_free(r->hosts);
    for (size_t i = 0; i < r->n; i++) {
        vb_ext_payload_wipe(&r->w[i].payload);
        free(r->w[i].name);
    }
    free(r->w);
    free(r->dir);
    pthread_cond_destroy(&r->turn);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- what is due, done ---- */

struct doing { /* what an action brings; told to the driver under the lock */
    struct vb_ext_wanted *list;
    unsigned char hash[32];
};

static int list(struct vb_ext_run *r, const struct vb_ext_target *t, struct doing *x, struct vb_error *err)
{
    struct vb_replica_peer *peer = t->open(t->arg, err);
    x->list = vb_alloc_n(r->n, sizeof *x->list);
    for (size_t i = 0; i < r->n; i++)
        x->list[i] = (struct vb_ext_wanted){ .name = r->w[i].name, .class_id = r->w[i].facts.class_id };
    return peer ? vb_replica_peer_writers(peer, x->list, r->n, err) : -1;
}

static int at_target(struct vb_ext_run *r, const struct vb_ext_target *t, enum vb_repl_call call, struct writer *w, struct doing *x,
                     struct vb_error *err)
{
    struct vb_replica_peer *peer = t->open(t->arg, err);
    return peer ? vb_replica_peer_call(peer, w->name, call, r->limit_ms, w->payload, x->hash, err) : -1;
}

static int tell(struct vb_ext_run *r, const struct vb_ext_target *t, const struct vb_ext_action *a, struct vb_error *err)
{
    const struct vb_ext_call c = { .writer = r->w[a->writer].name,
                                   .call = a->kind == VB_EXT_PROPAGATE ? VB_REPL_PROPAGATE : VB_REPL_PROPAGATE2,
                                   .target = t->name,
                                   .differs = a->differs,
                                   .limit_ms = r->limit_ms,
                                   .in = -1 };
    return vb_ext_hosts_call(r->hosts, &c, err);
}

static int serialize(struct vb_ext_run *r, struct writer *w, struct vb_error *err)
{
    w->payload = vb_ext_payload_new(r->dir, err);
    return w->payload < 0 ? -1 : vb_ext_hosts_serialize(r->hosts, w->name, r->limit_ms, w->payload, err);
}

static int carry_out(struct vb_ext_run *r, const struct vb_ext_target *t, const struct vb_ext_action *a, struct doing *x, struct vb_error *err)
{
    struct writer *w = a->kind == VB_EXT_LIST || a->kind == VB_EXT_CORE ? NULL : &r->w[a->writer];
    switch (a->kind) {
    case VB_EXT_SOURCE_SIGNATURE: return vb_ext_hosts_signature(r->hosts, w->name, r->limit_ms, x->hash, err);
    case VB_EXT_LIST: return list(r, t, x, err);
    case VB_EXT_TARGET_SIGNATURE: return at_target(r, t, VB_REPL_SIGNATURE, w, x, err);
    case VB_EXT_SERIALIZE: return serialize(r, w, err);
    case VB_EXT_DESERIALIZE: return at_target(r, t, VB_REPL_DESERIALIZE, w, x, err);
    case VB_EXT_CORE: return t->core(t->arg, err);
    case VB_EXT_PROPAGATE:
    case VB_EXT_PROPAGATE2: break;
    }
    return tell(r, t, a, err);
}

static void report(struct vb_ext_run *r, const struct vb_ext_action *a, const struct doing *x, bool good)
{
    if (good && a->kind == VB_EXT_SOURCE_SIGNATURE)
        vb_ext_sign(r->d, VB_EXT_SOURCE, a->writer, x->hash, sizeof x->hash);
    if (good && a->kind == VB_EXT_TARGET_SIGNATURE)
        vb_ext_sign(r->d, a->target, a->writer, x->hash, sizeof x->hash);
    for (size_t i = 0; good && a->kind == VB_EXT_LIST && i < r->n; i++)
        if (x->list[i].present)
            vb_ext_present(r->d, a->target, i, x->list[i].calls);
}

static void warn_missing(const struct vb_ext_run *r, const struct vb_ext_target *t, const struct doing *x)
{
    for (size_t i = 0; i < r->n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (x->list[i].present)
            continue;
        vb_fail(&why, VB_E_PREREQUISITE, "writer '%s' does not take part there; it is left out", r->w[i].name);
        t->warn(t->arg, &why);
    }
}

int vb_ext_run_target(struct vb_ext_run *r, size_t index, const struct vb_ext_target *t, struct vb_error *err)
{
    struct vb_ext_action a;
    enum vb_ext_turn turn;
    pthread_mutex_lock(&r->lock);
    while ((turn = vb_ext_next(r->d, index, &a)) != VB_EXT_END) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct doing x = { .list = NULL };
        if (turn == VB_EXT_WAIT) {
            pthread_cond_wait(&r->turn, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        bool good = carry_out(r, t, &a, &x, &why) == 0;
        pthread_mutex_lock(&r->lock);
        report(r, &a, &x, good);
        vb_ext_done(r->d, &a, good ? NULL : &why);
        if (good && a.kind == VB_EXT_LIST && !vb_ext_failure(r->d, index) && t->warn)
            warn_missing(r, t, &x);
        pthread_cond_broadcast(&r->turn);
        free(x.list);
    }
    const struct vb_error *failure = vb_ext_failure(r->d, index);
    bool of_run = failure && vb_ext_run_failure(r->d);
    if (failure && err) {
        vb_error_clear(err);
        if (of_run && r->told && !strcmp(vb_error_text(failure), vb_error_text(vb_ext_run_failure(r->d))))
            vb_fail(err, VB_E_CANCELLED, "left out: the run ended at the source");
        else
            vb_error_copy(err, failure);
    }
    r->told = r->told || of_run;
    pthread_mutex_unlock(&r->lock);
    return failure ? -1 : 0;
}

void vb_ext_run_carried(const struct vb_ext_run *r, size_t index, struct vb_strv *names)
{
    for (size_t i = 0; i < r->n; i++)
        if (vb_ext_differs(r->d, index, i))
            vb_strv_add(names, r->w[i].name);
}

bool vb_ext_run_failed(struct vb_ext_run *r)
{
    pthread_mutex_lock(&r->lock);
    bool failed = vb_ext_run_failure(r->d) != NULL;
    pthread_mutex_unlock(&r->lock);
    return failed;
}
