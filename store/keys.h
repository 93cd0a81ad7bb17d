/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/keys.h - the secrets of an open repository, and sealed objects.
 *
 * From one root secret follow a tag and keys for each trust group, and a private key.  Packs and catalog entries are
 * sealed to the public half of that, mixed with a key of the writing group: who holds a group's keys and the public
 * key only (a write-only key) can add and cannot read, and who holds neither can do nothing.  Index files are sealed
 * with a key of their group, so that its members know what they need not send.
 *
 * A repository without encryption has the root in its configuration and the same groups, without the seals; one of
 * format 0 has one group.
 *
 *     header    magic(4) version(1) suite(1) zero(2) tag of the group(16) salt(32)
 */
#ifndef VB_STORE_KEYS_H
#define VB_STORE_KEYS_H

#include "base/text.h"
#include "store/chunk/chunk.h"
#include "store/crypto.h"

#define VB_GROUP_TAG_LEN 16u
#define VB_GROUP_NAME_MAX 255u
#define VB_OBJECT_HEADER_LEN 56u
#define VB_OBJECT_VERSION 1u
#define VB_OBJECT_INDEX_VERSION 2u /* of index files: with the generation */
#define VB_SUITE_NONE 0u
#define VB_SUITE_AES_256_GCM 1u

/* A trust group: hosts that may learn of each other's chunks. Number 0 is the repository's own: documents. */
struct vb_group {
    uint8_t tag[VB_GROUP_TAG_LEN];
    uint8_t naming[VB_KEY_LEN], cutter[VB_KEY_LEN], write[VB_KEY_LEN], index[VB_KEY_LEN];
    struct vb_namer *namer;
};

struct vb_keys;

/* Format 0: the two keys are all there is. */
struct vb_keys *vb_keys_format0(const char *repo_id, const uint8_t naming[VB_KEY_LEN],
                                const uint8_t cutter[VB_KEY_LEN]);
/* Format 1. */
struct vb_keys *vb_keys_from_root(const char *repo_id, bool sealed, const uint8_t root[VB_KEY_LEN]);
/* What a write-only key holds for the group of that name, and keys made from it: group 0 is that group, and there is
 * no other. */
#define VB_KEYS_APPEND_LEN (3 * VB_KEY_LEN + VB_GROUP_TAG_LEN)
int vb_keys_append_export(struct vb_keys *k, const char *group, uint8_t out[VB_KEYS_APPEND_LEN], struct vb_error *err);
struct vb_keys *vb_keys_from_append(const char *repo_id, const uint8_t in[VB_KEYS_APPEND_LEN]);
void vb_keys_free(struct vb_keys *k); /* NULL ok */

unsigned vb_keys_format(const struct vb_keys *k);
bool vb_keys_sealed(const struct vb_keys *k);
bool vb_keys_append_only(const struct vb_keys *k);
const uint8_t *vb_keys_root(const struct vb_keys *k); /* NULL for a write-only key and for format 0 */
/* Since format 2: the salt of a pack is random also without encryption. */
void vb_keys_salt_packs(struct vb_keys *k);
/* Authenticates a record of the ledger that this group wrote. */
void vb_keys_ledger_mac(const struct vb_keys *k, uint32_t group, const void *p, size_t n, uint8_t out[VB_KEY_LEN]);
/* Authenticates the configuration. */
void vb_keys_config_mac(const struct vb_keys *k, const void *p, size_t n, uint8_t out[VB_KEY_LEN]);

/* The number of a group by its name ("" is 0).  Format 0 knows one group only: everybody is in it.  So does a write-only
 * key: whatever it writes is in its own. */
int vb_keys_group(struct vb_keys *k, const char *name, uint32_t *group, struct vb_error *err);
/* By tag: false when these keys cannot know it. */
bool vb_keys_group_by_tag(struct vb_keys *k, const uint8_t tag[VB_GROUP_TAG_LEN], uint32_t *group);
/* Whether that is the tag of the group with that name. */
bool vb_keys_tag_is(const struct vb_keys *k, const uint8_t tag[VB_GROUP_TAG_LEN], const char *name);
const struct vb_group *vb_keys_group_at(const struct vb_keys *k, uint32_t group);
size_t vb_keys_group_count(const struct vb_keys *k);

/* ---- objects ---- */

enum vb_object_kind { VB_OBJECT_PACK, VB_OBJECT_INDEX, VB_OBJECT_ENTRY };

struct vb_object {
    enum vb_object_kind kind;
    uint32_t group;
    uint8_t tag[VB_GROUP_TAG_LEN];
    uint8_t salt[VB_KEY_LEN];
    uint8_t key[VB_KEY_LEN]; /* wipe it when done: vb_object_end */
};

/* A new object.  content: what will be sealed, or what stands for it: it goes into the salt beside random numbers, so
 * that even if these repeat, as on a machine that was cloned, one key never seals two different contents. */
int vb_object_begin(struct vb_keys *k, enum vb_object_kind kind, uint32_t group, const void *content, size_t n,
                    struct vb_object *o, struct vb_error *err);
void vb_object_end(struct vb_object *o);
void vb_object_header(const struct vb_keys *k, const struct vb_object *o, struct vb_buf *out);
/* Reads a header and derives the key.  VB_E_ACCESS_DENIED: not with these keys.  Only the suite of the repository is
 * taken. */
int vb_object_open_header(struct vb_keys *k, enum vb_object_kind kind, const void *p, size_t n, struct vb_object *o,
                          struct vb_error *err);
/* The same from group and salt. */
int vb_object_recall(struct vb_keys *k, enum vb_object_kind kind, uint32_t group, const uint8_t salt[VB_KEY_LEN],
                     struct vb_object *o, struct vb_error *err);
size_t vb_object_overhead(const struct vb_keys *k); /* 16 or 0 */
void vb_object_seal(struct vb_keys *k, const struct vb_object *o, uint32_t nonce, const void *aad, size_t n_aad,
                    const void *p, size_t n, struct vb_buf *out);
int vb_object_open(struct vb_keys *k, const struct vb_object *o, uint32_t nonce, const void *aad, size_t n_aad,
                   const void *p, size_t n, struct vb_buf *out, struct vb_error *err);
/* Header and one sealed body: index files and entries. */
int vb_object_write(struct vb_keys *k, enum vb_object_kind kind, uint32_t group, const void *aad, size_t n_aad,
                    const void *p, size_t n, struct vb_buf *out, struct vb_error *err);
int vb_object_read(struct vb_keys *k, enum vb_object_kind kind, const void *aad, size_t n_aad, const void *p, size_t n,
                   struct vb_object *o, struct vb_buf *out, struct vb_error *err);

#endif
