/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/support.h - what the built-in providers share; uses nothing of ours but the public header.
 *
 * Records: what must be known to find and delete a shadow copy from another process.  One file per shadow copy in the
 * state directory, named by its id; written before anything is made, removed after it is gone.
 */
#ifndef VB_PROVIDERS_SUPPORT_H
#define VB_PROVIDERS_SUPPORT_H

#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <vbackup/provider.h>

#define VB_PLACE ".vbackup"             /* hidden directory that holds shadow copies on their file system */
#define VB_PLACE_MARK "user.vbackup.place" /* attribute that tells ours from anybody else's; captures leave it out */

/* The host and its services, as given to open. */
struct vb_ps {
    void *host;
    const struct vb_provider_services *svc;
};

/* Formatted vb_provider_services.fail; returns -1. hint may be NULL. errno_text appends ": <strerror>". */
int vb_ps_fail(const struct vb_ps *s, enum vb_code code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int vb_ps_fail_errno(const struct vb_ps *s, int errnum, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Allocation that ends the process when memory is exhausted: a provider that dies is an aborted set. */
void *vb_ps_alloc(size_t n);
char *vb_ps_strdup(const char *s);
char *vb_ps_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* path == root or below it, by whole elements */
bool vb_ps_below(const char *path, const char *root);

struct vb_ps_record {
    char *snapshot_id, *set_id, *mount_point;
    char *source;   /* what is shown: a subvolume, or the mount point */
    char *place;    /* path of the shadow copy */
    char *object;   /* what the storage system calls it, for providers to which the place says too little */
    char *trees;    /* newline-joined list, for providers that copy trees; names with newlines are refused there */
    long long created_sec; /* 0: not made yet */
};
void vb_ps_record_clear(struct vb_ps_record *r);
int vb_ps_record_save(const struct vb_ps *s, const struct vb_ps_record *r);
/* 1: loaded, 0: there is none, -1: failed. */
int vb_ps_record_load(const struct vb_ps *s, const char *snapshot_id, struct vb_ps_record *r);
int vb_ps_record_remove(const struct vb_ps *s, const char *snapshot_id);
/* Calls fn for every record; non-zero stops and is returned. */
int vb_ps_record_each(const struct vb_ps *s, int (*fn)(void *arg, const struct vb_ps_record *r), void *arg);
/* The provider's query callback, over the records of finished shadow copies. */
int vb_ps_query(const struct vb_ps *s,
                int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                          const char *path, int64_t created_sec), void *arg);

/* The callbacks delete_snapshot and snapshot_path over the records.  delete: `remove` is called if there is a record;
 * none is success.  path: where `path` is seen below the record's place; of a record with trees only what lies in them,
 * under its whole name; of one without, what lies below its source. */
typedef int vb_ps_remove_fn(void *arg, const struct vb_ps_record *r);
int vb_ps_delete(const struct vb_ps *s, const char *snapshot_id, vb_ps_remove_fn *remove, void *arg);
int vb_ps_path(const struct vb_ps *s, const char *snapshot_id, const char *path, char **out);
/* Notes in the record that the shadow copy was made just now. */
int vb_ps_record_created(const struct vb_ps *s, struct vb_ps_record *r);
/* 0 if the record's place is one of a shadow copy, in a hidden directory, so that it may be removed. */
int vb_ps_record_check_place(const struct vb_ps *s, const struct vb_ps_record *r);

/* 1: another record names the same object (or place, if it has none); 0: none does; -1: one of them cannot be read, so
 * that it is not known. */
int vb_ps_record_shared(const struct vb_ps *s, const struct vb_ps_record *r);

/* Path of the hidden directory in `dir`; caller frees. */
char *vb_ps_place_in(const char *dir);
/* Opens or makes the hidden directory in `dir` (0700, ours, marked).  -1 with a failure. */
int vb_ps_place_open(const struct vb_ps *s, const char *dir);
/* Removes it if it is empty. */
void vb_ps_place_leave(const char *dir_of_shadow_copy);

#endif
