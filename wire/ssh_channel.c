/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_channel.c - channels of a session as connections.
 *
 * The pump (vb_ssh_channels_step) only moves bytes between libssh2 and the queues; messages are delivered by a posted
 * call per connection, so that the user may do anything in on_msg, closing the session included.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "wire/ssh_internal.h"

#define READ_AT_A_TIME (256u * 1024)
#define WRITE_AT_A_TIME (256u * 1024)
#define END_WAIT_MS 3000u /* for the exit status, after the end of the output */

static void deliver(void *arg);

static void post_delivery(struct ssh_conn *c)
{
    if (!c->posted && !c->s.base.ended) {
        c->posted = true;
        vb_loop_post(c->s.base.loop, deliver, c);
    }
}

/* --- why a command ended --- */

static char *last_line(struct vb_buf *b)
{
    const char *text = vb_buf_str(b), *line;
    size_t n = b->len;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
        n--;
    for (line = text + n; line > text && line[-1] != '\n'; line--)
        ;
    return vb_escape_terminal(line, (size_t)(text + n - line));
}

/* "exit status 3", "killed by signal TERM"; NULL: ended well. */
static char *exit_text(struct ssh_chan *k, int *status)
{
    char *signame = NULL, *text = NULL;
    size_t n = 0;

    *status = libssh2_channel_get_exit_status(k->ch);
    libssh2_channel_get_exit_signal(k->ch, &signame, &n, NULL, NULL, NULL, NULL);
    if (signame) {
        VB_AUTO_FREE char *shown = vb_escape_terminal(signame, n);

        text = vb_printf("killed by signal %s", shown);
        libssh2_free(k->ssh->session, signame);
    } else if (*status != 0) {
        text = vb_printf("exit status %d", *status);
    }
    return text;
}

static void end_of_command(struct ssh_conn *c)
{
    struct ssh_chan *k = c->chan;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int status = 0;
    VB_AUTO_FREE char *how = k->ch ? exit_text(k, &status) : NULL;
    VB_AUTO_FREE char *said = last_line(&k->errors);
    VB_AUTO_FREE char *cmd = vb_escape_terminal(k->command, strlen(k->command));

    if (c->s.heard_any && !how) {
        vb_stream_end(&c->s);
        return;
    }
    if (c->s.heard_any) {
        vb_fail(&err, VB_E_CONNECTION_LOST, "'%s' ended: %s%s%s", cmd, how, *said ? ": " : "", said);
    } else if (c->raw) {
        vb_fail(&err, VB_E_CONNECT, "'%s' ended at once: %s%s%s", cmd, how ? how : "exit status 0", *said ? ": " : "", said);
        if (!k->subsystem)
            vb_hint(&err, "run it there by hand: ssh -p %u %s@%s %s", (unsigned)k->ssh->port, k->ssh->user, k->ssh->address, cmd);
    } else if (c->s.in_at < c->s.in.len) {
        vb_stream_end(&c->s);
        return;
    } else if (status == 127 || status == 126) {
        vb_fail(&err, VB_E_AGENT_MISSING, "'%s' cannot be started there%s%s", cmd, *said ? ": " : "", said);
        vb_hint(
            &err,
            "install vbackup there, or set 'agent-command' in the section [host %s] of the configuration to the path "
            "of its vbackup-agent",
            k->ssh->name);
    } else {
        vb_fail(&err, VB_E_AGENT_MISSING, "'%s' ended before its greeting: %s%s%s", cmd, how ? how : "exit status 0",
                *said ? ": " : "", said);
        vb_hint(&err, "run it there by hand: ssh -p %u %s@%s %s", (unsigned)k->ssh->port, k->ssh->user,
                k->ssh->address, cmd);
    }
    vb_conn_end(&c->s.base, &err);
}

/* --- the user's side --- */

/* All that has come, as one message. */
static bool deliver_raw(struct vb_stream *s)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);

    if (vb_conn_held(&s->base) || s->in_at == s->in.len)
        return true;
    vb_buf_add(&m.body, vb_buf_at(&s->in, s->in_at), s->in.len - s->in_at);
    s->in_at = s->in.len;
    s->heard_any = true;
    s->base.last_heard_ms = vb_loop_now_ms(s->base.loop);
    return vb_conn_deliver(&s->base, &m);
}

static void deliver(void *arg)
{
    struct ssh_conn *c = arg;

    c->posted = false;
    if (!(c->raw ? deliver_raw(&c->s) : vb_stream_deliver(&c->s)) || c->s.base.ended || !c->chan)
        return;
    if (c->s.above_low && vb_stream_queued(&c->s) <= VB_CONN_LOW) {
        c->s.above_low = false;
        if (!vb_conn_drained(&c->s.base) || c->s.base.ended || !c->chan)
            return;
    }
    if (c->chan->state == CHAN_OVER && !c->hold)
        end_of_command(c);
    else
        vb_ssh_wake(c->chan->ssh);
}

static void ssh_send(struct vb_conn *base, const struct vb_msg *m)
{
    struct ssh_conn *c = (struct ssh_conn *)base;

    if (!c->chan || c->chan->write_broken)
        return;
    if (c->raw)
        vb_buf_add(&c->s.out, m->body.data, m->body.len);
    else if (vb_stream_queue(&c->s, m) < 0)
        return;
    if (vb_stream_queued(&c->s) > VB_CONN_LOW)
        c->s.above_low = true;
    vb_ssh_wake(c->chan->ssh);
}

static size_t ssh_queued(const struct vb_conn *base)
{
    return vb_stream_queued(&((const struct ssh_conn *)base)->s);
}

static void ssh_pause(struct vb_conn *base, bool hold)
{
    struct ssh_conn *c = (struct ssh_conn *)base;

    c->hold = hold;
    if (!hold && c->chan)
        post_delivery(c);
}

static void ssh_finish(struct vb_conn *base)
{
    struct ssh_conn *c = (struct ssh_conn *)base;

    if (c->chan)
        vb_ssh_wake(c->chan->ssh);
}

static void ssh_destroy(struct vb_conn *base)
{
    struct ssh_conn *c = (struct ssh_conn *)base;

    if (c->chan) {
        c->chan->conn = NULL;
        vb_ssh_wake(c->chan->ssh);
    }
    vb_stream_clear(&c->s);
    free(c);
}

static const struct vb_conn_ops ssh_ops = { ssh_send, ssh_queued, ssh_pause, ssh_finish, ssh_destroy };

static struct vb_conn *open_channel(struct vb_ssh *s, const char *command, bool raw, bool subsystem)
{
    struct ssh_conn *c = vb_alloc(sizeof *c);
    VB_AUTO_FREE char *name = vb_printf("host '%s'", s->name);
    struct ssh_chan *k, **at;

    vb_conn_init(&c->s.base, s->loop, &ssh_ops);
    vb_conn_set_name(&c->s.base, name);
    c->hold = true;
    c->raw = raw;
    if (s->state == VB_SSH_FAILED) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        vb_fail(&err, VB_E_CONNECTION_LOST, "connection is closed");
        vb_conn_end(&c->s.base, &err);
        return &c->s.base;
    }
    k = vb_alloc(sizeof *k);
    k->ssh = s;
    k->conn = c;
    k->command = vb_strdup(command);
    k->raw = raw;
    k->subsystem = subsystem;
    c->chan = k;
    for (at = &s->chans; *at; at = &(*at)->next)
        ;
    *at = k;
    vb_ssh_wake(s);
    return &c->s.base;
}

struct vb_conn *vb_ssh_exec(struct vb_ssh *s, const char *command)
{
    return open_channel(s, command, false, false);
}

struct vb_conn *vb_ssh_raw(struct vb_ssh *s, const char *command, bool subsystem)
{
    return open_channel(s, command, true, subsystem);
}

/* --- the session's side --- */

static void chan_free(struct ssh_chan *k)
{
    if (k->conn)
        k->conn->chan = NULL;
    vb_timer_cancel(k->end_timer);
    vb_buf_clear(&k->errors);
    free(k->command);
    free(k);
}

void vb_ssh_channels_free(struct vb_ssh *s)
{
    while (s->chans) {
        struct ssh_chan *k = s->chans;

        s->chans = k->next;
        chan_free(k);
    }
}

void vb_ssh_channels_end(struct vb_ssh *s, const struct vb_error *err)
{
    for (struct ssh_chan *k = s->chans; k; k = k->next) {
        VB_AUTO_ERROR copy = VB_ERROR_INIT;

        vb_timer_cancel(k->end_timer);
        k->end_timer = NULL;
        if (!k->conn)
            continue;
        k->conn->hold = true;
        vb_error_copy(&copy, err);
        vb_conn_end(&k->conn->s.base, &copy);
    }
}

/* Ends one connection; its channel is let go by the pump. */
static void chan_fail(struct ssh_chan *k, struct vb_error *err)
{
    k->state = CHAN_OVER;
    if (k->conn) {
        vb_conn_end(&k->conn->s.base, err);
        k->conn->chan = NULL;
        k->conn = NULL;
    }
}

static bool another_is_opening(const struct vb_ssh *s, const struct ssh_chan *but)
{
    for (const struct ssh_chan *k = s->chans; k; k = k->next)
        if (k != but && k->state == CHAN_OPENING)
            return true;
    return false;
}

/* Opens and starts; -1: the session is broken. */
static int start_step(struct ssh_chan *k, struct vb_error *err)
{
    struct vb_ssh *s = k->ssh;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    int rc;

    if (k->state == CHAN_WAITING && (another_is_opening(s, k) || !k->conn))
        return 0;
    if (k->state == CHAN_WAITING)
        k->state = CHAN_OPENING;
    if (k->state == CHAN_OPENING) {
        k->ch = libssh2_channel_open_ex(s->session, "session", 7, VB_SSH_WINDOW, VB_SSH_PACKET, NULL, 0);
        if (!k->ch) {
            rc = libssh2_session_last_errno(s->session);
            if (rc == LIBSSH2_ERROR_EAGAIN)
                return 0;
            if (vb_ssh_fatal(rc))
                return vb_fail(err, VB_E_CONNECTION_LOST, "connection lost: %s", vb_ssh_last_error(s));
            vb_fail(&why, VB_E_CONNECT, "refused another channel: %s", vb_ssh_last_error(s));
            vb_hint(&why, "raise MaxSessions in its sshd_config (2 for each job at least)");
            chan_fail(k, &why);
            return 0;
        }
        k->state = CHAN_STARTING;
    }
    if (k->state == CHAN_STARTING && k->conn) {
        const char *request = k->subsystem ? "subsystem" : "exec";

        rc = libssh2_channel_process_startup(k->ch, request, (unsigned)strlen(request), k->command,
                                             (unsigned)strlen(k->command));
        if (rc == LIBSSH2_ERROR_EAGAIN)
            return 0;
        if (vb_ssh_fatal(rc))
            return vb_fail(err, VB_E_CONNECTION_LOST, "connection lost: %s", vb_ssh_last_error(s));
        if (rc != 0) {
            vb_fail(&why, k->raw ? VB_E_CONNECT : VB_E_AGENT_MISSING, "refused to run '%s': %s", k->command,
                    vb_ssh_last_error(s));
            if (k->subsystem)
                vb_hint(&why, "its sshd_config needs a line: Subsystem %s internal-%s", k->command, k->command);
            else
                vb_hint(&why, "does its sshd_config or the key's line in authorized_keys forbid commands?");
            chan_fail(k, &why);
            return 0;
        }
        k->state = CHAN_RUNNING;
    }
    return 0;
}

/* Whole lines go to our log as they come. */
static void log_errors(struct ssh_chan *k)
{
    const char *text = vb_buf_str(&k->errors), *end;

    while ((end = memchr(text + k->logged, '\n', k->errors.len - k->logged))) {
        VB_AUTO_FREE char *shown = vb_escape_terminal(text + k->logged, (size_t)(end - text) - k->logged);

        vb_log(VB_LOG_INFO, "host '%s': %s", k->ssh->name, shown);
        k->logged = (size_t)(end - text) + 1;
    }
}

/* The last part of what the command complains about is kept for the error that may follow. */
static int read_errors(struct ssh_chan *k)
{
    char b[1024];
    ssize_t n;

    while ((n = libssh2_channel_read_stderr(k->ch, b, sizeof b)) > 0) {
        vb_buf_add(&k->errors, b, (size_t)n);
        log_errors(k);
        if (k->errors.len > 2 * VB_SSH_STDERR_MAX) {
            size_t drop = k->errors.len - VB_SSH_STDERR_MAX;

            vb_buf_consume(&k->errors, drop);
            k->logged -= drop < k->logged ? drop : k->logged;
        }
    }
    return (int)n;
}

static void end_timeout(void *arg)
{
    struct ssh_chan *k = arg;

    k->end_timer = NULL;
    k->state = CHAN_OVER;
    if (k->conn)
        post_delivery(k->conn);
    vb_ssh_wake(k->ssh);
}

static int read_step(struct ssh_chan *k)
{
    struct ssh_conn *c = k->conn;
    int rc = read_errors(k);
    ssize_t n;

    if (vb_ssh_fatal(rc))
        return rc;
    /* Nothing is read ahead of what was delivered: that is the back-pressure, by the channel's window. */
    if (c && !c->hold && !c->posted && !c->s.base.ended) {
        n = libssh2_channel_read(k->ch, (char *)vb_stream_room(&c->s, READ_AT_A_TIME), READ_AT_A_TIME);
        if (n > 0) {
            vb_stream_got(&c->s, (size_t)n);
            post_delivery(c);
        } else if (vb_ssh_fatal((int)n)) {
            return (int)n;
        }
    }
    if (libssh2_channel_eof(k->ch) == 1 && (!c || !c->posted)) {
        k->state = CHAN_ENDING;
        k->end_timer = vb_loop_after(k->ssh->loop, END_WAIT_MS, end_timeout, k);
    }
    return 0;
}

static int write_step(struct ssh_chan *k)
{
    struct ssh_conn *c = k->conn;
    size_t done = 0;

    while (c && !k->write_broken && vb_stream_queued(&c->s) > 0 && done < WRITE_AT_A_TIME &&
           vb_ssh_out_queued(k->ssh) < VB_SSH_OUT_MAX) {
        ssize_t n = libssh2_channel_write(k->ch, (const char *)vb_stream_front(&c->s), vb_stream_queued(&c->s));

        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            break;
        if (vb_ssh_fatal((int)n))
            return (int)n;
        if (n < 0) {
            /* The command takes nothing any more; its exit status tells why. */
            k->write_broken = true;
            vb_stream_written(&c->s, vb_stream_queued(&c->s));
            break;
        }
        vb_stream_written(&c->s, (size_t)n);
        done += (size_t)n;
    }
    if (c && c->s.above_low && vb_stream_queued(&c->s) <= VB_CONN_LOW)
        post_delivery(c);
    if (c && c->s.base.finished && vb_stream_queued(&c->s) == 0 && !k->eof_sent && !k->write_broken) {
        int rc = libssh2_channel_send_eof(k->ch);

        if (rc == LIBSSH2_ERROR_EAGAIN)
            return 0;
        k->eof_sent = true;
        if (vb_ssh_fatal(rc))
            return rc;
    }
    /* More fits in: come back once others had their turn. */
    if (done >= WRITE_AT_A_TIME)
        vb_ssh_wake(k->ssh);
    return 0;
}

/* -1: the session is broken. */
static int run_step(struct ssh_chan *k, struct vb_error *err)
{
    int rc = write_step(k);

    if (rc == 0)
        rc = read_step(k);
    if (rc == 0 && k->state == CHAN_ENDING) {
        rc = libssh2_channel_wait_closed(k->ch);
        if (rc == 0) {
            vb_timer_cancel(k->end_timer);
            k->end_timer = NULL;
            k->state = CHAN_OVER;
            if (k->conn)
                post_delivery(k->conn);
        }
    }
    if (vb_ssh_fatal(rc))
        return vb_fail(err, VB_E_CONNECTION_LOST, "connection lost: %s", vb_ssh_last_error(k->ssh));
    return 0;
}

/* True: nobody needs the channel any more and libssh2 has let go of it. */
static bool let_go(struct ssh_chan *k)
{
    if (k->conn || k->state == CHAN_OPENING)
        return false;
    return !k->ch || libssh2_channel_free(k->ch) != LIBSSH2_ERROR_EAGAIN;
}

int vb_ssh_channels_step(struct vb_ssh *s, struct vb_error *err)
{
    struct ssh_chan **at = &s->chans;

    while (*at) {
        struct ssh_chan *k = *at;

        if (k->state < CHAN_RUNNING && start_step(k, err) < 0)
            return -1;
        if (k->conn && (k->state == CHAN_RUNNING || k->state == CHAN_ENDING) && run_step(k, err) < 0)
            return -1;
        if (let_go(k)) {
            *at = k->next;
            chan_free(k);
        } else {
            at = &k->next;
        }
    }
    return 0;
}
