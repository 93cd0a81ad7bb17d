/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_memory.c - what this machine has seen of a repository, so that nobody can take it back unnoticed.
 *
 * Whoever owns the storage can remove its newest files, or set all of it back to an earlier state: what is left is genuine.
 * But each record of the ledger names the one before, so that one number and one hash stand for all that was seen up to
 * there.  They are kept in the state directory, per repository, and held against the ledger whenever the repository is
 * opened; and which repository it was that lay at this place.
 *
 *     seen-<hash of the place>-<id of the repository>:  vbackup memory 1
 *                                                       seen <number> <SHA-256 of that record> <when, ms> accepted <number>
 *     at-<hash of the place>:                           <id of the repository>
 *
 * By place, so that a copy which lies elsewhere and is older is nothing to worry about.  What is missing up to the record "accepted" is so by the administrator's word, and is not asked for again.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#define MEMORY_MAX 4096u

static int refuse(struct vb_repo *r, const char *what, struct vb_error *err)
{
    vb_fail(err, VB_E_GUARD, "'%s': %s", r->backend->location, what);
    vb_hint(err, "somebody has set the storage back, exchanged it, or keeps something from you; if it was restored from a "
                 "copy on purpose, say so with: vbackup accept");
    return -1;
}

/* ---- the ledger in itself ---- */

/* Each record names the one before, and none is missing: behind the one that was accepted. */
static int check_links(struct vb_repo *r, uint64_t accepted, struct vb_error *err)
{
    const struct vb_repo_ledger *l = &r->ledger;
    bool whole = l->first <= 1 || l->first <= accepted || r->info.format < 2;
    for (size_t i = 1; i < l->n && whole; i++)
        whole = l->v[i].number <= accepted ||
                (l->v[i].number == l->v[i - 1].number + 1 &&
                 (l->v[i].kind == VB_LEDGER_UNKNOWN || vb_name_equal(&l->v[i].previous, &l->v[i - 1].hash)));
    return whole ? 0 : refuse(r, "records are missing in the ledger, or were exchanged", err);
}

static int collect(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err)
{
    if (vb_repo_ledger_sync(r, err) < 0 || vb_repo_catalog_paths(r, paths, err) < 0 ||
        vb_repo_forgotten_paths(r, paths, err) < 0 || vb_repo_broken_paths(r, "catalog/", paths, err) < 0 ||
        vb_repo_ledger_sync(r, err) < 0)
        return -1;
    for (size_t i = 0; i < r->ledger.state.expired.n; i++)
        vb_strv_add(paths, r->ledger.state.expired.v[i]);
    vb_strv_sort(paths);
    return 0;
}

/* The first backup behind `accepted` and up to `end` of which neither the entry is there, nor anything that says why not;
 * 0: none. */
static uint64_t first_withheld(const struct vb_repo *r, const struct vb_strv *paths, uint64_t accepted, uint64_t end)
{
    const struct vb_repo_ledger *l = &r->ledger;
    for (size_t i = 0, at = 0; i < l->n && l->v[i].number <= end; i++) {
        bool found = l->v[i].kind != VB_LEDGER_BACKUP || l->v[i].number <= accepted;
        while (!found && at < paths->n) {
            uint64_t number = 0;
            char id[VB_GUID_LEN + 1];
            struct vb_name hash;
            bool parsed = vb_catalog_path_parse(paths->v[at], &number, id, &hash);
            if (parsed && number > l->v[i].number)
                break;
            found = parsed && number == l->v[i].number && vb_name_equal(&hash, &l->v[i].what);
            at++;
        }
        if (!found)
            return l->v[i].number;
    }
    return 0;
}

static int check_entries(struct vb_repo *r, uint64_t accepted, struct vb_error *err)
{
    uint64_t missing = 0;
    for (int again = 0; again < 3; again++) { /* a prune may be at work */
        struct vb_strv paths = { 0 };
        uint64_t end = r->ledger.end;
        int result = collect(r, &paths, err);
        if (result == 0)
            missing = first_withheld(r, &paths, accepted, end);
        vb_strv_clear(&paths);
        if (result < 0)
            return -1;
        if (!missing)
            return 0;
    }
    VB_AUTO_FREE char *what = vb_printf("the record of backup number %llu is missing in the catalog",
                                        (unsigned long long)missing);
    return refuse(r, what, err);
}

/* ---- what was seen ---- */

bool vb_memory_parse(const char *text, struct vb_memory *m)
{
    static const char begin[] = "vbackup memory 1\nseen ";
    struct vb_strv w = { 0 };
    size_t len = strlen(text);
    memset(m, 0, sizeof *m);
    if (len < sizeof begin || strncmp(text, begin, sizeof begin - 1) != 0 || text[len - 1] != '\n')
        return false;
    VB_AUTO_FREE char *line = vb_strndup(text + sizeof begin - 1, len - sizeof begin);
    for (char *p = line, *end; p; p = end ? end + 1 : NULL) {
        end = strchr(p, ' ');
        vb_strv_take(&w, vb_strndup(p, end ? (size_t)(end - p) : strlen(p)));
    }
    bool ok = w.n == 5 && vb_parse_u64(w.v[0], &m->number) && vb_name_parse(w.v[1], &m->hash) &&
              vb_parse_u64(w.v[2], &m->wall_ms) && strcmp(w.v[3], "accepted") == 0 && vb_parse_u64(w.v[4], &m->accepted);
    vb_strv_clear(&w);
    return ok;
}

char *vb_memory_text(const struct vb_memory *m)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(&m->hash, hex);
    return vb_printf("vbackup memory 1\nseen %llu %s %llu accepted %llu\n", (unsigned long long)m->number, hex,
                     (unsigned long long)m->wall_ms, (unsigned long long)m->accepted);
}

static char *hash_of_place(const struct vb_backend *b)
{
    struct vb_name hash;
    char hex[VB_NAME_HEX_LEN + 1];
    VB_AUTO_FREE char *full = strstr(b->location, "://") ? NULL : realpath(b->location, NULL);
    const char *place = full ? full : b->location;
    vb_sha256(place, strlen(place), &hash);
    vb_name_hex(&hash, hex);
    return vb_strndup(hex, 32);
}

/* The file that says which repository lies at a place; caller frees. */
static char *place_name(const struct vb_backend *b)
{
    VB_AUTO_FREE char *hash = hash_of_place(b);
    return vb_printf("at-%s", hash);
}

/* And the one that says what was seen of it. */
static char *seen_name(const struct vb_repo *r)
{
    VB_AUTO_FREE char *hash = hash_of_place(r->backend);
    return vb_printf("seen-%s-%s", hash, r->info.id);
}

/* 1: there is something. */
static int read_seen(const struct vb_repo *r, struct vb_memory *m, struct vb_error *err)
{
    VB_AUTO_FREE char *name = seen_name(r), *path = vb_path_join(r->memory, name);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    memset(m, 0, sizeof *m);
    if (vb_read_file_at(AT_FDCWD, path, MEMORY_MAX, &bytes, &why) < 0)
        return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
    if (!vb_memory_parse(vb_buf_str(&bytes), m)) {
        vb_fail(err, VB_E_CORRUPT, "'%s': what was remembered of the repository is damaged", path);
        vb_hint(err, "look at the repository with `vbackup check`, and if all is well say so with: vbackup accept");
        return -1;
    }
    return 1;
}

static int write_text(const char *dir, const char *name, const char *text, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_path_join(dir, name);
    return vb_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, err);
}

static int write_seen(struct vb_repo *r, uint64_t accepted, struct vb_error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* for a message only */
    struct vb_memory m = { r->ledger.end, (uint64_t)now.tv_sec * 1000u, accepted, r->ledger.end_hash };
    VB_AUTO_FREE char *text = vb_memory_text(&m), *name = seen_name(r);
    return write_text(r->memory, name, text, err);
}

/* *known: it is what was there before. */
static int check_place(struct vb_repo *r, bool *known, struct vb_error *err)
{
    VB_AUTO_FREE char *name = place_name(r->backend), *path = vb_path_join(r->memory, name);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_read_file_at(AT_FDCWD, path, MEMORY_MAX, &bytes, &why) < 0)
        return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
    *known = strncmp(vb_buf_str(&bytes), r->info.id, VB_GUID_LEN) == 0;
    return *known ? 0 : refuse(r, "another repository lies there than before", err);
}

static int check_seen(struct vb_repo *r, const struct vb_memory *m, struct vb_error *err)
{
    if (m->number == 0)
        return 0;
    const struct vb_ledger_record *rec = vb_repo_ledger_at(r, m->number);
    if (rec && vb_name_equal(&rec->hash, &m->hash))
        return 0;
    VB_AUTO_FREE char *when = vb_time_iso(m->wall_ms);
    VB_AUTO_FREE char *what = vb_printf(rec ? "record number %llu of the ledger is not the one that this machine saw on %s"
                                            : "record number %llu of the ledger, which this machine saw on %s, is not there",
                                        (unsigned long long)m->number, when);
    return refuse(r, what, err);
}

void vb_repo_remember(struct vb_repo *r)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_memory m;
    if (!r->memory || !r->ledger.end || (read_seen(r, &m, &why) > 0 && m.number >= r->ledger.end))
        return;
    vb_error_clear(&why);
    if (write_seen(r, m.accepted, &why) < 0)
        vb_log_error(VB_LOG_WARNING, &why);
}

int vb_repo_remember_place(const char *dir, const struct vb_backend *b, const char *id, struct vb_error *err)
{
    VB_AUTO_FREE char *name = place_name(b);
    return vb_mkdirs_at(AT_FDCWD, dir, 0700, err) < 0 ? -1 : write_text(dir, name, id, err);
}

static int hold_against(struct vb_repo *r, bool *place_known, struct vb_error *err)
{
    struct vb_memory m;
    if (check_place(r, place_known, err) < 0 || read_seen(r, &m, err) < 0 ||
        check_seen(r, &m, err) < 0 || check_links(r, m.accepted, err) < 0)
        return -1;
    return check_entries(r, m.accepted, err);
}

static void forget_memory(struct vb_repo *r)
{
    free(r->memory);
    r->memory = NULL;
}

int vb_repo_recall(struct vb_repo *r, const struct vb_repo_auth *auth, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool place_known = false;
    if (vb_repo_ledger_sync(r, err) < 0)
        return -1;
    r->memory = vb_strdup(auth->memory);
    if (hold_against(r, &place_known, &why) < 0) {
        bool amiss = why.code == VB_E_GUARD || why.code == VB_E_CORRUPT;
        if (!amiss || (!auth->accept && !auth->tell)) {
            forget_memory(r);
            return vb_error_move(err, &why);
        }
        r->alarm = vb_strdup(vb_error_text(&why));
        if (!auth->accept) {
            forget_memory(r); /* what is there is not what is to be remembered */
            return 0;
        }
        return vb_repo_remember_place(r->memory, r->backend, r->info.id, err) < 0 ? -1 : write_seen(r, r->ledger.end, err);
    }
    /* A full disk here must not be in the way of a restore. */
    vb_error_clear(&why);
    if (!place_known && vb_repo_remember_place(r->memory, r->backend, r->info.id, &why) < 0) {
        vb_log_error(VB_LOG_WARNING, &why);
        forget_memory(r);
        return 0;
    }
    vb_repo_remember(r);
    return 0;
}

const char *vb_repo_alarm(const struct vb_repo *r)
{
    return r->alarm;
}
