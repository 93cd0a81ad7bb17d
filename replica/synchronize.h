/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/synchronize.h - what synchronizer and collector share: the state. */
#ifndef VB_REPLICA_SYNCHRONIZE_H
#define VB_REPLICA_SYNCHRONIZE_H

#include "replica/metadata.h"

struct vb_sync_state {
    enum vb_sync_kind kind;
    struct vb_knowledge *k; /* what the other store has */
};

#endif
