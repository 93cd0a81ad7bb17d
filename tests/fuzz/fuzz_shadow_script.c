/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_shadow_script.c - scripts of `vbackup shadow run`, and the aliases in their words.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "requester/shadow_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vb_script s = { NULL, 0, 0 };
    struct vb_strv aliases = { NULL, 0, 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_strv_add(&aliases, "A=value");
    vb_strv_add(&aliases, "VSS_SHADOW_1=11111111-2222-4333-8444-555555555555");
    if (vb_script_parse(data, size, &s, &err) < 0 && err.code != VB_E_USAGE)
        abort();
    for (size_t i = 0; i < s.n; i++) {
        if (!s.v[i].command || !s.v[i].number)
            abort();
        for (size_t k = 0; k < s.v[i].args.n; k++) {
            VB_AUTO_ERROR why = VB_ERROR_INIT;
            char *word = vb_script_expand(s.v[i].args.v[k], &aliases, &why);
            if (!word && why.code == VB_OK)
                abort();
            free(word);
        }
    }
    vb_script_clear(&s);
    vb_strv_clear(&aliases);
    return 0;
}
