/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/replica.h - libvbackup: replicas for programs, in the terms of the systems that were here before.
 *
 * FOUR DOORS TO ONE STORE, each a thin layer over what `vbackup replicate` uses:
 *
 *   knowledge      versions (replica, tick), and which of them somebody has seen
 *   vb_metadata    replica metadata: items, knowledge, tombstones; sessions that enumerate, apply, recover
 *   vb_sync        incremental change synchronization: synchronizer, collector, state and the agent that runs them
 *   vb_replicator  directories that are exported and imported: settings by level, states, counted locks
 *
 * doc/replication-functions.md lists each function of the old systems beside its counterpart and the test that proves it.
 *
 * RESULTS.  A call that can fail returns VB_OK or why it failed (vbackup/result.h); the object keeps the text of its last
 * failure.  Functions that open something return NULL and put code and text (to be released with free; both may be NULL)
 * into their last two arguments.
 *
 * ONE PROCESS has a store open; a second one gets VB_E_BUSY with the first one's number.  Many threads may share an object,
 * one call at a time.  Whatever changes a store needs a transaction (vb_metadata_begin ... vb_metadata_commit), or fails with
 * VB_E_BAD_STATE, unless the call says that it makes its own.
 *
 * STABILITY: structs that a caller fills carry their size and are only appended; ABI number 0 means unstable until 1.0.
 */
#ifndef VBACKUP_REPLICA_H
#define VBACKUP_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vbackup/result.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VB_REPLICA_ABI 0

/* ---- versions and knowledge ---- */

#define VB_REPLICA_ID_LEN 16
#define VB_HASH_LEN 32

struct vb_replica_id {
    unsigned char b[VB_REPLICA_ID_LEN]; /* random; all zero: none */
};
struct vb_version {
    struct vb_replica_id replica;
    uint64_t tick; /* counts from 1; 0: no version */
};

/* Per replica the highest tick whose changes are held, plus entries for single items that lie above or below that.  An item is
 * named by its path: bytes without a zero, compared bytewise. */
struct vb_knowledge;

struct vb_knowledge *vb_knowledge_new(void); /* knows nothing */
struct vb_knowledge *vb_knowledge_copy(const struct vb_knowledge *k);
void vb_knowledge_free(struct vb_knowledge *k); /* NULL ok */
/* The main entry, 0 if the replica is not known. */
uint64_t vb_knowledge_tick(const struct vb_knowledge *k, const struct vb_replica_id *replica);
/* What is known of one item: its own entry if there is one, else the main one. */
uint64_t vb_knowledge_item_tick(const struct vb_knowledge *k, const char *item, const struct vb_replica_id *replica);
bool vb_knowledge_contains(const struct vb_knowledge *k, const char *item, const struct vb_version *v); /* DSN-15 */
bool vb_knowledge_is_empty(const struct vb_knowledge *k);
/* Every version that `other` contains is contained in k, for every item that ever may exist. */
bool vb_knowledge_covers(const struct vb_knowledge *k, const struct vb_knowledge *other);
bool vb_knowledge_equal(const struct vb_knowledge *a, const struct vb_knowledge *b);
/* Raises the main entry to v if it is lower. */
void vb_knowledge_raise(struct vb_knowledge *k, const struct vb_version *v);
/* Sets one item's entry, higher or lower than the main one; tick 0 means "nothing of this replica's". */
void vb_knowledge_set_item(struct vb_knowledge *k, const char *item, const struct vb_version *v);
/* What both know together. */
void vb_knowledge_join(struct vb_knowledge *k, const struct vb_knowledge *other);
/* The part that speaks of these items only (MSS-7): a new object. */
struct vb_knowledge *vb_knowledge_project(const struct vb_knowledge *k, const char *const *items, size_t n);
/* k learns all of `other`, but for the items named keeps what it had (DSN-22, MSS-9): those failed, were deferred,
 * filtered, or changed while being read. */
void vb_knowledge_learn(struct vb_knowledge *k, const struct vb_knowledge *other, const char *const *except, size_t n);
/* Its bytes, to be released with free; one form per value. */
void *vb_knowledge_save(const struct vb_knowledge *k, size_t *n);
/* NULL for anything that save would not write. */
struct vb_knowledge *vb_knowledge_load(const void *p, size_t n);

/* ---- items ---- */

enum vb_item_kind { VB_ITEM_FILE = 1, VB_ITEM_DIR = 2, VB_ITEM_LINK = 3, VB_ITEM_SPECIAL = 4, VB_ITEM_COMPONENT = 5 };

/* One item as the store has it.  size, path and kind are always needed; versions only where an item is saved as it is. */
struct vb_metadata_item {
    uint32_t size;
    enum vb_item_kind kind;
    const char *path;                   /* relative, no "..", never empty */
    uint64_t bytes;
    int64_t mtime_ns;
    uint32_t mode;
    const char *owner;                  /* may be NULL */
    unsigned char attr[VB_HASH_LEN];    /* hash of whatever else is replicated */
    unsigned char content[VB_HASH_LEN]; /* hash of the content */
    struct vb_version created, changed;
    struct vb_version origin;           /* who wrote the content, for the order of conflicts (DSN-19) */
    int64_t origin_mtime_ns;
    bool deleted;                       /* a tombstone */
    const char *moved_to;               /* tombstone of a rename; may be NULL */
};

/* What becomes of one incoming change (DSN-17). */
enum vb_decision {
    VB_DECIDE_DROP = 1,     /* known already: nothing to do, and nothing to tell (DSN-16) */
    VB_DECIDE_APPLY = 2,    /* no local row, or the source has seen ours: takes the foreign version as it is (DSN-5) */
    VB_DECIDE_CONVERGE = 3, /* the same on both sides: the row takes the higher version, no file is touched */
    VB_DECIDE_THEIRS = 4,   /* conflict, the incoming one wins: its content under a version minted here (DSN-18) */
    VB_DECIDE_OURS = 5,     /* conflict, the local one wins: the local content under a version minted here */
    VB_DECIDE_DEFER = 6     /* conflict, both sides stay as they are (policy defer) */
};
enum vb_conflict_policy {
    VB_POLICY_BOTH = 0,   /* the order of DSN-19 chooses; the loser stays as a visible copy */
    VB_POLICY_NEWER = 1,  /* the same order; the loser goes to the trash */
    VB_POLICY_SOURCE = 2, /* the incoming one wins */
    VB_POLICY_TARGET = 3, /* the local one wins */
    VB_POLICY_DEFER = 4
};

/* ---- the metadata of a replica (rule book part 4) ---- */

struct vb_metadata;

struct vb_metadata_setup {
    uint32_t size;
    const char *machine;          /* another than recorded: the store is a copy, and takes a new id; NULL: /etc/machine-id */
    int64_t (*now_ms)(void *arg); /* NULL: the system's clock */
    void *arg;
};
#define VB_METADATA_SETUP_INIT { sizeof(struct vb_metadata_setup), NULL, NULL, NULL }

/* Opens, or makes, a store of the program's own: the program knows what its items are.  setup may be NULL.  VB_E_BUSY,
 * VB_E_NEWER_FORMAT (both versions are named), VB_E_CORRUPT. */
struct vb_metadata *vb_metadata_open(const char *path, const struct vb_metadata_setup *setup, enum vb_code *code, char **text);
/* The store of a scope that `vbackup scope add` registered below this state directory; its items are the files of the tree. */
struct vb_metadata *vb_metadata_open_scope(const char *state_dir, const char *scope, const struct vb_metadata_setup *setup,
                                           enum vb_code *code, char **text);
void vb_metadata_close(struct vb_metadata *m); /* NULL ok; what was not committed is gone */
const char *vb_metadata_error(const struct vb_metadata *m); /* of the last call that failed; "" none */

enum vb_code vb_metadata_begin(struct vb_metadata *m);
enum vb_code vb_metadata_commit(struct vb_metadata *m); /* SaveReplicaMetadata: synced; nothing is saved before */
void vb_metadata_rollback(struct vb_metadata *m);

const struct vb_replica_id *vb_metadata_id(const struct vb_metadata *m);
/* Raises the counter, saves it with the transaction, returns the version (MSS-5). */
enum vb_code vb_metadata_next_tick(struct vb_metadata *m, struct vb_version *out);
/* A copy of what this replica knows, its own tick raised to the last one committed (MSS-4).  NULL on error. */
struct vb_knowledge *vb_metadata_knowledge(struct vb_metadata *m);
struct vb_knowledge *vb_metadata_forgotten(struct vb_metadata *m);
/* Replaces it, once per batch; forgotten NULL keeps the old one (MSS-8), else it is joined to it. */
enum vb_code vb_metadata_set_knowledge(struct vb_metadata *m, const struct vb_knowledge *k, const struct vb_knowledge *forgotten);
/* ForgetToVersion: raises forgotten knowledge. */
enum vb_code vb_metadata_forget_to(struct vb_metadata *m, const struct vb_version *v);
/* One item is no longer claimed to be known: every peer sends it again (MSS-42). */
enum vb_code vb_metadata_exclude_item(struct vb_metadata *m, const char *path);

/* VB_E_OBJECT_NOT_FOUND if there is no row; else *out is to be released with free, strings and all. */
enum vb_code vb_metadata_find(struct vb_metadata *m, const char *path, struct vb_metadata_item **out);
/* Saves the row as it is given, versions and all; mints nothing (DSN-5). */
enum vb_code vb_metadata_save_item(struct vb_metadata *m, const struct vb_metadata_item *item);
/* A local change: a version is minted if content, kind, mode, owner or attributes differ (DSN-3).  Counts as reported.
 * changed (may be NULL): whether one was. */
enum vb_code vb_metadata_note(struct vb_metadata *m, const struct vb_metadata_item *seen, bool *changed);
/* The item is gone: its row becomes a tombstone (MSS-21).  moved_to: where it went, or NULL. */
enum vb_code vb_metadata_note_deleted(struct vb_metadata *m, const char *path, const char *moved_to);
/* Removes a row without a tombstone: for recovery only (MSS-20). */
enum vb_code vb_metadata_drop_item(struct vb_metadata *m, const char *path);
enum vb_code vb_metadata_count(struct vb_metadata *m, uint64_t *live, uint64_t *tombstones);

/* The delete detector (MSS-22): all are unreported, each live one is reported, what is left is listed in order of path.  fn
 * must not change the store; not 0 ends the walk. */
typedef int (*vb_metadata_fn)(void *arg, const struct vb_metadata_item *item);
enum vb_code vb_metadata_unreport_all(struct vb_metadata *m);
enum vb_code vb_metadata_report(struct vb_metadata *m, const char *path);
/* By the indexed field, which is the content: all live files with it.  *n (may be NULL): how many. */
enum vb_code vb_metadata_report_content(struct vb_metadata *m, const unsigned char content[VB_HASH_LEN], size_t *n);
enum vb_code vb_metadata_unreported(struct vb_metadata *m, vb_metadata_fn fn, void *arg);
/* All that were not reported become tombstones; *n (may be NULL): how many. */
enum vb_code vb_metadata_delete_unreported(struct vb_metadata *m, size_t *n);

/* CleanupDeletedItems: the first call ever stores the time and does nothing; one within the interval since the last
 * successful one does nothing; else the tombstones older than the last successful call go, and forgotten knowledge rises
 * (MSS-24 to MSS-28).  Interval 0 removes all.  *done: whether it was a successful one. */
enum vb_code vb_metadata_cleanup(struct vb_metadata *m, uint64_t interval_ms, bool *done);
/* MSS-31: the source has forgotten deletions that the destination never got. */
bool vb_metadata_is_stale(const struct vb_knowledge *source_forgotten, const struct vb_knowledge *destination, bool empty);

/* ---- sessions between two replicas ---- */

struct vb_metadata_session;
struct vb_metadata_batch;

/* BeginSession: what the replica knows is read now; what changes later travels with the next session.  NULL: see
 * vb_metadata_error. */
struct vb_metadata_session *vb_metadata_session_begin(struct vb_metadata *m);
void vb_metadata_session_end(struct vb_metadata_session *s); /* EndSession; NULL ok */
/* GetSyncBatchParameters, at the destination: what it knows (a copy) and how many changes it wishes at once. */
struct vb_knowledge *vb_metadata_session_parameters(struct vb_metadata_session *s, size_t *wished);

/* GetChangeBatch, at the source: the next changes that `known` does not contain; wished 0: all.  NULL: an error. */
struct vb_metadata_batch *vb_metadata_changes(struct vb_metadata_session *s, const struct vb_knowledge *known, size_t wished);
/* GetFilteredChangeBatch: items that filter refuses stay out, and are not claimed to be known (MSS-11, MSS-14). */
typedef bool (*vb_metadata_filter)(void *arg, const struct vb_metadata_item *item);
struct vb_metadata_batch *vb_metadata_filtered_changes(struct vb_metadata_session *s, const struct vb_knowledge *known, size_t wished,
                                                       vb_metadata_filter filter, void *arg);
/* GetFullEnumerationChangeBatch: all items in order of path from a lower bound (NULL: the first) on (MSS-33). */
struct vb_metadata_batch *vb_metadata_full_changes(struct vb_metadata_session *s, const char *from, size_t wished);

size_t vb_metadata_batch_count(const struct vb_metadata_batch *b);
/* Valid as long as the batch. */
const struct vb_metadata_item *vb_metadata_batch_item(const struct vb_metadata_batch *b, size_t i);
bool vb_metadata_batch_last(const struct vb_metadata_batch *b);
/* The range that a full enumeration's batch covers: from *from up to, not including, *to (NULL: the end). */
void vb_metadata_batch_range(const struct vb_metadata_batch *b, const char **from, const char **to);
const struct vb_knowledge *vb_metadata_batch_knowledge(const struct vb_metadata_batch *b); /* the source's */
const struct vb_knowledge *vb_metadata_batch_forgotten(const struct vb_metadata_batch *b);
void vb_metadata_batch_free(struct vb_metadata_batch *b); /* NULL ok */

/* GetItemBatchVersions, at the destination: its versions of the batch's items; tick 0: it has none (MSS-15). */
enum vb_code vb_metadata_versions(struct vb_metadata_session *s, const struct vb_metadata_batch *b, struct vb_version *out);
/* GetFullEnumerationItemBatchVersions: all rows of the destination in the batch's range. */
enum vb_code vb_metadata_full_versions(struct vb_metadata_session *s, const struct vb_metadata_batch *b, vb_metadata_fn fn, void *arg);

/* What a stale destination does (MSS-32). */
enum vb_recovery {
    VB_RECOVERY_CANCEL = 0, /* nothing: VB_E_STALE */
    VB_RECOVERY_FULL = 1,   /* the batch is thrown away; the result asks for full enumeration */
    VB_RECOVERY_PARTIAL = 2 /* applied as usual, learnt item by item only: it stays out of date (MSS-35) */
};
/* The application's part of a session: what the items stand for. */
struct vb_metadata_saver {
    uint32_t size;
    enum vb_conflict_policy policy;
    enum vb_recovery recovery;
    /* Puts the change where it belongs; local NULL: there was none.  Not called for what is dropped, converges or is
     * deferred.  Other than VB_OK: it failed for now, is not claimed to be known, and comes again in the next session
     * (MSS-9).  NULL: the store holds all there is. */
    enum vb_code (*save)(void *arg, enum vb_decision what, const struct vb_metadata_item *local, const struct vb_metadata_item *incoming);
    /* Asked for each conflict instead of `policy`; may be NULL (MSS-18). */
    enum vb_conflict_policy (*resolve)(void *arg, const struct vb_metadata_item *local, const struct vb_metadata_item *incoming);
    /* Full enumeration: the source no longer has this item, and knew it.  It goes without a tombstone (MSS-34).  May be NULL. */
    enum vb_code (*erase)(void *arg, const struct vb_metadata_item *local);
    void *arg;
};
#define VB_METADATA_SAVER_INIT { sizeof(struct vb_metadata_saver), VB_POLICY_BOTH, VB_RECOVERY_CANCEL, NULL, NULL, NULL, NULL }
struct vb_metadata_result {
    uint32_t size;
    bool wants_full;
    uint64_t applied, dropped, converged, conflicts, deferred, failed, erased, minted;
};
#define VB_METADATA_RESULT_INIT { sizeof(struct vb_metadata_result), false, 0, 0, 0, 0, 0, 0, 0, 0 }

/* ProcessChangeBatch, at the destination: decides, saves, learns; a transaction of its own.  *sum (may be NULL) is added to.
 * What the source knows is learnt with the last batch, all but what failed, was deferred or filtered. */
enum vb_code vb_metadata_process(struct vb_metadata_session *s, const struct vb_metadata_batch *b, const struct vb_metadata_saver *saver,
                                 struct vb_metadata_result *sum);
/* ProcessFullEnumerationChangeBatch: the same, and what the source did not send in the batch's range though it knew it or has
 * forgotten it goes (MSS-34).  Forgotten knowledge is learnt with the last batch (MSS-36). */
enum vb_code vb_metadata_process_full(struct vb_metadata_session *s, const struct vb_metadata_batch *b,
                                      const struct vb_metadata_saver *saver, struct vb_metadata_result *sum);

/* ---- incremental change synchronization (rule book part 2) ---- */

/* Values of the old headers.  Names are bytes, so UNICODE changes nothing. */
enum vb_sync_flag {
    VB_SYNC_UNICODE = 0x1,
    VB_SYNC_NO_DELETIONS = 0x2,      /* deletions are not exported; they come when the flag is gone */
    VB_SYNC_NO_SOFT_DELETIONS = 0x4, /* items that left the restriction are not reported */
    VB_SYNC_ASSOCIATED = 0x10,       /* hidden items: an element of the path begins with '.'; neither of the two: all */
    VB_SYNC_NORMAL = 0x20,           /* the others */
    VB_SYNC_NO_CONFLICTS = 0x40,     /* collector: a conflict is reported, not resolved */
    VB_SYNC_ONLY_FIELDS = 0x80,      /* only the fields named are of interest */
    VB_SYNC_CATCHUP = 0x400,         /* the state advances, nothing is sent */
    VB_SYNC_PROGRESS = 0x8000        /* steps are counted in bytes of content, not in items */
};
/* Read state, foreign keys, message bodies and limited messages (0x8, 0x100, 0x200, 0x800, 0x2000) have no counterpart: VB_E_NOT_SUPPORTED. */

enum vb_sync_deletion { VB_SYNC_SOFT_DELETE = 0x1 /* it left the restriction (ICS-36) */, VB_SYNC_EXPIRY = 0x2 };
/* Results of steps and imports; those of the old headers have their low numbers. */
enum vb_sync_result {
    VB_SYNC_DONE = 0,
    VB_SYNC_OBJECT_DELETED = 0x800, /* it is known as deleted, and stays so */
    VB_SYNC_IGNORE = 0x801,         /* skipped: goes on, and does not come again */
    VB_SYNC_CONFLICT = 0x802,       /* nothing changed */
    VB_SYNC_NO_PARENT = 0x803,      /* its directory is not known: hierarchy first (ICS-15) */
    VB_SYNC_INCEST = 0x804,         /* a directory moved below itself */
    VB_SYNC_UNSYNCHRONIZED = 0x805, /* nothing was configured */
    VB_SYNC_MORE = 0x820,           /* W_PROGRESS: a step is done, more are left */
    VB_SYNC_NEWER_HERE = 0x821,     /* W_CLIENT_CHANGE_NEWER: moved, the newer local version stays (ICS-29) */
    VB_SYNC_FAILED = 0x8ff          /* see the text of the error */
};
enum vb_sync_kind { VB_SYNC_HIERARCHY = 1, VB_SYNC_CONTENTS = 2 }; /* directories; all others */
enum vb_sync_field { VB_FIELD_CONTENT = 1, VB_FIELD_MODE = 2, VB_FIELD_OWNER = 4, VB_FIELD_ATTRIBUTES = 8 };

/* What the other store is known to have: opaque to the agent, of one kind, shared by synchronizer and collector of the same
 * store (ICS-13, ICS-14). */
struct vb_sync_state;
struct vb_sync_state *vb_sync_state_new(enum vb_sync_kind kind); /* the first run: nothing (ICS-32) */
struct vb_sync_state *vb_sync_state_load(const void *p, size_t n); /* NULL: not what save wrote */
void *vb_sync_state_save(const struct vb_sync_state *s, size_t *n); /* to be released with free */
void vb_sync_state_free(struct vb_sync_state *s);

/* A collector: who imports.  Programs may bring their own; vb_collector_open gives the one of a metadata store.  Calls come
 * from the synchronizer only (ICS-19) and return an enum vb_sync_result. */
struct vb_collector_ops {
    uint32_t size;
    int (*config)(void *arg, struct vb_sync_state *state, unsigned flags);
    /* source: what the sender knows of it, its predecessors included (PCL).  fields: what differs, or all of it. */
    int (*import_change)(void *arg, const struct vb_metadata_item *item, const struct vb_knowledge *source, unsigned fields);
    /* All or none of them (ICS-28).  flags: enum vb_sync_deletion. */
    int (*import_deletion)(void *arg, unsigned flags, const struct vb_metadata_item *const *items, size_t n, const struct vb_knowledge *source);
    /* A rename: from goes, item comes.  May be NULL: then a change and a deletion come. */
    int (*import_move)(void *arg, const struct vb_metadata_item *from, const struct vb_metadata_item *item, const struct vb_knowledge *source);
    int (*update_state)(void *arg, struct vb_sync_state *state); /* a set was imported; NULL: the one of config */
    const char *(*last_error)(void *arg);
};

/* The collector of a metadata store; saver: as in a session, its policy resolves; may be NULL.  The store stays the caller's. */
struct vb_collector;
struct vb_collector *vb_collector_open(struct vb_metadata *m, const struct vb_metadata_saver *saver);
void vb_collector_close(struct vb_collector *c);
const struct vb_collector_ops *vb_collector_functions(void); /* their arg is the struct vb_collector */

/* The synchronizer of a metadata store. */
struct vb_synchronizer;
struct vb_synchronizer *vb_synchronizer_open(struct vb_metadata *m);
void vb_synchronizer_close(struct vb_synchronizer *x);
struct vb_synchronizer_setup {
    uint32_t size;
    struct vb_sync_state *state;             /* the caller keeps it; changed by update_state only */
    unsigned flags;
    const struct vb_collector_ops *collector; /* not NULL */
    void *collector_arg;
    vb_metadata_filter restriction;          /* NULL: all items */
    void *restriction_arg;
    unsigned fields;                         /* with VB_SYNC_ONLY_FIELDS: changes of other fields alone are left out */
    unsigned without;                        /* fields that are left out */
    size_t step;                             /* changes per step (buffer size); 0: 100 */
};
/* VB_SYNC_DONE or VB_SYNC_FAILED. */
int vb_synchronizer_config(struct vb_synchronizer *x, const struct vb_synchronizer_setup *setup);
/* Sends one step; MORE until none is left.  A step that fails is HELD: the state is as it was, and the next call sends the
 * same again (ICS-9).  *steps, *done (may be NULL): in all, and so far. */
int vb_synchronizer_synchronize(struct vb_synchronizer *x, uint64_t *steps, uint64_t *done);
/* Brings a state up to the last successful step: the one of config (NULL), or another, to keep and resume from (ICS-8). */
int vb_synchronizer_update_state(struct vb_synchronizer *x, struct vb_sync_state *other);
const char *vb_synchronizer_error(const struct vb_synchronizer *x);

/* The agent: runs synchronizations that were defined before, one way or several (ICS-6, ICS-11).  save (may be NULL) is called
 * after each successful step with the state to be kept. */
struct vb_sync_agent;
struct vb_sync_agent *vb_sync_agent_new(void (*save)(void *arg, size_t which, const struct vb_sync_state *state), void *arg);
void vb_sync_agent_free(struct vb_sync_agent *a);
/* The collector gets its own store's state, of the synchronizer that answers (NULL: one way).  Returns its number from 0. */
size_t vb_sync_agent_add(struct vb_sync_agent *a, struct vb_synchronizer *x, const struct vb_synchronizer_setup *setup,
                         struct vb_sync_state *collector_state);
/* Runs up to max_steps (0: to the end) of each; may stop after any step and go on later (ICS-10).  DONE, MORE, or the first
 * result that ended one; the others are run. */
int vb_sync_agent_run(struct vb_sync_agent *a, uint64_t max_steps);

/* ---- exported and imported directories (rule book part 3) ---- */

/* The scopes of one user of this machine, whether anything runs or not: what is set is stored at once and read by each pass
 * (REP-26).  A directory is a scope; its name is not its path. */
struct vb_replicator;
struct vb_replicator *vb_replicator_open(const char *state_dir, enum vb_code *code, char **text); /* of vbackup(1), FILES */
void vb_replicator_close(struct vb_replicator *r);
const char *vb_replicator_error(const struct vb_replicator *r);

enum vb_replica_role { VB_ROLE_EXPORT = 1, VB_ROLE_IMPORT = 2, VB_ROLE_BOTH = 3 };
enum vb_integrity { VB_INTEGRITY_FILE = 1, VB_INTEGRITY_TREE = 2 };
enum vb_extent { VB_EXTENT_FILE = 1, VB_EXTENT_TREE = 2 };
enum vb_import_state { VB_IMPORT_OK = 0, VB_IMPORT_NO_MASTER = 1, VB_IMPORT_NO_SYNC = 2, VB_IMPORT_NEVER = 3 };
/* Why not in step (T73). */
enum vb_import_reason {
    VB_REASON_NONE = 0, VB_REASON_UNREACHABLE, VB_REASON_SILENT, VB_REASON_LOCKED, VB_REASON_BUSY, VB_REASON_UNSTABLE,
    VB_REASON_STALE, VB_REASON_GUARD
};
const char *vb_import_state_word(enum vb_import_state s); /* "OK", "NO_MASTER", "NO_SYNC", "NEVER_REPLICATED" */
const char *vb_import_reason_word(enum vb_import_reason r); /* "unreachable" ...; "" for none */

/* Level 0: all; 1000 to 1003: interval, pulse, guard time, random alone.  Seconds. */
struct vb_replicator_info {
    uint32_t size;
    enum vb_replica_role role;
    const char *path;                 /* read only: root of the tree */
    const char *export_list, *import_list; /* read only: peers it went to and came from, separated by ';' */
    const char *user;                 /* read only: whose rights replication has */
    uint32_t interval_s, pulse, guard_s, random_s;
};
/* *out is to be released with free, strings and all. */
enum vb_code vb_replicator_get_info(struct vb_replicator *r, const char *scope, unsigned level, struct vb_replicator_info **out);
/* On VB_E_USAGE *field (may be NULL) names the first bad one. */
enum vb_code vb_replicator_set_info(struct vb_replicator *r, const char *scope, unsigned level, const struct vb_replicator_info *info,
                                    const char **field);

/* Level 0: name; 1: settings, too; 2: locks, too; 1000: integrity alone; 1001: extent alone. */
struct vb_export_dir {
    uint32_t size;
    const char *name, *path;
    const char *scope_id;             /* shared by all replicas; NULL when added: a new one */
    enum vb_integrity integrity;
    enum vb_extent extent;
    uint32_t lock_count;
    int64_t lock_time;                /* of the first lock, seconds since 1970; 0: none */
};
/* Level 1: registers an existing directory; locks begin at 0 (REP 3.3).  One that is imported is exported as well then. */
enum vb_code vb_replicator_export_add(struct vb_replicator *r, unsigned level, const struct vb_export_dir *dir, const char **field);
/* No longer exported; the files stay. */
enum vb_code vb_replicator_export_del(struct vb_replicator *r, const char *name);
enum vb_code vb_replicator_export_enum(struct vb_replicator *r, unsigned level, int (*fn)(void *arg, const struct vb_export_dir *dir), void *arg);
enum vb_code vb_replicator_export_get(struct vb_replicator *r, const char *name, unsigned level, struct vb_export_dir **out);
enum vb_code vb_replicator_export_set(struct vb_replicator *r, const char *name, unsigned level, const struct vb_export_dir *dir,
                                      const char **field);
enum vb_code vb_replicator_export_lock(struct vb_replicator *r, const char *name);
/* force: to 0 (REP-38); else down by one.  VB_E_BAD_STATE at 0 (REP-41). */
enum vb_code vb_replicator_export_unlock(struct vb_replicator *r, const char *name, bool force);

/* Level 0: name; 1: state, master, last update, locks. */
struct vb_import_dir {
    uint32_t size;
    const char *name, *path, *scope_id;
    enum vb_import_state state;
    enum vb_import_reason reason;
    const char *master;               /* "" while there is none */
    int64_t last_update;              /* seconds since 1970; 0 never */
    uint32_t lock_count;
    int64_t lock_time;
};
/* Level 0: registers in advance; the directory is made when something comes (REP-29).  scope_id is needed. */
enum vb_code vb_replicator_import_add(struct vb_replicator *r, unsigned level, const struct vb_import_dir *dir);
enum vb_code vb_replicator_import_del(struct vb_replicator *r, const char *name); /* the files stay (REP-30) */
enum vb_code vb_replicator_import_enum(struct vb_replicator *r, unsigned level, int (*fn)(void *arg, const struct vb_import_dir *dir), void *arg);
enum vb_code vb_replicator_import_get(struct vb_replicator *r, const char *name, unsigned level, struct vb_import_dir **out);
enum vb_code vb_replicator_import_lock(struct vb_replicator *r, const char *name);
enum vb_code vb_replicator_import_unlock(struct vb_replicator *r, const char *name, bool force);

#ifdef __cplusplus
}
#endif
#endif
