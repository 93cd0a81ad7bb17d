/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/types_words.c - the words of the enumerations of include/vbackup/types.h.
 *
 * One table per enumeration, indexed by the number.  Words that stand in writer metadata documents are the field's own
 * (rule book 1.9); the rest read as a person would say them.  They are part of stored documents: never change one.
 */
#include <stddef.h>
#include "base/mem.h"
#include "vbackup/types.h"

static const char *const usages[] = {"undefined", "BOOTABLE_SYSTEM_STATE", "SYSTEM_SERVICE", "USER_DATA", "OTHER"};
static const char *const sources[] = {"undefined", "TRANSACTION_DB", "NONTRANSACTION_DB", "OTHER"};
static const char *const component_types[] = {"undefined", "database", "filegroup"};
static const char *const restore_methods[] = {
    "undefined",
    "RESTORE_IF_NONE_THERE",
    "RESTORE_IF_CAN_BE_REPLACED",
    "STOP_RESTART_SERVICE",
    "RESTORE_TO_ALTERNATE_LOCATION",
    "REPLACE_AT_REBOOT",
    "REPLACE_AT_REBOOT_IF_CANNOT_REPLACE",
    "CUSTOM",
    "RESTORE_STOP_START",
};
static const char *const writer_restores[] = {"undefined", "never", "ifReplaceFails", "always"};
static const char *const restore_targets[] = {"undefined", "original", "alternate", "directed", "original location"};
static const char *const file_restore_statuses[] = {"undefined", "none", "all", "failed"};
static const char *const backup_types[] = {"undefined", "full", "incremental", "differential", "log", "copy", "other"};
static const char *const restore_types[] = {"undefined", "by copy", "import", "other"};
static const char *const rollforwards[] = {"undefined", "none", "all", "partial"};
static const char *const levels[] = {"unknown", "system", "back end", "front end", "system resource manager"};
static const char *const writer_states[] = {
    "unknown",
    "stable",
    "waiting for freeze",
    "waiting for thaw",
    "waiting for post-snapshot",
    "waiting for backup complete",
    "failed at identify",
    "failed at prepare backup",
    "failed at prepare snapshot",
    "failed at freeze",
    "failed at thaw",
    "failed at post-snapshot",
    "failed at backup complete",
    "failed at pre-restore",
    "failed at post-restore",
    "failed at backup shutdown",
};
static const char *const snapshot_states[] = {
    "unknown",
    "preparing",
    "processing prepare",
    "prepared",
    "processing pre-commit",
    "pre-committed",
    "processing commit",
    "committed",
    "processing post-commit",
    "processing pre-final commit",
    "pre-final committed",
    "processing post-final commit",
    "created",
    "aborted",
    "deleted",
    "post-committed",
};
static const char *const consistencies[] = {"unknown", "none", "crash", "file system", "application", "group"};
static const char *const completenesses[] = {"unknown", "complete", "partial", "failed"};

static const char *word_of(const char *const *words, size_t n, int v)
{
    return v >= 0 && (size_t)v < n ? words[v] : "unknown";
}

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' || c == '_' ? ' ' : c;
}

/* People write "front-end" and "FRONT_END" in configurations: case and the kind of gap do not count. */
static bool same_word(const char *a, const char *b)
{
    while (*a && fold(*a) == fold(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

static int number_of(const char *const *words, size_t n, const char *s)
{
    for (size_t i = 0; s && i < n; i++)
        if (same_word(words[i], s))
            return (int)i;
    return 0;
}

#define WORDS(name, type, table)                                  \
    const char *vb_##name##_word(type v)                          \
    {                                                             \
        return word_of(table, VB_COUNT(table), (int)v);           \
    }                                                             \
    type vb_##name##_from_word(const char *s)                     \
    {                                                             \
        return (type)number_of(table, VB_COUNT(table), s);        \
    }

WORDS(usage, enum vb_usage, usages)
WORDS(source, enum vb_source, sources)
WORDS(component_type, enum vb_component_type, component_types)
WORDS(restore_method, enum vb_restore_method, restore_methods)
WORDS(writer_restore, enum vb_writer_restore, writer_restores)
WORDS(restore_target, enum vb_restore_target, restore_targets)
WORDS(file_restore_status, enum vb_file_restore_status, file_restore_statuses)
WORDS(backup_type, enum vb_backup_type, backup_types)
WORDS(restore_type, enum vb_restore_type, restore_types)
WORDS(rollforward, enum vb_rollforward, rollforwards)
WORDS(writer_state, enum vb_writer_state, writer_states)
WORDS(snapshot_state, enum vb_snapshot_state, snapshot_states)
WORDS(consistency, enum vb_consistency, consistencies)
WORDS(completeness, enum vb_completeness, completenesses)

const char *vb_level_word(enum vb_level v)
{
    return v == VB_LEVEL_AUTO ? "auto" : word_of(levels, VB_COUNT(levels), (int)v);
}

enum vb_level vb_level_from_word(const char *s)
{
    if (s && same_word("auto", s))
        return VB_LEVEL_AUTO;
    return (enum vb_level)number_of(levels, VB_COUNT(levels), s);
}
