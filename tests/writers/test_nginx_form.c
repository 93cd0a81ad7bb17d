/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/writers/test_nginx_form.c - a configuration as bytes, words of other hosts, and what a target remembers. */
#include <config.h>
#include "tests/cm.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/nginx/tree.h"

static char *dir;
static const struct vbw_list none = { NULL, 0, 0 };

static void put(const char *name, const char *text)
{
    VBW_AUTO char *p = vbw_join(dir, name);
    assert_int_equal(vbw_write_file(p, text, strlen(text), 0640), 0);
}

static void read_back(void **state)
{
    (void)state;
    struct ngx_tree t = { .v = NULL }, u, again = { .v = NULL };
    struct ngx_bytes a = { NULL, 0, 0 }, b = { NULL, 0, 0 }, c = { NULL, 0, 0 };
    struct vbw_list local = { NULL, 0, 0 };
    VBW_AUTO char *from = vbw_join(dir, "from");
    VBW_AUTO char *to = vbw_join(dir, "to");
    VBW_AUTO char *sub = vbw_join(dir, "from/sites");
    VBW_AUTO char *link = vbw_join(dir, "from/enabled");
    VBW_AUTO char *kept = vbw_join(dir, "to/sites/local-x");
    char *where;
    assert_int_equal(mkdir(from, 0755), 0);
    assert_int_equal(mkdir(sub, 0711), 0);
    put("from/nginx.conf", "events {}\n");
    put("from/sites/a", "a");
    put("from/sites/empty", "");
    put("from/sites/local-x", "mine");
    assert_int_equal(symlink("sites/a", link), 0);
    vbw_list_take(&local, vbw_strdup("local-*"));
    assert_int_equal(ngx_tree_read(&t, 0, from, &local, &where), 0);
    assert_int_equal(t.n, 5);
    ngx_tree_encode(&t, &a);
    assert_null(ngx_tree_decode(&u, a.p, a.n));
    ngx_tree_encode(&u, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
    assert_int_equal(ngx_tree_write(&u, 0, to, &where), 0);
    assert_int_equal(ngx_copy_local(from, to, &local, &where), 0);
    assert_true(vbw_exists(kept));
    assert_int_equal(ngx_tree_read(&again, 0, to, &local, &where), 0);
    ngx_tree_encode(&again, &c);
    assert_int_equal(a.n, c.n);
    assert_memory_equal(a.p, c.p, a.n);
    assert_int_equal(ngx_remove(to), 0);
    assert_false(vbw_exists(to));
    assert_int_equal(ngx_remove(from), 0);
    ngx_tree_clear(&t);
    ngx_tree_clear(&u);
    ngx_tree_clear(&again);
    free(a.p);
    free(b.p);
    free(c.p);
    vbw_list_clear(&local);
}

static void entry(struct ngx_bytes *b, char type, unsigned root, unsigned mode, const char *path, const char *data)
{
    const unsigned char head[21] = { (unsigned char)type, 0, 0, 0, (unsigned char)root, 0, 0, (unsigned char)(mode >> 8), (unsigned char)mode,
                                     0, 0, 0, (unsigned char)strlen(path), 0, 0, 0, 0, 0, 0, 0, (unsigned char)strlen(data) };
    ngx_bytes_add(b, head, sizeof head);
    ngx_bytes_add(b, path, strlen(path));
    ngx_bytes_add(b, data, strlen(data));
}

static void refused(void **state)
{
    (void)state;
    static const struct { char type; unsigned root, mode; const char *path, *data; } bad[] = {
        { 'F', 0, 0644, "../x", "" },   { 'F', 0, 0644, "/x", "" },  { 'F', 0, 0644, "a//b", "" }, { 'F', 0, 0644, "a/", "" },
        { 'F', 0, 0644, ".", "" },      { 'F', 0, 0644, "", "" },    { 'F', 1, 0644, "x", "" },    { 'F', 0, 04755, "x", "" },
        { 'D', 0, 0755, "x", "data" },  { 'L', 0, 0, "x", "" },      { 'S', 0, 0, "x", "" },       { 'F', 0, 0644, "missing/x", "" },
    };
    struct ngx_tree t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ngx_bytes b = { NULL, 0, 0 };
        ngx_bytes_add(&b, "VBNGINX1\0\0\0\1", 12);
        entry(&b, bad[i].type, bad[i].root, bad[i].mode, bad[i].path, bad[i].data);
        assert_non_null(ngx_tree_decode(&t, b.p, b.n));
        ngx_tree_clear(&t);
        free(b.p);
    }
    struct ngx_bytes b = { NULL, 0, 0 };
    ngx_bytes_add(&b, "VBNGINX1\0\0\0\1", 12);
    entry(&b, 'L', 0, 0, "out", "/etc");
    entry(&b, 'F', 0, 0644, "out/passwd", "x");
    assert_non_null(ngx_tree_decode(&t, b.p, b.n)); /* never through a link */
    ngx_tree_clear(&t);
    assert_non_null(ngx_tree_decode(&t, b.p, b.n - 1));
    ngx_tree_clear(&t);
    free(b.p);
}

static void words(void **state)
{
    (void)state;
    static const char rules[] = "# a comment\n\n192.0.2.1 => 10.0.0.1\n  example.org=> example.net \r\n/srv/a => /srv/b\n a => z\nabc => \n";
    static const struct { const char *in, *out; } cases[] = {
        { "listen 192.0.2.1:80;", "listen 10.0.0.1:80;" },
        { "listen 192.0.2.10;", NULL },
        { "listen 1192.0.2.1;", NULL },
        { "server_name example.org;", "server_name example.net;" },
        { "server_name www.example.org;", NULL },
        { "example.org.", "example.net." },
        { "example.org.uk", NULL },
        { "root /srv/a/html;", "root /srv/b/html;" },
        { "root /srv/ab;", NULL },
        { "abc a", " z" },
        { "", NULL },
    };
    struct ngx_words w;
    size_t n;
    assert_int_equal(ngx_words_parse(&w, rules), 0);
    assert_int_equal(w.from.n, 5);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        VBW_AUTO char *is = ngx_words_apply(&w, cases[i].in, strlen(cases[i].in), &n);
        if (cases[i].out == NULL)
            assert_null(is);
        else
            assert_string_equal(is, cases[i].out);
    }
    ngx_words_clear(&w);
    assert_int_equal(ngx_words_parse(&w, "a => b\nno arrow\n"), 2);
    ngx_words_clear(&w);
    assert_int_equal(ngx_words_parse(&w, " => b\n"), 1);
    ngx_words_clear(&w);
}

static void remembered(void **state)
{
    (void)state;
    char one[VBW_DIGEST_LEN + 1], two[VBW_DIGEST_LEN + 1], is[VBW_DIGEST_LEN + 1];
    vbw_digest("abc", 3, one);
    assert_string_equal(one, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    vbw_digest(NULL, 0, two);
    vbw_carried_signature(dir, one, "s", is);
    assert_string_equal(is, one);
    assert_int_equal(vbw_carried_remember(dir, one, "s", two), 0);
    vbw_carried_signature(dir, one, "s", is);
    assert_string_equal(is, two);
    vbw_carried_signature(dir, one, "other", is);
    assert_string_equal(is, one);
    vbw_carried_signature(dir, two, "s", is);
    assert_string_equal(is, two);
    put("carried", "broken");
    vbw_carried_signature(dir, one, "s", is);
    assert_string_equal(is, one);
}

static void too_large(void **state)
{
    (void)state;
    struct ngx_tree t = { .v = NULL };
    VBW_AUTO char *big = vbw_join(dir, "big");
    VBW_AUTO char *file = vbw_join(dir, "big/file");
    char *where;
    assert_int_equal(mkdir(big, 0755), 0);
    put("big/file", "");
    assert_int_equal(truncate(file, (off_t)NGX_MAX_BYTES + 1), 0);
    assert_int_equal(ngx_tree_read(&t, 0, big, &none, &where), -1);
    assert_int_equal(errno, EFBIG);
    assert_string_equal(where, file);
    free(where);
    ngx_tree_clear(&t);
    assert_int_equal(ngx_remove(big), 0);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("a tree is read, sent and written again as it was", read_back),
        CM_TEST("what would lie outside is refused", refused),
        CM_TEST("whole words are exchanged", words),
        CM_TEST("what was carried is remembered", remembered),
        CM_TEST("what is no configuration is not read", too_large),
    };
    dir = vbw_strdup("/tmp/vbackup-nginx-form.XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    int result = CM_RUN("nginx_form", t);
    ngx_remove(dir);
    free(dir);
    return result;
}
