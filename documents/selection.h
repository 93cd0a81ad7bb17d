/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/selection.h - sections 4 and 5 of the rule book as pure functions over documents.
 *
 * Input: the writer metadata documents of every host that was reached, and what the user asked for.  Output: which
 * components take part, explicitly or implicitly, why, which hosts are still unknown, and the edges between them.
 * No I/O, no clock: same input, same output, order included.
 */
#ifndef VB_DOCUMENTS_SELECTION_H
#define VB_DOCUMENTS_SELECTION_H

#include "documents/writer_metadata.h"
#include "documents/components.h"

/* ---- parsing a dependency's target (D-24 to D-33) ---- */
struct vb_target {
    char *host;         /* NULL: local */
    char *logical_path; /* prefix stripped, "" for the root */
    char *name;
    bool both_prefixed; /* both fields carried the same host: worth a warning (D-28) */
};
void vb_target_clear(struct vb_target *t);
/* -1 with VB_E_INVALID_XML_DOCUMENT-like text for malformed ones: `\\\`, empty host, two different hosts, unsafe host
 * text. */
int vb_target_parse(const struct vb_dependency *d, struct vb_target *t, struct vb_error *err);

/* ---- the graph ---- */
struct vb_sel_host {
    char *host;                              /* name in the host table */
    struct vb_writer_metadata **writers;     /* borrowed */
    size_t n_writers;
};

/* Maps a host text of a dependency to a name in the host table: NULL if there is none (D-33).  Must map aliases and
 * addresses, the name of a cluster, and every name of the asking host to itself (D-31). */
typedef const char *vb_resolve_host_fn(void *arg, const char *from_host, const char *text);

enum vb_why {
    VB_WHY_ASKED = 1,        /* named by the user */
    VB_WHY_DEFAULT = 2,      /* everything was asked for */
    VB_WHY_COMPULSORY = 3,   /* not selectable, no selectable ancestor (B-16, C-13) */
    VB_WHY_TARGET = 4,       /* target of a dependency (D-3, D-6a) */
    VB_WHY_DEPENDENT = 5,    /* restore: dependent of a target (D-61) */
    VB_WHY_ANCESTOR = 6      /* head taken because a member is needed (D-15) */
};

/* Explicit components go into the backup components document; implicit ones come with their explicit head, whose index
 * stands in `because`.  Components stand in the order of hosts, writers and the writers' own. */
struct vb_sel_component {
    size_t host, writer, component; /* indices into the input */
    bool is_explicit;
    enum vb_why why;
    size_t because;                 /* index of the selected component that brought it, or SIZE_MAX */
};
/* Dependent -> target, indices of explicit components: what a member declares or is needed for holds for its head, as
 * success and failure do (C-47).  Each pair once, sorted. */
struct vb_sel_edge { size_t from, to; bool remote; };
struct vb_sel_missing {                                        /* a dependency that cannot be met (yet) */
    size_t from;                    /* explicit component; SIZE_MAX: the dependent was left out for it */
    char *host_text, *host;         /* as written; resolved name or NULL */
    char *target_class_id, *logical_path, *name;
    bool host_not_gathered;         /* gather metadata there and select again */
    char *text;                     /* one line for the user */
};
struct vb_selection {
    struct vb_sel_component *components; size_t n, cap;
    struct vb_sel_edge *edges; size_t n_edges, cap_edges;
    struct vb_sel_missing *missing; size_t n_missing, cap_missing;
    struct vb_strv warnings;
};
void vb_selection_clear(struct vb_selection *s);

struct vb_ask {            /* one thing the user named; NULL fields match all */
    const char *host;      /* NULL: the front end (first host) */
    const char *writer;    /* writer name, class id or instance name */
    const char *component; /* full path, or NULL: all components of the writer */
};

/* What becomes of a dependent whose target is absent, excluded or malformed (D-6, D-12, D-16, D-28, D-33).
 *   FAIL            the selection fails with DEPENDENCY_MISSING.  Targets on hosts whose metadata were not gathered yet
 *                   do not count: they are listed with host_not_gathered, the caller gathers and selects again.
 *   DROP_DEPENDENT  it is left out, with all that only it brought and all that depends on it; a warning says so.
 *   CONTINUE        it stays and stands in `missing`: the backup is then marked incomplete. */
enum vb_missing_policy { VB_MISSING_FAIL = 0, VB_MISSING_DROP_DEPENDENT = 1, VB_MISSING_CONTINUE = 2 };

struct vb_select_options {
    const struct vb_ask *asks; size_t n_asks;           /* 0: everything on the first host */
    const struct vb_ask *excludes; size_t n_excludes;   /* user's exclusions (C-22, D-16) */
    enum vb_missing_policy missing;                     /* D-6, D-12 */
    vb_resolve_host_fn *resolve;
    void *resolve_arg;
};

/* A user's exclusion takes out the component and all below it; a set head that would bring it can then not be taken,
 * only what stands on its own below that head (C-19, C-22); a writer whose compulsory component is excluded takes no
 * part. Excluded beats asked for, with a warning. */

/* Backup: selectability of 4.2, then the closure of 5.1 over all hosts given. Asking for an unknown writer or component
 * is OBJECT_NOT_FOUND; for one that may not be explicit, an error that names its head (B-20). */
int vb_select_backup(const struct vb_sel_host *hosts, size_t n_hosts, const struct vb_select_options *opt,
                     struct vb_selection *out, struct vb_error *err);

/* Restore: over the STORED documents.  stored[i] is host i's BCD of the backup.  Rules 4.3, closure in both
 * directions (D-17, D-61).  n_asks 0: everything that is explicit in any of the documents.  A component implicit at
 * backup that is asked for alone becomes a restore subcomponent of its nearest explicit ancestor. */
struct vb_restore_pick { size_t host, writer, component; /* explicit component, indices into stored BCDs */
                         struct vb_strv subcomponents; enum vb_why why; };
struct vb_restore_selection {
    struct vb_restore_pick *picks; size_t n, cap;
    struct vb_sel_edge *edges; size_t n_edges, cap_edges;
    struct vb_sel_missing *missing; size_t n_missing, cap_missing;
    struct vb_strv warnings;
};
void vb_restore_selection_clear(struct vb_restore_selection *s);
int vb_select_restore(const struct vb_sel_host *hosts, size_t n_hosts, struct vb_components *const *stored,
                      const struct vb_select_options *opt, struct vb_restore_selection *out, struct vb_error *err);

/* File sets of the explicit component and every implicit one below it (C-17; below a selectable one only, C-18), for
 * this backup type (I-8, I-11); VB_BACKUP_UNDEFINED: all of them, which is what a restore wants. Borrowed pointers into
 * m; caller frees the array. */
struct vb_member_fileset { const struct vb_wm_component *component; const struct vb_fileset *fileset; };
struct vb_member_fileset *vb_member_filesets(const struct vb_writer_metadata *m, const char *logical_path,
                                             const char *name, enum vb_backup_type type, size_t *n);

#endif
