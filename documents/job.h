/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/job.h - the job document: what the requester asks of one agent.
 *
 * Travels with OPEN, is kept in the agent's spool while the job lives, and is stored with the backup.
 */
#ifndef VB_DOCUMENTS_JOB_H
#define VB_DOCUMENTS_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/buf.h"
#include "base/mem.h"
#include "vbackup/types.h"

enum vb_job_kind { VB_JOB_BACKUP = 1, VB_JOB_RESTORE = 2, VB_JOB_IDENTIFY = 3 };

/* An ad-hoc path of `vbackup backup PATH...`: becomes a component of the files writer. */
struct vb_adhoc_path { char *path; };

/* Policy for a writer. */
enum vb_writer_policy { VB_POLICY_OPTIONAL = 0, VB_POLICY_REQUIRED = 1, VB_POLICY_IGNORED = 2 };
struct vb_job_writer { char *writer; /* name, class id or instance name */ enum vb_writer_policy policy; };

/* (host, class, path, name) already under way: cuts circles over several hosts (D-51). */
struct vb_job_visited { char *host, *writer_id, *logical_path, *name; };

struct vb_job {
    char *job_id;          /* GUID, made by the requester: sending the same job twice makes one job */
    char *run_id;          /* GUID of the whole run over all hosts */
    char *host;            /* name in the requester's host table */
    enum vb_job_kind kind;
    char *front_end;       /* host whose dependencies brought this job, or NULL for the front end itself */
    char *requester;       /* "vbackup 0.1.0 on fe (pid 1234)" */
    uint64_t created_ms, lease_ms;
    enum vb_backup_type backup_type;
    enum vb_consistency min_consistency; /* to be reached at least */
    uint64_t freeze_limit_ms;            /* 0: writers' own windows only */
    struct vb_job_writer *writers; size_t n_writers, cap_writers;
    struct vb_strv paths;                /* ad-hoc paths */
    struct vb_strv path_excludes;        /* filespecs for the ad-hoc component */
    struct vb_strv path_rules;           /* and rules of base/path_filter.h for it */
    struct vb_job_visited *visited; size_t n_visited, cap_visited;
    bool overwrite;                      /* restore: consent to put back over existing data */
    bool allow_live;                     /* consent to read without a shadow copy where none can be made */
    bool allow_freeze;                   /* consent to a provider that copies while it keeps the file system frozen */
};

struct vb_job *vb_job_new(enum vb_job_kind kind, const char *host);
void vb_job_free(struct vb_job *j);
int vb_job_write(const struct vb_job *j, struct vb_buf *out, struct vb_error *err);
struct vb_job *vb_job_read(const char *origin, const void *xml, size_t n, struct vb_error *err);

#endif
