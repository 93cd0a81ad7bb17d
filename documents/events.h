/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/events.h - the events of the field and the requester's calls, as they stand in journals and event logs.
 */
#ifndef VB_DOCUMENTS_EVENTS_H
#define VB_DOCUMENTS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

/* Events to writers, in the order of sections 2.1 and 3.1. */
enum vb_event {
    VB_EV_NONE = 0,
    VB_EV_IDENTIFY = 1,
    VB_EV_PREPARE_BACKUP = 2,
    VB_EV_PREPARE_SNAPSHOT = 3,
    VB_EV_FREEZE = 4,
    VB_EV_THAW = 5,
    VB_EV_POST_SNAPSHOT = 6,
    VB_EV_ABORT = 7,
    VB_EV_BACKUP_COMPLETE = 8,
    VB_EV_BACKUP_SHUTDOWN = 9,
    VB_EV_PRE_RESTORE = 10,
    VB_EV_POST_RESTORE = 11,
    VB_EV_COUNT
};
const char *vb_event_word(enum vb_event e);          /* "Identify", "PrepareForBackup", "Freeze", ... */
enum vb_event vb_event_from_word(const char *s);

/* Calls and facts that stand in the event log beside the events ("call SetBackupSucceeded"). */
#endif
