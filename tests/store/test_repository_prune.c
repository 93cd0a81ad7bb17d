/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_prune.c - forgetting and pruning: what is kept is exact, after every interruption.
 */
#include <config.h>
#include "tests/cm.h"

#include <stdio.h>

#include "store/repository_internal.h"
#include "tests/store/opened.h"

#define DAY ((uint64_t)24 * 3600 * 1000)
static struct fixture_size size = { 3, 6, 20000 };

static int add_size(void *arg, const char *name, uint64_t bytes, struct vb_error *err)
{
    (void)name, (void)err;
    *(uint64_t *)arg += bytes;
    return 0;
}

static uint64_t stored_bytes(struct vb_backend *b)
{
    uint64_t sum = 0;
    assert_int_equal(vb_backend_list(b, "packs/", add_size, &sum, NULL), 0);
    return sum;
}

static int backup(struct vb_repo *r, uint64_t seed, char id[VB_GUID_LEN + 1], struct vb_error *err)
{
    if (vb_repo_lock(r, FIXTURE_NOW, err) < 0)
        return -1;
    int result = fixture_backup(r, seed, size, id, err);
    vb_repo_unlock(r);
    return result;
}

static int forget(struct vb_repo *r, const char *id, uint64_t now, struct vb_error *err)
{
    struct vb_catalog_entry *e = vb_repo_find(r, id, NULL, err);
    int result = e ? vb_repo_lock(r, now, err) : -1;
    if (result == 0)
        result = vb_repo_forget(r, e, now, "test", err);
    vb_repo_unlock(r);
    vb_catalog_entry_free(e);
    return result;
}

static int prune(struct vb_repo *r, uint64_t now, uint64_t delay, struct vb_prune_result *res, struct vb_error *err)
{
    struct vb_prune_result unused;
    struct vb_prune_params p = { .wall_ms = now, .delay_ms = delay };
    if (vb_repo_lock(r, now, err) < 0)
        return -1;
    return vb_repo_prune(r, &p, res ? res : &unused, err);
}

static void assert_whole(struct bench *b, unsigned backups)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned n = 0;
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_non_null(r);
    assert_ok(fixture_verify_all(r, size, &n, &err));
    assert_int_equal(n, backups);
    assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
    vb_repo_close(r);
}

static void forgotten_backups_vanish_and_can_be_called_back(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, gone = VB_ERROR_INIT, late = VB_ERROR_INIT;
    char one[VB_GUID_LEN + 1], two[VB_GUID_LEN + 1];
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 1, one, &err));
    assert_ok(backup(b->repo, 2, two, &err));
    assert_ok(forget(b->repo, two, FIXTURE_NOW, &err));
    assert_whole(b, 1);
    assert_null(vb_repo_find(b->repo, two, NULL, &gone));
    assert_int_equal(gone.code, VB_E_NOT_FOUND);
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(vb_repo_unforget(b->repo, two, &err));
    vb_repo_unlock(b->repo);
    assert_whole(b, 2);
    /* within the delay a prune leaves it alone */
    assert_ok(forget(b->repo, two, FIXTURE_NOW, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + DAY, 2 * DAY, NULL, &err));
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(vb_repo_unforget(b->repo, two, &err));
    vb_repo_unlock(b->repo);
    assert_whole(b, 2);
    assert_ok(forget(b->repo, two, FIXTURE_NOW, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + 3 * DAY, 2 * DAY, NULL, &err));
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_int_equal(vb_repo_unforget(b->repo, two, &late), -1);
    assert_contains(late.text, "has been pruned");
    vb_repo_unlock(b->repo);
    assert_whole(b, 1);
    /* the newest record is gone, and the chain goes on behind it */
    assert_ok(backup(b->repo, 3, NULL, &err));
    assert_whole(b, 2);
}

static int count_hold(void *arg, uint64_t sequence, const char *id, uint64_t wall_ms, const char *reason,
                      const struct vb_error *damage, struct vb_error *err)
{
    (void)sequence, (void)id, (void)wall_ms, (void)err;
    assert_null(damage);
    assert_string_equal(reason, "why");
    ++*(unsigned *)arg;
    return 0;
}

static int hold(struct vb_repo *r, const char *id, bool release, struct vb_error *err)
{
    struct vb_catalog_entry *e = vb_repo_find(r, id, NULL, err);
    int result = e ? vb_repo_lock(r, FIXTURE_NOW, err) : -1;
    if (result == 0)
        result = release ? vb_repo_release(r, e, err) : vb_repo_hold(r, e, FIXTURE_NOW, "why", err);
    vb_repo_unlock(r);
    vb_catalog_entry_free(e);
    return result;
}

static void what_is_held_is_neither_forgotten_nor_removed(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, held = VB_ERROR_INIT, none = VB_ERROR_INIT;
    char one[VB_GUID_LEN + 1];
    unsigned n = 0;
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 1, one, &err));
    assert_ok(hold(b->repo, one, false, &err));
    assert_ok(hold(b->repo, one, false, &err)); /* again, with another reason perhaps */
    assert_ok(vb_repo_holds(b->repo, count_hold, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(forget(b->repo, one, FIXTURE_NOW, &held), -1);
    assert_int_equal(held.code, VB_E_GUARD);
    /* Forgotten by somebody who did not know: it stays all the same. */
    struct vb_catalog_entry *e = vb_repo_find(b->repo, one, NULL, &err);
    VB_AUTO_FREE char *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    vb_catalog_entry_free(e);
    assert_ok(vb_repo_put_mark(b->repo, VB_MARK_FORGOTTEN, path, FIXTURE_NOW, "", &err));
    for (uint64_t i = 1; i < 4; i++)
        assert_ok(prune(b->repo, FIXTURE_NOW + i * DAY, 0, NULL, &err));
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(vb_repo_unforget(b->repo, one, &err));
    vb_repo_unlock(b->repo);
    assert_whole(b, 1);
    assert_ok(hold(b->repo, one, true, &err));
    assert_int_equal(hold(b->repo, one, true, &none), -1);
    assert_int_equal(none.code, VB_E_NOT_FOUND);
    assert_ok(forget(b->repo, one, FIXTURE_NOW, &err));
}

static void notes_of_what_was_received_are_sealed_and_merged(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE struct vb_received *v = NULL;
    const uint64_t numbers[] = { 1, 2 };
    size_t n = 0;
    vb_repo_unlock(b->repo);
    assert_ok(vb_repo_note_received(b->repo, FIXTURE_NOW, numbers, 0, &err)); /* nothing to note */
    assert_ok(backup(b->repo, 1, NULL, &err));
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(vb_repo_note_received(b->repo, FIXTURE_NOW, numbers, 1, &err));
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 2, NULL, &err));
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(vb_repo_note_received(b->repo, FIXTURE_NOW + DAY, numbers, 2, &err));
    vb_repo_unlock(b->repo);
    assert_ok(vb_backend_write(b->repo->backend, "received/0000000009-11111111-1111-4111-8111-111111111111",
                               "{\"vbackup\":\"received\",\"format_version\":1,\"seen\":[[9,9]]}", 57, &err));
    assert_ok(vb_repo_received(b->repo, &v, &n, &err)); /* that of a stranger does not count */
    assert_int_equal(n, 2);
    assert_int_equal(vb_received_bound(v, n, 2, FIXTURE_NOW - 9 * DAY, FIXTURE_NOW + 2 * DAY), FIXTURE_NOW);
    assert_int_equal(vb_received_bound(v, n, 2, FIXTURE_NOW + 9 * DAY, FIXTURE_NOW + 2 * DAY), FIXTURE_NOW + DAY);
    assert_false(vb_repo_made_write_only(b->repo, 1));
}

static void prune_frees_what_is_not_needed_in_two_phases(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_prune_result res;
    char ids[4][VB_GUID_LEN + 1];
    vb_repo_unlock(b->repo);
    for (unsigned i = 0; i < 4; i++)
        assert_ok(backup(b->repo, 10 + i, ids[i], &err));
    uint64_t full = stored_bytes(b->files);
    for (unsigned i = 0; i < 3; i++)
        assert_ok(forget(b->repo, ids[i], FIXTURE_NOW, &err));
    struct vb_repo *reader = open_again(b, VB_REPO_READ, &err); /* a restore that began before */
    struct vb_catalog_entry *e = vb_repo_find(reader, "latest", NULL, &err);
    struct vb_prune_params dry = { .wall_ms = FIXTURE_NOW + 2 * DAY, .delay_ms = DAY, .dry_run = true };
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(vb_repo_prune(b->repo, &dry, &res, &err));
    assert_int_equal(stored_bytes(b->files), full);
    assert_int_equal(res.removed_backups, 3);
    assert_true(res.condemned_packs > 0);
    assert_ok(prune(b->repo, FIXTURE_NOW + 2 * DAY, DAY, &res, &err));
    assert_true(res.condemned_packs > 0);
    assert_int_equal(res.removed_packs, 0);
    assert_true(stored_bytes(b->files) >= full); /* nothing is away yet */
    assert_whole(b, 1);
    /* again, but not for long enough */
    assert_ok(prune(b->repo, FIXTURE_NOW + 2 * DAY + 1, DAY, &res, &err));
    assert_int_equal(res.removed_packs, 0);
    assert_ok(fixture_verify(reader, e->id, size, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + 4 * DAY, DAY, &res, &err));
    assert_true(res.removed_packs > 0);
    assert_int_equal(res.condemned_packs, 0);
    assert_true(stored_bytes(b->files) < full * 2 / 3);
    assert_whole(b, 1);
    /* nothing more to do */
    assert_ok(prune(b->repo, FIXTURE_NOW + 9 * DAY, 0, &res, &err));
    assert_int_equal(res.condemned_packs + res.removed_packs + res.moved_bytes, 0);
    /* what was pruned is stored anew when it comes again */
    assert_ok(backup(b->repo, 10, NULL, &err));
    assert_whole(b, 2);
    vb_catalog_entry_free(e);
    vb_repo_close(reader);
}

static void a_reader_that_began_before_finds_everything(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char one[VB_GUID_LEN + 1];
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 1, one, &err));
    assert_ok(backup(b->repo, 2, NULL, &err));
    assert_ok(backup(b->repo, 3, NULL, &err));
    struct vb_repo *reader = open_again(b, VB_REPO_READ, &err);
    assert_ok(fixture_verify(reader, one, size, &err)); /* has read the record */
    struct vb_catalog_entry *e = vb_repo_find(reader, one, NULL, &err);
    assert_ok(forget(b->repo, one, FIXTURE_NOW, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + DAY, 0, NULL, &err));
    /* every chunk of the forgotten backup, from the handle that was open */
    VB_AUTO_BUF out = VB_BUF_INIT;
    for (size_t i = 0; i < vb_index_pack_count(reader->index); i++)
        assert_int_equal(vb_index_pack_at(reader->index, (uint32_t)i)->gone, false);
    assert_ok(vb_repo_get(reader, VB_CHUNK_TREE, &e->hosts[0].components[0].roots[0].tree, &out, &err));
    struct vb_repo_reach x;
    vb_repo_reach_init(&x, reader, reader->index);
    assert_ok(vb_repo_reach_entry(&x, e, &err));
    vb_repo_reach_clear(&x);
    vb_catalog_entry_free(e);
    vb_repo_close(reader);
}

/* As a handle tells it that was opened just now. */
static void assert_usage(struct bench *b, struct vb_repo *reader, const char *id)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_usage each, all, each_fresh, all_fresh, of, of_fresh;
    struct vb_repo *fresh = open_again(b, VB_REPO_READ, &err);
    struct vb_catalog_entry *e = vb_repo_find(reader, id, NULL, &err);
    assert_non_null(e);
    assert_ok(vb_repo_usage(reader, &e, 1, &each, &all, &err));
    assert_ok(vb_repo_usage_of(reader, e, &of, &err));
    assert_ok(vb_repo_usage(fresh, &e, 1, &each_fresh, &all_fresh, &err));
    assert_ok(vb_repo_usage_of(fresh, e, &of_fresh, &err));
    assert_int_equal(all.chunks, all_fresh.chunks);
    assert_int_equal(all.raw, all_fresh.raw);
    assert_int_equal(each.unique_stored, each_fresh.unique_stored);
    assert_int_equal(of.stored, of_fresh.stored);
    assert_int_equal(of.chunks, all.chunks);
    vb_catalog_entry_free(e);
    vb_repo_close(fresh);
}

static void usage_is_told_although_others_work_meanwhile(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char one[VB_GUID_LEN + 1], two[VB_GUID_LEN + 1], later[VB_GUID_LEN + 1];
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 1, one, &err));
    assert_ok(backup(b->repo, 2, two, &err));
    struct vb_repo *reader = open_again(b, VB_REPO_READ, &err), *second = open_again(b, VB_REPO_READ, &err);
    assert_ok(backup(b->repo, 3, later, &err));
    assert_usage(b, reader, later); /* committed since it was opened */
    /* its packs are written anew, and many chunks come to it */
    assert_ok(forget(b->repo, one, FIXTURE_NOW, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + DAY, 0, NULL, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + 2 * DAY, 0, NULL, &err));
    for (unsigned i = 10; i < 20; i++)
        assert_ok(backup(b->repo, i, NULL, &err));
    assert_usage(b, second, two);
    vb_repo_close(reader);
    vb_repo_close(second);
}

/* ---- interruptions ---- */

struct crash {
    struct vb_backend *files;
    char keep[VB_GUID_LEN + 1];
};

static void lay_out(struct crash *c)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char one[VB_GUID_LEN + 1];
    c->files = vb_backend_memory_new();
    assert_ok(fixture_init(c->files, &err));
    struct vb_repo *r = fixture_open(vb_backend_memory_share(c->files), VB_REPO_WRITE, &err);
    assert_ok(backup(r, 1, one, &err));
    assert_ok(backup(r, 2, c->keep, &err));
    assert_ok(forget(r, one, FIXTURE_NOW, &err));
    vb_repo_close(r);
}

static int two_prunes(struct vb_backend *f, struct vb_error *err)
{
    struct vb_repo *r = fixture_open(f, VB_REPO_WRITE, err);
    int result = r ? prune(r, FIXTURE_NOW + DAY, 0, NULL, err) : -1;
    if (result == 0)
        result = prune(r, FIXTURE_NOW + 2 * DAY, 0, NULL, err);
    vb_repo_close(r);
    return result;
}

static void survives(enum vb_fault_mode mode, bool power_cut)
{
    size = (struct fixture_size){ 1, 2, 400 }; /* the calls are the same */
    for (unsigned n = 1;; n++) {
        struct crash c;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        lay_out(&c);
        struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(c.files));
        vb_backend_fault_set(f, mode, n);
        int result = two_prunes(f, NULL);
        if (power_cut)
            vb_backend_memory_power_cut(c.files, n * 0x9e3779b97f4a7c15ull);
        /* What is kept is exact, for a reader and for a writer, with a backup and two prunes on top. */
        struct bench b = { c.files, NULL };
        struct vb_repo *r = fixture_open(vb_backend_memory_share(c.files), VB_REPO_READ, &err);
        assert_non_null(r);
        assert_ok(fixture_verify(r, c.keep, size, &err));
        assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
        vb_repo_close(r);
        r = fixture_open(vb_backend_memory_share(c.files), VB_REPO_WRITE, &err);
        assert_ok(backup(r, 1, NULL, &err));
        vb_repo_close(r);
        assert_ok(two_prunes(vb_backend_memory_share(c.files), &err));
        assert_whole(&b, 2);
        vb_backend_close(c.files);
        if (result == 0) {
            print_message("# interrupted at %u calls\n", n - 1);
            size = (struct fixture_size){ 3, 6, 20000 };
            return;
        }
    }
}

static void death_before_every_call_is_survived(void **state)
{
    (void)state;
    survives(VB_FAULT_DIE_BEFORE, false);
}

static void a_power_cut_after_every_call_is_survived(void **state)
{
    (void)state;
    survives(VB_FAULT_DIE_AFTER, true);
}

static void an_error_at_every_call_is_survived(void **state)
{
    (void)state;
    survives(VB_FAULT_IO, false);
}

/* ---- refusals ---- */

static int damage_pack(void *arg, const char *name, uint64_t bytes, struct vb_error *err)
{
    (void)err;
    for (uint64_t at = 56; at < bytes; at += 16)
        vb_backend_memory_damage(arg, name, at, 1);
    return 0;
}

static void nothing_is_removed_while_something_cannot_be_read(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, why = VB_ERROR_INIT;
    char one[VB_GUID_LEN + 1];
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 1, one, &err));
    assert_ok(backup(b->repo, 2, NULL, &err));
    assert_ok(forget(b->repo, one, FIXTURE_NOW, &err));
    vb_backend_list(b->files, "packs/", damage_pack, b->files, NULL);
    uint64_t before = stored_bytes(b->files);
    assert_int_equal(prune(b->repo, FIXTURE_NOW + DAY, 0, NULL, &why), -1);
    assert_int_equal(why.code, VB_E_CORRUPT);
    assert_contains(why.hint, "nothing was removed");
    assert_int_equal(stored_bytes(b->files), before);
}

/* Also without encryption no two packs have the same name: what is written again is not removed in the place of the old. */
static void a_pack_that_is_written_again_is_not_removed(void **state)
{
    (void)state;
    struct vb_repo_params plain = VB_REPO_PARAMS_DEFAULT;
    struct bench open = { .files = vb_backend_memory_new() }, *b = &open;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_prune_result res;
    char id[VB_GUID_LEN + 1];
    assert_ok(vb_repo_init_on(b->files, &plain, FIXTURE_NOW, &err));
    b->repo = open_again(b, VB_REPO_WRITE, &err);
    assert_non_null(b->repo);
    assert_ok(backup(b->repo, 1, id, &err));
    assert_ok(forget(b->repo, id, FIXTURE_NOW, &err));
    assert_ok(prune(b->repo, FIXTURE_NOW + 2 * DAY, DAY, &res, &err));
    assert_true(res.condemned_packs > 0);
    uint64_t before = stored_bytes(b->files);
    assert_ok(backup(b->repo, 1, NULL, &err));
    assert_int_equal(stored_bytes(b->files), 2 * before);
    assert_whole(b, 1);
    assert_ok(prune(b->repo, FIXTURE_NOW + 9 * DAY, DAY, &res, &err));
    assert_true(res.removed_packs > 0);
    assert_int_equal(stored_bytes(b->files), before);
    assert_whole(b, 1);
    vb_repo_close(b->repo);
    vb_backend_close(b->files);
}

static void a_mark_that_is_not_genuine_hides_nothing(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_prune_result res;
    char id[VB_GUID_LEN + 1];
    vb_repo_unlock(b->repo);
    assert_ok(backup(b->repo, 1, id, &err));
    struct vb_catalog_entry *e = vb_repo_find(b->repo, id, NULL, &err);
    assert_non_null(e);
    VB_AUTO_FREE char *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    VB_AUTO_FREE char *mark = vb_printf("forgotten/%s", path + strlen("catalog/"));
    vb_catalog_entry_free(e);
    const char text[] = "{\"forgotten_ms\":1,\"format_version\":1,\"reason\":\"\",\"vbackup\":\"forgotten\"}";
    assert_ok(vb_backend_write(b->files, mark, text, strlen(text), &err));
    unsigned n = 0;
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_ok(fixture_verify_all(r, size, &n, &err));
    assert_int_equal(n, 1);
    vb_repo_close(r);
    assert_ok(prune(b->repo, FIXTURE_NOW + 9 * DAY, DAY, &res, &err));
    assert_int_equal(res.removed_backups + res.condemned_packs, 0);
    assert_ok(forget(b->repo, id, FIXTURE_NOW, &err)); /* in earnest */
    assert_ok(prune(b->repo, FIXTURE_NOW + 9 * DAY, DAY, &res, &err));
    assert_int_equal(res.removed_backups, 1);
}

static void pruning_needs_the_lock_and_a_key_that_reads(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_prune_result res;
    struct vb_prune_params p = { .wall_ms = FIXTURE_NOW };
    vb_repo_unlock(b->repo);
    assert_int_equal(vb_repo_prune(b->repo, &p, &res, &err), -1);
    assert_int_equal(err.code, VB_E_BAD_STATE);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    const struct CMUnitTest tests[] = {
        T(forgotten_backups_vanish_and_can_be_called_back),
        T(what_is_held_is_neither_forgotten_nor_removed),
        T(notes_of_what_was_received_are_sealed_and_merged),
        T(prune_frees_what_is_not_needed_in_two_phases),
        T(a_reader_that_began_before_finds_everything),
        T(usage_is_told_although_others_work_meanwhile),
        cmocka_unit_test(death_before_every_call_is_survived),
        cmocka_unit_test(a_power_cut_after_every_call_is_survived),
        cmocka_unit_test(an_error_at_every_call_is_survived),
        T(nothing_is_removed_while_something_cannot_be_read),
        cmocka_unit_test(a_pack_that_is_written_again_is_not_removed),
        T(a_mark_that_is_not_genuine_hides_nothing),
        T(pruning_needs_the_lock_and_a_key_that_reads),
    };
    return CM_RUN("repository_prune", tests);
}
