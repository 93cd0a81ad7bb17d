/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/component_fields.c - the tables of the fields of a component record, and access through them.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "documents/component_fields.h"

#define BACKUP_WINDOW                                                                                          \
    (VB_EV_BIT(VB_EV_PREPARE_BACKUP) | VB_EV_BIT(VB_EV_PREPARE_SNAPSHOT) | VB_EV_BIT(VB_EV_FREEZE) |            \
     VB_EV_BIT(VB_EV_THAW) | VB_EV_BIT(VB_EV_POST_SNAPSHOT))
#define PRE VB_EV_BIT(VB_EV_PRE_RESTORE)
#define POST VB_EV_BIT(VB_EV_POST_RESTORE)
#define NEVER 0u
#define AT(field) offsetof(struct vb_component, field)

const struct vb_text_field vb_component_texts[] = {
    {NULL, "backupStamp", AT(backup_stamp), BACKUP_WINDOW, false},
    {"PREVIOUS_BACKUP_STAMP", "backupStamp", AT(previous_stamp), NEVER, false},
    {"BASE_BACKUP", "backup", AT(base_backup), NEVER, false},
    {"BACKUP_OPTIONS", "options", AT(backup_options), NEVER, false},
    {"BACKUP_METADATA", "metadata", AT(backup_metadata), BACKUP_WINDOW, true},
    {"PREPARE_FAILURE", "text", AT(prepare_failure), VB_EV_BIT(VB_EV_PREPARE_BACKUP), false},
    {"POST_SNAPSHOT_FAILURE", "text", AT(post_snapshot_failure), VB_EV_BIT(VB_EV_POST_SNAPSHOT), false},
    {"FAILURE", "text", AT(failure_text), BACKUP_WINDOW | PRE | POST, false},
    {"RESTORE_SELECTION", "targetInstanceId", AT(target_instance_id), NEVER, false},
    {"RESTORE_OPTIONS", "options", AT(restore_options), NEVER, false},
    {"RESTORE_NAME", "name", AT(restore_name), NEVER, false},
    {"ROLL_FORWARD", "point", AT(rollforward_point), NEVER, false},
    {"RANGES_FILE", "path", AT(ranges_file), NEVER, false},
    {"RESTORE_METADATA", "metadata", AT(restore_metadata), PRE, true},
    {"PRE_RESTORE_FAILURE", "text", AT(pre_restore_failure), PRE, false},
    {"POST_RESTORE_FAILURE", "text", AT(post_restore_failure), POST, false},
};
const size_t vb_component_n_texts = VB_COUNT(vb_component_texts);

/* Adapters between int and the enumerations' own word functions. */
#define WORDS(name, type, word_fn, from_fn)        \
    static const char *name##_word(int v)          \
    {                                              \
        return word_fn((type)v);                   \
    }                                              \
    static int name##_from(const char *s)          \
    {                                              \
        return (int)from_fn(s);                    \
    }
WORDS(code, enum vb_code, vb_code_name, vb_code_from_name)
WORDS(consistency, enum vb_consistency, vb_consistency_word, vb_consistency_from_word)
WORDS(completeness, enum vb_completeness, vb_completeness_word, vb_completeness_from_word)
WORDS(rollforward, enum vb_rollforward, vb_rollforward_word, vb_rollforward_from_word)
WORDS(target, enum vb_restore_target, vb_restore_target_word, vb_restore_target_from_word)
WORDS(status, enum vb_file_restore_status, vb_file_restore_status_word, vb_file_restore_status_from_word)

const struct vb_word_field vb_component_words[] = {
    {"FAILURE", "code", AT(failure_code), BACKUP_WINDOW | PRE | POST, code_word, code_from},
    {"RESULT", "consistency", AT(consistency), BACKUP_WINDOW, consistency_word, consistency_from},
    {"RESULT", "completeness", AT(completeness), NEVER, completeness_word, completeness_from},
    {"ROLL_FORWARD", "type", AT(rollforward), NEVER, rollforward_word, rollforward_from},
    {"RESTORE_TARGET", "target", AT(target), PRE, target_word, target_from},
    {"FILE_RESTORE_STATUS", "status", AT(restore_status), NEVER, status_word, status_from},
};
const size_t vb_component_n_words = VB_COUNT(vb_component_words);

const struct vb_flag_field vb_component_flags[] = {
    {"RESTORE_SELECTION", "selected", AT(selected_for_restore)},
    {"RESTORE_SELECTION", "additionalRestores", AT(additional_restores)},
    {"RESTORE_SELECTION", "authoritative", AT(authoritative)},
};
const size_t vb_component_n_flags = VB_COUNT(vb_component_flags);

#define LIST(name) AT(name), AT(n_##name), AT(cap_##name), sizeof(*((struct vb_component *)0)->name)
#define PARTIAL(field) offsetof(struct vb_partial_file, field)
#define DIFF(field) offsetof(struct vb_differenced_file, field)
#define PLACED(field) offsetof(struct vb_placed, field)
#define DIRECTED(field) offsetof(struct vb_directed_target, field)
#define PLACED_COLUMNS                                                                                        \
    {{"path", PLACED(path), false}, {"filespec", PLACED(filespec), false}, {"alternatePath", PLACED(where), false}}

const struct vb_list_field vb_component_lists[] = {
    {"PARTIAL_FILE", LIST(partials),
     {{"path", PARTIAL(path), false}, {"filespec", PARTIAL(filename), false}, {"ranges", PARTIAL(ranges), false},
      {"metadata", PARTIAL(metadata), true}},
     VB_NO_OFFSET, VB_NO_OFFSET, BACKUP_WINDOW},
    {"DIFFERENCED_FILE", LIST(differenced),
     {{"path", DIFF(path), false}, {"filespec", DIFF(filespec), false}},
     DIFF(recursive), DIFF(mtime_sec), BACKUP_WINDOW},
    {"NEW_TARGET", LIST(new_targets), PLACED_COLUMNS, PLACED(recursive), VB_NO_OFFSET, NEVER},
    {"ALTERNATE_LOCATION_MAPPING", LIST(used_alms), PLACED_COLUMNS, PLACED(recursive), VB_NO_OFFSET, NEVER},
    {"DIRECTED_TARGET", LIST(directed),
     {{"sourcePath", DIRECTED(source_path), false}, {"sourceFilespec", DIRECTED(source_filename), false},
      {"sourceRanges", DIRECTED(source_ranges), false}, {"targetPath", DIRECTED(target_path), false},
      {"targetFilespec", DIRECTED(target_filename), false}, {"targetRanges", DIRECTED(target_ranges), false}},
     VB_NO_OFFSET, VB_NO_OFFSET, PRE},
};
const size_t vb_component_n_lists = VB_COUNT(vb_component_lists);

const unsigned vb_private_file_events = BACKUP_WINDOW;

/* ---- access ---- */

char *vb_field_text(const void *record, size_t offset)
{
    char *p;

    memcpy(&p, (const char *)record + offset, sizeof p);
    return p;
}

static void set_pointer(void *record, size_t offset, void *p)
{
    memcpy((char *)record + offset, &p, sizeof p);
}

void vb_field_set_text(void *record, size_t offset, char *owned)
{
    free(vb_field_text(record, offset));
    set_pointer(record, offset, owned);
}

/* All enumerations of the tables have the size of an int: checked where the tables are used first. */
_Static_assert(sizeof(enum vb_code) == sizeof(int) && sizeof(enum vb_consistency) == sizeof(int),
               "enumerations are ints");

int vb_field_int(const void *record, size_t offset)
{
    int v;

    memcpy(&v, (const char *)record + offset, sizeof v);
    return v;
}

void vb_field_set_int(void *record, size_t offset, int v)
{
    memcpy((char *)record + offset, &v, sizeof v);
}

bool vb_field_bool(const void *record, size_t offset)
{
    bool v;

    memcpy(&v, (const char *)record + offset, sizeof v);
    return v;
}

void vb_field_set_bool(void *record, size_t offset, bool v)
{
    memcpy((char *)record + offset, &v, sizeof v);
}

static size_t get_size(const void *record, size_t offset)
{
    size_t v;

    memcpy(&v, (const char *)record + offset, sizeof v);
    return v;
}

static void set_size(void *record, size_t offset, size_t v)
{
    memcpy((char *)record + offset, &v, sizeof v);
}

size_t vb_list_count(const struct vb_component *c, const struct vb_list_field *l)
{
    return get_size(c, l->count);
}

void *vb_list_row(const struct vb_component *c, const struct vb_list_field *l, size_t i)
{
    return vb_field_text(c, l->items) + i * l->row;
}

void *vb_list_grow(struct vb_component *c, const struct vb_list_field *l)
{
    size_t n = get_size(c, l->count), cap = get_size(c, l->capacity);

    if (n >= cap) {
        cap = cap ? cap * 2 : 8;
        set_pointer(c, l->items, vb_realloc_n(vb_field_text(c, l->items), cap, l->row));
        set_size(c, l->capacity, cap);
    }
    void *row = vb_list_row(c, l, n);
    memset(row, 0, l->row);
    set_size(c, l->count, n + 1);
    return row;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool vb_list_rows_equal(const struct vb_list_field *l, const void *a, const void *b)
{
    for (size_t i = 0; i < VB_COUNT(l->columns) && l->columns[i].name; i++)
        if (!same_text(vb_field_text(a, l->columns[i].offset), vb_field_text(b, l->columns[i].offset)))
            return false;
    if (l->recursive != VB_NO_OFFSET &&
        *((const char *)a + l->recursive) != *((const char *)b + l->recursive))
        return false;
    return l->mtime == VB_NO_OFFSET ||
           memcmp((const char *)a + l->mtime, (const char *)b + l->mtime, sizeof(int64_t)) == 0;
}

void vb_component_clear(struct vb_component *c)
{
    for (size_t i = 0; i < vb_component_n_texts; i++)
        vb_field_set_text(c, vb_component_texts[i].offset, NULL);
    for (size_t k = 0; k < vb_component_n_lists; k++) {
        const struct vb_list_field *l = &vb_component_lists[k];
        for (size_t i = 0; i < vb_list_count(c, l); i++)
            for (size_t j = 0; j < VB_COUNT(l->columns) && l->columns[j].name; j++)
                vb_field_set_text(vb_list_row(c, l, i), l->columns[j].offset, NULL);
        free(vb_field_text(c, l->items));
    }
    for (size_t i = 0; i < c->n_private; i++) {
        free(c->private_files[i].name);
        vb_buf_clear(&c->private_files[i].data);
    }
    free(c->private_files);
    vb_strv_clear(&c->restore_subcomponents);
    free(c->logical_path);
    free(c->name);
    memset(c, 0, sizeof *c);
}

void vb_component_copy_into(struct vb_component *to, const struct vb_component *from)
{
    *to = *from; /* numbers, enumerations, flags; every pointer is replaced below */
    to->logical_path = vb_strdup(from->logical_path);
    to->name = vb_strdup(from->name);
    for (size_t i = 0; i < vb_component_n_texts; i++) {
        size_t at = vb_component_texts[i].offset;
        set_pointer(to, at, vb_strdup(vb_field_text(from, at)));
    }
    for (size_t k = 0; k < vb_component_n_lists; k++) {
        const struct vb_list_field *l = &vb_component_lists[k];
        set_pointer(to, l->items, NULL);
        set_size(to, l->count, 0);
        set_size(to, l->capacity, 0);
        for (size_t i = 0; i < vb_list_count(from, l); i++) {
            void *row = vb_list_grow(to, l);
            const void *old = vb_list_row(from, l, i);
            memcpy(row, old, l->row);
            for (size_t j = 0; j < VB_COUNT(l->columns) && l->columns[j].name; j++)
                set_pointer(row, l->columns[j].offset, vb_strdup(vb_field_text(old, l->columns[j].offset)));
        }
    }
    to->private_files = NULL;
    to->n_private = to->cap_private = 0;
    for (size_t i = 0; i < from->n_private; i++) {
        VB_GROW(to->private_files, to->n_private, to->cap_private);
        struct vb_private_file *p = &to->private_files[to->n_private++];
        *p = (struct vb_private_file){vb_strdup(from->private_files[i].name), VB_BUF_INIT};
        vb_buf_add(&p->data, from->private_files[i].data.data, from->private_files[i].data.len);
    }
    memset(&to->restore_subcomponents, 0, sizeof to->restore_subcomponents);
    for (size_t i = 0; i < from->restore_subcomponents.n; i++)
        vb_strv_add(&to->restore_subcomponents, from->restore_subcomponents.v[i]);
}
