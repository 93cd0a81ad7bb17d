/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup bundle create, verify, apply, ack: replication without a connection. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/bundle.h"
#include "replica/bundle_writers.h"
#include "replica/scan.h"
#include "requester/replica_peer.h"

static void warn(void *arg, const struct vb_error *what)
{
    const struct vb_cli *cli = arg;
    if (!cli->quiet)
        fprintf(stderr, "vbackup: %s\n", vb_error_text(what));
}

static int open_scanned(struct vb_cli *cli, const char *name, struct vb_place **out, struct vb_error *err)
{
    const struct vb_place_setup setup = vb_replica_setup(cli);
    const struct vb_scan_options so = { .tell = warn, .arg = cli };
    struct vb_scan_result scan;
    return vb_place_open(&setup, name, out, err) < 0 ? -1 : vb_scan(*out, &so, &scan, err);
}

/* ---- the writers of the scope ---- */

struct writers {
    struct vb_bundle_writers w;
    char *dir;
};

static int writers_open(struct vb_cli *cli, struct vb_place *p, struct writers *x, struct vb_pass_options *o, struct vb_error *err)
{
    x->dir = vb_printf("%s/replica", cli->settings.state_dir);
    x->w.dir = x->dir;
    if (vb_place_writers(p, &x->w.names, &x->w.limit_ms, err) < 0)
        return -1;
    x->w.hosts = vb_ext_hosts_new(NULL, cli->settings.state_dir, &x->w.names);
    o->writers = &x->w;
    return 0;
}

static void writers_clear(struct writers *x)
{
    vb_ext_hosts_free(x->w.hosts);
    vb_strv_clear(&x->w.names);
    vb_free_ptr(&x->dir);
}

/* A file gets its name when it is whole and on the disk (DSN-34); "-" is standard output. */
struct target {
    int fd;
    char *temporary;
    const char *path;
};

static int target_open(struct target *t, const char *path, struct vb_error *err)
{
    t->path = path;
    t->temporary = NULL;
    if (!strcmp(path, "-")) {
        t->fd = STDOUT_FILENO;
        return 0;
    }
    t->temporary = vb_printf("%s.part-%ld", path, (long)getpid());
    t->fd = open(t->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return t->fd >= 0 ? 0 : vb_fail_errno(err, errno, "'%s' cannot be made", t->temporary);
}

static int target_close(struct target *t, bool good, struct vb_error *err)
{
    int result = good ? 0 : -1;
    if (!t->temporary)
        return result;
    if (good && (fsync(t->fd) < 0 || rename(t->temporary, t->path) < 0))
        result = vb_fail_errno(err, errno, "'%s' cannot be finished", t->path);
    if (t->fd >= 0)
        close(t->fd);
    if (result < 0)
        unlink(t->temporary);
    vb_free_ptr(&t->temporary);
    return result;
}

static int run_create(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r = { 0 };
    struct target t = { .fd = -1 };
    VB_CLEANUP(writers_clear) struct writers writers = { .dir = NULL };
    struct vb_place *opened = NULL;
    uint64_t number = 0;
    const char *series = vb_cli_opt(cli, "series"), *since = vb_cli_opt(cli, "since");
    enum vb_bundle_since from = !since || !strcmp(since, "sent") ? VB_SINCE_SENT
                                : !strcmp(since, "acked") ? VB_SINCE_ACKED
                                : !strcmp(since, "nothing") ? VB_SINCE_NOTHING : (enum vb_bundle_since)0;
    series = series ? series : "any";
    o.warn = warn;
    o.arg = cli;
    if (!from)
        vb_fail(&err, VB_E_USAGE, "--since: '%s' is none of sent, acked, nothing", since);
    else if (!vb_scope_name_valid(series))
        vb_fail(&err, VB_E_USAGE, "--series: '%s' is not a name", series);
    int result = err.code != VB_OK || open_scanned(cli, cli->argv[0], &opened, &err) < 0 ? -1 : 0;
    VB_AUTO_PLACE *p = opened;
    writers.w.series = series;
    if (result == 0)
        result = writers_open(cli, p, &writers, &o, &err);
    if (result == 0 && (result = target_open(&t, cli->argv[1], &err)) == 0) {
        result = vb_bundle_write(p, t.fd, from, series, &o, &r, &number, &err);
        result = target_close(&t, result == 0, &err);
        if (result == 0)
            result = vb_bundle_sent(p, series, number, &err);
    }
    vb_free_ptr(&t.temporary);
    if (result < 0)
        return vb_cli_fail(cli, &err);
    return r.failed ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}

/* ---- read ---- */

/* What is not a file is kept in one first: it is read twice. */
static int source_open(const char *path, struct vb_error *err)
{
    VB_AUTO_FD int in = strcmp(path, "-") != 0 ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (in < 0)
        return vb_fail_errno(err, errno, "bundle '%s'", path);
    if (lseek(in, 0, SEEK_SET) == 0)
        return VB_STEAL_FD(in);
    const char *tmp = getenv("TMPDIR");
    VB_AUTO_FD int out = open(tmp ? tmp : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (out < 0)
        return vb_fail_errno(err, errno, "a temporary file in '%s'", tmp ? tmp : "/var/tmp");
    VB_AUTO_FREE char *b = vb_alloc(1u << 16);
    for (ssize_t n; (n = read(in, b, 1u << 16)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(err, errno, "bundle '%s'", path);
        if (vb_write_all(out, b, (size_t)n, err) < 0)
            return -1;
    }
    return lseek(out, 0, SEEK_SET) == 0 ? VB_STEAL_FD(out) : vb_fail_errno(err, errno, "a temporary file");
}

static int run_verify(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_bundle_info info;
    VB_AUTO_FD int fd = source_open(cli->argv[0], &err);
    if (fd < 0 || vb_bundle_verify(fd, &info, &err) < 0)
        return vb_cli_fail(cli, &err);
    if (cli->json) {
        json_t *o = vb_cli_message("bundle");
        json_object_set_new(o, "scope", json_string(info.guid));
        json_object_set_new(o, "number", json_integer((json_int_t)info.number));
        json_object_set_new(o, "acknowledgement", json_boolean(info.ack));
        json_object_set_new(o, "rows", json_integer((json_int_t)info.rows));
        json_object_set_new(o, "deletions", json_integer((json_int_t)info.tombstones));
        json_object_set_new(o, "bytes", json_integer((json_int_t)info.bytes));
        vb_cli_json(o);
    } else {
        printf("whole: %s of scope %s, number %llu, %llu items, %llu of them deleted\n", info.ack ? "acknowledgement" : "bundle",
               info.guid, (unsigned long long)info.number, (unsigned long long)info.rows, (unsigned long long)info.tombstones);
    }
    return VB_EXIT_DONE;
}

struct apply {
    struct vb_cli *cli;
    struct vb_place *p;
    struct vb_pass_options o;
};

static int apply_one(struct apply *a, const char *path, enum vb_exit *status, struct vb_error *err)
{
    struct vb_pass_result r;
    VB_AUTO_FD int fd = source_open(path, err);
    if (fd < 0 || vb_bundle_apply(a->p, fd, &a->o, &r, err) < 0)
        return -1;
    if (!a->cli->quiet && !a->cli->json)
        printf("%s: %s\n", path, vb_pass_quiet(&r) ? "already applied, or nothing to do" : "applied");
    *status = vb_exit_worse(*status, r.failed ? VB_EXIT_PARTIAL : r.deferred ? VB_EXIT_CONFLICTS : VB_EXIT_DONE);
    return 0;
}

/* All of a directory, in whatever order they fit (DSN-32): again and again, until nothing more fits. */
static int apply_directory(struct apply *a, const char *dir, enum vb_exit *status, struct vb_error *err)
{
    struct vb_strv left = { NULL, 0, 0 };
    VB_AUTO_DIR DIR *d = opendir(dir);
    VB_AUTO_ERROR last = VB_ERROR_INIT;
    int result = d ? 0 : vb_fail_errno(err, errno, "'%s'", dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        VB_AUTO_FREE char *path = vb_path_join(dir, e->d_name);
        struct stat st;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            vb_strv_add(&left, path);
    }
    vb_strv_sort(&left);
    for (bool more = true; more && result == 0;) {
        more = false;
        for (size_t i = 0; i < left.n && result == 0; i++) {
            if (!left.v[i][0])
                continue;
            vb_error_clear(&last);
            if (apply_one(a, left.v[i], status, &last) == 0) {
                left.v[i][0] = 0;
                more = true;
            } else if (last.code != VB_E_PREREQUISITE) {
                vb_context(&last, "'%s'", left.v[i]);
                result = vb_error_move(err, &last);
            }
        }
    }
    size_t n = 0;
    for (size_t i = 0; i < left.n; i++)
        n += left.v[i][0] != 0;
    if (result == 0 && n)
        result = vb_error_move(err, &last);
    vb_strv_clear(&left);
    return result;
}

static int run_apply(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct apply a = { .cli = cli, .o = VB_PASS_OPTIONS_INIT };
    VB_CLEANUP(writers_clear) struct writers writers = { .dir = NULL };
    struct vb_place *opened = NULL;
    struct stat st;
    enum vb_exit status = VB_EXIT_DONE;
    const char *allow = vb_cli_opt(cli, "allow-deletes"), *from = cli->argv[1];
    a.o.warn = warn;
    a.o.arg = cli;
    a.o.dry_run = vb_cli_flag(cli, "dry-run");
    if (allow && !strcmp(allow, "all"))
        a.o.allow_deletes = VB_DELETES_ALL;
    else if (allow && !vb_parse_u64(allow, &a.o.allow_deletes))
        vb_fail(&err, VB_E_USAGE, "--allow-deletes: '%s' is neither a number nor all", allow);
    int result = err.code != VB_OK || open_scanned(cli, cli->argv[0], &opened, &err) < 0 ? -1 : 0;
    VB_AUTO_PLACE *p = opened;
    a.p = p;
    writers.w.skip_missing = vb_cli_flag(cli, "skip-missing-writers");
    if (result == 0)
        result = writers_open(cli, p, &writers, &a.o, &err);
    if (result == 0)
        result = strcmp(from, "-") != 0 && stat(from, &st) == 0 && S_ISDIR(st.st_mode) ? apply_directory(&a, from, &status, &err)
                                                                                      : apply_one(&a, from, &status, &err);
    return result < 0 ? vb_cli_fail(cli, &err) : (int)status;
}

static int run_ack(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_place_setup setup = vb_replica_setup(cli);
    struct target t = { .fd = -1 };
    struct vb_place *opened = NULL;
    int result = vb_place_open(&setup, cli->argv[0], &opened, &err);
    VB_AUTO_PLACE *p = opened;
    if (result == 0 && (result = target_open(&t, cli->argv[1], &err)) == 0) {
        result = vb_bundle_ack(p, t.fd, &err);
        result = target_close(&t, result == 0, &err);
    }
    vb_free_ptr(&t.temporary);
    return result < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt no_opts[] = { { NULL, 0, NULL, NULL } };
static const struct vb_opt create_opts[] = {
    { "since", 0, "sent|acked|nothing", "hold what came after the last bundle, the last acknowledgement, or everything" },
    { "series", 0, "NAME", "a series of its own for each receiver; default: any" },
    { NULL, 0, NULL, NULL }
};
static const struct vb_opt apply_opts[] = {
    { "skip-missing-writers", 0, NULL, "leave out writers of the bundle that are not here" },
    { "allow-deletes", 0, "N|all", "let this many deletions pass the guard" },
    { "dry-run", 'n', NULL, "decide, and touch nothing" },
    { NULL, 0, NULL, NULL }
};

const struct vb_cli_verb vb_verb_bundle_create = { "bundle create", "NAME FILE", "write a scope's changes to a file, or '-'", create_opts, 2, 2,
                                                   run_create };
const struct vb_cli_verb vb_verb_bundle_verify = { "bundle verify", "FILE", "check that a bundle is whole", no_opts, 1, 1, run_verify };
const struct vb_cli_verb vb_verb_bundle_apply = { "bundle apply", "NAME FILE", "apply a bundle, all of a directory, or '-'", apply_opts, 2, 2,
                                                  run_apply };
const struct vb_cli_verb vb_verb_bundle_ack = { "bundle ack", "NAME FILE", "write what this side knows, for the other to apply", no_opts, 2, 2,
                                                run_ack };
