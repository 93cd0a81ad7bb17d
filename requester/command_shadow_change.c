/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup shadow delete, expose, unexpose, set: one change after the other (S-22). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "requester/shadow.h"
#include "wire/protocol.h"

#define HOST_OPT { "host", 0, "HOST", "the host (default: this machine)" }

/* ---- delete ---- */

static const struct vb_opt delete_opts[] = {
    HOST_OPT,
    { "set", 0, "SET", "all of this set" },
    { "oldest", 0, "VOLUME", "the oldest of this volume" },
    { "volume", 0, "VOLUME", "all of this volume" },
    { "exposed", 0, "DIR", "the one that is exposed there" },
    { "all", 0, NULL, "all; asks first" },
    { "orphans", 0, NULL, "those that nobody owns: their job is gone" },
    { "force", 'f', NULL, "also one that a running job still needs" },
    { "yes", 'y', NULL, "do not ask" },
    { "dry-run", 'n', NULL, "only say which would be deleted" },
    { NULL, 0, NULL, NULL }
};

static bool of_volume(const struct vb_shadow_item *i, const char *volume)
{
    return strcmp(volume, i->volume ? i->volume : "") == 0 || strcmp(volume, i->subvolume ? i->subvolume : "") == 0;
}

/* Whether the list names it; oldest-first order makes "oldest" the first hit. */
static bool is_meant(const struct vb_cli *cli, const struct vb_shadow_item *i)
{
    const char *set = vb_cli_opt(cli, "set"), *volume = vb_cli_opt(cli, "volume"), *oldest = vb_cli_opt(cli, "oldest");
    const char *exposed = vb_cli_opt(cli, "exposed");
    if (set)
        return vb_guid_equal(set, i->set);
    if (volume || oldest)
        return i->state == VB_SS_CREATED && !(i->orphan && !i->wall_ms) && of_volume(i, volume ? volume : oldest);
    if (exposed)
        return i->exposed && strcmp(exposed, i->exposed) == 0;
    if (vb_cli_flag(cli, "orphans"))
        return i->orphan;
    return vb_cli_flag(cli, "all") && i->state == VB_SS_CREATED;
}

static int choose(const struct vb_cli *cli, const struct vb_shadow_items *items, const struct vb_shadow_item ***out,
                  size_t *n, struct vb_error *err)
{
    static const char *const WAYS[] = { "set", "oldest", "volume", "exposed", "all", "orphans" };
    size_t ways = cli->argc > 0;
    for (size_t i = 0; i < VB_COUNT(WAYS); i++)
        ways += vb_cli_flag(cli, WAYS[i]);
    *out = vb_alloc_n(items->n + (size_t)cli->argc + 1, sizeof **out);
    *n = 0;
    if (ways != 1)
        return vb_fail(err, VB_E_USAGE, ways ? "more than one way to choose shadow copies was given"
                                             : "which shadow copies? name ids, or --set, --oldest, --all, --orphans");
    for (int i = 0; i < cli->argc; i++) {
        const struct vb_shadow_item *x = vb_shadow_find(items, cli->argv[i], err);
        if (!x)
            return -1;
        (*out)[(*n)++] = x;
    }
    for (size_t i = 0; !cli->argc && i < items->n; i++)
        if (is_meant(cli, &items->v[i])) {
            (*out)[(*n)++] = &items->v[i];
            if (vb_cli_opt(cli, "oldest"))
                break;
        }
    if (*n == 0 && vb_cli_opt(cli, "set"))
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy set '%s'", vb_cli_opt(cli, "set"));
    if (*n == 0 && (vb_cli_opt(cli, "oldest") || vb_cli_opt(cli, "exposed")))
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy %s '%s'",
                       vb_cli_opt(cli, "oldest") ? "of volume" : "exposed at",
                       vb_cli_opt(cli, "oldest") ? vb_cli_opt(cli, "oldest") : vb_cli_opt(cli, "exposed"));
    return 0;
}

static int consent(const struct vb_cli *cli, size_t n, struct vb_error *err)
{
    char answer[8] = "";
    if (!vb_cli_flag(cli, "all") || vb_cli_flag(cli, "yes") || vb_cli_flag(cli, "dry-run") || n == 0)
        return 0;
    if (isatty(STDIN_FILENO)) {
        fprintf(stderr, "vbackup: delete all %zu shadow copies? [y/N] ", n);
        if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
            return 0;
    }
    vb_fail(err, VB_E_GUARD, "%zu shadow copies would be deleted, and nobody said yes", n);
    vb_hint(err, "give --yes");
    return -1;
}

static int delete_one(struct vb_shadow_link *l, const struct vb_shadow_item *x, bool force, struct vb_error *err)
{
    struct vb_msg f = VB_MSG_INIT(0);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, x->id);
    vb_msg_add_str(&f, VB_F_PROVIDER, x->provider);
    if (force)
        vb_msg_add_u64(&f, VB_F_FORCE, 1);
    return vb_shadow_call(l, "delete", &f, err);
}

static void say_deleted(const struct vb_cli *cli, const struct vb_shadow_item *x)
{
    bool dry = vb_cli_flag(cli, "dry-run");
    if (cli->json) {
        json_t *o = vb_cli_message(dry ? "shadow_would_delete" : "shadow_deleted");
        json_object_set_new(o, "snapshot_id", vb_cli_text(x->id));
        json_object_set_new(o, "set_id", vb_cli_text(x->set));
        json_object_set_new(o, "volume", vb_cli_text(x->subvolume ? x->subvolume : x->volume));
        vb_cli_json(o);
    } else if (!cli->quiet) {
        printf("%s %s of %s\n", dry ? "would delete" : "deleted", x->id, x->subvolume ? x->subvolume : x->volume);
    }
}

static int run_delete(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_shadow_items items = { 0 };
    VB_AUTO_FREE const struct vb_shadow_item **chosen = NULL;
    size_t n = 0, done = 0;
    int rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err);
    if (rc == 0 && (rc = vb_shadow_list(&l, &items, &err)) == 0 && (rc = choose(cli, &items, &chosen, &n, &err)) == 0)
        rc = consent(cli, n, &err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!vb_cli_flag(cli, "dry-run") && delete_one(&l, chosen[i], vb_cli_flag(cli, "force"), &err) < 0) {
            vb_context(&err, "%zu deleted, then shadow copy '%s' was not", done, chosen[i]->id); /* S-21 */
            rc = -1;
            break;
        }
        say_deleted(cli, chosen[i]);
        done++;
    }
    if (rc == 0 && n == 0 && !cli->quiet && !cli->json)
        fprintf(stderr, "vbackup: nothing to delete\n");
    vb_shadow_close(&l);
    vb_shadow_items_clear(&items);
    if (rc == 0)
        return VB_EXIT_DONE;
    int status = vb_cli_fail(cli, &err);
    return done ? (int)vb_exit_worse(VB_EXIT_PARTIAL, VB_EXIT_DONE) : status;
}

const struct vb_cli_verb vb_verb_shadow_delete = { "shadow delete", "[ID...]", "delete shadow copies", delete_opts, 0, -1,
                                                   run_delete };

/* ---- calls about one shadow copy ---- */

/* Finds argv[0], sends the call with these fields (taken), prints one line or object. */
static int change(struct vb_cli *cli, const char *call, struct vb_msg *fields, const char *done_word, const char *path)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_shadow_items items = { 0 };
    const struct vb_shadow_item *x = NULL;
    int rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err);
    if (rc == 0 && (rc = vb_shadow_list(&l, &items, &err)) == 0)
        rc = (x = vb_shadow_find(&items, cli->argv[0], &err)) ? 0 : -1;
    if (rc == 0 && !vb_cli_flag(cli, "dry-run")) {
        vb_msg_add_str(fields, VB_F_SNAPSHOT, x->id);
        rc = vb_shadow_call(&l, call, fields, &err);
    }
    VB_AUTO_FREE char *where = rc == 0 && l.reply.type ? vb_msg_str(&l.reply, VB_F_PATH) : NULL;
    if (rc == 0 && cli->json) {
        json_t *o = vb_cli_message("shadow_changed");
        json_object_set_new(o, "snapshot_id", vb_cli_text(x->id));
        json_object_set_new(o, "change", json_string(call));
        json_object_set_new(o, "path", vb_cli_text(path ? path : where));
        json_object_set_new(o, "dry_run", json_boolean(vb_cli_flag(cli, "dry-run")));
        vb_cli_json(o);
    } else if (rc == 0 && !cli->quiet) {
        printf("%s%s %s%s%s\n", vb_cli_flag(cli, "dry-run") ? "would be " : "", x->id, done_word,
               path || where ? " " : "", path ? path : where ? where : "");
    }
    vb_shadow_close(&l);
    vb_shadow_items_clear(&items);
    vb_msg_clear(fields);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt change_opts[] = { HOST_OPT,
                                             { "dry-run", 'n', NULL, "only look whether it is there" },
                                             { NULL, 0, NULL, NULL } };

static char *absolute(const struct vb_cli *cli, const char *path)
{
    VB_AUTO_FREE char *cwd = vb_cli_opt(cli, "host") ? NULL : getcwd(NULL, 0);
    VB_AUTO_FREE char *joined = cwd ? vb_path_join(cwd, path) : vb_strdup(path);
    return vb_path_clean(joined);
}

static int run_expose(struct vb_cli *cli)
{
    struct vb_msg f = VB_MSG_INIT(0);
    VB_AUTO_FREE char *at = absolute(cli, cli->argv[1]);
    vb_msg_add_str(&f, VB_F_PATH, at);
    return change(cli, "expose", &f, "exposed at", at);
}

static int run_unexpose(struct vb_cli *cli)
{
    struct vb_msg f = VB_MSG_INIT(0);
    return change(cli, "unexpose", &f, "no longer exposed at", NULL);
}

const struct vb_cli_verb vb_verb_shadow_expose = { "shadow expose", "ID DIR", "show a persistent shadow copy at a directory",
                                                   change_opts, 2, 2, run_expose };
const struct vb_cli_verb vb_verb_shadow_unexpose = { "shadow unexpose", "ID", "take it away from there", change_opts, 1, 1,
                                                     run_unexpose };

/* ---- revert, break ---- */

static const struct vb_opt revert_opts[] = { HOST_OPT,
                                             { "force", 'f', NULL, "although the volume is in use" },
                                             { "discard", 0, NULL, "do not keep the volume's present state" },
                                             { "dry-run", 'n', NULL, "only look whether it could be tried" },
                                             { NULL, 0, NULL, NULL } };

static int run_revert(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_shadow_items items = { 0 };
    struct vb_msg identify = VB_MSG_INIT(VB_M_IDENTIFY), f = VB_MSG_INIT(0);
    const struct vb_shadow_item *x = NULL;
    bool dry = vb_cli_flag(cli, "dry-run");
    int rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err);
    if (rc == 0)
        rc = vb_shadow_command(&l, &identify, &err); /* whose data lie there (S-61) */
    if (rc == 0 && (rc = vb_shadow_list(&l, &items, &err)) == 0)
        rc = (x = vb_shadow_find(&items, cli->argv[0], &err)) ? 0 : -1;
    if (rc == 0 && !dry) {
        vb_msg_add_str(&f, VB_F_SNAPSHOT, x->id);
        if (vb_cli_flag(cli, "force"))
            vb_msg_add_u64(&f, VB_F_FORCE, 1);
        if (vb_cli_flag(cli, "discard"))
            vb_msg_add_u64(&f, VB_F_DISCARD, 1);
        rc = vb_shadow_call(&l, "revert", &f, &err);
    }
    VB_AUTO_FREE char *kept = rc == 0 && !dry ? vb_msg_str(&l.reply, VB_F_KEEP) : NULL;
    if (rc == 0 && cli->json) {
        json_t *o = vb_cli_message("shadow_reverted");
        json_object_set_new(o, "snapshot_id", vb_cli_text(x->id));
        json_object_set_new(o, "volume", vb_cli_text(x->subvolume ? x->subvolume : x->volume));
        json_object_set_new(o, "old_state", vb_cli_text(kept));
        json_object_set_new(o, "dry_run", json_boolean(dry));
        vb_cli_json(o);
    } else if (rc == 0 && !cli->quiet) {
        printf("%s %s to %s%s%s\n", dry ? "would revert" : "reverted", x->subvolume ? x->subvolume : x->volume, x->id,
               kept ? "; the state before is shadow copy " : "", kept ? kept : "");
    }
    vb_shadow_close(&l);
    vb_shadow_items_clear(&items);
    vb_msg_clear(&f);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

const struct vb_cli_verb vb_verb_shadow_revert = { "shadow revert", "ID", "roll a volume back to a shadow copy", revert_opts,
                                                   1, 1, run_revert };

static const struct vb_opt break_opts[] = { HOST_OPT,
                                            { "read-only", 0, NULL, "the copy is read-only" },
                                            { "keep", 0, NULL, "the shadow copy stays, too" },
                                            { "dry-run", 'n', NULL, "only look whether it is there" },
                                            { NULL, 0, NULL, NULL } };

static int run_break(struct vb_cli *cli)
{
    struct vb_msg f = VB_MSG_INIT(0);
    VB_AUTO_FREE char *to = absolute(cli, cli->argv[1]);
    vb_msg_add_str(&f, VB_F_PATH, to);
    if (!vb_cli_flag(cli, "read-only"))
        vb_msg_add_u64(&f, VB_F_LIVE, 1);
    if (vb_cli_flag(cli, "keep"))
        vb_msg_add_u64(&f, VB_F_KEEP, 1);
    return change(cli, "break", &f, "is an ordinary volume at", to);
}

const struct vb_cli_verb vb_verb_shadow_break = { "shadow break", "ID DIR",
                                                  "turn a shadow copy into an ordinary, writable volume", break_opts, 2, 2,
                                                  run_break };

/* ---- export, import: files on the host ---- */

static int run_export(struct vb_cli *cli)
{
    struct vb_msg f = VB_MSG_INIT(0);
    VB_AUTO_FREE char *file = absolute(cli, cli->argv[1]);
    vb_msg_add_str(&f, VB_F_PATH, file);
    return change(cli, "export", &f, "exported to", file);
}

const struct vb_cli_verb vb_verb_shadow_export = { "shadow export", "ID FILE",
                                                   "write a persistent shadow copy to a file, for another host", change_opts,
                                                   2, 2, run_export };

static int run_import(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_msg f = VB_MSG_INIT(0);
    VB_AUTO_FREE char *file = absolute(cli, cli->argv[0]), *dir = absolute(cli, cli->argv[1]);
    int rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err);
    vb_msg_add_str(&f, VB_F_PATH, file);
    vb_msg_add_str(&f, VB_F_TARGET, dir);
    if (rc == 0)
        rc = vb_shadow_call(&l, "import", &f, &err);
    if (rc == 0) {
        VB_AUTO_FREE char *id = vb_msg_str(&l.reply, VB_F_SNAPSHOT), *set = vb_msg_str(&l.reply, VB_F_SET),
                          *path = vb_msg_str(&l.reply, VB_F_PATH);
        if (cli->json) {
            json_t *o = vb_cli_message("shadow_imported");
            json_object_set_new(o, "snapshot_id", vb_cli_text(id));
            json_object_set_new(o, "set_id", vb_cli_text(set));
            json_object_set_new(o, "device", vb_cli_text(path));
            vb_cli_json(o);
        } else if (!cli->quiet) {
            printf("imported %s of set %s at %s\n", id ? id : "?", set ? set : "?", path ? path : "?");
        }
    }
    vb_msg_clear(&f);
    vb_shadow_close(&l);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt import_opts[] = { HOST_OPT, { NULL, 0, NULL, NULL } };

const struct vb_cli_verb vb_verb_shadow_import = { "shadow import", "FILE DIR", "make a shadow copy from such a file",
                                                   import_opts, 2, 2, run_import };

/* ---- send: from host to host ---- */

static int run_send(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_sent sent = { NULL, NULL, NULL, 0 };
    VB_AUTO_FREE char *dir = vb_path_clean(cli->argv[1]);
    const char *to = vb_cli_opt(cli, "to");
    bool dry = vb_cli_flag(cli, "dry-run");
    int rc = 0;
    if (!to)
        rc = vb_fail(&err, VB_E_USAGE, "to which host? give --to HOST");
    else if (dir[0] != '/')
        rc = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path on host '%s'", dir, to);
    if (rc == 0)
        rc = vb_shadow_send(cli, cli->argv[0], to, dir, vb_cli_flag(cli, "whole"), dry, &sent, &err);
    if (rc == 0 && cli->json) {
        json_t *o = vb_cli_message("shadow_sent");
        json_object_set_new(o, "snapshot_id", vb_cli_text(sent.id));
        json_object_set_new(o, "host", vb_cli_text(to));
        json_object_set_new(o, "device", vb_cli_text(sent.path));
        json_object_set_new(o, "parent", vb_cli_text(sent.parent));
        json_object_set_new(o, "bytes", json_integer((json_int_t)sent.bytes));
        json_object_set_new(o, "dry_run", json_boolean(dry));
        vb_cli_json(o);
    } else if (rc == 0 && !cli->quiet) {
        printf("%s %s to host '%s'%s%s%s%s", dry ? "would send" : "sent", sent.id, to, sent.path ? " at " : "",
               sent.path ? sent.path : "", sent.parent ? ", as what changed since " : "", sent.parent ? sent.parent : "");
        if (!dry)
            printf(" (%ju bytes)", (uintmax_t)sent.bytes);
        putchar('\n');
    }
    vb_shadow_sent_clear(&sent);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt send_opts[] = { HOST_OPT,
                                           { "to", 0, "HOST", "the host that gets it" },
                                           { "whole", 0, NULL, "all of it, although both have an older one" },
                                           { "dry-run", 'n', NULL, "only say what would be sent" },
                                           { NULL, 0, NULL, NULL } };

const struct vb_cli_verb vb_verb_shadow_send = { "shadow send", "ID DIR", "make the same shadow copy on another host",
                                                 send_opts, 2, 2, run_send };

static const struct vb_opt set_opts[] = { HOST_OPT,
                                          { "note", 0, "TEXT", "a note that stands in lists" },
                                          { "service-machine", 0, "NAME", "the machine that keeps it" },
                                          { NULL, 0, NULL, NULL } };

static int run_set(struct vb_cli *cli)
{
    struct vb_msg f = VB_MSG_INIT(0);
    const char *note = vb_cli_opt(cli, "note"), *service = vb_cli_opt(cli, "service-machine");
    if (!note && !service) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_fail(&err, VB_E_USAGE, "which property? give --note or --service-machine");
        return vb_cli_fail(cli, &err);
    }
    vb_msg_add_str(&f, VB_F_REMARK, note);
    vb_msg_add_str(&f, VB_F_SERVICE, service);
    return change(cli, "note", &f, "changed", NULL);
}

const struct vb_cli_verb vb_verb_shadow_set = { "shadow set", "ID", "change a property of a shadow copy's set", set_opts, 1, 1,
                                                run_set };
