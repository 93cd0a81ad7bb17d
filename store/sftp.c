/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/sftp.c - packets of the SSH file transfer protocol, version 3.
 */
#include "config.h"
#include "store/sftp.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define USUAL_DATA 32768u /* what every server takes in one request */
#define DATA_MAX (255u * 1024)
#define ATTR_SIZE 1u
#define ATTR_OWNER 2u
#define ATTR_MODE 4u
#define ATTR_TIMES 8u
#define ATTR_EXTENDED 0x80000000u

/* ---- parsing ---- */

bool vb_sftp_get_string(struct vb_reader *r, const unsigned char **p, size_t *n)
{
    uint32_t len;
    if (!vb_get_u32(r, &len) || !vb_get_bytes(r, len, p))
        return false;
    *n = len;
    return true;
}

bool vb_sftp_get_attrs(struct vb_reader *r, struct vb_sftp_attrs *a)
{
    uint32_t flags, skipped, pairs = 0;
    memset(a, 0, sizeof *a);
    if (!vb_get_u32(r, &flags))
        return false;
    a->has_size = flags & ATTR_SIZE;
    a->has_mode = flags & ATTR_MODE;
    a->has_time = flags & ATTR_TIMES;
    if ((a->has_size && !vb_get_u64(r, &a->size)) ||
        ((flags & ATTR_OWNER) && (!vb_get_u32(r, &skipped) || !vb_get_u32(r, &skipped))) ||
        (a->has_mode && !vb_get_u32(r, &a->mode)) ||
        (a->has_time && (!vb_get_u32(r, &skipped) || !vb_get_u32(r, &a->mtime))) ||
        ((flags & ATTR_EXTENDED) && !vb_get_u32(r, &pairs)))
        return false;
    for (; pairs > 0; pairs--) {
        const unsigned char *p;
        size_t n;
        if (!vb_sftp_get_string(r, &p, &n) || !vb_sftp_get_string(r, &p, &n))
            return false;
    }
    return true;
}

bool vb_sftp_names(const struct vb_sftp_reply *reply, vb_sftp_name_fn *fn, void *arg)
{
    struct vb_reader r = reply->r;
    uint32_t n;
    if (reply->type != VB_SFTP_NAME || !vb_get_u32(&r, &n))
        return false;
    for (; n > 0; n--) {
        const unsigned char *name, *shown;
        size_t len, shown_len;
        struct vb_sftp_attrs a;
        if (!vb_sftp_get_string(&r, &name, &len) || !vb_sftp_get_string(&r, &shown, &shown_len) ||
            !vb_sftp_get_attrs(&r, &a) || !fn(arg, name, len, &a))
            return false;
    }
    return true;
}

int vb_sftp_status(const struct vb_sftp_reply *reply)
{
    struct vb_reader r = reply->r;
    uint32_t code;
    if (reply->type != VB_SFTP_STATUS || !vb_get_u32(&r, &code) || code > 1000)
        return -1;
    return (int)code;
}

int vb_sftp_parse(const unsigned char *p, size_t n, size_t *used, struct vb_sftp_reply *reply)
{
    struct vb_reader r;
    uint32_t len;
    vb_reader_init(&r, p, n);
    if (n < 4)
        return 0;
    vb_get_u32(&r, &len);
    if (len < 5 || len > VB_SFTP_PACKET_MAX + 1024)
        return -1;
    if (n - 4 < len)
        return 0;
    vb_reader_init(&r, p + 4, len);
    vb_get_u8(&r, &reply->type);
    vb_get_u32(&r, &reply->id);
    reply->r = r;
    *used = 4 + (size_t)len;
    return 1;
}

/* ---- requests ---- */

static void add_string(struct vb_buf *b, const void *p, size_t n)
{
    vb_buf_add_u32(b, (uint32_t)n);
    vb_buf_add(b, p, n);
}

/* n: bytes that follow the id. */
static uint32_t begin(struct vb_sftp *s, uint8_t type, size_t n)
{
    uint32_t id = s->next_id++;
    vb_buf_add_u32(&s->out, (uint32_t)(n + 5));
    vb_buf_add_u8(&s->out, type);
    vb_buf_add_u32(&s->out, id);
    s->waiting++;
    return id;
}

uint32_t vb_sftp_path(struct vb_sftp *s, enum vb_sftp_type type, const char *path)
{
    uint32_t id = begin(s, (uint8_t)type, 4 + strlen(path));
    add_string(&s->out, path, strlen(path));
    return id;
}

uint32_t vb_sftp_mkdir(struct vb_sftp *s, const char *path, uint32_t mode)
{
    uint32_t id = begin(s, VB_SFTP_MKDIR, 4 + strlen(path) + 8);
    add_string(&s->out, path, strlen(path));
    vb_buf_add_u32(&s->out, ATTR_MODE);
    vb_buf_add_u32(&s->out, mode);
    return id;
}

uint32_t vb_sftp_open_file(struct vb_sftp *s, const char *path, uint32_t flags, uint32_t mode)
{
    uint32_t id = begin(s, VB_SFTP_OPEN, 4 + strlen(path) + 12);
    add_string(&s->out, path, strlen(path));
    vb_buf_add_u32(&s->out, flags);
    vb_buf_add_u32(&s->out, ATTR_MODE);
    vb_buf_add_u32(&s->out, mode);
    return id;
}

uint32_t vb_sftp_handle(struct vb_sftp *s, enum vb_sftp_type type, const struct vb_buf *handle)
{
    uint32_t id = begin(s, (uint8_t)type, 4 + handle->len);
    add_string(&s->out, handle->data, handle->len);
    return id;
}

uint32_t vb_sftp_read(struct vb_sftp *s, const struct vb_buf *handle, uint64_t offset, uint32_t n)
{
    uint32_t id = begin(s, VB_SFTP_READ, 4 + handle->len + 12);
    add_string(&s->out, handle->data, handle->len);
    vb_buf_add_u64(&s->out, offset);
    vb_buf_add_u32(&s->out, n);
    return id;
}

uint32_t vb_sftp_write(struct vb_sftp *s, const struct vb_buf *handle, uint64_t offset, const void *p, size_t n)
{
    uint32_t id = begin(s, VB_SFTP_WRITE, 4 + handle->len + 12 + n);
    add_string(&s->out, handle->data, handle->len);
    vb_buf_add_u64(&s->out, offset);
    add_string(&s->out, p, n);
    return id;
}

uint32_t vb_sftp_rename(struct vb_sftp *s, const char *from, const char *to)
{
    uint32_t id = begin(s, VB_SFTP_RENAME, 8 + strlen(from) + strlen(to));
    add_string(&s->out, from, strlen(from));
    add_string(&s->out, to, strlen(to));
    return id;
}

static uint32_t extended(struct vb_sftp *s, const char *name, size_t n)
{
    uint32_t id = begin(s, VB_SFTP_EXTENDED, 4 + strlen(name) + n);
    add_string(&s->out, name, strlen(name));
    return id;
}

uint32_t vb_sftp_fsync(struct vb_sftp *s, const struct vb_buf *handle)
{
    uint32_t id = extended(s, "fsync@openssh.com", 4 + handle->len);
    add_string(&s->out, handle->data, handle->len);
    return id;
}

uint32_t vb_sftp_link(struct vb_sftp *s, const char *from, const char *to)
{
    uint32_t id = extended(s, "hardlink@openssh.com", 8 + strlen(from) + strlen(to));
    add_string(&s->out, from, strlen(from));
    add_string(&s->out, to, strlen(to));
    return id;
}

uint32_t vb_sftp_free_space(struct vb_sftp *s, const char *path)
{
    uint32_t id = extended(s, "statvfs@openssh.com", 4 + strlen(path));
    add_string(&s->out, path, strlen(path));
    return id;
}

/* ---- replies ---- */

static int broken(struct vb_sftp *s, struct vb_error *err)
{
    s->broken = true;
    return vb_fail(err, VB_E_PROTOCOL, "the server does not keep to the SFTP protocol");
}

int vb_sftp_next(struct vb_sftp *s, struct vb_sftp_reply *reply, struct vb_error *err)
{
    if (s->broken)
        return vb_fail(err, VB_E_CONNECTION_LOST, "the connection is lost");
    if (s->out.len > 0) {
        vb_link_send(s->link, s->out.data, s->out.len);
        vb_buf_reset(&s->out);
    }
    for (;;) {
        size_t used = 0;
        int got = vb_sftp_parse(vb_buf_at(&s->in, s->in_at), s->in.len - s->in_at, &used, reply);
        if (got < 0)
            return broken(s, err);
        if (got > 0) {
            s->in_at += used; /* the bytes stay until more are needed */
            if (s->waiting > 0)
                s->waiting--;
            return 0;
        }
        vb_buf_consume(&s->in, s->in_at);
        s->in_at = 0;
        if (vb_link_wait(s->link, &s->in, err) < 0) {
            s->broken = true;
            return -1;
        }
    }
}

int vb_sftp_answer(struct vb_sftp *s, uint32_t id, struct vb_sftp_reply *reply, struct vb_error *err)
{
    if (vb_sftp_next(s, reply, err) < 0)
        return -1;
    return reply->id == id ? 0 : broken(s, err);
}

int vb_sftp_check(struct vb_sftp *s, const struct vb_sftp_reply *reply, const char *what, struct vb_error *err)
{
    struct vb_reader r = reply->r;
    const unsigned char *text = NULL;
    size_t n = 0;
    uint32_t code;
    int status = vb_sftp_status(reply);
    if (status < 0)
        return broken(s, err);
    if (status == VB_SFTP_OK)
        return 0;
    vb_get_u32(&r, &code);
    if (!vb_sftp_get_string(&r, &text, &n))
        n = 0;
    VB_AUTO_FREE char *said = vb_escape_terminal(n ? (const char *)text : "", n);
    return vb_fail(err,
                   status == VB_SFTP_NO_SUCH_FILE ? VB_E_NOT_FOUND
                   : status == VB_SFTP_DENIED     ? VB_E_ACCESS_DENIED
                                                  : VB_E_IO,
                   "cannot %s: %s%s(SFTP status %d)", what, said, *said ? " " : "", status);
}

/* ---- greeting ---- */

static int read_version(struct vb_sftp *s, const struct vb_sftp_reply *reply, struct vb_error *err)
{
    struct vb_reader r = reply->r;
    const unsigned char *name, *value;
    size_t n, value_n;
    if (reply->type != VB_SFTP_VERSION)
        return broken(s, err);
    if (reply->id < 3) /* where the id of other packets is */
        return vb_fail(err, VB_E_VERSION, "the server speaks SFTP version %u, and 3 is needed", (unsigned)reply->id);
    while (r.left > 0) {
        if (!vb_sftp_get_string(&r, &name, &n) || !vb_sftp_get_string(&r, &value, &value_n))
            return broken(s, err);
#define IS(text) (n == sizeof(text) - 1 && memcmp(name, text, n) == 0)
        s->fsync = s->fsync || IS("fsync@openssh.com");
        s->hardlink = s->hardlink || IS("hardlink@openssh.com");
        s->limits = s->limits || IS("limits@openssh.com");
        s->statvfs = s->statvfs || IS("statvfs@openssh.com");
#undef IS
    }
    return 0;
}

static int ask_limits(struct vb_sftp *s, struct vb_error *err)
{
    struct vb_sftp_reply reply;
    uint64_t packet = 0, most_read = 0, most_write = 0;
    if (vb_sftp_answer(s, extended(s, "limits@openssh.com", 0), &reply, err) < 0)
        return -1;
    if (reply.type == VB_SFTP_EXTENDED_REPLY && vb_get_u64(&reply.r, &packet) && vb_get_u64(&reply.r, &most_read) &&
        vb_get_u64(&reply.r, &most_write)) {
        if (most_read >= USUAL_DATA)
            s->read_max = most_read < DATA_MAX ? (uint32_t)most_read : DATA_MAX;
        if (most_write >= USUAL_DATA)
            s->write_max = most_write < DATA_MAX ? (uint32_t)most_write : DATA_MAX;
    }
    return 0;
}

struct vb_sftp *vb_sftp_open(struct vb_link *l, struct vb_error *err)
{
    struct vb_sftp *s = vb_alloc(sizeof *s);
    struct vb_sftp_reply reply;
    s->link = l;
    s->read_max = s->write_max = USUAL_DATA;
    vb_buf_add_u32(&s->out, 5);
    vb_buf_add_u8(&s->out, VB_SFTP_INIT);
    vb_buf_add_u32(&s->out, 3);
    if (vb_sftp_next(s, &reply, err) == 0 && read_version(s, &reply, err) == 0 && (!s->limits || ask_limits(s, err) == 0))
        return s;
    vb_sftp_free(s);
    return NULL;
}

void vb_sftp_free(struct vb_sftp *s)
{
    if (!s)
        return;
    vb_link_free(s->link);
    vb_buf_clear(&s->in);
    vb_buf_clear(&s->out);
    free(s);
}
