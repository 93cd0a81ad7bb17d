/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_state.c - the state that a prune leaves: what is accepted is written and read again to the same text. */
#include <config.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_BUF first = VB_BUF_INIT, second = VB_BUF_INIT;
    struct vb_state s, again = { 0 };
    if (vb_state_decode(data, size, &s, NULL) == 0) {
        for (size_t i = 0; i < s.n_packs; i++)
            if (vb_state_find(&s, &s.packs[i].name) != &s.packs[i])
                abort();
        if (vb_state_encode(&s, &first, NULL) < 0 || vb_state_decode(first.data, first.len, &again, NULL) < 0 ||
            vb_state_encode(&again, &second, NULL) < 0 || first.len != second.len ||
            memcmp(first.data, second.data, first.len) != 0)
            abort();
    }
    vb_state_clear(&s);
    vb_state_clear(&again);
    return 0;
}
