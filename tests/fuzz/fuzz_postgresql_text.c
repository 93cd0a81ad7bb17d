/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_postgresql_text.c - what the PostgreSQL writer reads back from a backup: its metadata and log names.
 */
#include "config.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "writers/postgresql/pgw.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgw_facts f = { 0 }, g = { 0 };
    struct vbw_list names = { NULL, 0, 0 };
    char *text = vbw_alloc(size + 1, 1);

    memcpy(text, data, size);
    pgw_facts_parse(&f, text);
    char *written = pgw_facts_text(&f);
    pgw_facts_parse(&g, written);
    char *again = pgw_facts_text(&g);
    if (strcmp(written, again) != 0)
        abort();
    char *first = pgw_line(text, "start"), *last = pgw_line(text, "stop"), *clean = vbw_clean(text);
    if (first != NULL && last != NULL)
        pgw_wal_names(first, last, f.segment_size, &names);
    vbw_argv_free(vbw_argv(text));
    vbw_has_word(text, "overwrite");
    pgw_is_history(text);
    free(first);
    free(last);
    free(clean);
    free(written);
    free(again);
    free(text);
    vbw_list_clear(&names);
    pgw_facts_clear(&f);
    pgw_facts_clear(&g);
    return 0;
}
