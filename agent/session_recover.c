/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_recover.c - a session made from the journal of a dead worker, so that the one way out cleans up for it.
 *
 * What may have been done is done again: Abort and BackupShutdown may come more than once (B-73), and deleting a shadow
 * copy that is gone is success.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"

static struct vb_sw *writer(struct vb_session *s, const char *name, const struct vb_child_refs *known)
{
    for (size_t i = 0; i < s->n_writers; i++)
        if (!strcmp(s->writers[i]->ref.name, name))
            return s->writers[i];
    for (size_t i = 0; i < known->n; i++)
        if (!strcmp(known->v[i].name, name))
            return vb_sw_add(s, &known->v[i]);
    return NULL; /* no longer configured: there is nobody to tell */
}

static void add_volume(struct vb_session *s, const char *id, const char *provider, const char *mount_point)
{
    struct vb_volumes *v = &s->volumes;
    VB_GROW(v->v, v->n, v->cap);
    v->v[v->n] = (struct vb_volume){
        vb_strdup(mount_point), vb_strdup(""), vb_strdup(""), vb_strdup(mount_point), { NULL, 0, 0 }, NULL,
        v->n
    };
    v->n++;
    s->set = vb_realloc_n(s->set, v->n, sizeof *s->set);
    struct vb_sv *x = &s->set[s->n_set++];
    *x = (struct vb_sv){ .provider = vb_sp_get(s, provider), .begun = true };
    memcpy(x->snapshot_id, id, VB_GUID_LEN + 1);
    for (size_t i = 0; i < s->n_set; i++)
        s->set[i].vol = &v->v[i]; /* the array may have moved */
}

struct replay { struct vb_session *s; struct vb_child_refs known; };

static void on_event(struct replay *r, const char *record)
{
    VB_AUTO_FREE char *name = vb_journal_value(record, "name"), *who = vb_journal_value(record, "writer");
    struct vb_sw *w = who ? writer(r->s, who, &r->known) : NULL;
    if (!w || !name)
        return;
    switch (vb_event_from_word(name)) {
    case VB_EV_PREPARE_BACKUP: w->prepared = true; break;
    case VB_EV_BACKUP_COMPLETE: w->past_post = true; break;
    case VB_EV_PRE_RESTORE: w->pre_restore = true; break;
    default: break;
    }
}

static void on_service(struct replay *r, const char *record)
{
    VB_AUTO_FREE char *name = vb_journal_value(record, "name");
    struct vb_strv *l = &r->s->stopped;
    if (!name)
        return;
    if (!strncmp(record, "service stop", 12) && !vb_strv_has(l, name))
        vb_strv_add(l, name);
    /* A start that was only begun is begun again: the record is written before acting. */
}

static int on_record(void *arg, uint64_t seq, const char *record)
{
    struct replay *r = arg;
    struct vb_session *s = r->s;
    (void)seq;
    VB_AUTO_FREE char *id = vb_journal_value(record, "id");
    if (!strncmp(record, "session ", 8) && id && vb_guid_valid(id)) {
        memcpy(s->session_id, id, VB_GUID_LEN + 1);
    } else if (!strncmp(record, "event ", 6)) {
        on_event(r, record);
    } else if (!strncmp(record, "snapshot ", 9) && id && vb_guid_valid(id)) {
        VB_AUTO_FREE char *set = vb_journal_value(record, "set"), *p = vb_journal_value(record, "provider");
        VB_AUTO_FREE char *mp = vb_journal_value(record, "volume");
        if (set && p && mp && vb_guid_valid(set)) {
            memcpy(s->set_id, set, VB_GUID_LEN + 1);
            add_volume(s, id, p, mp);
        }
    } else if (!strncmp(record, "receive ", 8) && id && vb_guid_valid(id)) {
        VB_AUTO_FREE char *set = vb_journal_value(record, "set"), *p = vb_journal_value(record, "provider");
        if (set && p && vb_guid_valid(set)) {
            free(s->incoming.set);
            free(s->incoming.id);
            free(s->incoming.provider);
            s->incoming.set = VB_STEAL(set);
            s->incoming.provider = VB_STEAL(p);
            s->incoming.id = VB_STEAL(id);
        }
    } else if (!strncmp(record, "received ", 9)) {
        vb_free_ptr(&s->incoming.set);
        vb_free_ptr(&s->incoming.provider);
        vb_free_ptr(&s->incoming.id);
    } else if (!strncmp(record, "deleted ", 8) && id) {
        for (size_t i = 0; i < s->n_set; i++)
            if (!strcmp(s->set[i].snapshot_id, id))
                s->set[i].deleted = true;
    } else if (!strncmp(record, "service ", 8)) {
        on_service(r, record);
    } else if (!strncmp(record, "created ", 8)) {
        for (size_t i = 0; i < s->n_writers; i++)
            s->writers[i]->past_post = true; /* no Abort after PostSnapshot (B-74) */
        VB_AUTO_FREE char *kept = vb_journal_value(record, "kept");
        s->kept = kept && !strcmp(kept, "1"); /* persistent: it survives its requester (S-10) */
    } else if (!strncmp(record, "restore", 7) && s->restore) {
        s->files_begun = true;
    }
    return 0;
}

struct vb_session *vb_session_recover(const struct vb_session_env *env, struct vb_job *job, const struct vb_buf *bcd,
                                      struct vb_error *err)
{
    struct vb_session *s = vb_alloc(sizeof *s);
    struct replay r = { s, { NULL, 0, 0 } };
    s->env = env;
    s->job = job;
    s->restore = job->kind == VB_JOB_RESTORE;
    s->next_id = 1;
    s->phase = VB_PH_IDENTIFIED;
    int rc = env->writers(env->arg, job, &r.known, err);
    if (rc == 0)
        rc = vb_journal_replay(env->journal, on_record, &r, err);
    vb_child_refs_clear(&r.known);
    if (rc == 0 && bcd && bcd->len)
        s->bcd = vb_components_read("kept document", bcd->data, bcd->len, NULL);
    if (rc < 0) {
        vb_session_free(s);
        return NULL;
    }
    s->recorded = true;
    (void)vb_s_journal(s, true, "recover");
    return s;
}
