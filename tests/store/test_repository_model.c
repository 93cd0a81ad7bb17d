/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_model.c - random clients on one repository: backups, forgetting, calling back, prunes,
 * checks and restores, with clocks that jump, machines that sleep, and deaths in the middle.
 *
 * Every client is a thread that runs only when it is given the turn, and gives it back before every call of the backend:
 * so a seed says which calls come in which order.  At the end all that was reported as done, and not forgotten, is there
 * exactly, and the check finds no damage.
 *
 *     VBACKUP_MODEL_SEED=N     one run only
 *     VBACKUP_MODEL_SECONDS=N  for so long (default 8)
 *     VBACKUP_MODEL_DIR=1      in a directory, not in memory
 */
#include <config.h>
#include "tests/cm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "store/repository_internal.h"
#include "tests/base/scratch.h"
#include "tests/store/fixture.h"

#define CLIENTS 4
#define BACKUPS 64
#define HOUR ((uint64_t)3600 * 1000)

static const struct fixture_size size = { 2, 2, 900 };

struct world;

struct client {
    struct world *world;
    unsigned number;
    pthread_t thread;
    struct vb_rng rng;
    bool ended, dead;
    uint64_t wakes;       /* at that step */
    uint64_t dies;        /* at that call; 0: not */
    uint64_t calls, budget; /* made, and that it may make before the others' turn */
    int64_t clock;        /* how wrong it is */
    bool pruning;
    const char *does;     /* for messages */
};

enum fate { NONE, RUNNING, DONE, UNKNOWN };

/* A backup that somebody has begun. */
struct made {
    char id[VB_GUID_LEN + 1];
    enum fate fate;
    bool forgotten; /* somebody has begun to */
};

struct world {
    pthread_mutex_t lock;
    pthread_cond_t turn_changed;
    int turn; /* client; -1: the director */
    struct client clients[CLIENTS];
    struct vb_backend *files;
    char *dir; /* where they are; NULL: in memory */
    uint64_t now, step;
    uint64_t lease_ms;
    struct made made[BACKUPS];
    size_t n_made;
    unsigned tasks; /* still to be done */
    unsigned failed_backups, busy_prunes, prunes, restores, deaths, removed, checks, copies;
    char *trouble;
};

static void trouble(struct world *w, const char *what, const struct vb_error *err)
{
    if (!w->trouble)
        w->trouble = vb_printf("%s: %s", what, err ? vb_error_text(err) : "");
}

/* One more handle on the same files. */
static struct vb_backend *another(struct world *w)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_backend *b = w->dir ? vb_backend_dir_open(w->dir, false, &err) : vb_backend_memory_share(w->files);
    if (!b) {
        fprintf(stderr, "%s\n", vb_error_text(&err));
        abort();
    }
    return b;
}

/* ---- turns ---- */

static void give(struct world *w, int to)
{
    pthread_mutex_lock(&w->lock);
    w->turn = to;
    pthread_cond_broadcast(&w->turn_changed);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for(struct world *w, int who)
{
    pthread_mutex_lock(&w->lock);
    while (w->turn != who)
        pthread_cond_wait(&w->turn_changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

/* ---- the backend of a client ---- */

struct turns {
    struct vb_backend b;
    struct vb_backend *inner;
    struct client *client;
};

static struct turns *self(struct vb_backend *b)
{
    return (struct turns *)b;
}

/* Lets the others go first; -1: this client has died meanwhile. */
static int pause_here(struct vb_backend *b, struct vb_error *err)
{
    struct client *c = self(b)->client;
    if (c->budget > 0) {
        c->budget--;
    } else if (!c->dead) {
        give(c->world, -1);
        wait_for(c->world, (int)c->number);
    }
    if (c->dies && ++c->calls >= c->dies && !c->dead) {
        c->dead = true;
        c->world->deaths++;
    }
    return c->dead ? vb_fail(err, VB_E_IO, "died") : 0;
}

static int turns_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                      struct vb_error *err)
{
    return pause_here(b, err) < 0 ? -1 : self(b)->inner->ops->read(self(b)->inner, name, offset, len, out, err);
}

static int turns_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    return pause_here(b, err) < 0 ? -1 : self(b)->inner->ops->write(self(b)->inner, name, p, n, err);
}

struct hide {
    vb_backend_list_fn *fn;
    void *arg;
    struct client *client;
};

/* A listing that is not complete: whoever removes things must notice. */
static int hide_some(void *arg, const char *name, uint64_t bytes, struct vb_error *err)
{
    struct hide *h = arg;
    return vb_rng_chance(&h->client->rng, 30) ? 0 : h->fn(h->arg, name, bytes, err);
}

static int turns_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err)
{
    struct client *c = self(b)->client;
    struct hide h = { fn, arg, c };
    if (pause_here(b, err) < 0)
        return -1;
    bool lossy = c->pruning && (strcmp(prefix, "catalog/") == 0 || strcmp(prefix, "ledger/") == 0);
    return self(b)->inner->ops->list(self(b)->inner, prefix, lossy ? hide_some : fn, lossy ? (void *)&h : arg, err);
}

static int turns_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    return pause_here(b, err) < 0 ? -1 : self(b)->inner->ops->remove(self(b)->inner, name, err);
}

static int turns_size(struct vb_backend *b, const char *name, uint64_t *n, struct vb_error *err)
{
    return pause_here(b, err) < 0 ? -1 : self(b)->inner->ops->size(self(b)->inner, name, n, err);
}

static int turns_barrier(struct vb_backend *b, struct vb_error *err)
{
    return pause_here(b, err) < 0 ? -1 : self(b)->inner->ops->barrier(self(b)->inner, err);
}

static int turns_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    return self(b)->inner->ops->lock(self(b)->inner, holder, err);
}

static void turns_unlock(struct vb_backend *b)
{
    self(b)->inner->ops->unlock(self(b)->inner);
}

static void turns_close(struct vb_backend *b)
{
    vb_backend_close(self(b)->inner);
    free(b->location);
    free(b);
}

static const struct vb_backend_ops turns_ops = {
    .kind = "turns", .read = turns_read, .write = turns_write, .list = turns_list, .remove = turns_remove,
    .size = turns_size, .barrier = turns_barrier, .lock = turns_lock, .unlock = turns_unlock, .close = turns_close,
};

static struct vb_repo *open_as(struct client *c, enum vb_repo_mode mode, struct vb_error *err)
{
    struct turns *t = vb_alloc(sizeof *t);
    t->b.ops = &turns_ops;
    t->b.location = vb_strdup("turns");
    t->inner = another(c->world);
    t->client = c;
    return fixture_open(&t->b, mode, err);
}

/* ---- what clients do ---- */

static uint64_t clock_of(const struct client *c)
{
    return (uint64_t)((int64_t)c->world->now + c->clock);
}

/* From few seeds, so that much of it is there already, or was. */
static void do_backup(struct client *c)
{
    struct world *w = c->world;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (w->n_made == BACKUPS)
        return;
    struct made *m = &w->made[w->n_made++];
    uint64_t seed = 1 + vb_rng_below(&c->rng, 4);
    m->fate = RUNNING;
    struct vb_repo *r = open_as(c, VB_REPO_WRITE, &err);
    int result = r ? vb_repo_lock(r, clock_of(c), &err) : -1;
    if (result == 0 && vb_rng_chance(&c->rng, 300))
        vb_repo_renew(r, clock_of(c), NULL);
    if (result == 0)
        result = fixture_backup(r, seed, size, m->id, &err);
    m->fate = result == 0 ? DONE : UNKNOWN;
    vb_repo_close(r);
    if (result == 0 || c->dead)
        return;
    /* Only a session whose lease was taken to be dead may find that something has gone. */
    w->failed_backups++;
    if (err.code != VB_E_NOT_FOUND || w->lease_ms > 1000 * HOUR)
        trouble(w, "backup", &err);
}

static struct made *pick(struct client *c)
{
    struct world *w = c->world;
    struct made *m = w->n_made ? &w->made[vb_rng_below(&c->rng, w->n_made)] : NULL;
    return m && m->fate == DONE ? m : NULL;
}

static void do_forget(struct client *c)
{
    struct world *w = c->world;
    struct made *m = pick(c);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (!m || m->forgotten)
        return;
    m->forgotten = true;
    struct vb_repo *r = open_as(c, VB_REPO_WRITE, &err);
    struct vb_catalog_entry *e = r ? vb_repo_find(r, m->id, NULL, &err) : NULL;
    int result = e ? vb_repo_lock(r, clock_of(c), &err) : -1;
    if (result == 0)
        result = vb_repo_forget(r, e, clock_of(c), "model", &err);
    bool back = result == 0 && vb_rng_chance(&c->rng, 250);
    /* called back: it counts again, unless a prune was quicker */
    if (back && (result = vb_repo_unforget(r, m->id, &err)) == 0)
        m->forgotten = false;
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    if (result < 0 && !c->dead && !(back && err.code == VB_E_NOT_FOUND))
        trouble(w, "forget", &err);
}

static void do_prune(struct client *c)
{
    struct world *w = c->world;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_prune_result res = { 0 };
    struct vb_prune_params p = { .wall_ms = clock_of(c), .lease_ms = w->lease_ms };
    p.delay_ms = vb_rng_chance(&c->rng, 900) ? 0 : vb_rng_below(&c->rng, 3 * HOUR);
    struct vb_repo *r = open_as(c, VB_REPO_WRITE, &err);
    int result = r ? vb_repo_lock(r, clock_of(c), &err) : -1;
    c->pruning = vb_rng_chance(&c->rng, 300);
    if (result == 0)
        result = vb_repo_prune(r, &p, &res, &err);
    bool lossy = c->pruning;
    c->pruning = false;
    vb_repo_close(r);
    w->prunes++;
    w->removed += (unsigned)res.removed_packs;
    w->busy_prunes += result < 0;
    if (result < 0 && !c->dead && err.code != VB_E_BUSY && !(lossy && err.code == VB_E_CORRUPT))
        trouble(w, "prune", &err);
}

static void do_restore(struct client *c)
{
    struct world *w = c->world;
    struct made *m = pick(c);
    if (!m || m->forgotten)
        return;
    w->restores++;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = open_as(c, VB_REPO_READ, &err);
    int result = r ? fixture_verify(r, m->id, size, &err) : -1;
    vb_repo_close(r);
    /* Prunes without any delay move things from under it: it finds them again. */
    if (result < 0 && !c->dead && !m->forgotten)
        trouble(w, "restore", &err);
}

/* Whatever the others do, nothing is damaged. */
static void do_check(struct client *c)
{
    struct world *w = c->world;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = open_as(c, VB_REPO_READ, &err);
    int result = r ? vb_repo_check(r, vb_rng_chance(&c->rng, 500), NULL, NULL, &err) : -1;
    vb_repo_close(r);
    w->checks++;
    if (result < 0 && !c->dead && err.code != VB_E_BUSY)
        trouble(w, "check", &err);
}

static const char *one_group(void *arg, const char *host)
{
    (void)arg;
    return host;
}

/* Into a repository of its own: what is copied comes back. */
static void do_copy(struct client *c)
{
    struct world *w = c->world;
    struct made *m = pick(c);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (!m || m->forgotten)
        return;
    struct vb_backend *there = vb_backend_memory_new();
    if (fixture_init(there, &err) < 0)
        trouble(w, "init of a second one", &err);
    struct vb_repo *from = open_as(c, VB_REPO_READ, &err);
    struct vb_repo *to = from ? fixture_open(vb_backend_memory_share(there), VB_REPO_WRITE, &err) : NULL;
    struct vb_catalog_entry *e = to ? vb_repo_find(from, m->id, NULL, &err) : NULL;
    struct vb_copy *copy = to ? vb_copy_new(from, to) : NULL;
    int result = e && vb_repo_lock(to, clock_of(c), &err) == 0 ? vb_copy_backup(copy, e, one_group, NULL, NULL, &err) : -1;
    if (result == 0)
        result = fixture_verify(to, m->id, size, &err);
    w->copies++;
    if (result < 0 && !c->dead && !m->forgotten)
        trouble(w, "copy", &err);
    vb_copy_free(copy);
    vb_catalog_entry_free(e);
    vb_repo_close(from);
    vb_repo_close(to);
    vb_backend_close(there);
}

static void *live(void *arg)
{
    struct client *c = arg;
    struct world *w = c->world;
    wait_for(w, (int)c->number);
    while (w->tasks > 0 && !w->trouble) {
        w->tasks--;
        c->dead = false;
        c->calls = 0;
        c->dies = w->lease_ms < 1000 * HOUR && vb_rng_chance(&c->rng, 120) ? 1 + vb_rng_below(&c->rng, 60) : 0;
        if (vb_rng_chance(&c->rng, 40))
            c->clock = (int64_t)vb_rng_below(&c->rng, 400 * HOUR) - (int64_t)(200 * HOUR);
        uint64_t what = vb_rng_below(&c->rng, 100);
        if (what < 38)
            do_backup(c);
        else if (what < 60)
            do_forget(c);
        else if (what < 90)
            do_prune(c);
        else if (what < 96)
            do_restore(c);
        else if (what < 98)
            do_check(c);
        else
            do_copy(c);
    }
    c->ended = true;
    give(w, -1);
    return NULL;
}

/* ---- the director ---- */

/* Somebody who is awake, or else whoever wakes first. */
static int choose(struct world *w, struct vb_rng *rng)
{
    int awake[CLIENTS], n = 0, first = -1;
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *c = &w->clients[i];
        if (c->ended)
            continue;
        if (c->wakes <= w->step)
            awake[n++] = i;
        if (first < 0 || c->wakes < w->clients[first].wakes)
            first = i;
    }
    return n ? awake[vb_rng_below(rng, (uint64_t)n)] : first;
}

static void direct(struct world *w, struct vb_rng *rng)
{
    int who;
    while ((who = choose(w, rng)) >= 0) {
        struct client *c = &w->clients[who];
        w->step++;
        w->now += vb_rng_below(rng, 10000);
        if (vb_rng_chance(rng, 60))
            w->now += vb_rng_below(rng, 30 * HOUR);
        if (vb_rng_chance(rng, 60)) { /* the lid is closed */
            c->wakes = w->step + 10 + vb_rng_below(rng, vb_rng_chance(rng, 300) ? 400 : 60);
            continue;
        }
        c->wakes = 0;
        c->budget = vb_rng_chance(rng, 500) ? vb_rng_below(rng, 6) : vb_rng_below(rng, 90);
        give(w, who);
        wait_for(w, -1);
    }
}

static bool is_listed(struct vb_repo *r, const char *id)
{
    struct vb_catalog_entry *e = vb_repo_find(r, id, NULL, NULL);
    vb_catalog_entry_free(e);
    return e != NULL;
}

/* Everything that was promised, by somebody who comes later. */
static void judge(struct world *w)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned n = 0, fewest = 0;
    struct vb_repo *r = fixture_open(another(w), VB_REPO_READ, &err);
    if (!r || fixture_verify_all(r, size, &n, &err) != 0)
        trouble(w, "at the end", &err);
    for (size_t i = 0; i < w->n_made && !w->trouble; i++) {
        if (w->made[i].fate != DONE || w->made[i].forgotten)
            continue;
        fewest++;
        if (!is_listed(r, w->made[i].id))
            trouble(w, "a backup that was reported is not there", NULL);
    }
    if (!w->trouble && n < fewest)
        trouble(w, "backups are missing", NULL);
    if (!w->trouble && vb_repo_check(r, true, NULL, NULL, &err) != 0)
        trouble(w, "check at the end", &err);
    vb_repo_close(r);
    /* And a backup, and two prunes on top. */
    for (int i = 0; i < 2 && !w->trouble; i++) {
        struct vb_prune_result res;
        struct vb_prune_params p = { .wall_ms = w->now + (uint64_t)(i + 1) * 9000 * HOUR, .lease_ms = HOUR };
        r = fixture_open(another(w), VB_REPO_WRITE, &err);
        if (!r || vb_repo_lock(r, w->now, &err) < 0 || fixture_backup(r, 3, size, NULL, &err) < 0 ||
            vb_repo_prune(r, &p, &res, &err) < 0)
            trouble(w, "afterwards", &err);
        vb_repo_close(r);
    }
    r = w->trouble ? NULL : fixture_open(another(w), VB_REPO_READ, &err);
    if (r && (fixture_verify_all(r, size, &n, &err) != 0 || vb_repo_check(r, true, NULL, NULL, &err) != 0))
        trouble(w, "after all", &err);
    vb_repo_close(r);
}

struct totals {
    unsigned long runs, backups, failed, prunes, busy, restores, deaths, removed, checks, copies;
};

/* NULL, or what went wrong; caller frees. */
static char *run(uint64_t seed, struct totals *t)
{
    struct world *w = vb_alloc(sizeof *w);
    struct vb_rng rng;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_rng_seed(&rng, seed);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turn_changed, NULL);
    w->turn = -1;
    w->now = FIXTURE_NOW;
    w->lease_ms = seed % 2 ? 5 * HOUR : 1000000 * HOUR;
    w->tasks = 30 + (unsigned)vb_rng_below(&rng, 30);
    if (getenv("VBACKUP_MODEL_DIR")) {
        w->dir = vb_printf("%s/%llu", scratch_path, (unsigned long long)seed);
        w->files = vb_backend_dir_open(w->dir, true, &err);
    } else {
        w->files = vb_backend_memory_new();
    }
    if (fixture_init(w->files, &err) < 0)
        trouble(w, "init", &err);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        c->world = w;
        c->number = i;
        vb_rng_seed(&c->rng, seed * 31 + i);
        pthread_create(&c->thread, NULL, live, c);
    }
    direct(w, &rng);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(w->clients[i].thread, NULL);
    if (!w->trouble)
        judge(w);
    t->runs++;
    for (size_t i = 0; i < w->n_made; i++)
        t->backups += w->made[i].fate == DONE;
    t->failed += w->failed_backups;
    t->prunes += w->prunes;
    t->busy += w->busy_prunes;
    t->restores += w->restores;
    t->deaths += w->deaths;
    t->removed += w->removed;
    t->checks += w->checks;
    t->copies += w->copies;
    char *what = w->trouble;
    vb_backend_close(w->files);
    if (w->dir)
        vb_remove_tree_at(AT_FDCWD, w->dir, NULL);
    free(w->dir);
    pthread_cond_destroy(&w->turn_changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return what;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v ? strtoull(v, NULL, 10) : otherwise;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void what_was_reported_is_there_whatever_the_others_do(void **state)
{
    (void)state;
    struct totals t = { 0 };
    uint64_t one = env_number("VBACKUP_MODEL_SEED", 0);
    double until = seconds() + (double)env_number("VBACKUP_MODEL_SECONDS", 8);
    for (uint64_t seed = one ? one : 1; one ? seed == one : t.runs < 20 || seconds() < until; seed++) {
        VB_AUTO_FREE char *what = run(seed, &t);
        if (what)
            fail_msg("seed %llu: %s", (unsigned long long)seed, what);
    }
    printf("# %lu runs: %lu backups, %lu more that found their lease lapsed and something gone; %lu prunes, %lu of them too "
           "late, removed %lu packs; %lu restores; %lu checks; %lu copies; %lu deaths\n", t.runs, t.backups, t.failed, t.prunes, t.busy, t.removed,
           t.restores, t.checks, t.copies, t.deaths);
    if (one)
        return;
    assert_true(t.backups > t.runs * 5 && t.failed * 10 < t.backups);
    assert_true(t.removed > t.runs && t.busy * 3 < t.prunes * 2);
}

/* The test of the test: without any one of the checks something goes wrong soon. */
static void every_check_is_needed(void **state)
{
    (void)state;
#ifndef VB_FAULT_POINTS
    CM_SKIP("built without --enable-fault-points");
#else
    if (!getenv("VBACKUP_TEST_LONG") || getenv("VBACKUP_MODEL_DIR"))
        CM_SKIP("with VBACKUP_TEST_LONG only: takes minutes");
    for (int check = 1; check <= VB_REPO_CHECKS; check++) {
        struct totals t = { 0 };
        char *what = NULL;
        uint64_t seed = 0;
        vb_repo_unchecked = check;
        while (!what && seed < 3000)
            what = run(++seed, &t);
        vb_repo_unchecked = 0;
        fflush(stdout);
        printf("# without check %d: seed %llu: %s\n", check, (unsigned long long)seed, what ? what : "not found");
        if (!what)
            fail_msg("nothing goes wrong without check %d", check);
        free(what);
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_reported_is_there_whatever_the_others_do, scratch_start, scratch_end),
        cmocka_unit_test_setup_teardown(every_check_is_needed, scratch_start, scratch_end),
    };
    return CM_RUN("repository_model", tests);
}
