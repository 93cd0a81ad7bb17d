/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_changes.c - what writers name in a backup themselves: differenced files and partial files (section 9.4).
 *
 * Looked at when the shadow copies stand, because writers add until PostSnapshot has ended (I-31).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "documents/ranges.h"
#include "documents/selection.h"

/* ---- differenced files (9.4) ---- */

static bool same_place(const struct vb_fileset *f, const struct vb_differenced_file *d)
{
    VB_AUTO_FREE char *a = vb_path_clean(f->path), *b = vb_path_clean(d->path);
    return !strcmp(a, b) && !strcmp(f->filespec, d->filespec) && f->recursive == d->recursive;
}

/* Whether some file could be in both; two patterns in one place are taken to have one in common. */
static bool overlap(const struct vb_fileset *f, const struct vb_differenced_file *d)
{
    bool wild_f = strpbrk(f->filespec, "*?") != NULL, wild_d = strpbrk(d->filespec, "*?") != NULL;
    bool below = (f->recursive && vb_path_below(d->path, f->path)) || (d->recursive && vb_path_below(f->path, d->path));
    VB_AUTO_FREE char *a = vb_path_clean(f->path), *b = vb_path_clean(d->path);
    if (!below && strcmp(a, b) != 0)
        return false;
    if (wild_f)
        return wild_d || vb_filespec_match(f->filespec, d->filespec);
    return wild_d ? vb_filespec_match(d->filespec, f->filespec) : !strcmp(f->filespec, d->filespec);
}

/* I-22, I-24 to I-29: what the writer names is taken, whatever the bits of its file set say. */
static int add_differenced(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c,
                           const struct vb_differenced_file *d, struct vb_msg *comp, struct vb_error *err)
{
    size_t n;
    int rc = 1;
    enum vb_backup_type type = vb_s_type(s, c);
    uint32_t bit = type == VB_BACKUP_INCREMENTAL ? VB_FSB_INCREMENTAL_BACKUP : VB_FSB_DIFFERENTIAL_BACKUP;
    VB_AUTO_FREE char *shown = vb_path_join(d->path, d->filespec);
    if (!(w->wmd->schema & VB_SCHEMA_LAST_MODIFY))
        return vb_fail(err, VB_E_NOT_SUPPORTED, "writer error: differenced file '%s', and its schema lacks 'last modify'", shown);
    struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, VB_BACKUP_UNDEFINED, &n);
    for (size_t i = 0; rc == 1 && i < n; i++)
        if (same_place(f[i].fileset, d)) /* I-32: read where that is read from */
            rc = f[i].fileset->backup_type & bit ? 0 : vb_s_add_filesets(s, comp, c, &f[i], err);
    free(f);
    for (size_t i = 0; rc == 1 && i < w->wmd->n_components; i++)
        for (size_t k = 0; rc == 1 && k < w->wmd->components[i].n_filesets; k++)
            if (overlap(&w->wmd->components[i].filesets[k], d))
                rc = vb_fail(err, VB_E_UNEXPECTED, "writer error: differenced file '%s' is neither a file set nor apart from all",
                             shown);
    if (rc != 1)
        return rc;
    if (s->n_set && !vb_s_volume_of(s, d->path)) /* I-25 */
        return vb_fail(err, VB_E_WRITER_INCONSISTENT_SNAPSHOT,
                       "writer error: differenced file '%s' is on no volume of the snapshot set", shown);
    struct vb_fileset own = { .path = d->path, .filespec = d->filespec, .recursive = d->recursive,
                              .backup_type = VB_FSB_DEFAULT };
    struct vb_member_fileset extra = { vb_wm_find(w->wmd, c->logical_path, c->name), &own };
    return vb_s_add_filesets(s, comp, c, &extra, err);
}

/* ---- partial files ---- */

/* Of a clean absolute path; caller frees. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == path ? vb_strdup("/") : vb_strndup(path, (size_t)(slash - path));
}

static bool holds(const struct vb_fileset *f, const char *dir, const char *name)
{
    VB_AUTO_FREE char *own = vb_path_clean(f->path);
    return (!strcmp(own, dir) || (f->recursive && vb_path_below(dir, own))) && vb_filespec_match(f->filespec, name);
}

static bool named_as_differenced(const struct vb_component *c, const char *dir, const char *name)
{
    for (size_t i = 0; i < c->n_differenced; i++) {
        const struct vb_differenced_file *d = &c->differenced[i];
        const struct vb_fileset f = { .path = d->path, .filespec = d->filespec, .recursive = d->recursive };
        if (holds(&f, dir, name))
            return true;
    }
    return false;
}

/* Where a file of the component is read (I-32); caller frees.  It becomes part of the backup if it is not yet: I-26, I-29,
 * NULL with err. */
static char *take_file(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c, const char *path,
                       struct vb_msg *comp, struct vb_error *err)
{
    size_t n;
    bool in = false, live;
    if (path[0] != '/') {
        vb_fail(err, VB_E_UNEXPECTED, "writer error: the path of file '%s' is not absolute", path);
        return NULL;
    }
    VB_AUTO_FREE char *clean = vb_path_clean(path), *dir = directory_of(clean), *source = NULL;
    const char *name = strrchr(clean, '/') + 1;
    enum vb_backup_type type = vb_s_type(s, c);
    const struct vb_fileset *with = NULL;
    struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, type, &n);
    for (size_t i = 0; i < n && !with; i++)
        if (holds(f[i].fileset, dir, name))
            with = f[i].fileset;
    in = with || (type != VB_BACKUP_FULL && named_as_differenced(c, dir, name));
    free(f);
    f = vb_member_filesets(w->wmd, c->logical_path, c->name, VB_BACKUP_UNDEFINED, &n);
    for (size_t i = 0; i < n && !with; i++)
        if (holds(f[i].fileset, dir, name))
            with = f[i].fileset;
    free(f);
    if (with && with->alternate_path) {
        VB_AUTO_FREE char *own = vb_path_clean(with->path);
        const char *rest = clean + strlen(own);
        source = vb_path_join(with->alternate_path, rest + (*rest == '/'));
    } else {
        source = vb_strdup(clean);
    }
    if (s->n_set && !vb_s_volume_of(s, source)) {
        vb_fail(err, VB_E_WRITER_INCONSISTENT_SNAPSHOT, "writer error: '%s' is on no volume of the snapshot set", path);
        return NULL;
    }
    if (!in) {
        VB_AUTO_FREE char *from = directory_of(source);
        struct vb_fileset own = { .path = dir, .filespec = (char *)(uintptr_t)name, .alternate_path = from,
                                  .backup_type = VB_FSB_DEFAULT };
        struct vb_member_fileset extra = { vb_wm_find(w->wmd, c->logical_path, c->name), &own };
        if (vb_s_add_filesets(s, comp, c, &extra, err) < 0)
            return NULL;
    }
    bool snapshot = !with || vb_s_needs_snapshot(s, c, with);
    char *read = snapshot ? vb_s_read_path(s, source, &live) : vb_strdup(source);
    if (!read)
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "'%s' is in no shadow copy of the set", source);
    return read;
}

static int add_partial(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c,
                       const struct vb_partial_file *f, struct vb_msg *comp, struct vb_error *err)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    const char *file = vb_ranges_path(f->ranges);
    VB_AUTO_FREE char *path = vb_path_join(f->path, f->filename);
    VB_AUTO_FREE char *ranges = file ? take_file(s, w, c, file, comp, err) : NULL; /* it comes first */
    VB_AUTO_FREE char *read = file && !ranges ? NULL : take_file(s, w, c, path, comp, err);
    if (!read)
        return -1;
    vb_msg_add_str(&g, VB_F_PATH, path);
    vb_msg_add_str(&g, VB_F_READ_PATH, read);
    vb_msg_add_str(&g, VB_F_RANGES, f->ranges);
    if (ranges)
        vb_msg_add_str(&g, VB_F_RANGES_PATH, ranges);
    vb_msg_add_group(comp, VB_F_PARTIAL, &g);
    return 0;
}

int vb_s_add_changes(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c, struct vb_msg *comp,
                     struct vb_error *err)
{
    enum vb_backup_type type = vb_s_type(s, c);
    bool differs = type == VB_BACKUP_INCREMENTAL || type == VB_BACKUP_DIFFERENTIAL;
    for (size_t i = 0; differs && i < c->n_differenced; i++) /* I-30: these first */
        if (add_differenced(s, w, c, &c->differenced[i], comp, err) < 0)
            return -1;
    for (size_t i = 0; i < c->n_partials; i++)
        if (add_partial(s, w, c, &c->partials[i], comp, err) < 0)
            return -1;
    if (c->n_partials || (w->wmd->schema & (VB_SCHEMA_INCREMENTAL | VB_SCHEMA_DIFFERENTIAL)))
        vb_msg_add_u64(comp, VB_F_RANGES, 1);
    return 0;
}
