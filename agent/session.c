/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session.c - the life of a session: commands in, exactly one reply for each, events and journal records out.
 */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "agent/session_shadow.h"
#include "base/log.h"

void vb_child_ref_clear(struct vb_child_ref *r)
{
    vb_free_ptr(&r->name);
    vb_free_ptr(&r->module);
    vb_free_ptr(&r->instance);
}

void vb_child_refs_clear(struct vb_child_refs *c)
{
    for (size_t i = 0; i < c->n; i++)
        vb_child_ref_clear(&c->v[i]);
    vb_free_ptr(&c->v);
    c->n = c->cap = 0;
}

void vb_child_ref_copy(struct vb_child_ref *to, const struct vb_child_ref *from)
{
    *to = (struct vb_child_ref){ vb_strdup(from->name), vb_strdup(from->module), vb_strdup(from->instance),
                                 from->required, from->adhoc };
}

struct vb_session *vb_session_new(const struct vb_session_env *env, struct vb_job *job)
{
    struct vb_session *s = vb_alloc(sizeof *s);
    s->env = env;
    s->job = job;
    s->restore = job->kind == VB_JOB_RESTORE;
    vb_guid_new(s->session_id);
    s->next_id = 1;
    s->recorded = vb_s_journal(s, true, "session id=%s", s->session_id) == 0;
    return s;
}

void vb_session_free(struct vb_session *s)
{
    if (!s)
        return;
    vb_loop_unpost(s->env->loop, s);
    vb_timer_cancel(s->limit);
    vb_timer_cancel(s->grace);
    vb_timer_cancel(s->watch_timer);
    vb_timer_cancel(s->calls.timer);
    vb_mover_stop(s);
    for (size_t i = 0; i < s->n_writers; i++)
        vb_sw_free(s->writers[i]);
    for (size_t i = 0; i < s->n_providers; i++)
        vb_sp_free(s->providers[i]);
    for (size_t i = 0; i < s->n_set; i++)
        vb_sv_clear(&s->set[i]);
    vb_calls_clear(s);
    vb_s_shadow_clear(s);
    for (size_t i = 0; i < s->n_stored; i++)
        vb_wm_free(s->stored[i]);
    vb_strv_clear(&s->waiting.components);
    vb_strv_clear(&s->waiting.staged);
    vb_strv_clear(&s->waiting.final);
    free(s->writers);
    free(s->steps);
    free(s->providers);
    free(s->set);
    free(s->calls.v);
    free(s->stored);
    vb_volumes_clear(&s->volumes);
    vb_components_free(s->bcd);
    vb_msg_clear(&s->cmd);
    vb_msg_clear(&s->mover_spec);
    vb_msg_clear(&s->mover_reply);
    vb_msg_clear(&s->mover_local);
    vb_strv_clear(&s->queue);
    vb_strv_clear(&s->stopped);
    vb_error_clear(&s->calls.failure);
    vb_error_clear(&s->trouble);
    vb_error_clear(&s->watchdog_error);
    vb_error_clear(&s->watchdog_fired);
    vb_error_clear(&s->service_error);
    vb_error_clear(&s->why);
    vb_error_clear(&s->journal_error);
    vb_buf_clear(&s->left_behind);
    vb_job_free(s->job);
    free(s);
}

/* ---- journal and events ---- */

int vb_s_journal(struct vb_session *s, bool sync, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    vb_error_clear(&s->journal_error);
    if (vb_journal_add(s->env->journal, sync && !s->window_open, &s->journal_error, "%s", text) == 0)
        return 0;
    vb_hint(&s->journal_error, "make room on the file system that holds the agent's state directory on this host");
    if (!s->journal_failed) { /* once: what fails after it, fails for the same reason */
        s->journal_failed = true;
        vb_log_error(VB_LOG_ERROR, &s->journal_error);
    }
    return -1;
}

void vb_s_event(struct vb_session *s, const char *kind, const char *name, const char *phase, const struct vb_sw *w,
                const struct vb_error *err, uint64_t duration_us)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_EVENT);
    vb_msg_add_str(&m, VB_F_KIND, kind);
    vb_msg_add_str(&m, VB_F_EVENT, name);
    vb_msg_add_str(&m, VB_F_PHASE, phase);
    if (w) {
        vb_msg_add_str(&m, VB_F_WRITER, w->name ? w->name : w->ref.name);
        vb_msg_add_str(&m, VB_F_CLASS, w->class_id);
        vb_msg_add_str(&m, VB_F_INSTANCE, w->instance_id);
        vb_msg_add_str(&m, VB_F_INSTANCE_NAME, w->instance_name);
    }
    if (duration_us)
        vb_msg_add_u64(&m, VB_F_DURATION_US, duration_us);
    if (err && err->code != VB_OK)
        vb_msg_add_error(&m, err);
    else if (phase)
        vb_msg_add_str(&m, VB_F_TEXT, phase);
    s->env->event(s->env->arg, &m);
}

void vb_s_warn(struct vb_session *s, const struct vb_sw *w, const char *fmt, ...)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    va_list ap;
    va_start(ap, fmt);
    err.text = vb_vprintf(fmt, ap);
    va_end(ap);
    err.code = VB_E_UNEXPECTED;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_EVENT);
    vb_msg_add_str(&m, VB_F_KIND, "warning");
    if (w)
        vb_msg_add_str(&m, VB_F_WRITER, w->name ? w->name : w->ref.name);
    vb_msg_add_str(&m, VB_F_TEXT, err.text);
    s->env->event(s->env->arg, &m);
    vb_log(VB_LOG_WARNING, "%s", err.text);
}

int vb_s_call(struct vb_session *s, const char *name)
{
    int rc = vb_s_journal(s, true, "call name=%s", name);
    vb_s_event(s, "call", name, rc < 0 ? "failed" : NULL, NULL, rc < 0 ? &s->journal_error : NULL, 0);
    return rc;
}

/* ---- posted steps: a callback must not free what called it, so every continuation comes from the loop ---- */

static void run_posted(void *arg)
{
    struct vb_session *s = arg;
    vb_step *step = s->steps[0];
    s->n_steps--;
    memmove(s->steps, s->steps + 1, s->n_steps * sizeof *s->steps);
    step(s);
}

void vb_s_post(struct vb_session *s, vb_step *step)
{
    VB_GROW(s->steps, s->n_steps, s->cap_steps);
    s->steps[s->n_steps++] = step;
    vb_loop_post(s->env->loop, run_posted, s);
}

/* ---- replies ---- */

void vb_s_add_status(struct vb_session *s, struct vb_msg *m)
{
    for (size_t i = 0; i < s->n_writers; i++) {
        const struct vb_sw *w = s->writers[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        if (!w->wmd && !w->prepared && !w->pre_restore)
            continue; /* failed at Identify: there is no status to ask for (B-9); it stands in FAILED */
        vb_msg_add_str(&g, VB_F_CLASS, w->class_id);
        vb_msg_add_str(&g, VB_F_INSTANCE, w->instance_id);
        vb_msg_add_str(&g, VB_F_INSTANCE_NAME, w->instance_name);
        vb_msg_add_str(&g, VB_F_WRITER, w->name);
        vb_msg_add_u64(&g, VB_F_STATE, (uint64_t)w->state);
        vb_msg_add_error(&g, &w->failure);
        vb_msg_add_group(m, VB_F_STATUS, &g);
    }
}

int vb_s_add_bcd(struct vb_session *s, struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_BUF xml = VB_BUF_INIT;
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_sw *w = s->writers[i];
        struct vb_writer_components *r = vb_sw_record(w);
        if (!r)
            continue;
        r->state = w->state;
        r->failure_code = w->failure.code;
        vb_free_ptr(&r->failure_text);
        vb_free_ptr(&r->failure_hint);
        r->failure_text = vb_strdup(w->failure.text);
        r->failure_hint = vb_strdup(w->failure.hint);
    }
    if (vb_components_write(s->bcd, &xml, err) < 0)
        return -1;
    vb_msg_add(m, VB_F_BCD, xml.data, xml.len);
    return 0;
}

void vb_s_reply(struct vb_session *s, struct vb_msg *m)
{
    if (!s->busy) {
        vb_msg_clear(m);
        return;
    }
    m->type = VB_M_REPLY;
    m->id = s->cmd.id;
    s->busy = false;
    (void)vb_s_journal(s, true, "reply type=%u id=%ju code=%ju", s->cmd.type, (uintmax_t)m->id,
                 (uintmax_t)vb_msg_u64(m, VB_F_CODE, 0));
    s->env->reply(s->env->arg, m);
    vb_msg_clear(&s->cmd);
    vb_msg_clear(m);
}

void vb_s_fail(struct vb_session *s, struct vb_error *err)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    vb_msg_add_error(&m, err);
    if (s->bcd && s->phase != VB_PH_NEW)
        (void)vb_s_add_bcd(s, &m, NULL);
    vb_s_add_status(s, &m);
    vb_s_reply(s, &m);
    vb_error_clear(err);
}

/* ---- commands ---- */

struct rule {
    uint16_t type;
    const char *name;
    unsigned phases; /* bits of enum vb_phase in which it is legal (2.2) */
    int mode;        /* 1 backup only, 2 restore only, 0 both */
    void (*run)(struct vb_session *s);
};
#define IN(p) (1u << (p))

static const struct rule RULES[] = {
    { VB_M_IDENTIFY, "GatherWriterMetadata", IN(VB_PH_NEW), 0, vb_s_identify },
    { VB_M_PREPARE, "PrepareForBackup", IN(VB_PH_NEW) | IN(VB_PH_IDENTIFIED), 1, vb_s_prepare },
    { VB_M_SNAPSHOT, "DoSnapshotSet", IN(VB_PH_PREPARED), 1, vb_s_snapshot },
    { VB_M_CAPTURE, "Capture", IN(VB_PH_SNAPSHOT) | IN(VB_PH_CAPTURED), 1, vb_s_capture },
    { VB_M_COMPLETE, "BackupComplete", IN(VB_PH_SNAPSHOT) | IN(VB_PH_CAPTURED), 1, vb_s_complete },
    { VB_M_PRE_RESTORE, "PreRestore", IN(VB_PH_IDENTIFIED), 2, vb_s_pre_restore },
    { VB_M_RESTORE_FILES, "RestoreFiles",
      IN(VB_PH_NEW) | IN(VB_PH_IDENTIFIED) | IN(VB_PH_PRE_RESTORED) | IN(VB_PH_RESTORED), 2, vb_s_restore_files },
    { VB_M_POST_RESTORE, "PostRestore", IN(VB_PH_PRE_RESTORED) | IN(VB_PH_RESTORED), 2, vb_s_post_restore },
    { VB_M_SHADOW, "Shadow", ~0u, 0, vb_s_shadow },
    { VB_M_RELEASE, "Release", ~0u, 0, vb_s_release },
};

static const char *const PHASES[] = { "new",           "identified", "prepared",     "snapshot taken",
                                      "captured",      "completed",  "pre-restored", "restored",
                                      "post-restored", "aborted",    "released" };

const char *vb_session_state_word(const struct vb_session *s)
{
    return PHASES[s->phase];
}

bool vb_session_in_window(const struct vb_session *s)
{
    return s->window_open;
}

bool vb_session_still_frozen(const struct vb_session *s)
{
    return s->still_frozen;
}

/* What cannot be recorded is not done, except what cleans up. */
static bool record_command(struct vb_session *s, const char *name, const struct vb_msg *m)
{
    if (!s->recorded)
        s->recorded = vb_s_journal(s, true, "session id=%s", s->session_id) == 0;
    if (s->recorded && vb_s_journal(s, true, "command name=%s id=%ju", name, (uintmax_t)m->id) == 0)
        return true;
    if (m->type == VB_M_RELEASE)
        return true;
    VB_AUTO_MSG r = VB_MSG_INIT(VB_M_REPLY);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_error_copy(&err, &s->journal_error);
    vb_context(&err, "'%s' refused", name);
    r.id = m->id;
    vb_msg_add_error(&r, &err);
    vb_s_add_status(s, &r);
    s->env->reply(s->env->arg, &r);
    return false;
}

static void refuse(struct vb_session *s, const struct vb_msg *m, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(struct vb_session *s, const struct vb_msg *m, const char *fmt, ...)
{
    VB_AUTO_MSG r = VB_MSG_INIT(VB_M_REPLY);
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    r.id = m->id;
    vb_msg_add_u64(&r, VB_F_CODE, VB_E_BAD_STATE);
    vb_msg_add_str(&r, VB_F_TEXT, text);
    vb_s_add_status(s, &r);
    s->env->reply(s->env->arg, &r);
}

void vb_session_command(struct vb_session *s, const struct vb_msg *m)
{
    if (m->type == VB_M_ABORT) {
        vb_s_abort(s, m);
        return;
    }
    for (size_t i = 0; i < VB_COUNT(RULES); i++) {
        const struct rule *r = &RULES[i];
        if (r->type != m->type)
            continue;
        if (s->ending || s->leaving || s->phase == VB_PH_RELEASED)
            refuse(s, m, "'%s' refused: the job is being released", r->name);
        else if (s->busy || s->aborting_ours)
            refuse(s, m, "'%s' refused: the command before it has not been answered yet", r->name);
        else if ((r->mode == 1 && s->job->kind != VB_JOB_BACKUP) || (r->mode == 2 && !s->restore))
            refuse(s, m, "'%s' refused: the job is not a %s", r->name, r->mode == 1 ? "backup" : "restore");
        else if (!(r->phases & IN(s->phase)))
            refuse(s, m, "'%s' refused: the session is '%s'", r->name, PHASES[s->phase]);
        else if (record_command(s, r->name, m)) {
            s->busy = true;
            s->cmd.type = m->type;
            s->cmd.id = m->id;
            vb_buf_reset(&s->cmd.body);
            vb_buf_add(&s->cmd.body, m->body.data, m->body.len);
            if (!s->delayed) {
                r->run(s);
            } else if (m->type != VB_M_RELEASE) {
                s->held = r->run;
            } else {
                struct vb_msg ok = VB_MSG_INIT(VB_M_REPLY);
                s->leaving = true;
                vb_s_reply(s, &ok);
            }
        }
        return;
    }
    VB_AUTO_MSG r = VB_MSG_INIT(VB_M_REPLY);
    r.id = m->id;
    vb_msg_add_u64(&r, VB_F_CODE, VB_E_PROTOCOL);
    VB_AUTO_FREE char *text = vb_printf("message type %u is not a command of a job", m->type);
    vb_msg_add_str(&r, VB_F_TEXT, text);
    s->env->reply(s->env->arg, &r);
}
