/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/ext_hosts.h - the writers of this machine that take part in replication, each in a writer host of its own
 * (`vbackup-agent writer-host`, the processes that backups use; wire/protocol.h has the conversation).
 *
 * A host is started when it is first needed, and again after it was killed or has died.  Calls block, and come from any
 * thread; those for one writer wait for each other.
 */
#ifndef VB_REPLICA_EXT_HOSTS_H
#define VB_REPLICA_EXT_HOSTS_H

#include "base/mem.h"
#include "base/error.h"
#include "wire/protocol.h"

#define VB_EXT_LIMIT_MS 600000u /* of one call, unless the scope says otherwise (DSN-42) */

struct vb_ext_hosts;
struct vb_ext_facts {
    char class_id[37];
    bool replicates; /* it has a replication block */
    uint64_t calls;  /* bits `1 << enum vb_repl_call` */
    uint64_t flags;  /* VB_REPLICATION_* */
};
struct vb_ext_call {
    const char *writer;
    enum vb_repl_call call;
    const char *target;   /* of propagate and propagate2 */
    bool differs;
    uint64_t limit_ms;    /* 0: VB_EXT_LIMIT_MS */
    int in;               /* payload of deserialize, read from its beginning; -1: empty */
    /* What signature and serialize give, piece by piece; not 0 ends the call. */
    int (*out)(void *arg, const void *p, size_t n, struct vb_error *err);
    void *arg;
    /* What the writer logs meanwhile (level of base/log.h); NULL: into our own log. */
    void (*log)(void *log_arg, int level, const char *text);
    void *log_arg;
};

/* names: the sections that may be started, copied.  program NULL: vbackup-agent as installed. */
struct vb_ext_hosts *vb_ext_hosts_new(const char *program, const char *state_dir, const struct vb_strv *names);
/* Ends them all; NULL ok. */
void vb_ext_hosts_free(struct vb_ext_hosts *x);
bool vb_ext_hosts_has(const struct vb_ext_hosts *x, const char *writer);
/* Starts it, if need be. */
int vb_ext_hosts_facts(struct vb_ext_hosts *x, const char *writer, struct vb_ext_facts *out, struct vb_error *err);
/* VB_E_WRITER_NOT_RESPONDING: it hung and was killed, or died; the next call starts it again. */
int vb_ext_hosts_call(struct vb_ext_hosts *x, const struct vb_ext_call *c, struct vb_error *err);
/* The SHA-256 of what its signature is (nothing but equality is ever asked of it). */
int vb_ext_hosts_signature(struct vb_ext_hosts *x, const char *writer, uint64_t limit_ms, unsigned char out[32], struct vb_error *err);
/* The same with the writer, limit and log of a call. */
int vb_ext_hosts_sign(struct vb_ext_hosts *x, const struct vb_ext_call *given, unsigned char out[32], struct vb_error *err);
/* Into fd, from where it stands. */
int vb_ext_hosts_serialize(struct vb_ext_hosts *x, const char *writer, uint64_t limit_ms, int fd, struct vb_error *err);

/* A payload on its way: a file without a name that only we can read. */
int vb_ext_payload_new(const char *dir, struct vb_error *err);
/* Overwrites it and closes; -1 ok. */
void vb_ext_payload_wipe(int *fd);

#endif
