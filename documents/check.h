/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/check.h - the small rules on names and paths that every document shares (rule book 4.1, 4.4).
 */
#ifndef VB_DOCUMENTS_CHECK_H
#define VB_DOCUMENTS_CHECK_H

#include <stdbool.h>
#include "base/error.h"

/* All return 0 or -1 with VB_E_INVALID_XML_DOCUMENT unless another code is named. */

/* GUID in either case. */
int vb_check_guid(const char *what, const char *s, struct vb_error *err);
/* Component name: not empty, no separator (C-3, K-13). */
int vb_check_component_name(const char *name, struct vb_error *err);
/* Own logical path to its stored form: NULL, "" and `\` are the root "" (C-1, K-4); one leading and one trailing
 * separator are dropped; empty elements and a host prefix are refused.  Caller frees; NULL on error. */
char *vb_check_logical_path(const char *path, struct vb_error *err);
/* File pattern without a directory part (C-33). */
int vb_check_filespec(const char *spec, struct vb_error *err);
/* Directory of a file set: absolute, without `..` elements.  foreign: a path of another system (`C:\x`,
 * `%VAR%\x`) is taken as it is. */
int vb_check_directory(const char *path, bool foreign, struct vb_error *err);
/* Name of a service for the service manager. */
int vb_check_service(const char *name, struct vb_error *err);
/* `offset:length` pairs joined by commas, decimal or 0x-hex, 64 bit; lengths are added up, *pairs counted.  NULL
 * results are not wanted. A ranges file ("File=path" or a path, K-10) passes with 0 pairs. */
int vb_check_ranges(const char *ranges, size_t *pairs, struct vb_error *err);
/* as many pairs on both sides, equal lengths pair by pair. */
int vb_check_ranges_match(const char *source, const char *target, struct vb_error *err);

#endif
