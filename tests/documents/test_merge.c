/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_merge.c - table 1.5 of the rule book: who may set what, and when.
 *
 * One row per field: how to set it, and the events in which a writer may.  Every row is tried in every event.
 */
#include "support.h"
#include "documents/components.h"
#include "documents/events.h"
#include "documents/validate.h"

#define B(e) (1u << (e))
#define WINDOW                                                                                                   \
    (B(VB_EV_PREPARE_BACKUP) | B(VB_EV_PREPARE_SNAPSHOT) | B(VB_EV_FREEZE) | B(VB_EV_THAW) | B(VB_EV_POST_SNAPSHOT))
#define PRE B(VB_EV_PRE_RESTORE)
#define POST B(VB_EV_POST_RESTORE)

static void put(char **at, const char *text)
{
    free(*at);
    *at = vb_strdup(text);
}

#define SETTER(field)                                       \
    static void set_##field(struct vb_component *c)         \
    {                                                       \
        put(&c->field, "new value");                        \
    }
SETTER(backup_options)
SETTER(previous_stamp)
SETTER(backup_stamp)
SETTER(backup_metadata)
SETTER(prepare_failure)
SETTER(post_snapshot_failure)
SETTER(failure_text)
SETTER(restore_options)
SETTER(restore_name)
SETTER(restore_metadata)
SETTER(pre_restore_failure)
SETTER(post_restore_failure)
SETTER(rollforward_point)

static void set_ranges_file(struct vb_component *c)
{
    put(&c->ranges_file, "/r");
}

static void set_name(struct vb_component *c)
{
    put(&c->name, "other");
}

static void set_type(struct vb_component *c)
{
    c->type = VB_COMPONENT_DATABASE;
}

static void set_instance(struct vb_component *c)
{
    put(&c->target_instance_id, INSTANCE);
}

static void set_failure_code(struct vb_component *c)
{
    c->failure_code = VB_E_WRITER_RETRYABLE;
}

static void set_succeeded(struct vb_component *c)
{
    c->backup_succeeded_set = c->backup_succeeded = true;
}

static void set_completeness(struct vb_component *c)
{
    c->completeness = VB_COMPLETE;
}

static void lower_consistency(struct vb_component *c)
{
    c->consistency = VB_CONSISTENCY_CRASH;
}

static void raise_consistency(struct vb_component *c)
{
    c->consistency = VB_CONSISTENCY_GROUP;
}

static void set_selected(struct vb_component *c)
{
    c->selected_for_restore = true;
}

static void set_subcomponent(struct vb_component *c)
{
    vb_strv_add(&c->restore_subcomponents, "a\\b");
}

static void set_additional(struct vb_component *c)
{
    c->additional_restores = true;
}

static void set_authoritative(struct vb_component *c)
{
    c->authoritative = true;
}

static void set_rollforward(struct vb_component *c)
{
    c->rollforward = VB_ROLLFORWARD_ALL;
}

static void set_target(struct vb_component *c)
{
    c->target = VB_TARGET_ALTERNATE;
}

static void set_status(struct vb_component *c)
{
    c->restore_status = VB_FILE_RESTORE_ALL;
}

static void add_partial(struct vb_component *c)
{
    VB_GROW(c->partials, c->n_partials, c->cap_partials);
    c->partials[c->n_partials++] = (struct vb_partial_file){vb_strdup("/d"), vb_strdup("f"), vb_strdup("0:1"), NULL};
}

static void add_differenced(struct vb_component *c)
{
    VB_GROW(c->differenced, c->n_differenced, c->cap_differenced);
    c->differenced[c->n_differenced++] = (struct vb_differenced_file){vb_strdup("/d"), vb_strdup("*"), false, 7};
}

static void add_private(struct vb_component *c)
{
    VB_GROW(c->private_files, c->n_private, c->cap_private);
    c->private_files[c->n_private++] = (struct vb_private_file){vb_strdup("label"), VB_BUF_INIT};
}

static void add_new_target(struct vb_component *c)
{
    VB_GROW(c->new_targets, c->n_new_targets, c->cap_new_targets);
    c->new_targets[c->n_new_targets++] = (struct vb_placed){vb_strdup("/d"), vb_strdup("*"), vb_strdup("/e"), false};
}

static void add_alm(struct vb_component *c)
{
    VB_GROW(c->used_alms, c->n_used_alms, c->cap_used_alms);
    c->used_alms[c->n_used_alms++] = (struct vb_placed){vb_strdup("/d"), vb_strdup("*"), vb_strdup("/e"), false};
}

static void add_directed(struct vb_component *c)
{
    VB_GROW(c->directed, c->n_directed, c->cap_directed);
    c->directed[c->n_directed++] = (struct vb_directed_target){vb_strdup("/d"), vb_strdup("a"), vb_strdup("0:1"),
                                                               vb_strdup("/e"), vb_strdup("b"), vb_strdup("7:1")};
}

static const struct row {
    const char *field;
    void (*set)(struct vb_component *);
    unsigned events;
} rows[] = {
    {"identity", set_name, 0},
    {"type", set_type, 0},
    {"backup options", set_backup_options, 0},
    {"previous backup stamp", set_previous_stamp, 0},
    {"backup stamp", set_backup_stamp, WINDOW},
    {"backup metadata", set_backup_metadata, WINDOW},
    {"partial files", add_partial, WINDOW},
    {"differenced files", add_differenced, WINDOW},
    {"private files", add_private, WINDOW},
    {"prepare failure message", set_prepare_failure, B(VB_EV_PREPARE_BACKUP)},
    {"post-snapshot failure message", set_post_snapshot_failure, B(VB_EV_POST_SNAPSHOT)},
    {"component failure code", set_failure_code, WINDOW | PRE | POST},
    {"component failure text", set_failure_text, WINDOW | PRE | POST},
    {"backup succeeded", set_succeeded, 0},
    {"consistency lowered", lower_consistency, WINDOW},
    {"consistency raised", raise_consistency, 0},
    {"completeness", set_completeness, 0},
    {"selected for restore", set_selected, 0},
    {"target instance id", set_instance, 0},
    {"restore subcomponents", set_subcomponent, 0},
    {"restore options", set_restore_options, 0},
    {"additional restores", set_additional, 0},
    {"new targets", add_new_target, 0},
    {"authoritative", set_authoritative, 0},
    {"roll-forward", set_rollforward, 0},
    {"roll-forward point", set_rollforward_point, 0},
    {"restore name", set_restore_name, 0},
    {"restore target", set_target, PRE},
    {"directed targets", add_directed, PRE},
    {"restore metadata", set_restore_metadata, PRE},
    {"pre-restore failure message", set_pre_restore_failure, PRE},
    {"post-restore failure message", set_post_restore_failure, POST},
    {"alternate location used", add_alm, 0},
    {"ranges file", set_ranges_file, 0},
    {"file restore status", set_status, 0},
};

static struct vb_components *sample(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = vb_components_new("fe");
    struct vb_writer_components *w = vb_components_writer(c, ID(1), INSTANCE, NULL, "writer");

    vb_components_add(w, VB_COMPONENT_FILEGROUP, "", "first", &err);
    vb_components_add(w, VB_COMPONENT_FILEGROUP, "p", "second", &err);
    w->components[1].consistency = VB_CONSISTENCY_APPLICATION;
    return c;
}

/* Edits a copy of the second component, sends it back in `event`; *text gets the document after the merge. */
static int merge(struct vb_components *c, void (*set)(struct vb_component *), int event, struct vb_error *err)
{
    struct vb_components *copy = vb_components_copy(c);
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;

    if (set)
        set(&copy->writers[0].components[1]);
    assert_ok(vb_writer_components_write(copy, &copy->writers[0], &b, &why), why);
    int rc = vb_writer_components_merge(&c->writers[0], b.data, b.len, event, err);
    vb_components_free(copy);
    return rc;
}

static char *text_of(const struct vb_components *c)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_ok(vb_components_write(c, &b, &err), err);
    return vb_buf_take_str(&b);
}

static void one_row(void **state)
{
    const struct row *r = *state;

    for (int event = 0; event < VB_EV_COUNT; event++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_components *c = sample();
        struct vb_components *want = sample();
        bool allowed = r->events & B(event);
        int rc = merge(c, r->set, event, &err);
        if ((rc == 0) != allowed)
            fail_msg("%s in %s: %s", r->field, vb_event_word((enum vb_event)event), rc == 0 ? "taken" : err.text);
        if (allowed)
            r->set(&want->writers[0].components[1]);
        else
            assert_int_equal(err.code, VB_E_BAD_STATE);
        if (!allowed && !strstr(err.text, vb_event_word((enum vb_event)event)))
            fail_msg("%s: event not named in '%s'", r->field, err.text);
        VB_AUTO_FREE char *a = text_of(c);
        VB_AUTO_FREE char *b = text_of(want);
        assert_string_equal(a, b); /* taken whole, or untouched */
        vb_components_free(c);
        vb_components_free(want);
    }
}

static void vss_c_44(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = sample();
    struct vb_component *k = &c->writers[0].components[1];

    k->backup_metadata = vb_strdup("first");
    k->restore_metadata = vb_strdup("first");
    assert_fails(merge(c, set_backup_metadata, VB_EV_POST_SNAPSHOT, &err), err, VB_E_OBJECT_ALREADY_EXISTS,
                 "only once");
    assert_fails(merge(c, set_restore_metadata, VB_EV_PRE_RESTORE, &err), err, VB_E_OBJECT_ALREADY_EXISTS, "only once");
    k->backup_stamp = vb_strdup("first");
    assert_ok(merge(c, set_backup_stamp, VB_EV_POST_SNAPSHOT, &err), err); /* I-14: the stamp may be set again */
    vb_components_free(c);
}

static void take_back_stamp(struct vb_component *c)
{
    vb_free_ptr(&c->backup_stamp);
}

static void take_back_partial(struct vb_component *c)
{
    struct vb_partial_file *p = &c->partials[--c->n_partials];

    free(p->path);
    free(p->filename);
    free(p->ranges);
}

static void change_partial(struct vb_component *c)
{
    put(&c->partials[0].ranges, "5:5");
}

static void nothing_back(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = sample();

    c->writers[0].components[1].backup_stamp = vb_strdup("x");
    add_partial(&c->writers[0].components[1]);
    assert_fails(merge(c, take_back_stamp, VB_EV_THAW, &err), err, VB_E_BAD_STATE, "take back 'backupStamp'");
    assert_fails(merge(c, take_back_partial, VB_EV_THAW, &err), err, VB_E_BAD_STATE, "take back 'PARTIAL_FILE'");
    assert_fails(merge(c, change_partial, VB_EV_THAW, &err), err, VB_E_BAD_STATE, "change 'PARTIAL_FILE'");
    vb_components_free(c);
}

static void huge_metadata(struct vb_component *c)
{
    char *big = vb_alloc(VB_MAX_PRIVATE_DATA + 2);

    memset(big, 'x', VB_MAX_PRIVATE_DATA + 1);
    free(c->backup_metadata);
    c->backup_metadata = big;
}

static void partial_and_differenced(struct vb_component *c)
{
    add_partial(c);
    add_differenced(c);
    put(&c->differenced[c->n_differenced - 1].filespec, "f");
}

static void limits(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = sample();

    assert_fails(merge(c, huge_metadata, VB_EV_POST_SNAPSHOT, &err), err, VB_E_LIMIT, "limit");
    assert_fails(merge(c, partial_and_differenced, VB_EV_POST_SNAPSHOT, &err), err, VB_E_INVALID_XML_DOCUMENT, "both");
    vb_components_free(c);
}

static void strangers(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT, more = VB_BUF_INIT;
    struct vb_components *c = sample(), *other = vb_components_new("fe"), *longer = sample();

    vb_components_writer(other, ID(2), INSTANCE, NULL, "other");
    assert_ok(vb_writer_components_write(other, &other->writers[0], &b, &err), err);
    assert_fails(vb_writer_components_merge(&c->writers[0], b.data, b.len, VB_EV_THAW, &err), err, VB_E_BAD_STATE,
                 "another writer");
    assert_fails(vb_writer_components_merge(&c->writers[0], "<x/>", 4, VB_EV_THAW, &err), err,
                 VB_E_INVALID_XML_DOCUMENT, "root");
    vb_components_add(&longer->writers[0], VB_COMPONENT_DATABASE, "", "third", &err);
    assert_ok(vb_writer_components_write(longer, &longer->writers[0], &more, &err), err);
    assert_fails(vb_writer_components_merge(&c->writers[0], more.data, more.len, VB_EV_THAW, &err), err, VB_E_BAD_STATE,
                 "add or remove");
    assert_fails(merge(c, NULL, 99, &err), err, VB_E_BAD_STATE, "99");
    /* the session's own fields are not the writer's answer */
    c->writers[0].state = VB_WS_WAITING_FOR_THAW;
    assert_ok(merge(c, NULL, VB_EV_BACKUP_COMPLETE, &err), err);
    assert_int_equal(c->writers[0].state, VB_WS_WAITING_FOR_THAW);
    vb_components_free(longer);
    vb_components_free(other);
    vb_components_free(c);
}

int main(void)
{
    struct CMUnitTest tests[VB_COUNT(rows) + 4];
    char names[VB_COUNT(rows)][64];
    size_t n = 0;

    for (; n < VB_COUNT(rows); n++) {
        snprintf(names[n], sizeof names[n], "VSS table 1.5: %s", rows[n].field);
        tests[n] = (struct CMUnitTest){names[n], one_row, NULL, NULL, (void *)(uintptr_t)&rows[n]};
    }
    tests[n++] = (struct CMUnitTest)TEST("VSS-C-44 metadata can be set once", vss_c_44);
    tests[n++] = (struct CMUnitTest)TEST("nothing is taken back", nothing_back);
    tests[n++] = (struct CMUnitTest)TEST("VSS-X-17 VSS-I-28 limits and contradictions", limits);
    tests[n++] = (struct CMUnitTest)TEST("parts of strangers and session fields", strangers);

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
