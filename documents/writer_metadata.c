/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/writer_metadata.c - building a writer metadata document, with the field's checks.
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "base/path_filter.h"
#include "documents/check.h"
#include "documents/selection.h"
#include "documents/table.h"
#include "documents/wm_private.h"

/* The parser of dependency targets only reads. */
#define VB_UNCONST(p) ((char *)(uintptr_t)(p))

/* Keys: component identity -> component; "dir\nspec" and, for sets with wildcards or recursion, "dir" -> file set
 * number in `sets`. Components that callers put into the array by hand are picked up on the next look-up. */
struct set_ref { size_t component, fileset; };
struct vb_wm_index {
    struct vb_table components; size_t n_seen;
    struct vb_table exact, wide;
    struct set_ref *sets; size_t n_sets, cap_sets;
};

char *vb_full_path(const char *logical_path, const char *name)
{
    return logical_path && *logical_path ? vb_printf("%s\\%s", logical_path, name) : vb_strdup(name);
}

bool vb_is_ancestor(const char *a_full_path, const char *logical_path)
{
    size_t n = strlen(a_full_path);

    return logical_path && strncmp(logical_path, a_full_path, n) == 0 &&
           (logical_path[n] == '\0' || logical_path[n] == '\\');
}

struct vb_writer_metadata *vb_wm_new(const char *writer_id, const char *instance_id, const char *name)
{
    struct vb_writer_metadata *m = vb_alloc(sizeof *m);

    m->writer_id = vb_strdup(writer_id ? writer_id : "");
    m->instance_id = vb_strdup(instance_id ? instance_id : "");
    m->name = vb_strdup(name ? name : "");
    m->usage = VB_USAGE_OTHER;
    m->source = VB_SOURCE_OTHER;
    m->level = VB_LEVEL_FRONT_END;
    return m;
}

static void free_component(struct vb_wm_component *c)
{
    for (size_t i = 0; i < c->n_filesets; i++) {
        free(c->filesets[i].path);
        free(c->filesets[i].filespec);
        free(c->filesets[i].alternate_path);
    }
    for (size_t i = 0; i < c->n_dependencies; i++) {
        free(c->dependencies[i].target_class_id);
        free(c->dependencies[i].target_logical_path);
        free(c->dependencies[i].target_name);
    }
    free(c->filesets);
    free(c->dependencies);
    vb_strv_clear(&c->leave_out);
    free(c->logical_path);
    free(c->name);
    free(c->caption);
}

static void free_excludes(struct vb_exclude *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(e[i].path);
        free(e[i].filespec);
    }
    free(e);
}

void vb_wm_free(struct vb_writer_metadata *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_components; i++)
        free_component(&m->components[i]);
    free(m->components);
    for (size_t i = 0; i < m->n_alms; i++) {
        free(m->alms[i].path);
        free(m->alms[i].filespec);
        free(m->alms[i].alternate_path);
    }
    free(m->alms);
    free_excludes(m->excludes, m->n_excludes);
    free_excludes(m->snapshot_excludes, m->n_snapshot_excludes);
    if (m->index) {
        vb_table_clear(&m->index->components);
        vb_table_clear(&m->index->exact);
        vb_table_clear(&m->index->wide);
        free(m->index->sets);
        free(m->index);
    }
    free(m->writer_id);
    free(m->instance_id);
    free(m->name);
    free(m->instance_name);
    free(m->version);
    free(m->service);
    free(m);
}

/* ---- components ---- */

static void see_components(const struct vb_writer_metadata *m, struct vb_wm_index *ix)
{
    for (; ix->n_seen < m->n_components; ix->n_seen++) {
        const struct vb_wm_component *c = &m->components[ix->n_seen];
        VB_AUTO_FREE char *key = vb_full_path(c->logical_path, c->name);
        vb_table_add(&ix->components, key, ix->n_seen);
    }
}

static struct vb_wm_index *index_of(struct vb_writer_metadata *m)
{
    if (!m->index)
        m->index = vb_alloc(sizeof *m->index);
    see_components(m, m->index);
    return m->index;
}

struct vb_wm_component *vb_wm_find(const struct vb_writer_metadata *m, const char *logical_path, const char *name)
{
    VB_AUTO_FREE char *path = vb_check_logical_path(logical_path, NULL);

    if (!path || !name || strchr(name, '\\'))
        return NULL;
    if (m->index && m->index->n_seen == m->n_components) {
        VB_AUTO_FREE char *key = vb_full_path(path, name);
        size_t at = vb_table_find(&m->index->components, key);
        return at == VB_TABLE_NONE ? NULL : &m->components[vb_table_value(&m->index->components, at)];
    }
    for (size_t i = 0; i < m->n_components; i++)
        if (strcmp(m->components[i].name, name) == 0 && strcmp(m->components[i].logical_path, path) == 0)
            return &m->components[i];
    return NULL;
}

/* Text of a name in messages: it comes from outside. */
static char *shown_path(const char *logical_path, const char *name)
{
    VB_AUTO_FREE char *full = vb_full_path(logical_path, name);

    return vb_escape_terminal(full, strlen(full));
}

struct vb_wm_component *vb_wm_add_component(struct vb_writer_metadata *m, enum vb_component_type type,
                                            const char *logical_path, const char *name, struct vb_error *err)
{
    VB_AUTO_FREE char *path = NULL;

    if (vb_check_component_name(name, err) < 0 || !(path = vb_check_logical_path(logical_path, err)))
        return NULL;
    index_of(m);
    VB_AUTO_FREE char *shown = shown_path(path, name);
    if (type != VB_COMPONENT_DATABASE && type != VB_COMPONENT_FILEGROUP) {
        vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "component '%s' is neither a database nor a file group", shown);
        return NULL;
    }
    if (vb_wm_find(m, path, name)) {
        vb_fail(err, VB_E_OBJECT_ALREADY_EXISTS, "component '%s' exists already in writer '%s'", shown, m->name);
        return NULL;
    }
    VB_GROW(m->components, m->n_components, m->cap_components);
    struct vb_wm_component *c = &m->components[m->n_components++];
    memset(c, 0, sizeof *c);
    c->type = type;
    c->logical_path = VB_STEAL(path);
    c->name = vb_strdup(name);
    index_of(m);
    return c;
}

/* Finds the component for a builder, or explains. */
static struct vb_wm_component *need_component(struct vb_writer_metadata *m, const char *logical_path, const char *name,
                                              struct vb_error *err)
{
    index_of(m);
    struct vb_wm_component *c = vb_wm_find(m, logical_path, name);
    if (!c) {
        VB_AUTO_FREE char *shown = shown_path(logical_path, name ? name : "");
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "writer '%s' has no component '%s'", m->name, shown);
    }
    return c;
}

/* ---- file sets ---- */

static uint32_t taken_by(const struct vb_fileset *f)
{
    return f->backup_type & VB_FSB_ALL_BACKUP;
}

static bool wide(const struct vb_fileset *f)
{
    return f->recursive || strpbrk(f->filespec, "*?");
}

/* vb_path_below for paths that are clean already: this is asked for every pair of wide sets. */
static bool below(const char *path, const char *root)
{
    size_t n = strlen(root);

    return strncmp(path, root, n) == 0 && (path[n] == '\0' || path[n] == '/' || (n == 1 && root[0] == '/'));
}

/* Every file of `in` is a file of `out` too, and some backup takes both (C-32). */
static bool inside(const struct vb_fileset *in, const struct vb_fileset *out)
{
    if (!(taken_by(in) & taken_by(out)))
        return false;
    if (strcmp(in->path, out->path) != 0 && !(out->recursive && below(in->path, out->path)))
        return false;
    if (in->recursive && !out->recursive)
        return false;
    if (strcmp(out->filespec, "*") == 0 || strcmp(out->filespec, in->filespec) == 0)
        return true;
    return !strpbrk(in->filespec, "*?") && vb_filespec_match(out->filespec, in->filespec);
}

static const struct vb_fileset *set_at(const struct vb_writer_metadata *m, size_t ref, size_t *component)
{
    *component = m->index->sets[ref].component;
    return &m->components[*component].filesets[m->index->sets[ref].fileset];
}

static bool overlaps(const struct vb_writer_metadata *m, const struct vb_fileset *f, const struct vb_table *t,
                     const char *key, size_t *with)
{
    for (size_t at = vb_table_find(t, key); at != VB_TABLE_NONE; at = vb_table_next(t, at)) {
        const struct vb_fileset *o = set_at(m, vb_table_value(t, at), with);
        if (inside(f, o) || inside(o, f))
            return true;
    }
    return false;
}

/* Looks where an overlap can be: the same directory and name, sets with wildcards in this directory or recursive ones
 * above it; only a set that is wide itself has to be held against all others. */
static bool find_overlap(const struct vb_writer_metadata *m, const struct vb_fileset *f, size_t *with)
{
    const struct vb_wm_index *ix = m->index;
    VB_AUTO_FREE char *exact = vb_printf("%s\n%s", f->path, f->filespec);

    if (overlaps(m, f, &ix->exact, exact, with))
        return true;
    VB_AUTO_FREE char *dir = vb_strdup(f->path);
    for (;;) {
        if (overlaps(m, f, &ix->wide, dir, with))
            return true;
        char *slash = strrchr(dir, '/');
        if (!slash || dir[1] == '\0')
            break;
        slash[slash == dir] = '\0';
    }
    for (size_t i = 0; wide(f) && i < ix->n_sets; i++) {
        const struct vb_fileset *o = set_at(m, i, with);
        if (inside(o, f))
            return true;
    }
    return false;
}

static int check_kind(const struct vb_wm_component *c, const struct vb_fileset *f, struct vb_error *err)
{
    bool group = f->kind == 0;

    if (f->kind < 0 || f->kind > 2 || group != (c->type == VB_COMPONENT_FILEGROUP))
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "component '%s' is a %s: it takes %s", c->name,
                       vb_component_type_word(c->type),
                       c->type == VB_COMPONENT_FILEGROUP ? "group files only" : "database and log files only");
    if (!group && f->recursive)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "database and log files of component '%s' cannot recurse",
                       c->name);
    if (!group && f->alternate_path)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT,
                       "database and log files of component '%s' cannot have an alternate path", c->name);
    return 0;
}

static int fail_overlap(const struct vb_writer_metadata *m, const struct vb_wm_component *c, const struct vb_fileset *f,
                        size_t with, struct vb_error *err)
{
    VB_AUTO_FREE char *a = shown_path(c->logical_path, c->name);
    VB_AUTO_FREE char *b = shown_path(m->components[with].logical_path, m->components[with].name);
    VB_AUTO_FREE char *p = vb_escape_terminal(f->path, strlen(f->path));
    VB_AUTO_FREE char *s = vb_escape_terminal(f->filespec, strlen(f->filespec));

    vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "file set '%s' in '%s' of component '%s' overlaps one of component '%s'", s,
            p, a, b);
    vb_hint(err, "one file belongs to one file set of one component only");
    return -1;
}

int vb_wm_put_fileset(struct vb_writer_metadata *m, size_t component, const struct vb_fileset *fs, bool check_overlap,
                      struct vb_error *err)
{
    struct vb_wm_index *ix = index_of(m);
    struct vb_wm_component *c = &m->components[component];
    struct vb_fileset f = *fs;
    size_t with = 0;

    if (check_kind(c, fs, err) < 0 || vb_check_directory(fs->path, m->foreign, err) < 0 ||
        vb_check_filespec(fs->filespec, err) < 0 ||
        (fs->alternate_path && vb_check_directory(fs->alternate_path, m->foreign, err) < 0))
        return -1;
    VB_AUTO_FREE char *path = m->foreign ? vb_strdup(fs->path) : vb_path_clean(fs->path);
    f.path = path;
    f.backup_type = fs->backup_type ? fs->backup_type : VB_FSB_DEFAULT;
    if (check_overlap && find_overlap(m, &f, &with))
        return fail_overlap(m, c, &f, with, err);
    VB_AUTO_FREE char *exact = vb_printf("%s\n%s", f.path, f.filespec);
    vb_table_add(&ix->exact, exact, ix->n_sets);
    if (wide(&f))
        vb_table_add(&ix->wide, f.path, ix->n_sets);
    VB_GROW(ix->sets, ix->n_sets, ix->cap_sets);
    ix->sets[ix->n_sets++] = (struct set_ref){component, c->n_filesets};
    VB_GROW(c->filesets, c->n_filesets, c->cap_filesets);
    struct vb_fileset *o = &c->filesets[c->n_filesets++];
    *o = f;
    o->path = VB_STEAL(path);
    o->filespec = vb_strdup(fs->filespec);
    o->alternate_path = vb_strdup(fs->alternate_path);
    return 0;
}

int vb_wm_add_fileset(struct vb_writer_metadata *m, const char *logical_path, const char *name,
                      const struct vb_fileset *fs, struct vb_error *err)
{
    struct vb_wm_component *c = need_component(m, logical_path, name, err);

    return c ? vb_wm_put_fileset(m, (size_t)(c - m->components), fs, true, err) : -1;
}

/* ---- dependencies, places, excludes ---- */

int vb_wm_add_dependency(struct vb_writer_metadata *m, const char *logical_path, const char *name,
                         const char *target_class_id, const char *target_logical_path, const char *target_name,
                         struct vb_error *err)
{
    struct vb_wm_component *c = need_component(m, logical_path, name, err);

    if (!c || vb_check_guid("target class id", target_class_id, err) < 0)
        return -1;
    struct vb_dependency d = {VB_UNCONST(target_class_id), VB_UNCONST(target_logical_path ? target_logical_path : ""),
                              VB_UNCONST(target_name ? target_name : "")};
    struct vb_target t;
    if (vb_target_parse(&d, &t, err) < 0) {
        vb_context(err, "dependency of component '%s'", c->name);
        return -1;
    }
    bool local = !t.host;
    vb_target_clear(&t);
    if (local && vb_guid_equal(target_class_id, m->writer_id)) {
        vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "component '%s' depends on a component of its own writer '%s'", c->name,
                m->name);
        vb_hint(err, "inside one writer use logical paths and selectability");
        return -1;
    }
    d.target_class_id = vb_strdup(d.target_class_id);
    d.target_logical_path = vb_strdup(d.target_logical_path);
    d.target_name = vb_strdup(d.target_name);
    VB_GROW(c->dependencies, c->n_dependencies, c->cap_dependencies);
    c->dependencies[c->n_dependencies++] = d;
    return 0;
}

/* the mapping repeats a file set of this writer exactly. */
static bool repeats_fileset(const struct vb_writer_metadata *m, const char *path, const char *spec, bool recursive)
{
    VB_AUTO_FREE char *key = vb_printf("%s\n%s", path, spec);
    const struct vb_table *t = m->index ? &m->index->exact : NULL;
    size_t component = 0;

    for (size_t at = t ? vb_table_find(t, key) : VB_TABLE_NONE; at != VB_TABLE_NONE; at = vb_table_next(t, at)) {
        const struct vb_fileset *f = set_at(m, vb_table_value(t, at), &component);
        if (f->recursive == recursive && strcmp(f->path, path) == 0 && strcmp(f->filespec, spec) == 0)
            return true;
    }
    return false;
}

int vb_wm_add_alm(struct vb_writer_metadata *m, const char *path, const char *filespec, bool recursive,
                  const char *alternate_path, struct vb_error *err)
{
    if (!m->has_restore_method)
        return vb_fail(err, VB_E_BAD_STATE, "alternate location of writer '%s' comes before its restore method",
                       m->name);
    if (vb_check_directory(path, m->foreign, err) < 0 || vb_check_filespec(filespec, err) < 0 ||
        vb_check_directory(alternate_path, m->foreign, err) < 0)
        return -1;
    VB_AUTO_FREE char *clean = m->foreign ? vb_strdup(path) : vb_path_clean(path);
    if (!repeats_fileset(m, clean, filespec, recursive)) {
        VB_AUTO_FREE char *p = vb_escape_terminal(path, strlen(path));
        VB_AUTO_FREE char *s = vb_escape_terminal(filespec, strlen(filespec));
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND,
                       "alternate location for '%s' in '%s' repeats no file set of writer '%s'", s, p, m->name);
    }
    VB_GROW(m->alms, m->n_alms, m->cap_alms);
    m->alms[m->n_alms++] =
        (struct vb_alternate_location){VB_STEAL(clean), vb_strdup(filespec), vb_strdup(alternate_path), recursive};
    return 0;
}

int vb_wm_put_leave_out(struct vb_wm_component *c, const char *rule, struct vb_error *err)
{
    struct vb_path_filter f = { .n = 0 };
    int rc = vb_path_filter_add(&f, rule, err);
    vb_path_filter_clear(&f);
    if (rc < 0)
        return -1;
    vb_strv_add(&c->leave_out, rule);
    return 0;
}

int vb_wm_add_leave_out(struct vb_writer_metadata *m, const char *logical_path, const char *name, const char *rule,
                        struct vb_error *err)
{
    struct vb_wm_component *c = vb_wm_find(m, logical_path, name);
    if (!c)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "component '%s' of writer '%s' is not known", name, m->name);
    return vb_wm_put_leave_out(c, rule, err);
}

int vb_wm_add_exclude(struct vb_writer_metadata *m, bool from_snapshot, const char *path, const char *filespec,
                      bool recursive, struct vb_error *err)
{
    if (vb_check_directory(path, m->foreign, err) < 0 || vb_check_filespec(filespec, err) < 0)
        return -1;
    struct vb_exclude e = {m->foreign ? vb_strdup(path) : vb_path_clean(path), vb_strdup(filespec), recursive};
    if (from_snapshot) {
        VB_GROW(m->snapshot_excludes, m->n_snapshot_excludes, m->cap_snapshot_excludes);
        m->snapshot_excludes[m->n_snapshot_excludes++] = e;
    } else {
        VB_GROW(m->excludes, m->n_excludes, m->cap_excludes);
        m->excludes[m->n_excludes++] = e;
    }
    return 0;
}

/* ---- the writer's own properties ---- */

int vb_wm_set_restore_method(struct vb_writer_metadata *m, enum vb_restore_method method, const char *service,
                             enum vb_writer_restore when, bool reboot_required, struct vb_error *err)
{
    if (method <= VB_RESTORE_UNDEFINED || method > VB_RESTORE_RESTORE_STOP_START)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "writer '%s' leaves its restore method undefined", m->name);
    if (when <= VB_WRITER_RESTORE_UNDEFINED || when > VB_WRITER_RESTORE_ALWAYS)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "writer '%s' does not say when it takes part in a restore",
                       m->name);
    if (service && vb_check_service(service, err) < 0)
        return -1;
    m->has_restore_method = true;
    m->method = method;
    m->writer_restore = when;
    m->reboot_required = reboot_required;
    free(m->service);
    m->service = vb_strdup(service);
    return 0;
}

int vb_wm_set_schema(struct vb_writer_metadata *m, uint32_t schema, struct vb_error *err)
{
    uint32_t both = VB_SCHEMA_DIFFERENTIAL | VB_SCHEMA_INCREMENTAL;

    if ((schema & VB_SCHEMA_EXCLUSIVE_INC_DIFF) && (schema & both) != both)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT,
                       "backup schema of writer '%s': 'exclusive' needs both incremental and differential", m->name);
    if ((schema & (VB_SCHEMA_TIMESTAMPED | VB_SCHEMA_LAST_MODIFY)) && !(schema & both))
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT,
                       "backup schema of writer '%s': stamps and file times need incremental or differential", m->name);
    m->schema = schema;
    return 0;
}

static bool has_log_files(const struct vb_writer_metadata *m)
{
    for (size_t i = 0; i < m->n_components; i++)
        for (size_t j = 0; j < m->components[i].n_filesets; j++)
            if (m->components[i].filesets[j].kind == 2)
                return true;
    return false;
}

static const struct vb_fileset *without_alm(const struct vb_writer_metadata *m)
{
    struct vb_table places = {0};
    const struct vb_fileset *missing = NULL;

    for (size_t i = 0; i < m->n_alms; i++) {
        const struct vb_alternate_location *a = &m->alms[i];
        VB_AUTO_FREE char *key = vb_printf("%d%s\n%s", a->recursive, a->path, a->filespec);
        vb_table_add(&places, key, i);
    }
    for (size_t i = 0; !missing && i < m->n_components; i++)
        for (size_t j = 0; !missing && j < m->components[i].n_filesets; j++) {
            const struct vb_fileset *f = &m->components[i].filesets[j];
            VB_AUTO_FREE char *key = vb_printf("%d%s\n%s", f->recursive, f->path, f->filespec);
            if (vb_table_find(&places, key) == VB_TABLE_NONE)
                missing = f;
        }
    vb_table_clear(&places);
    return missing;
}

int vb_wm_check_offer(const struct vb_writer_metadata *m, struct vb_error *err)
{
    if (m->usage == VB_USAGE_UNDEFINED || m->source == VB_SOURCE_UNDEFINED)
        return vb_fail(err, VB_E_WRITER_NON_RETRYABLE, "writer '%s' leaves its usage or its source undefined", m->name);
    if (!m->has_restore_method)
        return vb_fail(err, VB_E_WRITER_NON_RETRYABLE, "writer '%s' names no restore method", m->name);
    if ((m->schema & VB_SCHEMA_LOG) && !has_log_files(m))
        return vb_fail(err, VB_E_WRITER_NON_RETRYABLE, "writer '%s' offers log backups but has no log file", m->name);
    if ((m->method == VB_RESTORE_STOP_RESTORE_START || m->method == VB_RESTORE_RESTORE_STOP_START) && !m->service)
        return vb_fail(err, VB_E_WRITER_NON_RETRYABLE, "restore method %s of writer '%s' names no service",
                       vb_restore_method_word(m->method), m->name);
    const struct vb_fileset *f = m->method == VB_RESTORE_TO_ALTERNATE ? without_alm(m) : NULL;
    if (f) {
        VB_AUTO_FREE char *p = vb_escape_terminal(f->path, strlen(f->path));
        return vb_fail(err, VB_E_WRITER_NON_RETRYABLE,
                       "restore method of writer '%s' is an alternate location, but the file set in '%s' has none",
                       m->name, p);
    }
    return 0;
}
