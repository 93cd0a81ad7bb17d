/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/item_file.c - reading an item from its file: kind, owner, attributes, content, and whether it held still. */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "replica/delta.h"
#include "replica/item_file.h"

#define READ_SIZE (256u * 1024)
#define TARGET_MAX 65536u
/* Times of inodes move in ticks of the kernel, at most 10 ms; a change within one tick of another does not show. */
#define SETTLE_NS 25000000ll

/* ---- hashing ---- */

struct vb_hasher {
    EVP_MD_CTX *ctx;
};

struct vb_hasher *vb_hasher_new(void)
{
    struct vb_hasher *h = vb_alloc(sizeof *h);
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
        abort(); /* out of memory, as everywhere (base/mem.h) */
    return h;
}

void vb_hasher_add(struct vb_hasher *h, const void *p, size_t n)
{
    if (n && EVP_DigestUpdate(h->ctx, p, n) != 1)
        abort();
}

void vb_hasher_end(struct vb_hasher *h, unsigned char out[VB_HASH_LEN])
{
    unsigned len = VB_HASH_LEN;
    if (EVP_DigestFinal_ex(h->ctx, out, &len) != 1)
        abort();
    vb_hasher_free(&h);
}

void vb_hasher_free(struct vb_hasher **h)
{
    if (*h)
        EVP_MD_CTX_free((*h)->ctx);
    free(*h);
    *h = NULL;
}

void vb_hash(const void *p, size_t n, unsigned char out[VB_HASH_LEN])
{
    struct vb_hasher *h = vb_hasher_new();
    vb_hasher_add(h, p, n);
    vb_hasher_end(h, out);
}

/* ---- stat ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

uint64_t vb_file_look(const struct stat *st)
{
    uint64_t h = mix(0x76626c6f6f6bu, st->st_ino);
    h = mix(h, (uint64_t)st->st_size);
    h = mix(h, (uint64_t)st->st_mtim.tv_sec);
    h = mix(h, (uint64_t)st->st_mtim.tv_nsec);
    h = mix(h, (uint64_t)st->st_ctim.tv_sec);
    h = mix(h, (uint64_t)st->st_ctim.tv_nsec);
    h = mix(h, ((uint64_t)st->st_mode << 32) ^ st->st_uid);
    h = mix(h, ((uint64_t)st->st_gid << 32) ^ st->st_rdev);
    return h ? h : 1;
}

static int64_t ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

int vb_file_clock(struct vb_place *p, struct timespec *now, struct vb_error *err)
{
    struct stat st;
    VB_AUTO_FD int fd = openat(p->own, "clock", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "t", 1) != 1 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "'%s/" VB_PLACE_DIR "/clock'", p->scope.root);
    *now = st.st_ctim;
    return 0;
}

bool vb_file_settled(const struct stat *st, const struct timespec *now)
{
    int64_t last = ns(&st->st_ctim) > ns(&st->st_mtim) ? ns(&st->st_ctim) : ns(&st->st_mtim);
    return last + SETTLE_NS < ns(now);
}

/* ---- owners by name ---- */

static char *owner_text(const struct stat *st)
{
    const struct passwd *u = getpwuid(st->st_uid);
    VB_AUTO_FREE char *user = u ? vb_strdup(u->pw_name) : vb_printf("%u", (unsigned)st->st_uid);
    const struct group *g = getgrgid(st->st_gid);
    return g ? vb_printf("%s:%s", user, g->gr_name) : vb_printf("%s:%u", user, (unsigned)st->st_gid);
}

/* ---- reading ---- */

static enum vb_file_state hash_file(int fd, const char *path, uint64_t size, struct vb_blocks *sums, unsigned char out[VB_HASH_LEN],
                                    struct vb_error *err)
{
    size_t room = size < READ_SIZE ? (size_t)size + 1 : READ_SIZE;
    VB_AUTO_FREE unsigned char *b = vb_alloc(room);
    VB_AUTO_HASHER *h = vb_hasher_new();
    for (;;) {
        ssize_t n = read(fd, b, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            vb_fail_errno(err, errno, "'%s' cannot be read", path);
            return VB_FILE_ERROR;
        }
        if (n == 0)
            break;
        vb_hasher_add(h, b, (size_t)n);
        if (sums)
            vb_blocks_add(sums, b, (size_t)n);
    }
    vb_hasher_end(VB_STEAL(h), out);
    return VB_FILE_READ;
}

static bool same_look(const struct stat *a, const struct stat *b)
{
    return vb_file_look(a) == vb_file_look(b);
}

static enum vb_file_state read_regular(struct vb_place *p, int dirfd, const char *name, struct vb_item *out, struct stat *st,
                                       struct vb_error *err)
{
    VB_AUTO_BUF attrs = VB_BUF_INIT;
    VB_AUTO_FD int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat after;
    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return VB_FILE_GONE;
    if (fd < 0 || fstat(fd, st) < 0) {
        vb_fail_errno(err, errno, "'%s' cannot be opened", out->path);
        return VB_FILE_ERROR;
    }
    if (!S_ISREG(st->st_mode))
        return VB_FILE_UNSTABLE;
    VB_AUTO_BLOCKS *sums = p->keep_sums && st->st_size >= VB_DELTA_MIN ? vb_blocks_new((uint64_t)st->st_size) : NULL;
    if (hash_file(fd, out->path, (uint64_t)st->st_size, sums, out->content, err) != VB_FILE_READ)
        return VB_FILE_ERROR;
    if (sums && vb_blocks_end(sums)) {
        memcpy(sums->content, out->content, VB_HASH_LEN);
        vb_blocks_keep(p, VB_STEAL(sums));
    }
    if (vb_file_attrs(p, fd, false, false, &attrs, err) < 0)
        return VB_FILE_ERROR;
    vb_attrs_hash(attrs.data, attrs.len, out->attr);
    return fstat(fd, &after) == 0 && same_look(st, &after) ? VB_FILE_READ : VB_FILE_UNSTABLE;
}

static enum vb_file_state read_other(struct vb_place *p, int dirfd, const char *name, struct vb_item *out, struct stat *st,
                                     struct vb_error *err)
{
    VB_AUTO_BUF attrs = VB_BUF_INIT;
    VB_AUTO_FD int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return VB_FILE_GONE;
    if (fd < 0 || fstat(fd, st) < 0) {
        vb_fail_errno(err, errno, "'%s' cannot be opened", out->path);
        return VB_FILE_ERROR;
    }
    if (S_ISLNK(st->st_mode)) {
        VB_AUTO_FREE char *target = vb_alloc(TARGET_MAX);
        ssize_t n = readlinkat(fd, "", target, TARGET_MAX);
        if (n < 0 || n == TARGET_MAX) {
            vb_fail_errno(err, n < 0 ? errno : ENAMETOOLONG, "link '%s' cannot be read", out->path);
            return VB_FILE_ERROR;
        }
        out->kind = VB_ITEM_LINK;
        out->size = (uint64_t)n;
        vb_hash(target, (size_t)n, out->content);
    } else if (S_ISDIR(st->st_mode)) {
        out->kind = VB_ITEM_DIR;
    } else if (S_ISFIFO(st->st_mode) || (p->set.owners && (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)))) {
        VB_AUTO_FREE char *what = vb_printf("%o %u %u", (unsigned)(st->st_mode & S_IFMT), major(st->st_rdev), minor(st->st_rdev));
        out->kind = VB_ITEM_SPECIAL;
        vb_hash(what, strlen(what), out->content);
    } else {
        return S_ISREG(st->st_mode) ? VB_FILE_UNSTABLE : VB_FILE_LEFT;
    }
    if (vb_file_attrs(p, fd, true, S_ISLNK(st->st_mode), &attrs, err) < 0)
        return VB_FILE_ERROR;
    vb_attrs_hash(attrs.data, attrs.len, out->attr);
    return VB_FILE_READ;
}

enum vb_file_state vb_file_read(struct vb_place *p, int dirfd, const char *name, const char *path,
                                const struct timespec *now, struct vb_item *out, struct vb_error *err)
{
    struct stat st;
    enum vb_file_state s = VB_FILE_UNSTABLE;
    for (int attempt = 0; attempt < 2 && s == VB_FILE_UNSTABLE; attempt++) {
        *out = (struct vb_item){ .path = path };
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno == ENOENT || errno == ENOTDIR)
                return VB_FILE_GONE;
            vb_fail_errno(err, errno, "'%s'", path);
            return VB_FILE_ERROR;
        }
        out->kind = VB_ITEM_FILE;
        s = S_ISREG(st.st_mode) ? read_regular(p, dirfd, name, out, &st, err) : read_other(p, dirfd, name, out, &st, err);
    }
    if (s != VB_FILE_READ)
        return s;
    if (S_ISREG(st.st_mode))
        out->size = (uint64_t)st.st_size;
    out->mtime_ns = ns(&st.st_mtim);
    out->mode = (uint32_t)(S_ISLNK(st.st_mode) ? 0777 : st.st_mode & (p->set.owners ? 07777u : 01777u));
    out->owner = p->set.owners ? owner_text(&st) : NULL;
    out->look = now && vb_file_settled(&st, now) ? vb_file_look(&st) : 0;
    return VB_FILE_READ;
}
