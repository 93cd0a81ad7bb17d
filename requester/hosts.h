/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/hosts.h - the host table: which agents there are and how to reach them (rules D-31 to D-33).
 *
 *     [host backend]
 *     address = 10.77.0.3            name or address to connect to; default: the host's name
 *     port = 22
 *     user = vbackup
 *     identity = /etc/vbackup/id_ed25519     (may repeat); else ssh-agent
 *     known-hosts = /etc/vbackup/known_hosts (may repeat); else the user's and the system's
 *     agent-command = vbackup-agent  what is run there
 *     alias = db1.example.org        (may repeat) other names dependencies may use for it
 *     local = yes                    this machine, whatever its name
 *     trust-group = web              shares chunks with the other hosts of that group; default: with none
 *
 * The machine itself is always in the table: its name is `name =` of [requester], else the first label of the system's
 * host name.  A dependency's host text is looked up here and nowhere else (D-32).
 */
#ifndef VB_REQUESTER_HOSTS_H
#define VB_REQUESTER_HOSTS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/config.h"
#include "base/error.h"
#include "base/mem.h"

struct vb_host_entry {
    char *name;
    bool local;
    char *address, *user, *agent_command;
    uint32_t port;
    struct vb_strv identities, known_hosts, aliases;
    char *where; /* "file:line" of its section, or "built in" */
    char *group; /* trust group of its chunks; NULL: its own */
};
struct vb_hosts {
    struct vb_host_entry *v;
    size_t n, cap;
    size_t self; /* index of this machine */
    uint64_t answer_limit_ms; /* answer-limit of [requester]; 0: the usual limits */
};

/* Reads all [host ...] sections and [requester]; config may be NULL (only this machine then). */
struct vb_hosts *vb_hosts_load(const struct vb_config *c, struct vb_error *err);
void vb_hosts_free(struct vb_hosts *h);
const struct vb_host_entry *vb_hosts_find(const struct vb_hosts *h, const char *name);
/* The table's name for a host text found in a dependency declared on from_host, or NULL (D-33).  Names of from_host itself,
 * loop-back and "localhost" mean from_host (D-31). maps (from --map A=B) are applied first. Is a vb_resolve_host_fn. */
/* The trust group of a host: its trust-group, else its name, whether or not it is in the table. */
const char *vb_hosts_group(const struct vb_hosts *h, const char *name);
struct vb_hosts_resolver { const struct vb_hosts *hosts; struct vb_strv maps; /* "old=new" */ };
const char *vb_hosts_resolve(void *resolver, const char *from_host, const char *text);

#endif
