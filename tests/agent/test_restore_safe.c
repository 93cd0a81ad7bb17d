/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restores that are verified, taken up again, put over what is there; and places that others change meanwhile.
 *
 * The race harness restores again and again while another process (another user, when this runs as root) swaps
 * directories, files and temporary names with links to the outside.  What may never happen is that anything outside
 * changes: contents, modes, owners, attributes.  RACE_MS is the time for each kind of attack (default 700).
 */
#include "config.h"

#include "tests/agent/mover_lab.h"
#include "tests/cm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"

#define NOBODY 65534

static struct vb_name captured(struct lab *l, const char *path)
{
    struct lab_root root;
    lab_capture_tree(l, path);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_true(lab_root(l, 0, 0, &root));
    return root.name;
}

static void assert_done(struct lab *l)
{
    VB_AUTO_FREE char *e = lab_error(l, 0);
    if (lab_code(l, 0) != VB_OK)
        fail_msg("%s", e);
}

static pid_t other;

static void end_other(void)
{
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
}

/* ---- verified ---- */

static void verified(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src/sub", 0755);
    lab_text(l, "src/a", "text");
    lab_noise(l, "src/sub/large", 5u << 20, 7);
    assert_int_equal(symlinkat("a", l->fd, "src/link"), 0);
    assert_int_equal(mkfifoat(l->fd, "src/pipe", 0600), 0);
    int fd = openat(l->fd, "src/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(pwrite(fd, "x", 1, 3 << 20), 1);
    assert_int_equal(ftruncate(fd, 9 << 20), 0);
    fsync(fd);
    close(fd);
    struct vb_name root = captured(l, "src");
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER | LAB_VERIFY);
    assert_done(l);
    assert_int_equal(lab_u64(l, 0, VB_F_VERIFY), 7);
    lab_restore_tree(l, &root, "dst2", LAB_NO_KEY | LAB_VERIFY); /* nothing to compare with */
    assert_int_equal(lab_code(l, 0), VB_E_PROTOCOL);
    assert_false(lab_exists(l, "dst2"));
}

static void spoil(struct lab *l, pid_t pid VB_UNUSED)
{
    other = fork();
    while (other == 0) {
        VB_AUTO_FD int fd = openat(l->fd, "dst/a", O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && pwrite(fd, "spoilt", 6, 1000) != 6)
            _exit(1);
    }
}

static void verify_finds_what_was_spoilt(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src", 0755);
    lab_noise(l, "src/a", 100000, 7);
    lab_noise(l, "src/b", 20u << 20, 8);
    struct vb_name root = captured(l, "src");
    for (int tries = 0; tries < 20; tries++) { /* until the other process gets its turn in time */
        l->meanwhile = spoil;
        lab_restore_tree(l, &root, "dst", LAB_VERIFY | LAB_OVERWRITE);
        end_other();
        if (lab_code(l, 0) != VB_OK)
            break;
    }
    assert_int_equal(lab_code(l, 0), VB_E_CORRUPT);
    assert_int_equal(lab_u64(l, 0, VB_F_RESTORE_STATUS), VB_FILE_RESTORE_FAILED);
    assert_true(lab_warned(l, "/dst/a", VB_E_CORRUPT));
    assert_false(lab_warned(l, "/dst/b", VB_E_CORRUPT));
}

/* ---- what is there already ---- */

static ino_t inode(struct lab *l, const char *path)
{
    struct stat st;
    assert_int_equal(fstatat(l->fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_ino;
}

static void same_content_stays(void **state)
{
    struct lab *l = *state;
    struct timespec now[2] = { { .tv_sec = 5 }, { .tv_sec = 5 } };
    lab_mkdir(l, "src", 0755);
    lab_noise(l, "src/same", 3u << 20, 7);
    lab_noise(l, "src/differs", 3u << 20, 8);
    int fd = openat(l->fd, "src/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(pwrite(fd, "x", 1, 3 << 20), 1);
    assert_int_equal(ftruncate(fd, 9 << 20), 0);
    fsync(fd);
    close(fd);
    struct vb_name root = captured(l, "src");
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER);
    ino_t same = inode(l, "dst/same"), differs = inode(l, "dst/differs"), sparse = inode(l, "dst/sparse");
    /* times say nothing, bytes do: also where there should be a hole */
    fd = openat(l->fd, "dst/differs", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "!", 1, 1000000), 1);
    close(fd);
    assert_int_equal(utimensat(l->fd, "dst/same", now, 0), 0);
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER | LAB_OVERWRITE);
    assert_done(l);
    assert_int_equal(inode(l, "dst/same"), same);
    assert_int_equal(inode(l, "dst/sparse"), sparse);
    assert_int_not_equal(inode(l, "dst/differs"), differs);
    assert_true(l->get_bytes < 5u << 20);
    VB_AUTO_FREE char *a = lab_listing(l, "src", true), *b = lab_listing(l, "dst", true);
    assert_string_equal(a, b);
    fd = openat(l->fd, "dst/sparse", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "!", 1, 5 << 20), 1);
    close(fd);
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER | LAB_OVERWRITE);
    assert_done(l);
    assert_int_not_equal(inode(l, "dst/sparse"), sparse);
    VB_AUTO_FREE char *c = lab_listing(l, "dst", true);
    assert_string_equal(a, c);
}

/* A file that somebody else owns is not made root's, however right its content: he may hold it open. */
static void foreign_file_is_not_kept(void **state)
{
    struct lab *l = *state;
    if (geteuid() != 0)
        CM_SKIP("needs root");
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/rule", "root's words\n");
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst", 0777);
    lab_text(l, "dst/rule", "root's words\n");
    assert_int_equal(fchownat(l->fd, "dst/rule", NOBODY, NOBODY, 0), 0);
    VB_AUTO_FD int held = openat(l->fd, "dst/rule", O_WRONLY | O_CLOEXEC);
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER | LAB_OVERWRITE);
    assert_done(l);
    assert_int_equal(pwrite(held, "mine", 4, 0), 4);
    VB_AUTO_FREE char *text = lab_read(l, "dst/rule");
    assert_string_equal(text, "root's words\n");
}

static void half_done_names_are_swept(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src/sub", 0755);
    lab_text(l, "src/sub/a", "a");
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst/sub", 0755);
    lab_text(l, "dst/sub/.vbackup-0123456789abcdef-1f", "half");
    lab_text(l, "dst/.vbackup-0123456789abcdef-0", "half");
    lab_text(l, "dst/sub/.vbackup-0123456789abcdef-", "somebody's");
    lab_text(l, "dst/sub/.vbackup-mine", "somebody's");
    lab_restore_tree(l, &root, "dst", LAB_RESUME);
    assert_done(l);
    assert_false(lab_exists(l, "dst/sub/.vbackup-0123456789abcdef-1f"));
    assert_false(lab_exists(l, "dst/.vbackup-0123456789abcdef-0"));
    assert_true(lab_exists(l, "dst/sub/.vbackup-0123456789abcdef-"));
    assert_true(lab_exists(l, "dst/sub/.vbackup-mine"));
}

/* VSS-B-28: what was mounted below is a root of its own; its place is made by the root above it. */
static void mounted_root_keeps_its_mode(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "upper/mnt", 0755);
    lab_mkdir(l, "lower", 0755);
    assert_int_equal(fchmodat(l->fd, "lower", 01731, 0), 0);
    lab_text(l, "lower/f", "f");
    struct vb_name upper = captured(l, "upper"), lower = captured(l, "lower");
    struct vb_msg c = lab_component("c");
    lab_restore_root(l, &c, &upper, "dst", NULL, true, NULL);
    lab_restore_root(l, &c, &lower, "dst/mnt", NULL, true, NULL);
    lab_restore(l, &c, 1, 0);
    assert_done(l);
    struct stat st;
    assert_int_equal(fstatat(l->fd, "dst/mnt", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 01731);
}

/* ---- races ---- */

#define DIRS 6
#define FILES 24

static unsigned turn;

static void exchange(int fd, const char *a, const char *b)
{
    syscall(SYS_renameat2, fd, a, fd, b, 2 /* RENAME_EXCHANGE */);
}

static void path_of(char *out, size_t n, const char *prefix)
{
    snprintf(out, n, "%s%u", prefix, turn % DIRS);
}

/* A directory goes away and a link to the outside stands there for a moment. */
static void swap_directory(int fd)
{
    char dir[40], away[40];
    path_of(dir, sizeof dir, "race/d");
    path_of(away, sizeof away, "mine/away");
    if (renameat(fd, dir, fd, away) == 0) {
        if (symlinkat("../outside", fd, dir) == 0)
            unlinkat(fd, dir, 0);
        renameat(fd, away, fd, dir);
    }
}

/* The same in one step, there and back. */
static void exchange_directory(int fd)
{
    char dir[40];
    path_of(dir, sizeof dir, "race/d");
    exchange(fd, dir, "mine/link");
    exchange(fd, dir, "mine/link");
}

/* The directory we work in becomes a child of another one: ".." leads elsewhere. */
static void move_directory(int fd)
{
    char dir[40], away[40];
    path_of(dir, sizeof dir, "race/d");
    path_of(away, sizeof away, "mine/deep/in/away");
    if (renameat(fd, dir, fd, away) == 0)
        renameat(fd, away, fd, dir);
}

/* A link of either kind to the outside; whether it could be made shows in what happens. */
static void lead_out(int fd, const char *name, bool symbolic)
{
    int rc = symbolic ? symlinkat("../../outside/root-file", fd, name) : linkat(fd, "outside/other-file", fd, name, 0);
    (void)rc;
}

/* A name that is being put into place is a link of either kind to the outside. */
static void swap_file(int fd)
{
    char name[60];
    snprintf(name, sizeof name, "race/d%u/f%u", turn % DIRS, turn / DIRS % FILES);
    unlinkat(fd, name, 0);
    lead_out(fd, name, turn & 64);
}

/* Every temporary name that can be seen becomes a link to the outside. */
static void swap_temporary(int fd)
{
    char dir[40], path[400];
    path_of(dir, sizeof dir, "race/d");
    int sub = openat(fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = sub < 0 ? NULL : fdopendir(sub);
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, ".vbackup-", 9) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        unlinkat(fd, path, 0);
        lead_out(fd, path, turn & 1);
    }
    if (d)
        closedir(d);
}

/* A directory that was just made is exchanged for another one of ours. */
static void swap_made(int fd)
{
    char dir[60];
    snprintf(dir, sizeof dir, "race/d%u/new", turn % DIRS);
    exchange(fd, dir, "mine/other");
    exchange(fd, dir, "mine/other");
}

static void (*attack)(int fd);

static void start_attack(struct lab *l, pid_t pid VB_UNUSED)
{
    other = fork();
    if (other)
        return;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) < 0))
        _exit(1);
    for (;; turn++)
        attack(l->fd);
}

static void give(struct lab *l, const char *path)
{
    if (geteuid() == 0)
        assert_int_equal(fchownat(l->fd, path, NOBODY, NOBODY, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_hostile_source(struct lab *l)
{
    for (unsigned d = 0; d < DIRS; d++) {
        VB_AUTO_FREE char *dir = vb_printf("src/d%u/new", d);
        lab_mkdir(l, dir, 0755);
        for (unsigned f = 0; f < FILES; f++) {
            VB_AUTO_FREE char *file = vb_printf("src/d%u/f%u", d, f), *below = vb_printf("src/d%u/new/g%u", d, f);
            if (f % 6 == 5) {
                assert_int_equal(mkfifoat(l->fd, file, 0606), 0);
            } else if (f % 6 == 4) {
                assert_int_equal(symlinkat("elsewhere", l->fd, file), 0);
            } else if (f % 6 == 3) {
                VB_AUTO_FREE char *first = vb_printf("src/d%u/f%u", d, f - 1);
                assert_int_equal(linkat(l->fd, first, l->fd, file, 0), 0);
            } else {
                lab_text(l, file, "restored");
                assert_int_equal(fchmodat(l->fd, file, 06707, 0), 0);
                setxattr(lab_path(l, file), "user.restored", "yes", 3, 0);
            }
            lab_text(l, below, "restored below");
        }
        VB_AUTO_FREE char *open_dir = vb_printf("src/d%u", d);
        assert_int_equal(fchmodat(l->fd, open_dir, 0777, 0), 0);
        give(l, open_dir); /* restored as the attacker's own */
    }
    assert_int_equal(fchmodat(l->fd, "src", 0777, 0), 0);
    give(l, "src");
}

static void make_outside(struct lab *l)
{
    lab_mkdir(l, "outside/sub", 0755);
    lab_text(l, "outside/root-file", "untouched");
    lab_text(l, "outside/other-file", "untouched as well");
    assert_int_equal(fchmodat(l->fd, "outside/root-file", 0600, 0), 0);
    give(l, "outside/other-file");
    lab_mkdir(l, "mine/deep/in", 0755);
    lab_mkdir(l, "mine/other", 0700);
    lab_text(l, "mine/other/secret", "untouched in the middle");
    assert_int_equal(symlinkat("../outside", l->fd, "mine/link"), 0);
    give(l, "mine");
    give(l, "mine/deep");
    give(l, "mine/deep/in");
    /* "mine/other" stays root's: the attacker may move it, and must not be given it */
    assert_int_equal(fchmodat(l->fd, ".", 0755, 0), 0);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* lint: allow clock_gettime, a test's own clock */
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Whatever the attacker has left in the way: away, and a fresh place that belongs to him. */
static void fresh_place(struct lab *l, unsigned round)
{
    VB_AUTO_FREE char *old = vb_printf("old-%u", round);
    struct stat st;
    renameat(l->fd, "race", l->fd, old);
    for (unsigned d = 0; d < DIRS; d++) {
        VB_AUTO_FREE char *away = vb_printf("mine/away%u", d), *deep = vb_printf("mine/deep/in/away%u", d);
        VB_AUTO_FREE char *a = vb_printf("%s/left%u", old, d), *b = vb_printf("%s/deep%u", old, d);
        renameat(l->fd, away, l->fd, a);
        renameat(l->fd, deep, l->fd, b);
        /* what was exchanged and not brought back */
        VB_AUTO_FREE char *dir = vb_printf("%s/d%u", old, d), *made = vb_printf("%s/new", dir);
        VB_AUTO_FREE char *secret = vb_printf("%s/secret", made);
        if (fstatat(l->fd, dir, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
            exchange(l->fd, dir, "mine/link");
        if (faccessat(l->fd, secret, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            exchange(l->fd, made, "mine/other");
    }
    for (unsigned d = 0; d < DIRS; d++) {
        VB_AUTO_FREE char *dir = vb_printf("race/d%u", d);
        lab_mkdir(l, dir, 0777);
        assert_int_equal(fchmodat(l->fd, dir, 0777, 0), 0);
        give(l, dir);
    }
    assert_int_equal(fchmodat(l->fd, "race", 0777, 0), 0);
    give(l, "race");
    VB_AUTO_FREE char *all = vb_printf("%s/%s", l->dir, old);
    VB_AUTO_FREE char *rm = vb_printf("%s", all);
    int top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    vb_remove_tree_at(top, rm + 1, NULL);
    close(top);
}

static void race(struct lab *l, const struct vb_name *root, const char *what, void (*how)(int fd), unsigned flags)
{
    const char *ms = getenv("RACE_MS");
    uint64_t end = now_ms() + (ms ? strtoull(ms, NULL, 10) : 700);
    unsigned done = 0, refused = 0;
    attack = how;
    VB_AUTO_FREE char *before = lab_listing(l, "outside", true);
    do {
        fresh_place(l, done + refused);
        VB_AUTO_FREE char *secret = lab_listing(l, "mine/other", true);
        l->meanwhile = start_attack;
        lab_restore_tree(l, root, "race", LAB_OVERWRITE | flags);
        end_other();
        lab_code(l, 0) == VB_OK ? done++ : refused++;
        VB_AUTO_FREE char *after = lab_listing(l, "outside", true);
        assert_string_equal(before, after);
        fresh_place(l, done + refused);
        VB_AUTO_FREE char *still = lab_listing(l, "mine/other", true);
        assert_string_equal(secret, still);
    } while (now_ms() < end);
    print_message("# %s: %u restores finished, %u refused\n", what, done, refused);
}

static void races(void **state)
{
    static const struct {
        const char *what;
        void (*how)(int fd);
    } ATTACKS[] = { { "a link in the place of a directory", swap_directory },
                    { "a directory exchanged for a link", exchange_directory },
                    { "a directory moved away", move_directory },
                    { "links in the place of files", swap_file },
                    { "links in the place of temporary names", swap_temporary },
                    { "a made directory exchanged", swap_made } };
    struct lab *l = *state;
    make_hostile_source(l);
    struct vb_name root = captured(l, "src");
    make_outside(l);
    for (size_t i = 0; i < VB_COUNT(ATTACKS); i++)
        race(l, &root, ATTACKS[i].what, ATTACKS[i].how, LAB_KEEP_OWNER | (i & 1 ? LAB_RESUME : 0));
}

/* ---- attributes that were not there ---- */

static void attributes_of_a_kept_file(void **state)
{
    struct lab *l = *state;
    char value[8];
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/f", "content");
    if (setxattr(lab_path(l, "src/f"), "user.kept", "1", 1, 0) < 0) {
        print_message("# skip: no extended attributes here\n");
        skip();
    }
    struct vb_name root = captured(l, "src");
    lab_restore_tree(l, &root, "dst", 0);
    assert_done(l);
    assert_int_equal(setxattr(lab_path(l, "dst/f"), "user.kept", "2", 1, 0), 0);
    assert_int_equal(setxattr(lab_path(l, "dst/f"), "user.foreign", "3", 1, 0), 0);
    assert_int_equal(setxattr(lab_path(l, "dst"), "user.foreign", "3", 1, 0), 0);
    struct stat before, after;
    assert_int_equal(fstatat(l->fd, "dst/f", &before, 0), 0);
    lab_restore_tree(l, &root, "dst", LAB_OVERWRITE);
    assert_done(l);
    assert_int_equal(fstatat(l->fd, "dst/f", &after, 0), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* the content was right, and the file was kept */
    assert_int_equal(getxattr(lab_path(l, "dst/f"), "user.kept", value, sizeof value), 1);
    assert_int_equal(value[0], '1');
    assert_int_equal(getxattr(lab_path(l, "dst/f"), "user.foreign", value, sizeof value), -1);
    assert_int_equal(getxattr(lab_path(l, "dst"), "user.foreign", value, sizeof value), -1);
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, lab_teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("a restore is verified on request", verified),
        LAB_TEST("a file that is kept loses the attributes that it had not in the backup", attributes_of_a_kept_file),
        LAB_TEST("verifying finds what was spoilt meanwhile", verify_finds_what_was_spoilt),
        LAB_TEST("over what is there: the same content stays, other content is replaced", same_content_stays),
        LAB_TEST("a file that another user owns is not kept", foreign_file_is_not_kept),
        LAB_TEST("what an interrupted attempt left half done is swept", half_done_names_are_swept),
        LAB_TEST("VSS-B-28 the root of a mounted volume keeps its mode", mounted_root_keeps_its_mode),
        LAB_TEST("hostile place: nothing outside is touched, whatever is swapped", races),
    };
    return cmocka_run_group_tests_name("safe restore", tests, NULL, NULL);
}
