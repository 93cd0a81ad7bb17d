/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_writer_metadata.c - what is read can be written, and comes back the same; refusals name the document.
 */
#include "fuzz_document.h"
#include "documents/writer_metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF once = VB_BUF_INIT, twice = VB_BUF_INIT;

    fuzz_document_setup();
    struct vb_writer_metadata *m = vb_wm_read("fuzz", data, size, &err);
    if (!m)
        return fuzz_document_refused(&err);
    if (vb_wm_write(m, &once, &err) < 0)
        abort();
    struct vb_writer_metadata *again = vb_wm_read("fuzz", once.data, once.len, &err);
    if (!again || vb_wm_write(again, &twice, &err) < 0 || strcmp(vb_buf_str(&once), vb_buf_str(&twice)) != 0)
        abort();
    for (size_t i = 0; i < m->n_components; i++)
        if (vb_wm_find(m, m->components[i].logical_path, m->components[i].name) != &m->components[i])
            abort();
    (void)vb_wm_check_offer(m, NULL);
    vb_wm_free(again);
    vb_wm_free(m);
    return 0;
}
