/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/bad.c - modules that a host must refuse; -DBAD_... says in what way.
 */
#include <vbackup/writer.h>

#if !defined(BAD_NO_ENTRY)

#if !defined(BAD_NO_CALLBACKS)
static int nothing(void *ctx, struct vb_host *h)
{
    (void)ctx;
    (void)h;
    return 0;
}
#endif

static const struct vb_writer BAD = {
#if defined(BAD_SIZE)
    .size = 16,
#elif defined(BAD_LARGER)
    .size = sizeof(struct vb_writer) + 512,
#else
    .size = sizeof(struct vb_writer),
#endif
#if defined(BAD_MAGIC)
    .magic = 1,
#else
    .magic = VB_WRITER_MAGIC,
#endif
#if defined(BAD_ABI)
    .abi = 4711,
#else
    .abi = VB_WRITER_ABI,
#endif
#if defined(BAD_CLASS)
    .class_id = "not a guid",
#else
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7effff",
#endif
    .name = "bad writer",
    .usage = VB_USAGE_OTHER,
#if !defined(BAD_NO_CALLBACKS)
    .identify = nothing,
    .freeze = nothing,
    .thaw = nothing,
    .abort = nothing,
#endif
};
#if defined(BAD_LARGER)
/* a writer of a later version: the struct is longer than the host's, what is behind it is not the host's business */
static struct {
    struct vb_writer w;
    unsigned char later[512];
} larger;
VB_WRITER_EXPORT const struct vb_writer *vb_writer_entry(void)
{
    larger.w = BAD;
    for (unsigned i = 0; i < sizeof larger.later; i++)
        larger.later[i] = 0xee;
    return &larger.w;
}
#else
VB_REGISTER_WRITER(BAD)
#endif
#else
int vb_bad_no_entry(void);
int vb_bad_no_entry(void)
{
    return 0;
}
#endif
