/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/shadow_store.c - records of shadow copy sets.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/shadow_store.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/protocol.h"

#define RECORD_MAX (64u * 1024 * 1024)

/* ---- the set ---- */

static void shadow_clear(struct vb_shadow *s)
{
    free(s->id);
    free(s->mount_point);
    free(s->source);
    free(s->device);
    free(s->fs_type);
    free(s->provider);
    free(s->path);
    free(s->exposed);
}

void vb_shadow_set_free(struct vb_shadow_set *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        shadow_clear(&s->v[i]);
    for (size_t i = 0; i < s->n_wmd; i++)
        vb_buf_clear(&s->wmd[i]);
    free(s->v);
    free(s->wmd);
    free(s->id);
    free(s->job);
    free(s->host);
    free(s->service);
    free(s->note);
    vb_buf_clear(&s->bcd);
    free(s);
}

struct vb_shadow *vb_shadow_set_add(struct vb_shadow_set *s)
{
    VB_GROW(s->v, s->n, s->cap);
    memset(&s->v[s->n], 0, sizeof s->v[0]);
    return &s->v[s->n++];
}

struct vb_shadow *vb_shadow_set_find(const struct vb_shadow_set *s, const char *snapshot_id)
{
    for (size_t i = 0; i < s->n; i++)
        if (vb_guid_equal(s->v[i].id, snapshot_id))
            return &s->v[i];
    return NULL;
}

bool vb_shadow_set_drop(struct vb_shadow_set *s, const char *snapshot_id)
{
    struct vb_shadow *x = vb_shadow_set_find(s, snapshot_id);
    if (!x)
        return false;
    shadow_clear(x);
    memmove(x, x + 1, (size_t)(&s->v[s->n] - (x + 1)) * sizeof *x);
    s->n--;
    return true;
}

void vb_shadow_set_only(struct vb_shadow_set *s, const char *snapshot_id)
{
    for (size_t i = s->n; i-- > 0;) {
        VB_AUTO_FREE char *id = vb_strdup(s->v[i].id);
        if (!vb_guid_equal(id, snapshot_id))
            vb_shadow_set_drop(s, id);
    }
}

/* ---- as a message ---- */

void vb_shadow_encode(const struct vb_shadow_set *s, struct vb_msg *m)
{
    vb_msg_add_str(m, VB_F_SET, s->id);
    vb_msg_add_str(m, VB_F_JOB, s->job);
    vb_msg_add_str(m, VB_F_HOST, s->host);
    vb_msg_add_str(m, VB_F_SERVICE, s->service);
    vb_msg_add_str(m, VB_F_REMARK, s->note);
    vb_msg_add_u64(m, VB_F_ATTRIBUTES, s->attributes);
    vb_msg_add_u64(m, VB_F_COUNT, s->count);
    vb_msg_add_u64(m, VB_F_WALL_MS, s->created_ms);
    vb_msg_add_u64(m, VB_F_STATE, (uint64_t)s->state);
    if (s->by_revert)
        vb_msg_add_u64(m, VB_F_KEEP, 1);
    for (size_t i = 0; i < s->n; i++) {
        const struct vb_shadow *x = &s->v[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_SNAPSHOT, x->id);
        vb_msg_add_str(&g, VB_F_PATH, x->mount_point);
        vb_msg_add_str(&g, VB_F_SUBVOLUME, x->source);
        vb_msg_add_str(&g, VB_F_DEVICE, x->device);
        vb_msg_add_str(&g, VB_F_FS_TYPE, x->fs_type);
        vb_msg_add_str(&g, VB_F_PROVIDER, x->provider);
        vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, x->path);
        vb_msg_add_str(&g, VB_F_EXPOSED, x->exposed);
        vb_msg_add_group(m, VB_F_SNAPSHOT, &g);
    }
    if (s->bcd.len)
        vb_msg_add(m, VB_F_BCD, s->bcd.data, s->bcd.len);
    for (size_t i = 0; i < s->n_wmd; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add(&g, VB_F_XML, s->wmd[i].data, s->wmd[i].len);
        vb_msg_add_group(m, VB_F_WMD, &g);
    }
}

static bool decode_shadow(struct vb_shadow_set *s, const struct vb_msg *g)
{
    struct vb_shadow *x = vb_shadow_set_add(s);
    x->id = vb_msg_str(g, VB_F_SNAPSHOT);
    x->mount_point = vb_msg_str(g, VB_F_PATH);
    x->source = vb_msg_str(g, VB_F_SUBVOLUME);
    x->device = vb_msg_str(g, VB_F_DEVICE);
    x->fs_type = vb_msg_str(g, VB_F_FS_TYPE);
    x->provider = vb_msg_str(g, VB_F_PROVIDER);
    x->path = vb_msg_str(g, VB_F_SNAPSHOT_PATH);
    x->exposed = vb_msg_str(g, VB_F_EXPOSED);
    return x->id && vb_guid_valid(x->id) && x->provider && x->mount_point && x->mount_point[0] == '/' &&
           (!x->path || x->path[0] == '/') && (!x->exposed || x->exposed[0] == '/');
}

static void decode_wmd(struct vb_shadow_set *s, const struct vb_msg *g)
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(g, VB_F_XML, &p, &n))
        return;
    VB_GROW(s->wmd, s->n_wmd, s->cap_wmd);
    s->wmd[s->n_wmd] = (struct vb_buf)VB_BUF_INIT;
    vb_buf_add(&s->wmd[s->n_wmd++], p, n);
}

struct vb_shadow_set *vb_shadow_decode(const struct vb_msg *m, struct vb_error *err)
{
    struct vb_shadow_set *s = vb_alloc(sizeof *s);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    uint64_t state = vb_msg_u64(m, VB_F_STATE, VB_SS_UNKNOWN);
    bool good = true;
    s->id = vb_msg_str(m, VB_F_SET);
    s->job = vb_msg_str(m, VB_F_JOB);
    s->host = vb_msg_str(m, VB_F_HOST);
    s->service = vb_msg_str(m, VB_F_SERVICE);
    s->note = vb_msg_str(m, VB_F_REMARK);
    s->attributes = (uint32_t)vb_msg_u64(m, VB_F_ATTRIBUTES, 0);
    s->count = vb_msg_u64(m, VB_F_COUNT, 0);
    s->created_ms = vb_msg_u64(m, VB_F_WALL_MS, 0);
    s->by_revert = vb_msg_u64(m, VB_F_KEEP, 0) != 0;
    s->state = state <= VB_SS_POSTCOMMITTED ? (enum vb_snapshot_state)state : VB_SS_UNKNOWN;
    vb_field_iter_init(&it, m);
    while (good && vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        if (tag == VB_F_SNAPSHOT)
            good = s->n < VB_MAX_VOLUMES && decode_shadow(s, &g);
        else if (tag == VB_F_WMD)
            decode_wmd(s, &g);
        else if (tag == VB_F_BCD && !s->bcd.len)
            vb_buf_add(&s->bcd, p, n);
    }
    if (good && s->id && vb_guid_valid(s->id) && (!s->job || vb_guid_valid(s->job)))
        return s;
    vb_fail(err, VB_E_CORRUPT, "record of shadow copy set '%s' is not one", s->id ? s->id : "?");
    vb_shadow_set_free(s);
    return NULL;
}

/* ---- on disk ---- */

int vb_shadow_store_open(const struct vb_paths *p, struct vb_error *err)
{
    if (vb_mkdirs_at(p->state_fd, "agent/shadows", 0700, err) < 0)
        return -1;
    return vb_open_dir_at(p->state_fd, "agent/shadows", err);
}

static void lower(char *to, const char *id)
{
    for (size_t i = 0; i <= VB_GUID_LEN; i++)
        to[i] = id[i] >= 'A' && id[i] <= 'F' ? (char)(id[i] - 'A' + 'a') : id[i];
}

static int file_name(const char *set_id, char name[VB_GUID_LEN + 1], struct vb_error *err)
{
    if (!set_id || !vb_guid_valid(set_id))
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "'%s' is not the id of a shadow copy set", set_id ? set_id : "");
    lower(name, set_id);
    return 0;
}

int vb_shadow_save(int dir, const struct vb_shadow_set *s, struct vb_error *err)
{
    char name[VB_GUID_LEN + 1];
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_SHADOW);
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (file_name(s->id, name, err) < 0)
        return -1;
    vb_shadow_encode(s, &m);
    if (vb_msg_encode(&m, &b, err) < 0 || vb_write_file_at(dir, name, b.data, b.len, 0600, err) < 0) {
        vb_context(err, "record of shadow copy set '%s'", s->id);
        return -1;
    }
    return 0;
}

struct vb_shadow_set *vb_shadow_load(int dir, const char *set_id, struct vb_error *err)
{
    char name[VB_GUID_LEN + 1];
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    if (file_name(set_id, name, err) < 0)
        return NULL;
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy set '%s'", set_id);
        return NULL;
    }
    if (vb_read_file_at(dir, name, RECORD_MAX, &b, err) < 0)
        return NULL;
    if (vb_msg_decode(&b, &m, err) != 1 || m.type != VB_M_SHADOW) {
        vb_fail(err, VB_E_CORRUPT, "record of shadow copy set '%s' cannot be read", set_id);
        return NULL;
    }
    struct vb_shadow_set *s = vb_shadow_decode(&m, err);
    if (s && !vb_guid_equal(s->id, set_id)) {
        vb_fail(err, VB_E_CORRUPT, "record of shadow copy set '%s' holds the set '%s'", set_id, s->id);
        vb_shadow_set_free(s);
        return NULL;
    }
    return s;
}

int vb_shadow_remove(int dir, const char *set_id, struct vb_error *err)
{
    char name[VB_GUID_LEN + 1];
    if (file_name(set_id, name, err) < 0)
        return -1;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return vb_fail_errno(err, errno, "record of shadow copy set '%s' cannot be removed", set_id);
    return vb_fsync_dir(dir, err);
}

int vb_shadow_load_all(int dir, struct vb_shadow_sets *out, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_fail_errno(err, errno, "records of shadow copies cannot be listed");
        vb_close_fd(&fd);
        return -1;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (vb_guid_valid(e->d_name))
            vb_strv_add(&names, e->d_name);
    vb_strv_sort(&names);
    for (size_t i = 0; i < names.n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_shadow_set *s = vb_shadow_load(dir, names.v[i], &why);
        if (!s) {
            vb_log_error(VB_LOG_WARNING, &why);
            continue;
        }
        VB_GROW(out->v, out->n, out->cap);
        out->v[out->n++] = s;
    }
    vb_strv_clear(&names);
    return 0;
}

void vb_shadow_sets_clear(struct vb_shadow_sets *s)
{
    for (size_t i = 0; i < s->n; i++)
        vb_shadow_set_free(s->v[i]);
    free(s->v);
    *s = (struct vb_shadow_sets){ NULL, 0, 0 };
}
