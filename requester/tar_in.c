/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tar archive as a file set: see tar_in.h.  Names and attributes are in memory until the end, content is not. */
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
#include <unistd.h>

#include "base/mem.h"
#include "requester/tar_in.h"

#define MAX_DEPTH 1000u
#define MAX_NODES 50000000u
#define READ_SIZE 262144u
#define END_MARK 1024u /* zero bytes behind the last entry of every archive that is whole */

struct node {
    char *name;
    struct node **kids; /* sorted */
    size_t n, cap;
    bool given;         /* the archive says what it is; else it is only a part of names */
    struct vb_tree_entry e; /* its pointers are owned, but for those of content */
};

struct vb_tar_in {
    struct vb_repo *repo;
    uint32_t group;
    struct vb_namer *namer;
    struct vb_codec *codec;
    struct vb_cutter *cutter;
    struct vb_content_builder *builder;
    struct node *root;
    size_t nodes;
    uint64_t link_groups;
    struct vb_buf piece, stored;
    /* of the running archive */
    int fd, errnum;
    uint64_t got;   /* bytes read */
    uint64_t zeros; /* of them, at the end */
    uint64_t end;   /* of the last entry, with what pads it */
    char *block;
    void (*on_chunk)(void *arg);
    void *on_chunk_arg;
};

void vb_tar_in_on_chunk(struct vb_tar_in *t, void (*fn)(void *arg), void *arg)
{
    t->on_chunk = fn;
    t->on_chunk_arg = arg;
}

/* ---- chunks ---- */

static int emit(void *arg, enum vb_chunk_type type, const void *p, size_t n, struct vb_name *name, struct vb_error *err)
{
    struct vb_tar_in *t = arg;
    uint8_t encoding = VB_ENC_RAW;
    bool there;
    if (t->on_chunk)
        t->on_chunk(t->on_chunk_arg);
    vb_namer_name(t->namer, type, p, n, name);
    vb_repo_has_in(t->repo, t->group, name, 1, &there);
    if (there)
        return 0;
    vb_buf_reset(&t->stored);
    if (vb_codec_compress(t->codec, p, n, &t->stored, &encoding, err) < 0)
        return -1;
    return vb_repo_put_in(t->repo, t->group, type, name, n, encoding, t->stored.data, t->stored.len, err);
}

static int end_of_piece(struct vb_tar_in *t, struct vb_error *err)
{
    struct vb_name name;
    size_t n = t->piece.len;
    if (n == 0)
        return 0;
    if (emit(t, VB_CHUNK_DATA, t->piece.data, n, &name, err) < 0)
        return -1;
    vb_buf_reset(&t->piece);
    return vb_content_builder_add(t->builder, &name, n, err);
}

static int put_data(struct vb_tar_in *t, const void *data, size_t n, struct vb_error *err)
{
    const unsigned char *p = data;
    while (n > 0) {
        bool end = false;
        size_t k = vb_cutter_feed(t->cutter, p, n, &end);
        vb_buf_add(&t->piece, p, k);
        p += k;
        n -= k;
        if (end && end_of_piece(t, err) < 0)
            return -1;
    }
    return 0;
}

static int end_of_file(struct vb_tar_in *t, struct vb_content *content, struct vb_error *err)
{
    vb_cutter_reset(t->cutter);
    return end_of_piece(t, err) < 0 ? -1 : vb_content_builder_finish(t->builder, content, err);
}

/* ---- names ---- */

static void clear_entry(struct vb_tree_entry *e)
{
    free((char *)(uintptr_t)e->user);
    free((char *)(uintptr_t)e->group);
    free((char *)(uintptr_t)e->target);
    for (size_t i = 0; i < e->n_xattrs; i++) {
        free((char *)(uintptr_t)e->xattrs[i].name);
        free((void *)(uintptr_t)e->xattrs[i].value);
    }
    free((struct vb_xattr *)(uintptr_t)e->xattrs);
    free((struct vb_hole *)(uintptr_t)e->holes);
    vb_content_clear(&e->content);
    memset(e, 0, sizeof *e);
}

static void free_node(struct node *n)
{
    for (size_t i = 0; i < n->n; i++)
        free_node(n->kids[i]); /* not deeper than MAX_DEPTH */
    clear_entry(&n->e);
    free(n->kids);
    free(n->name);
    free(n);
}

/* Where a name is, or would stand. */
static bool find_kid(const struct node *dir, const char *name, size_t *at)
{
    size_t lo = 0, hi = dir->n;
    if (hi > 0 && strcmp(dir->kids[hi - 1]->name, name) < 0)
        lo = hi; /* most archives are in order */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(dir->kids[mid]->name, name);
        if (c == 0) {
            *at = mid;
            return true;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *at = lo;
    return false;
}

static struct node *add_kid(struct vb_tar_in *t, struct node *dir, char *name, size_t at)
{
    struct node *n = vb_alloc(sizeof *n);
    n->name = name;
    n->e.type = VB_TREE_DIR;
    n->e.mode = 0755;
    VB_GROW(dir->kids, dir->n, dir->cap);
    memmove(&dir->kids[at + 1], &dir->kids[at], (dir->n - at) * sizeof *dir->kids);
    dir->kids[at] = n;
    dir->n++;
    t->nodes++;
    return n;
}

/* The node of a path; make: with what is missing above it. A leading '/' means nothing. */
static struct node *walk(struct vb_tar_in *t, const char *path, bool make, struct vb_error *err)
{
    struct node *at = t->root;
    unsigned depth = 0;
    if (!path || !*path) {
        vb_fail(err, VB_E_CORRUPT, "the archive has an entry without a name");
        return NULL;
    }
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/"), where = 0;
        if (n == 0 || (n == 1 && *p == '.')) {
            p += n;
            continue;
        }
        VB_AUTO_FREE char *name = vb_strndup(p, n);
        p += n;
        if (strcmp(name, "..") == 0) {
            vb_fail(err, VB_E_CORRUPT, "'%s': leads out of the archive", path);
            return NULL;
        }
        if (n > VB_TREE_MAX_NAME || ++depth > MAX_DEPTH || t->nodes >= MAX_NODES) {
            vb_fail(err, VB_E_LIMIT, "'%.100s...': name is too long or too deep, or there are too many", path);
            return NULL;
        }
        if (at->e.type != VB_TREE_DIR) {
            vb_fail(err, VB_E_CORRUPT, "'%s': lies below something that is no directory", path);
            return NULL;
        }
        if (find_kid(at, name, &where)) {
            at = at->kids[where];
        } else if (make) {
            at = add_kid(t, at, VB_STEAL(name), where);
        } else {
            vb_fail(err, VB_E_CORRUPT, "'%s': is linked to and not in the archive before that", path);
            return NULL;
        }
    }
    return at;
}

/* ---- entries ---- */

static int check_numbers(const char *path, struct archive_entry *from, struct vb_error *err)
{
    la_int64_t uid = archive_entry_uid(from), gid = archive_entry_gid(from), size = archive_entry_size(from);
    if (uid < 0 || uid > (la_int64_t)UINT32_MAX || gid < 0 || gid > (la_int64_t)UINT32_MAX || size < 0 ||
        archive_entry_mtime_nsec(from) < 0 || archive_entry_mtime_nsec(from) > 999999999)
        return vb_fail(err, VB_E_CORRUPT, "'%s': owner, size or time is out of range", path);
    return 0;
}

static int by_xattr(const void *a, const void *b)
{
    return strcmp(((const struct vb_xattr *)a)->name, ((const struct vb_xattr *)b)->name);
}

struct acl_entry {
    uint16_t tag, perm;
    uint32_t id;
};

static int by_acl(const void *a, const void *b)
{
    const struct acl_entry *x = a, *y = b;
    return x->tag != y->tag ? (x->tag < y->tag ? -1 : 1) : x->id < y->id ? -1 : x->id > y->id;
}

/* In the kernel's form; nothing when there is no more than the mode says. */
static void add_acl(struct archive_entry *from, int type, const char *name, struct vb_xattr *v, size_t *n)
{
    static const struct { int theirs; uint16_t tag; } tags[] = {
        { ARCHIVE_ENTRY_ACL_USER_OBJ, 0x01 },  { ARCHIVE_ENTRY_ACL_USER, 0x02 }, { ARCHIVE_ENTRY_ACL_GROUP_OBJ, 0x04 },
        { ARCHIVE_ENTRY_ACL_GROUP, 0x08 },     { ARCHIVE_ENTRY_ACL_MASK, 0x10 }, { ARCHIVE_ENTRY_ACL_OTHER, 0x20 },
    };
    struct acl_entry list[256];
    size_t k = 0;
    int kind, perm, tag, id;
    const char *who;
    if (archive_entry_acl_reset(from, type) <= 3)
        return;
    while (k < VB_COUNT(list) && archive_entry_acl_next(from, type, &kind, &perm, &tag, &id, &who) == ARCHIVE_OK)
        for (size_t i = 0; i < VB_COUNT(tags); i++)
            if (tags[i].theirs == tag)
                list[k++] = (struct acl_entry){ tags[i].tag, (uint16_t)(perm & 7),
                                                tags[i].tag == 0x02 || tags[i].tag == 0x08 ? (uint32_t)id : UINT32_MAX };
    if (k < 4)
        return;
    qsort(list, k, sizeof *list, by_acl);
    unsigned char *bytes = vb_alloc(4 + 8 * k), *p = bytes;
    uint32_t word = htole32(POSIX_ACL_XATTR_VERSION);
    memcpy(p, &word, 4);
    for (size_t i = 0; i < k; i++) {
        uint16_t t = htole16(list[i].tag), m = htole16(list[i].perm);
        word = htole32(list[i].id);
        memcpy(bytes + 4 + 8 * i, &t, 2);
        memcpy(bytes + 6 + 8 * i, &m, 2);
        memcpy(bytes + 8 + 8 * i, &word, 4);
    }
    v[(*n)++] = (struct vb_xattr){ vb_strdup(name), bytes, (uint32_t)(4 + 8 * k) };
}

static int take_xattrs(const char *path, struct archive_entry *from, struct vb_tree_entry *e, struct vb_error *err)
{
    int count = archive_entry_xattr_reset(from);
    const char *name;
    const void *value;
    size_t len, bytes = 0, n = 0;
    if (count > (int)VB_TREE_MAX_XATTRS)
        return vb_fail(err, VB_E_LIMIT, "'%s': has more than %u attributes", path, VB_TREE_MAX_XATTRS);
    struct vb_xattr *v = vb_alloc_n((size_t)(count > 0 ? count : 0) + 2, sizeof *v);
    add_acl(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", v, &n);
    add_acl(from, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", v, &n);
    while (archive_entry_xattr_next(from, &name, &value, &len) == ARCHIVE_OK) {
        bool twice = !name || !*name || strncmp(name, "system.posix_acl_", 17) == 0;
        for (size_t i = 0; i < n && !twice; i++)
            twice = strcmp(v[i].name, name) == 0;
        bytes += len;
        if (twice || bytes > VB_TREE_MAX_XATTR_BYTES / 2)
            continue;
        v[n++] = (struct vb_xattr){ vb_strdup(name), len ? vb_memdup(value, len) : NULL, (uint32_t)len };
    }
    qsort(v, n, sizeof *v, by_xattr);
    e->xattrs = v;
    e->n_xattrs = n;
    return 0;
}

static enum vb_tree_type type_of(struct archive_entry *from)
{
    switch (archive_entry_filetype(from)) {
    case AE_IFREG: return VB_TREE_FILE;
    case AE_IFDIR: return VB_TREE_DIR;
    case AE_IFLNK: return VB_TREE_SYMLINK;
    case AE_IFIFO: return VB_TREE_FIFO;
    case AE_IFCHR: return VB_TREE_CHAR;
    case AE_IFBLK: return VB_TREE_BLOCK;
    case AE_IFSOCK: return VB_TREE_SOCKET;
    default: return (enum vb_tree_type)0;
    }
}

static int take_attributes(const char *path, struct archive_entry *from, struct vb_tree_entry *e, struct vb_error *err)
{
    const char *target = archive_entry_symlink(from);
    e->mode = (uint32_t)archive_entry_perm(from) & 07777u;
    e->uid = (uint32_t)archive_entry_uid(from);
    e->gid = (uint32_t)archive_entry_gid(from);
    e->user = vb_strdup(archive_entry_uname(from));
    e->group = vb_strdup(archive_entry_gname(from));
    e->mtime_sec = archive_entry_mtime(from);
    e->mtime_nsec = (uint32_t)archive_entry_mtime_nsec(from);
    if (e->type == VB_TREE_SYMLINK) {
        if (!target || !*target || strlen(target) > VB_TREE_MAX_TARGET)
            return vb_fail(err, VB_E_CORRUPT, "'%s': a symbolic link that leads nowhere, or too far", path);
        e->target = vb_strdup(target);
        e->size = strlen(target);
    }
    if (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK) {
        e->rdev_major = (uint32_t)archive_entry_rdevmajor(from);
        e->rdev_minor = (uint32_t)archive_entry_rdevminor(from);
    }
    return take_xattrs(path, from, e, err);
}

static int failed(struct vb_tar_in *t, struct archive *a, struct vb_error *err)
{
    const char *text = archive_error_string(a);
    if (t->errnum)
        return vb_fail_errno(err, t->errnum, "the archive cannot be read");
    return vb_fail(err, VB_E_CORRUPT, "the archive is damaged, cut off, or no tar archive: %s", text ? text : "no reason was given");
}

static int add_hole(struct vb_tree_entry *e, uint64_t offset, uint64_t len, const char *path, struct vb_error *err)
{
    if (len == 0)
        return 0;
    if (e->n_holes == VB_TREE_MAX_HOLES)
        return vb_fail(err, VB_E_LIMIT, "'%s': has more than %u holes", path, VB_TREE_MAX_HOLES);
    struct vb_hole *h = vb_realloc_n((struct vb_hole *)(uintptr_t)e->holes, e->n_holes + 1, sizeof *h);
    h[e->n_holes++] = (struct vb_hole){ offset, len };
    e->holes = h;
    return 0;
}

static int take_content(struct vb_tar_in *t, struct archive *a, const char *path, struct vb_tree_entry *e, struct vb_error *err)
{
    const void *p;
    size_t n;
    la_int64_t offset;
    uint64_t at = 0;
    int rc;
    while ((rc = archive_read_data_block(a, &p, &n, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || (uint64_t)offset < at || (uint64_t)offset > e->size || n > e->size - (uint64_t)offset)
            return vb_fail(err, VB_E_CORRUPT, "'%s': its content does not fit its size", path);
        if (add_hole(e, at, (uint64_t)offset - at, path, err) < 0 || put_data(t, p, n, err) < 0)
            return -1;
        at = (uint64_t)offset + n;
    }
    if (rc != ARCHIVE_EOF)
        return failed(t, a, err);
    if (add_hole(e, at, e->size - at, path, err) < 0)
        return -1;
    return end_of_file(t, &e->content, err);
}

/* Another name of a file that came before: with all it has. */
static int take_link(struct vb_tar_in *t, const char *path, const char *first, struct vb_error *err)
{
    struct node *to = walk(t, first, false, err), *n = to ? walk(t, path, true, err) : NULL;
    if (!n)
        return -1;
    if (n == to)
        return 0;
    if (to->e.type == VB_TREE_DIR || n->n > 0 || (n->given && n->e.type == VB_TREE_DIR))
        return vb_fail(err, VB_E_CORRUPT, "'%s': a link to or in the place of a directory", path);
    if (!to->e.link_group)
        to->e.link_group = ++t->link_groups;
    clear_entry(&n->e);
    const struct vb_tree_entry *o = &to->e;
    n->e = *o;
    n->e.user = vb_strdup(o->user);
    n->e.group = vb_strdup(o->group);
    n->e.target = vb_strdup(o->target);
    n->e.holes = o->n_holes ? vb_memdup(o->holes, o->n_holes * sizeof *o->holes) : NULL;
    struct vb_xattr *v = vb_alloc_n(o->n_xattrs + 1, sizeof *v);
    for (size_t i = 0; i < o->n_xattrs; i++)
        v[i] = (struct vb_xattr){ vb_strdup(o->xattrs[i].name),
                                  o->xattrs[i].len ? vb_memdup(o->xattrs[i].value, o->xattrs[i].len) : NULL, o->xattrs[i].len };
    n->e.xattrs = v;
    vb_content_copy(&n->e.content, &o->content);
    n->given = true;
    return 0;
}

static int take_entry(struct vb_tar_in *t, struct archive *a, struct archive_entry *from, struct vb_error *err)
{
    const char *path = archive_entry_pathname(from), *first = archive_entry_hardlink(from);
    if (!path)
        return vb_fail(err, VB_E_CORRUPT, "the archive has an entry without a name");
    if (first)
        return take_link(t, path, first, err);
    enum vb_tree_type type = type_of(from);
    struct node *n = walk(t, path, true, err);
    if (!n || check_numbers(path, from, err) < 0)
        return -1;
    if (!type)
        return vb_fail(err, VB_E_CORRUPT, "'%s': is of no known type", path);
    if ((type != VB_TREE_DIR && n->n > 0) || (n->given && (type == VB_TREE_DIR) != (n->e.type == VB_TREE_DIR)) ||
        (n == t->root && type != VB_TREE_DIR))
        return vb_fail(err, VB_E_CORRUPT, "'%s': stands for a directory and for something else", path);
    clear_entry(&n->e);
    n->given = true;
    n->e.type = type;
    n->e.size = type == VB_TREE_FILE ? (uint64_t)archive_entry_size(from) : 0;
    if (take_attributes(path, from, &n->e, err) < 0)
        return -1;
    return type == VB_TREE_FILE ? take_content(t, a, path, &n->e, err) : 0;
}

/* ---- the archive ---- */

static la_ssize_t read_more(struct archive *a, void *arg, const void **p)
{
    struct vb_tar_in *t = arg;
    ssize_t n;
    do
        n = read(t->fd, t->block, READ_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        t->errnum = errno;
        archive_set_error(a, errno, "%s", strerror(errno));
        return -1;
    }
    size_t zeros = 0;
    while (zeros < (size_t)n && t->block[(size_t)n - 1 - zeros] == 0)
        zeros++;
    t->zeros = zeros == (size_t)n ? t->zeros + zeros : zeros;
    t->got += (uint64_t)n;
    *p = t->block;
    return n;
}

/* The end of an entry: zeros before it are content, and mark no end. */
static int take_whole(struct vb_tar_in *t, struct archive *a, struct archive_entry *from, struct vb_error *err)
{
    if (take_entry(t, a, from, err) < 0)
        return -1;
    if (archive_read_data_skip(a) < ARCHIVE_WARN)
        return failed(t, a, err);
    la_int64_t at = archive_filter_bytes(a, -1);
    t->end = at < 0 ? 0 : ((uint64_t)at + 511) / 512 * 512;
    return 0;
}

static bool has_end_mark(const struct vb_tar_in *t)
{
    uint64_t behind = t->got > t->end ? t->got - t->end : 0;
    return behind >= END_MARK && t->zeros >= END_MARK;
}

int vb_tar_in_archive(struct vb_tar_in *t, int fd, struct vb_error *err)
{
    struct archive_entry *from = NULL;
    struct archive *a = archive_read_new();
    const void *rest;
    int rc = -1, got;
    setlocale(LC_CTYPE, "C.UTF-8"); /* names are bytes */
    t->fd = fd;
    t->errnum = 0;
    t->got = t->zeros = t->end = 0;
    /* No filter: an archive that unpacks to more than it is must be unpacked by whoever trusts it. */
    if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK || archive_read_open(a, t, NULL, read_more, NULL) != ARCHIVE_OK) {
        if (a)
            failed(t, a, err);
        archive_read_free(a);
        return -1;
    }
    while ((got = archive_read_next_header(a, &from)) == ARCHIVE_OK || got == ARCHIVE_WARN)
        if (take_whole(t, a, from, err) < 0)
            goto out;
    if (got != ARCHIVE_EOF) {
        failed(t, a, err);
        goto out;
    }
    while (read_more(a, t, &rest) > 0) /* what pads the last block */
        ;
    if (t->errnum)
        failed(t, a, err);
    else if (!has_end_mark(t))
        vb_fail(err, VB_E_CORRUPT, "the archive ends before its end mark: whoever made it was interrupted");
    else
        rc = 0;
out:
    archive_read_free(a);
    return rc;
}

int vb_tar_in_stream(struct vb_tar_in *t, int fd, const char *name, uint64_t wall_ms, struct vb_error *err)
{
    struct node *n = walk(t, name, true, err);
    if (!n)
        return -1;
    if (n == t->root)
        return vb_fail(err, VB_E_USAGE, "'%s': no name for a file", name);
    n->given = true;
    n->e.type = VB_TREE_FILE;
    n->e.mode = 0600;
    n->e.uid = geteuid();
    n->e.gid = getegid();
    n->e.mtime_sec = (int64_t)(wall_ms / 1000);
    for (;;) {
        ssize_t k = read(fd, t->block, READ_SIZE);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return vb_fail_errno(err, errno, "the stream cannot be read");
        if (k == 0)
            return end_of_file(t, &n->e.content, err);
        n->e.size += (uint64_t)k;
        if (put_data(t, t->block, (size_t)k, err) < 0)
            return -1;
    }
}

/* ---- the whole ---- */

struct vb_tar_in *vb_tar_in_new(struct vb_repo *repo, uint32_t group, struct vb_error *err)
{
    struct vb_tar_in *t = vb_alloc(sizeof *t);
    const struct vb_repo_info *info = vb_repo_info(repo);
    const uint8_t *naming, *cutter;
    vb_repo_group_keys(repo, group, &naming, &cutter);
    t->repo = repo;
    t->group = group;
    t->namer = vb_namer_new(naming);
    t->codec = vb_codec_new(info->params.compression);
    t->cutter = vb_cutter_new(&info->params.cut, cutter, err);
    t->builder = vb_content_builder_new(emit, t);
    t->block = vb_alloc(READ_SIZE);
    t->root = vb_alloc(sizeof *t->root);
    t->root->name = vb_strdup(".");
    t->root->e.type = VB_TREE_DIR;
    t->root->e.mode = 0755;
    if (t->cutter)
        return t;
    vb_tar_in_free(t);
    return NULL;
}

void vb_tar_in_free(struct vb_tar_in *t)
{
    if (!t)
        return;
    free_node(t->root);
    vb_namer_free(t->namer);
    vb_codec_free(t->codec);
    vb_cutter_free(t->cutter);
    vb_content_builder_free(t->builder);
    vb_buf_clear(&t->piece);
    vb_buf_clear(&t->stored);
    free(t->block);
    free(t);
}

/* Children first; not deeper than MAX_DEPTH. */
static int write_dir(struct vb_tar_in *t, struct node *dir, struct vb_tar_in_result *out, struct vb_error *err)
{
    struct vb_tree_writer *w;
    int rc = 0;
    for (size_t i = 0; i < dir->n && rc == 0; i++)
        if (dir->kids[i]->e.type == VB_TREE_DIR)
            rc = write_dir(t, dir->kids[i], out, err);
    if (rc < 0)
        return -1;
    w = vb_tree_writer_new(emit, t);
    for (size_t i = 0; i < dir->n && rc == 0; i++) {
        struct node *n = dir->kids[i];
        n->e.name = n->name;
        out->files += n->e.type != VB_TREE_DIR;
        out->bytes += n->e.type == VB_TREE_FILE ? n->e.size : 0;
        rc = vb_tree_writer_add(w, &n->e, err);
    }
    if (rc == 0)
        rc = vb_tree_writer_finish(w, &dir->e.subtree, err);
    vb_tree_writer_free(w);
    out->dirs++;
    return rc;
}

int vb_tar_in_finish(struct vb_tar_in *t, struct vb_tar_in_result *out, struct vb_error *err)
{
    memset(out, 0, sizeof *out);
    if (write_dir(t, t->root, out, err) < 0)
        return -1;
    t->root->e.name = ".";
    return vb_tree_write(&t->root->e, 1, emit, t, &out->root, err);
}
