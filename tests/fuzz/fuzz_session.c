/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_session.c - what a requester sends to a session: any frames in any state.  Every command is answered
 * exactly once, and the session can always be ended, with everything released.
 *
 * The first byte says how far a proper requester goes before: 0 nothing, 1 identified, 2 prepared, 3 snapshot taken;
 * 4 to 6 the same for a restore (identified, PreRestore done).
 */
#include <config.h>
#include <stdlib.h>
#include "tests/fakes/agent_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void go(struct vb_fake_host *h, unsigned far, bool restore)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    if (far >= 1)
        (void)vb_fake_command(h, VB_M_IDENTIFY, NULL);
    vb_fake_bcd(h, restore, &b);
    if (restore)
        vb_fake_stored(h, &b);
    if (far >= 2)
        (void)vb_fake_command(h, restore ? VB_M_PRE_RESTORE : VB_M_PREPARE, &b);
    if (far >= 3 && !restore)
        (void)vb_fake_command(h, VB_M_SNAPSHOT, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    if (size < 1)
        return 0;
    bool restore = data[0] % 7 >= 4;
    struct vb_fake_host *h = vb_fake_host_new();
    vb_fake_add_provider(h, "prov");
    struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    for (size_t i = 0; i < sizeof w->class_id - 1; i++) /* a class that a seed can name */
        w->class_id[i] = "11111111-2222-4333-8444-555555555555"[i];
    vb_fake_open(h, restore ? VB_JOB_RESTORE : VB_JOB_BACKUP, NULL);
    go(h, restore ? data[0] % 7 - 4u : data[0] % 7, restore);
    vb_buf_add(&in, data + 1, size - 1);
    size_t before = h->n_replies, sent = 0;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_msg_decode(&in, &m, NULL) != 1)
            break;
        vb_session_command(h->session, &m);
        sent++;
        vb_fake_run(h, 50);
    }
    vb_session_end(h->session, VB_E_CANCELLED, "end of the input");
    vb_fake_run(h, 3600000);
    if (!h->ended || h->n_replies - before != sent || h->in_window || h->frozen || h->slot_wanted)
        abort();
    vb_fake_host_free(h);
    return 0;
}
