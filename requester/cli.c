/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parsing, help, configuration and error printing, all driven by the table of verbs.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "requester/cli.h"

const struct vb_cli_verb *const vb_verbs[] = {
    &vb_verb_init, &vb_verb_backup, &vb_verb_restore, &vb_verb_plan_backup, &vb_verb_plan_restore, &vb_verb_list,
    &vb_verb_show, &vb_verb_ls, &vb_verb_find,
    &vb_verb_cat, &vb_verb_diff, &vb_verb_stats, &vb_verb_mount, &vb_verb_copy, &vb_verb_import, &vb_verb_export, &vb_verb_check,
    &vb_verb_accept,
    &vb_verb_hold,
    &vb_verb_forget, &vb_verb_prune, &vb_verb_resume, &vb_verb_writers, &vb_verb_writers_metadata,
    &vb_verb_host_list, &vb_verb_host_test, &vb_verb_key_list, &vb_verb_key_add, &vb_verb_key_change, &vb_verb_key_remove,
    &vb_verb_key_sheet, &vb_verb_recover_requester,
    &vb_verb_shadow_create, &vb_verb_shadow_list, &vb_verb_shadow_providers, &vb_verb_shadow_volumes,
    &vb_verb_shadow_writers, &vb_verb_shadow_delete, &vb_verb_shadow_expose, &vb_verb_shadow_unexpose,
    &vb_verb_shadow_set, &vb_verb_shadow_revert, &vb_verb_shadow_break, &vb_verb_shadow_run,
    &vb_verb_shadow_export, &vb_verb_shadow_import, &vb_verb_shadow_send, &vb_verb_serve,
    &vb_verb_scope_add, &vb_verb_scope_set, &vb_verb_scope_list, &vb_verb_scope_rm, &vb_verb_scope_serve, &vb_verb_lock, &vb_verb_unlock, &vb_verb_replicate,
    &vb_verb_status, &vb_verb_resolve,
    &vb_verb_bundle_create, &vb_verb_bundle_verify, &vb_verb_bundle_apply, &vb_verb_bundle_ack, &vb_verb_completion, NULL
};

static const struct vb_opt global_opts[] = {
    { "repo", 'r', "LOCATION", "repository: a directory, sftp://, ssh:// or s3://... (or VBACKUP_REPOSITORY)" },
    { "config", 'c', "FILE", "configuration file (or VBACKUP_CONFIG)" },
    { "json", 0, NULL, "results and errors as JSON, one object per line" },
    { "quiet", 'q', NULL, "no progress and no notices" },
    { "verbose", 'v', NULL, "more about what is done; twice: everything" },
    { "help", 'h', NULL, "show this help" },
    { NULL, 0, NULL, NULL }
};

#define MAX_OPTS 48

static const struct vb_opt *opt_at(const struct vb_cli_verb *verb, int index)
{
    int i = 0;
    for (; global_opts[i].name; i++)
        if (i == index)
            return &global_opts[i];
    return verb->opts ? &verb->opts[index - i] : NULL;
}

bool vb_cli_flag(const struct vb_cli *cli, const char *name)
{
    return vb_cli_opt(cli, name) != NULL;
}

static const char *value_of(const char *pair, const char *name)
{
    size_t n = strlen(name);
    return strncmp(pair, name, n) == 0 && pair[n] == '=' ? pair + n + 1 : NULL;
}

const char *vb_cli_opt(const struct vb_cli *cli, const char *name)
{
    for (size_t i = cli->values.n; i-- > 0;) {
        const char *v = value_of(cli->values.v[i], name);
        if (v)
            return v;
    }
    return NULL;
}

size_t vb_cli_list(const struct vb_cli *cli, const char *name, const char ***v)
{
    size_t n = 0;
    *v = vb_alloc_n(cli->values.n + 1, sizeof **v);
    for (size_t i = 0; i < cli->values.n; i++) {
        const char *value = value_of(cli->values.v[i], name);
        if (value)
            (*v)[n++] = value;
    }
    return n;
}

const char *vb_cli_repository(const struct vb_cli *cli, struct vb_error *err)
{
    return vb_settings_repository(&cli->settings, vb_cli_opt(cli, "repo"), err);
}

json_t *vb_cli_text(const char *s)
{
    if (!s)
        return json_null();
    if (vb_utf8_valid(s, strlen(s)))
        return json_string(s);
    VB_AUTO_FREE char *escaped = vb_escape_terminal(s, strlen(s));
    return json_string(escaped);
}

json_t *vb_cli_message(const char *type)
{
    json_t *o = json_object();
    json_object_set_new(o, "message_type", json_string(type));
    json_object_set_new(o, "schema", json_integer(1));
    return o;
}

void vb_cli_json(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    puts(text ? text : "{}");
    fflush(stdout);
    free(text);
    json_decref(object);
}

int vb_cli_fail(const struct vb_cli *cli, const struct vb_error *err)
{
    int status = (int)vb_code_exit(err->code);
    VB_AUTO_FREE char *hint = err->hint ? vb_strdup(err->hint)
                              : err->code == VB_E_USAGE && cli->verb ? vb_printf("see 'vbackup %s --help'", cli->verb->name)
                                                                     : NULL;
    if (cli->json) {
        json_t *o = vb_cli_message("error");
        json_object_set_new(o, "code", json_string(vb_code_name(err->code)));
        json_object_set_new(o, "text", vb_cli_text(vb_error_text(err)));
        json_object_set_new(o, "hint", vb_cli_text(hint));
        json_object_set_new(o, "exit_status", json_integer(status));
        vb_cli_json(o);
    }
    VB_AUTO_FREE char *text = vb_escape_terminal(vb_error_text(err), strlen(vb_error_text(err)));
    fprintf(stderr, "vbackup: %s\n", text);
    if (hint) {
        VB_AUTO_FREE char *shown = vb_escape_terminal(hint, strlen(hint));
        fprintf(stderr, "  hint: %s\n", shown);
    }
    return status;
}

static void print_opts(const struct vb_opt *o)
{
    for (; o && o->name; o++) {
        VB_AUTO_FREE char *left = vb_printf("%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                                            o->letter ? ", " : "  ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-32s %s\n", left, o->help);
    }
}

int vb_cli_help(const struct vb_cli_verb *verb)
{
    if (verb) {
        printf("usage: vbackup %s [options] %s\n%s\n\n", verb->name, verb->args, verb->summary);
        if (verb->opts && verb->opts[0].name) {
            print_opts(verb->opts);
            putchar('\n');
        }
    } else {
        printf("usage: vbackup VERB [options] [arguments]\n"
               "Backs up and restores applications that live on one or several hosts.\n\n");
        for (size_t i = 0; vb_verbs[i]; i++)
            printf("  %-20s %s\n", vb_verbs[i]->name, vb_verbs[i]->summary);
        putchar('\n');
    }
    if (!verb)
        printf("To begin with:\n"
               "  vbackup init --repo DIR                a place to back up to\n"
               "  vbackup plan backup PATH...            what would happen\n"
               "  vbackup backup --repo DIR PATH...      without PATH: what the configured writers hold\n"
               "  vbackup list, show, ls --repo DIR      what there is\n"
               "  vbackup restore --repo DIR [BACKUP] [PATH...]\n\n");
    printf("Options of every verb:\n");
    print_opts(global_opts);
    printf("\nManual pages: vbackup(1), vbackup-%s(1)\n", verb ? verb->name : "VERB");
    return VB_EXIT_DONE;
}

/* "host list": two words of the command line may name one verb. */
static const struct vb_cli_verb *find_verb(int argc, char **argv, int *words)
{
    for (size_t i = 0; vb_verbs[i]; i++) {
        const char *space = strchr(vb_verbs[i]->name, ' ');
        size_t first = space ? (size_t)(space - vb_verbs[i]->name) : strlen(vb_verbs[i]->name);
        if (strlen(argv[1]) != first || strncmp(argv[1], vb_verbs[i]->name, first) != 0)
            continue;
        if (space) {
            if (argc < 3 || strcmp(argv[2], space + 1) != 0)
                continue;
            *words = 2;
            return vb_verbs[i];
        }
        /* the longer name wins: "writers metadata" before "writers" */
        for (size_t k = 0; argc > 2 && vb_verbs[k]; k++) {
            VB_AUTO_FREE char *two = vb_printf("%s %s", argv[1], argv[2]);
            if (strcmp(vb_verbs[k]->name, two) == 0) {
                *words = 2;
                return vb_verbs[k];
            }
        }
        *words = 1;
        return vb_verbs[i];
    }
    return NULL;
}

/* Errors that come before the options are known ask the arguments themselves. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static int usage_error(struct vb_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int usage_error(struct vb_cli *cli, const char *fmt, ...)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    vb_fail(&err, VB_E_USAGE, "%s", text);
    vb_hint(&err, "see 'vbackup %s%s--help'", cli->verb ? cli->verb->name : "", cli->verb ? " " : "");
    return vb_cli_fail(cli, &err);
}

/* What getopt_long refused, in our words: it prints nothing itself. */
static int bad_option(struct vb_cli *cli, int c, char **argv)
{
    const char *arg = optind > 0 && argv[optind - 1] ? argv[optind - 1] : "";
    VB_AUTO_FREE char *letter = optopt > 0 && optopt < 1000 ? vb_printf("-%c", optopt) : NULL;
    const char *name = letter                       ? letter
                       : optopt >= 1000             ? opt_at(cli->verb, optopt - 1000)->name
                                                    : arg;
    if (c == ':')
        return usage_error(cli, "option '%s%s' needs a value", letter ? "" : "--", name);
    if (optopt >= 1000)
        return usage_error(cli, "option '--%s' takes no value", name);
    return usage_error(cli, "there is no option '%s', or it is not clear which one is meant", name);
}

static int parse(struct vb_cli *cli, int argc, char **argv, bool *help)
{
    struct option longs[MAX_OPTS];
    char shorts[2 * MAX_OPTS + 3] = ":";
    int n = 0;
    size_t s = 1;
    memset(longs, 0, sizeof longs);
    for (const struct vb_opt *o; n < MAX_OPTS - 1 && (o = opt_at(cli->verb, n)) && o->name; n++) {
        longs[n].name = o->name;
        longs[n].has_arg = o->arg ? required_argument : no_argument;
        longs[n].val = 1000 + n;
        if (o->letter) {
            shorts[s++] = o->letter;
            if (o->arg)
                shorts[s++] = ':';
        }
    }
    optind = 1;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        int index = c - 1000;
        if (c == '?' || c == ':')
            return bad_option(cli, c, argv);
        for (int i = 0; c < 1000 && i < n; i++)
            if (opt_at(cli->verb, i)->letter == c)
                index = i;
        const struct vb_opt *o = opt_at(cli->verb, index);
        vb_strv_take(&cli->values, vb_printf("%s=%s", o->name, optarg ? optarg : "yes"));
        if (strcmp(o->name, "verbose") == 0)
            cli->verbose++;
        if (strcmp(o->name, "help") == 0)
            *help = true;
    }
    cli->argc = argc - optind;
    cli->argv = argv + optind;
    return 0;
}

/* Number of arguments before the verb: options of every verb may stand there. */
static int leading(int argc, char **argv)
{
    int i = 1;
    while (i < argc && argv[i][0] == '-' && argv[i][1]) {
        bool takes = false;
        for (const struct vb_opt *o = global_opts; o->name && o->arg; o++)
            takes = takes || (argv[i][1] == '-' ? strcmp(argv[i] + 2, o->name) == 0
                                                : argv[i][1] == o->letter && !argv[i][2]);
        i += takes ? 2 : 1;
    }
    return i < argc ? i - 1 : 0;
}

/* Puts them behind the verb. */
static void verb_first(int argc, char **argv)
{
    int n = leading(argc, argv), words = 0, rest = argc - n;
    VB_AUTO_FREE char **options = vb_memdup(argv + 1, (size_t)n * sizeof *argv);
    if (n == 0)
        return;
    memmove(argv + 1, argv + 1 + n, (size_t)(rest - 1) * sizeof *argv);
    if (!find_verb(rest, argv, &words))
        words = 1;
    memmove(argv + 1 + words + n, argv + 1 + words, (size_t)(rest - 1 - words) * sizeof *argv);
    memcpy(argv + 1 + words, options, (size_t)n * sizeof *argv);
}

int vb_cli_main(int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_cli cli = { 0 };
    int words = 0, status;
    bool help = false;

    signal(SIGPIPE, SIG_IGN);
    vb_log_init("vbackup: ");
    cli.json = wants_json(argc, argv);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        if (argc > 2) {
            cli.verb = find_verb(argc - 1, argv + 1, &words);
            return cli.verb ? vb_cli_help(cli.verb) : usage_error(&cli, "there is no verb '%s'", argv[2]);
        }
        vb_cli_help(NULL);
        return argc < 2 ? VB_EXIT_USAGE : VB_EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("vbackup %s\n", PACKAGE_VERSION);
        return VB_EXIT_DONE;
    }
    verb_first(argc, argv);
    cli.verb = find_verb(argc, argv, &words);
    if (!cli.verb)
        return usage_error(&cli, "there is no verb '%s'", argv[1]);
    argv[words] = argv[0]; /* getopt names the program in its messages */
    status = parse(&cli, argc - words, argv + words, &help);
    if (status != 0)
        goto out;
    if (help) {
        status = vb_cli_help(cli.verb);
        goto out;
    }
    if (cli.argc < cli.verb->min_args || (cli.verb->max_args >= 0 && cli.argc > cli.verb->max_args)) {
        status = usage_error(&cli, "%s, usage: vbackup %s [options] %s",
                             cli.argc < cli.verb->min_args ? "an argument is missing" : "there are too many arguments",
                             cli.verb->name, cli.verb->args);
        goto out;
    }
    cli.json = vb_cli_flag(&cli, "json");
    cli.quiet = vb_cli_flag(&cli, "quiet");
    cli.tty = isatty(STDERR_FILENO) == 1;
    if (cli.verbose || cli.quiet)
        vb_log_set_level(cli.quiet ? VB_LOG_ERROR : cli.verbose > 1 ? VB_LOG_DEBUG : VB_LOG_INFO);
    if (vb_settings_load(&cli.settings, vb_cli_opt(&cli, "config"), &err) < 0)
        status = vb_cli_fail(&cli, &err);
    else
        status = cli.verb->run(&cli);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "vbackup: standard output: %s\n", strerror(errno));
        status = (int)vb_exit_worse((enum vb_exit)status, VB_EXIT_FAILED);
    }
out:
    vb_strv_clear(&cli.values);
    vb_settings_clear(&cli.settings);
    return status;
}
