/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/validate.h - the RELAX NG grammars and the versions of documents.
 *
 * The grammars are files of their own (documents/schema, installed to PKGDATADIR/schema) so that other programs can use
 * them too.  They are looked for in VBACKUP_SCHEMA_DIR, then in the place of installation, and loaded once per process.
 */
#ifndef VB_DOCUMENTS_VALIDATE_H
#define VB_DOCUMENTS_VALIDATE_H

#include <libxml/tree.h>
#include "base/error.h"

/* Version of every document we write, in the root's `version`.  A reader takes every document of its own major; a
 * minor only ever adds what may be left out.  1.2 is what the field's own documents carry. */
#define VB_DOC_MAJOR 1
#define VB_DOC_MINOR 3
#define VB_DOC_VERSION "1.3"

enum vb_grammar { VB_GRAMMAR_WRITER_METADATA = 0, VB_GRAMMAR_COMPONENTS = 1, VB_GRAMMAR_JOB = 2, VB_GRAMMAR_COUNT };

/* Loads the grammar if need be.  VB_E_PREREQUISITE with a hint if the file is missing or broken.  Call it at start
 * where a later read must not touch the file system. */
int vb_grammar_load(enum vb_grammar g, struct vb_error *err);
/* Validates a whole tree: -1 with the first complaint, "'origin' line 12: ...", VB_E_INVALID_XML_DOCUMENT. */
int vb_grammar_validate(enum vb_grammar g, const char *origin, xmlDoc *doc, struct vb_error *err);
/* Frees the loaded grammars (leak checkers, tests that change the directory). */
void vb_grammar_unload(void);

#endif
