/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_records.c - the services over a writer's own component records; table 1.5 decides what may be set when.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "agent/writer_internal.h"
#include "base/text.h"
#include "documents/ranges.h"

static unsigned svc_record_count(struct vb_host *h)
{
    return (unsigned)h->n_records;
}

static struct vb_record *svc_record(struct vb_host *h, unsigned i)
{
    return i < h->n_records ? &h->records[i] : NULL;
}

#define TEXT_GETTER(field)                                                                                             \
    static const char *svc_record_##field(struct vb_record *r)                                                         \
    {                                                                                                                  \
        return r->c->field;                                                                                            \
    }
TEXT_GETTER(logical_path)
TEXT_GETTER(name)
TEXT_GETTER(backup_options)
TEXT_GETTER(restore_options)
TEXT_GETTER(previous_stamp)
TEXT_GETTER(backup_stamp)
TEXT_GETTER(backup_metadata)
TEXT_GETTER(restore_metadata)

static int svc_record_backup_succeeded(struct vb_record *r)
{
    return r->c->backup_succeeded_set && r->c->backup_succeeded;
}

static int svc_record_additional_restores(struct vb_record *r)
{
    return r->c->additional_restores;
}

static enum vb_file_restore_status svc_record_restore_status(struct vb_record *r)
{
    return r->c->restore_status;
}

static const char *svc_record_restored_to(struct vb_record *r, const char *path)
{
    const struct vb_component *c = r->c;
    VB_AUTO_FREE char *clean = vb_path_clean(path);

    if (r->h->event == VB_EV_POST_RESTORE && c->restore_status != VB_FILE_RESTORE_ALL &&
        c->restore_status != VB_FILE_RESTORE_FAILED)
        return NULL;
    for (size_t i = 0; i < c->n_new_targets; i++) {
        VB_AUTO_FREE char *p = vb_path_clean(c->new_targets[i].path);
        if (strcmp(p, clean) == 0)
            return c->new_targets[i].where;
    }
    for (size_t i = 0; i < c->n_used_alms; i++) {
        VB_AUTO_FREE char *p = vb_path_clean(c->used_alms[i].path);
        if (strcmp(p, clean) == 0)
            return c->used_alms[i].where;
    }
    return vb_writer_keep(r->h, VB_STEAL(clean));
}

/* ---- setters ---- */

static bool in_backup(const struct vb_host *h)
{
    return h->event >= VB_EV_PREPARE_BACKUP && h->event <= VB_EV_POST_SNAPSHOT;
}

static int once(struct vb_record *r, char **field, const char *what, const char *text)
{
    struct vb_error e = VB_ERROR_INIT;

    if (*field != NULL)
        vb_fail(&e, VB_E_OBJECT_ALREADY_EXISTS, "%s of component '%s' was set already (C-44)", what, r->c->name);
    else if (text == NULL)
        vb_fail(&e, VB_E_USAGE, "%s of component '%s' has no text", what, r->c->name);
    else if (strlen(text) > VB_MAX_PRIVATE_DATA)
        vb_fail(&e, VB_E_LIMIT, "%s of component '%s' has %zu bytes, %d are allowed (X-17)", what, r->c->name,
                strlen(text), VB_MAX_PRIVATE_DATA);
    if (e.code != VB_OK)
        return vb_writer_trouble(r->h, &e);
    *field = vb_strdup(text);
    return 0;
}

static int svc_set_backup_metadata(struct vb_record *r, const char *text)
{
    if (!in_backup(r->h))
        return vb_writer_bad_state(r->h, "set_backup_metadata", "PrepareForBackup to PostSnapshot");
    return once(r, &r->c->backup_metadata, "backup metadata", text);
}

static int svc_set_backup_stamp(struct vb_record *r, const char *stamp)
{
    if (!in_backup(r->h))
        return vb_writer_bad_state(r->h, "set_backup_stamp", "PrepareForBackup to PostSnapshot");
    free(r->c->backup_stamp);
    r->c->backup_stamp = vb_strdup(stamp);
    return 0;
}

static int svc_set_restore_metadata(struct vb_record *r, const char *text)
{
    if (r->h->event != VB_EV_PRE_RESTORE)
        return vb_writer_bad_state(r->h, "set_restore_metadata", "PreRestore");
    return once(r, &r->c->restore_metadata, "restore metadata", text);
}

static int svc_set_restore_target(struct vb_record *r, enum vb_restore_target t)
{
    struct vb_error e = VB_ERROR_INIT;

    if (r->h->event != VB_EV_PRE_RESTORE)
        return vb_writer_bad_state(r->h, "set_restore_target", "PreRestore");
    if (t <= VB_TARGET_UNDEFINED || t > VB_TARGET_ORIGINAL_LOCATION) {
        vb_fail(&e, VB_E_USAGE, "restore target %d is undefined", (int)t);
        return vb_writer_trouble(r->h, &e);
    }
    r->c->target = t;
    return 0;
}

static int svc_add_partial_file(struct vb_record *r, const char *path, const char *filename, const char *ranges,
                                const char *metadata)
{
    struct vb_component *c = r->c;
    struct vb_error e = VB_ERROR_INIT;

    if (!in_backup(r->h))
        return vb_writer_bad_state(r->h, "add_partial_file", "PrepareForBackup to PostSnapshot");
    if (path == NULL || filename == NULL || ranges == NULL) {
        vb_fail(&e, VB_E_USAGE, "a partial file of component '%s' lacks its path, name or ranges", c->name);
        return vb_writer_trouble(r->h, &e);
    }
    VB_AUTO_FREE char *file = vb_path_join(path, filename);
    struct vb_ranges v = { .v = NULL };
    if (r->h->doc == NULL || !r->h->doc->partial_files) /* I-27 */
        vb_fail(&e, VB_E_NOT_SUPPORTED, "partial file '%s': the requester did not announce that it supports them", file);
    else if (path[0] != '/' || strpbrk(filename, "*?/") != NULL || *filename == '\0') /* I-26 */
        vb_fail(&e, VB_E_WRITER_NON_RETRYABLE, "partial file '%s' is not one file with its full path", file);
    else if (vb_ranges_path(ranges) == NULL && vb_ranges_parse(ranges, &v, &e) != 0)
        vb_context(&e, "partial file '%s'", file);
    vb_ranges_clear(&v);
    if (e.code != VB_OK)
        return vb_writer_trouble(r->h, &e);
    VB_GROW(c->partials, c->n_partials, c->cap_partials);
    c->partials[c->n_partials++] = (struct vb_partial_file){
        .path = vb_strdup(path),
        .filename = vb_strdup(filename),
        .ranges = vb_strdup(ranges),
        .metadata = vb_strdup(metadata),
    };
    return 0;
}

static int svc_add_differenced_file(struct vb_record *r, const char *path, const char *filespec, int recursive,
                                    int64_t mtime_sec)
{
    struct vb_component *c = r->c;
    struct vb_error e = VB_ERROR_INIT;

    if (!in_backup(r->h))
        return vb_writer_bad_state(r->h, "add_differenced_file", "PrepareForBackup to PostSnapshot");
    if (path == NULL || filespec == NULL) {
        vb_fail(&e, VB_E_USAGE, "a differenced file of component '%s' lacks its path or file specification", c->name);
        return vb_writer_trouble(r->h, &e);
    }
    VB_GROW(c->differenced, c->n_differenced, c->cap_differenced);
    c->differenced[c->n_differenced++] = (struct vb_differenced_file){
        .path = vb_strdup(path),
        .filespec = vb_strdup(filespec),
        .recursive = recursive != 0,
        .mtime_sec = mtime_sec,
    };
    return 0;
}

static unsigned svc_partial_file_count(struct vb_record *r)
{
    return (unsigned)r->c->n_partials;
}

static int svc_partial_file(struct vb_record *r, unsigned i, struct vb_partial_file_info *out)
{
    struct vb_component *c = r->c;
    struct vb_partial_file_info info = { .size = sizeof info };
    size_t size = out->size < sizeof info ? out->size : sizeof info;

    if (i >= c->n_partials || size < sizeof info.size)
        return -1;
    info.path = c->partials[i].path;
    info.filename = c->partials[i].filename;
    info.ranges = c->partials[i].ranges;
    info.metadata = c->partials[i].metadata;
    if (c->ranges_file != NULL && vb_ranges_path(info.ranges) != NULL) /* where it is now */
        info.ranges = vb_writer_keep(r->h, vb_printf("File=%s", c->ranges_file));
    info.size = out->size;
    memcpy(out, &info, size);
    return 0;
}

static void set_text(char **field, const char *text)
{
    free(*field);
    *field = vb_strdup(text);
}

static int svc_component_fail(struct vb_record *r, enum vb_code code, const char *text)
{
    const char *why = text != NULL ? text : "no reason given";

    if (r->h->event <= VB_EV_IDENTIFY || r->h->event == VB_EV_BACKUP_COMPLETE || r->h->event == VB_EV_BACKUP_SHUTDOWN)
        return vb_writer_bad_state(r->h, "component_fail",
                                   "PrepareForBackup to PostSnapshot, PreRestore or PostRestore");
    r->c->failure_code = code == VB_OK ? VB_E_WRITER_NON_RETRYABLE : code;
    set_text(&r->c->failure_text, why);
    switch (r->h->event) {
    case VB_EV_PREPARE_BACKUP: set_text(&r->c->prepare_failure, why); break;
    case VB_EV_POST_SNAPSHOT: set_text(&r->c->post_snapshot_failure, why); break;
    case VB_EV_PRE_RESTORE: set_text(&r->c->pre_restore_failure, why); break;
    case VB_EV_POST_RESTORE: set_text(&r->c->post_restore_failure, why); break;
    default: break;
    }
    return 0;
}

/* ---- private files ---- */

static int svc_add_private_file(struct vb_record *r, const char *name, const void *data, size_t len)
{
    struct vb_component *c = r->c;
    struct vb_error e = VB_ERROR_INIT;
    size_t sum = len;

    if (r->h->event != VB_EV_POST_SNAPSHOT)
        return vb_writer_bad_state(r->h, "add_private_file", "PostSnapshot");
    for (size_t i = 0; i < c->n_private; i++) {
        sum += c->private_files[i].data.len;
        if (strcmp(c->private_files[i].name, name) == 0)
            vb_fail(&e, VB_E_OBJECT_ALREADY_EXISTS, "private file '%s' of component '%s' was added already", name,
                    c->name);
    }
    if (*name == '\0' || strchr(name, '/') != NULL)
        vb_fail(&e, VB_E_USAGE, "'%s' is not the name of a private file", name);
    if (len > VB_MAX_PRIVATE_DATA || sum > VB_MAX_PRIVATE_DATA)
        vb_fail(&e, VB_E_LIMIT, "private files of component '%s' exceed %d bytes (X-17)", c->name, VB_MAX_PRIVATE_DATA);
    if (e.code != VB_OK)
        return vb_writer_trouble(r->h, &e);
    VB_GROW(c->private_files, c->n_private, c->cap_private);
    struct vb_private_file *f = &c->private_files[c->n_private++];
    *f = (struct vb_private_file){ .name = vb_strdup(name), .data = VB_BUF_INIT };
    vb_buf_add(&f->data, data, len);
    return 0;
}

static const void *svc_private_file(struct vb_record *r, const char *name, size_t *len)
{
    if (r->h->event != VB_EV_PRE_RESTORE && r->h->event != VB_EV_POST_RESTORE) {
        vb_writer_bad_state(r->h, "private_file", "PreRestore and PostRestore");
        return NULL;
    }
    for (size_t i = 0; i < r->c->n_private; i++) {
        struct vb_private_file *f = &r->c->private_files[i];
        if (strcmp(f->name, name) == 0) {
            *len = f->data.len;
            return vb_buf_str(&f->data); /* an empty file is "", not NULL */
        }
    }
    return NULL;
}

void vb_writer_fill_record_services(struct vb_writer_services *s)
{
    s->record_count = svc_record_count;
    s->record = svc_record;
    s->record_logical_path = svc_record_logical_path;
    s->record_name = svc_record_name;
    s->record_backup_options = svc_record_backup_options;
    s->record_restore_options = svc_record_restore_options;
    s->record_previous_stamp = svc_record_previous_stamp;
    s->record_backup_stamp = svc_record_backup_stamp;
    s->record_backup_metadata = svc_record_backup_metadata;
    s->record_restore_metadata = svc_record_restore_metadata;
    s->record_backup_succeeded = svc_record_backup_succeeded;
    s->record_additional_restores = svc_record_additional_restores;
    s->record_restore_status = svc_record_restore_status;
    s->record_restored_to = svc_record_restored_to;
    s->set_backup_metadata = svc_set_backup_metadata;
    s->set_backup_stamp = svc_set_backup_stamp;
    s->set_restore_metadata = svc_set_restore_metadata;
    s->set_restore_target = svc_set_restore_target;
    s->add_partial_file = svc_add_partial_file;
    s->partial_file_count = svc_partial_file_count;
    s->partial_file = svc_partial_file;
    s->add_differenced_file = svc_add_differenced_file;
    s->component_fail = svc_component_fail;
    s->add_private_file = svc_add_private_file;
    s->private_file = svc_private_file;
}
