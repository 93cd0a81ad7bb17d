/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/bundle_writers.h - the writers' share of a bundle (DSN-43): signature and payload when it is made, deserialize when it
 * is applied, propagate2 when its acknowledgement comes.
 *
 * Payloads are counted in the source's store.  What a receiver has taken of a source it does not take again, nor anything
 * older: so a bundle that is applied twice, or late, does not set a writer back.
 */
#ifndef VB_REPLICA_BUNDLE_WRITERS_H
#define VB_REPLICA_BUNDLE_WRITERS_H

#include "replica/ext_talk.h"
#include "replica/pass.h"

struct vb_bundle_writers {
    struct vb_ext_hosts *hosts; /* of the scope's writers */
    struct vb_strv names;
    uint64_t limit_ms;          /* of one call */
    const char *dir;            /* for payloads on their way */
    const char *series;         /* of a bundle that is made: what propagate hears as the target */
    bool encrypted;             /* whoever else reads the file sees nothing: secret payloads may go in (DSN-35) */
    bool skip_missing;          /* when it is applied: a writer that is not here is left out */
};

/* Behind GONE, before the rows. */
int vb_bundle_send_writers(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, struct vb_error *err);
/* One EXT message and its payload, from the replica `from` (hexadecimal).  o->writers NULL: none are here.  1: it was, or with
 * dry_run would be, taken in; 0: it is here already, or left out. */
int vb_bundle_take_writer(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, const char *from, const struct vb_msg *m,
                          struct vb_error *err);
/* What was taken, into the head of an acknowledgement; and told to the writers of the source. */
int vb_bundle_ack_writers(struct vb_place *p, struct vb_msg *head, struct vb_error *err);
int vb_bundle_acked_writers(struct vb_place *p, const struct vb_pass_options *o, const struct vb_msg *head, struct vb_error *err);

#endif
