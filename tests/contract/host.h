/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/host.h - drives one writer host over its socket, as the worker would.
 */
#ifndef VB_TESTS_CONTRACT_HOST_H
#define VB_TESTS_CONTRACT_HOST_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "documents/components.h"
#include "documents/events.h"
#include "documents/writer_metadata.h"
#include "wire/msg.h"

struct host {
    int fd;
    pid_t pid;
    int status; /* wait status, after the end */
    struct vb_buf in;
    uint64_t next_id;
    struct vb_strv logs; /* texts of W_LOG, in order */
    struct vb_msg ready;
    struct vb_error error; /* of the last start or event */
    bool lost;             /* the socket ended while an answer was awaited */
    struct vb_components *doc;
    struct vb_writer_metadata *wmd; /* of the last Identify */
    enum vb_consistency consistency;
    /* what the next events carry */
    struct vb_strv volumes, map_from, map_to;
    bool atomic;
    bool owed; /* the next events are a dead host's */
    uint64_t deadline_ms;
    char *user; /* start the host as this user (root only); NULL: ours */
};

void host_init(struct host *h);
/* Scratch directory of the test program, absolute; removed at its end.  0711: writers of other users pass through. */
const char *host_dir(void);
char *host_path(const char *name); /* below it; caller frees */
void host_cleanup(void);

/* Starts one with the text of a configuration; 0 when it is ready, -1 with h->error.  State lies below host_dir(). */
int host_start(struct host *h, const char *section, const char *module, const char *config);
/* Sends one event and waits for its answer; 0 or -1 with h->error.  h->doc is sent and replaced by what comes back.
 */
int host_event(struct host *h, enum vb_event ev);
/* Sends only; host_answer waits. */
void host_send(struct host *h, enum vb_event ev);
int host_answer(struct host *h);
/* Identify, then a session document with every component that may be explicit (no selectable ancestor), or only those
 * named in a NULL-terminated list. */
int host_choose(struct host *h, bool restore, const char *const *names);
/* Closes the socket and waits for the process; the wait status, or -1 when it was not gone after limit_ms (killed
 * then). */
int host_close(struct host *h, uint64_t limit_ms);
/* W_QUIT, then host_close. */
int host_quit(struct host *h);
void host_clear(struct host *h);
/* Runs the whole backup; stops at the first failure. */
int host_backup(struct host *h);
bool host_logged(const struct host *h, const char *part);
struct vb_component *host_record(struct host *h, const char *name);

#endif
