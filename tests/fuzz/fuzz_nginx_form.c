/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_nginx_form.c - a configuration that comes from another host, and a file of substitutions. */
#include "config.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "writers/nginx/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ngx_tree t;
    struct ngx_words w;
    struct ngx_bytes b = { NULL, 0, 0 };
    char *text = vbw_alloc(size + 1, 1);
    size_t n;

    if (ngx_tree_decode(&t, data, size) == NULL) { /* what is taken has one form */
        ngx_tree_encode(&t, &b);
        if (b.n != size || memcmp(b.p, data, size) != 0)
            abort();
    }
    memcpy(text, data, size);
    if (ngx_words_parse(&w, text) == 0) {
        free(ngx_words_apply(&w, text, size, &n));
        ngx_tree_exchange(&t, &w);
    }
    ngx_words_clear(&w);
    ngx_tree_clear(&t);
    free(b.p);
    free(text);
    return 0;
}
