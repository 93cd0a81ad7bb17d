/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_sftp.c - replies of an SFTP server, and the text of a location. */
#include <config.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/location.h"
#include "store/sftp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_name(void *arg, const unsigned char *name, size_t n, const struct vb_sftp_attrs *a)
{
    size_t *sum = arg;
    for (size_t i = 0; i < n; i++)
        *sum += name[i];
    *sum += a->size;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vb_sftp_reply reply;
    size_t at = 0, used = 0, sum = 0;
    while (at < size && vb_sftp_parse(data + at, size - at, &used, &reply) == 1) {
        struct vb_sftp s = { 0 };
        struct vb_sftp_attrs a;
        struct vb_reader r = reply.r;
        vb_sftp_check(&s, &reply, "look", NULL);
        vb_sftp_names(&reply, on_name, &sum);
        vb_sftp_get_attrs(&r, &a);
        at += used;
    }
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size < 300 ? size : 300);
    struct vb_location_parts parts;
    if (vb_location_parse(text, &parts, NULL) == 0 && (!parts.host || parts.path[0] != '/' || parts.port > 65535))
        abort();
    vb_location_parts_clear(&parts);
    return 0;
}
