/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_sftp.c - the repository as a directory behind an SFTP server, laid out as that of backend_dir.c.
 *
 * A file is written below tmp/, synced (fsync@openssh.com), and then renamed.  The protocol's rename refuses a name that
 * is taken, and so does OpenSSH's, by way of a hard link; whether this server's does is tried out when it is opened for
 * writing, and if not, hardlink@openssh.com is used.  (posix-rename@openssh.com replaces what is there and is never used.)
 * A directory cannot be synced over SFTP: instead the barrier syncs every file once more after its renaming, and a new
 * file at last, which makes the journal of the file systems that have one write down everything before.
 *
 * An operation that is cut off is done again over a new connection; a rename whose answer is missing is looked into first.
 */
#include "config.h"
#include "store/backend_sftp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"

#define WINDOW ((size_t)4 << 20) /* bytes that were asked for or sent without an answer */

/* ---- connection ---- */

char *vb_sftp_full(const struct sftp_store *d, const char *name)
{
    return *name ? vb_printf("%s/%s", d->root, name) : vb_strdup(d->root);
}

static void forget_open(struct sftp_store *d, const char *name)
{
    for (unsigned i = 0; i < SFTP_OPEN_FILES; i++) {
        struct sftp_open *o = &d->open[i];
        struct vb_sftp_reply reply;
        if (!o->name || (name && strcmp(o->name, name) != 0))
            continue;
        if (d->s && !d->s->broken && d->s->waiting == 0)
            vb_sftp_answer(d->s, vb_sftp_handle(d->s, VB_SFTP_CLOSE, &o->handle), &reply, NULL);
        vb_buf_clear(&o->handle);
        free(o->name);
        o->name = NULL;
    }
}

static void disconnect(struct sftp_store *d)
{
    if (d->s)
        d->s->broken = true;
    forget_open(d, NULL);
    vb_sftp_free(d->s);
    d->s = NULL;
}

static int connect_to(struct sftp_store *d, struct vb_error *err)
{
    if (d->s)
        return 0;
    struct vb_link *l = vb_link_open(&d->link, err);
    d->s = l ? vb_sftp_open(l, err) : NULL;
    if (!d->s)
        return -1;
    if (d->write && !d->s->fsync && !d->unsynced_ok) {
        vb_fail(err, VB_E_PREREQUISITE, "the server cannot sync files (no fsync@openssh.com): a power cut there could take "
                                        "backups that were reported as done");
        vb_hint(err, "use OpenSSH's sftp-server; or accept it by 'sftp-unsynced = yes' under [repository]");
        disconnect(d);
        return -1;
    }
    return 0;
}

int vb_sftp_try(struct sftp_store *d, sftp_op_fn *op, void *arg, struct vb_error *err)
{
    struct vb_retry retry;
    vb_retry_start(&retry, d->opened || d->retry_ms < VB_RETRY_OPEN_MS ? d->retry_ms : VB_RETRY_OPEN_MS);
    for (;;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (connect_to(d, &why) == 0 && op(d, arg, &why) == 0)
            return 0;
        if (why.code == VB_OK && d->s && d->s->broken) /* where nobody wanted to know */
            vb_fail(&why, VB_E_CONNECTION_LOST, "the connection is lost");
        if (d->s && (d->s->broken || d->s->waiting > 0))
            disconnect(d);
        if ((!d->opened && why.code != VB_E_CONNECTION_LOST) || !vb_retry_again(&retry, d->b.location, &why, 0))
            return vb_error_move(err, &why);
    }
}

/* ---- single requests ---- */

static int simple(struct sftp_store *d, uint32_t id, const char *what, struct vb_error *err)
{
    struct vb_sftp_reply reply;
    return vb_sftp_answer(d->s, id, &reply, err) < 0 ? -1 : vb_sftp_check(d->s, &reply, what, err);
}

static int take_attrs(struct sftp_store *d, uint32_t id, struct vb_sftp_attrs *a, struct vb_error *err)
{
    struct vb_sftp_reply reply;
    if (vb_sftp_answer(d->s, id, &reply, err) < 0)
        return -1;
    if (reply.type != VB_SFTP_ATTRS)
        return vb_sftp_check(d->s, &reply, "look at", err) < 0 ? -1 : vb_fail(err, VB_E_PROTOCOL, "no attributes");
    if (!vb_sftp_get_attrs(&reply.r, a) || !a->has_size || !a->has_mode)
        return vb_fail(err, VB_E_PROTOCOL, "the server does not tell sizes and kinds of files");
    return 0;
}

static int take_handle(struct sftp_store *d, const struct vb_sftp_reply *reply, struct vb_buf *handle, struct vb_error *err)
{
    struct vb_reader r = reply->r;
    const unsigned char *p;
    size_t n;
    if (reply->type != VB_SFTP_HANDLE)
        return vb_sftp_check(d->s, reply, "open", err) < 0 ? -1 : vb_fail(err, VB_E_PROTOCOL, "no handle");
    if (!vb_sftp_get_string(&r, &p, &n) || n == 0 || n > 256)
        return vb_fail(err, VB_E_PROTOCOL, "a handle that cannot be one");
    vb_buf_reset(handle);
    vb_buf_add(handle, p, n);
    return 0;
}

static int open_file(struct sftp_store *d, const char *name, uint32_t flags, struct vb_buf *handle, struct vb_error *err)
{
    struct vb_sftp_reply reply;
    VB_AUTO_FREE char *path = vb_sftp_full(d, name);
    return vb_sftp_answer(d->s, vb_sftp_open_file(d->s, path, flags, 0600), &reply, err) < 0
               ? -1
               : take_handle(d, &reply, handle, err);
}

static int close_file(struct sftp_store *d, const struct vb_buf *handle, struct vb_error *err)
{
    return simple(d, vb_sftp_handle(d->s, VB_SFTP_CLOSE, handle), "close", err);
}

static int look(struct sftp_store *d, const char *name, struct vb_sftp_attrs *a, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_sftp_full(d, name);
    return take_attrs(d, vb_sftp_path(d->s, VB_SFTP_LSTAT, path), a, err);
}

/* 1 there, 0 not there, -1. */
static int is_there(struct sftp_store *d, const char *name, uint64_t *size, struct vb_error *err)
{
    struct vb_sftp_attrs a;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (look(d, name, &a, &why) == 0) {
        if (size)
            *size = a.size;
        return 1;
    }
    return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
}

static int remove_file(struct sftp_store *d, const char *name, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_sftp_full(d, name);
    return simple(d, vb_sftp_path(d->s, VB_SFTP_REMOVE, path), "remove", err);
}

/* Every directory above a name; that they are there already is told as a mere failure. */
static int make_parents(struct sftp_store *d, const char *name, struct vb_error *err)
{
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        VB_AUTO_FREE char *dir = vb_strndup(name, (size_t)(slash - name));
        VB_AUTO_FREE char *path = vb_sftp_full(d, dir);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (simple(d, vb_sftp_mkdir(d->s, path, 0700), "make a directory", &why) < 0 && (d->s->broken || why.code == VB_E_ACCESS_DENIED))
            return vb_error_move(err, &why);
    }
    return 0;
}

/* ---- reading ---- */

struct read_op {
    const char *name;
    uint64_t offset;
    size_t len;
    struct vb_buf *out;
    size_t before;
};

static const struct vb_buf *handle_of(struct sftp_store *d, const char *name, struct vb_error *err)
{
    VB_AUTO_BUF handle = VB_BUF_INIT;
    for (unsigned i = 0; i < SFTP_OPEN_FILES; i++)
        if (d->open[i].name && strcmp(d->open[i].name, name) == 0)
            return &d->open[i].handle;
    if (open_file(d, name, VB_SFTP_FLAG_READ, &handle, err) < 0)
        return NULL;
    struct sftp_open *o = &d->open[d->next_slot];
    d->next_slot = (d->next_slot + 1) % SFTP_OPEN_FILES;
    if (o->name) {
        VB_AUTO_FREE char *old = vb_strdup(o->name);
        forget_open(d, old);
    }
    o->name = vb_strdup(name);
    o->handle = handle;
    handle = (struct vb_buf)VB_BUF_INIT;
    if (!d->s->broken)
        return &o->handle;
    vb_fail(err, VB_E_CONNECTION_LOST, "the connection is lost");
    return NULL;
}

struct piece {
    uint32_t id;
    size_t at, n;
};

static void ask(struct sftp_store *d, const struct read_op *o, const struct vb_buf *handle, struct piece *p)
{
    p->id = vb_sftp_read(d->s, handle, o->offset + p->at, (uint32_t)p->n);
}

/* Takes one piece: the rest of one that came short is asked for again. */
static int take_piece(struct sftp_store *d, const struct read_op *o, const struct vb_buf *handle, struct piece *pieces,
                      size_t *n_pieces, struct vb_error *err)
{
    struct vb_sftp_reply reply;
    const unsigned char *bytes;
    size_t n, i = 0;
    if (vb_sftp_next(d->s, &reply, err) < 0)
        return -1;
    while (i < *n_pieces && pieces[i].id != reply.id)
        i++;
    if (i == *n_pieces) {
        d->s->broken = true;
        return vb_fail(err, VB_E_PROTOCOL, "an answer to nothing that was asked");
    }
    if (vb_sftp_status(&reply) == VB_SFTP_EOF)
        return vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(o->offset + o->len));
    if (reply.type != VB_SFTP_DATA)
        return vb_sftp_check(d->s, &reply, "read", err) < 0 ? -1 : vb_fail(err, VB_E_PROTOCOL, "no data");
    if (!vb_sftp_get_string(&reply.r, &bytes, &n) || n == 0 || n > pieces[i].n)
        return vb_fail(err, VB_E_PROTOCOL, "not as many bytes as were asked for");
    memcpy(vb_buf_at(o->out, o->before + pieces[i].at), bytes, n);
    pieces[i].at += n;
    pieces[i].n -= n;
    if (pieces[i].n > 0)
        ask(d, o, handle, &pieces[i]);
    else
        pieces[i] = pieces[--*n_pieces];
    return 0;
}

static int read_op(struct sftp_store *d, void *arg, struct vb_error *err)
{
    struct read_op *o = arg;
    struct piece pieces[WINDOW / 32768];
    size_t n_pieces = 0, most = WINDOW / d->s->read_max, sent = 0;
    const struct vb_buf *handle = handle_of(d, o->name, err);
    if (!handle)
        return -1;
    if (o->len > 0 && o->offset > (uint64_t)INT64_MAX - o->len)
        return vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(o->offset + o->len));
    int result = 0;
    while (result == 0 && (sent < o->len || n_pieces > 0)) {
        while (sent < o->len && n_pieces < most) {
            struct piece *p = &pieces[n_pieces++];
            p->at = sent;
            p->n = o->len - sent < d->s->read_max ? o->len - sent : d->s->read_max;
            ask(d, o, handle, p);
            sent += p->n;
        }
        result = take_piece(d, o, handle, pieces, &n_pieces, err);
    }
    /* Answers that are still on their way belong to nobody. */
    struct vb_sftp_reply reply;
    while (result < 0 && !d->s->broken && d->s->waiting > 0)
        vb_sftp_next(d->s, &reply, NULL);
    return result;
}

static int read_or_tell(struct sftp_store *d, void *arg, struct vb_error *err)
{
    const struct read_op *o = arg;
    uint64_t size = 0;
    if (read_op(d, arg, err) == 0)
        return 0;
    /* Beyond the end some servers know failure only. */
    if (err->code == VB_E_IO && !d->s->broken && is_there(d, o->name, &size, NULL) == 1 &&
        (o->offset > size || o->len > size - o->offset))
        vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(o->offset + o->len));
    return -1;
}

static int sftp_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                     struct vb_error *err)
{
    struct read_op o = { name, offset, len, out, out->len };
    vb_buf_reserve(out, len);
    if (vb_sftp_try(sftp_self(b), read_or_tell, &o, err) < 0)
        return -1;
    out->len += len;
    return 0;
}

struct size_op {
    const char *name;
    uint64_t *size;
};

static int size_op(struct sftp_store *d, void *arg, struct vb_error *err)
{
    struct size_op *o = arg;
    struct vb_sftp_attrs a;
    if (look(d, o->name, &a, err) < 0)
        return -1;
    if (!S_ISREG(a.mode))
        return vb_fail(err, VB_E_IO, "not a regular file");
    *o->size = a.size;
    return 0;
}

static int sftp_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    struct size_op o = { name, size };
    return vb_sftp_try(sftp_self(b), size_op, &o, err);
}

/* ---- writing ---- */

struct write_op {
    const char *name;
    const void *p;
    size_t n;
    char *tmp;
    bool naming; /* the file may have been given its name, although nobody said so */
};

/* A failure that may be a full disk is asked about. */
static int why_failed(struct sftp_store *d, struct vb_error *err)
{
    struct vb_sftp_reply reply;
    uint64_t v[5];
    if (!d->s->statvfs || d->s->broken || !err || err->code != VB_E_IO ||
        vb_sftp_answer(d->s, vb_sftp_free_space(d->s, d->root), &reply, NULL) < 0 || reply.type != VB_SFTP_EXTENDED_REPLY)
        return -1;
    for (unsigned i = 0; i < 5; i++)
        if (!vb_get_u64(&reply.r, &v[i]))
            return -1;
    return v[4] == 0 ? vb_fail(err, VB_E_NO_SPACE, "cannot write: no space left there") : -1;
}

static int write_tmp(struct sftp_store *d, const struct write_op *o, struct vb_error *err)
{
    VB_AUTO_BUF handle = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const uint32_t flags = VB_SFTP_FLAG_WRITE | VB_SFTP_FLAG_CREATE | VB_SFTP_FLAG_TRUNCATE;
    const size_t most = WINDOW / d->s->write_max;
    if (open_file(d, o->tmp, flags, &handle, &why) < 0) {
        if (why.code != VB_E_NOT_FOUND)
            return vb_error_move(err, &why);
        if (make_parents(d, o->tmp, err) < 0 || open_file(d, o->tmp, flags, &handle, err) < 0)
            return -1;
    }
    int result = 0;
    for (size_t sent = 0; sent < o->n || d->s->waiting > 0;) {
        while (result == 0 && sent < o->n && d->s->waiting < most) {
            size_t n = o->n - sent < d->s->write_max ? o->n - sent : d->s->write_max;
            vb_sftp_write(d->s, &handle, sent, (const char *)o->p + sent, n);
            sent += n;
        }
        struct vb_sftp_reply reply;
        if (d->s->waiting == 0)
            break;
        if (vb_sftp_next(d->s, &reply, result == 0 ? err : NULL) < 0)
            return -1;
        if (result == 0)
            result = vb_sftp_check(d->s, &reply, "write", err);
    }
    if (result == 0 && d->s->fsync)
        result = simple(d, vb_sftp_fsync(d->s, &handle), "sync", err);
    if (d->s->broken)
        return -1;
    return close_file(d, &handle, result == 0 ? err : NULL) < 0 ? -1 : result;
}

/* Gives the file its name, unless that is taken: then VB_E_EXISTS. */
static int give_name(struct sftp_store *d, struct write_op *o, struct vb_error *err)
{
    VB_AUTO_FREE char *from = vb_sftp_full(d, o->tmp), *to = vb_sftp_full(d, o->name);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    o->naming = true;
    for (unsigned tries = 0;; tries++) {
        uint32_t id = d->use_link ? vb_sftp_link(d->s, from, to) : vb_sftp_rename(d->s, from, to);
        if (simple(d, id, "rename", &why) == 0)
            break;
        if (d->s->broken)
            return vb_error_move(err, &why);
        if (why.code == VB_E_NOT_FOUND && tries == 0) {
            if (make_parents(d, o->name, err) < 0)
                return -1;
            continue;
        }
        int there = is_there(d, o->name, NULL, err);
        if (there < 0)
            return -1;
        return there ? vb_fail(err, VB_E_EXISTS, "exists already") : vb_error_move(err, &why);
    }
    if (d->use_link)
        remove_file(d, o->tmp, NULL);
    return d->s->broken ? vb_fail(err, VB_E_CONNECTION_LOST, "the connection is lost") : 0;
}

/* After a cut while the file was named: 1 it was done, 0 it was not, -1. */
static int was_named(struct sftp_store *d, const struct write_op *o, struct vb_error *err)
{
    VB_AUTO_BUF there = VB_BUF_INIT;
    uint64_t size = 0;
    int tmp = is_there(d, o->tmp, NULL, err), name = tmp < 0 ? -1 : is_there(d, o->name, &size, err);
    if (tmp < 0 || name < 0)
        return -1;
    if (!name || size != o->n || (tmp && !d->use_link))
        return 0;
    struct read_op r = { o->name, 0, o->n, &there, 0 };
    vb_buf_reserve(&there, o->n);
    if (read_op(d, &r, err) < 0)
        return -1;
    return o->n == 0 || memcmp(there.data, o->p, o->n) == 0;
}

static int write_op(struct sftp_store *d, void *arg, struct vb_error *err)
{
    struct write_op *o = arg;
    int done = o->naming ? was_named(d, o, err) : 0;
    if (done != 0) {
        if (done > 0 && d->use_link)
            remove_file(d, o->tmp, NULL);
        return done > 0 ? 0 : -1;
    }
    o->naming = false;
    int there = is_there(d, o->name, NULL, err);
    if (there < 0)
        return -1;
    int result = there ? vb_fail(err, VB_E_EXISTS, "exists already") : 0;
    if (result == 0 && (write_tmp(d, o, err) < 0 || give_name(d, o, err) < 0))
        result = -1;
    if (result < 0 && !there && !d->s->broken) {
        why_failed(d, err);
        remove_file(d, o->tmp, NULL);
    }
    return result;
}

static int sftp_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct sftp_store *d = sftp_self(b);
    char guid[VB_GUID_LEN + 1];
    vb_guid_new(guid);
    VB_AUTO_FREE char *tmp = vb_printf("tmp/%s", guid);
    struct write_op o = { name, p, n, tmp, false };
    if (vb_sftp_try(d, write_op, &o, err) < 0)
        return -1;
    vb_strv_add(&d->unsynced, name);
    return 0;
}

struct remove_op {
    const char *name;
    bool again;
};

static int remove_op(struct sftp_store *d, void *arg, struct vb_error *err)
{
    struct remove_op *o = arg;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool again = o->again;
    forget_open(d, o->name);
    o->again = true;
    if (remove_file(d, o->name, &why) == 0 || (again && why.code == VB_E_NOT_FOUND))
        return 0;
    if (why.code == VB_E_IO && is_there(d, o->name, NULL, NULL) == 0)
        why.code = VB_E_NOT_FOUND; /* some servers know one kind of failure only */
    return vb_error_move(err, &why);
}

static int sftp_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    struct remove_op o = { name, false };
    if (vb_sftp_try(sftp_self(b), remove_op, &o, err) < 0)
        return -1;
    sftp_self(b)->unsettled = true;
    return 0;
}

/* ---- barrier ---- */

static int sync_one(struct sftp_store *d, const char *name, struct vb_error *err)
{
    VB_AUTO_BUF handle = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (open_file(d, name, VB_SFTP_FLAG_READ, &handle, &why) < 0)
        return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
    int result = simple(d, vb_sftp_fsync(d->s, &handle), "sync", err);
    if (d->s->broken)
        return -1;
    return close_file(d, &handle, result == 0 ? err : NULL) < 0 ? -1 : result;
}

static int barrier_op(struct sftp_store *d, void *arg, struct vb_error *err)
{
    (void)arg;
    if (!d->s->fsync)
        return 0;
    for (size_t i = 0; i < d->unsynced.n; i++)
        if (sync_one(d, d->unsynced.v[i], err) < 0)
            return -1;
    char guid[VB_GUID_LEN + 1];
    vb_guid_new(guid);
    VB_AUTO_FREE char *tmp = vb_printf("tmp/%s", guid);
    const struct write_op last = { NULL, "sync", 4, tmp, false };
    if (write_tmp(d, &last, err) < 0) {
        why_failed(d, err);
        return -1;
    }
    return remove_file(d, tmp, err);
}

static int sftp_barrier(struct vb_backend *b, struct vb_error *err)
{
    struct sftp_store *d = sftp_self(b);
    if ((d->unsynced.n > 0 || d->unsettled) && vb_sftp_try(d, barrier_op, NULL, err) < 0)
        return -1;
    vb_strv_clear(&d->unsynced);
    d->unsettled = false;
    return 0;
}

/* ---- lock ---- */

static int sftp_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    struct sftp_store *d = sftp_self(b);
    if (d->locked)
        return vb_fail(err, VB_E_BAD_STATE, "already locked by this handle");
    if (vb_remote_lock(b, holder, err) < 0)
        return -1;
    d->locked = true;
    if (vb_sftp_try(d, vb_sftp_sweep, NULL, err) < 0) {
        b->ops->unlock(b);
        return -1;
    }
    return 0;
}

static void sftp_unlock(struct vb_backend *b)
{
    if (sftp_self(b)->locked)
        vb_remote_unlock(b);
    sftp_self(b)->locked = false;
}

static void sftp_close(struct vb_backend *b)
{
    struct sftp_store *d = sftp_self(b);
    if (d->s && d->s->waiting == 0)
        forget_open(d, NULL);
    disconnect(d);
    vb_link_params_clear(&d->link);
    vb_strv_clear(&d->unsynced);
    free(d->root);
    free(d->b.location);
    free(d);
}

/* ---- opening ---- */

static const struct vb_backend_ops sftp_ops = {
    .kind = "sftp",
    .read = sftp_read,
    .write = sftp_write,
    .list = vb_sftp_list,
    .remove = sftp_remove,
    .size = sftp_size,
    .barrier = sftp_barrier,
    .lock = sftp_lock,
    .unlock = sftp_unlock,
    .close = sftp_close,
};

/* Whether a name that is taken is refused: 1, 0, -1. */
static int refuses(struct sftp_store *d, const struct write_op *first, const struct write_op *second, struct vb_error *err)
{
    VB_AUTO_FREE char *from = vb_sftp_full(d, second->tmp), *to = vb_sftp_full(d, first->tmp);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t size = 0;
    if (write_tmp(d, first, err) < 0 || write_tmp(d, second, err) < 0)
        return -1;
    uint32_t id = d->use_link ? vb_sftp_link(d->s, from, to) : vb_sftp_rename(d->s, from, to);
    if (simple(d, id, "rename", &why) == 0)
        return 0;
    if (d->s->broken)
        return vb_error_move(err, &why);
    int there = is_there(d, first->tmp, &size, err);
    return there < 0 ? -1 : there && size == first->n;
}

static int try_names(struct sftp_store *d, void *arg, struct vb_error *err)
{
    char guid[VB_GUID_LEN + 1];
    (void)arg;
    vb_guid_new(guid);
    VB_AUTO_FREE char *a = vb_printf("tmp/%s", guid), *b = vb_printf("tmp/%s-second", guid);
    const struct write_op first = { NULL, "first", 5, a, false }, second = { NULL, "the second", 10, b, false };
    int fine = refuses(d, &first, &second, err);
    if (fine == 0 && d->s->hardlink) {
        d->use_link = true;
        fine = refuses(d, &first, &second, err);
    }
    if (!d->s->broken) {
        remove_file(d, a, NULL);
        remove_file(d, b, NULL);
    }
    if (fine == 0) {
        vb_fail(err, VB_E_PREREQUISITE, "the server's rename replaces files, and it makes no hard links: a name is not exclusive there");
        vb_hint(err, "backups there could be lost without notice: use OpenSSH's sftp-server");
    }
    return fine > 0 ? 0 : -1;
}

struct first_look {
    bool create;
};

static int first_look(struct sftp_store *d, void *arg, struct vb_error *err)
{
    const struct first_look *o = arg;
    struct vb_sftp_attrs a;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (o->create) {
        VB_AUTO_ERROR made = VB_ERROR_INIT;
        if (simple(d, vb_sftp_mkdir(d->s, d->root, 0700), "make the directory", &made) < 0 && d->s->broken)
            return vb_error_move(err, &made);
    }
    if (take_attrs(d, vb_sftp_path(d->s, VB_SFTP_STAT, d->root), &a, &why) < 0) {
        if (why.code == VB_E_NOT_FOUND && o->create)
            vb_hint(&why, "make the directory above it first");
        else if (why.code == VB_E_NOT_FOUND)
            vb_hint(&why, "check the path, or make a repository there with: vbackup init --repo %s", d->b.location);
        return vb_error_move(err, &why);
    }
    if (!S_ISDIR(a.mode))
        return vb_fail(err, VB_E_IO, "not a directory");
    return o->create ? vb_sftp_check_fresh(d, err) : 0;
}

struct vb_backend *vb_backend_sftp_open(const struct vb_sftp_params *p, struct vb_error *err)
{
    struct sftp_store *d = vb_alloc(sizeof *d);
    struct first_look o = { p->create };
    d->b.ops = &sftp_ops;
    d->b.location = vb_strdup(p->location);
    vb_link_params_copy(&d->link, p->link);
    d->root = vb_strdup(p->path);
    d->write = p->write || p->create;
    d->unsynced_ok = p->unsynced;
    d->retry_ms = p->retry_ms;
    if (vb_sftp_try(d, first_look, &o, err) < 0 || (d->write && vb_sftp_try(d, try_names, NULL, err) < 0)) {
        vb_context(err, "'%s'", p->location);
        sftp_close(&d->b);
        return NULL;
    }
    if (d->write && !d->s->fsync)
        vb_log(VB_LOG_WARNING, "'%s': the server cannot sync files: a power cut there may take backups that were reported as done",
               p->location);
    d->opened = true;
    return &d->b;
}
