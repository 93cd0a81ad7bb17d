/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/extension.h - which call of the writers' replication blocks is due, for one source and many targets.
 *
 * A pure state machine: it waits for nothing and calls nobody.  Whoever runs targets asks for what is due, does it, and says
 * how it went; one after the other, in a loop, or from a thread for each target (under the caller's lock).
 *
 * Of each target:  LIST - TARGET_SIGNATURE* - (SERIALIZE, once in a run; PROPAGATE)* - DESERIALIZE* - CORE - PROPAGATE2*
 * and before all of them SOURCE_SIGNATURE once for each writer.  Error reach: rules IIS-24 to IIS-28, DSN-37 to DSN-41.
 */
#ifndef VB_REPLICA_EXTENSION_H
#define VB_REPLICA_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct vb_ext_writer {
    const char *name; /* of its section; borrowed for as long as the driver lives */
    uint64_t calls;   /* that its block has: bits `1 << enum vb_repl_call` */
    uint64_t flags;   /* VB_REPLICATION_* */
};

enum vb_ext_kind {
    VB_EXT_SOURCE_SIGNATURE = 1, /* then vb_ext_sign(d, VB_EXT_SOURCE, ...) */
    VB_EXT_LIST,                 /* which writers the target has: vb_ext_present for each that it has */
    VB_EXT_TARGET_SIGNATURE,     /* then vb_ext_sign(d, target, ...) */
    VB_EXT_SERIALIZE,
    VB_EXT_PROPAGATE,
    VB_EXT_DESERIALIZE,
    VB_EXT_CORE,
    VB_EXT_PROPAGATE2
};
struct vb_ext_action {
    enum vb_ext_kind kind;
    size_t target;
    size_t writer; /* not of LIST and CORE */
    bool differs;  /* of PROPAGATE and PROPAGATE2 */
};

enum vb_ext_turn {
    VB_EXT_DO = 1,  /* *a is to be done; begun until vb_ext_done */
    VB_EXT_WAIT = 0, /* for what others have begun */
    VB_EXT_END = -1 /* nothing more for this target */
};

#define VB_EXT_SOURCE SIZE_MAX
#define VB_EXT_ANY SIZE_MAX

struct vb_ext_options {
    bool skip_missing; /* a writer that a target does not have is left out there; else that target ends (DSN-38) */
    bool dry_run;      /* signatures, and the core pass: nothing that changes anything */
};

struct vb_ext_driver;

/* Writers are copied. */
struct vb_ext_driver *vb_ext_driver_new(const struct vb_ext_writer *w, size_t n_writers, size_t n_targets,
                                        const struct vb_ext_options *o);
void vb_ext_driver_free(struct vb_ext_driver *d); /* NULL ok */

/* What is due for this target, or for any of them (VB_EXT_ANY). */
enum vb_ext_turn vb_ext_next(struct vb_ext_driver *d, size_t target, struct vb_ext_action *a);
/* why NULL or VB_OK: it went well. */
void vb_ext_done(struct vb_ext_driver *d, const struct vb_ext_action *a, const struct vb_error *why);
void vb_ext_sign(struct vb_ext_driver *d, size_t target, size_t writer, const void *signature, size_t n);
/* The target has this writer with these calls. */
void vb_ext_present(struct vb_ext_driver *d, size_t target, size_t writer, uint64_t calls);
/* The target cannot go on, for a reason that is not an action's (its connection is lost). */
void vb_ext_give_up(struct vb_ext_driver *d, size_t target, const struct vb_error *why);

/* Why a target ended; NULL: it finished, or is under way.  Names writer and call. */
const struct vb_error *vb_ext_failure(const struct vb_ext_driver *d, size_t target);
/* Why the whole run ended; NULL: it did not. */
const struct vb_error *vb_ext_run_failure(const struct vb_ext_driver *d);
bool vb_ext_finished(const struct vb_ext_driver *d, size_t target);
/* Known after the signatures. */
bool vb_ext_differs(const struct vb_ext_driver *d, size_t target, size_t writer);
/* Known after LIST. */
bool vb_ext_missing(const struct vb_ext_driver *d, size_t target, size_t writer);

#endif
