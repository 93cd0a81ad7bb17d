/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/writer_metadata.h - the writer metadata document (WMD): what a writer offers and demands.
 *
 * Made by the writer inside Identify, read-only for everybody afterwards.  Vocabulary of section 1.9 where the
 * field has one: WRITER_METADATA, IDENTIFICATION, RESTORE_METHOD, BACKUP_LOCATIONS, FILE_GROUP, DATABASE, FILE_LIST,
 * ... Logical paths are stored with '\' between elements, "" for the root (K-4); host prefixes of dependencies are kept
 * as the writer wrote them (D-29).
 */
#ifndef VB_DOCUMENTS_WRITER_METADATA_H
#define VB_DOCUMENTS_WRITER_METADATA_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/buf.h"
#include "base/mem.h"
#include "vbackup/types.h"

struct vb_wm_index; /* private: look-ups of the builders */

struct vb_fileset {
    int kind;               /* enum vb_fileset_kind of writer.h: 0 group, 1 database file, 2 log file */
    char *path, *filespec;
    bool recursive;
    char *alternate_path;   /* NULL if none */
    uint32_t backup_type;   /* VB_FSB_* */
};

struct vb_dependency {
    char *target_class_id;
    char *target_logical_path; /* as declared, host prefix included */
    char *target_name;
};

struct vb_wm_component {
    enum vb_component_type type;
    char *logical_path; /* "" for the root */
    char *name;
    char *caption;      /* may be NULL */
    bool selectable, selectable_for_restore, notify_on_backup_complete, restore_metadata;
    uint32_t flags;
    struct vb_fileset *filesets;
    size_t n_filesets, cap_filesets;
    struct vb_dependency *dependencies;
    size_t n_dependencies, cap_dependencies;
    struct vb_strv leave_out; /* rules of base/path_filter.h for its file sets that take more than named files */
};

struct vb_alternate_location { char *path, *filespec, *alternate_path; bool recursive; };
struct vb_exclude { char *path, *filespec; bool recursive; };

struct vb_writer_metadata {
    char *writer_id, *instance_id, *name, *instance_name /* may be NULL */, *version /* may be NULL */;
    enum vb_usage usage;
    enum vb_source source;
    enum vb_level level;      /* ours: how the session orders it; VB_LEVEL_FRONT_END by default */
    uint32_t schema;
    bool has_restore_method;  /* a reader copes without one */
    enum vb_restore_method method;
    enum vb_writer_restore writer_restore;
    bool reboot_required;
    char *service;            /* may be NULL */
    struct vb_alternate_location *alms; size_t n_alms, cap_alms;
    struct vb_exclude *excludes; size_t n_excludes, cap_excludes;
    struct vb_exclude *snapshot_excludes; size_t n_snapshot_excludes, cap_snapshot_excludes;
    struct vb_wm_component *components; size_t n_components, cap_components;
    bool foreign;             /* a captured document of another system: its paths are not paths here (1.9) */
    struct vb_wm_index *index;
};

/* Ids are GUIDs.  Defaults: usage OTHER, source OTHER (1.2), level front end, no restore method. */
struct vb_writer_metadata *vb_wm_new(const char *writer_id, const char *instance_id, const char *name);
void vb_wm_free(struct vb_writer_metadata *m);

/* Builders with the field's checks: OBJECT_ALREADY_EXISTS for a second identity (C-6), INVALID for a separator in a
 * name (C-3), wrong file kind for the component type (C-29), OBJECT_NOT_FOUND for an unknown component, same-writer
 * dependency (D-7), ALM that repeats no file set or comes before the restore method (R-49: BAD_STATE), filespec
 * with a directory part (C-33), relative or `..` path, recursion or alternate path outside a file group (C-28), a file
 * set that lies wholly inside another one for the same backup types (C-32; overlaps that depend on the files' names are
 * not decidable here and pass).  backup_type 0 of a file set means VB_FSB_DEFAULT.
 * Pointers into the arrays are good until the next call of a builder. */
struct vb_wm_component *vb_wm_add_component(struct vb_writer_metadata *m, enum vb_component_type type,
                                            const char *logical_path, const char *name, struct vb_error *err);
int vb_wm_add_fileset(struct vb_writer_metadata *m, const char *logical_path, const char *name,
                      const struct vb_fileset *fs, struct vb_error *err); /* fs is copied */
int vb_wm_add_dependency(struct vb_writer_metadata *m, const char *logical_path, const char *name,
                         const char *target_class_id, const char *target_logical_path, const char *target_name,
                         struct vb_error *err);
int vb_wm_add_alm(struct vb_writer_metadata *m, const char *path, const char *filespec, bool recursive,
                  const char *alternate_path, struct vb_error *err);
int vb_wm_add_exclude(struct vb_writer_metadata *m, bool from_snapshot, const char *path, const char *filespec,
                      bool recursive, struct vb_error *err);
/* A rule of base/path_filter.h for one component. */
int vb_wm_add_leave_out(struct vb_writer_metadata *m, const char *logical_path, const char *name, const char *rule,
                        struct vb_error *err);
int vb_wm_set_restore_method(struct vb_writer_metadata *m, enum vb_restore_method method, const char *service,
                             enum vb_writer_restore when, bool reboot_required, struct vb_error *err);
int vb_wm_set_schema(struct vb_writer_metadata *m, uint32_t schema, struct vb_error *err); /* I-2, I-3 */
/* What a live writer owes beyond what a stored document may lack: usage and source and restore method, a log file
 * behind the log bit (I-4), an alternate location for every file set where the method demands it, a service for
 * the two stop methods.  VB_E_WRITER_NON_RETRYABLE. */
int vb_wm_check_offer(const struct vb_writer_metadata *m, struct vb_error *err);
struct vb_wm_component *vb_wm_find(const struct vb_writer_metadata *m, const char *logical_path, const char *name);

/* To and from XML.  Reading validates against the grammar and the rules above (INVALID_XML_DOCUMENT with line and what
 * is wrong); writing is canonical: read(write(x)) equals x and write(read(write(x))) is byte-equal. */
int vb_wm_write(const struct vb_writer_metadata *m, struct vb_buf *out, struct vb_error *err);
struct vb_writer_metadata *vb_wm_read(const char *origin, const void *xml, size_t n, struct vb_error *err);

/* "path\name", or "name" at the root; caller frees.  The full path of section 4.1. */
char *vb_full_path(const char *logical_path, const char *name);
/* C-7: full path `a` is an ancestor of a component with this logical path (whole elements). */
bool vb_is_ancestor(const char *a_full_path, const char *logical_path);

#endif
