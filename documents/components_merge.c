/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/components_merge.c - takes over what a writer may set in an event, and nothing else (rule book 1.5).
 *
 * Two passes over all records: the first only compares, so that a refused part leaves the document untouched.
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "documents/check.h"
#include "documents/component_fields.h"
#include "documents/table.h"
#include "documents/writer_metadata.h"

static int refuse(const struct vb_component *c, const char *field, int event, const char *why, struct vb_error *err)
{
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
    VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));

    return vb_fail(err, VB_E_BAD_STATE, "component '%s': writer cannot %s '%s' in %s", shown, why, field,
                   vb_event_word((enum vb_event)event));
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* "BACKUP_METADATA metadata", or the attribute of the component itself. */
static char *field_name(const char *element, const char *name)
{
    return vb_printf("%s%s%s", element ? element : "", element ? " " : "", name);
}

static int check_texts(const struct vb_component *old, const struct vb_component *now, int event, struct vb_error *err)
{
    for (size_t i = 0; i < vb_component_n_texts; i++) {
        const struct vb_text_field *f = &vb_component_texts[i];
        const char *a = vb_field_text(old, f->offset), *b = vb_field_text(now, f->offset);
        VB_AUTO_FREE char *name = field_name(f->element, f->name);
        if (same(a, b))
            continue;
        if (!(f->events & VB_EV_BIT(event)))
            return refuse(old, name, event, "set", err);
        if (!b)
            return refuse(old, name, event, "take back", err);
        if (f->once && a)
            return vb_fail(err, VB_E_OBJECT_ALREADY_EXISTS, "component '%s': '%s' can be set only once", old->name,
                           name);
        if (strlen(b) > VB_MAX_PRIVATE_DATA)
            return vb_fail(err, VB_E_LIMIT, "component '%s': '%s' has %zu bytes, the limit is %d", old->name, name,
                           strlen(b), VB_MAX_PRIVATE_DATA);
    }
    return 0;
}

static int check_words(const struct vb_component *old, const struct vb_component *now, int event, struct vb_error *err)
{
    for (size_t i = 0; i < vb_component_n_words; i++) {
        const struct vb_word_field *f = &vb_component_words[i];
        int a = vb_field_int(old, f->offset), b = vb_field_int(now, f->offset);
        if (a == b)
            continue;
        VB_AUTO_FREE char *name = field_name(f->element, f->name);
        if (!(f->events & VB_EV_BIT(event)))
            return refuse(old, name, event, "set", err);
        if (b == 0)
            return refuse(old, name, event, "take back", err);
        if (f->offset == offsetof(struct vb_component, consistency) && a && b > a)
            return refuse(old, name, event, "raise", err);
    }
    for (size_t i = 0; i < vb_component_n_flags; i++) {
        const struct vb_flag_field *f = &vb_component_flags[i];
        VB_AUTO_FREE char *name = field_name(f->element, f->name);
        if (vb_field_bool(old, f->offset) != vb_field_bool(now, f->offset))
            return refuse(old, name, event, "set", err);
    }
    if (old->backup_succeeded_set != now->backup_succeeded_set || old->backup_succeeded != now->backup_succeeded)
        return refuse(old, "RESULT succeeded", event, "set", err);
    if (old->type != now->type)
        return refuse(old, "componentType", event, "set", err);
    return 0;
}

/* What stood there must still stand there, in front; more may follow where the event allows it. */
static int check_lists(const struct vb_component *old, const struct vb_component *now, int event, struct vb_error *err)
{
    for (size_t k = 0; k < vb_component_n_lists; k++) {
        const struct vb_list_field *l = &vb_component_lists[k];
        size_t a = vb_list_count(old, l), b = vb_list_count(now, l);
        if (b < a)
            return refuse(old, l->element, event, "take back", err);
        for (size_t i = 0; i < a; i++)
            if (!vb_list_rows_equal(l, vb_list_row(old, l, i), vb_list_row(now, l, i)))
                return refuse(old, l->element, event, "change", err);
        if (b > a && !(l->events & VB_EV_BIT(event)))
            return refuse(old, l->element, event, "add", err);
    }
    if (now->n_private < old->n_private)
        return refuse(old, "PRIVATE_FILE", event, "take back", err);
    for (size_t i = 0; i < old->n_private; i++) {
        const struct vb_private_file *a = &old->private_files[i], *b = &now->private_files[i];
        if (!same(a->name, b->name) || a->data.len != b->data.len ||
            (a->data.len && memcmp(a->data.data, b->data.data, a->data.len) != 0))
            return refuse(old, "PRIVATE_FILE", event, "change", err);
    }
    if (now->n_private > old->n_private && !(vb_private_file_events & VB_EV_BIT(event)))
        return refuse(old, "PRIVATE_FILE", event, "add", err);
    if (old->restore_subcomponents.n != now->restore_subcomponents.n)
        return refuse(old, "RESTORE_SUBCOMPONENT", event, "set", err);
    for (size_t i = 0; i < old->restore_subcomponents.n; i++)
        if (!same(old->restore_subcomponents.v[i], now->restore_subcomponents.v[i]))
            return refuse(old, "RESTORE_SUBCOMPONENT", event, "set", err);
    return 0;
}

/* I-28: a file is not both partial and differenced. */
static int check_files(const struct vb_component *now, struct vb_error *err)
{
    struct vb_table differenced = {0};
    int rc = 0;

    for (size_t i = 0; now->n_partials && i < now->n_differenced; i++) {
        VB_AUTO_FREE char *key = vb_printf("%s\n%s", now->differenced[i].path, now->differenced[i].filespec);
        vb_table_add(&differenced, key, i);
    }
    for (size_t i = 0; rc == 0 && i < now->n_partials; i++) {
        VB_AUTO_FREE char *key = vb_printf("%s\n%s", now->partials[i].path, now->partials[i].filename);
        if (vb_table_find(&differenced, key) != VB_TABLE_NONE)
            rc = vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "component '%s': a file is both partial and differenced",
                         now->name);
    }
    vb_table_clear(&differenced);
    return rc;
}

static void swap(void *a, void *b, size_t n)
{
    unsigned char *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        unsigned char t = x[i];
        x[i] = y[i];
        y[i] = t;
    }
}

static int check_writer(const struct vb_writer_components *into, const struct vb_writer_components *w, int event,
                        struct vb_error *err)
{
    if (event < VB_EV_NONE || event >= VB_EV_COUNT)
        return vb_fail(err, VB_E_BAD_STATE, "no event has the number %d", event);
    if (!vb_guid_equal(into->writer_id, w->writer_id) || !same(into->instance_name, w->instance_name))
        return vb_fail(err, VB_E_BAD_STATE, "writer '%s' answered for another writer in %s", into->name,
                       vb_event_word((enum vb_event)event));
    if (into->schema != w->schema)
        return vb_fail(err, VB_E_BAD_STATE, "writer '%s' cannot set 'backupSchema' in %s", into->name,
                       vb_event_word((enum vb_event)event));
    if (into->n_components != w->n_components)
        return vb_fail(err, VB_E_BAD_STATE, "writer '%s' cannot add or remove components in %s", into->name,
                       vb_event_word((enum vb_event)event));
    for (size_t i = 0; i < into->n_components; i++) {
        const struct vb_component *a = &into->components[i], *b = &w->components[i];
        if (strcmp(a->logical_path, b->logical_path) != 0 || strcmp(a->name, b->name) != 0)
            return refuse(a, "componentName", event, "set", err);
        if (check_texts(a, b, event, err) < 0 || check_words(a, b, event, err) < 0 ||
            check_lists(a, b, event, err) < 0 || check_files(b, err) < 0)
            return -1;
    }
    return 0;
}

int vb_writer_components_merge(struct vb_writer_components *into, const void *xml, size_t n, int event,
                               struct vb_error *err)
{
    struct vb_components *doc = vb_writer_components_read(xml, n, err);
    int rc = -1;

    if (doc && check_writer(into, &doc->writers[0], event, err) == 0) {
        /* all that differs is allowed: take the records as they are */
        for (size_t i = 0; i < into->n_components; i++)
            swap(&into->components[i], &doc->writers[0].components[i], sizeof into->components[i]);
        rc = 0;
    }
    vb_components_free(doc);
    return rc;
}
