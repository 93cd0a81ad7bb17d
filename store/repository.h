/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository.h - the repository as the requester uses it.
 *
 * A backup:   vb_repo_open, vb_repo_lock, then any number of { vb_repo_has, vb_repo_put } as chunks arrive from
 * the agents, vb_repo_put_bytes for documents, vb_repo_commit, vb_repo_unlock, vb_repo_close.
 * A restore:  vb_repo_open (read), vb_repo_find, vb_tree_walk / vb_tree_lookup, vb_repo_get, vb_repo_close.
 *
 * Nothing counts before the barrier: what is put becomes part of a backup only when vb_repo_commit has returned 0.
 * A crash at any point leaves a repository that needs no repair; chunks that were stored by then are used again
 * by the next backup.  Any number of writers at a time; readers need no session.
 *
 * Children first: a TREE or LIST chunk is refused while a chunk it refers to is missing.  By this rule everything
 * below a chunk that the repository has is in the repository as well, and vb_repo_has may be believed.
 *
 * Called from one thread.  No function waits for anything but the storage.
 */
#ifndef VB_STORE_REPOSITORY_H
#define VB_STORE_REPOSITORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/backend.h"
#include "store/catalog.h"
#include "store/chunk/chunk.h"
#include "store/chunk/content.h"
#include "store/chunk/cutter.h"
#include "store/chunk/tree.h"
#include "store/location.h"

#define VB_REPO_FORMAT 2u /* the newest this program reads, and what it makes */

struct vb_repo;

enum vb_repo_mode {
    VB_REPO_READ = 0,
    VB_REPO_WRITE /* permits vb_repo_lock */
};

/* Where a password comes from.  password appends it to *out, which whoever asked wipes; new: one that is to be set, so a
 * person must type it twice.  given: the user has named a source, so the repository is meant to be encrypted, and one
 * that is not is refused (VB_E_GUARD): whoever can write to it could have exchanged it. */
struct vb_repo_auth {
    int (*password)(void *arg, bool new, struct vb_buf *out, struct vb_error *err);
    void *arg;
    bool given;
    const struct vb_location_options *storage; /* how to reach the place; NULL: as usual */
    const uint8_t *root; /* the secret itself, 32 bytes, from the sheet of paper: no password is asked for */
    const char *memory; /* directory in which this machine keeps what it has seen of repositories; NULL: not */
    bool accept;        /* what is there now is what is to be remembered, whatever was seen before */
    bool tell;          /* what is not as it was remembered is told by vb_repo_alarm, and not refused */
};

#define VB_KEY_COST 15u /* of the password derivation: 2^15 KiB of memory; kept in each key, so it may change */

struct vb_repo_params {
    int compression;               /* zstd level 1 .. 19, 0: none */
    struct vb_cut_params cut;      /* for files */
    struct vb_cut_params cut_pages; /* for databases that change by pages */
    const struct vb_repo_auth *auth; /* its password opens the repository; NULL: not encrypted */
    unsigned key_cost;             /* 0: VB_KEY_COST */
    char *id;                      /* NULL, or VB_GUID_LEN + 1 bytes that are set to the id of the new repository */
    const struct vb_location_options *storage; /* how to reach the place; NULL: as usual */
    const char *memory; /* as in vb_repo_auth: the new repository is the one that lies there from now on */
};
#define VB_REPO_PARAMS_DEFAULT ((struct vb_repo_params){ 3, VB_CUT_DEFAULT, VB_CUT_PAGES, NULL, 0, NULL, NULL, NULL })

/* What an agent must know to cut and name for this repository. The keys are secret: not for logs or documents.  They
 * are those of the repository's own group; an agent gets those of its host's (vb_repo_group_keys). */
struct vb_repo_info {
    char id[VB_GUID_LEN + 1];
    unsigned format;
    uint64_t created_ms;
    uint8_t naming_key[VB_CHUNK_KEY_LEN];
    uint8_t cutter_seed[VB_CHUNK_KEY_LEN];
    struct vb_repo_params params; /* auth and key_cost are not set */
    bool encrypted;
    bool append_only; /* opened with a write-only key */
};

/* Makes a repository.  location: see store/location.h.
 * params NULL: defaults.  A repository that is already there, or a directory that is not empty, is VB_E_EXISTS.
 * An init that was interrupted may be repeated. */
int vb_repo_init(const char *location, const struct vb_repo_params *params, uint64_t wall_ms, struct vb_error *err);
int vb_repo_init_on(struct vb_backend *b, const struct vb_repo_params *params, uint64_t wall_ms,
                    struct vb_error *err); /* borrows b */

/* Opens one.  auth: where the password comes from; it is asked for only when the repository is encrypted.  NULL: an
 * encrypted one is refused.  Missing: VB_E_NOT_FOUND with the hint `vbackup init`; not a repository: VB_E_NOT_FOUND; of a
 * newer format: VB_E_NEWER_FORMAT with both versions; no key opens with the password: VB_E_ACCESS_DENIED; damaged
 * configuration, or one that was exchanged: VB_E_CORRUPT; something that this machine has seen is missing: VB_E_GUARD. */
struct vb_repo *vb_repo_open_auth(const char *location, enum vb_repo_mode mode, const struct vb_repo_auth *auth,
                                  struct vb_error *err);
struct vb_repo *vb_repo_open_auth_on(struct vb_backend *b, enum vb_repo_mode mode, const struct vb_repo_auth *auth,
                                     struct vb_error *err); /* takes over b, also on failure */
struct vb_repo *vb_repo_open(const char *location, enum vb_repo_mode mode, struct vb_error *err); /* auth NULL */
struct vb_repo *vb_repo_open_on(struct vb_backend *b, enum vb_repo_mode mode, struct vb_error *err);
void vb_repo_close(struct vb_repo *r); /* NULL ok; unlocks; what was not committed is dropped */
const struct vb_repo_info *vb_repo_info(const struct vb_repo *r);
/* What is missing or was exchanged since this machine has seen the repository (opened with `accept` or `tell`); NULL:
 * nothing. */
const char *vb_repo_alarm(const struct vb_repo *r);

/*
 * Begins a session: this handle may write from here on, and knows what other writers did before.  Any number of sessions
 * may be open at once, in any number of processes on any number of machines, also while others prune and check; in a
 * repository of format 0 or 1 only one (VB_E_BUSY with host, process and time of the other).  Chunks that an interrupted
 * backup left are found here and used.  wall_ms: for those who ask who is at work.
 *
 * A session has a lease: while it is renewed, no prune removes what the session may refer to.  Without that, after a
 * machine slept for a day for instance, vb_repo_commit finds out whether something is gone, and fails if it is.  A session
 * that did not end leaves its lease behind; vb_repo_lock_as with the same id takes it over, so that what it has stored is
 * protected until then.  id: a GUID, or NULL.
 */
int vb_repo_lock(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err);
int vb_repo_lock_as(struct vb_repo *r, const char *id, uint64_t wall_ms, struct vb_error *err);
/* To be called every few minutes at least; no harm is done when it fails. */
int vb_repo_renew(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err);
void vb_repo_unlock(struct vb_repo *r); /* ends the session */

/*
 * Trust groups.  Names, cuts and index are keyed by group, and a chunk counts for a group only where that group has
 * it: a host can neither learn what another group has nor put something in the place of it.  By default each host is
 * a group of its own, named after it; the administrator may put several into one.  Group 0 is the repository's own: its
 * documents; the calls without a group mean that one.  In a repository of format 0, and for a write-only key, there is one
 * group only, whatever name is asked for.
 */
int vb_repo_group(struct vb_repo *r, const char *name, uint32_t *group, struct vb_error *err);
/* 32 bytes each; they live as long as the handle. */
void vb_repo_group_keys(const struct vb_repo *r, uint32_t group, const uint8_t **naming_key, const uint8_t **cutter_seed);
void vb_repo_has_in(struct vb_repo *r, uint32_t group, const struct vb_name *names, size_t n, bool *present);
int vb_repo_put_in(struct vb_repo *r, uint32_t group, enum vb_chunk_type type, const struct vb_name *name,
                   size_t raw_size, uint8_t encoding, const void *stored, size_t stored_size, struct vb_error *err);
/* The group that has a chunk; false when none is known to. */
bool vb_repo_group_of(struct vb_repo *r, const struct vb_name *name, uint32_t *group);
/* Whether a chunk may be shown to somebody who may see these groups; true for one that is not there at all. */
bool vb_repo_in_groups(struct vb_repo *r, const struct vb_name *name, const uint32_t *groups, size_t n);

/* present[i] tells whether the repository has the chunk names[i], put in this session or before. */
void vb_repo_has(struct vb_repo *r, const struct vb_name *names, size_t n, bool *present);

/* Stores one chunk.  The stored bytes are decompressed, named again and (TREE, LIST) decoded before they count:
 * VB_E_CORRUPT when they are not what the sender says they are, or refer to a chunk the repository has not got.
 * One that is there already is not stored again.  Needs the lock (VB_E_BAD_STATE). */
int vb_repo_put(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, size_t raw_size,
                uint8_t encoding, const void *stored, size_t stored_size, struct vb_error *err);
/* The same of a DATA chunk whose sender has named it and has decompressed and compared it, and is believed: it could read and
 * write this repository as well.  Other types are verified all the same. */
int vb_repo_put_believed_in(struct vb_repo *r, uint32_t group, enum vb_chunk_type type, const struct vb_name *name,
                            size_t raw_size, uint8_t encoding, const void *stored, size_t stored_size, struct vb_error *err);
/* Plaintext: named and compressed here; *name is set.  Fits vb_emit_fn with arg = the repository. */
int vb_repo_put_raw(void *repo, enum vb_chunk_type type, const void *p, size_t n, struct vb_name *name,
                    struct vb_error *err);
/* A whole document: cut, named, compressed.  *content is the caller's (vb_content_clear). */
int vb_repo_put_bytes(struct vb_repo *r, enum vb_chunk_type type, const void *p, size_t n,
                      struct vb_content *content, struct vb_error *err);

/* The plaintext of a chunk, appended to out; verified against its name.  Missing: VB_E_NOT_FOUND; damaged or of
 * another type: VB_E_CORRUPT.  Both name chunk and pack. */
int vb_repo_get(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_buf *out,
                struct vb_error *err);
/* The stored form, verified as vb_repo_get does, for handing it to an agent as it is.  Appends to out. */
int vb_repo_get_stored(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_buf *out,
                       uint8_t *encoding, size_t *raw_size, struct vb_error *err);
/* The same for one who decompresses it and compares the name with the naming key himself.  In an encrypted repository the
 * seal has been opened, which names the chunk and its sizes, and that is all; without encryption it is verified. */
int vb_repo_get_sealed(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_buf *out,
                       uint8_t *encoding, size_t *raw_size, struct vb_error *err);
/* A whole document, appended to out; more than max bytes: VB_E_LIMIT. */
int vb_repo_get_bytes(struct vb_repo *r, enum vb_chunk_type type, const struct vb_content *content, size_t max,
                      struct vb_buf *out, struct vb_error *err);
/* The leaf references of a content in order, lists resolved. Non-zero from fn stops and is returned. */
typedef int vb_content_fn(void *arg, const struct vb_name *name, uint64_t size, struct vb_error *err);
int vb_content_walk(struct vb_repo *r, const struct vb_content *content, vb_content_fn *fn, void *arg,
                    struct vb_error *err);

/* Writes open packs and the index, and passes the barrier.  For long backups: what was put so far survives. */
int vb_repo_flush(struct vb_repo *r, struct vb_error *err);

/* The end of a backup: flush, re-check that everything the entry refers to, directly and below, is in the durable index,
 * its pack still in place and not given up by a prune, then write the catalog entry and its place in the ledger.  Sets id
 * (if empty), sequence, previous, hash and the added_* figures of *e.  After 0 the backup exists; after -1 it does not,
 * but for storage that fails at the very last step and does not say what it has done.  Commit may be called again. */
int vb_repo_commit(struct vb_repo *r, struct vb_catalog_entry *e, struct vb_error *err);

/* Every backup, oldest first.  entry is NULL for one that is damaged or unreadable: then damage says why, and path
 * is what names it. The entry is freed after fn unless it was taken with VB_STEAL(*entry). */
typedef int vb_repo_list_fn(void *arg, const char *path, struct vb_catalog_entry **entry,
                            const struct vb_error *damage);
int vb_repo_list(struct vb_repo *r, vb_repo_list_fn *fn, void *arg, struct vb_error *err);
/* One backup: "latest", or an id or unique prefix of at least 4 characters.  host: only backups that have that
 * host (NULL: any).  "latest" never is a failed one.  None: VB_E_NOT_FOUND; several: VB_E_USAGE naming them. */
struct vb_catalog_entry *vb_repo_find(struct vb_repo *r, const char *which, const char *host, struct vb_error *err);

/* ---- forgetting and pruning ---- */

/* VB_E_GUARD where the repository is served append-only: `what`, a verb, is done on the machine where it lies. */
int vb_repo_may_remove(const struct vb_repo *r, const char *what, struct vb_error *err);

/* The backup is not listed and not found any more.  Needs the lock, as all of these. */
int vb_repo_forget(struct vb_repo *r, const struct vb_catalog_entry *e, uint64_t wall_ms, const char *reason,
                   struct vb_error *err);
/* Takes it back, by id or unique beginning of one: VB_E_NOT_FOUND once a prune has removed it. */
int vb_repo_unforget(struct vb_repo *r, const char *which, struct vb_error *err);

/* Highest sequence number of a backup that was forgotten, whether it has been pruned since or not; 0: none. */
int vb_repo_newest_forgotten(struct vb_repo *r, uint64_t *sequence, struct vb_error *err);

/* Until it is released the backup is not forgotten and not removed.  VB_E_NOT_FOUND: a prune was quicker. */
int vb_repo_hold(struct vb_repo *r, const struct vb_catalog_entry *e, uint64_t wall_ms, const char *reason,
                 struct vb_error *err);
int vb_repo_release(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_error *err);
/* That a backup differs from those before it is meant (store/retention.h). */
int vb_repo_call_normal(struct vb_repo *r, const struct vb_catalog_entry *e, uint64_t wall_ms, const char *reason,
                        struct vb_error *err);
/* Each such mark; damage not NULL: it cannot be read, and counts for a hold all the same. */
typedef int vb_repo_mark_fn(void *arg, uint64_t sequence, const char *id, uint64_t wall_ms, const char *reason,
                            const struct vb_error *damage, struct vb_error *err);
int vb_repo_holds(struct vb_repo *r, vb_repo_mark_fn *fn, void *arg, struct vb_error *err);
int vb_repo_normals(struct vb_repo *r, vb_repo_mark_fn *fn, void *arg, struct vb_error *err);

/* When the trusted side knew of which backups (store/retention.h); *v is the caller's.  Noting it needs the session;
 * numbers[] (sorted) are those of all backups. */
struct vb_received;
int vb_repo_received(struct vb_repo *r, struct vb_received **v, size_t *n, struct vb_error *err);
int vb_repo_note_received(struct vb_repo *r, uint64_t wall_ms, const uint64_t *numbers, size_t count, struct vb_error *err);
/* Its holder has told the times of this backup. */
bool vb_repo_made_write_only(const struct vb_repo *r, uint64_t sequence);

struct vb_prune_params {
    uint64_t wall_ms;
    uint64_t delay_ms; /* backups forgotten, and packs condemned, for less than that are left alone */
    bool dry_run;
    uint64_t lease_ms; /* a lease that has not been renewed for so long between two prunes is dead; 0: VB_LEASE_MS */
};
#define VB_LEASE_MS ((uint64_t)24 * 3600 * 1000)
struct vb_prune_result {
    uint64_t removed_backups, waiting_backups; /* forgotten ones: gone now, or to be called back still */
    uint64_t condemned_packs, condemned_bytes; /* by this prune: a later one removes them */
    uint64_t moved_bytes;                      /* written anew out of packs with much that is not needed */
    uint64_t removed_packs, removed_bytes;     /* condemned by an earlier one */
    uint64_t waiting_packs;                    /* likewise, but not for long enough */
    uint64_t kept_packs;
    uint64_t leases;        /* of sessions that are at work, or have not ended */
    uint64_t left_alone;    /* trust groups of which nothing was removed, because something of them cannot be read */
};
/* Removes in two phases what no backup refers to; see repository_prune.c.  The session ends with it, whatever comes of
 * it.  VB_E_CORRUPT while something that a backup refers to is missing or cannot be read, and it is not known that this
 * concerns one trust group only: then nothing is removed.  VB_E_BUSY: another prune was quicker. */
int vb_repo_prune(struct vb_repo *r, const struct vb_prune_params *params, struct vb_prune_result *result,
                  struct vb_error *err);

/* ---- keys: several passwords for one repository ---- */

struct vb_repo_key_params {
    const struct vb_repo_auth *auth; /* the new password */
    const char *label;               /* shown by list; NULL: none */
    const char *host;                /* NULL: reads and writes; else write-only, for backups of that host */
    uint64_t wall_ms;
    unsigned cost;                   /* 0: VB_KEY_COST */
};
struct vb_repo_key {
    char id[VB_GUID_LEN + 1];
    char *label, *host;  /* host: of a write-only key */
    uint64_t created_ms;
    bool current;        /* opened this handle */
};
/* Each key; damage not NULL: a file that is none. */
typedef int vb_repo_key_fn(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage);
int vb_repo_key_list(struct vb_repo *r, vb_repo_key_fn *fn, void *arg, struct vb_error *err);
/* Adds one; its id is set.  Only with a key that reads. */
int vb_repo_key_add(struct vb_repo *r, const struct vb_repo_key_params *p, char id[VB_GUID_LEN + 1],
                    struct vb_error *err);
/* By id or unique beginning of one.  The last that reads is refused (VB_E_GUARD). */
int vb_repo_key_remove(struct vb_repo *r, const char *which, struct vb_error *err);
/* The secret that every key that reads is a lock for, 32 bytes: to be kept on paper. */
int vb_repo_secret(struct vb_repo *r, uint8_t *out, struct vb_error *err);
/* Another password for the key that opened this handle: nothing else is rewritten.  label NULL: it keeps its label; "":
 * none. */
int vb_repo_key_change(struct vb_repo *r, const struct vb_repo_key_params *p, struct vb_error *err);

/* Looks at everything.  read_data: every byte of every pack, else structure only (lists, indexes, catalog chain,
 * trees).  report is called for each finding; the result is 0 when there was no damage, -1 with VB_E_CORRUPT and
 * a count otherwise, or -1 with another code when the check itself could not be done. */
enum vb_check_severity {
    VB_CHECK_NOTE = 0, /* harmless: leftovers of an interrupted run, index file that is rebuilt */
    VB_CHECK_DAMAGE,   /* something that was stored cannot be read back */
    VB_CHECK_LOSS,     /* what follows from the damage, after all of it: a file or directory of a backup that lost something */
    VB_CHECK_MENDED    /* of a repair: what was done */
};
typedef void vb_check_fn(void *arg, enum vb_check_severity severity, const char *object, const char *text);
int vb_repo_check(struct vb_repo *r, bool read_data, vb_check_fn *report, void *arg, struct vb_error *err);

/* Of which packs every byte is read: those whose names, taken as a number of 32 bits, lie in the part of the circle of all
 * such numbers that begins at `from` and is `width` wide.  Parts that lie end to end and make up the circle miss no pack
 * that was there all the time. */
#define VB_CHECK_CIRCLE ((uint64_t)1 << 32)
struct vb_check_share {
    uint64_t from, width;
};
struct vb_check_result {
    uint64_t packs, bytes, packs_read, bytes_read;
    uint64_t damages, losses;
};
/* share NULL: of all. */
int vb_repo_check_share(struct vb_repo *r, const struct vb_check_share *share, struct vb_check_result *result,
                        vb_check_fn *report, void *arg, struct vb_error *err);

/* Brings the repository into a state in which everything works that does not need what is lost.  Reads every byte.  Nothing
 * is deleted: what is broken is set aside under broken/, chunks that can be read still are taken out of broken packs, and
 * the index is made anew from the packs.  From then on each lock looks for what is missing, so that the next backup stores
 * it again if it can.  Needs the lock, which is given back.  Each step is reported (VB_CHECK_MENDED); what stays broken as
 * VB_CHECK_DAMAGE.  *mended: how much was done.  What the backups have lost a check tells afterwards. */
int vb_repo_repair(struct vb_repo *r, uint64_t *mended, vb_check_fn *report, void *arg, struct vb_error *err);

/* Figures for reports. */
struct vb_repo_stats {
    uint64_t packs, chunks, stored_bytes; /* whole repository as this handle knows it */
    uint64_t put_chunks, put_raw, put_stored; /* new ones since the lock */
    uint64_t duplicate_chunks; /* put again although they were there */
};
void vb_repo_stats(const struct vb_repo *r, struct vb_repo_stats *s);

/* ---- copying ---- */

/* From one repository into another, which is locked; both are borrowed and must live longer. */
struct vb_copy;
struct vb_copy *vb_copy_new(struct vb_repo *from, struct vb_repo *to);
void vb_copy_free(struct vb_copy *c); /* NULL ok */
struct vb_copy_result {
    uint64_t chunks, new_chunks, new_bytes; /* looked at; stored there, and their size compressed */
};
/* Called as often as a chunk is looked at, so that a caller can renew the session there. */
void vb_copy_on_chunk(struct vb_copy *c, void (*fn)(void *arg), void *arg);
/* The trust group of a host in the new repository. */
typedef const char *vb_copy_group_fn(void *arg, const char *host);
/* 0: copied; 1: there already, by its id, which it keeps; -1.  *e, as found in the first repository, becomes the record
 * in the second. */
int vb_copy_backup(struct vb_copy *c, struct vb_catalog_entry *e, vb_copy_group_fn *group_of, void *arg,
                   struct vb_copy_result *result, struct vb_error *err);

/* How much belongs to whom. */
struct vb_repo_usage {
    uint64_t chunks, raw, stored; /* of all that is referred to: before and after compressing, each chunk once */
    uint64_t unique_chunks, unique_raw, unique_stored; /* of it what none of the other backups needs */
};
/* each[i]: the unique_ figures of entries[i] among these; all: the others, of all of them together.  VB_E_CORRUPT when
 * something is missing. */
int vb_repo_usage(struct vb_repo *r, struct vb_catalog_entry *const *entries, size_t n, struct vb_repo_usage *each,
                  struct vb_repo_usage *all, struct vb_error *err);
/* The other figures of one backup. */
int vb_repo_usage_of(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_repo_usage *out, struct vb_error *err);

/* ---- directories ---- */

/* Every entry below a root, parents before children, siblings by name.  path is relative to the root's own entry,
 * "" for that entry itself ("." or the single file).  Returning VB_WALK_SKIP for a directory leaves out what is
 * below it; any other non-zero value stops and is returned.  A damaged directory ends the walk with the error. */
#define VB_WALK_SKIP 1
typedef int vb_tree_walk_fn(void *arg, const char *path, const struct vb_tree_entry *entry, struct vb_error *err);
int vb_tree_walk(struct vb_repo *r, const struct vb_name *root, vb_tree_walk_fn *fn, void *arg,
                 struct vb_error *err);
/* The entries of one directory (its subtree name), in order. */
typedef int vb_tree_dir_fn(void *arg, const struct vb_tree_entry *entry, struct vb_error *err);
int vb_tree_read(struct vb_repo *r, const struct vb_name *directory, vb_tree_dir_fn *fn, void *arg,
                 struct vb_error *err);
/* One entry by its path relative to the root's entry ("" is that entry).  *entry points into *t, which the caller
 * clears.  VB_E_NOT_FOUND naming the path. */
int vb_tree_lookup(struct vb_repo *r, const struct vb_name *root, const char *path, struct vb_tree *t,
                   const struct vb_tree_entry **entry, struct vb_error *err);

#endif
