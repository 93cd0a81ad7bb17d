/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_crash.c - faults, deaths, power cuts and full disks at every call of a backup.
 *
 * After each of them: the repository opens without repair, every backup that was reported is there exactly, what the
 * check reports is no damage, and the next backup succeeds.
 */
#include <config.h>
#include "tests/cm.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "tests/base/scratch.h"
#include "tests/store/fixture.h"

static const struct fixture_size size = { 2, 3, 6000 };

/* Reads everything with a fresh handle; how many backups there are. */
static unsigned verify(struct vb_backend *files, const char *when, uint64_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned count = 0;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_READ, &err);
    if (!r)
        fail_msg("%s %llu: open: %s", when, (unsigned long long)n, vb_error_text(&err));
    if (fixture_verify_all(r, size, &count, &err) != 0)
        fail_msg("%s %llu: read: %s", when, (unsigned long long)n, vb_error_text(&err));
    vb_repo_close(r);
    return count;
}

static void check(struct vb_backend *files, const char *when, uint64_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_READ, &err);
    if (!r || vb_repo_check(r, true, NULL, NULL, &err) != 0)
        fail_msg("%s %llu: check: %s", when, (unsigned long long)n, vb_error_text(&err));
    vb_repo_close(r);
}

static struct vb_backend *sample(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_backend *files = vb_backend_memory_new();
    assert_ok(fixture_init(files, &err));
    assert_ok(fixture_run(vb_backend_memory_share(files), 1, size, &err));
    return files;
}

/* One backup with seed 2 that meets a fault at call n.  Afterwards all is well.  Returns the number of calls. */
static uint64_t with_fault(enum vb_fault_mode mode, uint64_t n, bool power_cut, uint64_t seed, bool *hit)
{
    struct vb_backend *files = sample();
    struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(files));
    VB_AUTO_ERROR err = VB_ERROR_INIT, next = VB_ERROR_INIT;
    vb_backend_fault_set(f, mode, n);
    struct vb_repo *r = fixture_open(f, VB_REPO_WRITE, &err);
    int result = r ? vb_repo_lock(r, FIXTURE_NOW, &err) : -1;
    if (result == 0)
        result = fixture_backup(r, 2, size, NULL, &err);
    uint64_t calls = r ? vb_backend_fault_calls(f) : n;
    vb_repo_close(r);
    *hit = result < 0;
    if (power_cut)
        vb_backend_memory_power_cut(files, seed);
    unsigned backups = verify(files, "fault", n);
    /* Reported means there; not reported means not there, but for the death right behind the last write. */
    if (result == 0)
        assert_int_equal(backups, 2);
    else if (mode == VB_FAULT_DIE_BEFORE || mode == VB_FAULT_DIE_AFTER)
        assert_in_range(backups, 1, 2);
    else
        assert_int_equal(backups, 1);
    check(files, "fault", n);
    if (fixture_run(vb_backend_memory_share(files), 3, size, &next) < 0)
        fail_msg("fault %llu: next backup: %s", (unsigned long long)n, vb_error_text(&next));
    assert_int_equal(verify(files, "after fault", n), backups + 1);
    check(files, "after fault", n);
    vb_backend_close(files);
    return calls;
}

static void each_call(enum vb_fault_mode mode)
{
    uint64_t calls = 1000;
    unsigned hits = 0;
    for (uint64_t n = 1; n <= calls + 1; n++) {
        bool hit = false;
        calls = with_fault(mode, n, false, 0, &hit);
        hits += hit;
        if (n > calls)
            break;
    }
    assert_true(calls >= 10 && calls < 1000);
    assert_true(hits >= 4);
}

static void an_error_at_every_call_is_survived(void **state)
{
    (void)state;
    each_call(VB_FAULT_IO);
}

static void a_full_disk_at_every_call_is_survived(void **state)
{
    (void)state;
    each_call(VB_FAULT_NO_SPACE);
}

static void a_truncated_read_at_every_call_is_survived(void **state)
{
    (void)state;
    uint64_t calls = 1000;
    for (uint64_t n = 1; n <= calls; n++) {
        bool hit;
        calls = with_fault(VB_FAULT_SHORT_READ, n, false, 0, &hit);
    }
}

static void death_before_every_call_is_survived(void **state)
{
    (void)state;
    each_call(VB_FAULT_DIE_BEFORE);
}

static void death_after_every_call_is_survived(void **state)
{
    (void)state;
    each_call(VB_FAULT_DIE_AFTER);
}

static void a_power_cut_after_every_call_is_survived(void **state)
{
    (void)state;
    bool hit = true;
    uint64_t n = 0;
    while (hit) {
        n++;
        for (uint64_t seed = 0; seed < 12; seed++)
            with_fault(VB_FAULT_DIE_AFTER, n, true, seed, &hit);
    }
    assert_true(n > 10);
}

/* ---- copies and keys ---- */

static const char *same_group(void *arg, const char *host)
{
    (void)arg;
    return host;
}

static int add_id(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    (void)path, (void)damage;
    if (*entry)
        vb_strv_add(arg, (*entry)->id);
    return 0;
}

/* All backups of one repository into another.  *calls: of the second one's storage, if it is one that fails. */
static int copy_all(struct vb_backend *from_files, struct vb_backend *to_files, uint64_t *calls, struct vb_error *err)
{
    struct vb_strv ids = { 0 };
    struct vb_repo *from = fixture_open(vb_backend_memory_share(from_files), VB_REPO_READ, err);
    struct vb_repo *to = from ? fixture_open(to_files, VB_REPO_WRITE, err) : NULL;
    int result = to ? vb_repo_lock(to, FIXTURE_NOW, err) : -1;
    struct vb_copy *copy = result == 0 ? vb_copy_new(from, to) : NULL;
    if (result == 0)
        result = vb_repo_list(from, add_id, &ids, err);
    for (size_t i = 0; i < ids.n && result >= 0; i++) {
        struct vb_catalog_entry *e = vb_repo_find(from, ids.v[i], NULL, err);
        result = e ? vb_copy_backup(copy, e, same_group, NULL, NULL, err) : -1;
        vb_catalog_entry_free(e);
    }
    vb_strv_clear(&ids);
    vb_copy_free(copy);
    if (to && calls)
        *calls = vb_backend_fault_calls(to_files);
    vb_repo_close(from);
    vb_repo_close(to);
    return result < 0 ? -1 : 0;
}

static uint64_t copy_with_fault(struct vb_backend *from, enum vb_fault_mode mode, uint64_t n, bool power_cut, bool *hit)
{
    struct vb_backend *files = sample();
    struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(files));
    VB_AUTO_ERROR err = VB_ERROR_INIT, next = VB_ERROR_INIT;
    uint64_t calls = n + 1; /* where it cannot even be opened */
    vb_backend_fault_set(f, mode, n);
    *hit = copy_all(from, f, &calls, &err) < 0;
    if (power_cut)
        vb_backend_memory_power_cut(files, n);
    unsigned backups = verify(files, "copy", n);
    assert_in_range(backups, *hit ? 1 : 3, 3);
    check(files, "copy", n);
    /* The next one copies what is not there yet. */
    if (copy_all(from, vb_backend_memory_share(files), NULL, &next) < 0)
        fail_msg("copy %llu: once more: %s", (unsigned long long)n, vb_error_text(&next));
    assert_int_equal(verify(files, "copied", n), 3);
    check(files, "copied", n);
    vb_backend_close(files);
    return calls;
}

static void a_copy_survives_a_fault_at_every_call(void **state)
{
    (void)state;
    static const struct { enum vb_fault_mode mode; bool power_cut; } kinds[] = {
        { VB_FAULT_IO, false }, { VB_FAULT_NO_SPACE, false }, { VB_FAULT_DIE_BEFORE, false }, { VB_FAULT_DIE_AFTER, true },
    };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_backend *from = sample();
    assert_ok(fixture_run(vb_backend_memory_share(from), 5, size, &err));
    for (size_t k = 0; k < VB_COUNT(kinds); k++) {
        unsigned hits = 0;
        uint64_t calls = 1000;
        for (uint64_t n = 1; n <= calls + 1; n++) {
            bool hit = false;
            calls = copy_with_fault(from, kinds[k].mode, n, kinds[k].power_cut, &hit);
            hits += hit;
        }
        if (calls <= 10 || calls >= 1000 || hits <= 4)
            fail_msg("kind %zu: %llu calls, %u hits", k, (unsigned long long)calls, hits);
    }
    vb_backend_close(from);
}

static int new_word(void *arg, bool new, struct vb_buf *out, struct vb_error *err)
{
    (void)arg, (void)new, (void)err;
    vb_buf_add_str(out, "another password");
    return 0;
}
static const struct vb_repo_auth new_auth = { .password = new_word, .given = true };

static bool opens(struct vb_backend *files, const struct vb_repo_auth *auth)
{
    struct vb_repo *r = vb_repo_open_auth_on(vb_backend_memory_share(files), VB_REPO_READ, auth, NULL);
    vb_repo_close(r);
    return r != NULL;
}

/* A change of the password: at any time the old or the new one opens, and what was reported counts. */
static void a_key_change_survives_a_fault_at_every_call(void **state)
{
    (void)state;
    for (int mode = VB_FAULT_IO; mode <= VB_FAULT_DIE_AFTER; mode++) {
        uint64_t calls = 1000;
        for (uint64_t n = 1; n <= calls + 1; n++) {
            if (mode == VB_FAULT_SHORT_READ)
                break;
            struct vb_backend *files = sample();
            struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(files));
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            struct vb_repo_key_params p = { .auth = &new_auth, .wall_ms = FIXTURE_NOW, .cost = 2 };
            vb_backend_fault_set(f, (enum vb_fault_mode)mode, n);
            struct vb_repo *r = fixture_open(f, VB_REPO_READ, &err);
            int result = r ? vb_repo_key_change(r, &p, &err) : -1;
            calls = r ? vb_backend_fault_calls(f) : n + 1;
            vb_repo_close(r);
            if (mode == VB_FAULT_DIE_AFTER)
                vb_backend_memory_power_cut(files, n);
            bool old = opens(files, &fixture_auth), new = opens(files, &new_auth);
            if (!old && !new)
                fail_msg("fault %d at %llu: no password opens", mode, (unsigned long long)n);
            if (result == 0)
                assert_true(new);
            assert_true(calls < 1000);
            vb_backend_close(files);
        }
        assert_true(mode == VB_FAULT_SHORT_READ || calls > 4);
    }
}

static void init_is_repeatable_after_every_fault(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 4; n++)
        for (int mode = VB_FAULT_DIE_BEFORE; mode <= VB_FAULT_DIE_AFTER; mode++) {
            struct vb_backend *files = vb_backend_memory_new();
            struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(files));
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            uint64_t there;
            vb_backend_fault_set(f, (enum vb_fault_mode)mode, n);
            fixture_init(f, NULL);
            vb_backend_close(f);
            if (vb_backend_size(files, "config", &there, NULL) < 0)
                assert_ok(fixture_init(files, &err));
            assert_ok(fixture_run(vb_backend_memory_share(files), 1, size, &err));
            vb_backend_close(files);
        }
}

/* What an interrupted backup has stored is not stored again. */
static void an_interrupted_backup_is_taken_up(void **state)
{
    (void)state;
    struct vb_backend *files = sample();
    struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(files));
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_stats s;
    struct vb_repo *r = fixture_open(f, VB_REPO_WRITE, &err);
    assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
    vb_backend_fault_set(f, VB_FAULT_DIE_BEFORE, 3); /* two packs are written, then no index any more */
    assert_int_equal(fixture_backup(r, 2, size, NULL, NULL), -1);
    vb_repo_close(r);
    r = fixture_open(vb_backend_memory_share(files), VB_REPO_WRITE, &err);
    assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
    assert_ok(fixture_backup(r, 2, size, NULL, &err));
    vb_repo_stats(r, &s);
    assert_int_equal(s.put_chunks, 0);
    vb_repo_close(r);
    assert_int_equal(verify(files, "taken up", 0), 2);
    vb_backend_close(files);
}

struct find_pack {
    char *smallest, *largest;
    uint64_t min, max;
};

static int see_size(void *arg, const char *name, uint64_t bytes, struct vb_error *err)
{
    struct find_pack *f = arg;
    (void)err;
    if (bytes < f->min) {
        free(f->smallest);
        f->smallest = vb_strdup(name);
        f->min = bytes;
    }
    if (bytes > f->max) {
        free(f->largest);
        f->largest = vb_strdup(name);
        f->max = bytes;
    }
    return 0;
}

/* A lost pack of file data: directories that refer to it no longer count, so that the next backup stores both anew. */
static void a_lost_pack_is_made_good_by_the_next_backup(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct vb_backend *files = sample();
        VB_AUTO_ERROR err = VB_ERROR_INIT, damage = VB_ERROR_INIT;
        struct find_pack f = { .min = UINT64_MAX };
        assert_ok(vb_backend_list(files, "packs/", see_size, &f, &err));
        assert_string_not_equal(f.smallest, f.largest);
        assert_ok(vb_backend_remove(files, which ? f.smallest : f.largest, &err));
        struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_READ, &err);
        assert_int_equal(vb_repo_check(r, false, NULL, NULL, &damage), -1);
        vb_repo_close(r);
        assert_ok(fixture_run(vb_backend_memory_share(files), 1, size, &err));
        assert_int_equal(verify(files, "made good", 0), 2); /* even the old backup can be read again */
        free(f.smallest);
        free(f.largest);
        vb_backend_close(files);
    }
}

/* Whether the repository says it has the newest backup's root. */
static bool has_root(struct vb_backend *files)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    bool present = false;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_WRITE, &err);
    assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
    struct vb_catalog_entry *e = vb_repo_find(r, "latest", NULL, &err);
    assert_non_null(e);
    vb_repo_has(r, &e->hosts[0].components[0].roots[0].tree, 1, &present);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    return present;
}

/* An agent that is told "have it" about a directory sends nothing below it: then all of it must be there. */
static void directories_above_a_loss_do_not_count(void **state)
{
    (void)state;
    struct vb_backend *files = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct find_pack f = { .min = UINT64_MAX };
    assert_true(has_root(files));
    assert_ok(vb_backend_list(files, "packs/", see_size, &f, &err));
    assert_ok(vb_backend_remove(files, f.largest, &err)); /* file data; the directories are in the other one */
    assert_false(has_root(files));
    free(f.smallest);
    free(f.largest);
    vb_backend_close(files);
}

static int remove_file(void *arg, const char *name, uint64_t bytes, struct vb_error *err)
{
    (void)bytes;
    return vb_backend_remove(arg, name, err);
}

/* The check finds a loss from either end: what an index file names, and what a backup needs. */
static void check_finds_a_loss_from_either_end(void **state)
{
    (void)state;
    for (int from_backup = 0; from_backup < 2; from_backup++) {
        struct vb_backend *files = sample();
        VB_AUTO_ERROR err = VB_ERROR_INIT, damage = VB_ERROR_INIT;
        struct find_pack f = { .min = UINT64_MAX };
        assert_ok(vb_backend_list(files, "packs/", see_size, &f, &err));
        assert_ok(vb_backend_remove(files, f.largest, &err));
        assert_ok(vb_backend_list(files, from_backup ? "index/" : "catalog/", remove_file, files, &err));
        struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_READ, &err);
        assert_int_equal(vb_repo_check(r, false, NULL, NULL, &damage), -1);
        assert_int_equal(damage.code, VB_E_CORRUPT);
        vb_repo_close(r);
        free(f.smallest);
        free(f.largest);
        vb_backend_close(files);
    }
}

static void a_full_disk_leaves_room_for_another_try(void **state)
{
    (void)state;
    struct vb_backend *files = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT, full = VB_ERROR_INIT;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_WRITE, &err);
    assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
    vb_backend_memory_set_limit(files, 1);
    assert_int_equal(fixture_backup(r, 2, size, NULL, &full), -1);
    assert_int_equal(full.code, VB_E_NO_SPACE);
    vb_backend_memory_set_limit(files, 0); /* somebody makes room; the same handle goes on */
    assert_ok(fixture_backup(r, 2, size, NULL, &err));
    vb_repo_close(r);
    assert_int_equal(verify(files, "room", 0), 2);
    check(files, "room", 0);
    vb_backend_close(files);
}

/* ---- a real process, killed ---- */

/* A fresh image of this program: the points are counted from its start. */
static int child_main(const char *path)
{
    struct vb_backend *b = vb_backend_dir_open(path, false, NULL);
    return b && fixture_run(b, 2, size, NULL) == 0 ? 0 : 1;
}

#ifdef VB_FAULT_POINTS
static void exec_child(const char *path, unsigned long n)
{
    VB_AUTO_FREE char *point = vb_printf("store:%lu", n);
    setenv("VBACKUP_TEST_KILL", point, 1);
    execl("/proc/self/exe", "test_repository_crash", "--child", path, (char *)NULL);
    _exit(99);
}
#endif

static void sigkill_at_every_point_is_survived(void **state)
{
    (void)state;
#ifndef VB_FAULT_POINTS
    CM_SKIP("built without --enable-fault-points");
#else
    unsigned long n = 1;
    for (;; n++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        VB_AUTO_FREE char *name = vb_printf("repo%lu", n);
        VB_AUTO_FREE char *path = vb_path_join(scratch_path, name);
        unsigned before = 0, after = 0;
        int status = 0;
        assert_ok(vb_repo_init(path, NULL, FIXTURE_NOW, &err));
        assert_ok(fixture_run(vb_backend_dir_open(path, false, NULL), 1, size, &err));
        pid_t pid = fork();
        if (pid == 0)
            exec_child(path, n);
        waitpid(pid, &status, 0);
        struct vb_repo *r = vb_repo_open(path, VB_REPO_READ, &err);
        assert_non_null(r);
        assert_ok(fixture_verify_all(r, size, &before, &err));
        assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
        vb_repo_close(r);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            assert_int_equal(before, 2);
            break;
        }
        assert_int_equal(WTERMSIG(status), SIGKILL);
        assert_in_range(before, 1, 2);
        assert_ok(fixture_run(vb_backend_dir_open(path, false, NULL), 3, size, &err));
        r = vb_repo_open(path, VB_REPO_READ, &err);
        assert_ok(fixture_verify_all(r, size, &after, &err));
        assert_int_equal(after, before + 1);
        vb_repo_close(r);
        VB_AUTO_FREE char *tmp = vb_path_join(path, "tmp");
        assert_int_equal(rmdir(tmp), 0); /* swept */
    }
    printf("# killed at %lu points\n", n - 1);
    assert_true(n > 10);
#endif
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_at_every_call_is_survived),
        cmocka_unit_test(a_full_disk_at_every_call_is_survived),
        cmocka_unit_test(a_truncated_read_at_every_call_is_survived),
        cmocka_unit_test(death_before_every_call_is_survived),
        cmocka_unit_test(death_after_every_call_is_survived),
        cmocka_unit_test(a_power_cut_after_every_call_is_survived),
        cmocka_unit_test(a_copy_survives_a_fault_at_every_call),
        cmocka_unit_test(a_key_change_survives_a_fault_at_every_call),
        cmocka_unit_test(init_is_repeatable_after_every_fault),
        cmocka_unit_test(an_interrupted_backup_is_taken_up),
        cmocka_unit_test(a_lost_pack_is_made_good_by_the_next_backup),
        cmocka_unit_test(directories_above_a_loss_do_not_count),
        cmocka_unit_test(check_finds_a_loss_from_either_end),
        cmocka_unit_test(a_full_disk_leaves_room_for_another_try),
        cmocka_unit_test_setup_teardown(sigkill_at_every_point_is_survived, scratch_start, scratch_end),
    };
    return CM_RUN("repository_crash", tests);
}
