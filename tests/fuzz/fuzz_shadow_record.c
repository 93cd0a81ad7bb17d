/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_shadow_record.c - the record of a shadow copy set: from the agent's state, and from a file to import. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>

#include "agent/shadow_store.h"
#include "wire/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_buf_add(&in, data, size);
    if (vb_msg_decode(&in, &m, &err) != 1)
        return 0;
    struct vb_shadow_set *s = vb_shadow_decode(&m, &err);
    if (!s)
        return 0;
    /* What is taken in is written and read again as the same. */
    VB_AUTO_MSG out = VB_MSG_INIT(m.type);
    vb_shadow_encode(s, &out);
    struct vb_shadow_set *again = vb_shadow_decode(&out, &err);
    if (!again || again->n != s->n || again->n_wmd != s->n_wmd)
        abort();
    vb_shadow_set_free(again);
    vb_shadow_set_free(s);
    return 0;
}
