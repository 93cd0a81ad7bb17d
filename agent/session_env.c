/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_env.c - the real environment of a session.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/service.h"
#include "agent/shadow_expose.h"
#include "agent/shadow_store.h"
#include "agent/spool.h"
#include "agent/reboot.h"
#include "agent/session_env_internal.h"
#include "agent/watchdog.h"
#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"

/* ---- children ---- */

static void on_child(void *arg, int status)
{
    struct proc *p = arg;
    for (struct proc **q = &p->env->procs; *q; q = &(*q)->next)
        if (*q == p) {
            *q = p->next;
            break;
        }
    if (status != 0) {
        VB_AUTO_FREE char *t = vb_wait_status_text(status);
        vb_log(VB_LOG_INFO, "child %d: %s", p->pid, t);
    }
    free(p);
}

struct args { const char **v; size_t n, cap; };

static void add(struct args *a, const char *s)
{
    VB_GROW(a->v, a->n, a->cap);
    a->v[a->n++] = s;
}

static void make_args(struct vb_real_env *e, enum vb_child_kind kind, const struct vb_child_ref *who, struct args *a)
{
    add(a, vb_self_path());
    switch (kind) {
    case VB_CHILD_CAPTURE:
        add(a, "capture");
        add(a, "--state-dir");
        add(a, e->agent->paths.state);
        break;
    case VB_CHILD_RESTORE: add(a, "restore"); break;
    case VB_CHILD_SHADOW: add(a, "shadow-stream"); break;
    case VB_CHILD_WRITER:
        add(a, "writer-host");
        if (e->agent->config_path) {
            add(a, "--config");
            add(a, e->agent->config_path);
        }
        add(a, "--state-dir");
        add(a, e->agent->paths.state);
        add(a, who->name);
        add(a, who->module);
        for (size_t i = 0; who->adhoc && i < e->adhoc.n; i++)
            add(a, e->adhoc.v[i]);
        break;
    case VB_CHILD_PROVIDER:
        add(a, "provider-host");
        add(a, who->name);
        add(a, "--state-dir");
        add(a, e->agent->paths.state);
        add(a, "--options");
        break;
    }
    add(a, NULL);
}

/* The entries of a provider's section, for nobody else's eyes: a file in memory. */
static int provider_options(struct vb_real_env *e, const char *name, struct vb_error *err)
{
    const struct vb_config_section *s = vb_config_find(e->agent->config, "provider", name);
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FD int fd = memfd_create("options", MFD_CLOEXEC);
    if (fd < 0)
        return vb_fail_errno(err, errno, "memory file cannot be made");
    for (size_t i = 0; s && i < s->n; i++)
        if (strcmp(s->entries[i].key, "enabled") != 0) {
            vb_buf_addf(&b, "%s=%s", s->entries[i].key, s->entries[i].value);
            vb_buf_add_char(&b, '\0');
        }
    if (vb_write_all(fd, b.data, b.len, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return vb_fail_errno(err, errno, "memory file cannot be rewound");
    return VB_STEAL_FD(fd);
}

static int env_start(void *arg, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out,
                     struct vb_error *err)
{
    struct vb_real_env *e = arg;
    struct args a = { NULL, 0, 0 };
    struct vb_spawn sp = VB_SPAWN_INIT;
    bool mover = kind == VB_CHILD_CAPTURE || kind == VB_CHILD_RESTORE || kind == VB_CHILD_SHADOW;
    VB_AUTO_FD int options = kind == VB_CHILD_PROVIDER ? provider_options(e, who->name, err) : -1;
    int pair[2];
    if (kind == VB_CHILD_PROVIDER && options < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vb_fail_errno(err, errno, "socket pair cannot be made");
    int pass[2] = { pair[1], mover ? e->data : options };
    make_args(e, kind, who, &a);
    sp.argv = a.v;
    sp.pass_fds = pass;
    sp.n_pass_fds = kind == VB_CHILD_WRITER ? 1 : 2;
    sp.die_with_parent = mover; /* hosts live on for a moment: they release what they hold when they lose us */
    pid_t pid = vb_spawn(&sp, err);
    close(pair[1]);
    if (mover)
        vb_close_fd(&e->data);
    free(a.v);
    if (pid < 0) {
        close(pair[0]);
        return -1;
    }
    struct proc *p = vb_alloc(sizeof *p);
    *p = (struct proc){ e, pid, e->procs };
    e->procs = p;
    vb_loop_child(e->loop, pid, on_child, p);
    out->conn = vb_conn_fd(e->loop, pair[0], pair[0]);
    out->pid = pid;
    out->handle = p;
    return 0;
}

/* The handle may have been reaped meanwhile: it is looked for. */
static void env_stop(void *arg, struct vb_child *c, bool kill_it)
{
    struct vb_real_env *e = arg;
    for (struct proc *p = e->procs; p && kill_it; p = p->next)
        if (p == c->handle)
            kill(p->pid, SIGKILL);
    vb_conn_free(c->conn);
    *c = (struct vb_child){ NULL, 0, NULL };
}

bool vb_real_env_children(const struct vb_real_env *e)
{
    return e->procs != NULL;
}

static bool env_data_ready(void *arg)
{
    struct vb_real_env *e = arg;
    struct pollfd p = { e->data, POLLIN, 0 };
    char byte;
    if (e->data < 0)
        return false;
    /* A stream that has ended while it lay here is none. */
    if (poll(&p, 1, 0) == 1 && recv(e->data, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        vb_close_fd(&e->data);
    return e->data >= 0;
}

void vb_real_env_data(struct vb_real_env *e, int fd)
{
    vb_close_fd(&e->data);
    vb_set_nonblock(fd, false);
    e->data = fd;
}

/* ---- the window ---- */

static void wd_done(void *arg, enum vb_watchdog_call call, const struct vb_error *err)
{
    struct vb_real_env *e = arg;
    vb_session_watchdog_done(e->session, call, err);
}

static void wd_fired(void *arg, const char *text)
{
    struct vb_real_env *e = arg;
    vb_session_watchdog_fired(e->session, text);
}

/* What we or the whole system would have to write to meanwhile. */
static const char *env_never_frozen(void *arg, const char *mount_point)
{
    const struct vb_real_env *e = arg;
    struct stat st, own;
    if (stat(mount_point, &st) < 0)
        return NULL; /* the watchdog opens it, and says so */
    if (stat("/", &own) == 0 && own.st_dev == st.st_dev)
        return "that holds the root directory";
    if (fstat(e->agent->paths.state_fd, &own) == 0 && own.st_dev == st.st_dev)
        return "that holds the agent's state and journals";
    if (fstat(e->agent->paths.runtime_fd, &own) == 0 && own.st_dev == st.st_dev)
        return "that holds the agent's sockets";
    return NULL;
}

static void env_watchdog(void *arg, enum vb_watchdog_call call, uint64_t ms, const int *pids, size_t n,
                         const struct vb_strv *mounts)
{
    struct vb_real_env *e = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (call == VB_WD_DISARM) {
        vb_watchdog_end(e->watchdog);
        e->watchdog = NULL;
    } else if (call == VB_WD_START) {
        vb_watchdog_end(e->watchdog);
        e->watchdog = vb_watchdog_start(e->loop, pids, n, mounts, wd_done, wd_fired, e, &err);
        if (!e->watchdog)
            vb_session_watchdog_done(e->session, call, &err);
    } else if (e->watchdog) {
        vb_watchdog_call(e->watchdog, call, ms);
    } else {
        vb_fail(&err, VB_E_UNEXPECTED, "there is no watchdog");
        vb_session_watchdog_done(e->session, call, &err);
    }
}

/* ---- services ---- */

static void service_done(void *arg, const struct vb_error *err)
{
    struct vb_real_env *e = arg;
    VB_AUTO_ERROR copy = VB_ERROR_INIT;
    if (err)
        vb_error_copy(&copy, err);
    vb_service_free(e->service);
    e->service = NULL;
    vb_session_service_done(e->session, err ? &copy : NULL);
}

static void env_service(void *arg, const char *name, bool start)
{
    struct vb_real_env *e = arg;
    vb_service_free(e->service);
    e->service = vb_service_run(e->loop, e->agent->config, name, start, e->t.limits.service, service_done, e);
}

/* ---- shadow copies ---- */

static int env_shadow_store(void *arg)
{
    struct vb_real_env *e = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (e->shadows < 0 && (e->shadows = vb_shadow_store_open(&e->agent->paths, &err)) < 0)
        vb_log_error(VB_LOG_ERROR, &err);
    return e->shadows;
}

/* Whoever works on a job, its worker or recover, holds the lock of its spool entry. */
static bool env_job_alive(void *arg, const char *job)
{
    struct vb_real_env *e = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FD int spool = vb_spool_open(&e->agent->paths, &err);
    VB_AUTO_FD int dir = spool < 0 ? -1 : vb_spool_job(spool, job, NULL);
    VB_AUTO_FD int lock = dir < 0 ? -1 : vb_spool_lock(dir, &err);
    return dir >= 0 && lock < 0; /* an entry that cannot be locked is somebody's */
}

/* Those of other jobs go with them, which costs these some time. */
static void env_forget_looks(void *arg)
{
    struct vb_real_env *e = arg;
    VB_AUTO_FREE char *looks = vb_path_join(e->agent->paths.state, VB_LOOKS_DIR);
    VB_AUTO_DIR DIR *d = opendir(looks);
    for (const struct dirent *f; d && (f = readdir(d));)
        if (f->d_name[0] != '.')
            unlinkat(dirfd(d), f->d_name, 0);
}

static bool env_is_there(void *arg, const char *path)
{
    struct stat st;
    (void)arg;
    return stat(path, &st) == 0;
}

static int env_expose(void *arg, const char *from, const char *at, struct vb_error *err)
{
    (void)arg;
    return vb_expose(from, at, err);
}

static int env_unexpose(void *arg, const char *at, struct vb_error *err)
{
    (void)arg;
    return vb_unexpose(at, err);
}

static int read_max(const struct vb_config_section *s, const char *key, unsigned *v, struct vb_error *err)
{
    const char *text = s ? vb_section_get(s, key) : NULL;
    uint32_t n;
    if (!text)
        return 0;
    if (!vb_parse_u32(text, &n) || n < 1 || n > 512) {
        VB_AUTO_FREE char *where = vb_section_where(s, key);
        return vb_fail(err, VB_E_CONFIG, "%s: '%s' is not a number from 1 to 512", where, text);
    }
    *v = n;
    return 0;
}

/* [shadow] (S-24) */
static int read_shadow_section(struct vb_real_env *e, struct vb_error *err)
{
    static const char *const KEYS[] = { "max-per-volume", "max-client-accessible", "never-revert", NULL };
    const struct vb_config_section *s = vb_config_find(e->agent->config, "shadow", NULL);
    if (s && vb_config_check_keys(s, KEYS, err) < 0)
        return -1;
    size_t n = 0;
    VB_AUTO_FREE const char **v = s ? vb_section_list(s, "never-revert", &n) : NULL;
    for (size_t i = 0; i < n; i++)
        vb_strv_add(&e->never_revert, v[i]);
    e->t.never_revert = &e->never_revert;
    return read_max(s, "max-per-volume", &e->t.max_shadows, err) < 0
               ? -1
               : read_max(s, "max-client-accessible", &e->t.max_client_accessible, err);
}

/* ---- to the worker ---- */

static void env_slot(void *arg, bool want)
{
    struct vb_real_env *e = arg;
    e->h.slot(e->arg, want);
}
static void env_reply(void *arg, const struct vb_msg *m)
{
    struct vb_real_env *e = arg;
    e->h.reply(e->arg, m);
}
static void env_event(void *arg, struct vb_msg *m)
{
    struct vb_real_env *e = arg;
    e->h.event(e->arg, m);
}
static void env_window(void *arg, bool inside)
{
    struct vb_real_env *e = arg;
    e->h.window(e->arg, inside);
}
/* ---- files that wait for a restart ---- */

static int env_reboot_ready(void *arg, struct vb_error *err)
{
    (void)arg;
    return vb_reboot_ready(err);
}

static char *env_reboot_stage(void *arg, const char *job, size_t n, const char *path, struct vb_error *err)
{
    return vb_reboot_stage(&((struct vb_real_env *)arg)->agent->paths, job, n, path, err);
}

static int env_reboot_commit(void *arg, const char *job, const char *component, const struct vb_strv *staged,
                             const struct vb_strv *final, struct vb_error *err)
{
    return vb_reboot_commit(&((struct vb_real_env *)arg)->agent->paths, job, component, staged, final, err);
}

static int env_reboot_discard(void *arg, const char *job, struct vb_error *err)
{
    return vb_reboot_discard(&((struct vb_real_env *)arg)->agent->paths, job, err);
}

static int env_reboot_report(void *arg, struct vb_strv *lines, struct vb_error *err)
{
    return vb_reboot_report(&((struct vb_real_env *)arg)->agent->paths, lines, err);
}

static int env_keep(void *arg, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct vb_real_env *e = arg;
    return e->h.keep(e->arg, name, p, n, err);
}
static void env_ended(void *arg, const struct vb_error *why)
{
    struct vb_real_env *e = arg;
    e->h.ended(e->arg, why);
}

struct vb_real_env *vb_real_env_new(struct vb_agent *a, struct vb_loop *l, struct vb_journal *j,
                                    const struct vb_real_env_hooks *h, void *arg, struct vb_error *err)
{
    struct vb_real_env *e = vb_alloc(sizeof *e);
    e->agent = a;
    e->loop = l;
    e->h = *h;
    e->arg = arg;
    e->data = e->shadows = -1;
    if (gethostname(e->host, sizeof e->host - 1) < 0)
        e->host[0] = '\0';
    e->t = (struct vb_session_env){
        .arg = e,
        .loop = l,
        .journal = j,
        .host = e->host,
        .writers = vb_real_env_writers,
        .providers = vb_real_env_providers,
        .mounts = vb_real_env_mounts,
        .subvolume = vb_subvolume_root,
        .exists = vb_real_env_exists,
        .replaceable = vb_real_env_replaceable,
        .start = env_start,
        .stop = env_stop,
        .data_ready = env_data_ready,
        .forget_looks = env_forget_looks,
        .watchdog = env_watchdog,
        .never_frozen = env_never_frozen,
        .window = env_window,
        .slot = env_slot,
        .service = env_service,
        .reply = env_reply,
        .event = env_event,
        .reboot_ready = env_reboot_ready,
        .reboot_stage = env_reboot_stage,
        .reboot_commit = env_reboot_commit,
        .reboot_discard = env_reboot_discard,
        .reboot_report = env_reboot_report,
        .keep = env_keep,
        .shadow_store = env_shadow_store,
        .job_alive = env_job_alive,
        .is_there = env_is_there,
        .expose = env_expose,
        .unexpose = env_unexpose,
        .ended = env_ended,
    };
    if (vb_limits_read(&e->t.limits, a->config, err) < 0 || read_shadow_section(e, err) < 0) {
        free(e);
        return NULL;
    }
    return e;
}

void vb_real_env_free(struct vb_real_env *e)
{
    if (!e)
        return;
    for (struct proc *p = e->procs, *next; p; p = next) {
        next = p->next;
        vb_loop_unchild(e->loop, p->pid);
        free(p);
    }
    vb_watchdog_end(e->watchdog);
    vb_service_free(e->service);
    vb_close_fd(&e->data);
    vb_close_fd(&e->shadows);
    vb_strv_clear(&e->adhoc);
    vb_strv_clear(&e->never_revert);
    free(e);
}

const struct vb_session_env *vb_real_env_table(const struct vb_real_env *e)
{
    return &e->t;
}

void vb_real_env_bind(struct vb_real_env *e, struct vb_session *s)
{
    e->session = s;
}
