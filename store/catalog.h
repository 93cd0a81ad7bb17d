/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/catalog.h - the record of one backup: what it holds, how consistent it is, and the documents beside it.
 *
 * One immutable JSON file per backup, "catalog/<sequence, 10 digits>-<id>-<sha-256 of the bytes>".  It is written
 * last, after the barrier: a backup exists when its entry exists.  Each entry names the hash of the one before,
 * so that an entry in the middle cannot vanish unnoticed.
 *
 * The structs are filled by the caller; strings are owned (vb_catalog_entry_free), NULL means not known.
 */
#ifndef VB_STORE_CATALOG_H
#define VB_STORE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/text.h"
#include "store/chunk/chunk.h"
#include "store/chunk/content.h"
#include "vbackup/result.h"

#define VB_CATALOG_VERSION 0
#define VB_CATALOG_MAX_FILE ((size_t)64 << 20)

enum vb_catalog_state {
    VB_CATALOG_COMPLETE = 0, /* everything that was asked for */
    VB_CATALOG_PARTIAL = 1,  /* usable, but some component, file or host is missing: see there */
    VB_CATALOG_FAILED = 2    /* not to be restored from; kept as a record of what happened */
};
const char *vb_catalog_state_name(enum vb_catalog_state s); /* "complete", "partial", "failed" */

struct vb_catalog_root {
    char *path;     /* absolute, as the component's file set names it */
    char *filespec; /* "*" or a pattern (rule C-33) */
    bool recursive;
    bool has_tree;  /* false: nothing was captured (component failed before) */
    struct vb_name tree; /* TREE chunk of exactly one entry (store/chunk/tree.h) */
    uint64_t files, dirs, bytes; /* captured: non-directories, directories, bytes of file content */
    uint64_t errors; /* entries that could not be read */
    char *detector;  /* how it was found what had to be read: "walk", "full read (first look)"; NULL: not told */
    uint64_t files_read; /* with detector: the other files were recognised as unchanged */
    uint64_t bytes_read; /* of those: the rest of their content was known to be as it was */
};

struct vb_catalog_component {
    char *writer_class;    /* GUID of the writer's class */
    char *writer_instance; /* GUID of the running instance */
    char *instance_name;   /* persistent name of the instance */
    char *writer_name;
    char *logical_path;    /* NULL or "" at the top */
    char *name;
    char *caption;
    char *type;            /* "database", "filegroup" */
    char *consistency;     /* "crash", "file system", "application", "group", "none": as it really was */
    char *backup_type;     /* "full", "incremental" ...: as it was done, not as it was asked for */
    char *base;            /* id of the backup that must be restored before it; NULL: none */
    enum vb_catalog_state state;
    enum vb_code code;     /* why, when not complete */
    char *error;           /* one line, when not complete */
    bool is_explicit;      /* explicitly included (rule D-2), else by closure or as part of a set */
    uint64_t bytes, files;
    uint64_t left_files, left_dirs; /* left out by exclusions; a directory counts once, with all below it */
    struct vb_catalog_root *roots;
    size_t n_roots, cap_roots;
};

struct vb_catalog_host {
    char *name;    /* as in the configuration; "local" or the machine's name for this one */
    char *address; /* what was connected to; NULL for the local agent */
    enum vb_catalog_state state;
    enum vb_code code;
    char *error;
    struct vb_catalog_component *components;
    size_t n_components, cap_components;
};

/* A document kept beside the data. */
struct vb_catalog_document {
    char *kind;   /* "writer-metadata", "components", "job", "plan", "journal", "events", "requester" */
    char *host;   /* NULL: of the whole backup */
    char *writer; /* writer instance, for writer-metadata; else NULL */
    uint64_t size;
    struct vb_content content; /* DOC chunks: from vb_repo_put_bytes */
};

struct vb_catalog_entry {
    char id[VB_GUID_LEN + 1];     /* empty: vb_repo_commit makes one */
    uint64_t sequence;            /* set by vb_repo_commit; the first is 1 */
    bool has_previous;            /* set by vb_repo_commit */
    struct vb_name previous;      /* hash of the entry before */
    struct vb_name hash;          /* of this entry's bytes; set when written or read, not part of the file */
    uint64_t started_ms, finished_ms; /* wall clock of the requester */
    char *requester;              /* host name of the requester */
    char *user;
    char *program;                /* "vbackup 0.1.0" */
    char *job;                    /* name of the job, or "ad hoc" */
    enum vb_catalog_state state;
    uint64_t bytes, files;        /* sum over the components */
    uint64_t added_chunks, added_raw, added_stored; /* what this backup added to the repository */
    struct vb_catalog_host *hosts;
    size_t n_hosts, cap_hosts;
    struct vb_catalog_document *documents;
    size_t n_documents, cap_documents;
    bool by_writer_only; /* as read: made with a write-only key, which may claim what it likes of its own host; not part of
                          * the file */
};

struct vb_catalog_entry *vb_catalog_entry_new(void);
void vb_catalog_entry_free(struct vb_catalog_entry *e); /* NULL ok */

/* Append zeroed records; the pointer is valid until the next addition to the same list. */
struct vb_catalog_host *vb_catalog_add_host(struct vb_catalog_entry *e, const char *name);
struct vb_catalog_component *vb_catalog_add_component(struct vb_catalog_host *h);
struct vb_catalog_root *vb_catalog_add_root(struct vb_catalog_component *c, const char *path, const char *filespec,
                                            bool recursive);
/* Takes over content (and empties the caller's). */
struct vb_catalog_document *vb_catalog_add_document(struct vb_catalog_entry *e, const char *kind, const char *host,
                                                    const char *writer, struct vb_content *content);
/* First document of a kind (host, writer: NULL means any), or NULL. */
const struct vb_catalog_document *vb_catalog_find_document(const struct vb_catalog_entry *e, const char *kind,
                                                           const char *host, const char *writer);

/* JSON of an entry, and back.  Decoding is strict: unknown format version VB_E_NEWER_FORMAT, anything missing or
 * of the wrong kind VB_E_CORRUPT with the place.  hash is not touched. */
int vb_catalog_encode(const struct vb_catalog_entry *e, struct vb_buf *out, struct vb_error *err);
struct vb_catalog_entry *vb_catalog_decode(const void *p, size_t len, struct vb_error *err);

/* "catalog/0000000001-<id>-<hash>"; caller frees.  And back: false for anything else. */
char *vb_catalog_path(uint64_t sequence, const char *id, const struct vb_name *hash);
bool vb_catalog_path_parse(const char *path, uint64_t *sequence, char id[VB_GUID_LEN + 1], struct vb_name *hash);

#endif
