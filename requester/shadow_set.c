/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow_set.c - a shadow copy set from the requester's side: identify, select, prepare, snapshot, complete.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "documents/selection.h"
#include "requester/shadow.h"
#include "wire/protocol.h"

void vb_shadow_make_clear(struct vb_shadow_make *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct vb_shadow_volume *v = &m->v[i];
        char *all[] = { v->id, v->volume, v->device, v->fs_type, v->provider, v->path, v->remark };
        for (size_t k = 0; k < VB_COUNT(all); k++)
            free(all[k]);
    }
    free(m->v);
    vb_strv_clear(&m->volumes);
    vb_strv_clear(&m->components);
    vb_strv_clear(&m->excluded);
    vb_strv_clear(&m->required);
    vb_gather_host_clear(&m->writers);
    vb_components_free(m->bcd);
    *m = (struct vb_shadow_make){ 0 };
}

/* ---- what was asked for ---- */

/* [WRITER][:COMPONENT]; both may be NULL afterwards. */
static void split(const char *text, char **writer, char **component)
{
    const char *colon = strchr(text, ':');
    *writer = colon == text || !*text ? NULL : colon ? vb_strndup(text, (size_t)(colon - text)) : vb_strdup(text);
    *component = colon && colon[1] ? vb_strdup(colon + 1) : NULL;
}

struct vb_job_writer *vb_shadow_policies(const struct vb_shadow_make *m, size_t *n)
{
    struct vb_job_writer *v = vb_alloc_n(m->required.n + m->excluded.n + 1, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < m->required.n; i++)
        if (!strchr(m->required.v[i], ':'))
            v[(*n)++] = (struct vb_job_writer){ m->required.v[i], VB_POLICY_REQUIRED };
    for (size_t i = 0; i < m->excluded.n; i++)
        if (!strchr(m->excluded.v[i], ':'))
            v[(*n)++] = (struct vb_job_writer){ m->excluded.v[i], VB_POLICY_IGNORED };
    return v;
}

int vb_shadow_make_check(const struct vb_shadow_make *m, struct vb_error *err)
{
    bool no_writers = m->attributes & VB_SA_NO_WRITERS;
    if (vb_context_check(m->attributes, err) < 0)
        return -1;
    if (no_writers && m->components.n) {
        vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "component '%s' cannot be in a set of a context without writers",
                m->components.v[0]);
        vb_hint(err, "name volumes instead, or leave out --no-writers");
        return -1;
    }
    if (no_writers && (m->required.n || m->excluded.n))
        return vb_fail(err, VB_E_USAGE, "writer '%s' can be neither required nor excluded in a context without writers",
                       m->required.n ? m->required.v[0] : m->excluded.v[0]);
    if (!m->volumes.n && !m->components.n)
        return vb_fail(err, VB_E_USAGE, "neither a volume nor a component was named");
    for (size_t i = 0; i < m->volumes.n; i++)
        if (m->volumes.v[i][0] != '/')
            return vb_fail(err, VB_E_USAGE, "volume '%s' is not an absolute path", m->volumes.v[i]);
    return 0;
}

/* ---- identify and select ---- */

int vb_shadow_identify(struct vb_shadow_link *l, struct vb_shadow_make *m, struct vb_error *err)
{
    struct vb_msg q = VB_MSG_INIT(VB_M_IDENTIFY);
    if (m->identified)
        return vb_fail(err, VB_E_BAD_STATE, "the writers were asked already");
    if (vb_shadow_command(l, &q, err) < 0)
        return -1;
    m->identified = true;
    m->writers.name = vb_strdup(l->host);
    vb_gather_read_reply(&m->writers, &l->reply);
    for (size_t i = 0; i < m->writers.n_failed; i++) {
        const struct vb_gather_failed *f = &m->writers.failed[i];
        if (f->required) {
            vb_error_copy(err, &f->error);
            vb_context(err, "required writer '%s'", f->writer);
            return -1;
        }
        if (!l->cli->quiet)
            fprintf(stderr, "vbackup: warning: writer '%s' takes no part: %s\n", f->writer, vb_error_text(&f->error));
    }
    return 0;
}

static struct vb_ask *asks(const struct vb_strv *from, struct vb_strv *own)
{
    struct vb_ask *v = vb_alloc_n(from->n + 1, sizeof *v);
    for (size_t i = 0; i < from->n; i++) {
        char *writer, *component;
        split(from->v[i], &writer, &component);
        v[i] = (struct vb_ask){ NULL, writer, component };
        if (writer)
            vb_strv_take(own, writer);
        if (component)
            vb_strv_take(own, component);
    }
    return v;
}

static const char *resolve_none(void *arg, const char *from_host, const char *text)
{
    (void)arg;
    return strcasecmp(text, "localhost") == 0 || strcasecmp(text, from_host) == 0 ? from_host : NULL;
}

static int add_components(struct vb_shadow_make *m, const struct vb_selection *sel, struct vb_error *err)
{
    for (size_t i = 0; i < sel->n; i++) {
        const struct vb_sel_component *c = &sel->components[i];
        if (!c->is_explicit)
            continue;
        const struct vb_writer_metadata *wm = m->writers.writers[c->writer];
        const struct vb_wm_component *wc = &wm->components[c->component];
        struct vb_writer_components *w =
            vb_components_writer(m->bcd, wm->writer_id, wm->instance_id, wm->instance_name, wm->name);
        w->schema = wm->schema;
        if (!vb_components_add(w, wc->type, wc->logical_path, wc->name, err))
            return -1;
    }
    return 0;
}

/* This host alone: a set knows no others, and dependencies that lead to them are not followed. */
static int select_components(struct vb_shadow_make *m, struct vb_error *err)
{
    struct vb_strv own = { NULL, 0, 0 };
    struct vb_selection sel = { 0 };
    struct vb_sel_host host = { m->writers.name, m->writers.writers, m->writers.n_writers };
    if (m->writers.n_writers == 0 && m->components.n == 0)
        return 0;
    VB_AUTO_FREE struct vb_ask *take = asks(&m->components, &own), *leave = asks(&m->excluded, &own);
    struct vb_select_options o = { take, m->components.n, leave, 0, VB_MISSING_CONTINUE, resolve_none, NULL };
    for (size_t i = 0; i < m->excluded.n; i++) /* whole writers were left out by policy */
        if (leave[i].component)
            leave[o.n_excludes++] = leave[i];
    int rc = vb_select_backup(&host, 1, &o, &sel, err);
    if (rc == 0)
        rc = add_components(m, &sel, err);
    vb_selection_clear(&sel);
    vb_strv_clear(&own);
    return rc;
}

static bool is_writer(const struct vb_writer_components *w, const char *name)
{
    return !name || (w->name && !strcasecmp(w->name, name)) || vb_guid_equal(w->writer_id, name) ||
           vb_guid_equal(w->instance_id, name) || (w->instance_name && !strcasecmp(w->instance_name, name));
}

/* "writer verify": what was required is in the set, as a whole (-wi). */
static int check_required(const struct vb_shadow_make *m, struct vb_error *err)
{
    for (size_t i = 0; i < m->required.n; i++) {
        VB_AUTO_FREE char *writer = NULL, *component = NULL;
        bool found = false;
        split(m->required.v[i], &writer, &component);
        for (size_t k = 0; k < m->bcd->n_writers; k++)
            for (size_t j = 0; j < m->bcd->writers[k].n_components; j++) {
                const struct vb_component *c = &m->bcd->writers[k].components[j];
                VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
                if (is_writer(&m->bcd->writers[k], writer) && (!component || !strcmp(component, full)))
                    found = true;
            }
        if (!found) {
            vb_fail(err, VB_E_WRITER_INCONSISTENT_SNAPSHOT, "'%s' is required, and is not in the set", m->required.v[i]);
            vb_hint(err, "add the volumes it lies on; 'vbackup writers' prints its components");
            return -1;
        }
    }
    return 0;
}

/* ---- making ---- */

static int take_document(struct vb_shadow_link *l, struct vb_shadow_make *m, struct vb_error *err)
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(&l->reply, VB_F_BCD, &p, &n))
        return vb_fail(err, VB_E_PROTOCOL, "host '%s': the reply lacks the backup components document", l->host);
    VB_AUTO_FREE char *origin = vb_printf("backup components document from host '%s'", l->host);
    struct vb_components *c = vb_components_read(origin, p, n, err);
    if (!c)
        return -1;
    vb_components_free(m->bcd);
    m->bcd = c;
    return 0;
}

static int add_document(struct vb_msg *m, const struct vb_components *c, struct vb_error *err)
{
    VB_AUTO_BUF xml = VB_BUF_INIT;
    if (vb_components_write(c, &xml, err) < 0)
        return -1;
    vb_msg_add(m, VB_F_BCD, xml.data, xml.len);
    return 0;
}

static void take_volumes(struct vb_shadow_link *l, struct vb_shadow_make *m)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, &l->reply);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_VOLUME)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        VB_GROW(m->v, m->n, m->cap);
        m->v[m->n++] = (struct vb_shadow_volume){ vb_msg_str(&g, VB_F_SNAPSHOT),      vb_msg_str(&g, VB_F_PATH),
                                                  vb_msg_str(&g, VB_F_DEVICE),        vb_msg_str(&g, VB_F_FS_TYPE),
                                                  vb_msg_str(&g, VB_F_PROVIDER),      vb_msg_str(&g, VB_F_SNAPSHOT_PATH),
                                                  vb_msg_str(&g, VB_F_REMARK),
                                                  vb_msg_u64(&g, VB_F_ATOMIC, 0) != 0 };
    }
    m->window_us = vb_msg_u64(&l->reply, VB_F_WINDOW_US, 0);
}

static int prepare(struct vb_shadow_link *l, struct vb_shadow_make *m, struct vb_error *err)
{
    struct vb_msg q = VB_MSG_INIT(VB_M_PREPARE);
    if (add_document(&q, m->bcd, err) < 0) {
        vb_msg_clear(&q);
        return -1;
    }
    vb_msg_add_u64(&q, VB_F_ATTRIBUTES, m->attributes);
    for (size_t i = 0; i < m->volumes.n; i++)
        vb_msg_add_str(&q, VB_F_PATH, m->volumes.v[i]);
    vb_msg_add_str(&q, VB_F_PROVIDER, m->provider);
    if (m->dry_run)
        vb_msg_add_u64(&q, VB_F_PROBE, 1);
    if (vb_shadow_command(l, &q, err) < 0)
        return -1;
    return take_document(l, m, err);
}

int vb_shadow_make(struct vb_shadow_link *l, struct vb_shadow_make *m, struct vb_error *err)
{
    struct vb_msg q = VB_MSG_INIT(VB_M_SNAPSHOT);
    bool no_writers = m->attributes & VB_SA_NO_WRITERS;
    if (vb_shadow_make_check(m, err) < 0 || (!no_writers && !m->identified && vb_shadow_identify(l, m, err) < 0))
        return -1;
    m->bcd = vb_components_new(l->host);
    m->bcd->select_components = true;
    m->bcd->backup_type = m->full ? VB_BACKUP_FULL : VB_BACKUP_COPY;
    if ((!no_writers && select_components(m, err) < 0) || prepare(l, m, err) < 0 || check_required(m, err) < 0)
        return -1;
    if (m->dry_run)
        return 0;
    if (vb_shadow_command(l, &q, err) < 0 || take_document(l, m, err) < 0)
        return -1;
    take_volumes(l, m);
    m->made = true;
    return 0;
}

static bool writer_failed(const struct vb_writer_components *w)
{
    return w->failure_code != VB_OK ||
           (w->state >= VB_WS_FAILED_AT_IDENTIFY && w->state <= VB_WS_FAILED_AT_BACKUP_SHUTDOWN);
}

size_t vb_shadow_failed_writers(const struct vb_shadow_link *l, const struct vb_shadow_make *m)
{
    size_t n = 0;
    for (size_t i = 0; m->bcd && i < m->bcd->n_writers; i++) {
        const struct vb_writer_components *w = &m->bcd->writers[i];
        if (!writer_failed(w))
            continue;
        n++;
        if (!l->cli->quiet)
            fprintf(stderr, "vbackup: warning: writer '%s' is '%s': %s\n", w->name ? w->name : w->writer_id,
                    vb_writer_state_word(w->state), w->failure_text ? w->failure_text : "no reason was given");
    }
    return n;
}

int vb_shadow_complete(struct vb_shadow_link *l, struct vb_shadow_make *m, bool success, struct vb_error *err)
{
    struct vb_msg q = VB_MSG_INIT(VB_M_COMPLETE);
    if ((m->attributes & VB_SA_NO_WRITERS) || m->completed)
        return vb_fail(err, VB_E_BAD_STATE, m->completed ? "BackupComplete was called already"
                                                         : "a context without writers has no BackupComplete");
    for (size_t i = 0; i < m->bcd->n_writers; i++)
        for (size_t k = 0; k < m->bcd->writers[i].n_components; k++) {
            struct vb_component *c = &m->bcd->writers[i].components[k];
            c->backup_succeeded_set = true;
            c->backup_succeeded = success && !writer_failed(&m->bcd->writers[i]) && c->failure_code == VB_OK;
        }
    if (add_document(&q, m->bcd, err) < 0) {
        vb_msg_clear(&q);
        return -1;
    }
    if (vb_shadow_command(l, &q, err) < 0)
        return -1;
    m->completed = true;
    return take_document(l, m, err);
}
