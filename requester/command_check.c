/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup check: whether everything is there and can be read; and repair.
 *
 * With --read-data-subset each run reads the next part of the circle on which the names of the packs lie; how far it has
 * come stands in the requester's state, per repository.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/loop.h"
#include "base/text.h"
#include "requester/cli.h"
#include "requester/password.h"
#include "store/repository.h"

#define FINDINGS_SHOWN 3 /* of one object: a lost pack has hundreds of chunks */
struct findings {
    struct vb_cli *cli;
    char *object; /* of the last one */
    size_t n;     /* of that object */
    uint64_t mended, losses;
};

static const char *const words[] = { "note", "damage", "lost", "mended" };

static void end_of_object(struct findings *f)
{
    if (f->n > FINDINGS_SHOWN && !f->cli->json && !f->cli->verbose)
        printf("damage: %s: and %zu more (--verbose or --json names all)\n", f->object, f->n - FINDINGS_SHOWN);
    vb_free_ptr(&f->object);
    f->n = 0;
}

static void finding(void *arg, enum vb_check_severity severity, const char *object, const char *text)
{
    struct findings *f = arg;
    struct vb_cli *cli = f->cli;
    f->mended += severity == VB_CHECK_MENDED;
    f->losses += severity == VB_CHECK_LOSS;
    if (cli->json) {
        json_t *o = vb_cli_message("finding");
        json_object_set_new(o, "severity", json_string(words[severity]));
        json_object_set_new(o, "object", vb_cli_text(object));
        json_object_set_new(o, "text", vb_cli_text(text));
        vb_cli_json(o);
        return;
    }
    if (severity == VB_CHECK_NOTE && cli->quiet)
        return;
    if (severity != VB_CHECK_DAMAGE || !f->object || strcmp(f->object, object) != 0)
        end_of_object(f);
    if (severity == VB_CHECK_DAMAGE) {
        if (!f->object)
            f->object = vb_strdup(object);
        if (++f->n > FINDINGS_SHOWN && !cli->verbose)
            return;
    }
    VB_AUTO_FREE char *shown = vb_escape_terminal(text, strlen(text));
    printf("%s: %s: %s\n", words[severity], object, shown);
}

static int count_one(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    size_t *n = arg;
    (void)path;
    (void)damage;
    *n += *entry != NULL;
    return 0;
}

/* ---- a share ---- */

/* How far the rounds have come. */
struct rounds {
    uint64_t position;     /* where the next part begins */
    uint64_t covered;      /* of the circle in this round */
    uint64_t runs;         /* in this round */
    uint64_t began_ms;     /* this round; 0: not yet */
    uint64_t last_full_ms; /* a round was complete; 0: never */
};

static char *rounds_path(const struct vb_cli *cli, const struct vb_repo *r)
{
    return vb_printf("%s/check-%s.json", cli->settings.state_dir, vb_repo_info(r)->id);
}

static uint64_t number(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

/* What cannot be read begins anew: that only reads something twice. */
static void load_rounds(const char *path, struct rounds *q)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    memset(q, 0, sizeof *q);
    if (vb_read_file_at(AT_FDCWD, path, 65536, &b, NULL) < 0)
        return;
    json_t *o = json_loadb((const char *)b.data, b.len, 0, NULL);
    q->position = number(o, "position") % VB_CHECK_CIRCLE;
    q->covered = number(o, "covered");
    q->runs = number(o, "runs");
    q->began_ms = number(o, "began_ms");
    q->last_full_ms = number(o, "last_full_ms");
    if (q->covered >= VB_CHECK_CIRCLE || q->runs > VB_CHECK_CIRCLE)
        q->covered = q->runs = q->began_ms = 0;
    json_decref(o);
}

static int save_rounds(const char *path, const struct rounds *q, struct vb_error *err)
{
    VB_AUTO_FREE char *text = vb_printf("{\"position\":%llu,\"covered\":%llu,\"runs\":%llu,\"began_ms\":%llu,\"last_full_ms\":%llu}\n",
                                        (unsigned long long)q->position, (unsigned long long)q->covered,
                                        (unsigned long long)q->runs, (unsigned long long)q->began_ms,
                                        (unsigned long long)q->last_full_ms);
    if (vb_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, err) == 0)
        return 0;
    vb_context(err, "how far the check has come");
    return -1;
}

/* "1/10", "10%" or a size; width of the part. */
static int share_width(const char *text, uint64_t total, uint64_t *width, struct vb_error *err)
{
    size_t n = strlen(text);
    uint64_t v = 0;
    *width = 0;
    if (strncmp(text, "1/", 2) == 0 && vb_parse_u64(text + 2, &v) && v >= 1 && v <= 1000000) {
        *width = (VB_CHECK_CIRCLE + v - 1) / v;
    } else if (n > 1 && text[n - 1] == '%') {
        VB_AUTO_FREE char *percent = vb_strndup(text, n - 1);
        if (vb_parse_u64(percent, &v) && v >= 1 && v <= 100)
            *width = (VB_CHECK_CIRCLE * v + 99) / 100;
    } else if (vb_parse_size(text, &v) && v >= 1) {
        *width = v >= total ? VB_CHECK_CIRCLE : (uint64_t)((double)VB_CHECK_CIRCLE * ((double)v / (double)total)) + 1;
    }
    if (*width == 0)
        return vb_fail(err, VB_E_USAGE, "--read-data-subset: '%s' is not 1/N, a percentage or a size such as 500M", text);
    if (*width > VB_CHECK_CIRCLE)
        *width = VB_CHECK_CIRCLE;
    return 0;
}

static uint64_t wall_ms(void)
{
    struct vb_loop *loop = vb_loop_new();
    uint64_t now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    return now;
}

struct check {
    struct vb_cli *cli;
    struct vb_repo *repo;
    const char *subset;
    bool data;
    struct findings f;
    struct vb_check_result result;
    struct vb_check_share share;
    struct rounds rounds;
};

/* A part that was read counts, whatever was found in it; one that was not is read next time. */
static int check_share(struct check *c, struct vb_error *err)
{
    struct vb_repo_stats stats;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = rounds_path(c->cli, c->repo);
    vb_repo_stats(c->repo, &stats);
    if (share_width(c->subset, stats.stored_bytes, &c->share.width, err) < 0)
        return -1;
    load_rounds(path, &c->rounds);
    c->share.from = c->rounds.position;
    int rc = vb_repo_check_share(c->repo, &c->share, &c->result, finding, &c->f, &why);
    if (rc < 0 && why.code != VB_E_CORRUPT)
        return vb_error_move(err, &why);
    struct rounds *q = &c->rounds;
    uint64_t now = wall_ms();
    if (q->runs == 0)
        q->began_ms = now;
    q->position = (q->position + c->share.width) % VB_CHECK_CIRCLE;
    q->covered += c->share.width;
    q->runs++;
    if (q->covered >= VB_CHECK_CIRCLE) {
        q->last_full_ms = now;
        q->covered = q->runs = q->began_ms = 0;
    }
    if (save_rounds(path, q, err) < 0)
        return -1;
    return rc < 0 ? vb_error_move(err, &why) : 0;
}

static uint64_t runs_needed(uint64_t part)
{
    return (VB_CHECK_CIRCLE + part - 1) / part;
}

static void tell_share(const struct check *c)
{
    const struct rounds *q = &c->rounds;
    VB_AUTO_FREE char *read = vb_size_human(c->result.bytes_read), *all = vb_size_human(c->result.bytes);
    printf("read %llu of %llu packs (%s of %s); with parts of this size all data are read once every %llu runs\n",
           (unsigned long long)c->result.packs_read, (unsigned long long)c->result.packs, read, all,
           (unsigned long long)runs_needed(c->share.width));
    if (q->runs == 0) {
        printf("with this run all data have been read since the round began\n");
    } else {
        VB_AUTO_FREE char *began = vb_time_iso(q->began_ms);
        uint64_t left = runs_needed(c->share.width) > 0 ? (VB_CHECK_CIRCLE - q->covered + c->share.width - 1) / c->share.width : 0;
        printf("this round began %s, %llu run%s to go", began, (unsigned long long)left, left == 1 ? "" : "s");
        VB_AUTO_FREE char *last = vb_time_iso(q->last_full_ms);
        if (q->last_full_ms)
            printf("; the one before was complete %s\n", last);
        else
            printf("; there was none before\n");
    }
}

/* ---- repair ---- */

/* What is not as this machine remembers it is a finding among others. */
static struct vb_repo *open_told(struct check *c, const char *location, enum vb_repo_mode mode, struct vb_error *err)
{
    struct vb_repo_auth auth = *vb_settings_auth(&c->cli->settings);
    auth.tell = true;
    return vb_repo_open_auth(location, mode, &auth, err);
}

static int repair(struct check *c, const char *location, struct vb_error *err)
{
    uint64_t mended = 0;
    struct vb_repo *r = open_told(c, location, VB_REPO_WRITE, err);
    int rc = r ? vb_repo_lock(r, wall_ms(), err) : -1;
    if (rc == 0)
        rc = vb_repo_repair(r, &mended, finding, &c->f, err);
    vb_repo_close(r);
    if (rc == 0 && mended == 0 && !c->cli->json && !c->cli->quiet)
        printf("there was nothing to repair\n");
    return rc;
}

static void tell_summary(const struct check *c, size_t backups)
{
    struct vb_cli *cli = c->cli;
    struct vb_repo_stats stats;
    vb_repo_stats(c->repo, &stats);
    if (cli->json) {
        json_t *o = vb_cli_message("summary");
        json_object_set_new(o, "damage", json_false());
        json_object_set_new(o, "backups", json_integer((json_int_t)backups));
        json_object_set_new(o, "packs", json_integer((json_int_t)stats.packs));
        json_object_set_new(o, "chunks", json_integer((json_int_t)stats.chunks));
        json_object_set_new(o, "stored_bytes", json_integer((json_int_t)stats.stored_bytes));
        json_object_set_new(o, "read_data", json_boolean(c->data));
        json_object_set_new(o, "mended", json_integer((json_int_t)c->f.mended));
        if (c->subset) {
            json_object_set_new(o, "packs_read", json_integer((json_int_t)c->result.packs_read));
            json_object_set_new(o, "bytes_read", json_integer((json_int_t)c->result.bytes_read));
            json_object_set_new(o, "runs_for_all", json_integer((json_int_t)runs_needed(c->share.width)));
            json_object_set_new(o, "round_complete", json_boolean(c->rounds.runs == 0));
            json_object_set_new(o, "last_full_ms", json_integer((json_int_t)c->rounds.last_full_ms));
        }
        vb_cli_json(o);
    } else if (!cli->quiet) {
        VB_AUTO_FREE char *size = vb_size_human(stats.stored_bytes);
        if (c->subset)
            tell_share(c);
        printf("no damage found in %zu backup%s, %s (%s)\n", backups, backups == 1 ? "" : "s", size,
               c->subset ? "a part was read" : c->data ? "every byte was read" : "structure only; --read-data reads every byte");
    }
}

/* Of a repair that could not bring everything back. */
static int tell_rest(const struct check *c, const struct vb_error *err)
{
    struct vb_cli *cli = c->cli;
    if (cli->json) {
        json_t *o = vb_cli_message("summary");
        json_object_set_new(o, "damage", json_true());
        json_object_set_new(o, "mended", json_integer((json_int_t)c->f.mended));
        json_object_set_new(o, "lost", json_integer((json_int_t)c->f.losses));
        vb_cli_json(o);
    } else {
        fprintf(stderr, "vbackup: %s\n  hint: the repository works again, and what is not named as lost can be restored; the next "
                        "backup stores again what it finds\n", vb_error_text(err));
    }
    return VB_EXIT_PARTIAL;
}

static int run_check(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct check c = { .cli = cli, .subset = vb_cli_opt(cli, "read-data-subset"), .f = { .cli = cli } };
    bool mend = vb_cli_flag(cli, "repair");
    const char *location = vb_cli_repository(cli, &err);
    size_t backups = 0;
    int rc = location ? 0 : -1;
    c.data = vb_cli_flag(cli, "read-data") || mend;
    if (rc == 0 && c.subset && c.data)
        rc = vb_fail(&err, VB_E_USAGE, "--read-data-subset reads a part, %s everything: not both",
                     mend ? "--repair" : "--read-data");
    if (rc == 0 && mend)
        rc = repair(&c, location, &err);
    if (rc == 0) {
        c.repo = open_told(&c, location, VB_REPO_READ, &err);
        rc = !c.repo ? -1 : c.subset ? check_share(&c, &err) : vb_repo_check(c.repo, c.data && !mend, finding, &c.f, &err);
        end_of_object(&c.f);
        mend = mend && c.repo && err.code == VB_E_CORRUPT;
        if (c.repo && vb_repo_alarm(c.repo))
            finding(&c.f, VB_CHECK_DAMAGE, location, vb_repo_alarm(c.repo));
        if (rc == 0)
            rc = vb_repo_list(c.repo, count_one, &backups, &err);
        if (rc == 0 && vb_repo_alarm(c.repo)) {
            rc = vb_fail(&err, VB_E_GUARD, "what is there is whole, and not what this machine has seen there before");
            vb_hint(&err, "if the storage was set back or exchanged on purpose, say so with: vbackup accept");
        }
    } else {
        mend = false;
    }
    if (rc == 0)
        tell_summary(&c, backups);
    else if (rc < 0 && c.subset && c.result.packs > 0 && !cli->json && !cli->quiet)
        tell_share(&c);
    int status = rc == 0 ? VB_EXIT_DONE : mend ? tell_rest(&c, &err) : vb_cli_fail(cli, &err);
    vb_repo_close(c.repo);
    vb_free_ptr(&c.f.object);
    return status;
}

static const struct vb_opt check_opts[] = {
    { "read-data", 0, NULL, "read and verify every byte, not only the structure" },
    { "read-data-subset", 0, "PART", "read 1/N, P% or a size of the data, each time the next part" },
    { "repair", 0, NULL, "set aside what is broken, make the index anew; deletes nothing" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_check = { "check", "", "prove the repository whole", check_opts, 0, 0, run_check };
