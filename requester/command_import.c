/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup import: a tar archive, or a stream, as a backup.
 *
 * It counts only if whoever made it ended well: a command by its exit status, an archive by its end mark.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/process.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/kit.h"
#include "requester/tar_in.h"
#include "store/repository.h"

#define WRITER "9c1b7a52-3f64-4e0a-8d25-6b0f1f0a1e07" /* of all imports */

#define END_MS 5000 /* for a command to end whose archive is damaged */

struct import {
    struct vb_cli *cli;
    struct vb_repo *repo;
    const char *host, *path, *name, *stream;
    struct vb_tar_in_result got;
    char id[VB_GUID_LEN + 1];
    uint64_t added;
    pid_t pid; /* of the command; 0: none */
};

static uint64_t wall_ms(void)
{
    struct vb_loop *loop = vb_loop_new();
    uint64_t now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    return now;
}

/* ---- where it comes from ---- */

/* Words separated by blanks; no shell, no quotes. */
static int start_command(struct import *x, const char *command, struct vb_error *err)
{
    struct vb_strv words = { 0 };
    int pipes[2];
    for (const char *p = command; *p;) {
        size_t blank = strspn(p, " \t"), n = strcspn(p + blank, " \t");
        if (n)
            vb_strv_take(&words, vb_strndup(p + blank, n));
        p += blank + n;
    }
    const char **argv = vb_alloc_n(words.n + 1, sizeof *argv);
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.v[i];
    int fd = -1;
    if (words.n == 0) {
        vb_fail(err, VB_E_USAGE, "--from-command: is empty");
    } else if (pipe2(pipes, O_CLOEXEC) < 0) {
        vb_fail_errno(err, errno, "cannot make a pipe");
    } else {
        struct vb_spawn sp = VB_SPAWN_INIT;
        sp.argv = argv;
        sp.search = true;
        sp.stdout_fd = pipes[1];
        sp.die_with_parent = true;
        x->pid = vb_spawn(&sp, err);
        close(pipes[1]);
        fd = pipes[0];
        if (x->pid < 0) {
            x->pid = 0;
            vb_close_fd(&fd);
        }
    }
    free(argv);
    vb_strv_clear(&words);
    return fd;
}

static int open_input(struct import *x, struct vb_error *err)
{
    const char *command = vb_cli_opt(x->cli, "from-command"), *file = x->cli->argc ? x->cli->argv[0] : NULL;
    if (command && file)
        return vb_fail(err, VB_E_USAGE, "either a file or --from-command, not both");
    if (command)
        return start_command(x, command, err);
    if (file && strcmp(file, "-") != 0) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? vb_fail_errno(err, errno, "'%s'", file) : fd;
    }
    if (isatty(STDIN_FILENO)) {
        vb_fail(err, VB_E_USAGE, "an archive does not come from the terminal");
        vb_hint(err, "name a file, give --from-command, or a pipe: tar -c /etc | vbackup import");
        return -1;
    }
    if (x->stream) {
        vb_fail(err, VB_E_USAGE, "a stream on standard input does not tell whether it is whole");
        vb_hint(err, "let vbackup start what makes it: --from-command 'PROGRAM ARGUMENT...'; its exit status counts");
        return -1;
    }
    return dup(STDIN_FILENO);
}

/* Whether it ends by itself now that nobody reads what it prints. */
static bool ends_soon(pid_t pid)
{
    VB_AUTO_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return fd >= 0 && poll(&p, 1, END_MS) > 0;
}

/* damaged: it has printed what is none; it may say of itself why, and need not end. */
static int end_command(struct import *x, bool kill_it, bool damaged, struct vb_error *err)
{
    int status = 0;
    if (!x->pid)
        return 0;
    kill_it = kill_it || (damaged && !ends_soon(x->pid));
    if (kill_it)
        kill(x->pid, SIGKILL);
    while (waitpid(x->pid, &status, 0) < 0 && errno == EINTR)
        ;
    x->pid = 0;
    if (status == 0 || kill_it)
        return 0;
    VB_AUTO_FREE char *how = vb_wait_status_text(status);
    vb_fail(err, VB_E_CANCELLED, "the command that makes the archive has failed (%s): nothing was kept of it", how);
    return -1;
}

/* ---- the backup ---- */

static int commit(struct import *x, uint64_t began, struct vb_error *err)
{
    VB_AUTO_BUF kit = VB_BUF_INIT;
    struct vb_content content;
    const struct passwd *pw = getpwuid(geteuid());
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    e->started_ms = began;
    e->finished_ms = wall_ms();
    e->requester = vb_strdup(x->cli->settings.hosts->v[x->cli->settings.hosts->self].name);
    e->user = vb_strdup(pw ? pw->pw_name : NULL);
    e->program = vb_strdup("vbackup " PACKAGE_VERSION);
    e->job = vb_printf("import %s", x->name);
    e->files = x->got.files;
    e->bytes = x->got.bytes;
    struct vb_catalog_component *c = vb_catalog_add_component(vb_catalog_add_host(e, x->host));
    c->writer_class = vb_strdup(WRITER);
    c->writer_instance = vb_strdup(WRITER);
    c->instance_name = vb_strdup("import");
    c->writer_name = vb_strdup("import");
    c->name = vb_strdup(x->name);
    c->type = vb_strdup("filegroup");
    c->consistency = vb_strdup("none");
    c->backup_type = vb_strdup("full");
    c->is_explicit = true;
    c->files = x->got.files;
    c->bytes = x->got.bytes;
    struct vb_catalog_root *root = vb_catalog_add_root(c, x->path, "*", true);
    root->has_tree = true;
    root->tree = x->got.root;
    root->files = x->got.files;
    root->dirs = x->got.dirs;
    root->bytes = x->got.bytes;
    memset(&content, 0, sizeof content);
    vb_kit_make(&x->cli->settings, &kit);
    int rc = vb_repo_put_bytes(x->repo, VB_CHUNK_DOC, kit.data, kit.len, &content, err);
    if (rc == 0) {
        vb_catalog_add_document(e, VB_KIT_DOCUMENT, NULL, NULL, &content)->size = kit.len;
        rc = vb_repo_commit(x->repo, e, err);
    }
    memcpy(x->id, e->id, sizeof x->id);
    x->added = e->added_stored;
    vb_catalog_entry_free(e);
    return rc;
}

static int import(struct import *x, struct vb_error *err)
{
    uint64_t began = wall_ms();
    uint32_t group = 0;
    x->repo = vb_cli_open(x->cli, VB_REPO_WRITE, err);
    if (!x->repo || vb_repo_lock(x->repo, began, err) < 0 ||
        vb_repo_group(x->repo, vb_hosts_group(x->cli->settings.hosts, x->host), &group, err) < 0)
        return -1;
    VB_AUTO_FD int fd = open_input(x, err);
    struct vb_tar_in *t = fd >= 0 ? vb_tar_in_new(x->repo, group, err) : NULL;
    struct vb_cli_lease lease = { .repo = x->repo };
    int rc = t ? 0 : -1;
    if (t)
        vb_tar_in_on_chunk(t, vb_cli_lease_keep, &lease);
    if (rc == 0)
        rc = x->stream ? vb_tar_in_stream(t, fd, x->stream, began, err) : vb_tar_in_archive(t, fd, err);
    vb_close_fd(&fd);
    /* What the command says of itself tells more than an archive that was cut. */
    VB_AUTO_ERROR how = VB_ERROR_INIT;
    if (end_command(x, rc < 0 && err->code != VB_E_CORRUPT, rc < 0, &how) < 0)
        rc = vb_error_move(err, &how);
    if (rc == 0)
        rc = vb_tar_in_finish(t, &x->got, err);
    vb_tar_in_free(t);
    return rc == 0 ? commit(x, began, err) : -1;
}

static int check_options(struct import *x, struct vb_error *err)
{
    if (*x->path != '/')
        return vb_fail(err, VB_E_USAGE, "--path: '%s' is not absolute", x->path);
    if (!vb_host_text_valid(x->host))
        return vb_fail(err, VB_E_USAGE, "--host: '%s' is not a host name", x->host);
    if (!*x->name || !vb_utf8_valid(x->name, strlen(x->name)) || strpbrk(x->name, "\\/\n"))
        return vb_fail(err, VB_E_USAGE, "--name: '%s' is not a name for a component", x->name);
    return 0;
}

static int run_import(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_hosts *hosts = cli->settings.hosts;
    const char *host = vb_cli_opt(cli, "host"), *name = vb_cli_opt(cli, "name"), *path = vb_cli_opt(cli, "path");
    VB_AUTO_FREE char *clean = vb_path_clean(path ? path : "/");
    struct import x = { .cli = cli, .host = host ? host : hosts->v[hosts->self].name, .name = name ? name : "archive",
                        .path = clean, .stream = vb_cli_opt(cli, "stream") };
    int rc = check_options(&x, &err) < 0 ? -1 : import(&x, &err);
    vb_repo_close(x.repo);
    if (rc < 0)
        return vb_cli_fail(cli, &err);
    if (cli->json) {
        json_t *o = vb_cli_message("summary");
        json_object_set_new(o, "verb", json_string("import"));
        json_object_set_new(o, "backup", json_string(x.id));
        json_object_set_new(o, "files", json_integer((json_int_t)x.got.files));
        json_object_set_new(o, "bytes", json_integer((json_int_t)x.got.bytes));
        json_object_set_new(o, "added_stored", json_integer((json_int_t)x.added));
        vb_cli_json(o);
    } else if (!cli->quiet) {
        VB_AUTO_FREE char *size = vb_size_human(x.got.bytes), *added = vb_size_human(x.added);
        printf("backup %.8s: %llu files, %s imported, %s stored\n", x.id, (unsigned long long)x.got.files, size, added);
    }
    return VB_EXIT_DONE;
}

static const struct vb_opt import_opts[] = {
    { "from-command", 0, "COMMAND", "start this and take what it prints; it counts only if its exit status is 0" },
    { "stream", 0, "NAME", "it is no archive: all of it is one file of this name" },
    { "name", 0, "NAME", "name of the component (default: archive)" },
    { "host", 0, "HOST", "it belongs to this host (default: this machine)" },
    { "path", 0, "DIR", "where its names begin (default: /)" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_import = { "import", "[FILE]", "make a backup out of a tar archive or a stream", import_opts, 0, 1,
                                            run_import };
