/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/text.h - names and numbers at the border: parsing with overflow checks, escaping for people,
 * GUIDs, host names, times.
 */
#ifndef VB_BASE_TEXT_H
#define VB_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define VB_GUID_LEN 36 /* characters, without the terminating zero */

/* Random (version 4) GUID in lower case. */
void vb_guid_new(char out[VB_GUID_LEN + 1]);
bool vb_guid_valid(const char *s);               /* either case, with or without braces is NOT accepted */
bool vb_guid_equal(const char *a, const char *b); /* without case (rule A-18); NULL equals only NULL */

/* Decimal (base 10) or 0x-hex unsigned number, whole string, no sign, overflow refused. */
bool vb_parse_u64(const char *s, uint64_t *v);
bool vb_parse_u32(const char *s, uint32_t *v);
/* yes/no/true/false/on/off/1/0 */
bool vb_parse_bool(const char *s, bool *v);
/* "90", "90s", "5m", "2h", "1d", "250ms" to milliseconds; a bare number is seconds. */
bool vb_parse_duration_ms(const char *s, uint64_t *ms);
/* "4096", "64K", "1M", "2G", "1T" (powers of 1024) */
bool vb_parse_size(const char *s, uint64_t *bytes);

/* Name, IPv4 or IPv6 text that is safe as a host (rule D-32): [A-Za-z0-9._:-], not beginning with '-'
 * or '.', at most 253 characters. */
bool vb_host_text_valid(const char *s);

/* Bytes for a terminal: control characters, escape and invalid UTF-8 as \xNN; caller frees. */
char *vb_escape_terminal(const char *s, size_t n);
bool vb_utf8_valid(const char *s, size_t n);

/* "2026-11-23T09:08:07Z" from milliseconds since 1970; caller frees. */
char *vb_time_iso(uint64_t wall_ms);
bool vb_time_parse_iso(const char *s, uint64_t *wall_ms);
/* "1.7 GiB", "512 B" */
char *vb_size_human(uint64_t bytes);
/* "3.2 s", "2 min 10 s" */
char *vb_duration_human(uint64_t ms);

/* Pattern of a filespec (rule C-33): '?' one character, '*' any number; nothing else is special. */
bool vb_filespec_match(const char *pattern, const char *name);

/* Path helpers without fixed buffers; caller frees. */
char *vb_path_join(const char *a, const char *b); /* one '/' between, b absolute: b */
char *vb_path_clean(const char *path);            /* collapses //, /./ and trailing /; refuses nothing */
bool vb_path_below(const char *path, const char *root); /* path == root or below it, whole elements */

uint32_t vb_crc32(const void *p, size_t n);

#endif
