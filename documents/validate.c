/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/validate.c - loads the RELAX NG grammars and validates trees against them.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <libxml/relaxng.h>
#include <libxml/xmlerror.h>
#include "base/mem.h"
#include "base/text.h"
#include "documents/validate.h"

static const char *const files[VB_GRAMMAR_COUNT] = {"writer-metadata.rng", "components.rng", "job.rng"};
static xmlRelaxNG *loaded[VB_GRAMMAR_COUNT];

/* libxml2 hands complaints over one by one; the first is the one that says where it went wrong. */
struct first_complaint {
    char *text;
    long line;
    const xmlDoc *doc; /* NULL while a grammar is loaded */
};

/* First element of that name, for complaints that come without their place. */
static long line_of(const xmlDoc *doc, const char *name)
{
    const xmlNode *e = doc ? xmlDocGetRootElement(doc) : NULL;

    while (e && e->type != XML_DOCUMENT_NODE) {
        if (e->type == XML_ELEMENT_NODE && strcmp((const char *)e->name, name) == 0)
            return xmlGetLineNo(e);
        if (e->type == XML_ELEMENT_NODE && e->children) {
            e = e->children;
            continue;
        }
        while (!e->next && e->parent)
            e = e->parent;
        e = e->next;
    }
    return 0;
}

static void keep_first(void *arg, xmlErrorPtr e)
{
    struct first_complaint *f = arg;

    if (f->text || !e || !e->message)
        return;
    size_t n = strlen(e->message);
    while (n && (e->message[n - 1] == '\n' || e->message[n - 1] == '.'))
        n--;
    f->text = vb_escape_terminal(e->message, n);
    f->line = e->node ? xmlGetLineNo(e->node) : e->line;
    if (f->line <= 0 && e->str1)
        f->line = line_of(f->doc, e->str1);
    if (e->str1 && strstr(f->text, "failed to validate attributes")) {
        free(f->text);
        VB_AUTO_FREE char *name = vb_escape_terminal(e->str1, strlen(e->str1));
        f->text = vb_printf("an attribute of %s is missing or has a value it cannot have", name);
    }
}

static char *grammar_path(enum vb_grammar g)
{
    const char *dir = secure_getenv("VBACKUP_SCHEMA_DIR");

    return vb_path_join(dir && *dir ? dir : VB_PKGDATADIR "/schema", files[g]);
}

int vb_grammar_load(enum vb_grammar g, struct vb_error *err)
{
    if (loaded[g])
        return 0;
    VB_AUTO_FREE char *path = grammar_path(g);
    struct first_complaint f = {NULL, 0, NULL};
    int rc = 0;

    if (access(path, R_OK) < 0) {
        vb_fail(err, VB_E_PREREQUISITE, "cannot read grammar '%s': %s", path, strerror(errno));
        vb_hint(err, "install vbackup completely, or set VBACKUP_SCHEMA_DIR to the folder with %s", files[g]);
        return -1;
    }
    xmlRelaxNGParserCtxt *p = xmlRelaxNGNewParserCtxt(path);
    if (p) {
        xmlRelaxNGSetParserStructuredErrors(p, keep_first, &f);
        loaded[g] = xmlRelaxNGParse(p);
        xmlRelaxNGFreeParserCtxt(p);
    }
    if (!loaded[g]) {
        rc = vb_fail(err, VB_E_PREREQUISITE, "grammar '%s' is broken: line %ld: %s", path, f.line,
                     f.text ? f.text : "cannot be parsed");
        vb_hint(err, "install the file again; it belongs to vbackup " VB_DOC_VERSION " documents");
    }
    free(f.text);
    return rc;
}

int vb_grammar_validate(enum vb_grammar g, const char *origin, xmlDoc *doc, struct vb_error *err)
{
    if (vb_grammar_load(g, err) < 0)
        return -1;
    struct first_complaint f = {NULL, 0, doc};
    int rc = -1;
    xmlRelaxNGValidCtxt *v = xmlRelaxNGNewValidCtxt(loaded[g]);

    if (v) {
        xmlRelaxNGSetValidStructuredErrors(v, keep_first, &f);
        rc = xmlRelaxNGValidateDoc(v, doc);
        xmlRelaxNGFreeValidCtxt(v);
    }
    if (rc != 0)
        rc = vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "'%s' line %ld: %s", origin, f.line,
                     f.text ? f.text : "does not match the grammar");
    free(f.text);
    return rc;
}

void vb_grammar_unload(void)
{
    for (size_t i = 0; i < VB_GRAMMAR_COUNT; i++) {
        xmlRelaxNGFree(loaded[i]);
        loaded[i] = NULL;
    }
}
