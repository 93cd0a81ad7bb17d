/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup forget, prune: backups that are not to be kept, and the room they take. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/text.h"
#include "requester/cli.h"
#include "requester/password.h"
#include "store/retention.h"

static struct vb_repo *open_write(struct vb_cli *cli, struct vb_error *err)
{
    const char *location = vb_cli_repository(cli, err);
    struct vb_repo *r =
        location ? vb_repo_open_auth(location, VB_REPO_WRITE, vb_settings_auth(&cli->settings), err) : NULL;
    if (r && vb_repo_may_remove(r, cli->verb->name, err) < 0) {
        vb_repo_close(r);
        return NULL;
    }
    return r;
}

static uint64_t wall_ms(void)
{
    struct vb_loop *loop = vb_loop_new();
    uint64_t now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    return now;
}

/* ---- forget ---- */

struct forget {
    struct vb_cli *cli;
    struct vb_repo *repo;
    const char *host;
    struct vb_catalog_entry **entries;
    struct vb_retention_item *items; /* of the same number */
    size_t n, cap, cap_items;
    struct vb_strv needed;           /* ids of backups on which others build that are none of this matter */
    size_t forgotten, kept, paused;
    uint64_t *held, *normal; /* sequence numbers */
    size_t n_held, cap_held, n_normal, cap_normal;
    struct vb_received *received;
    size_t n_received;
};

/* What was backed up, of which hosts: backups of the same are measured against one another.  What failed is not in a
 * backup that holds the rest: such a night is a set of its own, and pushes no whole one out. */
static char *set_of(const struct vb_catalog_entry *e)
{
    struct vb_strv parts = { 0 };
    VB_AUTO_BUF text = VB_BUF_INIT;
    for (size_t h = 0; h < e->n_hosts; h++) {
        vb_strv_add(&parts, e->hosts[h].name);
        for (size_t c = 0; c < e->hosts[h].n_components; c++) {
            const struct vb_catalog_component *k = &e->hosts[h].components[c];
            if (k->state == VB_CATALOG_FAILED && e->state != VB_CATALOG_FAILED)
                continue;
            vb_strv_take(&parts, vb_printf("%s/%s:%s\\%s", e->hosts[h].name, k->instance_name ? k->instance_name : "",
                                           k->logical_path ? k->logical_path : "", k->name ? k->name : ""));
            for (size_t i = 0; i < k->n_roots; i++)
                vb_strv_take(&parts, vb_printf("%s:%s", e->hosts[h].name, k->roots[i].path));
        }
    }
    vb_strv_sort(&parts);
    for (size_t i = 0; i < parts.n; i++)
        vb_buf_addf(&text, "%zu:%s\n", strlen(parts.v[i]), parts.v[i]);
    vb_strv_clear(&parts);
    return vb_buf_take_str(&text);
}

/* "full", "incremental" ...: only backups of the same are compared in size. */
static char *type_of(const struct vb_catalog_entry *e)
{
    struct vb_strv types = { 0 };
    VB_AUTO_BUF text = VB_BUF_INIT;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++) {
            const char *type = e->hosts[h].components[c].backup_type;
            if (type && !vb_strv_has(&types, type))
                vb_strv_add(&types, type);
        }
    vb_strv_sort(&types);
    for (size_t i = 0; i < types.n; i++)
        vb_buf_addf(&text, "%s\n", types.v[i]);
    vb_strv_clear(&types);
    return vb_buf_take_str(&text);
}

static bool is_among(const uint64_t *v, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        if (v[i] == number)
            return true;
    return false;
}

static int add_held(void *arg, uint64_t sequence, const char *id, uint64_t wall, const char *reason,
                    const struct vb_error *damage, struct vb_error *err)
{
    struct forget *f = arg;
    (void)id, (void)wall, (void)reason, (void)damage, (void)err; /* a mark that cannot be read holds as well */
    VB_GROW(f->held, f->n_held, f->cap_held);
    f->held[f->n_held++] = sequence;
    return 0;
}

static int add_normal(void *arg, uint64_t sequence, const char *id, uint64_t wall, const char *reason,
                      const struct vb_error *damage, struct vb_error *err)
{
    struct forget *f = arg;
    (void)id, (void)wall, (void)reason, (void)err;
    if (damage)
        return 0;
    VB_GROW(f->normal, f->n_normal, f->cap_normal);
    f->normal[f->n_normal++] = sequence;
    return 0;
}

static bool has_host(const struct vb_catalog_entry *e, const char *host)
{
    for (size_t i = 0; host && i < e->n_hosts; i++)
        if (strcmp(e->hosts[i].name, host) == 0)
            return true;
    return !host;
}

/* The backups that have to be restored before this one. */
static void add_bases(struct vb_strv *to, const struct vb_catalog_entry *e)
{
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++)
            if (e->hosts[h].components[c].base && !vb_strv_has(to, e->hosts[h].components[c].base))
                vb_strv_add(to, e->hosts[h].components[c].base);
}

static int take(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct forget *f = arg;
    (void)path, (void)damage; /* what cannot be read is neither counted nor forgotten */
    if (!*entry)
        return 0;
    if (!has_host(*entry, f->host)) {
        add_bases(&f->needed, *entry);
        return 0;
    }
    size_t at = f->n;
    VB_GROW(f->items, at, f->cap_items);
    VB_GROW(f->entries, f->n, f->cap);
    f->entries[f->n++] = VB_STEAL(*entry);
    const struct vb_catalog_entry *e = f->entries[at];
    f->items[at] = (struct vb_retention_item){ .sequence = e->sequence, .time_ms = e->finished_ms, .set = set_of(e),
                                               .usable = e->state != VB_CATALOG_FAILED, .type = type_of(e),
                                               .files = e->files, .bytes = e->bytes, .added_raw = e->added_raw,
                                               .added_stored = e->added_stored };
    return 0;
}

static void forget_clear(struct forget *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free((char *)(uintptr_t)f->items[i].set);
        free((char *)(uintptr_t)f->items[i].type);
        vb_catalog_entry_free(f->entries[i]);
    }
    free(f->items);
    free(f->entries);
    free(f->held);
    free(f->normal);
    free(f->received);
    vb_strv_clear(&f->needed);
}

#define NEEDED (1u << (VB_KEEP_RULES + 1))

/* A backup on which one that is kept builds is kept, too: without it that one could not be restored.  With a policy that
 * is a reason to keep it; what was named is refused.  The newest come first: bases are older. */
static int keep_bases(struct forget *f, bool named, struct vb_error *err)
{
    for (size_t i = f->n; i-- > 0;) { /* listed from the oldest on */
        bool needed = vb_strv_has(&f->needed, f->entries[i]->id);
        if (!f->items[i].kept && needed && named) {
            vb_fail(err, VB_E_GUARD, "%.8s is needed to restore a later backup that builds on it", f->entries[i]->id);
            vb_hint(err, "forget the later ones as well: 'vbackup show' says what a backup builds on");
            return -1;
        }
        if (!f->items[i].kept && needed) {
            f->items[i].kept = true;
            f->items[i].reasons = NEEDED;
        }
        if (f->items[i].kept)
            add_bases(&f->needed, f->entries[i]);
    }
    return 0;
}

static char *reasons_of(const struct vb_retention_item *it)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (int rule = 0; rule < VB_KEEP_RULES; rule++)
        if (it->reasons >> rule & 1)
            vb_buf_addf(&b, "%s%s", b.len ? ", " : "", vb_retention_rule_name((enum vb_retention_rule)rule));
    if (it->reasons & NEEDED)
        vb_buf_add_str(&b, "a later backup builds on it");
    if (it->held)
        vb_buf_addf(&b, "%sheld", b.len ? ", " : "");
    if (it->paused && !it->held)
        vb_buf_add_str(&b, "its set has changed suspiciously");
    if (!b.len && it->kept)
        vb_buf_add_str(&b, "newer than all usable ones");
    if (it->change)
        vb_buf_addf(&b, "; %s", vb_change_text(it->change));
    return vb_buf_take_str(&b);
}

static void tell(struct forget *f, size_t i, bool kept)
{
    const struct vb_catalog_entry *e = f->entries[i];
    VB_AUTO_FREE char *why = reasons_of(&f->items[i]);
    if (f->cli->json) {
        json_t *o = vb_cli_message(kept ? "keep" : "forget"), *list = json_array();
        json_object_set_new(o, "id", json_string(e->id));
        json_object_set_new(o, "sequence", json_integer((json_int_t)e->sequence));
        json_object_set_new(o, "finished_ms", json_integer((json_int_t)e->finished_ms));
        json_object_set_new(o, "state", json_string(vb_catalog_state_name(e->state)));
        for (int rule = 0; kept && rule < VB_KEEP_RULES; rule++)
            if (f->items[i].reasons >> rule & 1)
                json_array_append_new(list, json_string(vb_retention_rule_name((enum vb_retention_rule)rule)));
        if (kept && (f->items[i].reasons & NEEDED))
            json_array_append_new(list, json_string("needed"));
        if (kept && f->items[i].held)
            json_array_append_new(list, json_string("held"));
        if (kept && f->items[i].paused)
            json_array_append_new(list, json_string("paused"));
        json_object_set_new(o, "reasons", list);
        json_object_set_new(o, "change", f->items[i].change ? json_string(vb_change_text(f->items[i].change)) : json_null());
        vb_cli_json(o);
    } else if (!f->cli->quiet) {
        VB_AUTO_FREE char *when = vb_time_iso(e->finished_ms);
        printf("%-6s  %.8s  %s  %-8s  %s\n", kept ? "keep" : "forget", e->id, when, vb_catalog_state_name(e->state),
               kept ? why : "");
    }
}

static int policy_of(struct vb_cli *cli, struct vb_retention_policy *p, bool *given, struct vb_error *err)
{
    memset(p, 0, sizeof *p);
    *given = false;
    for (int rule = 0; rule < VB_KEEP_RULES; rule++) {
        VB_AUTO_FREE char *name = vb_printf("keep-%s", vb_retention_rule_name((enum vb_retention_rule)rule));
        const char *v = vb_cli_opt(cli, name);
        if (!v)
            continue;
        *given = true;
        if (!vb_parse_u32(v, &p->keep[rule]))
            return vb_fail(err, VB_E_USAGE, "--%s: '%s' is not a number", name, v);
    }
    return 0;
}

/* By id: kept is cleared for these only. The newest usable one of its kind is not meant by accident. */
static int choose_named(struct forget *f, struct vb_error *err)
{
    struct vb_retention_policy newest = { { [VB_KEEP_LAST] = 1 } };
    if (vb_retention_apply(&newest, f->items, f->n, err) < 0)
        return -1;
    for (int a = 0; a < f->cli->argc; a++) {
        struct vb_catalog_entry *e = vb_repo_find(f->repo, f->cli->argv[a], f->host, err);
        if (!e)
            return -1;
        for (size_t i = 0; i < f->n; i++) {
            if (strcmp(f->entries[i]->id, e->id) != 0)
                continue;
            if (f->items[i].reasons && !vb_cli_flag(f->cli, "force")) {
                vb_fail(err, VB_E_GUARD, "%.8s is the newest usable backup of what it holds", e->id);
                vb_hint(err, "give --force as well if it is to be forgotten all the same");
                vb_catalog_entry_free(e);
                return -1;
            }
            if (f->items[i].held) {
                vb_fail(err, VB_E_GUARD, "%.8s is held", e->id);
                vb_hint(err, "release it before: vbackup hold --release %.8s", e->id);
                vb_catalog_entry_free(e);
                return -1;
            }
            f->items[i].reasons = 1u << VB_KEEP_RULES; /* this one */
        }
        vb_catalog_entry_free(e);
    }
    for (size_t i = 0; i < f->n; i++) {
        f->items[i].kept = !(f->items[i].reasons >> VB_KEEP_RULES & 1);
        f->items[i].reasons = 0;
        f->items[i].paused = false;
    }
    return 0;
}

/* ---- what is known before a policy is applied ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* When backups that somebody else has made were really received, as far as earlier runs have noted it. */
static int bound_times(struct forget *f, uint64_t now, struct vb_error *err)
{
    if (vb_repo_received(f->repo, &f->received, &f->n_received, err) < 0)
        return -1;
    for (size_t i = 0; i < f->n; i++)
        if (vb_repo_made_write_only(f->repo, f->items[i].sequence))
            f->items[i].time_ms = vb_received_bound(f->received, f->n_received, f->items[i].sequence, f->items[i].time_ms, now);
    return 0;
}

static int note_received(struct forget *f, uint64_t now, struct vb_error *err)
{
    uint64_t *numbers = vb_alloc_n(f->n + 1, sizeof *numbers);
    for (size_t i = 0; i < f->n; i++)
        numbers[i] = f->items[i].sequence;
    if (f->n > 1)
        qsort(numbers, f->n, sizeof *numbers, by_number);
    int result = vb_repo_note_received(f->repo, now, numbers, f->n, err);
    free(numbers);
    return result;
}

static int apply(struct forget *f, const struct vb_retention_policy *p, struct vb_error *err)
{
    uint64_t now = wall_ms();
    const char *reason = vb_cli_opt(f->cli, "reason");
    bool dry = vb_cli_flag(f->cli, "dry-run");
    if (bound_times(f, now, err) < 0 || vb_retention_apply(p, f->items, f->n, err) < 0)
        return -1;
    if (!f->host && !dry && note_received(f, now, err) < 0)
        return -1;
    if (!vb_cli_flag(f->cli, "accept-change"))
        return 0;
    for (size_t i = 0; i < f->n; i++) {
        if (!f->items[i].change)
            continue;
        f->items[i].normal = true;
        if (!dry && vb_repo_call_normal(f->repo, f->entries[i], now, reason ? reason : "accepted", err) < 0)
            return -1;
    }
    return vb_retention_apply(p, f->items, f->n, err);
}

/* The first of those for which something was kept against the policy. */
static int tell_paused(const struct forget *f, struct vb_error *err)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct vb_catalog_entry *e = f->entries[i];
        if (!f->items[i].change)
            continue;
        vb_fail(err, VB_E_GUARD, "backup %.8s%s%s: %s (%llu files, %llu bytes); %zu backup%s that the policy would forget "
                "%s kept", e->id, e->n_hosts ? " of " : "", e->n_hosts ? e->hosts[0].name : "",
                vb_change_text(f->items[i].change), (unsigned long long)e->files, (unsigned long long)e->bytes, f->paused,
                f->paused == 1 ? "" : "s", f->paused == 1 ? "was" : "were");
        vb_hint(err, "look at it with vbackup diff and vbackup ls; if it is meant, give --accept-change as well");
        return -1;
    }
    return 0;
}

static int carry_out(struct forget *f, bool named, struct vb_error *err)
{
    bool dry = vb_cli_flag(f->cli, "dry-run");
    const char *reason = vb_cli_opt(f->cli, "reason");
    uint64_t now = wall_ms();
    for (size_t i = 0; i < f->n; i++) {
        bool kept = f->items[i].kept;
        if (!kept && !dry &&
            vb_repo_forget(f->repo, f->entries[i], now, reason ? reason : named ? "by id" : "by policy", err) < 0)
            return -1;
        f->forgotten += !kept;
        f->kept += kept;
        f->paused += f->items[i].paused;
        if (!kept || !named)
            tell(f, i, kept);
    }
    if (!f->cli->json && !f->cli->quiet)
        printf("%zu %s, %zu kept%s\n", f->forgotten, dry ? "would be forgotten" : "forgotten", f->kept,
               f->forgotten && !dry ? "; until a prune has removed it, a backup is called back with: "
                                      "vbackup forget --undo ID" : "");
    return f->paused ? tell_paused(f, err) : 0;
}

static int undo(struct forget *f, struct vb_error *err)
{
    if (f->cli->argc == 0)
        return vb_fail(err, VB_E_USAGE, "--undo needs the id of a backup");
    for (int a = 0; a < f->cli->argc; a++) {
        if (vb_repo_unforget(f->repo, f->cli->argv[a], err) < 0)
            return -1;
        if (!f->cli->quiet && !f->cli->json)
            printf("%s is kept again\n", f->cli->argv[a]);
    }
    return 0;
}

static int forget(struct forget *f, struct vb_error *err)
{
    struct vb_retention_policy p;
    bool policy = false;
    if (policy_of(f->cli, &p, &policy, err) < 0)
        return -1;
    if (vb_cli_flag(f->cli, "undo"))
        return vb_repo_lock(f->repo, wall_ms(), err) < 0 ? -1 : undo(f, err);
    if (policy && f->cli->argc)
        return vb_fail(err, VB_E_USAGE, "either backups or what is to be kept, not both");
    if (!policy && !f->cli->argc)
        return vb_retention_apply(&p, NULL, 0, err); /* says that nothing would be kept */
    /* Under the lock: what is newest must still be so when it counts. */
    if (vb_repo_lock(f->repo, wall_ms(), err) < 0 || vb_repo_list(f->repo, take, f, err) != 0)
        return -1;
    if (vb_repo_holds(f->repo, add_held, f, err) != 0 || vb_repo_normals(f->repo, add_normal, f, err) != 0)
        return -1;
    for (size_t i = 0; i < f->n; i++) {
        f->items[i].held = is_among(f->held, f->n_held, f->items[i].sequence);
        f->items[i].normal = is_among(f->normal, f->n_normal, f->items[i].sequence);
    }
    if ((policy ? apply(f, &p, err) : choose_named(f, err)) < 0 || keep_bases(f, !policy, err) < 0)
        return -1;
    return carry_out(f, !policy, err);
}

static int run_forget(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct forget f = { .cli = cli, .host = vb_cli_opt(cli, "host") };
    f.repo = open_write(cli, &err);
    int rc = f.repo ? forget(&f, &err) : -1;
    forget_clear(&f);
    vb_repo_close(f.repo);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt forget_opts[] = {
    { "keep-last", 0, "N", "keep the last N backups of each set" },
    { "keep-hourly", 0, "N", "keep the newest backup of each of the last N hours that have one" },
    { "keep-daily", 0, "N", "likewise of days" },
    { "keep-weekly", 0, "N", "likewise of weeks" },
    { "keep-monthly", 0, "N", "likewise of months" },
    { "keep-yearly", 0, "N", "likewise of years" },
    { "host", 0, "HOST", "only backups that have this host" },
    { "dry-run", 'n', NULL, "say what would be kept and why, change nothing" },
    { "force", 0, NULL, "forget even the newest usable backup of a set" },
    { "accept-change", 0, NULL, "what has changed suspiciously is meant: apply the policy to it" },
    { "undo", 0, NULL, "call forgotten backups back" },
    { "reason", 0, "TEXT", "recorded with it" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_forget = { "forget", "[BACKUP...]", "take backups off the list, by policy or by id",
                                            forget_opts, 0, -1, run_forget };

/* ---- hold ---- */

static int tell_hold(void *arg, uint64_t sequence, const char *id, uint64_t held_ms, const char *reason,
                     const struct vb_error *damage, struct vb_error *err)
{
    const struct vb_cli *cli = arg;
    (void)err;
    if (cli->json) {
        json_t *o = vb_cli_message("hold");
        json_object_set_new(o, "id", json_string(id));
        json_object_set_new(o, "sequence", json_integer((json_int_t)sequence));
        json_object_set_new(o, "held_ms", damage ? json_null() : json_integer((json_int_t)held_ms));
        json_object_set_new(o, "reason", vb_cli_text(reason));
        vb_cli_json(o);
        return 0;
    }
    VB_AUTO_FREE char *when = damage ? vb_strdup("(mark damaged)      ") : vb_time_iso(held_ms);
    VB_AUTO_FREE char *shown = vb_escape_terminal(reason ? reason : "", reason ? strlen(reason) : 0);
    printf("%.8s  %s  %s\n", id, when, shown);
    return 0;
}

static int hold_one(struct vb_cli *cli, struct vb_repo *r, const char *which, struct vb_error *err)
{
    bool release = vb_cli_flag(cli, "release");
    const char *reason = vb_cli_opt(cli, "reason");
    struct vb_catalog_entry *e = vb_repo_find(r, which, NULL, err);
    int rc = !e ? -1 : release ? vb_repo_release(r, e, err) : vb_repo_hold(r, e, wall_ms(), reason ? reason : "", err);
    if (rc == 0 && cli->json) {
        json_t *o = vb_cli_message(release ? "release" : "hold");
        json_object_set_new(o, "id", json_string(e->id));
        vb_cli_json(o);
    } else if (rc == 0 && !cli->quiet) {
        printf("%.8s %s\n", e->id, release ? "is released" : "is held");
    }
    vb_catalog_entry_free(e);
    return rc;
}

static int run_hold(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int rc = 0;
    struct vb_repo *r = NULL;
    if (cli->argc == 0 && (vb_cli_flag(cli, "release") || vb_cli_opt(cli, "reason")))
        rc = vb_fail(&err, VB_E_USAGE, "which backup is meant?");
    const char *location = rc == 0 ? vb_cli_repository(cli, &err) : NULL;
    if (location && cli->argc == 0)
        r = vb_repo_open_auth(location, VB_REPO_READ, vb_settings_auth(&cli->settings), &err);
    else if (location)
        r = open_write(cli, &err);
    rc = !r ? -1 : cli->argc ? vb_repo_lock(r, wall_ms(), &err) : vb_repo_holds(r, tell_hold, cli, &err);
    for (int a = 0; a < cli->argc && rc == 0; a++)
        rc = hold_one(cli, r, cli->argv[a], &err);
    vb_repo_close(r);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt hold_opts[] = {
    { "release", 0, NULL, "let it go: from then on it may be forgotten" },
    { "reason", 0, "TEXT", "recorded with it" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_hold = { "hold", "[BACKUP...]", "keep backups, whatever a policy says; list those held", hold_opts,
                                          0, -1, run_hold };

/* ---- prune ---- */

static void tell_prune(struct vb_cli *cli, const struct vb_prune_result *r, bool dry)
{
    if (cli->json) {
        json_t *o = vb_cli_message("prune");
        json_object_set_new(o, "dry_run", json_boolean(dry));
#define NUMBER(name) json_object_set_new(o, #name, json_integer((json_int_t)r->name))
        NUMBER(removed_backups);
        NUMBER(waiting_backups);
        NUMBER(condemned_packs);
        NUMBER(condemned_bytes);
        NUMBER(moved_bytes);
        NUMBER(removed_packs);
        NUMBER(removed_bytes);
        NUMBER(waiting_packs);
        NUMBER(kept_packs);
        NUMBER(leases);
        NUMBER(left_alone);
#undef NUMBER
        vb_cli_json(o);
        return;
    }
    if (cli->quiet)
        return;
    VB_AUTO_FREE char *removed = vb_size_human(r->removed_bytes), *condemned = vb_size_human(r->condemned_bytes),
                      *moved = vb_size_human(r->moved_bytes);
    printf("%s %llu packs, %s\n", dry ? "would remove" : "removed", (unsigned long long)r->removed_packs, removed);
    printf("%s %llu packs, %s, which a later prune removes (%s of them written anew)\n", dry ? "would condemn" : "condemned",
           (unsigned long long)r->condemned_packs, condemned, moved);
    if (r->waiting_packs)
        printf("%llu packs were condemned earlier and wait for the delay to pass\n", (unsigned long long)r->waiting_packs);
    if (r->leases)
        printf("%llu runs are at work or have not ended: what they may need waits for them\n", (unsigned long long)r->leases);
    if (r->left_alone)
        printf("nothing was removed of %llu trust groups, of which something cannot be read: run `vbackup check`\n",
               (unsigned long long)r->left_alone);
    if (r->waiting_backups)
        printf("%llu forgotten backups can be called back still\n", (unsigned long long)r->waiting_backups);
}

static int run_prune(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_prune_params p = { .wall_ms = wall_ms(), .delay_ms = 24u * 3600u * 1000u };
    struct vb_prune_result result;
    const char *delay = vb_cli_opt(cli, "delay");
    if (delay && !vb_parse_duration_ms(delay, &p.delay_ms)) {
        vb_fail(&err, VB_E_USAGE, "--delay: '%s' is not a duration such as 12h or 7d", delay);
        return vb_cli_fail(cli, &err);
    }
    p.dry_run = vb_cli_flag(cli, "dry-run");
    struct vb_repo *r = open_write(cli, &err);
    int rc = r ? vb_repo_lock(r, p.wall_ms, &err) : -1;
    if (rc == 0)
        rc = vb_repo_prune(r, &p, &result, &err);
    vb_repo_close(r);
    if (rc < 0)
        return vb_cli_fail(cli, &err);
    tell_prune(cli, &result, p.dry_run);
    return VB_EXIT_DONE;
}

static const struct vb_opt prune_opts[] = {
    { "delay", 0, "DURATION", "leave alone what was forgotten or condemned for less than this (default 1d)" },
    { "dry-run", 'n', NULL, "say what would be done, change nothing" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_prune = { "prune", "", "free the room of forgotten backups", prune_opts, 0, 0, run_prune };
