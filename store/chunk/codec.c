/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/codec.c - the stored form of a chunk: one zstd frame, or the bytes as they are.
 */
#include "config.h"
#include "store/chunk/chunk.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"

struct vb_codec {
    int level;
    ZSTD_CCtx *cctx; /* made at first use: a reader never needs it, and the other way round */
    ZSTD_DCtx *dctx;
    struct vb_buf again; /* work space of vb_codec_check */
};

struct vb_codec *vb_codec_new(int level)
{
    struct vb_codec *c = vb_alloc(sizeof *c);
    c->level = level < 0 ? 0 : level > 19 ? 19 : level;
    return c;
}

void vb_codec_free(struct vb_codec *c)
{
    if (!c)
        return;
    ZSTD_freeCCtx(c->cctx);
    ZSTD_freeDCtx(c->dctx);
    vb_buf_clear(&c->again);
    free(c);
}

int vb_codec_compress(struct vb_codec *c, const void *p, size_t len, struct vb_buf *out, uint8_t *encoding,
                      struct vb_error *err)
{
    if (len == 0 || len > VB_CHUNK_MAX_RAW)
        return vb_fail(err, VB_E_LIMIT, "chunk of %zu bytes: must be 1 to %zu", len, VB_CHUNK_MAX_RAW);
    vb_buf_reserve(out, len);
    if (c->level > 0 && len >= 64) {
        if (!c->cctx)
            c->cctx = ZSTD_createCCtx();
        /* With room for what would pay only, zstd itself gives up early on data that it cannot shrink. */
        size_t room = len - len / 32 - 1;
        size_t n = c->cctx ? ZSTD_compressCCtx(c->cctx, out->data + out->len, room, p, len, c->level) : (size_t)-1;
        if (!ZSTD_isError(n)) {
            out->len += n;
            *encoding = VB_ENC_ZSTD;
            return 0;
        }
    }
    vb_buf_add(out, p, len);
    *encoding = VB_ENC_RAW;
    return 0;
}

int vb_codec_decompress(struct vb_codec *c, uint8_t encoding, const void *p, size_t len, size_t raw_size,
                        struct vb_buf *out, struct vb_error *err)
{
    if (raw_size == 0 || raw_size > VB_CHUNK_MAX_RAW)
        return vb_fail(err, VB_E_CORRUPT, "chunk says it has %zu bytes: must be 1 to %zu", raw_size,
                       VB_CHUNK_MAX_RAW);
    if (encoding == VB_ENC_RAW) {
        if (len != raw_size)
            return vb_fail(err, VB_E_CORRUPT, "chunk says it has %zu bytes, and there are %zu", raw_size, len);
        vb_buf_add(out, p, len);
        return 0;
    }
    if (encoding != VB_ENC_ZSTD)
        return vb_fail(err, VB_E_CORRUPT, "chunk has the unknown encoding %u", encoding);
    if (len >= raw_size)
        return vb_fail(err, VB_E_CORRUPT, "compressed chunk is larger than its plaintext");
    /* The frame's own claim is compared before anything is decompressed; then zstd may write raw_size bytes only. */
    if (ZSTD_getFrameContentSize(p, len) != raw_size || ZSTD_findFrameCompressedSize(p, len) != len)
        return vb_fail(err, VB_E_CORRUPT, "compressed chunk is not one frame of %zu bytes", raw_size);
    if (!c->dctx)
        c->dctx = ZSTD_createDCtx();
    if (!c->dctx)
        return vb_fail(err, VB_E_NO_MEMORY, "no memory to decompress a chunk");
    vb_buf_reserve(out, raw_size);
    size_t n = ZSTD_decompressDCtx(c->dctx, out->data + out->len, raw_size, p, len);
    if (ZSTD_isError(n) || n != raw_size)
        return vb_fail(err, VB_E_CORRUPT, "chunk does not decompress: %s",
                       ZSTD_isError(n) ? ZSTD_getErrorName(n) : "wrong length");
    out->len += n;
    return 0;
}

int vb_codec_check(struct vb_codec *c, uint8_t encoding, const void *stored, size_t len, const void *p, size_t raw_size,
                   struct vb_error *err)
{
    vb_buf_reset(&c->again);
    if (encoding == VB_ENC_RAW)
        return len == raw_size && memcmp(stored, p, len) == 0 ? 0 : vb_fail(err, VB_E_CORRUPT, "copied chunk is not the same");
    if (vb_codec_decompress(c, encoding, stored, len, raw_size, &c->again, err) < 0)
        return -1;
    return memcmp(c->again.data, p, raw_size) == 0 ? 0 : vb_fail(err, VB_E_CORRUPT, "compressed chunk is another when decompressed");
}
