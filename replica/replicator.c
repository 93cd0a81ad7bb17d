/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/replicator.c - vbackup/replica.h: exported and imported directories, by levels, as the replicator's calls had them. */
#include <config.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "replica/metadata.h"
#include "replica/role.h"
#include "replica/schedule.h"

struct vb_replicator {
    char *state_dir;
    struct vb_error last;
};

static struct vb_place_setup setup_of(const struct vb_replicator *r)
{
    return (struct vb_place_setup){ .state_dir = r->state_dir };
}

static enum vb_code ended(struct vb_replicator *r, int result)
{
    return result == 0 ? VB_OK : r->last.code != VB_OK ? r->last.code : VB_E_UNEXPECTED;
}

static int bad_level(struct vb_replicator *r, unsigned level)
{
    return vb_fail(&r->last, VB_E_USAGE, "level %u is not one of this call", level);
}

static int bad_field(struct vb_replicator *r, const char *name, const char **field)
{
    if (field)
        *field = name;
    return vb_fail(&r->last, VB_E_USAGE, "%s: not a value for it", name);
}

struct vb_replicator *vb_replicator_open(const char *state_dir, enum vb_code *code, char **text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (!state_dir || state_dir[0] != '/') {
        vb_fail(&err, VB_E_USAGE, "'%s' is not the absolute path of a state directory", state_dir ? state_dir : "");
        vb_tell_failure(&err, code, text);
        return NULL;
    }
    vb_tell_failure(&err, code, text);
    struct vb_replicator *r = vb_alloc(sizeof *r);
    r->state_dir = vb_strdup(state_dir);
    return r;
}

void vb_replicator_close(struct vb_replicator *r)
{
    if (!r)
        return;
    vb_error_clear(&r->last);
    free(r->state_dir);
    free(r);
}

const char *vb_replicator_error(const struct vb_replicator *r)
{
    return r->last.text ? r->last.text : "";
}

/* ---- one scope ---- */

static struct vb_place *open_scope(struct vb_replicator *r, const char *name, enum vb_replica_role role)
{
    const struct vb_place_setup s = setup_of(r);
    struct vb_place *p = NULL;
    vb_error_clear(&r->last);
    if (vb_place_open_store(&s, name, &p, &r->last) < 0)
        return NULL;
    if (vb_place_role(p) & role)
        return p;
    vb_fail(&r->last, VB_E_NOT_FOUND, "scope '%s' is not %s here", name, role == VB_ROLE_EXPORT ? "exported" : "imported");
    vb_place_close(p);
    return NULL;
}

static int save(struct vb_replicator *r, struct vb_place *p, enum vb_replica_role role)
{
    if (vb_replica_begin(p->store, &r->last) < 0)
        return -1;
    if (vb_replica_scope_set(p->store, p->scope.id, &p->set, &r->last) < 0 || (role && vb_place_set_role(p, role, &r->last) < 0)) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, &r->last);
}

/* Gives one part of what it does up; with the last one the scope goes. */
static enum vb_code withdraw(struct vb_replicator *r, const char *name, enum vb_replica_role part)
{
    const struct vb_place_setup s = setup_of(r);
    VB_AUTO_PLACE *p = open_scope(r, name, part);
    if (!p)
        return ended(r, -1);
    enum vb_replica_role left = (enum vb_replica_role)(vb_place_role(p) & ~(unsigned)part);
    if (left)
        return ended(r, save(r, p, left));
    vb_place_close_ptr(&p);
    return ended(r, vb_place_drop(&s, name, &r->last));
}

static enum vb_code lock(struct vb_replicator *r, const char *name, enum vb_side side, bool take, bool force)
{
    VB_AUTO_PLACE *p = open_scope(r, name, side == VB_SIDE_EXPORT ? VB_ROLE_EXPORT : VB_ROLE_IMPORT);
    if (!p || vb_replica_begin(p->store, &r->last) < 0)
        return ended(r, -1);
    const struct passwd *who = getpwuid(geteuid());
    if ((take ? vb_replica_lock(p->store, p->scope.id, side, who ? who->pw_name : "", "", &r->last)
              : vb_replica_unlock(p->store, p->scope.id, side, force, &r->last)) < 0) {
        vb_replica_rollback(p->store);
        return ended(r, -1);
    }
    return ended(r, vb_replica_commit(p->store, &r->last));
}

/* Each scope that has the role, while its store is open. */
static enum vb_code each(struct vb_replicator *r, enum vb_replica_role role, int (*fn)(void *arg, struct vb_place *p), void *arg)
{
    const struct vb_place_setup s = setup_of(r);
    struct vb_strv names = { NULL, 0, 0 };
    vb_error_clear(&r->last);
    int result = vb_place_list(&s, &names, &r->last), stop = 0;
    for (size_t i = 0; i < names.n && result == 0 && !stop; i++) {
        struct vb_place *p = NULL;
        result = vb_place_open_store(&s, names.v[i], &p, &r->last);
        if (result == 0 && (vb_place_role(p) & role))
            stop = fn(arg, p);
        vb_place_close(p);
    }
    vb_strv_clear(&names);
    return ended(r, result);
}

/* A block with room for strings behind it. */
struct block {
    char *start, *at;
};
static struct block new_block(size_t head, size_t text)
{
    struct block b = { vb_alloc(head + text), NULL };
    b.at = b.start + head;
    return b;
}
static const char *put(struct block *b, const char *text)
{
    size_t n = strlen(text) + 1;
    char *here = memcpy(b->at, text, n);
    b->at += n;
    return here;
}

/* ---- NetReplGetInfo, NetReplSetInfo ---- */

struct lists {
    struct vb_buf out, in;
};
static int list_link(void *arg, const struct vb_link *l)
{
    struct lists *x = arg;
    struct vb_buf *b = l->side == VB_SIDE_EXPORT ? &x->out : &x->in;
    vb_buf_addf(b, "%s%s", b->len ? ";" : "", l->name);
    return 0;
}

enum vb_code vb_replicator_get_info(struct vb_replicator *r, const char *scope, unsigned level, struct vb_replicator_info **out)
{
    struct lists x = { VB_BUF_INIT, VB_BUF_INIT };
    *out = NULL;
    VB_AUTO_PLACE *p = open_scope(r, scope, VB_ROLE_BOTH);
    if (!p)
        return ended(r, -1);
    if (level != 0 && (level < 1000 || level > 1003))
        return ended(r, bad_level(r, level));
    const struct passwd *who = getpwuid(geteuid());
    const char *user = who ? who->pw_name : "";
    int result = vb_replica_each_link(p->store, p->scope.id, list_link, &x, &r->last);
    if (result == 0) {
        struct block b = new_block(sizeof **out, strlen(p->scope.root) + strlen(user) + x.out.len + x.in.len + 4);
        struct vb_replicator_info *i = (struct vb_replicator_info *)(void *)b.start;
        *i = (struct vb_replicator_info){ .size = sizeof *i };
        if (level == 0) {
            i->role = vb_place_role(p);
            i->path = put(&b, p->scope.root);
            i->user = put(&b, user);
            i->export_list = put(&b, vb_buf_str(&x.out));
            i->import_list = put(&b, vb_buf_str(&x.in));
        }
        i->interval_s = level == 0 || level == 1000 ? p->set.interval_s : 0;
        i->pulse = level == 0 || level == 1001 ? p->set.pulse : 0;
        i->guard_s = level == 0 || level == 1002 ? p->set.guard_s : 0;
        i->random_s = level == 0 || level == 1003 ? p->set.random_s : 0;
        *out = i;
    }
    vb_buf_clear(&x.out);
    vb_buf_clear(&x.in);
    return ended(r, result);
}

enum vb_code vb_replicator_set_info(struct vb_replicator *r, const char *scope, unsigned level, const struct vb_replicator_info *info,
                                    const char **field)
{
    struct vb_replicator_info i = { .size = 0 };
    memcpy(&i, info, info->size < sizeof i ? info->size : sizeof i);
    if (field)
        *field = NULL;
    VB_AUTO_PLACE *p = open_scope(r, scope, VB_ROLE_BOTH);
    if (!p)
        return ended(r, -1);
    if (level != 0 && (level < 1000 || level > 1003))
        return ended(r, bad_level(r, level));
    if (level == 0 && (i.role < VB_ROLE_EXPORT || i.role > VB_ROLE_BOTH))
        return ended(r, bad_field(r, "role", field));
    if (level == 0 && (i.path || i.export_list || i.import_list || i.user))
        return ended(r, bad_field(r, i.path ? "path" : i.export_list ? "export_list" : i.import_list ? "import_list" : "user", field));
    struct vb_schedule t = { p->set.interval_s, p->set.pulse, p->set.guard_s, p->set.random_s };
    if (level == 0 || level == 1000)
        t.interval_s = i.interval_s;
    if (level == 0 || level == 1001)
        t.pulse = i.pulse;
    if (level == 0 || level == 1002)
        t.guard_s = i.guard_s;
    if (level == 0 || level == 1003)
        t.random_s = i.random_s;
    if (vb_schedule_check(&t, field, &r->last) < 0)
        return ended(r, -1);
    p->set.interval_s = t.interval_s;
    p->set.pulse = t.pulse;
    p->set.guard_s = t.guard_s;
    p->set.random_s = t.random_s;
    return ended(r, save(r, p, level == 0 ? i.role : (enum vb_replica_role)0));
}

/* ---- export directories ---- */

static int fill_export(struct vb_place *p, unsigned level, struct vb_export_dir *d)
{
    unsigned count = 0;
    *d = (struct vb_export_dir){ .size = sizeof *d, .name = p->scope.name };
    if (level == 0)
        return 0;
    d->path = p->scope.root;
    d->scope_id = p->scope.guid;
    d->integrity = p->set.integrity;
    d->extent = p->set.extent;
    if (level == 1)
        return 0;
    int result = vb_replica_locks(p->store, p->scope.id, VB_SIDE_EXPORT, &count, &d->lock_time, NULL);
    d->lock_count = count;
    return result;
}

static int check_export(struct vb_replicator *r, unsigned level, const struct vb_export_dir *d, const char **field)
{
    if (level != 1001 && d->integrity != VB_INTEGRITY_FILE && d->integrity != VB_INTEGRITY_TREE)
        return bad_field(r, "integrity", field);
    if (level != 1000 && d->extent != VB_EXTENT_FILE && d->extent != VB_EXTENT_TREE)
        return bad_field(r, "extent", field);
    return 0;
}

static struct vb_export_dir read_export(const struct vb_export_dir *given, const char **field)
{
    struct vb_export_dir d = { .size = 0 };
    memcpy(&d, given, given->size < sizeof d ? given->size : sizeof d);
    if (field)
        *field = NULL;
    return d;
}

/* One that is imported already is exported as well from now on. */
static int export_too(struct vb_replicator *r, const struct vb_export_dir *d)
{
    VB_AUTO_PLACE *p = open_scope(r, d->name, VB_ROLE_BOTH);
    if (!p)
        return -1;
    if ((vb_place_role(p) & VB_ROLE_EXPORT) || (d->path && strcmp(d->path, p->scope.root) != 0))
        return vb_fail(&r->last, VB_E_EXISTS, "there is a scope '%s' already", d->name);
    p->set.integrity = d->integrity;
    p->set.extent = d->extent;
    return save(r, p, VB_ROLE_BOTH);
}

enum vb_code vb_replicator_export_add(struct vb_replicator *r, unsigned level, const struct vb_export_dir *dir, const char **field)
{
    const struct vb_place_setup s = setup_of(r);
    const struct vb_export_dir d = read_export(dir, field);
    struct vb_strv names = { NULL, 0, 0 };
    vb_error_clear(&r->last);
    if (level != 1)
        return ended(r, bad_level(r, level));
    if (!d.name || !vb_scope_name_valid(d.name))
        return ended(r, bad_field(r, "name", field));
    if (check_export(r, level, &d, field) < 0 || vb_place_list(&s, &names, &r->last) < 0)
        return ended(r, -1);
    bool there = vb_strv_has(&names, d.name);
    vb_strv_clear(&names);
    if (there)
        return ended(r, export_too(r, &d));
    if (!d.path)
        return ended(r, bad_field(r, "path", field));
    struct vb_scope_settings set = vb_scope_defaults();
    set.integrity = d.integrity;
    set.extent = d.extent;
    int result = vb_place_add(&s, d.name, d.path, d.scope_id, false, &set, &r->last);
    vb_scope_settings_clear(&set);
    if (result < 0)
        return ended(r, result);
    VB_AUTO_PLACE *p = open_scope(r, d.name, VB_ROLE_BOTH);
    return ended(r, p ? save(r, p, VB_ROLE_EXPORT) : -1);
}

enum vb_code vb_replicator_export_del(struct vb_replicator *r, const char *name)
{
    return withdraw(r, name, VB_ROLE_EXPORT);
}

struct export_walk {
    unsigned level;
    int (*fn)(void *arg, const struct vb_export_dir *dir);
    void *arg;
};
static int export_one(void *arg, struct vb_place *p)
{
    const struct export_walk *w = arg;
    struct vb_export_dir d;
    return fill_export(p, w->level, &d) < 0 ? 1 : w->fn(w->arg, &d);
}

enum vb_code vb_replicator_export_enum(struct vb_replicator *r, unsigned level, int (*fn)(void *arg, const struct vb_export_dir *dir), void *arg)
{
    struct export_walk w = { level, fn, arg };
    vb_error_clear(&r->last);
    return level > 2 ? ended(r, bad_level(r, level)) : each(r, VB_ROLE_EXPORT, export_one, &w);
}

enum vb_code vb_replicator_export_get(struct vb_replicator *r, const char *name, unsigned level, struct vb_export_dir **out)
{
    struct vb_export_dir d;
    *out = NULL;
    VB_AUTO_PLACE *p = open_scope(r, name, VB_ROLE_EXPORT);
    if (!p)
        return ended(r, -1);
    if (level > 2)
        return ended(r, bad_level(r, level));
    if (fill_export(p, level, &d) < 0)
        return ended(r, vb_fail(&r->last, VB_E_IO, "the locks of scope '%s' cannot be read", name));
    struct block b = new_block(sizeof d, strlen(d.name) + strlen(p->scope.root) + sizeof p->scope.guid + 3);
    d.name = put(&b, d.name);
    d.path = d.path ? put(&b, d.path) : NULL;
    d.scope_id = d.scope_id ? put(&b, d.scope_id) : NULL;
    *out = memcpy(b.start, &d, sizeof d);
    return VB_OK;
}

enum vb_code vb_replicator_export_set(struct vb_replicator *r, const char *name, unsigned level, const struct vb_export_dir *dir,
                                      const char **field)
{
    const struct vb_export_dir d = read_export(dir, field);
    VB_AUTO_PLACE *p = open_scope(r, name, VB_ROLE_EXPORT);
    if (!p)
        return ended(r, -1);
    if (level != 1 && level != 1000 && level != 1001)
        return ended(r, bad_level(r, level));
    if (check_export(r, level, &d, field) < 0)
        return ended(r, -1);
    if (level != 1001)
        p->set.integrity = d.integrity;
    if (level != 1000)
        p->set.extent = d.extent;
    return ended(r, save(r, p, (enum vb_replica_role)0));
}

enum vb_code vb_replicator_export_lock(struct vb_replicator *r, const char *name)
{
    return lock(r, name, VB_SIDE_EXPORT, true, false);
}

enum vb_code vb_replicator_export_unlock(struct vb_replicator *r, const char *name, bool force)
{
    return lock(r, name, VB_SIDE_EXPORT, false, force);
}

/* ---- import directories ---- */

struct master {
    char *name;
    int64_t tried, done;
    enum vb_code code;
};
/* The one that was tried last. */
static int last_link(void *arg, const struct vb_link *l)
{
    struct master *m = arg;
    if (l->side != VB_SIDE_IMPORT || (m->name && l->tried_s < m->tried))
        return 0;
    free(m->name);
    *m = (struct master){ vb_strdup(l->name), l->tried_s, l->done_s, l->code };
    return 0;
}

static int fill_import(struct vb_place *p, unsigned level, struct vb_import_dir *d, char **master, struct vb_error *err)
{
    unsigned count = 0;
    struct master m = { NULL, 0, 0, VB_OK };
    *d = (struct vb_import_dir){ .size = sizeof *d, .name = p->scope.name };
    if (level == 0)
        return 0;
    if (vb_replica_locks(p->store, p->scope.id, VB_SIDE_IMPORT, &count, &d->lock_time, err) < 0 ||
        vb_replica_each_link(p->store, p->scope.id, last_link, &m, err) < 0)
        return -1;
    d->path = p->scope.root;
    d->scope_id = p->scope.guid;
    d->lock_count = count;
    d->last_update = m.done;
    d->state = m.done == 0 ? VB_IMPORT_NEVER : count || m.code != VB_OK ? VB_IMPORT_NO_SYNC : VB_IMPORT_OK;
    d->reason = count ? VB_REASON_LOCKED : vb_import_reason_of(m.code);
    *master = m.done ? VB_STEAL(m.name) : vb_strdup("");
    free(m.name);
    d->master = *master;
    return 0;
}

enum vb_code vb_replicator_import_add(struct vb_replicator *r, unsigned level, const struct vb_import_dir *dir)
{
    const struct vb_place_setup s = setup_of(r);
    struct vb_import_dir d = { .size = 0 };
    memcpy(&d, dir, dir->size < sizeof d ? dir->size : sizeof d);
    vb_error_clear(&r->last);
    if (level != 0)
        return ended(r, bad_level(r, level));
    if (!d.name || !vb_scope_name_valid(d.name) || !d.path || !d.scope_id)
        return ended(r, vb_fail(&r->last, VB_E_USAGE, "an import directory needs a name, a path and the identity of its scope"));
    struct vb_scope_settings set = vb_scope_defaults();
    set.exact = true; /* REP-4 */
    int result = vb_place_advance(&s, d.name, d.path, d.scope_id, &set, &r->last);
    vb_scope_settings_clear(&set);
    return ended(r, result);
}

enum vb_code vb_replicator_import_del(struct vb_replicator *r, const char *name)
{
    return withdraw(r, name, VB_ROLE_IMPORT);
}

struct import_walk {
    unsigned level;
    int (*fn)(void *arg, const struct vb_import_dir *dir);
    void *arg;
    struct vb_error *err;
};
static int import_one(void *arg, struct vb_place *p)
{
    const struct import_walk *w = arg;
    struct vb_import_dir d;
    VB_AUTO_FREE char *master = NULL;
    return fill_import(p, w->level, &d, &master, w->err) < 0 ? 1 : w->fn(w->arg, &d);
}

enum vb_code vb_replicator_import_enum(struct vb_replicator *r, unsigned level, int (*fn)(void *arg, const struct vb_import_dir *dir), void *arg)
{
    struct import_walk w = { level, fn, arg, &r->last };
    vb_error_clear(&r->last);
    if (level > 1)
        return ended(r, bad_level(r, level));
    enum vb_code c = each(r, VB_ROLE_IMPORT, import_one, &w);
    return c == VB_OK ? r->last.code : c;
}

enum vb_code vb_replicator_import_get(struct vb_replicator *r, const char *name, unsigned level, struct vb_import_dir **out)
{
    struct vb_import_dir d;
    VB_AUTO_FREE char *master = NULL;
    *out = NULL;
    VB_AUTO_PLACE *p = open_scope(r, name, VB_ROLE_IMPORT);
    if (!p)
        return ended(r, -1);
    if (level > 1)
        return ended(r, bad_level(r, level));
    if (fill_import(p, level, &d, &master, &r->last) < 0)
        return ended(r, -1);
    struct block b = new_block(sizeof d, strlen(d.name) + strlen(p->scope.root) + sizeof p->scope.guid + (master ? strlen(master) : 0) + 4);
    d.name = put(&b, d.name);
    d.path = d.path ? put(&b, d.path) : NULL;
    d.scope_id = d.scope_id ? put(&b, d.scope_id) : NULL;
    d.master = d.master ? put(&b, d.master) : NULL;
    *out = memcpy(b.start, &d, sizeof d);
    return VB_OK;
}

enum vb_code vb_replicator_import_lock(struct vb_replicator *r, const char *name)
{
    return lock(r, name, VB_SIDE_IMPORT, true, false);
}

enum vb_code vb_replicator_import_unlock(struct vb_replicator *r, const char *name, bool force)
{
    return lock(r, name, VB_SIDE_IMPORT, false, force);
}
