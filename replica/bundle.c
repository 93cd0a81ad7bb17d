/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/bundle.c - frames of a pass into a file and out of it, with a digest at the end. */
#include <config.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "replica/bundle.h"
#include "replica/bundle_writers.h"
#include "replica/item_file.h"

#define ACK_HOLDER "acked"

static char *sent_holder(const char *series)
{
    return vb_printf("sent:%s", series);
}

static int put_digest(struct vb_rstream *s, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_DIGEST);
    unsigned char h[VB_HASH_LEN];
    vb_hasher_end(VB_STEAL(s->sum), h);
    vb_msg_add(&m, VB_RF_HASH, h, sizeof h);
    return vb_rstream_send(s, &m, err) < 0 ? -1 : vb_rstream_flush(s, err);
}

int vb_bundle_write(struct vb_place *p, int fd, enum vb_bundle_since since, const char *series, const struct vb_pass_options *o,
                    struct vb_pass_result *out, uint64_t *number, struct vb_error *err)
{
    struct vb_rstream s = VB_RSTREAM_INIT;
    VB_AUTO_FREE char *holder = since == VB_SINCE_ACKED ? vb_strdup(ACK_HOLDER) : sent_holder(series);
    VB_AUTO_FREE char *counter = sent_holder(series);
    VB_AUTO_KNOWLEDGE *known = since == VB_SINCE_NOTHING ? vb_knowledge_new()
                                                         : vb_replica_knowledge(p->store, p->scope.id, holder, NULL, err);
    if (!known || vb_replica_number(p->store, counter, number, err) < 0)
        return -1;
    ++*number;
    const struct vb_bundle_to to = { .known = known, .number = *number };
    s.out = fd;
    s.sum = vb_hasher_new();
    int result = vb_pass_write(p, &s, &to, o, out, err) < 0 || put_digest(&s, err) < 0 ? -1 : 0;
    s.out = -1;
    vb_rstream_clear(&s);
    return result;
}

int vb_bundle_sent(struct vb_place *p, const char *series, uint64_t number, struct vb_error *err)
{
    VB_AUTO_FREE char *holder = sent_holder(series);
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(p->store, p->scope.id, "", NULL, err);
    if (!own || vb_replica_begin(p->store, err) < 0)
        return -1;
    if (vb_replica_set_knowledge(p->store, p->scope.id, holder, NULL, own, err) < 0 ||
        vb_replica_set_number(p->store, holder, number, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, err);
}

/* ---- read ---- */

static int read_head(const struct vb_msg *m, struct vb_bundle_info *info, struct vb_error *err)
{
    VB_AUTO_FREE char *guid = vb_msg_str(m, VB_RF_GUID);
    VB_AUTO_FREE char *replica = vb_msg_str(m, VB_RF_REPLICA);
    uint64_t version = vb_msg_u64(m, VB_RF_VERSION, 0);
    if (m->type != VB_R_BEGIN || !guid || !vb_guid_valid(guid) || !replica || !vb_replica_id_parse(replica, &info->replica) ||
        vb_msg_u64(m, VB_RF_BUNDLE, 0) == 0)
        return vb_fail(err, VB_E_CORRUPT, "this is not a bundle");
    if (version != VB_RSTREAM_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "the bundle has format %llu, this program knows %u", (unsigned long long)version,
                       VB_RSTREAM_VERSION);
    memcpy(info->guid, guid, sizeof info->guid);
    info->number = vb_msg_u64(m, VB_RF_NUMBER, 0);
    info->ack = vb_msg_u64(m, VB_RF_ACK, 0) != 0;
    return 0;
}

static void count_rows(const struct vb_msg *m, struct vb_bundle_info *info)
{
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t n;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = tag == VB_RF_ROW ? vb_msg_view(p, n) : (struct vb_msg)VB_MSG_INIT(0);
        info->rows += tag == VB_RF_ROW;
        info->tombstones += tag == VB_RF_ROW && vb_msg_u64(&g, VB_RF_DELETED, 0) != 0;
        info->bytes += tag == VB_RF_BYTES && m->type == VB_R_DATA ? n : 0;
    }
}

static int read_all(struct vb_rstream *s, struct vb_bundle_info *info, struct vb_error *err)
{
    unsigned char is[VB_HASH_LEN];
    const unsigned char *want;
    size_t n;
    char rest;
    for (bool first = true;; first = false) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_rstream_recv(s, &m, err) < 0 || (first && read_head(&m, info, err) < 0))
            return -1;
        if (m.type != VB_R_DIGEST) {
            count_rows(&m, info);
            continue;
        }
        vb_hasher_end(VB_STEAL(s->sum), is);
        if (m.id || m.body.len != VB_HASH_LEN + 6 || !vb_msg_bytes(&m, VB_RF_HASH, &want, &n) || n != VB_HASH_LEN || memcmp(want, is, n) != 0)
            return vb_fail(err, VB_E_CORRUPT, "its content is not what its digest says");
        return s->buf.len || read(s->in, &rest, 1) != 0 ? vb_fail(err, VB_E_CORRUPT, "there is something behind its end") : 0;
    }
}

int vb_bundle_verify(int fd, struct vb_bundle_info *info, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_rstream s = VB_RSTREAM_INIT;
    s.in = fd;
    s.sum = vb_hasher_new();
    s.peer = "bundle";
    *info = (struct vb_bundle_info){ .number = 0 };
    int result = read_all(&s, info, &why);
    s.in = -1;
    vb_rstream_clear(&s);
    if (result == 0)
        return 0;
    if (why.code == VB_E_PROTOCOL || why.code == VB_E_LIMIT || why.code == VB_E_CONNECTION_LOST)
        why.code = VB_E_CORRUPT;
    if (why.code == VB_E_CORRUPT)
        vb_hint(&why, "nothing of it was applied; fetch or make it again");
    return vb_error_move(err, &why);
}

/* ---- applied ---- */

static int note_ack(struct vb_place *p, struct vb_rstream *s, const struct vb_bundle_info *info, const struct vb_pass_options *o,
                    struct vb_error *err)
{
    VB_AUTO_MSG head = VB_MSG_INIT(0);
    char id[2 * VB_REPLICA_ID_LEN + 1];
    bool renewed = false;
    if (strcmp(info->guid, p->scope.guid) != 0)
        return vb_fail(err, VB_E_GUARD, "this acknowledges bundles of another scope than '%s'", p->scope.name);
    if (vb_rstream_recv(s, &head, err) < 0)
        return -1;
    VB_AUTO_KNOWLEDGE *k = vb_rstream_recv_knowledge(s, err);
    vb_replica_id_hex(&info->replica, id);
    if (!k || vb_replica_check_peer(p->store, k, &renewed, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    if (vb_replica_set_knowledge(p->store, p->scope.id, ACK_HOLDER, NULL, k, err) < 0 ||
        vb_replica_set_knowledge(p->store, p->scope.id, id, NULL, k, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, err) < 0 ? -1 : vb_bundle_acked_writers(p, o, &head, err);
}

int vb_bundle_apply(struct vb_place *p, int fd, const struct vb_pass_options *o, struct vb_pass_result *out, struct vb_error *err)
{
    struct vb_bundle_info info;
    struct vb_rstream s = VB_RSTREAM_INIT;
    *out = (struct vb_pass_result){ 0 };
    if (vb_bundle_verify(fd, &info, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return vb_fail_errno(err, errno, "the bundle cannot be read twice");
    s.in = fd;
    s.peer = "bundle";
    int result = info.ack ? note_ack(p, &s, &info, o, err) : vb_pass_receive(p, &s, o, out, err);
    s.in = -1;
    vb_rstream_clear(&s);
    return result;
}

int vb_bundle_ack(struct vb_place *p, int fd, struct vb_error *err)
{
    struct vb_rstream s = VB_RSTREAM_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BEGIN);
    char id[2 * VB_REPLICA_ID_LEN + 1];
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(p->store, p->scope.id, "", NULL, err);
    if (!own)
        return -1;
    vb_replica_id_hex(vb_replica_own(p->store), id);
    vb_msg_add_u64(&m, VB_RF_VERSION, VB_RSTREAM_VERSION);
    vb_msg_add_str(&m, VB_RF_GUID, p->scope.guid);
    vb_msg_add_str(&m, VB_RF_REPLICA, id);
    vb_msg_add_u64(&m, VB_RF_BUNDLE, 1);
    vb_msg_add_u64(&m, VB_RF_ACK, 1);
    if (vb_bundle_ack_writers(p, &m, err) < 0)
        return -1;
    s.out = fd;
    s.sum = vb_hasher_new();
    int result = vb_rstream_send(&s, &m, err) < 0 || vb_rstream_send_knowledge(&s, own, err) < 0 || put_digest(&s, err) < 0 ? -1 : 0;
    s.out = -1;
    vb_rstream_clear(&s);
    return result;
}
