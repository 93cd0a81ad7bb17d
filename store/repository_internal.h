/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_internal.h - what the files of the facade share.
 */
#ifndef VB_STORE_REPOSITORY_INTERNAL_H
#define VB_STORE_REPOSITORY_INTERNAL_H

#include "base/mem.h"
#include "store/index.h"
#include "store/keys.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/repository.h"
#include "store/retention.h"

/* Directories and documents lie in packs of their own, so that a listing need not read among file data. */
enum vb_repo_pack_kind { VB_REPO_PACK_DATA, VB_REPO_PACK_META, VB_REPO_PACK_KINDS };

/* A pack that is being filled: one for each group and kind that has had something to write. */
struct vb_repo_pack {
    struct vb_pack pack;
    uint32_t group;
    enum vb_repo_pack_kind kind;
    uint32_t number; /* in the index */
    bool open;
};
/* With many groups at once, packs are written before they are full, so that memory stays bounded. */
#define VB_REPO_OPEN_MAX ((size_t)48 << 20)

/* Keys of packs that were read from lately. */
#define VB_REPO_PACK_KEYS 256u
struct vb_repo_pack_key {
    struct vb_name pack;
    bool used;
    struct vb_object object;
};

/* How the index in memory is made. */
enum vb_repo_scan {
    VB_SCAN_NONE,  /* from index files only */
    VB_SCAN_PACKS, /* packs are listed, too: missing ones do not count, those that no index file names are taken in */
    VB_SCAN_DEEP   /* from the packs only */
};

/* The ledger as far as it was read, and the state that the newest prune in it has left. */
struct vb_repo_ledger {
    struct vb_ledger_record *v; /* by number */
    size_t n, cap;
    uint64_t first, end;        /* 0: empty.  The next record gets end + 1 */
    struct vb_name end_hash;
    bool listed;
    bool holes;                 /* records are missing that have been there */
    uint64_t prunes;            /* how many */
    struct vb_ledger_record prune; /* the newest */
    struct vb_state state;      /* that it left; generation 0: none */
    bool state_lost;            /* it cannot be read */
    uint64_t state_number;      /* which prune's state is loaded */
};

struct vb_repo {
    struct vb_backend *backend;
    enum vb_repo_mode mode;
    bool locked;
    bool pinned;            /* the index in memory is being walked: nothing may put another in its place */
    enum vb_repo_scan scanned; /* how much was looked at since the index was loaded */
    struct vb_repo_ledger ledger;
    uint64_t generation;    /* of the repository as this session knows it: packs condemned later may be referred to */
    uint64_t loaded_prune;  /* number of the newest prune when the index in memory was made */
    uint64_t looked_prune;  /* likewise, when a reader looked once more for what was not where it had been */
    uint64_t checked_prune; /* and when all that a commit refers to was looked at */
    char *lease;            /* its path */
    char *memory;           /* directory; NULL: nothing is remembered */
    char *alarm;            /* what is not as this machine remembers it */
    struct vb_repo_info info;
    struct vb_keys *keys;
    char key_id[VB_GUID_LEN + 1]; /* of the key that opened it; "" without encryption */
    struct vb_repo_pack_key pack_keys[VB_REPO_PACK_KEYS];
    struct vb_index *index;
    struct vb_codec *codec;
    struct vb_cutter *cutter; /* for documents */
    struct vb_repo_pack **packs;
    size_t n_packs, cap_packs;
    struct vb_buf stored, plain, sealed; /* work space of put and get */
    struct vb_repo_stats stats;
};

/*
 * A check on which the safety of concurrent clients rests.  Tests leave one of them out and must notice.
 */
#define VB_REPO_CHECKS 8
#ifdef VB_FAULT_POINTS
extern int vb_repo_unchecked; /* number of the check that is left out; 0: none */
#define VB_CHECKED(n, condition) (vb_repo_unchecked != (n) && (condition))
#else
#define VB_CHECKED(n, condition) (condition)
#endif

#define VB_REPO_CONFIG_MAX 65536u

/* repository_config.c: the file `config`.  keys: of a repository without encryption the root or the two keys of
 * format 0 are in it; with encryption *root is not, and the text is to be authenticated with keys from elsewhere
 * (vb_repo_config_verify). */
struct vb_repo_config {
    struct vb_repo_info info; /* without the keys */
    bool sealed;
    uint8_t root[VB_KEY_LEN], naming[VB_KEY_LEN], cutter[VB_KEY_LEN];
};
int vb_repo_config_encode(const struct vb_repo_config *c, const struct vb_keys *keys, struct vb_buf *out,
                          struct vb_error *err);
int vb_repo_config_decode(const void *p, size_t len, struct vb_repo_config *c, struct vb_error *err);
int vb_repo_config_verify(const void *p, size_t len, const struct vb_keys *keys, struct vb_error *err);

/* repository_keys.c: the files in keys/. */
int vb_repo_key_write(struct vb_backend *b, const char *repo_id, struct vb_keys *keys, const char *id,
                      const struct vb_repo_key_params *p, char **path, struct vb_error *err); /* path: may be NULL */
struct vb_keys *vb_repo_key_open(struct vb_backend *b, const char *repo_id, const struct vb_repo_auth *auth,
                                 char key_id[VB_GUID_LEN + 1], struct vb_error *err);

/* repository_index.c.  all: also packs that are condemned, for a prune; files (may be NULL): the index files that were
 * read. */
int vb_repo_load_index(struct vb_repo *r, enum vb_repo_scan scan, struct vb_error *err);
int vb_repo_load_all(struct vb_repo *r, enum vb_repo_scan scan, struct vb_strv *files, struct vb_error *err);
/* repository_get.c: one step deeper than the index was looked at before; false: there is none, or it failed. */
bool vb_repo_look_deeper(struct vb_repo *r);
/* The pack files that are there, sorted by name; caller frees. */
struct vb_repo_listed {
    struct vb_name name;
    uint64_t size;
};
int vb_repo_list_packs(struct vb_repo *r, struct vb_repo_listed **packs, size_t *n, struct vb_error *err);
bool vb_repo_is_listed(const struct vb_repo_listed *packs, size_t n, const struct vb_name *name, uint64_t size);

/* repository_put.c */
int vb_repo_add_to_pack(struct vb_repo *r, uint32_t group, struct vb_pack_entry *e, const void *stored,
                        struct vb_error *err);
/* Files about all packs that are not durable; one that is there already is taken out of *keep (may be NULL), a list of
 * files that are to be removed. */
int vb_repo_write_index(struct vb_repo *r, uint64_t generation, struct vb_strv *keep, struct vb_error *err);
void vb_repo_drop_open_packs(struct vb_repo *r);
int vb_repo_flush_packs(struct vb_repo *r, struct vb_error *err); /* durable, and in no index file */

/* repository_get.c: the stored bytes, unsealed, into out. */
int vb_repo_read_stored(struct vb_repo *r, const struct vb_index_hit *hit, struct vb_buf *out, struct vb_error *err);
/* The same from a pack of another index. */
int vb_repo_read_packed(struct vb_repo *r, const struct vb_index_pack *pack, const struct vb_pack_entry *e,
                        struct vb_buf *out, struct vb_error *err);
/* Decompresses and names: VB_E_CORRUPT unless it is the chunk of that group that e says it is. */
int vb_repo_open_stored(struct vb_repo *r, uint32_t group, const struct vb_pack_entry *e, const struct vb_buf *stored,
                        struct vb_buf *out, struct vb_error *err);

/* repository_commit.c: paths in the catalog, sorted by sequence; strangers too, at the end. */
int vb_repo_catalog_paths(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err);
/* Reads and verifies one entry. */
struct vb_catalog_entry *vb_repo_read_entry(struct vb_repo *r, const char *path, struct vb_error *err);

/* Whether a backup of that id is or was there, by names alone; the ledger is as it was read last. */
int vb_repo_has_backup(struct vb_repo *r, const char *id, bool *there, struct vb_error *err);

/* Not one that never became a backup, nor one that a prune removes. */
bool vb_repo_path_stands(const struct vb_repo *r, const char *path);

/* repository_forget.c: marks beside records; their paths are given as those of the records ("catalog/..."). */
enum vb_repo_mark { VB_MARK_FORGOTTEN, VB_MARK_HOLD, VB_MARK_NORMAL };
int vb_repo_may_mark(const struct vb_repo *r, struct vb_error *err);
int vb_repo_marked_paths(struct vb_repo *r, enum vb_repo_mark kind, struct vb_strv *paths, struct vb_error *err); /* sorted */
int vb_repo_put_mark(struct vb_repo *r, enum vb_repo_mark kind, const char *path, uint64_t wall_ms, const char *reason,
                     struct vb_error *err); /* without a barrier */
/* VB_E_NOT_FOUND; VB_E_CORRUPT.  reason (may be NULL): the caller's. */
int vb_repo_read_mark(struct vb_repo *r, enum vb_repo_mark kind, const char *path, uint64_t *wall_ms, char **reason,
                      struct vb_error *err);
int vb_repo_remove_mark(struct vb_repo *r, enum vb_repo_mark kind, const char *path, struct vb_error *err);
int vb_repo_is_marked(struct vb_repo *r, enum vb_repo_mark kind, const char *path, struct vb_error *err); /* 1, 0, -1 */
/* Those of backups that are forgotten, whether or not they are still there; and when one was. */
int vb_repo_forgotten_paths(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err);
int vb_repo_say_word(struct vb_repo *r, const char *path, struct vb_error *err);
int vb_repo_read_forgotten(struct vb_repo *r, const char *path, uint64_t *wall_ms, struct vb_error *err);

/* repository_ledger.c */
void vb_repo_ledger_clear(struct vb_repo_ledger *l);
/* Reads what is new, and the state of the newest prune. */
int vb_repo_ledger_sync(struct vb_repo *r, struct vb_error *err);
int vb_repo_ledger_next(struct vb_repo *r, uint64_t *number, struct vb_error *err); /* the number it will get */
/* The next record.  0: it stands; 1: somebody was quicker, the ledger is read up to there; -1: it does not stand, or, with
 * *unsure, may. */
int vb_repo_ledger_append(struct vb_repo *r, enum vb_ledger_kind kind, const struct vb_name *what, bool *unsure,
                          struct vb_error *err);
const struct vb_ledger_record *vb_repo_ledger_at(const struct vb_repo *r, uint64_t number); /* NULL: missing */
/* What the ledger says about a record in the catalog. */
enum vb_repo_standing {
    VB_STANDS,  /* it is a backup */
    VB_PENDING, /* its turn has not come: its writer is at work, or died */
    VB_VOID     /* another came first: it never was one */
};
enum vb_repo_standing vb_repo_standing(const struct vb_repo *r, uint64_t number, const struct vb_name *hash);
/* Whether this session must not refer to a pack.  doomed_only: nobody may. */
bool vb_repo_is_lost_to(const struct vb_repo *r, const struct vb_name *pack, bool doomed_only);

/* repository_memory.c: holds the repository against what this machine has seen of it (VB_E_GUARD), and keeps what it sees
 * now in auth->memory. */
int vb_repo_recall(struct vb_repo *r, const struct vb_repo_auth *auth, struct vb_error *err);
void vb_repo_remember(struct vb_repo *r);
/* That this is the repository which lies there. */
int vb_repo_remember_place(const char *dir, const struct vb_backend *b, const char *id, struct vb_error *err);
/* The file: the newest record that was seen, and up to which one gaps were accepted. */
struct vb_memory {
    uint64_t number, wall_ms, accepted;
    struct vb_name hash;
};
bool vb_memory_parse(const char *text, struct vb_memory *m);
char *vb_memory_text(const struct vb_memory *m); /* caller frees */

/* repository_received.c: appends to *v, which stays the caller's on failure; and back, to be freed. */
int vb_received_decode(const void *p, size_t len, struct vb_received **v, size_t *n, struct vb_error *err);
char *vb_received_encode(const struct vb_received *v, size_t n);

/* repository_lease.c */
int vb_repo_lease_begin(struct vb_repo *r, const char *id, uint64_t wall_ms, struct vb_error *err);
void vb_repo_lease_end(struct vb_repo *r);

/* repository_loss.c: reports (VB_CHECK_LOSS) what the backup needs that is not in this index; how many findings. */
uint64_t vb_repo_losses(struct vb_repo *r, struct vb_index *whole, const struct vb_catalog_entry *e, vb_check_fn *report,
                        void *arg);

/* repository_repair.c: what repairs have set aside, with the names it had ("catalog/..."), below that prefix; sorted. */
int vb_repo_broken_paths(struct vb_repo *r, const char *prefix, struct vb_strv *paths, struct vb_error *err);

/* repository_repair_ledger.c: makes records of the ledger anew for which the one behind them vouches. */
typedef int vb_repo_set_aside_fn(void *arg, const char *path, const char *why, struct vb_error *err);
int vb_repo_mend_ledger(struct vb_repo *r, vb_repo_set_aside_fn *set_aside, vb_check_fn *tell, void *arg,
                        struct vb_error *err);

/* repository_reach.c: everything below some roots, each chunk once, without recursion.  The callbacks are set after
 * init; what a callback returns that is not 0 ends it and is returned. */
struct vb_repo_reach {
    struct vb_repo *repo;
    struct vb_index *index; /* borrowed; must not change meanwhile */
    void *arg;
    /* Reached for the first time; may be NULL. */
    int (*visit)(void *arg, const struct vb_index_hit *hit, struct vb_error *err);
    /* Referred to and not in the index (hit NULL), or of another type. type 0: data or doc. */
    int (*problem)(void *arg, const struct vb_name *name, unsigned type, const struct vb_index_hit *hit,
                   struct vb_error *err);
    /* A tree or list that cannot be read, and why (moved on if not 0 is returned); may be NULL: ends it with -1. */
    int (*unreadable)(void *arg, const struct vb_index_hit *hit, struct vb_error *why);
    unsigned char *seen; /* private from here */
    struct vb_name *waiting;
    size_t n, cap;
};
void vb_repo_reach_init(struct vb_repo_reach *x, struct vb_repo *r, struct vb_index *index);
void vb_repo_reach_clear(struct vb_repo_reach *x);
int vb_repo_reach_add(struct vb_repo_reach *x, const struct vb_name *name, unsigned type, struct vb_error *err);
int vb_repo_reach_run(struct vb_repo_reach *x, struct vb_error *err);
/* Adds all that a backup's record refers to, and runs. */
int vb_repo_reach_entry(struct vb_repo_reach *x, const struct vb_catalog_entry *e, struct vb_error *err);
bool vb_repo_reach_seen(const struct vb_repo_reach *x, uint32_t number); /* of a chunk in the index */

#endif
