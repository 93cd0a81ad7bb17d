/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/context.c - which contexts and attributes a set may be created with.
 */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "documents/context.h"

static const struct { const char *word; uint32_t bits; } CONTEXTS[] = {
    { "backup", VB_CTX_BACKUP },
    { "file-share-backup", VB_CTX_FILE_SHARE_BACKUP },
    { "app-rollback", VB_CTX_APP_ROLLBACK },
    { "nas-rollback", VB_CTX_NAS_ROLLBACK },
    { "client-accessible", VB_CTX_CLIENT_ACCESSIBLE },
    { "client-accessible-writers", VB_CTX_CLIENT_ACCESSIBLE_WRITERS },
};

static const struct { const char *word; uint32_t bit; bool may_add; } ATTRIBUTES[] = {
    { "persistent", VB_SA_PERSISTENT, false },
    { "no-autorecovery", VB_SA_NO_AUTORECOVERY, true },
    { "client-accessible", VB_SA_CLIENT_ACCESSIBLE, false },
    { "no-auto-release", VB_SA_NO_AUTO_RELEASE, false },
    { "no-writers", VB_SA_NO_WRITERS, false },
    { "transportable", VB_SA_TRANSPORTABLE, true },
    { "not-surfaced", VB_SA_NOT_SURFACED, false },
    { "differential", VB_SA_DIFFERENTIAL, true },
    { "plex", VB_SA_PLEX, true },
    { "imported", VB_SA_IMPORTED, false },
    { "exposed-locally", VB_SA_EXPOSED_LOCALLY, false },
    { "exposed-remotely", VB_SA_EXPOSED_REMOTELY, false },
    { "autorecover", VB_SA_AUTORECOVER, false },
    { "rollback-recovery", VB_SA_ROLLBACK_RECOVERY, true },
    { "delayed-postsnapshot", VB_SA_DELAYED_POSTSNAPSHOT, true } /* S-15 */,
    { "file-share", VB_SA_FILE_SHARE, false },
};

const char *vb_context_word(uint32_t attributes)
{
    for (size_t i = 0; i < VB_COUNT(CONTEXTS); i++)
        if (CONTEXTS[i].bits == (attributes & VB_SA_CONTEXT_BITS))
            return CONTEXTS[i].word;
    return NULL;
}

bool vb_context_from_word(const char *word, uint32_t *attributes)
{
    for (size_t i = 0; i < VB_COUNT(CONTEXTS); i++)
        if (!strcmp(CONTEXTS[i].word, word)) {
            *attributes = CONTEXTS[i].bits;
            return true;
        }
    return false;
}

bool vb_attribute_from_word(const char *word, uint32_t *bit)
{
    for (size_t i = 0; i < VB_COUNT(ATTRIBUTES); i++)
        if (ATTRIBUTES[i].may_add && !strcmp(ATTRIBUTES[i].word, word)) {
            *bit = ATTRIBUTES[i].bit;
            return true;
        }
    return false;
}

void vb_attributes_text(uint32_t attributes, struct vb_buf *out)
{
    const char *comma = "";
    for (size_t i = 0; i < VB_COUNT(ATTRIBUTES); i++)
        if (attributes & ATTRIBUTES[i].bit) {
            vb_buf_addf(out, "%s%s", comma, ATTRIBUTES[i].word);
            attributes &= ~ATTRIBUTES[i].bit;
            comma = ",";
        }
    if (attributes)
        vb_buf_addf(out, "%s0x%x", comma, attributes);
}

int vb_context_check(uint32_t attributes, struct vb_error *err)
{
    uint32_t added = attributes & ~VB_SA_CONTEXT_BITS, foreign = added;
    const uint32_t recoveries = VB_SA_ROLLBACK_RECOVERY;
    VB_AUTO_BUF text = VB_BUF_INIT;
    if (!vb_context_word(attributes)) {
        vb_attributes_text(attributes & VB_SA_CONTEXT_BITS, &text);
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "'%s' is not a context a shadow copy can be created in",
                       vb_buf_str(&text));
    }
    for (size_t i = 0; i < VB_COUNT(ATTRIBUTES); i++)
        if (ATTRIBUTES[i].may_add)
            foreign &= ~ATTRIBUTES[i].bit;
    if (foreign) {
        vb_attributes_text(foreign, &text);
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "attribute '%s' is set by the system, not by a requester",
                       vb_buf_str(&text));
    }
    if ((attributes & VB_SA_CLIENT_ACCESSIBLE) && added) {
        vb_attributes_text(added, &text);
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "a client-accessible context takes no attribute, '%s' was added",
                       vb_buf_str(&text));
    }
    if ((added & VB_SA_DIFFERENTIAL) && (added & VB_SA_PLEX))
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "attributes 'differential' and 'plex' exclude each other");
    if ((added & VB_SA_NO_AUTORECOVERY) && (added & recoveries))
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "attribute 'no-autorecovery' excludes 'rollback-recovery'");
    if ((added & VB_SA_TRANSPORTABLE) && (added & recoveries))
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "attribute 'transportable' excludes 'rollback-recovery'");
    if ((added & VB_SA_DELAYED_POSTSNAPSHOT) && (!(attributes & VB_SA_PERSISTENT) || (attributes & VB_SA_NO_WRITERS)))
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT,
                       "attribute 'delayed-postsnapshot' is for persistent shadow copies with writers");
    if ((added & recoveries) && (attributes & VB_SA_NO_WRITERS))
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT,
                       "attribute 'rollback-recovery' is done by writers, and this context has none");
    return 0;
}
