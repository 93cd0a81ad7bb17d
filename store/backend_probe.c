/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_probe.c - what is taken for granted of a store, tried out on it.
 *
 * Names are given once; what was written is there at once.  There are servers and mounts that keep neither (a rename
 * that replaces, a listing that comes late), and a repository on one of them would lose data without a word.
 */
#include "config.h"
#include "store/backend.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define PROBE_DIR "probe/"

static const char first[] = "the first to come", second[] = "the second to come, and longer";

static int refuse(struct vb_backend *b, const char *what, struct vb_error *err)
{
    vb_fail(err, VB_E_PREREQUISITE, "'%s': %s", b->location, what);
    vb_hint(err, "backups there could be lost without notice: keep the repository on another file system or server");
    return -1;
}

struct look {
    const char *name;
    unsigned found;
    bool right;
};

static int look_at(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct look *l = arg;
    (void)err;
    if (strcmp(name, l->name) == 0) {
        l->found++;
        l->right = size == sizeof first;
    }
    return 0;
}

static int check_written(struct vb_backend *b, const char *name, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct look l = { name, 0, false };
    uint64_t size = 0;
    if (vb_backend_write(b, name, second, sizeof second, &why) == 0)
        return refuse(b, "a file was given a name that another one had: names are not exclusive there", err);
    if (why.code != VB_E_EXISTS)
        return vb_error_move(err, &why);
    if (vb_backend_size(b, name, &size, &why) < 0 && why.code != VB_E_NOT_FOUND)
        return vb_error_move(err, &why);
    if (size != sizeof first)
        return refuse(b, "what was written is not there, or not whole", err);
    if (vb_backend_read(b, name, 4, sizeof first - 4, &out, err) < 0)
        return -1;
    if (memcmp(out.data, first + 4, sizeof first - 4) != 0)
        return refuse(b, "what was written is not what is read", err);
    if (vb_backend_list(b, PROBE_DIR, look_at, &l, err) != 0)
        return -1;
    return l.found == 1 && l.right ? 0 : refuse(b, "what was written does not show in the listing at once", err);
}

static int check_removed(struct vb_backend *b, const char *name, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct look l = { name, 0, false };
    uint64_t size;
    if (vb_backend_size(b, name, &size, &why) == 0)
        return refuse(b, "what was removed is still there", err);
    if (why.code != VB_E_NOT_FOUND)
        return vb_error_move(err, &why);
    if (vb_backend_list(b, PROBE_DIR, look_at, &l, err) != 0)
        return -1;
    return l.found == 0 ? 0 : refuse(b, "what was removed still shows in the listing", err);
}

int vb_backend_probe(struct vb_backend *b, struct vb_error *err)
{
    char guid[VB_GUID_LEN + 1];
    vb_guid_new(guid);
    VB_AUTO_FREE char *name = vb_printf(PROBE_DIR "%s", guid);
    if (vb_backend_write(b, name, first, sizeof first, err) < 0)
        return -1;
    int result = check_written(b, name, err);
    if (vb_backend_remove(b, name, result == 0 ? err : NULL) < 0)
        result = -1;
    if (result == 0)
        result = check_removed(b, name, err);
    return result;
}
