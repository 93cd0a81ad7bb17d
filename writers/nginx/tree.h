/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/nginx/tree.h - the configuration as a value: some directories with what is in them, read, written, as bytes, and
 * with host-specific words exchanged.
 */
#ifndef VB_WRITERS_NGINX_TREE_H
#define VB_WRITERS_NGINX_TREE_H

#include "writers/support/digest.h"
#include "writers/support/support.h"

#define NGX_MAX_BYTES (256u << 20) /* of all files together: a configuration, not a web site */
#define NGX_MAX_ROOTS 64u

struct ngx_entry {
    char type;        /* 'D', 'F', 'L' */
    unsigned root;    /* number of the directory that it lies in */
    mode_t mode;      /* permissions; not of links */
    char *path;       /* below the root, no "." and ".." in it */
    char *data;       /* of a file, or the target of a link; zero-terminated behind n */
    size_t n;
};
struct ngx_tree {
    struct ngx_entry *v;
    size_t n, cap;
    size_t bytes;
    unsigned roots;
};
void ngx_tree_clear(struct ngx_tree *t);

/* Adds what lies below root, in order of path; what a pattern of `local` fits (path or name) is left out.  A root that is
 * not there has nothing.  -1 with errno and *where (caller frees). */
int ngx_tree_read(struct ngx_tree *t, unsigned number, const char *root, const struct vbw_list *local, char **where);
/* Makes dir, which is not there, of one root's entries.  -1 with errno and *where. */
int ngx_tree_write(const struct ngx_tree *t, unsigned number, const char *dir, char **where);
/* Copies from one directory into another what `local` fits. */
int ngx_copy_local(const char *from, const char *to, const struct vbw_list *local, char **where);
int ngx_remove(const char *path);

struct ngx_bytes {
    unsigned char *p;
    size_t n, cap;
};
void ngx_bytes_add(struct ngx_bytes *b, const void *p, size_t n);
/* One tree has one form. */
void ngx_tree_encode(const struct ngx_tree *t, struct ngx_bytes *b);
/* Bytes from outside: NULL, or what is wrong with them. */
const char *ngx_tree_decode(struct ngx_tree *t, const unsigned char *p, size_t n);

/* "FROM => TO", one a line; '#' begins a comment.  0, or the number of the line that is neither. */
struct ngx_words {
    struct vbw_list from, to;
    bool *used;
};
unsigned ngx_words_parse(struct ngx_words *w, const char *text);
void ngx_words_clear(struct ngx_words *w);
/* Exchanges whole words in a text; NULL if none is in it.  The caller frees. */
char *ngx_words_apply(struct ngx_words *w, const char *text, size_t n, size_t *len);
/* In every file of the tree that is text and no key or certificate. */
void ngx_tree_exchange(struct ngx_tree *t, struct ngx_words *w);

#endif
