/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/test_ssh_kex.c - the algorithm policy (Terrapin), and reading a server's offer. */
#include "config.h"
#include "tests/cm.h"
#include "base/mem.h"
#include "wire/ssh_kex.h"

static void terrapin_pairs_are_refused(void **state)
{
    static const struct {
        const char *cipher, *mac;
        bool safe;
    } t[] = {
        { "aes128-ctr", "hmac-sha2-256", true },
        { "aes256-ctr", "hmac-sha2-512", true },
        { "aes128-gcm@openssh.com", "hmac-sha2-256-etm@openssh.com", true },
        { "aes256-gcm@openssh.com", "", true },
        { "chacha20-poly1305@openssh.com", "hmac-sha2-256", false },
        { "chacha20-poly1305@openssh.com", "", false },
        { "aes128-cbc", "hmac-sha2-256-etm@openssh.com", false },
        { "aes128-cbc", "hmac-sha2-256", false },
        { "aes128-ctr", "hmac-sha2-256-etm@openssh.com", false },
        { "aes128-ctr", "hmac-sha1", false },
        { "aes128-ctr", "hmac-md5", false },
        { "3des-cbc", "hmac-sha2-256", false },
        { "none", "none", false },
        { "", "", false },
        { "aes128", "hmac-sha2-256", false },
        { "aes128-ctr,aes256-ctr", "hmac-sha2-256", false },
    };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(t); i++)
        if (vb_kex_pair_safe(t[i].cipher, t[i].mac) != t[i].safe)
            fail_msg("%s with %s", t[i].cipher, t[i].mac);
}

static void nothing_unsafe_is_offered(void **state)
{
    VB_AUTO_FREE char *ciphers = vb_strdup(vb_kex_ciphers);
    char *c = ciphers;

    (void)state;
    while (c) {
        char *cipher = strsep(&c, ",");
        VB_AUTO_FREE char *macs = vb_strdup(vb_kex_macs);
        char *m = macs;

        while (m)
            assert_true(vb_kex_pair_safe(cipher, strsep(&m, ",")));
    }
    assert_null(strstr(vb_kex_methods, "sha1"));
    assert_null(strstr(vb_kex_host_keys, "rsa"));
}

static void make_offer(struct vb_buf *b, const char *kex, const char *keys, const char *cipher, const char *mac)
{
    VB_AUTO_BUF p = VB_BUF_INIT;
    const char *lists[] = { kex, keys, cipher, cipher, mac, mac, "none", "none", "", "" };

    vb_buf_add_u8(&p, 20);
    vb_buf_add(&p, "0123456789abcdef", 16);
    for (size_t i = 0; i < VB_COUNT(lists); i++) {
        vb_buf_add_u32(&p, (uint32_t)strlen(lists[i]));
        vb_buf_add_str(&p, lists[i]);
    }
    vb_buf_add(&p, "\0\0\0\0\0", 5);
    vb_buf_add_u32(b, (uint32_t)(1 + p.len + 4));
    vb_buf_add_u8(b, 4);
    vb_buf_add(b, p.data, p.len);
    vb_buf_add(b, "pad!", 4);
}

static void an_offer_is_read_however_it_is_cut(void **state)
{
    VB_AUTO_BUF b = VB_BUF_INIT;

    (void)state;
    vb_buf_add_str(&b, "hello\r\nSSH-2.0-OpenSSH_9.2\r\n");
    make_offer(&b, "curve25519-sha256,kex-strict-s-v00@openssh.com", "ssh-ed25519,rsa-sha2-512", "aes128-ctr",
               "hmac-sha2-256");
    for (size_t step = 1; step < 40; step++) {
        struct vb_kex_offer o = { 0 };

        for (size_t at = 0; at < b.len; at += step) {
            assert_false(o.complete);
            vb_kex_offer_feed(&o, b.data + at, b.len - at < step ? b.len - at : step);
            if (o.complete)
                break;
        }
        assert_true(o.complete && !o.broken && o.strict);
        assert_string_equal(o.banner, "SSH-2.0-OpenSSH_9.2");
        assert_string_equal(o.text, "hello");
        assert_string_equal(o.host_keys, "ssh-ed25519,rsa-sha2-512");
        assert_string_equal(o.mac_sc, "hmac-sha2-256");
        vb_kex_offer_clear(&o);
    }
}

static void broken_offers_end(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } t[] = {
        { "SSH-2.0-x\r\n\xff\xff\xff\xff\4", 16 },
        { "SSH-2.0-x\n\0\0\0\1\4\24", 16 },
        { "SSH-2.0-x\n\0\0\0\6\4\24", 16 },
        { "SSH-2.0-x\n\0\0\0\3\0\25\0", 17 },
    };
    VB_AUTO_BUF much = VB_BUF_INIT;
    struct vb_kex_offer o = { 0 };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(t); i++) {
        vb_kex_offer_feed(&o, t[i].bytes, t[i].n);
        assert_false(o.complete);
        vb_kex_offer_clear(&o);
    }
    for (int i = 0; i < 3000; i++)
        vb_buf_add(&much, "no line end, 28 characters  ", 28);
    vb_kex_offer_feed(&o, much.data, much.len);
    assert_true(o.broken);
    assert_int_equal(o.raw.len, 0);
    vb_kex_offer_clear(&o);
}

static void disagreement_is_explained(void **state)
{
    static const struct {
        const char *kex, *cipher, *mac, *want;
    } t[] = {
        { "curve25519-sha256", "aes256-ctr", "hmac-sha2-256", NULL },
        { "sntrup761x25519-sha512@openssh.com", "aes256-ctr", "hmac-sha2-256", "no common key exchange" },
        { "curve25519-sha256", "chacha20-poly1305@openssh.com", "hmac-sha2-256",
          "cipher that is safe from the Terrapin attack" },
        { "curve25519-sha256", "aes256-gcm@openssh.com", "hmac-sha2-256",
          "cipher that is safe from the Terrapin attack" },
        { "curve25519-sha256", "3des-cbc", "hmac-sha2-256", "no common cipher: " },
        { "curve25519-sha256", "aes128-ctr", "hmac-sha2-256-etm@openssh.com",
          "code that is safe from the Terrapin attack" },
    };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(t); i++) {
        VB_AUTO_BUF b = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_kex_offer o = { 0 };

        vb_buf_add_str(&b, "SSH-2.0-x\r\n");
        make_offer(&b, t[i].kex, "ssh-ed25519", t[i].cipher, t[i].mac);
        vb_kex_offer_feed(&o, b.data, b.len);
        assert_int_equal(vb_kex_explain(&o, "curve25519-sha256", "aes128-ctr,aes256-ctr", "hmac-sha2-256", &err),
                         t[i].want ? -1 : 0);
        if (t[i].want) {
            assert_int_equal(err.code, VB_E_CONNECT);
            assert_contains(err.text, t[i].want);
            assert_non_null(err.hint);
        }
        vb_kex_offer_clear(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terrapin_pairs_are_refused),
        cmocka_unit_test(nothing_unsafe_is_offered),
        cmocka_unit_test(an_offer_is_read_however_it_is_cut),
        cmocka_unit_test(broken_offers_end),
        cmocka_unit_test(disagreement_is_explained),
    };

    return CM_RUN("ssh_kex", tests);
}
