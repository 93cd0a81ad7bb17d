/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_volume.c - fanotify.
 *
 * Which directory an event belongs to is told by file handle; nothing is opened here, so that the volume can be unmounted
 * at any time.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "tracking/journal_volume.h"

#ifndef FAN_RENAME
#define FAN_RENAME 0x10000000
#endif
#ifndef FAN_REPORT_TARGET_FID
#define FAN_REPORT_TARGET_FID 0x00001000
#endif
#define INFO_OLD_DFID_NAME 10 /* FAN_EVENT_INFO_TYPE_OLD_DFID_NAME and ...NEW..., since Linux 5.17 */
#define INFO_NEW_DFID_NAME 12
#define MASK ((uint64_t)(FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_CREATE | FAN_DELETE | FAN_ONDIR) | FAN_RENAME)
#define EVENTS ((size_t)256 << 10)
#define RELINKED 32768u

int64_t vb_journal_boot_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct vb_journal_volume *vb_journal_volume_new(const char *path, size_t max)
{
    struct vb_journal_volume *v = vb_alloc(sizeof *v);
    v->path = vb_strdup(path);
    v->fan = -1;
    v->set = vb_journal_set_new(max);
    for (int i = 0; i < 2; i++)
        v->relinked[i] = vb_journal_set_new(2 * RELINKED);
    return v;
}

void vb_journal_volume_free(struct vb_journal_volume *v)
{
    if (!v)
        return;
    vb_close_fd(&v->fan);
    vb_error_clear(&v->trouble);
    vb_journal_set_free(v->set);
    for (int i = 0; i < 2; i++)
        vb_journal_set_free(v->relinked[i]);
    free(v->path);
    free(v->gap);
    free(v);
}

/* ---- the mark ---- */

/* Superblock of the mount that the directory lies on. */
static int superblock_of(int fd, dev_t *dev, struct vb_error *err)
{
    struct statx x;
    VB_AUTO_FILE FILE *f = fopen("/proc/self/mountinfo", "re");
    VB_AUTO_FREE char *line = NULL;
    size_t cap = 0;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &x) < 0 || !(x.stx_mask & STATX_MNT_ID) || !f)
        return vb_fail_errno(err, errno, "mount table cannot be read");
    while (getline(&line, &cap, f) > 0) {
        unsigned long id;
        unsigned maj, min;
        if (sscanf(line, "%lu %*u %u:%u", &id, &maj, &min) == 3 && id == x.stx_mnt_id) {
            *dev = makedev(maj, min);
            return 0;
        }
    }
    return vb_fail(err, VB_E_NOT_FOUND, "mount is not in the mount table");
}

static bool mark_stands(const struct vb_journal_volume *v)
{
    VB_AUTO_FREE char *name = vb_printf("/proc/self/fdinfo/%d", v->fan);
    VB_AUTO_FILE FILE *f = fopen(name, "re");
    VB_AUTO_FREE char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0) {
        unsigned sdev, flags;
        unsigned long long mask;
        if (sscanf(line, "fanotify sdev:%x mflags:%x mask:%llx", &sdev, &flags, &mask) == 3 &&
            sdev == (major(v->sb_dev) << 20 | minor(v->sb_dev)) && (mask & MASK) == MASK)
            return true;
    }
    return false;
}

static void begin(struct vb_journal_volume *v, const char *why)
{
    if (getrandom(v->session, sizeof v->session, 0) != (ssize_t)sizeof v->session)
        abort();
    vb_journal_set_clear(v->set);
    for (int i = 0; i < 2; i++)
        vb_journal_set_clear(v->relinked[i]);
    v->start = vb_journal_boot_ns();
    v->offset = wall_ns() - v->start;
    free(v->gap);
    v->gap = vb_strdup(why);
    v->gap_wall_ms = (uint64_t)wall_ns() / 1000000;
    v->gaps++;
}

bool vb_journal_volume_watch(struct vb_journal_volume *v, const char *why_gap)
{
    struct stat st;
    if (v->fan >= 0)
        return true;
    vb_error_clear(&v->trouble);
    VB_AUTO_FD int at = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0 || fstat(at, &st) < 0) {
        vb_fail_errno(&v->trouble, errno, "'%s' cannot be opened", v->path);
        return false;
    }
    v->st_dev = st.st_dev;
    if (superblock_of(at, &v->sb_dev, &v->trouble) < 0)
        return false;
    v->fan = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_DIR_FID |
                               FAN_REPORT_NAME | FAN_REPORT_TARGET_FID,
                           O_RDONLY | O_CLOEXEC | O_LARGEFILE);
    if (v->fan < 0) {
        int e = errno;
        vb_fail_errno(&v->trouble, e, "fanotify is not to be had");
        if (e == EINVAL)
            vb_hint(&v->trouble, "Linux 5.17 or later is needed.");
        return false;
    }
    if (fanotify_mark(v->fan, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, MASK, at, NULL) < 0) {
        int e = errno;
        vb_fail_errno(&v->trouble, e, "'%s' cannot be watched", v->path);
        if (e == EXDEV)
            vb_hint(&v->trouble, "Of btrfs only the top-level subvolume can be named: mount it with subvolid=5.");
        vb_close_fd(&v->fan);
        return false;
    }
    begin(v, why_gap);
    if (!mark_stands(v)) {
        vb_fail(&v->trouble, VB_E_NOT_SUPPORTED, "'%s': the kernel does not show its mark", v->path);
        vb_close_fd(&v->fan);
        return false;
    }
    return true;
}

static bool anew(struct vb_journal_volume *v, const char *why)
{
    vb_close_fd(&v->fan);
    return vb_journal_volume_watch(v, why);
}

bool vb_journal_volume_check(struct vb_journal_volume *v)
{
    struct stat st;
    if (v->fan < 0)
        return vb_journal_volume_watch(v, "the volume could not be watched before");
    if (!mark_stands(v) || stat(v->path, &st) < 0 || st.st_dev != v->st_dev)
        return anew(v, "the volume was unmounted or mounted anew");
    int64_t offset = wall_ns() - vb_journal_boot_ns();
    if (offset > v->offset)
        v->offset = offset;
    return true;
}

/* ---- events ---- */

struct info {
    unsigned char key[4 + VB_JOURNAL_HANDLE_MAX];
    size_t n_key;
};

static bool get_handle(struct info *to, const unsigned char *p, size_t n)
{
    /* struct fanotify_event_info_fid: header(4) fsid(8), then struct file_handle: bytes(4) type(4) handle */
    uint32_t bytes;
    int32_t type;
    if (n < 20)
        return false;
    memcpy(&bytes, p + 12, sizeof bytes);
    memcpy(&type, p + 16, sizeof type);
    if (bytes == 0 || bytes > n - 20)
        return false;
    to->n_key = vb_journal_handle_key(to->key, type, p + 20, bytes);
    return to->n_key != 0;
}

/* Remembers for a while that the link count of a file changed: a link that is made next to it is another name. */
static void relinked(struct vb_journal_volume *v, const struct info *file, int64_t now)
{
    if (vb_journal_set_count(v->relinked[0]) >= RELINKED) {
        struct vb_journal_set *old = v->relinked[1];
        v->relinked[1] = v->relinked[0];
        v->relinked[0] = old;
        vb_journal_set_clear(old);
    }
    vb_journal_set_touch(v->relinked[0], VB_JOURNAL_FILE, file->key, file->n_key, now);
}

static bool was_relinked(const struct vb_journal_volume *v, const struct info *file)
{
    return vb_journal_set_has(v->relinked[0], VB_JOURNAL_FILE, file->key, file->n_key) ||
           vb_journal_set_has(v->relinked[1], VB_JOURNAL_FILE, file->key, file->n_key);
}

/* One event: the directories it names have changed; what else, by its kind. */
static bool take_one(struct vb_journal_volume *v, uint64_t mask, const unsigned char *p, size_t n, int64_t now)
{
    struct info target = { .n_key = 0 }, dir;
    bool named = false, moves = (mask & FAN_ONDIR) && (mask & (FAN_CREATE | FAN_DELETE | FAN_RENAME));
    while (n > 0) {
        uint16_t len;
        if (n < 4)
            return false;
        memcpy(&len, p + 2, sizeof len);
        if (len < 4 || len > n)
            return false;
        if (p[0] == FAN_EVENT_INFO_TYPE_DFID_NAME || p[0] == FAN_EVENT_INFO_TYPE_DFID || p[0] == INFO_OLD_DFID_NAME ||
            p[0] == INFO_NEW_DFID_NAME) {
            if (!get_handle(&dir, p, len))
                return false;
            vb_journal_set_touch(v->set, moves ? VB_JOURNAL_PARENT : VB_JOURNAL_DIR, dir.key, dir.n_key, now);
            named = true;
        } else if (p[0] == FAN_EVENT_INFO_TYPE_FID && !get_handle(&target, p, len)) {
            return false;
        }
        p += len;
        n -= len;
    }
    if (moves) {
        unsigned char key[8];
        uint64_t ino;
        if (!target.n_key || !vb_journal_handle_ino(target.key, target.n_key, &ino))
            return false;
        vb_journal_ino_key(key, ino);
        vb_journal_set_touch(v->set, VB_JOURNAL_MOVED, key, sizeof key, now);
    } else if (!named && (mask & ~(uint64_t)FAN_ONDIR) == FAN_ATTRIB && target.n_key) {
        relinked(v, &target, now); /* its link count, and nothing else: a name is made or removed next */
    } else if (!named && target.n_key) {
        vb_journal_set_touch(v->set, VB_JOURNAL_FILE, target.key, target.n_key, now);
    } else if (!named) {
        return false;
    }
    if ((mask & FAN_CREATE) && target.n_key && was_relinked(v, &target))
        vb_journal_set_touch(v->set, VB_JOURNAL_FILE, target.key, target.n_key, now);
    return true;
}

bool vb_journal_volume_take(struct vb_journal_volume *v, const void *events, size_t n, int64_t now)
{
    const unsigned char *p = events;
    while (n > 0) {
        struct fanotify_event_metadata m;
        if (n < sizeof m)
            return false;
        memcpy(&m, p, sizeof m);
        if (m.vers != FANOTIFY_METADATA_VERSION || m.event_len < sizeof m || m.event_len > n || m.metadata_len > m.event_len ||
            (m.mask & FAN_Q_OVERFLOW) ||
            !take_one(v, m.mask, p + m.metadata_len, m.event_len - m.metadata_len, now))
            return false;
        v->events++;
        p += m.event_len;
        n -= m.event_len;
    }
    if (vb_journal_set_dropped(v->set) >= v->start) {
        v->start = vb_journal_set_dropped(v->set) + 1;
        free(v->gap);
        v->gap = vb_strdup("more had changed than the journal has room for");
        v->gap_wall_ms = (uint64_t)wall_ns() / 1000000;
        v->gaps++;
    }
    return true;
}

void vb_journal_volume_drain(struct vb_journal_volume *v)
{
    VB_AUTO_FREE unsigned char *buf = vb_alloc(EVENTS);
    int queued = 0;
    if (v->fan < 0 || ioctl(v->fan, FIONREAD, &queued) < 0)
        return;
    /* those that come meanwhile are left for the next time, or a busy volume would never end */
    uint64_t until = v->events + (uint64_t)queued / FAN_EVENT_METADATA_LEN;
    while (v->fan >= 0 && v->events < until) {
        ssize_t n = read(v->fan, buf, EVENTS);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || !vb_journal_volume_take(v, buf, (size_t)n, vb_journal_boot_ns())) {
            /* a new queue is empty: what is in the old one belongs to the gap */
            anew(v, n > 0 ? "the queue of events ran over" : "events could not be read");
            return;
        }
    }
}
