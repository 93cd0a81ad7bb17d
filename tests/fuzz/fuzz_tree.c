/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_tree.c - directories and lists from foreign bytes: whatever is accepted encodes to the same bytes. */
#include <config.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/chunk/content.h"
#include "store/chunk/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int look(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    (void)arg, (void)name, (void)type, (void)err;
    return 0;
}

static void same(const struct vb_buf *again, const uint8_t *data, size_t size)
{
    if (again->len != size || memcmp(again->data, data, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_TREE t = { 0 };
    VB_AUTO_BUF tree = VB_BUF_INIT, list = VB_BUF_INIT;
    VB_AUTO_FREE struct vb_ref *refs = NULL;
    uint8_t level = 0;
    size_t n = 0;
    if (vb_tree_decode(data, size, &t, NULL) == 0) {
        if (vb_tree_encode(&t, &tree, NULL) != 0 || vb_chunk_refs(VB_CHUNK_TREE, data, size, look, NULL, NULL) != 0)
            abort();
        same(&tree, data, size);
    }
    if (vb_list_decode(data, size, &level, &refs, &n, NULL) == 0) {
        if (vb_list_encode(level, refs, n, &list, NULL) != 0 ||
            vb_chunk_refs(VB_CHUNK_LIST, data, size, look, NULL, NULL) != 0)
            abort();
        same(&list, data, size);
    }
    return 0;
}
