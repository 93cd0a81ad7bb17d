/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_agent.c - relay, supervisor and worker as real processes, with null writers.
 */
#include "config.h"

#include <signal.h>
#include <unistd.h>

#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

static const char CONFIG[] = "[agent]\n"
                             "idle-exit = 3s\n"
                             "[provider null]\n"
                             "enable = yes\n"
                             "hold = 1\n"
                             "level = 2\n"
                             "[writer null one]\n"
                             "component = c1\n"
                             "c1.path = %D/data\n"
                             "c1.recursive = yes\n"
                             "event-log = %D/events\n";

static struct alab *lab(const char *config)
{
    struct alab *l = alab_new(config);
    alab_write(l, "data/a", "first\n");
    alab_write(l, "data/sub/b", "second\n");
    return l;
}

static void backup_and_restore_of_a_null_writer(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_backup(l), VB_OK);
    assert_int_equal(alab_count(l, "freeze end ok"), 1);
    assert_int_equal(alab_count(l, "thaw end ok"), 1);
    assert_int_equal(alab_count(l, "backup-complete end ok"), 1);
    assert_int_equal(alab_count(l, "backup-shutdown end ok"), 1);
    assert_int_equal(alab_count(l, "abort"), 0);
    assert_true(alab_spool_empty(l, 5000));
    alab_reset(l);
    alab_write(l, "data/a", "changed\n");
    if (!alab_open(l, VB_JOB_RESTORE, 5000, false))
        fail_msg("%s", vb_error_text(&l->lost));
    assert_int_equal(alab_restore(l), VB_E_GUARD); /* nothing is overwritten without consent */
    assert_int_equal(alab_count(l, "pre-restore"), 0);
    assert_int_equal(alab_release(l), VB_OK);
    alab_reset(l);
    assert_true(alab_open(l, VB_JOB_RESTORE, 5000, true));
    assert_int_equal(alab_restore(l), VB_OK);
    VB_AUTO_FREE char *a = alab_read(l, "data/a"), *b = alab_read(l, "data/sub/b");
    assert_string_equal(a, "first\n");
    assert_string_equal(b, "second\n");
    assert_int_equal(alab_count(l, "pre-restore end ok"), 1);
    assert_int_equal(alab_count(l, "post-restore end ok"), 1);
    alab_free(l);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("a backup and a restore of a null writer", backup_and_restore_of_a_null_writer),
    };
    return CM_RUN("agent", t);
}
