/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_links.c - names of one inode stay that, times of directories go along, equal contents travel once. */
#include <config.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"

static struct lab l;

static int start(void **state)
{
    (void)state;
    lab_open(&l, 2);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    lab_close(&l);
    return 0;
}

static struct stat look(size_t at, const char *path)
{
    struct stat st;
    VB_AUTO_FREE char *full = lab_path(&l, at, path);
    assert_int_equal(lstat(full, &st), 0);
    return st;
}

static void give_name(const char *old, const char *new)
{
    VB_AUTO_FREE char *from = lab_path(&l, 0, old);
    VB_AUTO_FREE char *to = lab_path(&l, 0, new);
    assert_int_equal(link(from, to), 0);
}

static void rewrite(const char *path, const char *text)
{
    VB_AUTO_FREE char *full = lab_path(&l, 0, path);
    VB_AUTO_FD int fd = open(full, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void mode(const char *path, mode_t m)
{
    VB_AUTO_FREE char *full = lab_path(&l, 0, path);
    assert_int_equal(chmod(full, m), 0);
}

static void is_one(const char *a, const char *b, bool one)
{
    if ((look(1, a).st_ino == look(1, b).st_ino) != one)
        fail_msg("'%s' and '%s' are %s inode", a, b, one ? "not one" : "one");
}

static void nothing_more(void)
{
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_true(vb_pass_quiet(&r));
    r = lab_go(&l, 1, 0);
    assert_true(vb_pass_quiet(&r));
    assert_int_equal(lab_tick(&l, 1), 0);
}

static void hard_links(void **state)
{
    (void)state;
    lab_write(&l, 0, "a", "one");
    lab_write(&l, 0, "d/other", "x");
    give_name("a", "b");
    give_name("a", "d/c");
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, 4);
    is_one("a", "b", true);
    is_one("a", "d/c", true);
    assert_int_equal(look(1, "a").st_nlink, 3);
    nothing_more();
    give_name("b", "later"); /* a name more of what is there already */
    r = lab_go(&l, 0, 1);
    assert_int_equal(r.created, 1);
    assert_int_equal(r.bytes, 0);
    is_one("a", "later", true);
    nothing_more();
    rewrite("b", "two!");
    r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, 4);
    is_one("a", "d/c", true);
    is_one("b", "later", true);
    is_one("a", "b", true);
    VB_AUTO_FREE char *text = lab_read(&l, 1, "d/c");
    assert_string_equal(text, "two!");
    nothing_more();
    mode("a", 0640);
    lab_go(&l, 0, 1);
    is_one("a", "later", true);
    assert_int_equal(look(1, "b").st_mode & 0777, 0640);
    nothing_more();
}

/* The source made two files of one: the other name is not changed along with the first. */
static void taken_apart(void **state)
{
    (void)state;
    lab_write(&l, 0, "a", "one");
    give_name("a", "b");
    lab_go(&l, 0, 1);
    lab_remove(&l, 0, "b");
    lab_write(&l, 0, "b", "one");
    mode("a", 0604);
    lab_go(&l, 0, 1);
    assert_int_equal(look(1, "a").st_mode & 0777, 0604);
    assert_int_not_equal(look(1, "b").st_mode & 0777, 0604);
    is_one("a", "b", false);
    nothing_more();
    rewrite("b", "another");
    lab_go(&l, 0, 1);
    VB_AUTO_FREE char *text = lab_read(&l, 1, "a");
    assert_string_equal(text, "one");
    nothing_more();
}

static void times(void **state)
{
    (void)state;
    lab_write(&l, 0, "d/e/f", "f");
    lab_write(&l, 0, "d/g", "g");
    lab_mtime(&l, 0, "d/e", 1000000000);
    lab_mtime(&l, 0, "d", 1100000000);
    lab_go(&l, 0, 1);
    assert_int_equal(look(1, "d/e").st_mtime, 1000000000);
    assert_int_equal(look(1, "d").st_mtime, 1100000000);
    lab_write(&l, 0, "d/e/h", "h");
    lab_remove(&l, 0, "d/g");
    lab_mtime(&l, 0, "d/e", 1200000000);
    lab_mtime(&l, 0, "d", 1300000001);
    lab_go(&l, 0, 1);
    assert_int_equal(look(1, "d/e").st_mtime, 1200000000);
    assert_int_equal(look(1, "d").st_mtime, 1300000001);
    nothing_more();
}

static void the_rest_of_33(void **state)
{
    (void)state;
    VB_AUTO_FREE char *dangling = lab_path(&l, 0, "dangling");
    VB_AUTO_FREE char *sparse = lab_path(&l, 0, "sparse");
    VB_AUTO_FREE char *file = lab_path(&l, 0, "closed");
    assert_int_equal(symlink("no/where", dangling), 0);
    VB_AUTO_FD int fd = open(sparse, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(pwrite(fd, "end", 3, 20 << 20), 3);
    lab_write(&l, 0, "closed", "secret");
    bool attrs = setxattr(file, "user.colour", "blue", 4, 0) == 0;
    /* user::rw- user:1:r-- group::r-- mask::r-- other::--- */
    static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 4, 0,
                                         255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };
    bool acls = setxattr(file, "system.posix_acl_access", acl, sizeof acl, 0) == 0;
    if (geteuid() == 0 && !acls)
        mode("closed", 0);
    lab_go(&l, 0, 1);
    VB_AUTO_FREE char *there = lab_path(&l, 1, "closed");
    char value[64];
    VB_AUTO_FREE char *tree = lab_tree(&l, 1);
    assert_contains(tree, "dangling->no/where");
    assert_true(look(1, "sparse").st_blocks * 512 < 1 << 20);
    assert_int_equal(look(1, "sparse").st_size, (20 << 20) + 3);
    assert_int_equal(look(1, "closed").st_mode, look(0, "closed").st_mode);
    if (attrs)
        assert_int_equal(getxattr(there, "user.colour", value, sizeof value), 4);
    if (acls) {
        assert_int_equal(getxattr(there, "system.posix_acl_access", value, sizeof value), sizeof acl);
        assert_memory_equal(value, acl, sizeof acl);
    }
    if (geteuid() == 0) {
        mode("closed", 0);
        lab_go(&l, 0, 1);
        assert_int_equal(look(1, "closed").st_mode & 0777, 0);
    }
    nothing_more();
}

static void twins(void **state)
{
    (void)state;
    VB_AUTO_FREE char *text = vb_alloc((5u << 20) + 1);
    memset(text, 'x', 5u << 20);
    lab_write(&l, 0, "a", text);
    lab_write(&l, 0, "b", text);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, 5u << 20); /* once */
    assert_int_equal(r.failed, 0);
    is_one("a", "b", false);
    assert_int_equal(look(1, "b").st_size, 5u << 20);
    nothing_more();
}

#define T(name, fn) { name, fn, start, stop, NULL }
int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest t[] = {
        T("REPL-T33 names of one inode", hard_links),
        T("REPL-T33 names that are no longer one inode", taken_apart),
        T("times of directories", times),
        T("REPL-T33 dangling links, sparse files, attributes, ACLs, mode 000", the_rest_of_33),
        T("equal contents travel once", twins),
    };
    return CM_RUN("links and times", t);
}
