/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend.h - where the repository's files lie: a handful of functions over named files.
 *
 * The layers above know only these: files that appear whole or not at all, are never changed afterwards, and a
 * barrier after which everything written before survives a power cut.  A directory, memory, SFTP and object
 * storage can all keep these promises; wrappers (faults, read ahead and kept files) are backends around
 * backends.  tests/store/backend_contract.c proves them for each.
 *
 * Names are relative paths of [a-z0-9.-] elements: "config", "packs/ab/abcd...", "index/...", "catalog/...".
 */
#ifndef VB_STORE_BACKEND_H
#define VB_STORE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

struct vb_backend;

/* Called by list for each file, in no particular order; non-zero stops the listing and is returned. */
typedef int vb_backend_list_fn(void *arg, const char *name, uint64_t size, struct vb_error *err);

struct vb_backend_ops {
    const char *kind; /* "directory", "memory", "fault" */
    /* Appends exactly len bytes from offset to out.  Missing file: VB_E_NOT_FOUND; file too short:
     * VB_E_CORRUPT; out is as before on failure. */
    int (*read)(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                struct vb_error *err);
    /* Creates the file with these bytes, atomically: it is there whole or not at all, whatever happens.
     * An existing one is left alone: VB_E_EXISTS.  Readable at once; durable after the next barrier. */
    int (*write)(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err);
    /* Every file whose name begins with prefix ("" or a directory with its final '/').  A prefix without files
     * is an empty listing; a listing that cannot be completed is an error, never a short list. */
    int (*list)(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err);
    /* Missing: VB_E_NOT_FOUND. */
    int (*remove)(struct vb_backend *b, const char *name, struct vb_error *err);
    /* Missing: VB_E_NOT_FOUND. */
    int (*size)(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err);
    /* When it returns 0, every earlier write and remove, and every name an earlier list has shown, survives
     * a power cut. */
    int (*barrier)(struct vb_backend *b, struct vb_error *err);
    /* Takes the only writer's lock for this handle.  Held by another: VB_E_BUSY, with the text that the holder
     * gave.  The lock of a process that died is free.  Also sweeps what an interrupted write left behind. */
    int (*lock)(struct vb_backend *b, const char *holder, struct vb_error *err);
    void (*unlock)(struct vb_backend *b);
    void (*close)(struct vb_backend *b);
    /* Removes what interrupted writes have left behind, and nothing that somebody is writing.  NULL: not needed. */
    void (*sweep)(struct vb_backend *b);
    /* As read, of a file that has file_size bytes, so that more around them may be read as well.  NULL: as read. */
    int (*read_in)(struct vb_backend *b, const char *name, uint64_t offset, size_t len, uint64_t file_size,
                   struct vb_buf *out, struct vb_error *err);
};

/* Every implementation begins with this. */
struct vb_backend {
    const struct vb_backend_ops *ops;
    char *location; /* for messages; owned */
    bool append_only; /* the other side lets nothing be removed: forgetting and pruning are done there */
    bool afresh;      /* nothing is answered from what this machine has kept: for a check */
};

/* A name the backend would accept. */
bool vb_backend_name_valid(const char *name);

/* The calls, with the name checked (VB_E_USAGE) and the location added to errors. */
int vb_backend_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                    struct vb_error *err);
/* The same for a piece of a pack; file_size: as the index has it.  What lies around it is likely to be read next. */
int vb_backend_read_in(struct vb_backend *b, const char *name, uint64_t offset, size_t len, uint64_t file_size,
                       struct vb_buf *out, struct vb_error *err);
/* Whole file, refused above max (VB_E_LIMIT). */
int vb_backend_read_all(struct vb_backend *b, const char *name, size_t max, struct vb_buf *out,
                        struct vb_error *err);
int vb_backend_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err);
int vb_backend_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg,
                    struct vb_error *err);
int vb_backend_remove(struct vb_backend *b, const char *name, struct vb_error *err);
int vb_backend_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err);
int vb_backend_barrier(struct vb_backend *b, struct vb_error *err);
int vb_backend_lock(struct vb_backend *b, const char *holder, struct vb_error *err);
void vb_backend_unlock(struct vb_backend *b);
void vb_backend_close(struct vb_backend *b); /* NULL ok; unlocks */
void vb_backend_sweep(struct vb_backend *b);

/*
 * Tests what the layers above take for granted: a name is given once and only once, what was written is there at once,
 * whole, in its size and in the listing, and what was removed is gone.  For a store that is opened for writing;
 * VB_E_PREREQUISITE says which of them the store does not keep.  Costs a few requests and leaves nothing behind.
 */
int vb_backend_probe(struct vb_backend *b, struct vb_error *err);

/* A directory.  create: makes it (0700) if it is missing, and refuses one that holds anything but the empty
 * beginnings of a repository (VB_E_EXISTS).  Without create a missing one is VB_E_NOT_FOUND. */
struct vb_backend *vb_backend_dir_open(const char *path, bool create, struct vb_error *err);

/* The contents of a directory that is to become a repository: 0 when its names are none but the empty beginnings of one;
 * path is for the message. */
int vb_backend_fresh_name(const char *path, const char *name, struct vb_error *err);

/* A directory behind SFTP; store/backend_sftp.c. */
struct vb_link_params;
struct vb_sftp_params {
    const char *location;              /* for messages */
    const struct vb_link_params *link; /* copied */
    const char *path;                  /* of the directory there; a relative one begins where the login does */
    bool create, write;
    bool unsynced;                     /* a server that cannot sync files is taken all the same */
    uint64_t retry_ms;                 /* for how long a request that fails is tried again */
};
struct vb_backend *vb_backend_sftp_open(const struct vb_sftp_params *p, struct vb_error *err);

/* What `vbackup serve` offers on another machine; store/serve.h. */
struct vb_served_params {
    const char *location;              /* for messages */
    const struct vb_link_params *link; /* copied */
    bool create;
    uint64_t retry_ms;
};
struct vb_backend *vb_backend_served_open(const struct vb_served_params *p, struct vb_error *err);

/* Objects in S3-compatible storage; store/backend_s3.c. */
struct vb_s3_params {
    const char *location;              /* for messages */
    const char *endpoint;              /* "https://host[:port]" */
    const char *bucket, *prefix;       /* prefix "": none */
    const char *region;
    const char *access_key, *secret_key, *token; /* token NULL: none */
    const char *ca_file;               /* NULL: the system's authorities */
    bool virtual_style;                /* the bucket is in the host's name, not in the path */
    bool write;
    uint64_t retry_ms;
    uint64_t rate_up, rate_down;       /* bytes a second; 0: no limit */
    size_t part_size;                  /* larger files go in parts of this size; 0: 32 MiB */
};
struct vb_backend *vb_backend_s3_open(const struct vb_s3_params *p, struct vb_error *err);
/* An address with which whoever has it can make this one file, once, with the header If-None-Match: *, until it expires;
 * NULL where names are not exclusive or b is of another kind.  Caller frees. */
char *vb_backend_s3_presign(struct vb_backend *b, const char *name, unsigned expires_s);

/* A wrapper for a store that is far away: reads ahead in packs, and keeps index files and records of backups in the directory
 * (NULL: does not).  Takes ownership of inner. */
struct vb_backend *vb_backend_far_new(struct vb_backend *inner, const char *dir);

/* VB_E_GUARD where the other side lets nothing be removed: `what` is done there. */
int vb_backend_may_remove(const struct vb_backend *b, const char *what, struct vb_error *err);

/*
 * The lock of stores that have none of their own: a file "lock" that is made only once.  That of a process of this
 * machine which is gone is taken over; any other has to be removed by a person.
 */
int vb_remote_lock(struct vb_backend *b, const char *holder, struct vb_error *err);
void vb_remote_unlock(struct vb_backend *b);

/* Memory.  A second handle on the same files: vb_backend_memory_share (for two requesters on one repository,
 * and for looking at the files again after the first handle "died"). */
struct vb_backend *vb_backend_memory_new(void);
struct vb_backend *vb_backend_memory_share(struct vb_backend *b);
/* A power cut: each file written since the last barrier disappears, or stays, by the bits of `seed`; the lock
 * of every handle is gone. */
void vb_backend_memory_power_cut(struct vb_backend *b, uint64_t seed);
/* Flips the bits of mask in the byte at offset of a file (tests). */
void vb_backend_memory_damage(struct vb_backend *b, const char *name, uint64_t offset, uint8_t mask);
/* At most this many bytes altogether, then VB_E_NO_SPACE; 0: no limit. */
void vb_backend_memory_set_limit(struct vb_backend *b, uint64_t bytes);

/* A wrapper that fails.  Takes ownership of inner. */
enum vb_fault_mode {
    VB_FAULT_NONE = 0,
    VB_FAULT_IO,           /* the nth call fails with VB_E_IO and does nothing; later ones work */
    VB_FAULT_NO_SPACE,     /* from the nth call on every write fails with VB_E_NO_SPACE, the rest works */
    VB_FAULT_SHORT_READ,   /* the nth call, if a read, fails as on a truncated file */
    VB_FAULT_DIE_BEFORE,   /* the nth call and all later ones fail: the process died before it */
    VB_FAULT_DIE_AFTER     /* the nth call is done, but fails, as do all later ones */
};
struct vb_backend *vb_backend_fault_new(struct vb_backend *inner);
/* Counts from now: n = 1 is the next call. */
void vb_backend_fault_set(struct vb_backend *b, enum vb_fault_mode mode, uint64_t n);
uint64_t vb_backend_fault_calls(struct vb_backend *b); /* since the last set */
struct vb_backend *vb_backend_fault_inner(struct vb_backend *b);

#endif
