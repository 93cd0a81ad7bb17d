/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/provider_calls.c - calls to a provider about one volume or one shadow copy, outside of the order of a set.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/provider_internal.h"
#include "agent/shadow_store.h"
#include "base/io.h"
#include "base/mem.h"
#include "wire/protocol.h"

/* ---- calls about one volume ---- */

struct volume {
    struct vb_provider_volume v;
    char *snapshot_id, *mount_point, *device, *fs_type, *subvolume, *fs_root;
    struct vb_strv trees;
};

static void volume_clear(struct volume *v)
{
    vb_free_ptr(&v->snapshot_id);
    vb_free_ptr(&v->mount_point);
    vb_free_ptr(&v->device);
    vb_free_ptr(&v->fs_type);
    vb_free_ptr(&v->subvolume);
    vb_free_ptr(&v->fs_root);
    vb_strv_clear(&v->trees);
}

static int parse_volume(const struct vb_msg *m, struct volume *v, struct vb_error *err)
{
    const unsigned char *p;
    size_t n;
    struct vb_field_iter it;
    uint16_t tag;
    memset(v, 0, sizeof *v);
    v->snapshot_id = vb_msg_str(m, VB_F_SNAPSHOT);
    if (!vb_msg_bytes(m, VB_F_VOLUME, &p, &n))
        return vb_fail(err, VB_E_PROTOCOL, "call names no volume");
    struct vb_msg g = vb_msg_view(p, n);
    v->mount_point = vb_msg_str(&g, VB_F_PATH);
    v->device = vb_msg_str(&g, VB_F_DEVICE);
    v->fs_type = vb_msg_str(&g, VB_F_FS_TYPE);
    v->subvolume = vb_msg_str(&g, VB_F_SUBVOLUME);
    v->fs_root = vb_msg_str(&g, VB_F_FS_ROOT);
    if (!v->mount_point || v->mount_point[0] != '/')
        return vb_fail(err, VB_E_PROTOCOL, "volume has no absolute mount point");
    if (!v->subvolume)
        v->subvolume = vb_strdup(v->mount_point);
    vb_field_iter_init(&it, &g);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag == VB_F_TREE) {
            char *tree = vb_field_str(p, n);
            if (!tree || tree[0] != '/') {
                vb_free_ptr(&tree);
                return vb_fail(err, VB_E_PROTOCOL, "tree of volume '%s' is not an absolute path", v->mount_point);
            }
            vb_strv_take(&v->trees, tree);
        }
    v->v = (struct vb_provider_volume){ sizeof v->v, v->snapshot_id, v->mount_point, v->device ? v->device : "",
                                        v->fs_type ? v->fs_type : "", v->subvolume,
                                        (const char *const *)v->trees.v, v->trees.n,
                                        (uint32_t)vb_msg_u64(&g, VB_F_ATTRIBUTES, 0), v->fs_root ? v->fs_root : "/" };
    return 0;
}

int vb_ph_supports(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done)
{
    VB_CLEANUP(volume_clear) struct volume v;
    struct vb_provider_support s = { .size = sizeof s };
    if (parse_volume(m, &v, &h->error) < 0)
        return -1;
    if (h->p.supports && h->p.supports(h->ctx, &v.v, &s) < 0) {
        vb_ph_failed(h, "supports");
        return -1;
    }
    s.why[sizeof s.why - 1] = s.group[sizeof s.group - 1] = 0;
    vb_msg_add_u64(done, VB_F_SUPPORTED, s.supported != 0);
    vb_msg_add_str(done, VB_F_REMARK, s.why[0] ? s.why : NULL);
    vb_msg_add_u64(done, VB_F_ATOMIC, s.atomic != 0);
    vb_msg_add_u64(done, VB_F_GROUP_ATOMIC, s.group_atomic != 0);
    vb_msg_add_u64(done, VB_F_HOLD, s.hold);
    vb_msg_add_u64(done, VB_F_ATTRIBUTES, s.attributes);
    vb_msg_add_u64(done, VB_F_PER_TREE, s.per_tree != 0);
    vb_msg_add_u64(done, VB_F_CONSISTENCY, s.without_writers);
    vb_msg_add_u64(done, VB_F_TYPE, h->p.type);
    vb_msg_add_u64(done, VB_F_PREFERENCE, h->p.preference < 0 ? 0 : (uint64_t)h->p.preference);
    vb_msg_add_u64(done, VB_F_CONSENT, s.consent);
    vb_msg_add_str(done, VB_F_GROUP, s.group[0] ? s.group : NULL);
    return 0;
}

int vb_ph_begin(struct vb_phost *h, const struct vb_msg *m, const char *set_id)
{
    VB_CLEANUP(volume_clear) struct volume v;
    if (parse_volume(m, &v, &h->error) < 0)
        return -1;
    if (!set_id || !vb_guid_valid(set_id) || !v.snapshot_id || !vb_guid_valid(v.snapshot_id))
        return vb_fail(&h->error, VB_E_PROTOCOL, "begin_prepare needs a set id and a snapshot id");
    if (vb_ph_in_progress(h) && !vb_guid_equal(set_id, h->set_id))
        vb_ph_drop_set(h); /* S-32 */
    if (h->state == PREPARING && vb_guid_equal(set_id, h->set_id))
        ; /* one more volume */
    else if (vb_ph_in_progress(h))
        return vb_ph_veto(h, "begin_prepare", "came out of order");
    else {
        h->state = PREPARING;
        h->set_id = vb_strdup(set_id);
        h->volumes = 0;
    }
    if (!h->p.begin_prepare || h->p.begin_prepare(h->ctx, h->set_id, &v.v) == 0) {
        h->volumes++;
        return 0;
    }
    vb_ph_failed(h, "begin_prepare");
    vb_ph_drop_set(h);
    return -1;
}

/* ---- calls about what is there ---- */

int vb_ph_path(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT), *path = vb_msg_str(m, VB_F_PATH), *out = NULL;
    if (!id || !path || path[0] != '/')
        return vb_fail(&h->error, VB_E_PROTOCOL, "snapshot_path needs a snapshot id and an absolute path");
    if (!h->p.snapshot_path)
        return vb_fail(&h->error, VB_E_NOT_SUPPORTED, "shadow copies of '%s' have no path", h->p.name);
    if (h->p.snapshot_path(h->ctx, id, path, &out) < 0 || !out) {
        vb_ph_failed(h, "snapshot_path");
        return -1;
    }
    /* Said to be created, and not there: nothing would be captured, and nobody would miss it. */
    if (faccessat(AT_FDCWD, out, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
        faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        vb_fail_errno(&h->error, errno, "the shadow copy of '%s' is not there (%s)", path, out);
        vb_hint(&h->error, "if it was not made just now, this is an error of the provider: use another one");
        return -1;
    }
    vb_msg_add_str(done, VB_F_PATH, out);
    return 0;
}

static int is_it(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point, const char *path,
                 int64_t created_sec)
{
    (void)set_id, (void)mount_point, (void)path, (void)created_sec;
    return vb_guid_equal(snapshot_id, arg) ? 1 : 0;
}

int vb_ph_delete(struct vb_phost *h, const struct vb_msg *m)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT);
    if (!id || !vb_guid_valid(id))
        return vb_fail(&h->error, VB_E_PROTOCOL, "delete needs a snapshot id");
    if (h->p.delete_snapshot && h->p.delete_snapshot(h->ctx, id) < 0) {
        vb_ph_failed(h, "delete");
        return -1;
    }
    if (!h->p.query || h->p.query(h->ctx, is_it, id) != 1)
        return 0;
    vb_fail(&h->error, VB_E_UNEXPECTED_PROVIDER_ERROR, "shadow copy '%s' is still there", id);
    vb_hint(&h->error, "delete it by hand; this is an error of the provider");
    return -1;
}

int vb_ph_check(struct vb_phost *h, const struct vb_msg *m)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT);
    if (!id || !vb_guid_valid(id))
        return vb_fail(&h->error, VB_E_PROTOCOL, "check needs a snapshot id");
    if (!h->p.check || h->p.check(h->ctx, id) == 0)
        return 0;
    vb_ph_failed(h, "check");
    return -1;
}

/* ---- calls that change what is there ---- */

int vb_ph_revert(struct vb_phost *h, const struct vb_msg *m, const char *set_id)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT), *kept = vb_msg_str(m, VB_F_KEEP);
    uint32_t flags = vb_msg_u64(m, VB_F_FORCE, 0) ? VB_REVERT_FORCE : 0;
    if (!id || !vb_guid_valid(id) || !kept || !vb_guid_valid(kept) || !set_id || !vb_guid_valid(set_id))
        return vb_fail(&h->error, VB_E_PROTOCOL, "revert needs a snapshot id and the ids of what is kept");
    if (!h->p.revert)
        return vb_fail(&h->error, VB_E_NOT_SUPPORTED, "provider '%s' cannot revert a volume", h->p.name);
    if (h->p.revert(h->ctx, id, flags, kept, set_id) == 0)
        return 0;
    vb_ph_failed(h, "revert");
    return -1;
}

int vb_ph_make_writable(struct vb_phost *h, const struct vb_msg *m)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT), *path = vb_msg_str(m, VB_F_PATH);
    if (!id || !vb_guid_valid(id) || !path || path[0] != '/')
        return vb_fail(&h->error, VB_E_PROTOCOL, "make_writable needs a snapshot id and an absolute path");
    if (!h->p.make_writable) /* S-54: for software providers of the field this is a veto */
        return vb_fail(&h->error, VB_E_NOT_SUPPORTED, "shadow copies of provider '%s' cannot leave its control", h->p.name);
    if (h->p.make_writable(h->ctx, id, path, vb_msg_u64(m, VB_F_LIVE, 0) == 0) == 0)
        return 0;
    vb_ph_failed(h, "make_writable");
    return -1;
}

/* ---- transport ---- */

/* A pipe of a process of ours, by its place below /proc (agent/shadow_stream.h). */
static int open_pipe(struct vb_phost *h, const char *path, int flags)
{
    struct stat st;
    VB_AUTO_FD int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return vb_fail_errno(&h->error, errno, "the stream's pipe cannot be opened");
    if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
        return vb_fail(&h->error, VB_E_PROTOCOL, "'%s' is not a pipe", path);
    return VB_STEAL_FD(fd);
}

static int add_tail(int fd, const struct vb_msg *m, const char *stamp, struct vb_error *err)
{
    VB_AUTO_MSG tail = VB_MSG_INIT(VB_M_SHADOW);
    VB_AUTO_BUF b = VB_BUF_INIT;
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(m, VB_F_ROOT, &p, &n))
        return vb_fail(err, VB_E_PROTOCOL, "send needs the record of the shadow copy");
    vb_buf_add(&tail.body, p, n);
    vb_msg_add_str(&tail, VB_F_STAMP, stamp);
    if (vb_msg_encode(&tail, &b, err) < 0)
        return -1;
    vb_buf_add_u32(&b, (uint32_t)b.len);
    vb_buf_add(&b, VB_SHADOW_MARK, sizeof VB_SHADOW_MARK - 1);
    if (lseek(fd, 0, SEEK_END) < 0)
        return vb_fail_errno(err, errno, "end of the file cannot be found");
    if (vb_write_all(fd, b.data, b.len, err) < 0)
        return -1;
    return fsync(fd) < 0 ? vb_fail_errno(err, errno, "file cannot be synced") : 0;
}

static int no_file(struct vb_phost *h, const char *path, int e)
{
    vb_fail_errno(&h->error, e, "file '%s' cannot be made", path);
    if (e == EEXIST)
        h->error.code = VB_E_EXISTS;
    vb_hint(&h->error, "give a file that does not exist yet, in a directory that does");
    return -1;
}

/* Without a name until it is whole: whoever is killed leaves nothing.  Where the file system cannot do that, the name is
 * there from the beginning, and a kill leaves a file that cannot be imported. */
static int send_file(struct vb_phost *h, const struct vb_msg *m, const char *id, const char *path)
{
    char stamp[128] = "";
    VB_AUTO_FREE char *dir = vb_strdup(path);
    char *slash = strrchr(dir, '/');
    slash[slash == dir ? 1 : 0] = 0;
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return no_file(h, path, EEXIST);
    VB_AUTO_FD int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    bool named = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR);
    if (named)
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return no_file(h, path, errno);
    int rc = h->p.send(h->ctx, id, fd, stamp, sizeof stamp);
    if (rc < 0)
        vb_ph_failed(h, "send");
    else
        rc = add_tail(fd, m, stamp, &h->error);
    if (rc == 0 && !named) {
        VB_AUTO_FREE char *self = vb_printf("/proc/self/fd/%d", fd);
        if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
            rc = no_file(h, path, errno);
    } else if (rc < 0 && named) {
        unlink(path); /* ours: it did not exist before */
    }
    return rc;
}

int vb_ph_send(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT), *path = vb_msg_str(m, VB_F_PATH);
    VB_AUTO_FREE char *parent = vb_msg_str(m, VB_F_PARENT);
    char stamp[128] = "";
    if (!id || !vb_guid_valid(id) || !path || path[0] != '/' || (parent && !vb_guid_valid(parent)))
        return vb_fail(&h->error, VB_E_PROTOCOL, "send needs a snapshot id and an absolute path");
    if (!h->p.send || (parent && !h->p.send_from))
        return vb_fail(&h->error, VB_E_NOT_SUPPORTED, "shadow copies of provider '%s' cannot be sent%s", h->p.name,
                       parent ? " as a difference" : "");
    if (!vb_msg_u64(m, VB_F_LIVE, 0))
        return send_file(h, m, id, path);
    VB_AUTO_FD int fd = open_pipe(h, path, O_WRONLY);
    if (fd < 0)
        return -1;
    if ((h->p.send_from ? h->p.send_from(h->ctx, id, parent, fd, stamp, sizeof stamp)
                        : h->p.send(h->ctx, id, fd, stamp, sizeof stamp)) < 0) {
        vb_ph_failed(h, "send");
        return -1;
    }
    vb_msg_add_str(done, VB_F_STAMP, stamp);
    return 0;
}

int vb_ph_receive(struct vb_phost *h, const struct vb_msg *m, const char *set_id)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT), *path = vb_msg_str(m, VB_F_PATH);
    VB_AUTO_FREE char *dir = vb_msg_str(m, VB_F_TARGET), *stamp = vb_msg_str(m, VB_F_STAMP);
    if (!id || !vb_guid_valid(id) || !set_id || !vb_guid_valid(set_id) || !path || path[0] != '/' || !dir || dir[0] != '/')
        return vb_fail(&h->error, VB_E_PROTOCOL, "receive needs ids and absolute paths");
    if (!h->p.receive)
        return vb_fail(&h->error, VB_E_NOT_SUPPORTED, "provider '%s' cannot receive shadow copies", h->p.name);
    VB_AUTO_FD int fd = vb_msg_u64(m, VB_F_LIVE, 0) ? open_pipe(h, path, O_RDONLY) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return h->error.code != VB_OK ? -1 : vb_fail_errno(&h->error, errno, "file '%s' cannot be opened", path);
    if (h->p.receive(h->ctx, set_id, id, dir, stamp ? stamp : "", fd) == 0)
        return 0;
    vb_ph_failed(h, "receive");
    return -1;
}

struct query { struct vb_phost *h; struct vb_msg *done; };

/* What a finished one holds; that it cannot be told is no failure of the question what there is. */
static void add_stamp(struct vb_phost *h, const char *snapshot_id, struct vb_msg *g)
{
    char stamp[128] = "";
    if (h->p.stamp && h->p.stamp(h->ctx, snapshot_id, stamp, sizeof stamp) == 0)
        vb_msg_add_str(g, VB_F_STAMP, stamp);
    vb_error_clear(&h->error);
}

static int add_found(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point, const char *path,
                     int64_t created_sec)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    struct query *q = arg;
    vb_msg_add_str(&g, VB_F_SNAPSHOT, snapshot_id);
    vb_msg_add_str(&g, VB_F_SET, set_id);
    vb_msg_add_str(&g, VB_F_PATH, mount_point);
    vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, path);
    vb_msg_add_u64(&g, VB_F_CREATED_SEC, created_sec < 0 ? 0 : (uint64_t)created_sec);
    if (created_sec > 0)
        add_stamp(q->h, snapshot_id, &g);
    vb_msg_add_group(q->done, VB_F_SNAPSHOT, &g);
    return 0;
}

int vb_ph_query(struct vb_phost *h, struct vb_msg *done)
{
    struct query q = { h, done };
    if (!h->p.query || h->p.query(h->ctx, add_found, &q) == 0)
        return 0;
    vb_ph_failed(h, "query");
    return -1;
}
