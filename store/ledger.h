/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/ledger.h - the order of things: one small numbered file for each backup and each prune, and what a prune leaves
 * behind for those who come after it.  Pure: bytes in, structs out.
 *
 * "ledger/<ten digits>" is created and never changed or removed, and a name can be created only once: whoever creates
 * number n has seen all below n.  So commits and prunes of any number of clients stand in one order without a lock
 * (repository_ledger.c; the argument is in doc/concurrency.md).
 *
 *     magic "VBLG"  version(1) kind(1) zero(2)  tag of the group that wrote(16)  number(8)
 *     SHA-256 of the record before, zero in the first(32)  SHA-256 of what it is about(32)  mac(32)
 *
 * A prune's record is about "state/<ten digits>-<SHA-256>", a JSON object: what nobody may count on from here on.
 */
#ifndef VB_STORE_LEDGER_H
#define VB_STORE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/chunk/chunk.h"
#include "store/keys.h"

#define VB_LEDGER_LEN 128u
#define VB_LEDGER_VERSION 1u
#define VB_STATE_MAX_FILE ((size_t)256 << 20)

enum vb_ledger_kind {
    VB_LEDGER_UNKNOWN = 0, /* takes up its number, and says nothing: damaged, or not made with a key that may */
    VB_LEDGER_BACKUP = 1,  /* what: the record in catalog/ */
    VB_LEDGER_PRUNE = 2,   /* what: the state */
    VB_LEDGER_WORD = 3     /* what: a mark in holds/ or forgotten/ that was made or taken back; prunes begin anew */
};

struct vb_ledger_record {
    uint64_t number;
    enum vb_ledger_kind kind;
    uint8_t tag[VB_GROUP_TAG_LEN];
    struct vb_name previous, what;
    struct vb_name hash; /* of the file's bytes; not part of it */
};

/* With the keys of a group that these keys know. */
void vb_ledger_encode(struct vb_keys *k, uint32_t group, struct vb_ledger_record *rec, struct vb_buf *out);
/* VB_E_CORRUPT: malformed, of another number, or its mac is wrong; a write-only key takes the mac of other groups on
 * trust.  VB_E_NEWER_FORMAT.  hash is set in any case. */
int vb_ledger_decode(struct vb_keys *k, uint64_t number, const void *p, size_t n, struct vb_ledger_record *rec,
                     struct vb_error *err);
char *vb_ledger_path(uint64_t number); /* caller frees */
bool vb_ledger_path_parse(const char *path, uint64_t *number);

/* ---- what a prune leaves ---- */

struct vb_state_pack {
    struct vb_name name;
    uint64_t generation; /* of the prune that condemned it */
    uint64_t wall_ms;    /* and when, by the clock of whoever pruned */
    bool doomed;         /* is being removed: nobody may refer to it any more, also who began before */
};

struct vb_state_lease {
    char *path;             /* with its count: a lease that is renewed gets another */
    uint64_t first_seen_ms; /* by the clock of whoever pruned */
};

struct vb_state {
    uint64_t generation; /* how many prunes there have been, with this one */
    uint64_t wall_ms;
    struct vb_state_pack *packs; /* sorted by name */
    size_t n_packs, cap_packs;
    struct vb_strv expired; /* records of backups that are removed for good, "catalog/..." */
    struct vb_state_lease *leases;
    size_t n_leases, cap_leases;
};

void vb_state_clear(struct vb_state *s);
struct vb_state_pack *vb_state_add_pack(struct vb_state *s, const struct vb_name *name, uint64_t generation,
                                        uint64_t wall_ms, bool doomed); /* call vb_state_sort when all are in */
void vb_state_add_lease(struct vb_state *s, const char *path, uint64_t first_seen_ms);
void vb_state_sort(struct vb_state *s);
const struct vb_state_pack *vb_state_find(const struct vb_state *s, const struct vb_name *pack); /* NULL: not in it */
int vb_state_encode(const struct vb_state *s, struct vb_buf *out, struct vb_error *err);
/* Strict; *s is to be cleared, also on failure. */
int vb_state_decode(const void *p, size_t n, struct vb_state *s, struct vb_error *err);
/* "state/0000000007-<hash>"; caller frees.  And back. */
char *vb_state_path(uint64_t number, const struct vb_name *hash);
bool vb_state_path_parse(const char *path, uint64_t *number, struct vb_name *hash);

/* ---- leases ---- */

/* "leases/<generation, ten digits>-<id>-<count, ten digits>": a run that has begun and not ended, and the generation
 * that it knows.  Caller frees.  And back. */
char *vb_lease_path(uint64_t generation, const char *id, uint64_t count);
bool vb_lease_path_parse(const char *path, uint64_t *generation, char id[VB_GUID_LEN + 1], uint64_t *count);

#endif
