/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_sheet.c - the sheet of paper as somebody types it: what is accepted is printed and read again the same. */
#include <config.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "requester/kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size);
    VB_AUTO_BUF out = VB_BUF_INIT;
    struct vb_sheet s, again;
    memset(&s, 0, sizeof s);
    memset(&again, 0, sizeof again);
    if (vb_sheet_read(text, &s, NULL) == 0 && s.has_secret) {
        vb_sheet_print(s.id, s.location ? s.location : "/", "machine", "2026-11-23T00:00:00Z", s.secret, &out);
        if (vb_sheet_read(vb_buf_str(&out), &again, NULL) < 0 || strcmp(again.id, s.id) != 0 || !again.has_secret ||
            memcmp(again.secret, s.secret, sizeof s.secret) != 0)
            abort();
    }
    vb_sheet_clear(&s);
    vb_sheet_clear(&again);
    return 0;
}
