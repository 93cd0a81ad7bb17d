/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_components.c - backup components documents, and merging them as a writer's answer. */
#include "fuzz_document.h"
#include "documents/components.h"
#include "documents/events.h"

/* As the answer of a writer that was sent an empty record: taken or refused, never half. */
static void merge(const struct vb_components *c, struct vb_writer_components *w, int event)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF part = VB_BUF_INIT, before = VB_BUF_INIT, after = VB_BUF_INIT;
    struct vb_components *own = vb_components_new("fuzz");
    struct vb_writer_components *into =
        vb_components_writer(own, w->writer_id, w->instance_id, w->instance_name, w->name);

    into->schema = w->schema;
    for (size_t i = 0; i < w->n_components; i++)
        vb_components_add(into, w->components[i].type, w->components[i].logical_path, w->components[i].name, NULL);
    if (vb_writer_components_write(c, w, &part, &err) < 0 || vb_components_write(own, &before, &err) < 0)
        abort();
    int rc = vb_writer_components_merge(into, part.data, part.len, event, &err);
    if (vb_components_write(own, &after, &err) < 0)
        abort();
    if (rc < 0 && strcmp(vb_buf_str(&before), vb_buf_str(&after)) != 0)
        abort();
    vb_components_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF once = VB_BUF_INIT, twice = VB_BUF_INIT;

    fuzz_document_setup();
    struct vb_components *part = vb_writer_components_read(data, size, NULL);
    vb_components_free(part);
    struct vb_components *c = vb_components_read("fuzz", data, size, &err);
    if (!c)
        return fuzz_document_refused(&err);
    if (vb_components_write(c, &once, &err) < 0)
        abort();
    struct vb_components *again = vb_components_read("fuzz", once.data, once.len, &err);
    if (!again || vb_components_write(again, &twice, &err) < 0 || strcmp(vb_buf_str(&once), vb_buf_str(&twice)) != 0)
        abort();
    for (size_t i = 0; i < c->n_writers && i < 4; i++)
        merge(c, &c->writers[i], (int)(size % VB_EV_COUNT));
    vb_components_free(again);
    vb_components_free(c);
    return 0;
}
