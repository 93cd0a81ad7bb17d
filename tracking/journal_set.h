/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_set.h - what a journal of one volume holds: what changed, and when that was last heard of.
 *
 * Not a list of events but a set: the same directory a million times is one record.  Times are nanoseconds of
 * CLOCK_BOOTTIME, taken after the event was read, so never before the change itself.  Memory is bounded: when the set is
 * full its older half is dropped, and the journal no longer reaches so far back.
 *
 * Records travel to readers and stand in the file in one form:
 *     u32 length of the rest, u32 crc of what follows, u8 kind, u64 last, u16 length of the key, key, hint
 */
#ifndef VB_TRACKING_JOURNAL_SET_H
#define VB_TRACKING_JOURNAL_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum vb_journal_kind {
    VB_JOURNAL_DIR = 1,   /* key: file handle of a directory whose entries, or whose entries' content, changed */
    VB_JOURNAL_MOVED = 2, /* key: inode (u64) of a directory that was made, renamed or removed */
    VB_JOURNAL_FILE = 3,  /* key: file handle of a file of which it is not known which directories hold it */
    VB_JOURNAL_OPEN = 4,  /* key: inode (u64) of a file that was open for writing; hint: a path it may have */
    VB_JOURNAL_PARENT = 5 /* key: file handle of a directory in which a directory was made, renamed or removed */
};

struct vb_journal_record {
    enum vb_journal_kind kind;
    int64_t last;
    const unsigned char *key; /* borrowed, as the hint */
    size_t n_key, n_hint;
    const char *hint;
};

struct vb_journal_set;
struct vb_journal_set *vb_journal_set_new(size_t max); /* records at most */
void vb_journal_set_free(struct vb_journal_set *s);    /* NULL ok */
void vb_journal_set_clear(struct vb_journal_set *s);
size_t vb_journal_set_count(const struct vb_journal_set *s);
/* What was dropped for want of room was last heard of then or before; 0: nothing was. */
int64_t vb_journal_set_dropped(const struct vb_journal_set *s);
/* Adds the record, or brings its time (and hint, unless NULL) up. */
void vb_journal_set_add(struct vb_journal_set *s, const struct vb_journal_record *r);
void vb_journal_set_touch(struct vb_journal_set *s, enum vb_journal_kind kind, const void *key, size_t n_key,
                          int64_t now);
bool vb_journal_set_has(const struct vb_journal_set *s, enum vb_journal_kind kind, const void *key, size_t n_key);
/* Appends all records heard of at `since` or later. */
void vb_journal_set_encode(const struct vb_journal_set *s, int64_t since, struct vb_buf *out);

void vb_journal_record_encode(struct vb_buf *out, const struct vb_journal_record *r);
/* Takes one record off the front. 1 taken, 0 nothing is left, -1 what follows is no record (or cut off). */
int vb_journal_record_take(struct vb_reader *from, struct vb_journal_record *r);

/* The key of a file handle: its type and bytes; and its inode, where the file system's handles are known to hold it. */
#define VB_JOURNAL_HANDLE_MAX 128u
size_t vb_journal_handle_key(unsigned char *key, int type, const void *handle, size_t n);
bool vb_journal_handle_ino(const unsigned char *key, size_t n_key, uint64_t *ino);
void vb_journal_ino_key(unsigned char key[8], uint64_t ino);
bool vb_journal_key_ino(const struct vb_journal_record *r, uint64_t *ino); /* of MOVED and OPEN */

#endif
