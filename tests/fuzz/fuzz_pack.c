/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_pack.c - packs and index files from foreign bytes: every entry lies within the file. */
#include <config.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/index.h"
#include "store/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE struct vb_pack_entry *entries = NULL;
    size_t n = 0;
    if (vb_pack_parse(data, size, NULL, &entries, &n, NULL) == 0)
        for (size_t i = 0; i < n; i++)
            if ((uint64_t)entries[i].offset + entries[i].stored_size > size)
                abort();
    struct vb_index *x = vb_index_new();
    if (vb_index_decode(x, data, size, NULL, NULL, NULL) < 0 && vb_index_chunk_count(x) != 0)
        abort();
    vb_index_free(x);
    return 0;
}
