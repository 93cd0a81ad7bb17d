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
    static const uint8_t root[VB_KEY_LEN];
    static const char id[] = "11111111-1111-4111-8111-111111111111";
    struct vb_pack_id pack;
    /* Without seals: those would stop all that follows. The first byte says which format is read. */
    struct vb_keys *k = size && data[0] & 1 ? vb_keys_format0(id, root, root) : vb_keys_from_root(id, false, root);
    data += size != 0;
    size -= size != 0;
    if (vb_pack_parse(data, size, k, NULL, &pack, &entries, &n, NULL) == 0)
        for (size_t i = 0; i < n; i++)
            if ((uint64_t)entries[i].offset + entries[i].stored_size > size)
                abort();
    struct vb_index *x = vb_index_new();
    if (vb_index_decode(x, k, data, size, NULL, NULL, NULL) < 0 && vb_index_chunk_count(x) != 0)
        abort();
    vb_index_free(x);
    vb_keys_free(k);
    return 0;
}
