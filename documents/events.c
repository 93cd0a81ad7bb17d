/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/events.c - names of the events.
 */
#include <string.h>
#include "base/mem.h"
#include "documents/events.h"

static const char *const words[VB_EV_COUNT] = {
    "none",         "Identify", "PrepareForBackup", "PrepareForSnapshot", "Freeze",     "Thaw",
    "PostSnapshot", "Abort",    "BackupComplete",   "BackupShutdown",     "PreRestore", "PostRestore",
};

const char *vb_event_word(enum vb_event e)
{
    return e >= VB_EV_NONE && e < VB_EV_COUNT ? words[e] : "unknown";
}

enum vb_event vb_event_from_word(const char *s)
{
    for (int i = VB_EV_IDENTIFY; s && i < VB_EV_COUNT; i++)
        if (strcmp(words[i], s) == 0)
            return (enum vb_event)i;
    return VB_EV_NONE;
}
