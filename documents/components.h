/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/components.h - the backup components document (BCD): what was chosen and what became of it.
 *
 * One per host and session.  Written by the requester; the writers edit their own records while the session allows it
 * (rule book 1.5); stored with the backup and loaded for the restore.  Holds explicit components only, and no
 * file paths of components (1.5).
 */
#ifndef VB_DOCUMENTS_COMPONENTS_H
#define VB_DOCUMENTS_COMPONENTS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/buf.h"
#include "base/mem.h"
#include "vbackup/types.h"

#define VB_MAX_PRIVATE_FILES 1000 /* of one component */
#define VB_MAX_WRITERS 4096       /* of one document */

struct vb_partial_file { char *path, *filename, *ranges, *metadata; };
struct vb_differenced_file { char *path, *filespec; bool recursive; int64_t mtime_sec; };
struct vb_private_file { char *name; struct vb_buf data; };  /* writer's label files; base64 in the document */
struct vb_placed { char *path, *filespec, *where; bool recursive; }; /* new target or ALM used */
/* Maps ranges of a file of the backup to ranges of a file on disk, as many and as long. */
struct vb_directed_target {
    char *source_path, *source_filename, *source_ranges;
    char *target_path, *target_filename, *target_ranges;
};

struct vb_component {
    enum vb_component_type type;
    char *logical_path, *name;
    /* backup */
    char *backup_options, *previous_stamp, *backup_stamp, *backup_metadata;
    struct vb_partial_file *partials; size_t n_partials, cap_partials;
    struct vb_differenced_file *differenced; size_t n_differenced, cap_differenced;
    struct vb_private_file *private_files; size_t n_private, cap_private;
    char *prepare_failure, *post_snapshot_failure;     /* messages */
    enum vb_code failure_code; char *failure_text;     /* component failure */
    bool backup_succeeded_set, backup_succeeded;
    enum vb_consistency consistency;                   /* as it really was */
    enum vb_completeness completeness;
    /* restore */
    bool selected_for_restore;
    char *target_instance_id;
    struct vb_strv restore_subcomponents;              /* full paths */
    char *restore_options, *restore_metadata, *restore_name;
    bool additional_restores, authoritative;
    enum vb_rollforward rollforward; char *rollforward_point;
    enum vb_restore_target target;
    char *pre_restore_failure, *post_restore_failure;
    enum vb_file_restore_status restore_status;
    struct vb_placed *new_targets; size_t n_new_targets, cap_new_targets;
    struct vb_placed *used_alms; size_t n_used_alms, cap_used_alms;
    struct vb_directed_target *directed; size_t n_directed, cap_directed;
    char *ranges_file;
    /* Backup: id of the backup that this one builds on (I-17); NULL: on none, and then it is taken in full (I-5, I-21). */
    char *base_backup;
};

struct vb_writer_components {
    char *writer_id, *instance_id, *instance_name /* may be NULL */, *name;
    uint32_t schema;
    enum vb_writer_state state;                        /* last gathered status */
    enum vb_code failure_code; char *failure_text, *failure_hint;
    struct vb_component *components; size_t n_components, cap_components;
};

struct vb_snapshot_record {
    char *snapshot_id, *mount_point, *device, *fs_type, *provider, *snapshot_path, *remark;
    bool atomic;
    uint64_t commit_begin_us, commit_us;               /* its provider's commit, from the window's begin; length 0: none */
};

/* A file system that is mounted below the files of some component and was left out (B-30). */
struct vb_left_mount { char *path, *device, *fs_type; };

/* A part of the freeze window: begin from the window's, length, and how long the longest writer or provider took in it; the
 * difference is ours. */
struct vb_window_phase { char *name; uint64_t begin_us, us, inner_us; };

struct vb_components {
    char *host, *session_id, *snapshot_set_id;         /* set id NULL before StartSnapshotSet */
    bool restore;                                      /* mode of the session */
    bool select_components, bootable_state, partial_files;
    enum vb_backup_type backup_type;
    enum vb_restore_type restore_type;
    uint64_t freeze_wall_ms, window_us;                /* begin of the window and its length; 0 before */
    struct vb_window_phase *phases; size_t n_phases, cap_phases; /* in their order */
    uint64_t skew_us;                                  /* at most so far apart are the instants of the volumes (B-40) */
    struct vb_snapshot_record *snapshots; size_t n_snapshots, cap_snapshots;
    struct vb_writer_components *writers; size_t n_writers, cap_writers;
    struct vb_left_mount *left_mounts; size_t n_left_mounts, cap_left_mounts;
};

/* Appends one; name is copied. */
void vb_components_add_phase(struct vb_components *c, const char *name, uint64_t begin_us, uint64_t us, uint64_t inner_us);

/* Appends one, if its path is not there yet; the strings are copied. */
void vb_components_add_left_mount(struct vb_components *c, const char *path, const char *device, const char *fs_type);

struct vb_components *vb_components_new(const char *host);
void vb_components_free(struct vb_components *c);
struct vb_components *vb_components_copy(const struct vb_components *c);
/* Finds or adds the writer record. */
struct vb_writer_components *vb_components_writer(struct vb_components *c, const char *writer_id,
                                                  const char *instance_id, const char *instance_name, const char *name);
struct vb_writer_components *vb_components_find_writer(const struct vb_components *c, const char *writer_id,
                                                       const char *instance_name);
/* OBJECT_ALREADY_EXISTS for a second one; a separator in the name or an empty element in the path is refused (C-3).
 * Pointers into the arrays are good until the next one is added. */
struct vb_component *vb_components_add(struct vb_writer_components *w, enum vb_component_type type,
                                       const char *logical_path, const char *name, struct vb_error *err);
struct vb_component *vb_components_find(const struct vb_writer_components *w, const char *logical_path,
                                        const char *name);

int vb_components_write(const struct vb_components *c, struct vb_buf *out, struct vb_error *err);
struct vb_components *vb_components_read(const char *origin, const void *xml, size_t n, struct vb_error *err);
/* One writer's part alone, with the fields of its session: what travels to and from a writer host.  Same grammar, root
 * WRITER_COMPONENTS. */
int vb_writer_components_write(const struct vb_components *c, const struct vb_writer_components *w, struct vb_buf *out,
                               struct vb_error *err);
/* Reads a writer's edited part and merges only what that writer may set in this event (table 1.5) into *into; anything
 * else that differs is refused with BAD_STATE naming field and event, a second setting of a once-only field with
 * OBJECT_ALREADY_EXISTS, more than VB_MAX_PRIVATE_DATA bytes of metadata with LIMIT.  All or nothing: on error *into is
 * untouched.  event: enum vb_event (documents/events.h).
 *
 *   PrepareForBackup .. PostSnapshot   backup stamp; backup metadata (once); partial, differenced and private files
 *                                      (may be added, not taken back); failure code and text; consistency (may only
 *                                      sink)
 *   PrepareForBackup                   prepare failure
 *   PostSnapshot                       post-snapshot failure
 *   PreRestore                         restore target; directed targets; restore metadata (once); pre-restore failure;
 *                                      failure code and text
 *   PostRestore                        post-restore failure; failure code and text (K-7)
 *   any other event                    nothing
 *
 * Session fields of the part and the writer's state and failure are the session's own: neither compared nor taken. */
int vb_writer_components_merge(struct vb_writer_components *into, const void *xml, size_t n, int event,
                               struct vb_error *err);
/* For the writer host: reads the part it was sent; the result has this one writer. */
struct vb_components *vb_writer_components_read(const void *xml, size_t n, struct vb_error *err);

#endif
