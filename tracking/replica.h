/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/replica.h - the replica metadata store: for each scope what is there, under which version, and who knows it.
 *
 * One SQLite file per machine user, opened by one process at a time (DSN-13); many threads may share the object, one call
 * at a time.  It holds replicas, scopes, items, knowledge, forgotten knowledge and intents (rule book part 5.a).  It knows
 * nothing of files: the caller scans and applies, this remembers.
 *
 * TRANSACTIONS.  Whatever changes the store needs one: vb_replica_begin, changes, vb_replica_commit.  Nothing is saved
 * before (MSS-10), and everything or nothing of it (DSN-1, DSN-7).  A call that needs one and has none fails with
 * VB_E_BAD_STATE.
 *
 * TICKS.  One counter per replica, taken in blocks: vb_replica_reserve commits a new bound; the caller writes it into the
 * marker of every scope; only then may versions up to it be minted (DSN-8).
 *
 * TIME is the caller's: milliseconds, handed in at open, so that a test of days takes none.  It orders nothing.
 */
#ifndef VB_TRACKING_REPLICA_H
#define VB_TRACKING_REPLICA_H

#include <sys/types.h>
#include "tracking/knowledge.h"

#define VB_REPLICA_SCHEMA 1

struct vb_replica;

struct vb_replica_setup {
    const char *machine;          /* identity of this machine, e.g. /etc/machine-id; another than recorded: a new id */
    int64_t (*now_ms)(void *arg); /* NULL: the system's clock */
    void *arg;
};

/* Opens, or makes, the store at path (below dirfd; mode 0600).  VB_E_BUSY names the process that has it; VB_E_NEWER_FORMAT
 * names both schema versions (DSN-14, MSS-39); VB_E_CORRUPT for a damaged file.  If the machine differs from the recorded
 * one, the replica gets a new id at once, see vb_replica_renew. */
int vb_replica_open(int dirfd, const char *path, const struct vb_replica_setup *setup, struct vb_replica **out,
                    struct vb_error *err);
/* An open transaction is rolled back.  NULL ok. */
void vb_replica_close(struct vb_replica *r);
void vb_replica_close_ptr(struct vb_replica **r);
#define VB_AUTO_REPLICA __attribute__((cleanup(vb_replica_close_ptr))) struct vb_replica

/* A second connection to an open store, for another thread of this process; each is closed by itself, this one first.
 * Transactions of several wait for one another. */
int vb_replica_share(struct vb_replica *r, struct vb_replica **out, struct vb_error *err);

int vb_replica_begin(struct vb_replica *r, struct vb_error *err);  /* VB_E_BAD_STATE within one */
int vb_replica_commit(struct vb_replica *r, struct vb_error *err); /* synced; on error it was rolled back */
void vb_replica_rollback(struct vb_replica *r);                    /* harmless without one */

/* ---- who we are ---- */

const struct vb_replica_id *vb_replica_own(const struct vb_replica *r); /* valid until renewed or closed */
uint64_t vb_replica_tick(const struct vb_replica *r);  /* the last one minted and committed; 0 none */
uint64_t vb_replica_bound(const struct vb_replica *r); /* versions up to it may be minted */
/* Raises the bound so that `more` versions can be minted, and commits that.  Not within a transaction. */
int vb_replica_reserve(struct vb_replica *r, uint64_t more, struct vb_error *err);
/* The next version of this replica, saved with the transaction (MSS-5).  VB_E_BAD_STATE beyond the bound. */
int vb_replica_mint(struct vb_replica *r, struct vb_version *out, struct vb_error *err);
/* Takes a new id: the old one becomes a foreign replica that is fully known, and no scope has a trusted base (DSN-9,
 * DSN-10).  `why` is kept as the incarnation note.  Not within a transaction. */
int vb_replica_renew(struct vb_replica *r, const char *why, struct vb_error *err);
/* Committed before versions leave this replica: others may know of it up to the tick of now.  In a transaction or without. */
int vb_replica_publish(struct vb_replica *r, struct vb_error *err);
/* A peer's knowledge, before it is used: if the peer knows a higher tick of this replica than the replica ever told, this
 * store is an old copy, and renews itself; *renewed tells (DSN-10).  What was minted and not told is minted anew then. */
int vb_replica_check_peer(struct vb_replica *r, const struct vb_knowledge *peer, bool *renewed, struct vb_error *err);

/* ---- scopes and their markers ---- */

struct vb_scope {
    int64_t id;
    char *name;
    char *root;       /* absolute */
    char guid[37];    /* stands in the marker, the same on every replica of the scope */
    uint64_t device;  /* of the root at registration; 0: not known */
    bool trusted;     /* a whole scan has seen it: what is missing has been deleted (DSN-9) */
};
void vb_scope_clear(struct vb_scope *s);

/* guid NULL: a new scope; else one that exists elsewhere.  Needs a transaction; VB_E_EXISTS for a known name. */
int vb_replica_scope_add(struct vb_replica *r, const char *name, const char *root, const char *guid, uint64_t device,
                         int64_t *id, struct vb_error *err);
int vb_replica_scope_find(struct vb_replica *r, const char *name, struct vb_scope *out, struct vb_error *err);
/* Forgets the scope and all that belongs to it; needs a transaction. */
int vb_replica_scope_drop(struct vb_replica *r, int64_t scope, struct vb_error *err);
int vb_replica_scope_trust(struct vb_replica *r, int64_t scope, bool trusted, struct vb_error *err);

/* How it is replicated (REP-16 to REP-24); kept here, judged by replica/.  A new scope has the defaults of T61. */
struct vb_scope_settings {
    enum vb_integrity integrity;
    enum vb_extent extent;
    uint32_t interval_s, pulse, guard_s, random_s;
    int policy;   /* enum vb_conflict_policy */
    bool exact;   /* what the source does not have goes to the trash (REP-4) */
    char *filter; /* "" none; lines of rules (base/path_filter.h) */
    bool owners;  /* owners, set-id bits, capabilities and devices are replicated, too (DSN-36) */
    bool deletes; /* false: deletions are not passed on */
    uint32_t trash_keep_s;
};
void vb_scope_settings_clear(struct vb_scope_settings *s);
int vb_replica_scope_settings(struct vb_replica *r, int64_t scope, struct vb_scope_settings *out, struct vb_error *err);
/* Whether anything runs or not: stored with the transaction, read by each pass (REP-26). */
int vb_replica_scope_set(struct vb_replica *r, int64_t scope, const struct vb_scope_settings *s, struct vb_error *err);

/* Locks are counted, per side; while the count is not 0 nothing goes out (export) or comes in (import) (REP-37 to REP-41). */
enum vb_side { VB_SIDE_EXPORT = 1, VB_SIDE_IMPORT = 2 };
int vb_replica_lock(struct vb_replica *r, int64_t scope, enum vb_side side, const char *by, const char *reason,
                    struct vb_error *err);
/* Takes the latest one away, so that the time of the first stays; force takes all.  VB_E_BAD_STATE at count 0. */
int vb_replica_unlock(struct vb_replica *r, int64_t scope, enum vb_side side, bool force, struct vb_error *err);
/* since_s: wall clock of the first lock, 0 when there is none. */
int vb_replica_locks(struct vb_replica *r, int64_t scope, enum vb_side side, unsigned *count, int64_t *since_s,
                     struct vb_error *err);
/* Each of them, oldest first. */
int vb_replica_each_lock(struct vb_replica *r, int64_t scope, enum vb_side side,
                         int (*fn)(void *arg, int64_t since_s, const char *by, const char *reason), void *arg,
                         struct vb_error *err);

enum vb_marker_state {
    VB_MARKER_GOOD = 0,
    VB_MARKER_OFFLINE = 1,    /* missing, another scope's, or on another device: do not scan, nothing was deleted */
    VB_MARKER_ROLLED_BACK = 2 /* the store is older than the tree: vb_replica_renew */
};
/* The marker's text as it is to be written now. */
void vb_replica_marker(const struct vb_replica *r, const struct vb_scope *s, struct vb_buf *out);
/* Judges the marker found at the root (text NULL: none is there) on `device`.  *why gets one line, to be freed, unless
 * good.  A text that is no marker counts as another scope's. */
enum vb_marker_state vb_replica_judge_marker(const struct vb_replica *r, const struct vb_scope *s, const char *text, size_t n,
                                             uint64_t device, char **why);

/* ---- items ---- */

/* Who wrote the content that is there and when, for the order of DSN-19; of a tombstone, who deleted it.  A conflict's
 * resolution has a version of its own, but keeps the winner's origin. */
struct vb_origin {
    int64_t mtime_ns;
    struct vb_version version;
};
struct vb_item {
    const char *path;               /* bytes, relative to the root, no ".."; "." is the root itself; never empty */
    enum vb_item_kind kind;
    uint64_t size;
    int64_t mtime_ns;
    uint32_t mode;
    const char *owner;              /* "user:group" by name, may be NULL */
    unsigned char attr[VB_HASH_LEN];    /* of ACLs, extended attributes and whatever else is replicated */
    unsigned char content[VB_HASH_LEN]; /* of the bytes, the link's target, the special file's kind */
    struct vb_version created, changed;
    struct vb_origin origin;
    bool deleted;                   /* a tombstone */
    int64_t deleted_at_ms;          /* of the store's own elapsed time */
    const char *moved_to;           /* tombstone of a rename: where it went; may be NULL (DSN-4) */
    bool have_base;                 /* `base` is the content this one was made from */
    unsigned char base[VB_HASH_LEN];
    uint64_t seq;                   /* order in which rows were saved; set by the store */
    uint64_t look;                  /* of this replica alone: what the file's stat was, in 64 bits; 0: look again */
};
void vb_item_clear(struct vb_item *i); /* frees the strings of an item that a call below filled */
void vb_item_copy(struct vb_item *to, const struct vb_item *from);
/* Content, kind, mode, owner and attributes: what replication carries.  Times do not count (DSN-3). */
bool vb_item_same(const struct vb_item *a, const struct vb_item *b);
/* Paths come from peers and bundles as well: nothing that could leave the root (DSN-36). */
bool vb_item_path_good(const char *path);

/* VB_E_OBJECT_NOT_FOUND if there is no row.  Strings of *out are owned by the caller. */
int vb_replica_find(struct vb_replica *r, int64_t scope, const char *path, struct vb_item *out, struct vb_error *err);
/* Saves the row as it is given, versions and all: a foreign change that was applied, or what recovery restores.  Mints
 * nothing (DSN-5).  Needs a transaction. */
int vb_replica_save(struct vb_replica *r, int64_t scope, const struct vb_item *item, struct vb_error *err);
/* Removes a row without leaving a tombstone; for recovery only (MSS-20, MSS-34). */
int vb_replica_forget_item(struct vb_replica *r, int64_t scope, const char *path, struct vb_error *err);

enum vb_change { VB_CHANGE_NONE = 0, VB_CHANGE_REFRESHED = 1, VB_CHANGE_CREATED = 2, VB_CHANGE_CHANGED = 3, VB_CHANGE_DELETED = 4 };
/* What a scan saw of one live item; versions, origin and tombstone fields of `seen` are ignored.  Differs from the row in
 * what replication carries: a version is minted; only in time: the row is refreshed (DSN-3).  Counts as reported. */
int vb_replica_note(struct vb_replica *r, int64_t scope, const struct vb_item *seen, enum vb_change *what,
                    struct vb_error *err);
/* The item is gone: mints a tombstone.  moved_to as in struct vb_item.  Nothing if it is one already. */
int vb_replica_note_deleted(struct vb_replica *r, int64_t scope, const char *path, const char *moved_to,
                            enum vb_change *what, struct vb_error *err);

/* Delete detector (MSS-22): begin, report each live item (note does it), then list what was not reported. */
int vb_replica_unreport_all(struct vb_replica *r, int64_t scope, struct vb_error *err);
int vb_replica_report(struct vb_replica *r, int64_t scope, const char *path, struct vb_error *err);
typedef int (*vb_item_fn)(void *arg, const struct vb_item *item); /* not 0 ends the walk */
/* Live rows that were not reported, in order of path.  fn must not change the store. */
int vb_replica_unreported(struct vb_replica *r, int64_t scope, vb_item_fn fn, void *arg, struct vb_error *err);
/* All rows, live ones only or with tombstones, from a lower bound (NULL: all), in order of path. */
int vb_replica_each(struct vb_replica *r, int64_t scope, const char *from, bool tombstones, vb_item_fn fn, void *arg,
                    struct vb_error *err);
/* All live items with what their stat was, in order of path; path is not terminated.  Not 0 ends the walk. */
int vb_replica_each_look(struct vb_replica *r, int64_t scope, int (*fn)(void *arg, const char *path, size_t n, uint64_t look),
                         void *arg, struct vb_error *err);
/* What the stat of an item is now, given what it was; 0: look again. */
typedef uint64_t (*vb_relook_fn)(void *arg, const char *path, uint64_t size, int64_t mtime_ns, uint64_t look);
/* Asks it for each live item with a look that lies below a directory ("": all), and saves what differs: inodes that were
 * touched by ourselves.  Needs a transaction. */
int vb_replica_relook(struct vb_replica *r, int64_t scope, const char *below, vb_relook_fn fn, void *arg, struct vb_error *err);
/* Live files with this content, in no order. */
int vb_replica_by_content(struct vb_replica *r, int64_t scope, const unsigned char content[VB_HASH_LEN], vb_item_fn fn, void *arg,
                          struct vb_error *err);
/* Live items of the scope (the root itself not counted), for guards. */
int vb_replica_count(struct vb_replica *r, int64_t scope, uint64_t *live, uint64_t *tombstones, struct vb_error *err);

/* Small numbers by name, of the caller's own: series of bundles.  0 if never set.  Setting needs a transaction. */
int vb_replica_number(struct vb_replica *r, const char *name, uint64_t *v, struct vb_error *err);
int vb_replica_set_number(struct vb_replica *r, const char *name, uint64_t v, struct vb_error *err);
/* The same with texts; *v is the caller's, NULL if never set.  Setting NULL forgets it. */
int vb_replica_text(struct vb_replica *r, const char *name, char **v, struct vb_error *err);
int vb_replica_set_text(struct vb_replica *r, const char *name, const char *v, struct vb_error *err);
/* All whose name begins so, in order; not 0 ends the walk. */
int vb_replica_each_text(struct vb_replica *r, const char *prefix, int (*fn)(void *arg, const char *name, const char *value), void *arg,
                         struct vb_error *err);

/* ---- knowledge ---- */

/* Holder "" is this replica itself; peers and backup sets have names of their own.  filter is the hash of the filter
 * under which it was learned, NULL or "" for none (DSN-23).  An unknown holder has empty knowledge.  The own one comes
 * with the own tick raised to the last committed one (MSS-4, DSN-2). */
struct vb_knowledge *vb_replica_knowledge(struct vb_replica *r, int64_t scope, const char *holder, const char *filter,
                                          struct vb_error *err);
/* Replaces it, once per batch (MSS-8).  Needs a transaction. */
int vb_replica_set_knowledge(struct vb_replica *r, int64_t scope, const char *holder, const char *filter,
                             const struct vb_knowledge *k, struct vb_error *err);
/* Adds one item's entry to the own knowledge without reading the whole: what a pass does for each item (DSN-22). */
int vb_replica_know_item(struct vb_replica *r, int64_t scope, const char *path, const struct vb_version *v,
                         struct vb_error *err);
struct vb_knowledge *vb_replica_forgotten(struct vb_replica *r, int64_t scope, struct vb_error *err);
/* Joins into the forgotten knowledge (MSS-36); needs a transaction. */
int vb_replica_forget_to(struct vb_replica *r, int64_t scope, const struct vb_knowledge *k, struct vb_error *err);

/* ---- enumeration ---- */

struct vb_changes_query {
    const struct vb_knowledge *known; /* of the destination */
    uint64_t after_seq;               /* cursor: rows saved later than this; 0 all */
    size_t batch;                     /* wished size; 0: all (MSS-3) */
    bool (*filter)(void *arg, const struct vb_item *item); /* NULL: all; false keeps it out (MSS-11) */
    void *filter_arg;
};
/* Calls fn for the rows whose version the destination does not know, in the order in which they were saved (MSS-6).  *next
 * becomes the cursor for the following batch; *last tells that there is none.  Its cost follows the changes, not the tree.
 * Knowledge must be read (vb_replica_knowledge) before the first batch: later changes then travel next time. */
int vb_replica_changes(struct vb_replica *r, int64_t scope, const struct vb_changes_query *q, vb_item_fn fn, void *arg,
                       uint64_t *next, bool *last, struct vb_error *err);
/* How many there are: the backlog. */
int vb_replica_lag(struct vb_replica *r, int64_t scope, const struct vb_knowledge *known, uint64_t *count,
                   struct vb_error *err);
/* Versions the destination has for the paths of a batch (MSS-15); tick 0: no row. */
int vb_replica_versions(struct vb_replica *r, int64_t scope, const char *const *paths, size_t n, struct vb_version *out,
                        struct vb_error *err);

/* ---- tombstones ---- */

/* CleanupDeletedItems with the seed's exact semantics (MSS-24 to MSS-28): the first call stores the time and does nothing;
 * a call within the interval since the last successful one does nothing; else the tombstones older than the last
 * successful call go, the time is stored, forgotten knowledge rises.  Interval 0 removes all.  *done: false is the
 * seed's S_FALSE.  Needs a transaction. */
int vb_replica_cleanup(struct vb_replica *r, int64_t scope, uint64_t interval_ms, bool *done, struct vb_error *err);

struct vb_expiry {
    uint64_t keep_ms;                     /* age by the store's own elapsed time */
    const struct vb_knowledge *const *acked; /* of every link; a tombstone all of them know goes before its age */
    size_t n_acked;
};
/* DSN-24: removes expired tombstones and raises forgotten knowledge.  *clock_back: the clock went backwards, nothing was
 * done.  Needs a transaction. */
int vb_replica_expire(struct vb_replica *r, int64_t scope, const struct vb_expiry *x, uint64_t *removed, bool *clock_back,
                      struct vb_error *err);

/* Recovery, destination: live rows and tombstones in [from, to) (to NULL: to the end) that the source did not send, and
 * whose version the source knows or has forgotten: to be deleted without tombstone (MSS-34).  `sent` are the paths it did
 * send in that range, ascending. */
int vb_replica_unsent(struct vb_replica *r, int64_t scope, const char *from, const char *to, const char *const *sent,
                      size_t n_sent, const struct vb_knowledge *source, const struct vb_knowledge *forgotten, vb_item_fn fn,
                      void *arg, struct vb_error *err);
/* MSS-31, DSN-25: the source has forgotten deletions that the destination never got, and the destination holds items. */
bool vb_replica_stale(const struct vb_knowledge *source_forgotten, const struct vb_knowledge *destination, bool empty);

/* ---- peers, and what was decided about them ---- */

/* The last pass with one peer, in one direction, as `status` shows it. */
struct vb_link {
    enum vb_side side;       /* export: it goes there; import: it comes from there */
    const char *name;        /* as the user named it; else the beginning of the peer's id.  Never empty */
    const char *peer;        /* its replica id in hexadecimal; "" not known yet */
    int64_t tried_s, done_s; /* wall clock of the last try and of the last success; 0 never */
    enum vb_code code;       /* how the last try ended */
    const char *text;        /* why; "" after a success */
    uint64_t deferred, failed; /* items it left */
};
/* Notes the end of a try: now is tried_s, and done_s if code is VB_OK.  A peer not known ("") keeps the id it had.  Needs a
 * transaction. */
int vb_replica_link_note(struct vb_replica *r, int64_t scope, const struct vb_link *l, struct vb_error *err);
/* In order of side and name; strings live during the call.  fn: not 0 ends the walk. */
int vb_replica_each_link(struct vb_replica *r, int64_t scope, int (*fn)(void *arg, const struct vb_link *l), void *arg,
                         struct vb_error *err);

/* A conflict that was left for the user (policy defer). */
enum vb_choice { VB_CHOICE_NONE = 0, VB_CHOICE_MINE = 1, VB_CHOICE_THEIRS = 2, VB_CHOICE_BOTH = 3 };
struct vb_held {
    const char *path;
    const char *peer;          /* replica id of who sent it, in hexadecimal */
    struct vb_version version; /* of theirs */
    enum vb_item_kind kind;
    uint64_t size;
    int64_t mtime_ns;
    bool deleted;              /* they deleted it */
    int64_t since_s;           /* set by the store when it is held first */
    enum vb_choice choice;     /* of the user, not carried out yet */
};
/* Holds it, or brings it up to date: the time stays, a choice about another version goes.  Needs a transaction. */
int vb_replica_hold_conflict(struct vb_replica *r, int64_t scope, const struct vb_held *h, struct vb_error *err);
/* In order of path; path NULL: all, else that one's.  Strings live during the call. */
int vb_replica_each_conflict(struct vb_replica *r, int64_t scope, const char *path, int (*fn)(void *arg, const struct vb_held *h),
                             void *arg, struct vb_error *err);
/* VB_E_OBJECT_NOT_FOUND if none is held there.  Needs a transaction. */
int vb_replica_choose(struct vb_replica *r, int64_t scope, const char *path, enum vb_choice c, struct vb_error *err);
/* It is settled: with this peer, or (NULL) with all.  Needs a transaction. */
int vb_replica_settle_conflict(struct vb_replica *r, int64_t scope, const char *path, const char *peer, struct vb_error *err);

/* ---- intents: what is about to be renamed into place (DSN-7) ---- */

struct vb_intent {
    const char *path;
    struct vb_version version;
    unsigned char content[VB_HASH_LEN];
    const char *staged; /* name of the staged file; "" none */
    const void *what;   /* whatever the applier needs to complete it */
    size_t what_len;
};
int vb_replica_intend(struct vb_replica *r, int64_t scope, const struct vb_intent *i, struct vb_error *err);
int vb_replica_intent_done(struct vb_replica *r, int64_t scope, const char *path, struct vb_error *err);
/* All of them at once.  Needs a transaction. */
int vb_replica_intents_drop(struct vb_replica *r, int64_t scope, struct vb_error *err);
/* In order of path; fn may save items, not intents. */
int vb_replica_intents(struct vb_replica *r, int64_t scope, int (*fn)(void *arg, const struct vb_intent *i), void *arg,
                       struct vb_error *err);

#endif
