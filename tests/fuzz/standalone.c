/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/standalone.c - runs a fuzz target without libFuzzer.
 *
 * Arguments are files, or directories of files; without any, the corpus of the program's own name
 * (fuzz_config: tests/fuzz/corpus/config below $abs_top_srcdir).  Each file is run as it is, then some
 * thousand mutations of the files are, under a fixed seed: FUZZ_SEED and FUZZ_RUNS change it.
 * Prints TAP; a crash leaves the plan unfulfilled, and the input in fuzz-NAME.crash.
 */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX ((size_t)1 << 20)

static struct vb_buf *inputs;
static size_t n_inputs, cap_inputs;
static struct vb_buf current; /* what is being run: saved by the crash handler */
static char crash_name[256];

static void on_crash(int signo)
{
    int fd = open(crash_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t r = write(fd, current.data, current.len);
        (void)r;
        close(fd);
    }
    signal(signo, SIG_DFL);
    raise(signo);
}

static void add_file(const char *path)
{
    VB_GROW(inputs, n_inputs, cap_inputs);
    struct vb_buf *b = &inputs[n_inputs];
    *b = (struct vb_buf)VB_BUF_INIT;
    if (vb_read_file_at(AT_FDCWD, path, INPUT_MAX, b, NULL) < 0) {
        fprintf(stderr, "cannot read '%s'\n", path);
        exit(99);
    }
    n_inputs++;
}

static void add_path(const char *path)
{
    VB_AUTO_DIR DIR *d = opendir(path);
    if (!d) {
        if (errno == ENOTDIR) {
            add_file(path);
        }
        return;
    }
    struct vb_strv names = { 0 };
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != '.') {
            vb_strv_add(&names, e->d_name);
        }
    }
    vb_strv_sort(&names); /* the same order everywhere: the seed then means the same run */
    for (size_t i = 0; i < names.n; i++) {
        VB_AUTO_FREE char *full = vb_path_join(path, names.v[i]);
        add_path(full);
    }
    vb_strv_clear(&names);
}

static void run(const struct vb_buf *b)
{
    /* A copy of the exact size, so that a sanitizer sees every read beyond it. */
    current = *b;
    unsigned char *exact = malloc(b->len ? b->len : 1);
    if (!exact) {
        abort();
    }
    if (b->len) {
        memcpy(exact, b->data, b->len);
    }
    LLVMFuzzerTestOneInput(exact, b->len);
    free(exact);
}

static size_t place(struct vb_rng *r, size_t n)
{
    return (size_t)vb_rng_below(r, n ? n : 1);
}

static void mutate_once(struct vb_rng *r, struct vb_buf *b)
{
    static const char *const words[] = {"\0", "\xff\xff\xff\xff", "\x7f", "%", "[", "]", "=", "\n", "..", "/", "-1",
                                        "&"};
    const struct vb_buf *other = &inputs[place(r, n_inputs)];
    size_t at = place(r, b->len), n;
    switch (vb_rng_below(r, 7)) {
    case 0:
        if (b->len) {
            b->data[at] ^= (unsigned char)(1u << vb_rng_below(r, 8));
        }
        break;
    case 1:
        if (b->len) {
            b->data[at] = (unsigned char)vb_rng_next(r);
        }
        break;
    case 2: /* cut the end */
        b->len = at;
        break;
    case 3: /* take a piece out */
        n = place(r, b->len - (b->len ? at : 0));
        if (b->len > at + n) {
            memmove(b->data + at, b->data + at + n, b->len - at - n);
            b->len -= n;
        }
        break;
    case 4: /* the head of this and the tail of another */
        if (other->len) {
            n = place(r, other->len);
            b->len = at;
            vb_buf_add(b, other->data + n, other->len - n);
        }
        break;
    case 5: /* a piece twice */
        if (b->len && b->len < INPUT_MAX / 2) {
            n = place(r, b->len - at);
            VB_AUTO_FREE unsigned char *piece = vb_memdup(b->data + at, n);
            vb_buf_add(b, piece, n);
        }
        break;
    default: { /* an interesting word over what is there */
        const char *w = words[vb_rng_below(r, VB_COUNT(words))];
        n = *w ? strlen(w) : 1;
        if (b->len >= at + n) {
            memcpy(b->data + at, w, n);
        } else {
            vb_buf_add(b, w, n);
        }
    }
    }
}

static uint64_t env_u64(const char *name, uint64_t def)
{
    uint64_t v = def;
    const char *s = getenv(name);
    return s && vb_parse_u64(s, &v) ? v : def;
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    name = strncmp(name, "lt-", 3) == 0 ? name + 3 : name;
    name = strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name;
    snprintf(crash_name, sizeof crash_name, "fuzz-%s.crash", name);
    for (int i = 1; i < argc; i++) {
        add_path(argv[i]);
    }
    const char *top = getenv("abs_top_srcdir");
    if (argc == 1 && top) {
        VB_AUTO_FREE char *dir = vb_printf("%s/tests/fuzz/corpus/%s", top, name);
        add_path(dir);
    }
    printf("1..2\n");
    if (n_inputs == 0) {
        printf("not ok 1 - %s: no corpus\n", name);
        return 1;
    }
    fflush(stdout);
    static const int crashes[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL };
    for (size_t i = 0; i < VB_COUNT(crashes); i++) {
        signal(crashes[i], on_crash);
    }
    for (size_t i = 0; i < n_inputs; i++) {
        run(&inputs[i]);
    }
    printf("ok 1 - %s: %zu files of the corpus\n", name, n_inputs);
    struct vb_rng r;
    uint64_t runs = env_u64("FUZZ_RUNS", 5000);
    vb_rng_seed(&r, env_u64("FUZZ_SEED", 1));
    struct vb_buf b = VB_BUF_INIT;
    for (uint64_t i = 0; i < runs; i++) {
        const struct vb_buf *from = &inputs[vb_rng_below(&r, n_inputs)];
        vb_buf_reset(&b);
        vb_buf_add(&b, from->data, from->len);
        for (uint64_t k = 1 + vb_rng_below(&r, 6); k > 0; k--) {
            mutate_once(&r, &b);
        }
        run(&b);
    }
    vb_buf_clear(&b);
    for (size_t i = 0; i < n_inputs; i++) {
        vb_buf_clear(&inputs[i]);
    }
    free(inputs);
    printf("ok 2 - %s: %llu mutations\n", name, (unsigned long long)runs);
    return 0;
}
