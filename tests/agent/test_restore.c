/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restore: all or nothing, what is in the way, going on after an interruption, and hostile trees and places.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct vb_name captured(struct lab *l, const char *path)
{
    struct lab_root root;
    lab_capture_tree(l, path);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_true(lab_root(l, 0, 0, &root));
    return root.name;
}

static void assert_outcome(struct lab *l, enum vb_code code, enum vb_file_restore_status status)
{
    VB_AUTO_FREE char *e = lab_error(l, 0);
    if (lab_code(l, 0) != code)
        fail_msg("got %s: %s", vb_code_name(lab_code(l, 0)), e);
    assert_int_equal(lab_u64(l, 0, VB_F_RESTORE_STATUS), status);
}

static void assert_text(struct lab *l, const char *path, const char *want)
{
    VB_AUTO_FREE char *text = lab_read(l, path);
    if (!text)
        fail_msg("%s is missing", path);
    assert_string_equal(text, want);
}

static void make_source(struct lab *l)
{
    lab_mkdir(l, "src/sub", 0755);
    lab_text(l, "src/a", "new a");
    lab_text(l, "src/sub/b", "new b");
    lab_noise(l, "src/sub/c", 300000, 4);
}

/* ---- all or nothing ---- */

static void guard_before_the_first_write(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst/sub", 0755);
    lab_text(l, "dst/sub/b", "old b");
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
    VB_AUTO_FREE char *text = lab_error(l, 0);
    assert_non_null(strstr(text, "/dst/sub/b'"));
    assert_false(lab_exists(l, "dst/a"));
    assert_text(l, "dst/sub/b", "old b");
    assert_int_equal(lab_u64(l, 0, VB_F_FILES), 0);
}

static void overwrite_replaces_names_not_inodes(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst/sub", 0755);
    lab_text(l, "dst/a", "old a");
    lab_text(l, "dst/stays", "not in the backup");
    assert_int_equal(linkat(l->fd, "dst/a", l->fd, "elsewhere", 0), 0);
    assert_int_equal(symlinkat("../elsewhere", l->fd, "dst/sub/b"), 0);
    lab_restore_tree(l, &root, "dst", LAB_OVERWRITE);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "dst/a", "new a");
    assert_text(l, "dst/sub/b", "new b");
    assert_text(l, "dst/stays", "not in the backup");
    assert_text(l, "elsewhere", "old a");
}

static void directory_is_never_replaced_by_a_file(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst/a", 0755);
    lab_text(l, "dst/a/precious", "x");
    lab_restore_tree(l, &root, "dst", LAB_OVERWRITE);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
    assert_text(l, "dst/a/precious", "x");
}

static void file_in_the_way_of_a_directory(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst", 0755);
    lab_text(l, "dst/sub", "a file");
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
    lab_restore_tree(l, &root, "dst", LAB_OVERWRITE);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "dst/sub/b", "new b");
}

static void one_component_refused_the_other_done(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "one", 0755);
    lab_text(l, "one/a", "old");
    struct vb_msg c[2] = { lab_component("one"), lab_component("two") };
    lab_restore_root(l, &c[0], &root, "one", NULL, true, NULL);
    lab_restore_root(l, &c[1], &root, "two", NULL, true, NULL);
    lab_restore(l, c, 2, 0);
    assert_int_equal(lab_code(l, 0), VB_E_GUARD);
    assert_int_equal(lab_u64(l, 0, VB_F_RESTORE_STATUS), VB_FILE_RESTORE_NONE);
    assert_int_equal(lab_code(l, 1), VB_OK);
    assert_int_equal(lab_u64(l, 1, VB_F_RESTORE_STATUS), VB_FILE_RESTORE_ALL);
    assert_text(l, "two/a", "new a");
}

static void existing_empty_directory_becomes_ours(void **state)
{
    struct lab *l = *state;
    make_source(l);
    assert_int_equal(fchmodat(l->fd, "src", 0711, 0), 0);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "dst", 0755);
    lab_mkdir(l, "full/other", 0755);
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    struct stat st;
    assert_int_equal(fstatat(l->fd, "dst", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    lab_restore_tree(l, &root, "full", 0);
    assert_int_equal(fstatat(l->fd, "full", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

/* ---- selection ---- */

static void part_of_it(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    struct vb_msg c = lab_component("c");
    lab_restore_root(l, &c, &root, "f", "b", true, NULL);
    lab_restore(l, &c, 1, 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "f/sub/b", "new b");
    assert_false(lab_exists(l, "f/a"));

    c = lab_component("c");
    lab_restore_root(l, &c, &root, "s", NULL, true, "sub");
    lab_restore(l, &c, 1, 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "s/b", "new b");

    c = lab_component("c");
    lab_restore_root(l, &c, &root, "one-file", NULL, true, "sub/b");
    lab_restore(l, &c, 1, 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "one-file", "new b");
}

static void nothing_restored_is_a_failure(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    struct vb_msg c = lab_component("c");
    lab_restore_root(l, &c, &root, "f", "nobody", true, NULL);
    lab_restore(l, &c, 1, 0);
    assert_outcome(l, VB_E_NOT_FOUND, VB_FILE_RESTORE_NONE);
    c = lab_component("c");
    lab_restore_root(l, &c, &root, "f", NULL, true, "sub/nobody");
    lab_restore(l, &c, 1, 0);
    assert_outcome(l, VB_E_NOT_FOUND, VB_FILE_RESTORE_NONE);
    assert_false(lab_exists(l, "f"));
}

/* ---- interruption ---- */

static void goes_on_after_a_lost_stream(void **state)
{
    struct lab *l = *state;
    for (int i = 0; i < 300; i++) { /* more than is asked for ahead of time */
        VB_AUTO_FREE char *f = vb_printf("src/f%02d", i);
        lab_mkdir(l, "src", 0755);
        lab_noise(l, f, 100000, (uint64_t)i);
    }
    assert_int_equal(linkat(l->fd, "src/f00", l->fd, "src/zlink", 0), 0);
    assert_int_equal(symlinkat("f01", l->fd, "src/sym"), 0);
    struct vb_name root = captured(l, "src");
    l->cut_after = 500;
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER);
    assert_int_equal(lab_code(l, 0), VB_E_CONNECTION_LOST);
    /* a new attempt that is not told so does not touch what it finds */
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
    lab_restore_tree(l, &root, "dst", LAB_KEEP_OWNER | LAB_RESUME);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_true(l->get_bytes < 300 * 100000);
    VB_AUTO_FREE char *a = lab_listing(l, "src", true), *b = lab_listing(l, "dst", true);
    assert_string_equal(a, b);
    /* content is what counts: the same size and time with other bytes is not "finished" */
    int fd = openat(l->fd, "dst/f07", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "XXXX", 4, 50000), 4);
    close(fd);
    lab_restore_tree(l, &root, "dst", LAB_RESUME);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
}

static void missing_chunk_names_the_file(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/good", "good");
    lab_text(l, "src/lost", "this content is lost");
    struct vb_name root = captured(l, "src");
    struct vb_name lost = lab_fake(l, VB_CHUNK_DATA, "this content is lost", 20, NULL);
    l->fakes[0].error = VB_E_NOT_FOUND;
    (void)lost;
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_NOT_FOUND, VB_FILE_RESTORE_FAILED);
    VB_AUTO_FREE char *text = lab_error(l, 0);
    assert_non_null(strstr(text, "/dst/lost'"));
    assert_false(lab_exists(l, "dst/lost"));
    /* no temporary name is left */
    VB_AUTO_FREE char *list = lab_listing(l, "dst", false);
    assert_null(strstr(list, ".vbackup-"));
}

/* ---- hostile trees ---- */

static struct vb_tree_entry file_entry(const char *name, struct vb_ref *ref)
{
    struct vb_tree_entry e = { .name = name, .type = VB_TREE_FILE, .mode = 0644 };
    e.uid = geteuid();
    e.gid = getegid();
    if (ref) {
        e.size = ref->size;
        e.content = (struct vb_content){ 0, 1, ref };
    }
    return e;
}

/* The root of a directory with these entries, served by the fake requester. */
static struct vb_name fake_root(struct lab *l, struct vb_tree_entry *entries, size_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_tree_entry dot = { .name = ".", .type = VB_TREE_DIR, .mode = 0755 };
    struct vb_name root;
    dot.uid = geteuid();
    dot.gid = getegid();
    assert_int_equal(vb_tree_write(entries, n, lab_fake_emit, l, &dot.subtree, &err), 0);
    assert_int_equal(vb_tree_write(&dot, 1, lab_fake_emit, l, &root, &err), 0);
    return root;
}

/* As fake_root for one empty file, with its name replaced behind the encoder's back. */
static struct vb_name evil_name(struct lab *l, const char *plain, const char *evil)
{
    struct vb_tree_entry e = file_entry(plain, NULL);
    struct vb_name inner, root;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    size_t len = strlen(plain);
    assert_int_equal(strlen(evil), len);
    assert_int_equal(vb_tree_write(&e, 1, lab_fake_emit, l, &inner, &err), 0);
    struct vb_buf bytes = VB_BUF_INIT;
    vb_buf_add(&bytes, l->fakes[0].bytes.data, l->fakes[0].bytes.len);
    unsigned char *at = memmem(bytes.data, bytes.len, plain, len);
    assert_non_null(at);
    memcpy(at, evil, len);
    struct vb_tree_entry dot = { .name = ".", .type = VB_TREE_DIR, .mode = 0755 };
    dot.subtree = lab_fake(l, VB_CHUNK_TREE, bytes.data, bytes.len, NULL);
    vb_buf_clear(&bytes);
    assert_int_equal(vb_tree_write(&dot, 1, lab_fake_emit, l, &root, &err), 0);
    return root;
}

static void evil_names(void **state)
{
    struct lab *l = *state;
    static const char *const pairs[][2] = { { "ab", ".." }, { "ab_cd", "../cd" }, { "_tmp_evil", "/tmp/evil" },
                                            { "a_b", "a/b" } };
    for (size_t i = 0; i < VB_COUNT(pairs); i++) {
        lab_fakes_clear(l);
        struct vb_name root = evil_name(l, pairs[i][0], pairs[i][1]);
        lab_restore_tree(l, &root, "dst", 0);
        assert_outcome(l, VB_E_CORRUPT, VB_FILE_RESTORE_NONE);
        assert_false(lab_exists(l, "dst"));
        assert_false(lab_exists(l, "cd"));
    }
}

static void chunk_that_is_not_its_name(void **state)
{
    struct lab *l = *state;
    struct vb_name right = lab_fake(l, VB_CHUNK_DATA, "what was backed up", 18, NULL);
    lab_fakes_clear(l);
    lab_fake(l, VB_CHUNK_DATA, "what they gave you", 18, &right);
    struct vb_ref ref = { right, 18 };
    struct vb_tree_entry e = file_entry("f", &ref);
    struct vb_name root = fake_root(l, &e, 1);
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_CORRUPT, VB_FILE_RESTORE_FAILED);
    assert_false(lab_exists(l, "dst/f"));
}

static void directory_that_holds_itself(void **state)
{
    struct lab *l = *state;
    struct vb_name self, root;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    memset(self.b, 0x5a, sizeof self.b);
    struct vb_tree_entry inner = { .name = "again", .type = VB_TREE_DIR, .mode = 0755, .subtree = self };
    assert_int_equal(vb_tree_write(&inner, 1, lab_fake_emit, l, &root, &err), 0);
    l->fakes[0].name = self; /* only without the key can a directory name itself */
    struct vb_tree_entry dot = { .name = ".", .type = VB_TREE_DIR, .mode = 0755, .subtree = self };
    assert_int_equal(vb_tree_write(&dot, 1, lab_fake_emit, l, &root, &err), 0);
    lab_restore_tree(l, &root, "dst", LAB_NO_KEY);
    assert_outcome(l, VB_E_LIMIT, VB_FILE_RESTORE_NONE);
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_CORRUPT, VB_FILE_RESTORE_NONE);
}

static void larger_than_the_disk(void **state)
{
    struct lab *l = *state;
    struct vb_ref ref = { .size = (uint64_t)1 << 50 };
    memset(ref.name.b, 1, sizeof ref.name.b);
    struct vb_tree_entry e = file_entry("huge", &ref);
    e.content.level = 1;
    struct vb_name root = fake_root(l, &e, 1);
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_NO_SPACE, VB_FILE_RESTORE_NONE);
    assert_false(lab_exists(l, "dst"));
}

static void link_groups_that_lie(void **state)
{
    struct lab *l = *state;
    lab_text(l, "outside", "outside");
    struct vb_ref a = { lab_fake(l, VB_CHUNK_DATA, "content a", 9, NULL), 9 };
    struct vb_ref b = { lab_fake(l, VB_CHUNK_DATA, "content b", 9, NULL), 9 };
    struct vb_tree_entry e[4] = { file_entry("1", &a), file_entry("3", &b), file_entry("4", &a), { .name = "2" } };
    e[3].type = VB_TREE_SYMLINK;
    e[3].target = "../outside";
    e[3].size = 10;
    for (size_t i = 0; i < VB_COUNT(e); i++)
        e[i].link_group = 7;
    struct vb_name root = fake_root(l, e, VB_COUNT(e));
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "dst/1", "content a");
    assert_text(l, "dst/3", "content b");
    assert_text(l, "dst/4", "content a");
    assert_text(l, "outside", "outside");
    /* the same beginning and size, another end */
    struct vb_ref ab[2] = { a, b }, aa[2] = { a, a };
    struct vb_tree_entry g[3] = { file_entry("1", ab), file_entry("2", aa), file_entry("3", ab) };
    for (size_t i = 0; i < VB_COUNT(g); i++) {
        g[i].link_group = 9;
        g[i].size = 18;
        g[i].content.n = 2;
    }
    root = fake_root(l, g, 3);
    lab_restore_tree(l, &root, "dst3", 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "dst3/1", "content acontent b");
    assert_text(l, "dst3/2", "content acontent a");
    assert_text(l, "dst3/3", "content acontent b");
    /* a first member that is a link to the outside takes nobody along */
    struct vb_tree_entry f[2] = { { .name = "1", .type = VB_TREE_SYMLINK, .target = "../outside", .size = 10 },
                                  file_entry("2", &b) };
    f[0].link_group = f[1].link_group = 8;
    root = fake_root(l, f, 2);
    lab_restore_tree(l, &root, "dst2", 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "dst2/2", "content b");
    assert_text(l, "outside", "outside");
}

static pid_t attacker;

static void devices_and_set_id_bits(void **state)
{
    struct lab *l = *state;
    struct vb_ref a = { lab_fake(l, VB_CHUNK_DATA, "#!/bin/sh", 9, NULL), 9 };
    struct vb_tree_entry e[2] = {
        { .name = "dev", .type = VB_TREE_CHAR, .mode = 0666, .rdev_major = 1, .rdev_minor = 3 },
        file_entry("suid", &a)
    };
    e[1].uid = geteuid() + 1;
    e[1].mode = 06755;
    struct vb_name root = fake_root(l, e, 2);
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_ACCESS_DENIED, VB_FILE_RESTORE_FAILED);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_PARTIAL);
    VB_AUTO_FREE char *omission = lab_error(l, 0);
    assert_non_null(strstr(omission, "1 device node"));
    assert_false(lab_exists(l, "dst/dev"));
    assert_true(lab_warned(l, "/dst/dev", VB_E_ACCESS_DENIED));
    assert_true(lab_warned(l, "/dst/suid", VB_E_ACCESS_DENIED));
    assert_true(lab_warned(l, "/dst", VB_E_ACCESS_DENIED)); /* it belonged to somebody else */
    struct stat st;
    assert_int_equal(fstatat(l->fd, "dst/suid", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    /* owners that an ordinary user cannot set are the documented rest: told, and nothing is missing */
    root = fake_root(l, &e[1], 1);
    lab_restore_tree(l, &root, "dst2", 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_COMPLETE);
    assert_true(lab_warned(l, "/dst2", VB_E_ACCESS_DENIED));
}

#define RACE_FILES 400

/* Once the restore has begun to write: makes files where it has not been yet, and keeps a second name for each. */
static void make_files_in_the_way(struct lab *l, pid_t pid VB_UNUSED)
{
    attacker = fork();
    if (attacker)
        return;
    while (!lab_exists(l, "dst/f000"))
        usleep(100);
    for (int i = RACE_FILES - 1; i > 0; i--) {
        VB_AUTO_FREE char *name = vb_printf("dst/f%03d", i), *mine = vb_printf("mine/f%03d", i);
        int fd = openat(l->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        VB_AUTO_FREE char *itself = vb_printf("/proc/self/fd/%d", fd); /* the name is exchanged while it is looked at */
        if (fd >= 0 && (write(fd, "mine", 4) != 4 || linkat(AT_FDCWD, itself, l->fd, mine, AT_SYMLINK_FOLLOW) < 0))
            _exit(1);
        if (fd >= 0)
            close(fd);
    }
    _exit(0);
}

/* A second attempt replaces what the first one made, and nothing that appeared since. */
static void second_attempt_does_not_overwrite(void **state)
{
    struct lab *l = *state;
    unsigned met = 0;
    lab_mkdir(l, "src", 0755);
    lab_mkdir(l, "mine", 0755);
    for (int i = 0; i < RACE_FILES; i++) {
        VB_AUTO_FREE char *f = vb_printf("src/f%03d", i);
        lab_noise(l, f, 20000, (uint64_t)i);
    }
    struct vb_name root = captured(l, "src");
    l->meanwhile = make_files_in_the_way;
    lab_restore_tree(l, &root, "dst", LAB_RESUME);
    int status = 1;
    assert_int_equal(waitpid(attacker, &status, 0), attacker);
    assert_int_equal(status, 0);
    l->meanwhile = NULL;
    for (int i = 0; i < RACE_FILES; i++) {
        VB_AUTO_FREE char *name = vb_printf("dst/f%03d", i), *mine = vb_printf("mine/f%03d", i);
        struct stat a, b;
        if (fstatat(l->fd, mine, &a, 0) < 0)
            continue;
        met++;
        assert_int_equal(fstatat(l->fd, name, &b, 0), 0);
        if (a.st_ino != b.st_ino)
            fail_msg("'%s' was overwritten", name);
    }
    printf("# %u files were in the way\n", met);
    if (met)
        assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_FAILED);
    assert_true(met > 0);
}

/* ---- hostile places ---- */

static void links_in_the_target(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "outside", 0755);
    lab_mkdir(l, "dst", 0755);
    assert_int_equal(symlinkat("../outside", l->fd, "dst/sub"), 0);
    lab_restore_tree(l, &root, "dst", 0);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
    lab_restore_tree(l, &root, "dst", LAB_OVERWRITE);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_false(lab_exists(l, "outside/b"));
    assert_text(l, "dst/sub/b", "new b");
}

static void target_behind_a_link(void **state)
{
    struct lab *l = *state;
    make_source(l);
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "real", 0755);
    assert_int_equal(symlinkat("real", l->fd, "mine"), 0);
    lab_restore_tree(l, &root, "mine/here", 0);
    assert_outcome(l, VB_OK, VB_FILE_RESTORE_ALL);
    assert_text(l, "real/here/a", "new a");
    if (geteuid() != 0)
        return;
    assert_int_equal(symlinkat("real", l->fd, "theirs"), 0);
    assert_int_equal(fchownat(l->fd, "theirs", 12345, 12345, AT_SYMLINK_NOFOLLOW), 0);
    lab_restore_tree(l, &root, "theirs/there", 0);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_NONE);
    assert_false(lab_exists(l, "real/there"));
}

/* Swaps directories of the target with a link to the outside as fast as it can. */
static void swap_directories(struct lab *l, pid_t pid VB_UNUSED)
{
    attacker = fork();
    if (attacker)
        return;
    for (unsigned i = 0;; i++) {
        char name[32], away[32];
        snprintf(name, sizeof name, "race/d%u", i % 8);
        snprintf(away, sizeof away, "away%u", i % 8);
        if (renameat(l->fd, name, l->fd, away) == 0) {
            if (symlinkat("../outside", l->fd, name) == 0)
                unlinkat(l->fd, name, 0);
            renameat(l->fd, away, l->fd, name);
        }
        /* and files: a name that is being put into place becomes a link outside */
        snprintf(name, sizeof name, "race/d%u/f%u", i % 8, i % 50);
        unlinkat(l->fd, name, 0);
        if (symlinkat("../../outside/target", l->fd, name) < 0 && errno != EEXIST && errno != ENOENT &&
            errno != ENOTDIR)
            _exit(1);
    }
}

static void swapped_while_we_write(void **state)
{
    struct lab *l = *state;
    for (int d = 0; d < 8; d++)
        for (int f = 0; f < 50; f++) {
            VB_AUTO_FREE char *dir = vb_printf("src/d%d", d), *file = vb_printf("src/d%d/f%d", d, f);
            lab_mkdir(l, dir, 0755);
            lab_text(l, file, "restored");
        }
    struct vb_name root = captured(l, "src");
    lab_mkdir(l, "outside", 0755);
    lab_text(l, "outside/target", "untouched");
    assert_int_equal(fchmodat(l->fd, "outside", 0555, 0), 0);
    VB_AUTO_FREE char *before = lab_listing(l, "outside", true);
    unsigned done = 0, refused = 0;
    for (int round = 0; round < 15; round++) {
        for (int d = 0; d < 8; d++) {
            VB_AUTO_FREE char *dir = vb_printf("race/d%d", d);
            lab_mkdir(l, dir, 0755);
        }
        l->meanwhile = swap_directories;
        lab_restore_tree(l, &root, "race", LAB_OVERWRITE);
        kill(attacker, SIGKILL);
        waitpid(attacker, NULL, 0);
        lab_code(l, 0) == VB_OK ? done++ : refused++;
        VB_AUTO_FREE char *after = lab_listing(l, "outside", true);
        assert_string_equal(before, after);
        for (int d = 0; d < 8; d++) { /* put back what the attacker held when it ended */
            VB_AUTO_FREE char *away = vb_printf("away%d", d), *dir = vb_printf("race/d%d", d);
            unlinkat(l->fd, dir, 0);
            renameat(l->fd, away, l->fd, dir);
        }
    }
    print_message("# %u rounds finished, %u refused\n", done, refused);
}

/* The first part puts a link of ours into the target, the second part's recorded path leads through it. */
static void nothing_leaves_the_target(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "first", 0755);
    assert_int_equal(symlinkat(lab_path(l, "outside"), l->fd, "first/link"), 0);
    lab_mkdir(l, "outside", 0755);
    struct vb_name first = captured(l, "first");
    make_source(l);
    struct vb_name second = captured(l, "src");
    struct vb_msg c = lab_component("c");
    l->base = "dst";
    lab_restore_root(l, &c, &first, "dst/first", NULL, true, NULL);
    lab_restore_root(l, &c, &second, "dst/first/link/in", NULL, true, NULL);
    lab_restore(l, &c, 1, 0);
    assert_outcome(l, VB_E_GUARD, VB_FILE_RESTORE_FAILED);
    assert_true(lab_exists(l, "dst/first/link"));
    assert_false(lab_exists(l, "outside/in"));
    /* a path that a host recorded with ".." in it: the whole request is refused */
    struct vb_msg d = lab_component("c");
    lab_restore_root(l, &d, &second, "dst/../outside/in", NULL, true, NULL);
    lab_restore(l, &d, 1, 0);
    assert_false(lab_exists(l, "outside/in"));
    l->base = NULL;
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, lab_teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("VSS-R-37 what is in the way is refused before the first write", guard_before_the_first_write),
        LAB_TEST("overwriting replaces names, never writes into inodes", overwrite_replaces_names_not_inodes),
        LAB_TEST("a directory that is not empty is never replaced by a file", directory_is_never_replaced_by_a_file),
        LAB_TEST("a file in the way of a directory", file_in_the_way_of_a_directory),
        LAB_TEST("VSS-R-33 VSS-R-65 all or nothing per component", one_component_refused_the_other_done),
        LAB_TEST("an existing empty directory becomes ours, another keeps its mode",
                 existing_empty_directory_becomes_ours),
        LAB_TEST("a name, a directory, a file out of a backup", part_of_it),
        LAB_TEST("nothing restored is a failure", nothing_restored_is_a_failure),
        LAB_TEST("an interrupted restore goes on, by content only", goes_on_after_a_lost_stream),
        LAB_TEST("a missing chunk fails its component and names the file", missing_chunk_names_the_file),
        LAB_TEST("hostile tree: names that lead out", evil_names),
        LAB_TEST("hostile tree: a chunk that is not its name", chunk_that_is_not_its_name),
        LAB_TEST("hostile tree: a directory that holds itself", directory_that_holds_itself),
        LAB_TEST("more than fits is refused before the first write", larger_than_the_disk),
        LAB_TEST("hostile tree: link groups that lie", link_groups_that_lie),
        LAB_TEST("devices and set-id bits need root and owners kept", devices_and_set_id_bits),
        LAB_TEST("a second attempt does not overwrite what appeared since", second_attempt_does_not_overwrite),
        LAB_TEST("hostile place: links in the target", links_in_the_target),
        LAB_TEST("hostile place: the target behind a link", target_behind_a_link),
        LAB_TEST("hostile backup: nothing leaves the target", nothing_leaves_the_target),
        LAB_TEST("hostile place: directories and names swapped while we write", swapped_while_we_write),
    };
    return cmocka_run_group_tests_name("restore", tests, NULL, NULL);
}
