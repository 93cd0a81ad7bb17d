/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup status: what each scope is in step with, and what holds it up. */
#include <config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "replica/apply.h"
#include "replica/role.h"
#include "replica/schedule.h"
#include "requester/replica_peer.h"

struct one {
    struct vb_cli *cli;
    struct vb_place *p;
    json_t *links, *conflicts;  /* with --json */
    uint64_t n_conflicts;
    enum vb_exit status;
    bool locked_in, locked_out;
    struct vb_error *err;
};

static const char *const sides[] = { "", "out", "in" };

static void add_time(json_t *o, const char *name, int64_t s)
{
    VB_AUTO_FREE char *iso = s > 0 ? vb_time_iso((uint64_t)s * 1000) : NULL;
    json_object_set_new(o, name, iso ? json_string(iso) : json_null());
}

static char *when(int64_t s)
{
    return s > 0 ? vb_time_iso((uint64_t)s * 1000) : vb_strdup("never");
}

/* ---- links ---- */

/* How many items the peer lacks, as of the last scan; false: it never said what it knows. */
static bool backlog(struct one *x, const struct vb_link *l, uint64_t *n)
{
    VB_AUTO_KNOWLEDGE *k = *l->peer ? vb_replica_knowledge(x->p->store, x->p->scope.id, l->peer, NULL, NULL) : NULL;
    return k && !vb_knowledge_is_empty(k) && vb_replica_lag(x->p->store, x->p->scope.id, k, n, NULL) == 0;
}

static int one_link(void *arg, const struct vb_link *l)
{
    struct one *x = arg;
    uint64_t lag = 0;
    bool out = l->side == VB_SIDE_EXPORT, known = out && backlog(x, l, &lag), locked = out ? x->locked_out : x->locked_in;
    enum vb_import_reason reason = locked ? VB_REASON_LOCKED : vb_import_reason_of(l->code);
    enum vb_import_state state = l->done_s == 0 ? VB_IMPORT_NEVER : l->code != VB_OK || locked ? VB_IMPORT_NO_SYNC : VB_IMPORT_OK;
    const char *word = l->code != VB_OK && reason == VB_REASON_NONE ? vb_code_name(l->code) : vb_import_reason_word(reason);
    if (l->code != VB_OK)
        x->status = vb_exit_worse(x->status, l->code == VB_E_STALE ? VB_EXIT_STALE : VB_EXIT_BUSY);
    if (!x->cli->json) {
        VB_AUTO_FREE char *name = vb_escape_terminal(l->name, strlen(l->name));
        VB_AUTO_FREE char *done = when(l->done_s);
        printf("  %-3s %-24s %s%s%s; last success %s", sides[l->side], name, vb_import_state_word(state), *word ? ": " : "", word, done);
        if (known && lag)
            printf("; %llu items to go", (unsigned long long)lag);
        else if (known && l->code == VB_OK && !l->failed && !l->deferred)
            printf("; complete");
        if (l->failed)
            printf("; %llu not the last time", (unsigned long long)l->failed);
        printf("\n");
        VB_AUTO_FREE char *text = vb_escape_terminal(l->text, strlen(l->text));
        if (*text)
            printf("      %s\n", text);
        return 0;
    }
    json_t *o = json_object();
    json_object_set_new(o, "direction", json_string(sides[l->side]));
    json_object_set_new(o, "peer", vb_cli_text(l->name));
    json_object_set_new(o, "replica", *l->peer ? json_string(l->peer) : json_null());
    json_object_set_new(o, "state", json_string(vb_import_state_word(state)));
    json_object_set_new(o, "reason", *word ? json_string(word) : json_null());
    json_object_set_new(o, "text", *l->text ? vb_cli_text(l->text) : json_null());
    add_time(o, "last_try", l->tried_s);
    add_time(o, "last_success", l->done_s);
    json_object_set_new(o, "backlog", known ? json_integer((json_int_t)lag) : json_null());
    json_object_set_new(o, "deferred", json_integer((json_int_t)l->deferred));
    json_object_set_new(o, "failed", json_integer((json_int_t)l->failed));
    json_array_append_new(x->links, o);
    return 0;
}

/* ---- conflicts ---- */

static int one_conflict(void *arg, const struct vb_held *h)
{
    static const char *const choices[] = { "", "mine", "theirs", "both" };
    struct one *x = arg;
    const char *choice = choices[(unsigned)h->choice % VB_COUNT(choices)];
    x->n_conflicts++;
    x->status = vb_exit_worse(x->status, VB_EXIT_CONFLICTS);
    if (!x->cli->json) {
        VB_AUTO_FREE char *path = vb_escape_terminal(h->path, strlen(h->path));
        VB_AUTO_FREE char *time = when(h->mtime_ns / 1000000000);
        VB_AUTO_FREE char *since = when(h->since_s);
        printf("  conflict since %s: %s; %.8s %s", since, path, h->peer, h->deleted ? "deleted it" : "has that of ");
        printf("%s%s%s\n", h->deleted ? "" : time, *choice ? "; to keep with the next pass: " : "", choice);
        return 0;
    }
    json_t *o = json_object();
    json_object_set_new(o, "path", vb_cli_text(h->path));
    json_object_set_new(o, "replica", json_string(h->peer));
    add_time(o, "since", h->since_s);
    json_object_set_new(o, "deleted", json_boolean(h->deleted));
    json_object_set_new(o, "size", json_integer((json_int_t)h->size));
    add_time(o, "mtime", h->mtime_ns / 1000000000);
    json_object_set_new(o, "keep", *choice ? json_string(choice) : json_null());
    json_array_append_new(x->conflicts, o);
    return 0;
}

/* ---- a scope ---- */

struct facts {
    uint64_t live, dead, trash_files, trash_bytes;
    unsigned in, out;
    int64_t in_since, out_since;
    char *offline; /* why; NULL: it is there */
};

static int learn(struct one *x, struct facts *f, struct vb_error *err)
{
    struct vb_place *p = x->p;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_replica_count(p->store, p->scope.id, &f->live, &f->dead, err) < 0 ||
        vb_replica_locks(p->store, p->scope.id, VB_SIDE_EXPORT, &f->out, &f->out_since, err) < 0 ||
        vb_replica_locks(p->store, p->scope.id, VB_SIDE_IMPORT, &f->in, &f->in_since, err) < 0)
        return -1;
    x->locked_in = f->in > 0;
    x->locked_out = f->out > 0;
    if (vb_place_look(p, &why) < 0)
        f->offline = vb_strdup(vb_error_text(&why));
    else if (p->own >= 0 && vb_trash_size(p, &f->trash_files, &f->trash_bytes, err) < 0)
        return -1;
    if (f->offline || f->in || f->out)
        x->status = vb_exit_worse(x->status, VB_EXIT_BUSY);
    return 0;
}

static json_t *lock_json(unsigned n, int64_t since)
{
    json_t *o = json_object();
    json_object_set_new(o, "count", json_integer((json_int_t)n));
    add_time(o, "since", since);
    return o;
}

static int one_lock(void *arg, int64_t since, const char *by, const char *reason)
{
    VB_AUTO_FREE char *iso = when(since);
    VB_AUTO_FREE char *who = vb_escape_terminal(by, strlen(by));
    VB_AUTO_FREE char *why = vb_escape_terminal(reason, strlen(reason));
    printf("  locked (%s) since %s by %s%s%s\n", (const char *)arg, iso, *who ? who : "?", *why ? ": " : "", why);
    return 0;
}

static int show_text(struct one *x, const struct facts *f)
{
    struct vb_place *p = x->p;
    VB_AUTO_FREE char *root = vb_escape_terminal(p->scope.root, strlen(p->scope.root));
    VB_AUTO_FREE char *bytes = vb_size_human(f->trash_bytes);
    printf("%s: %s; %llu items", p->scope.name, root, (unsigned long long)f->live);
    if (f->trash_files)
        printf("; trash: %llu files, %s", (unsigned long long)f->trash_files, bytes);
    printf("\n");
    if (f->offline) {
        VB_AUTO_FREE char *why = vb_escape_terminal(f->offline, strlen(f->offline));
        printf("  offline: %s\n", why);
    }
    char in[] = "in", out[] = "out";
    if (vb_replica_each_lock(p->store, p->scope.id, VB_SIDE_EXPORT, one_lock, out, x->err) < 0 ||
        vb_replica_each_lock(p->store, p->scope.id, VB_SIDE_IMPORT, one_lock, in, x->err) < 0 ||
        vb_replica_each_link(p->store, p->scope.id, one_link, x, x->err) < 0)
        return -1;
    return vb_replica_each_conflict(p->store, p->scope.id, NULL, one_conflict, x, x->err);
}

static int show_json(struct one *x, const struct facts *f)
{
    struct vb_place *p = x->p;
    x->links = json_array();
    x->conflicts = json_array();
    int result = vb_replica_each_link(p->store, p->scope.id, one_link, x, x->err) < 0 ||
                 vb_replica_each_conflict(p->store, p->scope.id, NULL, one_conflict, x, x->err) < 0 ? -1 : 0;
    json_t *o = vb_cli_message("status"), *trash = json_object();
    json_object_set_new(trash, "files", json_integer((json_int_t)f->trash_files));
    json_object_set_new(trash, "bytes", json_integer((json_int_t)f->trash_bytes));
    json_object_set_new(o, "scope", vb_cli_text(p->scope.name));
    json_object_set_new(o, "guid", json_string(p->scope.guid));
    json_object_set_new(o, "root", vb_cli_text(p->scope.root));
    json_object_set_new(o, "role", json_string(vb_role_word(vb_place_role(p))));
    json_object_set_new(o, "offline", f->offline ? vb_cli_text(f->offline) : json_null());
    json_object_set_new(o, "items", json_integer((json_int_t)f->live));
    json_object_set_new(o, "tombstones", json_integer((json_int_t)f->dead));
    json_object_set_new(o, "locks_out", lock_json(f->out, f->out_since));
    json_object_set_new(o, "locks_in", lock_json(f->in, f->in_since));
    json_object_set_new(o, "trash", trash);
    json_object_set_new(o, "links", x->links);
    json_object_set_new(o, "conflicts", x->conflicts);
    if (result == 0)
        vb_cli_json(o);
    else
        json_decref(o);
    return result;
}

static int run_status(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct vb_strv names = { NULL, 0, 0 };
    enum vb_exit status = VB_EXIT_DONE;
    if (cli->argc)
        vb_strv_add(&names, cli->argv[0]);
    else if (vb_place_list(&setup, &names, &err) < 0)
        return vb_cli_fail(cli, &err);
    for (size_t i = 0; i < names.n; i++) {
        struct one x = { .cli = cli, .err = &err };
        struct facts f = { .offline = NULL };
        if (vb_replica_open_patiently(&setup, names.v[i], &x.p, &err) < 0 || learn(&x, &f, &err) < 0 ||
            (cli->json ? show_json(&x, &f) : show_text(&x, &f)) < 0)
            x.status = vb_exit_worse(x.status, (enum vb_exit)vb_cli_fail(cli, &err));
        status = vb_exit_worse(status, x.status);
        vb_error_clear(&err);
        vb_free_ptr(&f.offline);
        vb_place_close(x.p);
    }
    vb_strv_clear(&names);
    return (int)status;
}

static const struct vb_opt no_opts[] = { { NULL, 0, NULL, NULL } };

const struct vb_cli_verb vb_verb_status = { "status", "[NAME]", "what scopes are in step with, and what holds them up", no_opts, 0, 1, run_status };
