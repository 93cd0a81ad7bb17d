/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_memory.c - what this machine has seen of a repository, so that nobody can take it back unnoticed.
 *
 * Whoever owns the storage can remove its newest files, or set all of it back to an earlier state: what is left is genuine.
 * But each record of the ledger names the one before, so that one number and one hash stand for all that was seen up to
 * there.  They are kept in the state directory, per repository, and held against the ledger whenever the repository is
 * opened; and which repository it was that lay at this place.
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

/* Each record names the one before, and none is missing. */
static int check_links(struct vb_repo *r, struct vb_error *err)
{
    const struct vb_repo_ledger *l = &r->ledger;
    bool whole = !l->holes && (l->first <= 1 || r->info.format < 2);
    for (size_t i = 1; i < l->n && whole; i++)
        whole = l->v[i].number == l->v[i - 1].number + 1 &&
                (l->v[i].kind == VB_LEDGER_UNKNOWN || vb_name_equal(&l->v[i].previous, &l->v[i - 1].hash));
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

/* The first backup up to that number of which neither the entry is there, nor anything that says why not; 0: none. */
static uint64_t first_withheld(const struct vb_repo *r, const struct vb_strv *paths, uint64_t end)
{
    const struct vb_repo_ledger *l = &r->ledger;
    for (size_t i = 0, at = 0; i < l->n && l->v[i].number <= end; i++) {
        bool found = l->v[i].kind != VB_LEDGER_BACKUP;
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

static int check_entries(struct vb_repo *r, struct vb_error *err)
{
    uint64_t missing = 0;
    for (int again = 0; again < 3; again++) { /* a prune may be at work */
        struct vb_strv paths = { 0 };
        uint64_t end = r->ledger.end;
        int result = collect(r, &paths, err);
        if (result == 0)
            missing = first_withheld(r, &paths, end);
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

struct seen {
    uint64_t number, wall_ms;
    struct vb_name hash;
};

/* 1: there is something. */
static int read_seen(const char *dir, const char *name, struct seen *s, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_path_join(dir, name);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    char hex[VB_NAME_HEX_LEN + 1] = "", rest = 0;
    unsigned long long number = 0, wall = 0;
    if (vb_read_file_at(AT_FDCWD, path, MEMORY_MAX, &bytes, &why) < 0)
        return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
    if (sscanf(vb_buf_str(&bytes), "vbackup memory 1\nseen %llu %64[0-9a-f] %llu\n%c", &number, hex, &wall, &rest) != 3 ||
        !vb_name_parse(hex, &s->hash)) {
        vb_fail(err, VB_E_CORRUPT, "'%s': what was remembered of the repository is damaged", path);
        vb_hint(err, "look at the repository with `vbackup list`, and if all is well say so with: vbackup accept");
        return -1;
    }
    s->number = number;
    s->wall_ms = wall;
    return 1;
}

static int write_text(const char *dir, const char *name, const char *text, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_path_join(dir, name);
    return vb_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, err);
}

static int write_seen(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(&r->ledger.end_hash, hex);
    VB_AUTO_FREE char *text = vb_printf("vbackup memory 1\nseen %llu %s %llu\n", (unsigned long long)r->ledger.end, hex,
                                        (unsigned long long)wall_ms);
    return write_text(r->memory, r->info.id, text, err);
}

/* The file that says which repository lies at a place; caller frees. */
static char *place_name(struct vb_repo *r)
{
    struct vb_name hash;
    char hex[VB_NAME_HEX_LEN + 1];
    vb_sha256(r->backend->location, strlen(r->backend->location), &hash);
    vb_name_hex(&hash, hex);
    return vb_printf("at-%.32s", hex);
}

static int check_place(struct vb_repo *r, struct vb_error *err)
{
    VB_AUTO_FREE char *name = place_name(r), *path = vb_path_join(r->memory, name);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_read_file_at(AT_FDCWD, path, MEMORY_MAX, &bytes, &why) < 0)
        return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
    const char *text = vb_buf_str(&bytes);
    if (strncmp(text, r->info.id, VB_GUID_LEN) == 0)
        return 0;
    return refuse(r, "another repository lies there than before", err);
}

static int check_seen(struct vb_repo *r, struct vb_error *err)
{
    struct seen s = { 0 };
    int known = read_seen(r->memory, r->info.id, &s, err);
    if (known <= 0)
        return known;
    if (s.number == 0)
        return 0;
    const struct vb_ledger_record *rec = vb_repo_ledger_at(r, s.number);
    if (rec && vb_name_equal(&rec->hash, &s.hash))
        return 0;
    VB_AUTO_FREE char *when = vb_time_iso(s.wall_ms);
    VB_AUTO_FREE char *what = vb_printf(rec ? "record number %llu of the ledger is not the one that this machine saw on %s"
                                            : "record number %llu of the ledger, which this machine saw on %s, is not there",
                                        (unsigned long long)s.number, when);
    return refuse(r, what, err);
}

void vb_repo_remember(struct vb_repo *r)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct seen s = { 0 };
    struct timespec now;
    if (!r->memory || !r->ledger.end || (read_seen(r->memory, r->info.id, &s, &why) > 0 && s.number >= r->ledger.end))
        return;
    clock_gettime(CLOCK_REALTIME, &now); /* for a message only */
    if (write_seen(r, (uint64_t)now.tv_sec * 1000u, &why) < 0)
        vb_log_error(VB_LOG_WARNING, &why);
}

int vb_repo_recall(struct vb_repo *r, const char *dir, bool accept, struct vb_error *err)
{
    VB_AUTO_FREE char *name = NULL;
    if (vb_mkdirs_at(AT_FDCWD, dir, 0700, err) < 0)
        return -1;
    free(r->memory);
    r->memory = vb_strdup(dir);
    if (vb_repo_ledger_sync(r, err) < 0 ||
        (!accept && (check_place(r, err) < 0 || check_seen(r, err) < 0 || check_links(r, err) < 0 ||
                     check_entries(r, err) < 0))) {
        free(r->memory);
        r->memory = NULL;
        return -1;
    }
    name = place_name(r);
    if (write_text(dir, name, r->info.id, err) < 0)
        return -1;
    if (!accept)
        vb_repo_remember(r);
    return accept ? write_seen(r, 0, err) : 0;
}
