/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/support/digest.h - SHA-256 for writers that replicate, and what they remember of the state that was carried to
 * them.
 *
 * A target's state is seldom byte for byte the source's (addresses differ, packages are there in addition).  So it
 * remembers what it made of what it got: as long as its own state is still that, it is "the source's", and says so by the
 * source's signature.  Anything else has its own.
 */
#ifndef VB_WRITERS_DIGEST_H
#define VB_WRITERS_DIGEST_H

#include <stddef.h>

#define VBW_DIGEST_LEN 64 /* in hexadecimal */

void vbw_digest(const void *p, size_t n, char out[VBW_DIGEST_LEN + 1]);
/* The signature to give: what `dir` remembers for this own state and these settings, else `own`. */
void vbw_carried_signature(const char *dir, const char *own, const char *settings, char out[VBW_DIGEST_LEN + 1]);
/* The own state, made with these settings, is the source's.  -1 with errno. */
int vbw_carried_remember(const char *dir, const char *own, const char *settings, const char *source);

#endif
