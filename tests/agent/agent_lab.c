/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/agent_lab.c - a real vbackup-agent and a small requester.
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/process.h"
#include "base/text.h"
#include "tests/agent/agent_lab.h"
#include "wire/greeting.h"

void alab_die(const char *what, const struct vb_error *err)
{
    fprintf(stderr, "lab: %s: %s\n", what, vb_error_text(err));
    abort();
}

/* ---- files ---- */

void alab_write(struct alab *l, const char *name, const char *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(l->dir, name);
    VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(strrchr(path, '/') - path));
    if (vb_mkdirs_at(AT_FDCWD, dir, 0755, &err) < 0 ||
        vb_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, &err) < 0)
        alab_die(name, &err);
}

char *alab_read(struct alab *l, const char *name)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FREE char *path = vb_path_join(l->dir, name);
    (void)vb_read_file_at(AT_FDCWD, path, 64u << 20, &b, NULL);
    return vb_buf_take_str(&b);
}

size_t alab_count(struct alab *l, const char *what)
{
    VB_AUTO_FREE char *text = alab_read(l, "events");
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

uint64_t alab_longest_freeze(struct alab *l)
{
    VB_AUTO_FREE char *text = alab_read(l, "events");
    uint64_t begun = 0, longest = 0;
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        uint64_t us = strtoull(line, NULL, 10);
        if (strstr(line, "freeze begin"))
            begun = us;
        if (begun && (strstr(line, "thaw end") || strstr(line, "abort end"))) {
            if (us - begun > longest)
                longest = us - begun;
            begun = 0;
        }
    }
    return begun ? UINT64_MAX : longest / 1000;
}

int alab_pid(struct alab *l, const char *word)
{
    VB_AUTO_FREE char *text = alab_read(l, "state/agent/supervisor.journal");
    VB_AUTO_FREE char *key = vb_printf(" %s ", word);
    const char *last = NULL;
    for (const char *p = text; (p = strstr(p, key)); p++)
        last = p;
    const char *pid = last ? strstr(last, "pid=") : NULL;
    return pid ? (int)strtol(pid + 4, NULL, 10) : 0;
}

static size_t entries(const char *path)
{
    VB_AUTO_DIR DIR *d = opendir(path);
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    return n;
}

bool alab_spool_empty(struct alab *l, uint64_t ms)
{
    VB_AUTO_FREE char *path = vb_path_join(l->dir, "state/agent/jobs");
    for (uint64_t waited = 0; waited <= ms; waited += 10) {
        if (entries(path) == 0)
            return true;
        alab_run(l, 10); /* a requester that reads, so that the worker's last words do not wait for us */
    }
    return false;
}

struct alab *alab_new(const char *config)
{
    struct alab *l = vb_alloc(sizeof *l);
    char template[] = "/tmp/vbackup-alab-XXXXXX";
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!mkdtemp(template))
        abort();
    l->dir = vb_strdup(template);
    for (const char *p = config; *p; p++) {
        if (p[0] == '%' && p[1] == 'D') {
            vb_buf_add_str(&b, l->dir);
            p++;
        } else {
            vb_buf_add_char(&b, *p);
        }
    }
    alab_write(l, "vbackup.conf", vb_buf_str(&b));
    VB_AUTO_FREE char *conf = vb_path_join(l->dir, "vbackup.conf"), *state = vb_path_join(l->dir, "state");
    setenv("VBACKUP_CONFIG", conf, 1);
    setenv("VBACKUP_STATE_DIR", state, 1);
    l->loop = vb_loop_new();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return l;
}

static void forget(struct alab *l)
{
    alab_cut(l);
    for (size_t i = 0; i < l->n_replies; i++)
        vb_msg_clear(&l->replies[i]);
    l->n_replies = 0;
    vb_strv_clear(&l->events);
    vb_free_ptr(&l->job);
    vb_free_ptr(&l->token);
    vb_error_clear(&l->lost);
    l->last_seq = 0;
}

void alab_reset(struct alab *l)
{
    forget(l);
    VB_AUTO_FREE char *path = vb_path_join(l->dir, "events");
    unlink(path);
}

/* The supervisor stands alone and becomes our child when it does: its end can be waited for. */
void alab_stop(int pid)
{
    if (pid > 1)
        kill(pid, SIGTERM);
    for (int i = 0; pid > 1 && i < 2000; i++) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            break;
        struct timespec t = { 0, 5000000 };
        nanosleep(&t, NULL);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

void alab_free(struct alab *l)
{
    int pid = alab_pid(l, "start");
    forget(l);
    alab_stop(pid);
    for (size_t i = 0; i < l->n_chunks; i++) {
        free(l->chunks[i].name);
        vb_buf_clear(&l->chunks[i].body);
    }
    free(l->chunks);
    free(l->replies);
    vb_msg_clear(&l->wmds);
    vb_msg_clear(&l->captured);
    vb_buf_clear(&l->bcd);
    vb_loop_free(l->loop);
    (void)vb_remove_tree_at(AT_FDCWD, l->dir, NULL);
    free(l->dir);
    free(l);
}

/* ---- streams ---- */

struct opening { bool done, ok; struct vb_error err; };

static void greeted(void *arg, const struct vb_hello *peer, const struct vb_error *err)
{
    struct opening *o = arg;
    o->done = true;
    o->ok = peer != NULL;
    if (!peer)
        vb_error_copy(&o->err, err);
}

/* A relay of its own for every stream, as the requester does it. */
static struct vb_conn *stream(struct alab *l, int *pid_out)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int pair[2];
    VB_AUTO_FREE char *prog = vb_program_path("vbackup-agent");
    const char *argv[] = { prog, NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    sp.argv = argv;
    sp.stdin_fd = sp.stdout_fd = pair[1];
    pid_t pid = vb_spawn(&sp, &err);
    close(pair[1]);
    if (pid < 0)
        alab_die("relay", &err);
    struct vb_conn *c = vb_conn_fd(l->loop, pair[0], pair[0]);
    struct opening o = { false, false, VB_ERROR_INIT };
    struct vb_greet_params p = { .role = "requester" };
    vb_greet(c, &p, greeted, &o);
    while (!o.done)
        vb_loop_turn(l->loop, 1000);
    if (!o.ok) {
        vb_error_move(&l->lost, &o.err);
        vb_conn_free(c);
        return NULL;
    }
    if (pid_out)
        *pid_out = pid;
    return c;
}

static void add_reply(struct alab *l, const struct vb_msg *m)
{
    VB_GROW(l->replies, l->n_replies, l->cap_replies);
    struct vb_msg *r = &l->replies[l->n_replies++];
    *r = (struct vb_msg){ m->type, m->id, VB_BUF_INIT };
    vb_buf_add(&r->body, m->body.data, m->body.len);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct alab *l = arg;
    if (m->type == VB_M_EVENT) {
        VB_AUTO_FREE char *k = vb_msg_str(m, VB_F_KIND), *e = vb_msg_str(m, VB_F_EVENT), *t = vb_msg_str(m, VB_F_TEXT);
        VB_AUTO_FREE char *w = vb_msg_str(m, VB_F_WRITER);
        uint64_t seq = vb_msg_u64(m, VB_F_SEQ, 0);
        if (seq <= l->last_seq)
            l->repeats++;
        l->last_seq = seq;
        vb_strv_take(&l->events, vb_printf("%s %s %s %s", k ? k : "", e ? e : "", t ? t : "", w ? w : ""));
        return;
    }
    add_reply(l, m);
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct alab *l = arg;
    if (l->lost.code == VB_OK)
        vb_error_copy(&l->lost, why);
    vb_conn_free(l->control);
    l->control = NULL;
    l->open = false;
}

static const struct vb_conn_handler CONTROL = { on_msg, on_close, NULL };

static struct alab_chunk *find_chunk(struct alab *l, const char *name)
{
    for (size_t i = 0; i < l->n_chunks; i++)
        if (!strcmp(l->chunks[i].name, name))
            return &l->chunks[i];
    return NULL;
}

static char *chunk_name(const struct vb_msg *m)
{
    const unsigned char *p;
    size_t n;
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!vb_msg_bytes(m, VB_F_CHUNK_NAME, &p, &n))
        return vb_strdup("");
    for (size_t i = 0; i < n; i++)
        vb_buf_addf(&b, "%02x", p[i]);
    return vb_buf_take_str(&b);
}

static void on_data(void *arg, struct vb_msg *m)
{
    struct alab *l = arg;
    VB_AUTO_MSG r = VB_MSG_INIT(0);
    r.id = m->id;
    if (m->type == VB_M_OFFER) {
        struct vb_field_iter it;
        uint16_t tag;
        const unsigned char *p;
        size_t n, count = 0;
        vb_field_iter_init(&it, m);
        while (vb_field_next(&it, &tag, &p, &n))
            count += tag == VB_F_CHUNK;
        unsigned char *bits = vb_alloc(count / 8 + 1);
        memset(bits, 0xff, count / 8 + 1);
        if (count % 8)
            bits[count / 8] = (unsigned char)((1u << (count % 8)) - 1);
        r.type = VB_M_WANT;
        vb_msg_add(&r, VB_F_BITMAP, bits, (count + 7) / 8);
        free(bits);
        vb_conn_send(l->data, &r);
    } else if (m->type == VB_M_CHUNK) {
        VB_AUTO_FREE char *name = chunk_name(m);
        if (!find_chunk(l, name)) {
            VB_GROW(l->chunks, l->n_chunks, l->cap_chunks);
            l->chunks[l->n_chunks] = (struct alab_chunk){ vb_strdup(name), VB_BUF_INIT };
            vb_buf_add(&l->chunks[l->n_chunks++].body, m->body.data, m->body.len);
        }
    } else if (m->type == VB_M_GET) {
        VB_AUTO_FREE char *name = chunk_name(m);
        struct alab_chunk *c = find_chunk(l, name);
        r.type = VB_M_CHUNK;
        if (c)
            vb_buf_add(&r.body, c->body.data, c->body.len);
        else
            vb_msg_add_u64(&r, VB_F_CODE, VB_E_NOT_FOUND);
        vb_conn_send(l->data, &r);
    } else if (m->type == VB_M_DATA_END) {
        r.type = VB_M_DATA_OK;
        vb_conn_send(l->data, &r);
    }
}

static void on_data_close(void *arg, const struct vb_error *why)
{
    struct alab *l = arg;
    (void)why;
    vb_conn_free(l->data);
    l->data = NULL;
}

static const struct vb_conn_handler DATA = { on_data, on_data_close, NULL };

struct first { struct vb_conn *c; struct vb_msg m; bool done; };

static void on_first(void *arg, struct vb_msg *m)
{
    struct first *f = arg;
    f->m.type = m->type;
    vb_buf_add(&f->m.body, m->body.data, m->body.len);
    f->done = true;
    vb_conn_set_handler(f->c, NULL, NULL); /* what follows is for the next one */
}

static void on_first_close(void *arg, const struct vb_error *why)
{
    struct first *f = arg;
    f->m.type = VB_M_ERROR;
    vb_msg_add_u64(&f->m, VB_F_CODE, VB_E_CONNECTION_LOST);
    vb_msg_add_error(&f->m, why);
    f->done = true;
}

/* Sends the first message and gives back its answer; the connection is left without handler. */
static bool first(struct alab *l, struct vb_conn *c, struct vb_msg *m, uint16_t expect, struct vb_msg *answer)
{
    static const struct vb_conn_handler FIRST = { on_first, on_first_close, NULL };
    struct first f = { c, VB_MSG_INIT(0), false };
    m->id = 1;
    vb_conn_set_handler(c, &FIRST, &f);
    vb_conn_send(c, m);
    while (!f.done)
        vb_loop_turn(l->loop, 1000);
    vb_conn_set_handler(c, NULL, NULL);
    bool ok = f.m.type == expect;
    if (!ok) {
        vb_error_clear(&l->lost);
        if (vb_msg_error(&f.m, &l->lost) == 0)
            vb_fail(&l->lost, VB_E_PROTOCOL, "message type %u came", f.m.type);
    }
    if (answer)
        *answer = f.m;
    else
        vb_msg_clear(&f.m);
    return ok;
}

void alab_cut(struct alab *l)
{
    vb_conn_free(l->control);
    vb_conn_free(l->data);
    l->control = l->data = NULL;
    l->open = false;
    if (l->relay > 0) {
        kill(l->relay, SIGKILL);
        l->relay = 0;
    }
}

static bool control(struct alab *l, struct vb_msg *m, uint16_t expect)
{
    VB_AUTO_MSG a = VB_MSG_INIT(0);
    alab_cut(l);
    vb_error_clear(&l->lost);
    struct vb_conn *c = stream(l, &l->relay);
    if (!c)
        return false;
    if (!first(l, c, m, expect, &a)) {
        vb_conn_free(c);
        return false;
    }
    vb_free_ptr(&l->token);
    l->token = vb_msg_str(&a, VB_F_TOKEN);
    l->control = c;
    l->open = true;
    vb_conn_set_handler(c, &CONTROL, l);
    return true;
}

bool alab_open(struct alab *l, enum vb_job_kind kind, uint64_t lease_ms, bool overwrite)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF xml = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OPEN);
    struct vb_job *j = vb_job_new(kind, "lab");
    char id[VB_GUID_LEN + 1];
    if (l->job) { /* the same job once more */
        memcpy(id, l->job, sizeof id);
    } else {
        vb_guid_new(id);
        l->job = vb_strdup(id);
    }
    vb_free_ptr(&j->job_id);
    j->job_id = vb_strdup(id);
    j->overwrite = overwrite;
    j->requester = vb_strdup("lab");
    if (vb_job_write(j, &xml, &err) < 0)
        alab_die("job", &err);
    vb_job_free(j);
    vb_msg_add(&m, VB_F_JOB_DOC, xml.data, xml.len);
    vb_msg_add_u64(&m, VB_F_LEASE_MS, lease_ms);
    return control(l, &m, VB_M_OPENED);
}

bool alab_attach(struct alab *l)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ATTACH);
    vb_msg_add_str(&m, VB_F_JOB, l->job);
    vb_msg_add_str(&m, VB_F_TOKEN, l->token);
    vb_msg_add_u64(&m, VB_F_SEQ, l->last_seq);
    return control(l, &m, VB_M_ATTACHED);
}

bool alab_data(struct alab *l)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_DATA);
    vb_conn_free(l->data);
    l->data = stream(l, NULL);
    if (!l->data)
        return false;
    vb_msg_add_str(&m, VB_F_JOB, l->job);
    vb_msg_add_str(&m, VB_F_TOKEN, l->token);
    if (!first(l, l->data, &m, VB_M_DATA_OK, NULL)) {
        vb_conn_free(l->data);
        l->data = NULL;
        return false;
    }
    vb_conn_set_handler(l->data, &DATA, l);
    return true;
}

bool alab_query(struct alab *l, const struct vb_msg *m, struct vb_msg *answer)
{
    VB_AUTO_MSG q = VB_MSG_INIT(m->type);
    vb_buf_add(&q.body, m->body.data, m->body.len);
    struct vb_conn *c = stream(l, NULL);
    if (!c)
        return false;
    bool ok = first(l, c, &q, m->type == VB_M_STATUS ? VB_M_STATUS_REPLY : VB_M_OK, answer);
    vb_conn_free(c);
    return ok;
}

/* ---- commands ---- */

void alab_send(struct alab *l, uint16_t type, uint64_t id, const struct vb_msg *body)
{
    VB_AUTO_MSG m = VB_MSG_INIT(type);
    m.id = id;
    if (body)
        vb_buf_add(&m.body, body->body.data, body->body.len);
    if (l->control)
        vb_conn_send(l->control, &m);
}

static struct vb_msg *find_reply(struct alab *l, uint64_t id)
{
    for (size_t i = 0; i < l->n_replies; i++)
        if (l->replies[i].id == id)
            return &l->replies[i];
    return NULL;
}

static void on_time(void *arg)
{
    bool *over = arg;
    *over = true;
}

const struct vb_msg *alab_wait(struct alab *l, uint64_t id, uint64_t ms)
{
    bool over = false;
    struct vb_timer *t = vb_loop_after(l->loop, ms, on_time, &over);
    while (!find_reply(l, id) && l->control && !over)
        vb_loop_turn(l->loop, 1000);
    if (!over)
        vb_timer_cancel(t);
    return find_reply(l, id);
}

void alab_run(struct alab *l, uint64_t ms)
{
    bool over = false;
    vb_loop_after(l->loop, ms, on_time, &over);
    while (!over)
        vb_loop_turn(l->loop, 1000);
}

const struct vb_msg *alab_command(struct alab *l, uint16_t type, uint64_t id, const struct vb_msg *body, uint64_t ms)
{
    alab_send(l, type, id, body);
    const struct vb_msg *r = alab_wait(l, id, ms);
    const unsigned char *p;
    size_t n;
    if (r && vb_msg_bytes(r, VB_F_BCD, &p, &n)) {
        vb_buf_reset(&l->bcd);
        vb_buf_add(&l->bcd, p, n);
    }
    return r;
}

enum vb_code alab_code(const struct vb_msg *reply)
{
    return reply ? (enum vb_code)vb_msg_u64(reply, VB_F_CODE, VB_OK) : VB_E_CONNECTION_LOST;
}
