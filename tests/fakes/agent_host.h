/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/agent_host.h - a host inside one process: writers, providers, mounts, services and a watchdog that
 * behave as they are told, for a real session under a virtual loop.
 *
 * Everything that reaches a writer, a provider, a service or the watchdog is one line in `log`:
 *     "front PrepareForBackup", "front Freeze", "prov commit", "wd FREEZE", "service stop web", "mover capture"
 */
#ifndef VB_TESTS_FAKES_AGENT_HOST_H
#define VB_TESTS_FAKES_AGENT_HOST_H

#include "agent/session.h"
#include "documents/events.h"
#include "wire/protocol.h"

enum vb_fake_way {
    FAKE_OK = 0, FAKE_FAIL, FAKE_HANG, FAKE_CRASH, FAKE_GARBAGE /* broken document or frame */,
    FAKE_PARTIAL /* VB_E_WRITER_PARTIAL_FAILURE with the first component marked */
};

struct vb_fake_host;

struct vb_fake_writer {
    char *name;                    /* section and instance-free name */
    char class_id[37];
    enum vb_level level;
    uint64_t freeze_ms;
    bool required;
    enum vb_fake_way way[VB_EV_COUNT];
    enum vb_code code[VB_EV_COUNT];/* of FAKE_FAIL; 0: non-retryable */
    uint64_t delay_ms[VB_EV_COUNT];
    bool start_fails, ready_fails, never_ready;
    char *path;                    /* of its only file set; NULL: no file set */
    uint32_t backup_bits;          /* of the file set; 0: the default */
    uint32_t flags;                /* VB_CF_* of its component */
    enum vb_restore_method method;
    enum vb_writer_restore when;
    const char *service;
    const char *alm;               /* alternate location of the file set, or NULL */
    enum vb_consistency lowers;    /* told with PostSnapshot */
    enum vb_restore_target target; /* set in PreRestore */
    unsigned starts;               /* of its host */
    /* the host that runs */
    struct vb_fake_host *h;
    struct vb_conn *conn;          /* the host's end */
    unsigned gen;
    struct vb_components *doc;
};

struct vb_fake_provider {
    char *name;
    bool supported;
    uint64_t hold, preference, consistency, type, consent; /* type 0: not told */
    const char *group;
    bool atomic, group_atomic, per_tree;
    uint32_t attributes;           /* it can honour */
    const char *fail_call;         /* call that fails, hangs or crashes */
    enum vb_fake_way way;
    uint64_t delay_ms;             /* of commit */
    struct vb_fake_host *h;
    struct vb_conn *conn;
    unsigned gen;
};

struct vb_fake_host {
    struct vb_loop *loop;
    struct vb_session_env env;
    struct vb_journal *journal;
    struct vb_session *session;
    struct vb_fake_writer w[8]; size_t n_w;
    struct vb_fake_provider p[4]; size_t n_p;
    const char *mounts;            /* mountinfo text */
    struct vb_strv log;
    struct vb_strv exists;         /* paths at which something exists */
    bool busy_files;               /* what exists cannot be replaced */
    bool data;                     /* a data stream is at hand */
    enum vb_fake_way mover_way;
    enum vb_file_restore_status mover_status;
    enum vb_code mover_code;       /* of every component; first pass only */
    unsigned mover_runs;
    struct vb_msg mover_spec;      /* of the last run */
    struct vb_conn *mover;
    /* slot */
    bool slot_busy, slot_wanted;
    unsigned slot_given, slot_back;
    /* watchdog */
    enum vb_code wd_fail[8];       /* by call */
    bool wd_silent;                /* never answers FREEZE */
    bool frozen, armed;
    /* services */
    const char *service_fails;
    bool service_hangs;
    /* what came out */
    struct vb_msg *replies; size_t n_replies, cap_replies;
    struct vb_msg *events; size_t n_events, cap_events;
    struct vb_buf kept;
    bool keep_fails;
    bool reboot_ready, reboot_commit_fails;
    const char *reboot_told;       /* what became of files that waited for the last restart */
    bool ended;
    struct vb_error why;
    bool in_window;
    size_t log_in_window;          /* documents or starts inside the window: must stay 0 */
    uint64_t next_id;
    struct vb_timer **timers; size_t n_timers, cap_timers;
};

/* One front-end writer "front" with files below /data, one provider "prov", a volume at /data. */
struct vb_fake_host *vb_fake_host_new(void);
void vb_fake_host_free(struct vb_fake_host *h);
struct vb_fake_writer *vb_fake_add_writer(struct vb_fake_host *h, const char *name, enum vb_level level,
                                          const char *path);
struct vb_fake_provider *vb_fake_add_provider(struct vb_fake_host *h, const char *name);
/* Makes the session, once writers and providers are set. */
void vb_fake_open(struct vb_fake_host *h, enum vb_job_kind kind, struct vb_job **job_to_edit);

/* Sends a command and returns its id. */
uint64_t vb_fake_send(struct vb_fake_host *h, uint16_t type, const struct vb_msg *body);
/* Runs until the command is answered or ms have passed: the reply, or NULL. */
const struct vb_msg *vb_fake_wait(struct vb_fake_host *h, uint64_t id, uint64_t ms);
const struct vb_msg *vb_fake_command(struct vb_fake_host *h, uint16_t type, const struct vb_msg *body);
void vb_fake_run(struct vb_fake_host *h, uint64_t ms);
/* A BCD that takes all components of all writers (restore: selected), as a message body. */
struct vb_writer_metadata *vb_fake_metadata(const struct vb_fake_writer *w); /* what it says at Identify */
void vb_fake_bcd(struct vb_fake_host *h, bool restore, struct vb_msg *body);
/* The stored metadata documents of all writers, added to the body of PRE_RESTORE. */
void vb_fake_stored(struct vb_fake_host *h, struct vb_msg *body);
/* COMPLETE with all components marked. */
void vb_fake_marks(struct vb_fake_host *h, bool succeeded, struct vb_msg *body);
/* RESTORE_FILES for all components. */
void vb_fake_roots(struct vb_fake_host *h, struct vb_msg *body);

/* Answers that matter. */
enum vb_code vb_fake_code(const struct vb_msg *reply);
size_t vb_fake_count(const struct vb_fake_host *h, const char *line);
/* Position of the n-th line (from 1) in the log, from 1; 0: not there. */
size_t vb_fake_at(const struct vb_fake_host *h, const char *line);
/* Status of a writer in a reply. */
enum vb_writer_state vb_fake_state(const struct vb_msg *reply, const char *writer);
struct vb_components *vb_fake_read_bcd(const struct vb_msg *reply);
void vb_fake_print(const struct vb_fake_host *h);

#endif
