/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/sim/sim_children.c - writer, provider, capture and restore processes, and what can go wrong with them.
 *
 * A writer's application holds (is frozen) from the Freeze it accepted to Thaw or Abort, or until its process is gone.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "wire/protocol.h"

#define FREEZE_MS 60000u
#define FREEZE_GRACE_MS 5000u

struct sim_child {
    struct sim_job *j;
    enum vb_child_kind kind;
    struct vb_conn *conn;       /* our end; NULL once gone */
    size_t writer;
    struct vb_timer *timer;     /* answer under way */
    struct vb_msg answer;
    enum vb_event event;
    bool froze, thawed, completed, dead;
    struct vb_conn *data;       /* movers */
    struct vb_msg spec;
};

static const struct topo_writer *writer_of(const struct sim_child *c)
{
    return &c->j->host->sim->topo.hosts[c->j->host->index].writers[c->writer];
}

/* ---- the application ---- */

static void unfreeze(struct sim_child *c, const char *how)
{
    struct sim *s = c->j->host->sim;
    struct sim_app *app = &c->j->host->apps[c->writer];
    if (!app->frozen || app->job != c->j->number)
        return;
    uint64_t held = vb_loop_now_ms(s->loop) - app->frozen_ms;
    if (held > FREEZE_MS + FREEZE_GRACE_MS)
        sim_broken(s, "B-38: writer %zu on host %zu was frozen for %llu ms (%s)", c->writer, c->j->host->index,
                   (unsigned long long)held, how);
    app->frozen = false;
}

static void gone(struct sim_child *c)
{
    struct sim *s = c->j->host->sim;
    if (c->dead)
        return;
    c->dead = true;
    vb_timer_cancel(c->timer);
    c->timer = NULL;
    vb_msg_clear(&c->answer);
    vb_msg_clear(&c->spec);
    vb_conn_free(VB_STEAL(c->conn));
    vb_conn_free(VB_STEAL(c->data));
    if (c->kind == VB_CHILD_WRITER) {
        unfreeze(c, "end of its process");
        sim_note(s, c->j, c->writer, c->event, SIM_GONE, false, false);
    }
    if (c->kind == VB_CHILD_PROVIDER) { /* S-35: a set that is not complete is dropped */
        struct sim_host *h = c->j->host;
        size_t kept = 0;
        for (size_t i = 0; i < h->n_snaps; i++) {
            if (h->snaps[i].job == c->j->number && !h->snaps[i].created)
                free(h->snaps[i].id);
            else
                h->snaps[kept++] = h->snaps[i];
        }
        h->n_snaps = kept;
    }
}

void sim_child_stop(struct sim_job *j, struct vb_child *c, bool kill)
{
    struct sim_child *child = c->handle;
    vb_conn_free(VB_STEAL(c->conn));
    c->handle = NULL;
    (void)j;
    if (child && kill)
        gone(child);
}

void sim_children_drop(struct sim_job *j)
{
    for (size_t i = 0; i < j->n_children; i++) {
        gone(j->children[i]);
        free(j->children[i]);
    }
    j->n_children = 0;
}

static void on_close(void *arg, const struct vb_error *why)
{
    (void)why;
    gone(arg);
}

/* ---- writers ---- */

static void send_answer(void *arg)
{
    struct sim_child *c = arg;
    c->timer = NULL;
    vb_conn_send(c->conn, &c->answer);
    vb_msg_clear(&c->answer);
}

static void answer_later(struct sim_child *c, uint64_t ms)
{
    c->timer = vb_loop_after(c->j->host->sim->loop, ms, send_answer, c);
}

static void marks_of(const struct vb_msg *m, bool *yes, bool *no)
{
    const unsigned char *xml;
    size_t n;
    if (!vb_msg_bytes(m, VB_F_BCD, &xml, &n))
        return;
    struct vb_components *b = vb_writer_components_read(xml, n, NULL);
    for (size_t i = 0; b && i < b->n_writers; i++)
        for (size_t k = 0; k < b->writers[i].n_components; k++)
            *(b->writers[i].components[k].backup_succeeded ? yes : no) = true;
    vb_components_free(b);
}

/* What must hold between the events of one session, seen from inside the writer. */
static void check_event(struct sim_child *c, enum vb_event ev)
{
    struct sim *s = c->j->host->sim;
    struct sim_app *app = &c->j->host->apps[c->writer];
    const char *w = vb_event_word(ev);
    bool mine = app->frozen && app->job == c->j->number;
    if (ev == VB_EV_FREEZE && app->frozen)
        sim_broken(s, "Freeze of a writer that is frozen: host %zu writer %zu", c->j->host->index, c->writer);
    if (ev == VB_EV_THAW && !mine)
        sim_broken(s, "B-42: Thaw without Freeze: host %zu writer %zu", c->j->host->index, c->writer);
    if (ev == VB_EV_THAW && c->thawed)
        sim_broken(s, "B-42: a second Thaw: host %zu writer %zu", c->j->host->index, c->writer);
    if ((ev == VB_EV_POST_SNAPSHOT || ev == VB_EV_BACKUP_COMPLETE || ev == VB_EV_BACKUP_SHUTDOWN) && mine)
        sim_broken(s, "B-42: %s while frozen: host %zu writer %zu", w, c->j->host->index, c->writer);
    if (ev == VB_EV_POST_SNAPSHOT && !c->thawed)
        sim_broken(s, "B-42: PostSnapshot without Thaw: host %zu writer %zu", c->j->host->index, c->writer);
    if (ev == VB_EV_BACKUP_COMPLETE && c->completed)
        sim_broken(s, "a second BackupComplete: host %zu writer %zu", c->j->host->index, c->writer);
}

static void live_event(struct sim_child *c, enum vb_event ev)
{
    struct sim *s = c->j->host->sim;
    struct sim_app *app = &c->j->host->apps[c->writer];
    if (ev == VB_EV_FREEZE) {
        *app = (struct sim_app){ true, c->j->number, vb_loop_now_ms(s->loop) };
        c->froze = true;
    } else if (ev == VB_EV_THAW) {
        unfreeze(c, "Thaw");
        c->thawed = true;
    } else if (ev == VB_EV_ABORT) {
        unfreeze(c, "Abort");
    } else if (ev == VB_EV_BACKUP_COMPLETE) {
        c->completed = true;
    }
}

static bool spoils_backup(enum vb_event ev)
{
    return ev == VB_EV_PREPARE_BACKUP || ev == VB_EV_PREPARE_SNAPSHOT || ev == VB_EV_FREEZE ||
           ev == VB_EV_POST_SNAPSHOT;
}

static void writer_event(struct sim_child *c, const struct vb_msg *m)
{
    struct sim *s = c->j->host->sim;
    enum vb_event ev = (enum vb_event)vb_msg_u64(m, VB_F_EVENT, 0);
    bool yes = false, no = false;
    if (ev == VB_EV_BACKUP_COMPLETE)
        marks_of(m, &yes, &no);
    c->event = ev;
    sim_note(s, c->j, c->writer, ev, SIM_EVENT_BEGIN, yes, no);
    check_event(c, ev);
    if (s->script.event)
        s->script.event(s->script.arg, c->j->host->index, c->writer, ev);
    enum sim_mishap mishap = s->script.writer && c->j->kind != VB_JOB_IDENTIFY
                                 ? s->script.writer(s->script.arg, c->j->host->index, c->writer, ev) : SIM_FINE;
    bool faulty = ev != VB_EV_ABORT && ev != VB_EV_BACKUP_SHUTDOWN && c->j->kind != VB_JOB_IDENTIFY;
    if (mishap == SIM_CRASH || (faulty && vb_rng_chance(&s->rng, s->f.writer_crash))) {
        if (spoils_backup(ev))
            c->j->writer_failed[c->writer] = true;
        gone(c);
        return;
    }
    if (mishap == SIM_HANG || (faulty && vb_rng_chance(&s->rng, s->f.writer_hang))) {
        if (spoils_backup(ev))
            c->j->writer_failed[c->writer] = true;
        if (ev == VB_EV_FREEZE) /* it may well hold already */
            live_event(c, ev);
        return;
    }
    bool veto = mishap == SIM_VETO || (faulty && vb_rng_chance(&s->rng, s->f.writer_veto));
    vb_msg_clear(&c->answer);
    c->answer = (struct vb_msg)VB_MSG_INIT(VB_M_W_DONE);
    c->answer.id = m->id;
    if (veto) {
        vb_msg_add_u64(&c->answer, VB_F_CODE, VB_E_WRITER_NON_RETRYABLE);
        vb_msg_add_str(&c->answer, VB_F_TEXT, "the application refuses");
        if (spoils_backup(ev))
            c->j->writer_failed[c->writer] = true;
        if (ev == VB_EV_FREEZE && vb_rng_chance(&s->rng, 500))
            live_event(c, ev); /* half done: Abort must undo it */
    } else {
        live_event(c, ev);
        if (ev == VB_EV_IDENTIFY) {
            VB_AUTO_BUF xml = VB_BUF_INIT;
            if (vb_wm_write(s->topo.hosts[c->j->host->index].documents[c->writer], &xml, NULL) == 0)
                vb_msg_add(&c->answer, VB_F_WMD, xml.data, xml.len);
        }
    }
    sim_note(s, c->j, c->writer, ev, veto ? SIM_EVENT_FAILED : SIM_EVENT_OK, yes, no);
    answer_later(c, sim_delay(s, 40));
}

static void writer_msg(void *arg, struct vb_msg *m)
{
    struct sim_child *c = arg;
    if (m->type == VB_M_W_EVENT)
        writer_event(c, m);
    else if (m->type == VB_M_W_QUIT)
        gone(c);
}

static void writer_ready(struct sim_child *c)
{
    const struct topo_writer *w = writer_of(c);
    c->answer = (struct vb_msg)VB_MSG_INIT(VB_M_W_READY);
    vb_msg_add_str(&c->answer, VB_F_CLASS, w->class_id);
    vb_msg_add_str(&c->answer, VB_F_INSTANCE, w->instance_id);
    vb_msg_add_str(&c->answer, VB_F_WRITER, w->name);
    vb_msg_add_u64(&c->answer, VB_F_ABI, 0);
    vb_msg_add_u64(&c->answer, VB_F_LEVEL, (uint64_t)w->level);
    vb_msg_add_u64(&c->answer, VB_F_FREEZE_MS, FREEZE_MS);
    answer_later(c, 1 + sim_delay(c->j->host->sim, 30));
}

/* ---- the provider ---- */

static struct sim_snapshot *snapshot(struct sim_host *h, const char *id)
{
    for (size_t i = 0; id && i < h->n_snaps; i++)
        if (strcmp(h->snaps[i].id, id) == 0)
            return &h->snaps[i];
    return NULL;
}

static void provider_work(struct sim_child *c, const char *call, const struct vb_msg *m, struct vb_msg *out)
{
    struct sim_host *h = c->j->host;
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_SNAPSHOT), *path = vb_msg_str(m, VB_F_PATH);
    if (strcmp(call, "supports") == 0) {
        vb_msg_add_u64(out, VB_F_SUPPORTED, 1);
        vb_msg_add_u64(out, VB_F_ATOMIC, 1);
        vb_msg_add_u64(out, VB_F_GROUP_ATOMIC, 1);
        vb_msg_add_u64(out, VB_F_HOLD, 1);
        vb_msg_add_u64(out, VB_F_CONSISTENCY, VB_CONSISTENCY_CRASH);
        vb_msg_add_u64(out, VB_F_PREFERENCE, 10);
    } else if (strcmp(call, "begin_prepare") == 0 && id) {
        VB_GROW(h->snaps, h->n_snaps, h->cap_snaps);
        h->snaps[h->n_snaps++] = (struct sim_snapshot){ vb_strdup(id), 0, c->j->number, false };
    } else if (strcmp(call, "commit") == 0 || strcmp(call, "post_final") == 0) {
        for (size_t i = 0; i < h->n_snaps; i++)
            if (h->snaps[i].job == c->j->number) {
                if (call[0] == 'c')
                    h->snaps[i].counter = h->counter;
                else
                    h->snaps[i].created = true;
            }
    } else if (strcmp(call, "snapshot_path") == 0) {
        VB_AUTO_FREE char *p = vb_printf("/snapshot/%s%s", id ? id : "", path ? path : "");
        vb_msg_add_str(out, VB_F_PATH, p);
    } else if (strcmp(call, "delete") == 0 || strcmp(call, "abort") == 0) {
        size_t kept = 0;
        for (size_t i = 0; i < h->n_snaps; i++) {
            bool drop = call[0] == 'd' ? id && strcmp(h->snaps[i].id, id) == 0
                                       : h->snaps[i].job == c->j->number && !h->snaps[i].created;
            if (drop)
                free(h->snaps[i].id);
            else
                h->snaps[kept++] = h->snaps[i];
        }
        h->n_snaps = kept;
    }
}


static void provider_msg(void *arg, struct vb_msg *m)
{
    struct sim_child *c = arg;
    struct sim *s = c->j->host->sim;
    if (m->type != VB_M_P_CALL)
        return;
    VB_AUTO_FREE char *call = vb_msg_str(m, VB_F_CALL);
    bool harmless = !call || strcmp(call, "supports") == 0 || strcmp(call, "delete") == 0 || strcmp(call, "abort") == 0;
    if (!harmless && vb_rng_chance(&s->rng, s->f.provider_crash)) {
        gone(c);
        return;
    }
    VB_AUTO_MSG out = VB_MSG_INIT(VB_M_P_DONE);
    out.id = m->id;
    bool told = call && s->script.provider_fails && s->script.provider_fails(s->script.arg, c->j->host->index, call);
    if (told || (!harmless && vb_rng_chance(&s->rng, s->f.provider_veto))) {
        vb_msg_add_u64(&out, VB_F_CODE, VB_E_PROVIDER_VETO);
        vb_msg_add_str(&out, VB_F_TEXT, "the provider refuses");
    } else if (call) {
        provider_work(c, call, m, &out);
    }
    vb_conn_send(c->conn, &out);
}

static void provider_ready(struct sim_child *c)
{
    c->answer = (struct vb_msg)VB_MSG_INIT(VB_M_P_READY);
    vb_msg_add_str(&c->answer, VB_F_NAME, "sim");
    vb_msg_add_str(&c->answer, VB_F_PROVIDER_ID, "51515151-0000-4000-8000-000000000001");
    answer_later(c, 1 + sim_delay(c->j->host->sim, 20));
}

/* ---- capture and restore ---- */

static void identity(struct vb_msg *to, const struct vb_msg *from)
{
    static const uint16_t tags[] = { VB_F_CLASS,  VB_F_INSTANCE,     VB_F_INSTANCE_NAME,
                                     VB_F_WRITER, VB_F_LOGICAL_PATH, VB_F_NAME };
    const unsigned char *p;
    size_t n;
    for (size_t i = 0; i < VB_COUNT(tags); i++)
        if (vb_msg_bytes(from, tags[i], &p, &n))
            vb_msg_add(to, tags[i], p, n);
}

/* Data that is read from "/snapshot/ID/..." is as old as the snapshot; live data is of now. */
static char *content_of(struct sim_child *c, const char *path, const char *read_path)
{
    struct sim_host *h = c->j->host;
    uint64_t version = h->counter;
    if (strncmp(read_path, "/snapshot/", 10) == 0) {
        VB_AUTO_FREE char *id = vb_strndup(read_path + 10, VB_GUID_LEN);
        const struct sim_snapshot *s = snapshot(h, id);
        if (!s)
            sim_broken(h->sim, "capture reads from a snapshot that does not exist: %s", read_path);
        version = s ? s->counter : 0;
    }
    return vb_printf("%s@%llu", path, (unsigned long long)version);
}

static void reply_lost(struct sim_child *c)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_REPLY);
    vb_msg_add_u64(&m, VB_F_CODE, VB_E_CONNECTION_LOST);
    vb_msg_add_str(&m, VB_F_TEXT, "the data stream broke off");
    vb_conn_send(c->conn, &m);
}

static void capture_fileset(struct sim_child *c, const struct vb_msg *fs, struct vb_msg *comp)
{
    VB_AUTO_FREE char *path = vb_msg_str(fs, VB_F_PATH), *read = vb_msg_str(fs, VB_F_READ_PATH);
    VB_AUTO_FREE char *content = content_of(c, path, read ? read : path);
    struct vb_name name;
    vb_sha256(content, strlen(content), &name);
    VB_AUTO_MSG chunk = VB_MSG_INIT(VB_M_CHUNK);
    vb_msg_add(&chunk, VB_F_CHUNK_NAME, name.b, sizeof name.b);
    vb_msg_add_str(&chunk, VB_F_BYTES, content);
    vb_conn_send(c->data, &chunk);
    VB_AUTO_MSG root = VB_MSG_INIT(0);
    vb_msg_add_str(&root, VB_F_PATH, path);
    vb_msg_add_str(&root, VB_F_FILESPEC, "*");
    vb_msg_add_u64(&root, VB_F_RECURSIVE, 1);
    vb_msg_add(&root, VB_F_CHUNK_NAME, name.b, sizeof name.b);
    vb_msg_add_u64(&root, VB_F_FILES, 1);
    vb_msg_add_u64(&root, VB_F_BYTES, strlen(content));
    vb_msg_add_group(comp, VB_F_ROOT, &root);
}

static void fetch(struct sim_child *c, const struct vb_msg *root)
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(root, VB_F_CHUNK_NAME, &p, &n))
        return;
    VB_AUTO_MSG get = VB_MSG_INIT(VB_M_GET);
    vb_msg_add(&get, VB_F_CHUNK_NAME, p, n);
    vb_conn_send(c->data, &get);
}

/* Begins the work on the spec; the answer is made now and sent when the store has taken, or given, everything. */
static void mover_work(struct sim_child *c)
{
    struct sim *s = c->j->host->sim;
    bool capture = c->kind == VB_CHILD_CAPTURE;
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_msg_clear(&c->answer);
    c->answer = (struct vb_msg)VB_MSG_INIT(VB_M_REPLY);
    c->answer.id = c->spec.id;
    vb_field_iter_init(&it, &c->spec);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_COMPONENT)
            continue;
        struct vb_msg comp = vb_msg_view(p, n);
        VB_AUTO_MSG out = VB_MSG_INIT(0);
        identity(&out, &comp);
        struct vb_field_iter in;
        uint16_t t;
        const unsigned char *q;
        size_t len;
        bool failed = vb_rng_chance(&s->rng, capture ? s->f.capture_failed : s->f.restore_failed);
        VB_AUTO_FREE char *name = vb_msg_str(&comp, VB_F_NAME);
        failed = failed ||
                 (s->script.mover_fails && s->script.mover_fails(s->script.arg, c->j->host->index, name ? name : ""));
        vb_field_iter_init(&in, &comp);
        while (vb_field_next(&in, &t, &q, &len)) {
            struct vb_msg g = vb_msg_view(q, len);
            if (capture && t == VB_F_FILESET)
                capture_fileset(c, &g, &out);
            else if (!capture && t == VB_F_ROOT)
                fetch(c, &g);
        }
        vb_msg_add_u64(&out, VB_F_FILES, 1);
        vb_msg_add_u64(&out, VB_F_BYTES, 10);
        if (capture)
            vb_msg_add_u64(&out, VB_F_COMPLETENESS, failed ? VB_FAILED : VB_COMPLETE);
        else
            vb_msg_add_u64(&out, VB_F_RESTORE_STATUS, failed ? VB_FILE_RESTORE_FAILED : VB_FILE_RESTORE_ALL);
        if (failed) {
            vb_msg_add_u64(&out, VB_F_CODE, VB_E_FILE_MISSING);
            vb_msg_add_str(&out, VB_F_TEXT, "a file is missing");
        }
        vb_msg_add_group(&c->answer, VB_F_COMPONENT, &out);
    }
    VB_AUTO_MSG end = VB_MSG_INIT(VB_M_DATA_END);
    vb_conn_send(c->data, &end);
}

static void put_file(struct sim_host *h, const char *path, const char *content)
{
    for (size_t i = 0; i < h->n_files; i++)
        if (strcmp(h->files[i].path, path) == 0) {
            free(h->files[i].content);
            h->files[i].content = vb_strdup(content);
            return;
        }
    VB_GROW(h->files, h->n_files, h->cap_files);
    h->files[h->n_files++] = (struct sim_file){ vb_strdup(path), vb_strdup(content) };
}

static void data_msg(void *arg, struct vb_msg *m)
{
    struct sim_child *c = arg;
    if (m->type == VB_M_CHUNK) {
        VB_AUTO_FREE char *content = vb_msg_str(m, VB_F_BYTES);
        const char *at = content ? strrchr(content, '@') : NULL;
        if (!at)
            return;
        VB_AUTO_FREE char *path = vb_strndup(content, (size_t)(at - content));
        put_file(c->j->host, path, content);
    } else if (m->type == VB_M_DATA_OK) {
        vb_conn_free(VB_STEAL(c->data));
        answer_later(c, sim_delay(c->j->host->sim, 20));
    } else if (m->type == VB_M_ERROR) {
        vb_conn_free(VB_STEAL(c->data));
        vb_msg_clear(&c->answer);
        c->answer = (struct vb_msg)VB_MSG_INIT(VB_M_REPLY);
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        (void)vb_msg_error(m, &e);
        vb_msg_add_error(&c->answer, &e);
        answer_later(c, 1);
    }
}

static void data_close(void *arg, const struct vb_error *why)
{
    struct sim_child *c = arg;
    (void)why;
    vb_conn_free(VB_STEAL(c->data));
    reply_lost(c);
}

static void mover_msg(void *arg, struct vb_msg *m)
{
    static const struct vb_conn_handler data = { data_msg, data_close, NULL };
    struct sim_child *c = arg;
    struct sim *s = c->j->host->sim;
    if (m->type != VB_M_CAPTURE && m->type != VB_M_RESTORE_FILES)
        return;
    vb_msg_clear(&c->spec);
    c->spec = (struct vb_msg)VB_MSG_INIT(m->type);
    c->spec.id = m->id;
    vb_buf_add(&c->spec.body, m->body.data, m->body.len);
    if (vb_rng_chance(&s->rng, s->f.capture_crash)) {
        gone(c);
        return;
    }
    if (!c->data) {
        reply_lost(c);
        return;
    }
    vb_conn_set_handler(c->data, &data, c);
    mover_work(c);
}

/* ---- starting ---- */

int sim_child_start(struct sim_job *j, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out)
{
    static const struct vb_conn_handler writer = { writer_msg, on_close, NULL },
                                        provider = { provider_msg, on_close, NULL },
                                        mover = { mover_msg, on_close, NULL };
    struct sim_child *c = vb_alloc(sizeof *c);
    const struct topo_host *th = &j->host->sim->topo.hosts[j->host->index];
    c->j = j;
    c->kind = kind;
    for (size_t w = 0; kind == VB_CHILD_WRITER && w < th->n; w++)
        if (strcmp(th->writers[w].name, who->name) == 0)
            c->writer = w;
    VB_GROW(j->children, j->n_children, j->cap_children);
    j->children[j->n_children++] = c;
    sim_pair(j->host->sim, false, &out->conn, &c->conn);
    out->handle = c;
    out->pid = 0;
    vb_conn_set_handler(c->conn, kind == VB_CHILD_WRITER ? &writer : kind == VB_CHILD_PROVIDER ? &provider : &mover, c);
    if (kind == VB_CHILD_WRITER)
        writer_ready(c);
    else if (kind == VB_CHILD_PROVIDER)
        provider_ready(c);
    else
        c->data = VB_STEAL(j->data);
    return 0;
}
