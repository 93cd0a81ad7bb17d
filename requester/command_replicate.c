/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup replicate: a scope to other directories and hosts, one way or both. */
#include <config.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "replica/scan.h"
#include "requester/replica_ext.h"
#include "requester/replica_jobs.h"
#include "requester/replicate.h"

struct run {
    struct vb_cli *cli;
    struct vb_place *p;
    const char *target;
    char *scope;       /* that the target is, if it is a directory; owned */
    struct vb_pass_options o;
    bool two_way, skip_missing;
    struct vb_ext_run *ext;
    struct vb_replica_peer *peer;
    enum vb_exit status;
    unsigned jobs;
    bool watching;     /* what needed nothing is not told */
    enum vb_code code;
    bool locked;
    size_t index;
};

/* Connections that may have to be cut. */
static pthread_mutex_t cutting = PTHREAD_MUTEX_INITIALIZER;
static struct run *active;
static size_t n_active;
static bool is_cut;

void vb_replicate_cut(void)
{
    pthread_mutex_lock(&cutting);
    is_cut = true;
    for (size_t i = 0; i < n_active; i++)
        if (active[i].peer)
            vb_replica_peer_cut(active[i].peer);
    pthread_mutex_unlock(&cutting);
}

static void warn(void *arg, const struct vb_error *what)
{
    const struct run *r = arg;
    VB_AUTO_FREE char *text = vb_escape_terminal(vb_error_text(what), strlen(vb_error_text(what)));
    if (r->cli->quiet)
        return;
    vb_replica_print_begin();
    fprintf(stderr, "vbackup: %s%s%s\n", r->target ? r->target : "", r->target ? ": " : "", text);
    vb_replica_print_end();
}

static void scan_warn(void *arg, const struct vb_error *what)
{
    warn(arg, what);
}

static int parse_options(struct run *r, struct vb_error *err)
{
    static const char *const policies[] = { "both", "newer", "source", "target", "defer" };
    struct vb_cli *cli = r->cli;
    const char *allow = vb_cli_opt(cli, "allow-deletes"), *conflict = vb_cli_opt(cli, "conflict");
    r->o = (struct vb_pass_options)VB_PASS_OPTIONS_INIT;
    const char *jobs = vb_cli_opt(cli, "jobs");
    r->two_way = vb_cli_flag(cli, "two-way");
    r->jobs = VB_REPLICA_JOBS;
    if (jobs && (!vb_parse_u32(jobs, &r->jobs) || !r->jobs))
        return vb_fail(err, VB_E_USAGE, "--jobs: '%s' is not a number of targets", jobs);
    r->o.dry_run = vb_cli_flag(cli, "dry-run");
    r->o.full = vb_cli_flag(cli, "full");
    r->o.exact = vb_cli_flag(cli, "exact");
    r->skip_missing = vb_cli_flag(cli, "skip-missing-writers");
    r->o.warn = warn;
    r->o.arg = r;
    if (allow && !strcmp(allow, "all"))
        r->o.allow_deletes = VB_DELETES_ALL;
    else if (allow && !vb_parse_u64(allow, &r->o.allow_deletes))
        return vb_fail(err, VB_E_USAGE, "--allow-deletes: '%s' is neither a number nor all", allow);
    for (size_t i = 0; conflict && i < VB_COUNT(policies); i++)
        if (!strcmp(conflict, policies[i]))
            r->o.policy = (int)i;
    if (conflict && r->o.policy < 0)
        return vb_fail(err, VB_E_USAGE, "--conflict: '%s' is none of both, newer, source, target, defer", conflict);
    if (r->o.exact && r->two_way)
        return vb_fail(err, VB_E_USAGE, "--exact makes one side the master: it cannot be --two-way");
    return 0;
}

static void tell(const struct run *r, bool push, const struct vb_pass_result *x)
{
    const char *would = r->o.dry_run ? "would be " : "";
    VB_CLEANUP(vb_strv_clear) struct vb_strv writers = { NULL, 0, 0 };
    if (push)
        vb_ext_run_carried(r->ext, r->index, &writers);
    if (r->cli->json) {
        json_t *o = vb_cli_message("replicate");
        json_object_set_new(o, "target", vb_cli_text(r->target));
        json_object_set_new(o, "direction", json_string(push ? "out" : "in"));
        json_object_set_new(o, "dry_run", json_boolean(r->o.dry_run));
        const struct { const char *name; uint64_t v; } counts[] = {
            { "created", x->created }, { "changed", x->changed }, { "deleted", x->deleted }, { "renamed", x->renamed },
            { "converged", x->converged }, { "conflicts", x->conflicts }, { "copies", x->copies }, { "deferred", x->deferred },
            { "failed", x->failed }, { "left_out", x->left_out }, { "extra", x->extra }, { "bytes", x->bytes } };
        for (size_t i = 0; i < VB_COUNT(counts); i++)
            json_object_set_new(o, counts[i].name, json_integer((json_int_t)counts[i].v));
        json_t *list = json_array();
        for (size_t i = 0; i < writers.n; i++)
            json_array_append_new(list, vb_cli_text(writers.v[i]));
        json_object_set_new(o, "writers", list);
        vb_cli_json(o);
        return;
    }
    if (r->cli->quiet)
        return;
    VB_AUTO_FREE char *bytes = vb_size_human(x->bytes);
    printf("%s%s: %s", r->target, push ? "" : " (from there)", vb_pass_quiet(x) ? "nothing to do" : "");
    if (!vb_pass_quiet(x))
        printf("%s%llu created, %llu changed, %llu deleted (%llu of them renamed), %s sent", would, (unsigned long long)x->created,
               (unsigned long long)x->changed, (unsigned long long)x->deleted, (unsigned long long)x->renamed, bytes);
    if (x->conflicts)
        printf("; conflicts: %llu", (unsigned long long)x->conflicts);
    if (x->deferred)
        printf("; left to decide: %llu", (unsigned long long)x->deferred);
    if (x->failed)
        printf("; not this time: %llu", (unsigned long long)x->failed);
    if (x->extra && !r->two_way)
        printf("; extra: %llu", (unsigned long long)x->extra);
    for (size_t i = 0; i < writers.n; i++)
        printf("%s%s", i ? ", " : r->o.dry_run ? "; writers that would be carried over: " : "; writers carried over: ", writers.v[i]);
    printf("\n");
}

static enum vb_exit exit_of(const struct vb_pass_result *x)
{
    enum vb_exit e = x->failed ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
    return x->deferred ? vb_exit_worse(e, VB_EXIT_CONFLICTS) : e;
}

static struct vb_replica_peer *open_peer(void *arg, struct vb_error *err)
{
    struct run *r = arg;
    if (r->peer)
        return r->peer;
    struct vb_replica_peer *peer = is_cut ? NULL : vb_replica_peer_reach(r->cli, r->target, r->scope, r->p, err);
    pthread_mutex_lock(&cutting);
    r->peer = peer;
    if (peer && is_cut)
        vb_replica_peer_cut(peer);
    pthread_mutex_unlock(&cutting);
    if (!peer && is_cut)
        vb_fail(err, VB_E_CANCELLED, "ended");
    return peer;
}

static int passes(void *arg, struct vb_error *err)
{
    struct run *r = arg;
    struct vb_pass_result x;
    if (!open_peer(r, err))
        return -1;
    for (int i = 0; i < 1 + r->two_way; i++) {
        if (vb_replica_peer_pass(r->peer, r->p, i == 0, &r->o, &x, err) < 0)
            return -1;
        vb_replica_print_begin();
        if (!r->watching || !vb_pass_quiet(&x))
            tell(r, i == 0, &x);
        fflush(stdout);
        vb_replica_print_end();
        r->status = vb_exit_worse(r->status, exit_of(&x));
    }
    return 0;
}

static enum vb_exit one_target(struct run *r)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_ext_target t = { .name = r->target, .open = open_peer, .core = passes, .warn = warn, .arg = r };
    r->status = VB_EXIT_DONE;
    r->code = VB_OK;
    if (vb_ext_run_target(r->ext, r->index, &t, &err) < 0) {
        r->code = err.code;
        r->locked = err.code == VB_E_BUSY && strstr(vb_error_text(&err), "is locked") != NULL;
        if (!r->peer)
            vb_pass_note(r->p, VB_SIDE_EXPORT, &r->o, NULL, NULL, &err);
        if (!strstr(vb_error_text(&err), r->target))
            vb_context(&err, "%s", r->target);
        vb_replica_print_begin();
        r->status = is_cut ? VB_EXIT_FAILED : (enum vb_exit)vb_cli_fail(r->cli, &err);
        vb_replica_print_end();
    }
    pthread_mutex_lock(&cutting);
    struct vb_replica_peer *peer = r->peer;
    r->peer = NULL;
    pthread_mutex_unlock(&cutting);
    vb_replica_peer_close(peer);
    return r->status;
}

/* In a thread of its own, with a connection of its own to the store. */
static void one_job(void *arg, size_t i)
{
    struct run *r = (struct run *)arg + i;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_place *whole = r->p, *mine = NULL;
    if (r->status != VB_EXIT_DONE || vb_ext_run_failed(r->ext)) /* it was told before */
        return;
    if (r->jobs > 1 && vb_place_share(whole, &mine, &err) < 0) {
        vb_replica_print_begin();
        r->status = (enum vb_exit)vb_cli_fail(r->cli, &err);
        vb_replica_print_end();
        return;
    }
    if (mine)
        r->p = mine;
    r->status = one_target(r);
    r->p = whole;
    vb_place_close(mine);
}

static enum vb_exit all_targets(const struct run *like, size_t n, struct vb_replicate_each *each)
{
    struct run *v = vb_alloc_n(n, sizeof *v);
    enum vb_exit status = VB_EXIT_DONE;
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) { /* directories become scopes one by one: each looks through the others */
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        v[i] = *like;
        v[i].o.arg = &v[i];
        v[i].index = i;
        v[i].target = v[i].o.peer = like->cli->argv[i + 1];
        if (each && each[i].skip) {
            v[i].status = VB_EXIT_CONFLICTS; /* not DONE: it is passed over */
            continue;
        }
        if (n == 1 || like->two_way) /* what comes in changes what the next one gets */
            v[i].jobs = 1;
        if (vb_replica_peer_scope(like->cli, v[i].target, like->p, &v[i].scope, &err) < 0) {
            v[i].code = err.code;
            v[i].status = (enum vb_exit)vb_cli_fail(like->cli, &err);
        }
    }
    pthread_mutex_lock(&cutting);
    active = v;
    n_active = n;
    pthread_mutex_unlock(&cutting);
    vb_replica_jobs(n, n == 1 || like->two_way ? 1 : like->jobs, one_job, v);
    pthread_mutex_lock(&cutting);
    active = NULL;
    n_active = 0;
    pthread_mutex_unlock(&cutting);
    for (size_t i = 0; i < n && each; i++)
        each[i] = (struct vb_replicate_each){ each[i].skip, v[i].code, v[i].locked };
    for (size_t i = 0; i < n; i++) {
        enum vb_exit e = v[i].status;
        bool ended = e != VB_EXIT_DONE && e != VB_EXIT_CONFLICTS && e != VB_EXIT_PARTIAL;
        failed += ended;
        /* One of several that failed is a part; the only one, or all, is what it is. */
        status = vb_exit_worse(status, ended && n > 1 ? VB_EXIT_PARTIAL : e);
        if (failed == n)
            status = vb_exit_worse(status, e);
        vb_free_ptr(&v[i].scope);
    }
    free(v);
    return status;
}

int vb_replicate_round(struct vb_cli *cli, struct vb_replicate_round *round, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct run r = { .cli = cli, .watching = true };
    struct vb_place *opened = NULL;
    struct vb_scan_result scan;
    const struct vb_scan_options so = { .tell = scan_warn, .arg = &r };
    size_t n = (size_t)cli->argc - 1;
    if (parse_options(&r, err) < 0 || vb_place_open(&setup, cli->argv[0], &opened, err) < 0)
        return -1;
    VB_AUTO_PLACE *p = opened;
    r.p = p;
    r.o.quick = round->paths && !r.o.exact;
    round->schedule = (struct vb_schedule){ p->set.interval_s, p->set.pulse, p->set.guard_s, p->set.random_s };
    round->whole = p->set.integrity == VB_INTEGRITY_TREE;
    if (!*round->tree && vb_tree_watch_open(p, round->tree, &why) < 0)
        warn(&r, &why);
    bool some = round->paths && p->scope.trusted;
    if ((some ? vb_scan_some(p, round->paths, &scan, err) : vb_scan(p, &so, &scan, err)) < 0 ||
        (!some && vb_scan_quiet(p, &scan, scan.now_ns, &round->wait_ms, err) < 0))
        return -1;
    round->tick = vb_replica_tick(p->store);
    const struct vb_ext_run_options eo = { .n_targets = n, .skip_missing = r.skip_missing, .warn = warn, .arg = &r };
    if (vb_ext_run_open(cli, p, &eo, &r.ext, err) < 0)
        return -1;
    all_targets(&r, n, round->each);
    vb_ext_run_close(r.ext);
    return 0;
}

static int run_replicate(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct run r = { .cli = cli };
    if (vb_cli_flag(cli, "watch")) {
        if (vb_cli_flag(cli, "dry-run") || vb_cli_flag(cli, "full") || vb_cli_opt(cli, "allow-deletes")) {
            vb_fail(&err, VB_E_USAGE, "--watch goes on by itself: no --dry-run, --full or --allow-deletes with it");
            return vb_cli_fail(cli, &err);
        }
        return vb_replicate_watch(cli);
    }
    struct vb_place *opened = NULL;
    struct vb_scan_result scan;
    const struct vb_scan_options so = { .tell = scan_warn, .arg = &r };
    if (parse_options(&r, &err) < 0 || vb_place_open(&setup, cli->argv[0], &opened, &err) < 0)
        return vb_cli_fail(cli, &err);
    VB_AUTO_PLACE *p = opened;
    r.p = p;
    if (vb_scan(p, &so, &scan, &err) < 0)
        return vb_cli_fail(cli, &err);
    if (vb_scan_quiet(p, &scan, scan.now_ns, NULL, &err) < 0)
        return vb_cli_fail(cli, &err);
    enum vb_exit status = scan.errors || scan.unstable ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
    size_t n = (size_t)cli->argc - 1;
    const struct vb_ext_run_options eo = { .n_targets = n, .skip_missing = r.skip_missing, .dry_run = r.o.dry_run, .warn = warn, .arg = &r };
    if (vb_ext_run_open(cli, p, &eo, &r.ext, &err) < 0)
        return vb_cli_fail(cli, &err);
    status = vb_exit_worse(status, all_targets(&r, n, NULL));
    if (vb_ext_run_failed(r.ext)) /* the source's failure is that of all, and told once (IIS-24) */
        status = VB_EXIT_FAILED;
    vb_ext_run_close(r.ext);
    return (int)status;
}

static const struct vb_opt opts[] = {
    { "two-way", 0, NULL, "then what changed there comes here" },
    { "exact", 0, NULL, "what is only there goes to its trash, what differs becomes ours" },
    { "conflict", 0, "POLICY", "both, newer, source, target, defer: instead of the scope's" },
    { "allow-deletes", 0, "N|all", "let this many deletions pass the guard" },
    { "full", 0, NULL, "compare everything: for a target that was away too long" },
    { "skip-missing-writers", 0, NULL, "leave out writers of the scope that a target does not have" },
    { "watch", 'w', NULL, "go on: send what changes as it changes, until ended" },
    { "jobs", 'j', "N", "targets at the same time (4)" },
    { "dry-run", 'n', NULL, "say what would be done" },
    { NULL, 0, NULL, NULL }
};

const struct vb_cli_verb vb_verb_replicate = { "replicate", "NAME TARGET...", "bring other directories or hosts up to date with a scope",
                                               opts, 2, -1, run_replicate };
