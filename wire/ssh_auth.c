/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_auth.c - login with keys from files and from ssh-agent; never with passwords.
 *
 * Order: identity files, then the agent's key for each file that needs a passphrase, then the agent's other keys (the
 * agent first where no identity was configured, as ssh does it).
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "wire/ssh_internal.h"

#define AGENT_WAIT_MS 2000u /* for its list of keys; a key that waits for a person's consent may take longer */

static void note(struct vb_buf *b, const char *what, const char *why)
{
    if (b->len)
        vb_buf_add_str(b, ", ");
    vb_buf_add_str(b, what);
    if (why)
        vb_buf_addf(b, " %s", why);
}

static void on_agent_keys(void *arg, const struct vb_ssh_agent_key *keys, size_t n, const struct vb_error *err)
{
    struct vb_ssh *s = arg;
    struct vb_ssh_login *g = &s->login;

    g->agent_answered = true;
    g->agent_keys = keys;
    g->n_agent_keys = n;
    if (err)
        note(&g->skipped, vb_error_text(err), NULL);
    vb_ssh_wake(s);
}

/* The login goes on without it. */
static void agent_late(void *arg)
{
    struct vb_ssh *s = arg;
    struct vb_ssh_login *g = &s->login;

    g->agent_timer = NULL;
    vb_ssh_agent_close(g->agent);
    g->agent = NULL;
    g->agent_answered = true;
    note(&g->skipped, "ssh-agent: does not answer", NULL);
    vb_ssh_wake(s);
}

void vb_ssh_login_start(struct vb_ssh *s)
{
    const char *path = s->no_agent ? NULL : getenv("SSH_AUTH_SOCK");

    if (path && *path)
        s->login.agent = vb_ssh_agent_open(s->loop, path, on_agent_keys, s);
    else
        s->login.agent_answered = true;
}

void vb_ssh_login_clear(struct vb_ssh *s)
{
    struct vb_ssh_login *g = &s->login;

    vb_ssh_agent_close(g->agent);
    vb_timer_cancel(g->agent_timer);
    for (size_t i = 0; i < g->n_files; i++)
        vb_ssh_key_clear(&g->files[i]);
    for (size_t i = 0; i < g->n_tries; i++)
        free(g->tries[i].label);
    free(g->files);
    free(g->tries);
    free(g->methods);
    free(g->signature);
    vb_buf_clear(&g->offered);
    vb_buf_clear(&g->skipped);
    *g = (struct vb_ssh_login){ .agent_answered = true };
}

static void add_file(struct vb_ssh_login *g, struct vb_ssh_key *k)
{
    VB_GROW(g->tries, g->n_tries, g->cap_tries);
    g->tries[g->n_tries++] = (struct vb_ssh_candidate){ .file = k, .label = vb_strdup(k->path) };
}

static void add_agent_key(struct vb_ssh_login *g, const struct vb_ssh_agent_key *k)
{
    for (size_t i = 0; i < g->n_tries; i++)
        if (g->tries[i].agent_key == k)
            return;
    if (!vb_ssh_key_type_ok(k->type)) {
        VB_AUTO_FREE char *what = vb_printf("agent key '%s'", k->comment);
        VB_AUTO_FREE char *why = vb_printf("(%s: only Ed25519 and ECDSA can be used)", k->type);

        note(&g->skipped, what, why);
        return;
    }
    VB_GROW(g->tries, g->n_tries, g->cap_tries);
    g->tries[g->n_tries++] =
        (struct vb_ssh_candidate){ .agent_key = k, .label = vb_printf("agent key '%s'", k->comment) };
}

static void add_agent_keys(struct vb_ssh_login *g)
{
    for (size_t i = 0; i < g->n_agent_keys; i++)
        add_agent_key(g, &g->agent_keys[i]);
}

/* A key that only the agent can use. */
static bool add_from_agent(struct vb_ssh_login *g, const struct vb_ssh_key *k)
{
    for (size_t i = 0; i < g->n_agent_keys; i++) {
        const struct vb_ssh_agent_key *a = &g->agent_keys[i];

        if (k->pub.len && a->n == k->pub.len && memcmp(a->blob, k->pub.data, a->n) == 0) {
            add_agent_key(g, a);
            return true;
        }
    }
    return false;
}

static void add_identities(struct vb_ssh *s)
{
    struct vb_ssh_login *g = &s->login;

    g->files = s->identities.n ? vb_alloc_n(s->identities.n, sizeof *g->files) : NULL;
    for (size_t i = 0; i < s->identities.n; i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_ssh_key *k = &g->files[g->n_files];

        if (vb_ssh_key_load(k, s->identities.v[i], &err) < 0) {
            if (!s->default_identities || err.code != VB_E_NOT_FOUND)
                note(&g->skipped, vb_error_text(&err), NULL);
            vb_ssh_key_clear(k);
            continue;
        }
        g->n_files++;
        if (k->type && !vb_ssh_key_type_ok(k->type)) {
            VB_AUTO_FREE char *why =
                vb_printf("(%s: libssh2 %s cannot sign with it in a way today's servers accept; use an "
                          "Ed25519 key)",
                          k->type, libssh2_version(0));

            note(&g->skipped, k->path, why);
        } else if (k->encrypted) {
            if (!add_from_agent(g, k))
                note(&g->skipped, k->path, "(protected by a passphrase, and no ssh-agent holds it: ssh-add it first)");
        } else {
            add_file(g, k);
        }
    }
}

static void gather(struct vb_ssh *s)
{
    if (s->default_identities) {
        add_agent_keys(&s->login);
        add_identities(s);
    } else {
        add_identities(s);
        add_agent_keys(&s->login);
    }
}

static void on_signed(void *arg, const unsigned char *sig, size_t n, const struct vb_error *err)
{
    struct vb_ssh *s = arg;

    (void)err;
    free(s->login.signature);
    s->login.signature = sig ? vb_memdup(sig, n) : NULL;
    s->login.n_signature = n;
    s->login.sign = sig ? SIGN_DONE : SIGN_FAILED;
    vb_ssh_wake(s);
}

static int sign_by_agent(LIBSSH2_SESSION *session, unsigned char **sig, size_t *sig_len, const unsigned char *data,
                         size_t data_len, void **abstract)
{
    struct vb_ssh *s = *abstract;
    struct vb_ssh_login *g = &s->login;

    (void)session;
    switch (g->sign) {
    case SIGN_NONE:
        g->sign = SIGN_WAITING;
        vb_ssh_agent_sign(g->agent, g->tries[g->at].agent_key, data, data_len, on_signed, s);
        return LIBSSH2_ERROR_EAGAIN;
    case SIGN_WAITING:
        return LIBSSH2_ERROR_EAGAIN;
    case SIGN_DONE:
        *sig = VB_STEAL(g->signature); /* libssh2 frees it */
        *sig_len = g->n_signature;
        return 0;
    case SIGN_FAILED:
        break;
    }
    return -1;
}

/* libssh2's result for the key at hand. */
static int try_one(struct vb_ssh *s)
{
    struct vb_ssh_login *g = &s->login;
    const struct vb_ssh_candidate *c = &g->tries[g->at];
    void *self = s;

    if (c->agent_key)
        return libssh2_userauth_publickey(s->session, s->user, c->agent_key->blob, c->agent_key->n, sign_by_agent,
                                          &self);
    return libssh2_userauth_publickey_frommemory(s->session, s->user, strlen(s->user), NULL, 0,
                                                 vb_buf_str(&c->file->text), c->file->text.len, NULL);
}

static int refused(struct vb_ssh *s, struct vb_error *err)
{
    struct vb_ssh_login *g = &s->login;
    const char *skipped = g->skipped.len ? vb_buf_str(&g->skipped) : NULL;

    if (g->methods && !vb_kex_common("publickey", g->methods)) {
        vb_fail(err, VB_E_AUTH, "login of '%s' refused: its sshd takes no keys, only %s", s->user, g->methods);
        vb_hint(err, "set 'PubkeyAuthentication yes' in its sshd_config; vbackup never logs in with a password");
        return -1;
    }
    if (g->n_tries == 0) {
        vb_fail(err, VB_E_AUTH, "no key to log in with as '%s'%s%s", s->user, skipped ? ": " : "",
                skipped ? skipped : "");
        vb_hint(err, "make one with 'ssh-keygen -t ed25519', name it by 'identity' in the section [host %s] of the "
                     "configuration, and add its .pub to ~%s/.ssh/authorized_keys there", s->name, s->user);
        return -1;
    }
    vb_fail(err, VB_E_AUTH, "login of '%s' refused with %s%s%s%s", s->user, vb_buf_str(&g->offered),
            skipped ? " (not tried: " : "", skipped ? skipped : "", skipped ? ")" : "");
    vb_hint(err, "add the public key to ~%s/.ssh/authorized_keys there: ssh-copy-id -p %u %s@%s", s->user,
            (unsigned)s->port, s->user, s->address);
    return -1;
}

static int list_methods(struct vb_ssh *s, struct vb_error *err)
{
    const char *list = libssh2_userauth_list(s->session, s->user, (unsigned)strlen(s->user));
    int rc;

    if (list) {
        s->login.methods = vb_escape_terminal(list, strlen(list));
        s->login.step = LOGIN_AGENT;
        return 0;
    }
    if (libssh2_userauth_authenticated(s->session))
        return 1;
    rc = libssh2_session_last_errno(s->session);
    if (rc == LIBSSH2_ERROR_EAGAIN)
        return 0;
    return vb_fail(err, VB_E_AUTH, "login of '%s' failed: %s", s->user, vb_ssh_last_error(s));
}

int vb_ssh_login_step(struct vb_ssh *s, struct vb_error *err)
{
    struct vb_ssh_login *g = &s->login;

    if (g->step == LOGIN_LIST) {
        int rc = list_methods(s, err);

        if (rc != 0 || g->step == LOGIN_LIST)
            return rc;
    }
    if (g->step == LOGIN_AGENT) {
        if (!g->agent_answered) {
            if (!g->agent_timer)
                g->agent_timer = vb_loop_after(s->loop, AGENT_WAIT_MS, agent_late, s);
            return 0;
        }
        vb_timer_cancel(g->agent_timer);
        g->agent_timer = NULL;
        if (!vb_kex_common("publickey", g->methods))
            return refused(s, err);
        gather(s);
        g->step = LOGIN_TRY;
    }
    for (; g->at < g->n_tries; g->at++, g->sign = SIGN_NONE) {
        int rc = try_one(s);

        if (rc == LIBSSH2_ERROR_EAGAIN)
            return 0;
        note(&g->offered, g->tries[g->at].label, g->sign == SIGN_FAILED ? "(the agent would not sign)" : NULL);
        if (rc == 0)
            return 1;
        if (rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_RECV) {
            refused(s, err);
            vb_context(err, "its sshd hung up (too many keys?)");
            return -1;
        }
        if (rc != LIBSSH2_ERROR_AUTHENTICATION_FAILED && rc != LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED)
            vb_buf_addf(&g->offered, " (%s)", vb_ssh_last_error(s));
    }
    return refused(s, err);
}
