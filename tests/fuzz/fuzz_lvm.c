/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_lvm.c - the report of lvm: never crashes, and what was taken is of the form that was asked for. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "providers/lvm/lvm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *text = vb_strndup((const char *)data, size);
    struct vb_lvm_list l = { NULL, 0, 0 };
    const char *why = NULL;
    uint64_t bytes;
    if (vb_lvm_parse(&l, text, &why) == 0)
        for (size_t i = 0; i < l.n; i++) {
            const struct vb_lvm_lv *v = &l.v[i];
            if (!v->name[0] || v->name[0] == '-' || strchr(v->name, '/') || strlen(v->attr) != 10 || v->data > 10000 ||
                !v->extent || (v->path[0] && strncmp(v->path, "/dev/", 5) != 0))
                abort();
            (void)vb_lvm_refusal(v);
            (void)vb_lvm_damage(v, v->pool[0] ? vb_lvm_by_name(&l, v->vg, v->pool) : NULL);
            uint64_t store = vb_lvm_store(NULL, v->size, v->extent, v->vg_free, &why);
            if (store > v->vg_free || store % v->extent || vb_lvm_grow(NULL, v, v->size) > v->vg_free)
                abort();
        }
    else if (!why)
        abort();
    vb_lvm_list_clear(&l);
    (void)vb_lvm_size(text, 1u << 30, &bytes);
    return 0;
}
