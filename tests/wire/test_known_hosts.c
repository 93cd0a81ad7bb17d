/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/test_known_hosts.c - which key a host may have: names, patterns, ports, hashes, markers, broken lines. */
#include "config.h"
#include "tests/cm.h"
#include "base/mem.h"
#include "wire/known_hosts.h"

/* Three Ed25519 keys (made for this test) and their fingerprints by ssh-keygen. */
#define KEY_A "AAAAC3NzaC1lZDI1NTE5AAAAIPKzLR/1TAxt0CarHgprWCXayomxQUQTw9kvtg88kFjx"
#define KEY_B "AAAAC3NzaC1lZDI1NTE5AAAAIIT2nuvhicLxxsO4o0kI7omUVPvAmTKfnkfvXBMX3aBs"
#define PRINT_A "SHA256:/V3PPu/YO/+cafF7Q+kkhD650MuDHRPCEIwWovLVlm8"
#define KEY_RSA \
    "AAAAB3NzaC1yc2EAAAADAQABAAAAgQC0bsoeydnTPuD/E+yXeSs4H1J67U6LtYHf1PgK0TKNpsu/43ZsJ6LD6uzXJ6Th3jh/rPbx" \
    "9ILcTfb4Md44Gvd1GaDV+zjT1CgxNetG9fgcyowenZUA6qMpmw5eritVIawGNiKweYhzIWYc0uyCczpZwMDG+bD/ih0huCVnnOi+" \
    "2w=="

static const struct vb_known_key *only(struct vb_known_hosts *k, const char *text)
{
    vb_known_hosts_clear(k);
    vb_known_hosts_parse(k, "f", text, strlen(text));
    return k->n == 1 ? &k->keys[0] : NULL;
}

static void names_ports_and_patterns(void **state)
{
    static const struct {
        const char *field, *host;
        uint32_t port;
        bool want;
    } t[] = {
        { "backend", "backend", 22, true },
        { "backend", "BackEnd", 22, true },
        { "Backend", "backend", 22, true },
        { "backend", "backend2", 22, false },
        { "backend", "backend", 2222, false },
        { "[backend]:2222", "backend", 2222, true },
        { "[backend]:2222", "backend", 22, false },
        { "[backend]:2222", "b", 2222, false },
        { "a,b,backend", "b", 22, true },
        { "a,b,backend", "backend", 22, true },
        { "*.example.org", "db.example.org", 22, true },
        { "*.example.org", "example.org", 22, false },
        { "db?", "db1", 22, true },
        { "*,!bad", "bad", 22, false },
        { "!bad,*", "bad", 22, false },
        { "*,!bad", "good", 22, true },
        { "!bad", "good", 22, false },
        { "10.0.0.1", "10.0.0.1", 22, true },
        { "fe80::1", "fe80::1", 22, true },
        { "[fe80::1]:99", "fe80::1", 99, true },
        { "[*]:99", "x", 99, true },
        { "b[ac]d", "bad", 22, false },
        { "|1|zUX23xFd8IhAf++fivsoqM4WELs=|x2sV4xe/w6xP6pcVYeGxJROOUOs=", "backend", 22, true },
        { "|1|zUX23xFd8IhAf++fivsoqM4WELs=|x2sV4xe/w6xP6pcVYeGxJROOUOs=", "BACKEND", 22, true },
        { "|1|zUX23xFd8IhAf++fivsoqM4WELs=|x2sV4xe/w6xP6pcVYeGxJROOUOs=", "other", 22, false },
        { "|1|TIsVW51Tb+EbxZAuBAbY2rimKOU=|GoGaT8yf3fXHLPjIXK4dACYpZvA=", "backend", 99, true },
        { "|1|TIsVW51Tb+EbxZAuBAbY2rimKOU=|GoGaT8yf3fXHLPjIXK4dACYpZvA=", "backend", 22, false },
        { "|1|short|x", "backend", 22, false },
        { "|2|AAAA|AAAA", "backend", 22, false },
    };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(t); i++) {
        struct vb_known_hosts k = VB_KNOWN_HOSTS_INIT;
        VB_AUTO_FREE char *line = vb_printf("%s ssh-ed25519 %s comment\n", t[i].field, KEY_A);
        const struct vb_known_key *key = only(&k, line);

        if (!key || vb_known_key_is_for(key, t[i].host, t[i].port) != t[i].want)
            fail_msg("'%s' and %s port %u", t[i].field, t[i].host, (unsigned)t[i].port);
        vb_known_hosts_clear(&k);
    }
}

static void broken_lines_do_not_hide_others(void **state)
{
    static const char text[] = "# comment\n"
                               "\n"
                               "nonsense\n"
                               "host ssh-ed25519\n"
                               "host ssh-ed25519 !!!!\n"
                               "host ssh-ed25519 AAAA\n"
                               "host ecdsa-sha2-nistp256 " KEY_A "\n"
                               "@cert-authority * ssh-ed25519 " KEY_A "\n"
                               "@unknown * ssh-ed25519 " KEY_A "\n"
                               "  backend\tssh-ed25519   " KEY_A "\r\n"
                               "last ssh-ed25519 " KEY_B;
    struct vb_known_hosts k = VB_KNOWN_HOSTS_INIT;

    (void)state;
    vb_known_hosts_parse(&k, "/etc/kh", text, sizeof text - 1);
    assert_int_equal(k.n, 2);
    assert_int_equal(k.keys[0].line, 10);
    assert_string_equal(k.keys[0].file, "/etc/kh");
    assert_string_equal(k.keys[0].host, "backend");
    assert_int_equal(k.keys[1].line, 11);
    vb_known_hosts_clear(&k);
}

static void verdicts(void **state)
{
    struct vb_known_hosts a = VB_KNOWN_HOSTS_INIT, b = VB_KNOWN_HOSTS_INIT, k = VB_KNOWN_HOSTS_INIT;
    const char *names[] = { "10.0.0.1", "backend" };
    const struct vb_known_key *at, *ka = only(&a, "x ssh-ed25519 " KEY_A), *kb = only(&b, "x ssh-ed25519 " KEY_B);
    static const struct {
        const char *text;
        enum vb_known want;
        unsigned line;
    } t[] = {
        { "", VB_KNOWN_UNKNOWN, 0 },
        { "other ssh-ed25519 " KEY_A "\n", VB_KNOWN_UNKNOWN, 0 },
        { "10.0.0.1 ssh-ed25519 " KEY_A "\n", VB_KNOWN_OK, 1 },
        { "backend ssh-ed25519 " KEY_A "\n", VB_KNOWN_OK, 1 },
        { "backend ssh-ed25519 " KEY_B "\n", VB_KNOWN_CHANGED, 1 },
        { "backend ssh-rsa " KEY_RSA "\nbackend ssh-ed25519 " KEY_B "\n", VB_KNOWN_CHANGED, 2 },
        { "backend ssh-rsa " KEY_RSA "\n", VB_KNOWN_CHANGED, 1 },
        { "backend ssh-ed25519 " KEY_B "\nbackend ssh-ed25519 " KEY_A "\n", VB_KNOWN_OK, 2 },
        { "backend ssh-ed25519 " KEY_A "\n@revoked * ssh-ed25519 " KEY_A "\n", VB_KNOWN_REVOKED, 2 },
        { "@revoked backend ssh-ed25519 " KEY_A "\nbackend ssh-ed25519 " KEY_A "\n", VB_KNOWN_REVOKED, 1 },
        { "@revoked other ssh-ed25519 " KEY_A "\nbackend ssh-ed25519 " KEY_A "\n", VB_KNOWN_OK, 2 },
        { "@revoked * ssh-ed25519 " KEY_B "\nbackend ssh-ed25519 " KEY_A "\n", VB_KNOWN_OK, 2 },
        { "@revoked * ssh-ed25519 " KEY_B "\n", VB_KNOWN_UNKNOWN, 0 },
    };

    (void)state;
    assert_true(ka && kb);
    for (size_t i = 0; i < VB_COUNT(t); i++) {
        vb_known_hosts_clear(&k);
        vb_known_hosts_parse(&k, "f", t[i].text, strlen(t[i].text));
        if (vb_known_hosts_check(&k, names, 2, 22, ka->blob, ka->n, &at) != t[i].want ||
            (at ? at->line : 0) != t[i].line)
            fail_msg("case %zu: line %u", i, at ? at->line : 0);
    }
    assert_null(vb_known_hosts_find(&k, names, 2, 22, NULL)); /* revoked keys are not recorded ones */
    vb_known_hosts_clear(&k);
    vb_known_hosts_parse(&k, "f", t[5].text, strlen(t[5].text));
    at = vb_known_hosts_find(&k, names, 2, 22, "ssh-ed25519");
    assert_true(at && at->line == 2);
    assert_null(vb_known_hosts_find(&k, names, 2, 22, "ecdsa-sha2-nistp256"));
    assert_null(vb_known_hosts_find(&k, names, 2, 2222, NULL));
    vb_known_hosts_clear(&a);
    vb_known_hosts_clear(&b);
    vb_known_hosts_clear(&k);
}

static void fingerprints_are_those_of_ssh_keygen(void **state)
{
    struct vb_known_hosts k = VB_KNOWN_HOSTS_INIT;
    const struct vb_known_key *key = only(&k, "x ssh-ed25519 " KEY_A);
    VB_AUTO_FREE char *print = vb_key_fingerprint(key->blob, key->n);

    (void)state;
    assert_string_equal(print, PRINT_A);
    vb_known_hosts_clear(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_ports_and_patterns),
        cmocka_unit_test(broken_lines_do_not_hide_others),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(fingerprints_are_those_of_ssh_keygen),
    };

    return CM_RUN("known_hosts", tests);
}
