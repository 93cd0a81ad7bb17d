/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bench_file.c - a file that looks like a database, of which a bit more than half is noise, and a changed version of it.
 *
 *     bench_file ONE TWO MEBIBYTES
 *
 * Each page of 4 KiB begins with 1,792 random bytes; words out of a list of 2,048 follow.  In TWO one page in a hundred,
 * scattered, is another one, and 12,345 bytes are inserted in the middle.  The same every time.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096
#define NOISE 1792
#define WORDS 2048
#define INSERTED 12345

static uint64_t state[2] = { 0x9e3779b97f4a7c15u, 42 };
static char words[WORDS][12];
static size_t lengths[WORDS];

static uint64_t next(void) /* xorshift128+ */
{
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return state[1] + b;
}

static void make_words(void)
{
    for (size_t i = 0; i < WORDS; i++) {
        size_t n = 3 + next() % 8;
        for (size_t k = 0; k < n; k++)
            words[i][k] = (char)('a' + next() % 26);
        words[i][n] = ' ';
        lengths[i] = n + 1;
    }
}

static void make_page(unsigned char *p)
{
    for (size_t i = 0; i < NOISE; i += 8) {
        uint64_t v = next();
        memcpy(p + i, &v, sizeof v);
    }
    for (size_t at = NOISE; at < PAGE;) {
        uint64_t v = next();
        size_t k = v & (v >> 20) & (WORDS - 1); /* some words are more frequent than others */
        size_t n = lengths[k] < PAGE - at ? lengths[k] : PAGE - at;
        memcpy(p + at, words[k], n);
        at += n;
    }
}

int main(int argc, char **argv)
{
    static unsigned char page[PAGE], other[PAGE];
    if (argc != 4)
        return 2;
    long pages = strtol(argv[3], NULL, 10) * (1048576 / PAGE);
    FILE *one = fopen(argv[1], "wbe"), *two = fopen(argv[2], "wbe");
    if (!one || !two)
        return perror(argv[0]), 1;
    make_words();
    for (long i = 0; i < pages; i++) {
        make_page(page);
        fwrite(page, 1, PAGE, one);
        if (i == pages / 2)
            for (int k = 0; k < INSERTED; k++)
                putc(k * 7 & 255, two);
        bool changed = next() % 100 == 0;
        if (changed)
            make_page(other);
        fwrite(changed ? other : page, 1, PAGE, two);
    }
    return fclose(one) != 0 || fclose(two) != 0;
}
