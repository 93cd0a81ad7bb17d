/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_config.c - the configuration parser: never crashes, and every refusal names file and line. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_config *c = vb_config_parse("fuzz.conf", (const char *)data, size, &err);
    if (!c) {
        if (err.code != VB_E_CONFIG || strncmp(err.text, "fuzz.conf:", 10) != 0 || !strstr(err.text, "expected")) {
            abort();
        }
        return 0;
    }
    static const char *const allowed[] = { "path", NULL };
    for (size_t i = 0; i < c->n; i++) {
        const struct vb_config_section *s = &c->sections[i];
        bool b;
        uint64_t n;
        (void)vb_section_bool(s, "bool", false, &b, NULL);
        (void)vb_section_u64(s, "number", 1, &n, NULL);
        (void)vb_section_duration_ms(s, "timeout", 1, &n, NULL);
        (void)vb_config_check_keys(s, allowed, &err);
        if (vb_config_find(c, s->kind, s->name) != s) {
            abort();
        }
    }
    vb_config_free(c);
    return 0;
}
