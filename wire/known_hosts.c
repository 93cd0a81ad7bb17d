/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/known_hosts.c - reading known_hosts and judging host keys.
 *
 * libssh2's own reader gives up a file at the first line it does not know (a @revoked marker is one) and does not say
 * where a key stands, so it is not used.
 */
#include "config.h"
#include "wire/known_hosts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/base64.h"
#include "base/io.h"
#include "base/mem.h"

#define FILE_MAX (16u * 1024 * 1024)
#define TYPE_MAX 64u
#define SHA1_LEN 20u
#define SHA256_LEN 32u

char *vb_key_fingerprint(const unsigned char *blob, size_t n)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    VB_AUTO_FREE char *text = NULL;

    if (EVP_Digest(blob, n, md, &len, EVP_sha256(), NULL) != 1 || len != SHA256_LEN)
        return vb_strdup("SHA256:?");
    text = vb_base64_encode(md, len);
    text[strcspn(text, "=")] = '\0';
    return vb_printf("SHA256:%s", text);
}

char *vb_key_blob_type(const unsigned char *blob, size_t n)
{
    struct vb_reader r;
    uint32_t len;
    const unsigned char *p;

    vb_reader_init(&r, blob, n);
    if (!vb_get_u32(&r, &len) || len == 0 || len > TYPE_MAX || !vb_get_bytes(&r, len, &p))
        return NULL;
    for (uint32_t i = 0; i < len; i++)
        if (!isgraph(p[i]) || p[i] >= 0x80)
            return NULL;
    return vb_strndup((const char *)p, len);
}

/* The next word of a line; NULL at its end. */
static char *word(char **at)
{
    char *w;

    *at += strspn(*at, " \t");
    if (!**at)
        return NULL;
    w = *at;
    *at += strcspn(*at, " \t");
    if (**at)
        *(*at)++ = '\0';
    return w;
}

static void parse_line(struct vb_known_hosts *k, const char *path, unsigned line, char *text)
{
    char *at = text, *host = word(&at), *type, *base64;
    VB_AUTO_BUF blob = VB_BUF_INIT;
    VB_AUTO_FREE char *inner = NULL;
    bool revoked = false;

    if (!host || host[0] == '#')
        return;
    if (host[0] == '@') {
        if (strcmp(host, "@revoked") != 0)
            return;
        revoked = true;
        host = word(&at);
    }
    type = word(&at);
    base64 = word(&at);
    if (!host || !base64 || !vb_base64_decode(base64, strlen(base64), &blob))
        return;
    inner = vb_key_blob_type(blob.data, blob.len);
    if (!inner || strcmp(inner, type) != 0)
        return;
    VB_GROW(k->keys, k->n, k->cap);
    k->keys[k->n++] = (struct vb_known_key){
        .host = vb_strdup(host), .type = VB_STEAL(inner), .blob = blob.data, .n = blob.len, .revoked = revoked,
        .file = path, .line = line,
    };
    blob = (struct vb_buf)VB_BUF_INIT;
}

void vb_known_hosts_parse(struct vb_known_hosts *k, const char *path, const char *text, size_t n)
{
    unsigned line = 0;

    VB_GROW(k->files, k->n_files, k->cap_files);
    k->files[k->n_files++] = vb_strdup(path);
    path = k->files[k->n_files - 1];
    while (n > 0) {
        const char *end = memchr(text, '\n', n);
        size_t len = end ? (size_t)(end - text) : n;

        line++;
        if (!memchr(text, 0, len)) {
            VB_AUTO_FREE char *copy = vb_strndup(text, len);

            copy[strcspn(copy, "\r")] = '\0';
            parse_line(k, path, line, copy);
        }
        text += len;
        n -= len;
        if (end) {
            text++;
            n--;
        }
    }
}

int vb_known_hosts_load(struct vb_known_hosts *k, const char *path, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;

    if (vb_read_file_at(AT_FDCWD, path, FILE_MAX, &b, &why) < 0) {
        if (why.code == VB_E_NOT_FOUND)
            return 0;
        vb_context(&why, "cannot read the known host keys");
        return vb_error_move(err, &why);
    }
    vb_known_hosts_parse(k, path, (const char *)b.data, b.len);
    return 0;
}

void vb_known_hosts_clear(struct vb_known_hosts *k)
{
    for (size_t i = 0; i < k->n; i++) {
        free(k->keys[i].host);
        free(k->keys[i].type);
        free(k->keys[i].blob);
    }
    for (size_t i = 0; i < k->n_files; i++)
        free(k->files[i]);
    free(k->keys);
    free(k->files);
    *k = (struct vb_known_hosts)VB_KNOWN_HOSTS_INIT;
}

/* "|1|salt|hash": HMAC-SHA1 of the name. */
static bool hashed_matches(const char *field, const char *name)
{
    VB_AUTO_BUF salt = VB_BUF_INIT;
    VB_AUTO_BUF hash = VB_BUF_INIT;
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    const char *bar;

    if (strncmp(field, "|1|", 3) != 0)
        return false;
    field += 3;
    bar = strchr(field, '|');
    if (!bar || !vb_base64_decode(field, (size_t)(bar - field), &salt) || salt.len == 0 ||
        !vb_base64_decode(bar + 1, strlen(bar + 1), &hash) || hash.len != SHA1_LEN)
        return false;
    if (!HMAC(EVP_sha1(), salt.data, (int)salt.len, (const unsigned char *)name, strlen(name), md, &len))
        return false;
    return len == SHA1_LEN && memcmp(md, hash.data, SHA1_LEN) == 0;
}

static bool field_matches(const char *field, const char *name)
{
    bool matched = false;

    if (field[0] == '|')
        return hashed_matches(field, name);
    while (*field) {
        size_t len = strcspn(field, ",");
        VB_AUTO_FREE char *pattern = vb_strndup(field, len);
        bool negated = pattern[0] == '!';
        /* The brackets of [name]:port stand for themselves. */
        VB_AUTO_BUF quoted = VB_BUF_INIT;

        for (const char *p = pattern + (negated ? 1 : 0); *p; p++) {
            if (*p == '[' || *p == ']' || *p == '\\')
                vb_buf_add_char(&quoted, '\\');
            vb_buf_add_char(&quoted, *p);
        }
        if (fnmatch(vb_buf_str(&quoted), name, FNM_CASEFOLD) == 0) {
            if (negated)
                return false;
            matched = true;
        }
        field += len;
        if (*field == ',')
            field++;
    }
    return matched;
}

bool vb_known_key_is_for(const struct vb_known_key *key, const char *host, uint32_t port)
{
    VB_AUTO_FREE char *with_port = NULL;
    VB_AUTO_FREE char *lower = vb_strdup(host);

    /* Hashed names are hashes of lower case. */
    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (port == 22)
        return field_matches(key->host, lower);
    with_port = vb_printf("[%s]:%u", lower, (unsigned)port);
    return field_matches(key->host, with_port);
}

static bool is_for_any(const struct vb_known_key *key, const char *const *names, size_t n_names, uint32_t port)
{
    for (size_t i = 0; i < n_names; i++)
        if (vb_known_key_is_for(key, names[i], port))
            return true;
    return false;
}

enum vb_known vb_known_hosts_check(const struct vb_known_hosts *k, const char *const *names, size_t n_names,
                                   uint32_t port, const unsigned char *blob, size_t n, const struct vb_known_key **at)
{
    VB_AUTO_FREE char *type = vb_key_blob_type(blob, n);
    const struct vb_known_key *other = NULL, *same = NULL;

    *at = NULL;
    for (size_t i = 0; i < k->n; i++) {
        const struct vb_known_key *key = &k->keys[i];
        bool equal = key->n == n && memcmp(key->blob, blob, n) == 0;

        if (!is_for_any(key, names, n_names, port))
            continue;
        if (key->revoked) {
            /* A revocation beats every other line. */
            if (equal) {
                *at = key;
                return VB_KNOWN_REVOKED;
            }
            continue;
        }
        if (equal && !same)
            same = key;
        else if (!equal && (!other || (type && strcmp(other->type, type) != 0 && strcmp(key->type, type) == 0)))
            other = key;
    }
    *at = same ? same : other;
    return same ? VB_KNOWN_OK : other ? VB_KNOWN_CHANGED : VB_KNOWN_UNKNOWN;
}

const struct vb_known_key *vb_known_hosts_find(const struct vb_known_hosts *k, const char *const *names, size_t n_names,
                                               uint32_t port, const char *type)
{
    for (size_t i = 0; i < k->n; i++) {
        const struct vb_known_key *key = &k->keys[i];

        if (!key->revoked && (!type || strcmp(key->type, type) == 0) && is_for_any(key, names, n_names, port))
            return key;
    }
    return NULL;
}
