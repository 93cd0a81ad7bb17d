/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository.c - making, opening and locking a repository.
 */
#include <config.h>
#include "tests/cm.h"

#include "tests/base/scratch.h"
#include "tests/store/opened.h"

/* ---- init and open ---- */

static void init_makes_a_repository_once(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, again = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "repo");
    assert_ok(vb_repo_init(path, NULL, FIXTURE_NOW, &err));
    assert_int_equal(vb_repo_init(path, NULL, FIXTURE_NOW, &again), -1);
    assert_int_equal(again.code, VB_E_EXISTS);
    assert_contains(again.text, "already");
    assert_non_null(again.hint);
    struct vb_repo *r = vb_repo_open(path, VB_REPO_READ, &err);
    assert_non_null(r);
    const struct vb_repo_info *info = vb_repo_info(r);
    static const uint8_t zero[VB_CHUNK_KEY_LEN];
    assert_true(vb_guid_valid(info->id));
    assert_int_equal(info->created_ms, FIXTURE_NOW);
    assert_int_equal(info->params.compression, 3);
    assert_int_equal(info->params.cut.avg, 65536);
    assert_memory_not_equal(info->naming_key, zero, sizeof zero);
    assert_memory_not_equal(info->naming_key, info->cutter_seed, sizeof zero);
    vb_repo_close(r);
}

static void init_refuses_foolish_parameters(void **state)
{
    (void)state;
    struct vb_repo_params p = VB_REPO_PARAMS_DEFAULT;
    VB_AUTO_ERROR err = VB_ERROR_INIT, e2 = VB_ERROR_INIT;
    struct vb_backend *b = vb_backend_memory_new();
    p.compression = 20;
    assert_int_equal(vb_repo_init_on(b, &p, 0, &err), -1);
    assert_int_equal(err.code, VB_E_USAGE);
    p = VB_REPO_PARAMS_DEFAULT;
    p.cut.avg = 60000;
    assert_int_equal(vb_repo_init_on(b, &p, 0, &e2), -1);
    assert_int_equal(e2.code, VB_E_USAGE);
    vb_backend_close(b);
}

static void open_says_what_is_wrong(void **state)
{
    (void)state;
    VB_AUTO_ERROR missing = VB_ERROR_INIT, empty = VB_ERROR_INIT, remote = VB_ERROR_INIT, none = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "nothing");
    assert_null(vb_repo_open(path, VB_REPO_READ, &missing));
    assert_int_equal(missing.code, VB_E_NOT_FOUND);
    assert_contains(missing.hint, "vbackup init");
    assert_null(vb_repo_open(scratch_path, VB_REPO_READ, &empty));
    assert_int_equal(empty.code, VB_E_NOT_FOUND);
    assert_contains(empty.text, "not a vbackup repository");
    assert_contains(empty.hint, "vbackup init");
    assert_null(vb_repo_open("gopher://host/path", VB_REPO_READ, &remote));
    assert_int_equal(remote.code, VB_E_NOT_SUPPORTED);
    assert_null(vb_repo_open("", VB_REPO_READ, &none));
    assert_int_equal(none.code, VB_E_USAGE);
    assert_non_null(none.hint);
}

static struct vb_repo *open_with_config(const char *text, struct vb_error *err)
{
    struct vb_backend *b = vb_backend_memory_new();
    vb_backend_write(b, "config", text, strlen(text), NULL);
    return vb_repo_open_on(b, VB_REPO_READ, err);
}

static void foreign_and_newer_configurations_are_refused(void **state)
{
    (void)state;
    VB_AUTO_ERROR newer = VB_ERROR_INIT, other = VB_ERROR_INIT, damaged = VB_ERROR_INIT, broken = VB_ERROR_INIT;
    assert_null(open_with_config("{\"vbackup\":\"repository\",\"format_version\":7}", &newer));
    assert_int_equal(newer.code, VB_E_NEWER_FORMAT);
    assert_contains(newer.text, "format 7, this program knows up to format 2");
    assert_non_null(newer.hint);
    assert_null(open_with_config("{\"version\":2}", &other));
    assert_int_equal(other.code, VB_E_NOT_FOUND);
    assert_null(open_with_config("{\"vbackup\":\"repository\",\"format_version\":0}", &damaged));
    assert_int_equal(damaged.code, VB_E_CORRUPT);
    assert_null(open_with_config("{", &broken));
    assert_int_equal(broken.code, VB_E_CORRUPT);
}

/* ---- lock ---- */

static void several_sessions_are_open_at_once(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, twice = VB_ERROR_INIT;
    struct vb_repo *r = open_again(b, VB_REPO_WRITE, NULL);
    assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
    assert_int_equal(vb_repo_lock(r, FIXTURE_NOW, &twice), -1);
    assert_int_equal(twice.code, VB_E_BAD_STATE);
    assert_ok(fixture_backup(r, 1, FIXTURE_SMALL, NULL, &err));
    assert_ok(fixture_backup(b->repo, 2, FIXTURE_SMALL, NULL, &err));
    vb_repo_close(r);
    r = open_again(b, VB_REPO_READ, NULL);
    unsigned n = 0;
    assert_ok(fixture_verify_all(r, FIXTURE_SMALL, &n, &err));
    assert_int_equal(n, 2);
    assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
    vb_repo_close(r);
}

static void lock_shows_what_others_did_meanwhile(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *early = open_again(b, VB_REPO_WRITE, NULL);
    bool present;
    struct vb_name name = put(b->repo, VB_CHUNK_DATA, "meanwhile");
    assert_ok(vb_repo_flush(b->repo, &err));
    vb_repo_has(early, &name, 1, &present);
    assert_false(present);
    assert_get(early, VB_CHUNK_DATA, &name, "meanwhile"); /* a get looks again by itself */
    vb_repo_unlock(b->repo);
    assert_ok(vb_repo_lock(early, FIXTURE_NOW, &err));
    vb_repo_has(early, &name, 1, &present);
    assert_true(present);
    vb_repo_close(early);
}

static void what_was_not_flushed_is_dropped_with_the_lock(void **state)
{
    struct bench *b = *state;
    bool present;
    struct vb_name name = put(b->repo, VB_CHUNK_DATA, "dropped");
    vb_repo_unlock(b->repo);
    vb_repo_has(b->repo, &name, 1, &present);
    assert_false(present);
    assert_int_equal(vb_repo_lock(b->repo, FIXTURE_NOW, NULL), 0);
    struct vb_name again = put(b->repo, VB_CHUNK_DATA, "dropped");
    assert_get(b->repo, VB_CHUNK_DATA, &again, "dropped");
}

int main(void)
{
#define S(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    const struct CMUnitTest tests[] = {
        S(init_makes_a_repository_once),
        cmocka_unit_test(init_refuses_foolish_parameters),
        S(open_says_what_is_wrong),
        cmocka_unit_test(foreign_and_newer_configurations_are_refused),
        T(several_sessions_are_open_at_once),
        T(lock_shows_what_others_did_meanwhile),
        T(what_was_not_flushed_is_dropped_with_the_lock),
    };
    return CM_RUN("repository", tests);
}
