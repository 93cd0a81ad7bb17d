/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh.c - opening a session: parameters, key exchange, the host's key, keep-alive, the end.
 */
#include "config.h"
#include "wire/ssh.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "wire/ssh_internal.h"

#define CONNECT_TIMEOUT_MS 20000u
#define KEEPALIVE_MS 15000u
#define KEEPALIVE_LIMIT_MS 60000u

static void keepalive_due(void *arg);

const char *vb_ssh_last_error(struct vb_ssh *s)
{
    char *text = NULL;

    libssh2_session_last_error(s->session, &text, NULL, 0);
    return text && *text ? text : "unknown reason";
}

bool vb_ssh_fatal(int rc)
{
    return rc < 0 && rc != LIBSSH2_ERROR_EAGAIN && rc != LIBSSH2_ERROR_CHANNEL_CLOSED &&
           rc != LIBSSH2_ERROR_CHANNEL_EOF_SENT && rc != LIBSSH2_ERROR_CHANNEL_FAILURE &&
           rc != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED;
}

/* --- the end --- */

static void tell_fail(void *arg)
{
    struct vb_ssh *s = arg;
    struct vb_error why = s->why;

    s->why = (struct vb_error)VB_ERROR_INIT;
    s->h.on_fail(s->arg, &why); /* may close the session */
    vb_error_clear(&why);
}

static void tell_ready(void *arg)
{
    struct vb_ssh *s = arg;

    if (s->h.on_ready)
        s->h.on_ready(s->arg);
}

static void stop_timers(struct vb_ssh *s)
{
    vb_timer_cancel(s->connect_timer);
    vb_timer_cancel(s->keepalive);
    s->connect_timer = s->keepalive = NULL;
}

void vb_ssh_fail(struct vb_ssh *s, struct vb_error *err)
{
    if (s->state == VB_SSH_FAILED) {
        vb_error_clear(err);
        return;
    }
    s->state = VB_SSH_FAILED;
    vb_dial_cancel(s->dial);
    s->dial = NULL;
    stop_timers(s);
    vb_ssh_io_stop(s);
    vb_loop_unpost(s->loop, s);
    vb_error_copy(&s->why, err);
    vb_context(&s->why, "host '%s'", s->name);
    vb_loop_post(s->loop, tell_fail, s);
    vb_ssh_channels_end(s, err);
    vb_error_clear(err);
}

void vb_ssh_close(struct vb_ssh *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    if (!s)
        return;
    vb_dial_cancel(s->dial);
    stop_timers(s);
    vb_fail(&err, VB_E_CANCELLED, "connection closed on this side");
    if (s->state != VB_SSH_FAILED)
        vb_ssh_channels_end(s, &err);
    if (s->session && s->state != VB_SSH_FAILED && s->state != VB_SSH_DIALING) {
        libssh2_session_disconnect(s->session, "done");
        vb_ssh_flush(s);
    }
    s->state = VB_SSH_FAILED;
    s->dead = true;
    vb_ssh_channels_free(s);
    vb_ssh_login_clear(s);
    if (s->session) {
        /* It cannot wait for anything any more, so a few calls do; its channels are freed with it. */
        for (int i = 0; i < 1000 && libssh2_session_free(s->session) == LIBSSH2_ERROR_EAGAIN; i++)
            ;
    }
    vb_ssh_io_stop(s);
    vb_loop_unpost(s->loop, s);
    vb_known_hosts_clear(&s->known);
    vb_kex_offer_clear(&s->offer);
    vb_buf_clear(&s->in);
    vb_buf_clear(&s->out);
    vb_strv_clear(&s->identities);
    vb_strv_clear(&s->known_files);
    vb_error_clear(&s->why);
    free(s->name);
    free(s->address);
    free(s->user);
    free(s->host_keys);
    free(s->methods);
    free(s);
}

/* --- key exchange --- */

/* What the library knows of a list of ours. */
static char *supported(struct vb_ssh *s, int method, const char *list)
{
    const char **algs = NULL;
    int n = libssh2_session_supported_algs(s->session, method, &algs);
    VB_AUTO_BUF b = VB_BUF_INIT;

    while (*list) {
        size_t len = strcspn(list, ",");

        for (int i = 0; i < n; i++) {
            if (strlen(algs[i]) == len && memcmp(algs[i], list, len) == 0) {
                if (b.len)
                    vb_buf_add_char(&b, ',');
                vb_buf_add(&b, list, len);
                break;
            }
        }
        list += len;
        if (*list == ',')
            list++;
    }
    if (n > 0)
        libssh2_free(s->session, algs);
    return vb_buf_take_str(&b);
}

static int prefer(struct vb_ssh *s, int method, const char *list, struct vb_error *err)
{
    VB_AUTO_FREE char *known = supported(s, method, list);

    if (!*known || libssh2_session_method_pref(s->session, method, known) != 0)
        return vb_fail(err, VB_E_PREREQUISITE, "this libssh2 (%s) has none of %s", libssh2_version(0), list);
    return 0;
}

static size_t names_of(const struct vb_ssh *s, const char *names[2])
{
    names[0] = s->address;
    names[1] = s->name;
    return strcmp(s->address, s->name) == 0 ? 1 : 2;
}

static void keyscan_hint(const struct vb_ssh *s, struct vb_error *err)
{
    VB_AUTO_FREE char *port = s->port == 22 ? vb_strdup("") : vb_printf("-p %u ", (unsigned)s->port);
    const char *file = s->known_files.n ? s->known_files.v[0] : "~/.ssh/known_hosts";

    vb_hint(
        err,
        "compare the fingerprint with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the host itself, then "
        "add the key: ssh-keyscan -t ed25519 %s%s >> %s",
        port, s->address, file);
}

/* Only key types that are recorded for the host are asked for, so that a host is not taken for a stranger because it
 * showed another of its keys. */
static int choose_host_keys(struct vb_ssh *s, struct vb_error *err)
{
    const char *names[2], *list = vb_kex_host_keys;
    size_t n = names_of(s, names);
    VB_AUTO_BUF b = VB_BUF_INIT;
    const struct vb_known_key *any;

    while (*list) {
        size_t len = strcspn(list, ",");
        VB_AUTO_FREE char *type = vb_strndup(list, len);

        if (vb_known_hosts_find(&s->known, names, n, s->port, type)) {
            if (b.len)
                vb_buf_add_char(&b, ',');
            vb_buf_add_str(&b, type);
        }
        list += len;
        if (*list == ',')
            list++;
    }
    any = vb_known_hosts_find(&s->known, names, n, s->port, NULL);
    if (!b.len && any) {
        vb_fail(err, VB_E_HOST_KEY,
                "only a host key of type %s is recorded (%s:%u), and it cannot be checked: libssh2 %s "
                "lacks the RSA signatures of today's servers",
                any->type, any->file, any->line, libssh2_version(0));
        keyscan_hint(s, err);
        return -1;
    }
    s->host_keys = b.len ? vb_buf_take_str(&b) : vb_strdup(vb_kex_host_keys);
    return 0;
}

static int start_session(struct vb_ssh *s, int fd, struct vb_error *err)
{
    if (vb_ssh_io_start(s, fd, err) < 0)
        return -1;
    for (size_t i = 0; i < s->known_files.n; i++)
        if (vb_known_hosts_load(&s->known, s->known_files.v[i], err) < 0)
            return -1;
    if (choose_host_keys(s, err) < 0)
        return -1;
    if (prefer(s, LIBSSH2_METHOD_KEX, vb_kex_methods, err) < 0 ||
        prefer(s, LIBSSH2_METHOD_HOSTKEY, s->host_keys, err) < 0 ||
        prefer(s, LIBSSH2_METHOD_CRYPT_CS, vb_kex_ciphers, err) < 0 ||
        prefer(s, LIBSSH2_METHOD_CRYPT_SC, vb_kex_ciphers, err) < 0 ||
        prefer(s, LIBSSH2_METHOD_MAC_CS, vb_kex_macs, err) < 0 ||
        prefer(s, LIBSSH2_METHOD_MAC_SC, vb_kex_macs, err) < 0)
        return -1;
    return 0;
}

static int host_key_not_offered(struct vb_ssh *s, struct vb_error *err)
{
    const char *names[2];
    size_t n = names_of(s, names);
    const struct vb_known_key *recorded = vb_known_hosts_find(&s->known, names, n, s->port, NULL);
    VB_AUTO_FREE char *theirs = vb_escape_terminal(s->offer.host_keys, strlen(s->offer.host_keys));

    if (!vb_kex_common(vb_kex_host_keys, s->offer.host_keys)) {
        vb_fail(err, VB_E_HOST_KEY,
                "its sshd offers only host keys of type %s, which cannot be checked: libssh2 %s lacks the "
                "RSA signatures of today's servers",
                theirs, libssh2_version(0));
        vb_hint(
            err,
            "make an Ed25519 key there: ssh-keygen -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key, restart sshd, "
            "then record it with ssh-keyscan");
        return -1;
    }
    vb_fail(err, VB_E_HOST_KEY, "host key changed: %s (%s:%u) holds a key of type %s, its sshd offers only %s",
            recorded ? recorded->host : "known_hosts", recorded ? recorded->file : "", recorded ? recorded->line : 0,
            recorded ? recorded->type : s->host_keys, theirs);
    keyscan_hint(s, err);
    return -1;
}

static int handshake_failed(struct vb_ssh *s, int rc, struct vb_error *err)
{
    VB_AUTO_FREE char *kex = supported(s, LIBSSH2_METHOD_KEX, vb_kex_methods);
    VB_AUTO_FREE char *ciphers = supported(s, LIBSSH2_METHOD_CRYPT_CS, vb_kex_ciphers);
    VB_AUTO_FREE char *macs = supported(s, LIBSSH2_METHOD_MAC_CS, vb_kex_macs);

    if (s->offer.complete && !vb_kex_common(s->host_keys, s->offer.host_keys))
        return host_key_not_offered(s, err);
    if (vb_kex_explain(&s->offer, kex, ciphers, macs, err) < 0)
        return -1;
    if (!s->offer.banner && s->offer.text) {
        vb_fail(err, VB_E_PROTOCOL, "no SSH server: it says '%s'", s->offer.text);
        vb_hint(err, "is port %u the port of its sshd?", (unsigned)s->port);
        return -1;
    }
    return vb_fail(err, VB_E_CONNECT, "key exchange failed: %s (%d)", vb_ssh_last_error(s), rc);
}

/* The methods were chosen so that Terrapin finds nothing; this is the proof that the library kept to them. */
static int check_methods(struct vb_ssh *s, struct vb_error *err)
{
    static const int crypt[2] = { LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC };
    static const int mac[2] = { LIBSSH2_METHOD_MAC_CS, LIBSSH2_METHOD_MAC_SC };
    const char *c[2], *m[2], *kex, *key;

    for (int i = 0; i < 2; i++) {
        c[i] = libssh2_session_methods(s->session, crypt[i]);
        m[i] = libssh2_session_methods(s->session, mac[i]);
        if (!c[i] || !m[i] || !vb_kex_pair_safe(c[i], m[i])) {
            vb_fail(err, VB_E_CONNECT,
                    "agreed on %s with %s, which the Terrapin attack (CVE-2023-48795) can use: refused",
                    c[i] ? c[i] : "no cipher", m[i] ? m[i] : "no code");
            vb_hint(err, "let its sshd offer aes128-ctr with hmac-sha2-256");
            return -1;
        }
    }
    kex = libssh2_session_methods(s->session, LIBSSH2_METHOD_KEX);
    key = libssh2_session_methods(s->session, LIBSSH2_METHOD_HOSTKEY);
    free(s->methods);
    s->methods = vb_printf("%s %s %s %s", kex ? kex : "?", key ? key : "?", c[0], m[0]);
    return 0;
}

static int check_host_key(struct vb_ssh *s, struct vb_error *err)
{
    size_t len = 0;
    int type = 0;
    const char *key = libssh2_session_hostkey(s->session, &len, &type);
    const unsigned char *blob = (const unsigned char *)key;
    const char *names[2];
    size_t n = names_of(s, names);
    const struct vb_known_key *at;
    VB_AUTO_FREE char *shown = NULL;
    VB_AUTO_FREE char *recorded = NULL;
    VB_AUTO_FREE char *type_name = NULL;

    if (!key)
        return vb_fail(err, VB_E_HOST_KEY, "showed no host key");
    shown = vb_key_fingerprint(blob, len);
    type_name = vb_key_blob_type(blob, len);
    switch (vb_known_hosts_check(&s->known, names, n, s->port, blob, len, &at)) {
    case VB_KNOWN_OK:
        return 0;
    case VB_KNOWN_UNKNOWN:
        vb_fail(err, VB_E_HOST_KEY, "host key is not known: %s %s", type_name ? type_name : "?", shown);
        keyscan_hint(s, err);
        return -1;
    case VB_KNOWN_REVOKED:
        vb_fail(err, VB_E_HOST_KEY, "host key is revoked (%s:%u): %s", at->file, at->line, shown);
        vb_hint(err, "this key is known to be stolen: do not use the host before it has a new one");
        return -1;
    case VB_KNOWN_CHANGED:
        break;
    }
    recorded = vb_key_fingerprint(at->blob, at->n);
    vb_fail(err, VB_E_HOST_KEY, "host key changed: it shows %s %s, recorded is %s %s (%s:%u)",
            type_name ? type_name : "?", shown, at->type, recorded, at->file, at->line);
    vb_hint(err,
            "somebody may be listening in; if the host was reinstalled, remove line %u of %s (ssh-keygen -R), "
            "compare the "
            "fingerprint on the host itself and record it again",
            at->line, at->file);
    return -1;
}

/* --- steps --- */

static void ready(struct vb_ssh *s)
{
    s->state = VB_SSH_READY;
    vb_timer_cancel(s->connect_timer);
    s->connect_timer = NULL;
    vb_ssh_login_clear(s);
    libssh2_keepalive_config(s->session, 1, 1);
    s->keepalive = vb_loop_after(s->loop, s->keepalive_ms, keepalive_due, s);
    vb_loop_post(s->loop, tell_ready, s);
}

static int handshake_step(struct vb_ssh *s, struct vb_error *err)
{
    int rc = libssh2_session_handshake(s->session, s->fd);

    if (rc == LIBSSH2_ERROR_EAGAIN) {
        if (s->in_eof && s->in_at == s->in.len) {
            if (!s->offer.banner && s->offer.text)
                return handshake_failed(s, rc, err);
            vb_fail(err, VB_E_CONNECT, "closed the connection before the key exchange");
            vb_hint(err, "its sshd may have too many connections (MaxStartups) or refuse ours (its log tells)");
            return -1;
        }
        return 0;
    }
    if (rc != 0)
        return handshake_failed(s, rc, err);
    if (check_methods(s, err) < 0 || check_host_key(s, err) < 0)
        return -1;
    s->state = VB_SSH_LOGIN;
    return 0;
}

void vb_ssh_step(struct vb_ssh *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int rc = 0;

    if (s->state == VB_SSH_HANDSHAKE)
        rc = handshake_step(s, &err);
    if (rc == 0 && s->state == VB_SSH_LOGIN) {
        rc = vb_ssh_login_step(s, &err);
        if (rc == 1) {
            ready(s);
            rc = 0;
        }
    }
    if (rc == 0 && s->state == VB_SSH_READY)
        rc = vb_ssh_channels_step(s, &err);
    if (rc < 0)
        vb_ssh_fail(s, &err);
}

static void keepalive_due(void *arg)
{
    struct vb_ssh *s = arg;
    uint64_t now = vb_loop_now_ms(s->loop), silent = now - s->heard_ms, wait;
    int next;

    s->keepalive = NULL;
    if (silent >= s->limit_ms) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        vb_fail(&err, VB_E_CONNECTION_LOST, "connection lost: no sign of life for %llu ms", (unsigned long long)silent);
        vb_ssh_fail(s, &err);
        return;
    }
    if (silent >= s->keepalive_ms) {
        libssh2_keepalive_send(s->session, &next);
        wait = s->keepalive_ms;
    } else {
        wait = s->keepalive_ms - silent;
    }
    if (wait > s->limit_ms - silent)
        wait = s->limit_ms - silent;
    s->keepalive = vb_loop_after(s->loop, wait ? wait : 1, keepalive_due, s);
    vb_ssh_wake(s); /* sends it */
}

static void on_connect_timeout(void *arg)
{
    static const char *const what[] = { "connecting", "key exchange", "login" };
    struct vb_ssh *s = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    s->connect_timer = NULL;
    if (s->state == VB_SSH_HANDSHAKE && s->offer.text && !s->offer.banner)
        handshake_failed(s, 0, &err);
    else
        vb_fail(&err, VB_E_TIMEOUT, "%s took longer than %llu ms", s->state < VB_SSH_READY ? what[s->state] : "this",
                (unsigned long long)s->timeout_ms);
    vb_ssh_fail(s, &err);
}

static void on_dialed(void *arg, int fd, const struct vb_error *why)
{
    struct vb_ssh *s = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    s->dial = NULL;
    if (fd < 0) {
        vb_error_copy(&err, why);
        vb_ssh_fail(s, &err);
        return;
    }
    s->state = VB_SSH_HANDSHAKE;
    if (start_session(s, fd, &err) < 0)
        vb_ssh_fail(s, &err);
    else
        vb_ssh_wake(s);
}

/* --- parameters --- */

static char *home_dir(void)
{
    const char *home = getenv("HOME");
    const struct passwd *pw;

    if (home && home[0] == '/')
        return vb_strdup(home);
    pw = getpwuid(geteuid());
    return vb_strdup(pw ? pw->pw_dir : "/");
}

static char *own_user(void)
{
    const struct passwd *pw = getpwuid(geteuid());
    const char *env = getenv("LOGNAME");

    return vb_strdup(pw ? pw->pw_name : env ? env : "");
}

/* A login name that can do no harm in a message or on a command line. */
static bool user_ok(const char *user)
{
    if (!*user || *user == '-' || strlen(user) > 64)
        return false;
    for (; *user; user++)
        if ((unsigned char)*user <= 0x20 || (unsigned char)*user >= 0x7f || strchr("\"'`$\\;|&<>()*?", *user))
            return false;
    return true;
}

static void refuse(void *arg)
{
    struct vb_ssh *s = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    vb_error_copy(&err, &s->why);
    vb_ssh_fail(s, &err);
}

static void take_files(struct vb_strv *to, const char *const *list, size_t n, const char *home)
{
    for (size_t i = 0; i < n; i++)
        if (list[i][0] == '~' && list[i][1] == '/')
            vb_strv_take(to, vb_printf("%s/%s", home, list[i] + 2));
        else
            vb_strv_add(to, list[i]);
}

struct vb_ssh *vb_ssh_open(struct vb_loop *l, const struct vb_ssh_params *p, const struct vb_ssh_handler *h, void *arg)
{
    static const char *const identities[] = { "~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa" };
    static const char *const known[] = { "~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts" };
    struct vb_ssh *s = vb_alloc(sizeof *s);
    VB_AUTO_FREE char *home = home_dir();

    s->loop = l;
    s->h = *h;
    s->arg = arg;
    s->fd = -1;
    s->name = vb_strdup(p->name);
    s->address = vb_strdup(p->address ? p->address : p->name);
    s->user = p->user ? vb_strdup(p->user) : own_user();
    s->port = p->port ? p->port : 22;
    s->no_agent = p->no_agent;
    s->default_identities = p->n_identities == 0;
    take_files(&s->identities, p->n_identities ? p->identities : identities,
               p->n_identities ? p->n_identities : VB_COUNT(identities), home);
    take_files(&s->known_files, p->n_known_hosts ? p->known_hosts : known,
               p->n_known_hosts ? p->n_known_hosts : VB_COUNT(known), home);
    s->timeout_ms = p->connect_timeout_ms ? p->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    s->keepalive_ms = p->keepalive_ms ? p->keepalive_ms : KEEPALIVE_MS;
    s->limit_ms = p->keepalive_limit_ms ? p->keepalive_limit_ms : KEEPALIVE_LIMIT_MS;
    s->own_limit = p->memory_limit > 0;
    s->memory_limit = s->own_limit ? p->memory_limit : VB_SSH_MEMORY;
    if (!vb_host_text_valid(s->address) || s->port > 65535) {
        vb_fail(&s->why, VB_E_CONFIG, "address '%s' port %u is not a host", s->address, (unsigned)s->port);
        vb_hint(&s->why,
                "expected a name or an address of letters, digits, '.', '_', ':' and '-' that does not begin with "
                "'-', and a port up to 65535");
    } else if (!user_ok(s->user)) {
        vb_fail(&s->why, VB_E_CONFIG, "'%s' is not a user name", s->user);
        vb_hint(&s->why, "set 'user' in the section [host %s] of the configuration", s->name);
    }
    if (s->why.code != VB_OK) {
        vb_loop_post(l, refuse, s);
        return s;
    }
    vb_ssh_login_start(s);
    s->connect_timer = vb_loop_after(l, s->timeout_ms, on_connect_timeout, s);
    /* A little less, so that the addresses that were tried are named. */
    s->dial = vb_dial(l, s->name, s->address, s->port, s->timeout_ms - s->timeout_ms / 8, on_dialed, s);
    return s;
}

const char *vb_ssh_methods(struct vb_ssh *s)
{
    return s->methods ? s->methods : "";
}
