/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/provider_peer.h - the agent's side of the conversation with one provider's host, and the volumes on
 * which a contract is tried: filled, changed, frozen where the provider asks for it.
 */
#ifndef VB_TESTS_PROVIDER_PEER_H
#define VB_TESTS_PROVIDER_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "vbackup/provider.h"
#include "wire/protocol.h"
#include "tests/cm.h"
#include "wire/msg.h"

#define MAX_GIVEN 8

struct given_volume {
    const char *mount, *fs_type, *device, *subvolume;
    struct vb_strv trees; /* named to the provider */
    struct vb_strv also;  /* below the trees: filled and compared as well (nested subvolumes) */
    bool absent;          /* there is no such volume */
    /* from `supports` */
    uint64_t hold, level, attributes;
    bool atomic, per_tree;
    int fd; /* of the mount point, while it is to be frozen */
};

/* The command line. */
struct given {
    const struct vb_provider *p;
    struct given_volume v[MAX_GIVEN];
    size_t n;
    const char *options[16];
    size_t n_options;
    const char *compare;   /* command that compares a tree with what is shown of it */
    const char *watch;     /* command whose output shows all that the provider keeps */
    bool pretend_freeze, original, fault, quick;
    bool shows_the_past;   /* unlike live and null, what it shows does not change with the original */
    bool keeps_records;    /* unlike live */
    char *temp, *state;
    uint32_t attributes;   /* of the sets that are made */
};
extern struct given given;

struct peer {
    int fd;
    pid_t pid;
    struct vb_buf in;
    uint64_t next_id;
    struct vb_msg done; /* the last answer */
    enum vb_code code;
    char set[VB_GUID_LEN + 1], snap[MAX_GIVEN][VB_GUID_LEN + 1];
};
#define PEER_INIT { .fd = -1 }

#define N_STEPS 6
extern const char *const STEPS[N_STEPS];

void peer_start(struct peer *p);
void peer_stop(struct peer *p, bool killed);
/* Sends a call; v may be NULL. */
void peer_send(struct peer *p, const char *call, const char *set, const char *snap, const struct given_volume *v,
               const char *path);
/* Sends it and waits.  A failure must come with text and hint (S-37). */
enum vb_code peer_call(struct peer *p, const char *call, const char *set, const char *snap,
                       const struct given_volume *v, const char *path);
/* One of STEPS, or "abort", for the peer's set; the volumes are frozen around commit where the provider wants it. */
enum vb_code peer_step(struct peer *p, const char *call);
void peer_new_ids(struct peer *p);
/* Fails the test with what the provider said. */
void must(struct peer *p, enum vb_code code, const char *what);
/* begin_prepare of all volumes under new ids, and the first `steps` of STEPS. */
void make_set(struct peer *p, size_t steps);
char *peer_path(struct peer *p, size_t volume, const char *path); /* snapshot_path; caller frees */
size_t peer_known(struct peer *p);                                  /* how many `query` knows */
void peer_delete_known(struct peer *p);                             /* deletes what `query` names */
void peer_delete_set(struct peer *p);

/* FIFREEZE and FITHAW of the volumes that ask for it; nothing elsewhere. */
void freeze_volumes(void);
void thaw_volumes(void);

/* Puts "file", "dir/inner", "link" with that text, "gone" (or, after, "fresh") into every tree and checks them. */
void fill_volumes(const char *text, bool after);
void expect_tree(const char *dir, const char *text, bool after);
/* The output of the watch command, "" without one; caller frees. */
char *watched(void);
void write_text(const char *path, const char *text);

#endif
