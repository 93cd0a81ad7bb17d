/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/serve.h - a repository served to requesters on other machines: `vbackup serve` behind SSH.
 *
 * The frames are those of wire/msg.h.  A request has a name of a file, no path: which repository is served, and what may
 * be done with it, is decided by whoever starts the server (the forced command of a key in authorized_keys).
 *
 *     HELLO  version [create]          -> HELLO version, flags, location
 *     READ   name offset length        -> DATA bytes, as often as needed
 *     WRITE  name size, DATA bytes ... -> OK, when all is there
 *     SAME   name size sum             -> OK flag: the file there has this SHA-256 (for a write that was cut off)
 *     LIST   prefix                    -> ENTRIES (name size)..., OK
 *     REMOVE name | SIZE name | BARRIER | LOCK text | UNLOCK | SWEEP -> OK
 *
 * Anything may be answered by ERROR (code, text, hint).  What breaks the format ends the conversation.
 */
#ifndef VB_STORE_SERVE_H
#define VB_STORE_SERVE_H

#include "store/backend.h"
#include "wire/msg.h"
#include "wire/protocol.h"

#define VB_SERVE_VERSION 1u
#define VB_SERVE_DATA_MAX ((size_t)1 << 20)   /* bytes in one DATA */
#define VB_SERVE_FILE_MAX ((uint64_t)1 << 28) /* of a file that is written */

enum vb_serve_type {
    VB_SV_HELLO = 0x601, VB_SV_READ, VB_SV_WRITE, VB_SV_DATA, VB_SV_SAME, VB_SV_LIST, VB_SV_ENTRIES, VB_SV_REMOVE,
    VB_SV_SIZE, VB_SV_BARRIER, VB_SV_LOCK, VB_SV_UNLOCK, VB_SV_SWEEP
};
enum vb_serve_field { /* 1 to 3 are those of an error */
    VB_SF_VERSION = 16, VB_SF_CREATE, VB_SF_APPEND_ONLY, VB_SF_LOCATION, VB_SF_NAME, VB_SF_OFFSET, VB_SF_LENGTH,
    VB_SF_BYTES, VB_SF_SUM, VB_SF_SAME, VB_SF_SIZE, VB_SF_TEXT
};

struct vb_serve_rules {
    bool append_only; /* nothing is removed or forgotten, but leases that the same client made */
    bool write_only;  /* append_only, and neither data nor records are read */
    bool read_only;
};

struct vb_serve;
/* open is called at HELLO: for a repository that is to be made (never with append_only or read_only), or one that is
 * there.  arg is the caller's. */
typedef struct vb_backend *vb_serve_open_fn(void *arg, bool create, struct vb_error *err);
struct vb_serve *vb_serve_new(const struct vb_serve_rules *rules, vb_serve_open_fn *open, void *arg);
void vb_serve_free(struct vb_serve *s); /* NULL ok; closes the backend, and with it the client's lock */
/* One message of the client; answers are appended to out as frames, and given to flush when there are many.  -1: the
 * client broke the conversation.  The entry point of the fuzz target. */
typedef int vb_serve_flush_fn(void *arg, struct vb_buf *out, struct vb_error *err);
int vb_serve_message(struct vb_serve *s, const struct vb_msg *m, struct vb_buf *out, vb_serve_flush_fn *flush, void *arg,
                     struct vb_error *err);
/* Serves until the client ends: 0, or -1 when it broke the conversation or the line. */
int vb_serve_run(struct vb_serve *s, int in, int out, struct vb_error *err);

#endif
