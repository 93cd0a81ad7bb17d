/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_restore.h - what a restore is planned from: a catalog entry and the documents stored with it (R-2,
 *
 */
#ifndef VB_REQUESTER_RUN_RESTORE_H
#define VB_REQUESTER_RUN_RESTORE_H

#include "documents/selection.h"
#include "requester/executor.h"
#include "requester/run.h"

struct vb_restore_source_host {
    const char *name;             /* in the backup; borrowed from the entry */
    char *actual;                 /* where it is restored to: table name, after --map */
    struct vb_exec_stored stored;
    struct vb_strv paths;         /* of its stored job: backed up without a configuration */
};
struct vb_restore_source {
    struct vb_catalog_entry *entry;
    struct vb_restore_source_host *hosts; size_t n; /* those with documents, in the entry's order */
};
/* which: "latest", id, prefix. maps may be NULL. */
int vb_restore_source_load(struct vb_restore_source *s, const struct vb_run_store *store, const char *which,
                           const char *host, const struct vb_strv *maps, struct vb_error *err);
void vb_restore_source_clear(struct vb_restore_source *s);
/* Selection over the stored documents.  Host texts of dependencies are resolved to hosts of the backup. */
int vb_restore_source_select(const struct vb_restore_source *s, const struct vb_select_options *opt,
                             const struct vb_strv *maps, struct vb_restore_selection *out, struct vb_error *err);

/* Leaves in the selection only what holds one of the paths, without an order between the parts; VB_E_NOT_FOUND for a path
 * that is nowhere.  s and picks belong together. */
int vb_restore_source_paths(const struct vb_restore_source *s, const struct vb_run_store *store,
                            const struct vb_strv *paths, struct vb_restore_selection *picks, struct vb_error *err);

#endif
