/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_state.c - the requester's memory: in a directory, or (simulation) in a table.
 */
#include "requester/run_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"

#define MAX_FILE ((size_t)256 << 20)

/* ---- in a directory ---- */

struct dir_state { int fd; char *path; };

static int make_parents(struct dir_state *d, const char *name, struct vb_error *err)
{
    const char *slash = strrchr(name, '/');
    if (!slash)
        return 0;
    VB_AUTO_FREE char *dir = vb_strndup(name, (size_t)(slash - name));
    return vb_mkdirs_at(d->fd, dir, 0700, err);
}

static int open_folder(struct dir_state *d, const char *name, const char **last, struct vb_error *err)
{
    const char *slash = strrchr(name, '/');
    *last = slash ? slash + 1 : name;
    VB_AUTO_FREE char *dir = slash ? vb_strndup(name, (size_t)(slash - name)) : vb_strdup(".");
    return vb_open_dir_at(d->fd, dir, err);
}

static int dir_save(void *ctx, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct dir_state *d = ctx;
    const char *last;
    if (make_parents(d, name, err) < 0)
        return -1;
    VB_AUTO_FD int fd = open_folder(d, name, &last, err);
    return fd < 0 ? -1 : vb_write_file_at(fd, last, p, n, 0600, err);
}

static int dir_load(void *ctx, const char *name, struct vb_buf *out, struct vb_error *err)
{
    struct dir_state *d = ctx;
    return vb_read_file_at(d->fd, name, MAX_FILE, out, err);
}

static int dir_remove(void *ctx, const char *dir, struct vb_error *err)
{
    struct dir_state *d = ctx;
    const char *last;
    struct stat st;
    if (fstatat(d->fd, dir, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    VB_AUTO_FD int fd = open_folder(d, dir, &last, err);
    return fd < 0 ? -1 : vb_remove_tree_at(fd, last, err);
}

static int dir_list(void *ctx, const char *dir, struct vb_strv *names, struct vb_error *err)
{
    struct dir_state *d = ctx;
    int fd = openat(d->fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : vb_fail_errno(err, errno, "cannot read '%s/%s'", d->path, dir);
    VB_AUTO_DIR DIR *dp = fdopendir(fd);
    if (!dp) {
        int e = errno;
        close(fd);
        return vb_fail_errno(err, e, "cannot read '%s/%s'", d->path, dir);
    }
    for (struct dirent *e; (e = readdir(dp)) != NULL;)
        if (e->d_name[0] != '.')
            vb_strv_add(names, e->d_name);
    vb_strv_sort(names);
    return 0;
}

static struct vb_journal *dir_journal(void *ctx, const char *name, struct vb_error *err)
{
    struct dir_state *d = ctx;
    const char *last;
    if (make_parents(d, name, err) < 0)
        return NULL;
    VB_AUTO_FD int fd = open_folder(d, name, &last, err);
    return fd < 0 ? NULL : vb_journal_open(fd, last, "requester", err);
}

static void dir_journal_close(void *ctx, struct vb_journal *j)
{
    (void)ctx;
    vb_journal_close(j);
}

static void dir_free(void *ctx)
{
    struct dir_state *d = ctx;
    vb_close_fd(&d->fd);
    free(d->path);
    free(d);
}

struct vb_run_state *vb_run_state_dir(const char *path, struct vb_error *err)
{
    VB_AUTO_FREE char *clean = vb_path_clean(path);
    bool root = clean[0] == '/';
    const char *below = root ? clean + 1 : clean;
    VB_AUTO_FD int base = open(root ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) {
        vb_fail_errno(err, errno, "cannot open '%s'", root ? "/" : ".");
        return NULL;
    }
    if (below[0] && vb_mkdirs_at(base, below, 0700, err) < 0) {
        vb_hint(err, "set VBACKUP_STATE_DIR to a directory that you may write to");
        return NULL;
    }
    int fd = vb_open_dir_at(base, below[0] ? below : ".", err);
    if (fd < 0)
        return NULL;
    struct dir_state *d = vb_alloc(sizeof *d);
    d->fd = fd;
    d->path = vb_strdup(clean);
    struct vb_run_state *s = vb_alloc(sizeof *s);
    *s = (struct vb_run_state){ d, dir_save, dir_load, dir_remove, dir_list, dir_journal, dir_journal_close, dir_free };
    return s;
}

char *vb_run_state_path(void)
{
    const char *p = getenv("VBACKUP_STATE_DIR");
    if (p && p[0])
        return vb_path_join(p, "requester");
    if (geteuid() == 0)
        return vb_strdup("/var/lib/vbackup/requester");
    p = getenv("XDG_STATE_HOME");
    if (p && p[0] == '/')
        return vb_path_join(p, "vbackup/requester");
    p = getenv("HOME");
    return vb_path_join(p && p[0] ? p : "/tmp", ".local/state/vbackup/requester");
}

/* ---- in a table ---- */

struct entry { char *name; struct vb_buf data; struct vb_journal *journal; };
struct table { struct entry *v; size_t n, cap; };

static struct entry *find(struct table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->v[i].name, name) == 0)
            return &t->v[i];
    return NULL;
}

static struct entry *find_or_add(struct table *t, const char *name)
{
    struct entry *e = find(t, name);
    if (e)
        return e;
    VB_GROW(t->v, t->n, t->cap);
    e = &t->v[t->n++];
    memset(e, 0, sizeof *e);
    e->name = vb_strdup(name);
    return e;
}

static void free_entry(struct entry *e)
{
    free(e->name);
    vb_buf_clear(&e->data);
    vb_journal_close(e->journal);
}

static int table_save(void *ctx, const char *name, const void *p, size_t n, struct vb_error *err)
{
    (void)err;
    struct entry *e = find_or_add(ctx, name);
    vb_buf_reset(&e->data);
    vb_buf_add(&e->data, p, n);
    return 0;
}

static int table_load(void *ctx, const char *name, struct vb_buf *out, struct vb_error *err)
{
    struct entry *e = find(ctx, name);
    if (!e)
        return vb_fail(err, VB_E_NOT_FOUND, "'%s' does not exist", name);
    if (e->data.len > 0)
        vb_buf_add(out, e->data.data, e->data.len);
    return 0;
}

static int table_remove(void *ctx, const char *dir, struct vb_error *err)
{
    struct table *t = ctx;
    size_t kept = 0;
    (void)err;
    for (size_t i = 0; i < t->n; i++) {
        if (vb_path_below(t->v[i].name, dir))
            free_entry(&t->v[i]);
        else
            t->v[kept++] = t->v[i];
    }
    t->n = kept;
    return 0;
}

static int table_list(void *ctx, const char *dir, struct vb_strv *names, struct vb_error *err)
{
    struct table *t = ctx;
    size_t n = strlen(dir);
    (void)err;
    for (size_t i = 0; i < t->n; i++) {
        const char *s = t->v[i].name;
        if (strncmp(s, dir, n) != 0 || s[n] != '/')
            continue;
        VB_AUTO_FREE char *first = vb_strndup(s + n + 1, strcspn(s + n + 1, "/"));
        if (!vb_strv_has(names, first))
            vb_strv_add(names, first);
    }
    vb_strv_sort(names);
    return 0;
}

static struct vb_journal *table_journal(void *ctx, const char *name, struct vb_error *err)
{
    (void)err;
    struct entry *e = find_or_add(ctx, name);
    if (!e->journal)
        e->journal = vb_journal_memory("requester");
    return e->journal;
}

static void table_journal_close(void *ctx, struct vb_journal *j)
{
    (void)ctx;
    (void)j; /* the next life reads it */
}

static void table_free(void *ctx)
{
    struct table *t = ctx;
    for (size_t i = 0; i < t->n; i++)
        free_entry(&t->v[i]);
    free(t->v);
    free(t);
}

struct vb_run_state *vb_run_state_memory(void)
{
    struct vb_run_state *s = vb_alloc(sizeof *s);
    *s = (struct vb_run_state){ vb_alloc(sizeof(struct table)), table_save, table_load, table_remove, table_list,
                                table_journal, table_journal_close, table_free };
    return s;
}

void vb_run_state_free(struct vb_run_state *s)
{
    if (!s)
        return;
    s->free_ctx(s->ctx);
    free(s);
}

/* ---- runs ---- */

static int see_finished(void *arg, uint64_t seq, const char *record)
{
    (void)seq;
    if (strncmp(record, "finished", 8) == 0)
        *(bool *)arg = true;
    return 0;
}

int vb_run_unfinished(struct vb_run_state *s, struct vb_strv *ids, struct vb_error *err)
{
    struct vb_strv all = { 0 };
    int r = s->list(s->ctx, "runs", &all, err);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        VB_AUTO_FREE char *name = vb_printf("runs/%s/journal", all.v[i]);
        bool finished = false;
        struct vb_journal *j = s->journal(s->ctx, name, err);
        if (!j) {
            r = -1;
            break;
        }
        r = vb_journal_replay(j, see_finished, &finished, err);
        s->journal_close(s->ctx, j);
        if (r == 0 && !finished)
            vb_strv_add(ids, all.v[i]);
        else if (r == 0) /* it died between its last record and the tidying up */
            r = vb_run_forget(s, all.v[i], err);
    }
    vb_strv_clear(&all);
    return r;
}

int vb_run_forget(struct vb_run_state *s, const char *run_id, struct vb_error *err)
{
    if (!vb_guid_valid(run_id))
        return vb_fail(err, VB_E_USAGE, "'%s' is not the id of a run", run_id);
    VB_AUTO_FREE char *dir = vb_printf("runs/%s", run_id);
    return s->remove(s->ctx, dir, err);
}
