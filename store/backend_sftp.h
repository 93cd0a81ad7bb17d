/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_sftp.h - what the two files of the SFTP backend share: backend_sftp.c (files) and backend_sftp_list.c
 * (directories).
 */
#ifndef VB_STORE_BACKEND_SFTP_H
#define VB_STORE_BACKEND_SFTP_H

#include "base/mem.h"
#include "store/backend.h"
#include "store/link.h"
#include "store/sftp.h"

#define SFTP_OPEN_FILES 8u

struct sftp_open {
    char *name;
    struct vb_buf handle;
};

struct sftp_store {
    struct vb_backend b;
    struct vb_link_params link;
    char *root;
    bool write, unsynced_ok, locked;
    bool opened;                  /* from now on what fails is tried again */
    bool use_link;                /* its rename replaces files: names are given by hard links */
    bool unsettled;               /* something was removed or listed since the last barrier */
    uint64_t retry_ms;
    struct vb_sftp *s;            /* NULL: not connected */
    struct sftp_open open[SFTP_OPEN_FILES]; /* packs that were read last; files never change */
    unsigned next_slot;
    struct vb_strv unsynced;      /* files that were written since the last barrier */
};

static inline struct sftp_store *sftp_self(struct vb_backend *b)
{
    return (struct sftp_store *)b;
}

/* Runs it, over a new connection when the old one is cut, again and again for a while. */
typedef int sftp_op_fn(struct sftp_store *d, void *arg, struct vb_error *err);
int vb_sftp_try(struct sftp_store *d, sftp_op_fn *op, void *arg, struct vb_error *err);
char *vb_sftp_full(const struct sftp_store *d, const char *name);

int vb_sftp_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err);
/* Removes what writers that were cut off left below tmp/ more than a day ago, by the server's own clock. */
int vb_sftp_sweep(struct sftp_store *d, void *arg, struct vb_error *err);
/* The directory may become a repository. */
int vb_sftp_check_fresh(struct sftp_store *d, struct vb_error *err);

#endif
