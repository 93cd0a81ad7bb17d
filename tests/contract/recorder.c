/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/recorder.c - a writer whose application is one file, and that writes down each call of its replication
 * block.  -DRECORDER_SECRET: its payload is secret.  -DRECORDER_ONLINE: propagate needs the target.
 *
 *   log = FILE        a line for each call: "NAME CALL [TARGET same|differs]"
 *   content = FILE    what is replicated; a missing one is empty
 *   fail = CALL...    these calls fail
 *   hang = CALL...    these do not return
 *   crash = CALL...   these end the process
 *   fixed = N         signature goes through the shim for fixed buffers: N bytes of 's'
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vbackup/writer.h>
#include <vbackup/writer_buffer.h>

static const struct vb_writer_services *svc;

static void note(struct vb_host *h, const char *text)
{
    const char *path = svc->option(h, "log"), *name = svc->option(h, "name");
    FILE *f = path != NULL ? fopen(path, "a") : NULL;

    if (f == NULL)
        return;
    fprintf(f, "%s %s\n", name != NULL ? name : "recorder", text);
    fclose(f);
}

static int has_word(struct vb_host *h, const char *key, const char *word)
{
    const char *v = svc->option(h, key);
    size_t n = strlen(word);

    for (const char *p = v; p != NULL && (p = strstr(p, word)) != NULL; p += n)
        if ((p == v || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
            return 1;
    return 0;
}

/* How the call goes on; -1 it fails. */
static int misbehave(struct vb_host *h, const char *call)
{
    while (has_word(h, "hang", call))
        sleep(1);
    if (has_word(h, "crash", call))
        abort();
    return has_word(h, "fail", call) ? svc->fail(h, VB_E_WRITER_NON_RETRYABLE, "told to fail", "tell it otherwise") : 0;
}

static int begin(struct vb_host *h, const char *call, const char *target, int differs)
{
    char line[200];

    snprintf(line, sizeof line, "%s%s%s%s", call, target != NULL ? " " : "", target != NULL ? target : "",
             target == NULL ? "" : differs ? " differs" : " same");
    note(h, line);
    return misbehave(h, call);
}

static int copy_content(struct vb_host *h, struct vb_sink *out)
{
    const char *path = svc->option(h, "content");
    unsigned char b[1000]; /* pieces that fit nothing */
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1, result = 0;
    ssize_t n;

    while (fd >= 0 && result == 0 && (n = read(fd, b, sizeof b)) > 0)
        result = out->write(out, b, (size_t)n);
    if (fd >= 0)
        close(fd);
    return result;
}

static int fill(void *ctx, struct vb_host *h, void *buffer, uint32_t size, uint32_t *used)
{
    char line[60];

    (void)ctx;
    *used = (uint32_t)strtoul(svc->option(h, "fixed"), NULL, 10);
    snprintf(line, sizeof line, "buffer %u", size);
    note(h, line);
    if (*used > size)
        return 1;
    memset(buffer, 's', *used);
    return 0;
}

static int signature(void *ctx, struct vb_host *h, struct vb_sink *out)
{
    if (begin(h, "signature", NULL, 0) != 0)
        return -1;
    return svc->option(h, "fixed") != NULL ? vb_buffer_to_sink(fill, ctx, h, out) : copy_content(h, out);
}

static int serialize(void *ctx, struct vb_host *h, struct vb_sink *out)
{
    (void)ctx;
    return begin(h, "serialize", NULL, 0) != 0 ? -1 : copy_content(h, out);
}

static int propagate(void *ctx, struct vb_host *h, const char *target, int differs)
{
    (void)ctx;
    return begin(h, "propagate", target, differs);
}

static int take(void *ctx, struct vb_host *h, const void *buffer, uint32_t size)
{
    const char *path = svc->option(h, "content");
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

    (void)ctx;
    if (fd < 0 || write(fd, buffer, size) != (ssize_t)size)
        return svc->fail(h, VB_E_IO, "the content cannot be written", NULL);
    close(fd);
    return 0;
}

static int deserialize(void *ctx, struct vb_host *h, struct vb_payload *in)
{
    svc->log(h, VB_WLOG_NOTICE, "has %llu ms", (unsigned long long)svc->deadline_ms(h));
    return begin(h, "deserialize", NULL, 0) != 0 ? -1 : vb_buffer_from_payload(take, ctx, h, in);
}

static int propagate2(void *ctx, struct vb_host *h, const char *target, int differs)
{
    (void)ctx;
    return begin(h, "propagate2", target, differs);
}

static int open_it(struct vb_host *h, const struct vb_writer_services *s, void **ctx)
{
    (void)ctx;
    svc = s;
    return has_word(h, "fail", "open") ? svc->fail(h, VB_E_CONFIG, "told not to open", NULL) : 0;
}

static int nothing(void *ctx, struct vb_host *h)
{
    (void)ctx;
    (void)h;
    return 0;
}

static const char *const options[] = { "name", "log", "content", "fail", "hang", "crash", "fixed", NULL };
static const struct vb_replication block = {
    .size = sizeof block,
#if defined(RECORDER_SECRET)
    .flags = VB_REPLICATION_SECRET,
#elif defined(RECORDER_ONLINE)
    .flags = VB_REPLICATION_NEEDS_ONLINE,
#endif
    .signature = signature,
    .serialize = serialize,
    .propagate = propagate,
    .deserialize = deserialize,
    .propagate2 = propagate2,
};
static const struct vb_writer recorder = {
    .size = sizeof recorder,
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0f0f",
    .name = "recording writer",
    .version = "1",
    .usage = VB_USAGE_OTHER,
    .options = options,
    .open = open_it,
    .identify = nothing,
    .freeze = nothing,
    .thaw = nothing,
    .abort = nothing,
    .replication = &block,
};
VB_REGISTER_WRITER(recorder)
