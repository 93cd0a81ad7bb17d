/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/agent_host.c - a host inside one process.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tests/fakes/agent_host_internal.h"

static const char MOUNTS[] = "20 1 8:1 / / rw - ext4 /dev/root rw\n"
                             "21 20 8:2 / /data rw - btrfs /dev/data rw\n"
                             "22 20 8:3 / /other rw - btrfs /dev/other rw\n";
void vb_fake_note(struct vb_fake_host *h, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vb_strv_take(&h->log, vb_vprintf(fmt, ap));
    va_end(ap);
}

/* ---- later: everything that takes time ---- */

void vb_fake_run_later(void *arg)
{
    struct vb_fake_later *l = arg;
    l->fn(l);
    vb_msg_clear(&l->m);
    free(l->text);
    free(l);
}

struct vb_fake_later *vb_fake_later(struct vb_fake_host *h, void (*fn)(struct vb_fake_later *l))
{
    struct vb_fake_later *l = vb_alloc(sizeof *l);
    l->h = h;
    l->fn = fn;
    return l;
}

/* ---- the environment ---- */

static int env_writers(void *arg, const struct vb_job *job, struct vb_child_refs *out, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)job;
    (void)err;
    for (size_t i = 0; i < h->n_w; i++) {
        VB_GROW(out->v, out->n, out->cap);
        out->v[out->n++] =
            (struct vb_child_ref){ vb_strdup(h->w[i].name), vb_strdup("fake"), NULL, h->w[i].required, false };
    }
    return 0;
}

static int env_providers(void *arg, struct vb_strv *names, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)err;
    for (size_t i = 0; i < h->n_p; i++)
        vb_strv_add(names, h->p[i].name);
    return 0;
}

static int env_mounts(void *arg, struct vb_mounts *out, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    return vb_mounts_parse(out, h->mounts, err);
}

static char *env_subvolume(void *arg, const char *path, const char *stop)
{
    (void)arg;
    (void)path;
    return vb_strdup(stop);
}

static int env_exists(void *arg, const char *path, const char *filespec, bool recursive, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)filespec;
    (void)recursive;
    (void)err;
    return vb_strv_has(&h->exists, path);
}

static bool env_replaceable(void *arg, const char *path, const char *filespec, bool recursive)
{
    struct vb_fake_host *h = arg;
    (void)path;
    (void)filespec;
    (void)recursive;
    return !h->busy_files;
}

static bool env_data_ready(void *arg)
{
    struct vb_fake_host *h = arg;
    return h->data;
}

static const char *const CALLS[] = { "", "START", "ARM", "FREEZE", "THAW", "DISARM" };

static void wd_answer(struct vb_fake_later *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (l->h->wd_fail[l->call])
        vb_fail(&err, l->h->wd_fail[l->call], "watchdog says no");
    vb_session_watchdog_done(l->h->session, (enum vb_watchdog_call)l->call, err.code ? &err : NULL);
}

static void env_watchdog(void *arg, enum vb_watchdog_call call, uint64_t ms, const int *pids, size_t n,
                         const struct vb_strv *mounts)
{
    struct vb_fake_host *h = arg;
    (void)ms;
    (void)pids;
    (void)n;
    if (call == VB_WD_START) {
        VB_AUTO_BUF order = VB_BUF_INIT;
        for (size_t i = 0; i < mounts->n; i++)
            vb_buf_addf(&order, " %s", mounts->v[i]);
        vb_fake_note(h, "wd START %zu", mounts->n);
        if (mounts->n > 1)
            vb_fake_note(h, "wd mounts%s", vb_buf_str(&order));
    } else {
        vb_fake_note(h, "wd %s", CALLS[call]);
    }
    if (call == VB_WD_FREEZE)
        h->frozen = true;
    if (call == VB_WD_THAW || call == VB_WD_DISARM)
        h->frozen = false;
    if (call == VB_WD_DISARM || (call == VB_WD_FREEZE && h->wd_silent))
        return;
    struct vb_fake_later *l = vb_fake_later(h, wd_answer);
    l->call = (int)call;
    vb_loop_after(h->loop, 0, vb_fake_run_later, l);
}

static void env_window(void *arg, bool inside)
{
    struct vb_fake_host *h = arg;
    vb_fake_note(h, inside ? "window begin" : "window end");
    h->in_window = inside;
}

static void give_slot(struct vb_fake_later *l)
{
    if (l->h->slot_wanted)
        vb_session_slot(l->h->session, 0, NULL);
}

static void env_slot(void *arg, bool want)
{
    struct vb_fake_host *h = arg;
    if (!want) {
        if (h->slot_wanted)
            h->slot_back++;
        h->slot_wanted = false;
        return;
    }
    h->slot_wanted = true;
    if (h->slot_busy) {
        vb_session_slot(h->session, 2, "job 4711");
        return;
    }
    h->slot_given++;
    vb_loop_after(h->loop, 0, vb_fake_run_later, vb_fake_later(h, give_slot));
}

static void service_answer(struct vb_fake_later *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (l->flag)
        vb_fail(&err, VB_E_IO, "service does not");
    vb_session_service_done(l->h->session, l->flag ? &err : NULL);
}

static void env_service(void *arg, const char *name, bool start)
{
    struct vb_fake_host *h = arg;
    vb_fake_note(h, "service %s %s", start ? "start" : "stop", name);
    if (h->service_hangs)
        return;
    struct vb_fake_later *l = vb_fake_later(h, service_answer);
    l->flag = h->service_fails && !strcmp(h->service_fails, start ? "start" : "stop");
    vb_loop_after(h->loop, 1, vb_fake_run_later, l);
}

static int env_reboot_ready(void *arg, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    if (h->reboot_ready)
        return 0;
    vb_fail(err, VB_E_PREREQUISITE, "nothing happens at a restart here");
    vb_hint(err, "enable it");
    return -1;
}

static char *env_reboot_stage(void *arg, const char *job, size_t n, const char *path, struct vb_error *err)
{
    (void)job;
    (void)err;
    vb_fake_note(arg, "stage %zu %s", n, path);
    return vb_printf("/stage/%zu", n);
}

static int env_reboot_commit(void *arg, const char *job, const char *component, const struct vb_strv *staged,
                             const struct vb_strv *final, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)job;
    if (h->reboot_commit_fails)
        return vb_fail(err, VB_E_NO_SPACE, "the record cannot be written");
    for (size_t i = 0; i < staged->n; i++)
        vb_fake_note(h, "at-reboot %s %s -> %s", component, staged->v[i], final->v[i]);
    return 0;
}

static int env_reboot_discard(void *arg, const char *job, struct vb_error *err)
{
    (void)job;
    (void)err;
    vb_fake_note(arg, "discard");
    return 0;
}

static int env_reboot_report(void *arg, struct vb_strv *lines, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)err;
    if (h->reboot_told)
        vb_strv_add(lines, h->reboot_told);
    return 0;
}

static int env_keep(void *arg, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    if (h->keep_fails)
        return vb_fail(err, VB_E_NO_SPACE, "'%s' cannot be kept", name);
    vb_buf_reset(&h->kept);
    vb_buf_add(&h->kept, p, n);
    return 0;
}

static void keep_msg(struct vb_msg **v, size_t *n, size_t *cap, const struct vb_msg *m)
{
    VB_GROW(*v, *n, *cap);
    (*v)[*n] = (struct vb_msg){ m->type, m->id, VB_BUF_INIT };
    vb_buf_add(&(*v)[*n].body, m->body.data, m->body.len);
    ++*n;
}

static void env_reply(void *arg, const struct vb_msg *m)
{
    struct vb_fake_host *h = arg;
    keep_msg(&h->replies, &h->n_replies, &h->cap_replies, m);
}

static void env_event(void *arg, struct vb_msg *m)
{
    struct vb_fake_host *h = arg;
    keep_msg(&h->events, &h->n_events, &h->cap_events, m);
}

static void env_ended(void *arg, const struct vb_error *why)
{
    struct vb_fake_host *h = arg;
    h->ended = true;
    vb_error_copy(&h->why, why);
}

/* ---- making one ---- */

struct vb_fake_writer *vb_fake_add_writer(struct vb_fake_host *h, const char *name, enum vb_level level,
                                          const char *path)
{
    struct vb_fake_writer *w = &h->w[h->n_w++];
    w->h = h;
    w->name = vb_strdup(name);
    vb_guid_new(w->class_id);
    w->level = level;
    w->freeze_ms = 60000;
    w->path = vb_strdup(path);
    w->method = VB_RESTORE_IF_CAN_REPLACE;
    w->when = VB_WRITER_RESTORE_ALWAYS;
    return w;
}

struct vb_fake_provider *vb_fake_add_provider(struct vb_fake_host *h, const char *name)
{
    struct vb_fake_provider *p = &h->p[h->n_p++];
    p->h = h;
    p->name = vb_strdup(name);
    p->supported = p->atomic = true;
    p->hold = 1;
    p->preference = 10 + h->n_p;
    p->consistency = VB_CONSISTENCY_CRASH;
    return p;
}

struct vb_fake_host *vb_fake_host_new(void)
{
    struct vb_fake_host *h = vb_alloc(sizeof *h);
    h->loop = vb_loop_new_virtual(1700000000000u);
    h->journal = vb_journal_memory("worker");
    h->mounts = MOUNTS;
    h->data = true;
    h->next_id = 1;
    h->env = (struct vb_session_env){
        .arg = h,
        .loop = h->loop,
        .journal = h->journal,
        .host = "fake",
        .writers = env_writers,
        .providers = env_providers,
        .mounts = env_mounts,
        .subvolume = env_subvolume,
        .exists = env_exists,
        .replaceable = env_replaceable,
        .start = vb_fake_env_start,
        .stop = vb_fake_env_stop,
        .data_ready = env_data_ready,
        .watchdog = env_watchdog,
        .window = env_window,
        .slot = env_slot,
        .service = env_service,
        .reboot_ready = env_reboot_ready,
        .reboot_stage = env_reboot_stage,
        .reboot_commit = env_reboot_commit,
        .reboot_discard = env_reboot_discard,
        .reboot_report = env_reboot_report,
        .keep = env_keep,
        .reply = env_reply,
        .event = env_event,
        .ended = env_ended,
    };
    vb_limits_init(&h->env.limits);
    return h;
}

void vb_fake_host_free(struct vb_fake_host *h)
{
    vb_session_free(h->session);
    for (size_t i = 0; i < h->n_w; i++) {
        vb_conn_free(h->w[i].conn);
        vb_components_free(h->w[i].doc);
        free(h->w[i].name);
        free(h->w[i].path);
    }
    for (size_t i = 0; i < h->n_p; i++) {
        vb_conn_free(h->p[i].conn);
        free(h->p[i].name);
    }
    vb_conn_free(h->mover);
    h->session = NULL;
    while (vb_loop_turn(h->loop, 0))
        ; /* what is still on its way frees itself */
    for (size_t i = 0; i < h->n_replies; i++)
        vb_msg_clear(&h->replies[i]);
    for (size_t i = 0; i < h->n_events; i++)
        vb_msg_clear(&h->events[i]);
    free(h->replies);
    free(h->events);
    vb_msg_clear(&h->mover_spec);
    vb_strv_clear(&h->log);
    vb_strv_clear(&h->exists);
    vb_buf_clear(&h->kept);
    vb_error_clear(&h->why);
    vb_journal_close(h->journal);
    vb_loop_free(h->loop);
    free(h);
}

void vb_fake_open(struct vb_fake_host *h, enum vb_job_kind kind, struct vb_job **edit)
{
    struct vb_job *job = vb_job_new(kind, "fake");
    if (!job->job_id) {
        char id[37];
        vb_guid_new(id);
        job->job_id = vb_strdup(id);
    }
    job->backup_type = VB_BACKUP_FULL;
    if (edit)
        *edit = job;
    h->session = vb_session_new(&h->env, job);
}
