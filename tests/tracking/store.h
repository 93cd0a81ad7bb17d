/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/store.h - a replica metadata store in a scratch directory, under a clock that the test turns. */
#ifndef VB_TESTS_TRACKING_STORE_H
#define VB_TESTS_TRACKING_STORE_H

#include "tests/base/scratch.h"
#include "tracking/replica.h"

#define DAY (24 * 3600 * 1000LL)

static int64_t store_now = 1000 * DAY;

static inline int64_t store_clock(void *arg)
{
    (void)arg;
    return store_now;
}

static inline struct vb_replica *store_open(const char *name)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_replica_setup setup = { .machine = "this machine", .now_ms = store_clock };
    struct vb_replica *r = NULL;
    if (vb_replica_open(scratch_fd, name, &setup, &r, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
    return r;
}

static inline int64_t store_scope(struct vb_replica *r, const char *name)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int64_t id = 0;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_scope_add(r, name, "/srv/tree", NULL, 0, &id, &err));
    assert_ok(vb_replica_commit(r, &err));
    assert_ok(vb_replica_reserve(r, 1000000, &err));
    return id;
}

/* A file whose content is one letter. */
static inline struct vb_item store_file(const char *path, char content, int64_t mtime)
{
    struct vb_item i = { .path = path, .kind = VB_ITEM_FILE, .size = 1, .mtime_ns = mtime, .mode = 0644, .owner = "u:g" };
    i.content[0] = (unsigned char)content;
    return i;
}

static inline enum vb_change store_note(struct vb_replica *r, int64_t scope, const char *path, char content, int64_t mtime)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_item seen = store_file(path, content, mtime);
    enum vb_change what;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_note(r, scope, &seen, &what, &err));
    assert_ok(vb_replica_commit(r, &err));
    return what;
}

static inline enum vb_change store_delete(struct vb_replica *r, int64_t scope, const char *path)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    enum vb_change what;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_note_deleted(r, scope, path, NULL, &what, &err));
    assert_ok(vb_replica_commit(r, &err));
    return what;
}

#endif
