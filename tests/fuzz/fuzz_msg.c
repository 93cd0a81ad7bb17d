/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_msg.c - frames from a stranger: whatever decodes can be read and encodes to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "wire/msg.h"
#include "wire/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const struct vb_msg *m, unsigned depth)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;

    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg inner = vb_msg_view(p, n);

        free(vb_field_str(p, n));
        (void)vb_field_u64(p, n);
        if (depth < 4)
            read_all(&inner, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_BUF again = VB_BUF_INIT;
    size_t taken = 0;

    vb_buf_add(&in, data, size);
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        int rc = vb_msg_decode(&in, &m, &err);

        if (rc != 1)
            return 0;
        read_all(&m, 0);
        (void)vb_msg_error(&m, &err);
        vb_buf_reset(&again);
        if (vb_msg_encode(&m, &again, NULL) < 0 || taken + again.len > size ||
            memcmp(again.data, data + taken, again.len) != 0)
            abort();
        taken += again.len;
    }
}
