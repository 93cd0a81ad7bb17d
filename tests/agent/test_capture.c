/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Round trips of capture and restore: all there is to a file comes back; live reading; a lost stream.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"
#include "tests/cm.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__has_feature)
#define VB_HAS_ASAN __has_feature(address_sanitizer)
#else
#define VB_HAS_ASAN 0
#endif

static void assert_captured(struct lab *l, size_t i)
{
    VB_AUTO_FREE char *e = lab_error(l, i);
    if (lab_code(l, i) != VB_OK)
        fail_msg("capture failed: %s", e);
    assert_int_equal(l->end.code, VB_OK);
}

static void assert_restored(struct lab *l)
{
    VB_AUTO_FREE char *e = lab_error(l, 0);
    if (lab_code(l, 0) != VB_OK)
        fail_msg("restore failed: %s", e);
    assert_int_equal(lab_u64(l, 0, VB_F_RESTORE_STATUS), VB_FILE_RESTORE_ALL);
}

/* Captures `from`, restores it to `to`, and compares everything. */
static void round_trip(struct lab *l, const char *from, const char *to)
{
    struct lab_root root;
    lab_capture_tree(l, from);
    assert_captured(l, 0);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_COMPLETE);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, to, LAB_KEEP_OWNER);
    assert_restored(l);
    VB_AUTO_FREE char *a = lab_listing(l, from, true), *b = lab_listing(l, to, true);
    assert_string_equal(a, b);
}

static void set_time(struct lab *l, const char *path, int64_t sec, long nsec)
{
    struct timespec t[2] = { { .tv_sec = sec, .tv_nsec = nsec }, { .tv_sec = sec, .tv_nsec = nsec } };
    assert_int_equal(utimensat(l->fd, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void set_flags(struct lab *l, const char *path, unsigned flags)
{
    VB_AUTO_FD int fd = openat(l->fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void set_project(struct lab *l, const char *path, uint32_t id)
{
    struct fsxattr x;
    VB_AUTO_FD int fd = openat(l->fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
        return;
    x.fsx_projid = id;
    ioctl(fd, FS_IOC_FSSETXATTR, &x);
}

/* What only root can make. */
static void add_root_kinds(struct lab *l)
{
    static const unsigned char cap[20] = { 1, 0, 0, 2, 0, 4 }; /* cap_net_bind_service, effective */
    lab_text(l, "src/owned", "somebody's");
    lab_text(l, "src/capable", "program");
    lab_text(l, "src/fixed", "immutable");
    lab_text(l, "src/fixed2", "linked immutable");
    lab_text(l, "src/grows", "append only");
    assert_int_equal(linkat(l->fd, "src/fixed2", l->fd, "src/dir/fixed2", 0), 0);
    assert_int_equal(fchownat(l->fd, "src/owned", 12345, 23456, 0), 0);
    assert_int_equal(fchmodat(l->fd, "src/owned", 06755, 0), 0);
    assert_int_equal(fchownat(l->fd, "src/dir/link", 1, 1, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(fchownat(l->fd, "src/pipe", 65534, 65534, 0), 0);
    setxattr(lab_path(l, "src/capable"), "security.capability", cap, sizeof cap, 0);
    setxattr(lab_path(l, "src/owned"), "trusted.mark", "t", 1, 0);
    lsetxattr(lab_path(l, "src/dir/link"), "trusted.link", "l", 1, 0);
    lsetxattr(lab_path(l, "src/pipe"), "trusted.pipe", "p", 1, 0);
    setxattr(lab_path(l, "src/dir/empty"), "security.vbackup-test", "s", 1, 0); /* "all kinds" made it */
    lab_mkdir(l, "src/project", 0755);
    lab_text(l, "src/project/f", "counted");
    set_project(l, "src/project", 4711);
    set_project(l, "src/project/f", 4712);
    lab_mkdir(l, "src/attributes", 0755);
    lab_text(l, "src/attributes/sync", "S");
    lab_text(l, "src/attributes/noatime", "A");
    lab_mkdir(l, "src/attributes/dirsync", 0755);
    lab_text(l, "src/attributes/nocow", "");
    lab_mkdir(l, "src/attributes/compress", 0755);
    set_flags(l, "src/attributes/sync", FS_SYNC_FL);
    set_flags(l, "src/attributes/noatime", FS_NOATIME_FL);
    set_flags(l, "src/attributes/dirsync", FS_DIRSYNC_FL | FS_NODUMP_FL);
    set_flags(l, "src/attributes/nocow", FS_NOCOW_FL);
    set_flags(l, "src/attributes/compress", FS_COMPR_FL);
    lab_text(l, "src/attributes/compress/inherits", "c");
    lab_text(l, "src/attributes/compress/not", "n");
    set_flags(l, "src/attributes/compress/not", 0);
    if (mknodat(l->fd, "src/null", S_IFCHR | 0666, makedev(1, 3)) == 0)
        mknodat(l->fd, "src/loop7", S_IFBLK | 0660, makedev(7, 7));
    set_time(l, "src/fixed", 5, 5);
    set_flags(l, "src/fixed", FS_IMMUTABLE_FL);
    set_flags(l, "src/fixed2", FS_IMMUTABLE_FL);
    set_flags(l, "src/grows", FS_APPEND_FL | FS_NODUMP_FL);
}

static void release_root_kinds(struct lab *l)
{
    static const char *const names[] = { "src/fixed", "src/fixed2", "src/grows",
                                         "dst/fixed", "dst/fixed2", "dst/grows" };
    for (size_t i = 0; i < VB_COUNT(names); i++)
        set_flags(l, names[i], 0);
}

static void all_kinds(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src/dir/empty", 0750);
    lab_text(l, "src/plain", "hello\n");
    lab_text(l, "src/nothing", "");
    lab_noise(l, "src/dir/big", 3u << 20, 7);
    assert_int_equal(symlinkat("../does/not/exist", l->fd, "src/dir/link"), 0);
    assert_int_equal(mkfifoat(l->fd, "src/pipe", 0640), 0);
    assert_int_equal(linkat(l->fd, "src/plain", l->fd, "src/dir/other", 0), 0);
    assert_int_equal(fchmodat(l->fd, "src/plain", 04711, 0), 0);
    assert_int_equal(fchmodat(l->fd, "src/dir", 03770, 0), 0);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(un.sun_path, lab_path(l, "src/sock"), sizeof un.sun_path - 1);
    assert_int_equal(bind(s, (struct sockaddr *)&un, sizeof un), 0);
    close(s);
    if (geteuid() == 0)
        add_root_kinds(l);
    set_time(l, "src/dir/link", 12345, 999999999);
    set_time(l, "src/pipe", -5, 1);
    set_time(l, "src/plain", 1000000000, 123456789);
    set_time(l, "src/dir/empty", 77, 7);
    set_time(l, "src/dir", 78, 8);
    set_time(l, "src", 79, 9);
    round_trip(l, "src", "dst");
    release_root_kinds(l);
}

static void attributes(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src/d", 0755);
    lab_text(l, "src/f", "x");
    if (setxattr(lab_path(l, "src/f"), "user.one", "1\0002", 3, 0) < 0)
        CM_SKIP("no user attributes on this file system");
    setxattr(lab_path(l, "src/f"), "user.empty", "", 0, 0);
    setxattr(lab_path(l, "src/d"), "user.dir", "yes", 3, 0);
    static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 57, 48, 0, 0,
                                         4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,
                                         32, 0, 0, 0, 255, 255, 255, 255 };
    setxattr(lab_path(l, "src/f"), "system.posix_acl_access", acl, sizeof acl, 0);
    setxattr(lab_path(l, "src/d"), "system.posix_acl_default", acl, sizeof acl, 0);
    lab_text(l, "src/d/inherits", "y");
    lab_text(l, "src/d/not", "z");
    removexattr(lab_path(l, "src/d/not"), "system.posix_acl_access");
    round_trip(l, "src", "dst");
}

static void names_are_bytes(void **state)
{
    struct lab *l = *state;
    char long_name[256];
    memset(long_name, 'n', 255);
    long_name[255] = 0;
    VB_AUTO_FREE char *p = vb_printf("src/%s", long_name);
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/caf\xe9", "latin1");
    lab_text(l, "src/new\nline", "nl");
    lab_text(l, "src/\xff\xfe\x01", "bytes");
    lab_text(l, "src/-rf *?", "meta");
    lab_text(l, "src/...", "dots");
    lab_text(l, p, "long");
    round_trip(l, "src", "dst");
}

static void sparse_files(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src", 0755);
    int fd = openat(l->fd, "src/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
    assert_int_equal(pwrite(fd, "middle", 6, 50 << 20), 6);
    assert_int_equal(ftruncate(fd, 200 << 20), 0);
    fsync(fd);
    close(fd);
    fd = openat(l->fd, "src/hole", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, 10 << 20), 0);
    close(fd);
    round_trip(l, "src", "dst");
    assert_true(l->get_bytes < 1 << 20);

    /* live: holes are not believed, zeros are */
    struct vb_msg c = lab_component("c");
    struct lab_root root;
    lab_fileset(l, &c, "src", NULL, "*", true, true);
    lab_capture(l, &c, 1);
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "live", LAB_KEEP_OWNER);
    assert_restored(l);
    struct stat st;
    assert_int_equal(fstatat(l->fd, "live/sparse", &st, 0), 0);
    assert_int_equal(st.st_size, 200 << 20);
    assert_true(st.st_blocks * 512 < 10 << 20);
    char at[7] = "";
    fd = openat(l->fd, "live/sparse", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, at, 6, 50 << 20), 6);
    assert_string_equal(at, "middle");
    close(fd);
}

static void many_and_large(void **state)
{
    struct lab *l = *state;
    for (int d = 0; d < 20; d++) {
        VB_AUTO_FREE char *dir = vb_printf("src/d%d", d);
        lab_mkdir(l, dir, 0755);
        for (int i = 0; i < 100; i++) {
            VB_AUTO_FREE char *f = vb_printf("%s/f%d", dir, i);
            lab_noise(l, f, (size_t)(i * 37), (uint64_t)(d * 100 + i));
        }
    }
    lab_noise(l, "src/large", 40u << 20, 99); /* more chunks than stand directly in the entry */
    round_trip(l, "src", "dst");
}

static void deep_tree(void **state)
{
    struct lab *l = *state;
    int at = dup(l->fd);
    lab_mkdir(l, "src", 0755);
    int next = openat(at, "src", O_RDONLY | O_DIRECTORY);
    enum { DEPTH = 10000 };
    for (int i = 0; i < DEPTH; i++) {
        close(at);
        at = next;
        assert_int_equal(mkdirat(at, "deep", 0700), 0);
        next = openat(at, "deep", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
    }
    close(at);
    at = openat(next, "bottom", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(at, "here", 4), 4);
    close(at);
    close(next);
    struct lab_root root;
    lab_capture_tree(l, "src");
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    assert_int_equal(root.dirs, DEPTH + 1);
    lab_restore_tree(l, &root.name, "dst", LAB_KEEP_OWNER);
    assert_restored(l);
    at = openat(l->fd, "dst", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < DEPTH; i++) {
        next = openat(at, "deep", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    assert_int_equal(faccessat(at, "bottom", F_OK, 0), 0);
    close(at);
}

static void same_tree_same_name(void **state)
{
    struct lab *l = *state;
    struct lab_root a, b;
    lab_mkdir(l, "src/x", 0755);
    lab_noise(l, "src/x/f", 500000, 3);
    lab_capture_tree(l, "src");
    assert_true(lab_root(l, 0, 0, &a));
    assert_true(l->stats.wanted_chunks > 0);
    lab_capture_tree(l, "src");
    assert_true(lab_root(l, 0, 0, &b));
    assert_memory_equal(a.name.b, b.name.b, VB_NAME_LEN);
    assert_int_equal(l->stats.wanted_chunks, 0);
    assert_int_equal(l->stats.received_bytes, 0);
}

static void lost_stream(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src", 0755);
    lab_noise(l, "src/f", 20u << 20, 11);
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", NULL, "*", true, false);
    l->cut_after = 40;
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_E_CONNECTION_LOST);
    assert_int_equal(l->end.code, VB_E_CONNECTION_LOST);
    /* again: what arrived is not wanted twice */
    lab_capture_tree(l, "src");
    assert_captured(l, 0);
    assert_true(l->stats.wanted_bytes < 20u << 20);
    assert_true(l->stats.wanted_bytes > 0);
}

/* Once the process has src/a-big open: the directory is listed, and the file is being read.  It cannot get to its end
 * meanwhile: nobody answers its offers, and the window is smaller. */
static void change_while_reading(struct lab *l, pid_t pid)
{
    VB_AUTO_FREE char *fds = vb_printf("/proc/%d/fd", (int)pid);
    bool reading = false;
    for (int tries = 0; !reading && tries < 300000; tries++) {
        DIR *d = opendir(fds);
        for (const struct dirent *e; d && (e = readdir(d));) {
            char target[4096];
            ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
            target[n < 0 ? 0 : n] = 0;
            reading = reading || strstr(target, "/src/a-big");
        }
        if (d)
            closedir(d);
        if (!reading)
            usleep(200);
    }
    assert_true(reading);
    int fd = openat(l->fd, "src/a-big", O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "more", 4), 4);
    close(fd);
    unlinkat(l->fd, "src/z-gone", 0);
    unlinkat(l->fd, "src/z-sub/inner", 0);
    unlinkat(l->fd, "src/z-sub", AT_REMOVEDIR);
}

static void changes(struct lab *l, bool live)
{
    lab_mkdir(l, "src/z-sub", 0755);
    lab_noise(l, "src/a-big", 100u << 20, 1);
    lab_text(l, "src/b-stays", "b");
    lab_text(l, "src/z-gone", "z");
    lab_text(l, "src/z-sub/inner", "i");
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", NULL, "*", true, live);
    l->meanwhile = change_while_reading;
    lab_capture(l, &c, 1);
    assert_true(lab_warned(l, "/src/a-big", VB_E_FILE_CHANGED));
}

static void live_changes_are_told(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    changes(l, true);
    assert_captured(l, 0);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_PARTIAL);
    assert_int_equal(lab_u64(l, 0, VB_F_WARNINGS), 3);
    assert_true(lab_warned(l, "/src/z-gone", VB_E_FILE_CHANGED));
    assert_true(lab_warned(l, "/src/z-sub", VB_E_FILE_CHANGED));
    assert_true(l->progress > 0);
    /* what changed once was read anew, and is whole */
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "dst", 0);
    assert_restored(l);
    struct stat st;
    assert_int_equal(fstatat(l->fd, "dst/a-big", &st, 0), 0);
    assert_int_equal(st.st_size, (100 << 20) + 4);
}

/* A file that is written to all the time cannot be had whole: that is said, and the component is partial. */
static pid_t busy_writer;

static void write_all_the_time(struct lab *l, pid_t pid VB_UNUSED)
{
    busy_writer = fork();
    if (busy_writer == 0) {
        int fd = openat(l->fd, "src/busy", O_WRONLY | O_CLOEXEC);
        for (unsigned i = 0;; i++) {
            if (pwrite(fd, &i, sizeof i, 0) < 0)
                _exit(1);
            usleep(200);
        }
    }
}

static void live_file_that_never_rests(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src", 0755);
    lab_noise(l, "src/busy", 30u << 20, 1);
    lab_text(l, "src/calm", "calm");
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", NULL, "*", true, true);
    l->meanwhile = write_all_the_time;
    lab_capture(l, &c, 1);
    kill(busy_writer, SIGKILL);
    waitpid(busy_writer, NULL, 0);
    assert_captured(l, 0);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_PARTIAL);
    assert_int_equal(lab_u64(l, 0, VB_F_WARNINGS), 2); /* read anew, and then torn */
    assert_int_equal(lab_u64(l, 0, VB_F_FILES), 2);
}

/* What a file server does with its files: the kernel asks it to give them back while we wait. */
static int leased_fd;

static void give_back(int sig VB_UNUSED)
{
    fcntl(leased_fd, F_SETLEASE, F_UNLCK);
}

static void leased_file_is_waited_for(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/leased", "lent");
    leased_fd = openat(l->fd, "src/leased", O_RDWR | O_CLOEXEC);
    signal(SIGIO, give_back);
    if (fcntl(leased_fd, F_SETLEASE, F_WRLCK) < 0)
        CM_SKIP("no leases on this file system");
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", NULL, "*", true, true);
    lab_capture(l, &c, 1);
    signal(SIGIO, SIG_DFL);
    close(leased_fd);
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    assert_int_equal(root.files, 1);
}

/* Memory follows the names of a directory, not all that is known of its entries. */
static void large_directory(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    unsigned entries = getenv("TMPDIR") ? 20000 : 100000; /* in memory, or on some disk */
    lab_mkdir(l, "few", 0755);
    lab_mkdir(l, "src", 0755);
    lab_text(l, "few/one", "1");
    lab_capture_tree(l, "few");
    long before = l->max_rss_kb;
    VB_AUTO_FD int dir = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < entries; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u", i * 2654435761u);
        assert_int_equal(mknodat(dir, name, S_IFREG | 0644, 0), 0);
    }
    lab_capture_tree(l, "src");
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    assert_int_equal(root.files, entries);
    print_message("# %ld kB more than for one entry\n", l->max_rss_kb - before);
#if !defined(__SANITIZE_ADDRESS__) && !VB_HAS_ASAN /* gcc's word and clang's */
    assert_true(l->max_rss_kb - before < 20 << 10);
#endif
}

static void shadow_copy_must_not_change(void **state)
{
    struct lab *l = *state;
    changes(l, false);
    VB_AUTO_FREE char *text = lab_error(l, 0);
    assert_int_equal(lab_code(l, 0), VB_E_FILE_CHANGED);
    assert_non_null(strstr(text, "/src/a-big'"));
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_FAILED);
}

/* A path into the shadow copy that leads back to the original must not pass for the copy. */
static void link_back_to_the_original(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "orig", 0755);
    lab_mkdir(l, "snap", 0755);
    lab_text(l, "orig/f", "live");
    assert_int_equal(symlinkat("../orig", l->fd, "snap/orig"), 0);
    struct vb_msg c[2] = { lab_component("through"), lab_component("last") };
    lab_fileset(l, &c[0], "orig", "snap/orig/.", "*", true, false);
    lab_fileset(l, &c[1], "orig", "snap/orig", "*", true, false);
    lab_capture(l, c, 2);
    assert_int_not_equal(lab_code(l, 0), VB_OK);
    assert_int_not_equal(lab_code(l, 1), VB_OK);
    assert_int_equal(lab_u64(l, 0, VB_F_FILES), 0);
    assert_int_equal(lab_u64(l, 1, VB_F_FILES), 0);
}

static void places_of_shadow_copies_are_no_data(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    lab_mkdir(l, "src/.vbackup/id", 0755);
    lab_mkdir(l, "src/sub/.vbackup", 0755);
    lab_text(l, "src/.vbackup/id/copy", "copy");
    lab_text(l, "src/sub/.vbackup/mine", "somebody's own");
    if (setxattr(lab_path(l, "src/.vbackup"), "user.vbackup.place", "1", 1, 0) < 0)
        skip();
    lab_capture_tree(l, "src");
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "dst", 0);
    assert_false(lab_exists(l, "dst/.vbackup"));
    assert_true(lab_exists(l, "dst/sub/.vbackup/mine"));
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, lab_teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("all kinds of files come back with all their metadata", all_kinds),
        LAB_TEST("extended attributes and ACLs come back, inherited ones do not stay", attributes),
        LAB_TEST("names are bytes", names_are_bytes),
        LAB_TEST("sparse files stay sparse, from a shadow copy and live", sparse_files),
        LAB_TEST("many small files and one with lists of chunks", many_and_large),
        LAB_TEST("10,000 directories inside each other", deep_tree),
        LAB_TEST("the same tree has the same name and sends nothing", same_tree_same_name),
        LAB_TEST("live: what changes or vanishes is named, and the component is partial", live_changes_are_told),
        LAB_TEST("live: a file that changes all the time is named as torn", live_file_that_never_rests),
        LAB_TEST("live: a leased file is waited for", leased_file_is_waited_for),
        LAB_TEST("100,000 entries in one directory take little memory", large_directory),
        LAB_TEST("a shadow copy that changes is a failure", shadow_copy_must_not_change),
        LAB_TEST("a link that leads back to the original does not pass for the copy", link_back_to_the_original),
        LAB_TEST("the hidden places of shadow copies are no data", places_of_shadow_copies_are_no_data),
        LAB_TEST("a lost stream is told as such, and the next run goes on", lost_stream),
    };
    return cmocka_run_group_tests_name("capture", tests, NULL, NULL);
}
