/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/cli_pick.h - how the command line names components, backups and the files in them.
 */
#ifndef VB_REQUESTER_CLI_PICK_H
#define VB_REQUESTER_CLI_PICK_H

#include "documents/selection.h"
#include "requester/cli.h"
#include "store/repository.h"

/* Every [HOST/]WRITER[:COMPONENT] of an option; caller frees the array, texts owns what it points to. */
size_t vb_cli_asks(const struct vb_cli *cli, const char *option, struct vb_strv *texts, struct vb_ask **out);

/* [BACKUP] [PATH...]: the backup, "latest" if none is named, and the paths, absolute and clean.  An argument with a '/' is
 * a path. */
const char *vb_cli_backup_and_paths(const struct vb_cli *cli, struct vb_strv *paths);

/* Opens the repository that is meant; NULL with the reason. */
struct vb_repo *vb_cli_open(struct vb_cli *cli, enum vb_repo_mode mode, struct vb_error *err);

/* A session that may last: to be called often, renews it now and then. */
struct vb_cli_lease {
    struct vb_repo *repo; /* the caller's; the rest begins with 0 */
    uint64_t last_ms;
    unsigned calls;
};
void vb_cli_lease_keep(void *lease);

/* The value of an option that is a time: 2026-11-23T09:08:07Z, 2026-11-23, or a duration such as 7d: that long before now.
 * *ms is left alone when the option was not given. */
int vb_cli_time(const struct vb_cli *cli, const char *option, uint64_t now, uint64_t *ms, struct vb_error *err);

#endif
