/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_find.c - from the journal's records to directories of the tree.
 *
 * A file handle leads to a directory as it is called now, on the living file system.  That is its name in the tree too,
 * unless it or one above it was renamed since the last look, or is gone.  Those are known by inode: the tree's directory
 * with such an inode counts as one never seen.  Renames between the questions are asked for once more at the end, so that
 * no name that was true for a moment is taken for the lasting one.
 *
 * What the records name is compared with the memory as the full walk would, so both say the same.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "tracking/journal.h"
#include "tracking/look.h"

struct find {
    const struct vb_journal_source *src;
    struct vb_changes *changes;
    dev_t dev;
    char *top; /* path of the living top */
    struct vb_strv dirs;  /* to be compared */
    uint64_t *inodes;     /* of files whose directories are to be looked up in the memory */
    size_t n_inodes, cap_inodes;
};

static char *path_of(int fd)
{
    VB_AUTO_FREE char *link = vb_printf("/proc/self/fd/%d", fd);
    for (size_t cap = 1024;; cap *= 2) {
        VB_AUTO_FREE char *p = vb_alloc(cap);
        ssize_t n = readlink(link, p, cap);
        if (n < 0 || p[0] != '/')
            return NULL;
        if ((size_t)n < cap) {
            p[n] = 0;
            return VB_STEAL(p);
        }
    }
}

/* Path of the tree for one of the volume; NULL if it lies elsewhere. */
static char *inside(const struct find *f, const char *path)
{
    size_t n = strlen(f->top);
    if (!strcmp(f->top, "/"))
        return path[1] ? vb_printf(".%s", path) : vb_strdup(".");
    if (strncmp(path, f->top, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    return vb_printf(".%s", path + n);
}

static void add_inode(struct find *f, uint64_t ino)
{
    VB_GROW(f->inodes, f->n_inodes, f->cap_inodes);
    f->inodes[f->n_inodes++] = ino;
}

/* A directory's own metadata stand in the one above it. */
static void add_dir(struct find *f, const char *rel)
{
    size_t n = vb_changes_parent_len(rel);
    vb_strv_add(&f->dirs, rel);
    if (n)
        vb_strv_take(&f->dirs, vb_strndup(rel, n));
}

static int open_handle(int at, const struct vb_journal_record *r)
{
    struct file_handle *h = vb_alloc(sizeof *h + VB_JOURNAL_HANDLE_MAX);
    uint32_t type = (uint32_t)r->key[0] << 24 | (uint32_t)r->key[1] << 16 | (uint32_t)r->key[2] << 8 | r->key[3];
    h->handle_bytes = (unsigned)(r->n_key - 4);
    h->handle_type = (int)type;
    memcpy(h->f_handle, r->key + 4, r->n_key - 4);
    int fd = open_by_handle_at(at, h, O_PATH | O_CLOEXEC), e = errno;
    free(h);
    errno = e;
    return fd;
}

static int take_handle(struct find *f, const struct vb_journal_record *r, struct vb_error *err)
{
    struct stat st;
    uint64_t ino;
    VB_AUTO_FD int fd = open_handle(f->src->live, r);
    if (fd < 0 && errno != ESTALE && errno != ENOENT)
        return vb_fail_errno(err, errno, "a directory that the journal names cannot be found");
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0) { /* gone, but perhaps not from the shadow copy */
        if (!vb_journal_handle_ino(r->key, r->n_key, &ino))
            return vb_fail(err, VB_E_NOT_SUPPORTED, "a file handle is of an unknown kind");
        if (r->kind != VB_JOURNAL_FILE)
            vb_changes_mark_moved(f->changes, ino);
        return 0;
    }
    if (!S_ISDIR(st.st_mode)) {
        add_inode(f, st.st_ino);
        return 0;
    }
    VB_AUTO_FREE char *path = path_of(fd), *rel = path ? inside(f, path) : NULL;
    if (!path)
        return vb_fail(err, VB_E_IO, "a directory that the journal names has no path");
    if (!rel)
        return 0;
    add_dir(f, rel);
    /* a shadow copy may hold it with the directory that is gone by now, and with changes below that */
    if (r->kind == VB_JOURNAL_PARENT)
        vb_changes_mark(f->changes, rel);
    return 0;
}

/* An open file: where its path says, if that holds; else wherever the memory has its inode. */
static void take_open(struct find *f, const struct vb_journal_record *r, uint64_t ino)
{
    VB_AUTO_FREE char *path = r->hint ? vb_strndup(r->hint, r->n_hint) : NULL;
    struct stat st;
    if (!path || lstat(path, &st) < 0 || st.st_ino != ino || st.st_dev != f->dev || st.st_nlink != 1) {
        add_inode(f, ino);
        return;
    }
    VB_AUTO_FREE char *rel = inside(f, path);
    size_t n = rel ? vb_changes_parent_len(rel) : 0;
    if (n)
        vb_strv_take(&f->dirs, vb_strndup(rel, n));
}

static int take_records(struct find *f, const struct vb_buf *records, bool moves_only, struct vb_error *err)
{
    struct vb_reader in;
    struct vb_journal_record r;
    int rc;
    vb_reader_init(&in, records->data, records->len);
    while ((rc = vb_journal_record_take(&in, &r)) == 1) {
        uint64_t ino;
        if (vb_journal_key_ino(&r, &ino)) {
            if (r.kind == VB_JOURNAL_MOVED)
                vb_changes_mark_moved(f->changes, ino);
            else if (!moves_only)
                take_open(f, &r, ino);
        } else if (!moves_only && take_handle(f, &r, err) < 0) {
            return -1;
        }
    }
    return rc < 0 ? vb_fail(err, VB_E_CORRUPT, "journal service's records are damaged") : 0;
}

/* The top, or one above it on the volume, was renamed: what lies in the tree may have come with it. */
static int top_stayed(const struct find *f, struct vb_error *err)
{
    struct stat st, last = { .st_ino = 0 };
    VB_AUTO_FD int fd = openat(f->src->live, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (;;) {
        if (fd < 0 || fstat(fd, &st) < 0)
            return vb_fail_errno(err, errno, "directories above cannot be examined");
        if (st.st_dev != f->dev || (st.st_ino == last.st_ino && st.st_dev == last.st_dev))
            return 0;
        if (vb_changes_moved(f->changes, st.st_ino))
            return vb_fail(err, VB_E_BAD_STATE, "a directory above was renamed");
        last = st;
        int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        vb_close_fd(&fd);
        fd = up;
    }
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void add_holder(void *arg, const char *path)
{
    struct find *f = arg;
    vb_strv_add(&f->dirs, path);
}

static int look_up_inodes(struct find *f, const char *look_path, struct vb_error *err)
{
    if (f->n_inodes == 0)
        return 0;
    qsort(f->inodes, f->n_inodes, sizeof *f->inodes, by_number);
    struct vb_look *l = vb_look_reader(look_path, err);
    int rc = l ? vb_look_each_holder(l, f->inodes, f->n_inodes, add_holder, f, err) : -1;
    vb_look_close(l);
    return rc;
}

static void unique(struct vb_strv *v)
{
    size_t n = 0;
    vb_strv_sort(v);
    for (size_t i = 0; i < v->n; i++) {
        if (n && !strcmp(v->v[n - 1], v->v[i]))
            free(v->v[i]);
        else
            v->v[n++] = v->v[i];
    }
    v->n = n;
}

static int find(struct find *f, const struct vb_journal_answer *a, const char *look_path,
                const struct vb_walk_options *o, struct vb_walk_counts *counts, struct vb_error *err)
{
    struct vb_journal_position since = { .since = a->now };
    struct vb_journal_answer more = { .start = 0 };
    struct stat st;
    if (fstat(f->src->live, &st) < 0)
        return vb_fail_errno(err, errno, "directory cannot be examined");
    f->dev = st.st_dev;
    f->top = path_of(f->src->live);
    if (!f->top)
        return vb_fail(err, VB_E_IO, "directory has no path");
    if (take_records(f, &a->records, false, err) < 0 || look_up_inodes(f, look_path, err) < 0)
        return -1;
    memcpy(since.session, a->session, sizeof since.session);
    if (vb_journal_ask(f->src->socket, f->dev, &since, true, &more, err) < 0)
        return -1;
    int rc = more.covered ? take_records(f, &more.records, true, err)
                          : vb_fail(err, VB_E_BAD_STATE, "%s", more.reason ? more.reason : "the journal has a gap");
    vb_journal_answer_clear(&more);
    if (rc < 0 || top_stayed(f, err) < 0)
        return -1;
    unique(&f->dirs);
    return vb_walk_some(look_path, f->src->tree, &f->dirs, o, f->changes, counts, err);
}

int vb_journal_changes(const struct vb_journal_source *src, const struct vb_journal_answer *a, const char *look_path,
                       const struct vb_walk_options *o, struct vb_changes *changes, unsigned long *dirs,
                       struct vb_error *err)
{
    struct find f = { .src = src, .changes = changes };
    struct vb_walk_counts counts = { .dirs = 0 };
    int rc = find(&f, a, look_path, o, &counts, err);
    vb_strv_clear(&f.dirs);
    free(f.top);
    free(f.inodes);
    *dirs = counts.dirs;
    return rc;
}

int vb_journal_mounts(int fd, struct vb_buf *text, struct vb_error *err)
{
    VB_AUTO_FREE char *top = path_of(fd), *line = NULL;
    VB_AUTO_FILE FILE *f = fopen("/proc/self/mountinfo", "re");
    size_t cap = 0, n = top ? strlen(top) : 0;
    if (!top || !f)
        return vb_fail(err, VB_E_IO, "mount table cannot be read");
    while (getline(&line, &cap, f) > 0) {
        int from = 0, at = 0, end = 0;
        if (sscanf(line, "%*u %*u %n%*s %*s %n%*s%n", &from, &at, &end) < 0 || !end)
            return vb_fail(err, VB_E_IO, "mount table is of an unknown form");
        /* blanks stand escaped in it: such a top is compared by what it has in common, more is taken than lies below */
        size_t plain = strcspn(top, " \t\n\\");
        size_t len = (size_t)(end - at);
        bool below = plain < n ? !strncmp(line + at, top, plain)
                     : n == 1  ? len > 1
                               : len > n && !strncmp(line + at, top, n) && line[at + (int)n] == '/';
        if (below) { /* device, root and place */
            vb_buf_add(text, line + from, (size_t)(end - from));
            vb_buf_add_char(text, '\n');
        }
    }
    return 0;
}
