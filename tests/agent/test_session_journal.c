/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_session_journal.c - the disk of the journal is full at each record of a backup and of a restore: for
 * good from there on, and for one record only.
 *
 * What must hold: the requester is told, in one line that names the journal and its cause; nothing was done that the
 * journal does not know of, but what cleans up; nothing stays held, stopped or behind.
 */
#include "config.h"

#include <stdlib.h>

#include "base/text.h"
#include "tests/cm.h"
#include "tests/fakes/agent_host.h"

static size_t lines(const struct vb_fake_host *h, const char *writer, const char *event)
{
    VB_AUTO_FREE char *a = vb_printf("%s %s", writer, event), *b = vb_printf("%s %s (owed)", writer, event);
    return vb_fake_count(h, a) + vb_fake_count(h, b);
}

struct seen { bool prepared, snapshot, window, pre_restore, stop, restore; };

static int see(void *arg, uint64_t seq, const char *record)
{
    struct seen *s = arg;
    (void)seq;
    s->prepared |= !strncmp(record, "event name=PrepareForBackup", 27);
    s->snapshot |= !strncmp(record, "snapshot ", 9);
    s->window |= !strncmp(record, "window ", 7);
    s->pre_restore |= !strncmp(record, "event name=PreRestore", 21);
    s->stop |= !strncmp(record, "service stop", 12);
    s->restore |= !strcmp(record, "restore");
    return 0;
}

/* Whoever cleans up after us knows of all that was done. */
static void assert_known(struct vb_fake_host *h)
{
    struct seen s = { false, false, false, false, false, false };
    assert_int_equal(vb_journal_replay(h->journal, see, &s, NULL), 0);
    assert_true(s.prepared || !lines(h, "front", "PrepareForBackup"));
    assert_true(s.snapshot || !vb_fake_count(h, "prov begin_prepare"));
    assert_true(s.window || !lines(h, "front", "Freeze"));
    assert_true(s.pre_restore || !lines(h, "front", "PreRestore"));
    assert_true(s.stop || !vb_fake_count(h, "service stop web"));
    assert_true(s.restore || !vb_fake_count(h, "mover restore"));
}

static void assert_nothing_held(struct vb_fake_host *h)
{
    size_t freezes = lines(h, "front", "Freeze"), ends = lines(h, "front", "Thaw") + lines(h, "front", "Abort");
    assert_true(h->ended);
    assert_true(freezes == 0 ? lines(h, "front", "Thaw") == 0 : ends >= 1); /* B-42 */
    assert_int_equal(lines(h, "front", "BackupShutdown"),
                     lines(h, "front", "PrepareForBackup") + lines(h, "front", "PreRestore")); /* B-60 */
    assert_true(lines(h, "front", "PostRestore") >= lines(h, "front", "PreRestore"));          /* */
    assert_true(vb_fake_count(h, "service start web") >= vb_fake_count(h, "service stop web")); /* */
    if (vb_fake_count(h, "prov begin_prepare"))
        assert_int_equal(vb_fake_count(h, "prov delete"), 1);
    assert_int_equal(vb_fake_count(h, "window begin"), vb_fake_count(h, "window end"));
    assert_false(h->frozen);
    assert_false(h->slot_wanted);
    assert_int_equal(h->slot_given, h->slot_back);
}

static struct vb_fake_host *host(bool restore)
{
    struct vb_fake_host *h = vb_fake_host_new();
    vb_fake_add_provider(h, "prov")->hold = 2; /* VB_HOLD_FREEZE */
    struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    w->required = true;
    if (restore) {
        w->method = VB_RESTORE_STOP_RESTORE_START;
        w->service = "web";
    }
    return h;
}

/* The next command of the run: its code, and the text of the first that is refused. */
static enum vb_code next(struct vb_fake_host *h, bool restore, size_t step, char **text)
{
    static const uint16_t BACKUP[] = { VB_M_IDENTIFY, VB_M_PREPARE, VB_M_SNAPSHOT, VB_M_CAPTURE, VB_M_COMPLETE };
    static const uint16_t RESTORE[] = { VB_M_IDENTIFY, VB_M_PRE_RESTORE, VB_M_RESTORE_FILES, VB_M_POST_RESTORE };
    if (step >= (restore ? VB_COUNT(RESTORE) : VB_COUNT(BACKUP)))
        return VB_E_NOT_FOUND;
    uint16_t type = restore ? RESTORE[step] : BACKUP[step];
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    if (type == VB_M_PREPARE || type == VB_M_PRE_RESTORE)
        vb_fake_bcd(h, restore, &b);
    if (type == VB_M_PRE_RESTORE)
        vb_fake_stored(h, &b);
    if (type == VB_M_COMPLETE)
        vb_fake_marks(h, true, &b);
    if (type == VB_M_RESTORE_FILES)
        vb_fake_roots(h, &b);
    const struct vb_msg *r = vb_fake_command(h, type, &b);
    enum vb_code c = vb_fake_code(r);
    if (c != VB_OK && r)
        *text = vb_msg_str(r, VB_F_TEXT);
    return c;
}

static void full_at_each_record(bool restore, bool only)
{
    unsigned refused = 0, n;
    for (n = 1; n < 200; n++) {
        VB_AUTO_FREE char *at = vb_printf("worker:%u%s", n, only ? "!" : "");
        VB_AUTO_FREE char *text = NULL;
        struct vb_fake_host *h = host(restore);
        enum vb_code c = VB_OK;
        setenv("VBACKUP_TEST_FULL", at, 1);
        vb_fake_open(h, restore ? VB_JOB_RESTORE : VB_JOB_BACKUP, NULL);
        for (size_t step = 0; c == VB_OK; step++)
            c = next(h, restore, step, &text);
        if (text) { /* as the requester does */
            refused++;
            assert_contains(text, "journal");
            assert_contains(text, "No space left");
            assert_null(strchr(text, '\n'));
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
        }
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
        unsetenv("VBACKUP_TEST_FULL");
        bool over = vb_journal_count(h->journal) + 1 < n; /* the run has no such record any more */
        assert_known(h);
        assert_nothing_held(h);
        vb_fake_host_free(h);
        if (over)
            break;
    }
    assert_true(n < 200);
    assert_true(refused > 10);
    printf("# %u of %u records stop the %s\n", refused, n, restore ? "restore" : "backup");
}

static void full_for_good(void **state)
{
    (void)state;
    full_at_each_record(false, false);
    full_at_each_record(true, false);
}

static void one_record_fails(void **state)
{
    (void)state;
    full_at_each_record(false, true);
    full_at_each_record(true, true);
}

/* Without the kept document recover could not send PostRestore. */
static void kept_document_fails(void **state)
{
    (void)state;
    VB_AUTO_FREE char *text = NULL;
    struct vb_fake_host *h = host(true);
    h->keep_fails = true;
    vb_fake_open(h, VB_JOB_RESTORE, NULL);
    assert_int_equal(next(h, true, 0, &text), VB_OK);
    assert_int_equal(next(h, true, 1, &text), VB_E_NO_SPACE);
    assert_int_equal(lines(h, "front", "PreRestore"), 0);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
    vb_fake_host_free(h);
}

int main(void)
{
#ifdef VB_FAULT_POINTS
    const int built_for_it = 1;
#else
    const int built_for_it = 0;
#endif
    if (!built_for_it) {
        printf("1..0 # SKIP built without --enable-fault-points\n");
        return 0;
    }
    const struct CMUnitTest t[] = {
        CM_TEST("the journal's disk is full from each record on: nothing is done that it does not know", full_for_good),
        CM_TEST("one record of the journal cannot be written", one_record_fails),
        CM_TEST("a restore whose document cannot be kept does not begin", kept_document_fails),
    };
    return CM_RUN("session_journal", t);
}
