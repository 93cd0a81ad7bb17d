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
#define SYNC_EACH 4u /* files of a batch that are synced one by one; more: with all that the file system has to write */

static char *partial_name(const unsigned char hash[VB_HASH_LEN])
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_char(&b, 'p');
    for (size_t i = 0; i < VB_HASH_LEN; i++)
        vb_buf_addf(&b, "%02x", hash[i]);
    return vb_buf_take_str(&b);
}

/* Only one staged file is open at a time: a batch may have more than a process may open. */
static int open_fd(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err)
{
    if (in->fd < 0)
        in->fd = openat(x->p->stage, in->staged, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return in->fd >= 0 ? 0 : vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
}

/* ---- found here ---- */

/* The file that the source says has this name, too, is what it should be: one inode more needs no content. */
static int find_other_name(struct vb_receiver *x, struct vb_incoming *in, bool *found, struct vb_error *err)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_item row;
    struct stat st;
    const char *name, *path = in->row.hard;
    if (!path || !vb_place_takes(x->p, path, false))
        return 0;
    if (vb_replica_find(x->p->store, x->p->scope.id, path, &row, &e) < 0)
        return e.code == VB_E_OBJECT_NOT_FOUND ? 0 : vb_error_move(err, &e);
    VB_AUTO_FD int dir = vb_beneath_parent(x->p->root, path, &name);
    *found = !row.deleted && vb_item_same(&row, &in->row.item) && dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
             S_ISREG(st.st_mode) && (uint64_t)st.st_size == row.size && st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == row.mtime_ns &&
             linkat(dir, name, x->p->stage, in->staged, 0) == 0;
    in->as_link = *found;
    vb_item_clear(&row);
    return 0;
}

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
    if (open_fd(s->x, in, NULL) < 0 || ftruncate(in->fd, 0) < 0 || lseek(in->fd, 0, SEEK_SET) < 0)
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
    if (!s.found && in->fd >= 0 && (ftruncate(in->fd, 0) < 0 || lseek(in->fd, 0, SEEK_SET) < 0))
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
    if (i->size && (find_other_name(x, in, &found, err) < 0 || (!found && find_here(x, in, &found, err) < 0)))
        return -1;
    if (found)
        return 0;
    in->sum = vb_hasher_new();
    if (!i->size)
        return open_fd(x, in, err);
    if (in->fd >= 0) /* a try that failed */
        unlinkat(x->p->stage, in->staged, 0);
    vb_close_fd(&in->fd);
    if (i->size >= RESUME_SIZE && !x->bundle && continue_partial(x, in) < 0)
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
    *ask = true;
    return 0;
}

/* Verified, with its attributes, on its way to the disk. */
static int finish_staged(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err)
{
    const struct vb_item *i = &in->row.item;
    unsigned char got[VB_HASH_LEN];
    if (in->as_link) /* all of it is the other name's */
        return 0;
    if (in->sum) {
        vb_hasher_end(VB_STEAL(in->sum), got);
        if (in->offset != i->size || memcmp(got, i->content, VB_HASH_LEN) != 0) {
            unlinkat(x->p->stage, in->staged, 0);
            return vb_fail(err, VB_E_FILE_CHANGED, "'%s' is not what was announced; it comes with the next pass", i->path);
        }
    }
    bool regular = i->kind == VB_ITEM_FILE;
    if (in->fd < 0)
        in->fd = openat(x->p->stage, in->staged, (regular ? O_RDWR : O_PATH) | O_NOFOLLOW | O_CLOEXEC);
    if (in->fd < 0 || (regular && ftruncate(in->fd, (off_t)i->size) < 0))
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s'", in->staged);
    if (vb_file_set(x->p, in->fd, !regular, i, in->row.attrs.data, in->row.attrs.len, err) < 0)
        return -1;
    if (regular && !x->sync_all && fsync(in->fd) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be made durable", i->path);
    vb_close_fd(&in->fd);
    in->finished = true;
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
    if (open_fd(x, in, &why) < 0) {
        vb_take_give_up(x, in, &why);
        return 0;
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
    if (in->failed || !in->sum) /* given up, found here, or a bundle's that is not needed */
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
        struct vb_incoming *in = &x->rows[index];
        if (in->failed || !in->needs || !in->sum) /* given up, or a bundle's that is here already */
            continue;
        if (vb_msg_error(&m, &why) < 0 || finish_staged(x, in, &why) < 0)
            vb_take_give_up(x, in, &why);
    }
}

/* A large file that was another one here: what both have in common need not travel. */
static bool has_base(const struct vb_incoming *in)
{
    const struct vb_item *l = &in->local;
    return in->row.item.size >= VB_DELTA_MIN && l->path && !l->deleted && l->kind == VB_ITEM_FILE && l->size >= VB_DELTA_MIN / 2;
}

/* The source says that it is one inode with row k, or with one that is so already. */
static bool is_other_name(const struct vb_receiver *x, size_t at, size_t k)
{
    const struct vb_incoming *in = &x->rows[at], *o = &x->rows[k];
    if (!in->row.hard || in->loser_copy || o->loser_copy || !vb_item_same(&o->row.item, &in->row.item))
        return false;
    for (size_t h = 0; h < at; h++)
        if (!strcmp(x->rows[h].row.item.path, in->row.hard))
            return h == k || (x->rows[h].same_as == k + 1 && x->rows[h].as_link);
    return false;
}

/* Once in a batch is enough: the second file is copied from the first, or is another name of it. */
static bool same_before(struct vb_receiver *x, size_t at)
{
    struct vb_incoming *in = &x->rows[at];
    const struct vb_item *i = &in->row.item;
    if (i->kind != VB_ITEM_FILE || !i->size)
        return false;
    for (size_t k = 0; k < at; k++) {
        const struct vb_incoming *o = &x->rows[k];
        if (!o->needs || o->failed || o->same_as || o->row.item.kind != VB_ITEM_FILE ||
            memcmp(o->row.item.content, i->content, VB_HASH_LEN) != 0)
            continue;
        in->same_as = k + 1;
        in->as_link = is_other_name(x, at, k);
        return true;
    }
    return false;
}

static int take_from(struct vb_receiver *x, struct vb_incoming *in, const struct vb_incoming *first, struct vb_error *err)
{
    const char *path = in->row.item.path;
    if (first->failed || !first->staged)
        return vb_fail(err, VB_E_FILE_CHANGED, "'%s' could not be had; it comes with the next pass", path);
    if (in->as_link)
        return linkat(x->p->stage, first->staged, x->p->stage, in->staged, 0) == 0 ? 0 : vb_fail_errno(err, errno, "'%s'", path);
    VB_AUTO_FD int from = openat(x->p->stage, first->staged, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 || open_fd(x, in, err) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be copied", path);
    return copy_checked(from, in->fd, in->row.item.size, in->row.item.content)
               ? 0
               : vb_fail(err, VB_E_FILE_CHANGED, "'%s' could not be copied; it comes with the next pass", path);
}

int vb_take_contents(struct vb_receiver *x, struct vb_error *err)
{
    VB_AUTO_MSG need = VB_MSG_INIT(VB_R_NEED);
    size_t files = 0;
    for (size_t i = 0; i < x->n; i++)
        files += x->rows[i].needs && x->rows[i].row.item.kind == VB_ITEM_FILE;
    x->sync_all = files > SYNC_EACH && !x->o->dry_run;
    for (size_t i = 0; i < x->n; i++) {
        struct vb_incoming *in = &x->rows[i];
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        bool ask = false;
        if (!in->needs || x->o->dry_run)
            continue;
        if (same_before(x, i)) {
            in->staged = vb_stage_name(x->p);
            continue;
        }
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
        vb_close_fd(&in->fd);
    }
    if ((!x->bundle && vb_rstream_send(x->s, &need, err) < 0) || receive_all(x, err) < 0)
        return -1;
    for (size_t i = 0; i < x->n; i++) {
        struct vb_incoming *in = &x->rows[i];
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (!in->needs || !in->staged || in->failed || in->finished)
            continue;
        if ((in->same_as && take_from(x, in, &x->rows[in->same_as - 1], &why) < 0) || finish_staged(x, in, &why) < 0)
            vb_take_give_up(x, in, &why);
    }
    if (x->sync_all && syncfs(x->p->stage) < 0)
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage' cannot be made durable");
    return 0;
}
