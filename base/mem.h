/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/mem.h - allocation, scope cleanup and overflow-checked arithmetic.
 *
 * Allocation never returns NULL: when memory is exhausted the process writes one line and aborts.
 * That is a decision, not an oversight: the requester's death is a lease that runs out, a worker's
 * death is cleaned up at once by its supervisor (house plan, idea 2), so a process that stops at
 * the first failed allocation is safer than a thousand untested unwind paths.
 */
#ifndef VB_BASE_MEM_H
#define VB_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <stdbool.h>

void *vb_alloc(size_t size) __attribute__((malloc, returns_nonnull));             /* zero-filled */
void *vb_alloc_n(size_t count, size_t size) __attribute__((returns_nonnull));     /* zero-filled, checked */
void *vb_realloc_n(void *p, size_t count, size_t size) __attribute__((returns_nonnull)); /* checked */
char *vb_strdup(const char *s);                    /* NULL in, NULL out */
char *vb_strndup(const char *s, size_t n);
void *vb_memdup(const void *p, size_t n);
char *vb_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *vb_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0), returns_nonnull));

/* Scope cleanup: VB_AUTO_FREE char *s = ...; VB_AUTO_FD int fd = -1; VB_AUTO_FILE FILE *f = NULL; */
void vb_free_ptr(void *pp);     /* frees *(void **)pp, sets it to NULL */
void vb_close_fd(int *fd);      /* closes *fd if >= 0, sets it to -1; errno preserved */
void vb_close_file(void *fpp);  /* fclose of *(FILE **)fpp if not NULL */
void vb_close_dir(void *dpp);   /* closedir of *(DIR **)dpp if not NULL */
#define VB_AUTO_FREE __attribute__((cleanup(vb_free_ptr)))
#define VB_AUTO_FD __attribute__((cleanup(vb_close_fd)))
#define VB_AUTO_FILE __attribute__((cleanup(vb_close_file)))
#define VB_AUTO_DIR __attribute__((cleanup(vb_close_dir)))
#define VB_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Takes a pointer or descriptor out of the reach of its scope cleanup. */
#define VB_STEAL(p) __extension__({ __typeof__(p) vb_steal_ = (p); (p) = NULL; vb_steal_; })
#define VB_STEAL_FD(fd) __extension__({ int vb_steal_ = (fd); (fd) = -1; vb_steal_; })

#define VB_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define VB_UNUSED __attribute__((unused))

/* Growable array of pointers or structs: VB_GROW(list, count, cap) makes room for one more. */
#define VB_GROW(arr, n, cap)                                                        \
    do {                                                                            \
        if ((n) >= (cap)) {                                                         \
            (cap) = (cap) ? (cap) * 2 : 8;                                          \
            (arr) = vb_realloc_n((arr), (cap), sizeof *(arr));                      \
        }                                                                           \
    } while (0)

/* Sorted or unsorted list of owned strings, used everywhere names are gathered. */
struct vb_strv {
    char **v; /* owned, each owned; v[n] is not NULL-terminated */
    size_t n, cap;
};
void vb_strv_add(struct vb_strv *l, const char *s);       /* copies */
void vb_strv_take(struct vb_strv *l, char *s);            /* takes ownership */
bool vb_strv_has(const struct vb_strv *l, const char *s);
void vb_strv_sort(struct vb_strv *l);                     /* bytewise */
void vb_strv_clear(struct vb_strv *l);

/* For a process that handles chunks all the time: what is freed is used again instead of being given back and faulted in
 * anew, and threads share one heap, because what one allocates another frees. */
void vb_heap_keep(void);

/* Wipes memory in a way the compiler may not remove. */
void vb_wipe(void *p, size_t n);

#endif
