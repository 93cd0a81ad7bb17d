/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository.c - making, opening, locking and closing a repository.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

/* ---- init ---- */

static int not_empty(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct vb_backend *b = arg;
    (void)size;
    if (strncmp(name, "probe/", 6) == 0)
        return 0;
    if (strncmp(name, "keys/", 5) == 0) { /* an init that was interrupted, unless the configuration is there, too */
        uint64_t there;
        return vb_backend_size(b, "config", &there, NULL) < 0 ? 0 : not_empty(arg, "config", 0, err);
    }
    vb_fail(err, VB_E_EXISTS, "'%s': %s", b->location,
            strcmp(name, "config") == 0 ? "is a repository already" : "place of the new repository is not empty");
    vb_hint(err, "use the repository as it is, or name another place");
    return -1;
}

static int check_params(const struct vb_repo_params *p, struct vb_error *err)
{
    static const uint8_t seed[VB_CHUNK_KEY_LEN];
    if (p->compression < 0 || p->compression > 19)
        return vb_fail(err, VB_E_USAGE, "compression level %d: must be 0 to 19", p->compression);
    struct vb_cutter *a = vb_cutter_new(&p->cut, seed, err);
    struct vb_cutter *b = a ? vb_cutter_new(&p->cut_pages, seed, err) : NULL;
    bool ok = b != NULL;
    vb_cutter_free(a);
    vb_cutter_free(b);
    return ok ? 0 : -1;
}

static int gather_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

static void remove_others(struct vb_backend *b, const struct vb_strv *paths, const char *own)
{
    for (size_t i = 0; i < paths->n; i++)
        if (strcmp(paths->v[i], own) != 0)
            vb_backend_remove(b, paths->v[i], NULL);
}

/*
 * The key file first: a repository exists when its configuration does.  That can be made only once: of several who do this
 * at the same time one succeeds; it clears away keys that an interrupted init has left, and the others their own.  So
 * nobody's key is taken from under a configuration.
 */
static int write_first(struct vb_backend *b, const struct vb_repo_params *params, const struct vb_repo_config *c,
                       struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_FREE char *key_path = vb_strdup("");
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    char key_id[VB_GUID_LEN + 1];
    struct vb_keys *keys = vb_keys_from_root(c->info.id, c->sealed, c->root);
    int result = vb_repo_config_encode(c, keys, &bytes, err);
    if (result == 0 && c->sealed) {
        struct vb_repo_key_params p = { params->auth, NULL, NULL, c->info.created_ms, params->key_cost };
        free(key_path);
        key_path = NULL;
        vb_guid_new(key_id);
        result = vb_repo_key_write(b, c->info.id, keys, key_id, &p, &key_path, err);
        if (result == 0)
            result = vb_backend_barrier(b, err);
        if (!key_path)
            key_path = vb_strdup("");
    }
    struct vb_strv keys_before = { 0 };
    if (result == 0)
        result = vb_backend_list(b, "keys/", gather_path, &keys_before, err);
    if (result == 0 && vb_backend_write(b, "config", bytes.data, bytes.len, &why) < 0) {
        if (*key_path && why.code == VB_E_EXISTS)
            vb_backend_remove(b, key_path, NULL);
        if (why.code == VB_E_EXISTS) {
            vb_fail(err, VB_E_EXISTS, "'%s': somebody else has just made a repository there", b->location);
            vb_hint(err, "use that one, or name another place");
            result = -1;
        } else {
            result = vb_error_move(err, &why);
        }
    }
    if (result == 0)
        result = vb_backend_barrier(b, err);
    if (result == 0)
        remove_others(b, &keys_before, key_path);
    vb_strv_clear(&keys_before);
    vb_keys_free(keys);
    vb_wipe(bytes.data, bytes.len);
    return result;
}

int vb_repo_init_on(struct vb_backend *b, const struct vb_repo_params *params, uint64_t wall_ms, struct vb_error *err)
{
    const struct vb_repo_params usual = VB_REPO_PARAMS_DEFAULT;
    if (!params)
        params = &usual;
    if (check_params(params, err) < 0 || vb_backend_list(b, "", not_empty, b, err) != 0)
        return -1;
    struct vb_repo_config *c = vb_secret_alloc(sizeof *c);
    c->info.format = VB_REPO_FORMAT;
    c->info.created_ms = wall_ms;
    c->info.params = *params;
    c->sealed = params->auth != NULL;
    vb_guid_new(c->info.id);
    int result = vb_random(c->root, sizeof c->root, err);
    if (result == 0)
        result = write_first(b, params, c, err);
    if (result == 0 && params->id)
        memcpy(params->id, c->info.id, sizeof c->info.id);
    if (result == 0 && params->memory)
        result = vb_repo_remember_place(params->memory, b, c->info.id, err);
    vb_secret_free(c, sizeof *c);
    return result;
}

int vb_repo_init(const char *location, const struct vb_repo_params *params, uint64_t wall_ms, struct vb_error *err)
{
    struct vb_backend *b = vb_location_open(location, VB_LOCATION_CREATE, params ? params->storage : NULL, err);
    if (!b)
        return -1;
    int result = vb_repo_init_on(b, params, wall_ms, err);
    vb_backend_close(b);
    return result;
}

/* ---- open ---- */

/* An encrypted repository that is suddenly none would take tomorrow's backups in the clear. */
static int refuse_plain(struct vb_repo *r, const struct vb_repo_auth *auth, struct vb_error *err)
{
    if (!auth || !auth->given)
        return 0;
    vb_fail(err, VB_E_GUARD, "'%s': a password is set, but the repository is not encrypted", r->backend->location);
    vb_hint(err, "if it never was, leave out the password (VBACKUP_PASSWORD_FILE, password-file, password-command, "
                 "credential); if it was, somebody has exchanged it");
    return -1;
}

static int open_keys(struct vb_repo *r, const struct vb_repo_config *c, const struct vb_buf *bytes,
                     const struct vb_repo_auth *auth, struct vb_error *err)
{
    if (c->info.format == 0)
        r->keys = vb_keys_format0(c->info.id, c->naming, c->cutter);
    else if (!c->sealed)
        r->keys = vb_keys_from_root(c->info.id, false, c->root);
    else if (auth && auth->root) {
        r->keys = vb_keys_from_root(c->info.id, true, auth->root);
        if (vb_repo_config_verify(bytes->data, bytes->len, r->keys, NULL) < 0)
            return vb_fail(err, VB_E_ACCESS_DENIED, "'%s': the secret does not open this repository", r->backend->location);
    } else if (!(r->keys = vb_repo_key_open(r->backend, c->info.id, auth, r->key_id, err)) ||
             vb_repo_config_verify(bytes->data, bytes->len, r->keys, err) < 0)
        return -1;
    if (!c->sealed && refuse_plain(r, auth, err) < 0)
        return -1;
    if (c->info.format > 1)
        vb_keys_salt_packs(r->keys);
    r->info = c->info;
    r->info.encrypted = c->sealed;
    r->info.append_only = vb_keys_append_only(r->keys);
    const struct vb_group *own = vb_keys_group_at(r->keys, 0);
    memcpy(r->info.naming_key, own->naming, VB_KEY_LEN);
    memcpy(r->info.cutter_seed, own->cutter, VB_KEY_LEN);
    return 0;
}

static int read_config(struct vb_repo *r, const struct vb_repo_auth *auth, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    int result = vb_backend_read_all(r->backend, "config", VB_REPO_CONFIG_MAX, &bytes, &why);
    if (result < 0) {
        if (why.code != VB_E_NOT_FOUND)
            return vb_error_move(err, &why);
        vb_fail(err, VB_E_NOT_FOUND, "'%s': not a vbackup repository", r->backend->location);
        vb_hint(err, "check the path, or make a repository there with: vbackup init --repo %s", r->backend->location);
        return -1;
    }
    struct vb_repo_config *c = vb_secret_alloc(sizeof *c);
    result = vb_repo_config_decode(bytes.data, bytes.len, c, err);
    if (result < 0)
        vb_context(err, "'%s'", r->backend->location);
    else
        result = open_keys(r, c, &bytes, auth, err);
    vb_wipe(bytes.data, bytes.len);
    vb_secret_free(c, sizeof *c);
    return result;
}

struct vb_repo *vb_repo_open_auth_on(struct vb_backend *b, enum vb_repo_mode mode, const struct vb_repo_auth *auth,
                                     struct vb_error *err)
{
    struct vb_repo *r = vb_secret_alloc(sizeof *r);
    r->backend = b;
    r->mode = mode;
    r->index = vb_index_new();
    if (read_config(r, auth, err) == 0) {
        r->cutter = vb_cutter_new(&r->info.params.cut, r->info.cutter_seed, err);
        if (r->cutter) {
            r->codec = vb_codec_new(r->info.params.compression);
            /* Who writes reads it when the session begins, or when something is asked for before: not twice. */
            if ((mode == VB_REPO_WRITE || vb_repo_load_index(r, VB_SCAN_NONE, err) == 0) &&
                (!auth || !auth->memory || vb_repo_recall(r, auth, err) == 0))
                return r;
        }
    }
    vb_repo_close(r);
    return NULL;
}

struct vb_repo *vb_repo_open_on(struct vb_backend *b, enum vb_repo_mode mode, struct vb_error *err)
{
    return vb_repo_open_auth_on(b, mode, NULL, err);
}

struct vb_repo *vb_repo_open_auth(const char *location, enum vb_repo_mode mode, const struct vb_repo_auth *auth,
                                  struct vb_error *err)
{
    struct vb_backend *b = vb_location_open(location, mode == VB_REPO_WRITE ? VB_LOCATION_WRITE : VB_LOCATION_READ,
                                            auth ? auth->storage : NULL, err);
    return b ? vb_repo_open_auth_on(b, mode, auth, err) : NULL;
}

struct vb_repo *vb_repo_open(const char *location, enum vb_repo_mode mode, struct vb_error *err)
{
    return vb_repo_open_auth(location, mode, NULL, err);
}

void vb_repo_close(struct vb_repo *r)
{
    if (!r)
        return;
    vb_repo_unlock(r);
    vb_repo_remember(r);
    free(r->memory);
    free(r->alarm);
    vb_backend_close(r->backend);
    vb_index_free(r->index);
    vb_repo_ledger_clear(&r->ledger);
    vb_keys_free(r->keys);
    vb_codec_free(r->codec);
    vb_cutter_free(r->cutter);
    vb_buf_clear(&r->stored);
    vb_buf_clear(&r->plain);
    vb_buf_clear(&r->sealed);
    vb_secret_free(r, sizeof *r);
}

const struct vb_repo_info *vb_repo_info(const struct vb_repo *r)
{
    return &r->info;
}

int vb_repo_may_remove(const struct vb_repo *r, const char *what, struct vb_error *err)
{
    return vb_backend_may_remove(r->backend, what, err);
}

/* ---- sessions ---- */

/*
 * Several may write at the same time (repository_ledger.c).  In a repository of an older format only one: there, packs
 * without encryption have no salt, and two of the same content the same name.
 */
static int lock_old(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    VB_AUTO_FREE char *since = vb_time_iso(wall_ms);
    VB_AUTO_FREE char *holder = vb_printf("host %s, process %ld, since %s", *host ? host : "unknown", (long)getpid(),
                                          since);
    return vb_backend_lock(r->backend, holder, err);
}

int vb_repo_lock_as(struct vb_repo *r, const char *id, uint64_t wall_ms, struct vb_error *err)
{
    if (r->mode != VB_REPO_WRITE)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': repository is open for reading only", r->backend->location);
    if (r->locked)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': a session has begun already", r->backend->location);
    if (r->info.format < 2 && lock_old(r, wall_ms, err) < 0)
        return -1;
    if (r->info.format > 1)
        vb_backend_sweep(r->backend);
    memset(&r->stats, 0, sizeof r->stats);
    if (vb_repo_lease_begin(r, id, wall_ms, err) < 0 || vb_repo_load_index(r, VB_SCAN_PACKS, err) < 0) {
        vb_repo_lease_end(r);
        if (r->info.format < 2)
            vb_backend_unlock(r->backend);
        return -1;
    }
    r->loaded_prune = r->ledger.prune.number;
    r->locked = true;
    return 0;
}

int vb_repo_lock(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err)
{
    return vb_repo_lock_as(r, NULL, wall_ms, err);
}

void vb_repo_unlock(struct vb_repo *r)
{
    vb_repo_drop_open_packs(r);
    if (!r->locked)
        return;
    r->locked = false;
    vb_repo_lease_end(r);
    if (r->info.format < 2)
        vb_backend_unlock(r->backend);
}

static int count_stored(void *arg, const struct vb_index_hit *hit)
{
    *(uint64_t *)arg += hit->entry.stored_size;
    return 0;
}

void vb_repo_stats(const struct vb_repo *r, struct vb_repo_stats *s)
{
    *s = r->stats;
    s->packs = 0;
    s->stored_bytes = 0;
    for (size_t i = 0; i < vb_index_pack_count(r->index); i++)
        s->packs += !vb_index_pack_at(r->index, (uint32_t)i)->gone && !vb_index_pack_at(r->index, (uint32_t)i)->open;
    s->chunks = vb_index_chunk_count(r->index);
    vb_index_each(r->index, count_stored, &s->stored_bytes);
}
