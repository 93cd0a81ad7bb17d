/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/provider_host.h - the process in which one provider lives, and its state machine (section 6.4).
 *
 *     vbackup-agent provider-host NAME --state-dir DIR [--options] [-o KEY=VALUE]...        fd 3: socket to the agent
 *
 * --options: the entries of the provider's section, "key=value" ended by a zero byte each, are read from fd 4; they may
 * hold secrets, which have no place in an argument list.
 *
 * The provider keeps what it must know of its shadow copies in DIR/providers/NAME.
 *
 * host:  P_READY {NAME, PROVIDER_ID, VERSION, TYPE, PREFERENCE, PID?, CALL? ("check": it has this callback)} or P_READY {CODE, TEXT, HINT}
 * agent: P_CALL {CALL, DEADLINE_MS?, ...} -> P_DONE {...} with the same id, one after the other:
 *
 *   CALL             in                                              out
 *   "supports"       VOLUME                                          SUPPORTED, REMARK, ATOMIC, GROUP_ATOMIC, HOLD,
 *                                                                    ATTRIBUTES, PER_TREE, TYPE, PREFERENCE,
 *                                                                    CONSISTENCY (without writers), CONSENT, GROUP
 *   "begin_prepare"  SET, SNAPSHOT, VOLUME                           -
 *   "end_prepare" "pre_commit" "commit" "pre_final" "post_final" "abort"   SET      -
 *   "post_commit"    SET                                             COUNT
 *   "snapshot_path"  SNAPSHOT, PATH                                  PATH
 *   "delete" "check" SNAPSHOT                                        -
 *   "query"          -                                               SNAPSHOT {SNAPSHOT, SET, PATH (mount point),
 *                                                                    SNAPSHOT_PATH, CREATED_SEC}...
 *   "revert"         SNAPSHOT, KEEP, SET (ids of the old state), FORCE?      -
 *   "make_writable"  SNAPSHOT, PATH, LIVE? (writable)                -
 *   "send"           SNAPSHOT, PATH (a new file)                       STAMP
 *   "receive"        SET, SNAPSHOT, PATH (the file), TARGET (directory), STAMP     -
 *   VOLUME is a group {PATH (mount point), DEVICE, FS_TYPE, SUBVOLUME, FS_ROOT, TREE..., ATTRIBUTES}
 *   Failures: CODE, TEXT, HINT.
 *
 * Order (S-32 to S-36): begin_prepare of another set drops the set before it; a call out of order or with another
 * set id aborts the set and is a VB_E_PROVIDER_VETO; abort after "created" is ignored; a provider's failure aborts
 * its set; a code outside the contract becomes VB_E_UNEXPECTED_PROVIDER_ERROR, except from abort.  End of file on
 * fd 3 while a set is being made counts as abort (S-35); a set that is complete stays.
 */
#ifndef VB_AGENT_PROVIDER_HOST_H
#define VB_AGENT_PROVIDER_HOST_H

#include "base/error.h"
#include "vbackup/provider.h"

/* `vbackup-agent provider-host ...` */
int vb_provider_host_main(int argc, char **argv);

/* Serves one provider on a blocking socket until its end; options is a list "key=value" (tests). */
int vb_provider_host_serve(const struct vb_provider *p, int fd, const char *state_dir, const char *const *options,
                           size_t n_options, struct vb_error *err);

#endif
