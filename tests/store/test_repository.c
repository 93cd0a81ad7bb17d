/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository.c - the facade: making and opening, put and get, commit, finding, locks, trees.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/rng.h"
#include "tests/base/scratch.h"
#include "tests/store/fixture.h"

/* A locked repository in memory; the first handle keeps the files alive. */
struct bench {
    struct vb_backend *files;
    struct vb_repo *repo;
};

static struct vb_repo *open_again(struct bench *b, enum vb_repo_mode mode, struct vb_error *err)
{
    return vb_repo_open_on(vb_backend_memory_share(b->files), mode, err);
}

static int start(void **state)
{
    struct bench *b = vb_alloc(sizeof *b);
    *state = b;
    b->files = vb_backend_memory_new();
    if (vb_repo_init_on(b->files, NULL, FIXTURE_NOW, NULL) < 0)
        return -1;
    b->repo = open_again(b, VB_REPO_WRITE, NULL);
    return b->repo ? vb_repo_lock(b->repo, FIXTURE_NOW, NULL) : -1;
}

static int stop(void **state)
{
    struct bench *b = *state;
    vb_repo_close(b->repo);
    vb_backend_close(b->files);
    free(b);
    return 0;
}

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
    assert_null(vb_repo_open("sftp://host/path", VB_REPO_READ, &remote));
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
    assert_contains(newer.text, "format 7, this program knows up to format 0");
    assert_non_null(newer.hint);
    assert_null(open_with_config("{\"version\":2}", &other));
    assert_int_equal(other.code, VB_E_NOT_FOUND);
    assert_null(open_with_config("{\"vbackup\":\"repository\",\"format_version\":0}", &damaged));
    assert_int_equal(damaged.code, VB_E_CORRUPT);
    assert_null(open_with_config("{", &broken));
    assert_int_equal(broken.code, VB_E_CORRUPT);
}

/* ---- put and get ---- */

static struct vb_name put(struct vb_repo *r, enum vb_chunk_type type, const char *text)
{
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_put_raw(r, type, text, strlen(text), &name, &err));
    return name;
}

static void assert_get(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, const char *text)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_get(r, type, name, &out, &err));
    assert_string_equal(vb_buf_str(&out), text);
}

static void what_is_put_can_be_had_before_and_after_the_flush(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_name names[3] = { put(b->repo, VB_CHUNK_DATA, "data"), put(b->repo, VB_CHUNK_DOC, "document"),
                                { { 1 } } };
    bool present[3];
    assert_get(b->repo, VB_CHUNK_DATA, &names[0], "data");
    assert_ok(vb_repo_flush(b->repo, &err));
    assert_get(b->repo, VB_CHUNK_DATA, &names[0], "data");
    assert_get(b->repo, VB_CHUNK_DOC, &names[1], "document");
    vb_repo_has(b->repo, names, 3, present);
    assert_true(present[0] && present[1] && !present[2]);
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_get(r, VB_CHUNK_DATA, &names[0], "data");
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR missing = VB_ERROR_INIT, type = VB_ERROR_INIT;
    assert_int_equal(vb_repo_get(r, VB_CHUNK_DATA, &names[2], &out, &missing), -1);
    assert_int_equal(missing.code, VB_E_NOT_FOUND);
    assert_contains(missing.text, "data chunk 0100");
    assert_int_equal(vb_repo_get(r, VB_CHUNK_TREE, &names[0], &out, &type), -1);
    assert_int_equal(type.code, VB_E_CORRUPT);
    vb_repo_close(r);
}

static void equal_chunks_are_stored_once(void **state)
{
    struct bench *b = *state;
    struct vb_repo_stats s;
    struct vb_name one = put(b->repo, VB_CHUNK_DATA, "same"), two = put(b->repo, VB_CHUNK_DATA, "same");
    assert_true(vb_name_equal(&one, &two));
    vb_repo_stats(b->repo, &s);
    assert_int_equal(s.put_chunks, 1);
    assert_int_equal(s.put_raw, 4);
    assert_int_equal(s.duplicate_chunks, 1);
}

static void lying_senders_are_refused(void **state)
{
    struct bench *b = *state;
    struct vb_namer *namer = vb_namer_new(vb_repo_info(b->repo)->naming_key);
    struct vb_codec *codec = vb_codec_new(3);
    VB_AUTO_BUF raw = VB_BUF_INIT, stored = VB_BUF_INIT;
    struct vb_name name, other;
    uint8_t encoding;
    bool present;
    for (unsigned i = 0; i < 500; i++)
        vb_buf_addf(&raw, "row %u\n", i);
    vb_namer_name(namer, VB_CHUNK_DATA, raw.data, raw.len, &name);
    vb_namer_name(namer, VB_CHUNK_DATA, "else", 4, &other);
    vb_codec_compress(codec, raw.data, raw.len, &stored, &encoding, NULL);
    VB_AUTO_BUF cut = VB_BUF_INIT, flipped = VB_BUF_INIT;
    vb_buf_add(&cut, stored.data, stored.len - 1);
    vb_buf_add(&flipped, stored.data, stored.len);
    flipped.data[stored.len / 2] ^= 4;
    const struct {
        enum vb_chunk_type type;
        const struct vb_name *name;
        size_t raw;
        uint8_t encoding;
        const struct vb_buf *stored;
    } lies[] = {
        { VB_CHUNK_DATA, &other, raw.len, encoding, &stored },  /* another name */
        { VB_CHUNK_DOC, &name, raw.len, encoding, &stored },    /* another type */
        { VB_CHUNK_TREE, &name, raw.len, encoding, &stored },
        { VB_CHUNK_DATA, &name, raw.len + 1, encoding, &stored }, /* another size */
        { VB_CHUNK_DATA, &name, raw.len, VB_ENC_RAW, &stored },
        { VB_CHUNK_DATA, &name, raw.len, 9, &stored },
        { VB_CHUNK_DATA, &name, raw.len, encoding, &cut },
        { VB_CHUNK_DATA, &name, raw.len, encoding, &flipped },
        { VB_CHUNK_DATA, &name, raw.len, VB_ENC_ZSTD, &raw },
        { (enum vb_chunk_type)9, &name, raw.len, encoding, &stored },
        { VB_CHUNK_DATA, &name, 0, encoding, &stored },
        { VB_CHUNK_DATA, &name, SIZE_MAX, encoding, &stored },
    };
    for (size_t i = 0; i < VB_COUNT(lies); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (vb_repo_put(b->repo, lies[i].type, lies[i].name, lies[i].raw, lies[i].encoding, lies[i].stored->data,
                        lies[i].stored->len, &err) != -1)
            fail_msg("lie %zu was believed", i);
        assert_int_equal(err.code, VB_E_CORRUPT);
        vb_repo_has(b->repo, lies[i].name, 1, &present);
        assert_false(present);
    }
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_put(b->repo, VB_CHUNK_DATA, &name, raw.len, encoding, stored.data, stored.len, &err));
    VB_AUTO_BUF back = VB_BUF_INIT;
    size_t raw_size = 0;
    assert_ok(vb_repo_get_stored(b->repo, VB_CHUNK_DATA, &name, &back, &encoding, &raw_size, &err));
    assert_int_equal(raw_size, raw.len);
    assert_int_equal(back.len, stored.len);
    assert_memory_equal(back.data, stored.data, stored.len);
    vb_namer_free(namer);
    vb_codec_free(codec);
}

static void parents_without_children_are_refused(void **state)
{
    struct bench *b = *state;
    struct vb_ref ref = { .size = 5, .name = { { 7 } } };
    struct vb_tree_entry file = { .name = "f", .type = VB_TREE_FILE, .size = 5, .content = { 0, 1, &ref } };
    struct vb_tree_entry dir = { .name = "d", .type = VB_TREE_DIR };
    struct vb_name name, list_name;
    VB_AUTO_BUF list = VB_BUF_INIT;
    VB_AUTO_ERROR e1 = VB_ERROR_INIT, e2 = VB_ERROR_INIT, e3 = VB_ERROR_INIT, e4 = VB_ERROR_INIT;
    assert_int_equal(vb_tree_write(&file, 1, vb_repo_put_raw, b->repo, &name, &e1), -1);
    assert_int_equal(e1.code, VB_E_CORRUPT);
    assert_contains(e1.text, "has not got");
    assert_int_equal(vb_tree_write(&dir, 1, vb_repo_put_raw, b->repo, &name, &e2), -1);
    vb_list_encode(0, &ref, 1, &list, NULL);
    assert_int_equal(vb_repo_put_raw(b->repo, VB_CHUNK_LIST, list.data, list.len, &list_name, &e3), -1);
    /* of the wrong kind is as good as missing */
    ref.name = put(b->repo, VB_CHUNK_DATA, "12345");
    dir.subtree = ref.name;
    assert_int_equal(vb_tree_write(&dir, 1, vb_repo_put_raw, b->repo, &name, &e4), -1);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_tree_write(&file, 1, vb_repo_put_raw, b->repo, &name, &err));
    dir.subtree = name;
    assert_ok(vb_tree_write(&dir, 1, vb_repo_put_raw, b->repo, &name, &err));
}

static void damaged_trees_are_refused_at_the_door(void **state)
{
    struct bench *b = *state;
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(vb_repo_put_raw(b->repo, VB_CHUNK_TREE, "not a tree", 10, &name, &err), -1);
    assert_int_equal(vb_repo_put_raw(b->repo, VB_CHUNK_LIST, "not a list", 10, &name, NULL), -1);
}

static void writing_needs_the_lock(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR e1 = VB_ERROR_INIT, e2 = VB_ERROR_INIT, e3 = VB_ERROR_INIT;
    struct vb_name name;
    struct vb_repo *r = open_again(b, VB_REPO_WRITE, NULL), *reader = open_again(b, VB_REPO_READ, NULL);
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    assert_int_equal(vb_repo_put_raw(r, VB_CHUNK_DATA, "x", 1, &name, &e1), -1);
    assert_int_equal(e1.code, VB_E_BAD_STATE);
    assert_int_equal(vb_repo_commit(r, e, &e2), -1);
    assert_int_equal(e2.code, VB_E_BAD_STATE);
    assert_int_equal(vb_repo_lock(reader, 0, &e3), -1);
    assert_int_equal(e3.code, VB_E_BAD_STATE);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    vb_repo_close(reader);
}

static void documents_come_back_whole(void **state)
{
    struct bench *b = *state;
    const size_t sizes[] = { 0, 1, 100000, 3000000 };
    struct vb_rng rng;
    vb_rng_seed(&rng, 4);
    for (size_t i = 0; i < VB_COUNT(sizes); i++) {
        VB_AUTO_BUF doc = VB_BUF_INIT, back = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT, limit = VB_ERROR_INIT;
        struct vb_content c = { 0 };
        while (doc.len < sizes[i])
            vb_buf_add_u8(&doc, (uint8_t)vb_rng_next(&rng));
        assert_ok(vb_repo_put_bytes(b->repo, VB_CHUNK_DOC, doc.data, doc.len, &c, &err));
        assert_ok(vb_repo_get_bytes(b->repo, VB_CHUNK_DOC, &c, sizes[i], &back, &err));
        assert_int_equal(back.len, doc.len);
        if (doc.len) {
            assert_memory_equal(back.data, doc.data, doc.len);
            assert_int_equal(vb_repo_get_bytes(b->repo, VB_CHUNK_DOC, &c, sizes[i] - 1, &back, &limit), -1);
            assert_int_equal(limit.code, VB_E_LIMIT);
            assert_int_equal(back.len, doc.len);
        }
        vb_content_clear(&c);
    }
}

/* ---- commit, list, find ---- */

static struct vb_catalog_entry *entry_for(const char *host, enum vb_catalog_state state)
{
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    e->state = state;
    vb_catalog_add_host(e, host);
    return e;
}

static void commit(struct vb_repo *r, const char *host, enum vb_catalog_state state, char id[VB_GUID_LEN + 1])
{
    struct vb_catalog_entry *e = entry_for(host, state);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (id[0])
        memcpy(e->id, id, VB_GUID_LEN + 1);
    assert_ok(vb_repo_commit(r, e, &err));
    memcpy(id, e->id, VB_GUID_LEN + 1);
    vb_catalog_entry_free(e);
}

struct listed {
    unsigned n, damaged;
    uint64_t last;
    struct vb_name before;
};

static int list_one(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct listed *l = arg;
    l->n++;
    if (damage) {
        l->damaged++;
        assert_contains(damage->text, path);
        return 0;
    }
    assert_true((*entry)->sequence > l->last);
    if (l->last && l->last + 1 == (*entry)->sequence && !l->damaged)
        assert_true((*entry)->has_previous && vb_name_equal(&(*entry)->previous, &l->before));
    l->last = (*entry)->sequence;
    l->before = (*entry)->hash;
    return 0;
}

static void backups_are_listed_in_order_and_chained(void **state)
{
    struct bench *b = *state;
    struct listed l = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    for (unsigned i = 0; i < 12; i++)
        commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" });
    assert_ok(vb_repo_list(b->repo, list_one, &l, &err));
    assert_int_equal(l.n, 12);
    assert_int_equal(l.last, 12);
    assert_ok(vb_repo_check(b->repo, true, NULL, NULL, &err));
}

static int damage_third(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)err;
    if (strncmp(name, "catalog/0000000003", 18) == 0)
        vb_backend_memory_damage(arg, name, size / 2, 1);
    return 0;
}

static void a_damaged_entry_hides_no_other(void **state)
{
    struct bench *b = *state;
    struct listed l = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT, damage = VB_ERROR_INIT;
    for (unsigned i = 0; i < 5; i++)
        commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" });
    vb_backend_list(b->files, "catalog/", damage_third, b->files, NULL);
    assert_ok(vb_repo_list(b->repo, list_one, &l, &err));
    assert_int_equal(l.n, 5);
    assert_int_equal(l.damaged, 1);
    assert_int_equal(vb_repo_check(b->repo, false, NULL, NULL, &damage), -1);
    assert_int_equal(damage.code, VB_E_CORRUPT);
    commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" }); /* and the chain goes on */
    l = (struct listed){ 0 };
    assert_ok(vb_repo_list(b->repo, list_one, &l, &err));
    assert_int_equal(l.n, 6);
    assert_int_equal(l.last, 6);
}

static void assert_found(struct vb_repo *r, const char *which, const char *host, const char *id)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_catalog_entry *e = vb_repo_find(r, which, host, &err);
    if (!e)
        fail_msg("%s", vb_error_text(&err));
    assert_string_equal(e->id, id);
    vb_catalog_entry_free(e);
}

static void assert_not_found(struct vb_repo *r, const char *which, const char *host, enum vb_code code)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_repo_find(r, which, host, &err));
    assert_int_equal(err.code, code);
    assert_non_null(err.hint);
}

static void backups_are_found_by_id_prefix_host_and_latest(void **state)
{
    struct bench *b = *state;
    char one[] = "aaaa1111-1111-4111-8111-111111111111", two[] = "aaaa2222-1111-4111-8111-111111111111";
    char three[] = "cccc3333-1111-4111-8111-111111111111", failed[] = "dddd4444-1111-4111-8111-111111111111";
    assert_not_found(b->repo, "latest", NULL, VB_E_NOT_FOUND);
    commit(b->repo, "front", VB_CATALOG_COMPLETE, one);
    commit(b->repo, "backend", VB_CATALOG_PARTIAL, two);
    commit(b->repo, "front", VB_CATALOG_COMPLETE, three);
    commit(b->repo, "backend", VB_CATALOG_FAILED, failed);
    assert_found(b->repo, "latest", NULL, three);
    assert_found(b->repo, "latest", "backend", two); /* partial counts, failed does not */
    assert_not_found(b->repo, "latest", "other", VB_E_NOT_FOUND);
    assert_found(b->repo, "aaaa1", NULL, one);
    assert_found(b->repo, "AAAA1", NULL, one);
    assert_found(b->repo, two, NULL, two);
    assert_found(b->repo, "dddd", NULL, failed);
    assert_found(b->repo, "aaaa", "backend", two);
    assert_not_found(b->repo, "aaaa", NULL, VB_E_USAGE);
    assert_not_found(b->repo, "aaa", NULL, VB_E_USAGE);
    assert_not_found(b->repo, "bbbb", NULL, VB_E_NOT_FOUND);
    assert_not_found(b->repo, one, "backend", VB_E_NOT_FOUND);
}

static void an_id_is_committed_once(void **state)
{
    struct bench *b = *state;
    char id[] = "aaaa1111-1111-4111-8111-111111111111";
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    commit(b->repo, "front", VB_CATALOG_COMPLETE, id);
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    memcpy(e->id, id, sizeof id);
    assert_int_equal(vb_repo_commit(b->repo, e, &err), -1);
    assert_int_equal(err.code, VB_E_EXISTS);
    vb_catalog_entry_free(e);
}

static void commit_rechecks_what_the_entry_names(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR root = VB_ERROR_INIT, doc = VB_ERROR_INIT, list = VB_ERROR_INIT;
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    struct vb_catalog_root *r = vb_catalog_add_root(vb_catalog_add_component(&e->hosts[0]), "/srv", "*", true);
    unsigned n = 9;
    r->has_tree = true;
    assert_int_equal(vb_repo_commit(b->repo, e, &root), -1);
    assert_int_equal(root.code, VB_E_CORRUPT);
    assert_contains(root.text, "root of '/srv'");
    struct vb_tree_entry two[2] = { { .name = "a", .type = VB_TREE_FIFO }, { .name = "b", .type = VB_TREE_FIFO } };
    assert_int_equal(vb_tree_write(two, 2, vb_repo_put_raw, b->repo, &r->tree, NULL), 0);
    assert_int_equal(vb_repo_commit(b->repo, e, &list), -1); /* a root has one entry */
    r->has_tree = false;
    struct vb_content c = { 0, 1, vb_alloc_n(1, sizeof(struct vb_ref)) };
    c.refs[0].size = 3;
    vb_catalog_add_document(e, "plan", NULL, NULL, &c);
    assert_int_equal(vb_repo_commit(b->repo, e, &doc), -1);
    assert_contains(doc.text, "document 'plan'");
    assert_int_equal(fixture_verify_all(b->repo, FIXTURE_SMALL, &n, NULL), 0);
    assert_int_equal(n, 0);
    vb_catalog_entry_free(e);
}

static int remove_packs(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)size;
    return vb_backend_remove(arg, name, err);
}

static void commit_notices_packs_that_vanished(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_content c = { 0 };
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    assert_ok(vb_repo_put_bytes(b->repo, VB_CHUNK_DOC, "text", 4, &c, &err));
    vb_catalog_add_document(e, "plan", NULL, NULL, &c);
    assert_ok(vb_repo_flush(b->repo, &err));
    assert_ok(vb_backend_list(b->files, "packs/", remove_packs, b->files, &err));
    assert_int_equal(vb_repo_commit(b->repo, e, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    vb_catalog_entry_free(e);
}

static void whole_backups_come_back_and_share_their_chunks(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_stats first, second;
    unsigned n = 0;
    const struct fixture_size size = { 5, 20, 30000 };
    assert_ok(fixture_backup(b->repo, 1, size, NULL, &err));
    vb_repo_stats(b->repo, &first);
    assert_ok(fixture_backup(b->repo, 1, size, NULL, &err));
    vb_repo_stats(b->repo, &second);
    assert_int_equal(first.put_chunks, second.put_chunks); /* the same again adds nothing */
    assert_ok(fixture_backup(b->repo, 2, size, NULL, &err));
    vb_repo_stats(b->repo, &second);
    assert_true(second.put_raw - first.put_raw < first.put_raw / 2);
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_ok(fixture_verify_all(r, size, &n, &err));
    assert_int_equal(n, 3);
    assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
    vb_repo_close(r);
}

/* ---- lock ---- */

static void second_writer_is_told_who_holds_the_lock(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = open_again(b, VB_REPO_WRITE, NULL);
    VB_AUTO_FREE char *pid = vb_printf("process %ld", (long)getpid());
    assert_int_equal(vb_repo_lock(r, FIXTURE_NOW, &err), -1);
    assert_int_equal(err.code, VB_E_BUSY);
    assert_contains(err.text, pid);
    assert_contains(err.text, "since 20");
    assert_contains(err.text, "host ");
    assert_non_null(err.hint);
    vb_repo_unlock(b->repo);
    assert_int_equal(vb_repo_lock(r, FIXTURE_NOW, NULL), 0);
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

/* ---- trees ---- */

static int skip_dir1(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct vb_buf *b = arg;
    (void)err;
    vb_buf_addf(b, "[%s]", path);
    return e->type == VB_TREE_DIR && strcmp(path, "dir1") == 0 ? VB_WALK_SKIP : 0;
}

static int stop_at_file(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    (void)arg, (void)path, (void)err;
    return e->type == VB_TREE_FILE ? 5 : 0;
}

static void trees_are_walked_and_looked_up(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF seen = VB_BUF_INIT;
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    struct vb_catalog_entry *e = vb_repo_find(b->repo, "latest", NULL, &err);
    const struct vb_name *root = &e->hosts[0].components[0].roots[0].tree;
    assert_ok(vb_tree_walk(b->repo, root, skip_dir1, &seen, &err));
    assert_string_equal(vb_buf_str(&seen), "[][dir0][dir0/file0][dir0/file1][dir0/file2][dir1][link]");
    assert_int_equal(vb_tree_walk(b->repo, root, stop_at_file, NULL, &err), 5);
    const struct {
        const char *path;
        enum vb_tree_type type;
    } found[] = { { "", VB_TREE_DIR }, { "dir1", VB_TREE_DIR }, { "dir1/file2", VB_TREE_FILE },
                  { "/dir1//file2", VB_TREE_FILE }, { "link", VB_TREE_SYMLINK } };
    for (size_t i = 0; i < VB_COUNT(found); i++) {
        VB_AUTO_TREE t = { 0 };
        const struct vb_tree_entry *entry = NULL;
        assert_ok(vb_tree_lookup(b->repo, root, found[i].path, &t, &entry, &err));
        assert_int_equal(entry->type, found[i].type);
    }
    const char *const missing[] = { "dir2", "dir1/file", "dir1/file9", "link/x", "dir1/file1/x" };
    for (size_t i = 0; i < VB_COUNT(missing); i++) {
        VB_AUTO_TREE t = { 0 };
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        const struct vb_tree_entry *entry = NULL;
        assert_int_equal(vb_tree_lookup(b->repo, root, missing[i], &t, &entry, &why), -1);
        assert_int_equal(why.code, VB_E_NOT_FOUND);
        assert_contains(why.text, missing[i]);
    }
    vb_catalog_entry_free(e);
}

static int count_entry(void *arg, const struct vb_tree_entry *e, struct vb_error *err)
{
    (void)e, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

static void large_directories_are_read_in_parts(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const unsigned n = 20000;
    struct vb_tree_entry *list = vb_alloc_n(n, sizeof *list);
    struct vb_tree_entry self = { .name = ".", .type = VB_TREE_DIR };
    struct vb_name root;
    unsigned seen = 0;
    for (unsigned i = 0; i < n; i++) {
        list[i].name = vb_printf("entry %u", i);
        list[i].type = VB_TREE_FIFO;
        list[i].inode = i;
    }
    assert_ok(vb_tree_write(list, n, vb_repo_put_raw, b->repo, &self.subtree, &err));
    assert_ok(vb_tree_write(&self, 1, vb_repo_put_raw, b->repo, &root, &err));
    assert_ok(vb_tree_read(b->repo, &self.subtree, count_entry, &seen, &err));
    assert_int_equal(seen, n);
    for (unsigned i = 0; i < n; i += 777) {
        VB_AUTO_TREE t = { 0 };
        const struct vb_tree_entry *entry = NULL;
        VB_AUTO_FREE char *path = vb_printf("entry %u", i);
        assert_ok(vb_tree_lookup(b->repo, &root, path, &t, &entry, &err));
        assert_int_equal(entry->inode, i);
        assert_true(t.n < n / 4);
    }
    VB_AUTO_TREE t = { 0 };
    const struct vb_tree_entry *entry = NULL;
    assert_int_equal(vb_tree_lookup(b->repo, &root, "a", &t, &entry, NULL), -1);
    assert_int_equal(vb_tree_lookup(b->repo, &root, "z", &t, &entry, NULL), -1);
    for (unsigned i = 0; i < n; i++)
        free((char *)(uintptr_t)list[i].name);
    free(list);
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
        T(what_is_put_can_be_had_before_and_after_the_flush),
        T(equal_chunks_are_stored_once),
        T(lying_senders_are_refused),
        T(parents_without_children_are_refused),
        T(damaged_trees_are_refused_at_the_door),
        T(writing_needs_the_lock),
        T(documents_come_back_whole),
        T(backups_are_listed_in_order_and_chained),
        T(a_damaged_entry_hides_no_other),
        T(backups_are_found_by_id_prefix_host_and_latest),
        T(an_id_is_committed_once),
        T(commit_rechecks_what_the_entry_names),
        T(commit_notices_packs_that_vanished),
        T(whole_backups_come_back_and_share_their_chunks),
        T(second_writer_is_told_who_holds_the_lock),
        T(lock_shows_what_others_did_meanwhile),
        T(what_was_not_flushed_is_dropped_with_the_lock),
        T(trees_are_walked_and_looked_up),
        T(large_directories_are_read_in_parts),
    };
    return CM_RUN("repository", tests);
}
