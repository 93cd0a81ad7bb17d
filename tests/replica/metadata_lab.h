/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/metadata_lab.h - metadata stores of a program's own, through the public header only, under a clock of the test's. */
#ifndef VB_TESTS_REPLICA_METADATA_LAB_H
#define VB_TESTS_REPLICA_METADATA_LAB_H

#include "tests/base/scratch.h"
#include "vbackup/replica.h"

#define DAY (24 * 3600 * 1000LL)
static int64_t ml_now = 1000 * DAY;

static inline int64_t ml_clock(void *arg)
{
    (void)arg;
    return ml_now;
}

static inline struct vb_metadata *ml_open(const char *name)
{
    const struct vb_metadata_setup setup = { sizeof setup, "this machine", ml_clock, NULL };
    char path[4200], *text = NULL;
    enum vb_code code;
    snprintf(path, sizeof path, "%s/%s", scratch_path, name);
    struct vb_metadata *m = vb_metadata_open(path, &setup, &code, &text);
    if (!m)
        fail_msg("%s", text);
    assert_int_equal(code, VB_OK);
    free(text);
    return m;
}

#define ml_ok(m, call)                                                                  \
    do {                                                                                \
        enum vb_code ml_code = (call);                                                  \
        if (ml_code != VB_OK)                                                           \
            fail_msg("%s: %s %s", #call, vb_code_name(ml_code), vb_metadata_error(m));  \
    } while (0)

static inline struct vb_metadata_item ml_file(const char *path, char content, int64_t mtime)
{
    struct vb_metadata_item i = { .size = sizeof i, .kind = VB_ITEM_FILE, .path = path, .bytes = 1, .mtime_ns = mtime, .mode = 0644, .owner = "u:g" };
    i.content[0] = (unsigned char)content;
    return i;
}

static inline bool ml_note(struct vb_metadata *m, const struct vb_metadata_item *i)
{
    bool changed;
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_note(m, i, &changed));
    ml_ok(m, vb_metadata_commit(m));
    return changed;
}

static inline void ml_put(struct vb_metadata *m, const char *path, char content, int64_t mtime)
{
    const struct vb_metadata_item i = ml_file(path, content, mtime);
    ml_note(m, &i);
}

static inline void ml_dir(struct vb_metadata *m, const char *path)
{
    const struct vb_metadata_item i = { .size = sizeof i, .kind = VB_ITEM_DIR, .path = path, .mode = 0755 };
    ml_note(m, &i);
}

static inline void ml_delete(struct vb_metadata *m, const char *path, const char *moved_to)
{
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_note_deleted(m, path, moved_to));
    ml_ok(m, vb_metadata_commit(m));
}

/* First byte of a live item's content; 0 if there is none, '-' for a tombstone. */
static inline char ml_has(struct vb_metadata *m, const char *path)
{
    struct vb_metadata_item *i;
    if (vb_metadata_find(m, path, &i) != VB_OK)
        return 0;
    char c = i->deleted ? '-' : i->kind == VB_ITEM_DIR ? '/' : (char)i->content[0];
    free(i);
    return c;
}

/* One pass, batch by batch; the code of the first that failed. */
static inline enum vb_code ml_pass(struct vb_metadata *from, struct vb_metadata *to, size_t wished, bool full,
                                   const struct vb_metadata_saver *saver, struct vb_metadata_result *r)
{
    struct vb_metadata_session *a = vb_metadata_session_begin(from), *b = vb_metadata_session_begin(to);
    struct vb_knowledge *known = vb_metadata_session_parameters(b, NULL);
    enum vb_code c = VB_OK;
    char *at = NULL;
    *r = (struct vb_metadata_result)VB_METADATA_RESULT_INIT;
    for (bool last = false; !last && c == VB_OK;) {
        struct vb_metadata_batch *x = full ? vb_metadata_full_changes(a, at, wished) : vb_metadata_changes(a, known, wished);
        const char *lower, *upper;
        assert_non_null(x);
        c = full ? vb_metadata_process_full(b, x, saver, r) : vb_metadata_process(b, x, saver, r);
        last = vb_metadata_batch_last(x);
        vb_metadata_batch_range(x, &lower, &upper);
        free(at);
        at = upper ? strdup(upper) : NULL;
        vb_metadata_batch_free(x);
    }
    free(at);
    vb_knowledge_free(known);
    vb_metadata_session_end(a);
    vb_metadata_session_end(b);
    return c;
}

static inline struct vb_metadata_result ml_go(struct vb_metadata *from, struct vb_metadata *to)
{
    struct vb_metadata_result r;
    ml_ok(to, ml_pass(from, to, 0, false, NULL, &r));
    return r;
}

#endif
