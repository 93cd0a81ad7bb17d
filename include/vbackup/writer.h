/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/writer.h - for people who make an application consistent.
 *
 * WHAT A WRITER IS
 *   A shared object that knows one application's data.  It says what there is (Identify), holds the
 *   application still for the instant of the snapshot (Freeze ... Thaw), and helps to bring it back
 *   (PreRestore, PostRestore).  It runs in a process of its own, as the user it asks for, and speaks to
 *   nobody but its host.  It links against nothing of ours: everything it may ask for comes in the table
 *   `struct vb_writer_services`.
 *
 * LIFE CYCLE (one process = one session; a throw-away one for a bare Identify)
 *
 *                                   open
 *                                     |
 *        +------------------------ IDENTIFY  (any time, any number of times, no session state: W-9)
 *        |                            |
 *        |   backup                   |   restore
 *        v                            v
 *   prepare_backup                pre_restore       close files, stop servers, set targets
 *        |  (slow work allowed)       |
 *   prepare_snapshot              [files are put back]
 *        |                            |
 *      freeze  --- may veto; hold;  post_restore    recover, start, check
 *        |         milliseconds       |
 *   [snapshot]                        |
 *        |                            |
 *       thaw  --- always, or abort    |
 *        |                            |
 *   post_snapshot  stamps, labels     |
 *        |                            |
 *   [files are copied]                |
 *        |                            |
 *   backup_complete  truncate logs    |
 *        |                            |
 *        +-- backup_shutdown ---------+   the requester is gone, for whatever reason
 *                    |
 *                  close
 *
 *   abort may come at any point between prepare_backup and the end of post_snapshot, more than once, and
 *   must be able to undo whatever freeze and prepare did (W-20).  It also comes when the host of the writer
 *   loses its agent: nobody else will release what you hold.
 *
 * MINIMUM
 *   identify, freeze, thaw and abort are enough (W-42).  Every other callback may be NULL; its default
 *   stands beside it below.
 *
 * THREADS AND TIME
 *   All callbacks come on one thread, one at a time.  freeze has the time the writer declares
 *   (freeze_timeout_ms, default 60 s) until thaw has returned; other callbacks have limits of minutes
 *   (svc->deadline_ms tells).  A callback that hangs is killed with its process: the session goes on
 *   without this writer, its locks gone with the process.  Do the slow work in prepare_backup and
 *   prepare_snapshot; touch no file between freeze and thaw (W-14).
 *
 * REPLICATION
 *   A writer may also keep its application alike on many hosts: `vbackup replicate` calls the optional block
 *   `struct vb_replication` before and after it carries a scope's files.  What this is about does not have to be files at
 *   all.  See the struct below for the calls and their order.
 *
 * MEMORY
 *   Strings given to the services are copied before the call returns.  Strings returned by services live
 *   until the callback returns.
 *
 * FAILURE
 *   A callback returns 0, or -1 after svc->fail(...).  Returning -1 without a reason is reported as such.
 *   Codes: VB_E_WRITER_RETRYABLE, _NON_RETRYABLE, _TIMEOUT, _OUT_OF_RESOURCES, _INCONSISTENT_SNAPSHOT,
 *   _PARTIAL_FAILURE (with svc->component_fail for the components that failed).
 *
 * ABI
 *   The struct carries its size and the ABI number; fields are only appended; the host copies the smaller of
 *   both sizes and zero-fills the rest.  The number is 0, which means: unstable until the in-box writers have
 *   all been written against it; from 1 on it is frozen and tested with old binaries.  There is no default:
 *   a writer that does not name VB_WRITER_ABI is refused.
 */
#ifndef VBACKUP_WRITER_H
#define VBACKUP_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <vbackup/result.h>
#include <vbackup/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VB_WRITER_ABI 0
#define VB_WRITER_MAGIC 0x56425752u /* "VBWR" */

/* The host's side of a session; opaque to the writer. */
struct vb_host;
/* One component record of this writer in the backup components document; opaque. */
struct vb_record;

/* Log levels of svc->log. */
enum { VB_WLOG_ERROR = 0, VB_WLOG_WARNING = 1, VB_WLOG_NOTICE = 2, VB_WLOG_INFO = 3, VB_WLOG_DEBUG = 4 };

/* What svc->add_component takes; zero-fill, then set.  logical_path NULL or "" is the root (C-1). */
struct vb_component_spec {
    uint32_t size; /* sizeof(struct vb_component_spec) */
    enum vb_component_type type;
    const char *logical_path; /* elements separated by '\' */
    const char *name;         /* no separator inside (C-3) */
    const char *caption;
    int selectable;             /* for backup: no default, 0 or 1 must be meant (C-12) */
    int selectable_for_restore; /* default no (C-24) */
    uint32_t flags;             /* VB_CF_* */
};

enum vb_fileset_kind { VB_FILES_GROUP = 0, VB_FILES_DATABASE = 1, VB_FILES_LOG = 2 };

struct vb_fileset_spec {
    uint32_t size;
    enum vb_fileset_kind kind;
    const char *path;           /* absolute directory, expanded by the writer (C-36) */
    const char *filespec;       /* '?' and '*' only, no directory part (C-33) */
    int recursive;              /* file group only (C-28) */
    const char *alternate_path; /* where to read from at backup, file group only; may be NULL */
    uint32_t backup_type;       /* VB_FSB_*; 0 means VB_FSB_DEFAULT */
};

/* What svc->partial_file fills; set size, zero-fill the rest. */
struct vb_partial_file_info {
    uint32_t size;
    const char *path, *filename, *ranges, *metadata; /* metadata may be NULL */
};

struct vb_writer_services {
    uint32_t size;
    uint32_t abi;

    /* ---- any callback ---- */
    void (*log)(struct vb_host *h, int level, const char *fmt, ...);
    /* Records why the running callback fails and returns -1.  hint: what the user should do, or NULL. */
    int (*fail)(struct vb_host *h, enum vb_code code, const char *text, const char *hint);
    /* Value of `key = value` of this writer's section in the configuration; NULL if absent.  n-th value (from 0) of a
     * repeated key with option_n, NULL behind the last.  Also known without standing in `options`: "instance", the
     * instance name, and "user". */
    const char *(*option)(struct vb_host *h, const char *key);
    const char *(*option_n)(struct vb_host *h, const char *key, unsigned n);
    /* Milliseconds left for the running callback. */
    uint64_t (*deadline_ms)(struct vb_host *h);
    /* Non-zero when the host wants to end: leave a long callback with VB_E_WRITER_NON_RETRYABLE (W-33). */
    int (*shutting_down)(struct vb_host *h);
    /* Session id: NULL before prepare_backup (W-30).  Snapshot set id: NULL outside prepare_snapshot ..
     * post_snapshot and backup_shutdown. */
    const char *(*session_id)(struct vb_host *h);
    const char *(*snapshot_set_id)(struct vb_host *h);
    /* Directory of this writer instance that lasts over sessions, private to its user; never NULL. */
    const char *(*state_dir)(struct vb_host *h);

    /* ---- identify only: building the writer metadata document ---- */
    int (*set_restore_method)(struct vb_host *h, enum vb_restore_method method, const char *service,
                              enum vb_writer_restore when, int reboot_required);
    int (*set_backup_schema)(struct vb_host *h, uint32_t schema);
    int (*add_component)(struct vb_host *h, const struct vb_component_spec *spec);
    int (*add_files)(struct vb_host *h, const char *logical_path, const char *name, const struct vb_fileset_spec *fs);
    int (*add_exclude)(struct vb_host *h, const char *path, const char *filespec, int recursive);
    int (*add_exclude_from_snapshot)(struct vb_host *h, const char *path, const char *filespec, int recursive);
    /* The pair (path, filespec, recursive) must repeat a file set of this writer exactly. */
    int (*add_alternate_location)(struct vb_host *h, const char *path, const char *filespec, int recursive,
                                  const char *alternate_path);
    /* (own path, own name) needs (target class id, target path, target name).  A remote target has its host in front
     * of the path: `\\host\path` (D-21).  Not inside one writer (D-7). */
    int (*add_dependency)(struct vb_host *h, const char *logical_path, const char *name, const char *target_class_id,
                          const char *target_logical_path, const char *target_name);

    /* ---- session callbacks: what is being done ---- */
    enum vb_backup_type (*backup_type)(struct vb_host *h);
    int (*partial_files_supported)(struct vb_host *h);
    enum vb_restore_type (*restore_type)(struct vb_host *h);
    /* Own component records, explicit ones: index 0 .. count-1.  In a session that is not in component mode the
     * count is 0. */
    unsigned (*record_count)(struct vb_host *h);
    struct vb_record *(*record)(struct vb_host *h, unsigned i);
    const char *(*record_logical_path)(struct vb_record *r); /* "" for the root */
    const char *(*record_name)(struct vb_record *r);
    const char *(*record_backup_options)(struct vb_record *r);
    /* Words between blanks; "overwrite" is the user's consent to replace existing data and to stop what runs on them. */
    const char *(*record_restore_options)(struct vb_record *r);
    const char *(*record_previous_stamp)(struct vb_record *r);
    const char *(*record_backup_stamp)(struct vb_record *r);
    const char *(*record_backup_metadata)(struct vb_record *r);
    const char *(*record_restore_metadata)(struct vb_record *r);
    int (*record_backup_succeeded)(struct vb_record *r);      /* backup_complete */
    int (*record_additional_restores)(struct vb_record *r);   /* restore */
    enum vb_file_restore_status (*record_restore_status)(struct vb_record *r); /* post_restore */
    /* Where the first file set with this path was really put: another place if a new target or alternate location
     * was used; NULL if it was not restored.  In pre_restore: where it is going to be put, as far as known. */
    const char *(*record_restored_to)(struct vb_record *r, const char *path);

    /* ---- setters; each says when it is legal, otherwise VB_E_BAD_STATE (1.5) ---- */
    int (*set_backup_metadata)(struct vb_record *r, const char *text);  /* once; prepare_backup .. post_snapshot */
    int (*set_backup_stamp)(struct vb_record *r, const char *stamp);    /* prepare_backup .. post_snapshot */
    int (*set_restore_metadata)(struct vb_record *r, const char *text); /* once; pre_restore */
    int (*set_restore_target)(struct vb_record *r, enum vb_restore_target t); /* pre_restore */
    /* The bytes of one file that must be in this backup: "offset:length" pairs joined by commas, or "File=PATH" of a ranges
     * file (a 64-bit count and pairs of 64-bit numbers, little-endian).  Only if partial_files_supported.  In an incremental
     * or differential backup these are all that changed since the one it builds on: nothing else of the file is read.
     * Ranges that overlap, are empty, or reach beyond the file are refused; what the file has grown by is read in any case. */
    int (*add_partial_file)(struct vb_record *r, const char *path, const char *filename, const char *ranges,
                            const char *metadata);                     /* prepare_backup .. post_snapshot */
    int (*add_differenced_file)(struct vb_record *r, const char *path, const char *filespec, int recursive,
                                int64_t mtime_sec);                    /* prepare_backup .. post_snapshot */
    /* Marks one component failed; the callback then returns svc->fail(VB_E_WRITER_PARTIAL_FAILURE, ...). */
    int (*component_fail)(struct vb_record *r, enum vb_code code, const char *text);

    /* ---- the shadow copy set: prepare_snapshot .. post_snapshot ---- */
    unsigned (*volume_count)(struct vb_host *h);
    const char *(*volume)(struct vb_host *h, unsigned i); /* mount point */
    int (*path_affected)(struct vb_host *h, const char *path); /* non-zero if the path lies on a volume of the set */
    /* post_snapshot only: where this path is seen inside the snapshot; NULL with failure recorded otherwise. */
    const char *(*snapshot_path)(struct vb_host *h, const char *path);
    /* How the set will be made: non-zero if all volumes of the set are captured at one instant by the provider, so
     * that a crash-safe application needs no more than the instant.  0: files are read or cloned one after another and
     * the writer itself must hold. prepare_snapshot .. post_snapshot. */
    int (*snapshot_is_atomic)(struct vb_host *h);
    /* post_snapshot only: adds a small file (a label, a log position) that exists nowhere on disk; it is stored with
     * the component and handed to pre_restore/post_restore by name. */
    int (*add_private_file)(struct vb_record *r, const char *name, const void *data, size_t len);
    const void *(*private_file)(struct vb_record *r, const char *name, size_t *len); /* restore */
    /* Says how consistent the records of this writer are; without a call the host decides from what happened. May only
     * lower (for example the session was lost between freeze and thaw). */
    int (*set_consistency)(struct vb_host *h, enum vb_consistency level);
    /* Identify only: what a component leaves out of the directories of its file sets, besides add_exclude.  One rule:
     * "pattern:*.tmp", "ipattern:*.bak", "larger-than:500M", "caches:" (CACHEDIR.TAG), "marker:.nobackup" or
     * "one-file-system:"; see vbackup-writer-files(8).  Files that a filespec names without a wildcard are taken. */
    int (*leave_out)(struct vb_host *h, const char *logical_path, const char *name, const char *rule);
    /* post_snapshot only: non-zero if what snapshot_path answers for this path may be written to until the callback
     * returns, to repair it (roll back open transactions).  So it is for components with VB_CF_BACKUP_RECOVERY, and with
     * VB_CF_ROLLBACK_RECOVERY if the requester rolls back, unless the requester forbids it (S-11 to S-13); never write
     * without having asked. */
    int (*snapshot_is_writable)(struct vb_host *h, const char *path);
    /* The partial files of the record, as they were added; at restore to check them: what was put back is the whole
     * file.  ranges names the ranges file where it lies now.  -1: there is no i-th one. */
    unsigned (*partial_file_count)(struct vb_record *r);
    int (*partial_file)(struct vb_record *r, unsigned i, struct vb_partial_file_info *out);
};

/* ---- replication: the optional block ---- */

/* Where signature and serialize put their bytes, in as many pieces as they like. */
struct vb_sink {
    uint32_t size;
    /* 0, or -1 when nobody wants more: the callback then returns -1 at once. */
    int (*write)(struct vb_sink *s, const void *p, size_t n);
};

/* Where deserialize reads what serialize wrote, byte for byte. */
struct vb_payload {
    uint32_t size;
    /* At most n bytes into p.  How many came, 0 at the end, -1 when the rest cannot be had. */
    long (*read)(struct vb_payload *in, void *p, size_t n);
};

/* What a block says of itself, bits. */
enum {
    /* The payload holds what nobody else may read: it is written into encrypted bundles only. */
    VB_REPLICATION_SECRET = 1,
    /* propagate and propagate2 reach the target by themselves: with bundles, propagate is left out. */
    VB_REPLICATION_NEEDS_ONLINE = 2,
    /* Calls for different targets may come on different threads at the same time. */
    VB_REPLICATION_THREAD_SAFE = 4
};

/*
 * A run has one source and one or many targets; the writer stands on each of them, under the same name in the configuration
 * and with the same class id.
 *
 *     source  signature                    once in a run, before all else
 *     target  signature                    once for each target.  Same bytes: nothing is to be done there
 *     source  serialize                    once in a run, if any target differs; all get the same bytes
 *     source  propagate(target, differs)   once for each target that differs
 *     target  deserialize                  then, and only there
 *     [the files of the scope are carried]
 *     source  propagate2(target, differs)  last, for each target that is still in the run
 *
 * Calls for different targets come in any order between each other: state is keyed by target.  They come one at a time,
 * unless the block is thread safe.  The host compares signatures and knows nothing of their meaning; what cannot be alike on
 * two hosts (addresses, names) does not belong into one.
 *
 * Failure: of the source's signature or serialize ends the run for all targets; of anything else ends that target, and none
 * of its further calls is made, propagate2 neither.  Each call has a limit (10 minutes unless it is set otherwise); what
 * hangs is killed with its process, so deserialize must leave either the old state or the new one wherever it is stopped.
 *
 * Each callback may be NULL: without signature the targets always differ, the others are left out.
 */
struct vb_replication {
    uint32_t size;  /* sizeof(struct vb_replication); fields are only appended */
    uint32_t flags; /* VB_REPLICATION_* */
    int (*signature)(void *ctx, struct vb_host *h, struct vb_sink *out);
    int (*serialize)(void *ctx, struct vb_host *h, struct vb_sink *out);
    /* target: as the user named it.  differs: its signature was another one. */
    int (*propagate)(void *ctx, struct vb_host *h, const char *target, int differs);
    int (*deserialize)(void *ctx, struct vb_host *h, struct vb_payload *in);
    int (*propagate2)(void *ctx, struct vb_host *h, const char *target, int differs);
};

struct vb_writer {
    uint32_t size;  /* sizeof(struct vb_writer) */
    uint32_t magic; /* VB_WRITER_MAGIC */
    uint32_t abi;   /* VB_WRITER_ABI */
    uint32_t freeze_timeout_ms; /* 0: VB_DEFAULT_FREEZE_MS */

    const char *class_id; /* GUID, the same for ever (W-6) */
    const char *name;     /* "postgresql writer"; not localised */
    const char *version;  /* "1.0" */
    enum vb_usage usage;
    enum vb_source source;
    enum vb_level level; /* VB_LEVEL_UNKNOWN means front end (W-2) */
    /* NULL-terminated names of the configuration keys it knows; others are refused with file and line.  A name may begin
     * or end with '*', which stands for one or more characters: "*.path" allows `www.path = /srv/www`. */
    const char *const *options;

    /* Once per process, before anything else; NULL: no context.  *ctx is handed to every other callback. */
    int (*open)(struct vb_host *h, const struct vb_writer_services *svc, void **ctx);
    void (*close)(void *ctx);

    /* Mandatory.  Describes what there is, by the identify services.  Same answer for the same state (W-9). */
    int (*identify)(void *ctx, struct vb_host *h);

    int (*prepare_backup)(void *ctx, struct vb_host *h);   /* NULL: nothing to do */
    int (*prepare_snapshot)(void *ctx, struct vb_host *h); /* NULL: nothing to do */
    int (*freeze)(void *ctx, struct vb_host *h);           /* mandatory */
    int (*thaw)(void *ctx, struct vb_host *h);             /* mandatory; fails if what freeze held was lost */
    int (*post_snapshot)(void *ctx, struct vb_host *h);    /* NULL: nothing to do */
    int (*abort)(void *ctx, struct vb_host *h);            /* mandatory; repeatable, from any point */
    int (*backup_complete)(void *ctx, struct vb_host *h);  /* NULL: nothing to do */
    int (*backup_shutdown)(void *ctx, struct vb_host *h);  /* NULL: nothing to do */
    int (*pre_restore)(void *ctx, struct vb_host *h);      /* NULL: nothing to do */
    int (*post_restore)(void *ctx, struct vb_host *h);     /* NULL: nothing to do */

    /* Name of the operating-system user to run as, from the configuration or the application; NULL: the agent's own.
     * Called before open, in the same process, with options available. */
    const char *(*run_as)(struct vb_host *h, const struct vb_writer_services *svc);

    /* NULL: the writer takes no part in replication. */
    const struct vb_replication *replication;
};

/* The one symbol a writer exports. */
#if defined(__GNUC__)
#define VB_WRITER_EXPORT __attribute__((visibility("default")))
#else
#define VB_WRITER_EXPORT
#endif
typedef const struct vb_writer *vb_writer_entry_fn(void);
#define VB_WRITER_ENTRY "vb_writer_entry"
VB_WRITER_EXPORT const struct vb_writer *vb_writer_entry(void);

/* Registers a writer: VB_REGISTER_WRITER(my_writer) once, at file level. */
#define VB_REGISTER_WRITER(w)                                  \
    VB_WRITER_EXPORT const struct vb_writer *vb_writer_entry(void) \
    {                                                          \
        return &(w);                                           \
    }

#ifdef __cplusplus
}
#endif
#endif
