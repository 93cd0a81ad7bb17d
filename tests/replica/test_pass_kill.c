/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_pass_kill.c - a pass killed at many moments, and taken up again. */
#include <config.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/mem.h"
#include "base/rng.h"

#define ITEMS 120

static struct lab l;

static void both_halves(void)
{
    struct vb_pass_result r;
    _exit(lab_pass(&l, 0, 1, NULL, &r) == VB_OK ? 0 : 1);
}

/* Every file is the old or the new one. */
static void check_items(bool first)
{
    for (int i = 0; i < ITEMS; i++) {
        VB_AUTO_FREE char *name = vb_printf("d%d/f%d", i % 7, i);
        VB_AUTO_FREE char *old = vb_printf("old %d", i);
        VB_AUTO_FREE char *new = vb_printf("new %d", i);
        VB_AUTO_FREE char *is = lab_read(&l, 1, name);
        if (!is ? !first : strcmp(is, old) != 0 && strcmp(is, new) != 0)
            fail_msg("'%s' is neither old nor new: %s", name, is ? is : "gone");
    }
}

static void killed(void **state)
{
    (void)state;
    const char *rounds = getenv("PASS_KILLS");
    unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 12;
    struct vb_rng rng;
    unsigned hit = 0;
    uint64_t longest = 60000;
    vb_rng_seed(&rng, 45);
    lab_open(&l, 2);
    for (int i = 0; i < ITEMS; i++) {
        VB_AUTO_FREE char *name = vb_printf("d%d/f%d", i % 7, i);
        VB_AUTO_FREE char *old = vb_printf("old %d", i);
        lab_write(&l, 0, name, old);
    }
    for (unsigned k = 0; k < n; k++) {
        for (int i = 0; k && i < ITEMS; i++) {
            VB_AUTO_FREE char *name = vb_printf("d%d/f%d", i % 7, i);
            VB_AUTO_FREE char *text = vb_printf("%s %d", k % 2 ? "new" : "old", i);
            lab_write(&l, 0, name, text);
        }
        pid_t pid = fork();
        if (pid == 0)
            both_halves();
        usleep((useconds_t)vb_rng_below(&rng, longest));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        hit += WIFSIGNALED(status);
        longest = WIFSIGNALED(status) ? longest + longest / 8 : longest - longest / 4 + 1000;
        check_items(k == 0);
        struct vb_pass_result r = lab_go(&l, 0, 1);
        assert_int_equal(r.conflicts, 0);
        assert_int_equal(r.minted, 0); /* nothing was taken for a local edit */
        assert_int_equal(l.scan[1].created + l.scan[1].changed + l.scan[1].deleted, 0);
        VB_AUTO_FREE char *a = lab_tree(&l, 0);
        VB_AUTO_FREE char *b = lab_tree(&l, 1);
        assert_string_equal(a, b);
        r = lab_go(&l, 1, 0);
        assert_true(vb_pass_quiet(&r)); /* T46: nothing goes back */
    }
    assert_true(hit > n / 4);
    lab_close(&l);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest t[] = { CM_TEST("REPL-T45 REPL-T46 killed at random moments", killed) };
    return CM_RUN("passes that are killed", t);
}
