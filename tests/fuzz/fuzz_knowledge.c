/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_knowledge.c - a peer's knowledge, and the marker found in a scope's root: what is accepted has one form. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tracking/replica_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vb_replica r = { .bound = 5, .own = { { 1 } } };
    char name[] = "s", root[] = "/s";
    struct vb_scope scope = { .name = name, .root = root, .guid = "5d7a3b4e-0000-4000-8000-000000000001" };
    VB_AUTO_FREE char *why = NULL;
    if ((vb_replica_judge_marker(&r, &scope, (const char *)data, size, 0, &why) == VB_MARKER_GOOD) != !why)
        abort();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_KNOWLEDGE *k = vb_knowledge_decode(data, size, &err);
    if (!k)
        return 0;
    VB_AUTO_BUF again = VB_BUF_INIT;
    vb_knowledge_encode(k, &again);
    if (again.len != size || memcmp(again.data, data, size) != 0)
        abort();
    VB_AUTO_KNOWLEDGE *twice = vb_knowledge_copy(k);
    vb_knowledge_join(twice, k);
    if (!vb_knowledge_equal(twice, k))
        abort();
    return 0;
}
