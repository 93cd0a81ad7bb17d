/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore.c - the restore process's conversation: what is to be put where, how far it is, what became of it.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/data_spec.h"
#include "agent/readset.h"
#include "agent/restore.h"
#include "agent/restore_internal.h"
#include "base/log.h"
#include "base/text.h"
#include "vbackup/types.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define PROGRESS_MS 200
#define SYNC_STEP_MS 10
#define SPARE_DESCRIPTORS 256u
#define MAX_WARNINGS_TOLD 1000u /* per component; the others are counted */

/* ---- reporting ---- */

size_t vb_rst_enter(struct vb_restore *r, const char *name)
{
    size_t mark = r->path.len;
    if (r->path.len > 1)
        vb_buf_add_char(&r->path, '/');
    vb_buf_add_str(&r->path, name);
    return mark;
}

void vb_rst_leave(struct vb_restore *r, size_t mark)
{
    r->path.len = mark;
}

char *vb_rst_path(const struct vb_restore *r, const char *name)
{
    struct vb_buf b = VB_BUF_INIT;
    vb_buf_add(&b, r->path.data, r->path.len);
    if (name && (b.len == 0 || b.data[b.len - 1] != '/'))
        vb_buf_add_char(&b, '/');
    vb_buf_add_str(&b, name ? name : "");
    return vb_buf_take_str(&b);
}

int vb_rst_name_error(struct vb_restore *r, const char *name, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_rst_path(r, name);
    VB_AUTO_FREE char *shown = vb_escape_terminal(path, strlen(path));
    vb_context(err, "'%s'", shown);
    return -1;
}

static int tell(struct vb_restore *r, const struct vb_msg *m, struct vb_error *err)
{
    return vb_chunk_fetcher_send(r->in, m, err) < 0 || vb_msg_send_fd(r->worker_fd, m, err) < 0 ? -1 : 0;
}

int vb_rst_warn(struct vb_restore *r, const char *name, const struct vb_error *what, struct vb_error *err)
{
    if (r->cur->warnings++ >= MAX_WARNINGS_TOLD)
        return 0;
    VB_AUTO_FREE char *path = vb_rst_path(r, name);
    VB_AUTO_ERROR named = VB_ERROR_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_WARN);
    vb_error_copy(&named, what);
    vb_rst_name_error(r, name, &named);
    vb_msg_add_str(&m, VB_F_PATH, path);
    vb_msg_add_error(&m, &named);
    return tell(r, &m, err);
}

int vb_rst_progress(struct vb_restore *r, bool now, struct vb_error *err)
{
    uint64_t t = vb_mover_now_ms();
    if (!now && t - r->last_progress_ms < PROGRESS_MS)
        return 0;
    r->last_progress_ms = t;
    struct pollfd p = { .fd = r->worker_fd, .events = POLLIN, .revents = 0 };
    if (poll(&p, 1, 0) > 0)
        return vb_fail(err, VB_E_CANCELLED, "worker has ended the restore");
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_PROGRESS);
    vb_msg_add_u64(&m, VB_F_FILES, r->files);
    vb_msg_add_u64(&m, VB_F_BYTES_DONE, r->bytes);
    vb_msg_add_u64(&m, VB_F_BYTES_TOTAL, r->bytes_total);
    return tell(r, &m, err) < 0 ? -1 : vb_chunk_fetcher_poll(r->in, err);
}

struct syncing {
    int fd, errnum;
};

static void *sync_thread(void *arg)
{
    struct syncing *s = arg;
    s->errnum = syncfs(s->fd) < 0 ? errno : 0;
    return NULL;
}

int vb_rst_sync(struct vb_restore *r, int fd, struct vb_error *err)
{
    struct syncing s = { fd, 0 };
    pthread_t t;
    int rc = 0;
    if (pthread_create(&t, NULL, sync_thread, &s) != 0) {
        sync_thread(&s);
    } else {
        struct pollfd nothing = { .fd = -1, .events = 0, .revents = 0 };
        while (pthread_tryjoin_np(t, NULL) == EBUSY) {
            if (rc == 0)
                rc = vb_rst_progress(r, false, err);
            poll(&nothing, 1, SYNC_STEP_MS);
        }
    }
    return rc < 0 ? -1 : s.errnum ? vb_fail_errno(err, s.errnum, "cannot be made durable") : 0;
}

/* ---- the request ---- */

static void component_clear(struct vb_rst_component *k)
{
    vb_free_ptr(&k->class_id);
    vb_free_ptr(&k->instance);
    vb_free_ptr(&k->writer);
    vb_free_ptr(&k->logical_path);
    vb_free_ptr(&k->name);
    for (size_t i = 0; i < k->n_roots; i++) {
        vb_free_ptr(&k->roots[i].path);
        vb_free_ptr(&k->roots[i].filespec);
        vb_free_ptr(&k->roots[i].target);
        vb_free_ptr(&k->roots[i].source);
    }
    vb_free_ptr(&k->roots);
    vb_error_clear(&k->error);
}

static int parse_root(const struct vb_msg *g, const char *base, struct vb_rst_component *k, struct vb_error *err)
{
    const unsigned char *p;
    size_t n;
    VB_GROW(k->roots, k->n_roots, k->cap_roots);
    struct vb_rst_root *r = &k->roots[k->n_roots++];
    *r = (struct vb_rst_root){ .path = vb_msg_str(g, VB_F_PATH) };
    VB_AUTO_FREE char *target = vb_msg_str(g, VB_F_TARGET);
    r->filespec = vb_msg_str(g, VB_F_FILESPEC);
    r->source = vb_msg_str(g, VB_F_SOURCE);
    r->recursive = vb_msg_u64(g, VB_F_RECURSIVE, 0) != 0;
    if (!r->path)
        r->path = vb_strdup(target ? target : "");
    if (r->filespec && !r->filespec[0])
        vb_free_ptr(&r->filespec);
    if (!target || target[0] != '/')
        return vb_fail(err, VB_E_PROTOCOL, "component '%s' has a root without an absolute target", k->name);
    r->target = vb_path_clean(target);
    if (base && !vb_path_below(r->target, base)) /* the recorded paths come from the host that was backed up */
        return vb_fail(err, VB_E_GUARD, "'%s' is not inside '%s'", r->target, base);
    if (!vb_msg_bytes(g, VB_F_CHUNK_NAME, &p, &n) || n != VB_NAME_LEN)
        return vb_fail(err, VB_E_PROTOCOL, "component '%s' has a root without a name", k->name);
    memcpy(r->name.b, p, n);
    if (r->filespec && !vb_readset_filespec_valid(r->filespec))
        return vb_fail(err, VB_E_USAGE, "filespec '%s' of component '%s' has a directory part", r->filespec, k->name);
    return 0;
}

static int parse_component(struct vb_restore *r, const struct vb_msg *g, struct vb_error *err)
{
    VB_GROW(r->components, r->n, r->cap);
    struct vb_rst_component *k = &r->components[r->n++];
    *k = (struct vb_rst_component){ .class_id = vb_msg_str(g, VB_F_CLASS) };
    k->instance = vb_msg_str(g, VB_F_INSTANCE_NAME);
    k->writer = vb_msg_str(g, VB_F_WRITER);
    k->logical_path = vb_msg_str(g, VB_F_LOGICAL_PATH);
    k->name = vb_msg_str(g, VB_F_NAME);
    if (!k->name)
        return vb_fail(err, VB_E_PROTOCOL, "restore request has a component without a name");
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, g);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg sub = vb_msg_view(p, n);
        if (tag == VB_F_ROOT && parse_root(&sub, r->base, k, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_request(struct vb_restore *r, const struct vb_msg *m, int data_fd, struct vb_error *err)
{
    const unsigned char *key = NULL, *p;
    size_t n;
    struct rlimit files = { 1024, 1024 };
    if (vb_msg_has(m, VB_F_NAMING_KEY) && (!vb_msg_bytes(m, VB_F_NAMING_KEY, &key, &n) || n != VB_CHUNK_KEY_LEN))
        return vb_fail(err, VB_E_PROTOCOL, "naming key of the restore request has a wrong size");
    VB_AUTO_FREE char *base = vb_msg_str(m, VB_F_TARGET);
    if (base && base[0] != '/')
        return vb_fail(err, VB_E_PROTOCOL, "restore request has a base that is not absolute");
    r->base = base ? vb_path_clean(base) : NULL;
    if (r->base && !strcmp(r->base, "/"))
        vb_free_ptr(&r->base); /* nothing is outside of it */
    r->overwrite = vb_msg_u64(m, VB_F_OVERWRITE, 0) != 0;
    r->keep_owner = vb_msg_u64(m, VB_F_KEEP_OWNER, 0) != 0;
    r->resume = vb_msg_u64(m, VB_F_COUNT, 0) > 1;
    r->verify = vb_msg_u64(m, VB_F_VERIFY, 0) != 0;
    if (r->verify && !key)
        return vb_fail(err, VB_E_PROTOCOL, "restore request wants to be verified and has no naming key");
    r->is_root = geteuid() == 0;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        getrlimit(RLIMIT_NOFILE, &files);
    }
    r->max_links = files.rlim_cur > SPARE_DESCRIPTORS ? files.rlim_cur - SPARE_DESCRIPTORS : 0;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    r->in = vb_chunk_fetcher_new(data_fd, key, cpus > 4 ? 4 : (unsigned)cpus);
    r->namer = key ? vb_namer_new(key) : NULL;
    struct vb_field_iter it;
    uint16_t tag;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg sub = vb_msg_view(p, n);
        if (tag == VB_F_COMPONENT && parse_component(r, &sub, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the answer ---- */

static void add_root(struct vb_msg *to, const struct vb_rst_root *root)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, root->path);
    vb_msg_add_str(&g, VB_F_TARGET, root->target);
    vb_msg_add_u64(&g, VB_F_FILES, root->files);
    vb_msg_add_u64(&g, VB_F_DIRS, root->dirs);
    vb_msg_add_u64(&g, VB_F_BYTES, root->bytes);
    vb_msg_add_group(to, VB_F_ROOT, &g);
}

static bool omitted(const struct vb_rst_component *k)
{
    return k->devices_omitted || k->rights_lost;
}

/* all, none (nothing was touched) or failed (partly written). */
static enum vb_file_restore_status status_of(const struct vb_rst_component *k)
{
    if (k->error.code == VB_OK && !omitted(k))
        return VB_FILE_RESTORE_ALL;
    return k->touched ? VB_FILE_RESTORE_FAILED : VB_FILE_RESTORE_NONE;
}

/* What an ordinary user cannot have brought back (owners, and what follows from them) is told and no omission; what is
 * not there, or open to the wrong people, is one. */
static void add_omissions(struct vb_msg *g, const struct vb_rst_component *k)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (k->devices_omitted) {
        vb_fail(&e, VB_E_ACCESS_DENIED, "restored without %llu device nodes", (unsigned long long)k->devices_omitted);
        vb_hint(&e, "restore as root to bring device nodes back");
    } else {
        vb_fail(&e, VB_E_NOT_SUPPORTED, "restored, but %llu owners, modes, access lists or capabilities could not be set",
                (unsigned long long)k->rights_lost);
        vb_hint(&e, "see the warnings; restore to a file system that has them");
    }
    vb_msg_add_error(g, &e);
}

static void add_component(struct vb_msg *to, const struct vb_rst_component *k)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    uint64_t files = 0, dirs = 0, bytes = 0;
    vb_msg_add_str(&g, VB_F_CLASS, k->class_id);
    vb_msg_add_str(&g, VB_F_INSTANCE_NAME, k->instance);
    vb_msg_add_str(&g, VB_F_WRITER, k->writer);
    vb_msg_add_str(&g, VB_F_LOGICAL_PATH, k->logical_path);
    vb_msg_add_str(&g, VB_F_NAME, k->name);
    if (k->error.code == VB_OK && omitted(k))
        add_omissions(&g, k);
    else
        vb_msg_add_error(&g, &k->error);
    for (size_t i = 0; i < k->n_roots; i++) {
        files += k->roots[i].files;
        dirs += k->roots[i].dirs;
        bytes += k->roots[i].bytes;
    }
    vb_msg_add_u64(&g, VB_F_FILES, files);
    vb_msg_add_u64(&g, VB_F_DIRS, dirs);
    vb_msg_add_u64(&g, VB_F_BYTES, bytes);
    vb_msg_add_u64(&g, VB_F_WARNINGS, k->warnings);
    vb_msg_add_u64(&g, VB_F_COMPLETENESS, k->error.code != VB_OK ? VB_FAILED : omitted(k) ? VB_PARTIAL : VB_COMPLETE);
    vb_msg_add_u64(&g, VB_F_RESTORE_STATUS, status_of(k));
    if (k->verified)
        vb_msg_add_u64(&g, VB_F_VERIFY, k->verified);
    for (size_t i = 0; i < k->n_roots; i++)
        add_root(&g, &k->roots[i]);
    vb_msg_add_group(to, VB_F_COMPONENT, &g);
}

/* ---- the work ---- */

static bool gone(const struct vb_restore *r, const struct vb_error *why)
{
    return vb_chunk_fetcher_broken(r->in) || why->code == VB_E_CANCELLED;
}

static int tell_count(struct vb_restore *r, uint64_t n, enum vb_code code, const char *text, const char *hint,
                      struct vb_error *err)
{
    VB_AUTO_ERROR what = VB_ERROR_INIT;
    if (!n)
        return 0;
    vb_fail(&what, code, "%llu entries %s", (unsigned long long)n, text);
    if (hint)
        vb_hint(&what, "%s", hint);
    vb_buf_reset(&r->path);
    vb_buf_add_str(&r->path, r->cur->roots[0].target);
    return vb_rst_warn(r, NULL, &what, err);
}

/* One note each for what could not be done for many entries in the same way. */
static int tell_counts(struct vb_restore *r, struct vb_error *err)
{
    const struct vb_rst_component *k = r->cur;
    return tell_count(r, k->foreign, VB_E_ACCESS_DENIED, "belonged to others and were given to this user",
                      "Restore as root to bring owners back.", err) < 0 ||
                   tell_count(r, k->flags_lost, VB_E_NOT_SUPPORTED,
                              "had inode flags (chattr) or a project id that could not be set here", NULL, err) < 0 ||
                   tell_count(r, k->links_lost, VB_E_LIMIT,
                              "had hard links to others and became files of their own: too many open files are needed",
                              "Raise the limit of open files (ulimit -n, LimitNOFILE=).", err) < 0
               ? -1
               : 0;
}

/* -1 only when stream or worker is gone. */
static int restore_component(struct vb_restore *r, struct vb_rst_component *k, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    r->cur = k;
    if (vb_rst_check(r, &why) == 0 && vb_rst_write(r, &why) == 0 && tell_counts(r, &why) == 0 &&
        (!r->verify || vb_rst_verify(r, &why) == 0))
        return 0;
    if (gone(r, &why))
        return vb_error_move(err, &why);
    vb_chunk_fetcher_forget(r->in);
    vb_error_copy(&k->error, &why);
    return 0;
}

static int restore_all(struct vb_restore *r, struct vb_error *err)
{
    for (size_t i = 0; i < r->n; i++)
        if (restore_component(r, &r->components[i], err) < 0)
            return -1;
    return vb_rst_progress(r, true, err) < 0 ? -1 : vb_chunk_fetcher_finish(r->in, err);
}

static void restore_clear(struct vb_restore *r)
{
    for (size_t i = 0; i < r->n; i++)
        component_clear(&r->components[i]);
    vb_free_ptr(&r->components);
    vb_chunk_fetcher_free(r->in);
    vb_namer_free(r->namer);
    vb_rst_meta_clear(r);
    vb_buf_clear(&r->path);
    vb_free_ptr(&r->base);
}

int vb_restore_serve(int worker_fd, int data_fd, struct vb_error *err)
{
    VB_CLEANUP(restore_clear) struct vb_restore r = { .worker_fd = worker_fd };
    VB_AUTO_MSG request = VB_MSG_INIT(0);
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_MSG reply = VB_MSG_INIT(VB_M_REPLY);
    int rc = vb_msg_recv_fd(worker_fd, &in, &request, err);
    if (rc != 0)
        return rc < 0 ? -1 : vb_fail(err, VB_E_CANCELLED, "worker ended before it said what to restore");
    reply.id = request.id;
    mode_t mask = umask(0); /* modes are set as recorded; parents of a target are made with 0755 */
    if (request.type != VB_M_RESTORE_FILES)
        vb_fail(&why, VB_E_PROTOCOL, "restore was sent message %u", (unsigned)request.type);
    else if (parse_request(&r, &request, data_fd, &why) == 0)
        restore_all(&r, &why);
    umask(mask);
    vb_wipe(request.body.data, request.body.len);
    if (why.code != VB_OK)
        vb_msg_add_error(&reply, &why);
    else
        for (size_t i = 0; i < r.n; i++)
            add_component(&reply, &r.components[i]);
    if (vb_msg_send_fd(worker_fd, &reply, why.code == VB_OK ? err : NULL) < 0 && why.code == VB_OK)
        return -1;
    return why.code == VB_OK ? 0 : vb_error_move(err, &why);
}

int vb_restore_main(int argc VB_UNUSED, char **argv VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_heap_keep();
    signal(SIGPIPE, SIG_IGN);
    if (vb_restore_serve(VB_CHILD_SOCKET_FD, VB_CHILD_DATA_FD, &err) == 0)
        return VB_EXIT_DONE;
    vb_log_error(VB_LOG_ERROR, &err);
    return (int)vb_code_exit(err.code);
}
