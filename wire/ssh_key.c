/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_key.c - a look into private key files: OpenSSH's own format and the PEM kinds.
 */
#include "config.h"
#include "wire/ssh_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/base64.h"
#include "base/io.h"
#include "base/mem.h"
#include "wire/known_hosts.h"

#define KEY_FILE_MAX (64u * 1024)
#define MAGIC "openssh-key-v1" /* with its zero */

void vb_ssh_key_clear(struct vb_ssh_key *k)
{
    if (k->text.data)
        vb_wipe(k->text.data, k->text.cap);
    vb_buf_clear(&k->text);
    vb_buf_clear(&k->pub);
    free(k->path);
    free(k->type);
    *k = (struct vb_ssh_key)VB_SSH_KEY_INIT;
}

bool vb_ssh_key_type_ok(const char *type)
{
    return strcmp(type, "ssh-ed25519") == 0 || strcmp(type, "ecdsa-sha2-nistp256") == 0 ||
           strcmp(type, "ecdsa-sha2-nistp384") == 0 || strcmp(type, "ecdsa-sha2-nistp521") == 0;
}

static bool get_string(struct vb_reader *r, const unsigned char **p, size_t *n)
{
    uint32_t len;

    if (!vb_get_u32(r, &len) || !vb_get_bytes(r, len, p))
        return false;
    *n = len;
    return true;
}

/* openssh-key-v1: cipher, kdf, kdf options, number of keys, public key, private part. */
static bool parse_openssh(struct vb_ssh_key *k, const unsigned char *p, size_t n)
{
    struct vb_reader r;
    const unsigned char *s, *pub;
    size_t len, pub_len;
    uint32_t count;

    vb_reader_init(&r, p, n);
    if (!vb_get_bytes(&r, sizeof MAGIC, &s) || memcmp(s, MAGIC, sizeof MAGIC) != 0)
        return false;
    if (!get_string(&r, &s, &len))
        return false;
    k->encrypted = len != 4 || memcmp(s, "none", 4) != 0;
    if (!get_string(&r, &s, &len) || !get_string(&r, &s, &len) || !vb_get_u32(&r, &count) || count != 1 ||
        !get_string(&r, &pub, &pub_len))
        return false;
    k->type = vb_key_blob_type(pub, pub_len);
    if (!k->type)
        return false;
    vb_buf_add(&k->pub, pub, pub_len);
    return true;
}

int vb_ssh_key_parse(struct vb_ssh_key *k, const char *path, const void *p, size_t n, struct vb_error *err)
{
    static const char begin[] = "-----BEGIN ", openssh[] = "OPENSSH PRIVATE KEY-----";
    VB_AUTO_FREE char *text = NULL;
    char *at, *end;

    vb_ssh_key_clear(k);
    k->path = vb_strdup(path);
    if (n > KEY_FILE_MAX || memchr(p, 0, n))
        goto broken;
    text = vb_strndup(p, n);
    at = strstr(text, begin);
    if (!at)
        goto broken;
    at += sizeof begin - 1;
    if (strncmp(at, openssh, sizeof openssh - 1) == 0) {
        struct vb_buf bytes = VB_BUF_INIT;
        bool good;

        at += sizeof openssh - 1;
        end = strstr(at, "-----END ");
        good = end && vb_base64_decode(at, (size_t)(end - at), &bytes) && parse_openssh(k, bytes.data, bytes.len);
        if (bytes.data)
            vb_wipe(bytes.data, bytes.cap);
        vb_buf_clear(&bytes);
        if (!good)
            goto broken;
    } else if (strncmp(at, "RSA PRIVATE KEY-----", 20) == 0) {
        k->type = vb_strdup("ssh-rsa");
        k->encrypted = strstr(at, "ENCRYPTED") != NULL;
    } else if (strncmp(at, "DSA PRIVATE KEY-----", 20) == 0) {
        k->type = vb_strdup("ssh-dss");
        k->encrypted = strstr(at, "ENCRYPTED") != NULL;
    } else if (strncmp(at, "EC PRIVATE KEY-----", 19) == 0 || strncmp(at, "PRIVATE KEY-----", 16) == 0) {
        k->encrypted = strstr(at, "Proc-Type: 4,ENCRYPTED") != NULL;
    } else if (strncmp(at, "ENCRYPTED PRIVATE KEY-----", 26) == 0) {
        k->encrypted = true;
    } else {
        goto broken;
    }
    vb_buf_add(&k->text, p, n);
    vb_wipe(text, n);
    return 0;

broken:
    if (text)
        vb_wipe(text, n);
    vb_fail(err, VB_E_CORRUPT, "'%s' is not a private key", path);
    vb_hint(err, "give the private key file, not the one ending in .pub; ssh-keygen -t ed25519 makes one");
    return -1;
}

/* "type base64 comment" of FILE.pub, for keys whose private file does not show the public part. */
static void load_public(struct vb_ssh_key *k)
{
    VB_AUTO_FREE char *name = vb_printf("%s.pub", k->path);
    VB_AUTO_BUF text = VB_BUF_INIT;
    VB_AUTO_BUF blob = VB_BUF_INIT;
    const char *s;
    size_t len;

    if (k->pub.len > 0 || vb_read_file_at(AT_FDCWD, name, KEY_FILE_MAX, &text, NULL) < 0)
        return;
    s = vb_buf_str(&text);
    s += strcspn(s, " ");
    s += strspn(s, " ");
    len = strcspn(s, " \r\n");
    if (!vb_base64_decode(s, len, &blob) || blob.len == 0)
        return;
    free(k->type);
    k->type = vb_key_blob_type(blob.data, blob.len);
    if (k->type)
        vb_buf_add(&k->pub, blob.data, blob.len);
}

int vb_ssh_key_load(struct vb_ssh_key *k, const char *path, struct vb_error *err)
{
    VB_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct vb_buf b = VB_BUF_INIT;
    struct stat st;
    ssize_t n;
    int rc;

    vb_ssh_key_clear(k);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "cannot open the private key '%s'", path);
    if (!S_ISREG(st.st_mode))
        return vb_fail(err, VB_E_ACCESS_DENIED, "private key '%s' is not a regular file", path);
    if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 077) != 0) {
        vb_fail(err, VB_E_ACCESS_DENIED, "private key '%s' %s", path,
                st.st_mode & 077 ? "can be reached by other users" : "belongs to another user");
        vb_hint(err, "chmod 600 '%s', and give it to the user who runs vbackup", path);
        return -1;
    }
    vb_buf_reserve(&b, KEY_FILE_MAX + 1);
    do {
        n = read(fd, b.data + b.len, KEY_FILE_MAX + 1 - b.len);
        if (n > 0)
            b.len += (size_t)n;
    } while ((n > 0 && b.len <= KEY_FILE_MAX) || (n < 0 && errno == EINTR));
    if (n < 0)
        rc = vb_fail_errno(err, errno, "cannot read the private key '%s'", path);
    else
        rc = vb_ssh_key_parse(k, path, b.data, b.len, err);
    vb_wipe(b.data, b.cap);
    vb_buf_clear(&b);
    if (rc == 0)
        load_public(k);
    return rc;
}
