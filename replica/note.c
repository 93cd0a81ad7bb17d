/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/note.c - how a pass ended is noted for `status`, in a transaction of its own; a note that fails harms nothing. */
#include <config.h>
#include <string.h>
#include "base/mem.h"
#include "replica/pass.h"

void vb_pass_note(const struct vb_place *p, enum vb_side side, const struct vb_pass_options *o, const char *peer, const struct vb_pass_result *r,
                  const struct vb_error *why)
{
    VB_AUTO_FREE char *brief = peer && *peer ? vb_strndup(peer, strlen(peer) < 8 ? strlen(peer) : 8) : NULL;
    const struct vb_link l = {
        .side = side,
        .name = o->peer && *o->peer ? o->peer : brief,
        .peer = peer,
        .code = why ? why->code : VB_OK,
        .text = why ? vb_error_text(why) : "",
        .deferred = why ? 0 : r->deferred,
        .failed = why ? 0 : r->failed,
    };
    if (!l.name || o->dry_run || vb_replica_begin(p->store, NULL) < 0)
        return;
    if (vb_replica_link_note(p->store, p->scope.id, &l, NULL) < 0 || vb_replica_commit(p->store, NULL) < 0)
        vb_replica_rollback(p->store);
}
