/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/greeting.c - exchange of HELLO and agreement on a protocol version.
 */
#include "config.h"
#include "wire/greeting.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "wire/protocol.h"

#define NAME_MAX_LEN 255u   /* of program, role, host, feature */
#define FEATURES_MAX 64u

struct vb_greet {
    struct vb_conn *conn;
    struct vb_loop *loop;
    struct vb_timer *timer;
    struct vb_greet_params p;
    char *role, *expect_role; /* owned copies behind p */
    vb_greet_fn *fn;
    void *arg;
    uint64_t timeout_ms;
};

void vb_hello_clear(struct vb_hello *h)
{
    free(h->program);
    free(h->role);
    free(h->host);
    vb_strv_clear(&h->features);
    *h = (struct vb_hello)VB_HELLO_INIT;
}

bool vb_hello_has(const struct vb_hello *h, const char *feature)
{
    return vb_strv_has(&h->features, feature);
}

static uint32_t version_min(const struct vb_greet_params *p)
{
    return p->version_min ? p->version_min : VB_PROTOCOL_MIN;
}

static uint32_t version_max(const struct vb_greet_params *p)
{
    return p->version_max ? p->version_max : VB_PROTOCOL_MAX;
}

void vb_hello_make(const struct vb_greet_params *p, struct vb_msg *m)
{
    m->type = VB_M_HELLO;
    vb_msg_add_u64(m, VB_F_VERSION_MIN, version_min(p));
    vb_msg_add_u64(m, VB_F_VERSION_MAX, version_max(p));
    for (size_t i = 0; i < p->n_features; i++)
        vb_msg_add_str(m, VB_F_FEATURE, p->features[i]);
    vb_msg_add_str(m, VB_F_PROGRAM, p->program ? p->program : PACKAGE_NAME " " PACKAGE_VERSION);
    vb_msg_add_str(m, VB_F_ROLE, p->role);
    vb_msg_add_str(m, VB_F_HOST, p->host);
}

/* Text that a stranger sent and that goes into messages and logs: short, one line, valid UTF-8. */
static bool name_ok(const char *s, size_t n)
{
    if (n == 0 || n > NAME_MAX_LEN || !vb_utf8_valid(s, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return true;
}

static int take_name(char **to, const unsigned char *p, size_t n, const char *what, struct vb_error *err)
{
    if (*to)
        return vb_fail(err, VB_E_PROTOCOL, "greeting names its %s twice", what);
    if (!name_ok((const char *)p, n))
        return vb_fail(err, VB_E_PROTOCOL, "greeting has a malformed %s", what);
    *to = vb_field_str(p, n);
    return 0;
}

static int take_fields(const struct vb_msg *m, struct vb_hello *h, struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;

    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        int rc = 0;

        if (tag == VB_F_PROGRAM) {
            rc = take_name(&h->program, p, n, "program", err);
        } else if (tag == VB_F_ROLE) {
            rc = take_name(&h->role, p, n, "role", err);
        } else if (tag == VB_F_HOST) {
            rc = take_name(&h->host, p, n, "host", err);
        } else if (tag == VB_F_FEATURE) {
            char *feature = NULL;

            if (h->features.n >= FEATURES_MAX)
                return vb_fail(err, VB_E_PROTOCOL, "greeting has more than %u features", FEATURES_MAX);
            rc = take_name(&feature, p, n, "feature", err);
            if (rc == 0)
                vb_strv_take(&h->features, feature);
        }
        if (rc < 0)
            return -1;
    }
    if (!h->program || !h->role)
        return vb_fail(err, VB_E_PROTOCOL, "greeting lacks its %s", h->program ? "role" : "program");
    return 0;
}

static int agree(const struct vb_greet_params *p, struct vb_hello *h, struct vb_error *err)
{
    uint32_t lo = version_min(p), hi = version_max(p);
    bool peer_older = h->version_max < lo;

    if (h->version_min <= hi && h->version_max >= lo) {
        h->version = h->version_max < hi ? h->version_max : hi;
        return 0;
    }
    vb_fail(err, VB_E_VERSION,
            "no common protocol version: the peer (%s) speaks %" PRIu32 " to %" PRIu32 ", this side (%s) %" PRIu32
            " to %" PRIu32 ", the %s is older",
            h->program, h->version_min, h->version_max, p->program ? p->program : PACKAGE_NAME " " PACKAGE_VERSION,
            lo, hi, peer_older ? "peer" : "program on this side");
    vb_hint(err, "install a newer vbackup on %s", peer_older ? "the peer's host" : "this host");
    return -1;
}

int vb_hello_read(const struct vb_greet_params *p, const struct vb_msg *m, struct vb_hello *h, struct vb_error *err)
{
    uint64_t lo, hi;

    vb_hello_clear(h);
    if (m->type != VB_M_HELLO)
        return vb_fail(err, VB_E_PROTOCOL, "sent a message of type %u instead of a greeting", (unsigned)m->type);
    lo = vb_msg_u64(m, VB_F_VERSION_MIN, 0);
    hi = vb_msg_u64(m, VB_F_VERSION_MAX, 0);
    if (lo == 0 || hi < lo || hi > UINT32_MAX)
        return vb_fail(err, VB_E_PROTOCOL, "greeting has no sound range of versions");
    h->version_min = (uint32_t)lo;
    h->version_max = (uint32_t)hi;
    if (take_fields(m, h, err) < 0 || agree(p, h, err) < 0)
        return -1;
    if (p->expect_role ? strcmp(h->role, p->expect_role) != 0 : p->role && strcmp(h->role, p->role) == 0)
        return vb_fail(err, VB_E_PROTOCOL, "peer calls itself '%s', expected %s%s%s", h->role,
                       p->expect_role ? "'" : "another role than our own", p->expect_role ? p->expect_role : "",
                       p->expect_role ? "'" : "");
    return 0;
}

static void greet_free(struct vb_greet *g)
{
    vb_timer_cancel(g->timer);
    free(g->role);
    free(g->expect_role);
    free(g);
}

/* Gives the connection back and tells the result. */
static void finish(struct vb_greet *g, const struct vb_hello *peer, const struct vb_error *err)
{
    vb_greet_fn *fn = g->fn;
    void *arg = g->arg;

    vb_conn_set_handler(g->conn, NULL, NULL);
    greet_free(g);
    fn(arg, peer, err);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_greet *g = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hello peer = VB_HELLO_INIT;
    int rc;

    /* A peer that cannot serve us may say so in the place of its greeting. */
    if (m->type == VB_M_ERROR && vb_msg_error(m, &err) < 0)
        rc = -1;
    else
        rc = vb_hello_read(&g->p, m, &peer, &err);
    if (rc < 0) {
        vb_context(&err, "%s", vb_conn_name(g->conn));
        finish(g, NULL, &err);
    } else {
        finish(g, &peer, NULL);
    }
    vb_hello_clear(&peer);
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_greet *g = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    if (why->code == VB_OK)
        vb_fail(&err, VB_E_CONNECTION_LOST, "%s: closed the connection without a greeting", vb_conn_name(g->conn));
    else
        vb_error_copy(&err, why);
    finish(g, NULL, &err);
}

static void on_timeout(void *arg)
{
    struct vb_greet *g = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    g->timer = NULL;
    vb_fail(&err, VB_E_TIMEOUT, "%s: no greeting within %llu ms", vb_conn_name(g->conn),
            (unsigned long long)g->timeout_ms);
    vb_hint(&err, "the program at the other end hangs or is not vbackup; run it there by hand");
    finish(g, NULL, &err);
}

struct vb_greet *vb_greet(struct vb_conn *c, const struct vb_greet_params *p, vb_greet_fn *fn, void *arg)
{
    static const struct vb_conn_handler handler = { on_msg, on_close, NULL };
    struct vb_greet *g = vb_alloc(sizeof *g);
    VB_AUTO_MSG hello = VB_MSG_INIT(VB_M_HELLO);

    g->conn = c;
    g->loop = vb_conn_loop(c);
    g->p = *p;
    g->p.program = NULL;
    g->p.features = NULL;
    g->p.n_features = 0;
    g->p.role = g->role = vb_strdup(p->role);
    g->p.expect_role = g->expect_role = vb_strdup(p->expect_role);
    g->fn = fn;
    g->arg = arg;
    g->timeout_ms = p->timeout_ms ? p->timeout_ms : VB_GREET_TIMEOUT_MS;
    g->timer = vb_loop_after(g->loop, g->timeout_ms, on_timeout, g);
    vb_hello_make(p, &hello);
    vb_conn_set_handler(c, &handler, g);
    vb_conn_send(c, &hello);
    return g;
}

void vb_greet_cancel(struct vb_greet *g)
{
    if (!g)
        return;
    vb_conn_set_handler(g->conn, NULL, NULL);
    greet_free(g);
}
