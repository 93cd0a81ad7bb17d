/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/walk.c - the parallel walk.
 *
 * Directories to be read lie on one stack, the innermost first, so that few of them wait at a time.  A waiting directory
 * holds its parent open, and is opened relative to it.  Each thread has its own buffers and its own view of the memory.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tracking/look.h"
#include "tracking/walk.h"

#define MAX_THREADS 8u
#define DENTS ((size_t)64 << 10)
#define WANTED (STATX_TYPE | STATX_MODE | STATX_NLINK | STATX_INO | STATX_SIZE | STATX_MTIME | STATX_CTIME | STATX_MNT_ID)

struct dir { /* kept open for those that wait below it */
    int fd;
    atomic_uint users;
};

struct item {
    struct item *next;
    struct dir *parent; /* NULL: the top */
    size_t name_at;     /* of the last element in path */
    char path[];
};

struct walk {
    const char *look_path;
    const struct vb_walk_options *o;
    struct vb_changes *changes;
    int top;
    uint64_t mount;
    uint32_t dev_major, dev_minor;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct item *stack;
    unsigned busy;
    bool stop;
    bool some; /* directories are compared, not entered */
    atomic_ulong dirs, entries;
};

struct worker {
    struct walk *w;
    struct vb_look *look;
    char *dents;
    unsigned char *seen; /* per entry of the row */
    size_t cap_seen;
    pthread_t thread;
    bool caller;
};

static void leave(struct dir *d)
{
    if (d && atomic_fetch_sub(&d->users, 1) == 1) {
        close(d->fd);
        free(d);
    }
}

static void add(struct walk *w, struct dir *parent, const char *dir_path, const char *name)
{
    size_t n = strlen(dir_path), k = strlen(name);
    struct item *it = vb_alloc(sizeof *it + n + k + 2);
    memcpy(it->path, dir_path, n);
    it->path[n] = '/';
    memcpy(it->path + n + 1, name, k + 1);
    it->name_at = n + 1;
    it->parent = parent;
    atomic_fetch_add(&parent->users, 1);
    pthread_mutex_lock(&w->lock);
    it->next = w->stack;
    w->stack = it;
    if (it->next || w->busy < 2)
        pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static bool same(const struct vb_look_entry *e, const struct statx *x)
{
    const struct vb_look_stat *s = &e->st;
    bool dir = S_ISDIR(x->stx_mode);
    return s->ino == x->stx_ino && s->ctime_sec == x->stx_ctime.tv_sec && s->ctime_nsec == x->stx_ctime.tv_nsec &&
           s->mtime_sec == x->stx_mtime.tv_sec && s->mtime_nsec == x->stx_mtime.tv_nsec && s->mode == x->stx_mode &&
           (dir || (s->size == x->stx_size && s->nlink == x->stx_nlink));
}

static bool same_file_system(const struct walk *w, const struct statx *x)
{
    if (w->mount && (x->stx_mask & STATX_MNT_ID))
        return x->stx_mnt_id == w->mount;
    return x->stx_dev_major == w->dev_major && x->stx_dev_minor == w->dev_minor;
}

static int kind_of(mode_t mode)
{
    return (int)((mode & S_IFMT) >> 12);
}

/* It is not entered, or was not even found: what is known of the directories below it may be out of date. */
static void mark_child(struct walk *w, const char *dir_path, const char *name)
{
    VB_AUTO_FREE char *path = vb_printf("%s/%s", dir_path, name);
    vb_changes_mark_unknown(w->changes, path);
}

/* Whether the entry is as the row says; directories to be entered are put on the stack. */
static bool check_entry(struct walk *w, const struct vb_look_row *row, struct dir *d, const char *path, const char *name,
                        unsigned char type, unsigned char *seen)
{
    struct vb_look_entry e;
    struct statx x;
    size_t i;
    if (!vb_look_row_find(row, name, &i) || seen[i])
        return false;
    seen[i] = 1;
    vb_look_row_get(row, i, &e);
    if ((e.flags & VB_LOOK_SKIPPED) && type != DT_UNKNOWN)
        return type == kind_of(e.st.mode);
    if (statx(d->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, WANTED, &x) < 0) {
        mark_child(w, path, name);
        return false;
    }
    if (e.flags & VB_LOOK_SKIPPED)
        return kind_of(x.stx_mode) == kind_of(e.st.mode);
    if (w->o->original)
        w->o->original(w->o->originals, &x);
    if (S_ISDIR(x.stx_mode) && !same_file_system(w, &x)) {
        mark_child(w, path, name);
        return false; /* whoever looks again says what is left out */
    }
    if (S_ISDIR(x.stx_mode) && S_ISDIR(e.st.mode) && !(e.flags & VB_LOOK_CLOSED) && !w->some)
        add(w, d, path, name);
    return (e.flags & VB_LOOK_TRUSTED) && same(&e, &x);
}

/* Directories that were not met: they may be back when somebody looks again. */
static void mark_unseen(struct worker *k, const struct vb_look_row *row, const char *path)
{
    for (size_t i = 0; i < row->n; i++) {
        struct vb_look_entry e;
        if (k->seen[i])
            continue;
        vb_look_row_get(row, i, &e);
        if (S_ISDIR(e.st.mode))
            mark_child(k->w, path, e.name);
    }
}

/* Whether the directory is as the row says; those below it that are to be entered are put on the stack. */
static bool compare(struct worker *k, const struct vb_look_row *row, struct dir *d, const char *path)
{
    struct walk *w = k->w;
    bool same_all = true;
    size_t n_seen = 0;
    if (row->n > k->cap_seen) {
        k->cap_seen = row->n * 2;
        k->seen = vb_realloc_n(k->seen, k->cap_seen, 1);
    }
    if (row->n)
        memset(k->seen, 0, row->n);
    for (;;) {
        ssize_t n = getdents64(d->fd, k->dents, DENTS);
        if (n < 0) {
            vb_changes_mark_unknown(w->changes, path);
            return false;
        }
        if (n == 0)
            break;
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *e = (const struct dirent64 *)(const void *)(k->dents + at);
            at += e->d_reclen;
            if (e->d_name[0] == '.' && (!e->d_name[1] || (e->d_name[1] == '.' && !e->d_name[2])))
                continue;
            if (!check_entry(w, row, d, path, e->d_name, e->d_type, k->seen))
                same_all = false;
            n_seen++;
        }
    }
    atomic_fetch_add(&w->entries, n_seen);
    if (same_all && n_seen == row->n)
        return true;
    mark_unseen(k, row, path);
    return false;
}

/* A path of the memory, which leads through no link and no mount: what took its place is no directory of ours. */
static int open_path(const struct walk *w, const char *path)
{
    struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
    if (w->o->noatime)
        how.flags |= O_NOATIME;
    int fd = (int)syscall(SYS_openat2, w->top, path, &how, sizeof how);
    if (fd < 0 && errno == EPERM) {
        how.flags &= ~(uint64_t)O_NOATIME;
        fd = (int)syscall(SYS_openat2, w->top, path, &how, sizeof how);
    }
    return fd;
}

static int open_item(const struct walk *w, const struct item *it)
{
    if (w->some)
        return open_path(w, it->path);
    int at = it->parent ? it->parent->fd : w->top, fd = -1;
    const char *name = it->parent ? it->path + it->name_at : ".";
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (w->o->noatime)
        fd = openat(at, name, flags | O_NOATIME);
    return fd >= 0 || (w->o->noatime && errno != EPERM) ? fd : openat(at, name, flags);
}

/* No row: a directory that is new, or not entered, is not for us; one that the row above knows has lost its row. */
static bool not_ours(struct worker *k, const char *path)
{
    struct vb_look_row row;
    struct vb_look_entry e;
    size_t n = vb_changes_parent_len(path), i;
    VB_AUTO_FREE char *above = vb_strndup(path, n);
    if (!k->w->some || n == 0)
        return false;
    if (!vb_look_row(k->look, above, &row))
        return not_ours(k, above);
    if (!vb_look_row_find(&row, path + n + 1, &i))
        return true;
    vb_look_row_get(&row, i, &e);
    return !S_ISDIR(e.st.mode) || (e.flags & (VB_LOOK_SKIPPED | VB_LOOK_CLOSED));
}

static void take(struct worker *k, struct item *it)
{
    struct walk *w = k->w;
    struct vb_look_row row;
    bool known = vb_look_row(k->look, it->path, &row);
    int fd = known ? open_item(w, it) : -1;
    bool clean = false;
    if (!known && not_ours(k, it->path)) {
        clean = true;
    } else if (fd >= 0) {
        struct dir *d = vb_alloc(sizeof *d);
        d->fd = fd;
        d->users = 1;
        clean = compare(k, &row, d, it->path);
        leave(d);
    } else {
        vb_changes_mark_unknown(w->changes, it->path);
    }
    atomic_fetch_add(&w->dirs, 1);
    if (!clean)
        vb_changes_mark(w->changes, it->path);
    leave(it->parent);
    free(it);
}

static void ask_to_go_on(struct worker *k)
{
    struct walk *w = k->w;
    if (k->caller && w->o->go_on && atomic_load(&w->dirs) % 256 == 0 && !w->o->go_on(w->o->arg)) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_broadcast(&w->wake);
        pthread_mutex_unlock(&w->lock);
    }
}

static void *work(void *arg)
{
    struct worker *k = arg;
    struct walk *w = k->w;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->stop && !w->stack && w->busy)
            pthread_cond_wait(&w->wake, &w->lock);
        if (w->stop || !w->stack)
            break;
        struct item *it = w->stack;
        w->stack = it->next;
        w->busy++;
        pthread_mutex_unlock(&w->lock);
        take(k, it);
        ask_to_go_on(k);
        pthread_mutex_lock(&w->lock);
        w->busy--;
    }
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void mark_again(void *arg, const char *path)
{
    vb_changes_mark(arg, path);
}

/* The top's own entry, in the row above it. */
static int check_top(struct walk *w, struct vb_look *look, struct vb_error *err)
{
    struct vb_look_row row;
    struct vb_look_entry e;
    struct statx x;
    size_t i;
    if (statx(w->top, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, WANTED, &x) < 0)
        return vb_fail_errno(err, errno, "directory cannot be examined");
    if (w->o->original)
        w->o->original(w->o->originals, &x);
    w->mount = x.stx_mask & STATX_MNT_ID ? x.stx_mnt_id : 0;
    w->dev_major = x.stx_dev_major;
    w->dev_minor = x.stx_dev_minor;
    if (!vb_look_row(look, "", &row) || row.n != 1 || !vb_look_row_find(&row, ".", &i)) {
        vb_changes_mark(w->changes, "");
        return 0;
    }
    vb_look_row_get(&row, i, &e);
    if (!(e.flags & VB_LOOK_TRUSTED) || !same(&e, &x))
        vb_changes_mark(w->changes, "");
    return 0;
}

static unsigned thread_count(const struct vb_walk_options *o)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = o->threads ? o->threads : cpus < 1 ? 1 : cpus > 4 ? 4 : (unsigned)cpus;
    return n > MAX_THREADS ? MAX_THREADS : n;
}

static void push(struct walk *w, const char *path)
{
    size_t n = strlen(path);
    struct item *it = vb_alloc(sizeof *it + n + 1);
    memcpy(it->path, path, n + 1);
    it->next = w->stack;
    w->stack = it;
}

static void push_path(void *arg, const char *path)
{
    if (path[0])
        push(arg, path);
}

/* paths NULL: the top, and whatever is found below. */
static int start(struct walk *w, struct vb_look *look, const struct vb_strv *paths, struct vb_error *err)
{
    if (vb_look_each_again(look, mark_again, w->changes, err) < 0 || check_top(w, look, err) < 0)
        return -1;
    if (!paths)
        return push(w, "."), 0;
    if (vb_look_each_watched(look, push_path, w, err) < 0)
        return -1;
    for (size_t i = 0; i < paths->n; i++)
        push_path(w, paths->v[i]);
    return 0;
}

static int walk(const char *look_path, int fd, const struct vb_strv *paths, const struct vb_walk_options *o,
                struct vb_changes *changes, struct vb_walk_counts *counts, struct vb_error *err)
{
    struct walk w = { .look_path = look_path, .o = o, .changes = changes, .top = fd, .some = paths != NULL };
    struct worker workers[MAX_THREADS] = { { .w = NULL } };
    unsigned n = thread_count(o), started = 1;
    int rc = 0;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.wake, NULL);
    for (unsigned i = 0; i < n && rc == 0; i++) {
        workers[i] = (struct worker){ .w = &w, .caller = i == 0 };
        workers[i].look = vb_look_reader(look_path, err);
        workers[i].dents = vb_alloc(DENTS);
        rc = workers[i].look ? 0 : -1;
    }
    if (rc == 0)
        rc = start(&w, workers[0].look, paths, err);
    if (rc == 0) {
        while (started < n && pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
            started++;
        work(&workers[0]);
        for (unsigned i = 1; i < started; i++)
            pthread_join(workers[i].thread, NULL);
    }
    for (unsigned i = 0; i < n; i++) {
        vb_look_close(workers[i].look);
        free(workers[i].dents);
        free(workers[i].seen);
    }
    while (w.stack) {
        struct item *it = w.stack;
        w.stack = it->next;
        leave(it->parent);
        free(it);
    }
    pthread_cond_destroy(&w.wake);
    pthread_mutex_destroy(&w.lock);
    counts->dirs = atomic_load(&w.dirs);
    counts->entries = atomic_load(&w.entries);
    if (rc == 0 && w.stop)
        return vb_fail(err, VB_E_CANCELLED, "walk was ended");
    return rc;
}

int vb_walk(const char *look_path, int fd, const struct vb_walk_options *o, struct vb_changes *changes,
            struct vb_walk_counts *counts, struct vb_error *err)
{
    return walk(look_path, fd, NULL, o, changes, counts, err);
}

int vb_walk_some(const char *look_path, int fd, const struct vb_strv *paths, const struct vb_walk_options *o,
                 struct vb_changes *changes, struct vb_walk_counts *counts, struct vb_error *err)
{
    return walk(look_path, fd, paths, o, changes, counts, err);
}
