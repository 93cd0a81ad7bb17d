/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/revert.c - rolling a subvolume back to a shadow copy, all or nothing.
 *
 *   intent written -> writable clone of the shadow copy beside the volume -> RENAME_EXCHANGE of both names ->
 *   the volume's other shadow copies move from the old state to the new -> the old state becomes a shadow copy ->
 *   intent removed
 *
 * The exchange is one step of the file system: at every moment the volume's name shows the old state or the whole new
 * one.  What comes after it can be repeated, so that a kill or a power cut anywhere is finished by whoever opens the
 * provider next: the identity of the subvolume under the volume's name says on which side of the exchange we are.
 */
#include "config.h"

#include <btrfsutil.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "providers/btrfs/manage.h"
#include "vbackup/provider.h"

#define INTENT ".revert-"
#define MAX_INTENT 65536
#define UUID_TEXT 33

struct intent {
    char *snapshot, *source, *temp, *kept, *kept_set, *mount_point;
    char new_uuid[UUID_TEXT]; /* of the clone; empty before it was made */
    char forced[UUID_TEXT + 4]; /* the boot in which the user said that the volume's use is no matter; else empty */
    char *name;               /* of the file */
    int dir, fd;              /* state directory; the file, locked */
};

static void intent_clear(struct intent *in)
{
    free(in->snapshot);
    free(in->source);
    free(in->temp);
    free(in->kept);
    free(in->kept_set);
    free(in->mount_point);
    free(in->name);
    if (in->fd >= 0)
        close(in->fd);
    if (in->dir >= 0)
        close(in->dir);
}

/* A test may have us die behind the nth step. */
static void step_done(const struct vb_ps *s, int n)
{
#ifdef VB_FAULT_POINTS
    const char *at = s->svc->option(s->host, "kill-at");
    if (at && strtol(at, NULL, 10) == n)
        raise(SIGKILL);
#else
    (void)s;
    (void)n;
#endif
}

/* ---- the intent ---- */

/* What the identity of the clone stands in: it is written over this, byte for byte, when the clone is there. */
static const char NO_UUID[] = "--------------------------------";

/* Twice, and the second time only the identity differs: a power cut at any moment leaves a record that names the clone. */
static int intent_write(const struct vb_ps *s, struct intent *in)
{
    const char *v[] = { in->snapshot,    in->source, in->temp, in->kept, in->kept_set,
                        in->mount_point, in->forced, *in->new_uuid ? in->new_uuid : NO_UUID };
    char *buf = vb_ps_alloc(MAX_INTENT);
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        size_t len = strlen(v[i]) + 1;
        if (len > MAX_INTENT - n) {
            free(buf);
            return vb_ps_fail(s, VB_E_LIMIT, NULL, "the path of '%s' is too long to be reverted", in->source);
        }
        memcpy(buf + n, v[i], len);
        n += len;
    }
    /* In place, under the lock; a torn first one lacks its end, and means that nothing was done. */
    if (pwrite(in->fd, buf, n, 0) != (ssize_t)n || fsync(in->fd) < 0 || fsync(in->dir) < 0)
        rc = vb_ps_fail_errno(s, errno, "Make room in the state directory.", "record of the revert cannot be written");
    free(buf);
    return rc;
}

static bool intent_read(struct intent *in)
{
    char *buf = vb_ps_alloc(MAX_INTENT), *v[8], *p = buf;
    ssize_t n = pread(in->fd, buf, MAX_INTENT, 0);
    size_t k = 0;
    while (n > 0 && k < 8 && p < buf + n) {
        char *e = memchr(p, 0, (size_t)(buf + n - p));
        if (!e)
            break;
        v[k++] = p;
        p = e + 1;
    }
    bool good = k == 8 && strlen(v[6]) < sizeof in->forced && strlen(v[7]) == UUID_TEXT - 1 && v[1][0] == '/' &&
                v[2][0] == '/';
    if (good) {
        in->snapshot = vb_ps_strdup(v[0]);
        in->source = vb_ps_strdup(v[1]);
        in->temp = vb_ps_strdup(v[2]);
        in->kept = vb_ps_strdup(v[3]);
        in->kept_set = vb_ps_strdup(v[4]);
        in->mount_point = vb_ps_strdup(v[5]);
        memcpy(in->forced, v[6], strlen(v[6]) + 1);
        if (strcmp(v[7], NO_UUID) != 0) /* one that was torn is nobody's, and the clone is made anew */
            memcpy(in->new_uuid, v[7], UUID_TEXT);
    }
    free(buf);
    return good;
}

static void this_boot(char out[UUID_TEXT + 4])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, UUID_TEXT + 3);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

/* Who uses the volume since another boot was not meant. */
static bool still_forced(const struct intent *in)
{
    char now[UUID_TEXT + 4];
    this_boot(now);
    return *in->forced && strcmp(now, in->forced) == 0;
}

/* One per volume, by its name: which subvolume is under the name changes meanwhile. */
static char *intent_name(const char *source)
{
    uint64_t h = 14695981039346656037u;
    for (const char *p = source; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    return vb_ps_printf("%s%016llx", INTENT, (unsigned long long)h);
}

/* 0: ours alone; 1: another process has it, or has just removed it; -1. */
static int intent_lock(struct intent *in)
{
    struct stat st;
    in->fd = openat(in->dir, in->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (in->fd < 0)
        return -1;
    if (flock(in->fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 1 : -1;
    return fstat(in->fd, &st) < 0 ? -1 : st.st_nlink == 0;
}

/* ---- subvolumes ---- */

static bool uuid_of(const char *path, char out[UUID_TEXT])
{
    struct btrfs_util_subvolume_info info;
    struct stat st;
    if (stat(path, &st) < 0 || st.st_ino != VB_BTRFS_ROOT_INODE ||
        btrfs_util_subvolume_info(path, 0, &info) != BTRFS_UTIL_OK)
        return false;
    for (size_t i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", info.uuid[i]);
    return true;
}

static bool is_uuid(const char *path, const char *uuid)
{
    char now[UUID_TEXT];
    return *uuid && uuid_of(path, now) && strcmp(now, uuid) == 0;
}

static int failed(const struct vb_ps *s, const char *what, const char *path)
{
    return vb_ps_fail_errno(s, errno ? errno : EIO, NULL, "%s of '%s' failed", what, path);
}

static int sync_at(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : syncfs(fd);
    if (fd >= 0)
        close(fd);
    return rc;
}

static char *parent_of(const char *path)
{
    char *p = vb_ps_strdup(path), *slash = strrchr(p, '/');
    slash[slash == p ? 1 : 0] = 0;
    return p;
}

static int make_clone(const struct vb_ps *s, struct intent *in)
{
    struct vb_ps_record r;
    char left[UUID_TEXT];
    errno = 0;
    if (uuid_of(in->temp, left) && vb_btrfs_delete(s, in->temp) < 0)
        return -1;
    int rc = vb_ps_record_load(s, in->snapshot, &r);
    if (rc == 0)
        rc = vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, NULL, "shadow copy '%s' is gone", in->snapshot);
    else if (rc == 1)
        rc = vb_btrfs_copy(s, r.place, in->temp, false);
    vb_ps_record_clear(&r);
    if (rc < 0)
        return -1;
    if (!uuid_of(in->temp, in->new_uuid))
        return failed(s, "looking at the clone", in->temp);
    char *up = parent_of(in->temp);
    rc = sync_at(up) < 0 ? failed(s, "syncing", up) : intent_write(s, in);
    free(up);
    return rc;
}

/* ---- behind the exchange ---- */

struct moving { const struct vb_ps *s; const struct intent *in; char *from, *to; };

/* The clone shows an empty directory where a shadow copy was when it was made; it makes room. */
static int move_one(const struct moving *m, const char *id)
{
    char *from = vb_ps_printf("%s/%s", m->from, id), *to = vb_ps_printf("%s/%s", m->to, id);
    char ignored[UUID_TEXT];
    int rc = 0;
    errno = 0;
    if (uuid_of(from, ignored)) {
        int place = vb_ps_place_open(m->s, m->in->source);
        if (place >= 0)
            close(place);
        if (place < 0)
            rc = -1;
        else if (btrfs_util_set_subvolume_read_only(from, false) != BTRFS_UTIL_OK) /* a read-only one cannot move */
            rc = failed(m->s, "moving the shadow copy", from);
        else if ((rmdir(to) < 0 && errno != ENOENT) || rename(from, to) < 0)
            rc = failed(m->s, "moving the shadow copy", from);
    }
    if (rc == 0 && uuid_of(to, ignored) && btrfs_util_set_subvolume_read_only(to, true) != BTRFS_UTIL_OK)
        rc = failed(m->s, "making read-only", to);
    free(from);
    free(to);
    return rc;
}

/* By what is there, not by our records: other state directories have shadow copies of the volume there, too. */
static int move_all(const struct moving *m, const char *dir)
{
    int rc = 0;
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : vb_ps_fail_errno(m->s, errno, NULL, "directory '%s' cannot be read", dir);
    errno = 0;
    for (const struct dirent *e; rc == 0 && (e = readdir(d)); errno = 0)
        if (vb_btrfs_is_guid(e->d_name, strlen(e->d_name)) && strcasecmp(e->d_name, m->in->kept) != 0)
            rc = move_one(m, e->d_name);
    if (rc == 0 && errno)
        rc = vb_ps_fail_errno(m->s, errno, NULL, "directory '%s' cannot be read", dir);
    closedir(d);
    return rc;
}

/* Directories that stand where nested subvolumes were, and nothing else: an empty subvolume could be removed so, too. */
static void clear_stubs(const char *place)
{
    struct stat st;
    DIR *d = opendir(place);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == VB_BTRFS_STUB_INODE)
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    if (d)
        closedir(d);
}

static int keep_old(const struct vb_ps *s, const struct intent *in, const char *place)
{
    char ignored[UUID_TEXT];
    char *to = vb_ps_printf("%s/%s", place, in->kept), *old_place = vb_ps_place_in(in->temp);
    struct vb_ps_record r = { .snapshot_id = in->kept, .set_id = in->kept_set, .mount_point = in->mount_point,
                              .source = in->source, .place = to, .created_sec = (long long)time(NULL) };
    int rc = vb_ps_record_save(s, &r);
    errno = 0;
    if (rc == 0 && uuid_of(in->temp, ignored)) {
        clear_stubs(old_place);
        rmdir(old_place);
        int fd = vb_ps_place_open(s, in->source);
        if (fd >= 0)
            close(fd);
        rc = fd < 0 ? -1 : rename(in->temp, to) < 0 ? failed(s, "keeping the old state", in->temp) : 0;
    }
    if (rc == 0)
        rc = vb_btrfs_set_read_only(s, to, true);
    free(to);
    free(old_place);
    return rc;
}

static int behind_exchange(const struct vb_ps *s, const struct intent *in)
{
    struct moving m = { s, in, vb_ps_place_in(in->temp), vb_ps_place_in(in->source) };
    char ignored[UUID_TEXT];
    int rc = 0;
    if (uuid_of(in->temp, ignored)) /* else everything was moved before */
        rc = move_all(&m, m.from);
    if (rc == 0)
        rc = move_all(&m, m.to); /* those that moved, and were cut off before they were read-only again */
    step_done(s, 3);
    if (rc == 0)
        rc = keep_old(s, in, m.to);
    if (rc == 0)
        clear_stubs(m.to);
    step_done(s, 4);
    if (rc == 0 && sync_at(in->source) < 0)
        rc = failed(s, "syncing", in->source);
    free(m.from);
    free(m.to);
    return rc;
}

/* Before the exchange without a time, behind it with one: whoever asks for the kept state learns which side we are on. */
static int note_kept(const struct vb_ps *s, const struct intent *in, bool exchanged)
{
    char *place = vb_ps_place_in(in->source), *to = vb_ps_printf("%s/%s", place, in->kept);
    struct vb_ps_record r = { .snapshot_id = in->kept, .set_id = in->kept_set, .mount_point = in->mount_point,
                              .source = in->source, .place = to, .created_sec = exchanged ? (long long)time(NULL) : 0 };
    int rc = vb_ps_record_save(s, &r);
    free(to);
    free(place);
    return rc;
}

/* Nothing was exchanged: as if never asked. */
static void undo(const struct vb_ps *s, const struct intent *in)
{
    char ignored[UUID_TEXT];
    if (*in->new_uuid ? is_uuid(in->temp, in->new_uuid) : uuid_of(in->temp, ignored))
        (void)vb_btrfs_delete(s, in->temp);
    (void)vb_ps_record_remove(s, in->kept);
    unlinkat(in->dir, in->name, 0);
}

static int run(const struct vb_ps *s, struct intent *in)
{
    if (!is_uuid(in->source, in->new_uuid)) {
        if (!is_uuid(in->temp, in->new_uuid) && make_clone(s, in) < 0)
            return -1;
        step_done(s, 1);
        if (note_kept(s, in, false) < 0)
            return -1;
        if (renameat2(AT_FDCWD, in->temp, AT_FDCWD, in->source, RENAME_EXCHANGE) < 0)
            return failed(s, "exchanging the state", in->source);
        if (note_kept(s, in, true) < 0)
            return -1;
        if (sync_at(in->source) < 0)
            return failed(s, "syncing", in->source);
        step_done(s, 2);
    } else if (note_kept(s, in, true) < 0) { /* it may have been cut off in between */
        return -1;
    }
    if (behind_exchange(s, in) < 0)
        return -1;
    if (unlinkat(in->dir, in->name, 0) < 0 || fsync(in->dir) < 0)
        return vb_ps_fail_errno(s, errno, NULL, "record of the revert cannot be removed");
    return 0;
}

/* ---- asked for ---- */

static bool is_mount_root(const char *path)
{
    struct statx x;
    return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &x) == 0 && (x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
           (x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* A mount goes with the directory it is on, into the old state. */
static bool mounted_inside(const char *path, char *where, size_t size)
{
    FILE *f = setmntent("/proc/self/mounts", "r");
    bool found = false;
    for (const struct mntent *m; f && !found && (m = getmntent(f));)
        if (vb_ps_below(m->mnt_dir, path) && strcmp(m->mnt_dir, path) != 0) {
            found = true;
            snprintf(where, size, "%s", m->mnt_dir);
        }
    if (f)
        endmntent(f);
    return found;
}

static int refuse(const struct vb_ps *s, const struct vb_ps_record *r, uint32_t flags)
{
    char why[256], ignored[UUID_TEXT];
    char *nested = NULL;
    int rc = 0;
    if (!uuid_of(r->source, ignored))
        rc = vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, "Make the subvolume (it may be empty), then revert.",
                        "subvolume '%s' does not exist any more", r->source);
    else if (is_mount_root(r->source))
        rc = vb_ps_fail(s, VB_E_NOT_SUPPORTED,
                        "Mount the file system's top at another place too and name the volume there, or copy the files "
                        "back from the shadow copy.",
                        "'%s' is a mount point, and what is mounted cannot be exchanged", r->source);
    else if (mounted_inside(r->source, why, sizeof why))
        rc = vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Unmount it first, or copy the files back from the shadow copy.",
                        "something is mounted at '%s', which would go out of sight", why);
    else if (vb_btrfs_foreign_nested(s, r->source, r->place, &nested) < 0)
        rc = -1;
    else if (nested)
        rc = vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Move it out of the volume first, or copy the files back.",
                        "volume '%s' holds the subvolume '%s', which is not in the shadow copy", r->source, nested);
    else if (!(flags & VB_REVERT_FORCE) && vb_btrfs_in_use(r->source, why, sizeof why) > 0)
        rc = vb_ps_fail(s, VB_E_VOLUME_IN_USE,
                        "Stop what uses it; with force it goes on seeing the old state until it opens its files anew.",
                        "volume '%s' is in use: %s", r->source, why);
    free(nested);
    return rc;
}

int vb_btrfs_revert(const struct vb_ps *s, const char *snapshot_id, uint32_t flags, const char *kept_id,
                    const char *kept_set_id)
{
    struct vb_ps_record r;
    int rc = vb_ps_record_load(s, snapshot_id, &r);
    if (rc <= 0) {
        vb_ps_record_clear(&r);
        return rc < 0 ? -1 : vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, NULL, "there is no shadow copy '%s'", snapshot_id);
    }
    rc = refuse(s, &r, flags);
    struct intent in = { .dir = -1, .fd = -1 };
    if (rc == 0) {
        char *up = parent_of(r.source);
        in = (struct intent){ .snapshot = vb_ps_strdup(snapshot_id),
                              .source = vb_ps_strdup(r.source),
                              .temp = vb_ps_printf("%s/%s-%s", strcmp(up, "/") ? up : "", VB_PLACE, kept_id),
                              .kept = vb_ps_strdup(kept_id),
                              .kept_set = vb_ps_strdup(kept_set_id),
                              .mount_point = vb_ps_strdup(r.mount_point),
                              .name = intent_name(r.source),
                              .dir = open(s->svc->state_dir(s->host), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                              .fd = -1 };
        free(up);
        if (flags & VB_REVERT_FORCE)
            this_boot(in.forced);
        struct stat st;
        int lock = in.dir < 0 ? -1 : intent_lock(&in);
        if (lock == 0 && (fstat(in.fd, &st) < 0 || st.st_size > 0))
            lock = 2;
        if (lock < 0)
            rc = vb_ps_fail_errno(s, errno, NULL, "record of the revert cannot be made");
        else if (lock == 1) /* S-60 */
            rc = vb_ps_fail(s, VB_E_REVERT_IN_PROGRESS, "Wait until it is done.", "volume '%s' is being reverted",
                            r.source);
        else if (lock == 2) /* it knows where the volume's shadow copies are; what was opened tried to finish it */
            rc = vb_ps_fail(s, VB_E_REVERT_IN_PROGRESS, "See the log for why; it is finished by the next call that can.",
                            "an earlier revert of '%s' is not finished", r.source);
        else if ((rc = intent_write(s, &in)) == 0)
            rc = run(s, &in);
        if (lock == 0 && rc < 0 && !is_uuid(in.source, in.new_uuid))
            undo(s, &in);
        intent_clear(&in);
    }
    vb_ps_record_clear(&r);
    return rc;
}

void vb_btrfs_revert_finish(const struct vb_ps *s)
{
    DIR *d = opendir(s->svc->state_dir(s->host));
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, INTENT, strlen(INTENT)) != 0)
            continue;
        struct intent in = { .name = vb_ps_strdup(e->d_name), .dir = dup(dirfd(d)), .fd = -1 };
        if (in.dir >= 0 && intent_lock(&in) == 0) {
            char why[256], ignored[UUID_TEXT];
            if (!intent_read(&in)) {
                unlinkat(in.dir, in.name, 0); /* torn: nothing was done */
            } else if (uuid_of(in.source, ignored) && !is_uuid(in.source, in.new_uuid) && !still_forced(&in) &&
                       vb_btrfs_in_use(in.source, why, sizeof why) > 0) { /* it has gone on living since */
                undo(s, &in);
                s->svc->log(s->host, 4, "a revert of '%s' was cut off before it changed anything, and is dropped: it is "
                                        "in use: %s", in.source, why);
            } else if (run(s, &in) == 0) {
                s->svc->log(s->host, 6, "a revert of '%s' that was cut off is finished", in.source);
            } else {
                s->svc->log(s->host, 4, "a revert of '%s' that was cut off cannot be finished now", in.source);
            }
        }
        intent_clear(&in);
    }
    if (d)
        closedir(d);
}
