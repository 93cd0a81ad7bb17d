/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow_transport.c - export and import: a shadow copy in a file, with what must be known of it (S-56).
 *
 * File: the provider's stream, then one message frame (the record of the set with this one shadow copy, its documents,
 * and STAMP, the provider's word for what the stream holds), then the frame's length (u32) and the mark "VBSHADOW".
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/session_shadow.h"
#include "base/io.h"
#include "base/log.h"

#define MARK "VBSHADOW"
#define TAIL (4u + sizeof MARK - 1)
#define RECORD_MAX (64u * 1024 * 1024)

/* ---- export ---- */

static int add_tail(struct vb_session *s, const char *file, const char *stamp, struct vb_error *err)
{
    struct vb_shadow_op *o = s->shadow_op;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_SHADOW);
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FD int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    for (size_t i = o->set->n; i-- > 0;) { /* our copy of the record: only the one that is in the file */
        VB_AUTO_FREE char *id = vb_strdup(o->set->v[i].id);
        if (!vb_guid_equal(id, o->id))
            vb_shadow_set_drop(o->set, id);
    }
    vb_shadow_encode(o->set, &m);
    vb_msg_add_str(&m, VB_F_STAMP, stamp);
    if (vb_msg_encode(&m, &b, err) < 0)
        return -1;
    size_t n = b.len;
    vb_buf_add_u32(&b, (uint32_t)n);
    vb_buf_add(&b, MARK, sizeof MARK - 1);
    if (fd < 0)
        return vb_fail_errno(err, errno, "file '%s' cannot be opened", file);
    if (vb_write_all(fd, b.data, b.len, err) < 0)
        return -1;
    return fsync(fd) < 0 ? vb_fail_errno(err, errno, "file '%s' cannot be synced", file) : 0;
}

static void on_sent(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    (void)c;
    if (m && !err) {
        free(s->shadow_op->provider);
        s->shadow_op->provider = vb_msg_str(m, VB_F_STAMP); /* from here on: the stamp */
    }
}

static void sent(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *file = vb_msg_str(&s->cmd, VB_F_PATH);
    if (s->calls.failure.code != VB_OK) { /* the provider's process takes away what it made; anything else is not ours */
        vb_so_failed(s, &s->calls.failure);
        return;
    }
    if (add_tail(s, file, s->shadow_op->provider, &err) == 0) {
        vb_so_succeeded(s);
        return;
    }
    unlink(file);
    vb_so_failed(s, &err);
}

void vb_so_export(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *file = vb_msg_str(&s->cmd, VB_F_PATH);
    int rc = vb_so_find(s, true, &err);
    if (rc == 0 && (rc = vb_so_check_persistent(s, "export", &err)) == 0 && (!file || file[0] != '/'))
        rc = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path of a file", file ? file : "");
    if (rc < 0) {
        vb_so_failed(s, &err);
        return;
    }
    struct vb_msg f = VB_MSG_INIT(0);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, s->shadow_op->id);
    vb_msg_add_str(&f, VB_F_PATH, file);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, vb_so_the_shadow(s)->provider), "send", &f);
    vb_calls_go(s, s->env->limits.provider_prepare, on_sent, sent);
}

/* ---- import ---- */

static struct vb_shadow_set *read_tail(const char *file, char **stamp, struct vb_error *err)
{
    unsigned char tail[TAIL];
    struct stat st;
    struct vb_reader r;
    uint32_t n = 0;
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_FD int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        vb_fail_errno(err, errno, "file '%s' cannot be opened", file);
        return NULL;
    }
    bool good = S_ISREG(st.st_mode) && st.st_size > (off_t)TAIL &&
                pread(fd, tail, TAIL, st.st_size - (off_t)TAIL) == (ssize_t)TAIL &&
                memcmp(tail + 4, MARK, sizeof MARK - 1) == 0;
    vb_reader_init(&r, tail, 4);
    good = good && vb_get_u32(&r, &n) && n <= RECORD_MAX && (off_t)n < st.st_size - (off_t)TAIL;
    if (good) {
        vb_buf_reserve(&b, n);
        good = pread(fd, b.data, n, st.st_size - (off_t)TAIL - (off_t)n) == (ssize_t)n;
        b.len = good ? n : 0;
    }
    struct vb_shadow_set *s =
        good && vb_msg_decode(&b, &m, err) == 1 && m.type == VB_M_SHADOW ? vb_shadow_decode(&m, err) : NULL;
    if (s && s->n == 1) {
        *stamp = vb_msg_str(&m, VB_F_STAMP);
        return s;
    }
    vb_shadow_set_free(s);
    vb_fail(err, VB_E_CORRUPT, "file '%s' is not an exported shadow copy, or not whole", file);
    return NULL;
}

/* The record the import works on is kept: a new one, or that of a set of which another one was imported before. */
static void import_failed(struct vb_session *s, struct vb_error *why)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    int dir = vb_so_store(s, &err);
    vb_shadow_set_drop(o->kept, o->id);
    if (dir >= 0 && (o->kept->n ? vb_shadow_save(dir, o->kept, &err) : vb_shadow_remove(dir, o->kept->id, &err)) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
    vb_so_failed(s, why);
}

static void received(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    const struct vb_shadow_found *f = NULL;
    for (size_t i = 0; i < o->n; i++)
        if (vb_guid_equal(o->found[i].id, o->id) && o->found[i].created_sec)
            f = &o->found[i];
    if (!f && o->why.code == VB_OK)
        vb_fail(&o->why, VB_E_UNEXPECTED_PROVIDER_ERROR, "shadow copy '%s' is not there after its import", o->id);
    if (!f) {
        import_failed(s, &o->why);
        return;
    }
    struct vb_shadow *x = vb_shadow_set_find(o->kept, o->id);
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    free(x->path);
    x->path = vb_strdup(f->path);
    o->kept->state = VB_SS_CREATED;
    int dir = vb_so_store(s, &err);
    if (dir < 0 || vb_shadow_save(dir, o->kept, &err) < 0) {
        vb_so_failed(s, &err);
        return;
    }
    vb_msg_add_str(&m, VB_F_SNAPSHOT, x->id);
    vb_msg_add_str(&m, VB_F_SET, o->kept->id);
    vb_msg_add_str(&m, VB_F_PATH, x->path);
    vb_so_done(s, &m);
}

static void receive_answered(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    if (s->calls.failure.code != VB_OK) {
        vb_error_copy(&o->why, &s->calls.failure);
        import_failed(s, &o->why);
        return;
    }
    vb_so_query(s, o->provider, received);
}

static int begin_import(struct vb_session *s, struct vb_shadow_set *from, const char *to, struct vb_error *err)
{
    struct vb_shadow_op *o = s->shadow_op;
    VB_AUTO_ERROR ignored = VB_ERROR_INIT;
    int dir = vb_so_store(s, err);
    if (dir < 0)
        return -1;
    o->id = vb_strdup(from->v[0].id);
    o->provider = vb_strdup(from->v[0].provider);
    o->kept = vb_shadow_load(dir, from->id, &ignored);
    if (o->kept && vb_shadow_set_find(o->kept, o->id)) /* S-57: once */
        return vb_fail(err, VB_E_OBJECT_ALREADY_EXISTS, "shadow copy '%s' is on this host already", o->id);
    if (!o->kept) {
        struct vb_shadow_set *k = o->kept = vb_alloc(sizeof *k);
        k->id = vb_strdup(from->id);
        k->host = vb_strdup(from->host);
        k->note = vb_strdup(from->note);
        k->attributes = (from->attributes & VB_SA_NO_WRITERS) | VB_CTX_APP_ROLLBACK | VB_SA_TRANSPORTABLE | VB_SA_IMPORTED;
        k->count = from->count;
        k->created_ms = from->created_ms;
        k->state = VB_SS_PREPARING;
        vb_buf_add(&k->bcd, from->bcd.data, from->bcd.len);
        k->wmd = VB_STEAL(from->wmd);
        k->n_wmd = from->n_wmd;
        from->n_wmd = 0;
    }
    if (o->kept->n >= VB_MAX_VOLUMES)
        return vb_fail(err, VB_E_MAX_VOLUMES, "set '%s' has too many shadow copies", o->kept->id);
    *vb_shadow_set_add(o->kept) = (struct vb_shadow){ .id = vb_strdup(o->id),
                                                      .mount_point = vb_strdup(to),
                                                      .source = vb_strdup(to),
                                                      .fs_type = vb_strdup(from->v[0].fs_type),
                                                      .provider = vb_strdup(o->provider) };
    return vb_shadow_save(dir, o->kept, err);
}

void vb_so_import(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *file = vb_msg_str(&s->cmd, VB_F_PATH), *to = vb_msg_str(&s->cmd, VB_F_TARGET), *stamp = NULL;
    struct vb_shadow_set *from = NULL;
    int rc = 0;
    if (!file || file[0] != '/' || !to || to[0] != '/')
        rc = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path", !file || file[0] != '/' ? file ? file : "" : to ? to : "");
    else if (!(from = read_tail(file, &stamp, &err)))
        rc = -1;
    else
        rc = begin_import(s, from, to, &err);
    vb_shadow_set_free(from);
    if (rc < 0) {
        vb_so_failed(s, &err);
        return;
    }
    struct vb_msg f = VB_MSG_INIT(0);
    vb_msg_add_str(&f, VB_F_SET, s->shadow_op->kept->id);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, s->shadow_op->id);
    vb_msg_add_str(&f, VB_F_PATH, file);
    vb_msg_add_str(&f, VB_F_TARGET, to);
    vb_msg_add_str(&f, VB_F_STAMP, stamp);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, s->shadow_op->provider), "receive", &f);
    vb_calls_go(s, s->env->limits.provider_prepare, NULL, receive_answered);
}
