/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_components.c - the backup components document in memory and as XML.
 */
#include "support.h"
#include "base/rng.h"
#include "documents/components.h"
#include "documents/validate.h"

static struct vb_components *sample(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = vb_components_new("fe");

    c->session_id = vb_strdup(INSTANCE);
    c->snapshot_set_id = vb_strdup(ID(9));
    c->window_us = 1234;
    struct vb_writer_components *w = vb_components_writer(c, ID(1), INSTANCE, NULL, "files writer");
    w->state = VB_WS_STABLE;
    struct vb_component *k = vb_components_add(w, VB_COMPONENT_FILEGROUP, "sites", "www", &err);
    k->backup_stamp = vb_strdup("s1");
    k->backup_metadata = vb_strdup("opaque & <text>");
    k->backup_succeeded_set = true;
    k->consistency = VB_CONSISTENCY_APPLICATION;
    VB_GROW(k->private_files, k->n_private, k->cap_private);
    k->private_files[k->n_private++] = (struct vb_private_file){vb_strdup("backup_label"), VB_BUF_INIT};
    vb_buf_add(&k->private_files[0].data, "\0\1\2", 3);
    VB_GROW(c->snapshots, c->n_snapshots, c->cap_snapshots);
    c->snapshots[c->n_snapshots++] =
        (struct vb_snapshot_record){vb_strdup(ID(8)), vb_strdup("/"), NULL, vb_strdup("btrfs"), NULL, NULL, NULL, true, 30, 400};
    vb_components_add_phase(c, "commit", 30, 450, 400);
    c->skew_us = 7;
    return c;
}

static struct vb_components *round_trip(const struct vb_components *c, struct vb_buf *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF again = VB_BUF_INIT, copied = VB_BUF_INIT;

    assert_ok(vb_components_write(c, text, &err), err);
    struct vb_components *r = vb_components_read("round", text->data, text->len, &err);
    if (!r)
        fail_msg("%s\n%s", vb_error_text(&err), vb_buf_str(text));
    assert_ok(vb_components_write(r, &again, &err), err);
    assert_string_equal(vb_buf_str(text), vb_buf_str(&again));
    struct vb_components *copy = vb_components_copy(r);
    assert_ok(vb_components_write(copy, &copied, &err), err);
    assert_string_equal(vb_buf_str(text), vb_buf_str(&copied));
    vb_components_free(copy);
    return r;
}

static void canonical(void **state VB_UNUSED)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_components *c = sample();
    struct vb_components *r = round_trip(c, &b);

    assert_string_equal(
        vb_buf_str(&b),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<BACKUP_COMPONENTS version=\"1.3\" bootableSystemStateBackup=\"no\" selectComponents=\"yes\" "
        "partialFileSupport=\"no\" backupType=\"full\" snapshotSetId=\"" ID(9) "\">\n"
        "  <SESSION host=\"fe\" sessionId=\"" INSTANCE "\" windowUs=\"1234\" skewUs=\"7\">\n"
        "    <PHASE name=\"commit\" beginUs=\"30\" us=\"450\" innerUs=\"400\"/>\n"
        "  </SESSION>\n"
        "  <SNAPSHOT snapshotId=\"" ID(8) "\" mountPoint=\"/\" fileSystem=\"btrfs\" atomic=\"yes\" commitBeginUs=\"30\" "
        "commitUs=\"400\"/>\n"
        "  <WRITER_COMPONENTS writerId=\"" ID(1) "\" instanceId=\"" INSTANCE "\" friendlyName=\"files writer\" "
        "state=\"stable\">\n"
        "    <COMPONENT logicalPath=\"sites\" componentName=\"www\" componentType=\"filegroup\" backupStamp=\"s1\">\n"
        "      <BACKUP_METADATA metadata=\"opaque &amp; &lt;text&gt;\"/>\n"
        "      <RESULT consistency=\"application\" succeeded=\"no\"/>\n"
        "      <PRIVATE_FILE name=\"backup_label\">AAEC</PRIVATE_FILE>\n"
        "    </COMPONENT>\n"
        "  </WRITER_COMPONENTS>\n"
        "</BACKUP_COMPONENTS>\n");
    assert_int_equal(r->writers[0].components[0].private_files[0].data.len, 3);
    assert_true(r->writers[0].components[0].backup_succeeded_set);
    vb_components_free(r);
    vb_components_free(c);
}

static void identities(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = sample();
    struct vb_writer_components *w = &c->writers[0];

    assert_null(vb_components_add(w, VB_COMPONENT_FILEGROUP, "sites", "www", &err));
    assert_int_equal(err.code, VB_E_OBJECT_ALREADY_EXISTS);
    assert_null(vb_components_add(w, VB_COMPONENT_FILEGROUP, "sites", "a\\b", &err));
    assert_non_null(vb_components_find(w, "sites", "www"));
    assert_null(vb_components_find(w, "", "www"));
    assert_non_null(vb_components_find_writer(c, "00000001-AAAA-4BBB-8CCC-DDDDDDDDDDDD", NULL)); /* */
    assert_null(vb_components_find_writer(c, ID(1), "second"));
    /* another instance of the class is told apart by its name, never by the instance id */
    assert_ptr_not_equal(vb_components_writer(c, ID(1), INSTANCE, "second", "x"), NULL);
    assert_int_equal(c->n_writers, 2);
    vb_components_free(c);
}

static char *some_text(struct vb_rng *r)
{
    VB_AUTO_BUF b = VB_BUF_INIT;

    for (size_t n = vb_rng_below(r, 20); n > 0; n--)
        vb_buf_add_char(&b, (char)(1 + vb_rng_below(r, vb_rng_chance(r, 500) ? 255 : 120)));
    return vb_rng_chance(r, 400) ? NULL : vb_buf_take_str(&b);
}

static void random_component(struct vb_rng *r, struct vb_component *k)
{
    char **texts[] = {&k->backup_options,  &k->previous_stamp,      &k->backup_stamp,
                      &k->backup_metadata, &k->prepare_failure,     &k->post_snapshot_failure,
                      &k->failure_text,    &k->restore_options,     &k->restore_metadata,
                      &k->restore_name,    &k->pre_restore_failure, &k->post_restore_failure,
                      &k->ranges_file};

    for (size_t i = 0; i < VB_COUNT(texts); i++)
        *texts[i] = some_text(r);
    k->target_instance_id = vb_rng_chance(r, 500) ? vb_strdup(INSTANCE) : NULL;
    k->consistency = (enum vb_consistency)vb_rng_below(r, 6);
    k->completeness = (enum vb_completeness)vb_rng_below(r, 4);
    k->target = (enum vb_restore_target)vb_rng_below(r, 5);
    k->restore_status = (enum vb_file_restore_status)vb_rng_below(r, 4);
    k->rollforward = (enum vb_rollforward)vb_rng_below(r, 3);
    k->failure_code = vb_rng_chance(r, 500) ? VB_E_WRITER_TIMEOUT : VB_OK;
    k->backup_succeeded_set = vb_rng_chance(r, 500);
    k->backup_succeeded = k->backup_succeeded_set && vb_rng_chance(r, 500);
    k->selected_for_restore = vb_rng_chance(r, 500);
    k->additional_restores = vb_rng_chance(r, 500);
    k->authoritative = vb_rng_chance(r, 500);
    for (uint64_t n = vb_rng_below(r, 3); n > 0; n--) {
        VB_GROW(k->partials, k->n_partials, k->cap_partials);
        k->partials[k->n_partials++] =
            (struct vb_partial_file){vb_strdup("/d\xff"), vb_strdup("f"), vb_strdup("0:10,0x20:5"), some_text(r)};
        VB_GROW(k->differenced, k->n_differenced, k->cap_differenced);
        k->differenced[k->n_differenced++] = (struct vb_differenced_file){vb_strdup("/d"), vb_strdup("*"),
                                                                          vb_rng_chance(r, 500), -5};
        VB_GROW(k->new_targets, k->n_new_targets, k->cap_new_targets);
        k->new_targets[k->n_new_targets++] = (struct vb_placed){vb_strdup("/d"), vb_strdup("*"), vb_strdup("/e"), true};
        VB_GROW(k->used_alms, k->n_used_alms, k->cap_used_alms);
        k->used_alms[k->n_used_alms++] = (struct vb_placed){vb_strdup("/d"), vb_strdup("*"), vb_strdup("/f"), false};
        VB_GROW(k->directed, k->n_directed, k->cap_directed);
        k->directed[k->n_directed++] = (struct vb_directed_target){vb_strdup("/d"), vb_strdup("a"), vb_strdup("0:1"),
                                                                   vb_strdup("/e"), vb_strdup("b"), vb_strdup("7:1")};
    }
    vb_strv_add(&k->restore_subcomponents, "a\\b");
}

static void random_documents(void **state VB_UNUSED)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        VB_AUTO_BUF b = VB_BUF_INIT;
        struct vb_rng r;
        vb_rng_seed(&r, seed);
        struct vb_components *c = vb_components_new("host");
        c->restore = vb_rng_chance(&r, 500);
        c->partial_files = vb_rng_chance(&r, 500);
        c->select_components = vb_rng_chance(&r, 500);
        c->backup_type = (enum vb_backup_type)vb_rng_below(&r, 7);
        c->restore_type = (enum vb_restore_type)vb_rng_below(&r, 4);
        c->freeze_wall_ms = vb_rng_next(&r);
        for (uint64_t n = vb_rng_below(&r, 4); n > 0; n--) {
            VB_AUTO_FREE char *name = vb_printf("instance %d", (int)n);
            struct vb_writer_components *w = vb_components_writer(c, ID(1), INSTANCE, name, "w");
            w->state = (enum vb_writer_state)vb_rng_below(&r, 16);
            w->failure_text = some_text(&r);
            for (uint64_t m = vb_rng_below(&r, 4); m > 0; m--) {
                VB_AUTO_FREE char *comp = vb_printf("c%d", (int)m);
                random_component(&r, vb_components_add(w, VB_COMPONENT_DATABASE, "p", comp, &err));
            }
        }
        vb_components_free(round_trip(c, &b));
        vb_components_free(c);
    }
}

static void one_part(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_components *c = sample();

    assert_ok(vb_writer_components_write(c, &c->writers[0], &b, &err), err);
    struct vb_components *r = vb_writer_components_read(b.data, b.len, &err);
    if (!r)
        fail_msg("%s", vb_error_text(&err));
    assert_int_equal(r->n_writers, 1);
    assert_int_equal(r->n_snapshots, 1);
    assert_string_equal(r->host, "fe");
    assert_string_equal(r->snapshot_set_id, ID(9));
    assert_string_equal(r->writers[0].components[0].backup_metadata, "opaque & <text>");
    assert_null(vb_components_read("part", b.data, b.len, &err)); /* the part is no whole document */
    vb_components_free(r);
    vb_components_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("canonical text of a backup components document", canonical),
        TEST("VSS-A-5 VSS-A-18 VSS-C-6 identities of writers and components", identities),
        TEST("random documents make the round trip and can be copied", random_documents),
        TEST("one writer's part travels alone", one_part),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
