/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/ext_talk.c - see ext_talk.h. */
#include <config.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "replica/ext_talk.h"

#define WRITERS_KEY "writers"
#define LIMIT_KEY "writer-limit"
#define WRITERS_MAX 64u
#define LOG_MAX (256u << 10)

/* ---- which writers ---- */

int vb_place_writers(struct vb_place *p, struct vb_strv *names, uint64_t *limit_ms, struct vb_error *err)
{
    char *list = NULL;
    if (vb_replica_text(p->store, WRITERS_KEY, &list, err) < 0 || vb_replica_number(p->store, LIMIT_KEY, limit_ms, err) < 0) {
        free(list);
        return -1;
    }
    for (char *at = list, *next; at && *at; at = next) {
        next = at + strcspn(at, "\n");
        if (*next)
            *next++ = 0;
        vb_strv_add(names, at);
    }
    free(list);
    *limit_ms = *limit_ms ? *limit_ms : VB_EXT_LIMIT_MS;
    return 0;
}

int vb_place_set_writers(struct vb_place *p, const struct vb_strv *names, uint64_t limit_ms, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (size_t i = 0; i < names->n; i++)
        vb_buf_addf(&b, "%s\n", names->v[i]);
    return vb_replica_set_text(p->store, WRITERS_KEY, names->n ? vb_buf_str(&b) : NULL, err) < 0 ||
           vb_replica_set_number(p->store, LIMIT_KEY, limit_ms, err) < 0 ? -1 : 0;
}

/* ---- payloads ---- */

int vb_ext_send_payload(struct vb_rstream *s, int fd, struct vb_error *err)
{
    VB_AUTO_FREE unsigned char *b = vb_alloc(VB_RSTREAM_PIECE);
    off_t at = 0;
    for (bool last = false; !last;) {
        ssize_t n = fd >= 0 ? pread(fd, b, VB_RSTREAM_PIECE, at) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(err, errno, "the payload of a writer cannot be read");
        VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BLOB);
        last = n == 0;
        vb_msg_add(&m, VB_RF_BYTES, b, (size_t)n);
        vb_msg_add_u64(&m, VB_RF_LAST, last);
        if (vb_rstream_send(s, &m, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

int vb_ext_recv_payload(struct vb_rstream *s, int fd, struct vb_error *err)
{
    for (bool last = false; !last;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        const unsigned char *p;
        size_t n;
        if (vb_rstream_expect(s, VB_R_BLOB, &m, err) < 0)
            return -1;
        if (!vb_msg_bytes(&m, VB_RF_BYTES, &p, &n))
            return vb_fail(err, VB_E_PROTOCOL, "%s: a part of a payload is missing", s->peer ? s->peer : "peer");
        if (fd >= 0 && n && vb_write_all(fd, p, n, err) < 0)
            return -1;
        last = vb_msg_u64(&m, VB_RF_LAST, 1) != 0;
    }
    return 0;
}

/* ---- the source's end ---- */

static int take_list(struct vb_ext_wanted *w, size_t n, const struct vb_msg *m, struct vb_error *err)
{
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t len;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &len)) {
        if (tag != VB_RF_WRITER)
            continue;
        const struct vb_msg g = vb_msg_view(p, len);
        VB_AUTO_FREE char *name = vb_msg_str(&g, VB_RF_WRITER_NAME);
        if (vb_msg_error(&g, err) < 0) {
            vb_context(err, "writer '%s'", name ? name : "?");
            return -1;
        }
        for (size_t i = 0; i < n && name; i++)
            if (!strcmp(w[i].name, name)) {
                w[i].present = true;
                w[i].calls = vb_msg_u64(&g, VB_RF_CALLS, 0);
            }
    }
    return 0;
}

int vb_ext_ask_list(struct vb_rstream *s, struct vb_ext_wanted *w, size_t n, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_EXT_LIST);
    VB_AUTO_MSG answer = VB_MSG_INIT(0);
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_RF_WRITER_NAME, w[i].name);
        vb_msg_add_str(&g, VB_RF_CLASS, w[i].class_id);
        vb_msg_add_group(&m, VB_RF_WRITER, &g);
        w[i].present = false;
        w[i].calls = 0;
    }
    if (vb_rstream_send(s, &m, err) < 0 || vb_rstream_expect(s, VB_R_EXT_LIST, &answer, err) < 0)
        return -1;
    return take_list(w, n, &answer, err);
}

static void show_log(const struct vb_rstream *s, const char *writer, const struct vb_msg *m)
{
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t n;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_RF_LOG)
            continue;
        const struct vb_msg g = vb_msg_view(p, n);
        VB_AUTO_FREE char *text = vb_msg_str(&g, VB_RF_LINE);
        VB_AUTO_FREE char *shown = vb_escape_terminal(text ? text : "", text ? strlen(text) : 0);
        uint64_t level = vb_msg_u64(&g, VB_RF_KIND, VB_LOG_NOTICE);
        vb_log(level <= VB_LOG_NOTICE ? (enum vb_log_level)level : VB_LOG_NOTICE, "%s: writer '%s': %s", s->peer ? s->peer : "peer", writer, shown);
    }
}

int vb_ext_ask(struct vb_rstream *s, const char *writer, enum vb_repl_call call, uint64_t limit_ms, int payload, unsigned char hash[32],
               struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_EXT_CALL);
    VB_AUTO_MSG answer = VB_MSG_INIT(0);
    const unsigned char *p;
    size_t n;
    vb_msg_add_str(&m, VB_RF_WRITER_NAME, writer);
    vb_msg_add_u64(&m, VB_RF_CALL, (uint64_t)call);
    vb_msg_add_u64(&m, VB_RF_LIMIT_MS, limit_ms);
    if (vb_rstream_send(s, &m, err) < 0 || (call == VB_REPL_DESERIALIZE && vb_ext_send_payload(s, payload, err) < 0) ||
        vb_rstream_expect(s, VB_R_EXT_DONE, &answer, err) < 0)
        return -1;
    show_log(s, writer, &answer);
    if (vb_msg_error(&answer, err) < 0)
        return -1;
    if (call != VB_REPL_SIGNATURE)
        return 0;
    if (!vb_msg_bytes(&answer, VB_RF_HASH, &p, &n) || n != 32)
        return vb_fail(err, VB_E_PROTOCOL, "%s: sends no signature", s->peer ? s->peer : "peer");
    memcpy(hash, p, 32);
    return 0;
}

/* ---- the target's end ---- */

static int serve_list(struct vb_rstream *s, struct vb_ext_hosts *x, const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_MSG answer = VB_MSG_INIT(VB_R_EXT_LIST);
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t len, asked = 0;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &len) && asked < WRITERS_MAX) {
        if (tag != VB_RF_WRITER)
            continue;
        const struct vb_msg g = vb_msg_view(p, len);
        VB_AUTO_FREE char *name = vb_msg_str(&g, VB_RF_WRITER_NAME);
        VB_AUTO_FREE char *class_id = vb_msg_str(&g, VB_RF_CLASS);
        VB_AUTO_MSG out = VB_MSG_INIT(0);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_ext_facts f = { .calls = 0 };
        asked++;
        if (!name || !class_id || !vb_ext_hosts_has(x, name))
            continue;
        int result = vb_ext_hosts_facts(x, name, &f, &why);
        if (result == 0 ? !f.replicates || !vb_guid_equal(f.class_id, class_id) : why.code == VB_E_PREREQUISITE)
            continue; /* another writer, or one that is not installed */
        vb_msg_add_str(&out, VB_RF_WRITER_NAME, name);
        vb_msg_add_u64(&out, VB_RF_CALLS, f.calls);
        vb_msg_add_error(&out, &why);
        vb_msg_add_group(&answer, VB_RF_WRITER, &out);
    }
    return vb_rstream_send(s, &answer, err);
}

/* What is of interest to whoever runs it travels with the answer. */
static void keep_log(void *arg, int level, const char *text)
{
    struct vb_msg *answer = arg;
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    if (level > VB_LOG_NOTICE || answer->body.len > LOG_MAX)
        return;
    vb_msg_add_u64(&g, VB_RF_KIND, (uint64_t)level);
    vb_msg_add_str(&g, VB_RF_LINE, text);
    vb_msg_add_group(answer, VB_RF_LOG, &g);
}

static int serve_call(struct vb_rstream *s, struct vb_ext_hosts *x, const char *dir, const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_MSG answer = VB_MSG_INIT(VB_R_EXT_DONE);
    VB_AUTO_FREE char *name = vb_msg_str(m, VB_RF_WRITER_NAME);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t call = vb_msg_u64(m, VB_RF_CALL, 0), limit = vb_msg_u64(m, VB_RF_LIMIT_MS, 0);
    unsigned char hash[32];
    if (call == VB_REPL_SIGNATURE && name) {
        const struct vb_ext_call c = { .writer = name, .limit_ms = limit, .log = keep_log, .log_arg = &answer };
        if (vb_ext_hosts_sign(x, &c, hash, &why) == 0)
            vb_msg_add(&answer, VB_RF_HASH, hash, sizeof hash);
    } else if (call == VB_REPL_DESERIALIZE && name) {
        /* All of it is here before the writer begins: a line that is cut leaves nothing half done. */
        int fd = vb_ext_payload_new(dir, &why);
        int result = vb_ext_recv_payload(s, fd, err);
        const struct vb_ext_call c = { .writer = name, .call = VB_REPL_DESERIALIZE, .limit_ms = limit, .in = fd, .log = keep_log,
                                       .log_arg = &answer };
        if (result == 0 && why.code == VB_OK)
            (void)vb_ext_hosts_call(x, &c, &why);
        vb_ext_payload_wipe(&fd);
        if (result < 0)
            return -1;
    } else {
        return vb_fail(err, VB_E_PROTOCOL, "a call of a writer that cannot be asked for from here");
    }
    vb_msg_add_error(&answer, &why);
    return vb_rstream_send(s, &answer, err);
}

int vb_ext_serve(struct vb_rstream *s, struct vb_ext_hosts *x, const char *dir, const struct vb_msg *m, struct vb_error *err)
{
    return m->type == VB_R_EXT_LIST ? serve_list(s, x, m, err) : serve_call(s, x, dir, m, err);
}
