/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow_transport.c - export and import: a shadow copy in a file, with what must be known of it (S-56).
 *
 * The file is written by the provider's process (agent/provider_calls.c), and gets its name when it is whole.
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

#define TAIL (4u + sizeof VB_SHADOW_MARK - 1)
#define RECORD_MAX (64u * 1024 * 1024)

/* ---- export ---- */

static void sent(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK) /* nothing is there: the file gets its name when it is whole */
        vb_so_failed(s, &s->calls.failure);
    else
        vb_so_succeeded(s);
}

void vb_so_export(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *file = vb_msg_str(&s->cmd, VB_F_PATH);
    struct vb_shadow_op *o = s->shadow_op;
    int rc = vb_so_find(s, true, &err);
    if (rc == 0 && (rc = vb_so_check_persistent(s, "export", &err)) == 0 && (!file || file[0] != '/'))
        rc = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path of a file", file ? file : "");
    if (rc < 0) {
        vb_so_failed(s, &err);
        return;
    }
    VB_AUTO_FREE char *provider = vb_strdup(vb_so_the_shadow(s)->provider);
    VB_AUTO_MSG record = VB_MSG_INIT(VB_M_SHADOW);
    struct vb_msg f = VB_MSG_INIT(0);
    vb_shadow_set_only(o->set, o->id); /* our copy of it */
    vb_shadow_encode(o->set, &record);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, o->id);
    vb_msg_add_str(&f, VB_F_PATH, file);
    vb_msg_add_group(&f, VB_F_ROOT, &record);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, provider), "send", &f);
    vb_calls_go(s, VB_SO_TRANSFER_MS, NULL, sent);
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
                memcmp(tail + 4, VB_SHADOW_MARK, sizeof VB_SHADOW_MARK - 1) == 0;
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

/* ---- what is not settled yet ---- */

int vb_s_incoming_begin(struct vb_session *s, const char *set, const char *id, const char *provider, const char *to,
                        struct vb_error *err)
{
    VB_AUTO_FREE char *volume = vb_journal_escape(to);
    if (vb_s_journal(s, true, "receive id=%s set=%s provider=%s volume=%s", id, set, provider, volume) < 0) {
        vb_error_copy(err, &s->journal_error);
        return -1;
    }
    s->incoming.set = vb_strdup(set);
    s->incoming.id = vb_strdup(id);
    s->incoming.provider = vb_strdup(provider);
    return 0;
}

static void forget_incoming(struct vb_session *s)
{
    vb_free_ptr(&s->incoming.set);
    vb_free_ptr(&s->incoming.id);
    vb_free_ptr(&s->incoming.provider);
}

void vb_s_incoming_settled(struct vb_session *s)
{
    if (s->incoming.id)
        (void)vb_s_journal(s, true, "received id=%s", s->incoming.id);
    forget_incoming(s);
}

void vb_s_incoming_add_delete(struct vb_session *s)
{
    struct vb_msg f = VB_MSG_INIT(0);
    if (!s->incoming.id)
        return;
    vb_msg_add_str(&f, VB_F_SNAPSHOT, s->incoming.id);
    vb_calls_add_fields(s, vb_sp_get(s, s->incoming.provider), "delete", &f);
}

void vb_s_incoming_deleted(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int dir = s->incoming.id ? vb_so_store(s, &err) : -1;
    struct vb_shadow_set *r = dir < 0 ? NULL : vb_shadow_load(dir, s->incoming.set, &err);
    if (r && vb_shadow_set_drop(r, s->incoming.id) &&
        (r->n ? vb_shadow_save(dir, r, &err) : vb_shadow_remove(dir, r->id, &err)) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
    vb_shadow_set_free(r);
    vb_s_incoming_settled(s);
}

static void undone(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    if (s->calls.failure.code == VB_OK)
        vb_s_incoming_deleted(s);
    else /* once more at the end of the job; after that it is an orphan that a listing shows */
        vb_s_warn(s, NULL, "what was received of shadow copy '%s' is still there: %s", o->id,
                  vb_error_text(&s->calls.failure));
    vb_so_failed(s, &o->why);
}

void vb_so_import_undo(struct vb_session *s, const struct vb_error *why)
{
    VB_AUTO_ERROR copy = VB_ERROR_INIT;
    vb_error_copy(&copy, why);
    vb_error_copy(&s->shadow_op->why, &copy);
    vb_mover_stop(s);
    vb_calls_begin(s);
    vb_s_incoming_add_delete(s);
    vb_calls_go(s, s->env->limits.provider_prepare, NULL, undone);
}

static void received(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    const struct vb_shadow_found *f = NULL;
    for (size_t i = 0; i < o->n; i++)
        if (vb_guid_equal(o->found[i].id, o->id) && o->found[i].created_sec)
            f = &o->found[i];
    if (!f) {
        vb_fail(&err, VB_E_UNEXPECTED_PROVIDER_ERROR, "shadow copy '%s' is not there after its import", o->id);
        vb_so_import_undo(s, &err);
        return;
    }
    struct vb_shadow *x = vb_shadow_set_find(o->kept, o->id);
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    free(x->path);
    x->path = vb_strdup(f->path);
    o->kept->state = VB_SS_CREATED;
    vb_free_ptr(&o->kept->job); /* nobody's from here on */
    int dir = vb_so_store(s, &err);
    if (dir < 0 || vb_shadow_save(dir, o->kept, &err) < 0) {
        vb_so_import_undo(s, &err);
        return;
    }
    vb_s_incoming_settled(s);
    vb_msg_add_str(&m, VB_F_SNAPSHOT, x->id);
    vb_msg_add_str(&m, VB_F_SET, o->kept->id);
    vb_msg_add_str(&m, VB_F_PATH, x->path);
    vb_msg_add_u64(&m, VB_F_BYTES_DONE, o->bytes);
    vb_so_done(s, &m);
}

void vb_so_import_check(struct vb_session *s)
{
    vb_so_query(s, s->shadow_op->provider, received);
}

static void receive_answered(struct vb_session *s)
{
    if (s->calls.failure.code == VB_OK) {
        vb_so_import_check(s);
        return;
    }
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    vb_error_copy(&why, &s->calls.failure);
    vb_so_import_undo(s, &why);
}

int vb_so_import_begin(struct vb_session *s, struct vb_shadow_set *from, const char *to, struct vb_error *err)
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
        k->job = vb_strdup(s->job->job_id);
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
    if (vb_s_incoming_begin(s, o->kept->id, o->id, o->provider, to, err) < 0)
        return -1;
    if (vb_shadow_save(dir, o->kept, err) < 0) {
        vb_s_incoming_settled(s);
        return -1;
    }
    return 0;
}

void vb_so_receive_fields(struct vb_session *s, const char *stamp, struct vb_msg *f)
{
    vb_msg_add_str(f, VB_F_SET, s->shadow_op->kept->id);
    vb_msg_add_str(f, VB_F_SNAPSHOT, s->shadow_op->id);
    vb_msg_add_str(f, VB_F_TARGET, vb_shadow_set_find(s->shadow_op->kept, s->shadow_op->id)->source);
    vb_msg_add_str(f, VB_F_STAMP, stamp);
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
        rc = vb_so_import_begin(s, from, to, &err);
    vb_shadow_set_free(from);
    if (rc < 0) {
        vb_so_failed(s, &err);
        return;
    }
    struct vb_msg f = VB_MSG_INIT(0);
    vb_so_receive_fields(s, stamp, &f);
    vb_msg_add_str(&f, VB_F_PATH, file);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, s->shadow_op->provider), "receive", &f);
    vb_calls_go(s, VB_SO_TRANSFER_MS, NULL, receive_answered);
}
