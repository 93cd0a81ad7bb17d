/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of the change detector's memory: whatever is accepted can be read to the end, found by name, and encodes to the
 * same bytes again.  The checksum is made right first, or nothing would get past it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tracking/look.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE unsigned char *p = vb_alloc(size + 1);
    struct vb_look_row row;
    memcpy(p, data, size);
    if (size >= 16) {
        uint32_t a = vb_crc32("./x", 3), sum = vb_crc32(p + 8, size - 8) ^ (a << 7 | a >> 25);
        memcpy(p + 4, &sum, sizeof sum);
    }
    if (!vb_look_row_parse(&row, p, size, "./x"))
        return 0;
    struct vb_look_entry *v = vb_alloc_n(row.n + 1, sizeof *v);
    for (size_t i = 0, k; i < row.n; i++) {
        vb_look_row_get(&row, i, &v[i]);
        if (!vb_look_row_find(&row, v[i].name, &k) || k != i)
            abort();
    }
    VB_AUTO_BUF again = VB_BUF_INIT;
    vb_look_row_encode(&again, "./x", v, row.n);
    if (vb_look_row_size(&row) != size || again.len != size)
        abort();
    free(v);
    return 0;
}
