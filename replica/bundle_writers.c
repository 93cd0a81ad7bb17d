/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/bundle_writers.c - see bundle_writers.h.
 *
 * In the store: number "ext-seq", the last payload that was counted; texts "ext-out:SEQ:WRITER" = series, made and not
 * acknowledged; "ext-in:REPLICA:WRITER" = SEQ, taken.
 */
#include <config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "replica/bundle_writers.h"
#include "vbackup/writer.h"

#define SEQ_KEY "ext-seq"
#define OUT_KEY "ext-out:"
#define IN_KEY "ext-in:"
#define ID_LEN ((size_t)2 * VB_REPLICA_ID_LEN)

static bool has(uint64_t calls, enum vb_repl_call c)
{
    return (calls & (UINT64_C(1) << c)) != 0;
}

static int done(struct vb_place *p, int result, struct vb_error *err)
{
    if (result == 0)
        return vb_replica_commit(p->store, err);
    vb_replica_rollback(p->store);
    return -1;
}

/* ---- made ---- */

/* A number is used up even if the bundle is not finished: two different payloads never have the same. */
static int count_one(struct vb_place *p, const char *writer, const char *series, uint64_t *seq, struct vb_error *err)
{
    if (vb_replica_number(p->store, SEQ_KEY, seq, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    ++*seq;
    VB_AUTO_FREE char *key = vb_printf(OUT_KEY "%llu:%s", (unsigned long long)*seq, writer);
    return done(p, vb_replica_set_number(p->store, SEQ_KEY, *seq, err) < 0 || vb_replica_set_text(p->store, key, series, err) < 0 ? -1 : 0, err);
}

static int refuse_secret(const char *name, struct vb_error *err)
{
    vb_fail(err, VB_E_ACCESS_DENIED, "its payload is secret, and this bundle can be read by anybody who has it");
    vb_hint(err, "encrypt the bundle, replicate over a connection, or take the writer away: vbackup scope set NAME --writer none ('%s')", name);
    return -1;
}

static int send_one(struct vb_place *p, struct vb_rstream *s, const struct vb_bundle_writers *w, const char *name, int *payload, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_EXT);
    struct vb_ext_facts f;
    unsigned char hash[32];
    uint64_t seq;
    if (vb_ext_hosts_facts(w->hosts, name, &f, err) < 0)
        return -1;
    if (!f.replicates)
        return 0;
    if ((f.flags & VB_REPLICATION_SECRET) && !w->encrypted)
        return refuse_secret(name, err);
    if (has(f.calls, VB_REPL_SIGNATURE) && vb_ext_hosts_signature(w->hosts, name, w->limit_ms, hash, err) < 0)
        return -1;
    *payload = vb_ext_payload_new(w->dir, err);
    if (*payload < 0 || (has(f.calls, VB_REPL_SERIALIZE) && vb_ext_hosts_serialize(w->hosts, name, w->limit_ms, *payload, err) < 0) ||
        count_one(p, name, w->series, &seq, err) < 0)
        return -1;
    const struct vb_ext_call tell = { .writer = name, .call = VB_REPL_PROPAGATE, .target = w->series, .differs = true, .limit_ms = w->limit_ms, .in = -1 };
    if (has(f.calls, VB_REPL_PROPAGATE) && !(f.flags & VB_REPLICATION_NEEDS_ONLINE) && vb_ext_hosts_call(w->hosts, &tell, err) < 0)
        return -1;
    vb_msg_add_str(&m, VB_RF_WRITER_NAME, name);
    vb_msg_add_str(&m, VB_RF_CLASS, f.class_id);
    vb_msg_add_u64(&m, VB_RF_FLAGS, f.flags);
    vb_msg_add_u64(&m, VB_RF_EXT_SEQ, seq);
    if (has(f.calls, VB_REPL_SIGNATURE))
        vb_msg_add(&m, VB_RF_HASH, hash, sizeof hash);
    return vb_rstream_send(s, &m, err) < 0 ? -1 : vb_ext_send_payload(s, *payload, err);
}

int vb_bundle_send_writers(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, struct vb_error *err)
{
    const struct vb_bundle_writers *w = o->writers;
    for (size_t i = 0; w && i < w->names.n; i++) {
        int payload = -1;
        int result = send_one(p, s, w, w->names.v[i], &payload, err);
        vb_ext_payload_wipe(&payload);
        if (result < 0) {
            vb_context(err, "writer '%s'", w->names.v[i]);
            return -1;
        }
    }
    return 0;
}

/* ---- applied ---- */

static char *in_key(const char *from, const char *name)
{
    return vb_printf(IN_KEY "%s:%s", from, name);
}

static int taken(struct vb_place *p, const char *from, const char *name, uint64_t *seq, struct vb_error *err)
{
    VB_AUTO_FREE char *key = in_key(from, name);
    VB_AUTO_FREE char *text = NULL;
    *seq = 0;
    if (vb_replica_text(p->store, key, &text, err) < 0)
        return -1;
    return !text || vb_parse_u64(text, seq) ? 0 : vb_fail(err, VB_E_CORRUPT, "the store does not remember what came of writer '%s'", name);
}

static int remember(struct vb_place *p, const char *from, const char *name, uint64_t seq, struct vb_error *err)
{
    VB_AUTO_FREE char *key = in_key(from, name);
    VB_AUTO_FREE char *text = vb_printf("%llu", (unsigned long long)seq);
    return vb_replica_begin(p->store, err) < 0 ? -1 : done(p, vb_replica_set_text(p->store, key, text, err), err);
}

static int missing(const struct vb_pass_options *o, const char *name, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (!o->writers || !o->writers->skip_missing) {
        vb_fail(err, VB_E_PREREQUISITE, "writer '%s' of the bundle does not take part here; nothing was changed", name);
        vb_hint(err, "a section [writer %s], and vbackup scope set NAME --writer %s; or use --skip-missing-writers", name, name);
        return -1;
    }
    vb_fail(&why, VB_E_PREREQUISITE, "writer '%s' of the bundle does not take part here; it is left out", name);
    if (o->warn)
        o->warn(o->arg, &why);
    return 0;
}

/* Alike already (0), or taken in now (1). */
static int take(const struct vb_bundle_writers *w, const char *name, uint64_t calls, const struct vb_msg *m, int payload, bool dry, struct vb_error *err)
{
    const struct vb_ext_call c = { .writer = name, .call = VB_REPL_DESERIALIZE, .limit_ms = w->limit_ms, .in = payload };
    const unsigned char *theirs;
    unsigned char own[32];
    size_t n;
    if (has(calls, VB_REPL_SIGNATURE) && vb_msg_bytes(m, VB_RF_HASH, &theirs, &n)) {
        if (vb_ext_hosts_signature(w->hosts, name, w->limit_ms, own, err) < 0)
            return -1;
        if (n == sizeof own && !memcmp(own, theirs, n))
            return 0;
    }
    if (!has(calls, VB_REPL_DESERIALIZE))
        return 0;
    return !dry && vb_ext_hosts_call(w->hosts, &c, err) < 0 ? -1 : 1;
}

static int take_known(struct vb_place *p, const struct vb_pass_options *o, const char *from, const struct vb_msg *m, const char *name, int payload,
                      struct vb_error *err)
{
    VB_AUTO_FREE char *class_id = vb_msg_str(m, VB_RF_CLASS);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_ext_facts f = { .calls = 0 };
    uint64_t seq = vb_msg_u64(m, VB_RF_EXT_SEQ, 0), last;
    if (taken(p, from, name, &last, err) < 0)
        return -1;
    if (seq <= last)
        return 0;
    int result = o->writers && vb_ext_hosts_has(o->writers->hosts, name) ? vb_ext_hosts_facts(o->writers->hosts, name, &f, &why) : 0;
    if (result < 0 && why.code != VB_E_PREREQUISITE)
        return vb_error_move(err, &why);
    if (result < 0 || !f.replicates || !class_id || !vb_guid_equal(f.class_id, class_id))
        return missing(o, name, err);
    int took = take(o->writers, name, f.calls, m, payload, o->dry_run, err);
    if (took < 0) {
        vb_context(err, "writer '%s'", name);
        return -1;
    }
    return !o->dry_run && remember(p, from, name, seq, err) < 0 ? -1 : took;
}

int vb_bundle_take_writer(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, const char *from, const struct vb_msg *m,
                          struct vb_error *err)
{
    VB_AUTO_FREE char *name = vb_msg_str(m, VB_RF_WRITER_NAME);
    int payload = o->writers ? vb_ext_payload_new(o->writers->dir, err) : -1;
    int result = o->writers && payload < 0 ? -1 : vb_ext_recv_payload(s, payload, err);
    if (result == 0)
        result = name && from && strlen(from) == ID_LEN ? take_known(p, o, from, m, name, payload, err)
                                                         : vb_fail(err, VB_E_CORRUPT, "the bundle does not say whose payload it holds");
    vb_ext_payload_wipe(&payload);
    return result;
}

/* ---- acknowledged ---- */

static int add_taken(void *arg, const char *name, const char *value)
{
    struct vb_msg *head = arg;
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    VB_AUTO_FREE char *replica = NULL;
    uint64_t seq;
    name += strlen(IN_KEY);
    if (strlen(name) <= ID_LEN + 1 || !vb_parse_u64(value, &seq))
        return 0;
    replica = vb_strndup(name, ID_LEN);
    vb_msg_add_str(&g, VB_RF_REPLICA, replica);
    vb_msg_add_str(&g, VB_RF_WRITER_NAME, name + ID_LEN + 1);
    vb_msg_add_u64(&g, VB_RF_EXT_SEQ, seq);
    vb_msg_add_group(head, VB_RF_WRITER, &g);
    return 0;
}

int vb_bundle_ack_writers(struct vb_place *p, struct vb_msg *head, struct vb_error *err)
{
    return vb_replica_each_text(p->store, IN_KEY, add_taken, head, err);
}

struct older {
    const char *name, *series;
    uint64_t seq;
    struct vb_strv keys;
};

static int find_older(void *arg, const char *key, const char *series)
{
    struct older *x = arg;
    const char *at = key + strlen(OUT_KEY), *colon = strchr(at, ':');
    VB_AUTO_FREE char *number = colon ? vb_strndup(at, (size_t)(colon - at)) : NULL;
    uint64_t seq;
    if (number && vb_parse_u64(number, &seq) && seq <= x->seq && !strcmp(colon + 1, x->name) && !strcmp(series, x->series))
        vb_strv_add(&x->keys, key);
    return 0;
}

static int acked(struct vb_place *p, const struct vb_bundle_writers *w, const char *name, uint64_t seq, struct vb_error *err)
{
    VB_AUTO_FREE char *key = vb_printf(OUT_KEY "%llu:%s", (unsigned long long)seq, name);
    VB_AUTO_FREE char *series = NULL;
    struct vb_ext_facts f = { .calls = 0 };
    if (vb_replica_text(p->store, key, &series, err) < 0)
        return -1;
    if (!series) /* told before, or not ours */
        return 0;
    const struct vb_ext_call c = { .writer = name, .call = VB_REPL_PROPAGATE2, .target = series, .differs = true, .limit_ms = w ? w->limit_ms : 0, .in = -1 };
    bool here = w && vb_ext_hosts_has(w->hosts, name);
    if (here && (vb_ext_hosts_facts(w->hosts, name, &f, err) < 0 || (has(f.calls, VB_REPL_PROPAGATE2) && vb_ext_hosts_call(w->hosts, &c, err) < 0))) {
        vb_context(err, "writer '%s': propagate2", name);
        return -1;
    }
    struct older x = { .name = name, .series = series, .seq = seq, .keys = { NULL, 0, 0 } };
    int result = vb_replica_each_text(p->store, OUT_KEY, find_older, &x, err);
    if (result == 0)
        result = vb_replica_begin(p->store, err);
    for (size_t i = 0; i < x.keys.n && result == 0; i++)
        if (vb_replica_set_text(p->store, x.keys.v[i], NULL, err) < 0)
            result = done(p, -1, err);
    if (result == 0)
        result = done(p, 0, err);
    vb_strv_clear(&x.keys);
    return result;
}

int vb_bundle_acked_writers(struct vb_place *p, const struct vb_pass_options *o, const struct vb_msg *head, struct vb_error *err)
{
    struct vb_field_iter it;
    const unsigned char *at;
    char own[2 * VB_REPLICA_ID_LEN + 1];
    uint16_t tag;
    size_t n;
    vb_replica_id_hex(vb_replica_own(p->store), own);
    vb_field_iter_init(&it, head);
    while (vb_field_next(&it, &tag, &at, &n)) {
        if (tag != VB_RF_WRITER)
            continue;
        const struct vb_msg g = vb_msg_view(at, n);
        VB_AUTO_FREE char *name = vb_msg_str(&g, VB_RF_WRITER_NAME);
        VB_AUTO_FREE char *replica = vb_msg_str(&g, VB_RF_REPLICA);
        if (name && replica && !strcmp(replica, own) && acked(p, o->writers, name, vb_msg_u64(&g, VB_RF_EXT_SEQ, 0), err) < 0)
            return -1;
    }
    return 0;
}
