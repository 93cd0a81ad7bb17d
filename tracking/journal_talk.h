/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_talk.h - the bytes between the journal service and who asks it.
 */
#ifndef VB_TRACKING_JOURNAL_TALK_H
#define VB_TRACKING_JOURNAL_TALK_H

#include "tracking/journal.h"

enum vb_journal_op { VB_JOURNAL_STATUS = 1, VB_JOURNAL_ASK = 2, VB_JOURNAL_ASK_AGAIN = 3 };

struct vb_journal_request {
    enum vb_journal_op op;
    uint64_t st_dev;
    bool has_position;
    struct vb_journal_position position;
};
#define VB_JOURNAL_REQUEST_LEN 38u
#define VB_JOURNAL_REPLY_MAX ((uint32_t)512 << 20)

void vb_journal_request_encode(const struct vb_journal_request *q, struct vb_buf *out);
bool vb_journal_request_decode(const unsigned char *p, size_t n, struct vb_journal_request *q);

/* Behind the length (u32): u8 0 and a text that refuses, or u8 1 and the answer. */
void vb_journal_answer_encode(const struct vb_journal_answer *a, struct vb_buf *out);
int vb_journal_answer_decode(const unsigned char *p, size_t n, struct vb_journal_answer *a, struct vb_error *err);

#endif
