/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_internal.h - what the files of the facade share.
 */
#ifndef VB_STORE_REPOSITORY_INTERNAL_H
#define VB_STORE_REPOSITORY_INTERNAL_H

#include "base/mem.h"
#include "store/index.h"
#include "store/keys.h"
#include "store/pack.h"
#include "store/repository.h"

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

struct vb_repo {
    struct vb_backend *backend;
    enum vb_repo_mode mode;
    bool locked;
    bool scanned;           /* the packs were listed since the index was loaded: nothing more can be found */
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
                      const struct vb_repo_key_params *p, struct vb_error *err);
struct vb_keys *vb_repo_key_open(struct vb_backend *b, const char *repo_id, const struct vb_repo_auth *auth,
                                 char key_id[VB_GUID_LEN + 1], struct vb_error *err);

/* repository_index.c: reads the index files; scan: also lists the packs, leaves out those that are missing and takes
 * in those that no index file names. */
int vb_repo_load_index(struct vb_repo *r, bool scan, struct vb_error *err);
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
int vb_repo_write_index(struct vb_repo *r, struct vb_strv *keep, struct vb_error *err);
void vb_repo_drop_open_packs(struct vb_repo *r);

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

/* repository_forget.c: the records ("catalog/...") of backups that are forgotten, sorted, whether or not they are still
 * there; and when one was. */
int vb_repo_forgotten_paths(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err);
int vb_repo_read_forgotten(struct vb_repo *r, const char *path, uint64_t *wall_ms, struct vb_error *err);

/* repository_prune.c: the marks of packs that are to be removed, sorted: no writer counts on them. */
int vb_repo_condemned(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err);
bool vb_repo_is_condemned(const struct vb_strv *paths, const struct vb_name *pack);

/* repository_loss.c: reports (VB_CHECK_LOSS) what the backup needs that is not in this index; how many findings. */
uint64_t vb_repo_losses(struct vb_repo *r, struct vb_index *whole, const struct vb_catalog_entry *e, vb_check_fn *report,
                        void *arg);

/* repository_repair.c: what repairs have set aside, with the names it had ("catalog/..."), below that prefix; sorted. */
int vb_repo_broken_paths(struct vb_repo *r, const char *prefix, struct vb_strv *paths, struct vb_error *err);

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
