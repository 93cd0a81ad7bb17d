/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/mount_read.c - bytes out of the middle of a file: down through its lists to the pieces, and nothing else is
 * read.  Pieces and lists that were used lately stay in memory, up to a bound.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "requester/mount_internal.h"

static void make_room(struct vb_mount_tree *t, size_t more)
{
    while (t->pieces_bytes > 0 && t->pieces_bytes + more > VB_MOUNT_PIECES_BYTES) {
        struct vb_mount_piece *oldest = NULL;
        for (size_t i = 0; i < VB_MOUNT_PIECES; i++)
            if (t->pieces[i].used && (!oldest || t->pieces[i].used < oldest->used))
                oldest = &t->pieces[i];
        if (!oldest)
            return;
        t->pieces_bytes -= oldest->bytes.cap;
        vb_buf_clear(&oldest->bytes);
        oldest->used = 0;
    }
}

/* The pointer is good until the next call. */
static const struct vb_buf *get_piece(struct vb_mount_tree *t, enum vb_chunk_type type, const struct vb_name *name,
                                      struct vb_error *err)
{
    struct vb_mount_piece *place = NULL;
    for (size_t i = 0; i < VB_MOUNT_PIECES; i++) {
        struct vb_mount_piece *p = &t->pieces[i];
        if (p->used && vb_name_equal(&p->name, name)) {
            p->used = ++t->clock;
            return &p->bytes;
        }
        if (!place || p->used < place->used)
            place = p;
    }
    if (place->used) {
        t->pieces_bytes -= place->bytes.cap;
        vb_buf_clear(&place->bytes);
        place->used = 0;
    }
    vb_buf_reset(&place->bytes);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    if (vb_repo_get(t->repo, type, name, &bytes, err) < 0)
        return NULL;
    make_room(t, bytes.cap);
    vb_buf_clear(&place->bytes);
    place->bytes = bytes;
    bytes = (struct vb_buf)VB_BUF_INIT;
    place->name = *name;
    place->used = ++t->clock;
    t->pieces_bytes += place->bytes.cap;
    return &place->bytes;
}

/* Appends up to len bytes of the content from offset on, at least one unless the content ends before: those of one piece. */
static int read_some(struct vb_mount_tree *t, const struct vb_ref *refs, size_t n, unsigned level, uint64_t offset, size_t len,
                     struct vb_buf *out, struct vb_error *err)
{
    size_t i = 0;
    while (i < n && offset >= refs[i].size)
        offset -= refs[i++].size;
    if (i == n)
        return 0;
    const struct vb_buf *piece = get_piece(t, level ? VB_CHUNK_LIST : VB_CHUNK_DATA, &refs[i].name, err);
    if (!piece)
        return -1;
    if (level > 0) {
        VB_AUTO_FREE struct vb_ref *below = NULL;
        size_t n_below = 0;
        uint8_t own = 0;
        if (vb_list_decode(piece->data, piece->len, &own, &below, &n_below, err) < 0)
            return -1;
        if (own + 1u != level) /* the depth is bounded by this */
            return vb_fail(err, VB_E_CORRUPT, "list does not fit its place");
        return read_some(t, below, n_below, own, offset, len, out, err);
    }
    if (piece->len != refs[i].size)
        return vb_fail(err, VB_E_CORRUPT, "has not the size its list says");
    size_t there = piece->len - (size_t)offset;
    vb_buf_add(out, vb_buf_at(piece, offset), there < len ? there : len);
    return 0;
}

/* The next part of the file from offset on: a hole, or data and where it stands in the content. */
static bool next_part(const struct vb_mount_node *n, uint64_t offset, uint64_t *content_at, uint64_t *len)
{
    uint64_t holes = 0;
    for (size_t i = 0; i < n->n_holes; i++) {
        const struct vb_hole *h = &n->holes[i];
        if (offset < h->offset) {
            *content_at = offset - holes;
            *len = h->offset - offset;
            return true;
        }
        if (offset < h->offset + h->len) {
            *len = h->offset + h->len - offset;
            return false;
        }
        holes += h->len;
    }
    *content_at = offset - holes;
    *len = n->size - offset;
    return true;
}

int vb_mount_read(struct vb_mount_tree *t, struct vb_mount_node *n, uint64_t offset, size_t len, struct vb_buf *out,
                  struct vb_error *err)
{
    if (offset >= n->size)
        return 0;
    if (len > n->size - offset)
        len = (size_t)(n->size - offset);
    while (len > 0) {
        uint64_t at = 0, part = 0;
        size_t before = out->len;
        bool data = next_part(n, offset, &at, &part);
        size_t want = part < len ? (size_t)part : len;
        if (!data) {
            vb_buf_reserve(out, want);
            memset(vb_buf_at(out, out->len), 0, want);
            out->len += want;
        } else if (read_some(t, n->content.refs, n->content.n, n->content.level, at, want, out, err) < 0) {
            return -1;
        } else if (out->len == before) {
            return vb_fail(err, VB_E_CORRUPT, "its content ends before the file does");
        }
        offset += out->len - before;
        len -= out->len - before;
    }
    return 0;
}
