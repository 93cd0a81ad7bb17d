/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/nested.c - subvolumes inside subvolumes.
 *
 * In a snapshot an inner subvolume is an empty directory that nothing can be put into.  So it is removed there, and
 * a snapshot of the inner subvolume takes its place: a capture sees the tree as it was.  The snapshots are made one
 * after the other, so that is one instant only while the writers hold.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "providers/btrfs/btrfs.h"

#define MAX_NESTED 64u /* each takes a commit of the file system, some 20 ms, while the writers hold */
#define MAX_NAMED 3u
#define BY_HAND "Look at it with 'btrfs subvolume show', and run the job again."

int vb_btrfs_failed(const struct vb_ps *s, enum btrfs_util_error e, const char *what, const char *path)
{
    int errnum = errno ? errno : EIO;
    return vb_ps_fail_errno(s, errnum, BY_HAND, "%s of '%s' failed (%s)", what, path, btrfs_util_strerror(e));
}

static char *below(const char *root, const char *path)
{
    return vb_ps_printf("%s/%s", strcmp(root, "/") ? root : "", path);
}

/* ---- finding ---- */

static bool touches(const struct vb_provider_volume *vol, const char *nested)
{
    for (size_t i = 0; i < vol->n_trees; i++)
        if (vb_ps_below(nested, vol->trees[i]))
            return true;
    return vol->n_trees == 0;
}

static uint64_t mount_of(const char *path)
{
    struct statx st;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) == 0 ? st.stx_mnt_id : 0;
}

static bool is_shadow_copy(const char *path)
{
    struct btrfs_util_subvolume_info info;
    static const uint8_t none[16];
    bool read_only = false;
    return btrfs_util_get_subvolume_read_only(path, &read_only) == BTRFS_UTIL_OK && read_only &&
           btrfs_util_subvolume_info(path, 0, &info) == BTRFS_UTIL_OK &&
           (memcmp(info.parent_uuid, none, sizeof none) != 0 || memcmp(info.received_uuid, none, sizeof none) != 0);
}

/* Why it cannot, or should not, be part of the shadow copy; NULL: it can. */
static const char *left_out(const struct vb_ps *s, const char *whole)
{
    const char *option = s->svc->option(s->host, "nested");
    struct stat st;
    if (option && !strcasecmp(option, "name"))
        return "nested = name";
    if (stat(whole, &st) < 0)
        return strerror(errno);
    if (is_shadow_copy(whole))
        return "a read-only snapshot";
    return vb_btrfs_user_refusal(whole, &st) ? "not this user's" : NULL;
}

struct names {
    char *to;
    size_t size, used;
    unsigned n;
    const char *head;
};

static void name(struct names *l, const char *path, const char *why)
{
    l->n++;
    if (!l->to || l->n > MAX_NAMED || l->used >= l->size)
        return;
    l->used += (size_t)snprintf(l->to + l->used, l->size - l->used, "%s'%s'%s%s%s", l->n == 1 ? l->head : ", ", path,
                                why ? " (" : "", why ? why : "", why ? ")" : "");
}

static void and_more(const struct names *l)
{
    if (l->to && l->n > MAX_NAMED && l->used < l->size)
        snprintf(l->to + l->used, l->size - l->used, " and %u more", l->n - MAX_NAMED);
}

struct found {
    struct vb_btrfs_nested *first, **last, *out; /* included; left out */
    struct names in, no;
};

static void add(struct found *f, char *path, const char *whole, const char *why)
{
    struct vb_btrfs_nested *n = vb_ps_alloc(sizeof *n);
    n->path = vb_ps_strdup(path);
    n->fd = -1;
    name(why ? &f->no : &f->in, whole, why);
    if (why) {
        n->next = f->out;
        f->out = n;
    } else {
        *f->last = n;
        f->last = &n->next;
    }
}

static bool inside_left_out(const struct found *f, const char *path)
{
    for (const struct vb_btrfs_nested *n = f->out; n; n = n->next)
        if (vb_ps_below(path, n->path))
            return true;
    return false;
}

static void examine(struct found *f, const struct vb_ps *s, const struct vb_provider_volume *vol, uint64_t mount,
                    char *path)
{
    char *whole = below(vol->subvolume_root, path);
    bool ours = !strncmp(path, VB_PLACE "/", strlen(VB_PLACE) + 1) || strstr(path, "/" VB_PLACE "/");
    /* what is mounted over is not seen there; what is mounted itself is a volume of its own */
    if (!ours && touches(vol, whole) && mount_of(whole) == mount)
        add(f, path, whole, inside_left_out(f, path) ? "inside another one" : left_out(s, whole));
    free(whole);
}

struct vb_btrfs_nested *vb_btrfs_nested_find(const struct vb_ps *s, const struct vb_provider_volume *vol, char *why,
                                             size_t size)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    struct found f = { .in = { why, size / 2, 0, 0, "with it, one after the other, nested subvolumes " },
                       .no = { why ? why + size / 2 : NULL, size - size / 2, 0, 0,
                               "nested subvolumes are not part of it: " } };
    uint64_t mount = mount_of(vol->subvolume_root);
    char *path = NULL;
    f.last = &f.first;
    if (btrfs_util_create_subvolume_iterator(vol->subvolume_root, 0, 0, &it) != BTRFS_UTIL_OK)
        return NULL;
    while (btrfs_util_subvolume_iterator_next(it, &path, NULL) == BTRFS_UTIL_OK) {
        examine(&f, s, vol, mount, path);
        free(path);
    }
    btrfs_util_destroy_subvolume_iterator(it);
    vb_btrfs_nested_free(f.out);
    and_more(&f.in);
    and_more(&f.no);
    bool many = f.in.n > MAX_NESTED;
    if (many) {
        vb_btrfs_nested_free(f.first);
        f.first = NULL;
    }
    if (why && many)
        snprintf(why, size, "nested subvolumes are not part of it: %u are more than the %u that can be", f.in.n,
                 MAX_NESTED);
    else if (why && f.in.n && f.no.n) {
        size_t n = strlen(why);
        char *rest = vb_ps_strdup(why + size / 2);
        snprintf(why + n, size - n, "; %s", rest);
        free(rest);
    } else if (why && f.no.n)
        memmove(why, why + size / 2, size - size / 2);
    return f.first;
}

void vb_btrfs_nested_free(struct vb_btrfs_nested *list)
{
    while (list) {
        struct vb_btrfs_nested *n = list;
        list = n->next;
        if (n->fd >= 0)
            close(n->fd);
        free(n->path);
        free(n);
    }
}

/* ---- making ---- */

/* Nothing outside is reached, whatever was put in the way meanwhile. */
static int open_inside(int dir, const char *path)
{
    struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

int vb_btrfs_nested_open(const struct vb_ps *s, const char *root, struct vb_btrfs_nested **list)
{
    int rc = 0, top = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return vb_ps_fail_errno(s, errno, BY_HAND, "subvolume '%s' cannot be opened", root);
    for (struct vb_btrfs_nested **p = list, *n; rc == 0 && (n = *p);) {
        struct stat st;
        n->fd = open_inside(top, n->path);
        if (n->fd >= 0 && fstat(n->fd, &st) == 0 && st.st_ino == VB_BTRFS_ROOT_INODE) {
            p = &n->next;
        } else if (n->fd >= 0 || errno == ENOENT) { /* it is gone, or an ordinary directory now */
            *p = n->next;
            n->next = NULL;
            vb_btrfs_nested_free(n);
        } else {
            rc = vb_ps_fail_errno(s, errno, BY_HAND, "nested subvolume '%s' of '%s' cannot be opened", n->path, root);
        }
    }
    close(top);
    return rc;
}

/* In `dir`, which is a directory of the snapshot, or the snapshot itself. */
static int replace_stub(const struct vb_ps *s, const struct vb_btrfs_nested *n, int dir, const char *base)
{
    struct stat st, up;
    if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vb_ps_fail_errno(s, errno, BY_HAND, "'%s' cannot be examined", n->path);
    if (st.st_ino != VB_BTRFS_STUB_INODE)
        return 0; /* removed, and something else put there, before the instant */
    if (fstat(dir, &up) < 0 || unlinkat(dir, base, AT_REMOVEDIR) < 0)
        return vb_ps_fail_errno(s, errno, BY_HAND, "place of nested subvolume '%s' cannot be cleared", n->path);
    enum btrfs_util_error e = btrfs_util_create_snapshot_fd2(n->fd, dir, base, 0, NULL, NULL);
    if (e != BTRFS_UTIL_OK)
        return vb_btrfs_failed(s, e, "snapshot", n->path);
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, up.st_mtim };
    return futimens(dir, t) < 0 ? vb_ps_fail_errno(s, errno, BY_HAND, "time above '%s' cannot be set", n->path) : 0;
}

int vb_btrfs_nested_snapshot(const struct vb_ps *s, const struct vb_btrfs_nested *list, int snapshot)
{
    int rc = 0;
    for (const struct vb_btrfs_nested *n = list; n && rc == 0; n = n->next) {
        char *up = vb_ps_strdup(n->path), *slash = strrchr(up, '/');
        const char *base = slash ? n->path + (slash - up) + 1 : n->path;
        if (slash)
            *slash = 0;
        int dir = open_inside(snapshot, slash ? up : ".");
        if (dir >= 0)
            rc = replace_stub(s, n, dir, base);
        else if (errno != ENOENT && errno != ENOTDIR) /* the directory above was removed before the instant */
            rc = vb_ps_fail_errno(s, errno, BY_HAND, "directory above '%s' cannot be opened", n->path);
        if (dir >= 0)
            close(dir);
        free(up);
    }
    return rc;
}

/* ---- a shadow copy with all that is in it ---- */

/* All that are in it, outer ones first, and open. */
static int inside(const struct vb_ps *s, const char *path, int top, struct vb_btrfs_nested **list)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    char *inner = NULL;
    int rc = 0;
    enum btrfs_util_error e = btrfs_util_create_subvolume_iterator(path, 0, 0, &it);
    if (e != BTRFS_UTIL_OK)
        return vb_btrfs_failed(s, e, "listing the subvolumes", path);
    while (rc == 0 && (e = btrfs_util_subvolume_iterator_next(it, &inner, NULL)) == BTRFS_UTIL_OK) {
        struct vb_btrfs_nested *n = *list = vb_ps_alloc(sizeof *n);
        list = &n->next;
        n->path = inner;
        n->fd = open_inside(top, inner);
        if (n->fd < 0)
            rc = vb_ps_fail_errno(s, errno, BY_HAND, "nested subvolume '%s' of '%s' cannot be opened", inner, path);
    }
    btrfs_util_destroy_subvolume_iterator(it);
    return rc == 0 && e != BTRFS_UTIL_ERROR_STOP_ITERATION ? vb_btrfs_failed(s, e, "listing the subvolumes", path) : rc;
}

static int copy_nested(const struct vb_ps *s, const struct vb_btrfs_nested *list, const char *at, bool read_only)
{
    int fd = open(at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return vb_ps_fail_errno(s, errno, BY_HAND, "copy '%s' cannot be opened", at);
    int rc = vb_btrfs_nested_snapshot(s, list, fd);
    close(fd);
    if (rc == 0 && read_only)
        rc = vb_btrfs_set_read_only(s, at, true);
    if (rc < 0)
        (void)vb_btrfs_delete(s, at);
    return rc;
}

int vb_btrfs_copy(const struct vb_ps *s, const char *shadow_copy, const char *at, bool read_only)
{
    struct vb_btrfs_nested *list = NULL;
    int top = open(shadow_copy, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = top < 0 ? vb_ps_fail_errno(s, errno, BY_HAND, "shadow copy '%s' cannot be opened", shadow_copy)
                     : inside(s, shadow_copy, top, &list);
    errno = 0;
    if (rc == 0 && btrfs_util_create_snapshot(shadow_copy, at, read_only && !list ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0,
                                              NULL, NULL) != BTRFS_UTIL_OK)
        rc = vb_ps_fail_errno(s, errno ? errno : EIO, "Give a path on the same btrfs, below a directory that exists.",
                              "copy of shadow copy '%s' cannot be made at '%s'", shadow_copy, at);
    else if (rc == 0 && list)
        rc = copy_nested(s, list, at, read_only);
    vb_btrfs_nested_free(list);
    if (top >= 0)
        close(top);
    return rc;
}

static int each_inside(const struct vb_ps *s, const char *path, int flags,
                       int (*fn)(const struct vb_ps *s, const char *path, bool arg), bool arg)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    char *inner = NULL;
    int rc = 0;
    enum btrfs_util_error e = btrfs_util_create_subvolume_iterator(path, 0, flags, &it);
    if (e != BTRFS_UTIL_OK)
        return vb_btrfs_failed(s, e, "listing the subvolumes", path);
    while (rc == 0 && (e = btrfs_util_subvolume_iterator_next(it, &inner, NULL)) == BTRFS_UTIL_OK) {
        char *whole = below(path, inner);
        rc = fn(s, whole, arg);
        free(whole);
        free(inner);
    }
    btrfs_util_destroy_subvolume_iterator(it);
    return rc == 0 && e != BTRFS_UTIL_ERROR_STOP_ITERATION ? vb_btrfs_failed(s, e, "listing the subvolumes", path) : rc;
}

static int set_one(const struct vb_ps *s, const char *path, bool read_only)
{
    enum btrfs_util_error e = btrfs_util_set_subvolume_read_only(path, read_only);
    if (e == BTRFS_UTIL_OK)
        return 0;
    return vb_btrfs_failed(s, e, read_only ? "making read-only" : "making writable", path);
}

int vb_btrfs_set_read_only(const struct vb_ps *s, const char *path, bool read_only)
{
    return each_inside(s, path, 0, set_one, read_only) < 0 ? -1 : set_one(s, path, read_only);
}

static int delete_one(const struct vb_ps *s, const char *path, bool arg)
{
    (void)arg;
    enum btrfs_util_error e = btrfs_util_delete_subvolume(path, 0);
    return e == BTRFS_UTIL_OK || errno == ENOENT ? 0 : vb_btrfs_failed(s, e, "deleting the shadow copy", path);
}

static int note_inner(const struct vb_ps *s, const char *path, bool arg)
{
    (void)s, (void)path, (void)arg;
    return 1;
}

/* A shadow copy never holds others, except one whose own were not moved out of it: they do not go with it. */
static int refuse_others(const struct vb_ps *s, const char *path)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    char *inner = NULL;
    int rc = 0;
    enum btrfs_util_error e = btrfs_util_create_subvolume_iterator(path, 0, 0, &it);
    if (e != BTRFS_UTIL_OK)
        return vb_btrfs_failed(s, e, "listing the subvolumes", path);
    while (rc == 0 && (e = btrfs_util_subvolume_iterator_next(it, &inner, NULL)) == BTRFS_UTIL_OK) {
        if (!strncmp(inner, VB_PLACE "/", strlen(VB_PLACE) + 1))
            rc = vb_ps_fail(s, VB_E_PROVIDER_VETO, "Move it out of there, or delete it, first.",
                            "'%s' holds another shadow copy, '%s', and was left alone", path, inner);
        free(inner);
    }
    btrfs_util_destroy_subvolume_iterator(it);
    return rc == 0 && e != BTRFS_UTIL_ERROR_STOP_ITERATION ? vb_btrfs_failed(s, e, "listing the subvolumes", path) : rc;
}

/* To a user read-only means not to be deleted either, and nothing can be deleted inside of what is read-only. */
int vb_btrfs_delete(const struct vb_ps *s, const char *path)
{
    if (refuse_others(s, path) < 0)
        return -1;
    int has_inner = each_inside(s, path, 0, note_inner, false);
    if (has_inner < 0)
        return -1;
    if (has_inner || geteuid() != 0) {
        btrfs_util_set_subvolume_read_only(path, false);
        if (has_inner && vb_btrfs_set_read_only(s, path, false) < 0)
            return -1;
    }
    if (has_inner && each_inside(s, path, BTRFS_UTIL_SUBVOLUME_ITERATOR_POST_ORDER, delete_one, false) < 0)
        return -1;
    return delete_one(s, path, false);
}
