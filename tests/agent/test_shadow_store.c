/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_shadow_store.c - records of shadow copy sets: whole, by set, and nothing that is not one.
 */
#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/cm.h"

#include "agent/shadow_store.h"
#include "base/io.h"
#include "wire/protocol.h"

#define SET "11111111-2222-4333-8444-555555555555"
#define ONE "aaaaaaaa-2222-4333-8444-555555555555"
#define TWO "bbbbbbbb-2222-4333-8444-555555555555"

static struct vb_shadow_set *sample(void)
{
    struct vb_shadow_set *s = vb_alloc(sizeof *s);
    s->id = vb_strdup(SET);
    s->host = vb_strdup("here");
    s->note = vb_strdup("a note");
    s->attributes = VB_CTX_APP_ROLLBACK;
    s->count = 2;
    s->created_ms = 1700000000000;
    s->state = VB_SS_CREATED;
    vb_buf_add_str(&s->bcd, "<BACKUP_COMPONENTS/>");
    VB_GROW(s->wmd, s->n_wmd, s->cap_wmd);
    s->wmd[s->n_wmd] = (struct vb_buf)VB_BUF_INIT;
    vb_buf_add_str(&s->wmd[s->n_wmd++], "<WRITER_METADATA/>");
    for (int i = 0; i < 2; i++) {
        struct vb_shadow *x = vb_shadow_set_add(s);
        x->id = vb_strdup(i ? TWO : ONE);
        x->mount_point = vb_strdup("/srv/\xe9");
        x->provider = vb_strdup("null");
        x->path = vb_strdup("/srv/.x");
    }
    return s;
}

static void round_trip(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char dir[] = "/tmp/shadow-store.XXXXXX";
    assert_non_null(mkdtemp(dir));
    VB_AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct vb_shadow_set *s = sample();
    assert_int_equal(vb_shadow_save(fd, s, &err), 0);
    struct vb_shadow_set *r = vb_shadow_load(fd, "11111111-2222-4333-8444-555555555555", &err);
    assert_non_null(r);
    assert_int_equal(r->n, 2);
    assert_string_equal(r->v[1].mount_point, "/srv/\xe9");
    assert_int_equal(r->attributes, VB_CTX_APP_ROLLBACK);
    assert_int_equal(r->count, 2);
    assert_string_equal(vb_buf_str(&r->bcd), "<BACKUP_COMPONENTS/>");
    assert_string_equal(vb_buf_str(&r->wmd[0]), "<WRITER_METADATA/>");
    assert_null(r->job);
    assert_true(vb_shadow_set_drop(r, "AAAAAAAA-2222-4333-8444-555555555555"));
    assert_false(vb_shadow_set_drop(r, ONE));
    assert_int_equal(r->n, 1);
    assert_int_equal(r->count, 2); /* S-17: as at creation */
    assert_string_equal(r->v[0].id, TWO);
    vb_shadow_set_free(r);
    vb_shadow_set_free(s);
    assert_int_equal(vb_shadow_remove(fd, SET, &err), 0);
    assert_int_equal(vb_shadow_remove(fd, SET, &err), 0);
    assert_null(vb_shadow_load(fd, SET, &err));
    assert_int_equal(err.code, VB_E_OBJECT_NOT_FOUND);
    assert_int_equal(vb_remove_tree_at(AT_FDCWD, dir, &err), 0);
}

static void refused(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char dir[] = "/tmp/shadow-store.XXXXXX";
    assert_non_null(mkdtemp(dir));
    VB_AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_null(vb_shadow_load(fd, "../../etc/passwd", &err));
    assert_int_equal(err.code, VB_E_OBJECT_NOT_FOUND);
    assert_int_equal(vb_write_file_at(fd, SET, "rubbish", 7, 0600, &err), 0);
    assert_null(vb_shadow_load(fd, SET, &err));
    assert_int_equal(err.code, VB_E_CORRUPT);
    struct vb_shadow_set *s = sample();
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_SHADOW);
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_shadow_encode(s, &m);
    assert_int_equal(vb_msg_encode(&m, &b, &err), 0);
    assert_int_equal(vb_write_file_at(fd, TWO, b.data, b.len, 0600, &err), 0); /* under another set's name */
    assert_null(vb_shadow_load(fd, TWO, &err));
    assert_int_equal(err.code, VB_E_CORRUPT);
    vb_free_ptr(&s->v[0].id);
    s->v[0].id = vb_strdup("not-a-guid");
    VB_AUTO_MSG bad = VB_MSG_INIT(VB_M_SHADOW);
    vb_shadow_encode(s, &bad);
    assert_null(vb_shadow_decode(&bad, &err));
    assert_int_equal(err.code, VB_E_CORRUPT);
    struct vb_shadow_sets all = { NULL, 0, 0 };
    assert_int_equal(vb_shadow_load_all(fd, &all, &err), 0); /* what cannot be read does not hide the others */
    assert_int_equal(all.n, 0);
    vb_shadow_sets_clear(&all);
    vb_shadow_set_free(s);
    assert_int_equal(vb_remove_tree_at(AT_FDCWD, dir, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "VSS-S-16 VSS-S-17 a record keeps what it was given", round_trip, NULL, NULL, NULL },
        { "records that are none", refused, NULL, NULL, NULL },
    };
    return CM_RUN("shadow_store", tests);
}
