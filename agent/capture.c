/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture.c - the capture process's conversation: what is to be read, how far it is, what became of it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/capture.h"
#include "agent/capture_internal.h"
#include "agent/data_spec.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "vbackup/types.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define PROGRESS_MS 200
#define DEFAULT_LEVEL 3

/* ---- reporting ---- */

static int tell(struct vb_capture *c, const struct vb_msg *m, struct vb_error *err)
{
    return vb_chunk_sender_send(c->out, m, err) < 0 || vb_msg_send_fd(c->worker_fd, m, err) < 0 ? -1 : 0;
}

int vb_cap_progress(struct vb_capture *c, bool now, struct vb_error *err)
{
    uint64_t t = vb_mover_now_ms();
    if (!now && t - c->last_progress_ms < PROGRESS_MS)
        return 0;
    c->last_progress_ms = t;
    struct pollfd p = { .fd = c->worker_fd, .events = POLLIN, .revents = 0 };
    if (poll(&p, 1, 0) > 0)
        return vb_fail(err, VB_E_CANCELLED, "worker has ended the capture"); /* it has nothing to say but its end */
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_PROGRESS);
    vb_msg_add_u64(&m, VB_F_FILES, c->files);
    vb_msg_add_u64(&m, VB_F_BYTES_DONE, c->bytes);
    if (tell(c, &m, err) < 0)
        return -1;
    return vb_chunk_sender_poll(c->out, err);
}

char *vb_cap_path(const struct vb_capture *c, const char *name)
{
    struct vb_buf b = VB_BUF_INIT;
    vb_buf_add(&b, c->path.data, c->path.len);
    if (name && (b.len == 0 || b.data[b.len - 1] != '/'))
        vb_buf_add_char(&b, '/');
    vb_buf_add_str(&b, name ? name : "");
    return vb_buf_take_str(&b);
}

static int warn(struct vb_capture *c, const char *path, const struct vb_error *what, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_WARN);
    c->cur->warnings++;
    c->doubt = true;
    vb_msg_add_str(&m, VB_F_PATH, path);
    vb_msg_add_error(&m, what);
    return tell(c, &m, err);
}

int vb_cap_fail_path(struct vb_capture *c, const char *name, const struct vb_error *why, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_cap_path(c, name);
    VB_AUTO_FREE char *shown = vb_escape_terminal(path, strlen(path));
    VB_AUTO_ERROR named = VB_ERROR_INIT;
    vb_error_copy(&named, why);
    vb_context(&named, "'%s'", shown);
    if (c->cur->error.code == VB_OK)
        vb_error_copy(&c->cur->error, &named);
    return warn(c, path, &named, err);
}

int vb_cap_note_path(struct vb_capture *c, const char *name, enum vb_code code, const char *text, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_cap_path(c, name);
    VB_AUTO_FREE char *shown = vb_escape_terminal(path, strlen(path));
    VB_AUTO_ERROR what = VB_ERROR_INIT;
    vb_fail(&what, code, "'%s': %s", shown, text);
    return warn(c, path, &what, err);
}

int vb_cap_warn_path(struct vb_capture *c, const char *name, enum vb_code code, const char *text, struct vb_error *err)
{
    c->cur->partial = true;
    return vb_cap_note_path(c, name, code, text, err);
}

/* ---- the request ---- */

static void component_clear(struct vb_cap_component *k)
{
    vb_free_ptr(&k->class_id);
    vb_free_ptr(&k->instance);
    vb_free_ptr(&k->writer);
    vb_free_ptr(&k->logical_path);
    vb_free_ptr(&k->name);
    for (size_t i = 0; i < k->n_filesets; i++)
        vb_readset_clear(&k->filesets[i]);
    vb_free_ptr(&k->filesets);
    vb_free_ptr(&k->roots);
    vb_leave_outs_clear(&k->excludes);
    vb_cap_partials_clear(&k->partials);
    vb_error_clear(&k->error);
}

static int parse_fileset(const struct vb_msg *g, struct vb_cap_component *k, size_t *cap, struct vb_error *err)
{
    VB_GROW(k->filesets, k->n_filesets, *cap);
    struct vb_readset *f = &k->filesets[k->n_filesets++];
    *f = (struct vb_readset){ .path = NULL };
    VB_AUTO_FREE char *path = vb_msg_str(g, VB_F_PATH), *read_path = vb_msg_str(g, VB_F_READ_PATH);
    f->filespec = vb_msg_str(g, VB_F_FILESPEC);
    f->recursive = vb_msg_u64(g, VB_F_RECURSIVE, 0) != 0;
    f->live = vb_msg_u64(g, VB_F_LIVE, 0) != 0;
    f->cross = vb_msg_u64(g, VB_F_KIND, 0) == 1;
    if (!path || path[0] != '/' || (read_path && read_path[0] != '/'))
        return vb_fail(err, VB_E_PROTOCOL, "file set of component '%s' has no absolute path", k->name);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, g);
    while (vb_field_next(&it, &tag, &p, &n)) {
        VB_AUTO_FREE char *rule = tag == VB_F_LEAVE_OUT ? vb_strndup((const char *)p, n) : NULL;
        if (rule && vb_path_filter_add(&f->filter, rule, err) < 0)
            return -1;
    }
    f->path = vb_path_clean(path);
    f->read_path = vb_path_clean(read_path && read_path[0] ? read_path : path);
    if (f->filespec && !f->filespec[0])
        vb_free_ptr(&f->filespec);
    if (f->filespec && !vb_readset_filespec_valid(f->filespec))
        return vb_fail(err, VB_E_USAGE, "filespec '%s' of component '%s' has a directory part", f->filespec, k->name);
    return 0;
}

static int parse_exclude(const struct vb_msg *g, struct vb_cap_component *k, struct vb_error *err)
{
    struct vb_leave_outs *x = &k->excludes;
    VB_AUTO_FREE char *path = vb_msg_str(g, VB_F_PATH), *filespec = vb_msg_str(g, VB_F_FILESPEC);
    if (!path || path[0] != '/')
        return vb_fail(err, VB_E_PROTOCOL, "exclusion of component '%s' has no absolute path", k->name);
    VB_GROW(x->v, x->n, x->cap);
    struct vb_leave_out *e = &x->v[x->n++];
    *e = (struct vb_leave_out){ .path = vb_path_clean(path),
                                .filespec = filespec && filespec[0] ? VB_STEAL(filespec) : NULL };
    if (!e->filespec)
        e->filespec = vb_strdup("*");
    e->recursive = vb_msg_u64(g, VB_F_RECURSIVE, 0) != 0;
    e->directories = vb_msg_u64(g, VB_F_KIND, 0) == 1;
    return 0;
}

static int parse_component(struct vb_capture *c, const struct vb_msg *g, struct vb_error *err)
{
    VB_GROW(c->components, c->n, c->cap);
    struct vb_cap_component *k = &c->components[c->n++];
    *k = (struct vb_cap_component){ .class_id = vb_msg_str(g, VB_F_CLASS) };
    k->instance = vb_msg_str(g, VB_F_INSTANCE_NAME);
    k->writer = vb_msg_str(g, VB_F_WRITER);
    k->logical_path = vb_msg_str(g, VB_F_LOGICAL_PATH);
    k->name = vb_msg_str(g, VB_F_NAME);
    k->consistency = vb_msg_u64(g, VB_F_CONSISTENCY, 0);
    k->database = vb_msg_u64(g, VB_F_TYPE, 0) == VB_COMPONENT_DATABASE;
    if (!k->name)
        return vb_fail(err, VB_E_PROTOCOL, "capture request has a component without a name");
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n, cap = 0;
    vb_field_iter_init(&it, g);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg sub = vb_msg_view(p, n);
        if (tag == VB_F_FILESET && parse_fileset(&sub, k, &cap, err) < 0)
            return -1;
        if (tag == VB_F_EXCLUDE && parse_exclude(&sub, k, err) < 0)
            return -1;
        if ((tag == VB_F_PARTIAL && vb_cap_partial_parse(&k->partials, &sub, err) < 0) ||
            (tag == VB_F_ROOT && vb_cap_base_parse(&k->partials, &sub, err) < 0))
            return -1;
    }
    k->partials.possible = vb_msg_u64(g, VB_F_RANGES, 0) != 0;
    k->roots = vb_alloc_n(k->n_filesets + 1, sizeof *k->roots);
    return 0;
}

static int parse_request(struct vb_capture *c, const struct vb_msg *m, int data_fd, struct vb_error *err)
{
    struct vb_cut_params cut[2] = { VB_CUT_DEFAULT, VB_CUT_PAGES };
    const unsigned char *key, *seed, *p;
    size_t n_key, n_seed, n, n_cut = 0;
    if (!vb_msg_bytes(m, VB_F_NAMING_KEY, &key, &n_key) || n_key != VB_CHUNK_KEY_LEN ||
        !vb_msg_bytes(m, VB_F_CUT_SEED, &seed, &n_seed) || n_seed != VB_CHUNK_KEY_LEN)
        return vb_fail(err, VB_E_PROTOCOL, "capture request has no naming key or no cutter seed");
    struct vb_field_iter it;
    uint16_t tag;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg sub = vb_msg_view(p, n);
        if (tag == VB_F_CUT_PARAMS)
            vb_buf_add(&c->cut_bytes, p, n);
        if (tag == VB_F_CUT_PARAMS && n_cut < 2 && vb_cut_params_decode(p, n, &cut[n_cut++], err) < 0)
            return -1;
        if (tag == VB_F_COMPONENT && parse_component(c, &sub, err) < 0)
            return -1;
    }
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t level = vb_msg_u64(m, VB_F_LEVEL, DEFAULT_LEVEL), wall = vb_msg_u64(m, VB_F_WALL_MS, 0);
    c->no_detector = vb_msg_u64(m, VB_F_NO_DETECTOR, 0) != 0;
    c->began = wall < INT64_MAX / 1000000 ? (int64_t)wall * 1000000 : 0;
    c->namer = vb_namer_new(key);
    c->out = vb_chunk_sender_new(data_fd, c->namer, level > 19 ? 19 : (int)level, cpus > 4 ? 4 : (unsigned)cpus);
    if (vb_msg_u64(m, VB_F_VERIFY, 0) != 0)
        vb_chunk_sender_check(c->out);
    c->builder = vb_content_builder_new(vb_chunk_sender_emit, c->out);
    c->window_size = VB_CAP_READ;
    for (int i = 0; i < 2; i++) {
        c->cutter[i] = vb_cutter_new(&cut[i], seed, err);
        if (!c->cutter[i])
            return -1;
        if (c->window_size < VB_CAP_READ + cut[i].max)
            c->window_size = VB_CAP_READ + cut[i].max;
    }
    c->window_size += VB_CAP_READ;
    c->window = vb_alloc(c->window_size);
    return 0;
}

/* ---- the answer ---- */

static void add_root(struct vb_msg *to, const struct vb_readset *f, const struct vb_cap_root *r)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, f->path);
    vb_msg_add_str(&g, VB_F_FILESPEC, f->filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, f->recursive);
    vb_msg_add(&g, VB_F_CHUNK_NAME, r->name.b, sizeof r->name.b);
    vb_msg_add_u64(&g, VB_F_FILES, r->files);
    vb_msg_add_u64(&g, VB_F_DIRS, r->dirs);
    vb_msg_add_u64(&g, VB_F_BYTES, r->bytes);
    vb_msg_add_str(&g, VB_F_DETECTOR, vb_cap_look_source(r->look));
    vb_msg_add_u64(&g, VB_F_FILES_READ, vb_cap_look_read(r->look));
    vb_msg_add_u64(&g, VB_F_BYTES_READ, vb_cap_look_bytes_read(r->look));
    vb_msg_add_group(to, VB_F_ROOT, &g);
}

static void add_component(struct vb_msg *to, const struct vb_cap_component *k)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    uint64_t files = 0, dirs = 0, bytes = 0;
    vb_msg_add_str(&g, VB_F_CLASS, k->class_id);
    vb_msg_add_str(&g, VB_F_INSTANCE_NAME, k->instance);
    vb_msg_add_str(&g, VB_F_WRITER, k->writer);
    vb_msg_add_str(&g, VB_F_LOGICAL_PATH, k->logical_path);
    vb_msg_add_str(&g, VB_F_NAME, k->name);
    vb_msg_add_u64(&g, VB_F_CONSISTENCY, k->consistency);
    vb_msg_add_error(&g, &k->error);
    for (size_t i = 0; i < k->n_filesets; i++) {
        files += k->roots[i].files;
        dirs += k->roots[i].dirs;
        bytes += k->roots[i].bytes;
    }
    vb_msg_add_u64(&g, VB_F_FILES, files);
    vb_msg_add_u64(&g, VB_F_DIRS, dirs);
    vb_msg_add_u64(&g, VB_F_BYTES, bytes);
    vb_msg_add_u64(&g, VB_F_WARNINGS, k->warnings);
    vb_msg_add_u64(&g, VB_F_LEFT_FILES, k->left_files);
    vb_msg_add_u64(&g, VB_F_LEFT_DIRS, k->left_dirs);
    vb_msg_add_u64(&g, VB_F_COMPLETENESS, k->error.code != VB_OK ? VB_FAILED : k->partial ? VB_PARTIAL : VB_COMPLETE);
    for (size_t i = 0; i < k->n_filesets; i++)
        if (k->roots[i].made)
            add_root(&g, &k->filesets[i], &k->roots[i]);
    vb_msg_add_group(to, VB_F_COMPONENT, &g);
}

/* ---- the work ---- */

static void free_link(void *p)
{
    struct vb_cap_link *l = p;
    vb_cap_entry_clear(&l->entry);
    vb_free_ptr(&l);
}

static int tell_root(struct vb_capture *c, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ROOT);
    vb_msg_add_str(&m, VB_F_CLASS, c->cur->class_id);
    vb_msg_add_str(&m, VB_F_LOGICAL_PATH, c->cur->logical_path);
    vb_msg_add_str(&m, VB_F_NAME, c->cur->name);
    add_root(&m, c->set, c->root);
    return vb_chunk_sender_send(c->out, &m, err);
}

static int capture_component(struct vb_capture *c, struct vb_cap_component *k, struct vb_error *err)
{
    c->cur = k;
    int rc = vb_cap_partials_check(c, err);
    for (size_t i = 0; i < k->n_filesets && rc == 0; i++) {
        c->set = &k->filesets[i];
        c->root = &k->roots[i];
        rc = vb_cap_fileset(c, err);
        if (rc == 0 && c->root->made)
            rc = tell_root(c, err);
    }
    vb_idmap_clear(&k->links, free_link);
    vb_idmap_clear(&k->groups, NULL);
    return rc;
}

static int capture_all(struct vb_capture *c, struct vb_error *err)
{
    for (size_t i = 0; i < c->n; i++)
        if (capture_component(c, &c->components[i], err) < 0)
            return -1;
    if (c->n)
        c->cur = &c->components[c->n - 1];
    return vb_cap_progress(c, true, err) < 0 ? -1 : vb_chunk_sender_finish(c->out, err);
}

/* What was seen is kept once the requester has all of it, and only if the top was finished: a record whose directory was
 * not would say that everything is as it was since this look.  A stream that was lost says nothing against the memory; an
 * answer that the requester refused may be the memory's fault. */
static void end_looks(struct vb_capture *c, const struct vb_error *why)
{
    bool refused = why->code != VB_OK && why->code != VB_E_CONNECTION_LOST && why->code != VB_E_CANCELLED;
    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; c->components[i].roots && k < c->components[i].n_filesets; k++) {
            struct vb_cap_root *r = &c->components[i].roots[k];
            vb_cap_look_finish(VB_STEAL(r->look), why->code == VB_OK && r->made, refused);
        }
}

static void capture_clear(struct vb_capture *c)
{
    for (size_t i = 0; i < c->n; i++)
        component_clear(&c->components[i]);
    vb_free_ptr(&c->components);
    vb_content_builder_free(c->builder);
    vb_chunk_sender_free(c->out);
    vb_namer_free(c->namer);
    vb_cutter_free(c->cutter[0]);
    vb_cutter_free(c->cutter[1]);
    vb_free_ptr(&c->window);
    vb_idmap_clear(&c->users, free);
    vb_idmap_clear(&c->groups_by_id, free);
    vb_buf_clear(&c->path);
    vb_buf_clear(&c->cut_bytes);
    vb_buf_clear(&c->rel);
    vb_cap_originals_free(c->originals);
}

int vb_capture_serve(int worker_fd, int data_fd, const char *looks, struct vb_error *err)
{
    VB_CLEANUP(capture_clear) struct vb_capture c = { .worker_fd = worker_fd, .noatime = geteuid() == 0 };
    c.looks = (char *)(uintptr_t)looks;
    VB_AUTO_MSG request = VB_MSG_INIT(0);
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_MSG reply = VB_MSG_INIT(VB_M_REPLY);
    int rc = vb_msg_recv_fd(worker_fd, &in, &request, err);
    if (rc != 0)
        return rc < 0 ? -1 : vb_fail(err, VB_E_CANCELLED, "worker ended before it said what to capture");
    reply.id = request.id;
    if (request.type != VB_M_CAPTURE)
        vb_fail(&why, VB_E_PROTOCOL, "capture was sent message %u", (unsigned)request.type);
    else if (parse_request(&c, &request, data_fd, &why) == 0)
        capture_all(&c, &why);
    vb_wipe(request.body.data, request.body.len); /* it held the keys */
    if (why.code != VB_OK)
        vb_msg_add_error(&reply, &why);
    else
        for (size_t i = 0; i < c.n; i++)
            add_component(&reply, &c.components[i]);
    end_looks(&c, &why);
    vb_cap_looks_sweep(&c);
    if (vb_msg_send_fd(worker_fd, &reply, why.code == VB_OK ? err : NULL) < 0 && why.code == VB_OK)
        return -1;
    return why.code == VB_OK ? 0 : vb_error_move(err, &why);
}

int vb_capture_main(int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *looks = NULL;
    struct rlimit files;
    vb_heap_keep();
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max; /* the detector holds a directory open for each that waits below it */
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (argc == 3 && !strcmp(argv[1], "--state-dir")) {
        looks = vb_path_join(argv[2], VB_LOOKS_DIR);
        if (vb_mkdirs_at(AT_FDCWD, looks, 0700, &err) < 0) { /* without it everything is read */
            vb_log_error(VB_LOG_WARNING, &err);
            vb_error_clear(&err);
            vb_free_ptr(&looks);
        }
    }
    if (vb_capture_serve(VB_CHILD_SOCKET_FD, VB_CHILD_DATA_FD, looks, &err) == 0)
        return VB_EXIT_DONE;
    vb_log_error(VB_LOG_ERROR, &err);
    return (int)vb_code_exit(err.code);
}
