/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_config.c - the file `config`: what a repository is and, without encryption, its secrets.
 *
 * JSON with a checksum over itself: a damaged seed would not be noticed otherwise until nothing deduplicates any
 * more.  The checksum is the SHA-256 of the compact form with sorted keys and without the checksum and the mac.  With
 * encryption, mac is a keyed hash of the same text: whoever can write to the repository cannot set other parameters.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

static void put_hex(json_t *o, const char *name, const uint8_t key[VB_CHUNK_KEY_LEN])
{
    char hex[VB_NAME_HEX_LEN + 1];
    struct vb_name n;
    memcpy(n.b, key, VB_NAME_LEN);
    vb_name_hex(&n, hex);
    json_object_set_new(o, name, json_string(hex));
    vb_wipe(hex, sizeof hex);
}

static void put_cut(json_t *o, const char *name, const struct vb_cut_params *p)
{
    json_object_set_new(o, name, json_pack("[I,I,I]", (json_int_t)p->min, (json_int_t)p->avg, (json_int_t)p->max));
}

/* What checksum and mac are over; caller frees. */
static char *canonical(const json_t *o)
{
    AUTO_JSON *copy = json_copy((json_t *)(uintptr_t)o);
    json_object_del(copy, "checksum");
    json_object_del(copy, "mac");
    return json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
}

static bool has_hex(const json_t *o, const char *name, const uint8_t want[VB_NAME_LEN])
{
    struct vb_name n;
    return vb_name_parse(json_string_value(json_object_get(o, name)), &n) && memcmp(n.b, want, VB_NAME_LEN) == 0;
}

static bool checksum_ok(const json_t *o)
{
    char *text = canonical(o);
    struct vb_name sum;
    if (!text)
        return false;
    vb_sha256(text, strlen(text), &sum);
    vb_wipe(text, strlen(text));
    free(text);
    return has_hex(o, "checksum", sum.b);
}

static bool add_sums(json_t *o, const struct vb_keys *keys)
{
    char *text = canonical(o);
    struct vb_name sum;
    uint8_t mac[VB_KEY_LEN];
    if (!text)
        return false;
    vb_sha256(text, strlen(text), &sum);
    put_hex(o, "checksum", sum.b);
    if (keys && vb_keys_sealed(keys)) {
        vb_keys_config_mac(keys, text, strlen(text), mac);
        put_hex(o, "mac", mac);
    }
    vb_wipe(text, strlen(text));
    free(text);
    return true;
}

int vb_repo_config_encode(const struct vb_repo_config *c, const struct vb_keys *keys, struct vb_buf *out,
                          struct vb_error *err)
{
    const struct vb_repo_info *info = &c->info;
    AUTO_JSON *o = json_object();
    json_object_set_new(o, "vbackup", json_string("repository"));
    json_object_set_new(o, "format_version", json_integer((json_int_t)info->format));
    json_object_set_new(o, "id", json_string(info->id));
    json_object_set_new(o, "created_ms", json_integer((json_int_t)info->created_ms));
    json_object_set_new(o, "encryption", json_string(c->sealed ? "aes-256-gcm" : "none"));
    if (!c->sealed)
        put_hex(o, "root", c->root);
    json_object_set_new(o, "compression", json_integer(info->params.compression));
    put_cut(o, "cut", &info->params.cut);
    put_cut(o, "cut_pages", &info->params.cut_pages);
    if (!add_sums(o, keys))
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write the repository's configuration as JSON");
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (!text)
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write the repository's configuration as JSON");
    vb_buf_add_str(out, text);
    vb_buf_add_char(out, '\n');
    vb_wipe(text, strlen(text));
    free(text);
    return 0;
}

int vb_repo_config_verify(const void *p, size_t len, const struct vb_keys *keys, struct vb_error *err)
{
    AUTO_JSON *o = json_loadb(p, len, JSON_REJECT_DUPLICATES, NULL);
    char *text = o ? canonical(o) : NULL;
    uint8_t mac[VB_KEY_LEN];
    if (text)
        vb_keys_config_mac(keys, text, strlen(text), mac);
    bool ok = text && has_hex(o, "mac", mac);
    free(text);
    return ok ? 0 : vb_fail(err, VB_E_CORRUPT, "configuration of the repository was altered by somebody without a key");
}

static bool get_u32(const json_t *v, uint32_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
        return false;
    *out = (uint32_t)json_integer_value(v);
    return true;
}

static bool get_cut(const json_t *o, const char *name, struct vb_cut_params *p)
{
    const json_t *v = json_object_get(o, name);
    return json_array_size(v) == 3 && get_u32(json_array_get(v, 0), &p->min) &&
           get_u32(json_array_get(v, 1), &p->avg) && get_u32(json_array_get(v, 2), &p->max);
}

static bool get_key(const json_t *o, const char *name, uint8_t key[VB_CHUNK_KEY_LEN])
{
    struct vb_name n;
    if (!vb_name_parse(json_string_value(json_object_get(o, name)), &n))
        return false;
    memcpy(key, n.b, VB_CHUNK_KEY_LEN);
    return true;
}

static int damaged(struct vb_error *err)
{
    return vb_fail(err, VB_E_CORRUPT, "configuration of the repository is damaged");
}

int vb_repo_config_decode(const void *p, size_t len, struct vb_repo_config *c, struct vb_error *err)
{
    struct vb_repo_info *info = &c->info;
    uint32_t version = 0, level = 0;
    AUTO_JSON *o = json_loadb(p, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(o))
        return damaged(err);
    const char *kind = json_string_value(json_object_get(o, "vbackup"));
    if (!kind || strcmp(kind, "repository") != 0) {
        vb_fail(err, VB_E_NOT_FOUND, "not a vbackup repository");
        vb_hint(err, "check the path; a new repository is made with: vbackup init");
        return -1;
    }
    if (!get_u32(json_object_get(o, "format_version"), &version))
        return damaged(err);
    if (version > VB_REPO_FORMAT) {
        vb_fail(err, VB_E_NEWER_FORMAT, "repository has format %u, this program knows up to format %u", version,
                VB_REPO_FORMAT);
        vb_hint(err, "use a newer vbackup, at least as new as the one that wrote to the repository");
        return -1;
    }
    if (!checksum_ok(o))
        return damaged(err);
    const char *encryption = json_string_value(json_object_get(o, "encryption"));
    c->sealed = version > 0 && encryption && strcmp(encryption, "aes-256-gcm") == 0;
    if (!c->sealed && (!encryption || strcmp(encryption, "none") != 0)) {
        vb_fail(err, VB_E_NEWER_FORMAT, "repository has the encryption '%s', this program knows 'aes-256-gcm' and 'none'",
                encryption ? encryption : "");
        vb_hint(err, "use a newer vbackup");
        return -1;
    }
    const char *id = json_string_value(json_object_get(o, "id"));
    const json_t *created = json_object_get(o, "created_ms");
    if (!id || !vb_guid_valid(id) || !json_is_integer(created) || json_integer_value(created) < 0 ||
        (version == 0 && (!get_key(o, "naming_key", c->naming) || !get_key(o, "cutter_seed", c->cutter))) ||
        (version > 0 && !c->sealed && !get_key(o, "root", c->root)) ||
        !get_u32(json_object_get(o, "compression"), &level) || level > 19 ||
        !get_cut(o, "cut", &info->params.cut) || !get_cut(o, "cut_pages", &info->params.cut_pages))
        return damaged(err);
    memcpy(info->id, id, sizeof info->id);
    info->format = version;
    info->created_ms = (uint64_t)json_integer_value(created);
    info->params.compression = (int)level;
    return 0;
}
