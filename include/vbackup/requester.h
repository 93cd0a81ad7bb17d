/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/requester.h - libvbackup: for programs that start backups and restores themselves.
 *
 * WHAT A REQUESTER DOES
 *   It names what is to be backed up, has the agents gather the writers' metadata, works out what belongs together,
 *   and runs the sequence of the field on every host in the right order.  The `vbackup` command is one requester;
 *   with this header a program of yours is another, on the same machinery and with the same rights: those of the
 *   user who runs it.
 *
 *     struct vb_requester *r = vb_requester_open(NULL, &status);       the configuration, as `vbackup` reads it
 *     struct vb_backup_request q = VB_BACKUP_REQUEST_INIT;
 *     q.repository = "/srv/backup";
 *     struct vb_report *report = vb_requester_backup(r, &q, &observer, arg);
 *     if (vb_report_exit(report) != VB_EXIT_DONE) ... vb_report_error(report) ...
 *     vb_report_free(report);
 *     vb_requester_close(r);
 *
 * CALLS BLOCK until the run is over; callbacks of the observer come on the calling thread meanwhile.  One requester object
 * runs one thing at a time (B-1: an object per backup inside; this one may be used again).  Several objects in several
 * threads are independent.  vb_requester_cancel may be called from any thread, from a signal handler and from a callback.
 *
 * OWNERSHIP: strings given are copied; strings returned belong to the report and live as long as it does.
 *
 * STABILITY: structs carry their size and are only appended; ABI number 0 means unstable until version 1.0.
 */
#ifndef VBACKUP_REQUESTER_H
#define VBACKUP_REQUESTER_H

#include <stddef.h>
#include <stdint.h>
#include <vbackup/result.h>
#include <vbackup/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VB_REQUESTER_ABI 0

struct vb_requester;
struct vb_report;

/* Something a user names: NULL members match all.  host NULL: this machine. */
struct vb_component_ref {
    const char *host;
    const char *writer;    /* writer name, class id or instance name */
    const char *component; /* full path, elements separated by '\' */
};

struct vb_backup_request {
    uint32_t size;
    const char *repository;                        /* NULL: as the configuration says */
    const struct vb_component_ref *components;     /* none: everything on this machine */
    size_t n_components;
    const struct vb_component_ref *excludes;
    size_t n_excludes;
    const char *const *paths;                      /* ad-hoc paths; with paths the writers are left alone */
    size_t n_paths;
    enum vb_backup_type type;                      /* any but VB_BACKUP_OTHER */
    enum vb_consistency min_consistency;           /* refuse less; VB_CONSISTENCY_NONE allows reading live */
    uint64_t freeze_limit_ms;                      /* 0: the writers' own windows */
    uint64_t lease_ms;                             /* 0: 60 s */
    int allow_freeze;                              /* consent to copy small data while their file system is kept frozen */
};
#define VB_BACKUP_REQUEST_INIT \
    { sizeof(struct vb_backup_request), NULL, NULL, 0, NULL, 0, NULL, 0, VB_BACKUP_FULL, VB_CONSISTENCY_CRASH, 0, 0, 0 }

struct vb_restore_request {
    uint32_t size;
    const char *repository;
    const char *backup;                            /* "latest", an id, or a unique beginning of one; NULL: latest */
    const struct vb_component_ref *components;     /* none: everything */
    size_t n_components;
    const char *target_dir;                        /* files below this directory, no application is touched */
    const char *const *maps;                       /* "old=new": what came from host old goes to host new */
    size_t n_maps;
    int overwrite;                                 /* consent to put back over existing data */
    uint64_t lease_ms;
    const char *const *paths;                      /* only these files and directories, absolute; as files, no writer
                                                      takes part */
    size_t n_paths;
};
#define VB_RESTORE_REQUEST_INIT { sizeof(struct vb_restore_request), NULL, NULL, NULL, 0, NULL, NULL, 0, 0, 0, NULL, 0 }

/* One line of the event log: what was called and what the writers were told, in order. */
struct vb_event_info {
    uint32_t size;
    const char *host;   /* NULL: the requester itself */
    const char *kind;   /* "call", "event", "state", "snapshot", ... */
    const char *event;  /* "PrepareForBackup", "Freeze", ... */
    const char *writer; /* may be NULL */
    const char *text;   /* may be NULL */
    uint64_t wall_ms;
    enum vb_code code;
};
struct vb_progress_info {
    uint32_t size;
    uint64_t files, bytes_done, bytes_total; /* total 0: not known yet */
    int estimate;                            /* the total is what the last backup had */
};

/* Any member may be NULL. */
struct vb_observer {
    uint32_t size;
    void (*event)(void *arg, const struct vb_event_info *e);
    void (*progress)(void *arg, const struct vb_progress_info *p);
    void (*warning)(void *arg, const char *host, enum vb_code code, const char *text, const char *hint);
};

/* Reads the configuration (config NULL: the usual places of vbackup.conf(5)).  NULL on error: *code and, if text is not
 * NULL, *text (to be released with free) say why. */
struct vb_requester *vb_requester_open(const char *config, enum vb_code *code, char **text);
void vb_requester_close(struct vb_requester *r); /* NULL ok; not while a call runs */

/* Run to the end and return a report, never NULL. */
struct vb_report *vb_requester_backup(struct vb_requester *r, const struct vb_backup_request *q, const struct vb_observer *o,
                                      void *arg);
struct vb_report *vb_requester_restore(struct vb_requester *r, const struct vb_restore_request *q,
                                       const struct vb_observer *o, void *arg);
/* The plan of such a run as JSON, nothing is touched: vb_report_plan. */
struct vb_report *vb_requester_plan_backup(struct vb_requester *r, const struct vb_backup_request *q);
struct vb_report *vb_requester_plan_restore(struct vb_requester *r, const struct vb_restore_request *q);
/* Orderly end of what runs: writers are told, nothing stays frozen; the report says VB_E_CANCELLED. */
void vb_requester_cancel(struct vb_requester *r);

/* ---- the report ---- */
enum vb_exit vb_report_exit(const struct vb_report *p);
enum vb_code vb_report_code(const struct vb_report *p);      /* why the run as a whole failed; VB_OK otherwise */
const char *vb_report_error(const struct vb_report *p);      /* one line, or NULL */
const char *vb_report_hint(const struct vb_report *p);       /* what to do next, or NULL */
const char *vb_report_backup_id(const struct vb_report *p);  /* NULL: none was made */
enum vb_consistency vb_report_consistency(const struct vb_report *p);
const char *vb_report_plan(const struct vb_report *p);       /* JSON, or NULL */

struct vb_component_report {
    uint32_t size;
    const char *host, *writer, *instance_name, *logical_path, *name;
    enum vb_completeness completeness;
    enum vb_consistency consistency;
    enum vb_file_restore_status restore_status;
    enum vb_code code;
    const char *text, *hint;
    uint64_t files, bytes;
};
size_t vb_report_component_count(const struct vb_report *p);
/* Fills as much of *c as c->size says; 0, or -1 for an index out of range. */
int vb_report_component(const struct vb_report *p, size_t i, struct vb_component_report *c);
void vb_report_free(struct vb_report *p); /* NULL ok */

#ifdef __cplusplus
}
#endif
#endif
