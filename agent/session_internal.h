/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_internal.h - what the parts of the session share.
 *
 *   session.c            life, commands, replies, events, journal words
 *   session_writers.c    writer hosts: starting, one event to many in parallel (a round), states
 *   session_providers.c  provider hosts: one call to many in parallel (a call round)
 *   session_prepare.c    IDENTIFY, PREPARE: documents, volumes, choice of providers
 *   session_snapshot.c   SNAPSHOT: the freeze window and the commit sequence
 *   session_created.c    SNAPSHOT: from the closed window to the reply
 *   session_watch.c      whether the shadow copies are still what they were while they are read
 *   session_capture.c    CAPTURE, COMPLETE
 *   session_restore.c    PRE_RESTORE, RESTORE_FILES, POST_RESTORE
 *   session_shadow.c     SHADOW, and the records of sets that outlive a session
 *   session_reboot.c     files that wait for a restart of the machine
 *   session_mover.c      the capture or restore process and its data stream
 *   session_end.c        abort and release, the one way out
 */
#ifndef VB_AGENT_SESSION_INTERNAL_H
#define VB_AGENT_SESSION_INTERNAL_H

#include "agent/session.h"
#include "base/mem.h"
#include "base/text.h"
#include "documents/events.h"
#include "vbackup/provider.h"
#include "wire/protocol.h"

enum vb_phase {
    VB_PH_NEW = 0,
    VB_PH_IDENTIFIED,
    VB_PH_PREPARED,
    VB_PH_SNAPSHOT,
    VB_PH_CAPTURED,
    VB_PH_COMPLETED,
    VB_PH_PRE_RESTORED,
    VB_PH_RESTORED,
    VB_PH_POST_RESTORED,
    VB_PH_ABORTED,
    VB_PH_RELEASED
};

typedef void vb_step(struct vb_session *s);

/* A writer of the session. */
struct vb_sw {
    struct vb_session *s;
    struct vb_child_ref ref;
    char *word;                     /* its name as a word of the journal */
    enum vb_writer_policy policy;
    struct vb_child child;
    bool ready;                     /* W_READY came */
    bool fresh;                     /* a later host: it works off what is owed */
    char *class_id, *name, *instance_id, *instance_name;
    enum vb_level level;
    uint64_t freeze_ms;
    struct vb_writer_metadata *wmd;
    struct vb_buf wmd_xml;
    enum vb_writer_state state;
    struct vb_error failure;        /* of this session; first one wins */
    enum vb_consistency lowered;    /* by the writer itself, else UNKNOWN */
    /* what was sent; the cleaning up hangs on it */
    bool prepared;                  /* PrepareForBackup */
    bool holds;                     /* Freeze, and neither Thaw nor Abort since (B-42) */
    bool froze;                     /* Freeze succeeded */
    bool thawed;                    /* Thaw succeeded */
    bool past_post;                 /* PostSnapshot returned: no Abort any more (B-74) */
    bool aborted;                   /* Abort was sent: nothing but Abort and BackupShutdown any more (B-73) */
    bool dropped;                   /* failed before Freeze: the session goes on without it */
    bool completed;                 /* BackupComplete was sent */
    bool pre_restore, post_restore; /* sent */
    bool replace_failed;            /* restore: R-27 */
    bool shut_down;
    /* the running event */
    enum vb_event running;          /* VB_EV_NONE: idle */
    enum vb_event next;             /* to be sent when the running one is over */
    bool in_round;                  /* a round waits for it */
    uint64_t id, sent_us;
    struct vb_timer *timer;         /* limit of the running event */
    struct vb_timer *window;        /* Freeze to Thaw */
};

/* A provider of the session. */
struct vb_sp {
    struct vb_session *s;
    char *name, *id;
    struct vb_child child;
    bool ready, broken;
    bool checks;                    /* it has the callback "check" */
    bool in_set;                    /* has volumes in the set */
    char *version;                  /* as it greeted */
    uint64_t type, preference;
    struct vb_timer *timer;
};

/* A volume of the set. */
struct vb_sv {
    struct vb_volume *vol;          /* in s->volumes */
    struct vb_sp *provider;         /* NULL: read live */
    bool refused;                   /* asked only: neither a provider nor live reading is possible */
    char snapshot_id[VB_GUID_LEN + 1];
    bool atomic, group_atomic, per_tree;
    uint64_t hold;                  /* enum vb_hold */
    enum vb_consistency without_writers;
    unsigned rank;                  /* of the provider's type (S-25), then */
    uint64_t preference;
    char *group;                    /* with group_atomic: who shares the instant; NULL: all of the provider's */
    char *remark;
    struct vb_strv refusals;        /* why the others do not */
    struct vb_strv map_from, map_to; /* path -> path in the shadow copy, the volume's root first */
    uint64_t commit_begin, commit_end; /* monotonic; 0: none */
    bool begun, created, deleted;
    bool recovers;                  /* a component with data on it repairs its shadow copy in PostSnapshot (S-13) */
    struct vb_error lost;           /* why it is no longer worth anything */
};

/* One call of a call round. */
struct vb_pcall {
    struct vb_sp *p;
    size_t volume;                  /* index into set, or SIZE_MAX */
    uint64_t id;
    const char *call;
    char *path;                     /* snapshot_path */
    bool sent, done;
    struct vb_msg *fields;          /* not NULL: the call's fields, all of them; the round's */
    uint64_t sent_us;
};
typedef void vb_panswer(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err);

struct vb_session {
    const struct vb_session_env *env;
    struct vb_job *job;
    enum vb_phase phase;
    bool restore;
    char session_id[VB_GUID_LEN + 1], set_id[VB_GUID_LEN + 1];
    uint64_t next_id;
    struct vb_components *bcd;

    struct vb_sw **writers; size_t n_writers, cap_writers;
    struct vb_sp **providers; size_t n_providers, cap_providers;
    struct vb_volumes volumes;
    struct vb_sv *set; size_t n_set;

    vb_step **steps; size_t n_steps, cap_steps; /* posted */

    /* the command that is being executed */
    bool busy;
    struct vb_msg cmd;

    struct { bool active; enum vb_event ev; size_t left; vb_step *done; } round;
    struct {
        bool active;
        struct vb_pcall *v; size_t n, cap, left;
        vb_panswer *answer;
        vb_step *done;
        struct vb_timer *timer;
        uint64_t limit_ms;
        struct vb_error failure;    /* the first one */
    } calls;

    /* snapshot */
    bool slot_wanted, slot_held;
    bool window_open;               /* journal and log are held */
    bool watchdog_on, fs_frozen;
    bool still_frozen;              /* a thaw failed: the journal's window stays open, so that recover tries */
    bool set_begun;                 /* providers must hear abort until post_final */
    bool snapshot_ok;
    /* SNAPSHOT was answered before PostSnapshot (S-15): until that is over commands wait, but for RELEASE, which is
     * answered as well; then the session brings the set to its end, and itself, without anybody. */
    bool delayed, leaving;
    vb_step *held;                  /* the command that waits */
    uint64_t window_us;             /* monotonic begin */
    uint64_t commit_us;             /* monotonic begin of commit, then its length */
    struct { const char *name; uint64_t begin, end, inner; } phases[24]; /* parts of it, the last one open */
    size_t n_phases;
    struct vb_error trouble;        /* why the running command fails */
    int level;                      /* of the running freeze, thaw or PostRestore round */
    struct vb_timer *limit;         /* of the whole window, or of waiting for data */
    vb_step *after_watchdog;
    enum vb_watchdog_call watchdog_asked;
    struct vb_error watchdog_error, watchdog_fired;
    bool freezes;                   /* a provider asked for frozen file systems */

    /* capture, restore */
    struct vb_child mover;
    enum vb_child_kind mover_kind;
    struct vb_msg mover_spec, mover_reply;
    struct vb_msg mover_local;      /* components answered without the process */
    size_t mover_count;             /* components in the spec */
    vb_step *after_mover;
    struct { char *set, *id, *provider; } incoming; /* a shadow copy that is being received; NULLs: none */
    struct vb_timer *watch_timer;   /* next look at the shadow copies */
    vb_step *after_watch;           /* set: the last look is due or under way */

    /* restore */
    struct vb_writer_metadata **stored; size_t n_stored, cap_stored;
    struct vb_strv stopped;         /* services we stopped and owe a start */
    struct vb_strv queue;           /* services of the running list */
    bool queue_start;               /* start or stop them */
    struct { struct vb_strv components, staged, final; } waiting; /* for a restart; the same index */
    vb_step *after_service, *after_cleanup, *after_post_restore;
    struct vb_error service_error;
    bool files_begun;               /* RESTORE_FILES was sent once: what has no status is bad, not untouched */

    /* shadow copies (session_shadow.c) */
    uint32_t attributes;            /* context of the set */
    bool named_volumes;             /* the requester named them */
    char *only_provider;
    bool kept;                      /* made, and it outlives us */
    struct vb_shadow_set *record;   /* of the set being made */
    struct vb_shadow_op *shadow_op; /* the SHADOW call under way */

    /* way out */
    bool cancelling;                /* the running operation is being cut short */
    vb_step *after_cancel, *after_abort;
    struct vb_timer *grace;
    bool aborting_ours;             /* the ABORT command waits for an answer */
    uint64_t abort_id;
    bool ending;
    bool delete_again;              /* shadow copies that could not be deleted are tried a second time */
    struct vb_error why;

    /* journal */
    bool recorded;                  /* the record of the session itself stands */
    bool journal_failed;
    struct vb_error journal_error;  /* of the last record */
    struct vb_buf left_behind;      /* shadow copies that were not deleted */
};

/* ---- session.c ---- */
void vb_s_reply(struct vb_session *s, struct vb_msg *m);            /* answers the running command; m is cleared */
void vb_s_fail(struct vb_session *s,
               struct vb_error *err); /* the same with CODE, TEXT, HINT and STATUS; err cleared */
void vb_s_add_status(struct vb_session *s, struct vb_msg *m);
int vb_s_add_bcd(struct vb_session *s, struct vb_msg *m, struct vb_error *err);
/* EVENT to the requester. name, phase, writer, err may be NULL. */
void vb_s_event(struct vb_session *s, const char *kind, const char *name, const char *phase, const struct vb_sw *w,
                const struct vb_error *err, uint64_t duration_us);
void vb_s_warn(struct vb_session *s, const struct vb_sw *w, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vb_s_call(struct vb_session *s, const char *name);              /* EVENT kind "call" and its journal record */
/* -1: the record is not there, s->journal_error says why (logged once per session).  What is recorded before it is done
 * is then not done, unless it cleans up; what was done already goes on. */
int vb_s_journal(struct vb_session *s, bool sync, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void vb_s_post(struct vb_session *s, vb_step *step);                /* calls step from the loop */

/* ---- session_writers.c ---- */
struct vb_sw *vb_sw_add(struct vb_session *s, const struct vb_child_ref *ref);
void vb_sw_free(struct vb_sw *w);
struct vb_sw *vb_sw_find(const struct vb_session *s, const char *class_id, const char *instance_name);
struct vb_writer_components *vb_sw_record(const struct vb_sw *w);   /* in the BCD, or NULL */
bool vb_sw_takes_part(const struct vb_sw *w);                       /* has explicit components, or no component mode */
bool vb_sw_alive(const struct vb_sw *w);                            /* takes part and may still get ordinary events */
/* Kills or closes the host. */
void vb_sw_stop(struct vb_sw *w, bool kill);
void vb_sw_fail(struct vb_sw *w, enum vb_event ev, struct vb_error *err); /* state, failure; err is cleared */
/* Sends ev to every writer that the filter takes, in parallel, starting hosts that do not run; then done. */
typedef bool vb_sw_filter(const struct vb_sw *w);
void vb_round(struct vb_session *s, enum vb_event ev, vb_sw_filter *filter, vb_step *done);
/* Abort to one writer outside a round, as part of the running one (B-67). */
void vb_sw_abort_now(struct vb_sw *w);
/* Kills the host of a writer that is inside an event; the event fails with CANCELLED. */
void vb_sw_give_up(struct vb_sw *w);
/* Ends the round if nobody is left in it (its end may have been unposted). */
void vb_round_check(struct vb_session *s);

/* ---- session_providers.c ---- */
int vb_sp_start_all(struct vb_session *s, struct vb_error *err);
struct vb_sp *vb_sp_get(struct vb_session *s, const char *name);    /* finds or adds */
void vb_sp_free(struct vb_sp *p);
void vb_sp_stop(struct vb_sp *p, bool kill);
void vb_calls_begin(struct vb_session *s);
void vb_calls_clear(struct vb_session *s);
void vb_calls_add(struct vb_session *s, struct vb_sp *p, const char *call, size_t volume, const char *path);
/* Starts hosts that do not run, sends all, waits for all answers or the limit, then calls done. answer may be NULL. */
void vb_calls_go(struct vb_session *s, uint64_t limit_ms, vb_panswer *answer, vb_step *done);
/* A call with fields of its own, taken over, instead of a volume of the set. */
void vb_calls_add_fields(struct vb_session *s, struct vb_sp *p, const char *call, struct vb_msg *fields);
/* The attributes of the context, and what the system adds for this volume (S-6). */
uint32_t vb_sv_attributes(const struct vb_session *s, const struct vb_sv *v);
/* One call to every provider that has volumes in the set. */
void vb_calls_set(struct vb_session *s, const char *call, uint64_t limit_ms, vb_step *done);
void vb_sv_clear(struct vb_sv *v);
/* Kills the hosts that have not answered. */
void vb_calls_give_up(struct vb_session *s);
void vb_calls_check(struct vb_session *s);

/* ---- the commands ---- */
void vb_s_identify(struct vb_session *s);
void vb_s_prepare(struct vb_session *s);
void vb_s_snapshot(struct vb_session *s);
void vb_s_capture(struct vb_session *s);
void vb_s_complete(struct vb_session *s);
void vb_s_pre_restore(struct vb_session *s);
void vb_s_restore_files(struct vb_session *s);
void vb_s_post_restore(struct vb_session *s);
void vb_s_release(struct vb_session *s);
void vb_s_abort(struct vb_session *s, const struct vb_msg *m);

/* Takes the BCD of a message into s->bcd after checking it against the writers that are here (R-11, 2.2). */
int vb_s_take_bcd(struct vb_session *s, const struct vb_msg *m, bool restore, struct vb_error *err);
/* Volume of a path, or NULL if it is in no volume of the set. */
struct vb_sv *vb_s_volume_of(struct vb_session *s, const char *path);
/* Where path is read: in the shadow copy, or path itself (live). Caller frees. *live says which. */
char *vb_s_read_path(struct vb_session *s, const char *path, bool *live);
/* Whether what is mounted below the component's file sets is none of its business. */
bool vb_s_one_file_system(const struct vb_wm_component *c);
bool vb_s_needs_snapshot(const struct vb_session *s, const struct vb_component *c, const struct vb_fileset *f);
/* Adds a file set of the component to what is captured, and one more for every volume mounted below it (B-28). */
struct vb_member_fileset;
int vb_s_add_filesets(struct vb_session *s, struct vb_msg *comp, const struct vb_component *c,
                      const struct vb_member_fileset *f, struct vb_error *err);
/* session_changes.c: what the writer named itself, differenced and partial files. */
int vb_s_add_changes(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c, struct vb_msg *comp,
                     struct vb_error *err);
/* The type in which this component is backed up: full where it builds on nothing, whatever the session is (I-5, I-21). */
enum vb_backup_type vb_s_type(const struct vb_session *s, const struct vb_component *c);

/* The open part of the freeze window had a writer or a provider at work for so long. */
void vb_s_inner(struct vb_session *s, uint64_t us);
/* The freeze window is left, however it ended: watchdog disarmed, journal and log written. */
void vb_s_leave_window(struct vb_session *s);

/* The set has failed: everything made so far is undone, and SNAPSHOT fails with the first such reason. */
void vb_s_fail_set(struct vb_session *s, const struct vb_error *err);

/* ---- session_created.c ---- */
/* A PostSnapshot that was delayed is over, well or not: what waits for it goes on. */
void vb_s_delayed_over(struct vb_session *s);
/* Everybody is released: the set is brought to its end, and SNAPSHOT answered. */
void vb_s_window_settled(struct vb_session *s);

/* ---- session_mover.c ---- */
/* Starts the process with mover_spec on the data stream at hand; its REPLY is in mover_reply, a failure (also: there
 * is no stream, VB_E_CONNECTION_LOST) in trouble; then next. */
void vb_mover_run(struct vb_session *s, enum vb_child_kind kind, vb_step *next);
void vb_mover_stop(struct vb_session *s);

/* ---- session_watch.c: the shadow copies while they are read (S-49, Q-11) ---- */
void vb_s_watch_begin(struct vb_session *s);
/* One last look; then next. What is lost then is so in vb_sv.lost. */
void vb_s_watch_end(struct vb_session *s, vb_step *next);
void vb_s_watch_stop(struct vb_session *s); /* no more looks are begun */
/* The failure of a shadow copy that holds data of the component, or NULL. */
const struct vb_error *vb_s_lost_below(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c);
/* Data of the file set that need a shadow copy lie on this volume: directly, or mounted below (B-28). */
bool vb_s_lies_on(struct vb_session *s, const struct vb_component *c, const struct vb_fileset *fs, const struct vb_sv *v);

/* Gives the host's slot for creating a set back, if it was asked for. */
void vb_s_slot_back(struct vb_session *s);

/* ---- services (session_restore.c): one after the other; failures are warned of, the first is in service_error ---- */
void vb_s_services(struct vb_session *s, const struct vb_strv *names, bool start, vb_step *next);

/* Services that were stopped are started, PostRestore is sent where it is owed; then next. */
void vb_s_restore_cleanup(struct vb_session *s, vb_step *next);

/* ---- session_reboot.c ---- */
void vb_s_reboot_report(struct vb_session *s);  /* warns of what became of files that waited for the last restart */
void vb_s_reboot_discard(struct vb_session *s); /* what was staged and is not promised */

/* ---- session_end.c ---- */
/* Cuts the running operation short: whatever waits inside an event is killed after the grace; then next. */
void vb_s_cancel(struct vb_session *s, vb_step *next);
/* Abort to writers that need it, abort to providers in creation; then next (phase ABORTED). */
void vb_s_abort_all(struct vb_session *s, vb_step *next);

#endif
