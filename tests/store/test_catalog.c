/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_catalog.c - the record of a backup as JSON.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "store/catalog.h"

#define ID "12345678-1234-4234-8234-123456789abc"

static struct vb_catalog_entry *sample(void)
{
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    memcpy(e->id, ID, sizeof ID);
    e->sequence = 17;
    e->has_previous = true;
    memset(e->previous.b, 0xab, VB_NAME_LEN);
    e->started_ms = 1795000000000;
    e->finished_ms = 1795000123456;
    e->requester = vb_strdup("admin");
    e->user = vb_strdup("root");
    e->program = vb_strdup("vbackup 0.1.0");
    e->job = vb_strdup("nightly \"shop\"\n");
    e->state = VB_CATALOG_PARTIAL;
    e->bytes = UINT64_C(1) << 40;
    e->files = 85000;
    e->added_chunks = 1;
    e->added_raw = 2;
    e->added_stored = 3;
    struct vb_catalog_host *h = vb_catalog_add_host(e, "backend");
    h->address = vb_strdup("10.0.0.2");
    h->state = VB_CATALOG_FAILED;
    h->code = VB_E_HOST_KEY;
    h->error = vb_strdup("'backend': host key changed");
    h = vb_catalog_add_host(e, "front");
    struct vb_catalog_component *c = vb_catalog_add_component(h);
    c->writer_class = vb_strdup("11111111-1111-4111-8111-111111111111");
    c->writer_instance = vb_strdup("22222222-2222-4222-8222-222222222222");
    c->instance_name = vb_strdup("shop");
    c->writer_name = vb_strdup("files");
    c->logical_path = vb_strdup("www\\static");
    c->name = vb_strdup("content");
    c->caption = vb_strdup("Inhalt \xc3\xa4");
    c->type = vb_strdup("filegroup");
    c->consistency = vb_strdup("application");
    c->backup_type = vb_strdup("full");
    c->is_explicit = true;
    c->bytes = 5;
    c->files = 6;
    struct vb_catalog_root *r = vb_catalog_add_root(c, "/srv/w\xffw", "*.html", true);
    r->has_tree = true;
    memset(r->tree.b, 0x5a, VB_NAME_LEN);
    r->files = 1;
    r->dirs = 2;
    r->bytes = 3;
    r->errors = 4;
    vb_catalog_add_root(c, "/srv/none", NULL, false);
    struct vb_content content = { 1, 2, vb_alloc_n(2, sizeof(struct vb_ref)) };
    content.refs[0].size = 10;
    content.refs[1].size = 20;
    content.refs[1].name.b[5] = 9;
    vb_catalog_add_document(e, "writer-metadata", "front", "shop", &content);
    vb_catalog_add_document(e, "plan", NULL, NULL, &(struct vb_content){ 0 });
    return e;
}

static void every_field_comes_back(void **state)
{
    (void)state;
    struct vb_catalog_entry *e = sample();
    VB_AUTO_BUF first = VB_BUF_INIT, second = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_catalog_encode(e, &first, &err));
    struct vb_catalog_entry *back = vb_catalog_decode(first.data, first.len, &err);
    if (!back)
        fail_msg("%s", vb_error_text(&err));
    assert_ok(vb_catalog_encode(back, &second, &err));
    assert_string_equal(vb_buf_str(&first), vb_buf_str(&second));
    assert_string_equal(back->job, "nightly \"shop\"\n");
    assert_int_equal(back->n_hosts, 2);
    assert_int_equal(back->hosts[0].code, VB_E_HOST_KEY);
    const struct vb_catalog_component *c = &back->hosts[1].components[0];
    assert_true(c->is_explicit);
    assert_string_equal(c->consistency, "application");
    assert_string_equal(c->roots[0].path, "/srv/w\xffw"); /* bytes that are not text */
    assert_true(c->roots[0].has_tree);
    assert_int_equal(c->roots[0].errors, 4);
    assert_null(c->roots[1].filespec);
    assert_false(c->roots[1].has_tree);
    const struct vb_catalog_document *d = vb_catalog_find_document(back, "writer-metadata", "front", NULL);
    assert_int_equal(d->size, 30);
    assert_int_equal(d->content.level, 1);
    assert_int_equal(d->content.refs[1].name.b[5], 9);
    assert_null(vb_catalog_find_document(back, "writer-metadata", "backend", NULL));
    assert_int_equal(vb_catalog_find_document(back, "plan", NULL, NULL)->size, 0);
    vb_catalog_entry_free(e);
    vb_catalog_entry_free(back);
}

static void refused(const char *json, enum vb_code code, const char *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_catalog_decode(json, strlen(json), &err));
    assert_int_equal(err.code, code);
    assert_contains(err.text, text);
}

static void damage_is_refused_with_its_place(void **state)
{
    (void)state;
    refused("", VB_E_CORRUPT, "line");
    refused("{\n,", VB_E_CORRUPT, "line 2");
    refused("[]", VB_E_CORRUPT, "not the record");
    refused("{\"vbackup\":\"repository\"}", VB_E_CORRUPT, "not the record");
    refused("{\"vbackup\":\"backup\"}", VB_E_CORRUPT, "format_version");
    refused("{\"vbackup\":\"backup\",\"format_version\":1}", VB_E_NEWER_FORMAT, "format 1, this program knows up to 0");
    refused("{\"vbackup\":\"backup\",\"format_version\":0,\"id\":\"x\"}", VB_E_CORRUPT, "'id' is not a GUID");
    refused("{\"vbackup\":\"backup\",\"format_version\":0,\"id\":\"" ID "\",\"id\":\"" ID "\"}", VB_E_CORRUPT,
            "line 1");
}

/* Takes each line out in turn, and each number and string: never a crash, never silence about a missing count. */
static void every_missing_line_is_survived(void **state)
{
    (void)state;
    struct vb_catalog_entry *e = sample();
    VB_AUTO_BUF all = VB_BUF_INIT;
    assert_int_equal(vb_catalog_encode(e, &all, NULL), 0);
    const char *text = vb_buf_str(&all);
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n") + 1;
        VB_AUTO_BUF without = VB_BUF_INIT;
        vb_buf_add(&without, text, (size_t)(line - text));
        vb_buf_add_str(&without, line + len);
        struct vb_catalog_entry *back = vb_catalog_decode(without.data, without.len, NULL);
        if (strstr(line, "\"bytes\"") == line + strspn(line, " "))
            assert_null(back);
        vb_catalog_entry_free(back);
        line += len;
    }
    vb_catalog_entry_free(e);
}

static void path_says_sequence_id_and_hash(void **state)
{
    (void)state;
    struct vb_name hash, back;
    uint64_t sequence = 0;
    char id[VB_GUID_LEN + 1];
    memset(hash.b, 0xcd, VB_NAME_LEN);
    VB_AUTO_FREE char *path = vb_catalog_path(42, ID, &hash);
    assert_contains(path, "catalog/0000000042-" ID "-cdcd");
    assert_true(vb_catalog_path_parse(path, &sequence, id, &back));
    assert_int_equal(sequence, 42);
    assert_string_equal(id, ID);
    assert_true(vb_name_equal(&hash, &back));
    path[strlen(path) - 1] = '\0';
    assert_false(vb_catalog_path_parse(path, &sequence, id, &back));
    assert_false(vb_catalog_path_parse("catalog/readme", &sequence, id, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_comes_back),
        cmocka_unit_test(damage_is_refused_with_its_place),
        cmocka_unit_test(every_missing_line_is_survived),
        cmocka_unit_test(path_says_sequence_id_and_hash),
    };
    return CM_RUN("catalog", tests);
}
