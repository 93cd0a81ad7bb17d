/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_config.c - the strict file: what is accepted, and that each refusal names its line. */
#include <config.h>
#include <sys/stat.h>
#include "base/config.h"
#include "tests/base/scratch.h"
#include "tests/cm.h"

static struct vb_config *parse(const char *text, struct vb_error *err)
{
    return vb_config_parse("t.conf", text, strlen(text), err);
}

static void sections_and_values(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_config *c = parse("# comment\n\n[host backend]\n  address =  10.0.0.2 \r\nport=22\n"
                                "[ writer   files\twww ]\npath = /srv/a=b # not a comment\nexclude = *.tmp\n"
                                "exclude = *.bak\nempty =\n[agent]", &err);
    assert_non_null(c);
    assert_int_equal(c->n, 3);
    const struct vb_config_section *h = vb_config_find(c, "host", "backend");
    assert_string_equal(vb_section_get(h, "address"), "10.0.0.2");
    assert_string_equal(vb_section_get(h, "port"), "22");
    assert_null(vb_section_get(h, "none"));
    const struct vb_config_section *w = vb_config_find(c, "writer", NULL);
    assert_string_equal(w->name, "files www");
    assert_int_equal(w->line, 6);
    assert_string_equal(vb_section_get(w, "path"), "/srv/a=b # not a comment");
    assert_string_equal(vb_section_get(w, "exclude"), "*.bak");
    assert_string_equal(vb_section_get(w, "empty"), "");
    size_t n;
    VB_AUTO_FREE const char **list = vb_section_list(w, "exclude", &n);
    assert_int_equal(n, 2);
    assert_string_equal(list[0], "*.tmp");
    assert_string_equal(vb_config_find(c, "agent", NULL)->name, "");
    assert_null(vb_config_find(c, "host", "other"));
    VB_AUTO_FREE char *where = vb_section_where(w, "exclude");
    VB_AUTO_FREE char *at = vb_section_where(w, NULL);
    assert_string_equal(where, "t.conf:9");
    assert_string_equal(at, "t.conf:6");
    assert_null(vb_section_get(NULL, "x"));
    vb_config_free(c);
    vb_config_free(NULL);
}

static void every_refusal_names_line_and_expectation(void **state)
{
    static const struct {
        const char *text, *at, *part;
    } rows[] = {
        { "key = 1\n", "t.conf:1: ", "'key' stands before any section" },
        { "[a]\nnonsense\n", "t.conf:2: ", "cannot read 'nonsense'" },
        { "\n\n[a\n", "t.conf:3: ", "malformed section header '[a'" },
        { "[]\n", "t.conf:1: ", "malformed section header" },
        { "[a]]\n", "t.conf:1: ", "malformed section header" },
        { "[[a]\n", "t.conf:1: ", "malformed section header" },
        { "[a] # no\n", "t.conf:1: ", "malformed section header" },
        { "[a/b]\n", "t.conf:1: ", "malformed section header" },
        { "[a]\n= v\n", "t.conf:2: ", "malformed key" },
        { "[a]\nk k = v\n", "t.conf:2: ", "malformed key" },
        { "[a]\nk = v\001\n", "t.conf:2: ", "control character 0x01 in column 6" },
        { "[h x]\n[h y]\n[h  x]\n", "t.conf:3: ", "stands already at t.conf:1" },
        { "include = d\n", "t.conf:1: ", "'include' is not possible here" },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_null(parse(rows[i].text, &err));
        assert_int_equal(err.code, VB_E_CONFIG);
        assert_int_equal(strncmp(err.text, rows[i].at, strlen(rows[i].at)), 0);
        assert_contains(err.text, rows[i].part);
        assert_contains(err.text, "expected ");
    }
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_config_parse("t.conf", "[a]\nk\0=v", 8, &err));
    assert_contains(err.text, "t.conf:2: control character 0x00");
}

static void typed_values(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_config *c = parse("[a]\nb = yes\nn = 0x10\nd = 5m\nbad = often\n", &err);
    const struct vb_config_section *s = vb_config_find(c, "a", "");
    bool b;
    uint64_t n;
    assert_ok(vb_section_bool(s, "b", false, &b, &err));
    assert_true(b);
    assert_ok(vb_section_bool(s, "none", true, &b, &err));
    assert_true(b);
    assert_ok(vb_section_u64(s, "n", 1, &n, &err));
    assert_int_equal(n, 16);
    assert_ok(vb_section_duration_ms(s, "d", 1, &n, &err));
    assert_int_equal(n, 300000);
    assert_ok(vb_section_duration_ms(s, "none", 17, &n, &err));
    assert_int_equal(n, 17);
    assert_int_equal(vb_section_bool(s, "bad", false, &b, &err), -1);
    assert_string_equal(err.text, "t.conf:5: 'bad' is 'often', expected yes or no");
    assert_int_equal(vb_section_u64(s, "bad", 1, &n, &err), -1);
    assert_string_equal(err.text, "t.conf:5: 'bad' is 'often', expected a whole number");
    assert_int_equal(vb_section_duration_ms(s, "bad", 1, &n, &err), -1);
    assert_contains(err.text, "t.conf:5: 'bad' is 'often', expected a duration");
    assert_non_null(err.hint);
    vb_config_free(c);
}

static void unknown_keys_are_refused(void **state)
{
    static const char *const allowed[] = { "path", "exclude", NULL };
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_config *c = parse("[writer files www]\npath = /a\nexlude = x\n", &err);
    assert_int_equal(vb_config_check_keys(vb_config_find(c, "writer", NULL), allowed, &err), -1);
    assert_string_equal(err.text, "t.conf:3: unknown key 'exlude' in section '[writer files www]', "
                                  "expected one of: path, exclude");
    vb_config_free(c);
    c = parse("[writer x]\npath = /a\n", &err);
    assert_ok(vb_config_check_keys(vb_config_find(c, "writer", NULL), allowed, &err));
    vb_config_free(c);
}

static char *put(const char *name, const char *text, mode_t mode)
{
    assert_int_equal(vb_write_file_at(scratch_fd, name, text, strlen(text), 0600, NULL), 0);
    assert_int_equal(fchmodat(scratch_fd, name, mode, 0), 0);
    return vb_path_join(scratch_path, name);
}

static void files_and_includes(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(mkdirat(scratch_fd, "conf.d", 0755), 0);
    VB_AUTO_FREE char *main_file = put("main.conf", "include = conf.d\n[a]\nx = 1\n", 0644);
    free(put("conf.d/20.conf", "[c]\nx = 3\n", 0600));
    VB_AUTO_FREE char *one = put("conf.d/10.conf", "[b]\nx = 2\n", 0600);
    free(put("conf.d/README", "not read", 0666));
    free(put("conf.d/.x.conf", "not read", 0600));
    struct vb_config *c = vb_config_load(main_file, &err);
    if (!c) {
        fail_msg("%s", vb_error_text(&err));
    }
    assert_int_equal(c->n, 3);
    assert_string_equal(c->sections[0].kind, "a");
    assert_string_equal(c->sections[1].kind, "b");
    assert_string_equal(c->sections[1].file, one);
    assert_string_equal(c->sections[2].kind, "c");
    vb_config_free(c);
    /* an included file may not include */
    free(put("conf.d/30.conf", "include = .\n", 0600));
    assert_null(vb_config_load(main_file, &err));
    assert_contains(err.text, "30.conf:1: 'include' is not possible in an included file");
    assert_int_equal(unlinkat(scratch_fd, "conf.d/30.conf", 0), 0);
    /* the same section in two files */
    free(put("conf.d/40.conf", "\n[a]\n", 0600));
    assert_null(vb_config_load(main_file, &err));
    assert_contains(err.text, "40.conf:2: section '[a]' stands already at ");
    assert_contains(err.text, "main.conf:2");
    VB_AUTO_FREE char *none = put("none.conf", "include = no.d\n", 0644);
    assert_null(vb_config_load(none, &err));
    assert_contains(err.text, "no.d' of 'include'");
}

static void vss_x_8_files_others_can_write_are_refused(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *f = put("f.conf", "[a]\n", 0620);
    assert_null(vb_config_load(f, &err));
    assert_int_equal(err.code, VB_E_CONFIG);
    assert_contains(err.text, "f.conf:1: the file is writable by others (mode 0620), expected");
    assert_contains(err.hint, "chmod go-w");
    assert_int_equal(chmod(f, 0602), 0);
    assert_null(vb_config_load(f, &err));
    assert_int_equal(chmod(f, 0644), 0);
    struct vb_config *c = vb_config_load(f, &err);
    assert_non_null(c);
    vb_config_free(c);
    if (geteuid() == 0) {
        assert_int_equal(chown(f, 12345, 0), 0);
        assert_null(vb_config_load(f, &err));
        assert_contains(err.text, "belongs to user id 12345");
    }
    assert_int_equal(mkdirat(scratch_fd, "d", 0700), 0);
    assert_int_equal(fchmodat(scratch_fd, "d", 0777, 0), 0);
    VB_AUTO_FREE char *m = put("m.conf", "include = d\n", 0644);
    assert_null(vb_config_load(m, &err));
    assert_contains(err.text, "the directory is writable by others");
}

static void odd_files(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_config_load("/nonexistent/x.conf", &err));
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_non_null(err.hint);
    assert_null(vb_config_load(scratch_path, &err));
    assert_contains(err.text, "not a regular file");
    struct vb_config *c = vb_config_load("/dev/null", &err);
    assert_non_null(c);
    assert_int_equal(c->n, 0);
    vb_config_free(c);
    VB_AUTO_FREE char *big = vb_alloc_n(2 << 20, 1);
    memset(big, '\n', (2 << 20) - 1);
    VB_AUTO_FREE char *f = put("big.conf", big, 0600);
    assert_null(vb_config_load(f, &err));
    assert_contains(err.text, "larger than");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)

int main(void)
{
    const struct CMUnitTest t[] = {
        T(sections_and_values), T(every_refusal_names_line_and_expectation), T(typed_values),
        T(unknown_keys_are_refused), T(files_and_includes),
        { "VSS-X-8 a configuration that others can write is refused", vss_x_8_files_others_can_write_are_refused,
          scratch_start, scratch_end, NULL },
        T(odd_files),
    };
    return CM_RUN("config", t);
}
