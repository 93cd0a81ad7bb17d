/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/limits.c - section [agent] of the configuration.
 */
#include "config.h"

#include <stddef.h>

#include "agent/limits.h"

#define SECOND 1000u
#define MINUTE (60u * SECOND)

static const struct { const char *key; size_t offset; uint64_t def; } KEYS[] = {
#define KEY(name, field, def) { name, offsetof(struct vb_limits, field), def }
    KEY("timeout-identify", identify, 60 * SECOND),
    KEY("timeout-prepare-backup", prepare_backup, 10 * MINUTE),
    KEY("timeout-prepare-snapshot", prepare_snapshot, 5 * MINUTE),
    KEY("timeout-freeze", freeze, 0),
    KEY("timeout-thaw", thaw, 30 * SECOND),
    KEY("timeout-abort", abort, 30 * SECOND),
    KEY("timeout-post-snapshot", post_snapshot, 10 * MINUTE),
    KEY("timeout-backup-complete", backup_complete, 10 * MINUTE),
    KEY("timeout-backup-shutdown", backup_shutdown, 60 * SECOND),
    KEY("timeout-pre-restore", pre_restore, 30 * MINUTE),
    KEY("timeout-post-restore", post_restore, 30 * MINUTE),
    KEY("timeout-provider-start", provider_start, 30 * SECOND),
    KEY("timeout-provider-prepare", provider_prepare, 10 * MINUTE),
    KEY("timeout-provider-commit", provider_commit, 10 * SECOND),
    KEY("shadow-check", shadow_check, 2 * SECOND),
    KEY("timeout-hold", hold, 10 * SECOND),
    KEY("timeout-service", service, 5 * MINUTE),
    KEY("timeout-cancel-grace", cancel_grace, 400),
    KEY("lease", lease_default, 60 * SECOND),
    KEY("lease-max", lease_max, 60 * MINUTE),
    KEY("idle-exit", idle, 5 * MINUTE),
    KEY("keep-failed", keep_failed, 15 * MINUTE),
#undef KEY
};

static uint64_t *field(struct vb_limits *l, size_t i)
{
    return (uint64_t *)(void *)((char *)l + KEYS[i].offset);
}

void vb_limits_init(struct vb_limits *l)
{
    for (size_t i = 0; i < VB_COUNT(KEYS); i++)
        *field(l, i) = KEYS[i].def;
}

int vb_limits_read(struct vb_limits *l, const struct vb_config *c, struct vb_error *err)
{
    const char *allowed[VB_COUNT(KEYS) + 1];
    const struct vb_config_section *s = vb_config_find(c, "agent", NULL);
    vb_limits_init(l);
    if (!s)
        return 0;
    for (size_t i = 0; i < VB_COUNT(KEYS); i++)
        allowed[i] = KEYS[i].key;
    allowed[VB_COUNT(KEYS)] = NULL;
    if (vb_config_check_keys(s, allowed, err) < 0)
        return -1;
    for (size_t i = 0; i < VB_COUNT(KEYS); i++)
        if (vb_section_duration_ms(s, KEYS[i].key, KEYS[i].def, field(l, i), err) < 0)
            return -1;
    return 0;
}

uint64_t vb_limits_event(const struct vb_limits *l, enum vb_event ev)
{
    switch (ev) {
    case VB_EV_IDENTIFY: return l->identify;
    case VB_EV_PREPARE_BACKUP: return l->prepare_backup;
    case VB_EV_PREPARE_SNAPSHOT: return l->prepare_snapshot;
    case VB_EV_FREEZE: return l->freeze;
    case VB_EV_THAW: return l->thaw;
    case VB_EV_POST_SNAPSHOT: return l->post_snapshot;
    case VB_EV_ABORT: return l->abort;
    case VB_EV_BACKUP_COMPLETE: return l->backup_complete;
    case VB_EV_BACKUP_SHUTDOWN: return l->backup_shutdown;
    case VB_EV_PRE_RESTORE: return l->pre_restore;
    case VB_EV_POST_RESTORE: return l->post_restore;
    case VB_EV_NONE:
    case VB_EV_COUNT: break;
    }
    return 0;
}
