/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/service.c - starting and stopping services.
 */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/service.h"
#include "base/process.h"

struct vb_service {
    struct vb_loop *loop;
    char *name;
    bool start, timed_out;
    pid_t pid;
    struct vb_timer *timer;
    struct vb_error err;
    vb_service_fn *fn;
    void *arg;
};

static bool name_valid(const char *s)
{
    static const char ALLOWED[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._:-\\";
    size_t n = strlen(s);
    return n > 0 && n < 256 && s[0] != '-' && s[0] != '.' && strspn(s, ALLOWED) == n;
}

void vb_service_free(struct vb_service *s)
{
    if (!s)
        return;
    vb_loop_unpost(s->loop, s);
    vb_timer_cancel(s->timer);
    if (s->pid > 0) {
        vb_loop_unchild(s->loop, s->pid);
        kill(-s->pid, SIGKILL);
    }
    vb_error_clear(&s->err);
    free(s->name);
    free(s);
}

static void tell(void *arg)
{
    struct vb_service *s = arg;
    s->fn(s->arg, s->err.code != VB_OK ? &s->err : NULL);
}

static void on_limit(void *arg)
{
    struct vb_service *s = arg;
    s->timer = NULL;
    s->timed_out = true;
    kill(-s->pid, SIGKILL);
}

static void on_exit_status(void *arg, int status)
{
    struct vb_service *s = arg;
    s->pid = 0;
    vb_timer_cancel(s->timer);
    s->timer = NULL;
    if (s->timed_out) {
        vb_fail(&s->err, VB_E_TIMEOUT, "service '%s' was not %s in time", s->name, s->start ? "started" : "stopped");
    } else if (status != 0) {
        VB_AUTO_FREE char *t = vb_wait_status_text(status);
        vb_fail(&s->err, VB_E_IO, "command to %s service '%s' failed: %s", s->start ? "start" : "stop", s->name, t);
        vb_hint(&s->err, "run the command by hand and see what it says");
    }
    tell(s);
}

static void split(const char *text, struct vb_strv *words)
{
    while (*text) {
        size_t n = strcspn(text, " \t");
        if (n)
            vb_strv_take(words, vb_strndup(text, n));
        text += n;
        text += strspn(text, " \t");
    }
}

static void run(struct vb_service *s, const char *command, uint64_t limit_ms)
{
    struct vb_strv words = { NULL, 0, 0 };
    struct vb_spawn sp = VB_SPAWN_INIT;
    if (command) {
        split(command, &words);
    } else {
        vb_strv_add(&words, "systemctl");
        vb_strv_add(&words, s->start ? "start" : "stop");
        vb_strv_add(&words, "--");
        vb_strv_add(&words, s->name);
    }
    const char **argv = vb_alloc_n(words.n + 1, sizeof *argv);
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.v[i];
    sp.argv = argv;
    sp.search = true;
    sp.new_group = true;
    if (words.n == 0) {
        vb_fail(&s->err, VB_E_CONFIG, "command of service '%s' is empty", s->name);
    } else if ((s->pid = vb_spawn(&sp, &s->err)) > 0) {
        vb_loop_child(s->loop, s->pid, on_exit_status, s);
        s->timer = vb_loop_after(s->loop, limit_ms, on_limit, s);
    } else if (!command) {
        vb_hint(&s->err, "write a section [service %s] with start-command and stop-command", s->name);
    }
    free(argv);
    vb_strv_clear(&words);
}

struct vb_service *vb_service_run(struct vb_loop *l, const struct vb_config *c, const char *name, bool start,
                                  uint64_t limit_ms, vb_service_fn *fn, void *arg)
{
    static const char *const KEYS[] = { "start-command", "stop-command", NULL };
    const struct vb_config_section *sec = vb_config_find(c, "service", name);
    struct vb_service *s = vb_alloc(sizeof *s);
    s->loop = l;
    s->name = vb_strdup(name);
    s->start = start;
    s->fn = fn;
    s->arg = arg;
    if (!name_valid(name))
        vb_fail(&s->err, VB_E_CONFIG, "'%s' cannot be the name of a service", name);
    else if (!sec || vb_config_check_keys(sec, KEYS, &s->err) == 0)
        run(s, sec ? vb_section_get(sec, start ? "start-command" : "stop-command") : NULL, limit_ms);
    if (s->pid <= 0) {
        s->pid = 0;
        if (s->err.code == VB_OK)
            vb_fail(&s->err, VB_E_UNEXPECTED, "service '%s' cannot be handled", name);
        vb_loop_post(l, tell, s);
    }
    return s;
}
