/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/support/support.h - small helpers that the in-box writers share.  Compiled into each of them; nothing here
 * knows an application, and nothing needs more than the C library and the public headers.
 *
 * Memory that cannot be had ends the process: the host is told by the death of its writer (W-25).
 */
#ifndef VB_WRITERS_SUPPORT_H
#define VB_WRITERS_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <vbackup/writer.h>

/* What every call needs: fill once in open. */
struct vbw {
    const struct vb_writer_services *svc;
    struct vb_host *h; /* of the running callback: set at its beginning */
};

char *vbw_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *vbw_strdup(const char *s);                                         /* NULL in, NULL out */
void *vbw_alloc(size_t n, size_t size) __attribute__((returns_nonnull)); /* zero-filled, overflow checked */
void vbw_free_ptr(void *pp);
#define VBW_AUTO __attribute__((cleanup(vbw_free_ptr)))

/* Growable list of owned strings. */
struct vbw_list {
    char **v;
    size_t n, cap;
};
void vbw_list_take(struct vbw_list *l, char *s);
void vbw_list_sort(struct vbw_list *l);
void vbw_list_clear(struct vbw_list *l);
/* All values of a repeated key of the configuration. */
void vbw_list_option(const struct vbw *w, const char *key, struct vbw_list *l);

/* svc->fail with a formatted text; returns -1. */
int vbw_fail(const struct vbw *w, enum vb_code code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same with ": <text of errno>"; the code follows errno. */
int vbw_fail_errno(const struct vbw *w, int errnum, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- configuration: `key`, or `NAME.key` with vbw_sub_option; -1 after svc->fail ---- */

const char *vbw_sub_option(const struct vbw *w, const char *name, const char *key); /* value lives in the host */
void vbw_list_sub_option(const struct vbw *w, const char *name, const char *key, struct vbw_list *l);
int vbw_bool(const struct vbw *w, const char *key, const char *text, bool def, bool *v);
/* "500ms" "90" "90s" "5m": to milliseconds. */
int vbw_duration_ms(const struct vbw *w, const char *key, const char *text, uint64_t def, uint64_t *v);
/* One of the words of a list separated by commas or blanks. */
bool vbw_has_word(const char *list, const char *word);

/* ---- time ---- */

uint64_t vbw_now_us(void); /* monotonic */
void vbw_nap_us(uint64_t us);

/* ---- paths and files ---- */

char *vbw_join(const char *dir, const char *name); /* name absolute: name */
char *vbw_dirname(const char *path);               /* "/" at the root */
const char *vbw_basename(const char *path);
char *vbw_clean(const char *path);                  /* no double and trailing slashes, no "/./" */
bool vbw_below(const char *path, const char *root); /* path == root or below it */
bool vbw_exists(const char *path);
bool vbw_dir_empty(const char *path); /* also when it is not there */
/* Whole file, at most max bytes, zero-terminated; NULL with errno. */
char *vbw_read_file(const char *path, size_t max, size_t *n);
/* Temporary name, fsync, rename, fsync of the directory; -1 with errno. */
int vbw_write_file(const char *path, const void *p, size_t n, mode_t mode);
/* New file, fsync'ed; -1 with errno. */
int vbw_copy_file(const char *from, const char *to, mode_t mode);
int vbw_fsync_dir(const char *path);
/* Renames to PATH.vbackup-old-YYYYMMDDTHHMMSSZ (with -2, -3 ... if that is taken); *to (caller frees) tells where.
 * 0 also when there is nothing (*to NULL); -1 with errno. */
int vbw_move_aside(const char *path, char **to);
/* Removes the plain files of a directory, not what lies below; -1 with errno. */
int vbw_empty_dir(const char *path);

/* ---- programs ---- */

/* Splits "word 'two words' word" into a NULL-terminated vector (quotes group, nothing is expanded); free with
 * vbw_argv_free.  NULL on an open quote. */
char **vbw_argv(const char *text);
void vbw_argv_free(char **argv);
/* Runs argv without a shell (absolute path, or looked up in PATH) for at most timeout_ms; its output (at most 64 KiB,
 * may be NULL) becomes *out.  Returns the exit status, -1 when it could not run (errno), -2 killed by a signal or at
 * its time limit.  daemon: the program leaves one behind that inherits its output. */
int vbw_run(char *const *argv, char *const *env, uint64_t timeout_ms, bool daemon, char **out);

#endif
