/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_trust.c - keys, and the attacks that doc/threat-model.md says fail: by a host, by the
 * holder of a write-only key, by whoever can write to the storage.
 */
#include <config.h>
#include "tests/cm.h"

#include "store/repository_internal.h"
#include "tests/store/opened.h"

/* ---- passwords ---- */

static int given_password(void *arg, bool new, struct vb_buf *out, struct vb_error *err)
{
    (void)new, (void)err;
    vb_buf_add_str(out, arg);
    return 0;
}

#define AUTH(text) ((struct vb_repo_auth){ .password = given_password, .arg = (void *)(uintptr_t)(text) })

static struct vb_repo *open_as(struct bench *b, const char *password, enum vb_repo_mode mode, struct vb_error *err)
{
    struct vb_repo_auth auth = AUTH(password);
    return vb_repo_open_auth_on(vb_backend_memory_share(b->files), mode, &auth, err);
}

static void add_key(struct vb_repo *r, const char *password, const char *host, char id[VB_GUID_LEN + 1])
{
    struct vb_repo_auth auth = AUTH(password);
    struct vb_repo_key_params p = { &auth, "label", host, FIXTURE_NOW, 2 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_key_add(r, &p, id, &err));
}

struct keys_seen {
    unsigned n, append, current, damaged;
};

static int see_key(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage)
{
    struct keys_seen *s = arg;
    (void)path;
    s->n++;
    s->damaged += damage != NULL;
    s->append += !damage && key->host;
    s->current += !damage && key->current;
    return 0;
}

static void assert_opens(struct bench *b, const char *password, bool wanted)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = open_as(b, password, VB_REPO_READ, &err);
    assert_int_equal(r != NULL, wanted);
    if (!r)
        assert_int_equal(err.code, VB_E_ACCESS_DENIED);
    vb_repo_close(r);
}

static int count_bytes(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)err;
    if (strncmp(name, "keys/", 5) != 0)
        *(uint64_t *)arg += size;
    return 0;
}

static void keys_are_added_changed_and_removed_without_touching_data(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, last = VB_ERROR_INIT, prefix = VB_ERROR_INIT;
    char second[VB_GUID_LEN + 1];
    uint64_t before = 0, after = 0;
    struct keys_seen seen = { 0 };
    struct vb_repo_auth auth = AUTH("third");
    struct vb_repo_key_params change = { &auth, NULL, NULL, FIXTURE_NOW, 2 };
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    vb_repo_unlock(b->repo);
    assert_ok(vb_backend_list(b->files, "", count_bytes, &before, &err));
    assert_opens(b, "second", false);
    add_key(b->repo, "second", NULL, second);
    assert_opens(b, "second", true);
    assert_opens(b, "correct horse", true);
    assert_opens(b, "wrong", false);
    struct vb_repo *r = open_as(b, "second", VB_REPO_WRITE, &err);
    assert_non_null(r);
    assert_ok(fixture_verify(r, "latest", FIXTURE_SMALL, &err));
    assert_ok(vb_repo_key_change(r, &change, &err));
    assert_opens(b, "second", false);
    assert_opens(b, "third", true);
    assert_ok(vb_repo_key_list(r, see_key, &seen, &err));
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.current, 1);
    assert_int_equal(vb_repo_key_remove(r, "xyz", &prefix), -1);
    assert_int_equal(prefix.code, VB_E_USAGE);
    assert_ok(vb_repo_key_remove(r, second, &err));
    assert_opens(b, "third", false);
    assert_int_equal(vb_repo_key_remove(r, b->repo->key_id, &last), -1); /* nobody could read any more */
    assert_int_equal(last.code, VB_E_GUARD);
    assert_ok(vb_backend_list(b->files, "", count_bytes, &after, &err));
    assert_int_equal(before, after);
    vb_repo_close(r);
}

/* A crash at each step of a change leaves a repository that the old or the new password opens. */
static void a_key_change_that_dies_anywhere_locks_nobody_out(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 30; n++)
        for (int after = 0; after < 2; after++) {
            struct vb_backend *files = vb_backend_memory_new();
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            struct vb_repo_auth old = fixture_auth, new = AUTH("new");
            struct vb_repo_key_params change = { &new, NULL, NULL, FIXTURE_NOW, 2 };
            assert_ok(fixture_init(files, &err));
            struct vb_backend *f = vb_backend_fault_new(vb_backend_memory_share(files));
            struct vb_repo *r = fixture_open(f, VB_REPO_READ, &err);
            assert_non_null(r);
            vb_backend_fault_set(f, after ? VB_FAULT_DIE_AFTER : VB_FAULT_DIE_BEFORE, n);
            int result = vb_repo_key_change(r, &change, NULL);
            vb_repo_close(r);
            vb_backend_memory_power_cut(files, n);
            struct vb_repo *a = vb_repo_open_auth_on(vb_backend_memory_share(files), VB_REPO_READ, &old, NULL);
            struct vb_repo *c = vb_repo_open_auth_on(vb_backend_memory_share(files), VB_REPO_READ, &new, NULL);
            assert_true(a || c);
            if (result == 0)
                assert_true(c && !a);
            vb_repo_close(a);
            vb_repo_close(c);
            vb_backend_close(files);
        }
}

static void without_a_password_nothing_opens(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR none = VB_ERROR_INIT, plain = VB_ERROR_INIT;
    assert_null(vb_repo_open_on(vb_backend_memory_share(b->files), VB_REPO_READ, &none));
    assert_int_equal(none.code, VB_E_ACCESS_DENIED);
    assert_contains(none.hint, "VBACKUP_PASSWORD_FILE");
    /* and one that should be encrypted and is not is not written to */
    struct vb_backend *files = vb_backend_memory_new();
    struct vb_repo_auth auth = AUTH("x");
    auth.given = true;
    assert_int_equal(vb_repo_init_on(files, NULL, FIXTURE_NOW, NULL), 0);
    assert_null(vb_repo_open_auth_on(files, VB_REPO_WRITE, &auth, &plain));
    assert_int_equal(plain.code, VB_E_GUARD);
}

/* ---- what lies in the storage ---- */

struct needle {
    struct vb_backend *files;
    const void *p;
    size_t n;
    unsigned found;
};

static int look_for(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct needle *x = arg;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    (void)size;
    assert_int_equal(vb_backend_read_all(x->files, name, 1 << 28, &bytes, err), 0);
    x->found += memmem(bytes.data, bytes.len, x->p, x->n) != NULL;
    return 0;
}

static unsigned occurs(struct bench *b, const void *p, size_t n)
{
    struct needle x = { b->files, p, n, 0 };
    assert_int_equal(vb_backend_list(b->files, "", look_for, &x, NULL), 0);
    return x.found;
}

static void the_storage_shows_neither_content_nor_names_nor_keys(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    static const char text[] = "a sentence that compresses badly: 9f8e7d6c5b4a3z";
    struct vb_name name = put(b->repo, VB_CHUNK_DATA, text);
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    const uint8_t *root = vb_keys_root(b->repo->keys);
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex((const struct vb_name *)(const void *)root, hex);
    assert_int_equal(occurs(b, text, sizeof text - 1), 0);
    assert_int_equal(occurs(b, "file0", 5), 0);
    assert_int_equal(occurs(b, "/srv/www", 8), 0);
    assert_int_equal(occurs(b, "front", 5), 0);
    assert_int_equal(occurs(b, name.b, VB_NAME_LEN), 0);
    assert_int_equal(occurs(b, root, VB_KEY_LEN), 0);
    assert_int_equal(occurs(b, hex, VB_NAME_HEX_LEN), 0);
    assert_int_equal(occurs(b, b->repo->info.naming_key, VB_KEY_LEN), 0);
    assert_int_equal(occurs(b, "correct horse", 13), 0);
}

/* Whoever can write may try to weaken the configuration; the text is authenticated. */
static void an_altered_configuration_is_refused(void **state)
{
    struct bench *b = *state;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT, altered = VB_ERROR_INIT;
    struct vb_repo_config *c = vb_secret_alloc(sizeof *c);
    struct vb_keys *stranger = vb_keys_from_root("11111111-1111-4111-8111-111111111111", true, (const uint8_t[32]){ 1 });
    assert_ok(vb_backend_read_all(b->files, "config", VB_REPO_CONFIG_MAX, &bytes, &err));
    assert_ok(vb_repo_config_decode(bytes.data, bytes.len, c, &err));
    c->info.params.compression = 0;
    vb_buf_reset(&bytes);
    assert_ok(vb_repo_config_encode(c, stranger, &bytes, &err)); /* checksum right, keyed hash by another key */
    assert_ok(vb_backend_remove(b->files, "config", &err));
    assert_ok(vb_backend_write(b->files, "config", bytes.data, bytes.len, &err));
    assert_null(open_again(b, VB_REPO_READ, &altered));
    assert_int_equal(altered.code, VB_E_CORRUPT);
    assert_contains(altered.text, "altered");
    vb_keys_free(stranger);
    vb_secret_free(c, sizeof *c);
}

/* Even if the random numbers repeated, as on a cloned machine, two contents would not be sealed with one key: the
 * content goes into the salt.  And two seals of the same content differ. */
static void no_key_seals_two_contents(void **state)
{
    struct bench *b = *state;
    struct vb_object x, y;
    for (int kind = VB_OBJECT_PACK; kind <= VB_OBJECT_ENTRY; kind++) {
        assert_int_equal(vb_object_begin(b->repo->keys, (enum vb_object_kind)kind, 0, "same", 4, &x, NULL), 0);
        assert_int_equal(vb_object_begin(b->repo->keys, (enum vb_object_kind)kind, 0, "same", 4, &y, NULL), 0);
        assert_memory_not_equal(x.salt, y.salt, VB_KEY_LEN);
        assert_memory_not_equal(x.key, y.key, VB_KEY_LEN);
    }
    vb_object_end(&x);
    vb_object_end(&y);
}

/* An entry under another number, or a pack under the group of another: bound to their place. */
struct take {
    struct vb_backend *files;
    char *path;
    struct vb_buf bytes;
};

static int take_first(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct take *t = arg;
    (void)size;
    if (t->path)
        return 0;
    t->path = vb_strdup(name);
    return vb_backend_read_all(t->files, name, 1 << 26, &t->bytes, err);
}

static void a_replayed_record_of_a_backup_is_refused(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, why = VB_ERROR_INIT;
    struct take t = { b->files, NULL, VB_BUF_INIT };
    uint64_t sequence;
    char id[VB_GUID_LEN + 1];
    struct vb_name hash;
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    assert_ok(vb_backend_list(b->files, "catalog/", take_first, &t, &err));
    assert_true(vb_catalog_path_parse(t.path, &sequence, id, &hash));
    VB_AUTO_FREE char *later = vb_catalog_path(7, id, &hash);
    assert_ok(vb_backend_write(b->files, later, t.bytes.data, t.bytes.len, &err));
    struct vb_catalog_entry *e = vb_repo_find(b->repo, "latest", NULL, &err);
    assert_int_equal(e->sequence, 1); /* the ledger does not know the other */
    vb_catalog_entry_free(e);
    assert_null(vb_repo_read_entry(b->repo, later, &why));
    assert_int_equal(why.code, VB_E_CORRUPT);
    assert_contains(why.text, "seal is broken");
    free(t.path);
    vb_buf_clear(&t.bytes);
}

/* ---- trust groups ---- */

static uint32_t group(struct vb_repo *r, const char *name)
{
    uint32_t g = 0;
    assert_int_equal(vb_repo_group(r, name, &g, NULL), 0);
    return g;
}

/* As an agent of that group: named and sent. */
static struct vb_name send_in(struct vb_repo *r, uint32_t g, enum vb_chunk_type type, const void *p, size_t n, int wanted)
{
    const uint8_t *naming, *cutter;
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_repo_group_keys(r, g, &naming, &cutter);
    struct vb_namer *namer = vb_namer_new(naming);
    vb_namer_name(namer, type, p, n, &name);
    vb_namer_free(namer);
    assert_int_equal(vb_repo_put_in(r, g, type, &name, n, VB_ENC_RAW, p, n, &err), wanted);
    return name;
}

static void a_host_learns_nothing_about_what_others_have(void **state)
{
    struct bench *b = *state;
    uint32_t web = group(b->repo, "web"), db = group(b->repo, "db");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_stats before, after;
    bool present;
    struct vb_name secret = send_in(b->repo, db, VB_CHUNK_DATA, "the salary list", 15, 0);
    assert_ok(vb_repo_flush(b->repo, &err));
    /* The same content has another name, and is wanted: the answer does not depend on others. */
    vb_repo_stats(b->repo, &before);
    struct vb_name mine = send_in(b->repo, web, VB_CHUNK_DATA, "the salary list", 15, 0);
    vb_repo_stats(b->repo, &after);
    assert_false(vb_name_equal(&secret, &mine));
    assert_int_equal(after.put_chunks, before.put_chunks + 1);
    /* Even the very name, should it leak, is not confirmed, nor accepted in a tree or list, nor served. */
    vb_repo_has_in(b->repo, web, &secret, 1, &present);
    assert_false(present);
    vb_repo_has_in(b->repo, db, &secret, 1, &present);
    assert_true(present);
    assert_false(vb_repo_in_groups(b->repo, &secret, &web, 1));
    assert_true(vb_repo_in_groups(b->repo, &secret, (const uint32_t[]){ web, db }, 2));
    VB_AUTO_BUF list = VB_BUF_INIT;
    struct vb_ref ref = { secret, 15 };
    assert_ok(vb_list_encode(0, &ref, 1, &list, &err));
    send_in(b->repo, web, VB_CHUNK_LIST, list.data, list.len, -1);
    send_in(b->repo, db, VB_CHUNK_LIST, list.data, list.len, 0);
    /* Cuts differ as well: sizes tell nothing. */
    const uint8_t *naming, *one, *two;
    vb_repo_group_keys(b->repo, web, &naming, &one);
    vb_repo_group_keys(b->repo, db, &naming, &two);
    assert_memory_not_equal(one, two, VB_KEY_LEN);
    assert_ok(vb_repo_flush(b->repo, &err));
    assert_ok(vb_repo_check(b->repo, true, NULL, NULL, &err));
}

static void a_host_cannot_poison_what_another_would_reuse(void **state)
{
    struct bench *b = *state;
    uint32_t web = group(b->repo, "web"), db = group(b->repo, "db");
    const uint8_t *naming, *cutter;
    struct vb_name name;
    bool present;
    VB_AUTO_ERROR foreign = VB_ERROR_INIT, err = VB_ERROR_INIT;
    /* The name that db will ask for, with other bytes under it: web does not know the key, but be it that it did. */
    vb_repo_group_keys(b->repo, db, &naming, &cutter);
    struct vb_namer *namer = vb_namer_new(naming);
    vb_namer_name(namer, VB_CHUNK_DATA, "good", 4, &name);
    vb_namer_free(namer);
    assert_int_equal(vb_repo_put_in(b->repo, web, VB_CHUNK_DATA, &name, 4, VB_ENC_RAW, "good", 4, &foreign), -1);
    assert_int_equal(vb_repo_put_in(b->repo, web, VB_CHUNK_DATA, &name, 4, VB_ENC_RAW, "evil", 4, NULL), -1);
    assert_int_equal(vb_repo_put_in(b->repo, db, VB_CHUNK_DATA, &name, 4, VB_ENC_RAW, "evil", 4, NULL), -1);
    vb_repo_has_in(b->repo, db, &name, 1, &present);
    assert_false(present);
    assert_ok(vb_repo_put_in(b->repo, db, VB_CHUNK_DATA, &name, 4, VB_ENC_RAW, "good", 4, &err));
    assert_get(b->repo, VB_CHUNK_DATA, &name, "good");
}

static void many_groups_at_once_stay_within_bounds(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF big = VB_BUF_INIT;
    char name[16];
    for (unsigned i = 0; i < 1 << 20; i += 8)
        vb_buf_add_u64(&big, i * 0x9e3779b97f4a7c15ull);
    for (unsigned round = 0; round < 6; round++)
        for (unsigned i = 0; i < 20; i++) {
            size_t sum = 0;
            snprintf(name, sizeof name, "host%u", i);
            big.data[0] = (unsigned char)round;
            send_in(b->repo, group(b->repo, name), VB_CHUNK_DATA, big.data, big.len, 0);
            for (size_t k = 0; k < b->repo->n_packs; k++)
                sum += b->repo->packs[k]->pack.bytes.len;
            assert_true(sum <= VB_REPO_OPEN_MAX + (2 << 20));
        }
    assert_ok(vb_repo_flush(b->repo, &err));
    assert_ok(vb_repo_check(b->repo, true, NULL, NULL, &err));
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    struct vb_repo_stats s;
    vb_repo_stats(r, &s);
    assert_int_equal(s.chunks, 120);
    vb_repo_close(r);
}

/* ---- write-only keys ---- */

static struct vb_catalog_entry *entry_of(const char *host)
{
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    vb_catalog_add_host(e, host);
    return e;
}

static void a_write_only_key_adds_and_reads_nothing(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, get = VB_ERROR_INIT, list = VB_ERROR_INIT, check = VB_ERROR_INIT,
                  add = VB_ERROR_INIT;
    char id[VB_GUID_LEN + 1];
    VB_AUTO_BUF out = VB_BUF_INIT;
    bool present[2];
    add_key(b->repo, "web's", "web", id);
    /* before: something of web, put by somebody who reads, and something of another */
    struct vb_name old = send_in(b->repo, group(b->repo, "web"), VB_CHUNK_DATA, "old page", 8, 0);
    struct vb_name others = send_in(b->repo, group(b->repo, "db"), VB_CHUNK_DATA, "row", 3, 0);
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    vb_repo_unlock(b->repo);
    struct vb_repo *w = open_as(b, "web's", VB_REPO_WRITE, &err);
    assert_non_null(w);
    assert_true(vb_repo_info(w)->append_only);
    assert_ok(vb_repo_lock(w, FIXTURE_NOW, &err));
    vb_repo_has(w, (const struct vb_name[]){ old, others }, 2, present);
    assert_true(present[0]); /* need not be sent again */
    assert_false(present[1]); /* and of others nothing is known */
    assert_int_equal(vb_repo_get(w, VB_CHUNK_DATA, &old, &out, &get), -1);
    assert_int_equal(get.code, VB_E_ACCESS_DENIED);
    assert_null(vb_repo_find(w, "latest", NULL, &list));
    assert_int_equal(list.code, VB_E_ACCESS_DENIED);
    assert_int_equal(vb_repo_check(w, true, NULL, NULL, &check), -1);
    assert_int_equal(check.code, VB_E_ACCESS_DENIED);
    struct vb_repo_auth auth = AUTH("more");
    struct vb_repo_key_params p = { &auth, NULL, NULL, FIXTURE_NOW, 2 };
    assert_int_equal(vb_repo_key_add(w, &p, id, &add), -1);
    assert_int_equal(add.code, VB_E_ACCESS_DENIED);
    assert_int_equal(vb_repo_key_remove(w, b->repo->key_id, NULL), -1);
    /* it adds */
    struct vb_content content = { 0 };
    struct vb_catalog_entry *e = entry_of("web");
    struct vb_name page = send_in(w, group(w, "web"), VB_CHUNK_DATA, "new page", 8, 0);
    assert_ok(vb_repo_put_bytes(w, VB_CHUNK_DOC, "document", 8, &content, &err));
    vb_catalog_add_document(e, "plan", "web", NULL, &content);
    assert_ok(vb_repo_commit(w, e, &err));
    /* not even what it added can be read, once it is out of memory */
    assert_int_equal(vb_repo_get(w, VB_CHUNK_DATA, &page, &out, NULL), -1);
    assert_int_equal(out.len, 0);
    vb_repo_close(w);
    /* and whoever reads, reads it */
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_get(r, VB_CHUNK_DATA, &page, "new page");
    struct vb_catalog_entry *found = vb_repo_find(r, e->id, "web", &err);
    assert_non_null(found);
    assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
    vb_catalog_entry_free(found);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
}

static void a_write_only_key_speaks_for_its_own_host_only(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, why = VB_ERROR_INIT;
    char id[VB_GUID_LEN + 1];
    add_key(b->repo, "web's", "web", id);
    vb_repo_unlock(b->repo);
    struct vb_repo *w = open_as(b, "web's", VB_REPO_WRITE, &err);
    struct vb_catalog_entry *e = entry_of("db");
    assert_ok(vb_repo_lock(w, FIXTURE_NOW, &err));
    assert_ok(vb_repo_commit(w, e, &err)); /* nobody here to hinder it, */
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_null(vb_repo_find(r, "latest", "db", &why)); /* and nobody who believes it */
    assert_int_equal(why.code, VB_E_CORRUPT);
    assert_contains(why.text, "write-only key that is not host 'db'");
    assert_int_equal(vb_repo_check(r, false, NULL, NULL, NULL), -1);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    vb_repo_close(w);
}

/* A pack of the holder of a write-only key that is not what its names say, left without an index file: whoever takes
 * it in next must not believe it. */
static void a_forged_pack_is_not_taken_in(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char id[VB_GUID_LEN + 1];
    const uint8_t *naming, *cutter;
    struct vb_pack pack;
    struct vb_pack_id pack_id;
    struct vb_pack_entry entry = { .type = VB_CHUNK_DATA, .encoding = VB_ENC_RAW, .raw_size = 4, .stored_size = 4 };
    bool present;
    add_key(b->repo, "web's", "web", id);
    vb_repo_unlock(b->repo);
    struct vb_repo *w = open_as(b, "web's", VB_REPO_WRITE, &err);
    vb_repo_group_keys(w, 0, &naming, &cutter);
    struct vb_namer *namer = vb_namer_new(naming);
    vb_namer_name(namer, VB_CHUNK_DATA, "good", 4, &entry.name);
    vb_namer_free(namer);
    vb_pack_init(&pack, w->keys);
    vb_pack_add(&pack, w->keys, &entry, "evil");
    assert_ok(vb_pack_write(&pack, w->keys, 0, w->backend, &pack_id, &err));
    vb_pack_clear(&pack);
    vb_repo_close(w);
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    vb_repo_has_in(b->repo, group(b->repo, "web"), &entry.name, 1, &present);
    assert_false(present);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    const struct CMUnitTest tests[] = {
        T(keys_are_added_changed_and_removed_without_touching_data),
        cmocka_unit_test(a_key_change_that_dies_anywhere_locks_nobody_out),
        T(without_a_password_nothing_opens),
        T(the_storage_shows_neither_content_nor_names_nor_keys),
        T(an_altered_configuration_is_refused),
        T(no_key_seals_two_contents),
        T(a_replayed_record_of_a_backup_is_refused),
        T(a_host_learns_nothing_about_what_others_have),
        T(a_host_cannot_poison_what_another_would_reuse),
        T(many_groups_at_once_stay_within_bounds),
        T(a_write_only_key_adds_and_reads_nothing),
        T(a_write_only_key_speaks_for_its_own_host_only),
        T(a_forged_pack_is_not_taken_in),
    };
    return CM_RUN("repository_trust", tests);
}
