/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/result.h - result codes and exit statuses, shared by every audience.
 *
 * Two things are kept apart on purpose:
 *
 *   enum vb_code   why something failed, as the rule book names it (section 1.8).  It travels over
 *                  the wire, stands in the documents and answers one question for the caller: what
 *                  may I do now (retry, skip this item, mend the configuration, give up)?
 *   enum vb_exit   the exit status of the `vbackup` program: one small table, mirrored by a check in
 *                  vbackup(1).
 *
 * The numbers are part of the wire and of stored documents: they are only ever appended.
 */
#ifndef VBACKUP_RESULT_H
#define VBACKUP_RESULT_H

#ifdef __cplusplus
extern "C" {
#endif

/* Why an operation failed.  VSS names of section 1.8 first, then what the rule book has no name for. */
enum vb_code {
    VB_OK = 0,
    /* --- the field's own names (rule book 1.8) --- */
    VB_E_BAD_STATE = 1,               /* call out of order, object not initialised, wrong mode */
    VB_E_UNEXPECTED = 2,              /* internal: details in the log */
    VB_E_PROVIDER_NOT_REGISTERED = 3, /* unknown provider id */
    VB_E_PROVIDER_VETO = 4,           /* provider's own runtime failure, it said why; retryable */
    VB_E_OBJECT_NOT_FOUND = 5,        /* writer, component, snapshot, volume or index missing */
    VB_E_VOLUME_NOT_SUPPORTED = 6,    /* no provider handles the volume or the attributes */
    VB_E_OBJECT_ALREADY_EXISTS = 7,   /* duplicate component, second set of a once-only field */
    VB_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER = 8,
    VB_E_UNEXPECTED_PROVIDER_ERROR = 9, /* provider returned a code outside its contract; retryable */
    VB_E_INVALID_XML_DOCUMENT = 10,   /* malformed or not matching the grammar */
    VB_E_MAX_VOLUMES = 11,            /* more than VB_MAX_VOLUMES volumes in one set */
    VB_E_FLUSH_WRITES_TIMEOUT = 12,   /* retryable */
    VB_E_HOLD_WRITES_TIMEOUT = 13,    /* retryable */
    VB_E_SNAPSHOT_SET_IN_PROGRESS = 14, /* another set is being created: wait and retry */
    VB_E_MAX_SNAPSHOTS = 15,
    VB_E_UNSUPPORTED_CONTEXT = 16,
    VB_E_VOLUME_IN_USE = 17,
    VB_E_REVERT_IN_PROGRESS = 18,
    VB_E_INSUFFICIENT_STORAGE = 19,   /* no room for change storage */
    VB_E_UNSELECTED_VOLUME = 20,
    VB_E_NESTED_VOLUME_LIMIT = 21,
    VB_E_NOT_SUPPORTED = 22,          /* feature not for this writer kind */
    VB_E_REBOOT_REQUIRED = 23,
    VB_E_WRITER_INCONSISTENT_SNAPSHOT = 24, /* set lacks a volume the writer needs */
    VB_E_WRITER_OUT_OF_RESOURCES = 25,      /* retryable */
    VB_E_WRITER_TIMEOUT = 26,               /* freeze window exceeded; retryable */
    VB_E_WRITER_RETRYABLE = 27,             /* may work unchanged */
    VB_E_WRITER_NON_RETRYABLE = 28,         /* will very likely fail again */
    VB_E_WRITER_PARTIAL_FAILURE = 29,       /* some components failed, see each one's record */
    VB_E_WRITER_NOT_RESPONDING = 30,        /* hung or crashed; set by the host of the writer */
    VB_E_WRITER_STATUS_NOT_AVAILABLE = 31,
    VB_E_WRITER_ALREADY_SUBSCRIBED = 32,
    VB_E_WRITER_INFRASTRUCTURE = 33,
    VB_E_LEGACY_PROVIDER = 34,
    /* --- ours --- */
    VB_E_USAGE = 64,         /* command line or argument wrong */
    VB_E_CONFIG = 65,        /* configuration: file, line and what was expected are in the text */
    VB_E_NO_MEMORY = 66,
    VB_E_IO = 67,            /* a system call failed */
    VB_E_NO_SPACE = 68,      /* disk or quota full */
    VB_E_ACCESS_DENIED = 69, /* rights, never mixed up with state (rule X-12) */
    VB_E_NOT_FOUND = 70,     /* a file, backup, repository ... that was named does not exist */
    VB_E_EXISTS = 71,        /* would overwrite */
    VB_E_CORRUPT = 72,       /* bytes do not match their name, checksum or format */
    VB_E_NEWER_FORMAT = 73,  /* written by a newer vbackup: both versions are in the text */
    VB_E_PROTOCOL = 74,      /* the peer broke the conversation */
    VB_E_VERSION = 75,       /* no common protocol version */
    VB_E_CONNECT = 76,       /* host cannot be reached */
    VB_E_HOST_KEY = 77,      /* host key unknown or changed */
    VB_E_AUTH = 78,          /* login refused */
    VB_E_HOST_UNKNOWN = 79,  /* host is not in the configuration */
    VB_E_AGENT_MISSING = 80, /* no vbackup-agent there, or it cannot start */
    VB_E_CONNECTION_LOST = 81,
    VB_E_TIMEOUT = 82,
    VB_E_CANCELLED = 83,     /* by the user or by the other side, orderly */
    VB_E_BUSY = 84,          /* locked or in use: try later */
    VB_E_GUARD = 85,         /* a guard refused: would overwrite or delete too much without consent */
    VB_E_LIMIT = 86,         /* a documented size or count limit was exceeded */
    VB_E_JOB_LOST = 87,      /* the job no longer exists on its host (lease ran out, worker died) */
    VB_E_PREREQUISITE = 88,  /* a tool, library feature or earlier step is missing */
    VB_E_REMOTE_FAILED = 89, /* a remote dependency's job failed (rule D-48) */
    VB_E_DEPENDENCY_MISSING = 90, /* the target of a dependency cannot be met (rules D-12, D-33) */
    VB_E_FILE_MISSING = 91,  /* a named file of a component does not exist (rule B-50) */
    VB_E_FILE_CHANGED = 92,  /* vanished or changed during a read without a snapshot */
    VB_E_UNSTABLE = 93,
    VB_E_CONFLICT = 94,
    VB_E_STALE = 95
};

/* Exit statuses of `vbackup`.  If several apply the first in the order 2, 1, 5, 6, 7, 3, 8, 4 wins. */
enum vb_exit {
    VB_EXIT_DONE = 0,         /* done, also: nothing to do */
    VB_EXIT_FAILED = 1,       /* failed, nothing usable came of it */
    VB_EXIT_USAGE = 2,        /* usage or configuration */
    VB_EXIT_PARTIAL = 3,      /* partly done: some component, file or target failed, the rest is usable */
    VB_EXIT_CONFLICTS = 4,    /* conflicts left */
    VB_EXIT_GUARD = 5,        /* a guard refused: would overwrite or delete too much */
    VB_EXIT_STALE = 6,        /* stale, full comparison needed */
    VB_EXIT_PREREQUISITE = 7, /* a prerequisite is missing */
    VB_EXIT_BUSY = 8          /* busy, locked, offline or unstable: try later */
};

/*
 * Stable symbolic name of a code, as it stands in documents, JSON and logs: "BAD_STATE",
 * "WRITER_TIMEOUT", "HOST_KEY" ...; "UNKNOWN" for a number this library does not know.
 * Never NULL; the string is static.
 */
const char *vb_code_name(enum vb_code code);

/* The code of a symbolic name, or VB_E_UNEXPECTED for one this library does not know. */
enum vb_code vb_code_from_name(const char *name);

/* Non-zero if the rule book says "wait and retry" for this code (column Retry of 1.8). */
int vb_code_retryable(enum vb_code code);

/* The exit status that a run ends with when this code is the reason nothing usable came of it. */
enum vb_exit vb_code_exit(enum vb_code code);

/* Of two exit statuses the one that wins, by the order 2, 1, 5, 6, 7, 3, 8, 4, 0. */
enum vb_exit vb_exit_worse(enum vb_exit a, enum vb_exit b);

#ifdef __cplusplus
}
#endif
#endif
