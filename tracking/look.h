/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/look.h - the memory of one look at a tree: per directory what its entries looked like, and what was made of it.
 *
 * One SQLite file per tree and purpose.  Per directory it has a row (names and identities of the entries: what the
 * sources of the detector compare with) and a payload (the owner's: what it made of the directory).  A new memory is
 * written beside the old one and put in its place at the end; changes to an existing one are one transaction.  So it is
 * always as one whole look left it, whenever the power fails.
 *
 * Nothing in it is believed by itself: rows carry checksums, and what does not add up is "not known", which means that
 * the directory is looked at again.  Damage costs time, never data.
 *
 * TRUST.  An identity speaks for a content only if every later change must give another one.  Times have a granularity
 * (a clock tick), and a store to a mapped page that is dirty already changes no time at all.  So an entry is trusted only
 * if its ctime is older than the moment at which the look began, by some ticks of the clock, and if that moment came before a
 * sync of the file system (a snapshot, or syncfs): the sync makes mapped pages clean, and the next store to them changes
 * the time.  What is not trusted is read again next time.  See doc/change-detection.md.
 */
#ifndef VB_TRACKING_LOOK_H
#define VB_TRACKING_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/error.h"

#define VB_LOOK_SLACK_NS 50000000ll          /* several clock ticks */
#define VB_LOOK_SLACK_COARSE_NS 2000000000ll /* of a time without nanoseconds: the file system may keep seconds only */

struct vb_look_stat {
    uint64_t ino, size;
    int64_t mtime_sec, ctime_sec;
    uint32_t mtime_nsec, ctime_nsec;
    uint32_t mode, nlink;
};
void vb_look_stat_from(struct vb_look_stat *to, const struct stat *st);
bool vb_look_stat_equal(const struct vb_look_stat *a, const struct vb_look_stat *b);
/* began: wall clock, nanoseconds since 1970, before the sync before the look. */
bool vb_look_stat_settled(const struct vb_look_stat *s, int64_t began);

enum {
    VB_LOOK_TRUSTED = 1, /* the identity speaks for the content */
    VB_LOOK_SKIPPED = 2, /* left out: only name and kind are known */
    VB_LOOK_CLOSED = 4,  /* a directory that is recorded but not entered */
    VB_LOOK_LEFT = 8,    /* left out on purpose; without SKIPPED because of what its identity says */
    VB_LOOK_MARKED = 16  /* left out because another entry says so */
};

/* A row: the entries of one directory, sorted by name bytes. */
struct vb_look_entry {
    struct vb_look_stat st;
    unsigned flags;
    const char *name;
};
struct vb_look_row {
    const unsigned char *p; /* borrowed from the look, until its next row is read */
    size_t n;
};
/* Checks everything; false: damaged, or not the row of this path. */
bool vb_look_row_parse(struct vb_look_row *r, const void *p, size_t len, const char *path);
size_t vb_look_row_size(const struct vb_look_row *r); /* bytes, to keep a copy */
void vb_look_row_get(const struct vb_look_row *r, size_t i, struct vb_look_entry *e);
bool vb_look_row_find(const struct vb_look_row *r, const char *name, size_t *index);
/* Entries sorted by name; appends to out. */
void vb_look_row_encode(struct vb_buf *out, const char *path, const struct vb_look_entry *v, size_t n);

/* Entries of a row that was just encoded. */
size_t vb_look_row_count(const void *p, size_t len);
/* Cheap, without checking the row: whether it may have an entry with one of these inodes (ascending). */
bool vb_look_row_has_inode(const void *p, size_t len, const uint64_t *inodes, size_t n);
/* An entry of it must be examined at every look: it is not trusted, or has more names than one. */
bool vb_look_row_is_watched(const struct vb_look_row *r);

struct vb_look;
/* Opens the memory at this path for reading and changing.  NULL: there is none, it is damaged, of another version, or in
 * use by another process (err says which; VB_E_OBJECT_NOT_FOUND, VB_E_CORRUPT, VB_E_BUSY). */
struct vb_look *vb_look_open(const char *path, struct vb_error *err);
/* Another view of an existing one, for a thread that only reads. */
struct vb_look *vb_look_reader(const char *path, struct vb_error *err);
/* Begins an empty one, which takes the place of any other at commit.  VB_E_BUSY: another process is at it. */
struct vb_look *vb_look_create(const char *path, struct vb_error *err);
void vb_look_close(struct vb_look *l); /* NULL ok; what was not committed is forgotten */

/* 1 found, 0 not there or damaged. *v is borrowed until the next call. */
int vb_look_note(struct vb_look *l, const char *key, const unsigned char **v, size_t *n);
int vb_look_row(struct vb_look *l, const char *path, struct vb_look_row *row);
int vb_look_payload(struct vb_look *l, const char *path, const unsigned char **v, size_t *n);
/* What is known of one entry, under its path; forgotten with the directories above it. */
int vb_look_part(struct vb_look *l, const char *path, const unsigned char **v, size_t *n);

/* Changes.  After a failure the look can only be closed. */
int vb_look_set_note(struct vb_look *l, const char *key, const void *v, size_t n, struct vb_error *err);
int vb_look_put(struct vb_look *l, const char *path, const struct vb_buf *row, const struct vb_buf *payload,
                struct vb_error *err);
int vb_look_set_part(struct vb_look *l, const char *path, const struct vb_buf *value, struct vb_error *err); /* NULL: none */
int vb_look_forget(struct vb_look *l, const char *path, bool and_below, struct vb_error *err);
/* Directories that every source is to call dirty, whatever it finds: something in them could not be taken. */
int vb_look_set_again(struct vb_look *l, const char *path, bool again, struct vb_error *err);
/* Calls fn for each of them. -1 when they cannot be read. */
int vb_look_each_again(struct vb_look *l, void (*fn)(void *arg, const char *path), void *arg, struct vb_error *err);
/* Calls fn for each directory with an entry that is not trusted or has several names: a source that is told of changes
 * must look at these as well, a change to such an entry may be told of elsewhere, or have been told before. */
int vb_look_each_watched(struct vb_look *l, void (*fn)(void *arg, const char *path), void *arg, struct vb_error *err);
/* Calls fn for each directory that has an entry with one of these inodes (ascending).  Reads all rows. */
int vb_look_each_holder(struct vb_look *l, const uint64_t *inodes, size_t n, void (*fn)(void *arg, const char *path),
                        void *arg, struct vb_error *err);
int vb_look_commit(struct vb_look *l, struct vb_error *err);

/* Removes the memory; none is fine. */
void vb_look_remove(const char *path);
/* Removes every memory in the directory that was not committed to for so many days, and what crashes left. */
void vb_look_sweep(const char *dir, unsigned days);

#endif
