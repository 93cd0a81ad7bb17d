/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/mover_listing.c - everything about a tree as text, so that two trees can be compared.
 *
 * Written apart from the code under test, with the path-based calls and a working directory that goes along, so that a
 * mistake there is not repeated here, and no depth is too much.
 */
#include "config.h"

#include "tests/agent/mover_listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"

struct listing {
    struct vb_buf out;
    struct vb_buf shown; /* path of what is listed, from the root of the listing */
    bool times;
    struct link { dev_t dev; ino_t ino; char *first; } *links; /* open addressing, half full at most */
    size_t n, cap;
};

static void add_xattrs(struct listing *t, const char *name)
{
    char *names = vb_alloc(65536), *value = vb_alloc(65536);
    ssize_t n = llistxattr(name, names, 65536);
    struct vb_strv sorted = { NULL, 0, 0 };
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
        vb_strv_add(&sorted, names + at);
    vb_strv_sort(&sorted);
    for (size_t i = 0; i < sorted.n; i++) {
        ssize_t k = lgetxattr(name, sorted.v[i], value, 65536);
        vb_buf_addf(&t->out, " %s=", sorted.v[i]);
        for (ssize_t j = 0; j < k; j++)
            vb_buf_addf(&t->out, "%02x", (unsigned char)value[j]);
    }
    vb_strv_clear(&sorted);
    free(names);
    free(value);
}

/* Bit numbers of s u c S i a d A j t D T C P F of lsattr(1): what an administrator sets. */
static void add_flags(struct listing *t, int fd)
{
    static const unsigned char BITS[] = { 0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17, 23, 29, 30 };
    unsigned flags = 0;
    struct fsxattr x;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
        for (size_t i = 0; i < sizeof BITS; i++)
            if ((flags >> BITS[i]) & 1)
                vb_buf_addf(&t->out, " flag=%u", BITS[i]);
    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0 && x.fsx_projid)
        vb_buf_addf(&t->out, " project=%u", x.fsx_projid);
}

static void add_content(struct listing *t, int fd, const struct stat *st)
{
    static unsigned char buf[65536];
    ssize_t n;
    uint32_t crc = 0;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        crc = crc * 31 + vb_crc32(buf, (size_t)n);
    vb_buf_addf(&t->out, " crc=%08x", crc);
    /* where there are holes at all: the block count cannot tell, it wavers on btrfs while data are written back */
    if (st->st_size && lseek(fd, 0, SEEK_HOLE) < st->st_size)
        for (off_t at = 0; at < st->st_size;) {
            off_t data = lseek(fd, at, SEEK_DATA), hole;
            if (data < 0)
                break;
            hole = lseek(fd, data, SEEK_HOLE);
            vb_buf_addf(&t->out, " data=%lld-%lld", (long long)data, (long long)hole);
            at = hole;
        }
}

static struct link *place(struct listing *t, dev_t dev, ino_t ino)
{
    size_t i = (ino * 0x9e3779b97f4a7c15u >> 20) & (t->cap - 1);
    while (t->links[i].first && (t->links[i].dev != dev || t->links[i].ino != ino))
        i = (i + 1) & (t->cap - 1);
    return &t->links[i];
}

static void grow(struct listing *t)
{
    struct listing old = *t;
    t->cap = old.cap ? old.cap * 2 : 64;
    t->links = vb_alloc_n(t->cap, sizeof *t->links);
    for (size_t i = 0; i < old.cap; i++)
        if (old.links[i].first)
            *place(t, old.links[i].dev, old.links[i].ino) = old.links[i];
    free(old.links);
}

static void add_link(struct listing *t, const struct stat *st)
{
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return;
    if (t->n * 2 >= t->cap)
        grow(t);
    struct link *l = place(t, st->st_dev, st->st_ino);
    if (l->first) {
        vb_buf_addf(&t->out, " same-as=%s", l->first);
        return;
    }
    *l = (struct link){ st->st_dev, st->st_ino, vb_strdup(vb_buf_str(&t->shown)) };
    t->n++;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The path of the entry; of a very long one its length, checksum and end, or 10,000 levels would be 250 MB of text. */
static void add_path(struct listing *t)
{
    enum { LONG = 1000, END = 300 };
    if (t->shown.len <= LONG)
        vb_buf_add_str(&t->out, vb_buf_str(&t->shown));
    else
        vb_buf_addf(&t->out, "(%zu bytes, %08x)%s", t->shown.len, vb_crc32(t->shown.data, t->shown.len),
                    vb_buf_str(&t->shown) + t->shown.len - END);
}

/* The line of one entry of the working directory. */
static void line(struct listing *t, const char *name, const struct stat *st)
{
    add_path(t);
    vb_buf_addf(&t->out, " %o %u:%u", (unsigned)st->st_mode, (unsigned)st->st_uid, (unsigned)st->st_gid);
    if (t->times)
        vb_buf_addf(&t->out, " %lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
        int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (S_ISREG(st->st_mode))
            vb_buf_addf(&t->out, " size=%lld", (long long)st->st_size);
        if (fd < 0) {
            vb_buf_add_str(&t->out, " unreadable");
        } else {
            if (S_ISREG(st->st_mode))
                add_content(t, fd, st);
            add_flags(t, fd);
            close(fd);
        }
    }
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        vb_buf_addf(&t->out, " dev=%u,%u", major(st->st_rdev), minor(st->st_rdev));
    if (S_ISLNK(st->st_mode)) {
        char *target = vb_alloc(65537);
        ssize_t n = readlink(name, target, 65536);
        vb_buf_addf(&t->out, " -> %.*s", (int)(n < 0 ? 0 : n), target);
        free(target);
    }
    add_xattrs(t, name);
    add_link(t, st);
    vb_buf_add_char(&t->out, '\n');
}

static void list(struct listing *t, const char *name)
{
    struct stat st;
    struct dirent **names = NULL;
    if (lstat(name, &st) < 0) {
        vb_buf_addf(&t->out, "%s missing\n", vb_buf_str(&t->shown));
        return;
    }
    line(t, name, &st);
    if (!S_ISDIR(st.st_mode) || chdir(name) < 0)
        return;
    int n = scandir(".", &names, NULL, by_name);
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0) {
            size_t len = t->shown.len;
            vb_buf_addf(&t->shown, "/%s", names[i]->d_name);
            list(t, names[i]->d_name);
            t->shown.len = len;
        }
        free(names[i]);
    }
    free(names);
    if (strcmp(name, ".") != 0 && chdir("..") < 0)
        vb_buf_add_str(&t->out, "no way back\n");
}

char *listing_of(const char *path, bool times)
{
    struct listing t = { VB_BUF_INIT, VB_BUF_INIT, times, NULL, 0, 0 };
    struct stat st;
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    vb_buf_add_char(&t.shown, '.');
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && chdir(path) == 0)
        list(&t, ".");
    else
        list(&t, path);
    if (here < 0 || fchdir(here) < 0)
        abort();
    close(here);
    for (size_t i = 0; i < t.cap; i++)
        free(t.links[i].first);
    free(t.links);
    vb_buf_clear(&t.shown);
    return vb_buf_take_str(&t.out);
}
