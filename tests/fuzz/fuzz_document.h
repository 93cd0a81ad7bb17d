/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_document.h - what the fuzz targets of documents share. */
#ifndef VB_TESTS_FUZZ_DOCUMENT_H
#define VB_TESTS_FUZZ_DOCUMENT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_document_setup(void)
{
    static int done;

    if (!done++)
        setenv("VBACKUP_SCHEMA_DIR", VB_TEST_SRCDIR "/documents/schema", 0);
}

/* A refusal has one of these codes, and a text that begins with the document's name. */
static inline int fuzz_document_refused(const struct vb_error *err)
{
    if (err->code != VB_E_INVALID_XML_DOCUMENT && err->code != VB_E_NEWER_FORMAT && err->code != VB_E_LIMIT)
        abort();
    if (strncmp(err->text, "'fuzz'", 6) != 0)
        abort();
    for (const unsigned char *p = (const unsigned char *)err->text; *p; p++)
        if (*p < 0x20) /* nothing of the document reaches a terminal as it is */
            abort();
    return 0;
}

#endif
