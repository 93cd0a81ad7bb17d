/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/xml.h - the one place where documents meet libxml2.
 *
 * Reading: from memory, no network, no DOCTYPE (so no entities and no default attributes), at most VB_XML_MAX_SIZE
 * bytes and VB_XML_MAX_DEPTH levels, validated against the grammar, version checked.  Then the getters below. Writing:
 * a tree, attributes in the order they are set, those at their default left out, UTF-8, indented.
 *
 * TEXT THAT XML CANNOT HOLD
 *   File names on Linux are bytes.  An attribute whose value is not valid UTF-8 or holds a control character stands as
 *   base64, and the attribute `encoded` of the same element lists the names of such attributes:
 *       <FILE_LIST encoded="filespec" path="/srv/www" filespec="/2ZpbGU="/>
 *   The getters and setters do this; everything else is written as it is.
 */
#ifndef VB_DOCUMENTS_XML_H
#define VB_DOCUMENTS_XML_H

#include <stdbool.h>
#include <stdint.h>
#include <libxml/tree.h>
#include "base/buf.h"
#include "base/error.h"
#include "documents/validate.h"

#define VB_XML_MAX_SIZE ((size_t)64 << 20)
#define VB_XML_MAX_DEPTH 64

/* A document that was read.  The first semantic error is kept in `error`; getters go on with defaults after it, and
 * the reader asks vb_xml_done() once at the end. */
struct vb_xml {
    xmlDoc *doc;
    xmlNode *root;
    char *origin;
    bool foreign; /* carried the namespace of the captured documents (rule book 1.9): paths may be of another system */
    struct vb_error error;
};

/* Parses and validates: root must be `root`, of a version with major VB_DOC_MAJOR. */
int vb_xml_read(const char *origin, const void *data, size_t n, enum vb_grammar g, const char *root, struct vb_xml *x,
                struct vb_error *err);
/* 0, or -1 with the first error that a getter or vb_xml_reject() recorded. */
int vb_xml_done(struct vb_xml *x, struct vb_error *err);
void vb_xml_clear(struct vb_xml *x);
/* Records "'origin' line 12: text" with VB_E_INVALID_XML_DOCUMENT unless an error stands already. */
void vb_xml_reject(struct vb_xml *x, const xmlNode *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* As above for an error that a check has filled; *from is cleared. */
void vb_xml_reject_error(struct vb_xml *x, const xmlNode *at, struct vb_error *from);

/* Next element after `prev` (NULL: the first) among e's children that has this name; name NULL: any element. */
xmlNode *vb_xml_next(const xmlNode *e, const xmlNode *prev, const char *name);
/* The only child of this name: a second one is rejected, and so is none if it is needed. */
xmlNode *vb_xml_single(struct vb_xml *x, const xmlNode *e, const char *name, bool needed);
bool vb_xml_is(const xmlNode *e, const char *name);
/* Attribute: decoded, owned by the caller; NULL if absent. */
char *vb_xml_get(struct vb_xml *x, const xmlNode *e, const char *name);
char *vb_xml_get_or(struct vb_xml *x, const xmlNode *e, const char *name, const char *def);
bool vb_xml_yes(struct vb_xml *x, const xmlNode *e, const char *name); /* absent: false */
uint64_t vb_xml_u64(struct vb_xml *x, const xmlNode *e, const char *name, uint64_t def);
uint32_t vb_xml_u32(struct vb_xml *x, const xmlNode *e, const char *name, uint32_t def);
int64_t vb_xml_i64(struct vb_xml *x, const xmlNode *e, const char *name, int64_t def);
/* Text content as base64 bytes. */
void vb_xml_bytes(struct vb_xml *x, const xmlNode *e, struct vb_buf *out);
/* Attribute through one of the vb_..._from_word functions; absent: def. */
#define VB_XML_WORD(x, e, name, from_word, def)                      \
    __extension__({                                                  \
        char *vb_word_ = vb_xml_get((x), (e), (name));               \
        __typeof__(from_word("")) vb_v_ = vb_word_ ? from_word(vb_word_) : (def); \
        vb_free_ptr(&vb_word_);                                      \
        vb_v_;                                                       \
    })

/* Writing.  Nodes belong to the document; free it with vb_xml_clear_doc. */
xmlDoc *vb_xml_new(const char *root, xmlNode **root_out);
void vb_xml_clear_doc(xmlDoc **doc);
#define VB_AUTO_XMLDOC __attribute__((cleanup(vb_xml_clear_doc))) xmlDoc
xmlNode *vb_xml_add(xmlNode *parent, const char *name);
void vb_xml_set(xmlNode *e, const char *name, const char *value);        /* NULL: left out */
void vb_xml_set_text(xmlNode *e, const char *name, const char *value);   /* NULL or "": left out */
void vb_xml_set_bool(xmlNode *e, const char *name, bool v);              /* always */
void vb_xml_set_yes(xmlNode *e, const char *name, bool v);               /* left out if false */
void vb_xml_set_u64(xmlNode *e, const char *name, uint64_t v, uint64_t def); /* left out if v == def */
void vb_xml_set_i64(xmlNode *e, const char *name, int64_t v, int64_t def);
void vb_xml_set_bytes(xmlNode *e, const void *p, size_t n);              /* content, base64 */
/* Canonical bytes of the document, appended to *out. */
int vb_xml_write(xmlDoc *doc, struct vb_buf *out, struct vb_error *err);

#endif
