/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/sim/sim_check.c - what must hold after a run, whatever the seed did to it.
 *
 * Judged from what the simulated writers saw (the trace), what the store holds and what was reported - not from the
 * requester's own log.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

/* ---- at the very end: leases have run out ---- */

void sim_check_end(struct sim *s)
{
    for (size_t h = 0; h < s->topo.n; h++) {
        const struct sim_host *sh = &s->hosts[h];
        for (size_t i = 0; i < sh->n_jobs; i++)
            if (sh->jobs[i]->session)
                sim_broken(s, "job %u on host %zu did not end", sh->jobs[i]->number, h);
        for (size_t w = 0; w < s->topo.hosts[h].n; w++)
            if (sh->apps[w].frozen)
                sim_broken(s, "writer %zu on host %zu is still frozen", w, h);
        if (sh->n_snaps > 0)
            sim_broken(s, "%zu snapshots are left on host %zu", sh->n_snaps, h);
        if (sh->slot)
            sim_broken(s, "the slot of host %zu is still taken", h);
    }
    for (size_t i = 0; i < s->n_trace; i++) { /* D-62, R-25: whatever happened, PostRestore is owed */
        const struct sim_trace *t = &s->trace[i];
        if (t->event != VB_EV_PRE_RESTORE || t->what != SIM_EVENT_OK)
            continue;
        bool followed = false;
        for (size_t k = i + 1; k < s->n_trace; k++)
            followed = followed || (s->trace[k].job == t->job && s->trace[k].writer == t->writer &&
                                    s->trace[k].event == VB_EV_POST_RESTORE);
        if (!followed)
            sim_broken(s, "D-62: no PostRestore after PreRestore on host %zu writer %zu", t->host, t->writer);
    }
    if (s->n_streams > 0)
        sim_broken(s, "%zu data streams are left", s->n_streams);
    if (s->store_held)
        sim_broken(s, "the store is still held");
}

/* ---- orders ---- */

static size_t host_index(const struct sim *s, const char *name)
{
    for (size_t h = 0; h < s->topo.n; h++)
        if (strcmp(s->topo.hosts[h].name, name) == 0)
            return h;
    return SIZE_MAX;
}

static bool of_backup(enum vb_event e)
{
    return e == VB_EV_PREPARE_BACKUP || e == VB_EV_PREPARE_SNAPSHOT || e == VB_EV_FREEZE || e == VB_EV_THAW ||
           e == VB_EV_POST_SNAPSHOT || e == VB_EV_BACKUP_COMPLETE;
}

static bool of_restore(enum vb_event e)
{
    return e == VB_EV_PRE_RESTORE || e == VB_EV_POST_RESTORE;
}

/* The first or last trace entry on a host of a kind of event, SIZE_MAX if none. */
static size_t seen(const struct sim *s, size_t from, size_t host, bool (*kind)(enum vb_event), enum vb_event only,
                   bool last)
{
    size_t found = SIZE_MAX;
    for (size_t i = from; i < s->n_trace; i++) {
        const struct sim_trace *t = &s->trace[i];
        if (t->host != host || t->what == SIM_GONE || (kind && !kind(t->event)) || (only && t->event != only))
            continue;
        found = i;
        if (!last)
            break;
    }
    return found;
}

static void check_order(struct sim *s, const char *rule, size_t before, size_t after, const char *f, const char *b)
{
    if (before != SIZE_MAX && after != SIZE_MAX && before > after)
        sim_broken(s, "%s: order between front end '%s' and back end '%s'", rule, f, b);
}

/* A host whose agent lost its jobs ends by itself, at its own time: what it does then is not the requester's order. */
static bool host_lost(const struct sim *s, const struct vb_run_result *r, const struct vb_plan *p, size_t host)
{
    if (s->hosts[host_index(s, p->hosts[host].name)].crashed)
        return true;
    for (size_t i = 0; i < r->n_hosts; i++)
        if (strcmp(r->hosts[i].name, p->hosts[host].name) == 0 && r->hosts[i].code != VB_OK)
            return true;
    return false;
}

static void check_edges(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r)
{
    for (size_t i = 0; i < p->n_edges; i++) {
        size_t fp = p->components[p->edges[i].from].host, bp = p->components[p->edges[i].to].host;
        if (fp == bp || p->edges[i].cut)
            continue;
        const char *f = p->hosts[fp].name, *b = p->hosts[bp].name;
        size_t fh = host_index(s, f), bh = host_index(s, b);
        if (p->kind == VB_JOB_BACKUP) {
            check_order(s, "D-41", seen(s, 0, fh, NULL, VB_EV_POST_SNAPSHOT, true), seen(s, 0, bh, of_backup, 0, false),
                        f, b);
            if (!host_lost(s, r, p, bp))
                check_order(s, "D-43", seen(s, 0, bh, of_backup, 0, true),
                            seen(s, 0, fh, NULL, VB_EV_BACKUP_COMPLETE, false), f, b);
        } else {
            check_order(s, "D-55", seen(s, 0, fh, NULL, VB_EV_PRE_RESTORE, true), seen(s, 0, bh, of_restore, 0, false),
                        f, b);
            if (!host_lost(s, r, p, bp) && !host_lost(s, r, p, fp))
                check_order(s, "D-59", seen(s, 0, bh, of_restore, 0, true),
                            seen(s, 0, fh, NULL, VB_EV_POST_RESTORE, false), f, b);
        }
    }
}

/* ---- claims ---- */

static const struct vb_run_component *result_of(const struct vb_plan *p, const struct vb_run_result *r, size_t c)
{
    size_t k = 0;
    for (size_t i = 0; i < c; i++)
        k += p->components[i].is_explicit;
    return p->components[c].is_explicit && k < r->n_components ? &r->components[k] : NULL;
}

/* Whether the last backup job on the host saw this writer fail before its data were safe. */
static bool writer_failed(const struct sim *s, size_t host, const char *class_id)
{
    const struct sim_host *h = &s->hosts[host];
    for (size_t i = h->n_jobs; i-- > 0;) {
        if (h->jobs[i]->kind != VB_JOB_BACKUP)
            continue;
        for (size_t w = 0; w < s->topo.hosts[host].n; w++)
            if (vb_guid_equal(s->topo.hosts[host].writers[w].class_id, class_id))
                return h->jobs[i]->writer_failed[w];
        return false;
    }
    return false;
}

static void check_component(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r, size_t c)
{
    const struct vb_run_component *rc = result_of(p, r, c);
    const char *host = p->hosts[p->components[c].host].name;
    if (!rc || rc->completeness == VB_FAILED)
        return;
    size_t h = host_index(s, host);
    if (writer_failed(s, h, p->components[c].writer_id))
        sim_broken(s, "'%s' of '%s' is called usable although its writer failed", rc->name, host);
    for (size_t i = 0; i < p->n_edges; i++) {
        if (p->edges[i].from != c || p->edges[i].cut)
            continue;
        const struct vb_run_component *t = result_of(p, r, p->edges[i].to);
        if (t && t->completeness == VB_FAILED)
            sim_broken(s, "D-48: '%s' of '%s' is called usable although its target '%s' failed", rc->name, host,
                       t->name);
    }
    if (rc->consistency == VB_CONSISTENCY_GROUP)
        for (size_t i = 0; i < r->n_components; i++)
            if (r->components[i].completeness == VB_FAILED) {
                bool linked = false;
                for (size_t e = 0; e < p->n_edges; e++)
                    linked = linked || (p->edges[e].from == c && result_of(p, r, p->edges[e].to) == &r->components[i]);
                if (linked)
                    sim_broken(s, "'%s' claims a group whose member failed", rc->name);
            }
}

/* A writer that was told success of all its components stands in an entry, and none of them is called failed for its
 * own sake; a writer is never told success when the run made no backup. */
static void check_told(struct sim *s, const struct vb_run_result *r)
{
    for (size_t i = 0; i < s->n_trace; i++) {
        const struct sim_trace *t = &s->trace[i];
        if (t->event == VB_EV_BACKUP_COMPLETE && t->what == SIM_EVENT_BEGIN && !t->told_success && !t->told_failure)
            sim_broken(s, "B-55: BackupComplete without any mark on host %zu", t->host);
    }
    if (r->backup_id && s->n_entries == 0)
        sim_broken(s, "a backup is reported that the store does not have");
}

static void check_entry(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (!r->backup_id)
        return;
    struct vb_catalog_entry *entry = s->store.find(s, r->backup_id, NULL, &e);
    if (!entry) {
        sim_broken(s, "the reported backup is not in the store");
        return;
    }
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_run_component *rc = result_of(p, r, c);
        for (size_t h = 0; rc && h < entry->n_hosts; h++) {
            if (strcmp(entry->hosts[h].name, p->hosts[p->components[c].host].name) != 0)
                continue;
            for (size_t k = 0; k < entry->hosts[h].n_components; k++) {
                const struct vb_catalog_component *cc = &entry->hosts[h].components[k];
                if (!cc->is_explicit || strcmp(cc->name, rc->name) != 0 ||
                    strcmp(cc->logical_path, rc->logical_path) != 0 || !vb_guid_equal(cc->writer_class, rc->writer_id))
                    continue;
                if ((cc->state == VB_CATALOG_FAILED) != (rc->completeness == VB_FAILED))
                    sim_broken(s, "entry and report disagree about '%s' of '%s'", rc->name, entry->hosts[h].name);
            }
        }
    }
    if (r->completeness == VB_COMPLETE && entry->state != VB_CATALOG_COMPLETE)
        sim_broken(s, "the report says complete, the entry does not");
    vb_catalog_entry_free(entry);
}

void sim_check_backup(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r)
{
    if (!p)
        return;
    check_edges(s, p, r);
    check_told(s, r);
    for (size_t c = 0; c < p->n_components; c++)
        check_component(s, p, r, c);
    check_entry(s, p, r);
    if ((r->exit == VB_EXIT_DONE) != (r->completeness == VB_COMPLETE))
        sim_broken(s, "exit status %d with completeness %d", (int)r->exit, (int)r->completeness);
}

/* What the report calls restored is on the host, with the content of the backup. */
static void check_files(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_catalog_entry *entry = p->backup_id ? s->store.find(s, p->backup_id, NULL, &e) : NULL;
    for (size_t c = 0; entry && c < p->n_components; c++) {
        const struct vb_run_component *rc = result_of(p, r, c);
        const char *host = p->hosts[p->components[c].host].name;
        for (size_t h = 0;
             rc && rc->completeness == VB_COMPLETE && p->components[c].subcomponents.n == 0 && h < entry->n_hosts;
             h++) {
            for (size_t k = 0; strcmp(entry->hosts[h].name, host) == 0 && k < entry->hosts[h].n_components; k++) {
                const struct vb_catalog_component *cc = &entry->hosts[h].components[k];
                if (!cc->is_explicit || strcmp(cc->name, rc->name) != 0 ||
                    strcmp(cc->logical_path, rc->logical_path) != 0 || !vb_guid_equal(cc->writer_class, rc->writer_id))
                    continue;
                for (size_t i = 0; i < cc->n_roots; i++) {
                    const char *want = sim_store_content(s, &cc->roots[i].tree), *have = NULL;
                    const struct sim_host *sh = &s->hosts[host_index(s, host)];
                    for (size_t f = 0; f < sh->n_files; f++)
                        if (strcmp(sh->files[f].path, cc->roots[i].path) == 0)
                            have = sh->files[f].content;
                    if (!want || !have || strcmp(want, have) != 0)
                        sim_broken(s, "'%s' is called restored, but holds '%s' instead of '%s'", cc->roots[i].path,
                                   have ? have : "nothing", want ? want : "nothing");
                }
            }
        }
    }
    vb_catalog_entry_free(entry);
}

void sim_check_restore(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r)
{
    if (!p)
        return;
    if (p->target_dir) { /* no writer hears of it */
        for (size_t i = 0; i < s->n_trace; i++)
            if (s->trace[i].event == VB_EV_PRE_RESTORE || s->trace[i].event == VB_EV_POST_RESTORE)
                sim_broken(s, "R-57: a private restore sent %s", vb_event_word(s->trace[i].event));
        return;
    }
    check_edges(s, p, r);
    check_files(s, p, r);
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_run_component *rc = result_of(p, r, c);
        if (!rc)
            continue;
        if ((rc->completeness == VB_COMPLETE) != (rc->restore_status == VB_FILE_RESTORE_ALL && rc->code == VB_OK))
            sim_broken(s, "restore status %d of '%s' with completeness %d", (int)rc->restore_status, rc->name,
                       (int)rc->completeness);
        for (size_t i = 0; i < p->n_edges; i++) {
            if (p->edges[i].from != c || p->edges[i].cut)
                continue;
            const struct vb_run_component *t = result_of(p, r, p->edges[i].to);
            if (t && t->completeness == VB_FAILED && rc->completeness == VB_COMPLETE)
                sim_broken(s, "D-62: '%s' is called restored although its target '%s' failed", rc->name, t->name);
        }
    }
}
