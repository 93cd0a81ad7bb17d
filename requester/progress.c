/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress with rate and estimated time left. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "requester/progress.h"

struct vb_progress {
    const struct vb_cli *cli;
    struct vb_loop *loop;
    char *what;
    uint64_t begin_ms, drawn_ms;
    uint64_t rate_ms, rate_bytes; /* where the current rate is measured from */
    double rate;                  /* bytes per second, smoothed */
    bool line;                    /* a line stands on the terminal */
};

struct vb_progress *vb_progress_new(const struct vb_cli *cli, struct vb_loop *loop, const char *what)
{
    struct vb_progress *p = vb_alloc(sizeof *p);
    p->cli = cli;
    p->loop = loop;
    p->what = vb_strdup(what);
    p->begin_ms = p->rate_ms = vb_loop_now_ms(loop);
    return p;
}

static void measure(struct vb_progress *p, uint64_t now, uint64_t bytes)
{
    if (now < p->rate_ms + 1000)
        return;
    double seconds = (double)(now - p->rate_ms) / 1000.0;
    double current = bytes >= p->rate_bytes ? (double)(bytes - p->rate_bytes) / seconds : 0;
    p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * current : current;
    p->rate_ms = now;
    p->rate_bytes = bytes;
}

/* 100 only when it is all. */
static unsigned percent(uint64_t bytes, uint64_t total)
{
    return total == 0 ? 0 : bytes >= total ? 100 : (unsigned)((double)bytes * 100.0 / (double)total);
}

void vb_progress_update(struct vb_progress *p, uint64_t files, uint64_t bytes, uint64_t total, bool estimate)
{
    uint64_t now = vb_loop_now_ms(p->loop), every = p->cli->json ? 500 : p->cli->tty ? 200 : 60000;
    measure(p, now, bytes);
    if (p->cli->quiet || (!p->cli->json && !p->cli->tty && !p->cli->verbose) || now < (p->drawn_ms ? p->drawn_ms : p->begin_ms) + every)
        return;
    p->drawn_ms = now;
    uint64_t left_ms = total > bytes && p->rate > 1 && now >= p->begin_ms + 2000 ? (uint64_t)((double)(total - bytes) / p->rate * 1000.0) : 0;
    if (p->cli->json) {
        json_t *o = vb_cli_message("progress");
        json_object_set_new(o, "what", json_string(p->what));
        json_object_set_new(o, "files", json_integer((json_int_t)files));
        json_object_set_new(o, "bytes", json_integer((json_int_t)bytes));
        json_object_set_new(o, "bytes_total", json_integer((json_int_t)total));
        json_object_set_new(o, "estimate", json_boolean(estimate));
        if (total > 0)
            json_object_set_new(o, "percent", json_integer((json_int_t)percent(bytes, total)));
        json_object_set_new(o, "bytes_per_second", json_integer((json_int_t)p->rate));
        json_object_set_new(o, "milliseconds_left", json_integer((json_int_t)left_ms));
        vb_cli_json(o);
        return;
    }
    VB_AUTO_FREE char *done = vb_size_human(bytes), *rate = vb_size_human((uint64_t)p->rate);
    VB_AUTO_FREE char *left = left_ms ? vb_duration_human((left_ms + 999) / 1000 * 1000) : NULL, *of = total ? vb_size_human(total) : NULL;
    const char *about = estimate ? "about " : "";
    fprintf(stderr, "%s%s: ", p->cli->tty ? "\r\033[K" : "", p->what);
    if (of)
        fprintf(stderr, "%s%u %%, ", about, percent(bytes, total));
    fprintf(stderr, "%llu files, %s%s%s%s", (unsigned long long)files, done, of ? " of " : "", of ? about : "",
            of ? of : "");
    if (p->rate > 1)
        fprintf(stderr, ", %s/s", rate);
    if (left)
        fprintf(stderr, ", %s%s left", about, left);
    if (p->cli->tty)
        p->line = true;
    else
        fputc('\n', stderr);
    fflush(stderr);
}

void vb_progress_note(struct vb_progress *p, const char *fmt, ...)
{
    va_list ap;
    if (p->cli->quiet)
        return;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    VB_AUTO_FREE char *shown = vb_escape_terminal(text, strlen(text));
    fprintf(stderr, "%s%s\n", p->line ? "\r\033[K" : "", shown);
    p->line = false;
}

void vb_progress_free(struct vb_progress *p)
{
    if (!p)
        return;
    if (p->line)
        fprintf(stderr, "\r\033[K");
    free(p->what);
    free(p);
}
