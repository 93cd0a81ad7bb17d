/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/config.h - the configuration file: strict, small, with file and line in every message.
 *
 *     # comment
 *     [host backend]
 *     address = 10.0.0.2
 *     known-hosts = /etc/vbackup/known_hosts
 *
 *     [writer files www]
 *     path = /srv/www
 *     exclude = *.tmp          a repeated key makes a list
 *
 * A section header has a kind, and words after it (its name).  `key = value`; the value is everything after
 * the first '=' with blanks trimmed; there are no quotes, no continuation and no expansion.  Unknown keys are
 * refused by whoever owns the section (vb_config_check_keys).  `include = DIR` at the top (before any section)
 * reads every *.conf of DIR in name order.
 * The file must not be writable by others than its owner and root (rule ), else it is refused.
 */
#ifndef VB_BASE_CONFIG_H
#define VB_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/mem.h"

struct vb_config_entry {
    char *key, *value;
    char *file;
    unsigned line;
};
struct vb_config_section {
    char *kind;          /* "host", "writer", "repository", "agent" ... */
    char *name;          /* rest of the header, one blank between words; "" if none */
    char *file;
    unsigned line;
    struct vb_config_entry *entries;
    size_t n, cap;
};
struct vb_config {
    struct vb_config_section *sections;
    size_t n, cap;
};

struct vb_config *vb_config_load(const char *path, struct vb_error *err);
/* From memory; name is for messages.  The entry point of the fuzz target. */
struct vb_config *vb_config_parse(const char *name, const char *text, size_t n, struct vb_error *err);
struct vb_config *vb_config_empty(void);
void vb_config_free(struct vb_config *c);

/* First section with kind and name (name NULL: any), or NULL. */
const struct vb_config_section *vb_config_find(const struct vb_config *c, const char *kind, const char *name);
/* Last value of a key, or NULL. */
const char *vb_section_get(const struct vb_config_section *s, const char *key);
/* All values, in order; *n entries pointing into the section; caller frees the array only. */
const char **vb_section_list(const struct vb_config_section *s, const char *key, size_t *n);
/* Typed access: def when absent; -1 with "file:line: ..., expected ..." when malformed. */
int vb_section_bool(const struct vb_config_section *s, const char *key, bool def, bool *v, struct vb_error *err);
int vb_section_u64(const struct vb_config_section *s, const char *key, uint64_t def, uint64_t *v, struct vb_error *err);
int vb_section_duration_ms(const struct vb_config_section *s, const char *key, uint64_t def, uint64_t *v,
                           struct vb_error *err);
/* Refuses every key that is not in the NULL-terminated list, naming file, line and the allowed ones. */
int vb_config_check_keys(const struct vb_config_section *s, const char *const *allowed, struct vb_error *err);
/* "file:line" of an entry's key for messages; caller frees. */
char *vb_section_where(const struct vb_config_section *s, const char *key);

#endif
