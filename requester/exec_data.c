/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_data.c - CAPTURE and RESTORE_FILES: the command on the control stream, the bytes on a data stream.
 *
 * The data stream is opened first.  When it breaks, the agent answers CONNECTION_LOST, and the command is sent again
 * under a new id on another stream; what the repository has by then is not sent twice.  A capture counts only if its
 * bytes came through a stream of this life of the requester: an answer from the agent's record says nothing about bytes
 * that an earlier life took and lost.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "documents/selection.h"
#include "requester/pick.h"
#include "wire/protocol.h"

#define MAX_ATTEMPTS 8u    /* commands, and data streams */
#define RETRY_MS 500u
#define STREAM_END_MS 10000u

static void open_stream(void *arg);
static void send_command(struct vb_xh *h);
static void settle(struct vb_xh *h);

static bool restoring(const struct vb_xh *h)
{
    return h->x->plan->kind == VB_JOB_RESTORE;
}

static void drop_stream(struct vb_xh *h)
{
    const struct vb_run_store *s = h->x->p.env->store;
    if (h->stream)
        s->stream_free(s->ctx, h->stream);
    h->stream = NULL;
}

void vb_x_data_stop(struct vb_xh *h)
{
    drop_stream(h);
    vb_timer_cancel(h->timer);
    h->timer = NULL;
    if (h->rjob)
        vb_rjob_data_cancel(h->rjob);
}

static void fail(struct vb_xh *h, const struct vb_error *why)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, why);
    vb_x_data_stop(h);
    vb_x_step_failed(h, &e);
}

/* ---- the stream ---- */

static void on_progress(void *arg, uint64_t files, uint64_t done, uint64_t total)
{
    struct vb_xh *h = arg;
    h->files = files;
    h->bytes_done = done;
    h->bytes_total = total;
    if (h->rjob)
        vb_rjob_touch(h->rjob);
    vb_x_progress(h->x, h, h->step);
}

static void on_warn(void *arg, const char *path, const struct vb_error *w)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, w);
    if (path && !strstr(vb_error_text(&e), path))
        vb_context(&e, "'%s'", path);
    vb_x_warn(h->x, vb_x_host_name(h), &e);
}

static void on_stream_done(void *arg, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (err)
        vb_error_copy(&e, err);
    drop_stream(h);
    vb_x_log(h, "reply", "DATA", err ? &e : NULL, NULL);
    if (!err) {
        h->stream_done = true;
        settle(h);
        return;
    }
    if (e.code != VB_E_CONNECTION_LOST && e.code != VB_E_TIMEOUT && h->stream_error.code == VB_OK)
        vb_error_copy(&h->stream_error, &e); /* ours or the repository's: trying again would not help */
    /* The agent notices as well and answers the command; what follows is decided there. */
}

static void on_data(void *arg, struct vb_conn *c, const struct vb_error *err)
{
    static const struct vb_stream_handler handler = { on_progress, on_warn, on_stream_done };
    struct vb_xh *h = arg;
    const struct vb_run_store *s = h->x->p.env->store;
    if (!c) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_error_copy(&e, err);
        vb_x_log(h, "reply", "DATA", &e, NULL);
        if (++h->data_tries >= MAX_ATTEMPTS || e.code == VB_E_JOB_LOST || e.code == VB_E_ACCESS_DENIED)
            fail(h, &e);
        else
            h->timer = vb_loop_after(h->x->loop, RETRY_MS * h->data_tries, open_stream, h);
        return;
    }
    h->stream = s->stream(s->ctx, vb_x_host_label(h), restoring(h), c, &handler, h);
    send_command(h);
}

static void open_stream(void *arg)
{
    struct vb_xh *h = arg;
    h->timer = NULL;
    drop_stream(h);
    h->stream_done = h->reply_ok = false;
    vb_x_log(h, "call", "DATA", NULL, NULL);
    vb_rjob_data(h->rjob, on_data, h);
}

/* ---- the command ---- */

static void add_identity(struct vb_msg *g, const struct vb_plan_component *pc)
{
    vb_msg_add_str(g, VB_F_CLASS, pc->writer_id);
    vb_msg_add_str(g, VB_F_INSTANCE_NAME, pc->instance_name);
    vb_msg_add_str(g, VB_F_WRITER, pc->writer_name);
    vb_msg_add_str(g, VB_F_LOGICAL_PATH, pc->logical_path);
    vb_msg_add_str(g, VB_F_NAME, pc->name);
}

const struct vb_catalog_component *vb_x_stored_component(const struct vb_exec *x, size_t c)
{
    const struct vb_plan_component *pc = &x->plan->components[c];
    return vb_pick_find(x->p.stored[pc->host].host, pc->writer_id, pc->instance_name, pc->logical_path, pc->name);
}

/* The component among the metadata that a captured root belongs to, as full path; NULL if none. */
static char *owner_of_root(const struct vb_xh *h, const struct vb_plan_component *pc, const struct vb_catalog_root *r)
{
    const struct vb_exec_stored *s = &h->x->p.stored[h->index];
    for (size_t i = 0; i < s->n_writers; i++) {
        const struct vb_writer_metadata *m = s->writers[i];
        if (!vb_guid_equal(m->writer_id, pc->writer_id))
            continue;
        for (size_t c = 0; c < m->n_components; c++)
            for (size_t f = 0; f < m->components[c].n_filesets; f++) {
                const struct vb_fileset *fs = &m->components[c].filesets[f];
                VB_AUTO_FREE char *clean = vb_path_clean(fs->path);
                VB_AUTO_FREE char *mine = vb_path_clean(r->path);
                if ((strcmp(clean, mine) == 0 || (fs->recursive && vb_path_below(mine, clean))) &&
                    strcmp(fs->filespec ? fs->filespec : "*", r->filespec ? r->filespec : "*") == 0)
                    return vb_full_path(m->components[c].logical_path, m->components[c].name);
            }
    }
    return NULL;
}

/* as soon as one member is named, only the named ones and what is below them. */
static bool root_wanted(const struct vb_xh *h, const struct vb_plan_component *pc, const struct vb_catalog_root *r)
{
    if (pc->subcomponents.n == 0)
        return true;
    VB_AUTO_FREE char *owner = owner_of_root(h, pc, r);
    for (size_t i = 0; owner && i < pc->subcomponents.n; i++) {
        const char *sub = pc->subcomponents.v[i];
        size_t n = strlen(sub);
        if (strcmp(owner, sub) == 0 || (strncmp(owner, sub, n) == 0 && owner[n] == '\\'))
            return true;
    }
    return false;
}

static char *private_target(const struct vb_xh *h, const char *path)
{
    const struct vb_plan *p = h->x->plan;
    VB_AUTO_FREE char *base =
        p->n_hosts > 1 && !p->in_place ? vb_path_join(p->target_dir, vb_x_host_label(h)) : vb_strdup(p->target_dir);
    while (*path == '/')
        path++;
    return *path ? vb_path_join(base, path) : vb_strdup(base);
}

static void add_root(struct vb_xh *h, struct vb_msg *g, size_t c, const struct vb_catalog_root *r, const char *path,
                     const struct vb_name *tree)
{
    bool whole = path == r->path;
    VB_AUTO_MSG root = VB_MSG_INIT(0);
    vb_msg_add_str(&root, VB_F_PATH, path);
    vb_msg_add_str(&root, VB_F_FILESPEC, whole ? r->filespec : "*");
    vb_msg_add_u64(&root, VB_F_RECURSIVE, whole ? r->recursive : 1);
    vb_msg_add(&root, VB_F_CHUNK_NAME, tree->b, sizeof tree->b);
    if (h->x->plan->target_dir) {
        VB_AUTO_FREE char *target = private_target(h, path);
        vb_msg_add_str(&root, VB_F_TARGET, target);
    }
    vb_msg_add_group(g, VB_F_ROOT, &root);
    h->x->components[c].writing = true;
}

/* Of a captured root only what was named: the whole, or one root for each path in it. */
static void add_named(struct vb_xh *h, struct vb_msg *g, size_t c, const struct vb_catalog_root *r)
{
    const struct vb_run_store *s = h->x->p.env->store;
    const struct vb_strv *paths = &h->x->plan->paths;
    if (vb_pick_path(paths, r->path) == VB_PICK_IN) {
        add_root(h, g, c, r, r->path, &r->tree);
        return;
    }
    for (size_t i = 0; i < paths->n; i++) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        struct vb_name tree;
        if (!vb_path_below(paths->v[i], r->path))
            continue;
        if (s->pick(s->ctx, r, paths->v[i], &tree, &e) == 0)
            add_root(h, g, c, r, paths->v[i], &tree);
        else if (e.code != VB_E_NOT_FOUND) /* it may be in another root */
            vb_x_fail_component(h->x, c, &e);
    }
}

static void add_restore_component(struct vb_xh *h, struct vb_msg *m, size_t c)
{
    const struct vb_plan_component *pc = &h->x->plan->components[c];
    const struct vb_catalog_component *cc = vb_x_stored_component(h->x, c);
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    add_identity(&g, pc);
    for (size_t i = 0; cc && i < cc->n_roots; i++)
        if (cc->roots[i].has_tree && root_wanted(h, pc, &cc->roots[i]))
            add_named(h, &g, c, &cc->roots[i]);
    vb_msg_add_group(m, VB_F_COMPONENT, &g);
}

static void take_root(struct vb_xc *xc, const struct vb_msg *g)
{
    const unsigned char *name;
    size_t n;
    VB_GROW(xc->roots, xc->n_roots, xc->cap_roots);
    struct vb_catalog_root *r = &xc->roots[xc->n_roots++];
    memset(r, 0, sizeof *r);
    r->path = vb_msg_str(g, VB_F_PATH);
    if (!r->path)
        r->path = vb_strdup("");
    r->filespec = vb_msg_str(g, VB_F_FILESPEC);
    if (!r->filespec)
        r->filespec = vb_strdup("*");
    r->recursive = vb_msg_u64(g, VB_F_RECURSIVE, 0) != 0;
    r->has_tree = vb_msg_bytes(g, VB_F_CHUNK_NAME, &name, &n) && n == sizeof r->tree.b;
    if (r->has_tree)
        memcpy(r->tree.b, name, n);
    r->files = vb_msg_u64(g, VB_F_FILES, 0);
    r->dirs = vb_msg_u64(g, VB_F_DIRS, 0);
    r->bytes = vb_msg_u64(g, VB_F_BYTES, 0);
    r->errors = vb_msg_u64(g, VB_F_WARNINGS, 0);
    r->detector = vb_msg_str(g, VB_F_DETECTOR);
    r->files_read = vb_msg_u64(g, VB_F_FILES_READ, 0);
    r->bytes_read = vb_msg_u64(g, VB_F_BYTES_READ, 0);
}

static void forget_roots(struct vb_xc *xc)
{
    for (size_t i = 0; i < xc->n_roots; i++) {
        free(xc->roots[i].path);
        free(xc->roots[i].filespec);
        free(xc->roots[i].detector);
    }
    xc->n_roots = 0;
}

static void take_component(struct vb_xh *h, const struct vb_msg *g, bool *seen)
{
    VB_AUTO_FREE char *class_id = vb_msg_str(g, VB_F_CLASS), *instance = vb_msg_str(g, VB_F_INSTANCE_NAME);
    VB_AUTO_FREE char *path = vb_msg_str(g, VB_F_LOGICAL_PATH), *name = vb_msg_str(g, VB_F_NAME);
    size_t c = vb_x_find_component(h, class_id, instance, path, name);
    if (c == VB_NO_INDEX)
        return;
    struct vb_xc *xc = &h->x->components[c];
    seen[c] = true;
    xc->files = vb_msg_u64(g, VB_F_FILES, 0);
    xc->dirs = vb_msg_u64(g, VB_F_DIRS, 0);
    xc->bytes = vb_msg_u64(g, VB_F_BYTES, 0);
    xc->warnings = vb_msg_u64(g, VB_F_WARNINGS, 0);
    xc->left_files = vb_msg_u64(g, VB_F_LEFT_FILES, 0);
    xc->left_dirs = vb_msg_u64(g, VB_F_LEFT_DIRS, 0);
    uint64_t level = vb_msg_u64(g, VB_F_CONSISTENCY, VB_CONSISTENCY_UNKNOWN);
    if (level > VB_CONSISTENCY_UNKNOWN && level <= VB_CONSISTENCY_GROUP && !restoring(h))
        xc->consistency = (enum vb_consistency)level;
    uint64_t status = vb_msg_u64(g, VB_F_RESTORE_STATUS, VB_FILE_RESTORE_UNDEFINED);
    if (status <= VB_FILE_RESTORE_FAILED)
        xc->status = (enum vb_file_restore_status)status;
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    forget_roots(xc);
    vb_field_iter_init(&it, g);
    while (!restoring(h) && vb_field_next(&it, &tag, &p, &n))
        if (tag == VB_F_ROOT) {
            struct vb_msg root = vb_msg_view(p, n);
            take_root(xc, &root);
        }
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    uint64_t done = vb_msg_u64(g, VB_F_COMPLETENESS, VB_COMPLETE);
    if (vb_msg_error(g, &e) < 0 && done != VB_PARTIAL) {
        vb_x_fail_component(h->x, c, &e);
    } else if (done == VB_FAILED) {
        vb_fail(&e, VB_E_UNEXPECTED, "the agent calls it failed without a reason");
        vb_x_fail_component(h->x, c, &e);
    } else if (done == VB_PARTIAL) { /* usable, and the record says so */
        if (e.code == VB_OK)
            vb_fail(&e, VB_E_FILE_CHANGED, restoring(h) ? "not everything came back, see the warnings"
                                                        : "not everything could be read, see the warnings");
        vb_error_copy(&xc->error, &e);
    } else if (restoring(h) && xc->status != VB_FILE_RESTORE_ALL) {
        vb_fail(&e, VB_E_UNEXPECTED, "not all of its files were put back");
        vb_x_fail_component(h->x, c, &e);
    }
}

static void take_reply(struct vb_xh *h, const struct vb_msg *m)
{
    struct vb_exec *x = h->x;
    bool *seen = vb_alloc_n(x->plan->n_components + 1, sizeof *seen);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag == VB_F_COMPONENT) {
            struct vb_msg g = vb_msg_view(p, n);
            take_component(h, &g, seen);
        }
    for (size_t c = 0; c < x->plan->n_components; c++) {
        struct vb_xc *xc = &x->components[c];
        if (x->plan->components[c].host != h->index || !x->plan->components[c].is_explicit || xc->failed || seen[c])
            continue;
        if (restoring(h) && !xc->writing) {
            xc->status = VB_FILE_RESTORE_ALL; /* it has no files (D-36) */
            continue;
        }
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_PROTOCOL, "the agent's answer does not mention it");
        vb_x_fail_component(x, c, &e);
    }
    free(seen);
}

/* The stream said nothing for too long after a good answer: the answer came from the agent's record. */
static void from_record(void *arg)
{
    struct vb_xh *h = arg;
    h->timer = NULL;
    if (h->attempt + 1 >= MAX_ATTEMPTS) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_CONNECTION_LOST, "host '%s': the data did not arrive in %u attempts", vb_x_host_name(h),
                MAX_ATTEMPTS);
        fail(h, &e);
        return;
    }
    h->attempt++;
    h->reply_ok = false;
    if (h->stream)
        send_command(h);
    else
        open_stream(h);
}

/* The barrier behind this host's data was passed in an earlier life: the record is enough, and a session that went on
 * since could not read again. */
static bool durable_before(const struct vb_xh *h)
{
    size_t barrier = vb_plan_find_step(h->x->plan, h->index, VB_VERB_BARRIER);
    return !restoring(h) && barrier != VB_NO_INDEX && vb_x_done_before(h->x, h->x->plan->steps[barrier].id);
}

/* Both halves are needed: the agent's answer and the end of the stream. */
static void settle(struct vb_xh *h)
{
    if (h->step == VB_NO_INDEX || !h->reply_ok)
        return;
    if (durable_before(h)) {
        vb_x_data_stop(h);
        vb_x_step_done(h);
        return;
    }
    if (!h->stream_done && !restoring(h) && h->stream_error.code == VB_OK) {
        if (!h->timer)
            h->timer = vb_loop_after(h->x->loop, h->x->p.resume ? 2000 : STREAM_END_MS, from_record, h);
        return;
    }
    if (h->stream_error.code != VB_OK && !restoring(h)) {
        fail(h, &h->stream_error);
        return;
    }
    vb_x_data_stop(h);
    vb_x_step_done(h);
}

static void on_reply(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    if (m && err && err->code == VB_E_CONNECTION_LOST && h->stream_error.code == VB_OK &&
        h->attempt + 1 < MAX_ATTEMPTS) {
        vb_x_log(h, "reply", h->x->plan->steps[h->step].id, err, NULL);
        h->attempt++;
        vb_x_data_stop(h);
        h->timer = vb_loop_after(h->x->loop, RETRY_MS, open_stream, h);
        return;
    }
    if (m && err && h->stream_error.code != VB_OK) { /* what we know is nearer to the cause */
        fail(h, &h->stream_error);
        return;
    }
    if (err)
        vb_x_data_stop(h);
    if (!vb_x_answered(h, m, err))
        return;
    take_reply(h, m);
    h->reply_ok = true;
    settle(h);
}

/* What the agent may take its memory of the last capture for. */
static void add_base_root(struct vb_msg *m, const struct vb_plan_base_root *r)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, r->path);
    vb_msg_add_str(&g, VB_F_FILESPEC, r->filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, r->recursive);
    vb_msg_add(&g, VB_F_CHUNK_NAME, r->tree, sizeof r->tree);
    vb_msg_add_group(m, VB_F_ROOT, &g);
}

static void send_command(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    const struct vb_run_store *s = x->p.env->store;
    struct vb_msg m = VB_MSG_INIT(restoring(h) ? VB_M_RESTORE_FILES : VB_M_CAPTURE);
    if (!restoring(h) && x->p.opt->level_set)
        vb_msg_add_u64(&m, VB_F_LEVEL, x->p.opt->level); /* before the repository's own */
    s->announce(s->ctx, vb_x_host_label(h), &m);
    if (!restoring(h) && x->p.opt->no_detector)
        vb_msg_add_u64(&m, VB_F_NO_DETECTOR, 1);
    if (restoring(h)) {
        vb_msg_add_u64(&m, VB_F_OVERWRITE, x->p.opt->overwrite);
        vb_msg_add_u64(&m, VB_F_KEEP_OWNER, 1);
        vb_msg_add_u64(&m, VB_F_COUNT, h->attempt + 1 + x->p.opt->later_pass);
        if (x->p.opt->verify)
            vb_msg_add_u64(&m, VB_F_VERIFY, 1);
        if (x->plan->target_dir)
            vb_msg_add_str(&m, VB_F_TARGET, x->plan->target_dir);
    }
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        if (pc->host != h->index || !pc->is_explicit || x->components[c].failed)
            continue;
        if (restoring(h)) {
            add_restore_component(h, &m, c);
        } else {
            VB_AUTO_MSG g = VB_MSG_INIT(0);
            add_identity(&g, pc);
            for (size_t i = 0; i < pc->n_base_roots; i++)
                add_base_root(&g, &pc->base_roots[i]);
            vb_msg_add_group(&m, VB_F_COMPONENT, &g);
        }
    }
    vb_x_command(h, &m, m.type + (uint64_t)1000 * h->attempt, on_reply);
}

void vb_x_data_step(struct vb_xh *h)
{
    if (restoring(h))
        vb_x_spread(h->x, h); /* nothing is written for what depends on a refused target (D-62) */
    if (vb_x_alive(h) == 0) {
        vb_x_step_done(h);
        return;
    }
    if (durable_before(h))
        send_command(h);
    else
        open_stream(h);
}
