/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_mounts.c - the mount table: never crashes, and what was read can be looked up. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "agent/volumes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size);
    struct vb_mounts m = { NULL, 0, 0 };
    struct vb_volumes v = { NULL, 0, 0 };
    if (vb_mounts_parse(&m, text, NULL) == 0)
        for (size_t i = 0; i < m.n; i++) {
            const struct vb_mount *f = vb_mounts_find(&m, m.v[i].point);
            if (!f || strlen(f->point) > strlen(m.v[i].point))
                abort();
            (void)vb_volumes_add(&v, &m, m.v[i].point, true, NULL, NULL, NULL);
        }
    vb_volumes_clear(&v);
    vb_mounts_clear(&m);
    return 0;
}
