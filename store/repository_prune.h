/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_prune.h - what the three files of a prune share; see repository_prune.c.
 */
#ifndef VB_STORE_REPOSITORY_PRUNE_H
#define VB_STORE_REPOSITORY_PRUNE_H

#include "store/repository_internal.h"

struct vb_prune {
    struct vb_repo *repo;
    const struct vb_prune_params *params;
    struct vb_prune_result *result;
    struct vb_repo_reach reach;
    uint64_t *live;           /* bytes of each pack of the index */
    struct vb_strv expired;   /* records of forgotten backups whose time is over */
    struct vb_strv held;      /* records of backups that are to stay */
    struct vb_strv old_index; /* files */
    struct vb_strv dead;      /* leases */
    struct vb_state next;     /* what this prune will leave */
    struct vb_repo_listed *there; /* packs */
    size_t n_there;
    struct vb_index *told;    /* what the new index files tell */
    uint64_t generation, oldest; /* this prune's, and the lowest that a session at work knows */
    bool *frozen;             /* by group: something of it cannot be read */
    size_t n_frozen;
    uint32_t writer;          /* group of whoever wrote the record that is being looked at; 0: who may write for all */
    uint32_t group;           /* that is being looked at */
    bool group_known;
    bool incomplete;          /* a chunk is not in the index: every pack has to be asked */
    bool changes;             /* a state must be written */
    bool took_effect;
};

/* ---- repository_prune_mark.c ---- */

/* Sessions at work go to p->next and say which generation is the oldest; dead ones go to p->dead. */
int vb_prune_find_leases(struct vb_prune *p, struct vb_error *err);
/* Loads the index with p->live and p->reach: everything that backups need.  Sets p->expired, p->held, p->frozen. */
int vb_prune_mark_needed(struct vb_prune *p, struct vb_error *err);
/* The same of one backup.  One whose record cannot be read is of whoever wrote it, as the ledger says; *whole: all of it
 * could be read. */
int vb_prune_mark_entry(struct vb_prune *p, struct vb_repo_reach *reach, const char *path, bool *whole, struct vb_error *err);
void vb_prune_reach_begin(struct vb_prune *p, struct vb_repo_reach *reach);
bool vb_prune_is_frozen(const struct vb_prune *p, uint32_t group);

/* ---- repository_prune_packs.c ---- */

const struct vb_repo_listed *vb_prune_listed(const struct vb_prune *p, const struct vb_name *pack); /* NULL: not there */
/* What earlier prunes have condemned: needed again, to be removed now, or to wait. */
void vb_prune_judge(struct vb_prune *p);
/* Condemns packs with little that is needed, after writing that anew. */
int vb_prune_repack(struct vb_prune *p, struct vb_error *err);
/* Tells only of what is needed: a directory of a forgotten backup that lies in a pack which is kept must not be believed to
 * be there with all that is below it. */
int vb_prune_write_index(struct vb_prune *p, struct vb_error *err);
/* What p->reach has found since, and was not told of. */
int vb_prune_tell_more(struct vb_prune *p, struct vb_error *err);

#endif
