/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_walk.c - the walk through the directories of a file set, and their tree objects from the bottom up.
 *
 * Depth costs neither C stack nor descriptors: frames lie in an array, and only the innermost VB_CAP_OPEN_DIRS keep
 * their directory open.  The way back to one that was closed is ".." from its child, believed only if device and
 * inode are those that were seen on the way down.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/capture_internal.h"
#include "base/text.h"

#define VB_CAP_OPEN_DIRS 64u
#define VB_CAP_MAX_DEPTH 100000u
#define EMPTY_SUBVOLUME_INODE 2 /* what btrfs shows in a snapshot where a nested subvolume was */

struct child {
    unsigned char kind; /* d_type */
    char name[];
};

struct frame {
    int fd; /* -1: closed meanwhile */
    dev_t dev;
    ino_t ino;
    uint64_t mount;
    size_t path_len; /* of c->path without this directory */
    struct child **children;
    size_t n_children, next;
    struct vb_tree_writer *tree;
    struct vb_tree_entry last; /* the entry that comes next into the tree; a directory's lacks its subtree until it ends */
    bool has_last;
    struct vb_cap_dir look;
};

struct walk {
    struct vb_capture *c;
    struct frame *frames;
    size_t n, cap;
    bool is_btrfs;
    bool matched, excluded; /* for a named file (B-50) */
    bool filtered;          /* the set's rules hold: it does not name one file */
};

static void frame_clear(struct frame *f)
{
    vb_close_fd(&f->fd);
    for (size_t i = 0; i < f->n_children; i++)
        vb_free_ptr(&f->children[i]);
    vb_free_ptr(&f->children);
    vb_cap_entry_clear(&f->last);
    vb_tree_writer_free(f->tree);
    f->tree = NULL;
    vb_cap_dir_clear(&f->look);
}

static void walk_clear(struct walk *w)
{
    while (w->n)
        frame_clear(&w->frames[--w->n]);
    vb_free_ptr(&w->frames);
}

static int by_name(const void *a, const void *b)
{
    const struct child *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int read_children(struct frame *f, struct vb_error *why)
{
    VB_AUTO_FREE char *buf = vb_alloc(64 * 1024);
    size_t cap = 0;
    for (;;) {
        ssize_t n = getdents64(f->fd, buf, 64 * 1024);
        if (n == 0)
            break;
        if (n < 0)
            return vb_fail_errno(why, errno, "directory cannot be read");
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const struct dirent64 *)(const void *)(buf + at);
            at += d->d_reclen;
            if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
                continue;
            size_t len = strlen(d->d_name) + 1;
            struct child *k = vb_alloc(sizeof *k + len);
            k->kind = d->d_type;
            memcpy(k->name, d->d_name, len);
            VB_GROW(f->children, f->n_children, cap);
            f->children[f->n_children++] = k;
        }
    }
    if (f->n_children)
        qsort(f->children, f->n_children, sizeof *f->children, by_name);
    return 0;
}

#define CACHE_TAG "CACHEDIR.TAG"
#define CACHE_SIGNATURE "Signature: 8a477f597d28d172789f06886806bc55"

/* https://bford.info/cachedir: the name alone says nothing. */
static bool is_cache_tag(struct vb_capture *c, int dirfd)
{
    struct stat st;
    char begin[sizeof CACHE_SIGNATURE - 1];
    if (fstatat(dirfd, CACHE_TAG, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return false;
    VB_AUTO_FD int fd = vb_cap_open(c, dirfd, CACHE_TAG, &st, 0);
    return fd >= 0 && pread(fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin &&
           !memcmp(begin, CACHE_SIGNATURE, sizeof begin);
}

static struct child **find_child(struct frame *f, const char *name)
{
    struct child *key = vb_alloc(sizeof *key + strlen(name) + 1);
    memcpy(key->name, name, strlen(name) + 1);
    struct child **found = f->n_children ? bsearch(&key, f->children, f->n_children, sizeof *f->children, by_name) : NULL;
    free(key);
    return found;
}

/* A directory that is marked as not to be saved keeps its mark: whoever finds it restored sees why it is empty. */
static void keep_marker_only(struct walk *w, struct frame *f)
{
    const struct vb_path_filter *rules = &w->c->set->filter;
    struct child **mark = NULL;
    if (!w->filtered || !f->n_children)
        return;
    if (rules->caches && (mark = find_child(f, CACHE_TAG)) && !is_cache_tag(w->c, f->fd))
        mark = NULL;
    for (size_t i = 0; !mark && i < rules->markers.n; i++)
        mark = find_child(f, rules->markers.v[i]);
    if (!mark)
        return;
    struct child *kept = *mark;
    *mark = NULL;
    for (size_t i = 0; i < f->n_children; i++) {
        struct stat kind = { .st_mode = f->children[i] ? (mode_t)DTTOIF(f->children[i]->kind) : 0 };
        if (f->children[i])
            vb_cap_dir_behind_mark(w->c, &f->look, f->children[i]->name, &kind);
    }
    for (size_t i = 0; i < f->n_children; i++)
        vb_free_ptr(&f->children[i]);
    f->children[0] = kept;
    f->n_children = 1;
    w->c->cur->left_dirs++;
}

/* What the rules say of one child: left out, and counted. */
static bool left_out(struct walk *w, struct frame *f, const char *dir, const char *name, const struct stat *st)
{
    struct vb_path_filter *rules = &w->c->set->filter;
    if (!w->filtered)
        return false;
    bool by_name = vb_path_filter_drops(rules, dir, name, S_ISDIR(st->st_mode));
    if (!by_name && !(S_ISREG(st->st_mode) && rules->larger_than && (uint64_t)st->st_size > rules->larger_than))
        return false;
    if (by_name)
        vb_cap_dir_skipped(w->c, &f->look, name, st, VB_LOOK_LEFT);
    else
        vb_cap_dir_left(w->c, &f->look, name, st);
    if (S_ISDIR(st->st_mode))
        w->c->cur->left_dirs++;
    else
        w->c->cur->left_files++;
    return true;
}

static uint64_t mount_of(int dirfd, const char *name)
{
    struct statx sx;
    if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 ||
        !(sx.stx_mask & STATX_MNT_ID))
        return 0;
    return sx.stx_mnt_id;
}

/* Takes over fd. The directory's name is already at the end of c->path. */
static struct frame *push(struct walk *w, int fd, const struct stat *st, size_t path_len)
{
    VB_GROW(w->frames, w->n, w->cap);
    struct frame *f = &w->frames[w->n++];
    *f = (struct frame){ .fd = fd, .dev = st->st_dev, .ino = st->st_ino, .path_len = path_len };
    f->mount = mount_of(fd, "");
    if (w->n > VB_CAP_OPEN_DIRS)
        vb_close_fd(&w->frames[w->n - VB_CAP_OPEN_DIRS - 1].fd);
    return f;
}

/* Opens the parent of a directory that ends, if it was closed on the way down. */
static int reopen_parent(const struct vb_capture *c, struct frame *parent, int child_fd, struct vb_error *why)
{
    struct stat st;
    if (parent->fd >= 0)
        return 0;
    VB_AUTO_FD int fd = openat(child_fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(why, errno, "parent directory cannot be opened again");
    vb_cap_originals_stat(c->originals, &st);
    if (st.st_dev != parent->dev || st.st_ino != parent->ino)
        return vb_fail(why, VB_E_FILE_CHANGED, "directory was moved while it was read");
    parent->fd = VB_STEAL_FD(fd);
    return 0;
}

/* What was taken last goes into the tree.  Children come in the order of their names, so nothing is kept longer. */
static int flush(struct walk *w, struct frame *f, struct vb_error *err)
{
    if (!f->has_last)
        return 0;
    if (!f->tree)
        f->tree = vb_tree_writer_new(vb_chunk_sender_emit, w->c->out);
    int rc = vb_tree_writer_add(f->tree, &f->last, err);
    if (rc == 0)
        vb_cap_dir_entry(w->c, &f->look, &f->last);
    vb_cap_entry_clear(&f->last);
    f->has_last = false;
    return rc;
}

static int finish_tree(struct walk *w, struct frame *f, struct vb_name *name, struct vb_error *err)
{
    if (flush(w, f, err) < 0)
        return -1;
    if (!f->tree)
        f->tree = vb_tree_writer_new(vb_chunk_sender_emit, w->c->out);
    return vb_tree_writer_finish(f->tree, name, err);
}

/* An ordinary user's backup of files holds what he may read, and says what it left out.  Data of an application, and a
 * file that was named, are needed whole (B-50, B-54). */
static bool may_be_left_out(const struct vb_capture *c, const struct vb_error *why)
{
    return why->code == VB_E_ACCESS_DENIED && geteuid() != 0 && !c->cur->database &&
           (!c->set->filespec || vb_readset_is_pattern(c->set->filespec));
}

/* An entry that failed or vanished: -1 only when the stream is lost. */
static int not_taken(struct walk *w, const char *name, enum vb_cap_result rc, struct vb_error *why,
                     struct vb_error *err)
{
    if (rc == VB_CAP_VANISHED)
        return vb_cap_warn_path(w->c, name, VB_E_FILE_CHANGED, "vanished before it could be read", err);
    if (name && may_be_left_out(w->c, why))
        return vb_cap_warn_path(w->c, name, why->code, "this user may not read it, and it was left out", err);
    return vb_cap_fail_path(w->c, name, why, err);
}

static int take_leaf(struct walk *w, const char *name, const struct stat *st, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct frame *f = &w->frames[w->n - 1];
    struct vb_tree_entry *e = &f->last;
    if (flush(w, f, err) < 0)
        return -1;
    if (vb_cap_dir_reuse(w->c, &f->look, name, st, e)) {
        f->has_last = true;
        return vb_cap_progress(w->c, false, err);
    }
    w->c->dir = &f->look;
    enum vb_cap_result rc = vb_cap_leaf(w->c, f->fd, name, st, e, &why);
    w->c->dir = NULL;
    if (rc == VB_CAP_LOST)
        return vb_error_move(err, &why);
    if (rc != VB_CAP_TAKEN)
        return not_taken(w, name, rc, &why, err);
    f->has_last = true;
    vb_cap_dir_took(w->c, &f->look, name, st, false, e->size);
    w->c->root->files++;
    w->c->root->bytes += e->size;
    w->c->files++;
    return vb_cap_progress(w->c, false, err);
}

/* A directory's own entry; its subtree is set when it ends. */
static enum vb_cap_result dir_entry(struct vb_capture *c, const char *name, int fd, const struct stat *st,
                                    struct vb_tree_entry *e, struct vb_error *why)
{
    vb_cap_entry_stat(c, e, name, st);
    if (vb_cap_entry_attrs(c, e, fd, false, why) == 0)
        return VB_CAP_TAKEN;
    vb_cap_entry_clear(e);
    return VB_CAP_FAILED;
}

/* A file system that begins here belongs to another volume, unless another file set of the component says so too. */
static bool is_file_set(const struct vb_capture *c, const char *path)
{
    for (size_t i = 0; i < c->cur->n_filesets; i++)
        if (!strcmp(c->cur->filesets[i].path, path))
            return true;
    return false;
}

/* File systems that only show what the kernel knows: nobody expects them in a backup. */
static bool no_data(int fd, const char *path)
{
    static const unsigned long KINDS[] = {
        0x9fa0 /* proc */, 0x62656572 /* sysfs */, 0x1cd1 /* devpts */, 0x27e0eb /* cgroup */, 0x63677270 /* cgroup2 */,
        0x64626720 /* debugfs */, 0x74726163 /* tracefs */, 0x73636673 /* securityfs */, 0xcafe4a11 /* bpf */,
        0x6165676c /* pstore */, 0x19800202 /* mqueue */, 0x958458f6 /* hugetlbfs */, 0x62656570 /* configfs */,
        0xde5e81e4 /* efivarfs */, 0x187 /* autofs */, 0x65735543 /* fusectl */, 0x42494e4d /* binfmt_misc */,
        0x67596969 /* rpc_pipefs */, 0x6e736673 /* nsfs */, 0xf97cff8c /* selinuxfs */
    };
    struct statfs fs;
    if (!strcmp(path, "/dev"))
        return true; /* devtmpfs calls itself tmpfs */
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < VB_COUNT(KINDS); i++)
        if ((unsigned long)fs.f_type == KINDS[i])
            return true;
    return false;
}

/* Whether to go into the directory that was just opened; tells what is left out. 1 yes, 0 no, -1 lost. */
static int enters(struct walk *w, const struct frame *parent, int fd, const struct stat *st, const char *path,
                  struct vb_error *err)
{
    struct vb_capture *c = w->c;
    if (vb_leave_outs_below(&c->cur->excludes, path)) {
        c->cur->left_dirs++;
        return 0;
    }
    uint64_t mount = mount_of(fd, "");
    bool crossing = mount && parent->mount ? mount != parent->mount : st->st_dev != parent->dev;
    if (crossing && !c->set->cross) {
        if (is_file_set(c, path))
            return 0;
        if (c->set->filter.one_file_system || no_data(fd, path)) {
            c->cur->left_dirs++;
            return 0;
        }
        return vb_cap_warn_path(c, NULL, VB_E_UNSELECTED_VOLUME,
                                "another file system is mounted here, and it was left out", err);
    }
    if (!c->set->live && w->is_btrfs && st->st_ino == EMPTY_SUBVOLUME_INODE) {
        if (is_file_set(c, path))
            return 0;
        if (c->set->filter.one_file_system) {
            c->cur->left_dirs++;
            return 0;
        }
        return vb_cap_warn_path(c, NULL, VB_E_UNSELECTED_VOLUME,
                                "nested subvolume is not part of the shadow copy, and was left out", err);
    }
    return 1;
}

static enum vb_cap_result open_dir(struct walk *w, const char *name, const struct stat *seen, int *fd, struct stat *st,
                                   struct vb_error *why)
{
    *fd = vb_cap_open(w->c, w->frames[w->n - 1].fd, name, seen, O_DIRECTORY);
    if (*fd < 0 && w->c->set->live && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return VB_CAP_VANISHED;
    if (*fd < 0)
        return vb_fail_errno(why, errno, "directory cannot be opened"), VB_CAP_FAILED;
    if (fstat(*fd, st) < 0)
        return vb_fail_errno(why, errno, "cannot be examined"), VB_CAP_FAILED;
    vb_cap_originals_stat(w->c->originals, st);
    if (w->n >= VB_CAP_MAX_DEPTH)
        return vb_fail(why, VB_E_LIMIT, "more than %u directories inside each other", VB_CAP_MAX_DEPTH), VB_CAP_FAILED;
    return VB_CAP_TAKEN;
}

/* The hidden directory in which providers keep shadow copies (providers/support): it is no data. */
static bool is_place(const char *name, int fd)
{
    char mark[8];
    return !strcmp(name, ".vbackup") && fgetxattr(fd, "user.vbackup.place", mark, sizeof mark) >= 0;
}

static int take_dir(struct walk *w, const char *name, const struct stat *seen, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_capture *c = w->c;
    struct stat st;
    struct frame *f = &w->frames[w->n - 1];
    if (flush(w, f, err) < 0)
        return -1;
    if (vb_cap_dir_reuse(c, &f->look, name, seen, &f->last)) {
        f->has_last = true;
        return vb_cap_progress(c, false, err);
    }
    VB_AUTO_FD int fd = -1;
    enum vb_cap_result rc = open_dir(w, name, seen, &fd, &st, &why);
    if (rc == VB_CAP_TAKEN && is_place(name, fd)) {
        vb_cap_dir_skipped(c, &f->look, name, &st, 0);
        return 0;
    }
    if (rc == VB_CAP_TAKEN)
        rc = dir_entry(c, name, fd, &st, &f->last, &why);
    if (rc != VB_CAP_TAKEN)
        return not_taken(w, name, rc, &why, err);
    f->has_last = true;
    c->root->dirs++;
    size_t path_len = c->path.len;
    if (c->path.len > 1)
        vb_buf_add_char(&c->path, '/');
    vb_buf_add_str(&c->path, name);
    uint64_t left = c->cur->left_dirs;
    int enter = enters(w, f, fd, &st, vb_buf_str(&c->path), err);
    if (enter < 0)
        return -1;
    vb_cap_dir_took(c, &f->look, name, seen, !enter, c->cur->left_dirs - left);
    if (!enter && !vb_leave_outs_below(&c->cur->excludes, vb_buf_str(&c->path)))
        vb_cap_dir_doubt(c, &f->look, name); /* what is mounted here now may be gone next time, with the same times */
    f = push(w, VB_STEAL_FD(fd), &st, path_len);
    vb_cap_dir_begin(c, &f->look, &w->frames[w->n - 2].look, name, &st);
    if (!enter)
        f->look.change = VB_CHANGE_DIRTY; /* nothing that was known of it is taken */
    if (enter && f->look.change == VB_CHANGE_THROUGH)
        return 0; /* its entries are known */
    if (!enter || read_children(f, &why) == 0) {
        keep_marker_only(w, f);
        return 0;
    }
    if (c->set->live && why.code == VB_E_NOT_FOUND) /* removed after it was opened */
        return vb_cap_warn_path(c, NULL, VB_E_FILE_CHANGED, "vanished before it could be read", err);
    return vb_cap_fail_path(c, NULL, &why, err); /* the frame stands, with what it has: nothing */
}

static int take_child(struct walk *w, const struct child *k, struct vb_error *err)
{
    struct vb_capture *c = w->c;
    const struct vb_readset *set = c->set;
    struct frame *f = &w->frames[w->n - 1];
    const char *dir = vb_buf_str(&c->path);
    bool takes = vb_readset_takes(set->filespec, set->recursive, w->n - 2, k->name);
    struct stat st;
    if ((k->kind != DT_UNKNOWN && k->kind != DT_DIR && !takes) ||
        (k->kind == DT_DIR && !vb_readset_descends(set->filespec, set->recursive))) {
        st = (struct stat){ .st_mode = (mode_t)DTTOIF(k->kind) };
        vb_cap_dir_skipped(c, &f->look, k->name, &st, 0);
        return 0;
    }
    if (fstatat(f->fd, k->name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        bool vanished = errno == ENOENT && set->live;
        vb_fail_errno(&why, errno, "cannot be examined");
        vb_cap_dir_doubt(c, &f->look, k->name);
        return takes ? not_taken(w, k->name, vanished ? VB_CAP_VANISHED : VB_CAP_FAILED, &why, err) : 0;
    }
    vb_cap_originals_stat(c->originals, &st);
    if (S_ISDIR(st.st_mode)) {
        if (!vb_readset_descends(set->filespec, set->recursive)) {
            vb_cap_dir_skipped(c, &f->look, k->name, &st, 0);
            return 0;
        }
        if (left_out(w, f, dir, k->name, &st))
            return 0;
        if (vb_leave_outs_directory(&c->cur->excludes, dir, k->name)) {
            vb_cap_dir_skipped(c, &f->look, k->name, &st, VB_LOOK_LEFT);
            c->cur->left_dirs++;
            return 0;
        }
        return take_dir(w, k->name, &st, err);
    }
    if (!takes) {
        vb_cap_dir_skipped(c, &f->look, k->name, &st, 0);
        return 0;
    }
    if (vb_leave_outs_file(&c->cur->excludes, dir, k->name)) {
        vb_cap_dir_skipped(c, &f->look, k->name, &st, VB_LOOK_LEFT);
        w->excluded = true;
        c->cur->left_files++;
        return 0;
    }
    if (left_out(w, f, dir, k->name, &st))
        return 0;
    w->matched = true;
    return take_leaf(w, k->name, &st, err);
}

/* The next entry of a directory that is only led through, as it was. */
static int take_known(struct walk *w, struct vb_error *err)
{
    struct frame *f = &w->frames[w->n - 1];
    struct stat st;
    const char *name;
    if (!vb_cap_dir_known(w->c, &f->look, f->next++, &name, &st))
        return 0;
    w->matched = true;
    if (S_ISDIR(st.st_mode))
        return take_dir(w, name, &st, err);
    return take_leaf(w, name, &st, err);
}

/* Whatever was told while an entry was taken makes its directory one to be looked at again, and the one just entered. */
static void note_doubt(struct walk *w, size_t at, const char *name)
{
    if (!w->c->doubt)
        return;
    w->c->doubt = false;
    vb_cap_dir_doubt(w->c, &w->frames[at].look, name);
    if (w->n - 1 > at)
        vb_cap_dir_doubt(w->c, &w->frames[w->n - 1].look, NULL);
}

/* The innermost directory is complete: its tree object is written and named in its own entry. */
static int end_dir(struct walk *w, struct vb_error *err)
{
    struct frame *f = &w->frames[w->n - 1], *parent = &w->frames[w->n - 2];
    struct vb_name name;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (finish_tree(w, f, &name, err) < 0)
        return -1;
    parent->last.subtree = name; /* what was taken last before this frame was pushed is this directory's entry */
    vb_cap_dir_end(w->c, &f->look, &parent->look, &name);
    w->c->path.len = f->path_len;
    int rc = w->n > 2 ? reopen_parent(w->c, parent, f->fd, &why) : 0;
    frame_clear(f);
    w->n--;
    if (rc < 0) {
        parent->next = SIZE_MAX; /* what is left of it cannot be reached any more */
        if (vb_cap_fail_path(w->c, NULL, &why, err) < 0)
            return -1;
        note_doubt(w, w->n - 1, NULL);
    }
    return vb_cap_progress(w->c, false, err);
}

static int walk_all(struct walk *w, struct vb_error *err)
{
    while (w->n > 1) {
        struct frame *f = &w->frames[w->n - 1];
        size_t at = w->n - 1;
        if (f->look.change == VB_CHANGE_THROUGH && f->next < vb_cap_dir_known_count(&f->look)) {
            if (take_known(w, err) < 0)
                return -1;
            note_doubt(w, at, NULL);
        } else if (f->next < f->n_children) {
            struct child *k = f->children[f->next++];
            int rc = take_child(w, k, err);
            if (rc < 0)
                return -1;
            note_doubt(w, at, k->name);
        } else if (end_dir(w, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- the root ---- */

/* Inode numbers of a shadow copy are the original's on btrfs, and new ones in a copy made by cloning files, which says
 * what the originals' were. */
static void find_stable(struct vb_capture *c, const struct stat *st)
{
    struct stat original;
    struct statfs fs;
    c->volume_mix = 0;
    if (statfs(c->set->path, &fs) == 0)
        memcpy(&c->volume_mix, &fs.f_fsid, sizeof c->volume_mix);
    vb_cap_originals_find(c);
    c->stable_ids = c->originals || !strcmp(c->set->path, c->set->read_path) ||
                    (stat(c->set->path, &original) == 0 && original.st_ino == st->st_ino);
}

/* A link inside a shadow copy may lead back to the original: that must not pass for the copy. */
static int check_is_copy(struct vb_capture *c, const struct stat *st, struct vb_error *why)
{
    struct stat original;
    if (c->set->live || !strcmp(c->set->path, c->set->read_path) || stat(c->set->path, &original) < 0)
        return 0;
    if (original.st_dev != st->st_dev || original.st_ino != st->st_ino)
        return 0;
    vb_fail(why, VB_E_WRITER_INCONSISTENT_SNAPSHOT, "the way through the shadow copy leads back to the original");
    vb_hint(why, "Give the component the path without symbolic links.");
    return -1;
}

static int missing(struct vb_capture *c, int errnum, struct vb_error *why)
{
    if (errnum == ENOENT || errnum == ENOTDIR)
        return vb_fail(why, VB_E_FILE_MISSING, "does not exist%s%s%s",
                       strcmp(c->set->path, c->set->read_path) ? " (looked for at '" : "",
                       strcmp(c->set->path, c->set->read_path) ? c->set->read_path : "",
                       strcmp(c->set->path, c->set->read_path) ? "')" : "");
    return vb_fail_errno(why, errnum, "cannot be opened");
}

static const char *base_name(const char *path)
{
    const char *s = strrchr(path, '/');
    return s && s[1] ? s + 1 : path;
}

/* Directory of a path for a single entry; caller closes. */
static int open_parent(const char *path)
{
    VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The file set is one entry: its normal path or its read path is not a directory. */
static int single_entry(struct walk *w, const struct stat *st, struct vb_error *err)
{
    struct vb_capture *c = w->c;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FD int dir = open_parent(c->set->read_path);
    VB_AUTO_FREE char *normal_dir = vb_strndup(c->set->path, (size_t)(strrchr(c->set->path, '/') - c->set->path));
    struct frame *root = &w->frames[0];
    struct vb_tree_entry *e = &root->last;
    if (dir < 0)
        return missing(c, errno, &why), vb_cap_fail_path(c, NULL, &why, err);
    if (vb_leave_outs_file(&c->cur->excludes, normal_dir[0] ? normal_dir : "/", base_name(c->set->path)))
        return 0;
    if (vb_cap_look_begin(c, dir, true, err) < 0)
        return -1;
    vb_cap_dir_begin(c, &root->look, NULL, "", NULL);
    w->matched = true;
    if (vb_cap_dir_reuse(c, &root->look, base_name(c->set->path), st, e)) {
        root->has_last = true;
        return 1;
    }
    enum vb_cap_result rc = vb_cap_leaf(c, dir, base_name(c->set->read_path), st, e, &why);
    if (rc == VB_CAP_LOST)
        return vb_error_move(err, &why);
    if (rc != VB_CAP_TAKEN)
        return not_taken(w, NULL, rc, &why, err);
    if (strcmp(e->name, base_name(c->set->path)) != 0) {
        vb_free_ptr(&e->name);
        e->name = vb_strdup(base_name(c->set->path));
    }
    root->has_last = true;
    vb_cap_dir_took(c, &root->look, e->name, st, false, e->size);
    c->root->files++;
    c->root->bytes += e->size;
    c->files++;
    return 1;
}

/* Nothing has changed since the last look. */
static bool take_whole(struct vb_capture *c)
{
    struct vb_cap_totals all;
    if (!vb_cap_look_whole(c, &c->root->name, &all))
        return false;
    c->root->files = all.files;
    c->root->dirs = all.dirs;
    c->root->bytes = all.bytes;
    c->root->made = true;
    c->files += all.files;
    c->bytes += all.bytes;
    c->cur->left_files += all.left_files;
    c->cur->left_dirs += all.left_dirs;
    return true;
}

/* Opens the root and puts it on the stack, or takes it if it is one entry. 1 go on, 0 failed and told, -1 lost. */
static int begin(struct walk *w, struct vb_error *err)
{
    struct vb_capture *c = w->c;
    struct vb_readset *set = c->set;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct stat st;
    struct frame *base = NULL;
    VB_AUTO_FD int fd = -1;
    VB_GROW(w->frames, w->n, w->cap);
    w->frames[w->n++] = (struct frame){ .fd = -1 };
    if (lstat(set->read_path, &st) < 0)
        return missing(c, errno, &why), vb_cap_fail_path(c, NULL, &why, err);
    if (S_ISLNK(st.st_mode) && set->filespec && set->live)
        stat(set->read_path, &st); /* a live file set is "in the directory", wherever that is */
    if (check_is_copy(c, &st, &why) < 0)
        return vb_cap_fail_path(c, NULL, &why, err);
    find_stable(c, &st);
    vb_cap_originals_stat(c->originals, &st);
    if (!S_ISDIR(st.st_mode) && (!set->filespec || (S_ISREG(st.st_mode) && !strcmp(set->filespec, "*"))))
        return single_entry(w, &st, err);
    if (!S_ISDIR(st.st_mode)) {
        vb_fail(&why, VB_E_FILE_MISSING, "is not a directory");
        vb_hint(&why, "A file set with a filespec needs a directory, named without symbolic links.");
        return vb_cap_fail_path(c, NULL, &why, err);
    }
    fd = open(set->read_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (c->noatime ? O_NOATIME : 0));
    if (fd < 0 && errno == EPERM)
        fd = open(set->read_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return missing(c, errno, &why), vb_cap_fail_path(c, NULL, &why, err);
    vb_cap_originals_stat(c->originals, &st);
    if (vb_cap_look_begin(c, fd, false, err) < 0)
        return -1;
    if (take_whole(c))
        return 0;
    base = &w->frames[0];
    vb_cap_dir_begin(c, &base->look, NULL, "", NULL);
    if (dir_entry(c, ".", fd, &st, &base->last, &why) != VB_CAP_TAKEN)
        return vb_cap_fail_path(c, NULL, &why, err);
    base->has_last = true;
    vb_cap_dir_took(c, &base->look, ".", &st, false, 0);
    c->root->dirs++;
    /* only empty subvolume directories of a btrfs snapshot have inode 2; other file systems use the number otherwise */
    w->is_btrfs = !set->live && major(st.st_dev) == 0;
    base = push(w, VB_STEAL_FD(fd), &st, c->path.len);
    vb_cap_dir_begin(c, &base->look, &w->frames[0].look, ".", &st);
    if (base->look.change == VB_CHANGE_THROUGH)
        return 1;
    if (read_children(base, &why) < 0)
        return vb_cap_fail_path(c, NULL, &why, err) < 0 ? -1 : 1;
    keep_marker_only(w, base);
    return 1;
}

int vb_cap_fileset(struct vb_capture *c, struct vb_error *err)
{
    struct vb_readset *set = c->set;
    struct walk w = { .c = c, .filtered = !set->filespec || vb_readset_is_pattern(set->filespec) };
    vb_buf_reset(&c->path);
    vb_buf_add_str(&c->path, set->path);
    c->look = NULL;
    c->doubt = false;
    int rc = begin(&w, err);
    if (w.n)
        note_doubt(&w, w.n - 1, NULL);
    if (rc == 1)
        rc = walk_all(&w, err) < 0 ? -1 : 1;
    if (rc == 1 && set->filespec && !vb_readset_is_pattern(set->filespec) && !w.matched && !w.excluded) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        vb_fail(&why, VB_E_FILE_MISSING, "does not exist");
        rc = vb_cap_fail_path(c, set->filespec, &why, err) < 0 ? -1 : 1;
    }
    if (w.n)
        note_doubt(&w, 0, NULL);
    if (rc == 1 && w.frames[0].has_last) {
        if (finish_tree(&w, &w.frames[0], &c->root->name, err) < 0)
            rc = -1;
        else
            c->root->made = true;
        if (rc == 1)
            vb_cap_dir_end(c, &w.frames[0].look, NULL, &c->root->name);
    }
    walk_clear(&w);
    return rc < 0 ? -1 : 0;
}
