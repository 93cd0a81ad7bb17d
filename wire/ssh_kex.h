/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_kex.h - which algorithms we allow, and why a server could not agree with us.
 *
 * Terrapin (CVE-2023-48795) lets an attacker drop the first encrypted packets unnoticed when the cipher is
 * chacha20-poly1305, or CBC (in part CTR) with an encrypt-then-MAC code.  Strict key exchange closes it, but libssh2
 * does not say whether it was agreed.  So nothing is offered that the attack could use: AES-GCM, or AES-CTR with a
 * plain HMAC over SHA-2; what was agreed is looked at once more after the key exchange.
 */
#ifndef VB_WIRE_SSH_KEX_H
#define VB_WIRE_SSH_KEX_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"

extern const char vb_kex_methods[];      /* key exchanges, comma separated, preferred first */
extern const char vb_kex_host_keys[];
extern const char vb_kex_ciphers[];
extern const char vb_kex_macs[];

/* Whether Terrapin does not touch this pair. */
bool vb_kex_pair_safe(const char *cipher, const char *mac);

/* Name lists of the server's KEXINIT. */
struct vb_kex_offer {
    struct vb_buf raw;      /* until the offer is complete */
    bool complete, broken;
    char *banner;           /* "SSH-2.0-OpenSSH_9.2p1"; NULL until it came */
    char *text;             /* lines before it that are not SSH; NULL if none */
    char *kex, *host_keys, *cipher_cs, *cipher_sc, *mac_cs, *mac_sc;
    bool strict;            /* offers strict key exchange */
};
void vb_kex_offer_clear(struct vb_kex_offer *o);
/* Looks at bytes from the server, in order, until the offer is complete.  The entry point of the fuzz target. */
void vb_kex_offer_feed(struct vb_kex_offer *o, const void *p, size_t n);

/* Whether two comma separated lists have a name in common. */
bool vb_kex_common(const char *ours, const char *theirs);
/* Why no agreement is possible with our lists (what the library knows of the above); -1 with VB_E_CONNECT, or 0: the
 * lists would do.  Host keys are judged by whoever knows the known_hosts files. */
int vb_kex_explain(const struct vb_kex_offer *o, const char *kex, const char *ciphers, const char *macs,
                   struct vb_error *err);

#endif
