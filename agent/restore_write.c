/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_write.c - the walk that writes: directories from the top down, their metadata on the way back.
 *
 * A directory that we make belongs to us alone (0700) until everything in it is done.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/restore_internal.h"
#include "agent/restore_scout.h"
#include "agent/safe_open.h"
#include "base/io.h"

struct frame {
    struct vb_dirscan scan;
    const struct vb_tree_entry *entry; /* of this directory, in the parent's scan */
    bool ours;                         /* its metadata are to be set */
    bool plain;                        /* made by us, and hands nothing down to what is made in it */
    size_t mark;                       /* of r->path */
    size_t ahead;                      /* entries of the current leaf whose chunks were asked for */
    size_t ahead_ref;
    const struct vb_tree_entry *ahead_leaf;
};

struct write {
    struct vb_restore *r;
    struct vb_rst_root *root;
    struct vb_dirstack dirs;
    struct frame *frames;
    size_t n, cap;
    struct vb_rst_scout *scout;
    uint64_t passed; /* entries of the directories below the root, for the scout */
};

/* ---- asking ahead ---- */

/* Not the first name of its inode: it will most likely be linked, and its content is not needed. */
static bool linked_later(struct write *w, const struct vb_tree_entry *e)
{
    if (!e->link_group)
        return false;
    const void *first = vb_idmap_get(&w->r->cur->asked, e->link_group, 0);
    if (!first)
        vb_idmap_set(&w->r->cur->asked, e->link_group, 0, (void *)(uintptr_t)e);
    return first && first != e;
}

/* There already, from an earlier attempt or as it was: it will most likely be kept. */
static bool finished_before(const struct write *w, const struct vb_tree_entry *e)
{
    struct stat st;
    return (w->r->resume || w->r->overwrite) && w->r->namer &&
           fstatat(vb_dirstack_fd(&w->dirs), e->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == e->size;
}

/* Chunks of the next files in this directory, as far as the window allows. Only contents without lists: the others
 * ask for themselves. */
static void look_ahead_here(struct write *w)
{
    struct frame *f = &w->frames[w->n - 1];
    size_t next = 0;
    const struct vb_tree *leaf = vb_dirscan_leaf(&f->scan, &next);
    if (!leaf)
        return;
    if (f->ahead_leaf != leaf->entries) {
        f->ahead_leaf = leaf->entries;
        f->ahead = f->ahead_ref = 0;
    }
    for (; f->ahead < leaf->n; f->ahead++, f->ahead_ref = 0) {
        const struct vb_tree_entry *e = &leaf->entries[f->ahead];
        if (e->type != VB_TREE_FILE || e->content.level || !vb_rst_takes(w->root, e, w->n - 1) || linked_later(w, e) ||
            finished_before(w, e))
            continue;
        for (; f->ahead_ref < e->content.n; f->ahead_ref++)
            if (!vb_chunk_fetcher_want(w->r->in, VB_CHUNK_DATA, &e->content.refs[f->ahead_ref].name,
                                       e->content.refs[f->ahead_ref].size))
                return;
    }
}

static void look_ahead(void *arg)
{
    struct write *w = arg;
    look_ahead_here(w);
    if (w->scout)
        vb_rst_scout_run(w->scout, w->passed);
}

/* How much of the file that is written next was asked for; the rest it asks for itself, so we look behind it. */
static uint32_t pass_ahead(struct frame *f)
{
    size_t next = 0;
    uint32_t announced = UINT32_MAX;
    const struct vb_tree *leaf = vb_dirscan_leaf(&f->scan, &next);
    if (leaf && f->ahead_leaf == leaf->entries && f->ahead < next) {
        announced = f->ahead == next - 1 ? (uint32_t)f->ahead_ref : 0;
        f->ahead = next;
        f->ahead_ref = 0;
    }
    const struct vb_tree_entry *e = leaf ? &leaf->entries[next - 1] : NULL;
    return e && announced > e->content.n ? e->content.n : announced;
}

/* ---- directories ---- */

static int push(struct write *w, const struct vb_tree_entry *e, int fd, bool ours, size_t mark, struct vb_error *err)
{
    struct stat st;
    struct vb_name inner = e->subtree;
    VB_AUTO_FD int dir = fd;
    if (fstat(dir, &st) < 0)
        return vb_fail_errno(err, errno, "cannot be examined");
    VB_GROW(w->frames, w->n, w->cap);
    struct frame *f = &w->frames[w->n];
    memset(f, 0, sizeof *f);
    if (vb_dirscan_open(&f->scan, w->r->in, &inner, false, err) < 0)
        return -1;
    f->entry = e;
    f->ours = ours;
    f->mark = mark;
    w->n++;
    w->root->dirs++;
    vb_dirstack_push(&w->dirs, VB_STEAL_FD(dir), &st);
    return 0;
}

/* Opens or makes the directory `name` in the innermost one. *made: it is new. */
static int open_or_make(struct write *w, const char *name, bool *made, struct vb_error *err)
{
    int dirfd = vb_dirstack_fd(&w->dirs);
    struct stat st;
    for (int tries = 0; tries < 2; tries++) {
        *made = mkdirat(dirfd, name, 0700) == 0;
        if (!*made && errno != EEXIST)
            return vb_fail_errno(err, errno, "directory cannot be made");
        int fd = vb_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd >= 0 && *made && (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0077) ||
                                 !vb_rst_is_empty_dir(fd, NULL))) { /* not the one we made */
            vb_close_fd(&fd);
            return vb_fail(err, VB_E_GUARD, "directory was replaced while it was made");
        }
        if (fd >= 0)
            return fd;
        if ((errno != ENOTDIR && errno != ELOOP) || *made || !w->r->overwrite || tries)
            break;
        if (unlinkat(dirfd, name, 0) < 0) /* a file or link in the way of a directory */
            return vb_fail_errno(err, errno, "cannot be replaced by a directory");
    }
    if (errno == ENOTDIR || errno == ELOOP)
        return vb_fail(err, VB_E_GUARD,
                       "something that is not a directory appeared there while the restore was running");
    return vb_fail_errno(err, errno, "directory cannot be opened");
}

/* The place of another root of this component, made on the way: it is ours to finish. */
static void note_made(struct write *w, int fd)
{
    struct stat st;
    for (size_t i = 0; i < w->r->cur->n_roots; i++) {
        struct vb_rst_root *other = &w->r->cur->roots[i];
        if (other != w->root && !strcmp(other->target, vb_buf_str(&w->r->path)) && fstat(fd, &st) == 0) {
            other->made_dev = st.st_dev;
            other->made_ino = st.st_ino;
        }
    }
}

/* ".vbackup-" 16 hex digits "-" hex digits: vb_rst_leaf's temporary names. */
static bool is_temporary(const char *name)
{
    static const char HEX[] = "0123456789abcdef";
    if (strncmp(name, ".vbackup-", 9) != 0 || strspn(name + 9, HEX) != 16 || name[25] != '-')
        return false;
    size_t n = strspn(name + 26, HEX);
    return n && !name[26 + n];
}

/* What an interrupted attempt left half done in a directory that it had begun. */
static void sweep(int dirfd)
{
    VB_AUTO_FD int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct stat st;
    if (!d)
        return;
    fd = -1; /* the directory's now */
    for (const struct dirent *e; (e = readdir(d));)
        if (is_temporary(e->d_name) && fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            !S_ISDIR(st.st_mode) && st.st_uid == geteuid())
            unlinkat(dirfd, e->d_name, 0);
}

static int take_dir(struct write *w, const struct vb_tree_entry *e, struct vb_error *err)
{
    bool made = false;
    if (w->n >= VB_RST_MAX_DEPTH)
        return vb_fail(err, VB_E_LIMIT, "more than %u directories inside each other", VB_RST_MAX_DEPTH);
    int fd = open_or_make(w, e->name, &made, err);
    if (fd < 0)
        return vb_rst_name_error(w->r, e->name, err);
    if (made)
        vb_rst_early_flags(fd, e);
    size_t mark = vb_rst_enter(w->r, e->name);
    bool plain = made && vb_rst_is_plain(fd);
    if (made)
        note_made(w, fd);
    else if (w->r->resume)
        sweep(fd);
    if (push(w, e, fd, made || w->r->overwrite || w->r->resume, mark, err) < 0)
        return vb_rst_name_error(w->r, NULL, err);
    w->frames[w->n - 1].plain = plain;
    return 0;
}

static int end_dir(struct write *w, struct vb_error *err)
{
    struct frame *f = &w->frames[w->n - 1];
    int rc = 0;
    vb_dirscan_close(&f->scan);
    if (f->ours)
        rc = vb_rst_meta(w->r, vb_dirstack_fd(&w->dirs), false, false, f->entry, NULL, NULL, err);
    if (rc == 0 && vb_dirstack_pop(&w->dirs, err) < 0)
        rc = vb_rst_name_error(w->r, NULL, err);
    vb_rst_leave(w->r, f->mark);
    w->n--;
    return rc;
}

static int walk(struct write *w, struct vb_error *err)
{
    while (w->n) {
        struct frame *f = &w->frames[w->n - 1];
        const struct vb_tree_entry *e;
        int rc = vb_dirscan_next(&f->scan, &e, err);
        if (rc < 0)
            return vb_rst_name_error(w->r, NULL, err);
        if (rc == 0) {
            if (end_dir(w, err) < 0)
                return -1;
            continue;
        }
        w->passed++;
        if (!vb_rst_takes(w->root, e, w->n - 1))
            continue;
        look_ahead(w);
        w->r->plain = f->plain;
        struct vb_rst_ahead ahead = { pass_ahead(f), look_ahead, w };
        if ((e->type == VB_TREE_DIR ? take_dir(w, e, err)
                                    : vb_rst_leaf(w->r, vb_dirstack_fd(&w->dirs), e, e->name, &ahead, err)) < 0)
            return -1;
    }
    return 0;
}

/* ---- the root ---- */

static int single(struct write *w, const struct vb_tree_entry *e, struct vb_error *err)
{
    VB_AUTO_FREE char *dir = NULL, *base = NULL;
    struct stat st;
    vb_rst_split(w->root->target, &dir, &base);
    vb_buf_reset(&w->r->path);
    vb_buf_add_str(&w->r->path, dir);
    VB_AUTO_FD int fd = vb_safe_open_inside(w->r->base, dir, true, NULL, NULL, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be examined", dir);
    int at = fd;
    if (w->r->resume)
        sweep(fd);
    vb_dirstack_push(&w->dirs, VB_STEAL_FD(fd), &st);
    if (!base[0] || !strcmp(base, ".") || !strcmp(base, ".."))
        return vb_fail(err, VB_E_USAGE, "'%s' is not the name of a file", w->root->target);
    w->r->plain = false;
    struct vb_rst_ahead nothing = { 0, NULL, NULL };
    if (vb_rst_leaf(w->r, at, e, base, &nothing, err) < 0)
        return -1;
    return vb_rst_sync(w->r, at, err) < 0 ? vb_rst_name_error(w->r, NULL, err) : 0;
}

static int tree(struct write *w, const struct vb_tree_entry *e, struct vb_error *err)
{
    bool made = false;
    int fd = vb_safe_open_inside(w->r->base, w->root->target, true, &made, NULL, err);
    if (fd < 0)
        return -1;
    VB_AUTO_FD int sync_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    bool whole = !w->root->filespec || w->root->recursive;
    struct stat st;
    if (!made && w->root->made_ino && fstat(fd, &st) == 0)
        made = st.st_ino == w->root->made_ino && st.st_dev == w->root->made_dev;
    if (!made && w->r->resume)
        sweep(fd);
    bool ours = made || (whole && (w->root->empty_before || w->r->overwrite || w->r->resume));
    w->scout = vb_rst_scout_new(w->r, w->root, &e->subtree);
    if (push(w, e, fd, ours, w->r->path.len, err) < 0 || walk(w, err) < 0)
        return -1;
    vb_rst_scout_free(VB_STEAL(w->scout));
    return vb_rst_sync(w->r, sync_fd, err) < 0 ? vb_rst_name_error(w->r, NULL, err) : 0;
}

static void write_clear(struct write *w)
{
    vb_rst_scout_free(w->scout);
    while (w->n)
        vb_dirscan_close(&w->frames[--w->n].scan);
    vb_free_ptr(&w->frames);
    vb_dirstack_clear(&w->dirs);
}

static int write_root(struct vb_restore *r, struct vb_rst_root *root, struct vb_error *err)
{
    VB_CLEANUP(write_clear) struct write w = { .r = r, .root = root };
    struct vb_dirscan top = { .n = 0 };
    const struct vb_tree_entry *e = NULL;
    r->root = root;
    vb_buf_reset(&r->path);
    vb_buf_add_str(&r->path, root->target);
    int rc = vb_rst_root_entry(r, root, &top, &e, err);
    if (rc < 0)
        vb_context(err, "'%s'", root->path);
    r->cur->touched = true;
    if (rc == 0)
        rc = e->type == VB_TREE_DIR ? tree(&w, e, err) : single(&w, e, err);
    vb_dirscan_close(&top);
    return rc;
}

int vb_rst_write(struct vb_restore *r, struct vb_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->cur->n_roots && rc == 0; i++)
        rc = write_root(r, &r->cur->roots[i], err);
    vb_rst_links_end(r);
    vb_idmap_clear(&r->cur->asked, NULL);
    return rc;
}
