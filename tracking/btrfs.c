/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/btrfs.c - tree searches.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/mem.h"
#include "tracking/btrfs.h"

struct btrfs_ioctl_search_args_v2 *vb_btrfs_search_new(void)
{
    struct btrfs_ioctl_search_args_v2 *a = vb_alloc(sizeof *a + VB_BTRFS_SEARCH_BUFFER);
    return a;
}

static bool next_key(struct btrfs_ioctl_search_key *k, const struct btrfs_ioctl_search_header *h)
{
    k->min_objectid = h->objectid;
    k->min_type = h->type;
    k->min_offset = h->offset;
    if (++k->min_offset)
        return true;
    if (k->min_type < 255) {
        k->min_type++;
        return true;
    }
    k->min_type = 0;
    return ++k->min_objectid != 0;
}

int vb_btrfs_search_some(int fd, struct btrfs_ioctl_search_args_v2 *a, const struct btrfs_ioctl_search_key *from,
                         vb_btrfs_item_fn *fn, void *arg, struct btrfs_ioctl_search_header *last, uint32_t *n,
                         struct vb_error *err)
{
    a->key = *from;
    a->buf_size = VB_BTRFS_SEARCH_BUFFER;
    *n = 0;
    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, a) < 0)
        return vb_fail_errno(err, errno, "a tree of the file system cannot be searched");
    const unsigned char *p = (const unsigned char *)a->buf;
    size_t left = VB_BTRFS_SEARCH_BUFFER;
    for (uint32_t i = 0; i < a->key.nr_items; i++) {
        if (left < sizeof *last)
            return vb_fail(err, VB_E_IO, "a search in a tree of the file system gave a broken answer");
        memcpy(last, p, sizeof *last);
        if (last->len > left - sizeof *last)
            return vb_fail(err, VB_E_IO, "a search in a tree of the file system gave a broken answer");
        if (fn(arg, last, p + sizeof *last, err) < 0)
            return -1;
        p += sizeof *last + last->len;
        left -= sizeof *last + last->len;
    }
    *n = a->key.nr_items;
    return 0;
}

int vb_btrfs_search(int fd, struct btrfs_ioctl_search_args_v2 *a, const struct btrfs_ioctl_search_key *from,
                    vb_btrfs_item_fn *fn, void *arg, struct vb_error *err)
{
    struct btrfs_ioctl_search_key k = *from;
    for (;;) {
        struct btrfs_ioctl_search_header last;
        uint32_t n;
        k.nr_items = UINT32_MAX;
        if (vb_btrfs_search_some(fd, a, &k, fn, arg, &last, &n, err) < 0)
            return -1;
        if (n == 0 || !next_key(&k, &last))
            return 0;
    }
}
