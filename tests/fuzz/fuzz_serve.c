/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_serve.c - frames of a client to `vbackup serve`: nothing that was there may change. */
#include <config.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "store/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vb_backend *share(void *arg, bool create, struct vb_error *err)
{
    (void)create, (void)err;
    return vb_backend_memory_share(arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct vb_serve_rules rules = { .append_only = true };
    struct vb_backend *files = vb_backend_memory_new();
    VB_AUTO_BUF in = VB_BUF_INIT, out = VB_BUF_INIT;
    uint64_t there = 0;
    vb_backend_write(files, "config", "config", 6, NULL);
    vb_backend_write(files, "packs/aa/one", "a pack", 6, NULL);
    struct vb_serve *s = vb_serve_new(&rules, share, files);
    vb_buf_add(&in, data, size);
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_msg_decode(&in, &m, NULL) != 1 || vb_serve_message(s, &m, &out, NULL, NULL, NULL) < 0)
            break;
        vb_buf_reset(&out);
    }
    if (vb_backend_size(files, "packs/aa/one", &there, NULL) < 0 || there != 6 ||
        vb_backend_size(files, "config", &there, NULL) < 0 || there != 6)
        abort();
    vb_serve_free(s);
    vb_backend_close(files);
    return 0;
}
