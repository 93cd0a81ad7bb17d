/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bench_walk.c - the change detector's sources beside a bare parallel statx walk.
 *
 *   bench_walk make DIR FILES        so many small files, 100 in a directory
 *   bench_walk bare DIR THREADS      reads every directory, examines every entry, compares nothing; milliseconds
 *   bench_walk remember DIR MEMORY   a memory of the tree as it is (for a snapshot of btrfs with its generation)
 *   bench_walk walk DIR MEMORY THREADS       milliseconds, and how many directories differ
 *   bench_walk generations DIR MEMORY        the same
 *   bench_walk touch DIR COUNT STEP  changes COUNT files
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "tracking/generations.h"
#include "tracking/look.h"
#include "tracking/walk.h"

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int die(const char *what)
{
    perror(what);
    exit(1);
}

static char *file_name(unsigned long i)
{
    return vb_printf("d%lu/e%lu/f%lu", i / 10000, i / 100 % 100, i);
}

static void make(const char *dir, unsigned long n)
{
    VB_AUTO_FD int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        die(dir);
    for (unsigned long i = 0; i < n; i++) {
        VB_AUTO_FREE char *name = file_name(i);
        char *slash = strrchr(name, '/');
        if (i % 100 == 0) {
            *slash = 0;
            char *up = strchr(name, '/');
            *up = 0;
            mkdirat(at, name, 0755);
            *up = '/';
            if (mkdirat(at, name, 0755) < 0)
                die(name);
            *slash = '/';
        }
        VB_AUTO_FD int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, name, strlen(name)) < 0)
            die(name);
    }
}

static void touch(const char *dir, unsigned long n, unsigned long step)
{
    VB_AUTO_FD int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned long i = 0; i < n; i++) {
        VB_AUTO_FREE char *name = file_name(i * step);
        VB_AUTO_FD int fd = openat(at, name, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd < 0 || write(fd, "x", 1) != 1)
            die(name);
    }
}

/* ---- the bare walk: a stack of paths, two threads ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static char **stack;
static size_t n_stack, cap_stack;
static unsigned busy;
static int top_fd;
static unsigned long entries;

static unsigned long read_dir(const char *path, char *buf, size_t size)
{
    VB_AUTO_FD int fd = openat(top_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
    unsigned long n_here = 0;
    ssize_t n;
    while (fd >= 0 && (n = getdents64(fd, buf, size)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *e = (const struct dirent64 *)(const void *)(buf + at);
            struct statx x;
            at += e->d_reclen;
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                continue;
            if (statx(fd, e->d_name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &x) < 0)
                die(e->d_name);
            n_here++;
            if (!S_ISDIR(x.stx_mode))
                continue;
            char *below = vb_printf("%s/%s", path, e->d_name);
            pthread_mutex_lock(&lock);
            VB_GROW(stack, n_stack, cap_stack);
            stack[n_stack++] = below;
            pthread_cond_signal(&wake);
            pthread_mutex_unlock(&lock);
        }
    return n_here;
}

static void *bare_thread(void *arg)
{
    VB_AUTO_FREE char *buf = vb_alloc(65536);
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!n_stack && busy)
            pthread_cond_wait(&wake, &lock);
        if (!n_stack)
            break;
        char *path = stack[--n_stack];
        busy++;
        pthread_mutex_unlock(&lock);
        unsigned long n = read_dir(path, buf, 65536);
        free(path);
        pthread_mutex_lock(&lock);
        entries += n;
        busy--;
    }
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    return arg;
}

static void bare(const char *dir, unsigned threads)
{
    pthread_t t[8];
    double begin = now_ms();
    top_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_GROW(stack, n_stack, cap_stack);
    stack[n_stack++] = vb_strdup(".");
    for (unsigned i = 1; i < threads && i < 8; i++)
        pthread_create(&t[i], NULL, bare_thread, NULL);
    bare_thread(NULL);
    for (unsigned i = 1; i < threads && i < 8; i++)
        pthread_join(t[i], NULL);
    printf("%.0f %lu\n", now_ms() - begin, entries);
    free(stack);
}

/* ---- the detector ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vb_look_entry *)a)->name, ((const struct vb_look_entry *)b)->name);
}

static void put(struct vb_look *l, const char *path, struct vb_look_entry *v, size_t n)
{
    VB_AUTO_BUF row = VB_BUF_INIT;
    VB_AUTO_BUF payload = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (n)
        qsort(v, n, sizeof *v, by_name);
    vb_look_row_encode(&row, path, v, n);
    vb_buf_add_str(&payload, path);
    if (vb_look_put(l, path, &row, &payload, &err) < 0)
        die(vb_error_text(&err));
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)v[i].name);
    free(v);
}

static void remember_dir(struct vb_look *l, int fd, const char *path)
{
    DIR *d = fdopendir(fd);
    struct vb_look_entry *v = NULL;
    size_t n = 0, cap = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        VB_GROW(v, n, cap);
        vb_look_stat_from(&v[n].st, &st);
        v[n].flags = VB_LOOK_TRUSTED;
        v[n++].name = vb_strdup(e->d_name);
        if (S_ISDIR(st.st_mode)) {
            VB_AUTO_FREE char *below = vb_printf("%s/%s", path, e->d_name);
            remember_dir(l, openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), below);
        }
    }
    closedir(d);
    put(l, path, v, n);
}

static void remember(const char *dir, const char *memory)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_look *l = vb_look_create(memory, &err);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    struct vb_generation g;
    if (!l || fd < 0 || fstat(fd, &st) < 0)
        die(memory);
    struct vb_look_entry *top = vb_alloc(sizeof *top);
    vb_look_stat_from(&top->st, &st);
    top->flags = VB_LOOK_TRUSTED;
    top->name = vb_strdup(".");
    put(l, "", top, 1);
    if (vb_generation_of(fd, &g, NULL) == 0)
        vb_look_set_note(l, "generation", &g, sizeof g, NULL);
    remember_dir(l, fd, ".");
    if (vb_look_commit(l, &err) < 0)
        die(vb_error_text(&err));
    vb_look_close(l);
}

static void detect(const char *dir, const char *memory, unsigned threads)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_walk_options o = { .threads = threads, .noatime = true };
    struct vb_walk_counts counts;
    double begin = now_ms();
    VB_AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct vb_changes *c = vb_changes_new();
    int rc = -1;
    if (threads) {
        rc = vb_walk(memory, fd, &o, c, &counts, &err);
    } else {
        struct vb_look *l = vb_look_reader(memory, &err);
        struct vb_generation then, now;
        const unsigned char *p;
        size_t n;
        uint64_t inodes;
        if (l && vb_look_note(l, "generation", &p, &n) == 1 && n == sizeof then &&
            vb_generation_of(fd, &now, &err) == 0) {
            memcpy(&then, p, n);
            rc = vb_generations(fd, &then, &now, c, &inodes, &err);
        }
        vb_look_close(l);
    }
    if (rc < 0)
        fprintf(stderr, "%s\n", vb_error_text(&err));
    printf("%.0f %zu\n", now_ms() - begin, vb_changes_count(c));
    vb_changes_free(c);
    exit(rc < 0);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    uint64_t n[2] = { 0, 0 };
    for (int i = 0; i < 2; i++)
        if (argc > 3 + i)
            vb_parse_u64(argv[3 + i], &n[i]);
    if (!strcmp(verb, "make"))
        make(argv[2], n[0]);
    else if (!strcmp(verb, "touch"))
        touch(argv[2], n[0], n[1]);
    else if (!strcmp(verb, "bare"))
        bare(argv[2], (unsigned)n[0]);
    else if (!strcmp(verb, "remember") && argc > 3)
        remember(argv[2], argv[3]);
    else if (!strcmp(verb, "walk") && argc > 4)
        detect(argv[2], argv[3], (unsigned)n[1]);
    else if (!strcmp(verb, "generations") && argc > 3)
        detect(argv[2], argv[3], 0);
    else
        return 2;
    return 0;
}
