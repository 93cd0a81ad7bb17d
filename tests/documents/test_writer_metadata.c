/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_writer_metadata.c - builders, checks and round trips of writer metadata documents.
 */
#include <time.h>
#include "support.h"
#include "base/rng.h"
#include "documents/validate.h"
#include "documents/writer_metadata.h"

static struct vb_writer_metadata *sample(void)
{
    struct vb_writer_metadata *m = vb_wm_new(ID(1), INSTANCE, "files writer");
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    m->usage = VB_USAGE_USER_DATA;
    assert_ok(vb_wm_set_restore_method(m, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, false, &err), err);
    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, NULL, "www", &err));
    m->components[0].selectable = true;
    struct vb_fileset f = {0, (char *)(uintptr_t)"/srv/www", (char *)(uintptr_t)"*", true, NULL, 0};
    assert_ok(vb_wm_add_fileset(m, "", "www", &f, &err), err);
    return m;
}

static int add_set(struct vb_writer_metadata *m, const char *name, int kind, const char *path, const char *spec,
                   bool recursive, uint32_t type, struct vb_error *err)
{
    struct vb_fileset f = {kind, (char *)(uintptr_t)path, (char *)(uintptr_t)spec, recursive, NULL, type};

    return vb_wm_add_fileset(m, "", name, &f, err);
}

/* write, read, write: byte-equal; hands the second structure out. */
static struct vb_writer_metadata *round_trip(const struct vb_writer_metadata *m, struct vb_buf *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF again = VB_BUF_INIT;

    assert_ok(vb_wm_write(m, text, &err), err);
    struct vb_writer_metadata *r = vb_wm_read("round", text->data, text->len, &err);
    if (!r)
        fail_msg("%s\n%s", vb_error_text(&err), vb_buf_str(text));
    assert_ok(vb_wm_write(r, &again, &err), err);
    assert_string_equal(vb_buf_str(text), vb_buf_str(&again));
    return r;
}

static void canonical(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;

    assert_ok(vb_wm_add_dependency(m, NULL, "www", ID(2), "\\\\be\\", "db", &err), err);
    assert_ok(vb_wm_add_exclude(m, false, "/srv/www/tmp", "*.tmp", true, &err), err);
    assert_ok(vb_wm_add_alm(m, "/srv/www", "*", true, "/srv/www.restored", &err), err);
    struct vb_writer_metadata *r = round_trip(m, &b);
    assert_string_equal(
        vb_buf_str(&b),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<WRITER_METADATA version=\"1.3\">\n"
        "  <IDENTIFICATION writerId=\"" ID(1) "\" instanceId=\"" INSTANCE "\" friendlyName=\"files writer\" "
        "usage=\"USER_DATA\" dataSource=\"OTHER\"/>\n"
        "  <RESTORE_METHOD method=\"RESTORE_IF_CAN_BE_REPLACED\" writerRestore=\"always\">\n"
        "    <ALTERNATE_LOCATION_MAPPING path=\"/srv/www\" filespec=\"*\" recursive=\"yes\" "
        "alternatePath=\"/srv/www.restored\"/>\n"
        "  </RESTORE_METHOD>\n"
        "  <BACKUP_LOCATIONS>\n"
        "    <EXCLUDE_FILES path=\"/srv/www/tmp\" filespec=\"*.tmp\" recursive=\"yes\"/>\n"
        "    <FILE_GROUP componentName=\"www\" selectable=\"yes\">\n"
        "      <FILE_LIST path=\"/srv/www\" filespec=\"*\" recursive=\"yes\"/>\n"
        "      <DEPENDENCY writerId=\"" ID(2) "\" logicalPath=\"\\\\be\\\" componentName=\"db\"/>\n"
        "    </FILE_GROUP>\n"
        "  </BACKUP_LOCATIONS>\n"
        "</WRITER_METADATA>\n");
    assert_string_equal(r->components[0].dependencies[0].target_logical_path, "\\\\be\\");
    assert_string_equal(r->components[0].logical_path, "");
    assert_int_equal(r->components[0].filesets[0].backup_type, VB_FSB_DEFAULT);
    vb_wm_free(r);
    vb_wm_free(m);
}

static void any_bytes(void **state VB_UNUSED)
{
    static const char *const names[] = {"caf\xe9.txt", "a\x01z", "tab\tline\nreturn\r", "<&>\"'", "\xef\xbf\xbf",
                                        "\xf0\x9f\x92\xbe", " lead and trail ", "&amp;&#10;", "]]>"};
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;

    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, "na\xffme\\path", "n\xfe", &err));
    for (size_t i = 0; i < VB_COUNT(names); i++) {
        VB_AUTO_FREE char *dir = vb_printf("/data/%s", names[i]);
        struct vb_fileset f = {0, dir, (char *)(uintptr_t)names[i], false, NULL, 0};
        assert_ok(vb_wm_add_fileset(m, "na\xffme\\path", "n\xfe", &f, &err), err);
    }
    struct vb_writer_metadata *r = round_trip(m, &b);
    assert_string_equal(r->components[1].logical_path, "na\xffme\\path");
    assert_string_equal(r->components[1].name, "n\xfe");
    for (size_t i = 0; i < VB_COUNT(names); i++)
        assert_string_equal(r->components[1].filesets[i].filespec, names[i]);
    assert_non_null(strstr(vb_buf_str(&b), "encoded=\"path filespec\""));
    vb_wm_free(r);
    vb_wm_free(m);
}

static void vss_c_3(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, NULL, "a\\b", &err));
    assert_non_null(strstr(err.text, "separator"));
    assert_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, NULL, "", &err));
    assert_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, "a\\\\b", "x", &err));
    assert_non_null(strstr(err.text, "empty element"));
    assert_null(vb_wm_add_component(m, VB_COMPONENT_UNDEFINED, "a", "x", &err));
    assert_int_equal(m->n_components, 1);
    vb_wm_free(m);
}

static void vss_c_6(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_null(vb_wm_add_component(m, VB_COMPONENT_DATABASE, "\\", "www", &err));
    assert_int_equal(err.code, VB_E_OBJECT_ALREADY_EXISTS);
    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, "other", "www", &err));
    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, NULL, "WWW", &err)); /* C-8: case counts */
    vb_wm_free(m);
}

static void vss_c_7(void **state VB_UNUSED)
{
    assert_true(vb_is_ancestor("db", "db"));
    assert_true(vb_is_ancestor("db", "db\\x"));
    assert_false(vb_is_ancestor("db", "db2\\x"));
    assert_false(vb_is_ancestor("db", ""));
    assert_false(vb_is_ancestor("DB", "db"));
    VB_AUTO_FREE char *a = vb_full_path("", "n");
    VB_AUTO_FREE char *b = vb_full_path("p\\q", "n");
    assert_string_equal(a, "n");
    assert_string_equal(b, "p\\q\\n");
}

static void vss_c_28_29(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_DATABASE, NULL, "db", &err));
    assert_fails(add_set(m, "db", 0, "/d", "*", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT,
                 "database and log files only");
    assert_fails(add_set(m, "www", 1, "/d", "*", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "group files only");
    assert_fails(add_set(m, "db", 1, "/d", "*", true, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "recurse");
    assert_fails(add_set(m, "nix", 1, "/d", "*", true, 0, &err), err, VB_E_OBJECT_NOT_FOUND, "'nix'");
    struct vb_fileset f = {2, (char *)(uintptr_t)"/d", (char *)(uintptr_t)"*", false, (char *)(uintptr_t)"/alt", 0};
    assert_fails(vb_wm_add_fileset(m, "", "db", &f, &err), err, VB_E_INVALID_XML_DOCUMENT, "alternate path");
    assert_ok(add_set(m, "db", 1, "/d", "*.db", false, 0, &err), err);
    assert_ok(add_set(m, "db", 2, "/d", "*.log", false, 0, &err), err);
    vb_wm_free(m);
}

static void vss_c_32(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *o = "overlaps";

    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, NULL, "b", &err));
    assert_fails(add_set(m, "b", 0, "/srv/www", "*", true, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, o);
    assert_fails(add_set(m, "b", 0, "/srv/www/", "x", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, o);
    assert_fails(add_set(m, "b", 0, "/srv/www/deep/er", "*.c", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, o);
    assert_fails(add_set(m, "b", 0, "/srv", "*", true, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, o);
    assert_fails(add_set(m, "b", 0, "/", "*", true, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, o);
    assert_ok(add_set(m, "b", 0, "/srv/www2", "*", true, 0, &err), err); /* whole elements */
    assert_ok(add_set(m, "b", 0, "/srv", "*", false, 0, &err), err);
    assert_ok(add_set(m, "b", 0, "/d", "a*", false, 0, &err), err);
    assert_ok(add_set(m, "b", 0, "/d", "*b", false, 0, &err), err); /* depends on the names: not decidable */
    assert_fails(add_set(m, "b", 0, "/d", "axe", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, o);
    assert_ok(add_set(m, "b", 0, "/flat", "*", false, 0, &err), err);
    assert_ok(add_set(m, "b", 0, "/flat", "*.c", true, 0, &err), err); /* only some of its files */
    assert_ok(add_set(m, "b", 0, "/log", "*", true, VB_FSB_FULL_BACKUP, &err), err);
    assert_ok(add_set(m, "b", 0, "/log", "*", true, VB_FSB_LOG_BACKUP, &err), err); /* no backup takes both */
    vb_wm_free(m);
}

static void vss_c_33(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_fails(add_set(m, "www", 0, "/d", "a/b", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "directory part");
    assert_fails(add_set(m, "www", 0, "/d", "", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "empty file pattern");
    assert_fails(add_set(m, "www", 0, "/d", "..", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "names a directory");
    assert_fails(add_set(m, "www", 0, "d", "*", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "not absolute");
    assert_fails(add_set(m, "www", 0, "/d/../etc", "*", false, 0, &err), err, VB_E_INVALID_XML_DOCUMENT, "'..'");
    assert_ok(add_set(m, "www", 0, "/d/..x", "*", false, 0, &err), err);
    assert_fails(vb_wm_add_exclude(m, true, "/d", "x/y", false, &err), err, VB_E_INVALID_XML_DOCUMENT,
                 "directory part");
    vb_wm_free(m);
}

static void vss_d_7_9(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_fails(vb_wm_add_dependency(m, NULL, "www", ID(1), "", "other", &err), err, VB_E_INVALID_XML_DOCUMENT,
                 "own writer");
    assert_fails(vb_wm_add_dependency(m, NULL, "nix", ID(2), "", "x", &err), err, VB_E_OBJECT_NOT_FOUND, "'nix'");
    assert_fails(vb_wm_add_dependency(m, NULL, "www", "zz", "", "x", &err), err, VB_E_INVALID_XML_DOCUMENT, "GUID");
    assert_fails(vb_wm_add_dependency(m, NULL, "www", ID(2), "\\\\-oProxy\\", "x", &err), err,
                 VB_E_INVALID_XML_DOCUMENT, "host");
    assert_ok(vb_wm_add_dependency(m, NULL, "www", ID(1), "\\\\be\\", "other", &err), err); /* another host's writer */
    assert_ok(vb_wm_add_dependency(m, NULL, "www", ID(2), "\\", "x", &err), err);
    vb_wm_free(m);
}

static void vss_r_48_49(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_fails(vb_wm_add_alm(m, "/srv/www", "*", false, "/alt", &err), err, VB_E_OBJECT_NOT_FOUND,
                 "repeats no file set");
    assert_fails(vb_wm_add_alm(m, "/srv/www", "*.x", true, "/alt", &err), err, VB_E_OBJECT_NOT_FOUND,
                 "repeats no file set");
    assert_fails(vb_wm_add_alm(m, "/srv/www", "*", true, "../alt", &err), err, VB_E_INVALID_XML_DOCUMENT, "'..'");
    assert_ok(vb_wm_add_alm(m, "/srv/www/", "*", true, "/alt", &err), err);
    m->has_restore_method = false;
    assert_fails(vb_wm_add_alm(m, "/srv/www", "*", true, "/alt", &err), err, VB_E_BAD_STATE, "restore method");
    vb_wm_free(m);
}

static void offer(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_ok(vb_wm_check_offer(m, &err), err);
    assert_fails(vb_wm_set_schema(m, VB_SCHEMA_EXCLUSIVE_INC_DIFF | VB_SCHEMA_INCREMENTAL, &err), err,
                 VB_E_INVALID_XML_DOCUMENT, "both");
    assert_fails(vb_wm_set_schema(m, VB_SCHEMA_TIMESTAMPED, &err), err, VB_E_INVALID_XML_DOCUMENT, "need");
    assert_ok(vb_wm_set_schema(m, VB_SCHEMA_LOG, &err), err);
    assert_fails(vb_wm_check_offer(m, &err), err, VB_E_WRITER_NON_RETRYABLE, "log file");
    m->schema = 0;
    assert_fails(vb_wm_set_restore_method(m, VB_RESTORE_CUSTOM, "-rf", VB_WRITER_RESTORE_ALWAYS, false, &err), err,
                 VB_E_INVALID_XML_DOCUMENT, "service");
    assert_ok(vb_wm_set_restore_method(m, VB_RESTORE_TO_ALTERNATE, NULL, VB_WRITER_RESTORE_ALWAYS, false, &err), err);
    assert_fails(vb_wm_check_offer(m, &err), err, VB_E_WRITER_NON_RETRYABLE, "alternate location");
    assert_ok(vb_wm_add_alm(m, "/srv/www", "*", true, "/alt", &err), err);
    assert_ok(vb_wm_check_offer(m, &err), err);
    assert_ok(vb_wm_set_restore_method(m, VB_RESTORE_STOP_RESTORE_START, NULL, VB_WRITER_RESTORE_ALWAYS, false, &err),
              err);
    assert_fails(vb_wm_check_offer(m, &err), err, VB_E_WRITER_NON_RETRYABLE, "service");
    m->has_restore_method = false;
    assert_fails(vb_wm_check_offer(m, &err), err, VB_E_WRITER_NON_RETRYABLE, "restore method");
    vb_wm_free(m);
}

static void vss_a_19(void **state VB_UNUSED)
{
    struct vb_writer_metadata *m = sample();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    clock_t start = clock();

    assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, NULL, "many", &err));
    for (int i = 0; i < 20000; i++) {
        VB_AUTO_FREE char *dir = vb_printf("/var/lib/application/shared/components/number-%05d", i % 100);
        VB_AUTO_FREE char *spec = vb_printf("file with a long name, as catalogues have them, number %d.dat", i);
        assert_ok(add_set(m, "many", 0, dir, spec, false, 0, &err), err);
    }
    for (int i = 0; i < 2000; i++) {
        VB_AUTO_FREE char *name = vb_printf("c%d", i);
        VB_AUTO_FREE char *dir = vb_printf("/tree/%d", i);
        assert_non_null(vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, "many", name, &err));
        struct vb_fileset f = {0, dir, (char *)(uintptr_t)"*", true, NULL, 0};
        assert_ok(vb_wm_add_fileset(m, "many", name, &f, &err), err);
    }
    struct vb_writer_metadata *r = round_trip(m, &b);
    assert_true(b.len > 2u << 20);
    assert_int_equal(r->components[1].n_filesets, 20000);
    vb_wm_free(r);
    vb_wm_free(m);
    print_message("# %zu bytes, %.2f s\n", b.len, (double)(clock() - start) / CLOCKS_PER_SEC);
    assert_true(getenv("VB_VALGRIND") || clock() - start < 20 * CLOCKS_PER_SEC);
}

static char *random_text(struct vb_rng *r, bool name)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    size_t n = 1 + vb_rng_below(r, 12);

    while (b.len < n) {
        char c = (char)(vb_rng_chance(r, 900) ? 'a' + (int)vb_rng_below(r, 26) : 1 + (int)vb_rng_below(r, 255));
        if (c && !(name && (c == '\\' || c == '/')))
            vb_buf_add_char(&b, c);
    }
    return vb_buf_take_str(&b);
}

static void random_documents(void **state VB_UNUSED)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct vb_rng r;
        vb_rng_seed(&r, seed);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        VB_AUTO_BUF b = VB_BUF_INIT;
        VB_AUTO_FREE char *title = random_text(&r, false);
        struct vb_writer_metadata *m = vb_wm_new(ID(1), INSTANCE, title);
        m->usage = (enum vb_usage)(1 + vb_rng_below(&r, 4));
        m->source = (enum vb_source)(1 + vb_rng_below(&r, 3));
        m->level = (enum vb_level)((int)vb_rng_below(&r, 6) - 1);
        m->schema = vb_rng_chance(&r, 500) ? VB_SCHEMA_INCREMENTAL | VB_SCHEMA_TIMESTAMPED : 0;
        m->instance_name = vb_rng_chance(&r, 300) ? random_text(&r, false) : NULL;
        m->version = vb_rng_chance(&r, 300) ? vb_strdup("15.4") : NULL;
        if (vb_rng_chance(&r, 800))
            assert_ok(vb_wm_set_restore_method(m, (enum vb_restore_method)(1 + vb_rng_below(&r, 8)), NULL,
                                               (enum vb_writer_restore)(1 + vb_rng_below(&r, 3)),
                                               vb_rng_chance(&r, 300), &err),
                      err);
        for (uint64_t i = vb_rng_below(&r, 8); i > 0; i--) {
            VB_AUTO_FREE char *path = vb_rng_chance(&r, 500) ? random_text(&r, true) : NULL;
            VB_AUTO_FREE char *name = random_text(&r, true);
            bool db = vb_rng_chance(&r, 400);
            struct vb_wm_component *c = vb_wm_add_component(
                m, db ? VB_COMPONENT_DATABASE : VB_COMPONENT_FILEGROUP, path, name, &err);
            if (!c)
                continue;
            c->selectable = vb_rng_chance(&r, 500);
            c->selectable_for_restore = vb_rng_chance(&r, 500);
            c->notify_on_backup_complete = vb_rng_chance(&r, 100);
            c->flags = (uint32_t)vb_rng_below(&r, 8);
            c->caption = vb_rng_chance(&r, 500) ? random_text(&r, false) : NULL;
            for (uint64_t k = vb_rng_below(&r, 4); k > 0; k--) {
                VB_AUTO_FREE char *t = random_text(&r, false);
                VB_AUTO_FREE char *dir = vb_printf("/%s", t);
                VB_AUTO_FREE char *spec = random_text(&r, true);
                struct vb_fileset f = {
                    db ? 1 + (int)vb_rng_below(&r, 2) : 0, dir,  spec,
                    !db && vb_rng_chance(&r, 500),         NULL, vb_rng_chance(&r, 200) ? VB_FSB_ALL_BACKUP : 0};
                if (vb_wm_add_fileset(m, path, name, &f, &err) < 0)
                    vb_error_clear(&err);
                else if (m->has_restore_method && vb_rng_chance(&r, 300))
                    assert_ok(vb_wm_add_alm(m, dir, spec, f.recursive, "/alt", &err), err);
            }
            if (vb_rng_chance(&r, 400))
                assert_ok(vb_wm_add_dependency(m, path, name, ID(2), vb_rng_chance(&r, 500) ? "\\\\h1\\a\\b" : "a", "t",
                                               &err),
                          err);
        }
        vb_wm_free(round_trip(m, &b));
        vb_wm_free(m);
    }
}

static void newer_version(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *x = "<WRITER_METADATA version=\"2.0\"><NEW/></WRITER_METADATA>";
    const char *y = "<WRITER_METADATA version=\"1.9\"><NEW/></WRITER_METADATA>";

    assert_null(vb_wm_read("w.xml", x, strlen(x), &err));
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    assert_non_null(strstr(err.text, "2.0"));
    assert_non_null(strstr(err.text, "1.x"));
    assert_null(vb_wm_read("w.xml", y, strlen(y), &err));
    assert_int_equal(err.code, VB_E_INVALID_XML_DOCUMENT);
    assert_non_null(strstr(err.hint, VB_DOC_VERSION));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("canonical text of a writer metadata document", canonical),
        TEST("names of any bytes survive", any_bytes),
        TEST("VSS-C-3 names hold no separator, paths no empty element", vss_c_3),
        TEST("VSS-C-6 second identity is refused; VSS-C-8 case counts", vss_c_6),
        TEST("VSS-C-7 ancestors by whole elements", vss_c_7),
        TEST("VSS-C-28 VSS-C-29 kinds of files and components", vss_c_28_29),
        TEST("VSS-C-32 file sets inside one another are refused", vss_c_32),
        TEST("VSS-C-33 patterns and paths", vss_c_33),
        TEST("VSS-D-7 VSS-D-9 dependencies are checked when declared", vss_d_7_9),
        TEST("VSS-R-48 VSS-R-49 alternate locations repeat a file set", vss_r_48_49),
        TEST("VSS-A-2 VSS-I-2 VSS-I-3 VSS-I-4 VSS-R-42 what a live writer owes", offer),
        TEST("VSS-A-19 20,000 file lists and more than 2 MB", vss_a_19),
        TEST("random documents make the round trip", random_documents),
        TEST("a newer major version is refused with both versions named", newer_version),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
