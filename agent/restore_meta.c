/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_meta.c - metadata of what was just made, by descriptor only.
 *
 * Order: owner (clears set-id bits and capabilities), extended attributes with ACLs, mode (whose group bits are the
 * mask of an ACL, as they were recorded), times, flags.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/data_spec.h"
#include "agent/restore_internal.h"

#define EARLY_FLAGS ((uint32_t)(FS_NOCOW_FL | FS_COMPR_FL | FS_CASEFOLD_FL))
#define LATE_FLAGS ((uint32_t)(FS_IMMUTABLE_FL | FS_APPEND_FL))

/* ---- owners ---- */

/* One name looked up; compared in full, because the map is keyed by a hash only. */
struct owner {
    char *name;
    bool found;
    uint32_t id;
};

static uint64_t hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

static bool look_up(struct vb_idmap *map, const char *name, bool is_user, uint32_t *id)
{
    struct owner *o = vb_idmap_get(map, hash(name), 0);
    if (!o || strcmp(o->name, name) != 0) {
        struct owner *fresh = vb_alloc(sizeof *fresh);
        fresh->name = vb_strdup(name);
        const struct passwd *p = is_user ? getpwnam(name) : NULL;
        const struct group *g = is_user ? NULL : getgrnam(name);
        fresh->found = p || g;
        fresh->id = p ? p->pw_uid : g ? g->gr_gid : 0;
        if (o) {
            vb_free_ptr(&o->name);
            vb_free_ptr(&o);
        }
        vb_idmap_set(map, hash(name), 0, fresh);
        o = fresh;
    }
    if (o->found)
        *id = o->id;
    return o->found;
}

static void owner_free(void *p)
{
    struct owner *o = p;
    vb_free_ptr(&o->name);
    vb_free_ptr(&o);
}

void vb_rst_meta_clear(struct vb_restore *r)
{
    vb_idmap_clear(&r->users, owner_free);
    vb_idmap_clear(&r->groups, owner_free);
}

void vb_rst_owner(struct vb_restore *r, const struct vb_tree_entry *e, uid_t *uid, gid_t *gid)
{
    uint32_t id = e->uid;
    if (e->user && e->user[0])
        look_up(&r->users, e->user, true, &id);
    *uid = id;
    id = e->gid;
    if (e->group && e->group[0])
        look_up(&r->groups, e->group, false, &id);
    *gid = id;
}

/* ---- one thing at a time; each returns false with errno ---- */

static bool set_owner(struct vb_restore *r, int fd, const struct vb_tree_entry *e, bool fresh)
{
    uid_t uid;
    gid_t gid;
    struct stat st;
    vb_rst_owner(r, e, &uid, &gid);
    if (fresh && fstat(fd, &st) == 0 && st.st_uid == uid && st.st_gid == gid)
        return true; /* most belong to root: to ask is cheaper than to set */
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0;
}

/* Without root, or without being asked to: the group if we are in it, and a note if the file belongs to somebody else. */
static void set_group_only(struct vb_restore *r, int fd, const struct vb_tree_entry *e)
{
    uid_t uid;
    gid_t gid;
    struct stat st;
    vb_rst_owner(r, e, &uid, &gid);
    if (fstat(fd, &st) < 0)
        return;
    bool group = st.st_gid == gid ||
                 (!r->is_root && fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0);
    if (st.st_uid != uid || !group)
        r->cur->foreign++;
}

static bool set_mode(int fd, const char *proc, mode_t mode)
{
    return (proc ? chmod(proc, mode) : fchmod(fd, mode)) == 0;
}

static bool set_times(int fd, const char *proc, const struct vb_tree_entry *e)
{
    struct timespec t[2] = { { .tv_sec = 0, .tv_nsec = UTIME_OMIT },
                             { .tv_sec = e->mtime_sec, .tv_nsec = (long)e->mtime_nsec } };
    if (!proc)
        return futimens(fd, t) == 0;
    return utimensat(fd, "", t, AT_EMPTY_PATH) == 0 || (errno == EINVAL && utimensat(AT_FDCWD, proc, t, 0) == 0);
}

/* Attributes that give rights, or that only the kernel's own users understand. */
static bool privileged(const char *name)
{
    return !strncmp(name, "security.", 9) || !strncmp(name, "trusted.", 8);
}

/* The flags of `which` become `flags`.  One that this file system does not know does not keep the others away. */
static bool set_flags(int fd, uint32_t which, uint32_t flags)
{
    unsigned now = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &now) < 0)
        return flags == 0;
    unsigned want = (now & ~which) | flags;
    if (want == now || ioctl(fd, FS_IOC_SETFLAGS, &want) == 0)
        return true;
    for (uint32_t bit = 1; bit; bit <<= 1) {
        unsigned one = (now & ~bit) | (flags & bit);
        if ((which & bit) && one != now && ioctl(fd, FS_IOC_SETFLAGS, &one) == 0)
            now = one;
    }
    return (flags & ~now) == 0;
}

static bool set_project(int fd, uint32_t project)
{
    struct fsxattr x;
    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
        return project == 0;
    if (x.fsx_projid == project)
        return true;
    x.fsx_projid = project;
    return ioctl(fd, FS_IOC_FSSETXATTR, &x) == 0 || project == 0;
}

/* ---- together ---- */

struct setting {
    struct vb_restore *r;
    const char *name;
    struct vb_error *err;
    bool lost;
};

static void complain(struct setting *s, int errnum, const char *what, const char *which)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail_errno(&e, errnum, "%s%s%s%s cannot be restored", what, which ? " '" : "", which ? which : "",
                  which ? "'" : "");
    if (!s->lost && vb_rst_warn(s->r, s->name, &e, s->err) < 0)
        s->lost = true;
}

/* Who may do what with it: as root it comes back in full, or the component is not whole. */
static void complain_of_rights(struct setting *s, int errnum, const char *what, const char *which)
{
    if (s->r->is_root && s->r->keep_owner)
        s->r->cur->rights_lost++;
    complain(s, errnum, what, which);
}

static bool gives_rights(const char *xattr)
{
    return !strncmp(xattr, "system.posix_acl_", 17) || !strcmp(xattr, "security.capability");
}

/* The attributes that a new file has from its directory (default ACL) and that the backup does not have. */
static void drop_inherited(int fd, const char *proc, const struct vb_tree_entry *e)
{
    static const char *const acls[] = { "system.posix_acl_access", "system.posix_acl_default" };
    for (size_t i = 0; i < VB_COUNT(acls); i++) {
        bool has = false;
        for (size_t k = 0; k < e->n_xattrs; k++)
            has = has || !strcmp(e->xattrs[k].name, acls[i]);
        if (!has && (i == 0 || e->type == VB_TREE_DIR))
            (void)(proc ? removexattr(proc, acls[i]) : fremovexattr(fd, acls[i]));
    }
}

/* What a file that is kept, or a directory that was there, has of its own and did not have in the backup.  Labels of
 * security modules are this host's, and stay. */
static void drop_foreign(int fd, const struct vb_tree_entry *e, bool trusted)
{
    ssize_t n = flistxattr(fd, NULL, 0);
    if (n <= 0)
        return;
    VB_AUTO_FREE char *names = vb_alloc((size_t)n + 1);
    n = flistxattr(fd, names, (size_t)n);
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
        const char *name = names + at;
        bool ours = !strncmp(name, "user.", 5) || !strcmp(name, "security.capability") ||
                    (trusted && !strncmp(name, "trusted.", 8) && strncmp(name, "trusted.SGI_ACL_", 16) != 0);
        for (size_t i = 0; ours && i < e->n_xattrs; i++)
            ours = strcmp(e->xattrs[i].name, name) != 0;
        if (ours)
            (void)fremovexattr(fd, name);
    }
}

static void set_xattrs(struct setting *s, int fd, const char *proc, const struct vb_tree_entry *e, bool trusted, bool fresh)
{
    if (e->type != VB_TREE_SYMLINK && !fresh)
        drop_inherited(fd, proc, e);
    if (!proc && !fresh)
        drop_foreign(fd, e, trusted);
    for (size_t i = 0; i < e->n_xattrs; i++) {
        const struct vb_xattr *x = &e->xattrs[i];
        if (privileged(x->name) && !trusted) {
            if (!strcmp(x->name, "security.capability"))
                complain(s, EPERM, "extended attribute", x->name);
            continue;
        }
        int rc = proc ? setxattr(proc, x->name, x->value, x->len, 0) : fsetxattr(fd, x->name, x->value, x->len, 0);
        if (rc < 0)
            (gives_rights(x->name) ? complain_of_rights : complain)(s, errno, "extended attribute", x->name);
    }
}

/* Set-id bits only for the owner they were meant for. */
static mode_t allowed_mode(struct setting *s, int fd, const struct vb_tree_entry *e, bool owner_set)
{
    struct stat st;
    mode_t mode = e->mode & 07777;
    if (e->type == VB_TREE_DIR || !(mode & 06000) || owner_set)
        return mode;
    if (fstat(fd, &st) == 0 && st.st_uid == e->uid && st.st_gid == e->gid && !s->r->is_root)
        return mode;
    complain_of_rights(s, EPERM, "set-id bit", NULL);
    return mode & 01777;
}

int vb_rst_meta(struct vb_restore *r, int fd, bool path_only, bool fresh, const struct vb_tree_entry *e, const char *name,
                uint32_t *later, struct vb_error *err)
{
    struct setting s = { r, name, err, false };
    VB_AUTO_FREE char *proc = path_only ? vb_printf("/proc/self/fd/%d", fd) : NULL;
    bool trusted = r->is_root && r->keep_owner, owner_set = false;
    if (trusted) {
        owner_set = set_owner(r, fd, e, fresh);
        if (!owner_set)
            complain_of_rights(&s, errno, "owner", NULL);
    } else {
        set_group_only(r, fd, e);
    }
    set_xattrs(&s, fd, proc, e, trusted, fresh);
    if (e->type != VB_TREE_SYMLINK && !set_mode(fd, proc, allowed_mode(&s, fd, e, owner_set)))
        complain_of_rights(&s, errno, "mode", NULL);
    if (!set_times(fd, proc, e))
        complain(&s, errno, "time of modification", NULL);
    bool flagged = (e->inode_flags & VB_KEPT_INODE_FLAGS) || e->project;
    if ((e->type == VB_TREE_FILE || e->type == VB_TREE_DIR) && (flagged || !fresh)) {
        uint32_t flags = e->inode_flags & VB_KEPT_INODE_FLAGS;
        if (later) {
            *later = flags & LATE_FLAGS;
            flags &= ~LATE_FLAGS;
        }
        bool project = set_project(fd, e->project), rest = set_flags(fd, VB_KEPT_INODE_FLAGS, flags);
        if (!project || !rest)
            r->cur->flags_lost++;
    }
    return s.lost ? -1 : 0;
}

bool vb_rst_is_plain(int dirfd)
{
    unsigned flags = 0;
    struct stat st;
    struct fsxattr x = { .fsx_projid = 0 };
    if (fstat(dirfd, &st) < 0 || (st.st_mode & S_ISGID) || st.st_uid != geteuid())
        return false;
    if (ioctl(dirfd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & VB_KEPT_INODE_FLAGS))
        return false;
    if (ioctl(dirfd, FS_IOC_FSGETXATTR, &x) == 0 && (x.fsx_projid || (x.fsx_xflags & FS_XFLAG_PROJINHERIT)))
        return false;
    return fgetxattr(dirfd, "system.posix_acl_default", NULL, 0) < 0 && (errno == ENODATA || errno == EOPNOTSUPP);
}

void vb_rst_early_flags(int fd, const struct vb_tree_entry *e)
{
    set_flags(fd, EARLY_FLAGS, e->inode_flags & EARLY_FLAGS);
}

bool vb_rst_late_flags(int fd, uint32_t flags)
{
    return set_flags(fd, flags, flags);
}
