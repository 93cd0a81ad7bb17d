/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bench_store.c - how fast the store is, each part alone and all together, on one core.
 *
 *     bench_store [DIRECTORY [MIB]]     default: a new directory below /dev/shm, 256 MiB
 *
 * Two kinds of data: half compressible (text and random bytes, as in a mixed tree) and random.  Prints one line per
 * figure: name, MB/s by the wall clock and by processor time; for cutting, the share of bytes that are stored again
 * after 1 % of 8 KiB pages changed.
 */
#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "store/repository.h"

/* Both clocks: on a busy machine only the processor time can be compared. */
struct stamp {
    double wall, cpu;
};

static struct stamp now(void)
{
    struct timespec w, c;
    clock_gettime(CLOCK_MONOTONIC, &w);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c);
    return (struct stamp){ (double)w.tv_sec + (double)w.tv_nsec / 1e9, (double)c.tv_sec + (double)c.tv_nsec / 1e9 };
}

static void show(const char *what, const char *kind, size_t bytes, struct stamp since)
{
    struct stamp t = now();
    printf("%-28s %-18s %8.0f MB/s, %6.0f MB per second of processor time\n", what, kind,
           (double)bytes / 1e6 / (t.wall - since.wall), (double)bytes / 1e6 / (t.cpu - since.cpu));
    fflush(stdout);
}

static void die(const struct vb_error *err)
{
    fprintf(stderr, "bench_store: %s\n", vb_error_text(err));
    exit(1);
}

static void fill(unsigned char *p, size_t n, bool compressible)
{
    struct vb_rng rng;
    vb_rng_seed(&rng, 1);
    for (size_t at = 0; at < n;) {
        uint64_t v = vb_rng_next(&rng);
        size_t k = n - at < 32 ? n - at : 32;
        if (compressible && (at >> 12) % 2) {
            char text[40];
            snprintf(text, sizeof text, "account %08u holds %07u.%02u;", (unsigned)(v & 0xffff), (unsigned)(v >> 44),
                     (unsigned)(v % 100));
            memcpy(p + at, text, k);
        } else {
            for (size_t i = 0; i < k; i += 8, v = vb_rng_next(&rng))
                memcpy(p + at + i, &v, k - i < 8 ? k - i : 8);
        }
        at += k;
    }
}

struct pieces {
    size_t *end;
    size_t n, cap;
};

static struct pieces cut(const unsigned char *p, size_t n, const struct vb_cut_params *params, const uint8_t *seed)
{
    struct vb_cutter *c = vb_cutter_new(params, seed, NULL);
    struct pieces out = { 0 };
    for (size_t at = 0; at < n;) {
        bool end;
        at += vb_cutter_feed(c, p + at, n - at, &end);
        if (end || at == n) {
            VB_GROW(out.end, out.n, out.cap);
            out.end[out.n++] = at;
        }
    }
    vb_cutter_free(c);
    return out;
}

static void bench_parts(const unsigned char *p, size_t n, const char *kind)
{
    static const uint8_t key[VB_CHUNK_KEY_LEN] = { 7 };
    struct vb_namer *namer = vb_namer_new(key);
    struct vb_name name;
    struct stamp t = now();
    struct pieces c = cut(p, n, &VB_CUT_DEFAULT, key);
    show("cut", kind, n, t);
    t = now();
    for (size_t i = 0, at = 0; i < c.n; at = c.end[i++])
        vb_namer_name(namer, VB_CHUNK_DATA, p + at, c.end[i] - at, &name);
    show("name", kind, n, t);
    const int levels[] = { 1, 3 };
    for (size_t k = 0; k < VB_COUNT(levels); k++) {
        struct vb_codec *codec = vb_codec_new(levels[k]);
        VB_AUTO_BUF out = VB_BUF_INIT;
        size_t stored = 0;
        t = now();
        for (size_t i = 0, at = 0; i < c.n; at = c.end[i++]) {
            uint8_t encoding;
            vb_buf_reset(&out);
            vb_codec_compress(codec, p + at, c.end[i] - at, &out, &encoding, NULL);
            stored += out.len;
        }
        VB_AUTO_FREE char *what = vb_printf("compress -%d (to %zu %%)", levels[k], stored * 100 / n);
        show(what, kind, n, t);
        vb_codec_free(codec);
    }
    vb_namer_free(namer);
    free(c.end);
}

/* What an agent sends is prepared first, so that the figure is put alone: decompress, name, pack, write. */
static void bench_repository(const char *dir, const unsigned char *p, size_t n, const char *kind)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(dir, kind);
    if (vb_repo_init(path, NULL, 1, &err) < 0)
        die(&err);
    struct vb_repo *r = vb_repo_open(path, VB_REPO_WRITE, &err);
    if (!r || vb_repo_lock(r, 1, &err) < 0)
        die(&err);
    const struct vb_repo_info *info = vb_repo_info(r);
    struct pieces c = cut(p, n, &info->params.cut, info->cutter_seed);
    struct vb_name *names = vb_alloc_n(c.n, sizeof *names);
    struct vb_buf *stored = vb_alloc_n(c.n, sizeof *stored);
    uint8_t *encodings = vb_alloc(c.n);
    struct vb_namer *namer = vb_namer_new(info->naming_key);
    struct vb_codec *codec = vb_codec_new(1);
    for (size_t i = 0, at = 0; i < c.n; at = c.end[i++]) {
        vb_namer_name(namer, VB_CHUNK_DATA, p + at, c.end[i] - at, &names[i]);
        vb_codec_compress(codec, p + at, c.end[i] - at, &stored[i], &encodings[i], NULL);
    }
    struct stamp t = now();
    for (size_t i = 0, at = 0; i < c.n; at = c.end[i++])
        if (vb_repo_put(r, VB_CHUNK_DATA, &names[i], c.end[i] - at, encodings[i], stored[i].data, stored[i].len,
                        &err) < 0)
            die(&err);
    if (vb_repo_flush(r, &err) < 0)
        die(&err);
    show("put (verified, on disk)", kind, n, t);
    VB_AUTO_FREE bool *present = vb_alloc_n(c.n, sizeof *present);
    t = now();
    for (unsigned k = 0; k < 100; k++)
        vb_repo_has(r, names, c.n, present);
    printf("%-28s %-18s %8.1f million/s\n", "has", kind, (double)c.n * 100 / 1e6 / (now().cpu - t.cpu));
    vb_repo_close(r);
    r = vb_repo_open(path, VB_REPO_READ, &err);
    if (!r)
        die(&err);
    VB_AUTO_BUF out = VB_BUF_INIT;
    t = now();
    for (size_t i = 0; i < c.n; i++) {
        vb_buf_reset(&out);
        if (vb_repo_get(r, VB_CHUNK_DATA, &names[i], &out, &err) < 0)
            die(&err);
    }
    show("get (verified)", kind, n, t);
    t = now();
    if (vb_repo_check(r, true, NULL, NULL, &err) < 0)
        die(&err);
    show("check --read-data", kind, n, t);
    vb_repo_close(r);
    for (size_t i = 0; i < c.n; i++)
        vb_buf_clear(&stored[i]);
    free(stored);
    free(names);
    free(encodings);
    free(c.end);
    vb_namer_free(namer);
    vb_codec_free(codec);
}

static int by_name(const void *a, const void *b)
{
    return vb_name_compare(a, b);
}

/* The share of bytes in chunks that were not there before 1 % of the pages changed. */
static void bench_pages(unsigned char *p, size_t n)
{
    const struct {
        const char *name;
        struct vb_cut_params params;
    } presets[] = { { "default (64 KiB)", VB_CUT_DEFAULT },
                    { "pages (16 KiB)", VB_CUT_PAGES },
                    { "1 MiB, as others", { 512u << 10, 1u << 20, 8u << 20 } } };
    static const uint8_t seed[VB_CHUNK_KEY_LEN] = { 3 };
    for (size_t k = 0; k < VB_COUNT(presets); k++) {
        struct pieces before = cut(p, n, &presets[k].params, seed);
        struct vb_name *names = vb_alloc_n(before.n, sizeof *names);
        for (size_t i = 0, at = 0; i < before.n; at = before.end[i++])
            vb_sha256(p + at, before.end[i] - at, &names[i]);
        qsort(names, before.n, sizeof *names, by_name);
        struct vb_rng rng;
        size_t fresh = 0;
        vb_rng_seed(&rng, k + 99);
        for (size_t i = 0; i < n / 8192 / 100; i++) {
            size_t page = (size_t)vb_rng_below(&rng, n / 8192) * 8192;
            for (size_t j = 0; j < 8192; j += 512)
                p[page + j] ^= (unsigned char)(1 + vb_rng_below(&rng, 255));
        }
        struct pieces after = cut(p, n, &presets[k].params, seed);
        for (size_t i = 0, at = 0; i < after.n; at = after.end[i++]) {
            struct vb_name name;
            vb_sha256(p + at, after.end[i] - at, &name);
            if (!bsearch(&name, names, before.n, sizeof name, by_name))
                fresh += after.end[i] - at;
        }
        printf("%-28s %-18s %8.1f %% stored again, %zu chunks\n", "1 % of pages changed", presets[k].name,
               (double)fresh * 100 / (double)n, after.n);
        free(names);
        free(before.end);
        free(after.end);
    }
}

int main(int argc, char **argv)
{
    char made[] = "/dev/shm/vbackup-bench.XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(made);
    uint64_t mib = 256;
    if (!dir || (argc > 2 && !vb_parse_u64(argv[2], &mib)) || mib < 16 || mib > 4096) {
        fputs("usage: bench_store [DIRECTORY [MIB]]\n", stderr);
        return 2;
    }
    size_t n = (size_t)mib << 20;
    unsigned char *p = vb_alloc(n);
    for (int compressible = 1; compressible >= 0; compressible--) {
        const char *kind = compressible ? "half-compressible" : "random";
        fill(p, n, compressible);
        bench_parts(p, n, kind);
        bench_repository(dir, p, n, kind);
    }
    bench_pages(p, n);
    free(p);
    if (argc <= 1)
        vb_remove_tree_at(AT_FDCWD, dir, NULL);
    return 0;
}
