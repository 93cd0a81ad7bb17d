/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh.h - SSH connections: one session per host, any number of channels, each channel a vb_conn.
 *
 * Host keys are checked against known_hosts files and nothing can switch that off; login is by key or ssh-agent, never
 * by password.  Only Ed25519 and ECDSA keys are used on both sides: libssh2 1.10 cannot make or check the RSA
 * signatures of today's servers.  Only ciphers that the Terrapin attack (CVE-2023-48795) does not touch are offered.
 * Nothing here blocks: names are resolved in a thread, everything else waits in the loop (a real one).
 */
#ifndef VB_WIRE_SSH_H
#define VB_WIRE_SSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/loop.h"
#include "wire/conn.h"

struct vb_ssh;

/* Texts are copied.  Zero and NULL mean the default. */
struct vb_ssh_params {
    const char *name;                /* of the host, as in the configuration; for messages and known_hosts */
    const char *address;             /* name or address to connect to; default: name */
    uint32_t port;                   /* default 22 */
    const char *user;                /* default: the user who runs us */
    const char *const *identities;   /* private key files; default ~/.ssh/id_ed25519 and ~/.ssh/id_ecdsa */
    size_t n_identities;
    bool no_agent;                   /* do not ask SSH_AUTH_SOCK */
    const char *const *known_hosts;  /* default ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts */
    size_t n_known_hosts;
    uint64_t connect_timeout_ms;     /* name, TCP, key exchange and login together; default 20 s */
    uint64_t keepalive_ms;           /* asks for a sign of life after this much silence; default 15 s */
    uint64_t keepalive_limit_ms;     /* gives the connection up after this much silence; default 60 s */
    size_t memory_limit;             /* what the server may make libssh2 hold; default 16 MiB and 8 MiB a channel */
};

struct vb_ssh_handler {
    void (*on_ready)(void *arg);     /* logged in; channels opened before are on their way */
    /* At most once: it could not be opened, or was lost later (VB_E_CONNECTION_LOST).  Its channels are told by
     * their own on_close, after this call.  Only vb_ssh_close is left to do, and may be done inside. */
    void (*on_fail)(void *arg, const struct vb_error *err);
};

/*
 * Starts connecting; callbacks never come from inside the call.  Errors by code: VB_E_CONFIG (unsafe host or user
 * text), VB_E_CONNECT (name, address, port, no common cipher), VB_E_TIMEOUT, VB_E_HOST_KEY (unknown, changed, revoked,
 * RSA only), VB_E_AUTH, VB_E_PROTOCOL (not an SSH server), VB_E_CONNECTION_LOST.
 */
struct vb_ssh *vb_ssh_open(struct vb_loop *l, const struct vb_ssh_params *p, const struct vb_ssh_handler *h, void *arg);

/*
 * Runs one command (a single text, as the login shell there takes it) in a channel of its own; its input and output are
 * the connection, usable at once: what is sent waits for the channel.  A command that ends before its first message is
 * reported by on_close as VB_E_AGENT_MISSING with what it wrote to stderr; later as VB_E_CONNECTION_LOST, or VB_OK if
 * its exit status was 0.  The connection is the caller's, also after vb_ssh_close, and is named "host 'NAME'".
 */
struct vb_conn *vb_ssh_exec(struct vb_ssh *s, const char *command);

/*
 * The same without frames, for other programs' protocols: each message that arrives is as many bytes as came (type 0),
 * and the body of each message that is sent goes out as it is.  subsystem: `command` names one ("sftp").  One that ends
 * before its first byte is reported by on_close as VB_E_CONNECT.
 */
struct vb_conn *vb_ssh_raw(struct vb_ssh *s, const char *command, bool subsystem);

/* Ends the session at once; channels that are still open get on_close with VB_E_CANCELLED.  NULL ok. */
void vb_ssh_close(struct vb_ssh *s);

/* What was agreed: "curve25519-sha256 ssh-ed25519 aes128-ctr hmac-sha2-256"; valid until the next call. For -v and
 * tests. */
const char *vb_ssh_methods(struct vb_ssh *s);

#endif
