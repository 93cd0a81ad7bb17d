/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/take.c - contents: found here, continued where a broken pass ended, or received; staged, verified, finished.
 *
 * A large file is staged under its hash, so that the next pass goes on where this one was cut off (T47).
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/io.h"
#include "base/mem.h"
#include "replica/delta.h"
#include "replica/item_file.h"
#include "replica/receive.h"

#define RESUME_SIZE (4u << 20)
#define BLOCK 4096u

static char *partial_name(const unsigned char hash[VB_HASH_LEN])
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_char(&b, 'p');
    for (size_t i = 0; i < VB_HASH_LEN; i++)
        vb_buf_addf(&b, "%02x", hash[i]);
    return vb_buf_take_str(&b);
}

/* ---- found here ---- */

struct search {
    struct vb_receiver *x;
    struct vb_incoming *in;
    bool found;
};

static bool copy_checked(int from, int to, uint64_t size, const unsigned char want[VB_HASH_LEN])
{
    VB_AUTO_FREE unsigned char *b = vb_alloc(VB_RSTREAM_PIECE);
    VB_AUTO_HASHER *h = vb_hasher_new();
    unsigned char got[VB_HASH_LEN];
    uint64_t done = 0;
    for (ssize_t n; (n = read(from, b, VB_RSTREAM_PIECE)) > 0; done += (uint64_t)n) {
        vb_hasher_add(h, b, (size_t)n);
        if (vb_write_all(to, b, (size_t)n, NULL) < 0)
            return false;
    }
    vb_hasher_end(VB_STEAL(h), got);
    return done == size && !memcmp(got, want, VB_HASH_LEN);
}

static int try_copy(void *arg, const struct vb_item *i)
{
    struct search *s = arg;
    struct vb_incoming *in = s->in;
    struct stat st;
    if (i->size != in->row.item.size)
        return 0;
    VB_AUTO_FD int from = vb_beneath_open(s->x->p->root, i->path, O_RDONLY | O_NONBLOCK, 0, 0);
    if (from < 0 || fstat(from, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != i->size)
        return 0;
    if (ftruncate(in->fd, 0) < 0 || lseek(in->fd, 0, SEEK_SET) < 0)
        return 0;
    /* A clone cannot be torn, and its inode looked as the row says before and after. */
    s->found = (i->look && i->look == vb_file_look(&st) && ioctl(in->fd, FICLONE, from) == 0 && fstat(from, &st) == 0 &&
                i->look == vb_file_look(&st)) ||
               copy_checked(from, in->fd, i->size, in->row.item.content);
    return s->found;
}

static int find_here(struct vb_receiver *x, struct vb_incoming *in, bool *found, struct vb_error *err)
{
    struct search s = { .x = x, .in = in };
    if (vb_replica_by_content(x->p->store, x->p->scope.id, in->row.item.content, try_copy, &s, err) < 0)
        return -1;
    *found = s.found;
    if (!s.found && (ftruncate(in->fd, 0) < 0 || lseek(in->fd, 0, SEEK_SET) < 0))
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
    return 0;
}

/* ---- staged ---- */

static int continue_partial(struct vb_receiver *x, struct vb_incoming *in)
{
    struct stat st;
    VB_AUTO_FREE unsigned char *b = vb_alloc(VB_RSTREAM_PIECE);
    VB_AUTO_FREE char *name = partial_name(in->row.item.content);
    int fd = openat(x->p->stage, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    in->fd = fd;
    vb_free_ptr(&in->staged);
    in->staged = VB_STEAL(name);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    uint64_t end = (uint64_t)st.st_size / BLOCK * BLOCK;
    if (end > in->row.item.size)
        end = 0;
    if (ftruncate(fd, (off_t)end) < 0)
        return -1;
    while (in->offset < end) {
        size_t want = end - in->offset < VB_RSTREAM_PIECE ? (size_t)(end - in->offset) : VB_RSTREAM_PIECE;
        ssize_t n = pread(fd, b, want, (off_t)in->offset);
        if (n <= 0)
            return -1;
        vb_hasher_add(in->sum, b, (size_t)n);
        in->offset += (uint64_t)n;
    }
    return 0;
}

/* Makes what has no content to be sent, or opens the file that will receive it.  *ask: content must be asked for. */
static int open_staged(struct vb_receiver *x, struct vb_incoming *in, bool *ask, struct vb_error *err)
{
    const struct vb_item *i = &in->row.item;
    bool found = false;
    *ask = false;
    in->staged = vb_stage_name(x->p);
    if (i->kind == VB_ITEM_LINK)
        return symlinkat(in->row.target, x->p->stage, in->staged) == 0 ? 0 : vb_fail_errno(err, errno, "link '%s'", i->path);
    if (i->kind == VB_ITEM_SPECIAL) {
        if (!S_ISFIFO(in->row.type) && (!x->p->set.owners || !x->p->privileged))
            return vb_fail(err, VB_E_ACCESS_DENIED, "'%s' is a device: it is replicated as root, with owners, only", i->path);
        return mknodat(x->p->stage, in->staged, (mode_t)(in->row.type | 0600u), (dev_t)in->row.device) == 0
                   ? 0
                   : vb_fail_errno(err, errno, "special file '%s'", i->path);
    }
    in->fd = openat(x->p->stage, in->staged, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (in->fd < 0)
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
    in->sum = vb_hasher_new();
    if (i->size && find_here(x, in, &found, err) < 0)
        return -1;
    if (found)
        vb_hasher_free(&in->sum);
    if (found || !i->size)
        return 0;
    if (i->size >= RESUME_SIZE && !x->bundle) {
        unlinkat(x->p->stage, in->staged, 0);
        vb_close_fd(&in->fd);
        if (continue_partial(x, in) < 0)
            return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
    }
    *ask = true;
    return 0;
}

/* Verified, with its attributes, on its way to the disk. */
static int finish_staged(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err)
{
    const struct vb_item *i = &in->row.item;
    unsigned char got[VB_HASH_LEN];
    if (in->fd >= 0 && in->sum) {
        vb_hasher_end(VB_STEAL(in->sum), got);
        if (in->offset != i->size || memcmp(got, i->content, VB_HASH_LEN) != 0) {
            unlinkat(x->p->stage, in->staged, 0);
            return vb_fail(err, VB_E_FILE_CHANGED, "'%s' is not what was announced; it comes with the next pass", i->path);
        }
    }
    if (in->fd < 0)
        in->fd = openat(x->p->stage, in->staged, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    bool regular = i->kind == VB_ITEM_FILE;
    if (in->fd < 0 || (regular && ftruncate(in->fd, (off_t)i->size) < 0))
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
    if (vb_file_set(x->p, in->fd, !regular, i, in->row.attrs.data, in->row.attrs.len, err) < 0)
        return -1;
    if (regular && fsync(in->fd) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be made durable", i->path);
    vb_close_fd(&in->fd);
    return 0;
}

static void unstage(struct vb_receiver *x, struct vb_incoming *in)
{
    vb_close_fd(&in->fd);
    vb_hasher_free(&in->sum);
    if (in->staged && in->staged[0] == 'n')
        unlinkat(x->p->stage, in->staged, 0);
}

void vb_take_give_up(struct vb_receiver *x, struct vb_incoming *in, const struct vb_error *why)
{
    unstage(x, in);
    vb_receive_leave(x, in, why);
}

/* ---- received ---- */

static bool all_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* The next bytes of a file; a hole where they are zero. */
static int add_bytes(struct vb_receiver *x, struct vb_incoming *in, const unsigned char *b, uint64_t zeros, size_t n, struct vb_error *err)
{
    static const unsigned char nothing[BLOCK];
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    for (uint64_t left = zeros; left;) { /* a hole: nothing is written */
        size_t part = left < BLOCK ? (size_t)left : BLOCK;
        vb_hasher_add(in->sum, nothing, part);
        left -= part;
    }
    if (n && (lseek(in->fd, (off_t)in->offset, SEEK_SET) < 0 || vb_write_all(in->fd, b, n, &why) < 0)) {
        vb_context(&why, "'%s'", in->row.item.path);
        vb_take_give_up(x, in, &why);
        return 0;
    }
    if (zeros && ftruncate(in->fd, (off_t)(in->offset + zeros)) < 0)
        return vb_fail_errno(err, errno, "'%s'", in->row.item.path);
    vb_hasher_add(in->sum, b, n);
    in->offset += zeros ? zeros : n;
    return 0;
}

int vb_take_bytes(struct vb_receiver *x, struct vb_incoming *in, const void *p, size_t n, struct vb_error *err)
{
    return all_zero(p, n) ? add_bytes(x, in, NULL, n, 0, err) : add_bytes(x, in, p, 0, n, err);
}

int vb_take_piece(struct vb_receiver *x, const struct vb_msg *m, struct vb_error *err)
{
    uint64_t index = vb_msg_u64(m, VB_RF_INDEX, UINT64_MAX), offset = vb_msg_u64(m, VB_RF_OFFSET, 0);
    uint64_t zeros = vb_msg_u64(m, VB_RF_ZEROS, 0);
    const unsigned char *b = NULL;
    size_t n = 0;
    if (index >= x->n || (!zeros && !vb_msg_bytes(m, VB_RF_BYTES, &b, &n)))
        return vb_fail(err, VB_E_PROTOCOL, "content of an item that was not announced");
    struct vb_incoming *in = &x->rows[index];
    if (in->failed || !in->sum || in->fd < 0) /* given up, found here, or a bundle's that is not needed */
        return 0;
    uint64_t len = zeros ? zeros : n;
    if (offset != in->offset || len > in->row.item.size - in->offset)
        return vb_fail(err, VB_E_PROTOCOL, "'%s': content out of order", in->row.item.path);
    x->out->bytes += len;
    return add_bytes(x, in, b, zeros, n, err);
}

static int receive_all(struct vb_receiver *x, struct vb_error *err)
{
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (vb_rstream_recv(x->s, &m, err) < 0)
            return -1;
        if (m.type == VB_R_ROWS_END)
            return 0;
        if (m.type == VB_R_DATA) {
            if (vb_take_piece(x, &m, err) < 0)
                return -1;
            continue;
        }
        if (m.type == VB_R_BLOCKS) {
            if (vb_delta_take(x, &m, err) < 0)
                return -1;
            continue;
        }
        uint64_t index = vb_msg_u64(&m, VB_RF_INDEX, UINT64_MAX);
        if (m.type != VB_R_DATA_END || index >= x->n)
            return vb_fail(err, VB_E_PROTOCOL, "message %d among contents", (int)m.type);
        if (vb_msg_error(&m, &why) < 0 && x->rows[index].needs)
            vb_take_give_up(x, &x->rows[index], &why);
    }
}

/* A large file that was another one here: what both have in common need not travel. */
static bool has_base(const struct vb_incoming *in)
{
    const struct vb_item *l = &in->local;
    return in->row.item.size >= VB_DELTA_MIN && l->path && !l->deleted && l->kind == VB_ITEM_FILE && l->size >= VB_DELTA_MIN / 2;
}

int vb_take_contents(struct vb_receiver *x, struct vb_error *err)
{
    VB_AUTO_MSG need = VB_MSG_INIT(VB_R_NEED);
    for (size_t i = 0; i < x->n; i++) {
        struct vb_incoming *in = &x->rows[i];
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        bool ask = false;
        if (!in->needs || x->o->dry_run)
            continue;
        if (open_staged(x, in, &ask, &why) < 0) {
            vb_take_give_up(x, in, &why);
        } else if (ask) {
            VB_AUTO_MSG g = VB_MSG_INIT(0);
            vb_msg_add_u64(&g, VB_RF_INDEX, i);
            vb_msg_add_u64(&g, VB_RF_OFFSET, in->offset);
            in->delta = has_base(in);
            if (in->delta)
                vb_msg_add_u64(&g, VB_RF_BLOCK, 1);
            vb_msg_add_group(&need, VB_RF_NEED, &g);
        }
    }
    if ((!x->bundle && vb_rstream_send(x->s, &need, err) < 0) || receive_all(x, err) < 0)
        return -1;
    for (size_t i = 0; i < x->n; i++) {
        struct vb_incoming *in = &x->rows[i];
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (in->needs && in->staged && !in->failed && finish_staged(x, in, &why) < 0)
            vb_take_give_up(x, in, &why);
    }
    return 0;
}
