/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/provider_host.c - one provider's process: messages in, calls out, and the order of the calls kept.
 *
 *      begin_prepare*   end_prepare   pre_commit    commit       post_commit     pre_final      post_final
 *   NONE ------> PREPARING ----> PREPARED ----> PRECOMMITTED --> COMMITTED --> POSTCOMMITTED --> PREFINAL ----> CREATED
 *     any of them but NONE and CREATED --abort, failure, call out of order--> ABORTED
 *
 * What the provider logs between pre_commit and post_commit is held back: writing it could end up on a volume whose
 * writes are held (S-38).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/data_spec.h"
#include "agent/provider_internal.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "providers/registry.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define OPTIONS_MAX 65536u

#define OUR_FAULT "this is an error of the agent, not of yours: please report it"

/* ---- services ---- */

static void send_log(struct vb_phost *h, int level, const char *text)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_LOG);
    vb_msg_add_u64(&m, VB_F_LEVEL, level < 0 ? 0 : (uint64_t)level);
    vb_msg_add_str(&m, VB_F_TEXT, text);
    vb_msg_send_fd(h->fd, &m, NULL);
}

static void svc_log(void *host, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void svc_log(void *host, int level, const char *fmt, ...)
{
    struct vb_phost *h = host;
    va_list ap;
    va_start(ap, fmt);
    char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    if (h->hold_log) {
        vb_strv_take(&h->held, text);
        return;
    }
    send_log(h, level, text);
    vb_free_ptr(&text);
}

static void release_log(struct vb_phost *h)
{
    h->hold_log = false;
    for (size_t i = 0; i < h->held.n; i++)
        send_log(h, VB_LOG_NOTICE, h->held.v[i]);
    vb_strv_clear(&h->held);
}

static int svc_fail(void *host, enum vb_code code, const char *text, const char *hint)
{
    struct vb_phost *h = host;
    vb_fail(&h->error, code, "%s", text ? text : "no reason given");
    if (hint)
        vb_hint(&h->error, "%s", hint);
    return -1;
}

static const char *svc_option(void *host, const char *key)
{
    struct vb_phost *h = host;
    size_t len = strlen(key);
    for (size_t i = h->n_options; i-- > 0;)
        if (!strncmp(h->options[i], key, len) && h->options[i][len] == '=')
            return h->options[i] + len + 1;
    return NULL;
}

static const char *svc_state_dir(void *host)
{
    return ((struct vb_phost *)host)->state_dir;
}

static uint64_t svc_deadline(void *host)
{
    struct vb_phost *h = host;
    uint64_t now = vb_mover_now_ms();
    return !h->deadline_ms ? UINT64_MAX : h->deadline_ms > now ? h->deadline_ms - now : 0;
}

static const struct vb_provider_services services = { sizeof services, VB_PROVIDER_ABI, svc_log,      svc_fail,
                                                      svc_option,      svc_state_dir,   svc_deadline };

/* ---- failures ---- */

/* The short list of S-36: what the field knows, and what says plainly what the user can do. */
static bool code_allowed(enum vb_code c)
{
    return (c >= VB_E_BAD_STATE && c <= VB_E_REBOOT_REQUIRED) || c == VB_E_NO_MEMORY || c == VB_E_NO_SPACE ||
           c == VB_E_ACCESS_DENIED || c == VB_E_NOT_FOUND || c == VB_E_USAGE || c == VB_E_CONFIG || c == VB_E_TIMEOUT ||
           c == VB_E_CANCELLED || c == VB_E_EXISTS || c == VB_E_CORRUPT || c == VB_E_PREREQUISITE || c == VB_E_IO || c == VB_E_BUSY || c == VB_E_LIMIT;
}

/* Every refusal says what to do (S-37); a better word is the provider's duty. */
static void see_its_page(struct vb_phost *h)
{
    if (!h->error.hint)
        vb_hint(&h->error, "see vbackup-provider-%s(8)", h->p.name ? h->p.name : "NAME");
}

void vb_ph_failed(struct vb_phost *h, const char *call)
{
    if (h->error.code == VB_OK) {
        vb_fail(&h->error, VB_E_UNEXPECTED_PROVIDER_ERROR, "'%s' failed without a reason", call);
    } else if (!code_allowed(h->error.code)) {
        VB_AUTO_FREE char *text = vb_strdup(h->error.text);
        vb_fail(&h->error, VB_E_UNEXPECTED_PROVIDER_ERROR, "'%s' gave a code outside its contract: %s", call, text);
    } else {
        see_its_page(h);
        return;
    }
    see_its_page(h);
    if (h->hold_log)
        vb_strv_take(&h->held, vb_printf("%s: %s", h->p.name, h->error.text));
    else
        send_log(h, VB_LOG_ERROR, h->error.text);
}

/* ---- the set ---- */

static void set_state_to(struct vb_phost *h, enum set_state s)
{
    h->state = s;
    if (s == NONE || s == CREATED || s == ABORTED)
        vb_free_ptr(&h->set_id);
}

bool vb_ph_in_progress(const struct vb_phost *h)
{
    return h->state != NONE && h->state != CREATED && h->state != ABORTED;
}

/* Drops what is being made; the reason it is dropped for stays in h->error. */
void vb_ph_drop_set(struct vb_phost *h)
{
    if (!vb_ph_in_progress(h))
        return;
    VB_AUTO_ERROR keep = h->error;
    h->error = (struct vb_error)VB_ERROR_INIT;
    release_log(h);
    if (h->p.abort && h->p.abort(h->ctx, h->set_id) < 0)
        svc_log(h, VB_LOG_WARNING, "abort: %s", vb_error_text(&h->error));
    vb_error_clear(&h->error);
    h->error = keep;
    keep = (struct vb_error)VB_ERROR_INIT;
    set_state_to(h, ABORTED);
}

int vb_ph_veto(struct vb_phost *h, const char *call, const char *why)
{
    vb_fail(&h->error, VB_E_PROVIDER_VETO, "call '%s' %s", call, why);
    vb_hint(&h->error, OUR_FAULT);
    vb_ph_drop_set(h);
    return -1;
}

struct step {
    const char *call;
    enum set_state from, to;
    size_t offset; /* of the callback in struct vb_provider; post_commit is called by itself */
};

static const struct step STEPS[] = {
    { "end_prepare", PREPARING, PREPARED, offsetof(struct vb_provider, end_prepare) },
    { "pre_commit", PREPARED, PRECOMMITTED, offsetof(struct vb_provider, pre_commit) },
    { "commit", PRECOMMITTED, COMMITTED, offsetof(struct vb_provider, commit) },
    { "post_commit", COMMITTED, POSTCOMMITTED, 0 },
    { "pre_final", POSTCOMMITTED, PREFINAL, offsetof(struct vb_provider, pre_final) },
    { "post_final", PREFINAL, CREATED, offsetof(struct vb_provider, post_final) },
};

typedef int set_call(void *ctx, const char *set_id);

static int call_step(struct vb_phost *h, const struct step *s, unsigned *count)
{
    if (!s->offset)
        return h->p.post_commit ? h->p.post_commit(h->ctx, h->set_id, count) : 0;
    set_call *fn;
    memcpy(&fn, (const char *)&h->p + s->offset, sizeof fn);
    return fn ? fn(h->ctx, h->set_id) : 0;
}

static int run_step(struct vb_phost *h, const struct step *s, const char *set_id, struct vb_msg *done)
{
    unsigned count = 0;
    if (h->state != s->from)
        return vb_ph_veto(h, s->call, "came out of order");
    if (!set_id || !vb_guid_equal(set_id, h->set_id))
        return vb_ph_veto(h, s->call, "names another set");
    if (s->from == PREPARED)
        h->hold_log = true;
    if (s->from == COMMITTED)
        release_log(h);
    if (call_step(h, s, &count) < 0) {
        vb_ph_failed(h, s->call);
        vb_ph_drop_set(h);
        return -1;
    }
    /* A provider that takes volumes makes one shadow copy of each, or fails (B-41). */
    if (s->from == COMMITTED && h->p.begin_prepare && count != h->volumes) {
        vb_fail(&h->error, VB_E_UNEXPECTED_PROVIDER_ERROR, "it says that %u shadow copies were made, not %u",
                count, h->volumes);
        vb_hint(&h->error, "this is an error of the provider: use another one, and report it");
        vb_ph_drop_set(h);
        return -1;
    }
    set_state_to(h, s->to);
    if (s->from == COMMITTED)
        vb_msg_add_u64(done, VB_F_COUNT, count);
    return 0;
}

static int run_abort(struct vb_phost *h, const char *set_id)
{
    if (vb_ph_in_progress(h) && (!set_id || vb_guid_equal(set_id, h->set_id)))
        vb_ph_drop_set(h);
    return 0; /* after "created", or with nothing under way, it is ignored (S-34) */
}

/* ---- conversation ---- */

static int dispatch(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done)
{
    VB_AUTO_FREE char *call = vb_msg_str(m, VB_F_CALL), *set_id = vb_msg_str(m, VB_F_SET);
    uint64_t limit = vb_msg_u64(m, VB_F_DEADLINE_MS, 0);
    h->deadline_ms = limit ? vb_mover_now_ms() + limit : 0;
    if (!call)
        return vb_fail(&h->error, VB_E_PROTOCOL, "call without a name");
    for (size_t i = 0; i < VB_COUNT(STEPS); i++)
        if (!strcmp(call, STEPS[i].call))
            return run_step(h, &STEPS[i], set_id, done);
    if (!strcmp(call, "supports"))
        return vb_ph_supports(h, m, done);
    if (!strcmp(call, "begin_prepare"))
        return vb_ph_begin(h, m, set_id);
    if (!strcmp(call, "abort"))
        return run_abort(h, set_id);
    if (!strcmp(call, "snapshot_path"))
        return vb_ph_path(h, m, done);
    if (!strcmp(call, "delete"))
        return vb_ph_delete(h, m);
    if (!strcmp(call, "check"))
        return vb_ph_check(h, m);
    if (!strcmp(call, "query"))
        return vb_ph_query(h, done);
    if (!strcmp(call, "revert"))
        return vb_ph_revert(h, m, set_id);
    if (!strcmp(call, "make_writable"))
        return vb_ph_make_writable(h, m);
    if (!strcmp(call, "send"))
        return vb_ph_send(h, m, done);
    if (!strcmp(call, "receive"))
        return vb_ph_receive(h, m, set_id);
    return vb_fail(&h->error, VB_E_NOT_SUPPORTED, "there is no call '%s'", call);
}

static int answer(struct vb_phost *h, const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_MSG done = VB_MSG_INIT(VB_M_P_DONE);
    done.id = m->id;
    vb_error_clear(&h->error);
    uint64_t begin = vb_mover_now_us();
    int rc = dispatch(h, m, &done);
    vb_msg_add_u64(&done, VB_F_DURATION_US, vb_mover_now_us() - begin);
    if (rc < 0) {
        if (!h->error.hint)
            vb_hint(&h->error, OUR_FAULT);
        vb_msg_add_error(&done, &h->error);
    }
    return vb_msg_send_fd(h->fd, &done, err);
}

static int load(struct vb_phost *h, const struct vb_provider *p, struct vb_error *err)
{
    size_t size = p->size < sizeof h->p ? p->size : sizeof h->p;
    if (p->size < offsetof(struct vb_provider, open) || p->magic != VB_PROVIDER_MAGIC || p->abi != VB_PROVIDER_ABI)
        return vb_fail(err, VB_E_VERSION, "provider was made for interface %u, this agent has %u", (unsigned)p->abi,
                       (unsigned)VB_PROVIDER_ABI);
    memcpy(&h->p, p, size);
    return 0;
}

static int greet(struct vb_phost *h, const struct vb_error *why, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_P_READY);
    vb_msg_add_str(&m, VB_F_NAME, h->p.name);
    vb_msg_add_str(&m, VB_F_PROVIDER_ID, h->p.id);
    vb_msg_add_str(&m, VB_F_VERSION, h->p.version);
    vb_msg_add_u64(&m, VB_F_TYPE, h->p.type);
    vb_msg_add_u64(&m, VB_F_PREFERENCE, h->p.preference < 0 ? 0 : (uint64_t)h->p.preference);
    if (h->p.check)
        vb_msg_add_str(&m, VB_F_CALL, "check");
    vb_msg_add_error(&m, why);
    return vb_msg_send_fd(h->fd, &m, err);
}

static void host_clear(struct vb_phost *h)
{
    vb_ph_drop_set(h); /* S-35 */
    if (h->ctx && h->p.close)
        h->p.close(h->ctx);
    vb_free_ptr(&h->state_dir);
    vb_free_ptr(&h->set_id);
    vb_strv_clear(&h->held);
    vb_error_clear(&h->error);
}

static int make_state_dir(struct vb_phost *h, const char *state_dir, struct vb_error *err)
{
    VB_AUTO_FD int root = -1;
    h->state_dir = vb_printf("%s/providers/%s", state_dir, h->p.name);
    root = vb_open_dir_at(-1, "/", err);
    return root < 0 ? -1 : vb_mkdirs_at(root, h->state_dir + 1, 0700, err);
}

int vb_provider_host_serve(const struct vb_provider *p, int fd, const char *state_dir, const char *const *options,
                           size_t n_options, struct vb_error *err)
{
    VB_CLEANUP(host_clear) struct vb_phost h = { .fd = fd, .options = options, .n_options = n_options };
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (load(&h, p, &why) == 0 && make_state_dir(&h, state_dir, &why) == 0 && h.p.open &&
        h.p.open(&h, &services, &h.ctx) < 0) {
        vb_ph_failed(&h, "open");
        vb_error_copy(&why, &h.error);
    }
    if (greet(&h, &why, err) < 0)
        return -1;
    if (why.code != VB_OK)
        return vb_error_move(err, &why);
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int rc = vb_msg_recv_fd(fd, &in, &m, err);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
        if (m.type != VB_M_P_CALL)
            return vb_fail(err, VB_E_PROTOCOL, "agent sent message %u to a provider", (unsigned)m.type);
        if (answer(&h, &m, err) < 0)
            return -1;
    }
}

static int usage(const char *text)
{
    fprintf(stderr, "vbackup-agent: %s\nusage: vbackup-agent provider-host NAME --state-dir DIR "
                    "[--options] [-o KEY=VALUE]...\n",
            text);
    return VB_EXIT_USAGE;
}

/* "key=value\0"... from the descriptor, as strings in `text`. */
static int read_options(int fd, struct vb_buf *text, struct vb_strv *out, struct vb_error *err)
{
    for (;;) {
        char part[4096];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(err, errno, "options of the provider cannot be read");
        if (n == 0)
            break;
        vb_buf_add(text, part, (size_t)n);
        if (text->len > OPTIONS_MAX)
            return vb_fail(err, VB_E_LIMIT, "options of the provider are longer than %u bytes", OPTIONS_MAX);
    }
    for (size_t at = 0; at < text->len;) {
        const char *s = (const char *)text->data + at;
        const char *end = memchr(s, 0, text->len - at);
        if (!end)
            return vb_fail(err, VB_E_PROTOCOL, "options of the provider break off");
        vb_strv_add(out, s);
        at += (size_t)(end - s) + 1;
    }
    return 0;
}

int vb_provider_host_main(int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF text = VB_BUF_INIT;
    VB_CLEANUP(vb_strv_clear) struct vb_strv options = { NULL, 0, 0 };
    const char *name = NULL, *state_dir = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--state-dir") && i + 1 < argc)
            state_dir = argv[++i];
        else if (!strcmp(argv[i], "-o") && i + 1 < argc)
            vb_strv_add(&options, argv[++i]);
        else if (!strcmp(argv[i], "--options")) {
            if (read_options(VB_CHILD_SOCKET_FD + 1, &text, &options, &err) < 0) {
                vb_log_error(VB_LOG_ERROR, &err);
                return (int)vb_code_exit(err.code);
            }
            close(VB_CHILD_SOCKET_FD + 1);
        }
        else if (argv[i][0] != '-' && !name)
            name = argv[i];
        else
            return usage("provider-host does not understand its arguments");
    }
    if (!name || !state_dir || state_dir[0] != '/')
        return usage("provider-host needs a name and an absolute state directory");
    const struct vb_provider *p = vb_provider_find(name);
    if (!p) {
        fprintf(stderr, "vbackup-agent: there is no provider '%s'\n", name);
        return VB_EXIT_PREREQUISITE;
    }
    signal(SIGPIPE, SIG_IGN);
    if (vb_provider_host_serve(p, VB_CHILD_SOCKET_FD, state_dir, (const char *const *)options.v, options.n, &err) == 0)
        return VB_EXIT_DONE;
    vb_log_error(VB_LOG_ERROR, &err);
    return (int)vb_code_exit(err.code);
}
