/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/writer_buffer.h - replication callbacks with buffers of fixed size, for code that was written so.
 *
 * The older way is to be called with a buffer, and to answer "too small, I need so much".  These two functions, which
 * compile into the writer, make that of a sink and a payload:
 *
 *     static int my_signature(void *ctx, struct vb_host *h, struct vb_sink *out)
 *     {
 *         return vb_buffer_to_sink(old_get_signature, ctx, h, out);
 *     }
 */
#ifndef VBACKUP_WRITER_BUFFER_H
#define VBACKUP_WRITER_BUFFER_H

#include <stdlib.h>
#include <vbackup/writer.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VB_BUFFER_FIRST 1024u /* bytes that are offered at first */
#define VB_BUFFER_TRIES 16    /* what needs more each time is not asked for ever */

/* Fills at most `size` bytes, *used tells how many.  1: the buffer is too small, *used tells how much is needed (it is no
 * failure, and asked again with that much at least); 0 done; -1 failed, after svc->fail. */
typedef int vb_buffer_fn(void *ctx, struct vb_host *h, void *buffer, uint32_t size, uint32_t *used);
/* Takes the whole payload. */
typedef int vb_buffer_take_fn(void *ctx, struct vb_host *h, const void *buffer, uint32_t size);

static inline int vb_buffer_to_sink(vb_buffer_fn *fn, void *ctx, struct vb_host *h, struct vb_sink *out)
{
    uint32_t size = VB_BUFFER_FIRST;

    for (int i = 0; i < VB_BUFFER_TRIES; i++) {
        uint32_t used = 0;
        void *buffer = malloc(size);
        int result = buffer != NULL ? fn(ctx, h, buffer, size, &used) : -1;
        if (result == 0)
            result = used <= size ? out->write(out, buffer, used) : -1;
        free(buffer);
        if (result <= 0)
            return result;
        size = used > size ? used : size < UINT32_MAX / 2 ? size * 2 : UINT32_MAX;
    }
    return -1;
}

static inline int vb_buffer_from_payload(vb_buffer_take_fn *fn, void *ctx, struct vb_host *h, struct vb_payload *in)
{
    unsigned char *buffer = NULL;
    uint32_t n = 0, cap = 0;
    int result = 0;

    for (;;) {
        if (n == cap) {
            uint32_t more = cap > 0 ? (cap < UINT32_MAX / 2 ? cap * 2 : UINT32_MAX) : VB_BUFFER_FIRST;
            unsigned char *larger = more > cap ? (unsigned char *)realloc(buffer, more) : NULL;
            if (larger == NULL) {
                result = -1;
                break;
            }
            buffer = larger;
            cap = more;
        }
        long k = in->read(in, buffer + n, cap - n);
        if (k <= 0) {
            result = k < 0 ? -1 : fn(ctx, h, buffer, n);
            break;
        }
        n += (uint32_t)k;
    }
    free(buffer);
    return result;
}

#ifdef __cplusplus
}
#endif
#endif
