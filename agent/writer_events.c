/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_events.c - what an event carries, whether it may come now, and the callback that answers it.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "agent/writer_host.h"
#include "agent/writer_internal.h"
#include "base/log.h"
#include "base/memlock.h"
#include "base/text.h"
#include "wire/conn.h"
#include "wire/protocol.h"

/* ---- the session's data ---- */

static void clear_set(struct vb_host *h)
{
    vb_strv_clear(&h->volumes);
    vb_free_ptr(&h->volume_mount);
    for (size_t i = 0; i < h->n_maps; i++) {
        free(h->maps[i].path);
        free(h->maps[i].snapshot_path);
    }
    h->n_maps = 0;
    h->atomic = false;
}

static void clear_doc(struct vb_host *h)
{
    vb_components_free(h->doc);
    h->doc = NULL;
    vb_free_ptr(&h->records);
    h->n_records = 0;
}

static void clear_session(struct vb_host *h)
{
    clear_set(h);
    clear_doc(h);
    vb_free_ptr(&h->session_id);
    vb_free_ptr(&h->set_id);
    h->consistency = VB_CONSISTENCY_UNKNOWN;
    h->backup_type = VB_BACKUP_UNDEFINED;
    h->restore_type = VB_RESTORE_TYPE_UNDEFINED;
    h->phase = VB_WP_NONE;
}

static int take_doc(struct vb_host *h, const unsigned char *xml, size_t n, struct vb_error *err)
{
    struct vb_components *doc = vb_writer_components_read(xml, n, err);

    if (doc == NULL)
        return -1;
    clear_doc(h);
    h->doc = doc;
    if (doc->n_writers != 1)
        return vb_fail(err, VB_E_PROTOCOL, "the agent sent the records of %zu writers instead of one", doc->n_writers);
    struct vb_writer_components *own = &doc->writers[0];
    if (!vb_guid_equal(own->writer_id, h->w.class_id))
        return vb_fail(err, VB_E_PROTOCOL, "the agent sent the records of another writer class, '%s'", own->writer_id);
    h->records = vb_alloc_n(own->n_components > 0 ? own->n_components : 1, sizeof *h->records);
    h->n_records = own->n_components;
    for (size_t i = 0; i < own->n_components; i++)
        h->records[i] = (struct vb_record){ .h = h, .c = &own->components[i] };
    if (doc->backup_type != VB_BACKUP_UNDEFINED)
        h->backup_type = doc->backup_type;
    if (doc->restore_type != VB_RESTORE_TYPE_UNDEFINED)
        h->restore_type = doc->restore_type;
    return 0;
}

static void replace(char **field, char *taken)
{
    if (taken == NULL)
        return;
    free(*field);
    *field = taken;
}

static int take_fields(struct vb_host *h, const struct vb_msg *m, struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;

    replace(&h->session_id, vb_msg_str(m, VB_F_SESSION));
    replace(&h->set_id, vb_msg_str(m, VB_F_SET));
    h->backup_type = (enum vb_backup_type)vb_msg_u64(m, VB_F_BACKUP_TYPE, (uint64_t)h->backup_type);
    h->restore_type = (enum vb_restore_type)vb_msg_u64(m, VB_F_RESTORE_TYPE, (uint64_t)h->restore_type);
    if (vb_msg_has(m, VB_F_ATOMIC))
        h->atomic = vb_msg_u64(m, VB_F_ATOMIC, 0) != 0;
    if (vb_msg_has(m, VB_F_VOLUME))
        vb_strv_clear(&h->volumes);
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag == VB_F_VOLUME) {
            char *v = vb_field_str(p, n);
            if (v == NULL)
                return vb_fail(err, VB_E_PROTOCOL, "the agent sent a broken volume name");
            vb_strv_take(&h->volumes, v);
        } else if (tag == VB_F_PATH_MAP) {
            const struct vb_msg g = vb_msg_view(p, n);
            VB_GROW(h->maps, h->n_maps, h->cap_maps);
            struct vb_wh_map *map = &h->maps[h->n_maps];
            map->path = vb_msg_str(&g, VB_F_PATH);
            map->snapshot_path = vb_msg_str(&g, VB_F_SNAPSHOT_PATH);
            map->writable = vb_msg_u64(&g, VB_F_ATTRIBUTES, 0) & (VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY);
            if (map->path == NULL || map->snapshot_path == NULL) {
                free(map->path);
                free(map->snapshot_path);
                return vb_fail(err, VB_E_PROTOCOL, "the agent sent a broken path map");
            }
            h->n_maps++;
        } else if (tag == VB_F_BCD && take_doc(h, p, n, err) != 0) {
            return -1;
        }
    }
    if (vb_msg_has(m, VB_F_VOLUME)) {
        free(h->volume_mount);
        h->volume_mount = vb_alloc_n(h->volumes.n, sizeof *h->volume_mount);
        for (size_t i = 0; i < h->volumes.n; i++)
            h->volume_mount[i] = vb_writer_mount_of(h->volumes.v[i]);
    }
    return 0;
}

/* ---- order of callbacks ---- */

struct step {
    enum vb_event event;
    enum vb_wh_phase needs, ok, failed;
};

/* What must have gone well before, and where success and failure lead. */
static const struct step STEPS[] = {
    { VB_EV_PREPARE_BACKUP, VB_WP_NONE, VB_WP_PREPARE_BACKUP, VB_WP_FAILED },
    { VB_EV_PREPARE_SNAPSHOT, VB_WP_PREPARE_BACKUP, VB_WP_PREPARE_SNAPSHOT, VB_WP_FAILED },
    { VB_EV_FREEZE, VB_WP_PREPARE_SNAPSHOT, VB_WP_FREEZE, VB_WP_FAILED },
    { VB_EV_THAW, VB_WP_FREEZE, VB_WP_THAW, VB_WP_FAILED },
    { VB_EV_POST_SNAPSHOT, VB_WP_THAW, VB_WP_POST_SNAPSHOT, VB_WP_POST_SNAPSHOT },
    { VB_EV_PRE_RESTORE, VB_WP_NONE, VB_WP_PRE_RESTORE, VB_WP_PRE_RESTORE }, /* PostRestore follows even so */
    { VB_EV_POST_RESTORE, VB_WP_PRE_RESTORE, VB_WP_POST_RESTORE, VB_WP_POST_RESTORE },
};

static const struct step *find_step(enum vb_event e)
{
    for (size_t i = 0; i < VB_COUNT(STEPS); i++)
        if (STEPS[i].event == e)
            return &STEPS[i];
    return NULL;
}

/* Abort is due from prepare_backup to the end of post_snapshot (B-74), again and again (B-73). */
static bool abort_due(const struct vb_host *h)
{
    return (h->phase >= VB_WP_PREPARE_BACKUP && h->phase <= VB_WP_THAW) || h->phase == VB_WP_ABORTED ||
           h->phase == VB_WP_FAILED;
}

/* A fresh host works off what a session owes whose own host has died: it runs without a session. */
static bool may_be_owed(enum vb_event e)
{
    return e == VB_EV_ABORT || e == VB_EV_BACKUP_SHUTDOWN || e == VB_EV_POST_RESTORE;
}

static int check_order(const struct vb_host *h, enum vb_event e, bool owed, bool *skip, struct vb_error *err)
{
    const struct step *s = find_step(e);

    *skip = false;
    if (owed && h->phase == VB_WP_NONE && may_be_owed(e))
        return 0;
    if (s != NULL && h->phase != s->needs)
        return vb_fail(err, VB_E_BAD_STATE, "%s is out of order for writer '%s'", vb_event_word(e), h->w.name);
    if (e == VB_EV_ABORT)
        *skip = !abort_due(h);
    else if (e == VB_EV_BACKUP_SHUTDOWN)
        *skip = h->phase == VB_WP_NONE;
    else if (e == VB_EV_BACKUP_COMPLETE && h->phase != VB_WP_POST_SNAPSHOT && h->phase != VB_WP_PREPARE_BACKUP)
        /* after prepare_backup alone: no file set needed a snapshot (B-35) */
        return vb_fail(err, VB_E_BAD_STATE, "%s is out of order for writer '%s'", vb_event_word(e), h->w.name);
    else if (e <= VB_EV_NONE || e >= VB_EV_COUNT)
        return vb_fail(err, VB_E_PROTOCOL, "the agent sent an unknown event %d", (int)e);
    return 0;
}

static void advance(struct vb_host *h, enum vb_event e, bool good)
{
    const struct step *s = find_step(e);

    if (s != NULL)
        h->phase = good ? s->ok : s->failed;
    else if (e == VB_EV_ABORT)
        h->phase = VB_WP_ABORTED;
    else if (e == VB_EV_BACKUP_COMPLETE)
        h->phase = VB_WP_COMPLETE;
    else if (e == VB_EV_BACKUP_SHUTDOWN)
        clear_session(h);
}

vb_writer_callback *vb_writer_callback_of(const struct vb_host *h, enum vb_event e)
{
    switch (e) {
    case VB_EV_IDENTIFY: return h->w.identify;
    case VB_EV_PREPARE_BACKUP: return h->w.prepare_backup;
    case VB_EV_PREPARE_SNAPSHOT: return h->w.prepare_snapshot;
    case VB_EV_FREEZE: return h->w.freeze;
    case VB_EV_THAW: return h->w.thaw;
    case VB_EV_POST_SNAPSHOT: return h->w.post_snapshot;
    case VB_EV_ABORT: return h->w.abort;
    case VB_EV_BACKUP_COMPLETE: return h->w.backup_complete;
    case VB_EV_BACKUP_SHUTDOWN: return h->w.backup_shutdown;
    case VB_EV_PRE_RESTORE: return h->w.pre_restore;
    case VB_EV_POST_RESTORE: return h->w.post_restore;
    case VB_EV_NONE:
    case VB_EV_COUNT: break;
    }
    return NULL;
}

/* ---- running one ---- */

static void release_log(struct vb_host *h)
{
    h->hold_log = false;
    for (size_t i = 0; i < h->n_held; i++) {
        if (h->fd >= 0)
            vb_msg_send_fd(h->fd, &h->held[i], NULL);
        vb_msg_clear(&h->held[i]);
    }
    h->n_held = 0;
}

static int run_callback(struct vb_host *h, enum vb_event e, struct vb_error *err)
{
    vb_writer_callback *fn = vb_writer_callback_of(h, e);
    int rc = 0;

    vb_error_clear(&h->failure);
    vb_error_clear(&h->trouble);
    h->event = e;
    if (fn != NULL) {
        vb_writer_set_busy(true);
        rc = fn(h->ctx, h);
        vb_writer_set_busy(false);
    }
    if (rc != 0) {
        if (h->failure.code != VB_OK)
            vb_error_copy(err, &h->failure);
        else if (h->trouble.code != VB_OK)
            vb_error_copy(err, &h->trouble);
        else
            vb_fail(err, VB_E_WRITER_NON_RETRYABLE, "writer '%s' failed in %s without giving a reason", h->w.name,
                    vb_event_word(e));
    }
    h->event = VB_EV_NONE;
    vb_strv_clear(&h->scratch);
    return rc != 0 ? -1 : 0;
}

static void add_xml(struct vb_msg *out, uint16_t tag, const struct vb_buf *xml)
{
    vb_msg_add(out, tag, xml->data, xml->len);
}

/* A fresh document each time: what an earlier Identify gave out stays as it was (W-40). */
static int identify(struct vb_host *h, struct vb_msg *out, struct vb_error *err)
{
    VB_AUTO_BUF xml = VB_BUF_INIT;
    int rc = -1;

    h->wmd = vb_wm_new(h->w.class_id, h->instance_id, h->w.name);
    h->wmd->instance_name = vb_strdup(h->instance_name);
    h->wmd->version = vb_strdup(h->w.version);
    h->wmd->usage = h->w.usage;
    h->wmd->source = h->w.source;
    h->wmd->level = h->w.level;
    if (run_callback(h, VB_EV_IDENTIFY, err) == 0) {
        rc = vb_wm_write(h->wmd, &xml, err);
        if (rc == 0)
            add_xml(out, VB_F_WMD, &xml);
    }
    vb_wm_free(h->wmd);
    h->wmd = NULL;
    return rc;
}

static void add_records(struct vb_host *h, enum vb_event e, struct vb_msg *out, struct vb_error *err)
{
    VB_AUTO_BUF xml = VB_BUF_INIT;
    VB_AUTO_ERROR e2 = VB_ERROR_INIT;

    if (h->doc == NULL || e == VB_EV_IDENTIFY)
        return;
    if (vb_writer_components_write(h->doc, &h->doc->writers[0], &xml, &e2) == 0)
        add_xml(out, VB_F_BCD, &xml);
    else if (err->code == VB_OK)
        vb_error_copy(err, &e2);
}

void vb_writer_handle_event(struct vb_host *h, const struct vb_msg *m, struct vb_msg *out)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t number = vb_msg_u64(m, VB_F_EVENT, 0), limit = vb_msg_u64(m, VB_F_DEADLINE_MS, 0);
    enum vb_event e = number < VB_EV_COUNT ? (enum vb_event)number : VB_EV_NONE;
    bool skip = false;

    h->deadline_us = limit > 0 && limit < UINT64_C(1) << 40 ? vb_writer_now_us() + limit * 1000u : 0;
    if (e == VB_EV_IDENTIFY) {
        identify(h, out, &err); /* touches nothing of the session (W-9) */
    } else if (check_order(h, e, vb_msg_has(m, VB_F_OWED), &skip, &err) == 0 && !skip && take_fields(h, m, &err) == 0) {
        if (e == VB_EV_PREPARE_SNAPSHOT)
            vb_memory_lock_prepare();
        if (e == VB_EV_FREEZE) {
            vb_memory_lock(); /* what the rights allow: no page may come from a frozen file system */
            h->hold_log = true;
        }
        int rc = run_callback(h, e, &err);
        if (e == VB_EV_FREEZE ? rc != 0 : h->hold_log) {
            release_log(h);
            munlockall();
        }
        /* the window is open after a good freeze: no more work than the answer */
        if (e != VB_EV_FREEZE || rc != 0)
            add_records(h, e, out, &err);
        if (h->consistency != VB_CONSISTENCY_UNKNOWN)
            vb_msg_add_u64(out, VB_F_CONSISTENCY, (uint64_t)h->consistency);
        advance(h, e, rc == 0);
    }
    vb_msg_add_error(out, &err);
}

/* The agent is gone or says goodbye: what is held is released first, then what was kept. */
void vb_writer_wind_up(struct vb_host *h, bool lost)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    h->deadline_us = vb_writer_now_us() + VB_WRITER_CLEANUP_MS * UINT64_C(1000);
    if (lost)
        h->fd = -1;
    if (abort_due(h) && h->phase != VB_WP_ABORTED) {
        if (run_callback(h, VB_EV_ABORT, &err) != 0)
            vb_log_error(VB_LOG_ERROR, &err);
        advance(h, VB_EV_ABORT, true);
    }
    release_log(h);
    if (h->phase != VB_WP_NONE) {
        vb_error_clear(&err);
        if (run_callback(h, VB_EV_BACKUP_SHUTDOWN, &err) != 0)
            vb_log_error(VB_LOG_ERROR, &err);
        advance(h, VB_EV_BACKUP_SHUTDOWN, true);
    }
}
