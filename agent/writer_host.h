/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_host.h - the process that loads one writer, and the list of writers a configuration names.
 *
 * Started by the worker as
 *     vbackup-agent writer-host [--config FILE | --config-fd N] [--state-dir DIR] SECTION [MODULE] [KEY=VALUE...]
 * with a connected, blocking unix socket on descriptor 3.  SECTION is the name of a `[writer SECTION]` section of the
 * configuration (FILE, else VBACKUP_CONFIG, else none; or the text that is read from descriptor N); a missing section
 * is an empty one.  MODULE, if given, beats what the section says, and KEY=VALUE stand as if written at its end. Keys
 * that every writer has: module, instance, user (to run as), policy (required, optional), level (front-end, back-end,
 * system), freeze-timeout.  The conversation is the part AGENT <-> WRITER HOST of wire/protocol.h; these are the
 * fields:
 *
 *   W_READY: WRITER (name), CLASS, INSTANCE (fresh GUID), INSTANCE_NAME?, VERSION?, ABI, LEVEL, FREEZE_MS, USAGE, SOURCE,
 *       RUN_AS (user name), REPL_CALLS? and REPL_FLAGS? (a writer with a replication block); or CODE, TEXT, HINT and the process ends.
 *   W_EVENT: EVENT (enum vb_event), DEADLINE_MS?, OWED?, SESSION?, SET?, BACKUP_TYPE?, RESTORE_TYPE?, ATOMIC?, VOLUME* (a
 *       mount point each), PATH_MAP* {PATH, SNAPSHOT_PATH}, BCD? (xml of vb_writer_components_write).  SESSION and BCD hold
 *       until another one is sent, VOLUME, PATH_MAP and ATOMIC until another event brings them or the session ends; the
 *       rest is valid for this event alone.
 *   W_DONE (same id): CODE, TEXT, HINT when the callback failed; BCD (the edited records), WMD (after Identify),
 *       CONSISTENCY when the writer lowered it.
 *   W_REPL: CALL (enum vb_repl_call), TARGET?, DIFFERS?, DEADLINE_MS?; answered by W_BYTES {BYTES}... from signature and
 *       serialize, by W_MORE {} each time deserialize reads (the agent then sends W_BYTES {BYTES, LAST?}), and by W_DONE.
 *       Between sessions only; a call that the writer does not have succeeds.
 *   W_LOG: LEVEL, TEXT; nothing is sent between the end of a freeze and the end of the thaw.
 *   W_QUIT: the process ends, calling backup_shutdown if a session is open.
 *
 * An event out of order is answered with BAD_STATE and reaches no callback; abort and backup_shutdown without a session
 * are answered with success (B-71).  With OWED, abort, backup_shutdown and post_restore reach the callback without a
 * session: the host that had it has died, and a fresh one works off what is owed (W-20, W-22, W-35).  At the end of file
 * the host calls abort (if it is due) and backup_shutdown, then ends; a callback that does not return within
 * VB_WRITER_LOST_MS is left behind by _exit.
 */
#ifndef VB_AGENT_WRITER_HOST_H
#define VB_AGENT_WRITER_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include "base/config.h"
#include "base/error.h"

#define VB_WRITER_HOST_FD 3
#define VB_WRITER_LOST_MS 5000     /* a callback that runs when the agent is lost may go on this long */
#define VB_WRITER_CLEANUP_MS 30000 /* abort and backup_shutdown after that */

/* The sub-command; argv[0] is its name.  `--dump MODULE` prints the facts of a module as key=value lines.  Returns the
 * exit status of the process. */
int vb_writer_host_main(int argc, char **argv);

/* One writer that a configuration names. */
struct vb_writer_entry {
    char *section;  /* section name: the argument of a writer host */
    char *module;   /* name of the module: vb-writer-MODULE.so */
    char *instance; /* instance name, or NULL */
    bool required;  /* `policy = required`: a session without this writer fails (default: optional) */
};

/*
 * The `[writer NAME]` sections, in the order of the file.  module defaults to the first word of NAME, instance to the
 * rest of it if the first word is the module.  Refuses two sections of one name, and two of one module without distinct
 * instance names (W-7). *list is the caller's: vb_writers_free.
 */
int vb_writers_configured(const struct vb_config *c, struct vb_writer_entry **list, size_t *n, struct vb_error *err);
void vb_writers_free(struct vb_writer_entry *list, size_t n);
/* The same for one section; fills *w (vb_writer_entry_clear). */
int vb_writer_entry_read(const struct vb_config_section *s, struct vb_writer_entry *w, struct vb_error *err);
void vb_writer_entry_clear(struct vb_writer_entry *w);

#endif
