/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/fault/fault.c - another provider, and what goes wrong with it: fails, hangs, dies or lies at any call.
 *
 * It hands every call to the provider named by the option `base`, which finds its own options in this section, except
 * where `fault` says otherwise.  So a real shadow copy can be half made, and the agent be watched cleaning up.
 * Options: enable, base, fault, once, inside.  vbackup-provider-fault(8) says what they mean.
 */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "providers/registry.h"
#include "providers/support/support.h"

enum kind { KIND_NONE, KIND_FAIL, KIND_HANG, KIND_CRASH, KIND_LIE, KIND_STOP, KIND_STOP_AFTER };

struct fault {
    struct vb_ps s;
    const struct vb_provider *base;
    void *ctx; /* of the base */
    const char *stop_after; /* the call under way, which stops when its work is done */
};

static const char *option(const struct fault *f, const char *key)
{
    return f->s.svc->option(f->s.host, key);
}

static bool is_word(const char *p, size_t n, const char *word)
{
    return n == strlen(word) && !strncmp(p, word, n);
}

/* What `fault` ("call:kind call:kind ...") says of this call. */
static enum kind kind_of(const struct fault *f, const char *call)
{
    static const char *const WORDS[] = { "", "fail", "hang", "crash", "lie", "stop", "stop-after" };
    for (const char *p = option(f, "fault"); p && *p; p += strspn(p, " ,")) {
        size_t n = strcspn(p, " ,"), c = strcspn(p, ": ,");
        if (c < n && is_word(p, c, call))
            for (int k = KIND_FAIL; k <= KIND_STOP_AFTER; k++)
                if (is_word(p + c + 1, n - c - 1, WORDS[k]))
                    return (enum kind)k;
        p += n;
    }
    return KIND_NONE;
}

/* With `once` it happens to who can remove the file of that name, with the call behind a dot, first. */
static bool still_to_happen(const struct fault *f, const char *call)
{
    const char *once = option(f, "once");
    char *token = once ? vb_ps_printf("%s.%s", once, call) : NULL;
    bool yes = !token || unlink(token) == 0;
    free(token);
    return yes;
}

/* Says in the file of `inside` that the call is under way, and who is in it; it goes on when the file is removed. */
static void stop(const struct fault *f, const char *call)
{
    const char *inside = option(f, "inside");
    const struct timespec pause_ = { 0, 2000000 };
    if (!inside)
        return;
    char *path = vb_ps_printf("%s.%s", inside, call), *text = vb_ps_printf("%d\n", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text))
        while (access(path, F_OK) == 0)
            nanosleep(&pause_, NULL);
    if (fd >= 0)
        close(fd);
    free(path);
    free(text);
}

/* At the end of every call. */
static void at_end(struct fault *f)
{
    const char *call = f->stop_after;
    f->stop_after = NULL;
    if (call)
        stop(f, call);
}

/* KIND_NONE: go on; KIND_FAIL: has been said; KIND_LIE: to be told by the caller. */
static enum kind misbehave(struct fault *f, const char *call)
{
    enum kind k = kind_of(f, call);
    if (k == KIND_NONE || !still_to_happen(f, call))
        return KIND_NONE;
    if (k == KIND_STOP)
        stop(f, call);
    if (k == KIND_STOP_AFTER)
        f->stop_after = call;
    if (k == KIND_STOP || k == KIND_STOP_AFTER)
        return KIND_NONE;
    while (k == KIND_HANG)
        pause();
    if (k == KIND_CRASH)
        raise(SIGKILL);
    if (k == KIND_FAIL)
        vb_ps_fail(&f->s, VB_E_PROVIDER_VETO, "Take 'fault' out of [provider fault].", "told to fail");
    return k;
}

static int fault_open(void *host, const struct vb_provider_services *svc, void **ctx)
{
    struct fault *f = vb_ps_alloc(sizeof *f);
    f->s = (struct vb_ps){ host, svc };
    *ctx = f;
    const char *name = option(f, "base");
    f->base = vb_provider_find(name ? name : "null");
    if (!f->base || !strcmp(f->base->name, "fault"))
        return vb_ps_fail(&f->s, VB_E_CONFIG, "Name another provider as 'base' in [provider fault].",
                          "there is no provider '%s' to put faults on", name);
    if (misbehave(f, "open") == KIND_FAIL)
        return -1;
    int rc = f->base->open ? f->base->open(host, svc, &f->ctx) : 0;
    at_end(f);
    return rc;
}

static void fault_close(void *ctx)
{
    struct fault *f = ctx;
    if (f->base && f->base->close && f->ctx)
        f->base->close(f->ctx);
    free(f);
}

static int fault_supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct fault *f = ctx;
    const char *enable = option(f, "enable");
    enum kind k = misbehave(f, "supports");
    if (k == KIND_FAIL)
        return -1;
    if (k == KIND_LIE) {
        out->supported = out->atomic = out->group_atomic = 1;
        out->hold = VB_HOLD_WRITERS;
        out->without_writers = VB_CONSISTENCY_FILE_SYSTEM;
        return 0;
    }
    if (!enable || strcasecmp(enable, "yes") != 0) {
        snprintf(out->why, sizeof out->why, "the fault provider is for tests; enable = yes");
        return 0;
    }
    int rc = f->base->supports ? f->base->supports(f->ctx, vol, out) : 0;
    at_end(f);
    return rc;
}

static int fault_begin(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct fault *f = ctx;
    enum kind k = misbehave(f, "begin_prepare");
    if (k != KIND_NONE)
        return k == KIND_FAIL ? -1 : 0;
    int rc = f->base->begin_prepare ? f->base->begin_prepare(f->ctx, set_id, vol) : 0;
    at_end(f);
    return rc;
}

typedef int set_call(void *ctx, const char *set_id);

/* A lie says that it was done. */
static int of_set(struct fault *f, const char *call, set_call *fn, const char *set_id)
{
    enum kind k = misbehave(f, call);
    if (k != KIND_NONE)
        return k == KIND_FAIL ? -1 : 0;
    int rc = fn ? fn(f->ctx, set_id) : 0;
    at_end(f);
    return rc;
}

#define OF_SET(call)                                                     \
    static int fault_##call(void *ctx, const char *set_id)               \
    {                                                                    \
        struct fault *f = ctx;                                           \
        return of_set(f, #call, f->base->call, set_id);                  \
    }
OF_SET(end_prepare)
OF_SET(pre_commit)
OF_SET(commit)
OF_SET(pre_final)
OF_SET(post_final)
OF_SET(abort)

static int fault_post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct fault *f = ctx;
    enum kind k = misbehave(f, "post_commit");
    if (k == KIND_FAIL)
        return -1;
    int rc = f->base->post_commit ? f->base->post_commit(f->ctx, set_id, n_created) : 0;
    if (k == KIND_LIE)
        *n_created += 1;
    at_end(f);
    return rc;
}

static int fault_path(void *ctx, const char *snapshot_id, const char *path, char **out)
{
    struct fault *f = ctx;
    enum kind k = misbehave(f, "snapshot_path");
    char *real = NULL;
    if (k == KIND_FAIL || (f->base->snapshot_path && f->base->snapshot_path(f->ctx, snapshot_id, path, &real) < 0))
        return -1;
    *out = k == KIND_LIE && real ? vb_ps_printf("%s-elsewhere", real) : vb_ps_strdup(real ? real : path);
    free(real);
    at_end(f);
    return 0;
}

static int fault_delete(void *ctx, const char *snapshot_id)
{
    struct fault *f = ctx;
    enum kind k = misbehave(f, "delete");
    if (k != KIND_NONE)
        return k == KIND_FAIL ? -1 : 0;
    int rc = f->base->delete_snapshot ? f->base->delete_snapshot(f->ctx, snapshot_id) : 0;
    at_end(f);
    return rc;
}

static int fault_query(void *ctx,
                       int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                                 const char *path, int64_t created_sec), void *arg)
{
    struct fault *f = ctx;
    enum kind k = misbehave(f, "query");
    if (k != KIND_NONE)
        return k == KIND_FAIL ? -1 : 0;
    int rc = f->base->query ? f->base->query(f->ctx, fn, arg) : 0;
    at_end(f);
    return rc;
}

static int fault_check(void *ctx, const char *snapshot_id)
{
    struct fault *f = ctx;
    enum kind k = misbehave(f, "check");
    if (k != KIND_NONE)
        return k == KIND_FAIL ? -1 : 0;
    int rc = f->base->check ? f->base->check(f->ctx, snapshot_id) : 0;
    at_end(f);
    return rc;
}

extern const struct vb_provider vb_provider_fault;
const struct vb_provider vb_provider_fault = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "b6f1e0a2-2f9b-4c07-9d5e-7a3c8e4f1d06",
    .name = "fault",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SOFTWARE,
    .preference = 1000, /* who configures it wants it */
    .open = fault_open,
    .close = fault_close,
    .supports = fault_supports,
    .begin_prepare = fault_begin,
    .end_prepare = fault_end_prepare,
    .pre_commit = fault_pre_commit,
    .commit = fault_commit,
    .post_commit = fault_post_commit,
    .pre_final = fault_pre_final,
    .post_final = fault_post_final,
    .abort = fault_abort,
    .snapshot_path = fault_path,
    .delete_snapshot = fault_delete,
    .query = fault_query,
    .check = fault_check,
};
