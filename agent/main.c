/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/main.c - vbackup-agent: reads the configuration, finds the directories, and opens the door that was asked for.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/capture.h"
#include "agent/provider_host.h"
#include "agent/reboot.h"
#include "agent/recover.h"
#include "agent/restore.h"
#include "agent/shadow_stream.h"
#include "agent/supervisor.h"
#include "agent/worker.h"
#include "agent/writer_host.h"
#include "base/log.h"
#include "base/mem.h"

struct door {
    const char *word;
    int (*main)(struct vb_agent *a, int argc, char **argv); /* one of both */
    int (*child)(int argc, char **argv);                    /* reads what it needs from its arguments */
};

static const struct door DOORS[] = {
    { "relay", vb_relay_main, NULL },
    { "supervisor", vb_supervisor_main, NULL },
    { "worker", vb_worker_main, NULL },
    { "watchdog", vb_watchdog_main, NULL },
    { "recover", vb_recover_main, NULL },
    { "replace", vb_reboot_main, NULL },
    { "status", vb_status_main, NULL },
    { "writer-host", NULL, vb_writer_host_main },
    { "provider-host", NULL, vb_provider_host_main },
    { "capture", NULL, vb_capture_main },
    { "restore", NULL, vb_restore_main },
    { "shadow-stream", NULL, vb_shadow_stream_main },
};

static const char HELP[] =
    "usage: vbackup-agent [--config FILE] [COMMAND [ARGUMENT...]]\n"
    "\n"
    "Without a command it speaks to a vbackup on standard input and output; this is how `vbackup` starts it,\n"
    "here and over SSH.  Commands for people:\n"
    "\n"
    "  status        what the supervisor of this user is doing\n"
    "  supervisor    run the supervisor in the foreground (for a service manager)\n"
    "  recover JOB   clean up after a job whose worker died\n"
    "  replace       put files in place that a restore left for the next boot (for a service manager)\n"
    "\n"
    "Commands that the agent starts by itself: relay, worker, watchdog, writer-host, provider-host, capture, restore,\n"
    "shadow-stream.\n"
    "\n"
    "  --config FILE  configuration (else VBACKUP_CONFIG, else the user's or the system's usual place)\n"
    "  --version      version and protocol\n"
    "  --help         this text\n";

static char *usual_config(void)
{
    const char *v = getenv("VBACKUP_CONFIG");
    if (v && v[0])
        return vb_strdup(v);
    char *path = NULL;
    if (geteuid() != 0) {
        const char *x = getenv("XDG_CONFIG_HOME"), *h = getenv("HOME");
        if (x && x[0] == '/')
            path = vb_printf("%s/vbackup/vbackup.conf", x);
        else if (h && h[0] == '/')
            path = vb_printf("%s/.config/vbackup/vbackup.conf", h);
        if (path && access(path, F_OK) == 0)
            return path;
        vb_free_ptr(&path);
    }
    path = vb_strdup(VB_SYSCONFDIR "/vbackup/vbackup.conf");
    if (access(path, F_OK) != 0)
        vb_free_ptr(&path);
    return path;
}

static int usage(const char *text, const char *word)
{
    fprintf(stderr, "vbackup-agent: %s '%s'\n%s", text, word, HELP);
    return VB_EXIT_USAGE;
}

static int run(struct vb_agent *a, const struct door *d, int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *ident = vb_printf("vbackup-agent[%s]", d->word);
    vb_log_init(ident);
    signal(SIGPIPE, SIG_IGN);
    if (d->child)
        return d->child(argc, argv);
    a->config = a->config_path ? vb_config_load(a->config_path, &err) : vb_config_empty();
    if (!a->config || vb_paths_open(&a->paths, &err) < 0) {
        vb_log_error(VB_LOG_ERROR, &err);
        return (int)vb_code_exit(err.code);
    }
    if (a->config_path)
        setenv("VBACKUP_CONFIG", a->config_path, 1); /* children read the same file */
    return d->main(a, argc, argv);
}

int main(int argc, char **argv)
{
    struct vb_agent a = { NULL, NULL, VB_PATHS_INIT };
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "--version")) {
            printf("vbackup-agent %s\n", PACKAGE_VERSION);
            return VB_EXIT_DONE;
        }
        if (!strcmp(argv[i], "--help")) {
            fputs(HELP, stdout);
            return VB_EXIT_DONE;
        }
        if (!strcmp(argv[i], "--config")) {
            if (++i == argc)
                return usage("a file must follow", "--config");
            vb_free_ptr(&a.config_path);
            a.config_path = vb_strdup(argv[i]);
        } else if (!strncmp(argv[i], "--config=", 9)) {
            vb_free_ptr(&a.config_path);
            a.config_path = vb_strdup(argv[i] + 9);
        } else {
            return usage("unknown option", argv[i]);
        }
    }
    if (!a.config_path)
        a.config_path = usual_config();
    char *absolute = a.config_path ? realpath(a.config_path, NULL) : NULL;
    if (absolute) { /* the supervisor and all that it starts run in another directory */
        free(a.config_path);
        a.config_path = absolute;
    }
    static char relay[] = "relay";
    static char *no_args[] = { relay, NULL };
    const char *word = i < argc ? argv[i] : relay;
    int status = -1;
    for (size_t k = 0; k < VB_COUNT(DOORS) && status < 0; k++)
        if (!strcmp(DOORS[k].word, word))
            status = i < argc ? run(&a, &DOORS[k], argc - i, argv + i) : run(&a, &DOORS[k], 1, no_args);
    if (status < 0)
        status = usage("unknown command", word);
    vb_config_free(a.config);
    vb_paths_clear(&a.paths);
    vb_free_ptr(&a.config_path);
    return status;
}
