/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/files/files.c - components made of plain files, named in the configuration or given ad hoc.
 *
 * There is no application to hold, so this writer never claims more than the instant of the snapshot.
 */
#include "config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/support/support.h"

struct files {
    struct vbw w;
};

static const char *const OPTIONS[] = { "component",
                                       "*.path",
                                       "*.include",
                                       "*.exclude",
                                       "*.recursive",
                                       "*.selectable",
                                       "*.selectable-for-restore",
                                       "*.logical-path",
                                       "*.caption",
                                       "*.depends",
                                       "path",
                                       "include",
                                       "exclude",
                                       "recursive",
                                       "*.exclude-pattern",
                                       "*.exclude-pattern-nocase",
                                       "*.exclude-if-present",
                                       "*.exclude-larger-than",
                                       "*.exclude-caches",
                                       "*.one-file-system",
                                       "exclude-pattern",
                                       "exclude-pattern-nocase",
                                       "exclude-if-present",
                                       "exclude-larger-than",
                                       "exclude-caches",
                                       "one-file-system",
                                       "adhoc-path",
                                       "adhoc-exclude",
                                       "adhoc-rule",
                                       "adhoc-restore",
                                       NULL };

/* Where the settings of one component stand: `NAME.key`, or plain `key` for the section's only component. */
struct place {
    const struct vbw *w;
    const char *prefix; /* NULL: plain */
};

static const char *get(const struct place *p, const char *key)
{
    return p->prefix != NULL ? vbw_sub_option(p->w, p->prefix, key) : p->w->svc->option(p->w->h, key);
}

static void get_all(const struct place *p, const char *key, struct vbw_list *l)
{
    if (p->prefix != NULL)
        vbw_list_sub_option(p->w, p->prefix, key, l);
    else
        vbw_list_option(p->w, key, l);
}

/* One `exclude = ...`: a file specification holds in all directories of the component; with a '/' it is a place,
 * absolute or below a path of the component; a '/' at the end means the directory's contents only. */
static int add_exclude(const struct vbw *w, const char *base, const char *text)
{
    const struct vb_writer_services *svc = w->svc;

    if (strchr(text, '/') == NULL)
        return svc->add_exclude(w->h, base, text, 1);
    bool contents = text[strlen(text) - 1] == '/';
    VBW_AUTO char *joined = vbw_join(base, text);
    VBW_AUTO char *full = vbw_clean(joined);
    VBW_AUTO char *dir = vbw_dirname(full);
    if (!vbw_below(full, base))
        return 0; /* below another path of the component */
    if (contents)
        return svc->add_exclude(w->h, full, "*", 1);
    if (svc->add_exclude(w->h, dir, vbw_basename(full), 0) != 0)
        return -1;
    return strpbrk(vbw_basename(full), "*?") == NULL ? svc->add_exclude(w->h, full, "*", 1) : 0;
}

static int add_path(const struct vbw *w, const char *lp, const char *name, const char *text,
                    const struct vbw_list *includes, bool recursive)
{
    VBW_AUTO char *path = vbw_clean(text);
    struct stat st;

    if (path[0] != '/')
        return vbw_fail(w, VB_E_CONFIG, "write the path from the root: /srv/www",
                        "component '%s': path '%s' is not absolute", name, text);
    /* a file, or a link: itself; everything else is taken as a directory, also when it is not there yet */
    if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        VBW_AUTO char *dir = vbw_dirname(path);
        const struct vb_fileset_spec f = { .size = sizeof f, .path = dir, .filespec = vbw_basename(path) };
        return w->svc->add_files(w->h, lp, name, &f);
    }
    for (size_t i = 0; i < (includes->n > 0 ? includes->n : 1); i++) {
        const struct vb_fileset_spec f = {
            .size = sizeof f,
            .path = path,
            .filespec = includes->n > 0 ? includes->v[i] : "*",
            .recursive = recursive,
        };
        if (w->svc->add_files(w->h, lp, name, &f) != 0)
            return -1;
    }
    return 0;
}

/* CLASS-ID|LOGICAL-PATH|NAME, the path with \\host\ in front for another host (D-21) */
static int add_dependency(const struct vbw *w, const char *lp, const char *name, const char *text)
{
    VBW_AUTO char *copy = vbw_strdup(text);
    char *b = strchr(copy, '|'), *e = b != NULL ? strchr(b + 1, '|') : NULL;

    if (e == NULL)
        return vbw_fail(w, VB_E_CONFIG, "see vbackup-writer-files(8)",
                        "'depends = %s': expected CLASS-ID|LOGICAL-PATH|NAME", text);
    *b = *e = '\0';
    return w->svc->add_dependency(w->h, lp, name, copy, b + 1, e + 1);
}

/* Settings that become rules of what is left out. */
static int add_rules(const struct place *p, const char *lp, const char *name)
{
    static const struct {
        const char *key, *kind;
        bool flag;
    } RULES[] = {
        { "exclude-pattern", "pattern", false },        { "exclude-pattern-nocase", "ipattern", false },
        { "exclude-if-present", "marker", false },      { "exclude-larger-than", "larger-than", false },
        { "exclude-caches", "caches", true },           { "one-file-system", "one-file-system", true },
    };
    const struct vbw *w = p->w;
    int rc = 0;
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0] && rc == 0; i++) {
        struct vbw_list values = { NULL, 0, 0 };
        get_all(p, RULES[i].key, &values);
        for (size_t k = 0; rc == 0 && k < values.n; k++) {
            bool on = true;
            if (RULES[i].flag)
                rc = vbw_bool(w, RULES[i].key, values.v[k], false, &on);
            VBW_AUTO char *rule = vbw_printf("%s:%s", RULES[i].kind, RULES[i].flag ? "" : values.v[k]);
            if (rc == 0 && on)
                rc = w->svc->leave_out(w->h, lp, name, rule);
        }
        vbw_list_clear(&values);
    }
    return rc;
}

static int add_component(const struct place *p, const char *name)
{
    const struct vbw *w = p->w;
    struct vbw_list paths = { NULL, 0, 0 }, includes = { NULL, 0, 0 }, excludes = { NULL, 0, 0 },
                    deps = { NULL, 0, 0 };
    const char *lp = get(p, "logical-path");
    bool recursive, selectable, for_restore;
    int rc;

    if (vbw_bool(w, "recursive", get(p, "recursive"), true, &recursive) != 0 ||
        vbw_bool(w, "selectable", p->prefix != NULL ? get(p, "selectable") : NULL, true, &selectable) != 0 ||
        vbw_bool(w, "selectable-for-restore", p->prefix != NULL ? get(p, "selectable-for-restore") : NULL, true,
                 &for_restore) != 0)
        return -1;
    if (p->prefix == NULL)
        lp = NULL;
    get_all(p, "path", &paths);
    get_all(p, "include", &includes);
    get_all(p, "exclude", &excludes);
    if (p->prefix != NULL)
        get_all(p, "depends", &deps);
    const struct vb_component_spec c = {
        .size = sizeof c,
        .type = VB_COMPONENT_FILEGROUP,
        .logical_path = lp,
        .name = name,
        .caption = p->prefix != NULL ? get(p, "caption") : NULL,
        .selectable = selectable,
        .selectable_for_restore = for_restore,
    };
    rc = w->svc->add_component(w->h, &c);
    if (rc == 0)
        rc = add_rules(p, lp, name);
    for (size_t i = 0; rc == 0 && i < paths.n; i++) {
        rc = add_path(w, lp, name, paths.v[i], &includes, recursive);
        VBW_AUTO char *base = vbw_clean(paths.v[i]);
        for (size_t k = 0; rc == 0 && k < excludes.n; k++)
            rc = add_exclude(w, base, excludes.v[k]);
    }
    for (size_t i = 0; rc == 0 && i < deps.n; i++)
        rc = add_dependency(w, lp, name, deps.v[i]);
    vbw_list_clear(&paths);
    vbw_list_clear(&includes);
    vbw_list_clear(&excludes);
    vbw_list_clear(&deps);
    return rc;
}

/* `vbackup backup PATH...`: all of them are one component; a path inside another one is in it already. */
static int add_adhoc(const struct vbw *w, const struct vbw_list *paths)
{
    bool restoring = w->svc->option(w->h, "adhoc-restore") != NULL; /* the stored file sets count, not today's */
    const struct vb_component_spec c = { .size = sizeof c,
                                         .type = VB_COMPONENT_FILEGROUP,
                                         .name = "paths",
                                         .caption = "paths named on the command line",
                                         .selectable = 1,
                                         .selectable_for_restore = 1 };
    const struct vbw_list none = { NULL, 0, 0 };
    struct vbw_list excludes = { NULL, 0, 0 }, rules = { NULL, 0, 0 };
    int rc = w->svc->add_component(w->h, &c);

    vbw_list_option(w, "adhoc-exclude", &excludes);
    vbw_list_option(w, "adhoc-rule", &rules);
    for (size_t i = 0; rc == 0 && i < rules.n; i++)
        rc = w->svc->leave_out(w->h, NULL, c.name, rules.v[i]);
    vbw_list_clear(&rules);
    for (size_t i = 0; rc == 0 && i < paths->n; i++) {
        VBW_AUTO char *me = vbw_clean(paths->v[i]);
        bool covered = false;
        struct stat st;
        if (!restoring && lstat(me, &st) != 0) {
            rc = vbw_fail_errno(w, errno, "name files and directories that exist", "cannot back up '%s'", me);
            break;
        }
        for (size_t k = 0; k < paths->n && !covered; k++) {
            VBW_AUTO char *other = vbw_clean(paths->v[k]);
            covered = k != i && vbw_below(me, other) && (strcmp(me, other) != 0 || k < i);
        }
        if (!covered)
            rc = add_path(w, NULL, c.name, me, &none, true);
        for (size_t k = 0; rc == 0 && !covered && k < excludes.n; k++)
            rc = add_exclude(w, me, excludes.v[k]);
    }
    vbw_list_clear(&excludes);
    return rc;
}

static int files_identify(void *ctx, struct vb_host *h)
{
    struct files *f = ctx;
    struct vbw_list names = { NULL, 0, 0 }, adhoc = { NULL, 0, 0 };
    const struct vbw *w = &f->w;
    int rc;

    f->w.h = h;
    if (w->svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0 ||
        w->svc->set_backup_schema(h, VB_SCHEMA_NEW_TARGET) != 0)
        return -1;
    vbw_list_option(w, "component", &names);
    vbw_list_option(w, "adhoc-path", &adhoc);
    rc = adhoc.n > 0 ? add_adhoc(w, &adhoc) : 0;
    for (size_t i = 0; rc == 0 && adhoc.n == 0 && i < names.n; i++) {
        const struct place p = { w, names.v[i] };
        rc = add_component(&p, names.v[i]);
    }
    if (rc == 0 && adhoc.n == 0 && w->svc->option(h, "path") != NULL) {
        const char *instance = w->svc->option(h, "instance");
        const struct place p = { w, NULL };
        rc = add_component(&p, instance != NULL ? instance : "files");
    } else if (rc == 0 && names.n == 0 && adhoc.n == 0) {
        rc = vbw_fail(w, VB_E_CONFIG, "add path = /DIRECTORY, or component = NAME and NAME.path = /DIRECTORY",
                      "the files writer has no component: neither path nor component is set");
    }
    vbw_list_clear(&names);
    vbw_list_clear(&adhoc);
    return rc;
}

static int nothing(void *ctx, struct vb_host *h)
{
    (void)ctx;
    (void)h;
    return 0;
}

/* Whoever writes these files was not asked to hold: one instant at best. */
static int files_post_snapshot(void *ctx, struct vb_host *h)
{
    struct files *f = ctx;

    return f->w.svc->set_consistency(h, f->w.svc->snapshot_is_atomic(h) ? VB_CONSISTENCY_FILE_SYSTEM
                                                                        : VB_CONSISTENCY_NONE);
}

static int files_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct files *f = vbw_alloc(1, sizeof *f);

    f->w = (struct vbw){ svc, h };
    *ctx = f;
    return 0;
}

static const struct vb_writer FILES_WRITER = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0002",
    .name = "files writer",
    .version = "1.0",
    .usage = VB_USAGE_USER_DATA,
    .source = VB_SOURCE_OTHER,
    .options = OPTIONS,
    .open = files_open,
    .close = free,
    .identify = files_identify,
    .freeze = nothing,
    .thaw = nothing,
    .post_snapshot = files_post_snapshot,
    .abort = nothing,
};
VB_REGISTER_WRITER(FILES_WRITER)
