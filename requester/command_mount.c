/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup mount: the backups as a file system (FUSE 3), read-only, in the foreground until it is unmounted or interrupted.
 */
#include "config.h"

#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/mount_tree.h"

#define FOREVER 86400.0 /* backups do not change */

static struct vb_mount_tree *tree_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct vb_mount_node *node_of(fuse_req_t req, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? vb_mount_tree_root(tree_of(req)) : (struct vb_mount_node *)(uintptr_t)ino;
}

/* What is damaged is an error of the disk to whoever reads; the reason is told here. */
static int errno_of(const struct vb_mount_node *n, const struct vb_error *err)
{
    if (err->code == VB_E_OBJECT_NOT_FOUND)
        return ENOENT;
    vb_log(VB_LOG_WARNING, "'%s': %s", n->name, vb_error_text(err));
    return EIO;
}

static mode_t kind_of(enum vb_tree_type type)
{
    switch (type) {
    case VB_TREE_FILE: return S_IFREG;
    case VB_TREE_DIR: return S_IFDIR;
    case VB_TREE_SYMLINK: return S_IFLNK;
    case VB_TREE_FIFO: return S_IFIFO;
    case VB_TREE_SOCKET: return S_IFSOCK;
    case VB_TREE_CHAR: return S_IFCHR;
    case VB_TREE_BLOCK: return S_IFBLK;
    }
    return S_IFREG;
}

static void stat_of(fuse_req_t req, const struct vb_mount_node *n, struct stat *st)
{
    memset(st, 0, sizeof *st);
    st->st_ino = n == vb_mount_tree_root(tree_of(req)) ? FUSE_ROOT_ID : (ino_t)(uintptr_t)n;
    st->st_mode = kind_of(n->type) | (mode_t)(n->mode & 07777);
    st->st_nlink = n->type == VB_TREE_DIR ? 2 : 1;
    st->st_uid = n->uid;
    st->st_gid = n->gid;
    st->st_rdev = makedev(n->rdev_major, n->rdev_minor);
    st->st_size = (off_t)n->size;
    st->st_blksize = 131072;
    st->st_blocks = (blkcnt_t)((n->size + 511) / 512);
    st->st_mtim.tv_sec = n->mtime_sec;
    st->st_mtim.tv_nsec = n->mtime_nsec;
    st->st_atim = st->st_ctim = st->st_mtim;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_mount_tree *t = tree_of(req);
    struct fuse_entry_param e;
    struct vb_mount_node *dir = node_of(req, parent), *n = vb_mount_lookup(t, dir, name, &err);
    memset(&e, 0, sizeof e);
    e.attr_timeout = e.entry_timeout = FOREVER;
    if (!n) {
        int number = errno_of(dir, &err);
        if (number == ENOENT)
            fuse_reply_entry(req, &e); /* remembered as not there */
        else
            fuse_reply_err(req, number);
        return;
    }
    if (vb_mount_resolve(t, n, &err) < 0) {
        fuse_reply_err(req, errno_of(n, &err));
        vb_mount_drop(t, n, 1);
        return;
    }
    e.ino = (fuse_ino_t)(uintptr_t)n;
    stat_of(req, n, &e.attr);
    if (fuse_reply_entry(req, &e) != 0)
        vb_mount_drop(t, n, 1);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t times)
{
    if (ino != FUSE_ROOT_ID)
        vb_mount_drop(tree_of(req), node_of(req, ino), times);
    fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        if (forgets[i].ino != FUSE_ROOT_ID)
            vb_mount_drop(tree_of(req), node_of(req, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_mount_node *n = node_of(req, ino);
    struct stat st;
    (void)fi;
    if (vb_mount_resolve(tree_of(req), n, &err) < 0) {
        fuse_reply_err(req, errno_of(n, &err));
        return;
    }
    stat_of(req, n, &st);
    fuse_reply_attr(req, &st, FOREVER);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
    const struct vb_mount_node *n = node_of(req, ino);
    if (n->target)
        fuse_reply_readlink(req, n->target);
    else
        fuse_reply_err(req, EINVAL);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
        return;
    }
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    struct vb_mount_node *n = node_of(req, ino);
    (void)fi;
    if (n->type != VB_TREE_FILE)
        fuse_reply_err(req, EISDIR);
    else if (vb_mount_read(tree_of(req), n, (uint64_t)offset, size, &out, &err) < 0)
        fuse_reply_err(req, errno_of(n, &err));
    else
        fuse_reply_buf(req, (const char *)out.data, out.len);
}

/* ---- directories: the names are gathered when one is opened ---- */

struct listed {
    char *name;
    mode_t kind;
};

struct open_dir {
    struct listed *v;
    size_t n, cap;
};

static int take(void *arg, const char *name, enum vb_tree_type type)
{
    struct open_dir *d = arg;
    VB_GROW(d->v, d->n, d->cap);
    d->v[d->n++] = (struct listed){ vb_strdup(name), kind_of(type) };
    return 0;
}

static void free_dir(struct open_dir *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->v[i].name);
    free(d->v);
    free(d);
}

static void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_mount_node *n = node_of(req, ino);
    struct open_dir *d = vb_alloc(sizeof *d);
    take(d, ".", VB_TREE_DIR);
    take(d, "..", VB_TREE_DIR);
    if (vb_mount_list(tree_of(req), n, take, d, &err) != 0) {
        free_dir(d);
        fuse_reply_err(req, errno_of(n, &err));
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)d;
    fi->keep_cache = 1;
    fi->cache_readdir = 1;
    if (fuse_reply_open(req, fi) != 0)
        free_dir(d);
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    const struct open_dir *d = (const struct open_dir *)(uintptr_t)fi->fh;
    VB_AUTO_FREE char *out = vb_alloc(size);
    size_t used = 0;
    (void)ino;
    for (size_t i = offset > 0 ? (size_t)offset : 0; i < d->n; i++) {
        struct stat st = { .st_mode = d->v[i].kind, .st_ino = i + 2 };
        size_t need = fuse_add_direntry(req, out + used, size - used, d->v[i].name, &st, (off_t)i + 1);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, out, used);
}

static void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    free_dir((struct open_dir *)(uintptr_t)fi->fh);
    fuse_reply_err(req, 0);
}

/* ---- the rest ---- */

static void reply_value(fuse_req_t req, const void *p, size_t n, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, n);
    else if (n > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, p, n);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    const struct vb_mount_node *n = node_of(req, ino);
    for (size_t i = 0; i < n->n_xattrs; i++)
        if (strcmp(n->xattrs[i].name, name) == 0) {
            reply_value(req, n->xattrs[i].value, n->xattrs[i].len, size);
            return;
        }
    fuse_reply_err(req, ENODATA);
}

static void do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    const struct vb_mount_node *n = node_of(req, ino);
    VB_AUTO_BUF names = VB_BUF_INIT;
    for (size_t i = 0; i < n->n_xattrs; i++)
        vb_buf_add(&names, n->xattrs[i].name, strlen(n->xattrs[i].name) + 1);
    reply_value(req, names.data, names.len, size);
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = VB_TREE_MAX_NAME, .f_flag = ST_RDONLY };
    (void)ino;
    fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = do_lookup,     .forget = do_forget,         .forget_multi = do_forget_multi, .getattr = do_getattr,
    .readlink = do_readlink, .open = do_open,             .read = do_read,                 .opendir = do_opendir,
    .readdir = do_readdir,   .releasedir = do_releasedir, .getxattr = do_getxattr,         .listxattr = do_listxattr,
    .statfs = do_statfs,
};

/* ---- the verb ---- */

static char *last_message; /* of the library, which prints instead of telling */

static void keep_message(enum fuse_log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void keep_message(enum fuse_log_level level, const char *fmt, va_list ap)
{
    if (level > FUSE_LOG_ERR)
        return;
    free(last_message);
    last_message = vb_vprintf(fmt, ap);
    size_t n = strlen(last_message);
    while (n > 0 && last_message[n - 1] == '\n')
        last_message[--n] = '\0';
}

static int refuse(const char *what, const char *where, struct vb_error *err)
{
    vb_fail(err, VB_E_PREREQUISITE, "%s '%s': %s", what, where, last_message ? last_message : "no reason was given");
    vb_hint(err, "a directory of your own, /dev/fuse and, for ordinary users, fusermount3 are needed: apt-get install fuse3; "
                 "--allow-other needs 'user_allow_other' in /etc/fuse.conf");
    return -1;
}

static void announce(const struct vb_cli *cli, const char *where, size_t backups)
{
    if (cli->json) {
        json_t *o = vb_cli_message("mounted");
        json_object_set_new(o, "directory", vb_cli_text(where));
        json_object_set_new(o, "backups", json_integer((json_int_t)backups));
        vb_cli_json(o);
    } else if (!cli->quiet) {
        printf("%zu backup%s mounted at '%s'; interrupt this, or unmount it, to end\n", backups, backups == 1 ? "" : "s", where);
        fflush(stdout);
    }
}

static int serve(struct vb_cli *cli, struct vb_mount_tree *t, const char *where, struct vb_error *err)
{
    bool others = vb_cli_flag(cli, "allow-other");
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    fuse_set_log_func(keep_message);
    fuse_opt_add_arg(&args, "vbackup");
    fuse_opt_add_arg(&args, "-o");
    fuse_opt_add_arg(&args, others ? "ro,nosuid,nodev,fsname=vbackup,subtype=vbackup,allow_other,default_permissions"
                                   : "ro,nosuid,nodev,fsname=vbackup,subtype=vbackup");
    struct fuse_session *se = fuse_session_new(&args, &operations, sizeof operations, t);
    int rc = se ? 0 : refuse("cannot mount at", where, err);
    if (rc == 0 && fuse_set_signal_handlers(se) != 0)
        rc = refuse("cannot take signals for", where, err);
    if (rc == 0 && fuse_session_mount(se, where) != 0) {
        rc = refuse("cannot mount at", where, err);
        fuse_remove_signal_handlers(se);
    } else if (rc == 0) {
        announce(cli, where, vb_mount_tree_backups(t));
        int ended = fuse_session_loop(se); /* a signal is no failure */
        fuse_remove_signal_handlers(se);
        fuse_session_unmount(se);
        if (ended < 0)
            rc = vb_fail_errno(err, -ended, "'%s': file system", where);
    }
    if (se)
        fuse_session_destroy(se);
    fuse_opt_free_args(&args);
    vb_free_ptr(&last_message);
    return rc;
}

static int run_mount(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stat st;
    size_t damaged = 0;
    struct vb_repo *r = NULL;
    struct vb_mount_tree *t = NULL;
    const char *where = cli->argv[0];
    int rc = 0;
    if (stat(where, &st) < 0)
        rc = vb_fail_errno(&err, errno, "'%s'", where);
    else if (!S_ISDIR(st.st_mode))
        rc = vb_fail(&err, VB_E_USAGE, "'%s' is not a directory", where);
    VB_AUTO_FREE char *full = rc == 0 ? realpath(where, NULL) : NULL;
    if (rc == 0 && !full)
        rc = vb_fail_errno(&err, errno, "'%s'", where);
    if (rc == 0 && (!(r = vb_cli_open(cli, VB_REPO_READ, &err)) ||
                    !(t = vb_mount_tree_new(r, vb_cli_opt(cli, "host"), &damaged, &err))))
        rc = -1;
    if (rc == 0)
        rc = serve(cli, t, full, &err);
    vb_mount_tree_free(t);
    vb_repo_close(r);
    return rc < 0 ? vb_cli_fail(cli, &err) : damaged ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}

static const struct vb_opt mount_opts[] = {
    { "host", 0, "HOST", "only what came from this host" },
    { "allow-other", 0, NULL, "other users may look, as far as owners and modes of the files let them" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_mount = { "mount", "DIR", "show the backups as a file system", mount_opts, 1, 1, run_mount };
