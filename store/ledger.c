/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/ledger.c - see ledger.h.
 */
#include "config.h"
#include "store/ledger.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const unsigned char magic[4] = { 'V', 'B', 'L', 'G' };
#define MAC_AT (VB_LEDGER_LEN - VB_KEY_LEN)

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

/* ---- names ---- */

static bool digits(const char **p, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < 10; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        *out = *out * 10 + (uint64_t)(c - '0');
    }
    *p += 10;
    return true;
}

static bool begins(const char **p, const char *with)
{
    size_t n = strlen(with);
    if (strncmp(*p, with, n) != 0)
        return false;
    *p += n;
    return true;
}

char *vb_ledger_path(uint64_t number)
{
    return vb_printf("ledger/%010llu", (unsigned long long)number);
}

bool vb_ledger_path_parse(const char *path, uint64_t *number)
{
    return begins(&path, "ledger/") && digits(&path, number) && *number > 0 && !*path;
}

char *vb_state_path(uint64_t number, const struct vb_name *hash)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(hash, hex);
    return vb_printf("state/%010llu-%s", (unsigned long long)number, hex);
}

bool vb_state_path_parse(const char *path, uint64_t *number, struct vb_name *hash)
{
    return begins(&path, "state/") && digits(&path, number) && begins(&path, "-") && vb_name_parse(path, hash);
}

char *vb_lease_path(uint64_t generation, const char *id, uint64_t count)
{
    return vb_printf("leases/%010llu-%s-%010llu", (unsigned long long)generation, id, (unsigned long long)count);
}

bool vb_lease_path_parse(const char *path, uint64_t *generation, char id[VB_GUID_LEN + 1], uint64_t *count)
{
    if (!begins(&path, "leases/") || !digits(&path, generation) || !begins(&path, "-") || strlen(path) < VB_GUID_LEN)
        return false;
    memcpy(id, path, VB_GUID_LEN);
    id[VB_GUID_LEN] = '\0';
    path += VB_GUID_LEN;
    return vb_guid_valid(id) && begins(&path, "-") && digits(&path, count) && !*path;
}

/* ---- records ---- */

void vb_ledger_encode(struct vb_keys *k, uint32_t group, struct vb_ledger_record *rec, struct vb_buf *out)
{
    uint8_t mac[VB_KEY_LEN];
    size_t at = out->len;
    memcpy(rec->tag, vb_keys_group_at(k, group)->tag, sizeof rec->tag);
    vb_buf_add(out, magic, sizeof magic);
    vb_buf_add_u8(out, VB_LEDGER_VERSION);
    vb_buf_add_u8(out, (uint8_t)rec->kind);
    vb_buf_add_u16(out, 0);
    vb_buf_add(out, rec->tag, sizeof rec->tag);
    vb_buf_add_u64(out, rec->number);
    vb_buf_add(out, rec->previous.b, VB_NAME_LEN);
    vb_buf_add(out, rec->what.b, VB_NAME_LEN);
    vb_keys_ledger_mac(k, group, out->data + at, out->len - at, mac);
    vb_buf_add(out, mac, sizeof mac);
    vb_sha256(out->data + at, out->len - at, &rec->hash);
}

static bool same_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
    unsigned differ = 0;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned)(a[i] ^ b[i]);
    return differ == 0;
}

int vb_ledger_decode(struct vb_keys *k, uint64_t number, const void *p, size_t n, struct vb_ledger_record *rec,
                     struct vb_error *err)
{
    const unsigned char *bytes = p, *tag = NULL, *previous = NULL, *what = NULL;
    struct vb_reader r;
    uint8_t version = 0, kind = 0, mac[VB_KEY_LEN];
    uint16_t zero = 0;
    uint32_t group = 0;
    memset(rec, 0, sizeof *rec);
    rec->number = number;
    vb_sha256(p, n, &rec->hash);
    if (n >= 5 && memcmp(bytes, magic, sizeof magic) == 0 && bytes[4] > VB_LEDGER_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "record of format %u, this program knows up to %u", bytes[4],
                       VB_LEDGER_VERSION);
    if (n != VB_LEDGER_LEN || memcmp(bytes, magic, sizeof magic) != 0)
        return vb_fail(err, VB_E_CORRUPT, "record is malformed");
    vb_reader_init(&r, bytes + sizeof magic, n - sizeof magic);
    uint64_t told = 0;
    bool ok = vb_get_u8(&r, &version) && vb_get_u8(&r, &kind) && vb_get_u16(&r, &zero) &&
              vb_get_bytes(&r, VB_GROUP_TAG_LEN, &tag) && vb_get_u64(&r, &told) &&
              vb_get_bytes(&r, VB_NAME_LEN, &previous) && vb_get_bytes(&r, VB_NAME_LEN, &what);
    if (!ok || version != VB_LEDGER_VERSION || zero || kind < VB_LEDGER_BACKUP || kind > VB_LEDGER_WORD || told != number)
        return vb_fail(err, VB_E_CORRUPT, "record is malformed, or of another number");
    if (vb_keys_group_by_tag(k, tag, &group)) {
        vb_keys_ledger_mac(k, group, bytes, MAC_AT, mac);
        if (!same_bytes(mac, bytes + MAC_AT, sizeof mac))
            return vb_fail(err, VB_E_CORRUPT, "record was not made with a key of this repository");
    } else if (!vb_keys_append_only(k)) {
        return vb_fail(err, VB_E_CORRUPT, "record was not made with a key of this repository");
    }
    /* Whoever can only add cannot remove, nor say that something was removed. */
    if (kind != VB_LEDGER_BACKUP && !vb_keys_append_only(k) && vb_keys_format(k) && !vb_keys_tag_is(k, tag, ""))
        return vb_fail(err, VB_E_CORRUPT, "record of a prune was written with a write-only key");
    rec->kind = (enum vb_ledger_kind)kind;
    memcpy(rec->tag, tag, sizeof rec->tag);
    memcpy(rec->previous.b, previous, VB_NAME_LEN);
    memcpy(rec->what.b, what, VB_NAME_LEN);
    return 0;
}

/* ---- the state ---- */

void vb_state_clear(struct vb_state *s)
{
    for (size_t i = 0; i < s->n_leases; i++)
        free(s->leases[i].path);
    free(s->leases);
    free(s->packs);
    vb_strv_clear(&s->expired);
    memset(s, 0, sizeof *s);
}

struct vb_state_pack *vb_state_add_pack(struct vb_state *s, const struct vb_name *name, uint64_t generation,
                                        uint64_t wall_ms, bool doomed)
{
    VB_GROW(s->packs, s->n_packs, s->cap_packs);
    s->packs[s->n_packs] = (struct vb_state_pack){ *name, generation, wall_ms, doomed };
    return &s->packs[s->n_packs++];
}

void vb_state_add_lease(struct vb_state *s, const char *path, uint64_t first_seen_ms)
{
    VB_GROW(s->leases, s->n_leases, s->cap_leases);
    s->leases[s->n_leases++] = (struct vb_state_lease){ vb_strdup(path), first_seen_ms };
}

static int by_name(const void *a, const void *b)
{
    return vb_name_compare(&((const struct vb_state_pack *)a)->name, &((const struct vb_state_pack *)b)->name);
}

void vb_state_sort(struct vb_state *s)
{
    if (s->n_packs > 1)
        qsort(s->packs, s->n_packs, sizeof *s->packs, by_name);
    vb_strv_sort(&s->expired);
}

const struct vb_state_pack *vb_state_find(const struct vb_state *s, const struct vb_name *pack)
{
    struct vb_state_pack key = { .name = *pack };
    return s->n_packs ? bsearch(&key, s->packs, s->n_packs, sizeof key, by_name) : NULL;
}

int vb_state_encode(const struct vb_state *s, struct vb_buf *out, struct vb_error *err)
{
    AUTO_JSON *o = json_object();
    json_t *packs = json_array(), *expired = json_array(), *leases = json_array();
    json_object_set_new(o, "vbackup", json_string("state"));
    json_object_set_new(o, "format_version", json_integer(1));
    json_object_set_new(o, "generation", json_integer((json_int_t)s->generation));
    json_object_set_new(o, "wall_ms", json_integer((json_int_t)s->wall_ms));
    json_object_set_new(o, "packs", packs);
    json_object_set_new(o, "expired", expired);
    json_object_set_new(o, "leases", leases);
    for (size_t i = 0; i < s->n_packs; i++) {
        char hex[VB_NAME_HEX_LEN + 1];
        vb_name_hex(&s->packs[i].name, hex);
        json_array_append_new(packs, json_pack("[s,I,I,b]", hex, (json_int_t)s->packs[i].generation,
                                               (json_int_t)s->packs[i].wall_ms, (int)s->packs[i].doomed));
    }
    for (size_t i = 0; i < s->expired.n; i++)
        json_array_append_new(expired, json_string(s->expired.v[i]));
    for (size_t i = 0; i < s->n_leases; i++)
        json_array_append_new(leases, json_pack("[s,I]", s->leases[i].path, (json_int_t)s->leases[i].first_seen_ms));
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write the state of the repository as JSON");
    vb_buf_add_str(out, text);
    free(text);
    return 0;
}

static bool number(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool get_packs(const json_t *list, struct vb_state *s)
{
    if (!json_is_array(list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);
        struct vb_name name;
        uint64_t generation = 0, wall = 0;
        if (json_array_size(p) != 4 || !vb_name_parse(json_string_value(json_array_get(p, 0)), &name) ||
            !number(json_array_get(p, 1), &generation) || !number(json_array_get(p, 2), &wall) ||
            !json_is_boolean(json_array_get(p, 3)) ||
            (s->n_packs && vb_name_compare(&s->packs[s->n_packs - 1].name, &name) >= 0))
            return false;
        vb_state_add_pack(s, &name, generation, wall, json_is_true(json_array_get(p, 3)));
    }
    return true;
}

static bool get_rest(const json_t *expired, const json_t *leases, struct vb_state *s)
{
    if (!json_is_array(expired) || !json_is_array(leases))
        return false;
    for (size_t i = 0; i < json_array_size(expired); i++) {
        const char *path = json_string_value(json_array_get(expired, i));
        if (!path)
            return false;
        vb_strv_add(&s->expired, path);
    }
    for (size_t i = 0; i < json_array_size(leases); i++) {
        const json_t *l = json_array_get(leases, i);
        const char *path = json_string_value(json_array_get(l, 0));
        uint64_t seen = 0;
        if (json_array_size(l) != 2 || !path || !number(json_array_get(l, 1), &seen))
            return false;
        vb_state_add_lease(s, path, seen);
    }
    return true;
}

int vb_state_decode(const void *p, size_t n, struct vb_state *s, struct vb_error *err)
{
    uint64_t version = 0;
    memset(s, 0, sizeof *s);
    AUTO_JSON *o = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
    const char *kind = json_string_value(json_object_get(o, "vbackup"));
    if (!kind || strcmp(kind, "state") != 0 || !number(json_object_get(o, "format_version"), &version))
        return vb_fail(err, VB_E_CORRUPT, "is not the state of a repository");
    if (version > 1)
        return vb_fail(err, VB_E_NEWER_FORMAT, "state of format %llu, this program knows up to 1",
                       (unsigned long long)version);
    if (!number(json_object_get(o, "generation"), &s->generation) || !number(json_object_get(o, "wall_ms"), &s->wall_ms) ||
        s->generation == 0 || !get_packs(json_object_get(o, "packs"), s) ||
        !get_rest(json_object_get(o, "expired"), json_object_get(o, "leases"), s))
        return vb_fail(err, VB_E_CORRUPT, "state of the repository is malformed");
    return 0;
}
