/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup scope add, set, rm, list, serve; lock, unlock: trees that are replicated, and how. */
#include <config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/loop.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/ext_talk.h"
#include "replica/role.h"
#include "replica/schedule.h"
#include "requester/replica_peer.h"

#define PATIENCE 50 /* tenths of a second */

static const char *const policies[] = { "both", "newer", "source", "target", "defer" };

#define SETTING_OPTS                                                                                                     \
    { "role", 0, "export|import|both", "whether it may be read, written, or both (the default) by other replicas" },        \
    { "integrity", 0, "file|tree", "tree: nothing travels before all of it was quiet for the guard time" },             \
    { "extent", 0, "tree|top", "top: only what lies in the root itself" },                                              \
    { "interval", 0, "TIME", "between passes and notices of --watch; 1s to 1d" },                                       \
    { "pulse", 0, "N", "so many intervals of silence before a source is asked" },                                       \
    { "guard", 0, "TIME", "how long a tree with tree integrity must be quiet; at most half the interval" },             \
    { "random", 0, "TIME", "targets wait up to this before they pull" },                                                \
    { "conflict", 0, "POLICY", "both (keep the loser as a copy), newer, source, target, defer" },                       \
    { "exact", 0, "yes|no", "as a target: what the source does not have goes to the trash" },                           \
    { "owners", 0, "yes|no", "owners, set-id bits and devices, too (as root; alike on all sides)" },                    \
    { "deletes", 0, "yes|no", "no: deletions are not passed on" },                                                      \
    { "trash-keep", 0, "TIME", "how long what was overwritten or deleted is kept (30d)" },                              \
    { "writer", 0, "NAME", "this writer's application is kept alike, too; may be repeated, 'none' takes all away" },     \
    { "writer-limit", 0, "TIME", "how long one call of a writer may take (10m)" },                                       \
    { "tombstone-keep", 0, "TIME", "how long deletions are remembered (180d)" },                                            \
    { "exclude", 'e', "PATTERN", "leave out; may be repeated; replaces the patterns there were" }

static const struct vb_opt add_opts[] = {
    SETTING_OPTS,
    { "join", 0, "GUID", "take part in this scope of other hosts (scope list shows it)" },
    { NULL, 0, NULL, NULL }
};
static const struct vb_opt set_opts[] = { SETTING_OPTS, { NULL, 0, NULL, NULL } };

/* ---- settings ---- */

static int yes_no(struct vb_cli *cli, const char *name, bool *v, struct vb_error *err)
{
    const char *text = vb_cli_opt(cli, name);
    return !text || vb_parse_bool(text, v) ? 0 : vb_fail(err, VB_E_USAGE, "--%s: '%s' is neither yes nor no", name, text);
}

static int seconds(struct vb_cli *cli, const char *name, uint32_t *v, struct vb_error *err)
{
    const char *text = vb_cli_opt(cli, name);
    uint64_t ms;
    if (!text)
        return 0;
    if (!vb_parse_duration_ms(text, &ms) || ms % 1000 || ms / 1000 > UINT32_MAX)
        return vb_fail(err, VB_E_USAGE, "--%s: '%s' is not a time of whole seconds", name, text);
    *v = (uint32_t)(ms / 1000);
    return 0;
}

static int one_of(struct vb_cli *cli, const char *name, const char *const *words, size_t n, int first, int *v, struct vb_error *err)
{
    const char *text = vb_cli_opt(cli, name);
    for (size_t i = 0; text && i < n; i++)
        if (!strcmp(text, words[i])) {
            *v = first + (int)i;
            return 0;
        }
    return text ? vb_fail(err, VB_E_USAGE, "--%s: '%s' is not one of its values", name, text) : 0;
}

static int apply_options(struct vb_cli *cli, struct vb_scope_settings *s, struct vb_error *err)
{
    static const char *const integrity[] = { "file", "tree" }, *const extent[] = { "top", "tree" };
    int i = (int)s->integrity, e = (int)s->extent;
    const char **patterns = NULL;
    const char *pulse = vb_cli_opt(cli, "pulse");
    size_t n = vb_cli_list(cli, "exclude", &patterns);
    VB_AUTO_BUF rules = VB_BUF_INIT;
    if (n) {
        for (size_t k = 0; k < n; k++)
            vb_buf_addf(&rules, "pattern:%s\n", patterns[k]);
        free(s->filter);
        s->filter = vb_buf_take_str(&rules);
    }
    free(patterns);
    if (pulse && !vb_parse_u32(pulse, &s->pulse))
        return vb_fail(err, VB_E_USAGE, "--pulse: '%s' is not a number", pulse);
    if (one_of(cli, "integrity", integrity, 2, VB_INTEGRITY_FILE, &i, err) < 0 || one_of(cli, "extent", extent, 2, VB_EXTENT_FILE, &e, err) < 0 ||
        one_of(cli, "conflict", policies, VB_COUNT(policies), 0, &s->policy, err) < 0 || seconds(cli, "interval", &s->interval_s, err) < 0 ||
        seconds(cli, "guard", &s->guard_s, err) < 0 || seconds(cli, "random", &s->random_s, err) < 0 ||
        seconds(cli, "trash-keep", &s->trash_keep_s, err) < 0 || yes_no(cli, "exact", &s->exact, err) < 0 ||
        yes_no(cli, "owners", &s->owners, err) < 0 || yes_no(cli, "deletes", &s->deletes, err) < 0)
        return -1;
    s->integrity = (enum vb_integrity)i;
    s->extent = (enum vb_extent)e;
    const struct vb_schedule times = { s->interval_s, s->pulse, s->guard_s, s->random_s };
    return vb_schedule_check(&times, NULL, err);
}

/* What is kept beside the settings. */
struct extra {
    enum vb_replica_role role; /* 0: not given */
    uint32_t tombstone_keep_s; /* 0: not given */
};

static int extra_options(struct vb_cli *cli, struct extra *x, struct vb_error *err)
{
    static const char *const roles[] = { "export", "import", "both" };
    int v = 0;
    x->tombstone_keep_s = 0;
    if (one_of(cli, "role", roles, 3, VB_ROLE_EXPORT, &v, err) < 0 || seconds(cli, "tombstone-keep", &x->tombstone_keep_s, err) < 0)
        return -1;
    x->role = (enum vb_replica_role)v;
    return 0;
}

/* Within a transaction. */
static int apply_writers(struct vb_cli *cli, struct vb_place *p, struct vb_error *err)
{
    VB_CLEANUP(vb_strv_clear) struct vb_strv names = { NULL, 0, 0 };
    VB_AUTO_FREE const char **given = NULL;
    const char *text = vb_cli_opt(cli, "writer-limit");
    size_t n = vb_cli_list(cli, "writer", &given);
    uint64_t limit;
    if (vb_place_writers(p, &names, &limit, err) < 0)
        return -1;
    if (text && (!vb_parse_duration_ms(text, &limit) || limit == 0 || limit > 86400000))
        return vb_fail(err, VB_E_USAGE, "--writer-limit: '%s' is not a time between 1ms and 1d", text);
    if (n)
        vb_strv_clear(&names);
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(given[i], "none"))
            continue;
        if (!vb_config_find(cli->settings.config, "writer", given[i])) {
            vb_fail(err, VB_E_CONFIG, "--writer: the configuration has no section [writer %s]", given[i]);
            vb_hint(err, "'vbackup writers' shows what there is; see vbackup.conf(5)");
            return -1;
        }
        if (!vb_strv_has(&names, given[i]))
            vb_strv_add(&names, given[i]);
    }
    return n || text ? vb_place_set_writers(p, &names, limit, err) : 0;
}

static int save_settings(struct vb_cli *cli, struct vb_place *p, const struct extra *x, struct vb_error *err)
{
    if (vb_replica_begin(p->store, err) < 0)
        return -1;
    if (vb_replica_scope_set(p->store, p->scope.id, &p->set, err) < 0 || (x->role && vb_place_set_role(p, x->role, err) < 0) ||
        (x->tombstone_keep_s && vb_place_set_tombstone_keep(p, x->tombstone_keep_s, err) < 0) ||
        apply_writers(cli, p, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, err);
}

/* ---- verbs ---- */

static void over(void *arg)
{
    vb_loop_stop(arg, 0);
}

int vb_replica_open_patiently(const struct vb_place_setup *setup, const char *name, struct vb_place **out,
                              struct vb_error *err)
{
    struct vb_loop *l = vb_loop_new();
    int result = vb_place_open_store(setup, name, out, err);
    for (int i = 0; result < 0 && err->code == VB_E_BUSY && i < PATIENCE; i++) {
        vb_loop_after(l, 100, over, l);
        vb_loop_run(l);
        vb_error_clear(err);
        result = vb_place_open_store(setup, name, out, err);
    }
    vb_loop_free(l);
    return result;
}

static int run_add(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct vb_scope_settings s = vb_scope_defaults();
    const char *join = vb_cli_opt(cli, "join");
    VB_AUTO_FREE char *root = realpath(cli->argv[1], NULL);
    int result = !root ? vb_fail(&err, VB_E_NOT_FOUND, "'%s' is not a directory here", cli->argv[1])
                 : join && !vb_guid_valid(join) ? vb_fail(&err, VB_E_USAGE, "--join: '%s' is not the identity of a scope", join)
                                                : apply_options(cli, &s, &err);
    struct extra x = { .tombstone_keep_s = 0 };
    if (result == 0)
        result = extra_options(cli, &x, &err);
    if (result == 0)
        result = vb_place_add(&setup, cli->argv[0], root, join, false, &s, &err);
    vb_scope_settings_clear(&s);
    if (result == 0 && (x.role || x.tombstone_keep_s || vb_cli_opt(cli, "writer") || vb_cli_opt(cli, "writer-limit"))) {
        struct vb_place *p = NULL;
        result = vb_replica_open_patiently(&setup, cli->argv[0], &p, &err) < 0 ? -1 : save_settings(cli, p, &x, &err);
        vb_place_close(p);
        if (result < 0)
            vb_place_drop(&setup, cli->argv[0], NULL);
    }
    if (result < 0)
        return vb_cli_fail(cli, &err);
    if (!cli->quiet && !cli->json)
        printf("scope '%s' is '%s'\n", cli->argv[0], root);
    return VB_EXIT_DONE;
}

static int run_set(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct vb_place *opened = NULL;
    if (vb_replica_open_patiently(&setup, cli->argv[0], &opened, &err) < 0)
        return vb_cli_fail(cli, &err);
    VB_AUTO_PLACE *p = opened;
    struct extra x;
    return apply_options(cli, &p->set, &err) < 0 || extra_options(cli, &x, &err) < 0 || save_settings(cli, p, &x, &err) < 0
               ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static int run_rm(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    return vb_place_drop(&setup, cli->argv[0], &err) < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static json_t *locks_json(struct vb_place *p, enum vb_side side)
{
    unsigned n = 0;
    int64_t since = 0;
    json_t *o = json_object();
    vb_replica_locks(p->store, p->scope.id, side, &n, &since, NULL);
    json_object_set_new(o, "count", json_integer((json_int_t)n));
    json_object_set_new(o, "since", json_integer((json_int_t)since));
    return o;
}

static int show(struct vb_cli *cli, struct vb_place *p, struct vb_error *err)
{
    uint64_t live, dead;
    unsigned out = 0, in = 0;
    int64_t since;
    const struct vb_scope_settings *s = &p->set;
    VB_CLEANUP(vb_strv_clear) struct vb_strv writers = { NULL, 0, 0 };
    uint64_t limit;
    if (vb_place_writers(p, &writers, &limit, err) < 0 || vb_replica_count(p->store, p->scope.id, &live, &dead, err) < 0 ||
        vb_replica_locks(p->store, p->scope.id, VB_SIDE_EXPORT, &out, &since, err) < 0 ||
        vb_replica_locks(p->store, p->scope.id, VB_SIDE_IMPORT, &in, &since, err) < 0)
        return -1;
    if (!cli->json) {
        VB_AUTO_FREE char *root = vb_escape_terminal(p->scope.root, strlen(p->scope.root));
        printf("%-16s %s  %s\n  %llu items, %llu tombstones; integrity %s, extent %s, conflict %s%s%s%s\n", p->scope.name, p->scope.guid,
               root, (unsigned long long)live, (unsigned long long)dead, s->integrity == VB_INTEGRITY_TREE ? "tree" : "file",
               s->extent == VB_EXTENT_TREE ? "tree" : "top", policies[(unsigned)s->policy % VB_COUNT(policies)], s->exact ? ", exact" : "",
               s->owners ? ", owners" : "", s->deletes ? "" : ", deletions are not passed on");
        if (vb_place_role(p) != VB_ROLE_BOTH)
            printf("  role %s\n", vb_role_word(vb_place_role(p)));
        if (out || in)
            printf("  locked: %u out, %u in\n", out, in);
        for (size_t i = 0; i < writers.n; i++)
            printf("%s%s%s", i ? ", " : "  writers: ", writers.v[i], i + 1 == writers.n ? "\n" : "");
        return 0;
    }
    json_t *o = vb_cli_message("scope");
    json_object_set_new(o, "name", vb_cli_text(p->scope.name));
    json_object_set_new(o, "guid", json_string(p->scope.guid));
    json_object_set_new(o, "root", vb_cli_text(p->scope.root));
    json_object_set_new(o, "items", json_integer((json_int_t)live));
    json_object_set_new(o, "tombstones", json_integer((json_int_t)dead));
    json_object_set_new(o, "integrity", json_string(s->integrity == VB_INTEGRITY_TREE ? "tree" : "file"));
    json_object_set_new(o, "extent", json_string(s->extent == VB_EXTENT_TREE ? "tree" : "top"));
    json_object_set_new(o, "conflict", json_string(policies[(unsigned)s->policy % VB_COUNT(policies)]));
    json_object_set_new(o, "role", json_string(vb_role_word(vb_place_role(p))));
    json_object_set_new(o, "interval_s", json_integer((json_int_t)s->interval_s));
    json_object_set_new(o, "pulse", json_integer((json_int_t)s->pulse));
    json_object_set_new(o, "guard_s", json_integer((json_int_t)s->guard_s));
    json_object_set_new(o, "random_s", json_integer((json_int_t)s->random_s));
    json_object_set_new(o, "trash_keep_s", json_integer((json_int_t)s->trash_keep_s));
    json_object_set_new(o, "tombstone_keep_s", json_integer((json_int_t)vb_place_tombstone_keep(p)));
    json_object_set_new(o, "exact", json_boolean(s->exact));
    json_object_set_new(o, "owners", json_boolean(s->owners));
    json_object_set_new(o, "deletes", json_boolean(s->deletes));
    json_t *list = json_array();
    for (size_t i = 0; i < writers.n; i++)
        json_array_append_new(list, vb_cli_text(writers.v[i]));
    json_object_set_new(o, "writers", list);
    json_object_set_new(o, "writer_limit_ms", json_integer((json_int_t)limit));
    json_object_set_new(o, "locks_out", locks_json(p, VB_SIDE_EXPORT));
    json_object_set_new(o, "locks_in", locks_json(p, VB_SIDE_IMPORT));
    vb_cli_json(o);
    return 0;
}

static int run_list(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct vb_strv names = { NULL, 0, 0 };
    enum vb_exit status = VB_EXIT_DONE;
    if (vb_place_list(&setup, &names, &err) < 0)
        return vb_cli_fail(cli, &err);
    for (size_t i = 0; i < names.n; i++) {
        struct vb_place *p = NULL;
        if (cli->argc && strcmp(cli->argv[0], names.v[i]) != 0)
            continue;
        if (vb_replica_open_patiently(&setup, names.v[i], &p, &err) < 0 || show(cli, p, &err) < 0)
            status = vb_exit_worse(status, (enum vb_exit)vb_cli_fail(cli, &err));
        vb_error_clear(&err);
        vb_place_close(p);
    }
    vb_strv_clear(&names);
    return (int)status;
}

static int run_serve(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    const char *roles = vb_cli_flag(cli, "read-only") ? "r" : vb_cli_flag(cli, "write-only") ? "w" : "rw";
    return vb_replica_serve(&setup, cli->argv[0], roles, STDIN_FILENO, STDOUT_FILENO, &err) < 0 ? (int)vb_code_exit(err.code) : VB_EXIT_DONE;
}

static int lock(struct vb_cli *cli, bool take)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    const char *reason = vb_cli_opt(cli, "reason"), *who = getenv("USER"), *side = vb_cli_opt(cli, "side");
    struct vb_place *opened = NULL;
    bool in = !side || !strcmp(side, "both") || !strcmp(side, "in"), out = !side || !strcmp(side, "both") || !strcmp(side, "out");
    if (!in && !out) {
        vb_fail(&err, VB_E_USAGE, "--side: '%s' is none of in, out, both", side);
        return vb_cli_fail(cli, &err);
    }
    if (vb_replica_open_patiently(&setup, cli->argv[0], &opened, &err) < 0)
        return vb_cli_fail(cli, &err);
    VB_AUTO_PLACE *p = opened;
    int result = vb_replica_begin(p->store, &err);
    for (int s = VB_SIDE_EXPORT; s <= VB_SIDE_IMPORT && result == 0; s++)
        if (s == VB_SIDE_EXPORT ? out : in)
            result = take ? vb_replica_lock(p->store, p->scope.id, (enum vb_side)s, who ? who : "", reason ? reason : "", &err)
                          : vb_replica_unlock(p->store, p->scope.id, (enum vb_side)s, vb_cli_flag(cli, "force"), &err);
    if (result == 0)
        result = vb_replica_commit(p->store, &err);
    return result < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static int run_lock(struct vb_cli *cli)
{
    return lock(cli, true);
}

static int run_unlock(struct vb_cli *cli)
{
    return lock(cli, false);
}

static const struct vb_opt no_opts[] = { { NULL, 0, NULL, NULL } };
static const struct vb_opt serve_opts[] = {
    { "read-only", 0, NULL, "it may be read, not written" },
    { "write-only", 0, NULL, "it may be written, not read" },
    { NULL, 0, NULL, NULL }
};
static const struct vb_opt lock_opts[] = {
    { "side", 0, "in|out|both", "what comes in, what goes out, or both (the default)" },
    { "reason", 0, "TEXT", "why, for those who see it" },
    { NULL, 0, NULL, NULL }
};
static const struct vb_opt unlock_opts[] = {
    { "side", 0, "in|out|both", "what comes in, what goes out, or both (the default)" },
    { "force", 0, NULL, "take all locks away, not only the latest" },
    { NULL, 0, NULL, NULL }
};

const struct vb_cli_verb vb_verb_scope_add = { "scope add", "NAME DIRECTORY", "register a tree to be replicated", add_opts, 2, 2, run_add };
const struct vb_cli_verb vb_verb_scope_set = { "scope set", "NAME", "change how a scope is replicated", set_opts, 1, 1, run_set };
const struct vb_cli_verb vb_verb_scope_rm = { "scope rm", "NAME", "forget a scope; its files stay", no_opts, 1, 1, run_rm };
const struct vb_cli_verb vb_verb_scope_list = { "scope list", "[NAME]", "scopes, their settings and locks", no_opts, 0, 1, run_list };
const struct vb_cli_verb vb_verb_scope_serve = { "scope serve", "NAME", "let another host replicate with a scope (its end of the connection)",
                                                 serve_opts, 1, 1, run_serve };
const struct vb_cli_verb vb_verb_lock = { "lock", "NAME", "hold a scope: nothing goes out or comes in", lock_opts, 1, 1, run_lock };
const struct vb_cli_verb vb_verb_unlock = { "unlock", "NAME", "take a lock of a scope away", unlock_opts, 1, 1, run_unlock };
