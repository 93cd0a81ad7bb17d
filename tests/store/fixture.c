/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/fixture.c - see fixture.h.
 */
#include <config.h>
#include "tests/store/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

static int fixed_password(void *arg, bool new, struct vb_buf *out, struct vb_error *err)
{
    (void)arg, (void)new, (void)err;
    vb_buf_add_str(out, "correct horse");
    return 0;
}
const struct vb_repo_auth fixture_auth = { .password = fixed_password };

int fixture_init(struct vb_backend *b, struct vb_error *err)
{
    struct vb_repo_params p = VB_REPO_PARAMS_DEFAULT;
    p.auth = &fixture_auth;
    p.key_cost = 2;
    return vb_repo_init_on(b, &p, FIXTURE_NOW, err);
}

struct vb_repo *fixture_open(struct vb_backend *b, enum vb_repo_mode mode, struct vb_error *err)
{
    return vb_repo_open_auth_on(b, mode, &fixture_auth, err);
}

static void file_bytes(uint64_t seed, unsigned dir, unsigned file, struct fixture_size size, struct vb_buf *out)
{
    struct vb_rng rng;
    vb_rng_seed(&rng, dir * 1000 + file + (file % 3 == 0 ? seed * 1000003 : 0));
    size_t n = file % 7 == 6 ? 0 : 1 + (size_t)vb_rng_below(&rng, size.max_file);
    vb_buf_reset(out);
    while (out->len < n) {
        if (vb_rng_chance(&rng, 500)) {
            vb_buf_addf(out, "row %u of file %u in %u;", (unsigned)out->len, file, dir);
        } else {
            vb_buf_add_u64(out, vb_rng_next(&rng));
        }
    }
    out->len = n;
}

static void document_bytes(uint64_t seed, struct vb_buf *out)
{
    vb_buf_reset(out);
    for (unsigned i = 0; i < 40; i++)
        vb_buf_addf(out, "<event number='%u' seed='%llu'/>\n", i, (unsigned long long)seed);
}

int fixture_put_file(struct vb_repo *r, const void *data, size_t n, struct vb_content *content, struct vb_error *err)
{
    const struct vb_cut_params params = { 256, 1024, 4096 };
    const unsigned char *p = data;
    struct vb_cutter *c = vb_cutter_new(&params, vb_repo_info(r)->cutter_seed, err);
    struct vb_content_builder *b = vb_content_builder_new(vb_repo_put_raw, r);
    int result = c ? 0 : -1;
    for (size_t at = 0, start = 0; at < n && result == 0;) {
        bool end;
        at += vb_cutter_feed(c, p + at, n - at, &end);
        if (end || at == n) {
            struct vb_name name;
            result = vb_repo_put_raw(r, VB_CHUNK_DATA, p + start, at - start, &name, err);
            if (result == 0)
                result = vb_content_builder_add(b, &name, at - start, err);
            start = at;
        }
    }
    if (result == 0)
        result = vb_content_builder_finish(b, content, err);
    vb_content_builder_free(b);
    vb_cutter_free(c);
    return result;
}

static void fill(struct vb_tree_entry *e, const char *name, enum vb_tree_type type)
{
    memset(e, 0, sizeof *e);
    e->name = name;
    e->type = type;
    e->mode = type == VB_TREE_DIR ? 0755 : 0644;
    e->user = "root";
    e->group = "root";
    e->mtime_sec = 1700000000;
    e->ctime_sec = 1700000001;
    e->inode = 42;
}

static int put_dir(struct vb_repo *r, uint64_t seed, unsigned dir, struct fixture_size size, struct vb_name *name,
                   struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    struct vb_tree_entry *entries = vb_alloc_n(size.files, sizeof *entries);
    int result = 0;
    for (unsigned i = 0; i < size.files && result == 0; i++) {
        file_bytes(seed, dir, i, size, &bytes);
        fill(&entries[i], vb_printf("file%u", i), VB_TREE_FILE);
        entries[i].size = bytes.len;
        result = fixture_put_file(r, bytes.data, bytes.len, &entries[i].content, err);
    }
    if (result == 0)
        result = vb_tree_write(entries, size.files, vb_repo_put_raw, r, name, err);
    for (unsigned i = 0; i < size.files; i++) {
        free((char *)(uintptr_t)entries[i].name);
        vb_content_clear(&entries[i].content);
    }
    free(entries);
    return result;
}

static int put_root(struct vb_repo *r, uint64_t seed, struct fixture_size size, struct vb_name *root,
                    struct vb_error *err)
{
    struct vb_tree_entry *dirs = vb_alloc_n(size.dirs + 1, sizeof *dirs);
    struct vb_tree_entry self;
    int result = 0;
    for (unsigned i = 0; i < size.dirs && result == 0; i++) {
        fill(&dirs[i], vb_printf("dir%u", i), VB_TREE_DIR);
        result = put_dir(r, seed, i, size, &dirs[i].subtree, err);
    }
    fill(&dirs[size.dirs], vb_strdup("link"), VB_TREE_SYMLINK);
    dirs[size.dirs].target = "dir0/file0";
    dirs[size.dirs].size = strlen(dirs[size.dirs].target);
    fill(&self, ".", VB_TREE_DIR);
    if (result == 0)
        result = vb_tree_write(dirs, size.dirs + 1, vb_repo_put_raw, r, &self.subtree, err);
    if (result == 0)
        result = vb_tree_write(&self, 1, vb_repo_put_raw, r, root, err);
    for (unsigned i = 0; i <= size.dirs; i++)
        free((char *)(uintptr_t)dirs[i].name);
    free(dirs);
    return result;
}

int fixture_backup(struct vb_repo *r, uint64_t seed, struct fixture_size size, char id[VB_GUID_LEN + 1],
                   struct vb_error *err)
{
    VB_AUTO_BUF doc = VB_BUF_INIT;
    struct vb_content content = { 0 };
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    e->job = vb_printf("seed %llu", (unsigned long long)seed);
    e->started_ms = FIXTURE_NOW;
    e->finished_ms = FIXTURE_NOW + 1000;
    struct vb_catalog_host *h = vb_catalog_add_host(e, "front");
    struct vb_catalog_component *c = vb_catalog_add_component(h);
    c->name = vb_strdup("content");
    c->consistency = vb_strdup("application");
    struct vb_catalog_root *root = vb_catalog_add_root(c, "/srv/www", "*", true);
    root->has_tree = true;
    document_bytes(seed, &doc);
    int result = put_root(r, seed, size, &root->tree, err);
    if (result == 0)
        result = vb_repo_put_bytes(r, VB_CHUNK_DOC, doc.data, doc.len, &content, err);
    if (result == 0) {
        vb_catalog_add_document(e, "events", "front", NULL, &content);
        result = vb_repo_commit(r, e, err);
    }
    if (result == 0 && id)
        memcpy(id, e->id, VB_GUID_LEN + 1);
    vb_catalog_entry_free(e);
    return result;
}

int fixture_run(struct vb_backend *b, uint64_t seed, struct fixture_size size, struct vb_error *err)
{
    struct vb_repo *r = fixture_open(b, VB_REPO_WRITE, err);
    int result = r ? vb_repo_lock(r, FIXTURE_NOW, err) : -1;
    if (result == 0)
        result = fixture_backup(r, seed, size, NULL, err);
    vb_repo_close(r);
    return result;
}

/* ---- comparison ---- */

struct compare {
    struct vb_repo *repo;
    uint64_t seed;
    struct fixture_size size;
    unsigned files, others;
};

static int compare_entry(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct compare *c = arg;
    VB_AUTO_BUF want = VB_BUF_INIT, have = VB_BUF_INIT;
    unsigned dir, file;
    char rest;
    if (e->type != VB_TREE_FILE) {
        c->others++;
        if (e->type == VB_TREE_SYMLINK && strcmp(e->target, "dir0/file0") != 0)
            return vb_fail(err, VB_E_UNEXPECTED, "'%s': wrong target", path);
        return 0;
    }
    if (sscanf(path, "dir%u/file%u%c", &dir, &file, &rest) != 2 || e->mode != 0644 || e->mtime_sec != 1700000000)
        return vb_fail(err, VB_E_UNEXPECTED, "'%s': is not what was backed up", path);
    file_bytes(c->seed, dir, file, c->size, &want);
    if (vb_repo_get_bytes(c->repo, VB_CHUNK_DATA, &e->content, 1 << 26, &have, err) != 0)
        return -1;
    c->files++;
    if (have.len != want.len || (want.len && memcmp(have.data, want.data, want.len) != 0))
        return vb_fail(err, VB_E_UNEXPECTED, "'%s': wrong bytes", path);
    return 0;
}

static int verify_entry(struct vb_repo *r, const struct vb_catalog_entry *e, struct fixture_size size,
                        struct vb_error *err)
{
    unsigned long long seed = 0;
    VB_AUTO_BUF want = VB_BUF_INIT, have = VB_BUF_INIT;
    if (!e->job || sscanf(e->job, "seed %llu", &seed) != 1 || e->n_hosts != 1 || e->hosts[0].n_components != 1 ||
        e->hosts[0].components[0].n_roots != 1)
        return vb_fail(err, VB_E_UNEXPECTED, "entry is not what was committed");
    struct compare c = { .repo = r, .seed = seed, .size = size };
    if (vb_tree_walk(r, &e->hosts[0].components[0].roots[0].tree, compare_entry, &c, err) != 0)
        return -1;
    if (c.files != size.dirs * size.files || c.others != size.dirs + 2)
        return vb_fail(err, VB_E_UNEXPECTED, "%u files and %u others", c.files, c.others);
    const struct vb_catalog_document *d = vb_catalog_find_document(e, "events", "front", NULL);
    document_bytes(seed, &want);
    if (!d)
        return vb_fail(err, VB_E_UNEXPECTED, "document is missing");
    if (vb_repo_get_bytes(r, VB_CHUNK_DOC, &d->content, 1 << 20, &have, err) != 0)
        return -1;
    if (have.len != want.len || memcmp(have.data, want.data, want.len) != 0)
        return vb_fail(err, VB_E_UNEXPECTED, "document is wrong");
    return 0;
}

int fixture_verify(struct vb_repo *r, const char *which, struct fixture_size size, struct vb_error *err)
{
    struct vb_catalog_entry *e = vb_repo_find(r, which, NULL, err);
    int result = e ? verify_entry(r, e, size, err) : -1;
    vb_catalog_entry_free(e);
    return result;
}

struct all {
    struct vb_repo *repo;
    struct fixture_size size;
    unsigned n;
    struct vb_error *err;
};

static int verify_one(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct all *a = arg;
    (void)path;
    if (damage) {
        if (a->err)
            vb_error_copy(a->err, damage);
        return -1;
    }
    a->n++;
    return verify_entry(a->repo, *entry, a->size, a->err);
}

int fixture_verify_all(struct vb_repo *r, struct fixture_size size, unsigned *n, struct vb_error *err)
{
    struct all a = { .repo = r, .size = size, .err = err };
    int result = vb_repo_list(r, verify_one, &a, err);
    *n = a.n;
    return result;
}
