/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_writers.c - the writers of a session: starting their hosts, and one event to many of them at a time.
 *
 * A host that hangs is killed when its time is up, one that dies is a failed writer; neither disturbs the others.
 * The clock of the freeze window starts before Freeze is sent and stops when Thaw was answered (Q-4, W-43).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "base/log.h"

static void begin(struct vb_sw *w, enum vb_event ev);
static void finished(struct vb_sw *w, struct vb_error *err);

/* ---- who is who ---- */

struct vb_sw *vb_sw_add(struct vb_session *s, const struct vb_child_ref *ref)
{
    struct vb_sw *w = vb_alloc(sizeof *w);
    w->s = s;
    vb_child_ref_copy(&w->ref, ref);
    w->state = VB_WS_STABLE;
    w->word = vb_journal_escape(ref->name);
    w->policy = ref->required ? VB_POLICY_REQUIRED : VB_POLICY_OPTIONAL;
    VB_GROW(s->writers, s->n_writers, s->cap_writers);
    s->writers[s->n_writers++] = w;
    return w;
}

void vb_sw_free(struct vb_sw *w)
{
    if (!w)
        return;
    vb_timer_cancel(w->timer);
    vb_timer_cancel(w->window);
    if (w->child.conn)
        w->s->env->stop(w->s->env->arg, &w->child, false);
    vb_child_ref_clear(&w->ref);
    free(w->word);
    free(w->class_id);
    free(w->name);
    free(w->instance_id);
    free(w->instance_name);
    vb_wm_free(w->wmd);
    vb_buf_clear(&w->wmd_xml);
    vb_error_clear(&w->failure);
    free(w);
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : !(a && a[0]) && !(b && b[0]);
}

struct vb_sw *vb_sw_find(const struct vb_session *s, const char *class_id, const char *instance_name)
{
    for (size_t i = 0; i < s->n_writers; i++)
        if (s->writers[i]->wmd && vb_guid_equal(s->writers[i]->class_id, class_id) &&
            same(s->writers[i]->instance_name, instance_name))
            return s->writers[i];
    return NULL;
}

struct vb_writer_components *vb_sw_record(const struct vb_sw *w)
{
    if (!w->s->bcd || !w->class_id)
        return NULL;
    for (size_t i = 0; i < w->s->bcd->n_writers; i++) {
        struct vb_writer_components *r = &w->s->bcd->writers[i];
        if (vb_guid_equal(r->writer_id, w->class_id) && same(r->instance_name, w->instance_name))
            return r;
    }
    return NULL;
}

bool vb_sw_takes_part(const struct vb_sw *w)
{
    const struct vb_writer_components *r = vb_sw_record(w);
    if (!w->wmd || !w->s->bcd)
        return false;
    return w->s->bcd->select_components ? r && r->n_components > 0 : true; /* B-17, B-18 */
}

bool vb_sw_alive(const struct vb_sw *w)
{
    return w->child.conn && w->ready && !w->aborted && !w->dropped && vb_sw_takes_part(w);
}

/* ---- failure ---- */

static enum vb_writer_state failed_state(enum vb_event ev)
{
    switch (ev) {
    case VB_EV_IDENTIFY: return VB_WS_FAILED_AT_IDENTIFY;
    case VB_EV_PREPARE_BACKUP: return VB_WS_FAILED_AT_PREPARE_BACKUP;
    case VB_EV_PREPARE_SNAPSHOT: return VB_WS_FAILED_AT_PREPARE_SNAPSHOT;
    case VB_EV_FREEZE: return VB_WS_FAILED_AT_FREEZE;
    case VB_EV_THAW: return VB_WS_FAILED_AT_THAW;
    case VB_EV_POST_SNAPSHOT: return VB_WS_FAILED_AT_POST_SNAPSHOT;
    case VB_EV_BACKUP_COMPLETE: return VB_WS_FAILED_AT_BACKUP_COMPLETE;
    case VB_EV_BACKUP_SHUTDOWN: return VB_WS_FAILED_AT_BACKUP_SHUTDOWN;
    case VB_EV_PRE_RESTORE: return VB_WS_FAILED_AT_PRE_RESTORE;
    case VB_EV_POST_RESTORE: return VB_WS_FAILED_AT_POST_RESTORE;
    case VB_EV_NONE:
    case VB_EV_ABORT:
    case VB_EV_COUNT: break;
    }
    return VB_WS_UNKNOWN;
}

void vb_sw_fail(struct vb_sw *w, enum vb_event ev, struct vb_error *err)
{
    enum vb_writer_state st = failed_state(ev);
    if (st != VB_WS_UNKNOWN && w->failure.code == VB_OK)
        w->state = st;
    if (w->failure.code == VB_OK)
        vb_error_move(&w->failure, err);
    else
        vb_error_clear(err);
}

void vb_sw_stop(struct vb_sw *w, bool kill)
{
    vb_timer_cancel(w->timer);
    vb_timer_cancel(w->window);
    w->timer = w->window = NULL;
    w->ready = false;
    if (w->child.conn)
        w->s->env->stop(w->s->env->arg, &w->child, kill);
}

/* ---- answers of the host ---- */

static void on_ready(struct vb_sw *w, struct vb_msg *m);

static void take_done(struct vb_sw *w, struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const unsigned char *p;
    size_t n;
    enum vb_event ev = w->running;
    bool failed = vb_msg_error(m, &err) < 0;
    vb_s_inner(w->s, vb_msg_u64(m, VB_F_DURATION_US, 0));
    if (vb_msg_has(m, VB_F_CONSISTENCY)) {
        uint64_t c = vb_msg_u64(m, VB_F_CONSISTENCY, 0);
        if (c >= VB_CONSISTENCY_NONE && c <= VB_CONSISTENCY_GROUP)
            w->lowered = (enum vb_consistency)c;
    }
    /* What a failed callback noted in its records is kept: it says which components failed (W-29). */
    struct vb_writer_components *r = vb_sw_record(w);
    if (r && vb_msg_bytes(m, VB_F_BCD, &p, &n)) {
        VB_AUTO_ERROR bad = VB_ERROR_INIT;
        if (vb_writer_components_merge(r, p, n, (int)ev, &bad) < 0 && !failed) {
            vb_error_move(&err, &bad);
            failed = true;
        }
    }
    if (ev == VB_EV_IDENTIFY && !failed) {
        if (!vb_msg_bytes(m, VB_F_WMD, &p, &n)) {
            failed = vb_fail(&err, VB_E_PROTOCOL, "no writer metadata document came") < 0;
        } else {
            vb_buf_reset(&w->wmd_xml);
            vb_buf_add(&w->wmd_xml, p, n);
            w->wmd = vb_wm_read(w->ref.name, p, n, &err);
            failed = !w->wmd;
            if (w->wmd && !vb_guid_equal(w->wmd->writer_id, w->class_id)) {
                failed = vb_fail(&err, VB_E_INVALID_XML_DOCUMENT, "the document names class '%s', the writer is '%s'",
                                 w->wmd->writer_id, w->class_id) < 0;
                vb_wm_free(w->wmd);
                w->wmd = NULL;
            }
        }
    }
    finished(w, failed ? &err : NULL);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_sw *w = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (m->type == VB_M_W_LOG) {
        VB_AUTO_FREE char *t = vb_msg_str(m, VB_F_TEXT);
        uint64_t level = vb_msg_u64(m, VB_F_LEVEL, VB_LOG_NOTICE);
        vb_log(level <= VB_LOG_DEBUG ? (enum vb_log_level)level : VB_LOG_DEBUG, "writer '%s': %s", w->ref.name,
               t ? t : "");
        if (level <= VB_LOG_WARNING)
            vb_s_warn(w->s, w, "writer '%s': %s", w->ref.name, t ? t : "");
    } else if (m->type == VB_M_W_READY && !w->ready) {
        on_ready(w, m);
    } else if (m->type == VB_M_W_DONE && w->running != VB_EV_NONE && m->id == w->id) {
        take_done(w, m);
    } else if (m->type != VB_M_W_DONE) {
        /* An answer that comes after its event was given up is late, not wrong. */
        vb_fail(&err, VB_E_PROTOCOL, "writer '%s' sent message type %u that was not expected", w->ref.name, m->type);
        vb_sw_stop(w, true);
        finished(w, &err);
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_sw *w = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)why;
    vb_sw_stop(w, false);
    vb_fail(&err, VB_E_WRITER_NOT_RESPONDING, "writer '%s' ended unexpectedly%s%s", w->ref.name,
            w->running != VB_EV_NONE ? " in " : "", w->running != VB_EV_NONE ? vb_event_word(w->running) : "");
    vb_hint(&err, "its messages stand above; run `vbackup writers metadata` to see whether it starts at all");
    if (w->running != VB_EV_NONE) {
        finished(w, &err);
    } else if (!w->s->ending && !w->shut_down && w->failure.code == VB_OK) {
        /* Between events: what it held is lost with the process. */
        vb_s_event(w->s, "state", "lost", NULL, w, &err, 0);
        if (w->holds)
            vb_sw_fail(w, VB_EV_FREEZE, &err);
        else
            vb_error_move(&w->failure, &err);
        w->holds = w->froze = false;
    }
}

static const struct vb_conn_handler HANDLER = { on_msg, on_close, NULL };

static void on_timeout(void *arg)
{
    struct vb_sw *w = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    enum vb_event ev = w->running;
    w->timer = NULL;
    if (!w->ready)
        vb_fail(&err, VB_E_WRITER_NOT_RESPONDING, "writer '%s' did not start in time", w->ref.name);
    else
        vb_fail(&err, ev == VB_EV_FREEZE || ev == VB_EV_THAW ? VB_E_WRITER_TIMEOUT : VB_E_WRITER_NOT_RESPONDING,
                "writer '%s' did not answer %s in time and was stopped", w->ref.name, vb_event_word(ev));
    vb_hint(&err, "raise the limit in section [agent] if the application needs longer, or lower its load");
    vb_sw_stop(w, true);
    finished(w, &err);
}

/* The window of one writer has passed while it holds (B-38, 2.3). */
static void on_window(void *arg)
{
    struct vb_sw *w = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    w->window = NULL;
    if (w->running == VB_EV_FREEZE || w->running == VB_EV_THAW) {
        vb_timer_cancel(w->timer);
        on_timeout(w);
        return;
    }
    vb_fail(&err, VB_E_WRITER_TIMEOUT, "writer '%s' was held longer than its window of %ju ms", w->ref.name,
            (uintmax_t)w->freeze_ms);
    vb_hint(&err, "make the snapshot faster, or raise the writer's window");
    vb_s_event(w->s, "event", "Freeze", "failed", w, &err, 0);
    vb_sw_fail(w, VB_EV_FREEZE, &err);
    w->froze = false;
    vb_sw_abort_now(w);
}

/* ---- sending ---- */

/* How long a writer may take to reach its hold.  Those that hold already wait for it: half of what is left of the shortest window
 * is theirs, so that one that hangs costs nobody else the snapshot (B-67). */
static uint64_t freeze_share(const struct vb_session *s, const struct vb_sw *w, uint64_t limit)
{
    uint64_t least = 0, passed = (vb_loop_now_us(s->env->loop) - s->window_us) / 1000;
    size_t others = 0;
    for (size_t i = 0; i < s->n_writers; i++) {
        const struct vb_sw *o = s->writers[i];
        if (o == w || !vb_sw_alive(o) || !vb_sw_takes_part(o))
            continue;
        others++;
        if (least == 0 || o->freeze_ms < least)
            least = o->freeze_ms;
    }
    if (others == 0)
        return limit;
    uint64_t share = least > passed + 1 ? (least - passed) / 2 : 1;
    return limit == 0 || share < limit ? share : limit;
}

static void add_event_fields(struct vb_sw *w, enum vb_event ev, struct vb_msg *m)
{
    struct vb_session *s = w->s;
    uint64_t limit = vb_limits_event(&s->env->limits, ev);
    bool in_window = ev == VB_EV_FREEZE || ev == VB_EV_THAW;
    if (in_window && w->freeze_ms && (!limit || limit > w->freeze_ms))
        limit = w->freeze_ms;
    if (ev == VB_EV_FREEZE)
        limit = freeze_share(s, w, limit);
    vb_msg_add_u64(m, VB_F_EVENT, (uint64_t)ev);
    vb_msg_add_u64(m, VB_F_DEADLINE_MS, limit);
    if (ev == VB_EV_IDENTIFY)
        return;
    vb_msg_add_str(m, VB_F_SESSION, s->session_id);
    if (w->fresh)
        vb_msg_add_u64(m, VB_F_OWED, 1);
    if (s->set_id[0])
        vb_msg_add_str(m, VB_F_SET, s->set_id);
    if (s->restore)
        vb_msg_add_u64(m, VB_F_RESTORE_TYPE, s->bcd ? (uint64_t)s->bcd->restore_type : 0);
    else
        vb_msg_add_u64(m, VB_F_BACKUP_TYPE, s->bcd ? (uint64_t)s->bcd->backup_type : (uint64_t)s->job->backup_type);
    if (ev == VB_EV_PREPARE_BACKUP || ev == VB_EV_PREPARE_SNAPSHOT || ev == VB_EV_POST_SNAPSHOT) {
        bool atomic = true;
        for (size_t i = 0; i < s->n_set; i++) {
            vb_msg_add_str(m, VB_F_VOLUME, s->set[i].vol->mount_point);
            /* Several volumes share one instant only if their provider says so. */
            atomic = atomic && s->set[i].provider && s->set[i].atomic && (s->n_set == 1 || s->set[i].group_atomic);
        }
        vb_msg_add_u64(m, VB_F_ATOMIC, s->n_set > 0 && atomic);
    }
    for (size_t i = 0; ev == VB_EV_POST_SNAPSHOT && i < s->n_set; i++)
        for (size_t k = 0; k < s->set[i].map_from.n; k++) {
            VB_AUTO_MSG g = VB_MSG_INIT(0);
            vb_msg_add_str(&g, VB_F_PATH, s->set[i].map_from.v[k]);
            vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, s->set[i].map_to.v[k]);
            vb_msg_add_u64(&g, VB_F_ATTRIBUTES, vb_sv_attributes(s, &s->set[i]));
            vb_msg_add_group(m, VB_F_PATH_MAP, &g);
        }
    const struct vb_writer_components *r = vb_sw_record(w);
    if (r && !in_window &&
        !s->window_open) { /* no documents are made inside the window: the host keeps what it was sent last */
        VB_AUTO_BUF xml = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (vb_writer_components_write(s->bcd, r, &xml, &err) == 0)
            vb_msg_add(m, VB_F_BCD, xml.data, xml.len);
        else
            vb_log_error(VB_LOG_ERROR, &err);
    }
}

static void send_event(struct vb_sw *w)
{
    enum vb_event ev = w->running;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_EVENT);
    m.id = w->id = w->s->next_id++;
    add_event_fields(w, ev, &m);
    w->sent_us = vb_loop_now_us(w->s->env->loop);
    vb_conn_send(w->child.conn, &m);
}

static void on_ready(struct vb_sw *w, struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (vb_msg_error(m, &err) < 0) {
        vb_sw_stop(w, true);
        finished(w, &err);
        return;
    }
    free(w->class_id);
    free(w->name);
    free(w->instance_id);
    free(w->instance_name);
    w->class_id = vb_msg_str(m, VB_F_CLASS);
    w->name = vb_msg_str(m, VB_F_WRITER);
    w->instance_id = vb_msg_str(m, VB_F_INSTANCE);
    w->instance_name = vb_msg_str(m, VB_F_INSTANCE_NAME);
    w->freeze_ms = vb_msg_u64(m, VB_F_FREEZE_MS, 0);
    if (!w->freeze_ms)
        w->freeze_ms = VB_DEFAULT_FREEZE_MS;
    uint64_t cap = w->s->env->limits.freeze;
    if (cap && cap < w->freeze_ms)
        w->freeze_ms = cap;
    uint64_t level = vb_msg_u64(m, VB_F_LEVEL, VB_LEVEL_FRONT_END);
    w->level = level == VB_LEVEL_SYSTEM || level == VB_LEVEL_BACK_END || level == VB_LEVEL_SYSTEM_RM
                   ? (enum vb_level)level : VB_LEVEL_FRONT_END; /* W-2 */
    if (!w->class_id || !vb_guid_valid(w->class_id)) {
        vb_fail(&err, VB_E_PROTOCOL, "writer '%s' names no valid class id", w->ref.name);
        vb_sw_stop(w, true);
        finished(w, &err);
        return;
    }
    w->ready = true;
    if (w->running != VB_EV_NONE)
        send_event(w);
}

/* What frees an application is sent even if it cannot be recorded. */
static bool must_go_out(enum vb_event ev)
{
    return ev == VB_EV_THAW || ev == VB_EV_ABORT || ev == VB_EV_BACKUP_SHUTDOWN || ev == VB_EV_POST_RESTORE;
}

static void begin(struct vb_sw *w, enum vb_event ev)
{
    struct vb_session *s = w->s;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t limit = vb_limits_event(&s->env->limits, ev);
    if (ev == VB_EV_FREEZE)
        limit = freeze_share(s, w, limit);
    w->running = ev;
    if (vb_s_journal(s, ev != VB_EV_IDENTIFY, "event name=%s writer=%s", vb_event_word(ev), w->word) < 0 &&
        !must_go_out(ev)) {
        vb_error_copy(&err, &s->journal_error);
        finished(w, &err); /* never sent: nothing is owed for it */
        return;
    }
    switch (ev) { /* noted before it is sent: whoever cleans up must know */
    case VB_EV_PREPARE_BACKUP: w->prepared = true; break;
    case VB_EV_FREEZE: w->holds = true; break;
    case VB_EV_ABORT: w->aborted = true; w->holds = false; break;
    case VB_EV_BACKUP_COMPLETE: w->completed = true; break;
    case VB_EV_BACKUP_SHUTDOWN: w->shut_down = true; break;
    case VB_EV_PRE_RESTORE: w->pre_restore = true; break;
    case VB_EV_POST_RESTORE: w->post_restore = true; break;
    default: break;
    }
    vb_s_event(s, "event", vb_event_word(ev), "begin", w, NULL, 0);
    if (ev == VB_EV_FREEZE)
        w->window = vb_loop_after(s->env->loop, w->freeze_ms, on_window, w);
    if (limit)
        w->timer = vb_loop_after(s->env->loop, limit, on_timeout, w);
    if (w->child.conn) {
        if (w->ready)
            send_event(w);
        return;
    }
    w->fresh = ev != VB_EV_IDENTIFY; /* the host that had the session is gone */
    if (s->env->start(s->env->arg, VB_CHILD_WRITER, &w->ref, &w->child, &err) < 0) {
        finished(w, &err);
        return;
    }
    VB_AUTO_FREE char *name = vb_printf("writer '%s'", w->ref.name);
    vb_conn_set_name(w->child.conn, name);
    vb_conn_set_handler(w->child.conn, &HANDLER, w);
    (void)vb_s_journal(s, false, "host writer=%s pid=%d", w->word, w->child.pid);
}

static void round_over(struct vb_session *s)
{
    vb_step *done = s->round.done;
    s->round.active = false;
    s->round.done = NULL;
    if (done)
        done(s);
}

static void left_one(struct vb_session *s)
{
    if (s->round.active && --s->round.left == 0)
        vb_s_post(s, round_over);
}

/* The writer is done with what the round wanted of it. */
static void left(struct vb_sw *w)
{
    enum vb_event next = w->next;
    w->next = VB_EV_NONE;
    if (next != VB_EV_NONE) {
        begin(w, next);
    } else if (w->in_round) {
        w->in_round = false;
        left_one(w->s);
    }
}

static void success(struct vb_sw *w, enum vb_event ev)
{
    switch (ev) {
    case VB_EV_PREPARE_SNAPSHOT: w->state = VB_WS_WAITING_FOR_FREEZE; break;
    case VB_EV_FREEZE: w->state = VB_WS_WAITING_FOR_THAW; w->froze = true; break;
    case VB_EV_THAW: w->state = VB_WS_WAITING_FOR_POST_SNAPSHOT; w->holds = false; w->thawed = true; break;
    case VB_EV_POST_SNAPSHOT: w->state = VB_WS_WAITING_FOR_BACKUP_COMPLETE; w->past_post = true; break;
    case VB_EV_IDENTIFY:
    case VB_EV_PREPARE_BACKUP:
    case VB_EV_BACKUP_COMPLETE:
    case VB_EV_PRE_RESTORE:
    case VB_EV_POST_RESTORE: w->state = VB_WS_STABLE; break;
    default:
        if (w->failure.code == VB_OK)
            w->state = VB_WS_STABLE; /* Abort and BackupShutdown do not hide an earlier failure */
        break;
    }
}

/* The running event is over. */
static void finished(struct vb_sw *w, struct vb_error *err)
{
    struct vb_session *s = w->s;
    enum vb_event ev = w->running;
    uint64_t took = w->sent_us ? vb_loop_now_us(s->env->loop) - w->sent_us : 0;
    if (ev == VB_EV_NONE)
        return;
    w->running = VB_EV_NONE;
    w->sent_us = 0;
    vb_timer_cancel(w->timer);
    w->timer = NULL;
    if (ev == VB_EV_THAW || ev == VB_EV_ABORT || (ev == VB_EV_FREEZE && err)) {
        vb_timer_cancel(w->window);
        w->window = NULL;
    }
    vb_s_event(s, "event", vb_event_word(ev), err ? "failed" : "end", w, err, took);
    if (!err) {
        success(w, ev);
    } else {
        if (ev == VB_EV_POST_SNAPSHOT)
            w->past_post = true;
        if (ev == VB_EV_ABORT && !w->child.conn && !w->fresh)
            w->aborted = false; /* it died with the Abort unread: a fresh host gets it */
        if (ev == VB_EV_PREPARE_BACKUP || ev == VB_EV_PREPARE_SNAPSHOT)
            w->dropped = true;
        (void)vb_s_journal(s, false, "failed name=%s writer=%s code=%d", vb_event_word(ev), w->word, (int)err->code);
        vb_sw_fail(w, ev, err);
        if (ev == VB_EV_FREEZE || ev == VB_EV_THAW) { /* B-67: a failed Freeze or Thaw produces Abort, at once */
            w->froze = w->froze && ev == VB_EV_THAW;
            vb_sw_abort_now(w);
            return; /* the round waits for the Abort */
        }
    }
    left(w);
}

void vb_sw_abort_now(struct vb_sw *w)
{
    if (!w->child.conn) {
        /* Its process is gone, and what it held went with it; a fresh host gets the Abort after the window. */
        w->holds = false;
        left(w);
    } else if (w->running == VB_EV_NONE && !w->aborted) {
        begin(w, VB_EV_ABORT);
    }
}

void vb_round(struct vb_session *s, enum vb_event ev, vb_sw_filter *filter, vb_step *done)
{
    s->round.active = true;
    s->round.ev = ev;
    s->round.done = done;
    s->round.left = 1; /* ours, so that the round cannot end while it is being sent */
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_sw *w = s->writers[i];
        if (!filter(w))
            continue;
        s->round.left++;
        w->in_round = true;
        if (w->running == VB_EV_NONE)
            begin(w, ev);
        else
            w->next = ev; /* an Abort of its own is still under way */
    }
    left_one(s);
}

void vb_sw_give_up(struct vb_sw *w)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_fail(&err, VB_E_CANCELLED, "writer '%s' was stopped inside %s: the job was cancelled", w->ref.name,
            vb_event_word(w->running));
    w->next = VB_EV_NONE;
    vb_sw_stop(w, true);
    finished(w, &err);
}

void vb_round_check(struct vb_session *s)
{
    if (s->round.active && s->round.left == 0)
        vb_s_post(s, round_over);
}
