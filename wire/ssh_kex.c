/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_kex.c - algorithm policy, and a look at the server's offer (it is sent in clear).
 */
#include "config.h"
#include "wire/ssh_kex.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"

#define OFFER_MAX (64u * 1024) /* banner lines and KEXINIT together */
#define MSG_KEXINIT 20
#define COOKIE 16u
#define TEXT_SHOWN 200u

const char vb_kex_methods[] = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,"
                              "ecdh-sha2-nistp521,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,"
                              "diffie-hellman-group14-sha256,diffie-hellman-group-exchange-sha256";
const char vb_kex_host_keys[] = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521";
const char vb_kex_ciphers[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr";
const char vb_kex_macs[] = "hmac-sha2-256,hmac-sha2-512";

static bool in_list(const char *list, const char *name, size_t n)
{
    while (*list) {
        size_t len = strcspn(list, ",");

        if (len == n && memcmp(list, name, n) == 0)
            return true;
        list += len;
        if (*list == ',')
            list++;
    }
    return false;
}

bool vb_kex_common(const char *ours, const char *theirs)
{
    while (*ours) {
        size_t len = strcspn(ours, ",");

        if (len > 0 && in_list(theirs, ours, len))
            return true;
        ours += len;
        if (*ours == ',')
            ours++;
    }
    return false;
}

bool vb_kex_pair_safe(const char *cipher, const char *mac)
{
    if (strcmp(cipher, "aes128-gcm@openssh.com") == 0 || strcmp(cipher, "aes256-gcm@openssh.com") == 0)
        return true; /* the MAC that was agreed is not used */
    return in_list("aes128-ctr,aes192-ctr,aes256-ctr", cipher, strlen(cipher)) &&
           in_list(vb_kex_macs, mac, strlen(mac));
}

void vb_kex_offer_clear(struct vb_kex_offer *o)
{
    vb_buf_clear(&o->raw);
    free(o->banner);
    free(o->text);
    free(o->kex);
    free(o->host_keys);
    free(o->cipher_cs);
    free(o->cipher_sc);
    free(o->mac_cs);
    free(o->mac_sc);
    *o = (struct vb_kex_offer){ .raw = VB_BUF_INIT };
}

static bool get_list(struct vb_reader *r, char **to)
{
    uint32_t len;
    const unsigned char *p;

    if (!vb_get_u32(r, &len) || !vb_get_bytes(r, len, &p) || (len && memchr(p, 0, len)))
        return false;
    *to = vb_strndup((const char *)p, len);
    return true;
}

static bool parse_kexinit(struct vb_kex_offer *o, const unsigned char *p, size_t n)
{
    struct vb_reader r;
    const unsigned char *cookie;
    uint8_t type;

    vb_reader_init(&r, p, n);
    if (!vb_get_u8(&r, &type) || type != MSG_KEXINIT || !vb_get_bytes(&r, COOKIE, &cookie) || !get_list(&r, &o->kex) ||
        !get_list(&r, &o->host_keys) || !get_list(&r, &o->cipher_cs) || !get_list(&r, &o->cipher_sc) ||
        !get_list(&r, &o->mac_cs) || !get_list(&r, &o->mac_sc))
        return false;
    o->strict = vb_kex_common("kex-strict-s-v00@openssh.com", o->kex);
    return true;
}

/* Takes lines until the one with the version; false: not all there yet. */
static bool take_banner(struct vb_kex_offer *o)
{
    while (!o->banner) {
        const unsigned char *end = o->raw.len ? memchr(o->raw.data, '\n', o->raw.len) : NULL;
        size_t len;

        if (!end)
            return false;
        len = (size_t)(end - o->raw.data);
        if (len > 0 && o->raw.data[len - 1] == '\r')
            len--;
        if (len >= 4 && memcmp(o->raw.data, "SSH-", 4) == 0)
            o->banner = vb_escape_terminal((const char *)o->raw.data, len);
        else if (!o->text)
            o->text = vb_escape_terminal((const char *)o->raw.data, len < TEXT_SHOWN ? len : TEXT_SHOWN);
        vb_buf_consume(&o->raw, (size_t)(end - o->raw.data) + 1);
    }
    return true;
}

void vb_kex_offer_feed(struct vb_kex_offer *o, const void *p, size_t n)
{
    struct vb_reader r;
    uint32_t packet;
    uint8_t padding;
    const unsigned char *payload;

    if (o->complete || o->broken)
        return;
    if (n > OFFER_MAX - o->raw.len) {
        o->broken = true;
        vb_buf_clear(&o->raw);
        return;
    }
    vb_buf_add(&o->raw, p, n);
    if (!take_banner(o))
        return;
    vb_reader_init(&r, o->raw.data, o->raw.len);
    if (!vb_get_u32(&r, &packet) || !vb_get_u8(&r, &padding))
        return;
    if (packet > OFFER_MAX || packet < 2u + padding)
        o->broken = true;
    else if (!vb_get_bytes(&r, packet - 1, &payload))
        return;
    else if (parse_kexinit(o, payload, packet - 1 - padding))
        o->complete = true;
    else
        o->broken = true;
    vb_buf_clear(&o->raw);
}

static int no_common(const char *what, const char *ours, const char *theirs, const char *hint, struct vb_error *err)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(theirs, strlen(theirs));

    vb_fail(err, VB_E_CONNECT, "no common %s: the server offers only %s, this side %s", what, shown, ours);
    vb_hint(err, "%s", hint);
    return -1;
}

int vb_kex_explain(const struct vb_kex_offer *o, const char *kex, const char *ciphers, const char *macs,
                   struct vb_error *err)
{
    static const char aead[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com";
    static const char ctr_hint[] =
        "let its sshd offer aes128-ctr, too (Ciphers +aes128-ctr in sshd_config): this libssh2 "
        "has no AEAD cipher that the Terrapin attack leaves alone";
    static const char mac_hint[] = "let its sshd offer hmac-sha2-256, too (MACs +hmac-sha2-256 in sshd_config): "
                                   "encrypt-then-MAC codes are not used because of the Terrapin attack";
    const char *theirs;

    if (!o->complete)
        return 0;
    if (!vb_kex_common(kex, o->kex))
        return no_common("key exchange", kex, o->kex, "let its sshd offer curve25519-sha256 (KexAlgorithms)", err);
    theirs = vb_kex_common(ciphers, o->cipher_cs) ? o->cipher_sc : o->cipher_cs;
    if (!vb_kex_common(ciphers, theirs))
        return no_common(vb_kex_common(aead, theirs) ? "cipher that is safe from the Terrapin attack" : "cipher",
                         ciphers, theirs, ctr_hint, err);
    theirs = vb_kex_common(macs, o->mac_cs) ? o->mac_sc : o->mac_cs;
    if (!vb_kex_common(macs, theirs))
        return no_common("message authentication code that is safe from the Terrapin attack", macs, theirs, mac_hint,
                         err);
    return 0;
}
