/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/schedule.h - when an exporter gives notice, when an importer asks, pulls, and what it says of itself.
 *
 * Pure: every function takes the time and gives back what is to be done; nothing waits and nothing is sent.  Times are
 * milliseconds of one clock that does not jump (the loop's); wall-clock seconds appear where a user sees them only.
 * Rules: REP-11 to REP-16, REP-31 to REP-33, and "quiet third miss" of rule book part 5.f.
 */
#ifndef VB_REPLICA_SCHEDULE_H
#define VB_REPLICA_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/rng.h"
#include "vbackup/replica.h"

/* ---- settings of one scope (fields of REPL_INFO_0, in seconds) ---- */

struct vb_schedule {
    uint32_t interval_s; /* between notices; 1 to 86400 */
    uint32_t pulse;      /* intervals of silence before an importer asks; 1 to 10 */
    uint32_t guard_s;    /* how long a tree with tree integrity must be quiet; 0 to half the interval */
    uint32_t random_s;   /* most an importer waits before it pulls; 0 to 120; the exporter's value counts */
};
#define VB_SCHEDULE_DEFAULT { 300, 2, 120, 60 }
/* VB_E_USAGE names the first field that is out of range and what it may be; *key (may be NULL) becomes its name. */
int vb_schedule_check(const struct vb_schedule *s, const char **key, struct vb_error *err);

/* ---- exporter ---- */

enum vb_notice { VB_NOTICE_NONE = 0, VB_NOTICE_SYNC = 1, VB_NOTICE_PULSE = 2 };
struct vb_exporter {
    int64_t last_ms;      /* of the last notice; 0: none yet */
    uint64_t last_tick;   /* the scope's tick then */
};
/* What is due now; the state is brought forward if it is not NONE.  *wait_ms: look again by then (REP-11, REP-12). */
enum vb_notice vb_exporter_due(struct vb_exporter *e, const struct vb_schedule *s, uint64_t tick, int64_t now_ms,
                               int64_t *wait_ms);

/* Whether a tree with tree integrity may travel: nothing in it changed for the guard time (REP-20).  Else *wait_ms. */
bool vb_tree_is_quiet(const struct vb_schedule *s, int64_t last_change_ms, int64_t now_ms, int64_t *wait_ms);

/* ---- importer ---- */

/* States and reasons stand in vbackup/replica.h; the numbers are the seed's (REP-31). */
/* The reason that a failed pull's code stands for. */
enum vb_import_reason vb_import_reason_of(enum vb_code code);

struct vb_importer {
    enum vb_import_state state;
    enum vb_import_reason reason;
    struct vb_schedule schedule; /* the exporter's, from its last notice */
    bool has_master, locked;
    int64_t heard_ms;       /* last sign of the master */
    int64_t pull_at_ms;     /* 0: no pull is due */
    int64_t ask_at_ms;      /* 0: nothing to ask for */
    unsigned misses;        /* asked in vain so often in a row */
    int64_t last_update_s;  /* wall clock of the last success; 0 never */
};
#define VB_IMPORTER_INIT { .state = VB_IMPORT_NEVER, .schedule = VB_SCHEDULE_DEFAULT }
#define VB_ASK_PAUSE_MAX_MS (3600 * 1000) /* never quite silent: asks again with a growing pause (part 5.f) */

enum vb_import_action { VB_IMPORT_WAIT = 0, VB_IMPORT_ASK = 1, VB_IMPORT_PULL = 2 };

/* A notice, or an answer to a question, arrived.  A pull becomes due after 0 to random_s seconds if there is news, or if
 * this importer is not in step (REP-14, REP-15). */
void vb_importer_notice(struct vb_importer *i, const struct vb_schedule *theirs, bool news, int64_t now_ms, struct vb_rng *rng);
/* What is to be done now, and otherwise *wait_ms until when.  ASK is given once per due time (REP-13). */
enum vb_import_action vb_importer_due(struct vb_importer *i, int64_t now_ms, int64_t *wait_ms);
/* A question went unanswered, or the connection failed. */
void vb_importer_unanswered(struct vb_importer *i, int64_t now_ms);
/* A pull ended: VB_OK, or why it failed; it comes again after an interval. */
void vb_importer_pulled(struct vb_importer *i, enum vb_code code, int64_t now_ms, int64_t wall_s);
/* The exporter no longer exports it. */
void vb_importer_withdrawn(struct vb_importer *i);
/* Locks hold pulls, in any state; the state decays by itself.  Unlocking makes a pull due at once. */
void vb_importer_lock(struct vb_importer *i, bool locked, int64_t now_ms);

#endif
