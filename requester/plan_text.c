/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/plan_text.c - the plan for people: who, on which host, why, in which order, and what waits for what.
 */
#include "requester/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "documents/writer_metadata.h"

static void add_name(struct vb_buf *out, const char *s)
{
    VB_AUTO_FREE char *e = vb_escape_terminal(s ? s : "", strlen(s ? s : ""));
    vb_buf_add_str(out, e);
}

static void add_component(struct vb_buf *out, const struct vb_plan_component *c)
{
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
    add_name(out, c->writer_name);
    if (c->instance_name) {
        vb_buf_add_char(out, '[');
        add_name(out, c->instance_name);
        vb_buf_add_char(out, ']');
    }
    vb_buf_add_str(out, ": ");
    add_name(out, full);
}

static void add_place(const struct vb_plan *p, struct vb_buf *out, size_t i)
{
    add_name(out, p->hosts[p->components[i].host].name);
    vb_buf_add_char(out, ' ');
    add_component(out, &p->components[i]);
}

static void add_why(const struct vb_plan *p, struct vb_buf *out, const struct vb_plan_component *c)
{
    switch (c->why) {
    case VB_WHY_ASKED: vb_buf_add_str(out, "asked for"); break;
    case VB_WHY_DEFAULT: vb_buf_add_str(out, "everything was asked for"); break;
    case VB_WHY_COMPULSORY: vb_buf_add_str(out, "its writer takes part, and it cannot be left out"); break;
    case VB_WHY_TARGET: vb_buf_add_str(out, "needed"); break;
    case VB_WHY_DEPENDENT: vb_buf_add_str(out, "depends on what is restored"); break;
    case VB_WHY_ANCESTOR: vb_buf_add_str(out, "head of a set with a needed member"); break;
    }
    if (c->because != VB_NO_INDEX && (c->why == VB_WHY_TARGET || c->why == VB_WHY_ANCESTOR)) {
        vb_buf_add_str(out, " by ");
        add_place(p, out, c->because);
    } else if (c->because != VB_NO_INDEX && c->why == VB_WHY_DEPENDENT) {
        vb_buf_add_str(out, ": ");
        add_place(p, out, c->because);
    }
}

static void add_host(const struct vb_plan *p, struct vb_buf *out, size_t h)
{
    const struct vb_plan_host *host = &p->hosts[h];
    vb_buf_add_str(out, "\nhost ");
    add_name(out, host->name);
    if (host->stored_as && strcmp(host->stored_as, host->name) != 0) {
        vb_buf_add_str(out, ", in the backup ");
        add_name(out, host->stored_as);
    }
    for (size_t i = 0; i < host->n_front_ends; i++) {
        vb_buf_add_str(out, i == 0 ? ", back end of " : ", ");
        add_name(out, p->hosts[host->front_ends[i]].name);
    }
    vb_buf_add_char(out, '\n');
    if (!host->reached) {
        vb_buf_add_str(out, "    NOT REACHED: ");
        add_name(out, host->text);
        vb_buf_add_char(out, '\n');
        if (host->hint) {
            vb_buf_add_str(out, "    ");
            add_name(out, host->hint);
            vb_buf_add_char(out, '\n');
        }
    }
    for (size_t i = 0; i < p->n_components; i++) {
        const struct vb_plan_component *c = &p->components[i];
        if (c->host != h)
            continue;
        vb_buf_add_str(out, c->is_explicit ? "    " : "        ");
        add_component(out, c);
        vb_buf_add_str(out, "   (");
        if (c->is_explicit)
            add_why(p, out, c);
        else
            vb_buf_add_str(out, "with its set");
        vb_buf_add_str(out, ")");
        if (c->base)
            vb_buf_addf(out, ", %s to %.8s", vb_backup_type_word(c->backup_type), c->base);
        vb_buf_add_str(out, c->additional ? ", later backups follow\n" : "\n");
        for (size_t k = 0; k < c->subcomponents.n; k++) {
            vb_buf_add_str(out, "        only ");
            add_name(out, c->subcomponents.v[k]);
            vb_buf_add_char(out, '\n');
        }
    }
}

static void add_volumes(const struct vb_plan *p, struct vb_buf *out)
{
    bool refused = false;
    if (p->n_volumes > 0)
        vb_buf_add_str(out, "\nvolumes\n");
    for (size_t i = 0; i < p->n_volumes; i++) {
        const struct vb_plan_volume *v = &p->volumes[i];
        vb_buf_add_str(out, "    ");
        add_name(out, p->hosts[v->host].name);
        vb_buf_add_char(out, ' ');
        add_name(out, v->mount_point);
        vb_buf_add_str(out, " (");
        add_name(out, v->fs_type);
        vb_buf_add_str(out, v->provider ? "): " : "): REFUSED: ");
        if (v->provider && strcmp(v->provider, "live") != 0) {
            vb_buf_add_str(out, "snapshot by ");
            add_name(out, v->provider);
            if (v->remark && *v->remark)
                vb_buf_add_str(out, ", ");
        }
        add_name(out, v->remark);
        vb_buf_add_char(out, '\n');
        refused = refused || !v->provider;
    }
    if (refused)
        vb_buf_add_str(out, "    the backup will be refused there: put the data on btrfs or xfs, or give --allow-live\n");
}

static void add_edges(const struct vb_plan *p, struct vb_buf *out)
{
    if (p->n_edges > 0)
        vb_buf_add_str(out, "\ndependencies\n");
    for (size_t i = 0; i < p->n_edges; i++) {
        const struct vb_plan_edge *e = &p->edges[i];
        vb_buf_add_str(out, "    ");
        add_place(p, out, e->from);
        vb_buf_add_str(out, "  needs  ");
        add_place(p, out, e->to);
        vb_buf_add_str(out, e->cut      ? "   (closes a circle of hosts: orders nothing)\n"
                            : e->remote ? "   (remote)\n"
                                        : "\n");
    }
    if (p->n_missing > 0)
        vb_buf_add_str(out, "\ncannot be met\n");
    for (size_t i = 0; i < p->n_missing; i++) {
        const struct vb_plan_missing *m = &p->missing[i];
        vb_buf_add_str(out, "    ");
        if (m->from != VB_NO_INDEX) {
            add_place(p, out, m->from);
            vb_buf_add_str(out, ": ");
        }
        add_name(out, m->text);
        vb_buf_add_char(out, '\n');
    }
}

static const char *meaning(const struct vb_plan *p, enum vb_verb v)
{
    switch (v) {
    case VB_VERB_OPEN: return "send the job";
    case VB_VERB_IDENTIFY: return "Identify";
    case VB_VERB_PREPARE: return "PrepareForBackup";
    case VB_VERB_SNAPSHOT: return "PrepareForSnapshot, Freeze, snapshot, Thaw, PostSnapshot";
    case VB_VERB_CAPTURE: return "read the data from the snapshot";
    case VB_VERB_BARRIER: return "data durable in the repository";
    case VB_VERB_COMPLETE: return "SetBackupSucceeded, BackupComplete";
    case VB_VERB_COMMIT: return "write the catalog entry";
    case VB_VERB_RELEASE: return p->kind == VB_JOB_RESTORE ? "end the job" : "BackupShutdown, release the snapshots";
    case VB_VERB_PRE_RESTORE: return "PreRestore";
    case VB_VERB_RESTORE_FILES: return p->target_dir && !p->in_place ? "write the files below the directory" : "put the files back";
    case VB_VERB_POST_RESTORE: return "SetFileRestoreStatus, PostRestore";
    }
    return "";
}

static void add_steps(const struct vb_plan *p, struct vb_buf *out)
{
    size_t w = 9;
    for (size_t i = 0; i < p->n_hosts; i++)
        if (strlen(p->hosts[i].name) > w)
            w = strlen(p->hosts[i].name);
    vb_buf_add_str(out, "\norder\n");
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct vb_plan_step *s = &p->steps[i];
        const char *name = s->host == VB_NO_INDEX ? "requester" : p->hosts[s->host].name;
        VB_AUTO_FREE char *who = vb_escape_terminal(name, strlen(name));
        vb_buf_addf(out, "%4zu  %-*s  %-12s  %s", i + 1, (int)w, who, vb_verb_word(s->verb), meaning(p, s->verb));
        for (size_t k = 0; k < s->n_waits; k++)
            vb_buf_addf(out, "%s%zu", k == 0 ? "   after " : ", ", s->waits[k] + 1);
        vb_buf_add_char(out, '\n');
    }
}

void vb_plan_text(const struct vb_plan *p, struct vb_buf *out)
{
    size_t explicit_ones = 0, reached = 0;
    for (size_t i = 0; i < p->n_components; i++)
        explicit_ones += p->components[i].is_explicit;
    for (size_t i = 0; i < p->n_hosts; i++)
        reached += p->hosts[i].reached;
    if (p->kind == VB_JOB_RESTORE) {
        vb_buf_add_str(out, p->in_place ? "restore of files" : p->target_dir ? "private restore" : "restore");
        if (p->backup_id) {
            vb_buf_add_str(out, " of ");
            add_name(out, p->backup_id);
        }
        if (p->target_dir && !p->in_place) {
            vb_buf_add_str(out, " to ");
            add_name(out, p->target_dir);
        }
    } else {
        vb_buf_addf(out, "backup, %s", vb_backup_type_word(p->backup_type));
    }
    vb_buf_addf(out, ": %zu component%s on %zu host%s", explicit_ones, explicit_ones == 1 ? "" : "s", reached,
                reached == 1 ? "" : "s");
    if (reached < p->n_hosts)
        vb_buf_addf(out, ", %zu not reached", p->n_hosts - reached);
    vb_buf_add_str(out, p->offline ? " (from the metadata of the last run)\n" : "\n");

    for (size_t i = 0; i < p->paths.n; i++) {
        vb_buf_add_str(out, "    only ");
        add_name(out, p->paths.v[i]);
        vb_buf_add_char(out, '\n');
    }
    size_t *order = vb_plan_host_order(p);
    for (size_t i = 0; i < p->n_hosts; i++)
        add_host(p, out, order[i]);
    free(order);
    add_volumes(p, out);
    add_edges(p, out);
    if (p->warnings.n > 0)
        vb_buf_add_str(out, "\nwarnings\n");
    for (size_t i = 0; i < p->warnings.n; i++) {
        vb_buf_add_str(out, "    ");
        add_name(out, p->warnings.v[i]);
        vb_buf_add_char(out, '\n');
    }
    if (p->n_steps > 0)
        add_steps(p, out);
    else
        vb_buf_add_str(out, "\nnothing to do\n");
}
