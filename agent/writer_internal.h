/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_internal.h - what the parts of the writer host share: the session of the one writer in this process.
 *
 * writer_host.c runs the conversation, writer_events.c and writer_replication.c the callbacks, writer_load.c finds and checks the module, writer_user.c gives
 * up rights, writer_services.c and writer_records.c are the table that the writer calls back through.
 */
#ifndef VB_AGENT_WRITER_INTERNAL_H
#define VB_AGENT_WRITER_INTERNAL_H

#include <sys/types.h>
#include "base/config.h"
#include "base/mem.h"
#include "documents/components.h"
#include "documents/events.h"
#include "documents/writer_metadata.h"
#include "vbackup/writer.h"
#include "wire/msg.h"

/* How far the session has come; what may come next hangs on it. */
enum vb_wh_phase {
    VB_WP_NONE = 0, /* no session */
    VB_WP_PREPARE_BACKUP,
    VB_WP_PREPARE_SNAPSHOT,
    VB_WP_FREEZE,
    VB_WP_THAW,
    VB_WP_POST_SNAPSHOT,
    VB_WP_COMPLETE,
    VB_WP_ABORTED, /* nothing but abort and backup_shutdown any more (B-73) */
    VB_WP_FAILED,  /* a callback before the snapshot failed: the same */
    VB_WP_PRE_RESTORE,
    VB_WP_POST_RESTORE
};

struct vb_record {
    struct vb_host *h;
    struct vb_component *c;
};

struct vb_wh_map {
    char *path, *snapshot_path;
    bool writable; /* until PostSnapshot returns (S-12) */
};

struct vb_host {
    /* the writer */
    struct vb_writer w; /* our copy, zero-filled behind what the module gave */
    struct vb_replication repl; /* the same of its replication block; size 0: it has none */
    void *ctx;
    void *dl;
    char *section, *module, *module_path, *instance_name, *state_dir, *user;
    struct vb_config_section cfg; /* our copy: the section, and what was given on the command line behind it */
    char instance_id[40];

    /* the running callback */
    enum vb_event event;     /* VB_EV_NONE outside callbacks */
    uint64_t deadline_us;    /* monotonic; 0: none */
    struct vb_error failure; /* what svc->fail recorded */
    struct vb_error trouble; /* the last service that failed, for callbacks that return -1 without a word */
    struct vb_strv scratch;  /* strings that live until the callback returns */

    /* the session */
    enum vb_wh_phase phase;
    char *session_id, *set_id;
    enum vb_backup_type backup_type;
    enum vb_restore_type restore_type;
    bool atomic;
    struct vb_strv volumes;
    uint64_t *volume_mount;
    struct vb_wh_map *maps;
    size_t n_maps, cap_maps;
    struct vb_components *doc;
    struct vb_record *records;
    size_t n_records;
    struct vb_writer_metadata *wmd; /* while Identify runs */
    enum vb_consistency consistency;

    int fd;
    struct vb_buf *in; /* received from fd and not used yet */
    bool hold_log; /* between freeze and thaw: lines stay in memory */
    struct vb_msg *held;
    size_t n_held, cap_held;
};

/* ---- writer_load.c ---- */

/* The absolute path of `vb-writer-NAME.so` in VBACKUP_WRITER_PATH or the package directory, as an open descriptor of a
 * file that nobody but root and our own user can have changed; -1 otherwise.  *path is the caller's. */
int vb_writer_find(const char *module, char **path, struct vb_error *err);
/* Loads and checks the handshake; fills h->w, h->dl, h->module_path. */
int vb_writer_load(struct vb_host *h, const char *module, struct vb_error *err);
/* A pattern of vb_writer.options (a trailing '*' stands for any rest) knows this key. */
bool vb_writer_knows_option(const struct vb_writer *w, const char *key);
/* Refuses keys of the section that neither the host nor the writer knows. */
int vb_writer_check_section(const struct vb_host *h, struct vb_error *err);
/* `level` and `freeze-timeout` of the section over what the writer says of itself. */
int vb_writer_apply_section(struct vb_host *h, struct vb_error *err);

/* ---- writer_user.c ---- */

/* Makes `DIR/writers/SECTION` for `user` (NULL: our own), 0700; sets h->state_dir. */
int vb_writer_make_state_dir(struct vb_host *h, const char *dir, const char *user, struct vb_error *err);
/* Becomes the user for good; no way back, no core files, no new privileges. */
int vb_writer_drop(const char *user, struct vb_error *err);

/* ---- writer_events.c ---- */

/* Runs what a W_EVENT asks for and fills the W_DONE. */
void vb_writer_handle_event(struct vb_host *h, const struct vb_msg *m, struct vb_msg *out);
/* The agent is gone (lost) or says goodbye: abort if it is due, then backup_shutdown. */
void vb_writer_wind_up(struct vb_host *h, bool lost);
typedef int vb_writer_callback(void *ctx, struct vb_host *h);
vb_writer_callback *vb_writer_callback_of(const struct vb_host *h, enum vb_event e);

/* ---- writer_replication.c ---- */

/* The bits of REPL_CALLS; 0 without a block. */
uint64_t vb_writer_replication_calls(const struct vb_host *h);
/* Runs what a W_REPL asks for, with the bytes that go to and fro meanwhile, and fills the W_DONE. */
void vb_writer_handle_replication(struct vb_host *h, const struct vb_msg *m, struct vb_msg *out);

/* ---- writer_host.c ---- */

void vb_writer_set_busy(bool busy);

/* ---- writer_services.c, writer_records.c ---- */

/* The whole table; static. */
const struct vb_writer_services *vb_writer_service_list(void);
void vb_writer_fill_record_services(struct vb_writer_services *s);
/* Non-zero after EOF or SIGTERM. */
bool vb_writer_is_ending(void);
uint64_t vb_writer_now_us(void);
/* A number that names the mount a path lies on; 0 if the path is not there. */
uint64_t vb_writer_mount_of(const char *path);
/* Records a service's failure for a callback that returns -1 without saying why; returns -1. */
int vb_writer_trouble(struct vb_host *h, struct vb_error *from);
int vb_writer_bad_state(struct vb_host *h, const char *service, const char *when);
/* Keeps a copy until the callback returns. */
const char *vb_writer_keep(struct vb_host *h, char *taken);

#endif
