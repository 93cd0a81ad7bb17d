/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/place.c - scopes registered, opened, judged by their marker, and dropped. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/apply.h"
#include "replica/delta.h"
#include "replica/place.h"
#include "replica/role.h"
#include "replica/tree.h"
#include "replica/scan.h"

#define MARKER "scope"
#define MARKER_MAX 4096u
#define STORES "replica"
#define ADVANCE "advance" /* registered, its directory not made yet */

bool vb_scope_name_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 64 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

struct vb_scope_settings vb_scope_defaults(void)
{
    return (struct vb_scope_settings){ .integrity = VB_INTEGRITY_FILE, .extent = VB_EXTENT_TREE, .interval_s = 300, .pulse = 2,
                                       .guard_s = 120, .random_s = 60, .deletes = true, .trash_keep_s = 30 * 86400 };
}

static char *store_path(const struct vb_place_setup *s, const char *name)
{
    return vb_printf("%s/" STORES "/%s.db", s->state_dir, name);
}

/* Stable numbers only: an anonymous one (btrfs, network) is another after each mount. */
static uint64_t device_of(const struct stat *st)
{
    return major(st->st_dev) ? (uint64_t)st->st_dev : 0;
}

static char *machine_id(void)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(AT_FDCWD, "/etc/machine-id", 256, &b, NULL) < 0)
        return vb_strdup("");
    char *id = vb_strdup(vb_buf_str(&b));
    id[strcspn(id, "\n")] = 0;
    return id;
}

static int open_store(const struct vb_place_setup *s, const char *name, bool make, struct vb_replica **out, struct vb_error *err)
{
    VB_AUTO_FREE char *path = store_path(s, name);
    VB_AUTO_FREE char *machine = s->store.machine ? NULL : machine_id();
    struct vb_replica_setup setup = s->store;
    struct stat st;
    if (!vb_scope_name_valid(name)) {
        vb_fail(err, VB_E_USAGE, "'%s' is not a name for a scope", name);
        vb_hint(err, "use letters, digits, '.', '_' and '-'");
        return -1;
    }
    if (machine)
        setup.machine = machine;
    if (!make && lstat(path, &st) < 0) {
        vb_fail(err, VB_E_NOT_FOUND, "there is no scope '%s' here", name);
        vb_hint(err, "register it with: vbackup scope add %s DIRECTORY", name);
        return -1;
    }
    if (make) {
        VB_AUTO_FREE char *dir = vb_printf("%s/" STORES, s->state_dir);
        if (vb_mkdirs_at(AT_FDCWD, dir, 0700, err) < 0)
            return -1;
    }
    return vb_replica_open(AT_FDCWD, path, &setup, out, err);
}

/* ---- the marker ---- */

static int write_marker(struct vb_place *p, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_replica_marker(p->store, &p->scope, &b);
    return vb_write_file_at(p->own, MARKER, b.data, b.len, 0600, err);
}

int vb_place_ticks(struct vb_place *p, struct vb_error *err)
{
    if (vb_replica_bound(p->store) - vb_replica_tick(p->store) >= VB_PLACE_TICKS)
        return 0;
    return vb_replica_reserve(p->store, 2 * VB_PLACE_TICKS, err) < 0 ? -1 : write_marker(p, err);
}

/* Opens ".vbackup" below the root; VB_E_NOT_FOUND if it is not there and not to be made. */
static int open_own(struct vb_place *p, bool make, struct vb_error *err)
{
    if (make && mkdirat(p->root, VB_PLACE_DIR, 0700) < 0 && errno != EEXIST)
        return vb_fail_errno(err, errno, "'%s/" VB_PLACE_DIR "' cannot be made", p->scope.root);
    p->own = openat(p->root, VB_PLACE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (p->own < 0)
        return vb_fail_errno(err, errno, "'%s/" VB_PLACE_DIR "' cannot be opened", p->scope.root);
    if (make && ((mkdirat(p->own, "stage", 0700) < 0 && errno != EEXIST) || (mkdirat(p->own, "trash", 0700) < 0 && errno != EEXIST)))
        return vb_fail_errno(err, errno, "'%s/" VB_PLACE_DIR "' cannot be filled", p->scope.root);
    return 0;
}

static int offline(const struct vb_place *p, const char *why, struct vb_error *err)
{
    vb_fail(err, VB_E_BUSY, "%s", why);
    vb_hint(err, "nothing was read as deleted; make '%s' available, or register the scope anew", p->scope.root);
    return -1;
}

static int judge(struct vb_place *p, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FREE char *why = NULL;
    struct stat st;
    bool there = p->own >= 0 && vb_read_file_at(p->own, MARKER, MARKER_MAX, &b, NULL) == 0;
    if (fstat(p->root, &st) < 0)
        return vb_fail_errno(err, errno, "'%s'", p->scope.root);
    switch (vb_replica_judge_marker(p->store, &p->scope, there ? (const char *)b.data : NULL, b.len, device_of(&st), &why)) {
    case VB_MARKER_GOOD:
        return 0;
    case VB_MARKER_OFFLINE:
        return offline(p, why, err);
    case VB_MARKER_ROLLED_BACK:
        if (vb_replica_renew(p->store, why, err) < 0)
            return -1;
        p->scope.trusted = false;
        return write_marker(p, err);
    }
    return vb_fail(err, VB_E_UNEXPECTED, "the marker of scope '%s' cannot be judged", p->scope.name);
}

int vb_place_look(struct vb_place *p, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FREE char *why = NULL;
    uint64_t advance = 0;
    struct stat st;
    if (vb_replica_number(p->store, ADVANCE, &advance, err) < 0)
        return -1;
    if (advance)
        return 0;
    if (p->root < 0)
        p->root = open(p->scope.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->root < 0 || fstat(p->root, &st) < 0)
        return vb_fail_errno(err, errno, "'%s'", p->scope.root);
    bool there = (p->own >= 0 || open_own(p, false, NULL) == 0) && vb_read_file_at(p->own, MARKER, MARKER_MAX, &b, NULL) == 0;
    if (vb_replica_judge_marker(p->store, &p->scope, there ? (const char *)b.data : NULL, b.len, device_of(&st), &why) == VB_MARKER_OFFLINE)
        return vb_fail(err, VB_E_BUSY, "%s", why);
    return 0;
}

/* ---- opened and closed ---- */

static int load_filter(struct vb_place *p, struct vb_error *err)
{
    VB_AUTO_FREE char *rules = vb_strdup(p->set.filter ? p->set.filter : "");
    for (char *at = rules, *next; *at; at = next) {
        next = at + strcspn(at, "\n");
        if (*next)
            *next++ = 0;
        if (*at && vb_path_filter_add(&p->filter, at, err) < 0)
            return -1;
    }
    return 0;
}

int vb_place_open_store(const struct vb_place_setup *s, const char *name, struct vb_place **out, struct vb_error *err)
{
    VB_AUTO_PLACE *p = vb_alloc(sizeof *p);
    p->root = p->own = p->stage = -1;
    p->privileged = geteuid() == 0;
    if (open_store(s, name, false, &p->store, err) < 0 || vb_replica_scope_find(p->store, name, &p->scope, err) < 0 ||
        vb_replica_scope_settings(p->store, p->scope.id, &p->set, err) < 0 || load_filter(p, err) < 0)
        return -1;
    *out = VB_STEAL(p);
    return 0;
}

static char *marked_guid(struct vb_place *p);

/* A scope that was registered in advance gets its directory when something can come (REP-29). */
static int make_root(struct vb_place *p, struct vb_error *err)
{
    uint64_t advance = 0;
    unsigned locks = 0;
    int64_t since;
    if (vb_replica_number(p->store, ADVANCE, &advance, err) < 0 || vb_replica_locks(p->store, p->scope.id, VB_SIDE_IMPORT, &locks, &since, err) < 0)
        return -1;
    if (!advance)
        return 0;
    if (locks) {
        vb_fail(err, VB_E_BUSY, "scope '%s' is locked (%u), and '%s' not made yet", p->scope.name, locks, p->scope.root);
        vb_hint(err, "take the lock away with: vbackup unlock %s", p->scope.name);
        return -1;
    }
    if (vb_mkdirs_at(AT_FDCWD, p->scope.root, 0755, err) < 0)
        return -1;
    p->root = open(p->scope.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->root < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be opened", p->scope.root);
    if (open_own(p, true, err) < 0)
        return -1;
    VB_AUTO_FREE char *marked = marked_guid(p);
    if (marked && !vb_guid_equal(marked, p->scope.guid))
        return vb_fail(err, VB_E_GUARD, "'%s' belongs to another scope already", p->scope.root);
    if (write_marker(p, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    if (vb_replica_set_number(p->store, ADVANCE, 0, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    vb_close_fd(&p->own);
    vb_close_fd(&p->root);
    return vb_replica_commit(p->store, err);
}

int vb_place_open(const struct vb_place_setup *s, const char *name, struct vb_place **out, struct vb_error *err)
{
    struct vb_place *opened = NULL;
    if (vb_place_open_store(s, name, &opened, err) < 0)
        return -1;
    VB_AUTO_PLACE *p = opened;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_tree_recover_root(p, err) < 0 || make_root(p, err) < 0)
        return -1;
    p->root = open(p->scope.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->root < 0) {
        vb_fail_errno(&why, errno, "scope '%s': '%s'", name, p->scope.root);
        return offline(p, why.text, err);
    }
    if (open_own(p, false, NULL) < 0)
        p->own = -1;
    if (judge(p, err) < 0 || vb_place_ticks(p, err) < 0)
        return -1;
    p->stage = openat(p->own, "stage", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (p->stage < 0)
        return vb_fail_errno(err, errno, "'%s/" VB_PLACE_DIR "/stage' cannot be opened", p->scope.root);
    if (vb_apply_recover(p, err) < 0)
        return -1;
    *out = VB_STEAL(p);
    return 0;
}

int vb_place_share(struct vb_place *p, struct vb_place **out, struct vb_error *err)
{
    VB_AUTO_PLACE *s = vb_alloc(sizeof *s);
    s->own = s->stage = -1;
    s->privileged = p->privileged;
    s->root = fcntl(p->root, F_DUPFD_CLOEXEC, 0);
    if (s->root < 0 || (s->own = fcntl(p->own, F_DUPFD_CLOEXEC, 0)) < 0 || (s->stage = fcntl(p->stage, F_DUPFD_CLOEXEC, 0)) < 0)
        return vb_fail_errno(err, errno, "'%s' once more", p->scope.root);
    if (vb_replica_share(p->store, &s->store, err) < 0 || vb_replica_scope_find(s->store, p->scope.name, &s->scope, err) < 0 ||
        vb_replica_scope_settings(s->store, s->scope.id, &s->set, err) < 0 || load_filter(s, err) < 0)
        return -1;
    *out = VB_STEAL(s);
    return 0;
}

void vb_place_close(struct vb_place *p)
{
    if (!p)
        return;
    vb_replica_close(p->store);
    vb_scope_clear(&p->scope);
    vb_scope_settings_clear(&p->set);
    vb_path_filter_clear(&p->filter);
    vb_blocks_drop_all(p);
    vb_names_drop_all(p);
    vb_close_fd(&p->root);
    vb_close_fd(&p->own);
    vb_close_fd(&p->stage);
    free(p);
}

void vb_place_close_ptr(struct vb_place **p)
{
    vb_place_close(*p);
    *p = NULL;
}

bool vb_place_takes(struct vb_place *p, const char *path, bool is_dir)
{
    const char *slash = strrchr(path, '/');
    size_t own = strlen(VB_PLACE_DIR);
    if (!strncmp(path, VB_PLACE_DIR, own) && (path[own] == 0 || path[own] == '/'))
        return false;
    if (p->set.extent == VB_EXTENT_FILE && (slash || is_dir))
        return false;
    if (!p->filter.n)
        return true;
    /* A directory that is left out takes all below it along. */
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        VB_AUTO_FREE char *above = vb_strndup(path, (size_t)(at - path));
        const char *up = strrchr(above, '/');
        VB_AUTO_FREE char *dir = up ? vb_printf("/%.*s", (int)(up - above), above) : vb_strdup("/");
        if (vb_path_filter_drops(&p->filter, dir, up ? up + 1 : above, true))
            return false;
    }
    VB_AUTO_FREE char *dir = slash ? vb_printf("/%.*s", (int)(slash - path), path) : vb_strdup("/");
    return !vb_path_filter_drops(&p->filter, dir, slash ? slash + 1 : path, is_dir);
}

/* ---- registered and dropped ---- */

int vb_place_list(const struct vb_place_setup *s, struct vb_strv *names, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_printf("%s/" STORES, s->state_dir);
    VB_AUTO_DIR DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : vb_fail_errno(err, errno, "'%s'", path);
    for (const struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        VB_AUTO_FREE char *name = n > 3 && !strcmp(e->d_name + n - 3, ".db") ? vb_strndup(e->d_name, n - 3) : NULL;
        if (name && vb_scope_name_valid(name))
            vb_strv_add(names, name);
    }
    vb_strv_sort(names);
    return 0;
}

/* Nested scopes would each see the other's files as their own. */
static int refuse_nested(const struct vb_place_setup *s, const char *root, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    int result = vb_place_list(s, &names, err);
    for (size_t i = 0; i < names.n && result == 0; i++) {
        struct vb_place *other = NULL;
        bool is_held = s->held && !strcmp(s->held->scope.name, names.v[i]);
        if (!is_held && vb_place_open_store(s, names.v[i], &other, err) < 0) {
            result = -1;
            break;
        }
        const char *theirs = is_held ? s->held->scope.root : other->scope.root;
        if (vb_path_below(root, theirs) || vb_path_below(theirs, root)) {
            result = vb_fail(err, VB_E_GUARD, "'%s' and the tree of scope '%s', '%s', lie in one another", root, names.v[i], theirs);
            vb_hint(err, "choose a tree of its own, or drop that scope: vbackup scope rm %s", names.v[i]);
        }
        vb_place_close(other);
    }
    vb_strv_clear(&names);
    return result;
}

/* The scope of a marker that is there already: a tree that was copied, or whose store was lost. */
static char *marked_guid(struct vb_place *p)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(p->own, MARKER, MARKER_MAX, &b, NULL) < 0)
        return NULL;
    const char *at = strstr(vb_buf_str(&b), "\nscope ");
    VB_AUTO_FREE char *guid = at ? vb_strndup(at + 7, VB_GUID_LEN) : NULL;
    return guid && vb_guid_valid(guid) ? VB_STEAL(guid) : NULL;
}

static int register_scope(struct vb_place *p, const char *name, const char *root, const char *guid,
                          const struct vb_scope_settings *settings, struct vb_error *err)
{
    struct stat st;
    int64_t id = 0;
    VB_AUTO_FREE char *marked = marked_guid(p);
    if (guid && marked && !vb_guid_equal(guid, marked)) {
        vb_fail(err, VB_E_GUARD, "'%s' belongs to another scope already", root);
        vb_hint(err, "remove '%s/" VB_PLACE_DIR "' if that scope is no longer wanted", root);
        return -1;
    }
    if (fstat(p->root, &st) < 0)
        return vb_fail_errno(err, errno, "'%s'", root);
    if (vb_replica_begin(p->store, err) < 0 ||
        vb_replica_scope_add(p->store, name, root, guid ? guid : marked, device_of(&st), &id, err) < 0 ||
        vb_replica_scope_set(p->store, id, settings, err) < 0 || vb_replica_commit(p->store, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_scope_find(p->store, name, &p->scope, err) < 0 ? -1 : vb_place_ticks(p, err);
}

int vb_place_add(const struct vb_place_setup *s, const char *name, const char *root, const char *guid, bool create,
                 const struct vb_scope_settings *settings, struct vb_error *err)
{
    VB_AUTO_FREE char *path = store_path(s, name);
    struct stat st;
    if (lstat(path, &st) == 0)
        return vb_fail(err, VB_E_EXISTS, "there is a scope '%s' already", name);
    if (root[0] != '/')
        return vb_fail(err, VB_E_USAGE, "'%s' is not an absolute path", root);
    if (create && vb_mkdirs_at(AT_FDCWD, root, 0755, err) < 0)
        return -1;
    VB_AUTO_FREE char *real = realpath(root, NULL);
    if (!real)
        return vb_fail_errno(err, errno, "'%s'", root);
    if (refuse_nested(s, real, err) < 0)
        return -1;
    VB_AUTO_PLACE *p = vb_alloc(sizeof *p);
    p->own = p->stage = -1;
    p->root = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->root < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be opened", real);
    p->scope.root = vb_strdup(real);
    if (open_own(p, true, err) < 0)
        return -1;
    vb_free_ptr(&p->scope.root);
    if (open_store(s, name, true, &p->store, err) < 0)
        return -1;
    if (register_scope(p, name, real, guid, settings, err) < 0) {
        unlink(path);
        return -1;
    }
    return 0;
}

int vb_place_advance(const struct vb_place_setup *s, const char *name, const char *root, const char *guid,
                     const struct vb_scope_settings *settings, struct vb_error *err)
{
    VB_AUTO_FREE char *path = store_path(s, name);
    VB_AUTO_FREE char *real = realpath(root, NULL);
    const char *full = real ? real : root;
    struct vb_replica *store = NULL;
    struct stat st;
    int64_t id = 0;
    if (lstat(path, &st) == 0)
        return vb_fail(err, VB_E_EXISTS, "there is a scope '%s' already", name);
    if (root[0] != '/' || !vb_guid_valid(guid))
        return vb_fail(err, VB_E_USAGE, "'%s' is not an absolute path, or '%s' not the identity of a scope", root, guid);
    if (refuse_nested(s, full, err) < 0 || open_store(s, name, true, &store, err) < 0)
        return -1;
    VB_AUTO_REPLICA *r = store;
    if (vb_replica_begin(r, err) == 0 && vb_replica_scope_add(r, name, full, guid, 0, &id, err) == 0 &&
        vb_replica_scope_set(r, id, settings, err) == 0 && vb_replica_set_number(r, ADVANCE, 1, err) == 0 &&
        vb_replica_set_number(r, "role", VB_ROLE_IMPORT, err) == 0 && vb_replica_commit(r, err) == 0)
        return 0;
    vb_replica_rollback(r);
    unlink(path);
    return -1;
}

int vb_place_drop(const struct vb_place_setup *s, const char *name, struct vb_error *err)
{
    struct vb_place *opened = NULL;
    VB_AUTO_FREE char *path = store_path(s, name);
    if (vb_place_open_store(s, name, &opened, err) < 0)
        return -1;
    VB_AUTO_PLACE *p = opened;
    p->root = open(p->scope.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->root >= 0 && open_own(p, false, NULL) == 0) {
        unlinkat(p->own, MARKER, 0);
        vb_remove_tree_at(p->own, "stage", NULL);
        unlinkat(p->own, "trash", AT_REMOVEDIR);
        unlinkat(p->root, VB_PLACE_DIR, AT_REMOVEDIR);
    }
    static const char *const tails[] = { "", "-wal", "-shm", ".lock" };
    for (size_t i = 0; i < VB_COUNT(tails); i++) {
        VB_AUTO_FREE char *file = vb_printf("%s%s", path, tails[i]);
        if (unlink(file) < 0 && errno != ENOENT)
            return vb_fail_errno(err, errno, "'%s' cannot be removed", file);
    }
    return 0;
}
