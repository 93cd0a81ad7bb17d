/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/xml.c - guarded parsing, attribute access and canonical output over libxml2's tree.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlsave.h>
#include "base/base64.h"
#include "base/mem.h"
#include "base/text.h"
#include "documents/xml.h"

static const char *const captured_namespaces[] = {"x-schema:#VssWriterMetadataInfo", "x-schema:#VssComponentMetadata"};

/* ---- reading ---- */

/* Of the parser's complaints the first says where it went wrong; the others follow from it. */
struct parse_state {
    bool doctype;
    char *text;
    int line;
};

/* A DOCTYPE is where entities, external files and default attributes come from: none of it is needed, all of it is a
 * way to make a small document large or to reach for other files. */
static void refuse_doctype(void *ctx, const xmlChar *name VB_UNUSED, const xmlChar *ext VB_UNUSED,
                           const xmlChar *sys VB_UNUSED)
{
    xmlParserCtxt *p = ctx;

    ((struct parse_state *)p->_private)->doctype = true;
    xmlStopParser(p);
}

static void keep_first(void *ctx, xmlErrorPtr e)
{
    struct parse_state *s = ((xmlParserCtxt *)ctx)->_private;

    if (s->text || !e || !e->message || e->level < XML_ERR_ERROR)
        return;
    size_t n = strlen(e->message);
    while (n && (e->message[n - 1] == '\n' || e->message[n - 1] == '.'))
        n--;
    s->text = vb_escape_terminal(e->message, n);
    s->line = e->line;
}

static int parse(struct vb_xml *x, const void *data, size_t n, struct vb_error *err)
{
    struct parse_state s = {false, NULL, 1};
    xmlParserCtxt *p = xmlNewParserCtxt();
    int rc = 0;

    if (!p)
        return vb_fail(err, VB_E_NO_MEMORY, "'%s': no memory to parse", x->origin);
    p->_private = &s;
    p->sax->internalSubset = refuse_doctype;
    p->sax->serror = keep_first; /* and nothing goes to stderr */
    x->doc = xmlCtxtReadMemory(p, data, (int)n, NULL, NULL,
                               XML_PARSE_NONET | XML_PARSE_NOBLANKS | XML_PARSE_NOCDATA | XML_PARSE_BIG_LINES |
                                   XML_PARSE_COMPACT);
    if (s.doctype)
        rc = vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %d: a DOCTYPE is not allowed in a document", x->origin,
                     p->input ? p->input->line : 1);
    else if (!x->doc || !p->wellFormed)
        rc = vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %d: %s", x->origin, s.line,
                     s.text ? s.text : "not well formed");
    free(s.text);
    xmlFreeParserCtxt(p);
    return rc;
}

static bool captured_namespace(const xmlChar *href)
{
    for (size_t i = 0; i < VB_COUNT(captured_namespaces); i++)
        if (xmlStrEqual(href, BAD_CAST captured_namespaces[i]))
            return true;
    return false;
}

/* Walks the tree without recursion: bounds the depth, and takes the captured documents' default namespace away so that
 * one grammar without namespace reads both.  Any other namespace is foreign to the vocabulary. */
static int flatten(struct vb_xml *x, struct vb_error *err)
{
    unsigned depth = 1;
    xmlNode *e = x->root;

    while (e) {
        if (e->type == XML_ELEMENT_NODE) {
            if (depth > VB_XML_MAX_DEPTH)
                return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: nested deeper than %d levels", x->origin,
                               xmlGetLineNo(e), VB_XML_MAX_DEPTH);
            if (e->ns && (e->ns->prefix || !captured_namespace(e->ns->href)))
                return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: unknown namespace '%s'", x->origin,
                               xmlGetLineNo(e), (const char *)e->ns->href);
            x->foreign = x->foreign || e->ns;
            e->ns = NULL;
            if (e->children) {
                e = e->children;
                depth++;
                continue;
            }
        }
        while (e != x->root && !e->next) {
            e = e->parent;
            depth--;
        }
        e = e == x->root ? NULL : e->next;
    }
    return 0;
}

/* Removes the namespace declarations that flatten() left without a user. */
static void drop_declarations(xmlNode *root)
{
    xmlNsPtr ns = root->nsDef;

    root->nsDef = NULL;
    if (ns)
        xmlFreeNsList(ns);
}

static int check_version(struct vb_xml *x, bool *newer_minor, struct vb_error *err)
{
    xmlChar *v = xmlGetNoNsProp(x->root, BAD_CAST "version");
    unsigned long major = 0, minor = 0;
    int rc = 0;

    if (!v)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: attribute 'version' is missing", x->origin,
                       xmlGetLineNo(x->root));
    char *end = NULL;
    errno = 0;
    const char *s = (const char *)v;
    if (*s >= '0' && *s <= '9') {
        major = strtoul(s, &end, 10);
        if (*end == '.' && end[1] >= '0' && end[1] <= '9')
            minor = strtoul(end + 1, &end, 10);
    }
    VB_AUTO_FREE char *shown = vb_escape_terminal(s, strnlen(s, 40));
    if (!end || *end || errno)
        rc = vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: version '%s' is not a number like '%s'", x->origin,
                     xmlGetLineNo(x->root), shown, VB_DOC_VERSION);
    else if (major > VB_DOC_MAJOR) {
        rc = vb_fail(err, VB_E_NEWER_FORMAT, "'%s' is a document of version %s, this program reads up to version %d.x",
                     x->origin, shown, VB_DOC_MAJOR);
        vb_hint(err, "use the vbackup release that wrote it, or a later one");
    } else if (major < VB_DOC_MAJOR)
        rc = vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: there is no version %s of this document",
                     x->origin, xmlGetLineNo(x->root), shown);
    *newer_minor = minor > VB_DOC_MINOR;
    xmlFree(v);
    return rc;
}

int vb_xml_read(const char *origin, const void *data, size_t n, enum vb_grammar g, const char *root, struct vb_xml *x,
                struct vb_error *err)
{
    bool newer_minor = false;

    memset(x, 0, sizeof *x);
    x->origin = vb_strdup(origin ? origin : "document");
    if (n > VB_XML_MAX_SIZE) {
        vb_fail(err, VB_E_LIMIT, "'%s' has %zu bytes, the limit is %zu", x->origin, n, VB_XML_MAX_SIZE);
        goto fail;
    }
    if (n == 0) {
        vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' is empty", x->origin);
        goto fail;
    }
    if (parse(x, data, n, err) < 0)
        goto fail;
    x->root = xmlDocGetRootElement(x->doc);
    if (!x->root || flatten(x, err) < 0) {
        if (!x->root)
            vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' has no root element", x->origin);
        goto fail;
    }
    drop_declarations(x->root);
    if (!vb_xml_is(x->root, root)) {
        VB_AUTO_FREE char *shown = vb_escape_terminal((const char *)x->root->name, strlen((const char *)x->root->name));
        vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: root is '%s', expected '%s'", x->origin,
                xmlGetLineNo(x->root), shown, root);
        goto fail;
    }
    if (check_version(x, &newer_minor, err) < 0)
        goto fail;
    if (vb_grammar_validate(g, x->origin, x->doc, err) < 0) {
        if (newer_minor)
            vb_hint(err, "the document is newer than this program (%s): use a later vbackup", VB_DOC_VERSION);
        goto fail;
    }
    return 0;
fail:
    vb_xml_clear(x);
    return -1;
}

int vb_xml_done(struct vb_xml *x, struct vb_error *err)
{
    return x->error.text ? vb_error_move(err, &x->error) : 0;
}

void vb_xml_clear(struct vb_xml *x)
{
    xmlFreeDoc(x->doc);
    free(x->origin);
    vb_error_clear(&x->error);
    memset(x, 0, sizeof *x);
}

void vb_xml_reject(struct vb_xml *x, const xmlNode *at, const char *fmt, ...)
{
    if (x->error.text)
        return;
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    vb_fail(&x->error, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: %s", x->origin, xmlGetLineNo(at), text);
}

void vb_xml_reject_error(struct vb_xml *x, const xmlNode *at, struct vb_error *from)
{
    vb_xml_reject(x, at, "%s", vb_error_text(from));
    vb_error_clear(from);
}

bool vb_xml_is(const xmlNode *e, const char *name)
{
    return e->type == XML_ELEMENT_NODE && strcmp((const char *)e->name, name) == 0;
}

xmlNode *vb_xml_next(const xmlNode *e, const xmlNode *prev, const char *name)
{
    xmlNode *c = prev ? prev->next : e->children;

    while (c && !(name ? vb_xml_is(c, name) : c->type == XML_ELEMENT_NODE))
        c = c->next;
    return c;
}

xmlNode *vb_xml_single(struct vb_xml *x, const xmlNode *e, const char *name, bool needed)
{
    xmlNode *c = vb_xml_next(e, NULL, name);

    if (!c && needed)
        vb_xml_reject(x, e, "%s has no %s", (const char *)e->name, name);
    xmlNode *second = c ? vb_xml_next(e, c, name) : NULL;
    if (second)
        vb_xml_reject(x, second, "a second %s", name);
    return c;
}

/* Is `name` one of the white-space separated words of the element's `encoded` attribute? */
static bool is_encoded(const xmlNode *e, const char *name)
{
    const xmlAttr *a = xmlHasProp(e, BAD_CAST "encoded");
    const char *list = a && a->children ? (const char *)a->children->content : NULL;
    size_t n = strlen(name);

    while (list && *list) {
        list += strspn(list, " \t\r\n");
        size_t len = strcspn(list, " \t\r\n");
        if (len == n && memcmp(list, name, n) == 0)
            return true;
        list += len;
    }
    return false;
}

/* The value as it stands in the tree, or NULL.  Without entities an attribute has one text node at most. */
static const char *raw(const xmlNode *e, const char *name)
{
    const xmlAttr *a = xmlHasProp(e, BAD_CAST name);

    return a ? (a->children && a->children->content ? (const char *)a->children->content : "") : NULL;
}

char *vb_xml_get(struct vb_xml *x, const xmlNode *e, const char *name)
{
    const char *v = raw(e, name);

    if (!v || !is_encoded(e, name))
        return vb_strdup(v);
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!vb_base64_decode(v, strlen(v), &b) || (b.len && memchr(b.data, 0, b.len))) {
        vb_xml_reject(x, e, "attribute '%s' of %s is listed as encoded but is not base64 text", name,
                      (const char *)e->name);
        return vb_strdup("");
    }
    return vb_buf_take_str(&b);
}

char *vb_xml_get_or(struct vb_xml *x, const xmlNode *e, const char *name, const char *def)
{
    char *v = vb_xml_get(x, e, name);

    return v ? v : vb_strdup(def);
}

bool vb_xml_yes(struct vb_xml *x VB_UNUSED, const xmlNode *e, const char *name)
{
    const char *v = raw(e, name);

    return v && strcmp(v, "yes") == 0;
}

uint64_t vb_xml_u64(struct vb_xml *x, const xmlNode *e, const char *name, uint64_t def)
{
    const char *v = raw(e, name);
    uint64_t n = 0;

    if (!v)
        return def;
    if (!vb_parse_u64(v, &n))
        vb_xml_reject(x, e, "attribute '%s' of %s is not a number in range", name, (const char *)e->name);
    return n;
}

uint32_t vb_xml_u32(struct vb_xml *x, const xmlNode *e, const char *name, uint32_t def)
{
    uint64_t n = vb_xml_u64(x, e, name, def);

    if (n > UINT32_MAX) {
        vb_xml_reject(x, e, "attribute '%s' of %s is not a number in range", name, (const char *)e->name);
        n = 0;
    }
    return (uint32_t)n;
}

int64_t vb_xml_i64(struct vb_xml *x, const xmlNode *e, const char *name, int64_t def)
{
    const char *v = raw(e, name);
    uint64_t n = 0;
    bool minus = v && *v == '-';

    if (!v)
        return def;
    if (!vb_parse_u64(v + minus, &n) || n > (uint64_t)INT64_MAX) {
        vb_xml_reject(x, e, "attribute '%s' of %s is not a number in range", name, (const char *)e->name);
        return def;
    }
    return minus ? -(int64_t)n : (int64_t)n;
}

void vb_xml_bytes(struct vb_xml *x, const xmlNode *e, struct vb_buf *out)
{
    for (const xmlNode *c = e->children; c; c = c->next) {
        if (c->type != XML_TEXT_NODE)
            continue;
        const char *s = (const char *)c->content;
        if (!vb_base64_decode(s, strlen(s), out))
            vb_xml_reject(x, e, "content of %s is not base64 text", (const char *)e->name);
    }
}

/* ---- writing ---- */

/* The tree functions return NULL only when memory is exhausted; see base/mem.h for why that ends the process. */
static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

xmlDoc *vb_xml_new(const char *root, xmlNode **root_out)
{
    xmlDoc *doc = must(xmlNewDoc(BAD_CAST "1.0"));
    xmlNode *r = must(xmlNewDocNode(doc, NULL, BAD_CAST root, NULL));

    xmlDocSetRootElement(doc, r);
    vb_xml_set(r, "version", VB_DOC_VERSION);
    *root_out = r;
    return doc;
}

void vb_xml_clear_doc(xmlDoc **doc)
{
    xmlFreeDoc(*doc);
    *doc = NULL;
}

xmlNode *vb_xml_add(xmlNode *parent, const char *name)
{
    return must(xmlNewChild(parent, NULL, BAD_CAST name, NULL));
}

/* May these bytes stand as an XML attribute and come back the same?  Tab and line ends do: they are written as
 * character references.  Not so other control characters and the two non-characters of each plane that XML forbids. */
static bool representable(const char *s)
{
    size_t n = strlen(s);

    if (!vb_utf8_valid(s, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
            return false;
        if (c == 0xEF && (unsigned char)s[i + 1] == 0xBF && (unsigned char)s[i + 2] >= 0xBE)
            return false;
    }
    return true;
}

void vb_xml_set(xmlNode *e, const char *name, const char *value)
{
    if (!value)
        return;
    if (representable(value)) {
        must(xmlNewProp(e, BAD_CAST name, BAD_CAST value));
        return;
    }
    VB_AUTO_FREE char *text = vb_base64_encode(value, strlen(value));
    const char *before = raw(e, "encoded");
    VB_AUTO_FREE char *list = vb_printf("%s%s%s", before ? before : "", before ? " " : "", name);
    must(xmlSetProp(e, BAD_CAST "encoded", BAD_CAST list));
    must(xmlNewProp(e, BAD_CAST name, BAD_CAST text));
}

void vb_xml_set_text(xmlNode *e, const char *name, const char *value)
{
    if (value && *value)
        vb_xml_set(e, name, value);
}

void vb_xml_set_bool(xmlNode *e, const char *name, bool v)
{
    vb_xml_set(e, name, v ? "yes" : "no");
}

void vb_xml_set_yes(xmlNode *e, const char *name, bool v)
{
    if (v)
        vb_xml_set(e, name, "yes");
}

void vb_xml_set_u64(xmlNode *e, const char *name, uint64_t v, uint64_t def)
{
    char text[24];

    if (v == def)
        return;
    snprintf(text, sizeof text, "%" PRIu64, v);
    vb_xml_set(e, name, text);
}

void vb_xml_set_i64(xmlNode *e, const char *name, int64_t v, int64_t def)
{
    char text[24];

    if (v == def)
        return;
    snprintf(text, sizeof text, "%" PRId64, v);
    vb_xml_set(e, name, text);
}

void vb_xml_set_bytes(xmlNode *e, const void *p, size_t n)
{
    VB_AUTO_FREE char *text = vb_base64_encode(p, n);

    if (n)
        xmlNodeAddContent(e, BAD_CAST text);
}

int vb_xml_write(xmlDoc *doc, struct vb_buf *out, struct vb_error *err)
{
    xmlChar *mem = NULL;
    int n = 0;

    xmlDocDumpFormatMemoryEnc(doc, &mem, &n, "UTF-8", 1);
    if (!mem || n < 0)
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write the %s document",
                       (const char *)xmlDocGetRootElement(doc)->name);
    if ((size_t)n > VB_XML_MAX_SIZE) {
        xmlFree(mem);
        return vb_fail(err, VB_E_LIMIT, "the document has %d bytes, the limit is %zu", n, VB_XML_MAX_SIZE);
    }
    vb_buf_add(out, mem, (size_t)n);
    xmlFree(mem);
    return 0;
}
