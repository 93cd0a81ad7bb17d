/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/keys.c - groups and their keys; sealing and opening of objects.
 */
#include "config.h"
#include "store/keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct vb_keys {
    char id[VB_GUID_LEN + 1];
    unsigned format;
    bool sealed, append_only;
    bool salted; /* also without encryption: no two packs have the same bytes */
    uint8_t root[VB_KEY_LEN];   /* not of a write-only key */
    uint8_t secret[VB_KEY_LEN]; /* likewise */
    uint8_t pub[VB_KEY_LEN];
    uint8_t config[VB_KEY_LEN];
    struct vb_group **groups;
    size_t n, cap;
    struct vb_aead *aead;
};

/* ---- making ---- */

static struct vb_keys *keys_new(const char *repo_id, unsigned format, bool sealed)
{
    struct vb_keys *k = vb_secret_alloc(sizeof *k);
    memcpy(k->id, repo_id, VB_GUID_LEN);
    k->format = format;
    k->sealed = sealed;
    k->aead = vb_aead_new();
    return k;
}

static uint32_t add_group(struct vb_keys *k)
{
    VB_GROW(k->groups, k->n, k->cap);
    k->groups[k->n] = vb_secret_alloc(sizeof **k->groups);
    return (uint32_t)k->n++;
}

static uint32_t derive_group(struct vb_keys *k, const uint8_t tag[VB_GROUP_TAG_LEN], const uint8_t secret[VB_KEY_LEN])
{
    uint32_t number = add_group(k);
    struct vb_group *g = k->groups[number];
    memcpy(g->tag, tag, sizeof g->tag);
    vb_prf(secret, "naming", NULL, 0, g->naming);
    vb_prf(secret, "cutter", NULL, 0, g->cutter);
    vb_prf(secret, "write", NULL, 0, g->write);
    vb_prf(secret, "index", NULL, 0, g->index);
    g->namer = vb_namer_new(g->naming);
    return number;
}

static void group_tag(const struct vb_keys *k, const char *name, uint8_t tag[VB_GROUP_TAG_LEN])
{
    uint8_t full[VB_KEY_LEN];
    vb_prf(k->root, "group tag", name, strlen(name), full);
    memcpy(tag, full, VB_GROUP_TAG_LEN);
}

static uint32_t root_group(struct vb_keys *k, const uint8_t tag[VB_GROUP_TAG_LEN])
{
    uint8_t secret[VB_KEY_LEN];
    vb_prf(k->root, "group secret", tag, VB_GROUP_TAG_LEN, secret);
    uint32_t number = derive_group(k, tag, secret);
    vb_wipe(secret, sizeof secret);
    return number;
}

struct vb_keys *vb_keys_format0(const char *repo_id, const uint8_t naming[VB_KEY_LEN],
                                const uint8_t cutter[VB_KEY_LEN])
{
    struct vb_keys *k = keys_new(repo_id, 0, false);
    uint32_t number = add_group(k);
    struct vb_group *g = k->groups[number];
    memcpy(g->naming, naming, VB_KEY_LEN);
    memcpy(g->cutter, cutter, VB_KEY_LEN);
    g->namer = vb_namer_new(naming);
    return k;
}

struct vb_keys *vb_keys_from_root(const char *repo_id, bool sealed, const uint8_t root[VB_KEY_LEN])
{
    struct vb_keys *k = keys_new(repo_id, 1, sealed);
    uint8_t tag[VB_GROUP_TAG_LEN];
    memcpy(k->root, root, VB_KEY_LEN);
    vb_prf(root, "private key", NULL, 0, k->secret);
    vb_prf(root, "configuration", NULL, 0, k->config);
    vb_x25519_public(k->secret, k->pub);
    group_tag(k, "", tag);
    root_group(k, tag);
    return k;
}

int vb_keys_append_export(struct vb_keys *k, const char *group, uint8_t out[VB_KEYS_APPEND_LEN], struct vb_error *err)
{
    if (k->format == 0 || k->append_only)
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key is made with a key that reads");
    uint8_t *tag = out + 2 * VB_KEY_LEN;
    memcpy(out, k->pub, VB_KEY_LEN);
    memcpy(out + VB_KEY_LEN, k->config, VB_KEY_LEN);
    group_tag(k, group, tag);
    vb_prf(k->root, "group secret", tag, VB_GROUP_TAG_LEN, tag + VB_GROUP_TAG_LEN);
    return 0;
}

struct vb_keys *vb_keys_from_append(const char *repo_id, const uint8_t in[VB_KEYS_APPEND_LEN])
{
    struct vb_keys *k = keys_new(repo_id, 1, true);
    k->append_only = true;
    memcpy(k->pub, in, VB_KEY_LEN);
    memcpy(k->config, in + VB_KEY_LEN, VB_KEY_LEN);
    derive_group(k, in + 2 * VB_KEY_LEN, in + 2 * VB_KEY_LEN + VB_GROUP_TAG_LEN);
    return k;
}

void vb_keys_free(struct vb_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++) {
        vb_namer_free(k->groups[i]->namer);
        vb_secret_free(k->groups[i], sizeof **k->groups);
    }
    free(k->groups);
    vb_aead_free(k->aead);
    vb_secret_free(k, sizeof *k);
}

/* ---- looking ---- */

unsigned vb_keys_format(const struct vb_keys *k)
{
    return k->format;
}

bool vb_keys_sealed(const struct vb_keys *k)
{
    return k->sealed;
}

bool vb_keys_append_only(const struct vb_keys *k)
{
    return k->append_only;
}

const uint8_t *vb_keys_root(const struct vb_keys *k)
{
    return k->format && !k->append_only ? k->root : NULL;
}

void vb_keys_salt_packs(struct vb_keys *k)
{
    k->salted = true;
}

void vb_keys_ledger_mac(const struct vb_keys *k, uint32_t group, const void *p, size_t n, uint8_t out[VB_KEY_LEN])
{
    vb_prf(k->groups[group]->write, "ledger", p, n, out);
}

void vb_keys_config_mac(const struct vb_keys *k, const void *p, size_t n, uint8_t out[VB_KEY_LEN])
{
    vb_prf(k->config, "config", p, n, out);
}

bool vb_keys_group_by_tag(struct vb_keys *k, const uint8_t tag[VB_GROUP_TAG_LEN], uint32_t *group)
{
    for (size_t i = 0; i < k->n; i++)
        if (memcmp(k->groups[i]->tag, tag, VB_GROUP_TAG_LEN) == 0) {
            *group = (uint32_t)i;
            return true;
        }
    if (k->format == 0 || k->append_only)
        return false;
    *group = root_group(k, tag);
    return true;
}

bool vb_keys_tag_is(const struct vb_keys *k, const uint8_t tag[VB_GROUP_TAG_LEN], const char *name)
{
    uint8_t want[VB_GROUP_TAG_LEN];
    if (k->format == 0 || k->append_only)
        return false;
    group_tag(k, name, want);
    return memcmp(tag, want, sizeof want) == 0;
}

int vb_keys_group(struct vb_keys *k, const char *name, uint32_t *group, struct vb_error *err)
{
    uint8_t tag[VB_GROUP_TAG_LEN];
    *group = 0;
    if (strlen(name) > VB_GROUP_NAME_MAX)
        return vb_fail(err, VB_E_LIMIT, "name of a trust group is longer than %u bytes", VB_GROUP_NAME_MAX);
    if (k->format == 0 || k->append_only || !*name)
        return 0;
    group_tag(k, name, tag);
    vb_keys_group_by_tag(k, tag, group);
    return 0;
}

const struct vb_group *vb_keys_group_at(const struct vb_keys *k, uint32_t group)
{
    return k->groups[group];
}

size_t vb_keys_group_count(const struct vb_keys *k)
{
    return k->n;
}

/* ---- objects ---- */

static const char *const magics[] = { "VBPK", "VBIX", "VBCE" };
static const char *const kinds[] = { "pack", "index", "entry" };
static const uint8_t versions[] = { VB_OBJECT_VERSION, VB_OBJECT_INDEX_VERSION, VB_OBJECT_VERSION };

static int damaged(enum vb_object_kind kind, struct vb_error *err)
{
    return vb_fail(err, VB_E_CORRUPT, "damaged %s: bad header", kinds[kind]);
}

/* With the private key of either side: ours is the repository's, or the one made for this object. */
static int derive_key(struct vb_keys *k, struct vb_object *o, const uint8_t own[VB_KEY_LEN],
                      const uint8_t peer[VB_KEY_LEN], struct vb_error *err)
{
    const struct vb_group *g = k->groups[o->group];
    uint8_t secret[2 * VB_KEY_LEN], salt[2 * VB_KEY_LEN];
    VB_AUTO_BUF info = VB_BUF_INIT;
    size_t n_secret = VB_KEY_LEN;
    if (o->kind == VB_OBJECT_INDEX) {
        memcpy(secret, g->index, VB_KEY_LEN);
    } else {
        if (vb_x25519(own, peer, secret, err) < 0)
            return -1;
        memcpy(secret + VB_KEY_LEN, g->write, VB_KEY_LEN);
        n_secret = sizeof secret;
    }
    memcpy(salt, o->salt, VB_KEY_LEN);
    memcpy(salt + VB_KEY_LEN, k->pub, VB_KEY_LEN);
    vb_buf_addf(&info, "vbackup %u %s %s ", VB_OBJECT_VERSION, kinds[o->kind], k->id);
    vb_buf_add(&info, g->tag, VB_GROUP_TAG_LEN);
    vb_hkdf(secret, n_secret, salt, sizeof salt, info.data, info.len, o->key);
    vb_wipe(secret, sizeof secret);
    return 0;
}

int vb_object_begin(struct vb_keys *k, enum vb_object_kind kind, uint32_t group, const void *content, size_t n,
                    struct vb_object *o, struct vb_error *err)
{
    uint8_t fresh[VB_KEY_LEN], own[VB_KEY_LEN];
    VB_AUTO_BUF both = VB_BUF_INIT;
    struct vb_name hash;
    memset(o, 0, sizeof *o);
    o->kind = kind;
    o->group = group;
    memcpy(o->tag, k->groups[group]->tag, sizeof o->tag);
    if (!k->sealed)
        return k->salted && kind == VB_OBJECT_PACK ? vb_random(o->salt, sizeof o->salt, err) : 0;
    if (vb_random(fresh, sizeof fresh, err) < 0)
        return -1;
    vb_sha256(content, n, &hash);
    vb_buf_add(&both, fresh, sizeof fresh);
    vb_buf_add(&both, hash.b, sizeof hash.b);
    vb_prf(k->groups[group]->write, "salt", both.data, both.len, own);
    if (kind == VB_OBJECT_INDEX)
        memcpy(o->salt, own, sizeof own);
    else
        vb_x25519_public(own, o->salt);
    int result = derive_key(k, o, own, k->pub, err);
    vb_wipe(own, sizeof own);
    vb_wipe(fresh, sizeof fresh);
    vb_wipe(both.data, both.len);
    return result;
}

void vb_object_end(struct vb_object *o)
{
    vb_wipe(o->key, sizeof o->key);
}

void vb_object_header(const struct vb_keys *k, const struct vb_object *o, struct vb_buf *out)
{
    vb_buf_add(out, magics[o->kind], 4);
    vb_buf_add_u8(out, versions[o->kind]);
    vb_buf_add_u8(out, k->sealed ? VB_SUITE_AES_256_GCM : VB_SUITE_NONE);
    vb_buf_add_u16(out, 0);
    vb_buf_add(out, o->tag, sizeof o->tag);
    vb_buf_add(out, o->salt, sizeof o->salt);
}

int vb_object_recall(struct vb_keys *k, enum vb_object_kind kind, uint32_t group, const uint8_t salt[VB_KEY_LEN],
                     struct vb_object *o, struct vb_error *err)
{
    memset(o, 0, sizeof *o);
    o->kind = kind;
    o->group = group;
    memcpy(o->tag, k->groups[group]->tag, sizeof o->tag);
    memcpy(o->salt, salt, VB_KEY_LEN);
    if (!k->sealed)
        return 0;
    if (k->append_only && kind != VB_OBJECT_INDEX) {
        vb_fail(err, VB_E_ACCESS_DENIED, "this key can add to the repository, and cannot read from it");
        vb_hint(err, "use the password of a key that reads: `vbackup key list` shows which there are");
        return -1;
    }
    return derive_key(k, o, k->secret, o->salt, err);
}

int vb_object_open_header(struct vb_keys *k, enum vb_object_kind kind, const void *bytes, size_t n,
                          struct vb_object *o, struct vb_error *err)
{
    static const uint8_t zero[VB_KEY_LEN];
    const unsigned char *p = bytes;
    uint32_t group = 0;
    if (n < VB_OBJECT_HEADER_LEN || memcmp(p, magics[kind], 4) != 0)
        return damaged(kind, err);
    if (p[4] > versions[kind])
        return vb_fail(err, VB_E_NEWER_FORMAT, "%s of format %u, this program knows up to %u", kinds[kind], p[4],
                       versions[kind]);
    bool salted = k->salted && kind == VB_OBJECT_PACK;
    if (p[4] < VB_OBJECT_VERSION || p[5] != (k->sealed ? VB_SUITE_AES_256_GCM : VB_SUITE_NONE) || p[6] || p[7] ||
        (!k->sealed && !salted && memcmp(p + 8 + VB_GROUP_TAG_LEN, zero, sizeof zero) != 0))
        return damaged(kind, err);
    if (!vb_keys_group_by_tag(k, p + 8, &group))
        return vb_fail(err, VB_E_ACCESS_DENIED, "%s of another trust group", kinds[kind]);
    return vb_object_recall(k, kind, group, p + 8 + VB_GROUP_TAG_LEN, o, err);
}

size_t vb_object_overhead(const struct vb_keys *k)
{
    return k->sealed ? VB_AEAD_TAG_LEN : 0;
}

void vb_object_seal(struct vb_keys *k, const struct vb_object *o, uint32_t nonce, const void *aad, size_t n_aad,
                    const void *p, size_t n, struct vb_buf *out)
{
    if (k->sealed)
        vb_aead_seal(k->aead, o->key, nonce, aad, n_aad, p, n, out);
    else
        vb_buf_add(out, p, n);
}

int vb_object_open(struct vb_keys *k, const struct vb_object *o, uint32_t nonce, const void *aad, size_t n_aad,
                   const void *p, size_t n, struct vb_buf *out, struct vb_error *err)
{
    if (k->sealed)
        return vb_aead_open(k->aead, o->key, nonce, aad, n_aad, p, n, out, err);
    vb_buf_add(out, p, n);
    return 0;
}

int vb_object_write(struct vb_keys *k, enum vb_object_kind kind, uint32_t group, const void *aad, size_t n_aad,
                    const void *p, size_t n, struct vb_buf *out, struct vb_error *err)
{
    struct vb_object o;
    if (vb_object_begin(k, kind, group, p, n, &o, err) < 0)
        return -1;
    vb_object_header(k, &o, out);
    vb_object_seal(k, &o, 0, aad, n_aad, p, n, out);
    vb_object_end(&o);
    return 0;
}

int vb_object_read(struct vb_keys *k, enum vb_object_kind kind, const void *aad, size_t n_aad, const void *p, size_t n,
                   struct vb_object *o, struct vb_buf *out, struct vb_error *err)
{
    const unsigned char *body = (const unsigned char *)p + VB_OBJECT_HEADER_LEN;
    if (vb_object_open_header(k, kind, p, n, o, err) < 0)
        return -1;
    int result = vb_object_open(k, o, 0, aad, n_aad, body, n - VB_OBJECT_HEADER_LEN, out, err);
    vb_object_end(o);
    return result;
}
