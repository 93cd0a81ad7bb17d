/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_ledger.c - records of the ledger, and the names of leases and states: what is accepted is written again
 * to the same bytes; what we write ourselves is accepted, whatever is in it.
 */
#include <config.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_record(struct vb_keys *k, const uint8_t *data, size_t size)
{
    VB_AUTO_BUF again = VB_BUF_INIT;
    struct vb_ledger_record rec;
    uint64_t number = 0;
    for (size_t i = 24; i < 32 && i < size; i++)
        number |= (uint64_t)data[i] << 8 * (i - 24);
    if (vb_ledger_decode(k, number, data, size, &rec, NULL) == 0) {
        vb_ledger_encode(k, 0, &rec, &again);
        if (again.len != size || memcmp(again.data, data, size) != 0)
            abort();
    } else if (rec.kind != VB_LEDGER_UNKNOWN || rec.number != number) {
        abort(); /* it takes up its number and says nothing */
    }
}

static void own_record(struct vb_keys *k, const uint8_t *data, size_t size)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    struct vb_ledger_record rec = { .kind = VB_LEDGER_BACKUP }, back;
    if (size < 1 + sizeof rec.previous + sizeof rec.what)
        return;
    rec.number = data[0];
    rec.kind = (enum vb_ledger_kind)(1 + data[0] % 3);
    memcpy(&rec.previous, data + 1, sizeof rec.previous);
    memcpy(&rec.what, data + 1 + sizeof rec.previous, sizeof rec.what);
    vb_ledger_encode(k, 0, &rec, &bytes);
    if (vb_ledger_decode(k, rec.number, bytes.data, bytes.len, &back, NULL) < 0 || back.kind != rec.kind ||
        !vb_name_equal(&back.previous, &rec.previous) || !vb_name_equal(&back.what, &rec.what) ||
        !vb_name_equal(&back.hash, &rec.hash))
        abort();
    /* One bit elsewhere: its keyed hash tells. */
    if (size > 80) {
        bytes.data[data[70] % bytes.len] ^= (unsigned char)(1u << data[71] % 8);
        if (vb_ledger_decode(k, rec.number, bytes.data, bytes.len, &back, NULL) == 0)
            abort();
    }
}

static void names(const uint8_t *data, size_t size)
{
    VB_AUTO_FREE char *path = vb_strndup((const char *)data, size);
    uint64_t a = 0, b = 0;
    char id[VB_GUID_LEN + 1];
    struct vb_name hash;
    if (vb_lease_path_parse(path, &a, id, &b)) {
        VB_AUTO_FREE char *again = vb_lease_path(a, id, b);
        if (strcmp(again, path) != 0)
            abort();
    }
    if (vb_state_path_parse(path, &a, &hash)) {
        VB_AUTO_FREE char *again = vb_state_path(a, &hash);
        if (strcmp(again, path) != 0)
            abort();
    }
    if (vb_ledger_path_parse(path, &a)) {
        VB_AUTO_FREE char *again = vb_ledger_path(a);
        if (strcmp(again, path) != 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t root[VB_KEY_LEN] = { 1, 2, 3 };
    struct vb_keys *k = vb_keys_from_root("11111111-1111-4111-8111-111111111111", false, root);
    one_record(k, data, size);
    own_record(k, data, size);
    names(data, size);
    vb_keys_free(k);
    return 0;
}
