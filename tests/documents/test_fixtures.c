/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_fixtures.c - whole documents: those that must be read and those that must be refused.
 *
 * valid/KIND-*.xml are read, written, read again: byte-equal.  invalid/KIND-*.xml say in their first line what is
 * expected: <!-- expect: CODE part of the message -->.  Then the grammars themselves.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include "support.h"
#include "documents/components.h"
#include "documents/job.h"
#include "documents/validate.h"
#include "documents/writer_metadata.h"
#include "documents/xml.h"

/* Reads a document of the kind and writes it again. */
static int pass_through(const char *kind, const char *origin, const void *p, size_t n, struct vb_buf *out,
                        struct vb_error *err)
{
    int rc = -1;

    if (strncmp(kind, "wm", 2) == 0) {
        struct vb_writer_metadata *m = vb_wm_read(origin, p, n, err);
        rc = m ? vb_wm_write(m, out, err) : -1;
        vb_wm_free(m);
    } else if (strncmp(kind, "bc", 2) == 0) {
        struct vb_components *c = vb_components_read(origin, p, n, err);
        rc = c ? vb_components_write(c, out, err) : -1;
        vb_components_free(c);
    } else if (strncmp(kind, "job", 3) == 0) {
        struct vb_job *j = vb_job_read(origin, p, n, err);
        rc = j ? vb_job_write(j, out, err) : -1;
        vb_job_free(j);
    } else {
        fail_msg("fixture %s is of no known kind", kind);
    }
    return rc;
}

/* Calls fn for every *.xml of the folder; returns how many. */
static size_t each(const char *dir, void (*fn)(const char *name, struct vb_buf *text))
{
    size_t n = 0;
    struct dirent *e;
    DIR *d = opendir(dir);

    while (d && (e = readdir(d))) {
        size_t len = strlen(e->d_name);
        if (len < 4 || strcmp(e->d_name + len - 4, ".xml") != 0)
            continue;
        VB_AUTO_FREE char *path = vb_printf("%s/%s", dir, e->d_name);
        VB_AUTO_BUF text = VB_BUF_INIT;
        read_fixture(path, &text);
        fn(e->d_name, &text);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

static void one_valid(const char *name, struct vb_buf *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF once = VB_BUF_INIT, twice = VB_BUF_INIT;

    if (pass_through(name, name, text->data, text->len, &once, &err) < 0)
        fail_msg("%s: %s", name, vb_error_text(&err));
    if (pass_through(name, name, once.data, once.len, &twice, &err) < 0)
        fail_msg("%s, written again: %s\n%s", name, vb_error_text(&err), vb_buf_str(&once));
    assert_string_equal(vb_buf_str(&once), vb_buf_str(&twice));
}

static void valid(void **state VB_UNUSED)
{
    assert_true(each(FIXTURES "/valid", one_valid) >= 7);
}

static void one_invalid(const char *name, struct vb_buf *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    char code[40], part[120];

    if (sscanf(vb_buf_str(text), "<!-- expect: %39s %119[^\n]", code, part) != 2)
        fail_msg("%s does not say what is expected", name);
    part[strlen(part) - strlen("-->")] = '\0';
    while (*part && part[strlen(part) - 1] == ' ')
        part[strlen(part) - 1] = '\0';
    if (pass_through(name, name, text->data, text->len, &out, &err) == 0)
        fail_msg("%s was taken", name);
    if (strcmp(vb_code_name(err.code), code) != 0 || !strstr(err.text, part))
        fail_msg("%s: got %s '%s', wanted %s '%s'", name, vb_code_name(err.code), err.text, code, part);
    if (!strstr(err.text, name))
        fail_msg("%s: the message does not name it: %s", name, err.text);
}

static void invalid(void **state VB_UNUSED)
{
    assert_true(each(FIXTURES "/invalid", one_invalid) >= 70);
}

static void one_sample(const char *name, struct vb_buf *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    const char *s = vb_buf_str(text);
    const char *kind = strstr(s, "<WRITER_METADATA")     ? "wm"
                       : strstr(s, "<BACKUP_COMPONENTS") ? "bc"
                       : strstr(s, "<JOB")               ? "job"
                                                         : NULL;

    if (kind && pass_through(kind, name, text->data, text->len, &out, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
}

static void samples(void **state VB_UNUSED)
{
    print_message("# %zu documents in samples\n", each(VB_TEST_SRCDIR "/samples", one_sample));
}

static void captured(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF wm = VB_BUF_INIT, bc = VB_BUF_INIT;

    read_fixture(FIXTURES "/valid/wm-captured-namespace-and-order.xml", &wm);
    read_fixture(FIXTURES "/valid/bc-captured.xml", &bc);
    struct vb_writer_metadata *m = vb_wm_read("wm", wm.data, wm.len, &err);
    struct vb_components *c = vb_components_read("bc", bc.data, bc.len, &err);
    assert_true(m->foreign);
    assert_int_equal(m->usage, VB_USAGE_BOOTABLE_SYSTEM_STATE);
    assert_int_equal(m->method, VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE);
    assert_int_equal(m->writer_restore, VB_WRITER_RESTORE_NEVER);
    assert_true(m->reboot_required);
    assert_int_equal(m->n_components, 2);
    assert_int_equal(m->n_excludes, 1);
    assert_int_equal(m->n_snapshot_excludes, 1);
    assert_int_equal(m->components[1].flags, VB_CF_NOT_SYSTEM_STATE);
    assert_string_equal(m->components[0].filesets[0].path, "%SystemRoot%\\system32\\CatRoot");
    /* ids compare without case: the document of components finds its writer */
    assert_non_null(vb_components_find_writer(c, m->writer_id, NULL));
    assert_string_equal(c->writers[0].components[0].backup_metadata, "any text");
    vb_wm_free(m);
    vb_components_free(c);
}

static void text_of_grammar(const char *name, struct vb_buf *b)
{
    VB_AUTO_FREE char *path = vb_printf("%s/%s", getenv("VBACKUP_SCHEMA_DIR"), name);

    read_fixture(path, b);
}

/* Every word that a word function says must be a value of the grammar: else we would write what we refuse to read. */
static void words_known(struct vb_buf *grammar, const char *(*word)(int), int first, int last)
{
    for (int v = first; v <= last; v++) {
        VB_AUTO_FREE char *value = vb_printf("<value>%s</value>", word(v));
        if (!strstr(vb_buf_str(grammar), value))
            fail_msg("the grammar does not know '%s'", word(v));
    }
}

#define WORD(name, type)                        \
    static const char *name(int v)              \
    {                                           \
        return vb_##name##_word((type)v);       \
    }
WORD(usage, enum vb_usage)
WORD(source, enum vb_source)
WORD(restore_method, enum vb_restore_method)
WORD(writer_restore, enum vb_writer_restore)
WORD(restore_target, enum vb_restore_target)
WORD(file_restore_status, enum vb_file_restore_status)
WORD(backup_type, enum vb_backup_type)
WORD(restore_type, enum vb_restore_type)
WORD(rollforward, enum vb_rollforward)
WORD(level, enum vb_level)
WORD(writer_state, enum vb_writer_state)
WORD(consistency, enum vb_consistency)
WORD(completeness, enum vb_completeness)
WORD(component_type, enum vb_component_type)

static void grammars(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF common = VB_BUF_INIT, wm = VB_BUF_INIT, bc = VB_BUF_INIT;

    for (int g = 0; g < (int)VB_GRAMMAR_COUNT; g++)
        assert_ok(vb_grammar_load((enum vb_grammar)g, &err), err);
    text_of_grammar("common.rng", &common);
    text_of_grammar("writer-metadata.rng", &wm);
    text_of_grammar("components.rng", &bc);
    words_known(&wm, usage, 1, 4);
    words_known(&wm, source, 1, 3);
    words_known(&wm, restore_method, 1, 8);
    words_known(&wm, writer_restore, 1, 3);
    words_known(&wm, level, -1, 4);
    words_known(&common, backup_type, 0, 6);
    words_known(&common, consistency, 0, 5);
    words_known(&bc, completeness, 0, 3);
    words_known(&bc, restore_target, 0, 4);
    words_known(&bc, file_restore_status, 0, 3);
    words_known(&bc, restore_type, 0, 3);
    words_known(&bc, rollforward, 0, 3);
    words_known(&bc, writer_state, 0, 15);
    words_known(&bc, component_type, 1, 2);
}

static void missing_grammar(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *before = vb_strdup(getenv("VBACKUP_SCHEMA_DIR"));

    vb_grammar_unload();
    setenv("VBACKUP_SCHEMA_DIR", "/nonexistent", 1);
    assert_int_equal(vb_grammar_load(VB_GRAMMAR_JOB, &err), -1);
    assert_int_equal(err.code, VB_E_PREREQUISITE);
    assert_non_null(strstr(err.text, "/nonexistent/job.rng"));
    assert_non_null(strstr(err.hint, "VBACKUP_SCHEMA_DIR"));
    setenv("VBACKUP_SCHEMA_DIR", before, 1);
}

static void limits(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *big = vb_alloc(VB_XML_MAX_SIZE + 1);

    memset(big, ' ', VB_XML_MAX_SIZE + 1);
    assert_null(vb_wm_read("big", big, VB_XML_MAX_SIZE + 1, &err));
    assert_int_equal(err.code, VB_E_LIMIT);
    assert_null(vb_wm_read("none", "", 0, &err));
    assert_non_null(strstr(err.text, "empty"));
}

/* libxml2 tries every subset of an element's optional attributes: the grammars must not let that grow. */
static void every_attribute(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    clock_t start = clock();

    vb_buf_addf(
        &b,
        "<WRITER_METADATA version=\"1.3\" backupSchema=\"1\"><IDENTIFICATION encoded=\"friendlyName\" writerId=\"" ID(
            1) "\" instanceId=\"" INSTANCE
               "\" friendlyName=\"AQ==\" instanceName=\"i\" writerVersion=\"1\" majorVersion=\"1\" "
               "minorVersion=\"1\" usage=\"OTHER\" dataSource=\"OTHER\" level=\"auto\"/><BACKUP_LOCATIONS>");
    for (int i = 0; i < 1000; i++)
        vb_buf_addf(
            &b,
            "<FILE_GROUP encoded=\"caption\" logicalPath=\"a\" componentName=\"c%d\" caption=\"AQ==\" "
            "restoreMetadata=\"no\" "
            "notifyOnBackupComplete=\"no\" selectable=\"no\" selectableForRestore=\"no\" componentFlags=\"0\">"
            "<FILE_LIST encoded=\"filespec\" path=\"/a\" filespec=\"/w==\" recursive=\"no\" alternatePath=\"/b\" "
            "filespecBackupType=\"1\"/></FILE_GROUP>",
            i);
    vb_buf_add_str(&b, "</BACKUP_LOCATIONS></WRITER_METADATA>");
    struct vb_writer_metadata *m = vb_wm_read("all", b.data, b.len, &err);
    if (!m)
        fail_msg("%s", vb_error_text(&err));
    assert_int_equal(m->n_components, 1000);
    vb_wm_free(m);
    vb_buf_reset(&b);
    vb_buf_addf(&b, "<BACKUP_COMPONENTS version=\"1.3\" bootableSystemStateBackup=\"no\" selectComponents=\"yes\" "
                    "partialFileSupport=\"no\" "
                    "backupType=\"full\" snapshotSetId=\"" INSTANCE
                    "\"><SESSION encoded=\"host\" host=\"AQ==\" sessionId=\"s\" mode=\"backup\" "
                    "restoreType=\"other\" freezeTimeMs=\"1\" windowUs=\"1\"/><SNAPSHOT encoded=\"device\" "
                    "snapshotId=\"s\" mountPoint=\"/\" "
                    "device=\"AQ==\" fileSystem=\"f\" provider=\"p\" snapshotPath=\"/s\" remark=\"r\" "
                    "atomic=\"no\"/><WRITER_COMPONENTS "
                    "encoded=\"friendlyName\" writerId=\"" ID(1) "\" instanceId=\"" INSTANCE
                                                                 "\" instanceName=\"i\" friendlyName=\"AQ==\" "
                                                                 "backupSchema=\"1\" state=\"stable\">");
    for (int i = 0; i < 1000; i++)
        vb_buf_addf(
            &b,
            "<COMPONENT encoded=\"backupStamp\" logicalPath=\"a\" componentName=\"c%d\" componentType=\"database\" "
            "backupStamp=\"AQ==\"><RESTORE_SELECTION targetInstanceId=\"" INSTANCE
            "\" selected=\"yes\" additionalRestores=\"no\" "
            "authoritative=\"no\"/><RESULT consistency=\"none\" completeness=\"partial\" "
            "succeeded=\"no\"/></COMPONENT>",
            i);
    vb_buf_add_str(&b, "</WRITER_COMPONENTS></BACKUP_COMPONENTS>");
    struct vb_components *c = vb_components_read("all", b.data, b.len, &err);
    if (!c)
        fail_msg("%s", vb_error_text(&err));
    vb_components_free(c);
    print_message("# %.2f s\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    assert_true(clock() - start < 10 * CLOCKS_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("valid documents are read and make the round trip", valid),
        TEST("VSS-A-16 invalid documents are refused, with origin, line and reason", invalid),
        TEST("VSS-A-3 VSS-A-18 the captured shape is read", captured),
        TEST("documents of the samples validate", samples),
        TEST("the grammars load and know every word we write", grammars),
        TEST("a missing grammar is a missing prerequisite", missing_grammar),
        TEST("size limits", limits),
        TEST("elements with every attribute are validated quickly", every_attribute),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
