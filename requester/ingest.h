/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/ingest.h - the requester's end of a capture's data stream: says what is wanted, stores what comes.
 *
 * Event driven on the connection.  What an agent sends is foreign: every chunk is verified by vb_repo_put, chunks
 * that were not asked for are refused, and whatever breaks the conversation ends the stream with VB_E_PROTOCOL.
 *
 * Nothing is durable when the stream ends: vb_repo_commit passes the barrier.
 */
#ifndef VB_REQUESTER_INGEST_H
#define VB_REQUESTER_INGEST_H

#include <stdint.h>
#include "base/error.h"
#include "store/repository.h"
#include "wire/conn.h"

struct vb_ingest;

struct vb_ingest_stats {
    uint64_t offered_chunks, offered_bytes; /* plaintext */
    uint64_t wanted_chunks, wanted_bytes;   /* plaintext */
    uint64_t received_bytes;                /* as sent */
    uint64_t warnings, roots;
};

struct vb_ingest_handler {
    /* Each may be NULL, on_end excepted. Strings are valid during the call. bytes_total 0: unknown. */
    void (*on_progress)(void *arg, uint64_t files, uint64_t bytes_done, uint64_t bytes_total);
    void (*on_warn)(void *arg, const char *path, const struct vb_error *what);
    /* Once, never from inside vb_ingest_new.  why->code VB_OK: the agent ended the stream and everything was taken;
     * VB_E_CONNECTION_LOST: it broke off; else what the repository or the agent said.  The object may be freed here. */
    void (*on_end)(void *arg, const struct vb_error *why);
};

/* Takes over the connection, on which DATA was answered with DATA_OK already.  Borrows the repository, which must be
 * locked for writing.  group: whose chunks these are (vb_repo_group): what others have is wanted all the same. */
struct vb_ingest *vb_ingest_new(struct vb_conn *c, struct vb_repo *r, uint32_t group, const struct vb_ingest_handler *h,
                                void *arg);
/* The agent is a part of ourselves (vb_conn_fd_is_own): data chunks that it says to have checked are not checked again.
 * It must have been told to (vb_ingest_add_trust), and before anything is received. */
void vb_ingest_trust(struct vb_ingest *in);
void vb_ingest_free(struct vb_ingest *in); /* NULL ok; closes the connection, no more callbacks */
void vb_ingest_stats(const struct vb_ingest *in, struct vb_ingest_stats *s);

/* What a CAPTURE command must carry: NAMING_KEY and CUT_SEED of the group, CUT_PARAMS twice, LEVEL. */
void vb_ingest_add_keys(struct vb_msg *m, const struct vb_repo *r, uint32_t group);

/* What a CAPTURE command carries beside it for an agent that is trusted. */
void vb_ingest_add_trust(struct vb_msg *m);

#endif
