/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/writers/test_postgresql_text.c - names of log segments, and facts as text, without any server.
 */
#include "config.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/cm.h"
#include "writers/postgresql/pgw.h"

#define MB (1024ul * 1024)

static void expect(const char *first, const char *last, unsigned long size, size_t n, const char *second)
{
    struct vbw_list l = { NULL, 0, 0 };

    assert_int_equal(pgw_wal_names(first, last, size, &l), 0);
    assert_int_equal(l.n, n);
    assert_string_equal(l.v[0], first);
    assert_string_equal(l.v[n - 1], last);
    if (second != NULL)
        assert_string_equal(l.v[1], second);
    vbw_list_clear(&l);
}

static void segments_follow_each_other(void **state)
{
    (void)state;
    expect("000000010000000000000002", "000000010000000000000002", 16 * MB, 1, NULL);
    expect("000000010000000000000009", "00000001000000000000000B", 16 * MB, 3, "00000001000000000000000A");
    /* 256 segments of 16 MB in one id, 4096 of 1 MB, 4 of 1 GB */
    expect("0000000100000000000000FF", "000000010000000100000000", 16 * MB, 2, "000000010000000100000000");
    expect("0000000100000000000000FF", "000000010000000000000100", 1 * MB, 2, "000000010000000000000100");
    expect("000000010000000000000FFF", "000000010000000100000000", 1 * MB, 2, "000000010000000100000000");
    expect("0000001A0000000500000003", "0000001A0000000600000000", 1024 * MB, 2, "0000001A0000000600000000");
}

static void impossible_ranges_are_refused(void **state)
{
    static const struct {
        const char *first, *last;
        unsigned long size;
    } bad[] = {
        { "000000010000000000000003", "000000010000000000000002", 16 * MB }, /* backwards */
        { "000000010000000000000003", "000000020000000000000004", 16 * MB }, /* two timelines */
        { "00000001000000000000010", "000000010000000000000011", 16 * MB },  /* too short */
        { "000000010000000000000100", "000000010000000000000101", 16 * MB }, /* no such segment in an id */
        { "00000001000000000000000g", "000000010000000000000011", 16 * MB },
        { "000000010000000000000001", "000000010000000000000002", 0 },
        { "000000010000000000000001", "00000001FFFFFFFF00000001", 16 * MB }, /* more than any backup needs */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct vbw_list l = { NULL, 0, 0 };
        assert_int_not_equal(pgw_wal_names(bad[i].first, bad[i].last, bad[i].size, &l), 0);
        vbw_list_clear(&l);
    }
}

static void write_segment(const char *path, uint32_t tli, uint64_t address, off_t size)
{
    struct {
        uint16_t magic, info;
        uint32_t tli;
        uint64_t address;
    } head = { 0xd110, 2, tli, address };
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, &head, sizeof head), (ssize_t)sizeof head);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void a_segment_is_what_it_is_called(void **state)
{
    char path[] = "/tmp/vbackup-wal.XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    close(fd);
    write_segment(path, 0x1a, 0x10 * 16ull * MB, 16 * MB);
    assert_null(pgw_wal_check(path, "0000001A0000000000000010", 16 * MB));
    assert_non_null(pgw_wal_check(path, "0000001A0000000000000011", 16 * MB)); /* recycled under a later name */
    assert_non_null(pgw_wal_check(path, "0000001B0000000000000010", 16 * MB)); /* another timeline */
    write_segment(path, 0x1a, 0x10 * 16ull * MB, 16 * MB - 8192);
    assert_non_null(pgw_wal_check(path, "0000001A0000000000000010", 16 * MB)); /* cut short */
    unlink(path);
    assert_non_null(pgw_wal_check(path, "0000001A0000000000000010", 16 * MB));
}

static void facts_survive_the_round_trip(void **state)
{
    struct pgw_facts f = { 0 }, g = { 0 };

    (void)state;
    pgw_facts_parse(&f, "data-directory=/srv/a=b\nversion=15\nsegment-size=16777216\nunknown=1\ntablespace.16384=/srv/"
                        "ts one\n"
                        "tablespace.=\ntablespace.x");
    assert_string_equal(f.data_directory, "/srv/a=b");
    assert_int_equal(f.segment_size, 16 * MB);
    assert_int_equal(f.ts_oid.n, 2);
    assert_string_equal(f.ts_location.v[0], "/srv/ts one");
    VBW_AUTO char *text = pgw_facts_text(&f);
    pgw_facts_parse(&g, text);
    VBW_AUTO char *again = pgw_facts_text(&g);
    assert_string_equal(text, again);
    VBW_AUTO char *none = pgw_line(text, "data");
    assert_null(none);
    pgw_facts_clear(&f);
    pgw_facts_clear(&g);
}

static void words_of_a_command(void **state)
{
    (void)state;
    char **v = vbw_argv("  /usr/bin/x 'two words' a\"b c\"d '' ");
    assert_string_equal(v[0], "/usr/bin/x");
    assert_string_equal(v[1], "two words");
    assert_string_equal(v[2], "ab cd");
    assert_string_equal(v[3], "");
    assert_null(v[4]);
    vbw_argv_free(v);
    assert_null(vbw_argv("open 'quote"));
}

static void history_files(void **state)
{
    (void)state;
    assert_true(pgw_is_history("0000001A.history"));
    assert_false(pgw_is_history("0000001A0000000000000010"));
    assert_false(pgw_is_history("0000001"));
    assert_false(pgw_is_history("0000001a.history"));
}

#define T(fn) cmocka_unit_test(fn)

int main(void)
{
    const struct CMUnitTest t[] = {
        T(segments_follow_each_other),
        T(impossible_ranges_are_refused),
        T(a_segment_is_what_it_is_called),
        T(facts_survive_the_round_trip),
        T(words_of_a_command),
        T(history_files),
    };
    return CM_RUN("postgresql text", t);
}
