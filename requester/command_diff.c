/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup diff: what differs between two backups.
 *
 * Directories with one name are equal with all below, so only what differs is read.  Directories nest as deep as a file
 * system lets them: what is still to be compared waits in a list.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/entry_show.h"
#include "requester/pick.h"
#include "store/repository.h"

/* One directory, or an entry, on both sides; one of them may have none. */
struct pair {
    bool has[2];
    struct vb_name dir[2];
    char *path;
};

struct item {
    char *name;
    char *text; /* what of it is compared beside content and size, and shown by nobody */
    enum vb_tree_type type;
    uint64_t size;
    struct vb_name subtree;
    struct vb_content content;
};

struct items {
    struct item *v;
    size_t n, cap;
};

struct names {
    struct vb_name *v;
    size_t n, cap;
};

struct diff {
    struct vb_cli *cli;
    struct vb_repo *repo;
    struct vb_strv paths;
    const char *host;
    struct pair *list;
    size_t n, cap;
    uint64_t added, removed, changed, metadata;
    uint64_t bytes_added, bytes_removed; /* of content */
};

/* ---- one directory in memory ---- */

static char *describe(const struct vb_tree_entry *e)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_addf(&b, "%o %u %u %lld.%u %u:%u %u %u %s", (unsigned)e->mode, e->uid, e->gid,
                e->type == VB_TREE_DIR ? 0 : (long long)e->mtime_sec, e->type == VB_TREE_DIR ? 0 : e->mtime_nsec, e->rdev_major,
                e->rdev_minor, e->inode_flags, e->project, e->target ? e->target : "");
    for (size_t i = 0; i < e->n_xattrs; i++) {
        struct vb_name hash;
        char hex[VB_NAME_HEX_LEN + 1];
        vb_sha256(e->xattrs[i].value ? e->xattrs[i].value : "", e->xattrs[i].len, &hash);
        vb_name_hex(&hash, hex);
        vb_buf_addf(&b, " %s=%s", e->xattrs[i].name, hex);
    }
    for (size_t i = 0; i < e->n_holes; i++)
        vb_buf_addf(&b, " h%llu+%llu", (unsigned long long)e->holes[i].offset, (unsigned long long)e->holes[i].len);
    return vb_buf_take_str(&b);
}

static int take(void *arg, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct items *l = arg;
    (void)err;
    VB_GROW(l->v, l->n, l->cap);
    struct item *i = &l->v[l->n++];
    memset(i, 0, sizeof *i);
    i->name = vb_strdup(e->name);
    i->text = describe(e);
    i->type = e->type;
    i->size = e->type == VB_TREE_FILE ? e->size : 0;
    i->subtree = e->subtree;
    vb_content_copy(&i->content, &e->content);
    return 0;
}

static void items_clear(struct items *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i].name);
        free(l->v[i].text);
        vb_content_clear(&l->v[i].content);
    }
    free(l->v);
    memset(l, 0, sizeof *l);
}

/* ---- telling ---- */

static void tell(struct diff *d, const char *what, const char *path, const struct item *a, const struct item *b)
{
    const struct item *any = b ? b : a;
    const char letter[2] = { vb_entry_letter(any->type), 0 };
    if (d->cli->json) {
        json_t *o = vb_cli_message("difference");
        json_object_set_new(o, "change", json_string(what));
        json_object_set_new(o, "host", vb_cli_text(d->host));
        json_object_set_new(o, "path", vb_cli_text(path));
        json_object_set_new(o, "type", json_string(letter));
        json_object_set_new(o, "size_before", a ? json_integer((json_int_t)a->size) : json_null());
        json_object_set_new(o, "size_after", b ? json_integer((json_int_t)b->size) : json_null());
        vb_cli_json(o);
        return;
    }
    static const char signs[][2] = { "+", "-", "M", "m", "T" };
    static const char *const kinds[] = { "added", "removed", "changed", "metadata", "type" };
    size_t k = 0;
    while (strcmp(kinds[k], what) != 0)
        k++;
    VB_AUTO_FREE char *shown = vb_escape_terminal(path, strlen(path));
    printf("%s %s%s\n", signs[k], shown, any->type == VB_TREE_DIR ? "/" : "");
}

/* ---- bytes ---- */

static int take_name(void *arg, const struct vb_name *name, uint64_t size, struct vb_error *err)
{
    struct names *l = arg;
    (void)size, (void)err;
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = *name;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return vb_name_compare(a, b);
}

struct missing {
    const struct names *in;
    uint64_t bytes;
};

static int count_missing(void *arg, const struct vb_name *name, uint64_t size, struct vb_error *err)
{
    struct missing *m = arg;
    (void)err;
    if (m->in->n == 0 || !bsearch(name, m->in->v, m->in->n, sizeof *name, by_name))
        m->bytes += size;
    return 0;
}

/* Bytes of chunks of a that b has not got. */
static int bytes_only_in(struct diff *d, const struct item *a, const struct item *b, uint64_t *bytes, struct vb_error *err)
{
    struct names l = { 0 };
    struct missing m = { &l, 0 };
    int rc = vb_content_walk(d->repo, &b->content, take_name, &l, err);
    if (rc == 0 && l.n > 1)
        qsort(l.v, l.n, sizeof *l.v, by_name);
    if (rc == 0)
        rc = vb_content_walk(d->repo, &a->content, count_missing, &m, err);
    free(l.v);
    *bytes += m.bytes;
    return rc;
}

/* ---- comparing ---- */

static void wait_for(struct diff *d, const struct item *a, const struct item *b, const char *path)
{
    struct pair p = { { a && a->type == VB_TREE_DIR, b && b->type == VB_TREE_DIR }, { { { 0 } }, { { 0 } } }, NULL };
    if (p.has[0])
        p.dir[0] = a->subtree;
    if (p.has[1])
        p.dir[1] = b->subtree;
    if ((!p.has[0] && !p.has[1]) || (p.has[0] && p.has[1] && vb_name_equal(&p.dir[0], &p.dir[1])))
        return;
    p.path = vb_strdup(path);
    VB_GROW(d->list, d->n, d->cap);
    d->list[d->n++] = p;
}

static bool same_content(const struct vb_content *a, const struct vb_content *b)
{
    if (a->level != b->level || a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!vb_name_equal(&a->refs[i].name, &b->refs[i].name) || a->refs[i].size != b->refs[i].size)
            return false;
    return true;
}

static int compare_items(struct diff *d, const char *path, const struct item *a, const struct item *b, struct vb_error *err)
{
    enum vb_pick pick = vb_pick_path(&d->paths, path);
    if (pick == VB_PICK_OUT)
        return 0;
    wait_for(d, a, b, path);
    if (pick == VB_PICK_ABOVE)
        return 0;
    if (!a || !b) {
        tell(d, a ? "removed" : "added", path, a, b);
        *(a ? &d->removed : &d->added) += 1;
        d->bytes_removed += a ? a->size : 0;
        d->bytes_added += b ? b->size : 0;
    } else if (a->type != b->type) {
        tell(d, "type", path, a, b);
        d->changed++;
        d->bytes_removed += a->size;
        d->bytes_added += b->size;
    } else if (a->type == VB_TREE_FILE && (a->size != b->size || !same_content(&a->content, &b->content))) {
        tell(d, "changed", path, a, b);
        d->changed++;
        return bytes_only_in(d, a, b, &d->bytes_removed, err) < 0 ? -1 : bytes_only_in(d, b, a, &d->bytes_added, err);
    } else if (strcmp(a->text, b->text) != 0) {
        tell(d, "metadata", path, a, b);
        d->metadata++;
    }
    return 0;
}

static int compare_pair(struct diff *d, const struct pair *p, bool root, struct vb_error *err)
{
    struct items side[2] = { { 0 }, { 0 } };
    int rc = 0;
    size_t first = d->n;
    for (int s = 0; s < 2 && rc == 0; s++)
        if (p->has[s])
            rc = vb_tree_read(d->repo, &p->dir[s], take, &side[s], err);
    for (size_t i = 0, k = 0; rc == 0 && (i < side[0].n || k < side[1].n);) {
        const struct item *a = i < side[0].n ? &side[0].v[i] : NULL, *b = k < side[1].n ? &side[1].v[k] : NULL;
        int order = root ? 0 : !a ? 1 : !b ? -1 : strcmp(a->name, b->name);
        a = order <= 0 ? a : NULL;
        b = order >= 0 ? b : NULL;
        VB_AUTO_FREE char *path = root ? vb_strdup(p->path) : vb_path_join(p->path, a ? a->name : b->name);
        rc = compare_items(d, path, a, b, err);
        i += a != NULL;
        k += b != NULL;
    }
    /* the last in is the first out: turned round, they come in order */
    for (size_t i = first, k = d->n; i + 1 < k; i++) {
        struct pair swap = d->list[i];
        d->list[i] = d->list[--k];
        d->list[k] = swap;
    }
    items_clear(&side[0]);
    items_clear(&side[1]);
    if (rc < 0)
        vb_context(err, "'%s'", p->path);
    return rc;
}

static int compare_roots(struct diff *d, const struct vb_catalog_root *a, const struct vb_catalog_root *b, struct vb_error *err)
{
    struct pair top = { { a && a->has_tree, b && b->has_tree }, { { { 0 } }, { { 0 } } }, a ? a->path : b->path };
    if (top.has[0])
        top.dir[0] = a->tree;
    if (top.has[1])
        top.dir[1] = b->tree;
    if (vb_pick_path(&d->paths, top.path) == VB_PICK_OUT ||
        (top.has[0] && top.has[1] && vb_name_equal(&top.dir[0], &top.dir[1])))
        return 0;
    int rc = compare_pair(d, &top, true, err);
    while (d->n > 0) {
        struct pair p = d->list[--d->n];
        if (rc == 0)
            rc = compare_pair(d, &p, false, err);
        free(p.path);
    }
    return rc;
}

/* A file set of one side.  Several may begin at one path: with other file specifications, or in other components. */
struct file_set {
    const char *host;
    const struct vb_catalog_root *root;
    char *what, *component;
    struct file_set *other; /* of the other side */
};

struct file_sets {
    struct file_set *v;
    size_t n, cap;
};

static void list_sets(const struct diff *d, const struct vb_catalog_entry *e, struct file_sets *l)
{
    const char *only = vb_cli_opt(d->cli, "host");
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; (!only || strcmp(only, e->hosts[h].name) == 0) && c < e->hosts[h].n_components; c++)
            for (size_t i = 0; i < e->hosts[h].components[c].n_roots; i++) {
                const struct vb_catalog_component *comp = &e->hosts[h].components[c];
                const struct vb_catalog_root *r = &comp->roots[i];
                VB_GROW(l->v, l->n, l->cap);
                l->v[l->n++] = (struct file_set){
                    .host = e->hosts[h].name,
                    .root = r,
                    .what = vb_printf("%s\n%s\n%s\n%d", e->hosts[h].name, r->path, r->filespec ? r->filespec : "", r->recursive),
                    .component = vb_printf("%s\n%s\n%s", comp->instance_name ? comp->instance_name : "",
                                           comp->logical_path ? comp->logical_path : "", comp->name),
                };
            }
}

static void clear_sets(struct file_sets *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i].what);
        free(l->v[i].component);
    }
    free(l->v);
}

/* Those of the same component first; the others go together if they are of the same files. */
static void match_sets(struct file_sets *a, struct file_sets *b)
{
    for (int same_component = 1; same_component >= 0; same_component--)
        for (size_t i = 0; i < a->n; i++)
            for (size_t k = 0; k < b->n && !a->v[i].other; k++)
                if (!b->v[k].other && strcmp(a->v[i].what, b->v[k].what) == 0 &&
                    (!same_component || strcmp(a->v[i].component, b->v[k].component) == 0)) {
                    a->v[i].other = &b->v[k];
                    b->v[k].other = &a->v[i];
                }
}

static int compare_all(struct diff *d, const struct vb_catalog_entry *a, const struct vb_catalog_entry *b, struct vb_error *err)
{
    struct file_sets sets[2] = { { 0 }, { 0 } };
    int rc = 0;
    list_sets(d, a, &sets[0]);
    list_sets(d, b, &sets[1]);
    match_sets(&sets[0], &sets[1]);
    for (size_t i = 0; i < sets[0].n && rc == 0; i++) {
        const struct file_set *s = &sets[0].v[i];
        d->host = s->host;
        rc = compare_roots(d, s->root, s->other ? s->other->root : NULL, err);
    }
    for (size_t i = 0; i < sets[1].n && rc == 0; i++) {
        const struct file_set *s = &sets[1].v[i];
        d->host = s->host;
        if (!s->other)
            rc = compare_roots(d, NULL, s->root, err);
    }
    clear_sets(&sets[0]);
    clear_sets(&sets[1]);
    return rc;
}

static void summary(const struct diff *d, const struct vb_catalog_entry *a, const struct vb_catalog_entry *b)
{
    if (d->cli->json) {
        json_t *o = vb_cli_message("summary");
        json_object_set_new(o, "before", json_string(a->id));
        json_object_set_new(o, "after", json_string(b->id));
        json_object_set_new(o, "added", json_integer((json_int_t)d->added));
        json_object_set_new(o, "removed", json_integer((json_int_t)d->removed));
        json_object_set_new(o, "changed", json_integer((json_int_t)d->changed));
        json_object_set_new(o, "metadata", json_integer((json_int_t)d->metadata));
        json_object_set_new(o, "bytes_added", json_integer((json_int_t)d->bytes_added));
        json_object_set_new(o, "bytes_removed", json_integer((json_int_t)d->bytes_removed));
        vb_cli_json(o);
    } else if (!d->cli->quiet) {
        VB_AUTO_FREE char *in = vb_size_human(d->bytes_added), *out = vb_size_human(d->bytes_removed);
        printf("%llu added, %llu removed, %llu changed, %llu with other metadata only; %s new content, %s gone\n",
               (unsigned long long)d->added, (unsigned long long)d->removed, (unsigned long long)d->changed,
               (unsigned long long)d->metadata, in, out);
    }
}

static int run_diff(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct diff d = { .cli = cli };
    const char *host = vb_cli_opt(cli, "host"), *first = cli->argv[0], *second = cli->argv[1];
    struct vb_catalog_entry *a = NULL, *b = NULL;
    int rc = 0;
    if (strchr(first, '/') || strchr(second, '/'))
        rc = vb_fail(&err, VB_E_USAGE, "two backups are compared: name both, and paths behind them");
    cli->argc -= 2;
    cli->argv += 2;
    for (int i = 0; i < cli->argc && rc == 0; i++)
        if (!strchr(cli->argv[i], '/'))
            rc = vb_fail(&err, VB_E_USAGE, "'%s' is not a path: paths have a '/'", cli->argv[i]);
    (void)vb_cli_backup_and_paths(cli, &d.paths);
    if (rc == 0 && !(d.repo = vb_cli_open(cli, VB_REPO_READ, &err)))
        rc = -1;
    if (rc == 0 && (!(a = vb_repo_find(d.repo, first, host, &err)) || !(b = vb_repo_find(d.repo, second, host, &err))))
        rc = -1;
    if (rc == 0)
        rc = compare_all(&d, a, b, &err);
    if (rc == 0)
        summary(&d, a, b);
    vb_catalog_entry_free(a);
    vb_catalog_entry_free(b);
    vb_repo_close(d.repo);
    vb_strv_clear(&d.paths);
    free(d.list);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt diff_opts[] = { { "host", 0, "HOST", "only what came from this host" },
                                           { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_diff = { "diff", "BACKUP BACKUP [PATH...]", "show what differs between two backups", diff_opts, 2,
                                          -1, run_diff };
