/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_greeting.c - a stranger's HELLO. */
#include <stdint.h>
#include <stdlib.h>
#include "base/mem.h"
#include "wire/greeting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vb_greet_params p = { .role = "requester", .version_min = 2, .version_max = 4 };
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hello h = VB_HELLO_INIT;

    vb_buf_add(&in, data, size);
    if (vb_msg_decode(&in, &m, &err) == 1 && vb_hello_read(&p, &m, &h, &err) == 0 &&
        (h.version < 2 || h.version > 4 || !h.program || !h.role))
        abort();
    vb_hello_clear(&h);
    return 0;
}
