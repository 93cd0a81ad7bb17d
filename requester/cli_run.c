/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From options to a run. */
#include "config.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path_filter.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/cli_run.h"
#include "requester/kit.h"
#include "requester/password.h"

int vb_cli_run_open(struct vb_cli_run *r, struct vb_cli *cli, int mode, struct vb_error *err)
{
    r->cli = cli;
    r->status = VB_EXIT_FAILED;
    r->loop = vb_loop_new();
    r->links = vb_links_real(r->loop, cli->settings.hosts);
    r->env.loop = r->loop;
    r->env.links = r->links;
    VB_AUTO_FREE char *state = vb_printf("%s/requester", cli->settings.state_dir);
    r->env.state = vb_run_state_dir(state, err);
    if (!r->env.state)
        return -1;
    if (mode < 0)
        return 0;
    const char *location = vb_cli_repository(cli, err);
    if (!location)
        return -1;
    r->repo = vb_repo_open_auth(location, (enum vb_repo_mode)mode, vb_settings_auth(&cli->settings), err);
    if (!r->repo)
        return -1;
    if (mode == VB_REPO_WRITE && !vb_repo_info(r->repo)->encrypted && !cli->quiet && !cli->json)
        fprintf(stderr, "vbackup: the repository is NOT ENCRYPTED: whoever can read '%s' can read its backups\n", location);
    r->env.store = vb_run_store_repo(r->loop, r->repo, cli->settings.hosts);
    if (mode == VB_REPO_WRITE) {
        VB_AUTO_BUF kit = VB_BUF_INIT;
        vb_kit_make(&cli->settings, &kit);
        vb_run_store_attach(r->env.store, VB_KIT_DOCUMENT, kit.data, kit.len);
    }
    return 0;
}

static char *keep(struct vb_cli_run *r, char *text)
{
    vb_strv_take(&r->texts, text);
    return text;
}

static void add_policies(struct vb_cli_run *r, const char *option, enum vb_writer_policy policy)
{
    const char **v = NULL;
    size_t n = vb_cli_list(r->cli, option, &v);
    for (size_t i = 0; i < n; i++) {
        VB_GROW(r->writers, r->n_writers, r->cap_writers);
        r->writers[r->n_writers++] = (struct vb_job_writer){ keep(r, vb_strdup(v[i])), policy };
    }
    free(v);
}

static int duration_option(struct vb_cli_run *r, const char *name, uint64_t *ms, struct vb_error *err)
{
    const char *v = vb_cli_opt(r->cli, name);
    if (v && !vb_parse_duration_ms(v, ms))
        return vb_fail(err, VB_E_USAGE, "--%s: '%s' is not a duration such as 30s, 5m or 250ms", name, v);
    return 0;
}

static int missing_policy(struct vb_cli_run *r, const struct vb_config_section *s, struct vb_error *err)
{
    const char *v = vb_cli_opt(r->cli, "on-missing");
    VB_AUTO_FREE char *where = v || !s ? vb_strdup("--on-missing") : vb_section_where(s, "missing-dependency");
    enum vb_code code = v ? VB_E_USAGE : VB_E_CONFIG;
    if (!v && s)
        v = vb_section_get(s, "missing-dependency");
    if (!v || strcmp(v, "fail") == 0)
        r->opt.missing = VB_MISSING_FAIL;
    else if (strcmp(v, "drop") == 0)
        r->opt.missing = VB_MISSING_DROP_DEPENDENT;
    else if (strcmp(v, "continue") == 0)
        r->opt.missing = VB_MISSING_CONTINUE;
    else
        return vb_fail(err, code, "%s: '%s' is not a policy, expected fail, drop or continue", where, v);
    return 0;
}

/* Options that become rules of what is left out below the paths. */
static int take_rules(struct vb_cli_run *r, struct vb_error *err)
{
    static const struct {
        const char *option, *kind;
        bool flag;
    } RULES[] = { { "exclude", "pattern", false },
                  { "iexclude", "ipattern", false },
                  { "exclude-if-present", "marker", false },
                  { "exclude-larger-than", "larger-than", false },
                  { "exclude-caches", "caches", true },
                  { "one-file-system", "one-file-system", true } };
    struct vb_path_filter check = { .n = 0 };
    int rc = 0;
    r->path_rules = vb_alloc_n(r->cli->values.n + VB_COUNT(RULES) + 1, sizeof *r->path_rules);
    for (size_t i = 0; i < VB_COUNT(RULES) && rc == 0; i++) {
        const char **values = NULL;
        size_t n = RULES[i].flag ? vb_cli_flag(r->cli, RULES[i].option) : vb_cli_list(r->cli, RULES[i].option, &values);
        for (size_t k = 0; k < n && rc == 0; k++) {
            char *rule = vb_printf("%s:%s", RULES[i].kind, RULES[i].flag ? "" : values[k]);
            r->path_rules[r->opt.n_path_rules++] = keep(r, rule);
            rc = vb_path_filter_add(&check, rule, err);
            if (rc < 0)
                vb_context(err, "--%s", RULES[i].option);
        }
        free(values);
    }
    if (rc == 0 && r->opt.n_path_rules && r->cli->argc == 0) {
        rc = vb_fail(err, VB_E_USAGE, "exclusions on the command line belong to paths, and no path is given");
        vb_hint(err, "Exclusions of configured components stand in the configuration: vbackup-writer-files(8).");
    }
    vb_path_filter_clear(&check);
    r->opt.path_rules = r->path_rules;
    return rc;
}

/* Absolute, cleaned, links kept as they are: what was named is what is backed up. */
static int take_paths(struct vb_cli_run *r, struct vb_error *err)
{
    VB_AUTO_FREE char *cwd = getcwd(NULL, 0);
    r->paths = vb_alloc_n((size_t)r->cli->argc + 1, sizeof *r->paths);
    for (int i = 0; i < r->cli->argc; i++) {
        VB_AUTO_FREE char *joined = vb_path_join(cwd ? cwd : "/", r->cli->argv[i]);
        char *path = vb_path_clean(joined);
        r->paths[r->n_paths++] = keep(r, path);
        if (access(path, F_OK) < 0 && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
            vb_fail(err, VB_E_FILE_MISSING, "'%s' does not exist, nothing was backed up", r->cli->argv[i]);
            return -1;
        }
    }
    r->opt.paths = (const char *const *)r->paths;
    r->opt.n_paths = r->n_paths;
    return take_rules(r, err);
}

/* The level of the data: as on the command line, else as configured, else the repository's. */
static int take_level(struct vb_cli_run *r, const struct vb_config_section *s, struct vb_error *err)
{
    const char *level = vb_cli_opt(r->cli, "compression");
    if (!level && s)
        level = vb_section_get(s, "compression");
    if (!level)
        return 0;
    r->opt.level_set = true;
    if (vb_parse_u32(level, &r->opt.level) && r->opt.level <= 19)
        return 0;
    return vb_fail(err, VB_E_USAGE, "compression level '%s' is not a number from 0 to 19", level);
}

static int backup_options(struct vb_cli_run *r, const struct vb_config_section *s, struct vb_error *err)
{
    const char *type = vb_cli_opt(r->cli, "type");
    r->opt.backup_type = type ? vb_backup_type_from_word(type) : VB_BACKUP_FULL;
    if (r->opt.backup_type < VB_BACKUP_FULL || r->opt.backup_type > VB_BACKUP_COPY)
        return vb_fail(err, VB_E_USAGE, "--type: '%s' is not full, copy, incremental, differential or log", type);
    if (s && (vb_section_bool(s, "allow-live", false, &r->opt.allow_live, err) < 0 ||
              vb_section_bool(s, "allow-freeze", false, &r->opt.allow_freeze, err) < 0))
        return -1;
    bool strict = vb_cli_flag(r->cli, "require-snapshot");
    bool live = vb_cli_flag(r->cli, "allow-live"), freeze = vb_cli_flag(r->cli, "allow-freeze");
    if (strict && (live || freeze))
        return vb_fail(err, VB_E_USAGE, "--require-snapshot and --%s contradict each other",
                       live ? "allow-live" : "allow-freeze");
    r->opt.allow_live = !strict && (live || r->opt.allow_live);
    r->opt.allow_freeze = !strict && (freeze || r->opt.allow_freeze);
    r->opt.min_consistency = r->opt.allow_live ? VB_CONSISTENCY_NONE : VB_CONSISTENCY_CRASH;
    r->opt.no_detector = vb_cli_flag(r->cli, "no-detector");
    if (take_level(r, s, err) < 0)
        return -1;
    add_policies(r, "require", VB_POLICY_REQUIRED);
    add_policies(r, "ignore", VB_POLICY_IGNORED);
    r->opt.writers = r->writers;
    r->opt.n_writers = r->n_writers;
    if (duration_option(r, "freeze-limit", &r->opt.freeze_limit_ms, err) < 0)
        return -1;
    return take_paths(r, err);
}

static int restore_options(struct vb_cli_run *r, struct vb_error *err)
{
    const char **maps = NULL;
    size_t n = vb_cli_list(r->cli, "map", &maps);
    for (size_t i = 0; i < n; i++) {
        const char *eq = strchr(maps[i], '=');
        if (!eq || eq == maps[i] || !eq[1]) {
            vb_fail(err, VB_E_USAGE, "--map: '%s' is not OLD=NEW", maps[i]);
            free(maps);
            return -1;
        }
        if (!vb_hosts_find(r->cli->settings.hosts, eq + 1)) {
            vb_fail(err, VB_E_HOST_UNKNOWN, "--map: host '%s' is not in the configuration", eq + 1);
            vb_hint(err, "'vbackup host list' prints the hosts");
            free(maps);
            return -1;
        }
        vb_strv_add(&r->resolver.maps, maps[i]);
    }
    free(maps);
    r->opt.maps = &r->resolver.maps;
    r->opt.backup = vb_cli_backup_and_paths(r->cli, &r->named);
    r->opt.paths = (const char *const *)r->named.v;
    r->opt.n_paths = r->named.n;
    r->opt.backup_host = vb_cli_opt(r->cli, "host");
    r->opt.overwrite = vb_cli_flag(r->cli, "overwrite");
    r->opt.verify = vb_cli_flag(r->cli, "verify");
    if (vb_cli_opt(r->cli, "target")) {
        VB_AUTO_FREE char *cwd = getcwd(NULL, 0);
        VB_AUTO_FREE char *joined = vb_path_join(cwd ? cwd : "/", vb_cli_opt(r->cli, "target"));
        r->opt.target_dir = keep(r, vb_path_clean(joined));
    }
    return 0;
}

int vb_cli_run_options(struct vb_cli_run *r, enum vb_job_kind kind, struct vb_error *err)
{
    const struct vb_config_section *s = vb_config_find(r->cli->settings.config, "requester", NULL);
    const struct vb_host_entry *self = &r->cli->settings.hosts->v[r->cli->settings.hosts->self];
    const struct passwd *pw = getpwuid(geteuid());

    r->kind = kind;
    r->resolver.hosts = r->cli->settings.hosts;
    r->opt.resolve = vb_hosts_resolve;
    r->opt.resolve_arg = &r->resolver;
    r->opt.front_end = r->opt.local_host = self->name;
    const char *front = vb_cli_opt(r->cli, "front-end");
    if (front) {
        const struct vb_host_entry *f = vb_hosts_find(r->cli->settings.hosts, front);
        if (!f) {
            vb_fail(err, VB_E_HOST_UNKNOWN, "--front-end: host '%s' is not in the configuration", front);
            vb_hint(err, "'vbackup host list' prints the hosts");
            return -1;
        }
        r->opt.front_end = f->name;
    }
    r->user = vb_strdup(pw ? pw->pw_name : "?");
    r->requester = vb_printf("vbackup %s on %s (pid %d)", PACKAGE_VERSION, self->name, (int)getpid());
    r->opt.requester = r->requester;
    r->opt.requester_host = self->name;
    r->opt.user = r->user;
    r->opt.program = "vbackup " PACKAGE_VERSION;
    r->opt.offline = vb_cli_flag(r->cli, "offline");
    r->opt.n_asks = vb_cli_asks(r->cli, "component", &r->texts, &r->asks);
    r->opt.asks = r->asks;
    r->opt.n_excludes = vb_cli_asks(r->cli, "exclude-component", &r->texts, &r->excludes);
    r->opt.excludes = r->excludes;
    if (missing_policy(r, s, err) < 0 ||
        (s && vb_section_duration_ms(s, "lease", 60000, &r->opt.lease_ms, err) < 0) ||
        duration_option(r, "lease", &r->opt.lease_ms, err) < 0)
        return -1;
    return kind == VB_JOB_RESTORE ? restore_options(r, err) : backup_options(r, s, err);
}

static void on_signal(void *arg)
{
    struct vb_cli_run *r = arg;
    if (r->stopped) { /* asked twice: the leases clean up behind us */
        fprintf(stderr, "\nvbackup: stopped at once; the agents clean up when their leases run out\n");
        _exit(VB_EXIT_FAILED);
    }
    r->stopped = true;
    vb_progress_note(r->progress, "vbackup: stopping; once more to stop at once");
    vb_run_cancel(r->run);
}

int vb_cli_run_wait(struct vb_cli_run *r)
{
    vb_loop_signal(r->loop, SIGINT, on_signal, r);
    vb_loop_signal(r->loop, SIGTERM, on_signal, r);
    vb_loop_signal(r->loop, SIGHUP, on_signal, r);
    vb_loop_run(r->loop);
    return r->status;
}

void vb_cli_run_close(struct vb_cli_run *r)
{
    vb_run_free(r->run);
    vb_progress_free(r->progress);
    vb_run_store_free(r->env.store);
    vb_repo_close(r->repo);
    vb_run_state_free(r->env.state);
    vb_links_free(r->links);
    vb_loop_free(r->loop);
    free(r->asks);
    free(r->excludes);
    free(r->writers);
    free(r->paths);
    free(r->path_rules);
    free(r->requester);
    free(r->user);
    vb_strv_clear(&r->texts);
    vb_strv_clear(&r->named);
    vb_strv_clear(&r->resolver.maps);
}
