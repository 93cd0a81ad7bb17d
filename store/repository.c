/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository.c - making, opening, locking and closing a repository.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

static struct vb_backend *open_backend(const char *location, bool create, struct vb_error *err)
{
    const char *scheme = strstr(location, "://");
    if (!*location) {
        vb_fail(err, VB_E_USAGE, "no repository named");
        vb_hint(err, "name one with --repo or in VBACKUP_REPOSITORY");
        return NULL;
    }
    if (scheme) {
        vb_fail(err, VB_E_NOT_SUPPORTED, "'%s': this version keeps repositories in directories only", location);
        vb_hint(err, "name a directory");
        return NULL;
    }
    return vb_backend_dir_open(location, create, err);
}

/* ---- init ---- */

static int not_empty(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct vb_backend *b = arg;
    (void)size;
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

static int random_key(uint8_t key[VB_CHUNK_KEY_LEN], struct vb_error *err)
{
    if (getrandom(key, VB_CHUNK_KEY_LEN, 0) != (ssize_t)VB_CHUNK_KEY_LEN)
        return vb_fail_errno(err, errno, "cannot get random numbers");
    return 0;
}

int vb_repo_init_on(struct vb_backend *b, const struct vb_repo_params *params, uint64_t wall_ms, struct vb_error *err)
{
    struct vb_repo_info info = { .format = VB_REPO_FORMAT, .created_ms = wall_ms };
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    info.params = params ? *params : VB_REPO_PARAMS_DEFAULT;
    if (check_params(&info.params, err) < 0 || vb_backend_list(b, "", not_empty, b, err) != 0)
        return -1;
    vb_guid_new(info.id);
    if (random_key(info.naming_key, err) < 0 || random_key(info.cutter_seed, err) < 0 ||
        vb_repo_config_encode(&info, &bytes, err) < 0)
        return -1;
    int result = vb_backend_write(b, "config", bytes.data, bytes.len, err);
    if (result == 0)
        result = vb_backend_barrier(b, err);
    vb_wipe(&info, sizeof info);
    vb_wipe(bytes.data, bytes.len);
    return result;
}

int vb_repo_init(const char *location, const struct vb_repo_params *params, uint64_t wall_ms, struct vb_error *err)
{
    struct vb_backend *b = open_backend(location, true, err);
    if (!b)
        return -1;
    int result = vb_repo_init_on(b, params, wall_ms, err);
    vb_backend_close(b);
    return result;
}

/* ---- open ---- */

static int read_config(struct vb_repo *r, struct vb_error *err)
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
    result = vb_repo_config_decode(bytes.data, bytes.len, &r->info, err);
    if (result < 0)
        vb_context(err, "'%s'", r->backend->location);
    vb_wipe(bytes.data, bytes.len);
    return result;
}

struct vb_repo *vb_repo_open_on(struct vb_backend *b, enum vb_repo_mode mode, struct vb_error *err)
{
    struct vb_repo *r = vb_alloc(sizeof *r);
    r->backend = b;
    r->mode = mode;
    r->index = vb_index_new();
    if (read_config(r, err) == 0) {
        r->cutter = vb_cutter_new(&r->info.params.cut, r->info.cutter_seed, err);
        if (r->cutter) {
            r->namer = vb_namer_new(r->info.naming_key);
            r->codec = vb_codec_new(r->info.params.compression);
            if (vb_repo_load_index(r, false, err) == 0)
                return r;
        }
    }
    vb_repo_close(r);
    return NULL;
}

struct vb_repo *vb_repo_open(const char *location, enum vb_repo_mode mode, struct vb_error *err)
{
    struct vb_backend *b = open_backend(location, false, err);
    return b ? vb_repo_open_on(b, mode, err) : NULL;
}

void vb_repo_close(struct vb_repo *r)
{
    if (!r)
        return;
    vb_repo_unlock(r);
    vb_backend_close(r->backend);
    vb_index_free(r->index);
    vb_namer_free(r->namer);
    vb_codec_free(r->codec);
    vb_cutter_free(r->cutter);
    vb_buf_clear(&r->stored);
    vb_buf_clear(&r->plain);
    vb_wipe(r, sizeof *r);
    free(r);
}

const struct vb_repo_info *vb_repo_info(const struct vb_repo *r)
{
    return &r->info;
}

/* ---- lock ---- */

int vb_repo_lock(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err)
{
    char host[256] = "";
    if (r->mode != VB_REPO_WRITE)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': repository is open for reading only", r->backend->location);
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    VB_AUTO_FREE char *since = vb_time_iso(wall_ms);
    VB_AUTO_FREE char *holder = vb_printf("host %s, process %ld, since %s", *host ? host : "unknown", (long)getpid(),
                                          since);
    if (vb_backend_lock(r->backend, holder, err) < 0)
        return -1;
    memset(&r->stats, 0, sizeof r->stats);
    if (vb_repo_load_index(r, true, err) < 0) {
        vb_backend_unlock(r->backend);
        return -1;
    }
    r->locked = true;
    return 0;
}

void vb_repo_unlock(struct vb_repo *r)
{
    vb_repo_drop_open_packs(r);
    if (!r->locked)
        return;
    r->locked = false;
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
