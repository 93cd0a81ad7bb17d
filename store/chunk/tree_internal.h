/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/tree_internal.h - the layout of a TREE chunk, shared by its encoder and decoder.
 *
 *     chunk    version(1) height(1) zero(2) count(4), then count entries (height 0) or children (height > 0)
 *     str16    length(2), that many bytes, one zero byte (not counted)
 *     entry    type(1) fields(2) name(str16) mode(4) uid(4) gid(4) user(str16) group(str16) size(8)
 *              mtime(8) nanoseconds(4) ctime(8) nanoseconds(4) inode(8)
 *              then, for each bit of fields, lowest first:
 *              device(8); major(4) minor(4); target(str16); link group(8); inode flags(4);
 *              xattrs: count(2), each name(str16) length(4) value; holes: count(4), each offset(8) length(8);
 *              content: level(1) count(2), each name(32) size(8); subtree name(32);
 *              btime(8) nanoseconds(4); project id(4)
 *     child    name(32) entries(8) first name(str16)
 *
 * A bit is set exactly when its field has something to say; so one entry has one encoding.
 */
#ifndef VB_STORE_CHUNK_TREE_INTERNAL_H
#define VB_STORE_CHUNK_TREE_INTERNAL_H

#include "store/chunk/tree.h"

#define VB_TREE_HAS_DEVICE 0x001u
#define VB_TREE_HAS_RDEV 0x002u
#define VB_TREE_HAS_TARGET 0x004u
#define VB_TREE_HAS_LINK_GROUP 0x008u
#define VB_TREE_HAS_FLAGS 0x010u
#define VB_TREE_HAS_XATTRS 0x020u
#define VB_TREE_HAS_HOLES 0x040u
#define VB_TREE_HAS_CONTENT 0x080u
#define VB_TREE_HAS_SUBTREE 0x100u
#define VB_TREE_HAS_BTIME 0x200u
#define VB_TREE_HAS_PROJECT 0x400u
#define VB_TREE_HAS_ALL 0x7ffu

#define VB_TREE_HEADER_LEN 8u
#define VB_TREE_MIN_ENTRY_LEN 65u /* of the shortest entry: a guard against counts that cannot be true */
#define VB_TREE_MIN_CHILD_LEN 44u
#define VB_TREE_PART_MIN ((size_t)16 << 10)
#define VB_TREE_PART_MAX ((size_t)128 << 10)

/* The rules an entry must keep, whoever made it. before: the name before it in the directory, or NULL; alone: it
 * is the only entry, so that it may be "." .  VB_E_CORRUPT. */
int vb_tree_check_entry(const struct vb_tree_entry *e, const char *before, bool alone, struct vb_error *err);
int vb_tree_check_child(const struct vb_tree_child *c, const char *before, struct vb_error *err);

#endif
