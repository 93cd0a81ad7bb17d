/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_host.c - the process around one writer: how it starts, speaks with the agent, and notices the agent's
 * end.
 *
 * The main thread receives events and runs callbacks, one at a time.  A second thread only waits for the other end of
 * the socket to go away, so that a callback that hangs is not able to keep what it holds.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pwd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "agent/paths.h"
#include "agent/writer_host.h"
#include "agent/writer_internal.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/conn.h"
#include "wire/protocol.h"

/* ---- the end of the agent ---- */

static atomic_bool ending;
static atomic_bool in_callback;

bool vb_writer_is_ending(void)
{
    return atomic_load(&ending);
}

void vb_writer_set_busy(bool busy)
{
    atomic_store(&in_callback, busy);
}

static void on_term(int sig)
{
    (void)sig;
    atomic_store(&ending, true);
    shutdown(VB_WRITER_HOST_FD, SHUT_RDWR); /* the main thread sees the end of file and cleans up */
}

static void nap_ms(unsigned ms)
{
    struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000L };

    nanosleep(&t, NULL); /* lint: allow nanosleep, the watching thread has no loop */
}

/* Waits for the loss of the agent, then gives a running callback VB_WRITER_LOST_MS and the clean-up its own time.  The
 * process normally ends under this thread's feet. */
static void *watch_agent(void *arg)
{
    struct pollfd p = { .fd = VB_WRITER_HOST_FD, .events = POLLRDHUP };
    unsigned waited = 0;

    (void)arg;
    while (poll(&p, 1, -1) < 0 || (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0)
        ;
    bool was_busy = atomic_load(&in_callback);
    atomic_store(&ending, true);
    for (; was_busy && atomic_load(&in_callback) && waited < VB_WRITER_LOST_MS; waited += 20)
        nap_ms(20);
    if (waited >= VB_WRITER_LOST_MS)
        _exit(70);
    nap_ms(VB_WRITER_CLEANUP_MS);
    _exit(71);
}

static int start_watching(struct vb_error *err)
{
    pthread_t t;
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&t, NULL, watch_agent, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return vb_fail_errno(err, rc, "cannot start the thread that watches the agent");
    pthread_detach(t);
    return 0;
}

/* ---- the conversation ---- */

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* lint: allow clock_gettime, a process without a loop */
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void handle_timed(struct vb_host *h, struct vb_msg *m, struct vb_msg *out)
{
    uint64_t begin = now_us();
    vb_writer_handle_event(h, m, out);
    vb_msg_add_u64(out, VB_F_DURATION_US, now_us() - begin);
}

static void serve(struct vb_host *h)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    h->in = &in;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_MSG out = VB_MSG_INIT(VB_M_W_DONE);
        int rc = vb_msg_recv_fd(h->fd, &in, &m, &err);
        if (rc != 0) {
            if (rc < 0)
                vb_log_error(VB_LOG_WARNING, &err);
            vb_writer_wind_up(h, true);
            return;
        }
        if (m.type == VB_M_W_QUIT) {
            vb_writer_wind_up(h, false);
            return;
        }
        out.id = m.id;
        if (m.type == VB_M_W_EVENT)
            handle_timed(h, &m, &out);
        else if (m.type == VB_M_W_REPL)
            vb_writer_handle_replication(h, &m, &out);
        else
            vb_msg_add_error(&out,
                             &(struct vb_error){ VB_E_PROTOCOL, (char[]){ "a writer host takes events and calls of replication only" }, NULL });
        if (vb_msg_send_fd(h->fd, &out, &err) != 0) {
            vb_writer_wind_up(h, true);
            return;
        }
    }
}

/* ---- start ---- */

static void copy_entry(struct vb_config_section *to, const char *key, const char *value, const char *file,
                       unsigned line)
{
    VB_GROW(to->entries, to->n, to->cap);
    to->entries[to->n++] = (struct vb_config_entry){
        .key = vb_strdup(key),
        .value = vb_strdup(value),
        .file = vb_strdup(file),
        .line = line,
    };
}

static int prepare_process(struct vb_error *err)
{
    struct sigaction sa;
    VB_AUTO_FD int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (null < 0 || dup2(null, 0) < 0 || dup2(2, 1) < 0) /* what a writer prints goes to the diagnostics */
        return vb_fail_errno(err, errno, "cannot prepare the standard descriptors");
    vb_set_cloexec(VB_WRITER_HOST_FD, true);
    signal(SIGPIPE, SIG_IGN);
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_term;
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    return 0;
}

struct arguments {
    const char *config, *config_fd, *state_dir, *section, *module;
    char **options;
    int n_options;
};

/* The section of the file, and behind it what stands on the command line. */
static int gather_section(struct vb_host *h, const struct vb_config *c, const struct arguments *a, struct vb_error *err)
{
    char **options = a->options;
    int n = a->n_options;
    const struct vb_config_section *s = vb_config_find(c, "writer", h->section);

    h->cfg.kind = vb_strdup("writer");
    h->cfg.name = vb_strdup(h->section);
    h->cfg.file = vb_strdup(s != NULL ? s->file : "command line");
    h->cfg.line = s != NULL ? s->line : 0;
    for (size_t i = 0; s != NULL && i < s->n; i++)
        copy_entry(&h->cfg, s->entries[i].key, s->entries[i].value, s->entries[i].file, s->entries[i].line);
    for (int i = 0; i < n; i++) {
        const char *eq = strchr(options[i], '=');
        if (eq == NULL || eq == options[i])
            return vb_fail(err, VB_E_USAGE, "'%s' is not an option of a writer, expected KEY=VALUE", options[i]);
        VB_AUTO_FREE char *key = vb_strndup(options[i], (size_t)(eq - options[i]));
        copy_entry(&h->cfg, key, eq + 1, "command line", (unsigned)i + 1);
    }
    if (a->module != NULL)
        copy_entry(&h->cfg, "module", a->module, "command line", 1);
    struct vb_writer_entry e;
    int rc = vb_writer_entry_read(&h->cfg, &e, err);
    if (rc == 0) {
        h->module = VB_STEAL(e.module);
        h->instance_name = VB_STEAL(e.instance);
    }
    vb_writer_entry_clear(&e);
    return rc;
}

static bool parse_arguments(int argc, char **argv, struct arguments *a)
{
    int i = 1;

    memset(a, 0, sizeof *a);
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        const char **to = strcmp(argv[i], "--config") == 0      ? &a->config
                          : strcmp(argv[i], "--config-fd") == 0 ? &a->config_fd
                          : strcmp(argv[i], "--state-dir") == 0 ? &a->state_dir
                                                                : NULL;
        if (to == NULL)
            return false;
        *to = argv[i + 1];
    }
    if (i >= argc || argv[i][0] == '-' || (a->config != NULL && a->config_fd != NULL))
        return false;
    a->section = argv[i++];
    if (i < argc && strchr(argv[i], '=') == NULL)
        a->module = argv[i++];
    a->options = argv + i;
    a->n_options = argc - i;
    return true;
}

static struct vb_config *load_config(const struct arguments *a, struct vb_error *err)
{
    const char *path = a->config != NULL ? a->config : getenv("VBACKUP_CONFIG");
    VB_AUTO_BUF text = VB_BUF_INIT;
    uint32_t n;
    char chunk[4096];
    ssize_t k;

    if (a->config_fd == NULL)
        return path != NULL && *path != '\0' ? vb_config_load(path, err) : vb_config_empty();
    if (!vb_parse_u32(a->config_fd, &n) || n > 1023) {
        vb_fail(err, VB_E_USAGE, "'%s' is not a descriptor", a->config_fd);
        return NULL;
    }
    VB_AUTO_FD int fd = (int)n;
    while ((k = read(fd, chunk, sizeof chunk)) != 0 && text.len < (1u << 20)) {
        if (k < 0 && errno != EINTR) {
            vb_fail_errno(err, errno, "cannot read the configuration from descriptor %d", fd);
            return NULL;
        }
        if (k > 0)
            vb_buf_add(&text, chunk, (size_t)k);
    }
    return vb_config_parse("ad-hoc configuration", vb_buf_str(&text), text.len, err);
}

static int find_state_dir(struct vb_host *h, const struct arguments *a, struct vb_error *err)
{
    struct vb_paths paths = VB_PATHS_INIT;

    if (a->state_dir != NULL)
        return vb_writer_make_state_dir(h, a->state_dir, h->user, err);
    int rc = vb_paths_open(&paths, err);
    if (rc == 0)
        rc = vb_writer_make_state_dir(h, paths.state, h->user, err);
    vb_paths_clear(&paths);
    return rc;
}

static int start(struct vb_host *h, const struct arguments *a, struct vb_error *err)
{
    const char *user;

    if (prepare_process(err) != 0)
        return -1;
    struct vb_config *config = load_config(a, err);
    int rc = config != NULL ? gather_section(h, config, a, err) : -1;
    vb_config_free(config);
    if (rc != 0 || vb_writer_load(h, h->module, err) != 0 || vb_writer_check_section(h, err) != 0 ||
        vb_writer_apply_section(h, err) != 0)
        return -1;
    user = vb_section_get(&h->cfg, "user");
    if (user == NULL && h->w.run_as != NULL)
        user = h->w.run_as(h, vb_writer_service_list());
    h->user = vb_strdup(user);
    if (find_state_dir(h, a, err) != 0 || vb_writer_drop(h->user, err) != 0)
        return -1;
    if (access(h->state_dir, R_OK | W_OK | X_OK) != 0) {
        vb_fail_errno(err, errno, "the writer cannot use its state directory '%s'", h->state_dir);
        vb_hint(err, "every directory above it must let user '%s' pass (chmod a+x)",
                h->user != NULL ? h->user : "of the agent");
        return -1;
    }
    if (start_watching(err) != 0)
        return -1;
    vb_guid_new(h->instance_id);
    if (h->w.open != NULL && h->w.open(h, vb_writer_service_list(), &h->ctx) != 0) {
        if (h->failure.code != VB_OK)
            return vb_error_move(err, &h->failure);
        return vb_fail(err, VB_E_WRITER_NON_RETRYABLE, "writer '%s' could not be opened and gave no reason", h->w.name);
    }
    return 0;
}

static void fill_ready(const struct vb_host *h, struct vb_msg *m)
{
    const struct passwd *pw = getpwuid(geteuid());

    vb_msg_add_str(m, VB_F_WRITER, h->w.name);
    vb_msg_add_str(m, VB_F_CLASS, h->w.class_id);
    vb_msg_add_str(m, VB_F_INSTANCE, h->instance_id);
    vb_msg_add_str(m, VB_F_INSTANCE_NAME, h->instance_name);
    vb_msg_add_str(m, VB_F_VERSION, h->w.version);
    vb_msg_add_u64(m, VB_F_ABI, h->w.abi);
    vb_msg_add_u64(m, VB_F_LEVEL, (uint64_t)h->w.level);
    vb_msg_add_u64(m, VB_F_FREEZE_MS, h->w.freeze_timeout_ms);
    vb_msg_add_u64(m, VB_F_USAGE, (uint64_t)h->w.usage);
    vb_msg_add_u64(m, VB_F_SOURCE, (uint64_t)h->w.source);
    if (h->repl.size > 0) {
        vb_msg_add_u64(m, VB_F_REPL_CALLS, vb_writer_replication_calls(h));
        vb_msg_add_u64(m, VB_F_REPL_FLAGS, h->repl.flags);
    }
    vb_msg_add_str(m, VB_F_RUN_AS, h->user != NULL ? h->user : pw != NULL ? pw->pw_name : NULL);
}

static int dump(const char *module)
{
    struct vb_host h = { .fd = -1 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    if (vb_writer_load(&h, module, &err) != 0) {
        vb_log_error(VB_LOG_ERROR, &err);
        return (int)vb_code_exit(err.code);
    }
    printf("path=%s\nname=%s\nclass_id=%s\nversion=%s\nabi=%u\nstruct_size=%u\nusage=%s\nsource=%s\nlevel=%s\nfreeze_"
           "timeout_ms=%u\n",
           h.module_path, h.w.name, h.w.class_id, h.w.version != NULL ? h.w.version : "", h.w.abi, h.w.size,
           vb_usage_word(h.w.usage), vb_source_word(h.w.source), vb_level_word(h.w.level), h.w.freeze_timeout_ms);
    for (size_t i = 0; h.w.options != NULL && h.w.options[i] != NULL; i++)
        printf("option=%s\n", h.w.options[i]);
    for (int e = VB_EV_IDENTIFY; e < VB_EV_COUNT; e++)
        if (vb_writer_callback_of(&h, (enum vb_event)e) != NULL)
            printf("callback=%s\n", vb_event_word((enum vb_event)e));
    for (int c = VB_REPL_SIGNATURE; c < VB_REPL_COUNT; c++)
        if (vb_writer_replication_calls(&h) & (UINT64_C(1) << c))
            printf("replication=%s\n", vb_repl_call_word((enum vb_repl_call)c));
    free(h.module_path);
    return fflush(stdout) == 0 ? VB_EXIT_DONE : VB_EXIT_FAILED;
}

/* At once: no unloading, and no second walk over memory that the writer may have damaged. */
__attribute__((noreturn)) static void leave(int status)
{
    fflush(NULL);
    _exit(status);
}

int vb_writer_host_main(int argc, char **argv)
{
    static struct vb_host *h; /* lives as long as the process: a leak checker must find it when we leave at once */
    struct arguments a;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_MSG ready = VB_MSG_INIT(VB_M_W_READY);

    if (argc == 3 && strcmp(argv[1], "--dump") == 0)
        return dump(argv[2]);
    if (!parse_arguments(argc, argv, &a)) {
        fputs("usage: vbackup-agent writer-host [--config FILE | --config-fd N] [--state-dir DIR] SECTION [MODULE] "
              "[KEY=VALUE...]\n"
              "       vbackup-agent writer-host --dump MODULE\n",
              stderr);
        return VB_EXIT_USAGE;
    }
    h = vb_alloc(sizeof *h);
    h->fd = VB_WRITER_HOST_FD;
    h->section = vb_strdup(a.section);
    if (start(h, &a, &err) != 0) {
        vb_msg_add_error(&ready, &err);
        vb_msg_send_fd(h->fd, &ready, NULL);
        leave((int)vb_code_exit(err.code));
    }
    fill_ready(h, &ready);
    if (vb_msg_send_fd(h->fd, &ready, &err) == 0)
        serve(h);
    if (h->w.close != NULL)
        h->w.close(h->ctx);
    leave(VB_EXIT_DONE);
}
