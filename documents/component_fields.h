/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/component_fields.h - the fields of a component record as tables: one row says the field's name in the
 * document, where it lies in struct vb_component, and in which events its writer may set it (rule book 1.5).
 *
 * Copying, freeing, writing, reading and merging all walk these tables, so that a new field is one new row (and its
 * line in schema/components.rng).
 */
#ifndef VB_DOCUMENTS_COMPONENT_FIELDS_H
#define VB_DOCUMENTS_COMPONENT_FIELDS_H

#include "documents/components.h"
#include "documents/events.h"

#define VB_EV_BIT(e) (1u << (e))
#define VB_NO_OFFSET SIZE_MAX

/* Single values stand as attributes of small child elements, as the field's own BACKUP_METADATA does: the validator of
 * libxml2 tries every subset of an element's optional attributes, so that an element must not have more than a few. */

/* char * */
struct vb_text_field {
    const char *element; /* child element that carries it, or NULL: the component itself */
    const char *name;    /* attribute */
    size_t offset;
    unsigned events;
    bool once;
};
/* an enumeration */
struct vb_word_field {
    const char *element, *name;
    size_t offset;
    unsigned events;
    const char *(*word)(int v);
    int (*from_word)(const char *s);
};
/* a bool that no writer may set */
struct vb_flag_field {
    const char *element, *name;
    size_t offset;
};
/* growable array of rows of strings */
struct vb_list_field {
    const char *element;
    size_t items, count, capacity, row;
    struct { const char *name; size_t offset; bool optional; } columns[6];
    size_t recursive, mtime; /* offsets in the row, or VB_NO_OFFSET */
    unsigned events;
};

extern const struct vb_text_field vb_component_texts[];
extern const size_t vb_component_n_texts;
extern const struct vb_word_field vb_component_words[];
extern const size_t vb_component_n_words;
extern const struct vb_flag_field vb_component_flags[];
extern const size_t vb_component_n_flags;
extern const struct vb_list_field vb_component_lists[];
extern const size_t vb_component_n_lists;

/* Events in which a writer may add private files; restore subcomponents and identity are never its own. */
extern const unsigned vb_private_file_events;

/* Access by offset. */
char *vb_field_text(const void *record, size_t offset);
void vb_field_set_text(void *record, size_t offset, char *owned); /* frees the old one */
int vb_field_int(const void *record, size_t offset);
void vb_field_set_int(void *record, size_t offset, int v);
bool vb_field_bool(const void *record, size_t offset);
void vb_field_set_bool(void *record, size_t offset, bool v);
size_t vb_list_count(const struct vb_component *c, const struct vb_list_field *l);
void *vb_list_row(const struct vb_component *c, const struct vb_list_field *l, size_t i);
void *vb_list_grow(struct vb_component *c, const struct vb_list_field *l); /* one zero row more */
bool vb_list_rows_equal(const struct vb_list_field *l, const void *a, const void *b);

void vb_component_clear(struct vb_component *c);
/* *to is overwritten, not freed. */
void vb_component_copy_into(struct vb_component *to, const struct vb_component *from);

#endif
