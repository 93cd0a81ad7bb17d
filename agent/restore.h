/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore.h - the restore process: fetches trees and chunks and puts files back, safely in a hostile place.
 *
 *   fd 3   worker: VB_M_RESTORE_FILES in, then PROGRESS*, WARN* and one REPLY out
 *   fd 4   data stream of the requester: GET, PROGRESS, WARN, DATA_END out; CHUNK, DATA_OK in
 *
 * VB_M_RESTORE_FILES {NAMING_KEY? (32 bytes; with it every chunk is checked against its name), OVERWRITE, KEEP_OWNER,
 *     COUNT? (attempt: above 1 files that an earlier attempt finished are recognised by their content and kept),
 *     VERIFY? (1: read everything again afterwards and compare it with the names of its chunks; needs the key),
 *     COMPONENT {CLASS, INSTANCE_NAME, WRITER, LOGICAL_PATH, NAME,
 *         ROOT {PATH, FILESPEC?, RECURSIVE, CHUNK_NAME, TARGET, SOURCE?}...}...}
 * TARGET takes the place of PATH: the directory itself for the root of a directory, the file itself otherwise.
 * Missing parents are made.  FILESPEC selects as at backup (C-33 to C-35); none means everything.
 * SOURCE is a path relative to the root: only this entry, and all below it, is restored, to TARGET itself.
 *
 * REPLY {COMPONENT {CLASS, INSTANCE_NAME, WRITER, LOGICAL_PATH, NAME, CODE?, TEXT?, HINT?, FILES, DIRS, BYTES,
 *     WARNINGS, COMPLETENESS, RESTORE_STATUS, VERIFY? (entries found right), ROOT {PATH, TARGET, FILES, DIRS, BYTES}...}...},
 * or REPLY {CODE, TEXT} as in capture.h.
 *
 * All or nothing before the first write: trees are read, targets and free space checked; what is in
 * the way is VB_E_GUARD unless OVERWRITE, and then nothing was touched (VB_FILE_RESTORE_NONE).
 *
 * Safe as root in a tree that others may change meanwhile: every step is relative to a held descriptor and resolves one
 * name beneath it without links; metadata are set by descriptor only; new content appears under a temporary name and is
 * renamed; hard links are made only to inodes that this run made; owners, devices and set-id bits need root and
 * KEEP_OWNER.
 */
#ifndef VB_AGENT_RESTORE_H
#define VB_AGENT_RESTORE_H

#include "base/error.h"

/* `vbackup-agent restore`: descriptors 3 and 4 as above. */
int vb_restore_main(int argc, char **argv);

/* The same on any two blocking descriptors (tests). Does not close them.
 * 0 when a REPLY about the components was sent. */
int vb_restore_serve(int worker_fd, int data_fd, struct vb_error *err);

#endif
