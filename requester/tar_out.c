/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tar stream through libarchive. */
#include "config.h"

#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <errno.h>
#include <linux/posix_acl_xattr.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "requester/tar_out.h"

#define BLOCK 262144
#define LAST_BLOCK 10240 /* what tar programs expect the size to be a multiple of */

struct link {
    unsigned space;
    uint64_t group; /* 0: free */
    char *name;
};

struct vb_tar_out {
    struct vb_repo *repo;
    struct archive *a;
    struct archive_entry *entry;
    struct link *links; /* open addressing; size is a power of two */
    size_t n_links, size;
    struct vb_buf chunk;
};

static int failed(struct vb_tar_out *t, struct vb_error *err)
{
    int e = archive_errno(t->a);
    const char *text = archive_error_string(t->a);
    if (e == EPIPE)
        return vb_fail(err, VB_E_CANCELLED, "nobody reads the archive any more");
    return vb_fail(err, e == ENOSPC ? VB_E_NO_SPACE : VB_E_IO, "the archive cannot be written: %s",
                   text ? text : "no reason was given");
}

struct vb_tar_out *vb_tar_out_new(struct vb_repo *repo, int fd, struct vb_error *err)
{
    struct vb_tar_out *t = vb_alloc(sizeof *t);
    t->repo = repo;
    /* Names are bytes; libarchive passes on as they are those that are UTF-8, and marks the others as binary. */
    setlocale(LC_CTYPE, "C.UTF-8");
    t->a = archive_write_new();
    t->entry = archive_entry_new();
    if (!t->a || !t->entry || archive_write_set_format_pax(t->a) != ARCHIVE_OK ||
        archive_write_set_format_option(t->a, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(t->a, BLOCK) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(t->a, LAST_BLOCK) != ARCHIVE_OK ||
        archive_write_open_fd(t->a, fd) != ARCHIVE_OK) {
        if (t->a)
            failed(t, err);
        else
            vb_fail(err, VB_E_UNEXPECTED, "libarchive cannot be used");
        vb_tar_out_free(t);
        return NULL;
    }
    return t;
}

void vb_tar_out_free(struct vb_tar_out *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->size; i++)
        free(t->links[i].name);
    free(t->links);
    archive_entry_free(t->entry);
    if (t->a)
        archive_write_fail(t->a); /* no end mark for an archive that is not whole; harmless once it was closed */
    archive_write_free(t->a);
    vb_buf_clear(&t->chunk);
    free(t);
}

int vb_tar_out_finish(struct vb_tar_out *t, struct vb_error *err)
{
    return archive_write_close(t->a) == ARCHIVE_OK ? 0 : failed(t, err);
}

/* ---- hard links ---- */

static struct link *slot(struct link *v, size_t size, unsigned space, uint64_t group)
{
    uint64_t h = (group ^ ((uint64_t)space << 32)) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 20) & (size - 1);
    while (v[i].group && (v[i].group != group || v[i].space != space))
        i = (i + 1) & (size - 1);
    return &v[i];
}

/* The name under which this file stands in the archive already, or NULL: then it does from now on. */
static const char *first_name(struct vb_tar_out *t, unsigned space, uint64_t group, const char *name)
{
    if (2 * (t->n_links + 1) > t->size) {
        size_t size = t->size ? 2 * t->size : 64;
        struct link *v = vb_alloc_n(size, sizeof *v);
        for (size_t i = 0; i < t->size; i++)
            if (t->links[i].group)
                *slot(v, size, t->links[i].space, t->links[i].group) = t->links[i];
        free(t->links);
        t->links = v;
        t->size = size;
    }
    struct link *l = slot(t->links, t->size, space, group);
    if (l->group)
        return l->name;
    *l = (struct link){ space, group, vb_strdup(name) };
    t->n_links++;
    return NULL;
}

/* ---- attributes ---- */

static uint16_t le16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static uint32_t le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

/* The kernel's form of an ACL: version, then tag, permissions and number of each entry, little endian. */
static bool add_acl(struct archive_entry *to, int type, const struct vb_xattr *x)
{
    static const struct { uint16_t tag; int ours; } tags[] = {
        { 0x01, ARCHIVE_ENTRY_ACL_USER_OBJ },  { 0x02, ARCHIVE_ENTRY_ACL_USER }, { 0x04, ARCHIVE_ENTRY_ACL_GROUP_OBJ },
        { 0x08, ARCHIVE_ENTRY_ACL_GROUP },     { 0x10, ARCHIVE_ENTRY_ACL_MASK }, { 0x20, ARCHIVE_ENTRY_ACL_OTHER },
    };
    const uint8_t *p = x->value;
    if (x->len < 4 || (x->len - 4) % 8 != 0 || le32(p) != POSIX_ACL_XATTR_VERSION)
        return false;
    for (size_t at = 4; at < x->len; at += 8) {
        size_t k = 0;
        while (k < VB_COUNT(tags) && tags[k].tag != le16(p + at))
            k++;
        if (k == VB_COUNT(tags))
            return false;
        bool named = tags[k].tag == 0x02 || tags[k].tag == 0x08;
        if (archive_entry_acl_add_entry(to, type, le16(p + at + 2) & 7, tags[k].ours,
                                        named ? (int)le32(p + at + 4) : -1, NULL) != ARCHIVE_OK)
            return false;
    }
    return true;
}

static void add_attributes(struct archive_entry *to, const struct vb_tree_entry *e)
{
    for (size_t i = 0; i < e->n_xattrs; i++) {
        const struct vb_xattr *x = &e->xattrs[i];
        if (strcmp(x->name, "system.posix_acl_access") == 0 && add_acl(to, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, x))
            continue;
        if (strcmp(x->name, "system.posix_acl_default") == 0 && add_acl(to, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, x))
            continue;
        archive_entry_xattr_add_entry(to, x->name, x->value, x->len);
    }
    if (e->inode_flags)
        archive_entry_set_fflags(to, e->inode_flags, 0);
}

static unsigned kind_of(enum vb_tree_type type)
{
    switch (type) {
    case VB_TREE_FILE: return AE_IFREG;
    case VB_TREE_DIR: return AE_IFDIR;
    case VB_TREE_SYMLINK: return AE_IFLNK;
    case VB_TREE_FIFO: return AE_IFIFO;
    case VB_TREE_CHAR: return AE_IFCHR;
    case VB_TREE_BLOCK: return AE_IFBLK;
    case VB_TREE_SOCKET: break;
    }
    return 0;
}

/* libarchive is told where there are data, not where there are holes. */
static void add_data_ranges(struct archive_entry *to, const struct vb_tree_entry *e)
{
    uint64_t at = 0;
    for (size_t i = 0; i < e->n_holes; i++) {
        if (e->holes[i].offset > at)
            archive_entry_sparse_add_entry(to, (la_int64_t)at, (la_int64_t)(e->holes[i].offset - at));
        at = e->holes[i].offset + e->holes[i].len;
    }
    archive_entry_sparse_add_entry(to, (la_int64_t)at, (la_int64_t)(e->size - at));
}

/* ---- content ---- */

struct content {
    struct vb_tar_out *t;
    const struct vb_tree_entry *e;
    uint64_t at;
    size_t hole;
};

static int put(struct vb_tar_out *t, const void *p, size_t n, struct vb_error *err)
{
    for (size_t done = 0; done < n;) {
        la_ssize_t w = archive_write_data(t->a, (const char *)p + done, n - done);
        if (w <= 0)
            return failed(t, err);
        done += (size_t)w;
    }
    return 0;
}

/* Holes are fed as zeros; libarchive drops them again. */
static int put_holes(struct content *c, struct vb_error *err)
{
    static const char zeros[65536];
    for (; c->hole < c->e->n_holes && c->e->holes[c->hole].offset == c->at; c->hole++)
        for (uint64_t left = c->e->holes[c->hole].len; left > 0;) {
            size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
            if (put(c->t, zeros, n, err) < 0)
                return -1;
            left -= n;
            c->at += n;
        }
    return 0;
}

static int put_chunk(void *arg, const struct vb_name *name, uint64_t size, struct vb_error *err)
{
    struct content *c = arg;
    (void)size;
    vb_buf_reset(&c->t->chunk);
    if (vb_repo_get(c->t->repo, VB_CHUNK_DATA, name, &c->t->chunk, err) < 0)
        return -1;
    const uint8_t *p = c->t->chunk.data;
    for (size_t left = c->t->chunk.len; left > 0;) {
        if (put_holes(c, err) < 0)
            return -1;
        uint64_t until = c->hole < c->e->n_holes ? c->e->holes[c->hole].offset : UINT64_MAX;
        size_t n = until - c->at < left ? (size_t)(until - c->at) : left;
        if (put(c->t, p, n, err) < 0)
            return -1;
        p += n;
        left -= n;
        c->at += n;
    }
    return 0;
}

static int put_content(struct vb_tar_out *t, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct content c = { t, e, 0, 0 };
    if (vb_content_walk(t->repo, &e->content, put_chunk, &c, err) != 0 || put_holes(&c, err) < 0)
        return -1;
    return c.at == e->size ? 0 : vb_fail(err, VB_E_CORRUPT, "its content has %llu bytes instead of %llu",
                                         (unsigned long long)c.at, (unsigned long long)e->size);
}

int vb_tar_out_add(struct vb_tar_out *t, const char *name, unsigned group_space, const struct vb_tree_entry *e,
                   struct vb_error *err)
{
    struct archive_entry *to = archive_entry_clear(t->entry);
    unsigned kind = kind_of(e->type);
    if (!kind)
        return 1;
    const char *first = e->link_group ? first_name(t, group_space, e->link_group, name) : NULL;
    archive_entry_copy_pathname(to, name);
    archive_entry_set_filetype(to, kind);
    archive_entry_set_perm(to, (mode_t)(e->mode & 07777));
    archive_entry_set_uid(to, e->uid);
    archive_entry_set_gid(to, e->gid);
    if (e->user && *e->user)
        archive_entry_copy_uname(to, e->user);
    if (e->group && *e->group)
        archive_entry_copy_gname(to, e->group);
    archive_entry_set_mtime(to, e->mtime_sec, (long)e->mtime_nsec);
    if (first) {
        archive_entry_copy_hardlink(to, first);
    } else {
        add_attributes(to, e);
        if (e->type == VB_TREE_SYMLINK)
            archive_entry_copy_symlink(to, e->target);
        if (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK) {
            archive_entry_set_rdevmajor(to, e->rdev_major);
            archive_entry_set_rdevminor(to, e->rdev_minor);
        }
        if (e->type == VB_TREE_FILE) {
            archive_entry_set_size(to, (la_int64_t)e->size);
            if (e->n_holes)
                add_data_ranges(to, e);
        }
    }
    int rc = archive_write_header(t->a, to);
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return failed(t, err);
    if (e->type == VB_TREE_FILE && !first && put_content(t, e, err) < 0) {
        vb_context(err, "'%s'", name);
        return -1;
    }
    return 0;
}
