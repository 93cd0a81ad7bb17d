/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_job.c - job documents. */
#include "fuzz_document.h"
#include "documents/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF once = VB_BUF_INIT, twice = VB_BUF_INIT;

    fuzz_document_setup();
    struct vb_job *j = vb_job_read("fuzz", data, size, &err);
    if (!j)
        return fuzz_document_refused(&err);
    if (vb_job_write(j, &once, &err) < 0)
        abort();
    struct vb_job *again = vb_job_read("fuzz", once.data, once.len, &err);
    if (!again || vb_job_write(again, &twice, &err) < 0 || strcmp(vb_buf_str(&once), vb_buf_str(&twice)) != 0)
        abort();
    vb_job_free(again);
    vb_job_free(j);
    return 0;
}
