/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_codec.c - the decompressor: the first four bytes are the claimed size, the fifth the encoding. */
#include <config.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/chunk/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vb_codec *codec;
    VB_AUTO_BUF out = VB_BUF_INIT;
    struct vb_reader r;
    uint32_t raw = 0;
    uint8_t encoding = 0;
    if (!codec)
        codec = vb_codec_new(3);
    vb_reader_init(&r, data, size);
    if (!vb_get_u32(&r, &raw) || !vb_get_u8(&r, &encoding))
        return 0;
    if (vb_codec_decompress(codec, encoding, r.p, r.left, raw, &out, NULL) == 0 ? out.len != raw : out.len != 0)
        abort();
    return 0;
}
