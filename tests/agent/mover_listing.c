/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/mover_listing.c - everything about a tree as text, so that two trees can be compared.
 *
 * Written apart from the code under test: nftw and the path-based calls, so that a mistake there is not repeated here.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"

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
#include "base/text.h"

struct listing {
    struct vb_buf out;
    bool times;
    struct { dev_t dev; ino_t ino; char *first; } *links;
    size_t n, cap;
};

static void add_xattrs(struct listing *t, const char *path)
{
    char names[4096];
    ssize_t n = llistxattr(path, names, sizeof names);
    struct vb_strv sorted = { NULL, 0, 0 };
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
        vb_strv_add(&sorted, names + at);
    vb_strv_sort(&sorted);
    for (size_t i = 0; i < sorted.n; i++) {
        char value[4096];
        ssize_t k = lgetxattr(path, sorted.v[i], value, sizeof value);
        vb_buf_addf(&t->out, " %s=", sorted.v[i]);
        for (ssize_t j = 0; j < k; j++)
            vb_buf_addf(&t->out, "%02x", (unsigned char)value[j]);
    }
    vb_strv_clear(&sorted);
}

static void add_content(struct listing *t, const char *path, const struct stat *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    unsigned char buf[65536];
    ssize_t n;
    uint32_t crc = 0;
    if (fd < 0) {
        vb_buf_add_str(&t->out, " unreadable");
        return;
    }
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
    unsigned flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 &&
        (flags & (FS_NODUMP_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NOATIME_FL)))
        vb_buf_addf(&t->out, " flags=%x", flags & (FS_NODUMP_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NOATIME_FL));
    close(fd);
}

static void add_link(struct listing *t, const char *shown, const struct stat *st)
{
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return;
    for (size_t i = 0; i < t->n; i++)
        if (t->links[i].dev == st->st_dev && t->links[i].ino == st->st_ino) {
            vb_buf_addf(&t->out, " same-as=%s", t->links[i].first);
            return;
        }
    VB_GROW(t->links, t->n, t->cap);
    t->links[t->n].dev = st->st_dev;
    t->links[t->n].ino = st->st_ino;
    t->links[t->n++].first = vb_strdup(shown);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(struct listing *t, const char *path, const char *shown)
{
    struct stat st;
    char target[4096];
    if (lstat(path, &st) < 0) {
        vb_buf_addf(&t->out, "%s missing\n", shown);
        return;
    }
    vb_buf_addf(&t->out, "%s %o %u:%u", shown, (unsigned)st.st_mode, (unsigned)st.st_uid, (unsigned)st.st_gid);
    if (t->times)
        vb_buf_addf(&t->out, " %lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    if (S_ISREG(st.st_mode)) {
        vb_buf_addf(&t->out, " size=%lld", (long long)st.st_size);
        add_content(t, path, &st);
    }
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        vb_buf_addf(&t->out, " dev=%u,%u", major(st.st_rdev), minor(st.st_rdev));
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(path, target, sizeof target - 1);
        vb_buf_addf(&t->out, " -> %.*s", (int)(n < 0 ? 0 : n), target);
    }
    add_xattrs(t, path);
    add_link(t, shown, &st);
    vb_buf_add_char(&t->out, '\n');
    if (!S_ISDIR(st.st_mode))
        return;
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, by_name);
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0) {
            VB_AUTO_FREE char *p = vb_path_join(path, names[i]->d_name);
            VB_AUTO_FREE char *s = vb_printf("%s/%s", shown, names[i]->d_name);
            list(t, p, s);
        }
        free(names[i]);
    }
    free(names);
}

char *lab_listing(struct lab *l, const char *path, bool times)
{
    struct listing t = { VB_BUF_INIT, times, NULL, 0, 0 };
    list(&t, lab_path(l, path), ".");
    for (size_t i = 0; i < t.n; i++)
        vb_free_ptr(&t.links[i].first);
    vb_free_ptr(&t.links);
    return vb_buf_take_str(&t.out);
}
