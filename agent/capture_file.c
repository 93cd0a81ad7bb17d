/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_file.c - contents: regular files with their holes, symbolic links, and the kinds that have none.
 *
 * Holes.  In a shadow copy the file system is asked (SEEK_HOLE), but only about files whose block count says that there
 * are any.  In a file that may change under our hands it is not believed: there the zeros that were really read count.
 * Either way the content is the concatenation of everything outside the holes.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/capture_extents.h"
#include "agent/capture_internal.h"

#define ZERO_RUN ((size_t)4 << 10) /* shortest run of zeros that a live read turns into a hole; aligned to itself */

/* One file being cut: bytes between `start` and `fill` of the window are the unfinished chunk. */
struct reading {
    struct vb_capture *c;
    struct vb_cutter *cutter;
    size_t start, seen, fill; /* seen: handed to the cutter */
    struct vb_hole *holes;
    size_t n_holes, cap_holes;
    struct vb_cap_plan *plan; /* what is known of the file's chunks; NULL: nothing is, nor remembered */
};

static int add_chunk(struct reading *r, const struct vb_name *name, uint64_t len, struct vb_error *err)
{
    if (r->plan)
        vb_cap_plan_chunk(r->plan, name, len);
    return vb_content_builder_add(r->c->builder, name, len, err);
}

static int put_chunk(struct reading *r, size_t end, struct vb_error *err)
{
    struct vb_name name;
    size_t len = end - r->start;
    if (vb_chunk_sender_emit(r->c->out, VB_CHUNK_DATA, r->c->window + r->start, len, &name, err) < 0 ||
        add_chunk(r, &name, len, err) < 0)
        return -1;
    r->start = end;
    return 0;
}

static int cut(struct reading *r, struct vb_error *err)
{
    while (r->seen < r->fill) {
        bool end = false;
        r->seen += vb_cutter_feed(r->cutter, r->c->window + r->seen, r->fill - r->seen, &end);
        if (end && put_chunk(r, r->seen, err) < 0)
            return -1;
    }
    return 0;
}

static void make_room(struct reading *r)
{
    if (r->c->window_size - r->fill >= VB_CAP_READ)
        return;
    memmove(r->c->window, r->c->window + r->start, r->fill - r->start);
    r->fill -= r->start;
    r->seen -= r->start;
    r->start = 0;
}

static bool add_hole(struct reading *r, uint64_t offset, uint64_t len)
{
    if (!len)
        return true;
    if (r->n_holes && r->holes[r->n_holes - 1].offset + r->holes[r->n_holes - 1].len == offset) {
        r->holes[r->n_holes - 1].len += len;
        return true;
    }
    if (r->n_holes >= VB_TREE_MAX_HOLES)
        return false;
    VB_GROW(r->holes, r->n_holes, r->cap_holes);
    r->holes[r->n_holes++] = (struct vb_hole){ offset, len };
    return true;
}

static bool all_zero(const unsigned char *p, size_t n)
{
    return p[0] == 0 && !memcmp(p, p + 1, n - 1);
}

/* Live sparse files: aligned runs of zeros among the n new bytes at `at` become holes; the rest moves together. */
static size_t squeeze(struct reading *r, unsigned char *at, size_t n, uint64_t offset, bool last)
{
    size_t out = 0;
    for (size_t i = 0; i < n;) {
        size_t step = ZERO_RUN - (size_t)((offset + i) % ZERO_RUN);
        if (step > n - i)
            step = n - i;
        bool run = step == ZERO_RUN || (last && i + step == n && (offset + i) % ZERO_RUN == 0);
        if (run && all_zero(at + i, step) && add_hole(r, offset + i, step)) {
            i += step;
            continue;
        }
        memmove(at + out, at + i, step);
        out += step;
        i += step;
    }
    return out;
}

static int read_some(int fd, unsigned char *p, size_t n, uint64_t offset, size_t *got, struct vb_error *why)
{
    *got = 0;
    while (*got < n) {
        ssize_t k = pread(fd, p + *got, n - *got, (off_t)(offset + *got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return vb_fail_errno(why, errno, "read failed at byte %llu", (unsigned long long)(offset + *got));
        if (k == 0)
            break;
        *got += (size_t)k;
    }
    return 0;
}

/* Data from offset to end; *end is pulled in at an early end of the file. */
static enum vb_cap_result read_range(struct reading *r, int fd, uint64_t offset, uint64_t *end, bool squeezed,
                                     struct vb_error *why)
{
    while (offset < *end) {
        make_room(r);
        size_t want = *end - offset < VB_CAP_READ ? (size_t)(*end - offset) : VB_CAP_READ, got;
        unsigned char *at = r->c->window + r->fill;
        if (read_some(fd, at, want, offset, &got, why) < 0)
            return VB_CAP_FAILED;
        r->fill += squeezed ? squeeze(r, at, got, offset, got < want || offset + got == *end) : got;
        offset += got;
        r->c->bytes += got;
        vb_cap_look_count_bytes(r->c->look, got);
        if (cut(r, why) < 0 || vb_cap_progress(r->c, false, why) < 0)
            return VB_CAP_LOST;
        if (got < want)
            *end = offset;
    }
    return VB_CAP_TAKEN;
}

/* Asks the file system for the data ranges. */
static void find_data(struct reading *r, int fd, uint64_t size, struct vb_cap_layout *l)
{
    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        uint64_t from = data < 0 || (uint64_t)data > size ? size : (uint64_t)data;
        if ((data < 0 && errno != ENXIO) || !add_hole(r, at, from - at)) { /* not known here: everything is data */
            vb_cap_layout_add(l, at, size - at);
            return;
        }
        off_t hole = from < size ? lseek(fd, (off_t)from, SEEK_HOLE) : (off_t)from;
        uint64_t to = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
        vb_cap_layout_add(l, from, to - from);
        at = to;
    }
}

static enum vb_cap_result read_layout(struct reading *r, int fd, const struct vb_cap_layout *l, uint64_t *size,
                                      struct vb_error *why)
{
    enum vb_cap_result rc = VB_CAP_TAKEN;
    for (size_t i = 0; i < l->n && rc == VB_CAP_TAKEN; i++) {
        uint64_t to = l->v[i].offset + l->v[i].len, end = to;
        rc = read_range(r, fd, l->v[i].offset, &end, false, why);
        if (end < to) {
            *size = end;
            break;
        }
    }
    return rc;
}

/* The content from this position on, as much as is wanted at once; *at_end: the file ends earlier than it should. */
static enum vb_cap_result read_next(struct reading *r, int fd, const struct vb_cap_layout *l, uint64_t position,
                                    uint64_t *size, bool *at_end, struct vb_error *why)
{
    const struct vb_cap_data *d = vb_cap_layout_find(l, position);
    uint64_t inside = position - d->position, left = d->len - inside, step = vb_cap_plan_step(r->plan, position);
    size_t want = (size_t)(left < step ? left : step), got;
    make_room(r);
    if (read_some(fd, r->c->window + r->fill, want, d->offset + inside, &got, why) < 0)
        return VB_CAP_FAILED;
    r->fill += got;
    r->c->bytes += got;
    vb_cap_look_count_bytes(r->c->look, got);
    *at_end = got < want;
    if (*at_end)
        *size = d->offset + inside + got;
    return vb_cap_progress(r->c, false, why) < 0 ? VB_CAP_LOST : VB_CAP_TAKEN;
}

/* Chunk by chunk: those that are as they were are taken over, the rest is read and cut.  The last is left in the window. */
static enum vb_cap_result read_changed(struct reading *r, int fd, const struct vb_cap_layout *l, uint64_t *size,
                                       struct vb_error *why)
{
    uint64_t at = 0; /* where the current chunk begins */
    bool ended = false;
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* what is not asked for is not read ahead */
    for (;;) {
        const struct vb_ref *same = r->seen == r->start ? vb_cap_plan_take(r->plan, at) : NULL;
        if (same) {
            if (add_chunk(r, &same->name, same->size, why) < 0 || vb_cap_progress(r->c, false, why) < 0)
                return VB_CAP_LOST;
            at += same->size;
            r->c->bytes += same->size;
            r->start = r->seen = r->fill = 0;
            continue;
        }
        if (r->seen == r->fill) {
            uint64_t position = at + (r->fill - r->start);
            if (ended || position >= l->total)
                return VB_CAP_TAKEN;
            enum vb_cap_result rc = read_next(r, fd, l, position, size, &ended, why);
            if (rc != VB_CAP_TAKEN)
                return rc;
        }
        bool end = false;
        r->seen += vb_cutter_feed(r->cutter, r->c->window + r->seen, r->fill - r->seen, &end);
        if (end) {
            at += r->seen - r->start;
            if (put_chunk(r, r->seen, why) < 0)
                return VB_CAP_LOST;
        }
    }
}

/* In a shadow copy: the file system knows where the holes are, and perhaps what has not changed. */
static enum vb_cap_result read_stable(struct reading *r, int fd, bool sparse, uint64_t *size, struct vb_error *why)
{
    struct vb_cap_layout l = { .v = NULL };
    enum vb_cap_result rc;
    if (sparse)
        find_data(r, fd, *size, &l);
    else
        vb_cap_layout_add(&l, 0, *size);
    if (r->plan)
        vb_cap_plan_compare(r->plan, &l);
    if (vb_cap_plan_helps(r->plan))
        rc = read_changed(r, fd, &l, size, why);
    else
        rc = read_layout(r, fd, &l, size, why);
    vb_cap_layout_clear(&l);
    return rc;
}

/* A partial file: the holes are those that its layout leaves. */
static bool holes_of(struct reading *r, const struct vb_cap_layout *l, uint64_t size)
{
    uint64_t at = 0;
    for (size_t i = 0; i < l->n; at = l->v[i].offset + l->v[i].len, i++)
        if (!add_hole(r, at, l->v[i].offset - at))
            return false;
    return add_hole(r, at, size - at);
}

/* What is to be read because its writer says so; NULL: all of it. */
static struct vb_cap_plan *partial_plan(struct reading *r, int fd, const char *name, const struct stat *st,
                                        struct vb_cap_layout *l)
{
    const struct vb_ranges *ranges = r->c->dir ? vb_cap_partial_ranges(r->c, name) : NULL;
    struct vb_cap_plan *p = ranges ? vb_cap_plan_partial(r->c, fd, name, st, ranges, l) : NULL;
    if (!p)
        return NULL;
    if (holes_of(r, l, (uint64_t)st->st_size)) {
        vb_cap_look_composed(r->c);
        return p;
    }
    vb_cap_plan_free(p);
    vb_cap_layout_clear(l);
    r->n_holes = 0;
    return NULL;
}

static enum vb_cap_result read_content(struct vb_capture *c, int fd, const char *name, const struct stat *st,
                                       struct vb_tree_entry *e, struct vb_error *why)
{
    struct reading r = { .c = c, .cutter = c->cutter[c->cur->database ? 1 : 0] };
    struct vb_cap_layout ranges = { .v = NULL };
    r.plan = partial_plan(&r, fd, name, st, &ranges);
    bool partial = r.plan != NULL;
    if (!partial)
        r.plan = vb_cap_plan_new(c, fd, name, st);
    uint64_t size = (uint64_t)st->st_size;
    bool sparse = (uint64_t)st->st_blocks * 512 < size;
    enum vb_cap_result rc;
    vb_cutter_reset(r.cutter);
    if (partial)
        rc = read_changed(&r, fd, &ranges, &size, why);
    else if (!c->set->live)
        rc = read_stable(&r, fd, sparse, &size, why);
    else
        rc = read_range(&r, fd, 0, &size, sparse, why);
    if (rc == VB_CAP_TAKEN && r.start < r.fill && put_chunk(&r, r.fill, why) < 0)
        rc = VB_CAP_LOST;
    if (vb_content_builder_finish(c->builder, &e->content, rc == VB_CAP_TAKEN ? why : NULL) < 0 &&
        rc == VB_CAP_TAKEN)
        rc = VB_CAP_LOST;
    e->size = size;
    e->holes = r.holes;
    e->n_holes = r.n_holes;
    if (r.plan && rc == VB_CAP_TAKEN && size == (uint64_t)st->st_size)
        vb_cap_plan_remember(r.plan, e);
    vb_cap_plan_free(r.plan);
    vb_cap_layout_clear(&ranges);
    return rc;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* After the read: is it still the file that was opened? */
static bool unchanged(const struct vb_capture *c, const struct stat *before, const struct stat *now, uint64_t size)
{
    return now->st_size == before->st_size && (uint64_t)now->st_size == size &&
           same_time(&now->st_mtim, &before->st_mtim) &&
           (!c->set->live || same_time(&now->st_ctim, &before->st_ctim));
}

static enum vb_cap_result open_failed(struct vb_capture *c, struct vb_error *why)
{
    if ((errno == ENOENT || errno == ELOOP || errno == ESTALE) && c->set->live)
        return VB_CAP_VANISHED;
    return vb_fail_errno(why, errno, "cannot be opened"), VB_CAP_FAILED;
}

/* Metadata and content through the open file; once more if it changed under our hands. */
static enum vb_cap_result read_file(struct vb_capture *c, int fd, const char *name, struct vb_cap_link *link,
                                    struct stat *st, struct vb_tree_entry *e, struct vb_error *why)
{
    struct stat now;
    for (int attempt = 1;; attempt++, *st = now) {
        vb_cap_entry_stat(c, e, name, st);
        if (link)
            e->link_group = link->group;
        if (vb_cap_entry_attrs(c, e, fd, false, why) < 0)
            return VB_CAP_FAILED;
        if (link && link->have && link->entry.mtime_sec == e->mtime_sec && link->entry.mtime_nsec == e->mtime_nsec &&
            link->entry.size == (uint64_t)st->st_size) {
            vb_cap_entry_copy_content(e, &link->entry);
            c->bytes += e->size;
            return VB_CAP_TAKEN;
        }
        enum vb_cap_result rc = read_content(c, fd, name, st, e, why);
        if (rc != VB_CAP_TAKEN)
            return rc;
        if (fstat(fd, &now) < 0)
            return vb_fail_errno(why, errno, "cannot be examined"), VB_CAP_FAILED;
        vb_cap_originals_stat(c->originals, &now);
        if (unchanged(c, st, &now, e->size))
            return VB_CAP_TAKEN;
        if (!c->set->live)
            return vb_fail(why, VB_E_FILE_CHANGED, "changed during the read, although this is a shadow copy"),
                   VB_CAP_FAILED;
        if (attempt > 1)
            return vb_cap_warn_path(c, name, VB_E_FILE_CHANGED,
                                    "changed while it was read, and again while it was read anew; it may be torn",
                                    why) < 0 ? VB_CAP_LOST : VB_CAP_TAKEN;
        if (vb_cap_note_path(c, name, VB_E_FILE_CHANGED, "changed while it was read; it was read anew", why) < 0)
            return VB_CAP_LOST;
        vb_cap_entry_clear(e);
    }
}

static enum vb_cap_result regular(struct vb_capture *c, int dirfd, const char *name, const struct stat *seen,
                                  struct vb_cap_link *link, struct vb_tree_entry *e, struct vb_error *why)
{
    struct stat st;
    VB_AUTO_FD int fd = vb_cap_open(c, dirfd, name, seen, 0);
    if (fd < 0)
        return open_failed(c, why);
    if (fstat(fd, &st) < 0)
        return vb_fail_errno(why, errno, "cannot be examined"), VB_CAP_FAILED;
    vb_cap_originals_stat(c->originals, &st);
    if (!S_ISREG(st.st_mode) || st.st_ino != seen->st_ino || st.st_dev != seen->st_dev) {
        if (c->set->live && !S_ISREG(st.st_mode))
            return VB_CAP_VANISHED; /* another kind took its place */
        if (!c->set->live)
            return vb_fail(why, VB_E_FILE_CHANGED, "was replaced during the read"), VB_CAP_FAILED;
        link = NULL;
    }
    enum vb_cap_result rc = read_file(c, fd, name, link, &st, e, why);
    if (rc == VB_CAP_TAKEN && link && !link->have) {
        link->entry.mtime_sec = e->mtime_sec;
        link->entry.mtime_nsec = e->mtime_nsec;
        vb_cap_entry_copy_content(&link->entry, e);
        link->have = true;
    }
    return rc;
}

static enum vb_cap_result read_target(struct vb_capture *c, int fd, struct vb_tree_entry *e, struct vb_error *why)
{
    for (size_t size = 256; size <= 2 * VB_TREE_MAX_TARGET; size *= 2) {
        VB_AUTO_FREE char *buf = vb_alloc(size + 1);
        ssize_t n = readlinkat(fd, "", buf, size);
        if (n < 0)
            return open_failed(c, why);
        if ((size_t)n < size) {
            e->size = (uint64_t)n;
            e->target = vb_strndup(buf, (size_t)n);
            return VB_CAP_TAKEN;
        }
    }
    return vb_fail(why, VB_E_LIMIT, "target of the symbolic link is too long"), VB_CAP_FAILED;
}

static enum vb_cap_result special(struct vb_capture *c, int dirfd, const char *name, const struct stat *seen,
                                  const struct vb_cap_link *link, struct vb_tree_entry *e, struct vb_error *why)
{
    struct stat st;
    VB_AUTO_FD int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return open_failed(c, why);
    if (fstat(fd, &st) < 0)
        return vb_fail_errno(why, errno, "cannot be examined"), VB_CAP_FAILED;
    vb_cap_originals_stat(c->originals, &st);
    if ((st.st_mode & S_IFMT) != (seen->st_mode & S_IFMT))
        return c->set->live ? VB_CAP_VANISHED
                            : (vb_fail(why, VB_E_FILE_CHANGED, "was replaced during the read"), VB_CAP_FAILED);
    vb_cap_entry_stat(c, e, name, &st);
    if (link && st.st_ino == seen->st_ino)
        e->link_group = link->group;
    if (vb_cap_entry_attrs(c, e, fd, true, why) < 0)
        return VB_CAP_FAILED;
    return S_ISLNK(st.st_mode) ? read_target(c, fd, e, why) : VB_CAP_TAKEN;
}

/* The group of an inode with several names.  Its number is the inode's own where that is stable and free, so that a
 * new linked file elsewhere does not renumber, and thus rewrite, everything behind it. */
static struct vb_cap_link *link_of(struct vb_capture *c, const struct stat *st)
{
    struct vb_cap_component *k = c->cur;
    if (st->st_nlink < 2)
        return NULL;
    struct vb_cap_link *l = vb_idmap_get(&k->links, st->st_dev, st->st_ino);
    if (l)
        return l;
    l = vb_alloc(sizeof *l);
    l->group = c->stable_ids ? (st->st_ino ^ c->volume_mix) & (((uint64_t)1 << 62) - 1) : 0;
    if (!l->group || vb_idmap_get(&k->groups, l->group, 0))
        l->group = ((uint64_t)1 << 62) + k->next_group++;
    vb_idmap_set(&k->groups, l->group, 0, l);
    vb_idmap_set(&k->links, st->st_dev, st->st_ino, l);
    return l;
}

enum vb_cap_result vb_cap_leaf(struct vb_capture *c, int dirfd, const char *name, const struct stat *st,
                               struct vb_tree_entry *e, struct vb_error *why)
{
    struct vb_cap_link *link = link_of(c, st);
    enum vb_cap_result rc = S_ISREG(st->st_mode) ? regular(c, dirfd, name, st, link, e, why)
                                                 : special(c, dirfd, name, st, link, e, why);
    if (rc != VB_CAP_TAKEN)
        vb_cap_entry_clear(e);
    return rc;
}
