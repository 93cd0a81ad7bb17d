/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/record.c - records of shadow copies: key, zero byte, value, zero byte, and so on.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "providers/support/support.h"

#define MAX_RECORD ((size_t)4 << 20)

void vb_ps_record_clear(struct vb_ps_record *r)
{
    free(r->snapshot_id);
    free(r->set_id);
    free(r->mount_point);
    free(r->source);
    free(r->place);
    free(r->trees);
    free(r->object);
    memset(r, 0, sizeof *r);
}

static int state_dir(const struct vb_ps *s)
{
    const char *dir = s->svc->state_dir(s->host);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        vb_ps_fail_errno(s, errno, NULL, "state directory '%s' cannot be opened", dir);
    return fd;
}

static bool put(FILE *f, const char *key, const char *value)
{
    return !value || (fwrite(key, strlen(key) + 1, 1, f) == 1 && fwrite(value, strlen(value) + 1, 1, f) == 1);
}

static int write_record(int dir, const char *temp, const struct vb_ps_record *r)
{
    int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    char *when = vb_ps_printf("%lld", r->created_sec);
    bool ok = put(f, "snapshot", r->snapshot_id) && put(f, "set", r->set_id) && put(f, "mount", r->mount_point) &&
              put(f, "source", r->source) && put(f, "place", r->place) && put(f, "trees", r->trees) &&
              put(f, "object", r->object) &&
              put(f, "created", when);
    free(when);
    ok = ok && fflush(f) == 0 && fsync(fd) == 0;
    int saved = errno;
    ok = fclose(f) == 0 && ok;
    errno = saved ? saved : errno;
    return ok ? 0 : -1;
}

int vb_ps_record_save(const struct vb_ps *s, const struct vb_ps_record *r)
{
    int dir = state_dir(s);
    if (dir < 0)
        return -1;
    char *temp = vb_ps_printf(".%s", r->snapshot_id);
    int rc = write_record(dir, temp, r);
    if (rc == 0)
        rc = renameat(dir, temp, dir, r->snapshot_id) < 0 || fsync(dir) < 0 ? -1 : 0;
    if (rc < 0) {
        vb_ps_fail_errno(s, errno, NULL, "record of shadow copy '%s' cannot be written", r->snapshot_id);
        unlinkat(dir, temp, 0);
    }
    free(temp);
    close(dir);
    return rc;
}

static void take(struct vb_ps_record *r, const char *key, const char *value)
{
    char **to = !strcmp(key, "snapshot") ? &r->snapshot_id
                : !strcmp(key, "set")    ? &r->set_id
                : !strcmp(key, "mount")  ? &r->mount_point
                : !strcmp(key, "source") ? &r->source
                : !strcmp(key, "place")  ? &r->place
                : !strcmp(key, "trees")  ? &r->trees
                : !strcmp(key, "object") ? &r->object
                                         : NULL;
    if (to && !*to)
        *to = vb_ps_strdup(value);
    if (!strcmp(key, "created"))
        r->created_sec = strtoll(value, NULL, 10);
}

static bool parse(const char *p, size_t n, struct vb_ps_record *r)
{
    const char *end = p + n;
    while (p < end) {
        const char *value = memchr(p, 0, (size_t)(end - p));
        const char *next = value && value + 1 < end ? memchr(value + 1, 0, (size_t)(end - value - 1)) : NULL;
        if (!next)
            return false;
        take(r, p, value + 1);
        p = next + 1;
    }
    return r->snapshot_id && r->set_id && r->mount_point && r->source && r->place;
}

static char *slurp(int fd, size_t *n)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size > MAX_RECORD) {
        errno = EINVAL;
        return NULL;
    }
    char *buf = vb_ps_alloc((size_t)st.st_size);
    *n = 0;
    while (*n < (size_t)st.st_size) {
        ssize_t k = read(fd, buf + *n, (size_t)st.st_size - *n);
        if (k <= 0)
            break;
        *n += (size_t)k;
    }
    return buf;
}

int vb_ps_record_load(const struct vb_ps *s, const char *snapshot_id, struct vb_ps_record *r)
{
    memset(r, 0, sizeof *r);
    if (strchr(snapshot_id, '/') || snapshot_id[0] == '.')
        return vb_ps_fail(s, VB_E_USAGE, NULL, "'%s' is not the id of a shadow copy", snapshot_id);
    int dir = state_dir(s);
    if (dir < 0)
        return -1;
    int fd = openat(dir, snapshot_id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int saved = errno;
    close(dir);
    if (fd < 0 && saved == ENOENT)
        return 0;
    size_t n = 0;
    char *buf = fd < 0 ? NULL : slurp(fd, &n);
    if (fd >= 0)
        close(fd);
    bool ok = buf && parse(buf, n, r);
    free(buf);
    if (ok)
        return 1;
    vb_ps_record_clear(r);
    return vb_ps_fail(s, VB_E_PROVIDER_VETO, "Look at the file and remove it by hand.",
                      "record of shadow copy '%s' in '%s' cannot be read", snapshot_id, s->svc->state_dir(s->host));
}

int vb_ps_record_remove(const struct vb_ps *s, const char *snapshot_id)
{
    int dir = state_dir(s);
    if (dir < 0)
        return -1;
    int rc = unlinkat(dir, snapshot_id, 0) < 0 && errno != ENOENT ? -1 : 0;
    if (rc < 0)
        vb_ps_fail_errno(s, errno, NULL, "record of shadow copy '%s' cannot be removed", snapshot_id);
    close(dir);
    return rc;
}

int vb_ps_record_each(const struct vb_ps *s, int (*fn)(void *arg, const struct vb_ps_record *r), void *arg)
{
    int fd = state_dir(s);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;
    if (!d)
        return -1;
    for (const struct dirent *e; rc == 0 && (e = readdir(d));) {
        struct vb_ps_record r;
        if (e->d_name[0] == '.')
            continue;
        rc = vb_ps_record_load(s, e->d_name, &r);
        if (rc == 1)
            rc = fn(arg, &r);
        vb_ps_record_clear(&r);
    }
    closedir(d);
    return rc;
}

int vb_ps_record_created(const struct vb_ps *s, struct vb_ps_record *r)
{
    r->created_sec = (long long)time(NULL);
    return vb_ps_record_save(s, r);
}

int vb_ps_record_check_place(const struct vb_ps *s, const struct vb_ps_record *r)
{
    const size_t id = 36, hidden = strlen("/" VB_PLACE "/");
    size_t n = strlen(r->place);
    if (n > id + hidden && !strncmp(r->place + n - id - hidden, "/" VB_PLACE "/", hidden) &&
        strspn(r->place + n - id, "0123456789abcdefABCDEF-") == id)
        return 0;
    return vb_ps_fail(s, VB_E_PROVIDER_VETO, "Look at the record and remove it by hand.",
                      "record of shadow copy '%s' names the foreign path '%s'", r->snapshot_id, r->place);
}

static bool same_place(const struct vb_ps_record *mine, const struct vb_ps_record *r)
{
    const char *a = mine->object ? mine->object : mine->place, *b = mine->object ? r->object : r->place;
    return a && b && !strcmp(a, b) && strcasecmp(r->snapshot_id, mine->snapshot_id) != 0;
}

/* One that cannot be read may be the other one: it decides only if none of the others is. */
int vb_ps_record_shared(const struct vb_ps *s, const struct vb_ps_record *mine)
{
    int fd = state_dir(s), rc = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return -1;
    for (const struct dirent *e; rc != 1 && (e = readdir(d));) {
        struct vb_ps_record r;
        if (e->d_name[0] == '.')
            continue;
        int got = vb_ps_record_load(s, e->d_name, &r);
        if (got < 0)
            rc = -1;
        else if (got == 1 && same_place(mine, &r))
            rc = 1;
        vb_ps_record_clear(&r);
    }
    closedir(d);
    return rc;
}

/* ---- callbacks ---- */

int vb_ps_delete(const struct vb_ps *s, const char *snapshot_id, vb_ps_remove_fn *remove, void *arg)
{
    struct vb_ps_record r;
    int rc = vb_ps_record_load(s, snapshot_id, &r);
    if (rc == 1)
        rc = remove(arg, &r);
    vb_ps_record_clear(&r);
    return rc;
}

static bool holds(const struct vb_ps_record *r, const char *path)
{
    if (!r->trees)
        return vb_ps_below(path, r->source);
    char *trees = vb_ps_strdup(r->trees), *rest = trees;
    bool found = false;
    for (char *tree; !found && (tree = strsep(&rest, "\n"));)
        found = tree[0] && vb_ps_below(path, tree);
    free(trees);
    return found;
}

int vb_ps_path(const struct vb_ps *s, const char *snapshot_id, const char *path, char **out)
{
    struct vb_ps_record r;
    int rc = vb_ps_record_load(s, snapshot_id, &r);
    if (rc == 1 && holds(&r, path)) {
        const char *rest = path + (r.trees || !strcmp(r.source, "/") ? 0 : strlen(r.source));
        *out = strcmp(rest, "/") ? vb_ps_printf("%s%s", r.place, rest) : vb_ps_strdup(r.place);
        rc = 0;
    } else if (rc >= 0) {
        rc = vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, "It was deleted, or was never made of this path: make another one.",
                        "shadow copy '%s' does not hold '%s'", snapshot_id, path);
    }
    vb_ps_record_clear(&r);
    return rc;
}

struct query {
    int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point, const char *path,
              int64_t created_sec);
    void *arg;
};

static int tell(void *arg, const struct vb_ps_record *r)
{
    const struct query *q = arg;
    return q->fn(q->arg, r->snapshot_id, r->set_id, r->mount_point, r->place, r->created_sec);
}

int vb_ps_query(const struct vb_ps *s,
                int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                          const char *path, int64_t created_sec), void *arg)
{
    struct query q = { fn, arg };
    return vb_ps_record_each(s, tell, &q);
}
