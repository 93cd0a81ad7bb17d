/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/ext_talk.h - the writers' share of a run over the stream that the passes use (replica/stream.h), and which writers
 * a scope has.
 */
#ifndef VB_REPLICA_EXT_TALK_H
#define VB_REPLICA_EXT_TALK_H

#include "replica/ext_hosts.h"
#include "replica/place.h"
#include "replica/stream.h"

/* The writers of a scope: sections of the configuration of this host.  Only they are ever started for a peer. */
int vb_place_writers(struct vb_place *p, struct vb_strv *names, uint64_t *limit_ms, struct vb_error *err);
/* Needs a transaction; limit_ms 0: VB_EXT_LIMIT_MS. */
int vb_place_set_writers(struct vb_place *p, const struct vb_strv *names, uint64_t limit_ms, struct vb_error *err);

/* ---- the source's end ---- */

struct vb_ext_wanted {
    const char *name, *class_id;
    bool present;   /* answers: */
    uint64_t calls;
};
/* Which of these are there. */
int vb_ext_ask_list(struct vb_rstream *s, struct vb_ext_wanted *w, size_t n, struct vb_error *err);
/* Signature (hash is filled) or deserialize (payload, a descriptor, -1: empty) there. */
int vb_ext_ask(struct vb_rstream *s, const char *writer, enum vb_repl_call call, uint64_t limit_ms, int payload, unsigned char hash[32],
               struct vb_error *err);

/* ---- the target's end ---- */

/* Answers an EXT_LIST or EXT_CALL; -1 when the stream is broken.  dir: for payloads on their way. */
int vb_ext_serve(struct vb_rstream *s, struct vb_ext_hosts *x, const char *dir, const struct vb_msg *m, struct vb_error *err);

/* ---- both, and bundles ---- */

int vb_ext_send_payload(struct vb_rstream *s, int fd, struct vb_error *err);
int vb_ext_recv_payload(struct vb_rstream *s, int fd, struct vb_error *err);

#endif
