/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the journal service is asked, and what it answers: whatever is accepted can be read to the end, and encodes to the
 * same bytes again.  First byte 0: a request, 1: an answer, else records, whose checksums are made right.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tracking/journal_talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct vb_buf *b, const uint8_t *p, size_t n)
{
    if (b->len != n || (n && memcmp(b->data, p, n) != 0))
        abort();
}

static void mend(unsigned char *p, size_t n)
{
    while (n >= 8) {
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len < 4 || len > n - 4)
            return;
        uint32_t crc = vb_crc32(p + 8, len - 4);
        for (unsigned i = 0; i < 4; i++)
            p[4 + i] = (unsigned char)(crc >> (24 - 8 * i));
        p += 4 + len;
        n -= 4 + len;
    }
}

static void records(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE unsigned char *p = vb_alloc(size + 1);
    VB_AUTO_BUF again = VB_BUF_INIT;
    struct vb_journal_set *s = vb_journal_set_new(32);
    struct vb_reader r;
    struct vb_journal_record one;
    uint64_t ino;
    memcpy(p, data, size);
    mend(p, size);
    vb_reader_init(&r, p, size);
    while (vb_journal_record_take(&r, &one) == 1) {
        vb_journal_record_encode(&again, &one);
        vb_journal_set_add(s, &one);
        vb_journal_key_ino(&one, &ino);
        vb_journal_handle_ino(one.key, one.n_key, &ino);
    }
    if (again.len > size || (again.len && memcmp(again.data, p, again.len) != 0))
        abort();
    vb_journal_set_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_BUF again = VB_BUF_INIT;
    struct vb_journal_request q;
    struct vb_journal_answer a = { .start = 0 };
    if (size == 0)
        return 0;
    data++;
    size--;
    if (data[-1] == 0 && vb_journal_request_decode(data, size, &q)) {
        vb_journal_request_encode(&q, &again);
        same(&again, data, size);
    }
    if (data[-1] == 1 && vb_journal_answer_decode(data, size, &a, NULL) == 0) {
        vb_journal_answer_encode(&a, &again);
        if (again.len > size) /* shorter: a reason with a zero byte in it, or a long one */
            abort();
        vb_journal_answer_clear(&a);
    }
    if (data[-1] > 1)
        records(data, size);
    return 0;
}
