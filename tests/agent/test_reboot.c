/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/agent/test_reboot.c - files that wait for a restart: staged, promised, put in place once, cut short, told. */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/reboot.h"
#include "base/io.h"
#include "base/text.h"
#include "tests/cm.h"

#define JOB "11111111-2222-3333-4444-555555555555"
#define OTHER "11111111-2222-3333-4444-666666666666"

static struct { char *dir; struct vb_paths p; } t;

static char *at(const char *name)
{
    return vb_path_join(t.dir, name);
}

static void put(const char *name, const char *text)
{
    VB_AUTO_FREE char *path = at(name);
    VB_AUTO_FREE char *up = vb_strdup(path);
    *strrchr(up, '/') = 0;
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(vb_mkdirs_at(root, up + 1, 0755, NULL), 0);
    close(root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool is(const char *name, const char *text)
{
    VB_AUTO_FREE char *path = at(name);
    VB_AUTO_BUF b = VB_BUF_INIT;
    return vb_read_file_at(AT_FDCWD, path, 4096, &b, NULL) == 0 && !strcmp(vb_buf_str(&b), text);
}

static bool there(const char *name)
{
    VB_AUTO_FREE char *path = at(name);
    struct stat st;
    return lstat(path, &st) == 0;
}

static int setup(void **state)
{
    (void)state;
    t.dir = vb_strdup("/tmp/vbackup-reboot.XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    put("state/x", "");
    put("data/etc/keep", "kept\n");
    put("data/etc/a", "old\n");
    VB_AUTO_FREE char *s = at("state");
    t.p = (struct vb_paths){ vb_strdup(s), NULL, open(s, O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(vb_remove_tree_at(root, t.dir + 1, NULL), 0);
    close(root);
    close(t.p.state_fd);
    free(t.p.state);
    vb_free_ptr(&t.dir);
    return 0;
}

/* Stages what belongs at data/etc; returns where, below t.dir. */
static char *stage(const char *job)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *final = at("data/etc");
    VB_AUTO_FREE char *dir = vb_reboot_stage(&t.p, job, 0, final, &err);
    if (!dir)
        fail_msg("stage: %s", vb_error_text(&err));
    char *below = vb_printf("%s/etc", dir + strlen(t.dir) + 1);
    VB_AUTO_FREE char *a = vb_path_join(below, "a"), *n = vb_path_join(below, "new/n");
    put(a, "new\n");
    put(n, "n\n");
    return below;
}

static void commit(const char *job, const char *staged)
{
    struct vb_strv from = { NULL, 0, 0 }, to = { NULL, 0, 0 };
    vb_strv_take(&from, at(staged));
    vb_strv_take(&to, at("data/etc"));
    assert_int_equal(vb_reboot_commit(&t.p, job, "c1", &from, &to, NULL), 0);
    vb_strv_clear(&from);
    vb_strv_clear(&to);
}

static char *told(void)
{
    struct vb_strv lines = { NULL, 0, 0 };
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_reboot_report(&t.p, &lines, NULL), 0);
    for (size_t i = 0; i < lines.n; i++)
        vb_buf_addf(&b, "%s\n", lines.v[i]);
    vb_strv_clear(&lines);
    return vb_strdup(vb_buf_str(&b));
}

static void replaced_at_boot(void **state)
{
    struct stat st;
    (void)state;
    VB_AUTO_FREE char *s = stage(JOB);
    assert_true(!strncmp(s, "data/.vbackup/reboot-" JOB "/0/", 10));
    VB_AUTO_FREE char *place = at("data/.vbackup"), *sdir = at(s), *etc = at("data/etc");
    assert_int_equal(stat(place, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(chmod(sdir, 0751), 0);
    commit(JOB, s);
    assert_int_equal(vb_reboot_discard(&t.p, JOB, NULL), 0); /* the end of the session: what is promised stays */
    assert_true(is("data/etc/a", "old\n"));                  /* nothing has changed yet */
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0);
    assert_true(is("data/etc/a", "new\n"));
    assert_true(is("data/etc/new/n", "n\n"));
    assert_true(is("data/etc/keep", "kept\n"));
    assert_int_equal(stat(etc, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    assert_false(there("data/.vbackup"));
    VB_AUTO_FREE char *first = told(), *second = told();
    assert_non_null(strstr(first, "component 'c1' of an earlier restore was put in place at the restart (2 files)"));
    assert_string_equal(second, ""); /* once */
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0);
    put("data/etc/a", "mine\n");
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0); /* the next boot changes nothing */
    assert_true(is("data/etc/a", "mine\n"));
}

static void what_is_not_promised_goes(void **state)
{
    (void)state;
    VB_AUTO_FREE char *s = stage(JOB), *o = stage(OTHER);
    commit(OTHER, o);
    assert_int_equal(vb_reboot_discard(&t.p, JOB, NULL), 0);
    assert_false(there(s));
    assert_true(there(o));
    free(stage(JOB)); /* and its session was killed */
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0);
    assert_false(there("data/.vbackup"));
    assert_true(is("data/etc/a", "new\n"));
    VB_AUTO_FREE char *text = told();
    assert_int_equal(strlen(text) > 0, 1);
    assert_null(strchr(strchr(text, '\n') + 1, '\n')); /* one of both */
}

/* Cut short after the first file: the second boot does the rest. */
static void cut_short(void **state)
{
    size_t n = 0;
    (void)state;
    VB_AUTO_FREE char *s = stage(JOB);
    commit(JOB, s);
    VB_AUTO_FREE char *name = vb_path_join(s, "a");
    VB_AUTO_FREE char *a = at(name), *final = at("data/etc/a");
    assert_int_equal(vb_reboot_put(a, final, &n, NULL), 0);
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0);
    assert_true(is("data/etc/a", "new\n"));
    assert_true(is("data/etc/new/n", "n\n"));
    assert_false(there("data/.vbackup"));
}

/* The file system was not mounted at boot: nothing is forgotten. */
static void stage_out_of_sight(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    VB_AUTO_FREE char *s = stage(JOB), *data = at("data"), *away = at("away");
    commit(JOB, s);
    assert_int_equal(rename(data, away), 0);
    assert_int_equal(vb_reboot_replace(&t.p, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_int_equal(rename(away, data), 0);
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0);
    assert_true(is("data/etc/a", "new\n"));
    assert_false(there("data/.vbackup"));
}

static void what_is_in_the_way(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    VB_AUTO_FREE char *s = stage(JOB);
    commit(JOB, s);
    VB_AUTO_FREE char *a = at("data/etc/a");
    assert_int_equal(unlink(a), 0);
    put("data/etc/a/inner", "x\n"); /* a directory now */
    assert_int_equal(vb_reboot_replace(&t.p, &err), -1);
    assert_int_equal(err.code, VB_E_EXISTS);
    assert_true(is("data/etc/new/n", "n\n")); /* the others all the same */
    VB_AUTO_FREE char *text = told();
    assert_non_null(strstr(text, "could not be put in place"));
    VB_AUTO_FREE char *inner = at("data/etc/a/inner");
    assert_int_equal(unlink(inner), 0);
    assert_int_equal(rmdir(a), 0);
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0); /* the next boot */
    assert_true(is("data/etc/a", "new\n"));
    assert_false(there("data/.vbackup"));
}

/* A link that came into the place of a directory meanwhile leads nowhere. */
static void links_on_the_way(void **state)
{
    (void)state;
    VB_AUTO_FREE char *s = stage(JOB);
    commit(JOB, s);
    put("elsewhere/a", "safe\n");
    VB_AUTO_FREE char *etc = at("data/etc"), *moved = at("data/was"), *target = at("elsewhere");
    assert_int_equal(rename(etc, moved), 0);
    assert_int_equal(symlink(target, etc), 0);
    assert_int_equal(vb_reboot_replace(&t.p, NULL), 0); /* the link itself is replaced */
    assert_true(is("elsewhere/a", "safe\n"));
    struct stat st;
    assert_int_equal(lstat(etc, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_true(is("data/etc/a", "new\n"));
}

static void a_place_of_somebody_else(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    VB_AUTO_FREE char *place = at("data/.vbackup"), *final = at("data/etc");
    assert_int_equal(mkdir(place, 0777), 0);
    assert_int_equal(chmod(place, 0777), 0);
    assert_null(vb_reboot_stage(&t.p, JOB, 0, final, &err));
    assert_int_equal(err.code, VB_E_GUARD);
}

int main(void)
{
#define REBOOT_TEST(name, fn) { name, fn, setup, teardown, NULL }
    const struct CMUnitTest tests[] = {
        REBOOT_TEST("VSS-R-43 staged files are replaced at boot, once", replaced_at_boot),
        REBOOT_TEST("what was staged and not promised goes", what_is_not_promised_goes),
        REBOOT_TEST("VSS-R-43 cut short, the next boot does the rest", cut_short),
        REBOOT_TEST("what cannot be put in place is told, kept and tried again", what_is_in_the_way),
        REBOOT_TEST("a stage whose file system is not mounted is kept", stage_out_of_sight),
        REBOOT_TEST("a link on the way leads nowhere", links_on_the_way),
        REBOOT_TEST("a place that others can write is refused", a_place_of_somebody_else),
    };
    return CM_RUN("reboot", tests);
}
