/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/known_hosts.h - the known_hosts files of OpenSSH: which key may a host have, and where does it stand.
 *
 * Understood: plain names, [name]:port, patterns with * and ?, negation with !, hashed names, @revoked.
 * @cert-authority lines and lines that cannot be read are skipped, a broken line never hides the others.
 */
#ifndef VB_WIRE_KNOWN_HOSTS_H
#define VB_WIRE_KNOWN_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct vb_known_key {
    char *host;           /* the host field as it stands in the file */
    char *type;           /* "ssh-ed25519" ... as its blob says */
    unsigned char *blob;
    size_t n;
    bool revoked;
    const char *file;     /* owned by the list */
    unsigned line;
};
struct vb_known_hosts {
    struct vb_known_key *keys;
    size_t n, cap;
    char **files;         /* that were read */
    size_t n_files, cap_files;
};
#define VB_KNOWN_HOSTS_INIT { NULL, 0, 0, NULL, 0, 0 }

/* Adds the keys of a file; a missing file is an empty one.  -1: it cannot be read. */
int vb_known_hosts_load(struct vb_known_hosts *k, const char *path, struct vb_error *err);
/* From memory.  The entry point of the fuzz target. */
void vb_known_hosts_parse(struct vb_known_hosts *k, const char *path, const char *text, size_t n);
void vb_known_hosts_clear(struct vb_known_hosts *k);

/* Whether a key's host field names this host at this port. */
bool vb_known_key_is_for(const struct vb_known_key *key, const char *host, uint32_t port);

enum vb_known { VB_KNOWN_OK, VB_KNOWN_UNKNOWN, VB_KNOWN_CHANGED, VB_KNOWN_REVOKED };
/* The verdict over a key that a host showed; names: what the host is called (address, name in the configuration).
 * *at: the matching, revoked, or other recorded key (of the same type if there is one); NULL if unknown. */
enum vb_known vb_known_hosts_check(const struct vb_known_hosts *k, const char *const *names, size_t n_names,
                                   uint32_t port, const unsigned char *blob, size_t n,
                                   const struct vb_known_key **at);
/* First recorded, not revoked key of this type (NULL: any type) for one of the names, or NULL. */
const struct vb_known_key *vb_known_hosts_find(const struct vb_known_hosts *k, const char *const *names, size_t n_names,
                                               uint32_t port, const char *type);

/* "SHA256:..." as ssh-keygen -l prints it; caller frees. */
char *vb_key_fingerprint(const unsigned char *blob, size_t n);
/* The type name a public key blob begins with, or NULL; caller frees. */
char *vb_key_blob_type(const unsigned char *blob, size_t n);

#endif
