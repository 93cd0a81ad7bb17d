/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_ranges.c - ranges of partial files, as text and as file: what passes is ascending and apart. */
#include <config.h>
#include <stdlib.h>
#include "base/mem.h"
#include "documents/ranges.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct vb_ranges *r)
{
    uint64_t end = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (!r->v[i].len || r->v[i].offset < end || r->v[i].offset + r->v[i].len < r->v[i].offset)
            abort();
        end = r->v[i].offset + r->v[i].len;
    }
    if (vb_ranges_check_size(r, end, NULL) < 0 || (end && vb_ranges_check_size(r, end - 1, NULL) == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size);
    struct vb_ranges r = { .v = NULL };
    if (vb_ranges_parse(text, &r, NULL) == 0)
        look(&r);
    if (vb_ranges_decode(data, size, &r, NULL) == 0)
        look(&r);
    vb_ranges_clear(&r);
    return 0;
}
