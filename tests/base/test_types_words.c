/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/base/test_types_words.c - words of the enumerations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "vbackup/types.h"

/* Every number has a word of its own that leads back to it; numbers out of range are "unknown". */
#define CHECK(name, type, first, last)                                              \
    do {                                                                            \
        for (int v = (first); v <= (last); v++) {                                   \
            assert_int_equal(vb_##name##_from_word(vb_##name##_word((type)v)), v);  \
            assert_string_not_equal(vb_##name##_word((type)v), "");                 \
        }                                                                           \
        assert_string_equal(vb_##name##_word((type)((last) + 1)), "unknown");       \
        assert_string_equal(vb_##name##_word((type)-7), "unknown");                 \
        assert_int_equal(vb_##name##_from_word("no such word"), 0);                 \
        assert_int_equal(vb_##name##_from_word(NULL), 0);                           \
        assert_int_equal(vb_##name##_from_word(""), 0);                             \
    } while (0)

static void all(void **state VB_UNUSED)
{
    CHECK(usage, enum vb_usage, 1, 4);
    CHECK(source, enum vb_source, 1, 3);
    CHECK(component_type, enum vb_component_type, 1, 2);
    CHECK(restore_method, enum vb_restore_method, 1, 8);
    CHECK(writer_restore, enum vb_writer_restore, 1, 3);
    CHECK(restore_target, enum vb_restore_target, 1, 4);
    CHECK(file_restore_status, enum vb_file_restore_status, 1, 3);
    CHECK(backup_type, enum vb_backup_type, 1, 6);
    CHECK(restore_type, enum vb_restore_type, 1, 3);
    CHECK(rollforward, enum vb_rollforward, 1, 3);
    CHECK(level, enum vb_level, -1, 4);
    CHECK(writer_state, enum vb_writer_state, 0, 15);
    CHECK(snapshot_state, enum vb_snapshot_state, 0, 15);
    CHECK(consistency, enum vb_consistency, 0, 5);
    CHECK(completeness, enum vb_completeness, 0, 3);
}

static void field_words(void **state VB_UNUSED)
{
    assert_string_equal(vb_usage_word(VB_USAGE_BOOTABLE_SYSTEM_STATE), "BOOTABLE_SYSTEM_STATE");
    assert_string_equal(vb_source_word(VB_SOURCE_TRANSACTED_DB), "TRANSACTION_DB");
    assert_string_equal(vb_restore_method_word(VB_RESTORE_IF_CAN_REPLACE), "RESTORE_IF_CAN_BE_REPLACED");
    assert_string_equal(vb_restore_method_word(VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE),
                        "REPLACE_AT_REBOOT_IF_CANNOT_REPLACE");
    assert_string_equal(vb_writer_restore_word(VB_WRITER_RESTORE_ALWAYS), "always");
    assert_string_equal(vb_writer_state_word(VB_WS_WAITING_FOR_POST_SNAPSHOT), "waiting for post-snapshot");
}

static void people(void **state VB_UNUSED)
{
    assert_int_equal(vb_level_from_word("front-end"), VB_LEVEL_FRONT_END);
    assert_int_equal(vb_level_from_word("BACK_END"), VB_LEVEL_BACK_END);
    assert_int_equal(vb_consistency_from_word("File-System"), VB_CONSISTENCY_FILE_SYSTEM);
    assert_int_equal(vb_level_from_word("front"), VB_LEVEL_UNKNOWN);
    assert_int_equal(vb_level_from_word("front end "), VB_LEVEL_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"every number has its word and back", all, NULL, NULL, NULL},
        {"words of the field", field_words, NULL, NULL, NULL},
        {"as people write them", people, NULL, NULL, NULL},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
