/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/volumes.c - the mount table, and the volumes that paths lie on.
 */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/volumes.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/text.h"

#define MOUNTINFO_MAX (16u * 1024 * 1024)

/* ---- mountinfo ---- */

static void mount_clear(struct vb_mount *m)
{
    free(m->point);
    free(m->root);
    free(m->device);
    free(m->fs_type);
    free(m->dev);
}

void vb_mounts_clear(struct vb_mounts *m)
{
    for (size_t i = 0; i < m->n; i++)
        mount_clear(&m->v[i]);
    vb_free_ptr(&m->v);
    m->n = m->cap = 0;
}

void vb_mounts_leave_out(struct vb_mounts *m, const char *dir)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (vb_path_below(m->v[i].point, dir) && strcmp(m->v[i].point, dir) != 0)
            mount_clear(&m->v[i]);
        else
            m->v[kept++] = m->v[i];
    }
    m->n = kept;
}

/* The kernel writes blank, tab, newline and backslash as three octal digits. */
static char *unescape(const char *s, size_t n)
{
    char *out = vb_alloc(n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\' && i + 3 < n && s[i + 1] >= '0' && s[i + 1] <= '3' && s[i + 2] >= '0' && s[i + 2] <= '7' &&
            s[i + 3] >= '0' && s[i + 3] <= '7') {
            out[k++] = (char)((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
            i += 3;
        } else {
            out[k++] = s[i];
        }
    }
    return out;
}

static bool word(const char **p, const char *end, const char **w, size_t *n)
{
    while (*p < end && **p == ' ')
        ++*p;
    *w = *p;
    while (*p < end && **p != ' ')
        ++*p;
    *n = (size_t)(*p - *w);
    return *n > 0;
}

static int parse_line(struct vb_mounts *m, const char *line, size_t len, struct vb_error *err)
{
    const char *p = line, *end = line + len, *w[6], *type, *source, *opt;
    size_t n[6], n_type, n_source, n_opt;
    for (size_t i = 0; i < 6; i++)
        if (!word(&p, end, &w[i], &n[i]))
            return vb_fail(err, VB_E_CORRUPT, "mount table: line '%.*s' is too short", (int)(len < 80 ? len : 80),
                           line);
    do { /* optional fields up to a lone '-' */
        if (!word(&p, end, &opt, &n_opt))
            return vb_fail(err, VB_E_CORRUPT, "mount table: line '%.*s' has no separator", (int)(len < 80 ? len : 80),
                           line);
    } while (n_opt != 1 || *opt != '-');
    if (!word(&p, end, &type, &n_type) || !word(&p, end, &source, &n_source))
        return vb_fail(err, VB_E_CORRUPT, "mount table: line '%.*s' names no source", (int)(len < 80 ? len : 80), line);
    struct vb_mount x = {
        unescape(w[4], n[4]),       unescape(w[3], n[3]),
        unescape(source, n_source), unescape(type, n_type),
        vb_strndup(w[2], n[2]),     n[5] >= 2 && !strncmp(w[5], "ro", 2) && (n[5] == 2 || w[5][2] == ',')
    };
    if (x.point[0] == '/') { /* as the paths are that are looked up */
        char *clean = vb_path_clean(x.point);
        free(x.point);
        x.point = clean;
    } else {
        mount_clear(&x);
        return vb_fail(err, VB_E_CORRUPT, "mount table: line '%.*s' has no absolute mount point",
                       (int)(len < 80 ? len : 80), line);
    }
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->v[i].point, x.point)) { /* hidden by the later one */
            mount_clear(&m->v[i]);
            m->v[i] = x;
            return 0;
        }
    VB_GROW(m->v, m->n, m->cap);
    m->v[m->n++] = x;
    return 0;
}

int vb_mounts_parse(struct vb_mounts *m, const char *text, struct vb_error *err)
{
    for (const char *p = text; *p;) {
        const char *e = strchr(p, '\n');
        size_t n = e ? (size_t)(e - p) : strlen(p);
        if (n && parse_line(m, p, n, err) < 0)
            return -1;
        p += n + (e ? 1 : 0);
    }
    return 0;
}

int vb_mounts_load(struct vb_mounts *m, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &b, err) < 0)
        return -1;
    return vb_mounts_parse(m, vb_buf_str(&b), err);
}

const struct vb_mount *vb_mounts_find(const struct vb_mounts *m, const char *path)
{
    const struct vb_mount *best = NULL;
    for (size_t i = 0; i < m->n; i++)
        if (vb_path_below(path, m->v[i].point) && (!best || strlen(m->v[i].point) > strlen(best->point)))
            best = &m->v[i];
    return best;
}

/* ---- volumes ---- */

void vb_volumes_clear(struct vb_volumes *v)
{
    for (size_t i = 0; i < v->n; i++) {
        free(v->v[i].mount_point);
        free(v->v[i].device);
        free(v->v[i].fs_type);
        free(v->v[i].subvolume_root);
        vb_strv_clear(&v->v[i].trees);
        free(v->v[i].fs_root);
    }
    vb_free_ptr(&v->v);
    v->n = v->cap = 0;
}

char *vb_subvolume_root(void *arg, const char *path, const char *stop)
{
    char *p = vb_path_clean(path);
    (void)arg;
    for (;;) {
        struct stat st;
        if (lstat(p, &st) == 0 && S_ISDIR(st.st_mode) && st.st_ino == 256)
            return p;
        if (!strcmp(p, stop) || !strcmp(p, "/"))
            return p;
        char *slash = strrchr(p, '/');
        if (slash == p)
            slash++;
        *slash = '\0';
    }
}

/* Keeps the list free of trees below others. */
static void add_tree(struct vb_strv *trees, const char *path)
{
    for (size_t i = 0; i < trees->n; i++)
        if (vb_path_below(path, trees->v[i]))
            return;
    for (size_t i = 0; i < trees->n;) {
        if (vb_path_below(trees->v[i], path)) {
            free(trees->v[i]);
            trees->v[i] = trees->v[--trees->n];
        } else {
            i++;
        }
    }
    vb_strv_add(trees, path);
}

static int add_one(struct vb_volumes *v, const struct vb_mount *mt, size_t order, const char *path,
                   vb_subvolume_fn *subvolume, void *arg, struct vb_error *err)
{
    bool btrfs = !strcmp(mt->fs_type, "btrfs");
    VB_AUTO_FREE char *root = btrfs && subvolume ? subvolume(arg, path, mt->point) : vb_strdup(mt->point);
    for (size_t i = 0; i < v->n; i++)
        if (!strcmp(v->v[i].subvolume_root, root)) {
            add_tree(&v->v[i].trees, path);
            return 0;
        }
    if (v->n >= VB_MAX_VOLUMES) {
        vb_fail(err, VB_E_MAX_VOLUMES, "volume '%s' would be the %u. of the shadow copy set, %u are possible", root,
                VB_MAX_VOLUMES + 1, VB_MAX_VOLUMES);
        vb_hint(err, "split the components over several jobs");
        return -1;
    }
    VB_GROW(v->v, v->n, v->cap);
    struct vb_volume *x = &v->v[v->n++];
    *x = (struct vb_volume){ vb_strdup(mt->point), vb_strdup(mt->device), vb_strdup(mt->fs_type), VB_STEAL(root),
                             { NULL, 0, 0 }, vb_strdup(mt->root), order };
    vb_strv_add(&x->trees, path);
    return 0;
}

static bool pseudo(const char *type)
{
    static const char *const NAMES[] = { "proc",       "sysfs",    "devtmpfs", "devpts",      "cgroup", "cgroup2",
                                         "securityfs", "debugfs",  "tracefs",  "pstore",      "bpf",    "mqueue",
                                         "hugetlbfs",  "configfs", "fusectl",  "binfmt_misc", "autofs", "efivarfs",
                                         "rpc_pipefs", "nsfs",     "selinuxfs" };
    for (size_t i = 0; i < VB_COUNT(NAMES); i++)
        if (!strcmp(type, NAMES[i]))
            return true;
    return false;
}

bool vb_mount_holds_data(const struct vb_mount *m)
{
    return !pseudo(m->fs_type);
}

int vb_volumes_add(struct vb_volumes *v, const struct vb_mounts *m, const char *path, bool recursive,
                   vb_subvolume_fn *subvolume, void *arg, struct vb_error *err)
{
    VB_AUTO_FREE char *clean = vb_path_clean(path);
    const struct vb_mount *mt = vb_mounts_find(m, clean);
    if (!mt)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "path '%s' lies on no volume", path);
    if (add_one(v, mt, (size_t)(mt - m->v), clean, subvolume, arg, err) < 0)
        return -1;
    for (size_t i = 0; recursive && i < m->n; i++) /* a mounted volume is a member of its own (B-28) */
        if (strcmp(m->v[i].point, clean) != 0 && vb_path_below(m->v[i].point, clean) && !pseudo(m->v[i].fs_type) &&
            vb_mounts_find(m, m->v[i].point) == &m->v[i] &&
            add_one(v, &m->v[i], i, m->v[i].point, subvolume, arg, err) < 0)
            return -1;
    return 0;
}
