/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_ingest.c - a capture's data stream from a hostile agent: whatever it sends, the stream ends once, and the
 * repository stays whole.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/loop.h"
#include "base/mem.h"
#include "requester/ingest.h"
#include "wire/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vb_repo *repo; /* one for all inputs; it lies in memory that leak checkers do not search */

static void end_repository(void)
{
    vb_repo_close(repo);
}

static struct vb_repo *repository(void)
{
    if (!repo) {
        struct vb_backend *b = vb_backend_memory_new();
        if (vb_repo_init_on(b, NULL, 1, NULL) < 0)
            abort();
        repo = vb_repo_open_on(b, VB_REPO_WRITE, NULL);
        if (!repo || vb_repo_lock(repo, 1, NULL) < 0)
            abort();
        atexit(end_repository);
    }
    return repo;
}

static void on_end(void *arg, const struct vb_error *why)
{
    unsigned *ends = arg;
    (void)why;
    if (++*ends > 1)
        abort();
}

static void ignore_msg(void *arg, struct vb_msg *m)
{
    (void)arg;
    (void)m;
}

static void ignore_close(void *arg, const struct vb_error *why)
{
    (void)arg;
    (void)why;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vb_conn_handler agent_handler = { ignore_msg, ignore_close, NULL };
    const struct vb_ingest_handler h = { NULL, NULL, on_end };
    VB_AUTO_BUF in = VB_BUF_INIT;
    unsigned ends = 0;
    struct vb_conn *agent, *ours;
    struct vb_loop *loop = vb_loop_new_virtual(1);
    vb_conn_pair(loop, NULL, NULL, &ours, &agent);
    vb_conn_set_handler(agent, &agent_handler, NULL);
    struct vb_ingest *ingest = vb_ingest_new(ours, repository(), 0, &h, &ends);
    vb_buf_add(&in, data, size);
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_msg_decode(&in, &m, NULL) != 1)
            break;
        vb_conn_send(agent, &m);
    }
    vb_conn_finish(agent); /* end of file behind it */
    for (int i = 0; i < 2000 && vb_loop_turn(loop, 0); i++)
        ;
    if (ends != 1)
        abort();
    vb_ingest_free(ingest);
    vb_conn_free(agent);
    vb_loop_free(loop);
    return 0;
}
