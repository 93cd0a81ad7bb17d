/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * make_tree DIRECTORY DEPTH: makes a tree there with every case that a backup has to bring back, as far as the user and the
 * file system can: kinds, names, links, holes, attributes, flags, times, depth, many entries.  For shell tests, which
 * compare the listing of list_tree before and after.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MANY 3000

static void must(int rc, const char *what)
{
    if (rc < 0) {
        perror(what);
        exit(1);
    }
}

static void file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd, name);
    must((int)write(fd, text, strlen(text)), name);
    close(fd);
}

static void set_time(const char *name, long sec, long nsec)
{
    struct timespec t[2] = { { .tv_sec = sec, .tv_nsec = nsec }, { .tv_sec = sec, .tv_nsec = nsec } };
    must(utimensat(AT_FDCWD, name, t, AT_SYMLINK_NOFOLLOW), name);
}

/* Those that this file system and user know; the others are no case here. */
static void set_flags(const char *name, unsigned flags)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    must(fd, name);
    for (unsigned bit = 1; bit; bit <<= 1) {
        unsigned now = 0;
        if (!(flags & bit) || ioctl(fd, FS_IOC_GETFLAGS, &now) < 0)
            continue;
        now |= bit;
        ioctl(fd, FS_IOC_SETFLAGS, &now);
    }
    close(fd);
}

static void set_project(const char *name, unsigned id)
{
    struct fsxattr x;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    must(fd, name);
    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0) {
        x.fsx_projid = id;
        ioctl(fd, FS_IOC_FSSETXATTR, &x);
    }
    close(fd);
}

static void kinds(void)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "kinds/socket" };
    must(mkdir("kinds", 0755), "kinds");
    file("kinds/empty", "");
    file("kinds/text", "some text\n");
    must(mkdir("kinds/sub", 03771), "kinds/sub");
    must(chmod("kinds/sub", 03771), "kinds/sub");
    must(mkfifo("kinds/fifo", 0620), "kinds/fifo");
    must(symlink("../nowhere/at all", "kinds/dangling"), "kinds/dangling");
    must(symlink("text", "kinds/link"), "kinds/link");
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(s, (struct sockaddr *)&un, sizeof un) < 0)
        perror("kinds/socket");
    close(s);
    if (geteuid() == 0 && mknod("kinds/null", S_IFCHR | 0666, makedev(1, 3)) == 0)
        must(mknod("kinds/disk", S_IFBLK | 0660, makedev(259, 200000)), "kinds/disk");
    set_time("kinds/dangling", 1, 999999999);
    set_time("kinds/fifo", -1, 1);
    set_time("kinds/text", 4102444800, 123456789);
    set_time("kinds/sub", 7, 7);
}

static void names(void)
{
    static const char *const odd[] = { "-rf", " ", "caf\xe9", "\xc3\xa9t\xc3\xa9", "\xff\xfe", "new\nline", "tab\t", "*?[x]", "...",
                                       "\\back\\slash", "CON", "name.", "\x7f\x01" };
    char longest[256];
    must(mkdir("names", 0755), "names");
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "names/%s", odd[i]);
        file(path, odd[i]);
    }
    memset(longest, 'n', 255);
    longest[255] = 0;
    must(chdir("names"), "names");
    file(longest, "255");
    must(mkdir("d", 0755), "d");
    must(chdir("d"), "d");
    must(mkdir(longest, 0755), "255");
    must(chdir("../.."), "..");
}

static void links(void)
{
    must(mkdir("links", 0755), "links");
    must(mkdir("links/a", 0755), "links/a");
    must(mkdir("links/b", 0755), "links/b");
    file("links/a/one", "one file, three names\n");
    must(link("links/a/one", "links/b/two"), "two");
    must(link("links/a/one", "links/three"), "three");
    must(link("kinds/fifo", "links/fifo"), "links/fifo");
    must(link("kinds/dangling", "links/dangling"), "links/dangling");
    file("../outside-name", "only one of its names is in the backup\n");
    must(link("../outside-name", "links/inside-name"), "links/inside-name");
}

static void holes(void)
{
    static char block[4096]; /* what a live read can tell from a hole */
    must(mkdir("holes", 0755), "holes");
    int fd = open("holes/all", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must(ftruncate(fd, 12345678), "holes/all");
    close(fd);
    fd = open("holes/some", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    memset(block, 'd', sizeof block);
    for (long at = 1 << 20; at < 40 << 20; at += 3 << 20)
        must((int)pwrite(fd, block, sizeof block, at), "holes/some");
    must(ftruncate(fd, (40L << 20) + 5), "holes/some");
    fsync(fd);
    close(fd);
    fd = open("holes/begin", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must((int)pwrite(fd, "end", 3, 300L << 20), "holes/begin");
    fsync(fd);
    close(fd);
}

static void attributes(void)
{
    /* user::rw- user:12345:r-- group::r-- mask::r-- other::--- */
    static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 57, 48, 0, 0, 4, 0, 4, 0,
                                         255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };
    static const unsigned char cap[20] = { 1, 0, 0, 2, 0, 4 };
    char big[3000];
    memset(big, 'v', sizeof big);
    must(mkdir("attributes", 0755), "attributes");
    must(mkdir("attributes/inherit", 0755), "attributes/inherit");
    file("attributes/acl", "acl");
    file("attributes/user", "user");
    setxattr("attributes/acl", "system.posix_acl_access", acl, sizeof acl, 0);
    setxattr("attributes/inherit", "system.posix_acl_default", acl, sizeof acl, 0);
    file("attributes/inherit/has", "inherited");
    file("attributes/inherit/not", "removed");
    removexattr("attributes/inherit/not", "system.posix_acl_access");
    setxattr("attributes/user", "user.empty", "", 0, 0);
    setxattr("attributes/user", "user.binary", "a\0b", 3, 0);
    setxattr("attributes/user", "user.big", big, sizeof big, 0);
    setxattr("attributes", "user.directory", "d", 1, 0);
    if (geteuid() == 0) {
        file("attributes/program", "#!/bin/true");
        must(chown("attributes/program", 4242, 4343), "attributes/program");
        must(chmod("attributes/program", 06755), "attributes/program");
        setxattr("attributes/program", "security.capability", cap, sizeof cap, 0);
        setxattr("attributes/user", "trusted.t", "t", 1, 0);
        setxattr("attributes/user", "security.vbackup", "s", 1, 0);
        lsetxattr("kinds/dangling", "trusted.link", "l", 1, 0);
        must(lchown("kinds/link", 1, 2), "kinds/link");
        must(chown("kinds/fifo", 3, 4), "kinds/fifo");
        set_time("kinds/link", 5, 6);
    }
    must(chmod("attributes/user", 04711), "attributes/user");
}

static void flags(void)
{
    static const struct { const char *name; unsigned flags; } F[] = {
        { "flags/nodump", FS_NODUMP_FL }, { "flags/noatime", FS_NOATIME_FL }, { "flags/sync", FS_SYNC_FL },
        { "flags/nocow", FS_NOCOW_FL }, { "flags/compress", FS_COMPR_FL }, { "flags/immutable", FS_IMMUTABLE_FL },
        { "flags/append", FS_APPEND_FL | FS_NODUMP_FL },
    };
    must(mkdir("flags", 0755), "flags");
    for (size_t i = 0; i < sizeof F / sizeof F[0]; i++) {
        if ((F[i].flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) && geteuid() != 0)
            continue;
        file(F[i].name, "");
        if (F[i].flags & FS_IMMUTABLE_FL) {
            set_time(F[i].name, 11, 12);
            must(link(F[i].name, "links/immutable"), "links/immutable");
        }
        set_flags(F[i].name, F[i].flags);
    }
    must(mkdir("flags/dir", 0755), "flags/dir");
    file("flags/dir/f", "in it");
    set_flags("flags/dir", FS_DIRSYNC_FL | FS_NODUMP_FL);
    if (geteuid() == 0) {
        must(mkdir("flags/project", 0755), "flags/project");
        file("flags/project/f", "p");
        set_project("flags/project", 4711);
        set_project("flags/project/f", 4712);
        must(mkdir("flags/frozen", 0755), "flags/frozen");
        file("flags/frozen/f", "cannot be changed");
        set_time("flags/frozen", 13, 14);
        set_flags("flags/frozen", FS_IMMUTABLE_FL);
    }
}

static void depth(long levels)
{
    int at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), top = dup(at);
    for (long i = 0; i < levels; i++) {
        must(mkdirat(at, "deep", 0700), "deep");
        int next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(next, "deep");
        close(at);
        at = next;
    }
    must(fchdir(at), "deep");
    file("bottom", "far beyond PATH_MAX\n");
    must(fchdir(top), "top");
    close(at);
    close(top);
}

static void many(void)
{
    must(mkdir("many", 0755), "many");
    for (unsigned i = 0; i < MANY; i++) {
        char name[40];
        snprintf(name, sizeof name, "many/%u", i * 2654435761u);
        file(name, i % 7 ? "" : name);
        set_time(name, (long)i, (long)i);
    }
}

/* make_tree -r DIRECTORY: takes away the flags that keep it from being removed. */
static int release(const char *dir)
{
    static const char *const held[] = { "flags/immutable", "flags/append", "flags/frozen" };
    must(chdir(dir), dir);
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++) {
        unsigned none = 0;
        int fd = open(held[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
            ioctl(fd, FS_IOC_SETFLAGS, &none);
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "-r"))
        return release(argv[2]);
    if (argc != 3) {
        fputs("usage: make_tree DIRECTORY DEPTH | make_tree -r DIRECTORY\n", stderr);
        return 2;
    }
    umask(022);
    must(mkdir(argv[1], 0755), argv[1]);
    must(chdir(argv[1]), argv[1]);
    kinds();
    names();
    links();
    holes();
    attributes();
    flags();
    depth(strtol(argv[2], NULL, 10));
    many();
    set_time("links", 21, 22);
    set_time(".", 23, 24);
    return 0;
}
