/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/result.c - names, retry class and exit status of the result codes (include/vbackup/result.h). */
#include <config.h>
#include <string.h>
#include "base/mem.h"
#include "vbackup/result.h"

static const struct code_row {
    enum vb_code code;
    const char *name;
} codes[] = {
    { VB_OK, "OK" },
    { VB_E_BAD_STATE, "BAD_STATE" },
    { VB_E_UNEXPECTED, "UNEXPECTED" },
    { VB_E_PROVIDER_NOT_REGISTERED, "PROVIDER_NOT_REGISTERED" },
    { VB_E_PROVIDER_VETO, "PROVIDER_VETO" },
    { VB_E_OBJECT_NOT_FOUND, "OBJECT_NOT_FOUND" },
    { VB_E_VOLUME_NOT_SUPPORTED, "VOLUME_NOT_SUPPORTED" },
    { VB_E_OBJECT_ALREADY_EXISTS, "OBJECT_ALREADY_EXISTS" },
    { VB_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, "VOLUME_NOT_SUPPORTED_BY_PROVIDER" },
    { VB_E_UNEXPECTED_PROVIDER_ERROR, "UNEXPECTED_PROVIDER_ERROR" },
    { VB_E_INVALID_XML_DOCUMENT, "INVALID_XML_DOCUMENT" },
    { VB_E_MAX_VOLUMES, "MAX_VOLUMES" },
    { VB_E_FLUSH_WRITES_TIMEOUT, "FLUSH_WRITES_TIMEOUT" },
    { VB_E_HOLD_WRITES_TIMEOUT, "HOLD_WRITES_TIMEOUT" },
    { VB_E_SNAPSHOT_SET_IN_PROGRESS, "SNAPSHOT_SET_IN_PROGRESS" },
    { VB_E_MAX_SNAPSHOTS, "MAX_SNAPSHOTS" },
    { VB_E_UNSUPPORTED_CONTEXT, "UNSUPPORTED_CONTEXT" },
    { VB_E_VOLUME_IN_USE, "VOLUME_IN_USE" },
    { VB_E_REVERT_IN_PROGRESS, "REVERT_IN_PROGRESS" },
    { VB_E_INSUFFICIENT_STORAGE, "INSUFFICIENT_STORAGE" },
    { VB_E_UNSELECTED_VOLUME, "UNSELECTED_VOLUME" },
    { VB_E_NESTED_VOLUME_LIMIT, "NESTED_VOLUME_LIMIT" },
    { VB_E_NOT_SUPPORTED, "NOT_SUPPORTED" },
    { VB_E_REBOOT_REQUIRED, "REBOOT_REQUIRED" },
    { VB_E_WRITER_INCONSISTENT_SNAPSHOT, "WRITER_INCONSISTENT_SNAPSHOT" },
    { VB_E_WRITER_OUT_OF_RESOURCES, "WRITER_OUT_OF_RESOURCES" },
    { VB_E_WRITER_TIMEOUT, "WRITER_TIMEOUT" },
    { VB_E_WRITER_RETRYABLE, "WRITER_RETRYABLE" },
    { VB_E_WRITER_NON_RETRYABLE, "WRITER_NON_RETRYABLE" },
    { VB_E_WRITER_PARTIAL_FAILURE, "WRITER_PARTIAL_FAILURE" },
    { VB_E_WRITER_NOT_RESPONDING, "WRITER_NOT_RESPONDING" },
    { VB_E_WRITER_STATUS_NOT_AVAILABLE, "WRITER_STATUS_NOT_AVAILABLE" },
    { VB_E_WRITER_ALREADY_SUBSCRIBED, "WRITER_ALREADY_SUBSCRIBED" },
    { VB_E_WRITER_INFRASTRUCTURE, "WRITER_INFRASTRUCTURE" },
    { VB_E_LEGACY_PROVIDER, "LEGACY_PROVIDER" },
    { VB_E_USAGE, "USAGE" },
    { VB_E_CONFIG, "CONFIG" },
    { VB_E_NO_MEMORY, "NO_MEMORY" },
    { VB_E_IO, "IO" },
    { VB_E_NO_SPACE, "NO_SPACE" },
    { VB_E_ACCESS_DENIED, "ACCESS_DENIED" },
    { VB_E_NOT_FOUND, "NOT_FOUND" },
    { VB_E_EXISTS, "EXISTS" },
    { VB_E_CORRUPT, "CORRUPT" },
    { VB_E_NEWER_FORMAT, "NEWER_FORMAT" },
    { VB_E_PROTOCOL, "PROTOCOL" },
    { VB_E_VERSION, "VERSION" },
    { VB_E_CONNECT, "CONNECT" },
    { VB_E_HOST_KEY, "HOST_KEY" },
    { VB_E_AUTH, "AUTH" },
    { VB_E_HOST_UNKNOWN, "HOST_UNKNOWN" },
    { VB_E_AGENT_MISSING, "AGENT_MISSING" },
    { VB_E_CONNECTION_LOST, "CONNECTION_LOST" },
    { VB_E_TIMEOUT, "TIMEOUT" },
    { VB_E_CANCELLED, "CANCELLED" },
    { VB_E_BUSY, "BUSY" },
    { VB_E_GUARD, "GUARD" },
    { VB_E_LIMIT, "LIMIT" },
    { VB_E_JOB_LOST, "JOB_LOST" },
    { VB_E_PREREQUISITE, "PREREQUISITE" },
    { VB_E_REMOTE_FAILED, "REMOTE_FAILED" },
    { VB_E_DEPENDENCY_MISSING, "DEPENDENCY_MISSING" },
    { VB_E_FILE_MISSING, "FILE_MISSING" },
    { VB_E_FILE_CHANGED, "FILE_CHANGED" },
    { VB_E_UNSTABLE, "UNSTABLE" },
    { VB_E_CONFLICT, "CONFLICT" },
    { VB_E_STALE, "STALE" },
};

const char *vb_code_name(enum vb_code code)
{
    for (size_t i = 0; i < VB_COUNT(codes); i++) {
        if (codes[i].code == code) {
            return codes[i].name;
        }
    }
    return "UNKNOWN";
}

enum vb_code vb_code_from_name(const char *name)
{
    for (size_t i = 0; name && i < VB_COUNT(codes); i++) {
        if (strcmp(codes[i].name, name) == 0) {
            return codes[i].code;
        }
    }
    return VB_E_UNEXPECTED;
}

int vb_code_retryable(enum vb_code code)
{
    switch ((int)code) {
    case VB_E_PROVIDER_VETO:
    case VB_E_UNEXPECTED_PROVIDER_ERROR:
    case VB_E_FLUSH_WRITES_TIMEOUT:
    case VB_E_HOLD_WRITES_TIMEOUT:
    case VB_E_SNAPSHOT_SET_IN_PROGRESS:
    case VB_E_WRITER_OUT_OF_RESOURCES:
    case VB_E_WRITER_TIMEOUT:
    case VB_E_WRITER_RETRYABLE:
        return 1;
    default:
        return 0;
    }
}

enum vb_exit vb_code_exit(enum vb_code code)
{
    switch ((int)code) {
    case VB_OK:
        return VB_EXIT_DONE;
    case VB_E_USAGE:
    case VB_E_CONFIG:
    case VB_E_HOST_UNKNOWN:
        return VB_EXIT_USAGE;
    case VB_E_WRITER_PARTIAL_FAILURE:
        return VB_EXIT_PARTIAL;
    case VB_E_CONFLICT:
        return VB_EXIT_CONFLICTS;
    case VB_E_GUARD:
    case VB_E_EXISTS:
    case VB_E_UNSELECTED_VOLUME:
        return VB_EXIT_GUARD;
    case VB_E_STALE:
        return VB_EXIT_STALE;
    case VB_E_PREREQUISITE:
    case VB_E_AGENT_MISSING:
    case VB_E_NEWER_FORMAT:
    case VB_E_VERSION:
    case VB_E_PROVIDER_NOT_REGISTERED:
        return VB_EXIT_PREREQUISITE;
    case VB_E_BUSY:
    case VB_E_UNSTABLE:
    case VB_E_CONNECT:
    case VB_E_CONNECTION_LOST:
    case VB_E_TIMEOUT:
    case VB_E_SNAPSHOT_SET_IN_PROGRESS:
    case VB_E_VOLUME_IN_USE:
    case VB_E_REVERT_IN_PROGRESS:
    case VB_E_WRITER_STATUS_NOT_AVAILABLE:
        return VB_EXIT_BUSY;
    default:
        return VB_EXIT_FAILED;
    }
}

/* Rank in the order 2, 1, 5, 6, 7, 3, 8, 4, 0; a number outside the table counts as a failure. */
static unsigned exit_rank(enum vb_exit e)
{
    static const unsigned rank[] = { 8, 1, 0, 5, 7, 2, 3, 4, 6 };
    return (unsigned)e < VB_COUNT(rank) ? rank[(unsigned)e] : 1;
}

enum vb_exit vb_exit_worse(enum vb_exit a, enum vb_exit b)
{
    return exit_rank(b) < exit_rank(a) ? b : a;
}
