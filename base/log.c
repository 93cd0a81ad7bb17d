/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/log.c - one line, one write(2), never a byte that a terminal could obey.
 */
#include <config.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#define HOLD_SIZE ((size_t)64 << 10)

static struct {
    char *ident;
    enum vb_log_level level;
    bool set;
    bool to_journald; /* stderr is the journal of systemd: lines begin with <priority> */
    bool held;
    char *hold;       /* records: level byte, text, zero byte */
    size_t hold_len;
    unsigned lost;
} lg = { .level = VB_LOG_NOTICE };

static const char *const level_names[] = { "error", "warning", "notice", "info", "debug" };

/* systemd names device and inode of the journal's socket, so that a redirected stderr is told apart. */
static bool stderr_is_journald(void)
{
    const char *s = getenv("JOURNAL_STREAM");
    struct stat st;
    if (!s || fstat(STDERR_FILENO, &st) < 0) {
        return false;
    }
    VB_AUTO_FREE char *own = vb_printf("%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(own, s) == 0;
}

void vb_log_init(const char *ident)
{
    const char *want = getenv("VBACKUP_LOG");
    free(lg.ident);
    lg.ident = vb_strdup(ident);
    lg.to_journald = stderr_is_journald();
    for (size_t i = 0; want && !lg.set && i < VB_COUNT(level_names); i++) {
        if (strcmp(want, level_names[i]) == 0) {
            lg.level = (enum vb_log_level)i;
        }
    }
}

void vb_log_set_level(enum vb_log_level level)
{
    lg.level = level;
    lg.set = true;
}

bool vb_log_enabled(enum vb_log_level level)
{
    return level <= lg.level;
}

static void emit(enum vb_log_level level, const char *text)
{
    static const int priority[] = { 3, 4, 5, 6, 7 };
    VB_AUTO_BUF b = VB_BUF_INIT;
    int saved = errno;
    for (const char *p = text;;) {
        size_t n = strcspn(p, "\n");
        if (lg.to_journald) {
            vb_buf_addf(&b, "<%d>", priority[level]);
        }
        vb_buf_add_str(&b, lg.ident ? lg.ident : "");
        if (level == VB_LOG_WARNING || level == VB_LOG_DEBUG) {
            vb_buf_addf(&b, "%s: ", level_names[level]);
        }
        VB_AUTO_FREE char *safe = vb_escape_terminal(p, n);
        vb_buf_add_str(&b, safe);
        vb_buf_add_char(&b, '\n');
        if (!p[n] || !p[n + 1]) {
            break;
        }
        p += n + 1;
    }
    /* Nobody is left to tell if this fails. */
    ssize_t r = write(STDERR_FILENO, b.data, b.len);
    (void)r;
    errno = saved;
}

static void hold_line(enum vb_log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void hold_line(enum vb_log_level level, const char *fmt, va_list ap)
{
    size_t room = HOLD_SIZE - lg.hold_len;
    if (!lg.hold || room < 2) {
        lg.lost++;
        return;
    }
    int n = vsnprintf(lg.hold + lg.hold_len + 1, room - 1, fmt, ap);
    if (n < 0 || (size_t)n >= room - 1) {
        lg.lost++;
        return;
    }
    lg.hold[lg.hold_len] = (char)('0' + (int)level);
    lg.hold_len += (size_t)n + 2;
}

void vb_log(enum vb_log_level level, const char *fmt, ...)
{
    if (!vb_log_enabled(level)) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    if (lg.held) {
        hold_line(level, fmt, ap);
    } else {
        VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
        emit(level, text);
    }
    va_end(ap);
}

void vb_log_error(enum vb_log_level level, const struct vb_error *err)
{
    vb_log(level, "%s", vb_error_text(err));
    if (err && err->hint) {
        vb_log(level, "hint: %s", err->hint);
    }
}

void vb_log_hold(void)
{
    if (lg.held) {
        return;
    }
    if (!lg.hold) {
        void *p = mmap(NULL, HOLD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (p != MAP_FAILED) {
            int r = mlock(p, HOLD_SIZE); /* an ordinary user may be refused: populated pages must do */
            (void)r;
            lg.hold = p;
        }
    }
    lg.held = true;
}

void vb_log_release(void)
{
    if (!lg.held) {
        return;
    }
    lg.held = false;
    for (size_t at = 0; at < lg.hold_len;) {
        const char *text = lg.hold + at + 1;
        emit((enum vb_log_level)(lg.hold[at] - '0'), text);
        at += strlen(text) + 2;
    }
    if (lg.lost) {
        VB_AUTO_FREE char *text = vb_printf("%u lines of the freeze window were not kept", lg.lost);
        emit(VB_LOG_WARNING, text);
    }
    lg.hold_len = 0;
    lg.lost = 0;
    if (lg.hold) {
        munmap(lg.hold, HOLD_SIZE);
        lg.hold = NULL;
    }
}
