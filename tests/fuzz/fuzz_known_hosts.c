/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_known_hosts.c - known_hosts files, and private key files, of any content. */
#include <stdint.h>
#include <stdlib.h>
#include "base/mem.h"
#include "wire/known_hosts.h"
#include "wire/ssh_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "10.0.0.1", "backend" };
    struct vb_known_hosts k = VB_KNOWN_HOSTS_INIT;
    struct vb_ssh_key key = VB_SSH_KEY_INIT;
    const struct vb_known_key *at;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    vb_known_hosts_parse(&k, "fuzz", (const char *)data, size);
    for (size_t i = 0; i < k.n; i++) {
        enum vb_known v = vb_known_hosts_check(&k, names, 2, 22, k.keys[i].blob, k.keys[i].n, &at);

        /* A key of the file is never judged changed for a host that its own line names. */
        if (vb_known_key_is_for(&k.keys[i], "backend", 22) && v != VB_KNOWN_OK && v != VB_KNOWN_REVOKED)
            abort();
    }
    vb_known_hosts_clear(&k);
    if (vb_ssh_key_parse(&key, "fuzz", data, size, &err) < 0 && err.code != VB_E_CORRUPT)
        abort();
    vb_ssh_key_clear(&key);
    return 0;
}
