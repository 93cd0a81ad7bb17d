/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/provider.h - for people who own a storage system and make snapshots.
 *
 * WHAT A PROVIDER IS
 *   It turns volumes into shadow copies at one instant, keeps them, shows them at a path, deletes them.  It runs
 *   in a process of its own under the agent, which calls it in the commit sequence of the field (section 6.4):
 *
 *     supports        per volume, any time; says how good the instant is and what the provider needs
 *     begin_prepare   per volume, at AddToSnapshotSet; start slow work and return fast
 *     end_prepare     once; wait for the slow work; everything time-critical is ready afterwards
 *     - writers freeze -
 *     pre_commit      once; quick
 *     - writes held, if the provider asked for it -
 *     commit          once; make the instant; no I/O to the original volumes, no log
 *     - writes flow -
 *     post_commit     once; quick
 *     - writers thaw -
 *     pre_final       once; make the shadow copies writable for the writers' repair
 *     - writers' post_snapshot -
 *     post_final      once; make them read-only for good
 *     abort           at any time after end_prepare; drop what was made; "created" is ignored (S-34)
 *
 *   A call out of order or with another set id is a veto and drops the set (S-33).  If begin_prepare arrives with a new
 *   set id the old set is discarded (S-32).
 *
 * HONESTY
 *   struct vb_provider_support says what the instant is worth.  The agent records exactly that as the components'
 *   consistency; a provider is never chosen silently below the level the job demands.
 *
 * FREEZING
 *   A clone or snapshot call on a frozen file system blocks until the thaw.  So a provider states whether the file system
 *   must be frozen before commit (VB_HOLD_FREEZE), must not be (VB_HOLD_WRITERS: the writers hold), or is frozen by the
 *   provider's own call (VB_HOLD_OWN).
 *
 * Fields are only appended; size and ABI number as in writer.h.  The provider interface is stable per minor version,
 * which is a weaker promise than the writers'.
 */
#ifndef VBACKUP_PROVIDER_H
#define VBACKUP_PROVIDER_H

#include <stddef.h>
#include <stdint.h>
#include <vbackup/result.h>
#include <vbackup/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VB_PROVIDER_ABI 0
#define VB_PROVIDER_MAGIC 0x56425052u /* "VBPR" */

enum vb_hold {
    VB_HOLD_NONE = 0,    /* nothing is held; the copy is live */
    VB_HOLD_WRITERS = 1, /* the writers hold; the file system must not be frozen */
    VB_HOLD_FREEZE = 2,  /* the agent's freezer freezes the file system around commit */
    VB_HOLD_OWN = 3      /* the provider's own call freezes and thaws */
};

/* What a job must have allowed before the provider may be chosen. */
enum vb_consent {
    VB_CONSENT_NONE = 0,
    VB_CONSENT_LIVE = 1,  /* it reads while things change */
    VB_CONSENT_FREEZE = 2 /* everybody who writes to the file system waits for a copy */
};

struct vb_provider_support {
    uint32_t size;
    int supported;            /* 0: no; `why` says it in one line */
    char why[256];            /* reason, or a remark worth recording */
    int atomic;               /* one instant for the whole volume */
    int group_atomic;         /* one instant for all volumes of the set that this provider takes */
    enum vb_hold hold;
    uint32_t attributes;      /* VB_SA_* it can honour */
    int per_tree;             /* it copies the named trees, not the volume: begin_prepare needs them */
    enum vb_consistency without_writers; /* level reached when no writer holds */
    enum vb_consent consent;
    char group[128];          /* with group_atomic: only volumes with the same text here share the instant ("pool tank") */
};

/* One volume in a set being made. */
struct vb_provider_volume {
    uint32_t size;
    const char *snapshot_id; /* GUID */
    const char *mount_point; /* absolute, no trailing separator except "/" */
    const char *device;      /* as in mountinfo */
    const char *fs_type;     /* "btrfs", "xfs" ... */
    const char *subvolume_root; /* btrfs: path of the subvolume that holds the trees; else the mount point */
    const char *const *trees;   /* absolute directories and files of the chosen components on this volume */
    size_t n_trees;
    uint32_t attributes;     /* VB_SA_* of the context */
    const char *fs_root;     /* directory of the file system that is mounted there: "/", or more for a bind mount */
};

struct vb_provider_services {
    uint32_t size;
    uint32_t abi;
    void (*log)(void *host, int level, const char *fmt, ...);
    int (*fail)(void *host, enum vb_code code, const char *text, const char *hint); /* returns -1 */
    const char *(*option)(void *host, const char *key); /* of [provider NAME] in the configuration */
    const char *(*state_dir)(void *host);
    uint64_t (*deadline_ms)(void *host);
};

struct vb_provider {
    uint32_t size, magic, abi;
    const char *id;      /* GUID */
    const char *name;    /* "btrfs" */
    const char *version;
    enum vb_provider_type type;
    int preference; /* among providers that support a volume the highest wins; live reading is 0 */

    int (*open)(void *host, const struct vb_provider_services *svc, void **ctx);
    void (*close)(void *ctx);

    int (*supports)(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out);
    int (*begin_prepare)(void *ctx, const char *set_id, const struct vb_provider_volume *vol);
    int (*end_prepare)(void *ctx, const char *set_id);
    int (*pre_commit)(void *ctx, const char *set_id);
    int (*commit)(void *ctx, const char *set_id);
    int (*post_commit)(void *ctx, const char *set_id, unsigned *n_created);
    int (*pre_final)(void *ctx, const char *set_id);
    int (*post_final)(void *ctx, const char *set_id);
    int (*abort)(void *ctx, const char *set_id);

    /* Path at which the content of `path` (on the volume) is seen in the shadow copy; *out is allocated with malloc.
     * NULL callback: not possible. */
    int (*snapshot_path)(void *ctx, const char *snapshot_id, const char *path, char **out);
    /* Deletes; deleting one that is gone is success.  Works from a fresh process: what must be known is kept in
     * state_dir, so that a crashed owner's shadow copies can be swept (S-67). */
    int (*delete_snapshot)(void *ctx, const char *snapshot_id);
    /* Calls fn for every shadow copy this provider knows of in state_dir. */
    int (*query)(void *ctx, int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                                      const char *path, int64_t created_sec), void *arg);
    /* Whether a finished shadow copy is still what it was.  The agent asks every few seconds while it is read, and once
     * more before what was read counts; a failure (VB_E_INSUFFICIENT_STORAGE: "change store full") fails everything that
     * was read from it.  The place to enlarge a change store in time, too.  NULL callback: nothing can happen to it.
     * (S-49, Q-11) */
    int (*check)(void *ctx, const char *snapshot_id);

    /* ---- what may be done with a finished shadow copy, from a fresh process; NULL: VB_E_NOT_SUPPORTED ---- */

    /* Rolls the volume back to the shadow copy, all or nothing (S-60).  What the volume held before becomes a shadow
     * copy with the ids given.  Once begun it is finished: what a killed process left is done by the next `open`.
     * VB_E_VOLUME_IN_USE unless forced, VB_E_REVERT_IN_PROGRESS while another one runs, VB_E_NOT_SUPPORTED where the
     * storage cannot. flags: VB_REVERT_*. */
    int (*revert)(void *ctx, const char *snapshot_id, uint32_t flags, const char *kept_id, const char *kept_set_id);
    /* Makes an independent copy of the shadow copy at `path`, which must not exist: the user's own from then on, and
     * writable unless read_only.  The shadow copy stays. */
    int (*make_writable)(void *ctx, const char *snapshot_id, const char *path, int read_only);
    /* Writes the shadow copy as a stream to fd, an empty file open for reading and writing.  stamp (a text of less than
     * size bytes) says what the stream holds, so that receive can tell it from another one. */
    int (*send)(void *ctx, const char *snapshot_id, int fd, char *stamp, size_t size);
    /* Makes a shadow copy with these ids below the directory `dir` from the stream that fd (at its beginning; other
     * bytes follow the stream's end) holds.  It counts only when it is whole and what the stamp says (VB_E_CORRUPT);
     * what came of a failure is removed. */
    int (*receive)(void *ctx, const char *set_id, const char *snapshot_id, const char *dir, const char *stamp, int fd);

    /* What a finished shadow copy holds, in the words of send: two hosts whose stamps are equal hold the same. */
    int (*stamp)(void *ctx, const char *snapshot_id, char *stamp, size_t size);
    /* As send, but fd is open for writing only and may be a pipe; with parent_id (may be NULL) only what changed since
     * that shadow copy, which whoever receives must have below the same directory.  The fd of receive may be a pipe in any
     * case: that it ends is no sign that the stream was whole, which the agent makes sure of. */
    int (*send_from)(void *ctx, const char *snapshot_id, const char *parent_id, int fd, char *stamp, size_t size);
};

/* Flags of revert. */
#define VB_REVERT_FORCE 1u /* although the volume is in use */

#ifdef __cplusplus
}
#endif
#endif
