/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/ext_hosts.c - see ext_hosts.h. */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "replica/ext_hosts.h"
#include "replica/item_file.h"
#include "wire/conn.h"

#define START_MS 60000u
#define QUIT_MS 10000u
#define PIECE (256u * 1024)

extern char **environ;

struct host {
    struct vb_ext_hosts *set;
    char *name;
    pthread_mutex_t lock;
    struct vb_loop *loop;
    struct vb_conn *conn; /* NULL: it does not run */
    pid_t pid;
    bool ready;
    struct vb_ext_facts facts;
    /* what is waited for */
    const struct vb_ext_call *c;
    uint64_t id;
    off_t at; /* read from c->in */
    bool done, late, refused; /* refused: we do not take what it gives */
    struct vb_error result;
};

struct vb_ext_hosts {
    char *program, *state_dir;
    struct host *v;
    size_t n;
};

struct vb_ext_hosts *vb_ext_hosts_new(const char *program, const char *state_dir, const struct vb_strv *names)
{
    struct vb_ext_hosts *x = vb_alloc(sizeof *x);
    x->program = program ? vb_strdup(program) : vb_program_path("vbackup-agent");
    x->state_dir = vb_strdup(state_dir);
    x->n = names->n;
    x->v = vb_alloc_n(x->n ? x->n : 1, sizeof *x->v);
    for (size_t i = 0; i < x->n; i++) {
        x->v[i] = (struct host){ .set = x, .name = vb_strdup(names->v[i]), .pid = -1 };
        pthread_mutex_init(&x->v[i].lock, NULL);
    }
    return x;
}

static struct host *find(const struct vb_ext_hosts *x, const char *writer)
{
    for (size_t i = 0; x && i < x->n; i++)
        if (!strcmp(x->v[i].name, writer))
            return &x->v[i];
    return NULL;
}

bool vb_ext_hosts_has(const struct vb_ext_hosts *x, const char *writer)
{
    return find(x, writer) != NULL;
}

/* ---- the end of one ---- */

static void stop(struct host *h)
{
    vb_conn_free(h->conn);
    h->conn = NULL;
    h->ready = false;
    if (h->pid > 0) {
        kill(-h->pid, SIGKILL); /* with what it has started */
        while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    h->pid = -1;
    vb_loop_free(h->loop);
    h->loop = NULL;
}

static void gone(void *arg, int status)
{
    struct host *h = arg;
    (void)status;
    h->pid = -1;
    vb_loop_stop(h->loop, 1);
}

static void too_late(void *arg)
{
    struct host *h = arg;
    h->late = true;
    vb_loop_stop(h->loop, 1);
}

/* It may finish what it has begun; what does not end in time is killed. */
static void quit(struct host *h)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_QUIT);
    if (h->conn && h->ready && vb_loop_child(h->loop, (int)h->pid, gone, h) == 0) {
        vb_conn_send(h->conn, &m);
        struct vb_timer *t = vb_loop_after(h->loop, QUIT_MS, too_late, h);
        h->late = false;
        vb_loop_run(h->loop);
        if (!h->late)
            vb_timer_cancel(t);
        else
            vb_loop_unchild(h->loop, (int)h->pid);
    }
    stop(h);
}

void vb_ext_hosts_free(struct vb_ext_hosts *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < x->n; i++) {
        quit(&x->v[i]);
        pthread_mutex_destroy(&x->v[i].lock);
        vb_error_clear(&x->v[i].result);
        free(x->v[i].name);
    }
    free(x->v);
    free(x->program);
    free(x->state_dir);
    free(x);
}

/* ---- what it says ---- */

static void finish(struct host *h)
{
    h->done = true;
    vb_loop_stop(h->loop, 0);
}

static void take_log(const struct host *h, const struct vb_msg *m)
{
    VB_AUTO_FREE char *text = vb_msg_str(m, VB_F_TEXT);
    VB_AUTO_FREE char *shown = vb_escape_terminal(text ? text : "", text ? strlen(text) : 0);
    uint64_t level = vb_msg_u64(m, VB_F_LEVEL, VB_LOG_NOTICE);
    level = level <= VB_LOG_DEBUG ? level : VB_LOG_DEBUG;
    if (h->c && h->c->log)
        h->c->log(h->c->log_arg, (int)level, shown);
    else
        vb_log((enum vb_log_level)level, "writer '%s': %s", h->name, shown);
}

static void take_ready(struct host *h, const struct vb_msg *m)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_CLASS);
    if (vb_msg_error(m, &h->result) == 0 && (!id || !vb_guid_valid(id)))
        vb_fail(&h->result, VB_E_PROTOCOL, "it does not say what it is");
    if (h->result.code == VB_OK) {
        memcpy(h->facts.class_id, id, sizeof h->facts.class_id);
        h->facts.replicates = vb_msg_has(m, VB_F_REPL_CALLS);
        h->facts.calls = vb_msg_u64(m, VB_F_REPL_CALLS, 0);
        h->facts.flags = vb_msg_u64(m, VB_F_REPL_FLAGS, 0);
        h->ready = true;
    }
    finish(h);
}

static void send_piece(struct host *h)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_BYTES);
    VB_AUTO_FREE unsigned char *b = vb_alloc(PIECE);
    ssize_t n = 0;
    m.id = h->id;
    if (h->c->in >= 0)
        while ((n = pread(h->c->in, b, PIECE, h->at)) < 0 && errno == EINTR)
            ;
    if (n < 0) {
        vb_fail_errno(&h->result, errno, "the payload cannot be read");
        h->refused = true;
        finish(h);
        return;
    }
    h->at += n;
    if (n > 0)
        vb_msg_add(&m, VB_F_BYTES, b, (size_t)n);
    else
        vb_msg_add_u64(&m, VB_F_LAST, 1);
    vb_conn_send(h->conn, &m);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct host *h = arg;
    const unsigned char *p;
    size_t n;
    if (m->type == VB_M_W_LOG) {
        take_log(h, m);
    } else if (m->type == VB_M_W_READY && !h->ready) {
        take_ready(h, m);
    } else if (!h->c || m->id != h->id) {
        return;
    } else if (m->type == VB_M_W_DONE) {
        (void)vb_msg_error(m, &h->result);
        finish(h);
    } else if (m->type == VB_M_W_MORE) {
        send_piece(h);
    } else if (m->type == VB_M_W_BYTES && vb_msg_bytes(m, VB_F_BYTES, &p, &n)) {
        if (h->c->out && h->c->out(h->c->arg, p, n, &h->result) != 0) {
            h->refused = true;
            finish(h);
        }
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct host *h = arg;
    (void)why;
    vb_loop_stop(h->loop, 1);
}

/* Until it is done.  What hangs or dies is away then. */
static int await(struct host *h, uint64_t limit_ms, const char *what, struct vb_error *err)
{
    struct vb_timer *t = vb_loop_after(h->loop, limit_ms, too_late, h);
    h->done = h->late = h->refused = false;
    vb_error_clear(&h->result);
    vb_loop_run(h->loop);
    if (!h->late)
        vb_timer_cancel(t);
    if (h->done && h->result.code == VB_OK)
        return 0;
    if (h->done) {
        vb_error_move(err, &h->result);
        if (!h->ready || h->refused) /* it would go on with what nobody takes, or wait for what does not come */
            stop(h);
        return -1;
    }
    stop(h);
    if (h->late)
        vb_fail(err, VB_E_WRITER_NOT_RESPONDING, "it did not answer %s within %llu s and was killed", what,
                (unsigned long long)(limit_ms + 999) / 1000);
    else
        vb_fail(err, VB_E_WRITER_NOT_RESPONDING, "it ended in the middle of %s", what);
    vb_hint(err, h->late ? "if it needs longer, set: vbackup scope set NAME --writer-limit TIME" : "its messages stand above");
    return -1;
}

/* ---- start ---- */

static int spawn(struct host *h, int fd, struct vb_error *err)
{
    const char *argv[] = { h->set->program, "writer-host", "--state-dir", h->set->state_dir, h->name, NULL };
    struct vb_spawn s = VB_SPAWN_INIT;
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    VB_AUTO_FREE const char **env = vb_alloc_n(n + 1, sizeof *env);
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "VBACKUP_PASSWORD", 16) != 0)
            env[kept++] = environ[i];
    s.argv = argv;
    s.env = env;
    s.pass_fds = &fd;
    s.n_pass_fds = 1;
    s.new_group = true;
    h->pid = vb_spawn(&s, err);
    if (h->pid > 0)
        return 0;
    if (err)
        err->code = VB_E_AGENT_MISSING;
    vb_hint(err, "is vbackup-agent installed beside vbackup? expected '%s'", h->set->program);
    return -1;
}

static int start(struct host *h, struct vb_error *err)
{
    static const struct vb_conn_handler handler = { on_msg, on_close, NULL };
    int sv[2];
    if (h->conn)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return vb_fail_errno(err, errno, "a socket pair");
    int result = spawn(h, sv[1], err);
    close(sv[1]);
    if (result < 0) {
        close(sv[0]);
        return -1;
    }
    h->loop = vb_loop_new();
    h->conn = vb_conn_fd(h->loop, sv[0], sv[0]);
    vb_conn_set_handler(h->conn, &handler, h);
    return await(h, START_MS, "its start", err);
}

/* ---- calls ---- */

int vb_ext_hosts_facts(struct vb_ext_hosts *x, const char *writer, struct vb_ext_facts *out, struct vb_error *err)
{
    struct host *h = find(x, writer);
    if (!h)
        return vb_fail(err, VB_E_NOT_FOUND, "writer '%s' does not belong to the scope", writer);
    pthread_mutex_lock(&h->lock);
    int result = start(h, err);
    *out = h->facts;
    pthread_mutex_unlock(&h->lock);
    return result;
}

int vb_ext_hosts_call(struct vb_ext_hosts *x, const struct vb_ext_call *c, struct vb_error *err)
{
    struct host *h = find(x, c->writer);
    uint64_t limit = c->limit_ms ? c->limit_ms : VB_EXT_LIMIT_MS;
    if (!h)
        return vb_fail(err, VB_E_NOT_FOUND, "writer '%s' does not belong to the scope", c->writer);
    pthread_mutex_lock(&h->lock);
    int result = start(h, err);
    if (result == 0) {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_REPL);
        m.id = ++h->id;
        vb_msg_add_u64(&m, VB_F_CALL, (uint64_t)c->call);
        vb_msg_add_str(&m, VB_F_TARGET, c->target);
        vb_msg_add_u64(&m, VB_F_DIFFERS, c->differs);
        vb_msg_add_u64(&m, VB_F_DEADLINE_MS, limit);
        h->c = c;
        h->at = 0;
        vb_conn_send(h->conn, &m);
        result = await(h, limit, vb_repl_call_word(c->call), err);
        h->c = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    return result;
}

static int hash_more(void *arg, const void *p, size_t n, struct vb_error *err)
{
    (void)err;
    vb_hasher_add(arg, p, n);
    return 0;
}

int vb_ext_hosts_signature(struct vb_ext_hosts *x, const char *writer, uint64_t limit_ms, unsigned char out[32], struct vb_error *err)
{
    const struct vb_ext_call c = { .writer = writer, .limit_ms = limit_ms };
    return vb_ext_hosts_sign(x, &c, out, err);
}

int vb_ext_hosts_sign(struct vb_ext_hosts *x, const struct vb_ext_call *given, unsigned char out[32], struct vb_error *err)
{
    struct vb_ext_call c = *given;
    VB_AUTO_HASHER *sum = vb_hasher_new();
    c.call = VB_REPL_SIGNATURE;
    c.in = -1;
    c.out = hash_more;
    c.arg = sum;
    if (vb_ext_hosts_call(x, &c, err) < 0)
        return -1;
    vb_hasher_end(VB_STEAL(sum), out);
    return 0;
}

static int write_more(void *arg, const void *p, size_t n, struct vb_error *err)
{
    return vb_write_all(*(const int *)arg, p, n, err);
}

int vb_ext_hosts_serialize(struct vb_ext_hosts *x, const char *writer, uint64_t limit_ms, int fd, struct vb_error *err)
{
    const struct vb_ext_call c = { .writer = writer, .call = VB_REPL_SERIALIZE, .limit_ms = limit_ms, .in = -1, .out = write_more, .arg = &fd };
    return vb_ext_hosts_call(x, &c, err);
}

/* ---- payloads ---- */

int vb_ext_payload_new(const char *dir, struct vb_error *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (fd >= 0)
        return fd;
    VB_AUTO_FREE char *name = vb_printf("%s/payload.XXXXXX", dir); /* a file system without nameless files */
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return vb_fail_errno(err, errno, "a private file in '%s'", dir);
    unlink(name);
    return fd;
}

void vb_ext_payload_wipe(int *fd)
{
    struct stat st;
    if (*fd >= 0 && fstat(*fd, &st) == 0) {
        VB_AUTO_FREE char *zeros = vb_alloc(PIECE);
        for (off_t at = 0; at < st.st_size;) {
            ssize_t n = pwrite(*fd, zeros, st.st_size - at < (off_t)PIECE ? (size_t)(st.st_size - at) : PIECE, at);
            if (n <= 0)
                break;
            at += n;
        }
    }
    vb_close_fd(fd);
}
