/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_memory.c - the small texts that bring a repository back or hold it against something: what this machine
 * remembers of it, its configuration.
 */
#include <config.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/repository_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size);
    struct vb_memory m, again;
    if (vb_memory_parse(text, &m)) {
        VB_AUTO_FREE char *first = vb_memory_text(&m);
        if (!vb_memory_parse(first, &again) || m.number != again.number || m.accepted != again.accepted ||
            m.wall_ms != again.wall_ms || !vb_name_equal(&m.hash, &again.hash))
            abort();
    }
    VB_AUTO_FREE struct vb_received *v = NULL;
    size_t n = 0;
    if (vb_received_decode(data, size, &v, &n, NULL) == 0) {
        vb_received_tidy(v, &n, NULL, 0);
        for (size_t i = 1; i < n; i++)
            if (v[i].number <= v[i - 1].number || v[i].wall_ms < v[i - 1].wall_ms)
                abort();
        VB_AUTO_FREE char *list = vb_received_encode(v, n);
        VB_AUTO_FREE struct vb_received *back = NULL;
        size_t n_back = 0;
        if (vb_received_decode(list, strlen(list), &back, &n_back, NULL) < 0 || n_back != n)
            abort();
    }
    struct vb_repo_config *c = vb_alloc(sizeof *c);
    if (vb_repo_config_decode(data, size, c, NULL) == 0 && (c->info.format > VB_REPO_FORMAT || !vb_guid_valid(c->info.id)))
        abort();
    free(c);
    return 0;
}
