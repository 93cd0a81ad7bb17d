/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup resolve: the user's word on a conflict that was left (policy defer). */
#include <config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "replica/scan.h"
#include "requester/replica_peer.h"

struct resolve {
    struct vb_cli *cli;
    struct vb_place *p;
    const char *path;
    enum vb_choice choice;
    struct vb_strv peers;       /* replica ids that are in conflict about it */
    struct vb_version *theirs;
    size_t n, cap;
    struct vb_strv targets;     /* names by which they can be reached */
};

static int note_held(void *arg, const struct vb_held *h)
{
    struct resolve *r = arg;
    vb_strv_add(&r->peers, h->peer);
    VB_GROW(r->theirs, r->n, r->cap);
    r->theirs[r->n++] = h->version;
    return 0;
}

/* A link whose name is not made of the peer's id was named by a user: it can be reached from here. */
static int note_target(void *arg, const struct vb_link *l)
{
    struct resolve *r = arg;
    if (vb_strv_has(&r->peers, l->peer) && strncmp(l->name, l->peer, strlen(l->name)) != 0 && !vb_strv_has(&r->targets, l->name))
        vb_strv_add(&r->targets, l->name);
    return 0;
}

/* Ours stays, under a version that says that theirs was seen (DSN-18); the next pass takes it there. */
static int keep_mine(struct resolve *r, struct vb_error *err)
{
    struct vb_replica *s = r->p->store;
    struct vb_item row;
    if (vb_replica_find(s, r->p->scope.id, r->path, &row, err) < 0)
        return -1;
    int result = vb_replica_mint(s, &row.changed, err) < 0 ? -1 : vb_replica_save(s, r->p->scope.id, &row, err);
    for (size_t i = 0; i < r->n && result == 0; i++)
        result = vb_replica_know_item(s, r->p->scope.id, r->path, &r->theirs[i], err);
    vb_item_clear(&row);
    return result < 0 ? -1 : vb_replica_settle_conflict(s, r->p->scope.id, r->path, NULL, err);
}

static int decide(struct resolve *r, struct vb_error *err)
{
    struct vb_replica *s = r->p->store;
    if (vb_replica_each_conflict(s, r->p->scope.id, r->path, note_held, r, err) < 0)
        return -1;
    if (r->n == 0) {
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "no conflict about '%s' is left to decide here", r->path);
        vb_hint(err, "see those that are: vbackup status %s", r->p->scope.name);
        return -1;
    }
    if (vb_place_ticks(r->p, err) < 0 || vb_replica_begin(s, err) < 0)
        return -1;
    if ((r->choice == VB_CHOICE_MINE ? keep_mine(r, err) : vb_replica_choose(s, r->p->scope.id, r->path, r->choice, err)) < 0) {
        vb_replica_rollback(s);
        return -1;
    }
    return vb_replica_commit(s, err) < 0 ? -1 : vb_replica_each_link(s, r->p->scope.id, note_target, r, err);
}

/* Theirs comes here, then what was decided goes there; other conflicts stay as they are. */
static int carry_out(struct resolve *r, const char *target, struct vb_error *err)
{
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result x;
    o.policy = VB_POLICY_DEFER;
    VB_AUTO_FREE char *scope = NULL;
    struct vb_replica_peer *peer = NULL;
    int result = vb_replica_peer_scope(r->cli, target, r->p, &scope, err);
    if (result == 0 && !(peer = vb_replica_peer_reach(r->cli, target, scope, r->p, err)))
        result = -1;
    for (int push = r->choice == VB_CHOICE_MINE; push < 2 && result == 0; push++)
        result = vb_replica_peer_pass(peer, r->p, push != 0, &o, &x, err);
    vb_replica_peer_close(peer);
    return result;
}

static int left(void *arg, const struct vb_held *h)
{
    (void)h;
    *(bool *)arg = true;
    return 1;
}

static enum vb_exit finish(struct resolve *r)
{
    bool open = false;
    for (size_t i = 0; i < r->targets.n; i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (carry_out(r, r->targets.v[i], &err) == 0 || r->cli->quiet)
            continue;
        VB_AUTO_FREE char *text = vb_escape_terminal(vb_error_text(&err), strlen(vb_error_text(&err)));
        fprintf(stderr, "vbackup: %s: %s; it goes there with the next pass\n", r->targets.v[i], text);
    }
    vb_replica_each_conflict(r->p->store, r->p->scope.id, r->path, left, &open, NULL);
    if (r->cli->json) {
        json_t *o = vb_cli_message("resolve");
        json_object_set_new(o, "scope", vb_cli_text(r->p->scope.name));
        json_object_set_new(o, "path", vb_cli_text(r->path));
        json_object_set_new(o, "settled", json_boolean(!open));
        vb_cli_json(o);
    } else if (!r->cli->quiet) {
        printf(open ? "noted; it is settled with the next pass from there\n" : "settled\n");
    }
    return open ? VB_EXIT_CONFLICTS : VB_EXIT_DONE;
}

static int run_resolve(struct vb_cli *cli)
{
    static const char *const words[] = { "", "mine", "theirs", "both" };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct resolve r = { .cli = cli, .path = cli->argv[1] };
    struct vb_place *opened = NULL;
    struct vb_scan_result scan;
    const char *keep = vb_cli_opt(cli, "keep");
    for (int i = VB_CHOICE_MINE; keep && i <= VB_CHOICE_BOTH; i++)
        if (!strcmp(keep, words[i]))
            r.choice = (enum vb_choice)i;
    if (r.choice == VB_CHOICE_NONE) {
        vb_fail(&err, VB_E_USAGE, "say what to keep: --keep=mine, theirs or both");
        return vb_cli_fail(cli, &err);
    }
    int result = vb_place_open(&setup, cli->argv[0], &opened, &err);
    VB_AUTO_PLACE *p = opened;
    r.p = p;
    if (result == 0 && (vb_scan(p, NULL, &scan, &err) < 0 || decide(&r, &err) < 0))
        result = -1;
    int status = result < 0 ? vb_cli_fail(cli, &err) : (int)finish(&r);
    vb_strv_clear(&r.peers);
    vb_strv_clear(&r.targets);
    free(r.theirs);
    return status;
}

static const struct vb_opt opts[] = {
    { "keep", 0, "mine|theirs|both", "what stays: this side's, the other's, or the later one with a copy of the other" },
    { NULL, 0, NULL, NULL }
};

const struct vb_cli_verb vb_verb_resolve = { "resolve", "NAME PATH", "settle a conflict that was left to you", opts, 2, 2, run_resolve };
