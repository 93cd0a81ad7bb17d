/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/item_attrs.c - extended attributes as one list, and everything that is set on a file that was received. */
#include <config.h>
#include <errno.h>
#include <grp.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "replica/item_file.h"

#define LIST_MAX (1u << 20)
#define VALUE_MAX 65536u

/* Which are replicated.  On links only what a privileged replica may have there. */
static bool is_kept(const struct vb_place *p, const char *name, bool is_link)
{
    if (!strncmp(name, "user.", 5) || !strncmp(name, "system.posix_acl_", 17))
        return !is_link;
    return p->set.owners && !strcmp(name, "security.capability") && !is_link;
}

static ssize_t list_names(int fd, const char *proc, char *names, size_t n)
{
    return proc ? listxattr(proc, names, n) : flistxattr(fd, names, n);
}

static int collect(struct vb_place *p, int fd, const char *proc, bool is_link, struct vb_strv *names, struct vb_error *err)
{
    ssize_t n = list_names(fd, proc, NULL, 0);
    if (n <= 0)
        return n == 0 || errno == ENOTSUP || errno == EPERM || errno == ENOENT ? 0 : vb_fail_errno(err, errno, "extended attributes");
    VB_AUTO_FREE char *list = vb_alloc(LIST_MAX);
    n = list_names(fd, proc, list, LIST_MAX);
    if (n < 0)
        return vb_fail_errno(err, errno, "extended attributes");
    for (char *at = list; at < list + n; at += strlen(at) + 1)
        if (is_kept(p, at, is_link))
            vb_strv_add(names, at);
    vb_strv_sort(names);
    return 0;
}

int vb_file_attrs(struct vb_place *p, int fd, bool proc, bool is_link, struct vb_buf *out, struct vb_error *err)
{
    VB_AUTO_FREE char *path = proc ? vb_printf("/proc/self/fd/%d", fd) : NULL;
    struct vb_strv names = { NULL, 0, 0 };
    /* Nothing of a link is kept, and /proc would lead to its target. */
    int result = is_link ? 0 : collect(p, fd, path, is_link, &names, err);
    VB_AUTO_FREE char *value = names.n ? vb_alloc(VALUE_MAX) : NULL;
    for (size_t i = 0; i < names.n && result == 0; i++) {
        ssize_t n = path ? getxattr(path, names.v[i], value, VALUE_MAX) : fgetxattr(fd, names.v[i], value, VALUE_MAX);
        if (n < 0 && errno == ENODATA)
            continue;
        if (n < 0) {
            result = vb_fail_errno(err, errno, "extended attribute '%s'", names.v[i]);
            break;
        }
        vb_buf_add_u16(out, (uint16_t)strlen(names.v[i]));
        vb_buf_add_str(out, names.v[i]);
        vb_buf_add_u32(out, (uint32_t)n);
        vb_buf_add(out, value, (size_t)n);
    }
    vb_strv_clear(&names);
    return result;
}

void vb_attrs_hash(const void *p, size_t n, unsigned char out[VB_HASH_LEN])
{
    if (n)
        vb_hash(p, n, out);
    else
        memset(out, 0, VB_HASH_LEN);
}

static bool next_attr(struct vb_reader *r, char **name, const unsigned char **value, uint32_t *len)
{
    uint16_t n;
    const unsigned char *text;
    if (!r->left || !vb_get_u16(r, &n) || !n || n > 255 || !vb_get_bytes(r, n, &text) || memchr(text, 0, n) || !vb_get_u32(r, len) ||
        *len > VALUE_MAX || !vb_get_bytes(r, *len, value))
        return false;
    *name = vb_strndup((const char *)text, n);
    return true;
}

bool vb_attrs_good(const void *p, size_t n)
{
    struct vb_reader r;
    const unsigned char *value;
    uint32_t len;
    char *name;
    vb_reader_init(&r, p, n);
    while (next_attr(&r, &name, &value, &len)) {
        bool known = !strncmp(name, "user.", 5) || !strncmp(name, "system.posix_acl_", 17) || !strcmp(name, "security.capability");
        vb_free_ptr(&name);
        if (!known)
            return false;
    }
    return r.left == 0 && !r.bad;
}

/* ---- setting ---- */

static bool part_id(const char *text, bool user, uint32_t *id)
{
    const struct passwd *u = user ? getpwnam(text) : NULL;
    const struct group *g = user ? NULL : getgrnam(text);
    *id = u ? u->pw_uid : g ? g->gr_gid : 0;
    return u || g || vb_parse_u32(text, id);
}

static int set_owner(int fd, const struct vb_item *item, struct vb_error *err)
{
    uint32_t uid, gid;
    const char *colon = item->owner ? strchr(item->owner, ':') : NULL;
    if (!colon)
        return 0;
    VB_AUTO_FREE char *user = vb_strndup(item->owner, (size_t)(colon - item->owner));
    if (!part_id(user, true, &uid) || !part_id(colon + 1, false, &gid)) {
        vb_fail(err, VB_E_PREREQUISITE, "'%s': owner '%s' is not known here", item->path, item->owner);
        vb_hint(err, "make that user and group, or replicate without owners");
        return -1;
    }
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0
               ? 0
               : vb_fail_errno(err, errno, "'%s': owner '%s'", item->path, item->owner);
}

static int set_attrs(struct vb_place *p, int fd, const char *proc, const struct vb_item *item, const void *attrs, size_t n,
                     struct vb_error *err)
{
    struct vb_strv have = { NULL, 0, 0 };
    struct vb_reader r;
    const unsigned char *value;
    uint32_t len;
    char *name;
    int result = collect(p, fd, proc, false, &have, err);
    vb_reader_init(&r, attrs, n);
    while (result == 0 && next_attr(&r, &name, &value, &len)) {
        for (size_t i = 0; i < have.n; i++)
            if (!strcmp(have.v[i], name))
                have.v[i][0] = 0;
        if (!is_kept(p, name, false))
            result = vb_fail(err, VB_E_GUARD, "'%s': attribute '%s' is not replicated here", item->path, name);
        else if ((proc ? setxattr(proc, name, value, len, 0) : fsetxattr(fd, name, value, len, 0)) < 0)
            result = vb_fail_errno(err, errno, "'%s': extended attribute '%s'", item->path, name);
        vb_free_ptr(&name);
    }
    for (size_t i = 0; i < have.n && result == 0; i++)
        if (have.v[i][0] && (proc ? removexattr(proc, have.v[i]) : fremovexattr(fd, have.v[i])) < 0 && errno != ENODATA)
            result = vb_fail_errno(err, errno, "'%s': extended attribute '%s'", item->path, have.v[i]);
    vb_strv_clear(&have);
    return result;
}

int vb_file_set(struct vb_place *p, int fd, bool proc, const struct vb_item *item, const void *attrs, size_t n, struct vb_error *err)
{
    VB_AUTO_FREE char *path = proc ? vb_printf("/proc/self/fd/%d", fd) : NULL;
    const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
                                       { .tv_sec = (time_t)(item->mtime_ns / 1000000000 - (item->mtime_ns % 1000000000 < 0)),
                                         .tv_nsec = (long)((item->mtime_ns % 1000000000 + 1000000000) % 1000000000) } };
    mode_t mode = (mode_t)(item->mode & (p->set.owners ? 07777u : 01777u));
    if (p->set.owners && set_owner(fd, item, err) < 0)
        return -1;
    if (item->kind != VB_ITEM_LINK &&
        (set_attrs(p, fd, path, item, attrs, n, err) < 0 ||
         ((path ? chmod(path, mode) : fchmod(fd, mode)) < 0 && vb_fail_errno(err, errno, "'%s': mode", item->path) < 0)))
        return -1;
    int rc = path ? utimensat(fd, "", times, AT_EMPTY_PATH) : futimens(fd, times);
    if (rc < 0 && path && errno == EINVAL && item->kind != VB_ITEM_LINK)
        rc = utimensat(AT_FDCWD, path, times, 0);
    return rc == 0 ? 0 : vb_fail_errno(err, errno, "'%s': time", item->path);
}
