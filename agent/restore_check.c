/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_check.c - everything that can be known before the first write: that all directories can be read,
 * what is in the way, how much there is to write and whether it fits.
 *
 * The walk through the trees goes on where the target has no such directory: then there is nothing to look at, only to
 * count.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/readset.h"
#include "agent/restore_internal.h"
#include "agent/safe_open.h"
#include "base/io.h"
#include "base/text.h"
#include "store/chunk/content.h"

struct wanted;
struct check {
    struct vb_restore *r;
    struct vb_rst_root *root;
    struct vb_dirstack dirs;     /* existing directories of the target */
    struct vb_dirscan *scans;
    size_t n, cap;
    size_t missing_from;         /* scans from this number on have no directory in the target; 0: all have */
    uint64_t conflicts;
    char *first_conflict;
    struct wanted *wanted;
    uint64_t freed, largest;     /* blocks that overwriting gives back; what lies beside an old file for a moment */
};

void vb_rst_split(const char *target, char **dir, char **base)
{
    const char *slash = strrchr(target, '/');
    *base = vb_strdup(slash + 1);
    *dir = slash == target ? vb_strdup("/") : vb_strndup(target, (size_t)(slash - target));
}

bool vb_rst_takes(const struct vb_rst_root *root, const struct vb_tree_entry *e, size_t depth)
{
    if (e->type == VB_TREE_DIR)
        return vb_readset_descends(root->filespec, root->recursive);
    return vb_readset_takes(root->filespec, root->recursive, depth, e->name);
}

/* ---- the root's entry ---- */

static int find_entry(struct vb_dirscan *scan, const char *name, const struct vb_tree_entry **e, struct vb_error *err)
{
    int rc;
    while ((rc = vb_dirscan_next(scan, e, err)) > 0)
        if (!strcmp((*e)->name, name))
            return 0;
    return rc < 0 ? -1 : vb_fail(err, VB_E_NOT_FOUND, "there is no '%s' in this backup", name);
}

static int descend(struct vb_restore *r, struct vb_dirscan *scan, const char *source, const struct vb_tree_entry **e,
                   struct vb_error *err)
{
    for (const char *at = source; *at;) {
        size_t len = strcspn(at, "/");
        VB_AUTO_FREE char *name = vb_strndup(at, len);
        at += len + strspn(at + len, "/");
        if (!len)
            continue;
        if ((*e)->type != VB_TREE_DIR)
            return vb_fail(err, VB_E_NOT_FOUND, "there is no '%s' in this backup", source);
        struct vb_name inner = (*e)->subtree;
        vb_dirscan_close(scan);
        if (vb_dirscan_open(scan, r->in, &inner, true, err) < 0 || find_entry(scan, name, e, err) < 0)
            return -1;
    }
    return 0;
}

int vb_rst_root_entry(struct vb_restore *r, struct vb_rst_root *root, struct vb_dirscan *scan,
                      const struct vb_tree_entry **e, struct vb_error *err)
{
    if (vb_dirscan_open(scan, r->in, &root->name, true, err) < 0)
        return -1;
    int rc = vb_dirscan_next(scan, e, err);
    if (rc < 0)
        return -1;
    if (rc == 0 || ((*e)->type == VB_TREE_DIR) != !strcmp((*e)->name, "."))
        return vb_fail(err, VB_E_CORRUPT, "the root of this backup is not one entry");
    return root->source ? descend(r, scan, root->source, e, err) : 0;
}

/* ---- same content ---- */

struct comparing {
    struct vb_restore *r;
    int fd;
    const struct vb_tree_entry *e;
    uint64_t pos;
    size_t hole;
    struct vb_buf buf;
};

/* Fills the buffer with the next n content bytes of the existing file; holes must read as zeros, or simply be there. */
static bool read_content(struct comparing *c, size_t n)
{
    vb_buf_reset(&c->buf);
    vb_buf_reserve(&c->buf, n);
    while (c->buf.len < n) {
        while (c->hole < c->e->n_holes && c->e->holes[c->hole].offset == c->pos)
            c->pos += c->e->holes[c->hole++].len;
        uint64_t end = c->hole < c->e->n_holes ? c->e->holes[c->hole].offset : c->e->size;
        size_t want = n - c->buf.len;
        if (end <= c->pos)
            return false;
        if (want > end - c->pos)
            want = (size_t)(end - c->pos);
        ssize_t k = pread(c->fd, c->buf.data + c->buf.len, want, (off_t)c->pos);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        c->buf.len += (size_t)k;
        c->pos += (size_t)k;
    }
    return true;
}

static bool same_refs(struct comparing *c, unsigned level, const struct vb_ref *refs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct vb_name name;
        if (level) {
            VB_AUTO_BUF bytes = VB_BUF_INIT;
            VB_AUTO_FREE struct vb_ref *inner = NULL;
            uint8_t inner_level = 0;
            size_t k = 0;
            if (vb_chunk_fetcher_get(c->r->in, VB_CHUNK_LIST, &refs[i].name, true, &bytes, NULL) < 0 ||
                vb_list_decode(bytes.data, bytes.len, &inner_level, &inner, &k, NULL) < 0 ||
                inner_level + 1u != level || !same_refs(c, inner_level, inner, k))
                return false;
            continue;
        }
        if (refs[i].size > VB_CHUNK_MAX_RAW || !read_content(c, (size_t)refs[i].size))
            return false;
        vb_namer_name(c->r->namer, VB_CHUNK_DATA, c->buf.data, c->buf.len, &name);
        if (!vb_name_equal(&name, &refs[i].name) || vb_rst_progress(c->r, false, NULL) < 0)
            return false;
    }
    return true;
}

/* Holes are not asked for (SEEK_HOLE is not to be trusted on a file just written): their zeros are read. */
static bool holes_are_zero(struct comparing *c)
{
    enum { STEP = 1 << 20 };
    VB_AUTO_FREE unsigned char *buf = c->e->n_holes ? vb_alloc(STEP) : NULL;
    for (size_t i = 0; i < c->e->n_holes; i++)
        for (uint64_t at = c->e->holes[i].offset, end = at + c->e->holes[i].len; at < end;) {
            ssize_t k = pread(c->fd, buf, end - at < STEP ? (size_t)(end - at) : STEP, (off_t)at);
            if (k <= 0 || buf[0] || memcmp(buf, buf + 1, (size_t)k - 1) != 0 || vb_rst_progress(c->r, false, NULL) < 0)
                return false;
            at += (size_t)k;
        }
    return true;
}

bool vb_rst_same_content(struct vb_restore *r, int fd, const struct vb_tree_entry *e)
{
    struct stat st;
    if (!r->namer || e->type != VB_TREE_FILE || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != e->size)
        return false;
    struct comparing c = { .r = r, .fd = fd, .e = e };
    bool same = same_refs(&c, e->content.level, e->content.refs, e->content.n);
    while (c.hole < e->n_holes && e->holes[c.hole].offset == c.pos)
        c.pos += e->holes[c.hole++].len;
    vb_buf_clear(&c.buf);
    return same && c.pos == e->size && holes_are_zero(&c);
}

static bool same_named_content(struct vb_restore *r, int dirfd, const char *name, const struct vb_tree_entry *e)
{
    VB_AUTO_FD int fd = vb_open_beneath(dirfd, name, O_RDONLY | O_NONBLOCK, 0);
    return fd >= 0 && vb_rst_same_content(r, fd, e);
}

bool vb_rst_same_special(int dirfd, const char *name, const struct vb_tree_entry *e, const struct stat *st)
{
    bool number = st->st_rdev == makedev(e->rdev_major, e->rdev_minor);
    if (e->type != VB_TREE_SYMLINK)
        return (e->type == VB_TREE_FIFO && S_ISFIFO(st->st_mode)) ||
               (e->type == VB_TREE_SOCKET && S_ISSOCK(st->st_mode)) ||
               (e->type == VB_TREE_CHAR && S_ISCHR(st->st_mode) && number) ||
               (e->type == VB_TREE_BLOCK && S_ISBLK(st->st_mode) && number);
    size_t len = strlen(e->target);
    VB_AUTO_FREE char *now = vb_alloc(len + 2);
    return S_ISLNK(st->st_mode) && readlinkat(dirfd, name, now, len + 1) == (ssize_t)len &&
           !memcmp(now, e->target, len);
}

bool vb_rst_same_entry(struct vb_restore *r, int dirfd, const char *name, const struct vb_tree_entry *e)
{
    struct stat st;
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (same_named_content(r, dirfd, name, e) || vb_rst_same_special(dirfd, name, e, &st));
}

/* ---- what is in the way ---- */

static void conflict(struct check *c, const char *name)
{
    if (!c->conflicts++)
        c->first_conflict = vb_rst_path(c->r, name);
}

bool vb_rst_is_empty_dir(int dirfd, const char *name)
{
    VB_AUTO_FD int fd = name ? vb_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0)
                             : openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return false;
    fd = -1; /* the directory's now */
    for (const struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return false;
    return true;
}

static void look_at_leaf(struct check *c, int dirfd, const struct vb_tree_entry *e, const char *name)
{
    struct stat st;
    if (dirfd < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        if (!c->r->overwrite || !vb_rst_is_empty_dir(dirfd, name))
            conflict(c, name);
        return;
    }
    if (c->r->overwrite) {
        c->freed += st.st_nlink == 1 ? (uint64_t)st.st_blocks * 512 : 0;
        return;
    }
    if (c->r->resume && vb_rst_same_entry(c->r, dirfd, name, e)) {
        c->freed += (uint64_t)st.st_blocks * 512;
        return;
    }
    conflict(c, name);
}

static uint64_t data_bytes(const struct vb_tree_entry *e)
{
    uint64_t n = e->size;
    for (size_t i = 0; i < e->n_holes; i++)
        n -= e->holes[i].len < n ? e->holes[i].len : n;
    return n;
}

static void count_leaf(struct check *c, const struct vb_tree_entry *e)
{
    c->root->want_files++;
    if (e->type != VB_TREE_FILE)
        return;
    uint64_t n = data_bytes(e);
    if (__builtin_add_overflow(c->root->want_bytes, n, &c->root->want_bytes))
        c->root->want_bytes = UINT64_MAX;
    if (n > c->largest)
        c->largest = n;
}

/* ---- the walk ---- */

/* Opens the directory below the innermost one, if there is such a thing. */
static void enter_target(struct check *c, const char *name)
{
    struct stat st;
    int dirfd = vb_dirstack_fd(&c->dirs);
    if (c->missing_from)
        return;
    VB_AUTO_FD int fd = vb_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        vb_dirstack_push(&c->dirs, VB_STEAL_FD(fd), &st);
        return;
    }
    if (errno != ENOENT && (!c->r->overwrite || (errno != ENOTDIR && errno != ELOOP)))
        conflict(c, name); /* something else, or a directory that we may not even read */
    c->missing_from = c->n + 1;
}

static int enter(struct check *c, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct vb_name inner = e->subtree;
    if (c->n >= VB_RST_MAX_DEPTH)
        return vb_fail(err, VB_E_LIMIT, "more than %u directories inside each other", VB_RST_MAX_DEPTH);
    VB_GROW(c->scans, c->n, c->cap);
    if (vb_dirscan_open(&c->scans[c->n], c->r->in, &inner, true, err) < 0)
        return -1;
    c->n++;
    c->root->want_dirs++;
    /* ask for all directories inside at once */
    size_t next = 0;
    const struct vb_tree *leaf = vb_dirscan_leaf(&c->scans[c->n - 1], &next);
    for (size_t i = 0; leaf && i < leaf->n; i++)
        if (leaf->entries[i].type == VB_TREE_DIR && vb_rst_takes(c->root, &leaf->entries[i], c->n) &&
            !vb_chunk_fetcher_want(c->r->in, VB_CHUNK_TREE, &leaf->entries[i].subtree, 0))
            break;
    return 0;
}

static int walk(struct check *c, struct vb_error *err)
{
    struct vb_buf marks = VB_BUF_INIT; /* one size_t per level: how to leave r->path */
    int rc = 0;
    while (c->n && rc >= 0) {
        const struct vb_tree_entry *e;
        rc = vb_dirscan_next(&c->scans[c->n - 1], &e, err);
        if (rc == 0) {
            vb_dirscan_close(&c->scans[--c->n]);
            if (c->missing_from > c->n)
                c->missing_from = 0;
            else if (!c->missing_from && c->n)
                rc = vb_dirstack_pop(&c->dirs, err);
            if (c->n) {
                size_t mark;
                memcpy(&mark, marks.data + marks.len - sizeof mark, sizeof mark);
                marks.len -= sizeof mark;
                vb_rst_leave(c->r, mark);
            }
            continue;
        }
        if (rc < 0 || !vb_rst_takes(c->root, e, c->n - 1))
            continue;
        if (e->type != VB_TREE_DIR) {
            count_leaf(c, e);
            look_at_leaf(c, c->missing_from ? -1 : vb_dirstack_fd(&c->dirs), e, e->name);
            if (vb_rst_progress(c->r, false, err) < 0)
                rc = -1;
            continue;
        }
        enter_target(c, e->name);
        size_t mark = vb_rst_enter(c->r, e->name);
        vb_buf_add(&marks, &mark, sizeof mark);
        rc = enter(c, e, err);
    }
    vb_buf_clear(&marks);
    return rc < 0 ? vb_rst_name_error(c->r, NULL, err) : 0;
}

static void check_clear(struct check *c)
{
    while (c->n)
        vb_dirscan_close(&c->scans[--c->n]);
    vb_free_ptr(&c->scans);
    vb_dirstack_clear(&c->dirs);
    vb_free_ptr(&c->first_conflict);
}

/* ---- space ---- */

/* So much is wanted of one file system by the roots of a component together. */
struct wanted {
    struct { dev_t dev; uint64_t bytes; } *v;
    size_t n, cap;
};

static uint64_t together(struct wanted *w, dev_t dev, uint64_t bytes)
{
    size_t i = 0;
    while (i < w->n && w->v[i].dev != dev)
        i++;
    if (i == w->n) {
        VB_GROW(w->v, w->n, w->cap);
        w->v[w->n].dev = dev;
        w->v[w->n++].bytes = 0;
    }
    if (__builtin_add_overflow(w->v[i].bytes, bytes, &w->v[i].bytes))
        w->v[i].bytes = UINT64_MAX;
    return w->v[i].bytes;
}

static int check_space(struct check *c, int at, struct vb_error *err)
{
    struct statvfs fs;
    struct stat st;
    if (at < 0 || fstatvfs(at, &fs) < 0 || !fs.f_blocks || fstat(at, &st) < 0)
        return 0;
    uint64_t room = (uint64_t)fs.f_bavail * (fs.f_frsize ? fs.f_frsize : fs.f_bsize), need = c->root->want_bytes;
    need -= c->freed < need ? c->freed : need;
    if (c->freed && need < c->largest)
        need = c->largest < c->root->want_bytes ? c->largest : c->root->want_bytes;
    need = together(c->wanted, st.st_dev, need);
    if (need <= room)
        return 0;
    VB_AUTO_FREE char *needs = vb_size_human(need), *has = vb_size_human(room);
    vb_fail(err, VB_E_NO_SPACE, "'%s': %s are needed, %s are free", c->root->target, needs, has);
    vb_hint(err, "Make room, or restore to another place with --target.");
    return -1;
}

/* ---- one root ---- */

/* Opens what there is of the target. *at: for the space. */
static int open_target(struct check *c, const struct vb_tree_entry *e, int *at, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FREE char *dir = NULL, *base = NULL;
    struct stat st;
    vb_rst_split(c->root->target, &dir, &base);
    bool is_dir = e->type == VB_TREE_DIR;
    VB_AUTO_FD int fd = vb_safe_open_inside(c->r->base, is_dir ? c->root->target : dir, false, NULL, at, &why);
    if (fd < 0 && why.code == VB_E_NOT_FOUND) {
        c->missing_from = 1;
        return 0;
    }
    if (fd < 0)
        return vb_error_move(err, &why);
    *at = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (is_dir) {
        c->root->empty_before = vb_rst_is_empty_dir(fd, NULL);
    } else {
        vb_buf_reset(&c->r->path); /* a leaf is named below its directory */
        vb_buf_add_str(&c->r->path, dir);
        look_at_leaf(c, fd, e, base);
    }
    if (fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be examined", c->root->target);
    vb_dirstack_push(&c->dirs, VB_STEAL_FD(fd), &st);
    return 0;
}

static int check_root(struct vb_restore *r, struct vb_rst_root *root, struct check *c, struct vb_error *err)
{
    struct vb_dirscan top = { .n = 0 };
    const struct vb_tree_entry *e = NULL;
    VB_AUTO_FD int at = -1;
    r->root = root;
    vb_buf_reset(&r->path);
    vb_buf_add_str(&r->path, root->target);
    int rc = vb_rst_root_entry(r, root, &top, &e, err);
    if (rc < 0)
        vb_context(err, "'%s'", root->path);
    if (rc == 0)
        rc = open_target(c, e, &at, err);
    if (rc == 0 && e->type != VB_TREE_DIR) {
        if (!root->filespec || vb_filespec_match(root->filespec, e->name))
            count_leaf(c, e);
    } else if (rc == 0) {
        rc = enter(c, e, err) < 0 ? vb_rst_name_error(r, NULL, err) : walk(c, err);
    }
    if (rc == 0)
        rc = check_space(c, at, err);
    vb_dirscan_close(&top);
    return rc;
}

static int check_found(const struct vb_rst_root *root, struct vb_error *err)
{
    if (root->want_files == 0 && root->filespec && !vb_readset_is_pattern(root->filespec))
        return vb_fail(err, VB_E_NOT_FOUND, "'%s': there is no '%s' in this backup", root->path, root->filespec);
    if (root->want_files + root->want_dirs == 0)
        return vb_fail(err, VB_E_NOT_FOUND, "'%s': there is nothing to restore", root->path);
    return 0;
}

static void wanted_clear(struct wanted *w)
{
    vb_free_ptr(&w->v);
}

int vb_rst_check(struct vb_restore *r, struct vb_error *err)
{
    uint64_t conflicts = 0;
    VB_AUTO_FREE char *first = NULL;
    VB_CLEANUP(wanted_clear) struct wanted wanted = { NULL, 0, 0 };
    for (size_t i = 0; i < r->cur->n_roots; i++) {
        VB_CLEANUP(check_clear) struct check c = { .r = r, .root = &r->cur->roots[i], .wanted = &wanted };
        if (check_root(r, c.root, &c, err) < 0 || check_found(c.root, err) < 0)
            return -1;
        r->bytes_total += c.root->want_bytes;
        if (c.conflicts && !first)
            first = VB_STEAL(c.first_conflict);
        conflicts += c.conflicts;
    }
    if (!conflicts)
        return 0;
    VB_AUTO_FREE char *shown = vb_escape_terminal(first, strlen(first));
    if (conflicts == 1)
        vb_fail(err, VB_E_GUARD, "'%s' is there already", shown);
    else
        vb_fail(err, VB_E_GUARD, "'%s' and %llu more are there already", shown, (unsigned long long)(conflicts - 1));
    vb_hint(err, r->overwrite
                     ? "A directory that is not empty is never replaced by a file; move it away."
                     : "Give --overwrite to replace what is there, or restore to another place with --target.");
    return -1;
}
