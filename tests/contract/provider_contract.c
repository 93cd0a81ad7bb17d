/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/provider_contract.c - what every provider promises, through its real host process.
 *
 *     provider_contract NAME [--module FILE.so] [--volume MOUNT --type FS [--device DEV] [--subvolume DIR]
 *                       [--tree DIR]... [--also DIR]...]... [-o KEY=VALUE]... [--watch COMMAND] [--pretend-freeze]
 *                       [--original] [--fault]
 *                       [--compare COMMAND] [--quick]
 *
 * NAME is a built-in provider, or, with --module, the one that the file exports as vb_provider_NAME.  Without a volume:
 * a temporary directory of any file system.  --tree: what the set is made of (default MOUNT/tree); --also: directories
 * below the trees that are to be part of it too (nested subvolumes).  --watch: a shell command that shows everything
 * the provider keeps anywhere; after each test its output must be what it was before.  --pretend-freeze: volumes
 * are not frozen even if the provider asks for it (no root).  --original: it shows the original, as null does.  --fault:
 * the provider is to fail at one call of each set; the only promise that is tried is that nothing is left.
 * --compare: a shell command that is given a tree ($1) and what the shadow copy shows of it ($2) and must succeed.
 * --quick: supports, the whole sequence and --compare only.
 *
 * The trees are filled, a set is made, the originals are changed at once after commit, and what the shadow copies show is
 * compared with what was there before.
 */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <sys/fanotify.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "providers/registry.h"
#include "tests/contract/provider_peer.h"

/* ---- the promises ---- */

static void supports_says_what_it_is_worth(void **state)
{
    struct peer p = PEER_INIT;
    (void)state;
    peer_start(&p);
    for (size_t i = 0; i < given.n; i++) {
        struct given_volume *v = &given.v[i];
        must(&p, peer_call(&p, "supports", NULL, NULL, v, NULL), "supports");
        VB_AUTO_FREE char *why = vb_msg_str(&p.done, VB_F_REMARK);
        if (!vb_msg_u64(&p.done, VB_F_SUPPORTED, 0))
            fail_msg("volume '%s' is not supported: %s", v->mount, why ? why : "no reason");
        assert_true(vb_msg_has(&p.done, VB_F_HOLD));
        assert_true(vb_msg_has(&p.done, VB_F_CONSISTENCY));
        v->hold = vb_msg_u64(&p.done, VB_F_HOLD, 0);
        v->level = vb_msg_u64(&p.done, VB_F_CONSISTENCY, 0);
        v->attributes = vb_msg_u64(&p.done, VB_F_ATTRIBUTES, 0);
        v->atomic = vb_msg_u64(&p.done, VB_F_ATOMIC, 0);
        v->per_tree = vb_msg_u64(&p.done, VB_F_PER_TREE, 0);
        if (given.shows_the_past) { /* without writers it is as good as its instant */
            if (!v->atomic)
                assert_int_equal(v->level, VB_CONSISTENCY_NONE);
            if (v->level >= VB_CONSISTENCY_FILE_SYSTEM)
                assert_true(v->hold == VB_HOLD_FREEZE || v->hold == VB_HOLD_OWN);
        }
    }
    peer_stop(&p, false);
}

/* Of a volume that nobody can make a shadow copy of, every provider but live reading says so, and why. */
static void supports_refuses_with_a_reason(void **state)
{
    struct peer p = PEER_INIT;
    struct given_volume none = { .mount = "/nowhere-at-all", .fs_type = "nfs4", .device = "host:/export",
                                 .subvolume = "/nowhere-at-all" };
    (void)state;
    peer_start(&p);
    must(&p, peer_call(&p, "supports", NULL, NULL, &none, NULL), "supports");
    if (given.shows_the_past) {
        assert_int_equal(vb_msg_u64(&p.done, VB_F_SUPPORTED, 1), 0);
        VB_AUTO_FREE char *why = vb_msg_str(&p.done, VB_F_REMARK);
        assert_true(why && why[0]);
    }
    peer_stop(&p, false);
}

static void expect_shown(struct peer *p)
{
    for (size_t i = 0; i < given.n; i++) {
        const struct given_volume *v = &given.v[i];
        for (size_t k = 0; k < v->trees.n + v->also.n; k++) {
            const char *dir = k < v->trees.n ? v->trees.v[k] : v->also.v[k - v->trees.n];
            VB_AUTO_FREE char *at = peer_path(p, i, dir);
            expect_tree(at, given.shows_the_past ? "before" : "after!", !given.shows_the_past);
        }
    }
}

static void whole_sequence(void **state)
{
    struct peer p = PEER_INIT;
    (void)state;
    fill_volumes("before", false);
    peer_start(&p);
    size_t had = peer_known(&p);
    make_set(&p, 0);
    for (size_t i = 0; i < N_STEPS; i++) {
        must(&p, peer_step(&p, STEPS[i]), STEPS[i]);
        if (!strcmp(STEPS[i], "commit"))
            fill_volumes("after!", true);
        if (!strcmp(STEPS[i], "post_commit") && given.keeps_records)
            assert_int_equal(vb_msg_u64(&p.done, VB_F_COUNT, 0), given.n);
    }
    expect_shown(&p);
    if (given.keeps_records)
        assert_int_equal(peer_known(&p), had + given.n);
    VB_AUTO_FREE char *first = peer_path(&p, 0, given.v[0].trees.v[0]);
    for (size_t i = 0; i < given.n; i++) { /* one by one, and the others stay */
        must(&p, peer_call(&p, "delete", NULL, p.snap[i], NULL, NULL), "delete");
        if (given.keeps_records)
            assert_int_equal(peer_known(&p), had + given.n - 1 - i);
    }
    if (given.shows_the_past)
        assert_int_equal(access(first, F_OK), -1); /* S-23 */
    if (given.keeps_records) {
        assert_int_equal(peer_call(&p, "snapshot_path", NULL, p.snap[0], NULL, given.v[0].trees.v[0]),
                         VB_E_OBJECT_NOT_FOUND);
    }
    peer_delete_set(&p); /* gone is gone */
    peer_stop(&p, false);
}

/* Only between pre-final and post-final commit, and only if recovery was asked for, it can be written to (S-11, S-12). */
static void recovery(void **state)
{
    static const char *const WHEN[] = { "post_commit", "pre_final", "post_final" };
    const struct given_volume *v = &given.v[0];
    (void)state;
    if (!given.shows_the_past || v->per_tree || !(v->attributes & VB_SA_AUTORECOVER))
        return; /* never repaired, or plain directories */
    for (int asked = 0; asked < 2; asked++) {
        struct peer p = PEER_INIT;
        given.attributes = asked ? VB_SA_AUTORECOVER : 0;
        fill_volumes("before", false);
        peer_start(&p);
        make_set(&p, 3);
        for (size_t i = 0; i < VB_COUNT(WHEN); i++) {
            must(&p, peer_step(&p, WHEN[i]), WHEN[i]);
            if (i == 0 && peer_call(&p, "snapshot_path", NULL, p.snap[0], NULL, v->trees.v[0]) != VB_OK)
                continue; /* writers hold until here: one that must mount it first does so after them */
            VB_AUTO_FREE char *tree = peer_path(&p, 0, v->trees.v[0]), *f = vb_path_join(tree, "file");
            int fd = open(f, O_WRONLY | O_TRUNC | O_CLOEXEC);
            bool writable = fd >= 0;
            if (fd >= 0)
                close(fd);
            if (writable != (asked && i == 1))
                fail_msg("after %s, recovery %s: %s", WHEN[i], asked ? "asked for" : "not asked for",
                         writable ? "it can be written to" : "it cannot be written to");
            if (writable)
                write_text(f, "mended");
        }
        peer_delete_set(&p);
        peer_stop(&p, false);
    }
    given.attributes = 0;
}

/* A dead owner's shadow copies are known to a fresh process, which deletes them (S-67): whatever call he died after. */
static void another_process_sweeps(void **state)
{
    (void)state;
    for (size_t killed_after = 0; killed_after <= N_STEPS; killed_after++) {
        struct peer p = PEER_INIT, q = PEER_INIT;
        peer_start(&p);
        make_set(&p, killed_after);
        peer_stop(&p, true);
        peer_start(&q);
        memcpy(q.snap, p.snap, sizeof q.snap);
        if (killed_after == N_STEPS && given.keeps_records)
            assert_int_equal(peer_known(&q), given.n);
        peer_delete_known(&q);
        assert_int_equal(peer_known(&q), 0);
        peer_delete_set(&q); /* also what the journal of the agent names, and what is gone */
        peer_stop(&q, false);
    }
}

/* The same if he dies in the middle of a call. */
static void killed_in_the_middle(void **state)
{
    static const int AFTER_US[] = { 0, 500, 2000, 8000 };
    (void)state;
    for (size_t step = 0; step < N_STEPS; step++)
        for (size_t i = 0; i < VB_COUNT(AFTER_US); i++) {
            struct peer p = PEER_INIT, q = PEER_INIT;
            peer_start(&p);
            make_set(&p, step);
            if (!strcmp(STEPS[step], "commit"))
                freeze_volumes();
            peer_send(&p, STEPS[step], p.set, NULL, NULL, NULL);
            struct timespec t = { 0, AFTER_US[i] * 1000 };
            nanosleep(&t, NULL);
            kill(p.pid, SIGKILL);
            thaw_volumes(); /* as the watchdog does */
            peer_stop(&p, true);
            peer_start(&q);
            peer_delete_known(&q);
            assert_int_equal(peer_known(&q), 0);
            peer_stop(&q, false);
        }
}

static void order_is_kept(void **state)
{
    (void)state;
    for (size_t at = 0; at < N_STEPS; at++)
        for (size_t wrong = 0; wrong < N_STEPS; wrong++) {
            if (wrong == at)
                continue;
            struct peer p = PEER_INIT;
            peer_start(&p);
            make_set(&p, at);
            assert_int_equal(peer_call(&p, STEPS[wrong], p.set, NULL, NULL, NULL), VB_E_PROVIDER_VETO);
            assert_int_equal(peer_call(&p, STEPS[at], p.set, NULL, NULL, NULL), VB_E_PROVIDER_VETO); /* gone */
            assert_int_equal(peer_known(&p), 0);
            peer_stop(&p, false);
        }
}

static void another_set_id_is_a_veto(void **state)
{
    char other[VB_GUID_LEN + 1];
    (void)state;
    for (size_t at = 0; at < N_STEPS; at++) {
        struct peer p = PEER_INIT;
        peer_start(&p);
        make_set(&p, at);
        vb_guid_new(other);
        assert_int_equal(peer_call(&p, STEPS[at], other, NULL, NULL, NULL), VB_E_PROVIDER_VETO);
        assert_int_equal(peer_call(&p, STEPS[at], p.set, NULL, NULL, NULL), VB_E_PROVIDER_VETO);
        assert_int_equal(peer_known(&p), 0);
        peer_stop(&p, false);
    }
}

static void new_set_drops_the_old(void **state)
{
    (void)state;
    for (size_t at = 0; at < N_STEPS; at++) {
        struct peer p = PEER_INIT;
        peer_start(&p);
        make_set(&p, at);
        make_set(&p, N_STEPS);
        if (given.keeps_records)
            assert_int_equal(peer_known(&p), given.n);
        peer_delete_set(&p);
        assert_int_equal(peer_known(&p), 0);
        peer_stop(&p, false);
    }
}

static void abort_any_time(void **state)
{
    (void)state;
    for (size_t at = 0; at < N_STEPS; at++) {
        struct peer p = PEER_INIT;
        peer_start(&p);
        make_set(&p, at);
        must(&p, peer_step(&p, "abort"), "abort");
        assert_int_equal(peer_known(&p), 0);
        must(&p, peer_step(&p, "abort"), "abort again");
        make_set(&p, N_STEPS); /* and it is not worse for it */
        peer_delete_set(&p);
        peer_stop(&p, false);
    }
}

static void abort_after_created_is_ignored(void **state)
{
    struct peer p = PEER_INIT;
    (void)state;
    fill_volumes("before", false);
    peer_start(&p);
    make_set(&p, N_STEPS);
    fill_volumes("after!", true);
    must(&p, peer_step(&p, "abort"), "abort");
    expect_shown(&p);
    if (given.keeps_records)
        assert_int_equal(peer_known(&p), given.n);
    peer_delete_set(&p);
    peer_stop(&p, false);
}

/* Unload during creation counts as abort (S-35); a complete set stays, and a fresh process shows it. */
static void end_of_file(void **state)
{
    (void)state;
    for (size_t at = 0; at < N_STEPS; at++) {
        struct peer p = PEER_INIT, q = PEER_INIT;
        peer_start(&p);
        make_set(&p, at);
        peer_stop(&p, false);
        peer_start(&q);
        assert_int_equal(peer_known(&q), 0);
        peer_stop(&q, false);
    }
    struct peer p = PEER_INIT, q = PEER_INIT;
    fill_volumes("before", false);
    peer_start(&p);
    make_set(&p, N_STEPS);
    peer_stop(&p, false);
    fill_volumes("after!", true);
    peer_start(&q);
    memcpy(q.snap, p.snap, sizeof q.snap);
    if (given.keeps_records)
        assert_int_equal(peer_known(&q), given.n);
    expect_shown(&q);
    peer_delete_set(&q);
    peer_stop(&q, false);
}

/* A volume that cannot be done fails the set, and nothing is left of the others (B-41). */
static void whole_set_or_nothing(void **state)
{
    (void)state;
    if (!given.shows_the_past || given.n == MAX_GIVEN)
        return; /* it makes nothing that could fail */
    struct given_volume *bad = &given.v[given.n];
    *bad = (struct given_volume){ .mount = "/nowhere-at-all", .fs_type = given.v[0].fs_type, .device = "/dev/none",
                                  .subvolume = "/nowhere-at-all", .absent = true };
    vb_strv_add(&bad->trees, "/nowhere-at-all/tree");
    for (size_t first = 0; first < 2; first++) { /* the bad one as the last, and as the first */
        struct peer p = PEER_INIT;
        enum vb_code c = VB_OK;
        peer_start(&p);
        peer_new_ids(&p);
        for (size_t i = 0; i <= given.n && c == VB_OK; i++) {
            size_t k = first ? given.n - i : i;
            char id[VB_GUID_LEN + 1];
            vb_guid_new(id);
            c = peer_call(&p, "begin_prepare", p.set, id, &given.v[k], NULL);
        }
        if (c == VB_OK)
            c = peer_step(&p, "end_prepare");
        assert_int_not_equal(c, VB_OK);
        assert_int_equal(peer_step(&p, "pre_commit"), VB_E_PROVIDER_VETO);
        assert_int_equal(peer_known(&p), 0);
        peer_stop(&p, false);
    }
    vb_strv_clear(&bad->trees);
}

/* The provider's own call, and nothing else: no file of the volume is opened, read or written in commit (S-39). */
static void commit_touches_no_file(void **state)
{
    struct peer p = PEER_INIT;
    unsigned touched = 0;
    char seen[256] = "";
    (void)state;
    if (given.v[0].per_tree || !given.shows_the_past)
        return; /* it copies files, or nothing */
    VB_AUTO_FD int fan = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
    if (fan < 0)
        CM_SKIP("no fanotify without root");
    peer_start(&p);
    make_set(&p, 2);
    for (size_t i = 0; i < given.n; i++)
        assert_int_equal(fanotify_mark(fan, FAN_MARK_ADD | FAN_MARK_MOUNT,
                                       FAN_OPEN | FAN_ACCESS | FAN_MODIFY | FAN_ONDIR | FAN_EVENT_ON_CHILD, AT_FDCWD,
                                       given.v[i].mount), 0);
    must(&p, peer_step(&p, "commit"), "commit");
    for (;;) {
        _Alignas(struct fanotify_event_metadata) char buf[8192];
        ssize_t n = read(fan, buf, sizeof buf);
        if (n <= 0)
            break;
        for (struct fanotify_event_metadata *e = (void *)buf; FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n)) {
            char link[64], path[256] = "";
            snprintf(link, sizeof link, "/proc/self/fd/%d", e->fd);
            if (e->fd >= 0 && readlink(link, path, sizeof path - 1) > 0 && e->pid == p.pid && !strstr(path, "/.vbackup/")) {
                touched++;
                memcpy(seen, path, sizeof seen);
            }
            if (e->fd >= 0)
                close(e->fd);
        }
    }
    must(&p, peer_step(&p, "abort"), "abort");
    peer_stop(&p, false);
    if (touched)
        fail_msg("%u accesses in commit, one of them to '%s'", touched, seen);
}

/* A provider that breaks its promises (--fault): the set fails, and a fresh process finds and deletes what is left. */
static void broken_promises(void **state)
{
    struct peer p = PEER_INIT, q = PEER_INIT;
    enum vb_code c = VB_OK;
    (void)state;
    fill_volumes("before", false);
    peer_start(&p);
    peer_new_ids(&p);
    for (size_t i = 0; i < given.n && c == VB_OK; i++)
        c = peer_call(&p, "begin_prepare", p.set, p.snap[i], &given.v[i], NULL);
    for (size_t i = 0; i < N_STEPS && c == VB_OK; i++)
        c = peer_step(&p, STEPS[i]);
    for (size_t i = 0; i < given.n && c == VB_OK; i++)
        c = peer_call(&p, "snapshot_path", NULL, p.snap[i], NULL, given.v[i].trees.v[0]);
    assert_int_not_equal(c, VB_OK);
    peer_stop(&p, false);
    peer_start(&q);
    peer_delete_known(&q);
    peer_stop(&q, false);
}

/* What a capture will see is what is there, to the last attribute. */
static void nothing_is_lost(void **state)
{
    struct peer p = PEER_INIT;
    int status;
    (void)state;
    if (!given.compare)
        return;
    peer_start(&p);
    make_set(&p, N_STEPS);
    for (size_t i = 0; i < given.n; i++)
        for (size_t k = 0; k < given.v[i].trees.n; k++) {
            VB_AUTO_FREE char *at = peer_path(&p, i, given.v[i].trees.v[k]);
            pid_t pid = fork();
            if (pid == 0) {
                execl("/bin/sh", "sh", "-c", given.compare, "sh", given.v[i].trees.v[k], at, (char *)NULL);
                _exit(127);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            if (status != 0)
                fail_msg("the shadow copy of '%s' differs", given.v[i].trees.v[k]);
        }
    peer_delete_set(&p);
    peer_stop(&p, false);
}

static void unknown_calls_and_shadow_copies(void **state)
{
    struct peer p = PEER_INIT;
    (void)state;
    peer_start(&p);
    peer_new_ids(&p);
    assert_int_equal(peer_call(&p, "make_coffee", p.set, NULL, NULL, NULL), VB_E_NOT_SUPPORTED);
    assert_int_not_equal(peer_call(&p, "begin_prepare", p.set, p.snap[0], NULL, NULL), VB_OK);
    assert_int_not_equal(peer_call(&p, "begin_prepare", p.set, "../../etc/passwd", &given.v[0], NULL), VB_OK);
    if (given.keeps_records)
        assert_int_equal(peer_call(&p, "snapshot_path", NULL, p.snap[0], NULL, given.v[0].trees.v[0]),
                         VB_E_OBJECT_NOT_FOUND);
    must(&p, peer_call(&p, "delete", NULL, p.snap[0], NULL, NULL), "delete of one that never was");
    peer_stop(&p, false);
}

/* ---- around each test ---- */

static char *before;

static int remember(void **state)
{
    (void)state;
    before = watched();
    return 0;
}

/* Nothing is left on the volumes, in the state directory, or wherever else the provider keeps things. */
static int compare(void **state)
{
    int rc = 0;
    (void)state;
    for (size_t i = 0; i < given.n; i++) {
        int fd = open(given.v[i].mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        VB_AUTO_FREE char *place = vb_path_join(given.v[i].mount, ".vbackup");
        if (fd >= 0 && given.v[i].hold == VB_HOLD_FREEZE && !given.pretend_freeze)
            ioctl(fd, FITHAW, 0);
        if (fd >= 0)
            close(fd);
        if (access(place, F_OK) == 0) {
            print_error("'%s' is left\n", place);
            rc = -1;
        }
    }
    VB_AUTO_FREE char *now = watched();
    if (strcmp(now, before) != 0) {
        print_error("something is left: before\n%safter\n%s", before, now);
        rc = -1;
    }
    vb_free_ptr(&before);
    return rc;
}

#define PROMISE(text, fn) { text, fn, remember, compare, NULL }

static const struct vb_provider *load(const char *file, const char *name)
{
    VB_AUTO_FREE char *symbol = vb_printf("vb_provider_%s", name);
    void *h = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    const struct vb_provider *p = h ? dlsym(h, symbol) : NULL;
    if (!p)
        fprintf(stderr, "provider_contract: %s\n", dlerror());
    return p;
}

static int parse(int argc, char **argv)
{
    const char *module = NULL;
    struct given_volume *v = NULL;
    for (int i = 2; i < argc; i++) {
        const char *a = argv[i], *x = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(a, "--pretend-freeze") || !strcmp(a, "--original") || !strcmp(a, "--fault") ||
            !strcmp(a, "--quick")) {
            given.pretend_freeze = given.pretend_freeze || a[2] == 'p';
            given.original = given.original || a[2] == 'o';
            given.fault = given.fault || a[2] == 'f';
            given.quick = given.quick || a[2] == 'q';
            continue;
        }
        i++;
        if (!strcmp(a, "--volume") && given.n + 1 < MAX_GIVEN) {
            v = &given.v[given.n++];
            *v = (struct given_volume){ .mount = x, .subvolume = x, .device = "/dev/none", .fd = -1 };
        } else if (!strcmp(a, "--type") && v)
            v->fs_type = x;
        else if (!strcmp(a, "--device") && v)
            v->device = x;
        else if (!strcmp(a, "--subvolume") && v)
            v->subvolume = x;
        else if (!strcmp(a, "--tree") && v)
            vb_strv_add(&v->trees, x);
        else if (!strcmp(a, "--also") && v)
            vb_strv_add(&v->also, x);
        else if (!strcmp(a, "--module"))
            module = x;
        else if (!strcmp(a, "--watch"))
            given.watch = x;
        else if (!strcmp(a, "--compare"))
            given.compare = x;
        else if (!strcmp(a, "-o") && given.n_options < VB_COUNT(given.options))
            given.options[given.n_options++] = x;
        else
            return -1;
    }
    given.p = module ? load(module, argv[1]) : vb_provider_find(argv[1]);
    if (!given.n)
        given.v[given.n++] = (struct given_volume){ .mount = given.temp, .subvolume = given.temp, .fs_type = "any",
                                                    .device = "/dev/none" };
    for (size_t i = 0; i < given.n; i++)
        if (!given.v[i].trees.n)
            vb_strv_take(&given.v[i].trees, vb_path_join(given.v[i].mount, "tree"));
    return given.p ? 0 : -1;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    given.temp = vb_strdup("/tmp/vb-contract-XXXXXX");
    if (argc < 2 || !mkdtemp(given.temp) || parse(argc, argv) < 0) {
        fprintf(stderr, "usage: see the head of tests/contract/provider_contract.c\n");
        return 2;
    }
    bool live = !strcmp(given.p->name, "live");
    given.keeps_records = !live;
    given.shows_the_past = !live && strcmp(given.p->name, "null") != 0 && !given.original;
    given.state = vb_path_join(given.temp, "state");
    fill_volumes("start", false);
    const struct CMUnitTest tests[] = {
        PROMISE("supports says what the instant is worth", supports_says_what_it_is_worth),
        PROMISE("VSS-S-30 what cannot be done is refused with a reason", supports_refuses_with_a_reason),
        PROMISE("VSS-S-45 the whole sequence shows the instant, and delete ends it (S-23)", whole_sequence),
        PROMISE("the shadow copy shows every attribute of the originals", nothing_is_lost),
        PROMISE("VSS-S-12 writable between pre-final and post-final commit only (S-11)", recovery),
        PROMISE("VSS-S-67 another process sweeps what a dead one left", another_process_sweeps),
        PROMISE("VSS-S-67 and what one left that died inside a call", killed_in_the_middle),
        PROMISE("VSS-S-33 a call out of order is a veto and drops the set", order_is_kept),
        PROMISE("VSS-S-33 another set id is a veto", another_set_id_is_a_veto),
        PROMISE("VSS-S-32 a new set drops the old one", new_set_drops_the_old),
        PROMISE("abort at any time leaves nothing", abort_any_time),
        PROMISE("VSS-S-34 abort after created is ignored", abort_after_created_is_ignored),
        PROMISE("VSS-S-35 unload during creation counts as abort", end_of_file),
        PROMISE("VSS-B-41 the whole set or nothing", whole_set_or_nothing),
        PROMISE("VSS-S-39 commit touches no file of the volume", commit_touches_no_file),
        PROMISE("unknown calls and shadow copies", unknown_calls_and_shadow_copies),
    };
    const struct CMUnitTest faults[] = { PROMISE("a provider that breaks its promises leaves nothing", broken_promises) };
    const struct CMUnitTest quick[] = { tests[0], tests[2], tests[3] };
    int rc = given.quick ? cmocka_run_group_tests_name(given.p->name, quick, NULL, NULL)
             : given.fault ? cmocka_run_group_tests_name(given.p->name, faults, NULL, NULL)
                           : cmocka_run_group_tests_name(given.p->name, tests, NULL, NULL);
    vb_remove_tree_at(AT_FDCWD, given.temp, NULL);
    vb_free_ptr(&given.temp);
    vb_free_ptr(&given.state);
    for (size_t i = 0; i < given.n; i++) {
        vb_strv_clear(&given.v[i].trees);
        vb_strv_clear(&given.v[i].also);
    }
    return rc;
}
