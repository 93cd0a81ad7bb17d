/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_catalog.c - records of backups: what is accepted is written and read again to the same text. */
#include <config.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/catalog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_BUF first = VB_BUF_INIT, second = VB_BUF_INIT;
    struct vb_catalog_entry *e = vb_catalog_decode(data, size, NULL);
    if (!e)
        return 0;
    if (vb_catalog_encode(e, &first, NULL) != 0)
        abort();
    struct vb_catalog_entry *again = vb_catalog_decode(first.data, first.len, NULL);
    if (!again || vb_catalog_encode(again, &second, NULL) != 0 || first.len != second.len ||
        memcmp(first.data, second.data, first.len) != 0)
        abort();
    vb_catalog_entry_free(again);
    vb_catalog_entry_free(e);
    return 0;
}
