/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_ssh_offer.c - what a stranger sends before anything is secured, whole and in pieces alike. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "wire/ssh_kex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vb_kex_offer whole = { 0 }, pieces = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    vb_kex_offer_feed(&whole, data, size);
    for (size_t at = 0; at < size; at += 7)
        vb_kex_offer_feed(&pieces, data + at, size - at < 7 ? size - at : 7);
    if (whole.complete != pieces.complete || (whole.complete && strcmp(whole.kex, pieces.kex) != 0))
        abort();
    (void)vb_kex_explain(&whole, vb_kex_methods, vb_kex_ciphers, vb_kex_macs, &err);
    vb_kex_offer_clear(&whole);
    vb_kex_offer_clear(&pieces);
    return 0;
}
