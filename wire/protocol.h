/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/protocol.h - the whole conversation: message types, field tags, and who says what when.
 *
 * REQUESTER <-> AGENT.  Every stream (a socket pair here, an SSH channel there) begins with
 *     both:       HELLO {VERSION_MIN, VERSION_MAX, FEATURE..., PROGRAM, ROLE, HOST}
 * The first message of the requester after HELLO says what the stream is for:
 *   control   OPEN {JOB_DOC, LEASE_MS} -> OPENED {JOB, TOKEN}                      a new job; a worker is made for it
 *             ATTACH {JOB, TOKEN, SEQ} -> ATTACHED {JOB, SEQ}                      a job made earlier; events after SEQ are sent again
 *   data      DATA {JOB, TOKEN} -> DATA_OK                                         goes to the job's capture or restore process
 *   query     STATUS -> STATUS_REPLY {JOB_INFO...}; CANCEL {JOB, TOKEN} -> OK      answered by the supervisor itself
 * The supervisor reads only that first message and hands the descriptor to the worker; it is not in the way of data.
 *
 * On a control stream the requester sends commands and the worker answers each with REPLY (same id) and tells what
 * happens meanwhile with EVENT {SEQ, WALL_MS, KIND, WRITER, INSTANCE, ...}.  A command that was executed before (same id,
 * after a re-attach) is answered again from the record, not executed again.  Commands in the order of section 2.1 / 3.1:
 *   backup    IDENTIFY -> REPLY {WMD {CLASS, INSTANCE, XML}..., FAILED {WRITER, CODE, TEXT}...}
 *             PREPARE {BCD, ATTRIBUTES?, PATH..., PROVIDER?} -> REPLY {BCD, STATUS...}
 *                                                                  set started, volumes added, PrepareForBackup
 *             SNAPSHOT -> REPLY {BCD, STATUS..., VOLUME..., WINDOW}  PrepareForSnapshot .. PostSnapshot
 *             CAPTURE {COMPONENT...} -> REPLY {COMPONENT...}        by the data stream; per component its roots, counts, level
 *             COMPLETE {BCD} -> REPLY {BCD, STATUS...}              SetBackupSucceeded as in BCD, BackupComplete
 *             RELEASE -> REPLY {}                                   BackupShutdown, shadow copies deleted; the job ends
 *   restore   IDENTIFY; PRE_RESTORE {BCD, WMD...} -> REPLY {BCD, STATUS...}
 *             RESTORE_FILES {COMPONENT...} -> REPLY {COMPONENT...}  by the data stream; per component its file restore status
 *             POST_RESTORE {BCD} -> REPLY {BCD, STATUS...}; RELEASE
 *   shadow copies, in a job of kind identify or backup, between the others:
 *             SHADOW {CALL, ...} -> REPLY {...}                     agent/session_shadow.h has the calls
 *   any       ABORT {CODE, TEXT} -> REPLY {STATUS...}               AbortBackup; harmless with nothing under way (B-71)
 *
 * Groups of these messages:
 *     WMD       CLASS, INSTANCE, XML                           STATUS  CLASS, INSTANCE, INSTANCE_NAME?, WRITER, STATE, CODE?, TEXT?, HINT?
 *     FAILED    WRITER, CLASS?, INSTANCE_NAME?, REQUIRED? (by its host's configuration or the job), CODE, TEXT, HINT?
 *     CAPTURE   NAMING_KEY, CUT_SEED, CUT_PARAMS of the repository, NO_DETECTOR?, then the components to read.  The DATA stream is opened
 *               (and answered DATA_OK) before; without one, or when it breaks, the reply is CODE CONNECTION_LOST and the
 *               requester sends CAPTURE again with a new id after it has opened another.
 *     COMPONENT of CAPTURE: CLASS, INSTANCE, INSTANCE_NAME?, WRITER, LOGICAL_PATH, NAME; in the reply also CONSISTENCY,
 *               COMPLETENESS, FILES, DIRS, BYTES, WARNINGS, CODE? TEXT? HINT? (failed), ROOT {PATH, FILESPEC, RECURSIVE,
 *               CHUNK_NAME? (the tree; absent: nothing was captured), FILES, DIRS, BYTES, WARNINGS?,
 *               DETECTOR?, FILES_READ?, BYTES_READ?}...
 *     COMPONENT of RESTORE_FILES: as for CAPTURE, with ROOT {PATH, FILESPEC, RECURSIVE, CHUNK_NAME} of the members to restore;
 *               in the reply RESTORE_STATUS, FILES, BYTES, CODE? TEXT? HINT?
 *     RESTORE_FILES itself: NAMING_KEY; OVERWRITE (0/1); COUNT (attempt, from 1).  Private restore: TARGET, a directory;
 *               no PRE_RESTORE was sent, no writer takes part, and every ROOT has its own TARGET already.
 *     PREPARE   ATTRIBUTES: context and attributes of the set (VB_SA_*; absent: backup).  With a context without writers
 *               it may come first, and no writer hears of the set (B-45).  PATH: volumes of the set; then they are all,
 *               and components that do not lie on them wholly are left out of the reply's BCD.  PROVIDER: this one only.
 *     PRE_RESTORE {BCD, WMD...}: the stored documents, instance ids in the BCD replaced by those of this session's IDENTIFY.
 *     EVENT     SEQ, WALL_MS, MONO_US, KIND (word), EVENT (word), WRITER?, INSTANCE?, CODE?, TEXT?
 * Command ids: the message type itself, plus 1000 for each repetition of CAPTURE, RESTORE_FILES or SHADOW.
 *
 * A lost control stream starts the lease: if nobody attaches in LEASE_MS the worker aborts by itself and releases all.
 *
 * DATA STREAM, capture: the capture process offers, the requester asks for what it lacks.
 *     OFFER {CHUNK {CHUNK_NAME, CHUNK_TYPE, SIZE}...} -> WANT {BITMAP} (same id; chunk i is bit i % 8 of byte i / 8)
 *     OFFER {KIND 1, CHUNK...} -> WANT {BITMAP}: only asks; what is lacking is not sent
 *     CHUNK {CHUNK_NAME, CHUNK_TYPE, SIZE, COMP, BYTES} for each wanted one, in the order of the offers
 *     PROGRESS {FILES, BYTES_DONE, BYTES_TOTAL}; WARN {PATH, CODE, TEXT}; ROOT {...}; DATA_END {} -> DATA_OK after all is taken
 * restore: GET {CHUNK_NAME, CHUNK_TYPE} -> CHUNK {...} (same id) or CHUNK with CODE/TEXT; PROGRESS; WARN; DATA_END {}
 * either:  ERROR {CODE, TEXT, HINT} instead of an answer ends the stream for that reason.
 * Fields of the processes' own messages: agent/capture.h, agent/restore.h, agent/provider_host.h.
 *
 * AGENT <-> WRITER HOST (one process per writer; the host has loaded the .so):
 *     host: W_READY {CLASS, WRITER, VERSION, ABI, LEVEL, FREEZE_MS, USAGE...} or W_READY {CODE, TEXT, HINT}
 *     agent: W_EVENT {EVENT, SESSION, SET, DEADLINE_MS, BACKUP_TYPE, RESTORE_TYPE, BCD_WRITER(xml), VOLUME..., ATOMIC,
 *            PATH_MAP {PATH, SNAPSHOT_PATH}...} -> W_DONE {CODE?, TEXT, HINT, BCD_WRITER(xml), WMD(xml after identify), CONSISTENCY}
 *     replication (W_READY then has REPL_CALLS, REPL_FLAGS): the driver is the agent here
 *     agent: W_REPL {CALL, TARGET?, DIFFERS?, DEADLINE_MS} -> W_BYTES {BYTES}... (signature, serialize), W_DONE {CODE?, TEXT, HINT}
 *     host: W_MORE {} -> W_BYTES {BYTES, LAST?} while deserialize reads
 *     host: W_LOG {LEVEL, TEXT}          agent: W_QUIT {} -> process ends; end of file: abort + backup_shutdown, then ends
 * AGENT <-> PROVIDER HOST:
 *     host: P_READY {NAME, PROVIDER_ID}; agent: P_CALL {CALL, SET, SNAPSHOT, VOLUME fields} -> P_DONE {CODE?, TEXT, support fields, PATH}
 */
#ifndef VB_WIRE_PROTOCOL_H
#define VB_WIRE_PROTOCOL_H

#define VB_PROTOCOL_MIN 1
#define VB_PROTOCOL_MAX 1

enum vb_msg_type {
    VB_M_HELLO = 1, VB_M_PING = 2, VB_M_PONG = 3, VB_M_OK = 4, VB_M_ERROR = 5,
    VB_M_OPEN = 10, VB_M_OPENED = 11, VB_M_ATTACH = 12, VB_M_ATTACHED = 13, VB_M_DATA = 14, VB_M_DATA_OK = 15,
    VB_M_STATUS = 16, VB_M_STATUS_REPLY = 17, VB_M_CANCEL = 18,
    VB_M_REPLY = 20, VB_M_EVENT = 21,
    VB_M_IDENTIFY = 30, VB_M_PREPARE = 31, VB_M_SNAPSHOT = 32, VB_M_CAPTURE = 33, VB_M_COMPLETE = 34, VB_M_RELEASE = 35,
    VB_M_ABORT = 36, VB_M_PRE_RESTORE = 37, VB_M_RESTORE_FILES = 38, VB_M_POST_RESTORE = 39,
    VB_M_SHADOW = 40,
    VB_M_OFFER = 50, VB_M_WANT = 51, VB_M_CHUNK = 52, VB_M_GET = 53, VB_M_PROGRESS = 54, VB_M_WARN = 55, VB_M_ROOT = 56,
    VB_M_DATA_END = 57,
    VB_M_W_READY = 70, VB_M_W_EVENT = 71, VB_M_W_DONE = 72, VB_M_W_LOG = 73, VB_M_W_QUIT = 74,
    VB_M_W_REPL = 75, VB_M_W_BYTES = 76, VB_M_W_MORE = 77,
    VB_M_P_READY = 80, VB_M_P_CALL = 81, VB_M_P_DONE = 82
};

enum vb_field_tag {
    VB_F_CODE = 1, VB_F_TEXT = 2, VB_F_HINT = 3,
    VB_F_VERSION_MIN = 10, VB_F_VERSION_MAX = 11, VB_F_FEATURE = 12, VB_F_PROGRAM = 13, VB_F_ROLE = 14, VB_F_HOST = 15,
    VB_F_JOB = 20, VB_F_TOKEN = 21, VB_F_JOB_DOC = 22, VB_F_LEASE_MS = 23, VB_F_SEQ = 24, VB_F_JOB_INFO = 25,
    VB_F_WMD = 30, VB_F_BCD = 31, VB_F_XML = 32, VB_F_CLASS = 33, VB_F_INSTANCE = 34, VB_F_WRITER = 35, VB_F_FAILED = 36,
    VB_F_INSTANCE_NAME = 37, VB_F_VERSION = 38, VB_F_ABI = 39,
    VB_F_STATUS = 40, VB_F_STATE = 41, VB_F_EVENT = 42, VB_F_KIND = 43, VB_F_WALL_MS = 44, VB_F_MONO_US = 45,
    VB_F_DURATION_US = 46, VB_F_PHASE = 47, VB_F_POSITION = 48, VB_F_OWNER = 49,
    VB_F_COMPONENT = 50, VB_F_LOGICAL_PATH = 51, VB_F_NAME = 52, VB_F_TYPE = 53, VB_F_CONSISTENCY = 54, VB_F_COMPLETENESS = 55,
    VB_F_FILESET = 56, VB_F_PATH = 57, VB_F_FILESPEC = 58, VB_F_RECURSIVE = 59, VB_F_ALTERNATE_PATH = 60, VB_F_READ_PATH = 61,
    VB_F_EXCLUDE = 62, VB_F_TARGET = 63, VB_F_RESTORE_STATUS = 64, VB_F_OVERWRITE = 65, VB_F_LIVE = 66, VB_F_KEEP_OWNER = 67,
    VB_F_BACKUP_BITS = 68,
    VB_F_VOLUME = 70, VB_F_SNAPSHOT = 71, VB_F_SET = 72, VB_F_PROVIDER = 73, VB_F_SNAPSHOT_PATH = 74, VB_F_DEVICE = 75,
    VB_F_FS_TYPE = 76, VB_F_WINDOW_US = 77, VB_F_ATOMIC = 78, VB_F_REMARK = 79, VB_F_TREE = 80, VB_F_CALL = 81,
    VB_F_PROVIDER_ID = 82, VB_F_SUPPORTED = 83, VB_F_HOLD = 84, VB_F_ATTRIBUTES = 85, VB_F_PER_TREE = 86,
    VB_F_GROUP_ATOMIC = 87, VB_F_PREFERENCE = 88, VB_F_COUNT = 89, VB_F_SUBVOLUME = 90, VB_F_CREATED_SEC = 91,
    VB_F_CONSENT = 92, VB_F_GROUP = 93, VB_F_FS_ROOT = 94,
    VB_F_CHUNK = 100, VB_F_CHUNK_NAME = 101, VB_F_CHUNK_TYPE = 102, VB_F_SIZE = 103, VB_F_COMP = 104, VB_F_BYTES = 105,
    VB_F_BITMAP = 106, VB_F_FILES = 107, VB_F_BYTES_DONE = 108, VB_F_BYTES_TOTAL = 109, VB_F_ROOT = 110, VB_F_NAMING_KEY = 111,
    VB_F_CUT_SEED = 112, VB_F_CUT_PARAMS = 113, VB_F_DIRS = 114, VB_F_WARNINGS = 115,
    VB_F_LEVEL = 120, VB_F_FREEZE_MS = 121, VB_F_USAGE = 122, VB_F_SOURCE = 123, VB_F_SESSION = 124, VB_F_DEADLINE_MS = 125,
    VB_F_BACKUP_TYPE = 126, VB_F_RESTORE_TYPE = 127, VB_F_PATH_MAP = 128, VB_F_CONTEXT = 129, VB_F_RUN_AS = 130, VB_F_OWED = 131, VB_F_REQUIRED = 132,
    VB_F_LEAVE_OUT = 133, VB_F_LEFT_FILES = 134, VB_F_LEFT_DIRS = 135, VB_F_VERIFY = 136,
    VB_F_PROBE = 140, /* PREPARE: only say which provider would take which volume */
    VB_F_EXPOSED = 150, VB_F_SERVICE = 151, VB_F_FORCE = 152, VB_F_ORPHAN = 153, VB_F_KEEP = 154, VB_F_ACTIVE = 155, VB_F_DISCARD = 156, VB_F_STAMP = 157, VB_F_PARENT = 158,
    VB_F_REPL_CALLS = 160, VB_F_REPL_FLAGS = 161, VB_F_DIFFERS = 162, VB_F_LAST = 163,
    VB_F_NO_DETECTOR = 180, VB_F_DETECTOR = 181, VB_F_FILES_READ = 182, VB_F_BYTES_READ = 183,
    VB_F_PARTIAL = 190, VB_F_RANGES = 191, VB_F_RANGES_PATH = 192
};

/* What W_REPL asks for; bit `1 << number` of REPL_CALLS says that the writer has it. */
enum vb_repl_call {
    VB_REPL_SIGNATURE = 1, VB_REPL_SERIALIZE = 2, VB_REPL_PROPAGATE = 3, VB_REPL_DESERIALIZE = 4, VB_REPL_PROPAGATE2 = 5,
    VB_REPL_COUNT
};
const char *vb_repl_call_word(enum vb_repl_call c); /* "signature" ... */

#endif
