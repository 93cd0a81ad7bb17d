/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/requester/test_hosts.c - the host table and rules D-22, D-23, D-31 to D-33. */
#include <config.h>
#include "requester/hosts.h"
#include "tests/cm.h"

static struct vb_hosts *load(const char *text, struct vb_error *err)
{
    struct vb_config *c = vb_config_parse("t.conf", text, strlen(text), err);
    struct vb_hosts *h = c ? vb_hosts_load(c, err) : NULL;
    vb_config_free(c);
    return h;
}

static const char three[] = "[requester]\nname = front\n[host backend]\naddress = 192.0.2.7\nport = 2222\nuser = vb\n"
                            "identity = /k1\nidentity = /k2\nalias = db.example.org\nalias = 2001:db8::7\n"
                            "[host third]\n";

static void reads_the_table(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load(three, &err);
    assert_non_null(h);
    assert_int_equal(h->n, 3);
    assert_string_equal(h->v[h->self].name, "front");
    assert_true(h->v[h->self].local);
    const struct vb_host_entry *b = vb_hosts_find(h, "BACKEND");
    assert_non_null(b);
    assert_string_equal(b->address, "192.0.2.7");
    assert_int_equal(b->port, 2222);
    assert_int_equal(b->identities.n, 2);
    assert_string_equal(b->agent_command, "vbackup-agent");
    assert_string_equal(vb_hosts_find(h, "third")->address, "third");
    vb_hosts_free(h);
}

static const char *resolve(struct vb_hosts *h, const char *from, const char *text)
{
    struct vb_hosts_resolver r = { h, { 0 } };
    return vb_hosts_resolve(&r, from, text);
}

static void looks_up_texts(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load(three, &err);
    assert_string_equal(resolve(h, "front", "backend"), "backend");
    assert_string_equal(resolve(h, "front", "DB.example.org"), "backend"); /* D-23: a virtual name is an alias */
    assert_string_equal(resolve(h, "front", "192.0.2.7"), "backend");      /* D-22: an address will do */
    assert_string_equal(resolve(h, "front", "2001:db8::7"), "backend");
    assert_null(resolve(h, "front", "elsewhere"));                         /* D-33 */
    vb_hosts_free(h);
}

static void own_names_mean_the_asking_host(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load(three, &err);
    assert_string_equal(resolve(h, "front", "localhost"), "front");
    assert_string_equal(resolve(h, "front", "127.0.0.1"), "front");
    assert_string_equal(resolve(h, "front", "127.9.9.9"), "front");
    assert_string_equal(resolve(h, "front", "::1"), "front");
    assert_string_equal(resolve(h, "front", "front"), "front");
    assert_string_equal(resolve(h, "backend", "localhost"), "backend"); /* not the requester's machine */
    assert_string_equal(resolve(h, "backend", "192.0.2.7"), "backend");
    vb_hosts_free(h);
}

static void unsafe_texts_are_not_looked_up(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load(three, &err);
    static const char *const bad[] = { "-oProxyCommand=x", "a b", "a;b", "", ".", "a/b", "$(id)", "a\nb" };
    for (size_t i = 0; i < VB_COUNT(bad); i++)
        assert_null(resolve(h, "front", bad[i]));
    vb_hosts_free(h);
}

static void maps_come_first(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load(three, &err);
    struct vb_hosts_resolver r = { h, { 0 } };
    vb_strv_add(&r.maps, "backend=third");
    vb_strv_add(&r.maps, "gone=backend");
    assert_string_equal(vb_hosts_resolve(&r, "front", "backend"), "third");
    assert_string_equal(vb_hosts_resolve(&r, "front", "gone"), "backend");
    vb_strv_clear(&r.maps);
    vb_hosts_free(h);
}

static void refuses(const char *text, const char *a, const char *b)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load(text, &err);
    assert_null(h);
    assert_int_equal(err.code, VB_E_CONFIG);
    assert_contains(err.text, a);
    assert_contains(err.text, b);
}

static void bad_tables_name_file_line_and_what_was_expected(void **state)
{
    (void)state;
    refuses("[host -x]\n", "t.conf:1", "not a host name");
    refuses("[host a]\naddress = b c\n", "t.conf:2", "expected a name, IPv4 or IPv6");
    refuses("[host a]\nport = 0\n", "t.conf:2", "1 to 65535");
    refuses("[host a]\nport = ssh\n", "t.conf:2", "expected");
    refuses("[host a]\nuser = -l\n", "t.conf:2", "not a user name");
    refuses("[host a]\npassword = x\n", "t.conf:2", "password");
    refuses("[host a]\n[host A]\n", "t.conf:2", "declared twice");
    refuses("[host a]\n[host b]\nalias = a\n", "t.conf:2", "already means host 'a'");
    refuses("[host a]\nlocal = yes\n[host b]\nlocal = yes\n", "t.conf:3", "second host");
    refuses("[requester]\nnmae = x\n", "t.conf:2", "nmae");
}

static void own_name_in_the_table_is_this_machine(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hosts *h = load("[requester]\nname = a\n[host a]\naddress = 192.0.2.1\n[host b]\n", &err);
    assert_non_null(h);
    assert_int_equal(h->n, 2);
    assert_true(h->v[h->self].local);
    assert_string_equal(h->v[h->self].name, "a");
    vb_hosts_free(h);
    h = vb_hosts_load(NULL, &err);
    assert_non_null(h);
    assert_int_equal(h->n, 1);
    vb_hosts_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CM_TEST("the host table is read as written", reads_the_table),
        CM_TEST("VSS-D-22 VSS-D-23 VSS-D-33 names, addresses and aliases are looked up in the table", looks_up_texts),
        CM_TEST("VSS-D-31 own names and loop-back mean the host that wrote them", own_names_mean_the_asking_host),
        CM_TEST("VSS-D-32 unsafe host texts are not looked up", unsafe_texts_are_not_looked_up),
        CM_TEST("--map is applied before the table", maps_come_first),
        CM_TEST("malformed tables end with file, line and what was expected",
                bad_tables_name_file_line_and_what_was_expected),
        CM_TEST("VSS-D-31 a section with the machine's own name is this machine", own_name_in_the_table_is_this_machine),
    };
    return CM_RUN("hosts", tests);
}
