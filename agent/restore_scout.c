/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_scout.c - goes through the directories ahead of the writer, and has the contents of small files on their way.
 *
 * In a tree of many small directories a look ahead within one of them is worth little: its first file would wait for an
 * answer each time.  The scout walks in the writer's order through the directories that the check has kept.  Both count
 * the entries that they pass; where the writer has been the scout asks for nothing any more.  What it asks for is a hint
 * only: nothing goes wrong if the writer does not need it after all, or gets there first.
 */
#include "config.h"

#include <string.h>

#include "agent/restore_scout.h"

struct level {
    struct vb_tree t; /* a leaf or a branch */
    size_t next;
    size_t depth;     /* of its directory; the root's is 1 */
};

struct vb_rst_scout {
    struct vb_restore *r;
    const struct vb_rst_root *root;
    struct level *levels;
    size_t n, cap;
    uint64_t passed;      /* entries */
    uint32_t ref;         /* of the entry at hand */
    struct vb_name awaited;
    size_t awaited_depth; /* 0: none */
    bool asked, off;
};

/* The awaited directory, or part of one, is next. */
static void await(struct vb_rst_scout *s, const struct vb_name *name, size_t depth)
{
    s->awaited = *name;
    s->awaited_depth = depth;
    s->asked = false;
}

struct vb_rst_scout *vb_rst_scout_new(struct vb_restore *r, const struct vb_rst_root *root, const struct vb_name *directory)
{
    struct vb_rst_scout *s = vb_alloc(sizeof *s);
    s->r = r;
    s->root = root;
    s->off = r->resume || r->overwrite; /* much of it may be there already */
    await(s, directory, 1);
    return s;
}

void vb_rst_scout_free(struct vb_rst_scout *s)
{
    if (!s)
        return;
    while (s->n)
        vb_tree_clear(&s->levels[--s->n].t);
    vb_free_ptr(&s->levels);
    vb_chunk_fetcher_drop_hints(s->r->in);
    vb_free_ptr(&s);
}

/* False: it is not there yet, or never will be. */
static bool enter(struct vb_rst_scout *s)
{
    const struct vb_buf *bytes = vb_chunk_fetcher_peek(s->r->in, VB_CHUNK_TREE, &s->awaited);
    if (!bytes && !s->asked) {
        s->asked = vb_chunk_fetcher_hint(s->r->in, VB_CHUNK_TREE, &s->awaited, 0);
        return false;
    }
    if (!bytes) { /* on its way; or the writer has used it up: once more then, to know where it is */
        s->asked = vb_chunk_fetcher_coming(s->r->in, VB_CHUNK_TREE, &s->awaited);
        return false;
    }
    VB_GROW(s->levels, s->n, s->cap);
    struct level *l = &s->levels[s->n];
    *l = (struct level){ .depth = s->awaited_depth };
    if (s->n >= VB_RST_MAX_DEPTH || vb_tree_decode(bytes->data, bytes->len, &l->t, NULL) < 0) {
        s->off = true; /* the writer will say what is wrong */
        return false;
    }
    s->n++;
    s->awaited_depth = 0;
    return true;
}

/* False: no more for now. */
static bool take(struct vb_rst_scout *s, const struct vb_tree_entry *e, uint64_t written)
{
    if (e->type != VB_TREE_FILE || e->content.level || e->link_group || s->passed < written)
        return true;
    for (; s->ref < e->content.n; s->ref++)
        if (!vb_chunk_fetcher_hint(s->r->in, VB_CHUNK_DATA, &e->content.refs[s->ref].name, e->content.refs[s->ref].size))
            return false;
    return true;
}

void vb_rst_scout_run(struct vb_rst_scout *s, uint64_t written)
{
    while (!s->off) {
        if (s->awaited_depth && !enter(s))
            return;
        if (!s->n) {
            s->off = true; /* all seen */
            return;
        }
        struct level *l = &s->levels[s->n - 1];
        size_t depth = l->depth;
        if (l->next == l->t.n) {
            vb_tree_clear(&l->t);
            s->n--;
        } else if (l->t.height) {
            await(s, &l->t.children[l->next++].name, depth);
        } else {
            const struct vb_tree_entry *e = &l->t.entries[l->next];
            bool takes = vb_rst_takes(s->root, e, depth - 1);
            if (takes && !take(s, e, written))
                return;
            l->next++;
            s->passed++;
            s->ref = 0;
            if (takes && e->type == VB_TREE_DIR)
                await(s, &e->subtree, depth + 1);
        }
    }
}
