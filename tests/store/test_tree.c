/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_tree.c - directories: round trip, canonical form, cutting, refusal of damage.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "store/chunk/tree.h"

/* Everything a random directory owns. */
struct made {
    struct vb_tree_entry *entries;
    size_t n;
    void **memory;
    size_t n_memory, cap_memory;
};

static void *keep(struct made *m, void *p)
{
    VB_GROW(m->memory, m->n_memory, m->cap_memory);
    m->memory[m->n_memory++] = p;
    return p;
}

static void free_made(struct made *m)
{
    for (size_t i = 0; i < m->n_memory; i++)
        free(m->memory[i]);
    free(m->memory);
    free(m->entries);
}

static char *random_name(struct made *m, struct vb_rng *rng, size_t index)
{
    size_t n = (size_t)vb_rng_below(rng, 30), at = 0;
    VB_AUTO_FREE char *tail = vb_printf("%zx", index); /* keeps names apart */
    char *s = keep(m, vb_alloc(n + strlen(tail) + 2));
    while (at < n) {
        char c = (char)(1 + vb_rng_below(rng, 255));
        s[at++] = c == '/' ? '_' : c;
    }
    s[at++] = '~';
    memcpy(s + at, tail, strlen(tail));
    return s;
}

static void random_content(struct made *m, struct vb_rng *rng, struct vb_tree_entry *e)
{
    uint64_t holes = 0, data = 0;
    size_t n_holes = vb_rng_chance(rng, 200) ? 1 + (size_t)vb_rng_below(rng, 5) : 0;
    size_t n = (size_t)vb_rng_below(rng, 6);
    struct vb_ref *refs = keep(m, vb_alloc_n(n + 1, sizeof *refs));
    for (size_t i = 0; i < n; i++) {
        refs[i].size = 1 + vb_rng_below(rng, 1u << 20);
        refs[i].name.b[0] = (uint8_t)vb_rng_next(rng);
        data += refs[i].size;
    }
    struct vb_hole *list = keep(m, vb_alloc_n(n_holes + 1, sizeof *list));
    uint64_t at = 0;
    for (size_t i = 0; i < n_holes; i++) {
        list[i].offset = at + (i ? 1 : 0);
        list[i].len = 1 + vb_rng_below(rng, 4096);
        at = list[i].offset + list[i].len;
        holes += list[i].len;
    }
    if (data < n_holes) /* the data between the holes */
        n_holes = 0, holes = 0;
    e->content = (struct vb_content){ (uint8_t)(n ? vb_rng_below(rng, 3) : 0), (uint32_t)n, n ? refs : NULL };
    e->holes = n_holes ? list : NULL;
    e->n_holes = n_holes;
    e->size = data + holes;
}

static void random_xattrs(struct made *m, struct vb_rng *rng, struct vb_tree_entry *e)
{
    size_t n = 1 + (size_t)vb_rng_below(rng, 4);
    struct vb_xattr *list = keep(m, vb_alloc_n(n, sizeof *list));
    for (size_t i = 0; i < n; i++) {
        list[i].name = keep(m, vb_printf("user.%zu", i));
        list[i].len = (uint32_t)vb_rng_below(rng, 200);
        unsigned char *value = keep(m, vb_alloc(list[i].len + 1));
        for (uint32_t k = 0; k < list[i].len; k++)
            value[k] = (unsigned char)vb_rng_next(rng);
        list[i].value = value;
    }
    e->xattrs = list;
    e->n_xattrs = n;
}

static void random_entry(struct made *m, struct vb_rng *rng, size_t index, struct vb_tree_entry *e)
{
    e->name = random_name(m, rng, index);
    e->type = (enum vb_tree_type)(1 + vb_rng_below(rng, 7));
    e->mode = (uint32_t)vb_rng_below(rng, 010000);
    e->uid = (uint32_t)vb_rng_next(rng);
    e->gid = (uint32_t)vb_rng_next(rng);
    e->user = vb_rng_chance(rng, 500) ? "www-data" : "";
    e->group = vb_rng_chance(rng, 500) ? "adm" : NULL;
    e->mtime_sec = (int64_t)vb_rng_next(rng);
    e->mtime_nsec = (uint32_t)vb_rng_below(rng, 1000000000);
    e->ctime_sec = (int64_t)vb_rng_below(rng, 1u << 31) - 1000;
    e->ctime_nsec = (uint32_t)vb_rng_below(rng, 1000000000);
    e->inode = vb_rng_next(rng);
    e->device = vb_rng_chance(rng, 500) ? vb_rng_next(rng) : 0;
    e->inode_flags = vb_rng_chance(rng, 100) ? 1 + (uint32_t)vb_rng_below(rng, 1000) : 0;
    e->project = vb_rng_chance(rng, 100) ? 1 + (uint32_t)vb_rng_below(rng, 1000) : 0;
    if (vb_rng_chance(rng, 500)) {
        e->btime_sec = (int64_t)vb_rng_below(rng, 1u << 31) - 1000;
        e->btime_nsec = (uint32_t)vb_rng_below(rng, 1000000000);
    }
    if (e->type != VB_TREE_DIR && vb_rng_chance(rng, 200))
        e->link_group = vb_rng_next(rng);
    if (e->type == VB_TREE_FILE)
        random_content(m, rng, e);
    if (e->type == VB_TREE_DIR)
        e->subtree.b[3] = (uint8_t)vb_rng_next(rng);
    if (e->type == VB_TREE_SYMLINK) {
        e->target = keep(m, vb_printf("../over/there/%llu", (unsigned long long)vb_rng_next(rng)));
        e->size = strlen(e->target);
    }
    if (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK) {
        e->rdev_major = (uint32_t)vb_rng_below(rng, 300);
        e->rdev_minor = (uint32_t)vb_rng_below(rng, 300);
    }
    if (vb_rng_chance(rng, 200))
        random_xattrs(m, rng, e);
}

static struct made random_directory(uint64_t seed, size_t n)
{
    struct made m = { .n = n };
    struct vb_rng rng;
    vb_rng_seed(&rng, seed);
    m.entries = vb_alloc_n(n + 1, sizeof *m.entries);
    for (size_t i = 0; i < n; i++)
        random_entry(&m, &rng, i, &m.entries[i]);
    return m;
}

static const char *text(const char *s)
{
    return s ? s : "";
}

static void assert_same_entry(const struct vb_tree_entry *a, const struct vb_tree_entry *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->gid, b->gid);
    assert_string_equal(text(a->user), text(b->user));
    assert_string_equal(text(a->group), text(b->group));
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->mtime_sec, b->mtime_sec);
    assert_int_equal(a->mtime_nsec, b->mtime_nsec);
    assert_int_equal(a->ctime_sec, b->ctime_sec);
    assert_int_equal(a->ctime_nsec, b->ctime_nsec);
    assert_int_equal(a->inode, b->inode);
    assert_int_equal(a->device, b->device);
    assert_int_equal(a->rdev_major, b->rdev_major);
    assert_int_equal(a->rdev_minor, b->rdev_minor);
    assert_string_equal(text(a->target), text(b->target));
    assert_int_equal(a->link_group, b->link_group);
    assert_int_equal(a->inode_flags, b->inode_flags);
    assert_int_equal(a->project, b->project);
    assert_int_equal(a->btime_sec, b->btime_sec);
    assert_int_equal(a->btime_nsec, b->btime_nsec);
    assert_int_equal(a->n_xattrs, b->n_xattrs);
    for (size_t i = 0; i < a->n_xattrs; i++) {
        assert_string_equal(a->xattrs[i].name, b->xattrs[i].name);
        assert_int_equal(a->xattrs[i].len, b->xattrs[i].len);
        assert_memory_equal(a->xattrs[i].value, b->xattrs[i].value, a->xattrs[i].len);
    }
    assert_int_equal(a->n_holes, b->n_holes);
    if (a->n_holes)
        assert_memory_equal(a->holes, b->holes, a->n_holes * sizeof *a->holes);
    assert_int_equal(a->content.n, b->content.n);
    assert_int_equal(a->content.level, b->content.level);
    if (a->content.n)
        assert_memory_equal(a->content.refs, b->content.refs, a->content.n * sizeof *a->content.refs);
    if (a->type == VB_TREE_DIR)
        assert_true(vb_name_equal(&a->subtree, &b->subtree));
}

/* ---- a store of chunks ---- */

struct chunks {
    struct vb_namer *namer;
    struct vb_buf *bytes;
    struct vb_name *names;
    size_t n, cap_bytes, cap_names;
};

static int keep_chunk(void *arg, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *name,
                      struct vb_error *err)
{
    struct chunks *c = arg;
    (void)err;
    assert_int_equal(type, VB_CHUNK_TREE);
    vb_namer_name(c->namer, type, p, len, name);
    for (size_t i = 0; i < c->n; i++)
        if (vb_name_equal(&c->names[i], name))
            return 0;
    VB_GROW(c->bytes, c->n, c->cap_bytes);
    VB_GROW(c->names, c->n, c->cap_names);
    c->bytes[c->n] = (struct vb_buf)VB_BUF_INIT;
    vb_buf_add(&c->bytes[c->n], p, len);
    c->names[c->n++] = *name;
    return 0;
}

static struct chunks chunks_new(void)
{
    static const uint8_t key[VB_CHUNK_KEY_LEN] = { 9 };
    return (struct chunks){ .namer = vb_namer_new(key) };
}

static void chunks_free(struct chunks *c)
{
    for (size_t i = 0; i < c->n; i++)
        vb_buf_clear(&c->bytes[i]);
    vb_namer_free(c->namer);
    free(c->bytes);
    free(c->names);
}

static const struct vb_buf *find_chunk(const struct chunks *c, const struct vb_name *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (vb_name_equal(&c->names[i], name))
            return &c->bytes[i];
    fail_msg("chunk is not there");
    return NULL;
}

/* Compares the directory below name with sorted entries, from *at on; returns its height. */
static unsigned compare_below(const struct chunks *c, const struct vb_name *name, const struct made *m, size_t *at)
{
    const struct vb_buf *b = find_chunk(c, name);
    VB_AUTO_TREE t = { 0 };
    VB_AUTO_BUF again = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_tree_decode(b->data, b->len, &t, &err));
    assert_ok(vb_tree_encode(&t, &again, &err)); /* canonical */
    assert_int_equal(again.len, b->len);
    assert_memory_equal(again.data, b->data, b->len);
    for (size_t i = 0; i < t.n; i++) {
        if (t.height == 0) {
            assert_true(*at < m->n);
            assert_same_entry(&t.entries[i], &m->entries[(*at)++]);
        } else {
            size_t before = *at;
            assert_string_equal(t.children[i].first, m->entries[*at].name);
            assert_int_equal(compare_below(c, &t.children[i].name, m, at) + 1, t.height);
            assert_int_equal(*at - before, t.children[i].entries);
        }
    }
    return t.height;
}

static void random_directories_come_back(void **state)
{
    (void)state;
    const size_t counts[] = { 0, 1, 2, 10, 100, 1000, 30000 };
    for (size_t k = 0; k < VB_COUNT(counts) * 4; k++) {
        size_t n = counts[k % VB_COUNT(counts)], at = 0;
        if (n == 30000 && k > VB_COUNT(counts))
            continue;
        struct made m = random_directory(k, n);
        struct chunks c = chunks_new();
        struct vb_name name;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_ok(vb_tree_write(m.entries, m.n, keep_chunk, &c, &name, &err));
        unsigned height = compare_below(&c, &name, &m, &at);
        assert_int_equal(at, n);
        assert_true(height == (n < 1000 ? 0u : height) && (n < 10000 || height > 0));
        chunks_free(&c);
        free_made(&m);
    }
}

static void order_of_entries_does_not_matter(void **state)
{
    (void)state;
    struct made a = random_directory(3, 500), b = random_directory(3, 500);
    struct chunks c = chunks_new();
    struct vb_name na, nb;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    for (size_t i = 0; i < b.n / 2; i++) {
        struct vb_tree_entry swap = b.entries[i];
        b.entries[i] = b.entries[b.n - 1 - i];
        b.entries[b.n - 1 - i] = swap;
    }
    assert_ok(vb_tree_write(a.entries, a.n, keep_chunk, &c, &na, &err));
    size_t chunks = c.n;
    assert_ok(vb_tree_write(b.entries, b.n, keep_chunk, &c, &nb, &err));
    assert_true(vb_name_equal(&na, &nb));
    assert_int_equal(c.n, chunks);
    chunks_free(&c);
    free_made(&a);
    free_made(&b);
}

static void one_new_file_in_a_large_directory_renews_few_chunks(void **state)
{
    (void)state;
    struct made m = random_directory(4, 20000);
    struct chunks c = chunks_new();
    struct vb_name before, after;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_tree_write(m.entries, m.n, keep_chunk, &c, &before, &err));
    size_t chunks = c.n;
    assert_true(chunks > 20);
    m.entries[m.n] = (struct vb_tree_entry){ .name = "a new one", .type = VB_TREE_FIFO };
    m.n++;
    /* so large that cuts which only count bytes would all move */
    struct vb_xattr big = { .name = "user.big", .len = 60000 };
    VB_AUTO_FREE char *value = vb_alloc(big.len);
    big.value = value;
    m.entries[m.n - 1].xattrs = &big;
    m.entries[m.n - 1].n_xattrs = 1;
    assert_ok(vb_tree_write(m.entries, m.n, keep_chunk, &c, &after, &err));
    assert_false(vb_name_equal(&before, &after));
    assert_true(c.n - chunks <= 5);
    chunks_free(&c);
    free_made(&m);
}

/* ---- refusals of the encoder ---- */

static int emit_nothing(void *arg, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *name,
                        struct vb_error *err)
{
    (void)arg, (void)type, (void)p, (void)len, (void)err;
    memset(name, 0, sizeof *name);
    return 0;
}

static void assert_refused(struct vb_tree_entry *e, size_t n, const char *what)
{
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(vb_tree_write(e, n, emit_nothing, NULL, &name, &err), -1);
    assert_int_equal(err.code, VB_E_USAGE);
    assert_contains(err.text, what);
}

static void encoder_refuses_what_is_no_directory(void **state)
{
    (void)state;
    struct vb_tree_entry good = { .name = "f", .type = VB_TREE_FILE }, e[2];
    struct vb_ref ref = { .size = 10 };
    struct vb_hole holes[2] = { { 0, 5 }, { 5, 5 } };
    struct vb_xattr xattrs[2] = { { "user.b", "", 0 }, { "user.a", "", 0 } };
    struct vb_name name;
    assert_int_equal(vb_tree_write(&good, 1, emit_nothing, NULL, &name, NULL), 0);
#define WITH(change, what)          \
    do {                            \
        e[0] = good;                \
        change;                     \
        assert_refused(e, 1, what); \
    } while (0)
    WITH(e[0].name = "", "empty");
    WITH(e[0].name = "a/b", "not a name");
    WITH(e[0].name = "..", "not a name");
    WITH(e[0].name = ".", "root itself");
    WITH(e[0].type = 0, "type");
    WITH(e[0].type = 8, "type");
    WITH(e[0].mode = 010000, "mode");
    WITH(e[0].mtime_nsec = 1000000000, "time");
    WITH(e[0].size = 1, "add up");
    WITH((e[0].content.n = 1, e[0].content.refs = &ref), "add up");
    WITH((e[0].size = 10, e[0].n_holes = 2, e[0].holes = holes), "holes");
    WITH((e[0].size = 4, e[0].n_holes = 1, e[0].holes = holes), "holes");
    WITH((e[0].n_xattrs = 2, e[0].xattrs = xattrs), "order");
    WITH(e[0].target = "x", "target");
    WITH((e[0].type = VB_TREE_SYMLINK, e[0].target = ""), "target");
    WITH((e[0].type = VB_TREE_SYMLINK, e[0].target = "ab", e[0].size = 1), "target");
    WITH(e[0].rdev_major = 1, "device");
    WITH((e[0].type = VB_TREE_DIR, e[0].link_group = 1), "link group");
    WITH((e[0].type = VB_TREE_FIFO, e[0].size = 1), "size");
    e[0] = good;
    e[1] = good;
    assert_refused(e, 2, "twice");
    e[1].name = ".";
    e[1].type = VB_TREE_DIR;
    assert_refused(e, 2, "not a name");
}

/* ---- refusals of the decoder ---- */

static void decoder_refuses_every_truncation(void **state)
{
    (void)state;
    struct made m = random_directory(11, 30);
    struct chunks c = chunks_new();
    struct vb_name name;
    assert_int_equal(vb_tree_write(m.entries, m.n, keep_chunk, &c, &name, NULL), 0);
    const struct vb_buf *b = find_chunk(&c, &name);
    for (size_t len = 0; len < b->len; len++) {
        VB_AUTO_TREE t = { 0 };
        VB_AUTO_FREE unsigned char *copy = vb_memdup(b->data, len);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_int_equal(vb_tree_decode(copy, len, &t, &err), -1);
        assert_int_equal(err.code, VB_E_CORRUPT);
        assert_null(t.entries);
    }
    chunks_free(&c);
    free_made(&m);
}

/* Whatever is accepted has one encoding: a flipped byte gives a refusal or another directory, never the same one. */
static void decoder_accepts_canonical_bytes_only(void **state)
{
    (void)state;
    struct made m = random_directory(12, 40);
    struct chunks c = chunks_new();
    struct vb_name name;
    unsigned accepted = 0;
    assert_int_equal(vb_tree_write(m.entries, m.n, keep_chunk, &c, &name, NULL), 0);
    const struct vb_buf *b = find_chunk(&c, &name);
    VB_AUTO_FREE unsigned char *copy = vb_memdup(b->data, b->len);
    for (size_t i = 0; i < b->len; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            VB_AUTO_TREE t = { 0 };
            VB_AUTO_BUF again = VB_BUF_INIT;
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            copy[i] ^= (unsigned char)(1u << bit);
            if (vb_tree_decode(copy, b->len, &t, NULL) == 0) {
                accepted++;
                assert_ok(vb_tree_encode(&t, &again, &err));
                assert_int_equal(again.len, b->len);
                assert_memory_equal(again.data, copy, b->len);
            }
            copy[i] ^= (unsigned char)(1u << bit);
        }
    assert_true(accepted > 1000); /* numbers and names may be anything */
    chunks_free(&c);
    free_made(&m);
}

static void newer_directory_is_refused_with_both_versions(void **state)
{
    (void)state;
    const unsigned char bytes[8] = { VB_TREE_VERSION + 1, 0, 0, 0, 0, 0, 0, 0 };
    VB_AUTO_TREE t = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(vb_tree_decode(bytes, sizeof bytes, &t, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    assert_contains(err.text, "format 1, this program knows up to 0");
}

static void unchanged_needs_ctime_and_inode(void **state)
{
    (void)state;
    struct vb_tree_entry a = { .name = "f", .type = VB_TREE_FILE, .size = 5, .mtime_sec = 1, .ctime_sec = 2,
                               .inode = 3, .mode = 0644 };
    struct vb_tree_entry b = a;
    assert_true(vb_tree_entry_unchanged(&a, &b));
    b.ctime_nsec = 1;
    assert_false(vb_tree_entry_unchanged(&a, &b));
    b = a;
    b.inode = 4;
    assert_false(vb_tree_entry_unchanged(&a, &b));
    b = a;
    b.size = 6;
    assert_false(vb_tree_entry_unchanged(&a, &b));
    a.ctime_sec = 0;
    b = a;
    assert_false(vb_tree_entry_unchanged(&a, &b)); /* nothing to go by */
}

/* ---- references ---- */

struct seen {
    unsigned trees, lists, leaves;
};

static int count_ref(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    struct seen *s = arg;
    (void)name, (void)err;
    s->trees += type == VB_CHUNK_TREE;
    s->lists += type == VB_CHUNK_LIST;
    s->leaves += type == 0;
    return 0;
}

static void references_are_all_found(void **state)
{
    (void)state;
    struct vb_ref refs[3] = { { .size = 1 }, { .size = 2 }, { .size = 3 } };
    struct vb_tree_entry e[3] = {
        { .name = "a", .type = VB_TREE_FILE, .size = 6, .content = { 0, 3, refs } },
        { .name = "b", .type = VB_TREE_FILE, .size = 3, .content = { 1, 2, refs } },
        { .name = "c", .type = VB_TREE_DIR },
    };
    struct vb_tree t = { .n = 3, .entries = e };
    struct seen s = { 0 };
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_tree_encode(&t, &b, &err));
    assert_ok(vb_chunk_refs(VB_CHUNK_TREE, b.data, b.len, count_ref, &s, &err));
    assert_int_equal(s.trees, 1);
    assert_int_equal(s.lists, 2);
    assert_int_equal(s.leaves, 3);
    vb_buf_reset(&b);
    s = (struct seen){ 0 };
    assert_ok(vb_list_encode(1, refs, 3, &b, &err));
    assert_ok(vb_chunk_refs(VB_CHUNK_LIST, b.data, b.len, count_ref, &s, &err));
    assert_int_equal(s.lists, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_directories_come_back),
        cmocka_unit_test(order_of_entries_does_not_matter),
        cmocka_unit_test(one_new_file_in_a_large_directory_renews_few_chunks),
        cmocka_unit_test(encoder_refuses_what_is_no_directory),
        cmocka_unit_test(decoder_refuses_every_truncation),
        cmocka_unit_test(decoder_accepts_canonical_bytes_only),
        cmocka_unit_test(newer_directory_is_refused_with_both_versions),
        cmocka_unit_test(unchanged_needs_ctime_and_inode),
        cmocka_unit_test(references_are_all_found),
    };
    return CM_RUN("tree", tests);
}
