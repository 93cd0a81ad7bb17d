/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_forget.c - backups that are to be removed: marks beside their records.
 *
 * forgotten/NAME, with the name of the record, says that a backup is forgotten, when and why.  The backup is not listed and
 * not found any more, and can be called back until a prune has removed the record itself; the mark stays, so that
 * the chain of records has no unexplained gap.  With encryption marks are sealed like records: whoever can write to the
 * storage can remove records, and cannot make it look as if they had been forgotten.  holds/NAME and normal/NAME are
 * made likewise (repository_hold.c).
 */
#include "config.h"
#include "store/repository_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

static const struct { const char *dir, *name, *when; } kinds[] = {
    [VB_MARK_FORGOTTEN] = { "forgotten/", "forgotten", "forgotten_ms" },
    [VB_MARK_HOLD] = { "holds/", "hold", "held_ms" },
    [VB_MARK_NORMAL] = { "normal/", "normal", "accepted_ms" },
};

/* "catalog/X" and "forgotten/X"; caller frees. */
static char *mark_path(enum vb_repo_mark kind, const char *path)
{
    return vb_printf("%s%s", kinds[kind].dir, strchr(path, '/') + 1);
}

static int add_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_take(arg, vb_printf("catalog/%s", strchr(path, '/') + 1));
    return 0;
}

int vb_repo_marked_paths(struct vb_repo *r, enum vb_repo_mark kind, struct vb_strv *paths, struct vb_error *err)
{
    int result = vb_backend_list(r->backend, kinds[kind].dir, add_path, paths, err);
    vb_strv_sort(paths);
    return result;
}

int vb_repo_newest_forgotten(struct vb_repo *r, uint64_t *sequence, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int rc = vb_repo_forgotten_paths(r, &paths, err);
    *sequence = 0;
    for (size_t i = 0; rc == 0 && i < paths.n; i++) {
        uint64_t n;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(paths.v[i], &n, id, &hash) && n > *sequence)
            *sequence = n;
    }
    vb_strv_clear(&paths);
    return rc;
}

int vb_repo_forgotten_paths(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err)
{
    return vb_repo_marked_paths(r, VB_MARK_FORGOTTEN, paths, err);
}

int vb_repo_put_mark(struct vb_repo *r, enum vb_repo_mark kind, const char *path, uint64_t wall_ms, const char *reason,
                     struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_FREE char *mark = mark_path(kind, path);
    AUTO_JSON *o = json_pack("{s:s,s:i,s:I,s:s}", "vbackup", kinds[kind].name, "format_version", 1, kinds[kind].when,
                             (json_int_t)wall_ms, "reason", reason);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text)
        return vb_fail(err, VB_E_USAGE, "reason is not UTF-8 text");
    int result = 0;
    if (vb_keys_sealed(r->keys))
        result = vb_object_write(r->keys, VB_OBJECT_ENTRY, 0, mark, strlen(mark), text, strlen(text), &bytes, err);
    else
        vb_buf_add_str(&bytes, text);
    free(text);
    return result < 0 ? -1 : vb_backend_write(r->backend, mark, bytes.data, bytes.len, err);
}

static int unseal(struct vb_repo *r, const char *mark, const struct vb_buf *bytes, struct vb_buf *plain, struct vb_error *err)
{
    struct vb_object o = { .kind = VB_OBJECT_ENTRY };
    if (!vb_keys_sealed(r->keys)) {
        vb_buf_add(plain, bytes->data, bytes->len);
        return 0;
    }
    if (vb_object_read(r->keys, VB_OBJECT_ENTRY, mark, strlen(mark), bytes->data, bytes->len, &o, plain, err) < 0)
        return -1;
    return vb_keys_tag_is(r->keys, o.tag, "") ? 0 : vb_fail(err, VB_E_CORRUPT, "was written with a write-only key");
}

int vb_repo_read_mark(struct vb_repo *r, enum vb_repo_mark kind, const char *path, uint64_t *wall_ms, char **reason,
                      struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT, plain = VB_BUF_INIT;
    VB_AUTO_FREE char *mark = mark_path(kind, path);
    if (vb_backend_read_all(r->backend, mark, 65536, &bytes, err) < 0)
        return -1;
    int result = unseal(r, mark, &bytes, &plain, err);
    if (result == 0) {
        AUTO_JSON *j = json_loadb((const char *)plain.data, plain.len, JSON_REJECT_DUPLICATES, NULL);
        const json_t *when = json_object_get(j, kinds[kind].when);
        const char *name = json_string_value(json_object_get(j, "vbackup")),
                   *why = json_string_value(json_object_get(j, "reason"));
        if (!name || strcmp(name, kinds[kind].name) != 0 || !json_is_integer(when) || json_integer_value(when) < 0)
            result = vb_fail(err, VB_E_CORRUPT, "damaged mark");
        else
            *wall_ms = (uint64_t)json_integer_value(when);
        if (result == 0 && reason)
            *reason = vb_strdup(why ? why : "");
    }
    if (result < 0)
        vb_context(err, "'%s'", mark);
    return result;
}

int vb_repo_read_forgotten(struct vb_repo *r, const char *path, uint64_t *wall_ms, struct vb_error *err)
{
    return vb_repo_read_mark(r, VB_MARK_FORGOTTEN, path, wall_ms, NULL, err);
}

int vb_repo_remove_mark(struct vb_repo *r, enum vb_repo_mark kind, const char *path, struct vb_error *err)
{
    VB_AUTO_FREE char *mark = mark_path(kind, path);
    return vb_backend_remove(r->backend, mark, err) < 0 ? -1 : vb_backend_barrier(r->backend, err);
}

int vb_repo_is_marked(struct vb_repo *r, enum vb_repo_mark kind, const char *path, struct vb_error *err)
{
    VB_AUTO_FREE char *mark = mark_path(kind, path);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t size;
    if (vb_backend_size(r->backend, mark, &size, &why) == 0)
        return 1;
    return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
}

int vb_repo_may_mark(const struct vb_repo *r, struct vb_error *err)
{
    if (!r->locked)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': no session has begun", r->backend->location);
    if (vb_keys_append_only(r->keys))
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key can forget and hold nothing");
    return 0;
}

int vb_repo_forget(struct vb_repo *r, const struct vb_catalog_entry *e, uint64_t wall_ms, const char *reason,
                   struct vb_error *err)
{
    if (vb_repo_may_mark(r, err) < 0)
        return -1;
    VB_AUTO_FREE char *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t when;
    int held = vb_repo_is_marked(r, VB_MARK_HOLD, path, err);
    if (held > 0) {
        vb_fail(err, VB_E_GUARD, "%.8s is held", e->id);
        vb_hint(err, "release it before: vbackup hold --release %.8s", e->id);
    }
    if (held != 0)
        return -1;
    /* A damaged mark hides nothing, and must not be in the way. */
    if (vb_repo_read_forgotten(r, path, &when, &why) < 0 && why.code == VB_E_CORRUPT &&
        vb_repo_remove_mark(r, VB_MARK_FORGOTTEN, path, err) < 0)
        return -1;
    return vb_repo_put_mark(r, VB_MARK_FORGOTTEN, path, wall_ms, reason, err) < 0 ? -1 : vb_backend_barrier(r->backend, err);
}

/* A prune that has listed what is forgotten, and has not taken effect yet, must begin anew. */
int vb_repo_say_word(struct vb_repo *r, const char *path, struct vb_error *err)
{
    struct vb_name what;
    int result = 1;
    vb_sha256(path, strlen(path), &what);
    while (result > 0) {
        bool unsure = false;
        uint64_t number = 0;
        if (vb_repo_ledger_sync(r, err) < 0 || vb_repo_ledger_next(r, &number, err) < 0)
            return -1;
        result = vb_repo_ledger_append(r, VB_LEDGER_WORD, &what, &unsure, err);
    }
    return result;
}

static int call_back(struct vb_repo *r, const char *path, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_FREE char *mark = mark_path(VB_MARK_FORGOTTEN, path);
    uint64_t size;
    if (vb_repo_ledger_sync(r, err) < 0)
        return -1;
    bool late = vb_strv_has(&r->ledger.state.expired, path) || vb_backend_size(r->backend, path, &size, NULL) < 0;
    if (!late && (vb_backend_read_all(r->backend, mark, 65536, &bytes, err) < 0 ||
                  vb_backend_remove(r->backend, mark, err) < 0 || vb_backend_barrier(r->backend, err) < 0 ||
                  vb_repo_say_word(r, path, err) < 0))
        return -1;
    if (!late && vb_strv_has(&r->ledger.state.expired, path)) { /* a prune came in between */
        late = true;
        vb_backend_write(r->backend, mark, bytes.data, bytes.len, NULL);
    }
    return late ? vb_fail(err, VB_E_NOT_FOUND, "'%s': has been pruned since it was forgotten", path) : 0;
}

int vb_repo_unforget(struct vb_repo *r, const char *which, struct vb_error *err)
{
    struct vb_strv paths = { 0 }, fit = { 0 };
    if (vb_repo_may_mark(r, err) < 0 || vb_repo_forgotten_paths(r, &paths, err) < 0)
        return -1;
    for (size_t i = 0; i < paths.n; i++) {
        uint64_t sequence;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(paths.v[i], &sequence, id, &hash) && strlen(which) >= 4 &&
            strncasecmp(id, which, strlen(which)) == 0)
            vb_strv_add(&fit, paths.v[i]);
    }
    int result = fit.n == 1 ? call_back(r, fit.v[0], err)
                            : vb_fail(err, fit.n ? VB_E_USAGE : VB_E_NOT_FOUND, "'%s': %s", which,
                                      fit.n ? "several forgotten backups begin so" : "no such forgotten backup");
    vb_strv_clear(&paths);
    vb_strv_clear(&fit);
    return result;
}
