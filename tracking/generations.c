/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/generations.c - changed inodes of a btrfs snapshot, and the directories they lie in.
 *
 * The tree search returns all items of the blocks that are new enough; of these the inodes that are new enough themselves
 * count.  A changed directory makes itself and the one above dirty, any other inode every directory that has a name of it.
 */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "tracking/btrfs.h"
#include "tracking/generations.h"

#define MAX_DEPTH 100000u
#define SNAPSHOT_READ_ONLY 1u /* of a root item's flags */

static const uint8_t NO_UUID[16];

int vb_generation_of(int fd, struct vb_generation *g, struct vb_error *err)
{
    struct btrfs_ioctl_get_subvol_info_args info;
    struct btrfs_ioctl_fs_info_args fs;
    struct stat st;
    memset(&info, 0, sizeof info);
    memset(&fs, 0, sizeof fs);
    if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0 || ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0 || fstat(fd, &st) < 0)
        return vb_fail(err, VB_E_NOT_SUPPORTED, "no generations here: %s", strerror(errno));
    if (!(info.flags & SNAPSHOT_READ_ONLY) || !memcmp(info.parent_uuid, NO_UUID, sizeof NO_UUID))
        return vb_fail(err, VB_E_NOT_SUPPORTED, "no read-only snapshot");
    if (info.ctransid > info.otransid)
        return vb_fail(err, VB_E_NOT_SUPPORTED, "the snapshot was written to after it was made");
    *g = (struct vb_generation){ .generation = info.otransid, .top = st.st_ino };
    memcpy(g->file_system, fs.fsid, sizeof g->file_system);
    memcpy(g->source, info.parent_uuid, sizeof g->source);
    return 0;
}

/* ---- where an inode lies ---- */

struct place { /* of a directory */
    uint64_t ino;
    char *path;  /* NULL: outside of the tree */
};

struct finder {
    int fd;
    struct btrfs_ioctl_search_args_v2 *args; /* for names */
    uint64_t top, since;
    struct vb_changes *changes;
    struct place *places; /* hash table */
    size_t n, cap;
    uint64_t *found; /* inodes that changed */
    bool *is_dir;
    size_t n_found, cap_found, cap_dirs;
};

struct name {
    uint64_t parent;
    char *name; /* owned */
};

struct names {
    uint64_t ino;
    struct name *v;
    size_t n, cap;
};

static void names_clear(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].name);
    free(l->v);
}

static void add_name(struct names *l, uint64_t parent, const unsigned char *p, size_t n)
{
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = (struct name){ parent, vb_strndup((const char *)p, n) };
}

static int take_names(void *arg, const struct btrfs_ioctl_search_header *h, const unsigned char *p, struct vb_error *err)
{
    struct names *l = arg;
    size_t at = 0, len = h->len;
    if (h->objectid != l->ino)
        return 0;
    while (h->type == BTRFS_INODE_REF_KEY && len - at >= sizeof(struct btrfs_inode_ref)) {
        struct btrfs_inode_ref r;
        memcpy(&r, p + at, sizeof r);
        at += sizeof r;
        if (le16toh(r.name_len) > len - at)
            return vb_fail(err, VB_E_IO, "a name of inode %llu is cut off", (unsigned long long)h->objectid);
        add_name(l, h->offset, p + at, le16toh(r.name_len));
        at += le16toh(r.name_len);
    }
    while (h->type == BTRFS_INODE_EXTREF_KEY && len - at >= sizeof(struct btrfs_inode_extref)) {
        struct btrfs_inode_extref r;
        memcpy(&r, p + at, sizeof r);
        at += sizeof r;
        if (le16toh(r.name_len) > len - at)
            return vb_fail(err, VB_E_IO, "a name of inode %llu is cut off", (unsigned long long)h->objectid);
        add_name(l, le64toh(r.parent_objectid), p + at, le16toh(r.name_len));
        at += le16toh(r.name_len);
    }
    return 0;
}

static int find_names(struct finder *f, uint64_t ino, struct names *l, struct vb_error *err)
{
    const struct btrfs_ioctl_search_key k = { .min_objectid = ino, .max_objectid = ino,
                                              .min_type = BTRFS_INODE_REF_KEY, .max_type = BTRFS_INODE_EXTREF_KEY,
                                              .max_offset = UINT64_MAX, .max_transid = UINT64_MAX };
    l->ino = ino;
    return vb_btrfs_search(f->fd, f->args, &k, take_names, l, err);
}

static struct place *slot(struct finder *f, uint64_t ino)
{
    if ((f->n + 1) * 2 > f->cap) {
        struct place *old = f->places;
        size_t n_old = f->cap;
        f->cap = n_old ? n_old * 2 : 256;
        f->places = vb_alloc_n(f->cap, sizeof *f->places);
        for (size_t i = 0; i < n_old; i++)
            if (old[i].ino)
                *slot(f, old[i].ino) = old[i];
        free(old);
    }
    size_t at = (size_t)(ino * 0x9e3779b97f4a7c15u >> 20) & (f->cap - 1);
    while (f->places[at].ino && f->places[at].ino != ino)
        at = (at + 1) & (f->cap - 1);
    return &f->places[at];
}

static void put(struct finder *f, uint64_t ino, char *path)
{
    struct place *p = slot(f, ino);
    if (!p->ino)
        f->n++;
    *p = (struct place){ ino, path };
}

/* Path of a directory relative to the top; *path is borrowed, NULL when it lies elsewhere. */
static int path_of(struct finder *f, uint64_t ino, const char **path, struct vb_error *err)
{
    struct names way = { .ino = 0 }; /* from the directory up; `parent` holds the inode itself */
    int rc = 0;
    *path = NULL;
    for (; rc == 0 && !slot(f, ino)->ino;) {
        if (ino == f->top) {
            put(f, ino, vb_strdup("."));
            break;
        }
        struct names l = { .ino = 0 };
        if (ino == BTRFS_FIRST_FREE_OBJECTID) {
            put(f, ino, NULL);
            break;
        }
        rc = find_names(f, ino, &l, err);
        if (rc == 0 && l.n == 0) { /* removed, and open somewhere */
            put(f, ino, NULL);
            break;
        }
        if (rc == 0 && (l.n != 1 || way.n > MAX_DEPTH))
            rc = vb_fail(err, VB_E_IO, "directory with inode %llu has %zu names", (unsigned long long)ino, l.n);
        if (rc == 0) {
            add_name(&way, ino, (const unsigned char *)l.v[0].name, strlen(l.v[0].name));
            ino = l.v[0].parent;
        }
        names_clear(&l);
    }
    const char *at = rc == 0 ? slot(f, ino)->path : NULL;
    for (size_t i = way.n; rc == 0 && i-- > 0;) {
        char *p = at ? vb_printf("%s/%s", at, way.v[i].name) : NULL;
        put(f, way.v[i].parent, p);
        at = p;
    }
    names_clear(&way);
    *path = at;
    return rc;
}

/* ---- what changed ---- */

static int take_inode(void *arg, const struct btrfs_ioctl_search_header *h, const unsigned char *p, struct vb_error *err)
{
    struct finder *f = arg;
    struct btrfs_inode_item item;
    if (h->type != BTRFS_INODE_ITEM_KEY || h->objectid < BTRFS_FIRST_FREE_OBJECTID)
        return 0;
    if (h->len < sizeof item)
        return vb_fail(err, VB_E_IO, "inode %llu is cut off", (unsigned long long)h->objectid);
    memcpy(&item, p, sizeof item);
    if (le64toh(item.transid) < f->since)
        return 0; /* its neighbour changed */
    VB_GROW(f->found, f->n_found, f->cap_found);
    VB_GROW(f->is_dir, f->n_found, f->cap_dirs);
    f->found[f->n_found] = h->objectid;
    f->is_dir[f->n_found++] = S_ISDIR(le32toh(item.mode));
    return 0;
}

static int mark_dir(struct finder *f, uint64_t ino, struct vb_error *err)
{
    const char *path;
    if (path_of(f, ino, &path, err) < 0)
        return -1;
    if (path)
        vb_changes_mark(f->changes, path);
    return 0;
}

static int mark(struct finder *f, uint64_t ino, bool is_dir, struct vb_error *err)
{
    struct names l = { .ino = 0 };
    if (is_dir && mark_dir(f, ino, err) < 0)
        return -1;
    if (ino == f->top) {
        vb_changes_mark(f->changes, ""); /* its own metadata */
        return 0;
    }
    int rc = ino == BTRFS_FIRST_FREE_OBJECTID ? 0 : find_names(f, ino, &l, err);
    for (size_t i = 0; rc == 0 && i < l.n; i++)
        rc = mark_dir(f, l.v[i].parent, err);
    names_clear(&l);
    return rc;
}

int vb_generations(int fd, const struct vb_generation *then, const struct vb_generation *now, struct vb_changes *changes,
                   uint64_t *inodes, struct vb_error *err)
{
    /* the transaction of the first snapshot itself is looked at once more: it costs little, and no boundary to be wrong at */
    struct btrfs_ioctl_search_key k = { .min_objectid = BTRFS_FIRST_FREE_OBJECTID, .max_objectid = UINT64_MAX,
                                        .max_type = 255, .max_offset = UINT64_MAX, .min_transid = then->generation,
                                        .max_transid = UINT64_MAX };
    struct finder f = { .fd = fd, .top = now->top, .since = then->generation, .changes = changes };
    *inodes = 0;
    if (memcmp(then->file_system, now->file_system, sizeof then->file_system) != 0 ||
        memcmp(then->source, now->source, sizeof then->source) != 0 || then->top != now->top ||
        then->generation > now->generation || then->generation == 0)
        return vb_fail(err, VB_E_NOT_SUPPORTED, "the last look was at another subvolume");
    f.args = vb_btrfs_search_new();
    int rc = vb_btrfs_search(fd, f.args, &k, take_inode, &f, err);
    for (size_t i = 0; rc == 0 && i < f.n_found; i++)
        rc = mark(&f, f.found[i], f.is_dir[i], err);
    *inodes = f.n_found;
    for (size_t i = 0; i < f.cap; i++)
        free(f.places[i].path);
    free(f.places);
    free(f.found);
    free(f.is_dir);
    free(f.args);
    return rc;
}
