/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/host.c - see host.h.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/io.h"
#include "base/text.h"
#include "tests/contract/host.h"
#include "wire/conn.h"
#include "wire/protocol.h"

static char *scratch;

const char *host_dir(void)
{
    if (scratch == NULL) {
        scratch = vb_strdup("/tmp/vbackup-contract.XXXXXX");
        if (mkdtemp(scratch) == NULL || chmod(scratch, 0711) != 0)
            abort();
    }
    return scratch;
}

char *host_path(const char *name)
{
    return vb_path_join(host_dir(), name);
}

void host_cleanup(void)
{
    if (scratch != NULL && getenv("KEEP") == NULL)
        vb_remove_tree_at(AT_FDCWD, scratch, NULL);
    vb_free_ptr(&scratch);
}

void host_init(struct host *h)
{
    memset(h, 0, sizeof *h);
    h->fd = -1;
    h->next_id = 1;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static void child(const struct host *h, int sock, const char *section, const char *module, const char *config)
{
    VB_AUTO_FREE char *state = host_path("state");
    VB_AUTO_FREE char *program = vb_printf("%s/test-writer-host", getenv("abs_top_builddir"));
    char *argv[] = { program, (char[]){ "--config" },     (char *)(uintptr_t)config, (char[]){ "--state-dir" },
                     state,   (char *)(uintptr_t)section, (char *)(uintptr_t)module, NULL };

    if (dup2(sock, 3) < 0)
        _exit(120);
    if (sock != 3)
        close(sock);
    fcntl(3, F_SETFD, 0);
    if (h->user != NULL) {
        const struct passwd *pw = getpwnam(h->user);
        if (pw == NULL || initgroups(h->user, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0)
            _exit(121);
    }
    execv(program, argv);
    _exit(122);
}

int host_start(struct host *h, const char *section, const char *module, const char *config)
{
    int sv[2];
    VB_AUTO_FREE char *state = host_path("state");
    VB_AUTO_FREE char *path = host_path("vbackup.conf");
    VB_AUTO_BUF text = VB_BUF_INIT;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) != 0)
        abort();
    mkdir(state, 0755);
    if (h->user != NULL) {
        const struct passwd *pw = getpwnam(h->user);
        if (pw == NULL || chown(state, pw->pw_uid, pw->pw_gid) != 0)
            abort();
    }
    vb_buf_add_str(&text, config);
    if (vb_write_file_at(AT_FDCWD, path, text.data, text.len, 0644, &h->error) != 0)
        return -1;
    h->pid = fork();
    if (h->pid == 0) {
        close(sv[0]);
        child(h, sv[1], section, module, path);
    }
    close(sv[1]);
    h->fd = sv[0];
    h->lost = false;
    vb_msg_clear(&h->ready);
    vb_buf_clear(&h->in);
    vb_error_clear(&h->error);
    for (;;) {
        struct vb_msg m = VB_MSG_INIT(0);
        int rc = vb_msg_recv_fd(h->fd, &h->in, &m, &h->error);
        if (rc != 0) {
            h->lost = true;
            return rc < 0 ? -1 : vb_fail(&h->error, VB_E_CONNECTION_LOST, "the host ended before it was ready");
        }
        if (m.type == VB_M_W_READY) {
            h->ready = m;
            return vb_msg_error(&h->ready, &h->error);
        }
        if (m.type == VB_M_W_LOG)
            vb_strv_take(&h->logs, vb_msg_str(&m, VB_F_TEXT));
        vb_msg_clear(&m);
    }
}

static void add_set(struct host *h, enum vb_event ev, struct vb_msg *m)
{
    if (ev == VB_EV_PREPARE_SNAPSHOT || ev == VB_EV_POST_SNAPSHOT) {
        for (size_t i = 0; i < h->volumes.n; i++)
            vb_msg_add_str(m, VB_F_VOLUME, h->volumes.v[i]);
        vb_msg_add_u64(m, VB_F_ATOMIC, h->atomic);
    }
    for (size_t i = 0; ev == VB_EV_POST_SNAPSHOT && i < h->map_from.n; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_PATH, h->map_from.v[i]);
        vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, h->map_to.v[i]);
        vb_msg_add_group(m, VB_F_PATH_MAP, &g);
    }
}

void host_send(struct host *h, enum vb_event ev)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_EVENT);

    m.id = h->next_id++;
    vb_msg_add_u64(&m, VB_F_EVENT, (uint64_t)ev);
    vb_msg_add_u64(&m, VB_F_DEADLINE_MS, h->deadline_ms > 0 ? h->deadline_ms : 120000);
    if (h->owed)
        vb_msg_add_u64(&m, VB_F_OWED, 1);
    if (ev != VB_EV_IDENTIFY) {
        vb_msg_add_str(&m, VB_F_SESSION, "5e551000-0000-4000-8000-000000000001");
        if (ev >= VB_EV_PREPARE_SNAPSHOT && ev <= VB_EV_BACKUP_SHUTDOWN)
            vb_msg_add_str(&m, VB_F_SET, "5e700000-0000-4000-8000-000000000001");
        add_set(h, ev, &m);
        if (h->doc != NULL && ev != VB_EV_FREEZE && ev != VB_EV_THAW) {
            VB_AUTO_BUF xml = VB_BUF_INIT;
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            if (vb_writer_components_write(h->doc, &h->doc->writers[0], &xml, &err) != 0) {
                fprintf(stderr, "# %s\n", vb_error_text(&err));
                abort();
            }
            vb_msg_add(&m, VB_F_BCD, xml.data, xml.len);
        }
    }
    vb_msg_send_fd(h->fd, &m, NULL);
}

static int take_done(struct host *h, const struct vb_msg *m)
{
    const unsigned char *p;
    size_t n;

    if (vb_msg_bytes(m, VB_F_WMD, &p, &n)) {
        vb_wm_free(h->wmd);
        h->wmd = vb_wm_read("answer", p, n, &h->error);
        if (h->wmd == NULL)
            return -1;
    }
    if (vb_msg_bytes(m, VB_F_BCD, &p, &n)) {
        struct vb_components *doc = vb_writer_components_read(p, n, &h->error);
        if (doc == NULL)
            return -1;
        vb_components_free(h->doc);
        h->doc = doc;
    }
    h->consistency = (enum vb_consistency)vb_msg_u64(m, VB_F_CONSISTENCY, VB_CONSISTENCY_UNKNOWN);
    return vb_msg_error(m, &h->error);
}

int host_answer(struct host *h)
{
    vb_error_clear(&h->error);
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int rc = vb_msg_recv_fd(h->fd, &h->in, &m, &h->error);
        if (rc != 0) {
            h->lost = true;
            return rc < 0 ? -1 : vb_fail(&h->error, VB_E_CONNECTION_LOST, "the host ended");
        }
        if (m.type == VB_M_W_LOG)
            vb_strv_take(&h->logs, vb_msg_str(&m, VB_F_TEXT));
        if (m.type == VB_M_W_DONE && m.id == h->next_id - 1)
            return take_done(h, &m);
    }
}

int host_event(struct host *h, enum vb_event ev)
{
    host_send(h, ev);
    return host_answer(h);
}

static bool wanted(const struct vb_writer_metadata *m, const struct vb_wm_component *c, const char *const *names)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        if (strcmp(names[i], c->name) == 0)
            return true;
    if (names != NULL)
        return false;
    for (size_t i = 0; i < m->n_components; i++) {
        VB_AUTO_FREE char *full = vb_full_path(m->components[i].logical_path, m->components[i].name);
        if (m->components[i].selectable && vb_is_ancestor(full, c->logical_path))
            return false;
    }
    return true;
}

int host_choose(struct host *h, bool restore, const char *const *names)
{
    if (host_event(h, VB_EV_IDENTIFY) != 0)
        return -1;
    vb_components_free(h->doc);
    h->doc = vb_components_new("localhost");
    h->doc->restore = restore;
    h->doc->select_components = true;
    h->doc->backup_type = VB_BACKUP_FULL;
    h->doc->session_id = vb_strdup("5e551000-0000-4000-8000-000000000001");
    struct vb_writer_components *w =
        vb_components_writer(h->doc, h->wmd->writer_id, h->wmd->instance_id, h->wmd->instance_name, h->wmd->name);
    for (size_t i = 0; i < h->wmd->n_components; i++) {
        const struct vb_wm_component *c = &h->wmd->components[i];
        if (wanted(h->wmd, c, names) && vb_components_add(w, c->type, c->logical_path, c->name, &h->error) == NULL)
            return -1;
    }
    return 0;
}

int host_close(struct host *h, uint64_t limit_ms)
{
    uint64_t until = now_ms() + limit_ms;
    pid_t got = 0;

    vb_close_fd(&h->fd);
    if (h->pid <= 0)
        return h->status;
    while ((got = waitpid(h->pid, &h->status, WNOHANG)) == 0 && now_ms() < until)
        poll(NULL, 0, 5);
    if (got == 0) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, &h->status, 0);
        h->pid = 0;
        return -1;
    }
    h->pid = 0;
    return h->status;
}

int host_quit(struct host *h)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_QUIT);
    char c;

    if (h->fd >= 0) {
        vb_msg_send_fd(h->fd, &m, NULL);
        while (read(h->fd, &c, 1) > 0)
            ;
    }
    return host_close(h, 10000);
}

void host_clear(struct host *h)
{
    host_close(h, 10000);
    vb_buf_clear(&h->in);
    vb_strv_clear(&h->logs);
    vb_strv_clear(&h->volumes);
    vb_strv_clear(&h->map_from);
    vb_strv_clear(&h->map_to);
    vb_msg_clear(&h->ready);
    vb_error_clear(&h->error);
    vb_components_free(h->doc);
    vb_wm_free(h->wmd);
    host_init(h);
}

int host_backup(struct host *h)
{
    static const enum vb_event order[] = { VB_EV_PREPARE_BACKUP, VB_EV_PREPARE_SNAPSHOT, VB_EV_FREEZE, VB_EV_THAW,
                                           VB_EV_POST_SNAPSHOT };

    for (size_t i = 0; i < VB_COUNT(order); i++)
        if (host_event(h, order[i]) != 0)
            return -1;
    for (size_t i = 0; h->doc != NULL && i < h->doc->writers[0].n_components; i++)
        h->doc->writers[0].components[i].backup_succeeded_set = h->doc->writers[0].components[i].backup_succeeded =
            true;
    return host_event(h, VB_EV_BACKUP_COMPLETE);
}

bool host_logged(const struct host *h, const char *part)
{
    for (size_t i = 0; i < h->logs.n; i++)
        if (h->logs.v[i] != NULL && strstr(h->logs.v[i], part) != NULL)
            return true;
    return false;
}

struct vb_component *host_record(struct host *h, const char *name)
{
    struct vb_writer_components *w = h->doc != NULL && h->doc->n_writers > 0 ? &h->doc->writers[0] : NULL;

    for (size_t i = 0; w != NULL && i < w->n_components; i++)
        if (strcmp(w->components[i].name, name) == 0)
            return &w->components[i];
    return NULL;
}
