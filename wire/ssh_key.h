/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_key.h - what a private key file is, before it is used: its type, and whether it can be used at all.
 */
#ifndef VB_WIRE_SSH_KEY_H
#define VB_WIRE_SSH_KEY_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"

struct vb_ssh_key {
    char *path;
    char *type;              /* "ssh-ed25519", "ssh-rsa" ...; NULL if only the library can tell */
    bool encrypted;          /* needs a passphrase, so only an agent can use it */
    struct vb_buf text;      /* the private key; wiped by clear */
    struct vb_buf pub;       /* public key blob, if the file or FILE.pub told */
};
#define VB_SSH_KEY_INIT { NULL, NULL, false, VB_BUF_INIT, VB_BUF_INIT }

/* Reads a private key.  VB_E_NOT_FOUND; VB_E_ACCESS_DENIED: not readable, not a regular file, another user's, or open
 * to others (ssh refuses it, too); VB_E_CORRUPT: not a private key. */
int vb_ssh_key_load(struct vb_ssh_key *k, const char *path, struct vb_error *err);
/* The same from memory (path is for messages).  The entry point of the fuzz target. */
int vb_ssh_key_parse(struct vb_ssh_key *k, const char *path, const void *p, size_t n, struct vb_error *err);
void vb_ssh_key_clear(struct vb_ssh_key *k);

/* Ed25519 and ECDSA: what we can sign with. */
bool vb_ssh_key_type_ok(const char *type);

#endif
