/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture.h - the capture process: reads the chosen files, and sends what the repository lacks.
 *
 * A process of its own under the worker, because it reads what others wrote and may run as another user.
 *
 *   fd 3   worker: VB_M_CAPTURE in, then PROGRESS*, WARN* and one REPLY out
 *   fd 4   data stream of the requester: OFFER, CHUNK, PROGRESS, WARN, ROOT, DATA_END out; WANT, DATA_OK in
 *
 * VB_M_CAPTURE {NAMING_KEY (32 bytes), CUT_SEED (32 bytes), CUT_PARAMS? (files), CUT_PARAMS? (databases),
 *     LEVEL? (zstd), VERIFY? (1: compression is checked here, because the requester believes us), WALL_MS? (before the shadow copies were made), NO_DETECTOR? (1: read everything),
 *     COMPONENT {CLASS, INSTANCE_NAME, WRITER, LOGICAL_PATH, NAME, TYPE?, CONSISTENCY,
 *         FILESET {PATH, READ_PATH?, FILESPEC?, RECURSIVE, LIVE, BACKUP_BITS, KIND? (1: follow mount points),
 *             LEAVE_OUT (rule of base/path_filter.h)...}...,
 *         EXCLUDE {PATH, FILESPEC, RECURSIVE, KIND? (1: leaves out matching directories as well)}...,
 *         RANGES? (1: the writer may name partial files), PARTIAL {PATH, READ_PATH, RANGES (text), RANGES_PATH? (where a ranges
 *         file is read)}..., ROOT {PATH, FILESPEC, RECURSIVE, CHUNK_NAME (of the backup that this one builds on)}...}...}
 * CUT_PARAMS is three big-endian u32: min, avg, max.  TYPE VB_COMPONENT_DATABASE is cut with the second ones.
 *
 * A file set without FILESPEC means PATH itself, whatever it is, and all that is below it.
 *
 * REPLY {COMPONENT {CLASS, INSTANCE_NAME, WRITER, LOGICAL_PATH, NAME, CONSISTENCY, CODE?, TEXT?, HINT?, FILES, DIRS,
 *     BYTES, WARNINGS, LEFT_FILES, LEFT_DIRS, COMPLETENESS, ROOT {PATH, FILESPEC, RECURSIVE, CHUNK_NAME, FILES, DIRS, BYTES,
 *         DETECTOR? (how it was found what to read), FILES_READ (the others were recognised),
 *         BYTES_READ (of them)}...}...}
 * LEFT_FILES and LEFT_DIRS were left out by exclusions and rules; a directory counts once, with all that is below it.
 * Or REPLY {CODE, TEXT} when nothing can be said about any component: VB_E_CONNECTION_LOST after the loss of the data
 * stream.  Then the worker starts capture again on a new stream; what is stored by then is not sent twice.
 *
 * A component whose file failed (B-54) or whose named file is missing (B-50) carries CODE and VB_FAILED, and every such
 * file was told with WARN; the rest of it is captured all the same, and its roots are given.
 * For an ordinary user a file that he may not read is left out of a file group with a WARN, and the component is partial.
 */
#ifndef VB_AGENT_CAPTURE_H
#define VB_AGENT_CAPTURE_H

#include "base/error.h"

/* `vbackup-agent capture [--state-dir DIR]`: descriptors 3 and 4 as above. */
int vb_capture_main(int argc, char **argv);

/* The same on any two blocking descriptors (tests). Does not close them.
 * looks: directory of the memories of the change detector (agent/capture_look.h), NULL: everything is read.
 * 0 when a REPLY about the components was sent. */
int vb_capture_serve(int worker_fd, int data_fd, const char *looks, struct vb_error *err);

#endif
