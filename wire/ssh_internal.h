/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_internal.h - the SSH session shared by ssh.c (connect, keys of the host), ssh_auth.c (login), ssh_io.c
 * (bytes and the pump) and ssh_channel.c (channels).
 *
 * Bytes go through two queues of ours: libssh2 reads from `in` and writes to `out` by callbacks, and never sees a
 * socket that is full.  So none of its calls stops in the middle of sending (it could not go on with another channel
 * then), and how much it may take in at a time is ours to say (it would drain the socket first).
 * No callback of the user is called while one of libssh2's functions runs: everything is told by posted calls.
 */
#ifndef VB_WIRE_SSH_INTERNAL_H
#define VB_WIRE_SSH_INTERNAL_H

#include <libssh2.h>
#include "base/mem.h"
#include "wire/conn_impl.h"
#include "wire/dial.h"
#include "wire/known_hosts.h"
#include "wire/ssh.h"
#include "wire/ssh_agent.h"
#include "wire/ssh_kex.h"
#include "wire/ssh_key.h"

#define VB_SSH_IN_MAX (256u * 1024)   /* read from the socket at a time */
#define VB_SSH_OUT_MAX (512u * 1024)  /* channels wait while more than this waits for the socket */
#define VB_SSH_WINDOW (2u * 1024 * 1024)
#define VB_SSH_PACKET 32768u
#define VB_SSH_MEMORY (16u * 1024 * 1024) /* of libssh2, besides the windows of its channels */
#define VB_SSH_STDERR_MAX 4096u

enum vb_ssh_state { VB_SSH_DIALING, VB_SSH_HANDSHAKE, VB_SSH_LOGIN, VB_SSH_READY, VB_SSH_FAILED };

struct ssh_conn;

/* One channel; outlives its connection until libssh2 has let go of it. */
struct ssh_chan {
    struct ssh_chan *next;
    struct vb_ssh *ssh;
    struct ssh_conn *conn;   /* NULL: the user freed it */
    LIBSSH2_CHANNEL *ch;
    enum { CHAN_WAITING, CHAN_OPENING, CHAN_STARTING, CHAN_RUNNING, CHAN_ENDING, CHAN_OVER } state;
    char *command;
    bool raw, subsystem;     /* no frames; command is the name of a subsystem */
    bool eof_sent, write_broken;
    struct vb_buf errors;    /* the last of what the command wrote to stderr */
    size_t logged;           /* of errors: whole lines that are in our log */
    struct vb_timer *end_timer;
};

struct ssh_conn {
    struct vb_stream s;
    struct ssh_chan *chan;   /* NULL: the session was closed */
    bool hold, posted, raw;
};

/* One way to log in. */
struct vb_ssh_candidate {
    struct vb_ssh_key *file;                 /* or */
    const struct vb_ssh_agent_key *agent_key;
    char *label;
};

struct vb_ssh_login {
    enum { LOGIN_LIST, LOGIN_AGENT, LOGIN_TRY } step;
    struct vb_ssh_agent *agent;
    struct vb_timer *agent_timer;
    bool agent_answered;
    const struct vb_ssh_agent_key *agent_keys;
    size_t n_agent_keys;
    struct vb_ssh_key *files;
    size_t n_files;
    struct vb_ssh_candidate *tries;
    size_t n_tries, cap_tries, at;
    struct vb_buf offered, skipped;          /* for the message */
    char *methods;                           /* what the server takes */
    enum { SIGN_NONE, SIGN_WAITING, SIGN_DONE, SIGN_FAILED } sign;
    unsigned char *signature;
    size_t n_signature;
};

struct vb_ssh {
    struct vb_loop *loop;
    struct vb_ssh_handler h;
    void *arg;
    char *name, *address, *user;
    uint32_t port;
    struct vb_strv identities, known_files;
    bool default_identities, no_agent;
    uint64_t timeout_ms, keepalive_ms, limit_ms;

    enum vb_ssh_state state;
    struct vb_dial *dial;
    struct vb_timer *connect_timer, *keepalive;
    struct vb_error why;
    bool dead;               /* libssh2 gets the end of file and its bytes go nowhere */
    bool posted;             /* a pump is posted */

    int fd;
    struct vb_watch *watch;
    struct vb_buf in, out;
    size_t in_at, out_at;
    bool in_eof;
    int in_errno, out_errno;
    uint64_t heard_ms;

    LIBSSH2_SESSION *session;
    size_t memory, memory_limit; /* of libssh2 */
    bool own_limit;              /* the limit is not the default */
    struct vb_known_hosts known;
    struct vb_kex_offer offer;
    char *host_keys;         /* that we asked for */
    struct vb_ssh_login login;
    struct ssh_chan *chans;
    char *methods;
};

/* ssh.c */
/* The session is over (err is taken, without the host's name): tells the user, then the channels. */
void vb_ssh_fail(struct vb_ssh *s, struct vb_error *err);
/* libssh2's last error as text; borrowed. */
const char *vb_ssh_last_error(struct vb_ssh *s);
bool vb_ssh_fatal(int rc);

/* ssh_io.c */
int vb_ssh_io_start(struct vb_ssh *s, int fd, struct vb_error *err);
void vb_ssh_io_stop(struct vb_ssh *s);
/* Writes to the socket what it takes now. */
void vb_ssh_flush(struct vb_ssh *s);
/* Posts a pump. */
void vb_ssh_wake(struct vb_ssh *s);
static inline size_t vb_ssh_out_queued(const struct vb_ssh *s)
{
    return s->out.len - s->out_at;
}
/* One turn of whatever the session is at; ssh.c. */
void vb_ssh_step(struct vb_ssh *s);

/* ssh_auth.c */
void vb_ssh_login_start(struct vb_ssh *s); /* asks the agent, early */
/* 1 logged in, 0 wait, -1 failed. */
int vb_ssh_login_step(struct vb_ssh *s, struct vb_error *err);
void vb_ssh_login_clear(struct vb_ssh *s);

/* ssh_channel.c */
/* Moves bytes of every channel. -1: the session is broken. */
int vb_ssh_channels_step(struct vb_ssh *s, struct vb_error *err);
void vb_ssh_channels_end(struct vb_ssh *s, const struct vb_error *err);
void vb_ssh_channels_free(struct vb_ssh *s);

#endif
