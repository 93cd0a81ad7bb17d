/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/journal.c - checked lines, appended; and the fault points that tests kill a process at.
 *
 * The checksum covers the sequence number and the payload, so that a line out of its place is damage, too.
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/io.h"
#include "base/journal.h"
#include "base/mem.h"
#include "base/text.h"

#define JOURNAL_MAX ((size_t)256 << 20) /* refused when larger: no job of ours writes that much */
#define HOLD_SIZE ((size_t)256 << 10)   /* the freeze window's events are some hundred short lines */

struct vb_journal {
    char *role;
    int fd;            /* -1: memory */
    off_t size;        /* of the file: where the next record begins */
    struct vb_buf mem; /* the records of a memory journal */
    uint64_t seq;      /* of the last record */
    bool held;
    char *hold;        /* mapped, locked if the system lets us */
    size_t hold_len, hold_cap;
};

/* --- fault points --- */

#ifdef VB_FAULT_POINTS
static struct {
    char *role;
    uint64_t n;
} fault_counts[16];

static uint64_t fault_count(const char *role)
{
    for (size_t i = 0; i < VB_COUNT(fault_counts); i++) {
        if (!fault_counts[i].role) {
            fault_counts[i].role = vb_strdup(role);
        }
        if (strcmp(fault_counts[i].role, role) == 0) {
            return ++fault_counts[i].n;
        }
    }
    return 0;
}

void vb_fault_point(const char *role)
{
    uint64_t n = fault_count(role), want;
    const char *kill_at = getenv("VBACKUP_TEST_KILL");
    const char *colon = kill_at ? strrchr(kill_at, ':') : NULL;
    if (!colon || strlen(role) != (size_t)(colon - kill_at) || strncmp(role, kill_at, strlen(role)) != 0 ||
        !vb_parse_u64(colon + 1, &want) || n != want) {
        return;
    }
    const char *token = getenv("VBACKUP_TEST_KILL_FILE");
    if (token && unlink(token) < 0) {
        return; /* the token is spent: this is the process that was started again */
    }
    kill(getpid(), SIGKILL);
}
/* Whether record number seq of this journal finds the disk full. */
static bool fault_full(const char *role, uint64_t seq)
{
    const char *at = getenv("VBACKUP_TEST_FULL");
    size_t n = strlen(role);
    uint64_t from;
    if (!at || strncmp(at, role, n) != 0 || at[n] != ':') {
        return false;
    }
    VB_AUTO_FREE char *number = vb_strdup(at + n + 1);
    char *only = strchr(number, '!');
    if (only) {
        *only = '\0';
    }
    return vb_parse_u64(number, &from) && (only ? seq == from : seq >= from);
}
#else
void vb_fault_point(const char *role)
{
    (void)role;
}

static bool fault_full(const char *role, uint64_t seq)
{
    (void)role;
    (void)seq;
    return false;
}
#endif

/* --- records --- */

static uint32_t record_crc(uint64_t seq, const char *payload, size_t n)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_addf(&b, "%" PRIu64 " ", seq);
    vb_buf_add(&b, payload, n);
    return vb_crc32(b.data, b.len);
}

static bool parse_hex32(const char *s, uint32_t *v)
{
    uint32_t t = 0;
    for (int i = 0; i < 8; i++) {
        int c = (unsigned char)s[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0) {
            return false;
        }
        t = t << 4 | (uint32_t)d;
    }
    *v = t;
    return true;
}

/* One line without its newline.  True, and the payload's place, if it is the undamaged record number seq. */
static bool record_parse(const char *line, size_t n, uint64_t seq, const char **payload, size_t *payload_len)
{
    char head[24];
    int head_len = snprintf(head, sizeof head, "%" PRIu64 " ", seq);
    size_t h = (size_t)head_len;
    uint32_t crc;
    if (head_len < 0 || n < h + 9 || memcmp(line, head, h) != 0 || !parse_hex32(line + h, &crc) ||
        line[h + 8] != ' ') {
        return false;
    }
    *payload = line + h + 9;
    *payload_len = n - h - 9;
    return !memchr(*payload, 0, *payload_len) && crc == record_crc(seq, *payload, *payload_len);
}

/* Walks the whole records in b; returns the length of the undamaged part.  *count is the last number seen;
 * fn may be NULL. */
static size_t walk(const char *p, size_t n, uint64_t *count, vb_journal_fn *fn, void *arg, int *stopped)
{
    size_t at = 0;
    while (at < n) {
        const char *line = p + at, *payload;
        const char *end = memchr(line, '\n', n - at);
        size_t payload_len;
        if (!end || !record_parse(line, (size_t)(end - line), *count + 1, &payload, &payload_len)) {
            break;
        }
        ++*count;
        at += (size_t)(end - line) + 1;
        if (fn) {
            VB_AUTO_FREE char *text = vb_strndup(payload, payload_len);
            *stopped = fn(arg, *count, text);
            if (*stopped) {
                break;
            }
        }
    }
    return at;
}

static int read_file(struct vb_journal *j, struct vb_buf *b, struct vb_error *err)
{
    struct stat st;
    if (fstat(j->fd, &st) < 0) {
        return vb_fail_errno(err, errno, "cannot read the journal");
    }
    if (st.st_size < 0 || (uint64_t)st.st_size > JOURNAL_MAX) {
        return vb_fail(err, VB_E_LIMIT, "the journal is larger than %zu bytes", JOURNAL_MAX);
    }
    vb_buf_reserve(b, (size_t)st.st_size);
    while (b->len < (size_t)st.st_size) {
        ssize_t r = pread(j->fd, b->data + b->len, (size_t)st.st_size - b->len, (off_t)b->len);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return vb_fail_errno(err, errno, "cannot read the journal");
        }
        if (r == 0) {
            break;
        }
        b->len += (size_t)r;
    }
    return 0;
}

/* A file that was just made survives a crash only once its directory is on disk, too. */
static int sync_parent(int dirfd, const char *name, struct vb_error *err)
{
    const char *slash = strrchr(name, '/');
    VB_AUTO_FREE char *parent = slash ? vb_strndup(name, slash == name ? 1 : (size_t)(slash - name)) : vb_strdup(".");
    VB_AUTO_FD int fd = vb_open_dir_at(dirfd, parent, err);
    return fd < 0 ? -1 : vb_fsync_dir(fd, err);
}

struct vb_journal *vb_journal_open(int dirfd, const char *name, const char *role, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    bool made = false;
    int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(dirfd, name, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = openat(dirfd, name, flags | O_CREAT, 0600);
        made = true;
    }
    if (fd < 0) {
        vb_fail_errno(err, errno, "cannot open journal '%s'", name);
        return NULL;
    }
    struct vb_journal *j = vb_alloc(sizeof *j);
    j->fd = fd;
    j->role = vb_strdup(role);
    if ((made && sync_parent(dirfd, name, err) < 0) || read_file(j, &b, err) < 0) {
        vb_context(err, "journal '%s'", name);
        vb_journal_close(j);
        return NULL;
    }
    int stopped = 0;
    size_t good = b.len ? walk((const char *)b.data, b.len, &j->seq, NULL, NULL, &stopped) : 0;
    j->size = (off_t)good;
    if (good < b.len && (ftruncate(fd, j->size) < 0 || fdatasync(fd) < 0)) {
        vb_fail_errno(err, errno, "cannot cut the torn end of journal '%s'", name);
        vb_journal_close(j);
        return NULL;
    }
    return j;
}

struct vb_journal *vb_journal_memory(const char *role)
{
    struct vb_journal *j = vb_alloc(sizeof *j);
    j->fd = -1;
    j->role = vb_strdup(role);
    return j;
}

static void hold_drop(struct vb_journal *j)
{
    if (j->hold) {
        munmap(j->hold, j->hold_cap);
    }
    j->hold = NULL;
    j->hold_len = 0;
    j->hold_cap = 0;
}

void vb_journal_close(struct vb_journal *j)
{
    if (!j) {
        return;
    }
    if (j->held) {
        vb_journal_release(j, NULL);
    }
    hold_drop(j);
    vb_close_fd(&j->fd);
    vb_buf_clear(&j->mem);
    free(j->role);
    free(j);
}

static int write_out(struct vb_journal *j, const char *p, size_t n, bool sync, struct vb_error *err)
{
    if (j->fd < 0) {
        vb_buf_add(&j->mem, p, n);
        return 0;
    }
    if (vb_write_all(j->fd, p, n, err) < 0 || (sync && fdatasync(j->fd) < 0 &&
                                               vb_fail_errno(err, errno, "cannot sync the journal") < 0)) {
        /* What was written of it must not stand before a later record: that would hide the later one. */
        int saved = errno;
        int r = ftruncate(j->fd, j->size);
        (void)r;
        errno = saved;
        vb_context(err, "cannot write the journal");
        return -1;
    }
    j->size += (off_t)n;
    return 0;
}

static char *hold_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    /* An ordinary user may lock little memory; populated pages are then the best there is. */
    int r = mlock(p, size);
    (void)r;
    return p;
}

void vb_journal_hold(struct vb_journal *j)
{
    if (j->held) {
        return;
    }
    if (!j->hold) {
        j->hold = hold_map(HOLD_SIZE);
        j->hold_cap = j->hold ? HOLD_SIZE : 0;
    }
    j->held = true;
}

static bool hold_grow(struct vb_journal *j)
{
    size_t cap = j->hold_cap ? j->hold_cap * 2 : HOLD_SIZE;
    char *p = cap > JOURNAL_MAX ? NULL : hold_map(cap);
    if (!p) {
        return false;
    }
    if (j->hold) {
        memcpy(p, j->hold, j->hold_len);
        munmap(j->hold, j->hold_cap);
    }
    j->hold = p;
    j->hold_cap = cap;
    return true;
}

/* Held records are kept as plain payload lines; numbers and checksums are added at the release, so that
 * nothing is allocated here while the region suffices. */
static int hold_add(struct vb_journal *j, struct vb_error *err, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static int hold_add(struct vb_journal *j, struct vb_error *err, const char *fmt, va_list ap)
{
    for (;;) {
        va_list again;
        va_copy(again, ap);
        size_t room = j->hold_cap - j->hold_len;
        int n = vsnprintf(room ? j->hold + j->hold_len : NULL, room, fmt, again);
        va_end(again);
        if (n < 0) {
            return vb_fail(err, VB_E_UNEXPECTED, "a journal record cannot be formatted");
        }
        if ((size_t)n + 1 < room) {
            if (memchr(j->hold + j->hold_len, '\n', (size_t)n)) {
                return vb_fail(err, VB_E_UNEXPECTED, "a journal record holds a newline");
            }
            j->hold[j->hold_len + (size_t)n] = '\n';
            j->hold_len += (size_t)n + 1;
            return 0;
        }
        if (!hold_grow(j)) {
            return vb_fail(err, VB_E_LIMIT, "too many journal records inside the freeze window");
        }
    }
}

static void record_format(struct vb_buf *b, uint64_t seq, const char *payload, size_t n)
{
    vb_buf_addf(b, "%" PRIu64 " %08" PRIx32 " ", seq, record_crc(seq, payload, n));
    vb_buf_add(b, payload, n);
    vb_buf_add_char(b, '\n');
}

int vb_journal_add(struct vb_journal *j, bool sync, struct vb_error *err, const char *fmt, ...)
{
    va_list ap;
    if (fault_full(j->role, j->seq + 1)) {
        vb_fail_errno(err, ENOSPC, "cannot write");
        vb_context(err, "cannot write the journal");
        return -1;
    }
    va_start(ap, fmt);
    int r;
    if (j->held) {
        r = hold_add(j, err, fmt, ap);
        va_end(ap);
        if (r == 0) {
            j->seq++;
        }
    } else {
        VB_AUTO_BUF b = VB_BUF_INIT;
        VB_AUTO_FREE char *payload = vb_vprintf(fmt, ap);
        va_end(ap);
        if (strchr(payload, '\n')) {
            return vb_fail(err, VB_E_UNEXPECTED, "a journal record holds a newline");
        }
        record_format(&b, j->seq + 1, payload, strlen(payload));
        r = write_out(j, (const char *)b.data, b.len, sync, err);
        if (r == 0) {
            j->seq++;
        }
    }
    if (r == 0) {
        vb_fault_point(j->role);
    }
    return r;
}

int vb_journal_release(struct vb_journal *j, struct vb_error *err)
{
    if (!j->held) {
        return 0;
    }
    VB_AUTO_BUF b = VB_BUF_INIT;
    uint64_t lines = 0, seq;
    for (size_t i = 0; i < j->hold_len; i++) {
        lines += j->hold[i] == '\n';
    }
    seq = j->seq - lines;
    for (size_t at = 0; at < j->hold_len;) {
        const char *end = memchr(j->hold + at, '\n', j->hold_len - at);
        size_t n = (size_t)(end - (j->hold + at));
        record_format(&b, ++seq, j->hold + at, n);
        at += n + 1;
    }
    int r = b.len ? write_out(j, (const char *)b.data, b.len, true, err) : 0;
    if (r < 0) {
        j->seq -= lines;
    }
    j->held = false;
    hold_drop(j);
    return r;
}

int vb_journal_replay(struct vb_journal *j, vb_journal_fn *fn, void *arg, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    uint64_t seq = 0;
    int stopped = 0;
    if (j->fd >= 0) {
        if (read_file(j, &b, err) < 0) {
            return -1;
        }
    } else {
        vb_buf_add(&b, j->mem.data, j->mem.len);
    }
    if (b.len) {
        walk((const char *)b.data, b.len, &seq, fn, arg, &stopped);
    }
    for (size_t at = 0; !stopped && at < j->hold_len;) {
        const char *end = memchr(j->hold + at, '\n', j->hold_len - at);
        size_t n = (size_t)(end - (j->hold + at));
        VB_AUTO_FREE char *text = vb_strndup(j->hold + at, n);
        stopped = fn(arg, ++seq, text);
        at += n + 1;
    }
    return stopped;
}

uint64_t vb_journal_count(const struct vb_journal *j)
{
    return j->seq;
}

/* --- words --- */

char *vb_journal_escape(const char *s)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '%' || *p == '=') {
            vb_buf_addf(&b, "%%%02X", *p);
        } else {
            vb_buf_add_char(&b, (char)*p);
        }
    }
    return vb_buf_take_str(&b);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *vb_journal_value(const char *record, const char *key)
{
    size_t klen = strlen(key);
    for (const char *w = record; *w;) {
        size_t n = strcspn(w, " ");
        if (n > klen && strncmp(w, key, klen) == 0 && w[klen] == '=') {
            VB_AUTO_BUF b = VB_BUF_INIT;
            for (size_t i = klen + 1; i < n; i++) {
                int hi = w[i] == '%' && i + 2 < n ? hex_digit(w[i + 1]) : -1;
                int lo = hi >= 0 ? hex_digit(w[i + 2]) : -1;
                if (lo >= 0) {
                    vb_buf_add_char(&b, (char)(hi << 4 | lo));
                    i += 2;
                } else {
                    vb_buf_add_char(&b, w[i]);
                }
            }
            return vb_buf_take_str(&b);
        }
        w += n;
        w += strspn(w, " ");
    }
    return NULL;
}
