/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_received.c - when the trusted side knew of which backups: received/NUMBER-GUID.
 *
 * The holder of a write-only key tells when its backup was made, and may lie.  Each time a policy is applied, it is noted
 * that all records up to the newest were there by then: between two such notes a backup was received, whatever it says.
 * One file, written anew each time; of several that runs at the same time have left, all count.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define RECEIVED_MAX ((size_t)16 << 20)

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

static bool natural(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

int vb_received_decode(const void *p, size_t len, struct vb_received **v, size_t *n, struct vb_error *err)
{
    AUTO_JSON *o = json_loadb(p, len, JSON_REJECT_DUPLICATES, NULL);
    const char *kind = json_string_value(json_object_get(o, "vbackup"));
    const json_t *seen = json_object_get(o, "seen");
    uint64_t version = 0;
    if (!kind || strcmp(kind, "received") != 0 || !natural(json_object_get(o, "format_version"), &version) || version != 1 ||
        !json_is_array(seen))
        return vb_fail(err, VB_E_CORRUPT, "is not a list of what was received");
    struct vb_received *list = vb_realloc_n(*v, *n + json_array_size(seen) + 1, sizeof *list);
    *v = list;
    for (size_t i = 0; i < json_array_size(seen); i++) {
        const json_t *pair = json_array_get(seen, i);
        if (json_array_size(pair) != 2 || !natural(json_array_get(pair, 0), &list[*n].number) ||
            !natural(json_array_get(pair, 1), &list[*n].wall_ms))
            return vb_fail(err, VB_E_CORRUPT, "list of what was received is malformed");
        ++*n;
    }
    return 0;
}

char *vb_received_encode(const struct vb_received *v, size_t n)
{
    json_t *seen = json_array();
    AUTO_JSON *o = json_pack("{s:s,s:i,s:o}", "vbackup", "received", "format_version", 1, "seen", seen);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(seen, json_pack("[I,I]", (json_int_t)v[i].number, (json_int_t)v[i].wall_ms));
    return json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
}

static int gather(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

static int read_one(struct vb_repo *r, const char *path, struct vb_received **v, size_t *n, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT, plain = VB_BUF_INIT;
    struct vb_object o = { .kind = VB_OBJECT_ENTRY };
    size_t before = *n;
    if (vb_backend_read_all(r->backend, path, RECEIVED_MAX, &bytes, err) < 0)
        return -1;
    int result = vb_object_read(r->keys, VB_OBJECT_ENTRY, path, strlen(path), bytes.data, bytes.len, &o, &plain, err);
    if (result == 0 && !vb_keys_tag_is(r->keys, o.tag, ""))
        result = vb_fail(err, VB_E_CORRUPT, "was written with a write-only key");
    if (result == 0)
        result = vb_received_decode(plain.data, plain.len, v, n, err);
    if (result < 0)
        *n = before;
    return result;
}

/* Without encryption there are no write-only keys, and nobody could tell who has written a list. */
static bool counts(const struct vb_repo *r)
{
    return vb_keys_sealed(r->keys) && !vb_keys_append_only(r->keys);
}

static int read_all(struct vb_repo *r, struct vb_strv *paths, struct vb_received **v, size_t *n, struct vb_error *err)
{
    if (vb_backend_list(r->backend, "received/", gather, paths, err) != 0)
        return -1;
    for (size_t i = 0; i < paths->n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (read_one(r, paths->v[i], v, n, &why) == 0 || why.code == VB_E_NOT_FOUND)
            continue;
        if (why.code != VB_E_CORRUPT && why.code != VB_E_LIMIT)
            return vb_error_move(err, &why);
        vb_context(&why, "'%s/%s'", r->backend->location, paths->v[i]);
        vb_log_error(VB_LOG_WARNING, &why); /* the others count, and the next run makes it anew */
    }
    return 0;
}

int vb_repo_received(struct vb_repo *r, struct vb_received **v, size_t *n, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    *v = NULL;
    *n = 0;
    int result = counts(r) ? read_all(r, &paths, v, n, err) : 0;
    vb_strv_clear(&paths);
    vb_received_tidy(*v, n, NULL, 0);
    return result;
}

static int write_list(struct vb_repo *r, const struct vb_received *v, size_t n, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    char id[VB_GUID_LEN + 1];
    vb_guid_new(id);
    VB_AUTO_FREE char *path = vb_printf("received/%010llu-%s", (unsigned long long)v[n - 1].number, id);
    char *text = vb_received_encode(v, n);
    if (!text)
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write what was received as JSON");
    int result = vb_object_write(r->keys, VB_OBJECT_ENTRY, 0, path, strlen(path), text, strlen(text), &bytes, err);
    free(text);
    if (result < 0 || vb_backend_write(r->backend, path, bytes.data, bytes.len, err) < 0)
        return -1;
    return vb_backend_barrier(r->backend, err);
}

int vb_repo_note_received(struct vb_repo *r, uint64_t wall_ms, const uint64_t *numbers, size_t count, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    VB_AUTO_FREE struct vb_received *v = NULL;
    size_t n = 0;
    if (!counts(r) || !r->ledger.end)
        return 0;
    int result = read_all(r, &paths, &v, &n, err);
    if (result == 0) {
        v = vb_realloc_n(v, n + 1, sizeof *v);
        v[n++] = (struct vb_received){ r->ledger.end, wall_ms };
        vb_received_tidy(v, &n, numbers, count);
        result = write_list(r, v, n, err);
    }
    for (size_t i = 0; i < paths.n && result == 0; i++)
        vb_backend_remove(r->backend, paths.v[i], NULL); /* what stays is merged the next time */
    vb_strv_clear(&paths);
    return result;
}

bool vb_repo_made_write_only(const struct vb_repo *r, uint64_t sequence)
{
    const struct vb_ledger_record *rec = counts(r) ? vb_repo_ledger_at(r, sequence) : NULL;
    return rec && rec->kind == VB_LEDGER_BACKUP && !vb_keys_tag_is(r->keys, rec->tag, "");
}
