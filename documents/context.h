/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/context.h - contexts and attributes of shadow copies (rule book section 6.1) as pure functions.
 *
 * A context is persistence times writers; six combinations exist (1.7).  A requester names one of them and may add to
 * it what S-6 allows; all other bits are the system's.
 */
#ifndef VB_DOCUMENTS_CONTEXT_H
#define VB_DOCUMENTS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "vbackup/types.h"

/* The bits of a context, without what was added to it. */
#define VB_SA_CONTEXT_BITS \
    ((uint32_t)(VB_SA_PERSISTENT | VB_SA_CLIENT_ACCESSIBLE | VB_SA_NO_AUTO_RELEASE | VB_SA_NO_WRITERS))

/* "backup", "file-share-backup", "app-rollback", "nas-rollback", "client-accessible", "client-accessible-writers";
 * NULL for a combination that is none. */
const char *vb_context_word(uint32_t attributes);
bool vb_context_from_word(const char *word, uint32_t *attributes);
/* One attribute that may be added: "transportable", "differential", "plex", "no-autorecovery", "rollback-recovery",
 * "delayed-postsnapshot". */
bool vb_attribute_from_word(const char *word, uint32_t *bit);
/* All bits as words with commas, in the order of their numbers; bits without a name in hexadecimal. */
void vb_attributes_text(uint32_t attributes, struct vb_buf *out);

/* Whether a set may be created so: a known context (S-3 to S-5), only what may be added (S-6), differential and plex
 * not both (S-7), nothing added to client-accessible ones (S-8), no recovery that excludes the other (8.2), none with
 * transport (S-14), a PostSnapshot delayed (S-15) only of what stays and has writers.  UNSUPPORTED_CONTEXT with the reason otherwise. */
int vb_context_check(uint32_t attributes, struct vb_error *err);

/* It survives its requester: not auto-release (S-10). */
static inline bool vb_context_kept(uint32_t attributes)
{
    return attributes & VB_SA_NO_AUTO_RELEASE;
}

#endif
