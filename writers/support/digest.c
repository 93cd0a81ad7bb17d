/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* writers/support/digest.c - see digest.h. */
#include "config.h"
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "writers/support/digest.h"
#include "writers/support/support.h"

#define NAME "carried"

void vbw_digest(const void *p, size_t n, char out[VBW_DIGEST_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    if (EVP_Digest(p != NULL ? p : "", n, sum, &len, EVP_sha256(), NULL) != 1 || len != VBW_DIGEST_LEN / 2)
        abort();
    for (size_t i = 0; i < VBW_DIGEST_LEN / 2; i++) {
        out[2 * i] = hex[sum[i] >> 4];
        out[2 * i + 1] = hex[sum[i] & 15];
    }
    out[VBW_DIGEST_LEN] = '\0';
}

void vbw_carried_signature(const char *dir, const char *own, const char *settings, char out[VBW_DIGEST_LEN + 1])
{
    VBW_AUTO char *path = vbw_join(dir, NAME);
    size_t n = 0;
    VBW_AUTO char *text = vbw_read_file(path, 4096, &n);
    VBW_AUTO char *begin = vbw_printf("%s %s ", own, settings);
    size_t k = strlen(begin);

    memcpy(out, own, VBW_DIGEST_LEN + 1);
    if (text == NULL || strncmp(text, begin, k) != 0 || strspn(text + k, "0123456789abcdef") != VBW_DIGEST_LEN)
        return;
    memcpy(out, text + k, VBW_DIGEST_LEN);
}

int vbw_carried_remember(const char *dir, const char *own, const char *settings, const char *source)
{
    VBW_AUTO char *path = vbw_join(dir, NAME);
    VBW_AUTO char *text = vbw_printf("%s %s %s\n", own, settings, source);

    return vbw_write_file(path, text, strlen(text), 0600);
}
