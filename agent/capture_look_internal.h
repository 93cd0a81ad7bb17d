/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_look_internal.h - shared by capture_look.c (the whole look) and capture_known.c (one directory).
 */
#ifndef VB_AGENT_CAPTURE_LOOK_INTERNAL_H
#define VB_AGENT_CAPTURE_LOOK_INTERNAL_H

#include "agent/capture_look.h"
#include "tracking/generations.h"
#include "tracking/journal.h"

struct vb_cap_look {
    char *path, *source;
    struct vb_look *memory;     /* NULL: nothing is recorded */
    struct vb_changes *changes; /* NULL: nothing is known, everything is read */
    int64_t began;
    struct vb_name tree;        /* of last time */
    struct vb_cap_totals all;
    uint64_t read, bytes_read;
    uint64_t device;            /* on which the tree lies */
    struct vb_generation generation; /* of the snapshot that is read */
    bool has_generation;
    struct vb_journal_answer journal; /* of the service, if there is one */
    struct vb_buf mounts;             /* below the tree, as it is now */
    int64_t walked;                   /* when everything was looked at last */
    int live;                         /* the tree's top on the volume that the journal is about; -1: not known */
    bool asked;                       /* the service answered */
    bool off;    /* no detector here */
    bool busy;   /* another process has the memory: it is left alone */
    bool broken; /* could not be written: to be removed */
};

/* Head of a payload: the directory's tree and what it holds. */
bool vb_cap_payload_head(struct vb_look *l, const char *path, struct vb_name *tree, struct vb_cap_totals *all);

/* The memory could not be written: the backup is as good, and the next one reads everything. */
void vb_cap_look_broken(struct vb_capture *c, struct vb_error *why);

#endif
