/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_s3.c - listings and error texts of an object storage. */
#include <config.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/s3_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_key(void *arg, const char *key, uint64_t size, struct vb_error *err)
{
    (void)err;
    *(uint64_t *)arg += strlen(key) + size;
    return 0;
}

static void on_upload(void *arg, const char *key, const char *id, uint64_t begun_s)
{
    *(uint64_t *)arg += strlen(key) + strlen(id) + begun_s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size), *next = NULL;
    const char *at = text;
    uint64_t sum = 0;
    size = strlen(text);
    vb_s3_parse_list(text, size, on_key, &sum, &next, NULL);
    vb_s3_parse_uploads(text, size, on_upload, &sum, NULL);
    free(vb_s3_xml(&at, text + size, "Code"));
    if (at < text || at > text + size)
        abort();
    return 0;
}
