/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_service.c - vbackup-journal: watches volumes, and answers who asks.
 *
 * One process, one thread.  Events are gathered for a moment before they are read, so that a busy volume costs few turns.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/text.h"
#include "tracking/journal_open.h"
#include "tracking/journal_talk.h"
#include "tracking/journal_volume.h"

#define RECORDS 262144u
#define GATHER_MS 20u
#define TICK_MS 10000u
#define CLIENT_S 2

struct service;

struct served {
    struct service *service;
    struct vb_journal_volume *volume;
    struct vb_watch *watch;
    struct vb_timer *gather;
    int watched; /* descriptor */
};

struct service {
    struct vb_loop *loop;
    struct served **v;
    size_t n, cap, max;
    bool all;  /* every local file system, as they come */
    int listen_fd;
};

static void follow(struct served *s);

/* ---- volumes ---- */

static void gathered(void *arg)
{
    struct served *s = arg;
    s->gather = NULL;
    vb_journal_volume_drain(s->volume);
    follow(s);
    if (s->watch)
        vb_watch_events(s->watch, POLLIN);
}

static void readable(void *arg, short events)
{
    struct served *s = arg;
    (void)events;
    if (s->gather)
        return;
    vb_watch_events(s->watch, 0);
    s->gather = vb_loop_after(s->service->loop, GATHER_MS, gathered, s);
}

/* A coverage that was begun anew has another descriptor. */
static void follow(struct served *s)
{
    if (s->watch && s->watched == s->volume->fan)
        return;
    vb_watch_cancel(s->watch);
    s->watch = NULL;
    s->watched = s->volume->fan;
    if (s->watched >= 0)
        s->watch = vb_loop_watch(s->service->loop, s->watched, s->gather ? 0 : POLLIN, readable, s);
}

static struct served *add_volume(struct service *sv, const char *path, const char *why)
{
    struct served *s = vb_alloc(sizeof *s);
    s->service = sv;
    s->watched = -1;
    s->volume = vb_journal_volume_new(path, sv->max);
    vb_journal_volume_watch(s->volume, why);
    if (s->volume->trouble.code != VB_OK)
        vb_log_error(VB_LOG_WARNING, &s->volume->trouble);
    VB_GROW(sv->v, sv->n, sv->cap);
    sv->v[sv->n++] = s;
    follow(s);
    return s;
}

static bool is_known_type(const char *line, bool *btrfs)
{
    static const char *const types[] = { " - ext4 ", " - xfs ", " - ext3 ", " - ext2 ", " - btrfs " };
    for (size_t i = 0; i < VB_COUNT(types); i++)
        if (strstr(line, types[i])) {
            *btrfs = i == VB_COUNT(types) - 1;
            return true;
        }
    return false;
}

/* The mount table writes blanks and the like as \040. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

static bool is_served(const struct service *sv, dev_t sb_dev)
{
    for (size_t i = 0; i < sv->n; i++)
        if (sv->v[i]->volume->fan >= 0 && sv->v[i]->volume->sb_dev == sb_dev)
            return true;
    return false;
}

static bool is_tried(const struct service *sv, const char *path)
{
    for (size_t i = 0; i < sv->n; i++)
        if (!strcmp(sv->v[i]->volume->path, path))
            return true;
    return false;
}

static void find_volumes(struct service *sv, const char *why)
{
    VB_AUTO_FILE FILE *f = fopen("/proc/self/mountinfo", "re");
    VB_AUTO_FREE char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0) {
        unsigned maj, min;
        int root = 0, root_end = 0, at = 0, end = 0;
        bool btrfs = false;
        if (sscanf(line, "%*u %*u %u:%u %n%*s%n %n%*s%n", &maj, &min, &root, &root_end, &at, &end) < 2 || !end ||
            !is_known_type(line, &btrfs))
            continue;
        if (is_served(sv, makedev(maj, min)) || (btrfs && (root_end != root + 1 || line[root] != '/')))
            continue;
        VB_AUTO_FREE char *path = vb_strndup(line + at, (size_t)(end - at));
        unescape(path);
        if (!is_tried(sv, path))
            add_volume(sv, path, why);
    }
}

static void drop(struct service *sv, size_t i)
{
    struct served *s = sv->v[i];
    vb_watch_cancel(s->watch);
    vb_timer_cancel(s->gather);
    vb_journal_volume_free(s->volume);
    free(s);
    sv->v[i] = sv->v[--sv->n];
}

static void look_after(struct service *sv)
{
    for (size_t i = 0; i < sv->n;) {
        struct served *s = sv->v[i];
        vb_journal_volume_drain(s->volume);
        vb_journal_volume_check(s->volume);
        follow(s);
        if (sv->all && s->volume->fan < 0)
            drop(sv, i); /* found again when it is mounted again */
        else
            i++;
    }
    if (sv->all)
        find_volumes(sv, "the volume was mounted");
}

static void tick(void *arg)
{
    struct service *sv = arg;
    look_after(sv);
    vb_loop_after(sv->loop, TICK_MS, tick, sv);
}

/* ---- answers ---- */

static void note_open(void *arg, uint64_t ino, const char *path)
{
    struct vb_journal_volume *v = arg;
    unsigned char key[8];
    vb_journal_ino_key(key, ino);
    vb_journal_set_add(v->set, &(struct vb_journal_record){ .kind = VB_JOURNAL_OPEN, .last = vb_journal_boot_ns(),
                                                             .key = key, .n_key = sizeof key, .hint = path,
                                                             .n_hint = strlen(path) });
}

static void refuse(struct vb_buf *out, const char *why)
{
    vb_buf_add_u8(out, 0);
    vb_buf_add_str(out, why);
}

static const char *why_not_covered(const struct vb_journal_volume *v, const struct vb_journal_request *q)
{
    if (!q->has_position)
        return "there was no journal at the last look";
    if (memcmp(q->position.session, v->session, sizeof v->session) != 0 || q->position.since < v->start)
        return v->gap ? v->gap : "the journal does not reach back to the last look";
    return NULL;
}

static void answer(struct service *sv, const struct vb_journal_request *q, struct vb_buf *out)
{
    struct served *s = NULL;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    for (size_t i = 0; i < sv->n && !s; i++)
        if (sv->v[i]->volume->st_dev == (dev_t)q->st_dev && sv->v[i]->volume->fan >= 0)
            s = sv->v[i];
    if (!s || !vb_journal_volume_check(s->volume)) {
        refuse(out, s ? vb_error_text(&s->volume->trouble) : "the journal service does not watch this volume");
        return;
    }
    struct vb_journal_volume *v = s->volume;
    struct vb_journal_answer a = { .now = vb_journal_boot_ns(), .open_known = true };
    /* Open files first: what is closed meanwhile is told by an event, which is read afterwards. */
    if (q->op == VB_JOURNAL_ASK && vb_journal_scan_open(v->st_dev, v->sb_dev, note_open, v, &why) < 0)
        a.open_known = false;
    vb_journal_volume_drain(v);
    if (!vb_journal_volume_check(v)) {
        refuse(out, vb_error_text(&v->trouble));
        return;
    }
    const char *gap = why_not_covered(v, q);
    memcpy(a.session, v->session, sizeof a.session);
    a.start = v->start;
    a.offset = v->offset;
    a.covered = !gap && a.open_known;
    a.reason = vb_strdup(!a.open_known ? vb_error_text(&why) : gap);
    if (a.covered)
        vb_journal_set_encode(v->set, q->position.since, &a.records);
    vb_journal_answer_encode(&a, out);
    vb_journal_answer_clear(&a);
    follow(s);
}

static void add_field(struct vb_buf *b, const char *text)
{
    for (; *text; text++) /* the field ends at a tab, the line at a newline */
        vb_buf_add_char(b, *text == '\t' || *text == '\n' ? '?' : *text);
    vb_buf_add_char(b, '\t');
}

static void status(struct service *sv, struct vb_buf *out)
{
    for (size_t i = 0; i < sv->n; i++) {
        struct vb_journal_volume *v = sv->v[i]->volume;
        vb_journal_volume_drain(v);
        vb_journal_volume_check(v);
        follow(sv->v[i]);
        VB_AUTO_FREE char *since = vb_time_iso((uint64_t)((v->start + v->offset) / 1000000));
        add_field(out, v->path);
        add_field(out, v->fan >= 0 ? "watching" : "not watching");
        add_field(out, v->fan >= 0 ? since : "");
        add_field(out, v->fan >= 0 ? v->gap : vb_error_text(&v->trouble));
        vb_buf_addf(out, "%zu\t%llu\t%llu\n", vb_journal_set_count(v->set), (unsigned long long)v->events,
                    (unsigned long long)v->gaps);
    }
}

static void serve(struct service *sv, int fd)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    unsigned char in[VB_JOURNAL_REQUEST_LEN], head[4];
    struct vb_journal_request q;
    struct timeval patience = { .tv_sec = CLIENT_S };
    struct ucred peer;
    socklen_t n = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || peer.uid != 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (vb_read_all(fd, in, sizeof in, NULL) < 0 || !vb_journal_request_decode(in, sizeof in, &q))
        return;
    if (q.op == VB_JOURNAL_STATUS)
        status(sv, &out);
    else
        answer(sv, &q, &out);
    if (out.len > VB_JOURNAL_REPLY_MAX)
        return;
    for (unsigned i = 0; i < 4; i++)
        head[i] = (unsigned char)(out.len >> (24 - 8 * i));
    if (vb_write_all(fd, head, sizeof head, NULL) == 0 && out.len)
        vb_write_all(fd, out.data, out.len, NULL);
}

static void accept_one(void *arg, short events)
{
    struct service *sv = arg;
    (void)events;
    VB_AUTO_FD int fd = accept4(sv->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        serve(sv, fd);
}

/* ---- beginning and end ---- */

static int listen_at(const char *path, struct vb_error *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const char *slash = strrchr(path, '/');
    VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(slash - path));
    if (strlen(path) >= sizeof a.sun_path)
        return vb_fail(err, VB_E_CONFIG, "socket's path '%s' is too long", path);
    memcpy(a.sun_path, path, strlen(path));
    if (dir[0] && vb_mkdirs_at(AT_FDCWD, dir, 0700, err) < 0)
        return -1;
    VB_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return vb_fail(err, VB_E_BUSY, "a journal service answers at '%s' already", path);
    vb_close_fd(&fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (unlink(path) < 0 && errno != ENOENT))
        return vb_fail_errno(err, errno, "socket '%s' cannot be made", path);
    mode_t old = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)&a, sizeof a), saved = errno;
    umask(old);
    if (rc < 0 || listen(fd, 16) < 0)
        return vb_fail_errno(err, rc < 0 ? saved : errno, "socket '%s' cannot be bound", path);
    return VB_STEAL_FD(fd);
}

static void stop(void *arg)
{
    vb_loop_stop(arg, 0);
}

static int run(const char *socket, size_t max, char **paths, int n_paths)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct service sv = { .max = max, .all = n_paths == 0, .listen_fd = -1 };
    if (geteuid() != 0) {
        fputs("vbackup-journal: needs root: only root may watch a whole file system\n", stderr);
        return VB_EXIT_PREREQUISITE;
    }
    sv.listen_fd = listen_at(socket, &err);
    if (sv.listen_fd < 0) {
        vb_log_error(VB_LOG_ERROR, &err);
        return (int)vb_code_exit(err.code);
    }
    sv.loop = vb_loop_new();
    signal(SIGPIPE, SIG_IGN);
    vb_loop_signal(sv.loop, SIGTERM, stop, sv.loop);
    vb_loop_signal(sv.loop, SIGINT, stop, sv.loop);
    for (int i = 0; i < n_paths; i++)
        add_volume(&sv, paths[i], "the journal service was started");
    if (sv.all)
        find_volumes(&sv, "the journal service was started");
    vb_loop_watch(sv.loop, sv.listen_fd, POLLIN, accept_one, &sv);
    vb_loop_after(sv.loop, TICK_MS, tick, &sv);
    vb_loop_run(sv.loop);
    unlink(socket);
    while (sv.n)
        drop(&sv, 0);
    free(sv.v);
    close(sv.listen_fd);
    vb_loop_free(sv.loop);
    return VB_EXIT_DONE;
}

/* ---- vbackup-journal status ---- */

enum { F_PATH, F_STATE, F_SINCE, F_REASON, F_RECORDS, F_EVENTS, F_GAPS, F_COUNT };

static void print_volume(char *f[F_COUNT])
{
    VB_AUTO_FREE char *path = vb_escape_terminal(f[F_PATH], strlen(f[F_PATH]));
    VB_AUTO_FREE char *why = vb_escape_terminal(f[F_REASON], strlen(f[F_REASON]));
    if (f[F_SINCE][0])
        printf("%s: watched since %s (%s); %s records, %s events\n", path, f[F_SINCE], why, f[F_RECORDS], f[F_EVENTS]);
    else
        printf("%s: not watched: %s\n", path, why);
}

static json_t *json_volume(char *f[F_COUNT])
{
    uint64_t n[3] = { 0, 0, 0 };
    for (int i = 0; i < 3; i++)
        vb_parse_u64(f[F_RECORDS + i], &n[i]);
    json_t *path = json_string(f[F_PATH]); /* NULL for what is not UTF-8 */
    VB_AUTO_FREE char *escaped = path ? NULL : vb_escape_terminal(f[F_PATH], strlen(f[F_PATH]));
    json_t *j = json_object();
    json_object_set_new(j, "path", path ? path : json_string(escaped));
    json_object_set_new(j, "watching", json_boolean(f[F_SINCE][0]));
    if (f[F_SINCE][0])
        json_object_set_new(j, "since", json_string(f[F_SINCE]));
    json_object_set_new(j, "reason", json_string(f[F_REASON]));
    json_object_set_new(j, "records", json_integer((json_int_t)n[0]));
    json_object_set_new(j, "events", json_integer((json_int_t)n[1]));
    json_object_set_new(j, "coverages", json_integer((json_int_t)n[2]));
    return j;
}

static int show(const char *socket, bool json)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF text = VB_BUF_INIT;
    if (vb_journal_status(socket, &text, &err) < 0) {
        vb_log_error(VB_LOG_ERROR, &err);
        return (int)vb_code_exit(err.code);
    }
    json_t *list = json ? json_array() : NULL;
    VB_AUTO_FREE char *lines = vb_buf_take_str(&text);
    for (char *p = lines; p && *p;) {
        char *f[F_COUNT], *end = p + strcspn(p, "\n");
        bool more = *end != 0;
        *end = 0;
        for (int i = 0; i < F_COUNT; i++) {
            size_t n = strcspn(p, "\t");
            f[i] = p;
            p += n + (p[n] != 0);
            f[i][n] = 0;
        }
        if (json)
            json_array_append_new(list, json_volume(f));
        else
            print_volume(f);
        p = more ? end + 1 : NULL;
    }
    if (json) {
        json_dumpf(list, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(list);
    }
    return VB_EXIT_DONE;
}

static const char HELP[] =
    "usage: vbackup-journal [--socket PATH] run [--records NUMBER] [DIRECTORY...]\n"
    "       vbackup-journal [--socket PATH] status [--json]\n"
    "\n"
    "  run      watch the volumes of these directories (none: all ext2 to ext4, xfs and btrfs) until it is told to end\n"
    "  status   what is watched, and since when\n"
    "\n"
    "  --socket PATH     where it answers (else VBACKUP_JOURNAL, else " VB_JOURNAL_SOCKET ")\n"
    "  --records NUMBER  changed directories to remember of each volume (262144)\n"
    "  --json            for programs\n"
    "  --version         version\n"
    "  --help            this text\n";

int main(int argc, char **argv)
{
    static const struct option options[] = { { "socket", required_argument, NULL, 's' },
                                             { "records", required_argument, NULL, 'r' },
                                             { "json", no_argument, NULL, 'j' },
                                             { "version", no_argument, NULL, 'v' },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    const char *socket = vb_journal_socket();
    uint64_t records = RECORDS;
    bool json = false;
    vb_log_init("vbackup-journal");
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's' && optarg[0] == '/') {
            socket = optarg;
        } else if (o == 'j') {
            json = true;
        } else if (o == 'v') {
            printf("vbackup-journal %s\n", PACKAGE_VERSION);
            return VB_EXIT_DONE;
        } else if (o == 'h') {
            fputs(HELP, stdout);
            return VB_EXIT_DONE;
        } else if (o != 'r' || !vb_parse_u64(optarg, &records) || records < 16 || records > (1u << 24)) {
            fputs(HELP, stderr);
            return VB_EXIT_USAGE;
        }
    }
    const char *word = optind < argc ? argv[optind] : "";
    if (!strcmp(word, "run"))
        return run(socket, (size_t)records, argv + optind + 1, argc - optind - 1);
    if (!strcmp(word, "status") && optind + 1 == argc)
        return show(socket, json);
    fputs(HELP, stderr);
    return VB_EXIT_USAGE;
}
