/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/nginx/nginx.c - the configuration of a web server: saved with backups, and kept alike on many hosts.
 *
 * On a target the new configuration is built beside the old one, changed with it in one step, and tested by the server
 * itself; what it refuses is taken back.  Only then the running server is told.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/nginx/tree.h"

#define NAME "nginx writer"
#define CLASS_ID "8c9b4d0e-5a37-4d0b-9a5e-3f1d7c2ab601"
#define SWAP "swap" /* in the state directory: a change that is not finished */

struct nginx {
    struct vbw w;
    struct vbw_list roots; /* the configuration's directory, then those of certificates */
    struct vbw_list local;
    char **test, **reload;
    const char *pid, *words;
};

static int enter(struct nginx *x, struct vb_host *h)
{
    x->w.h = h;
    return 0;
}

/* ---- configuration ---- */

static char **command(const struct nginx *x, const char *key, const char *more)
{
    const char *own = x->w.svc->option(x->w.h, key);
    const char *base = x->w.svc->option(x->w.h, "command");
    VBW_AUTO char *usual = vbw_printf("%s -c '%s/nginx.conf'", vbw_exists("/usr/sbin/nginx") ? "/usr/sbin/nginx" : "nginx", x->roots.v[0]);
    VBW_AUTO char *text = own != NULL ? vbw_strdup(own) : vbw_printf("%s %s", base != NULL ? base : usual, more);

    return vbw_argv(text);
}

static int read_options(struct nginx *x)
{
    const char *root = x->w.svc->option(x->w.h, "root"), *pid = x->w.svc->option(x->w.h, "pid");

    vbw_list_take(&x->roots, vbw_clean(root != NULL ? root : "/etc/nginx"));
    vbw_list_option(&x->w, "certificates", &x->roots);
    vbw_list_option(&x->w, "local", &x->local);
    x->pid = pid != NULL ? pid : "/run/nginx.pid";
    x->words = x->w.svc->option(x->w.h, "substitutions");
    x->test = command(x, "test", "-t -q");
    x->reload = command(x, "reload", "-s reload");
    for (size_t i = 0; i < x->roots.n; i++)
        if (x->roots.v[i][0] != '/' || strcmp(x->roots.v[i], "/") == 0)
            return vbw_fail(&x->w, VB_E_CONFIG, "name an absolute directory", "'%s' cannot be a directory of the configuration", x->roots.v[i]);
    if (x->roots.n > NGX_MAX_ROOTS)
        return vbw_fail(&x->w, VB_E_CONFIG, NULL, "more than %u directories", NGX_MAX_ROOTS);
    if (x->test == NULL || x->test[0] == NULL || x->reload == NULL || x->reload[0] == NULL)
        return vbw_fail(&x->w, VB_E_CONFIG, "close the quotes", "a command of the section is broken");
    return 0;
}

/* ---- the state ---- */

static int own_tree(const struct nginx *x, struct ngx_tree *t)
{
    for (unsigned i = 0; i < x->roots.n; i++) {
        char *where = NULL;
        if (ngx_tree_read(t, i, x->roots.v[i], &x->local, &where) != 0) {
            int e = errno;
            VBW_AUTO char *shown = where;
            return vbw_fail_errno(&x->w, e, e == EFBIG ? "a configuration has no 256 MiB; leave out what is none with local =" : NULL,
                                  "'%s' cannot be read", shown != NULL ? shown : x->roots.v[i]);
        }
        free(where);
    }
    return 0;
}

static void digest_of(const struct ngx_tree *t, char out[VBW_DIGEST_LEN + 1])
{
    struct ngx_bytes b = { NULL, 0, 0 };

    ngx_tree_encode(t, &b);
    vbw_digest(b.p, b.n, out);
    free(b.p);
}

/* The words to exchange, and what they are as a whole. */
static int read_words(const struct nginx *x, struct ngx_words *words, char digest[VBW_DIGEST_LEN + 1])
{
    size_t n = 0;
    VBW_AUTO char *text = x->words != NULL ? vbw_read_file(x->words, 1 << 20, &n) : vbw_strdup("");

    *words = (struct ngx_words){ .used = NULL };
    if (text == NULL)
        return vbw_fail_errno(&x->w, errno, "make the file, or take substitutions = away", "'%s' cannot be read", x->words);
    unsigned bad = ngx_words_parse(words, text);
    if (bad != 0) {
        ngx_words_clear(words);
        return vbw_fail(&x->w, VB_E_CONFIG, "write FROM => TO, or begin a comment with #", "%s:%u: this is no substitution", x->words, bad);
    }
    vbw_digest(text, n, digest);
    return 0;
}

/* What this host is, as the others see it. */
static int own_signature(const struct nginx *x, const struct ngx_tree *t, char out[VBW_DIGEST_LEN + 1])
{
    char own[VBW_DIGEST_LEN + 1], settings[VBW_DIGEST_LEN + 1];
    struct ngx_words words;

    if (read_words(x, &words, settings) != 0)
        return -1;
    ngx_words_clear(&words);
    digest_of(t, own);
    vbw_carried_signature(x->w.svc->state_dir(x->w.h), own, settings, out);
    return 0;
}

static int give(const struct nginx *x, struct vb_sink *out, bool all)
{
    struct ngx_tree t = { .v = NULL };
    struct ngx_bytes b = { NULL, 0, 0 };
    char sum[VBW_DIGEST_LEN + 1];
    int rc = own_tree(x, &t) != 0 || own_signature(x, &t, sum) != 0 ? -1 : 0;

    if (rc == 0)
        rc = out->write(out, sum, VBW_DIGEST_LEN);
    if (rc == 0 && all) {
        ngx_tree_encode(&t, &b);
        rc = out->write(out, b.p, b.n);
    }
    free(b.p);
    ngx_tree_clear(&t);
    return rc;
}

static int signature(void *ctx, struct vb_host *h, struct vb_sink *out)
{
    return enter(ctx, h) != 0 ? -1 : give(ctx, out, false);
}

static int serialize(void *ctx, struct vb_host *h, struct vb_sink *out)
{
    return enter(ctx, h) != 0 ? -1 : give(ctx, out, true);
}

/* ---- the server ---- */

static int run(const struct nginx *x, char **argv, const char *what)
{
    VBW_AUTO char *said = NULL;
    uint64_t left = x->w.svc->deadline_ms(x->w.h);
    int status = vbw_run(argv, NULL, left < 60000 ? left : 60000, false, &said);

    if (status == 0)
        return 0;
    if (status == -1 || status == 127)
        return vbw_fail(&x->w, VB_E_PREREQUISITE, "is nginx installed? see command = in vbackup-writer-nginx(8)", "'%s' cannot be run", argv[0]);
    return vbw_fail(&x->w, VB_E_WRITER_NON_RETRYABLE, "nothing was changed; mend the configuration at the source, or the substitutions here",
                    "%s: %s", what, said != NULL && *said != '\0' ? said : "it failed without a word");
}

static bool is_running(const struct nginx *x)
{
    size_t n = 0;
    VBW_AUTO char *text = vbw_read_file(x->pid, 64, &n);
    long pid = text != NULL ? strtol(text, NULL, 10) : 0;

    return pid > 1 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static int reload(const struct nginx *x)
{
    if (!is_running(x)) {
        x->w.svc->log(x->w.h, VB_WLOG_INFO, "no server runs with '%s': nothing to reload", x->pid);
        return 0;
    }
    return run(x, x->reload, "the server does not reload");
}

/* ---- the change ---- */

static char *fresh_name(const char *root)
{
    return vbw_printf("%s.vbackup-new", root);
}

static char *swap_path(const struct nginx *x)
{
    return vbw_join(x->w.svc->state_dir(x->w.h), SWAP);
}

/* Old and new change places; where there was none, the new one moves in.  Both ways. */
static int exchange(const char *root, const char *fresh)
{
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, root, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno == ENOENT && vbw_exists(fresh))
        return rename(fresh, root);
    if (errno == ENOENT && vbw_exists(root)) /* back: there was none before */
        return rename(root, fresh);
    return -1;
}

static bool is_inode(const char *path, unsigned long long ino)
{
    struct stat st;

    return lstat(path, &st) == 0 && (unsigned long long)st.st_ino == ino;
}

/* A change that was cut short is taken back: what stands where is told by the inodes that were written down before. */
static int take_back(const struct nginx *x)
{
    VBW_AUTO char *path = swap_path(x);
    size_t n = 0;
    VBW_AUTO char *text = vbw_read_file(path, 1 << 16, &n);
    const char *at = text;
    int rc = 0;

    for (size_t i = 0; at != NULL && *at != '\0' && i < x->roots.n; i++) {
        VBW_AUTO char *fresh = fresh_name(x->roots.v[i]);
        unsigned long long ino = strtoull(at, NULL, 10);
        at += strcspn(at, "\n");
        at += *at == '\n';
        if (is_inode(x->roots.v[i], ino) && exchange(x->roots.v[i], fresh) != 0)
            rc = vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be put back", x->roots.v[i]);
    }
    for (size_t i = 0; rc == 0 && i < x->roots.n; i++) {
        VBW_AUTO char *fresh = fresh_name(x->roots.v[i]);
        if (ngx_remove(fresh) != 0)
            rc = vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be removed", fresh);
    }
    if (rc == 0 && unlink(path) != 0 && errno != ENOENT)
        rc = vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be removed", path);
    return rc;
}

static int build(const struct nginx *x, const struct ngx_tree *t)
{
    VBW_AUTO char *note = swap_path(x);
    struct ngx_bytes b = { NULL, 0, 0 };
    int rc = 0;

    for (unsigned i = 0; i < x->roots.n && rc == 0; i++) {
        VBW_AUTO char *fresh = fresh_name(x->roots.v[i]);
        VBW_AUTO char *where = NULL;
        struct stat st;
        if (ngx_tree_write(t, i, fresh, &where) != 0 || (vbw_free_ptr(&where), ngx_copy_local(x->roots.v[i], fresh, &x->local, &where)) != 0 ||
            stat(fresh, &st) != 0) {
            rc = vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be written", where != NULL ? where : fresh);
            break;
        }
        VBW_AUTO char *line = vbw_printf("%llu\n", (unsigned long long)st.st_ino);
        ngx_bytes_add(&b, line, strlen(line));
    }
    if (rc == 0 && vbw_write_file(note, b.p, b.n, 0600) != 0)
        rc = vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be written", note);
    free(b.p);
    return rc;
}

static int put_in_place(const struct nginx *x)
{
    for (size_t i = 0; i < x->roots.n; i++) {
        VBW_AUTO char *fresh = fresh_name(x->roots.v[i]);
        if (exchange(x->roots.v[i], fresh) != 0)
            return vbw_fail_errno(&x->w, errno, "it must lie on one file system with the directory above it, which must be writable",
                                  "'%s' cannot be exchanged", x->roots.v[i]);
    }
    return 0;
}

/* The configuration before this one stays beside it, once. */
static int keep_previous(const struct nginx *x)
{
    for (size_t i = 0; i < x->roots.n; i++) {
        VBW_AUTO char *fresh = fresh_name(x->roots.v[i]);
        VBW_AUTO char *old = vbw_printf("%s.vbackup-previous", x->roots.v[i]);
        VBW_AUTO char *dir = vbw_dirname(x->roots.v[i]);
        if (!vbw_exists(fresh))
            continue;
        if (ngx_remove(old) != 0 || rename(fresh, old) != 0 || vbw_fsync_dir(dir) != 0)
            return vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be kept as '%s'", x->roots.v[i], old);
    }
    return 0;
}

static int change(const struct nginx *x, const struct ngx_tree *t)
{
    if (take_back(x) != 0)
        return -1;
    int rc = build(x, t) != 0 || put_in_place(x) != 0 || run(x, x->test, "the server refuses the configuration") != 0 ? -1 : 0;
    bool tested = rc == 0;
    if (rc == 0)
        rc = reload(x);
    if (rc == 0) {
        VBW_AUTO char *note = swap_path(x);
        if (unlink(note) == 0) /* from here on the new one stays */
            return keep_previous(x);
        rc = vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be removed", note);
    }
    /* The reason that is told is the first one. */
    struct nginx quiet = *x;
    if (take_back(&quiet) == 0 && tested && is_running(x))
        (void)vbw_run(x->reload, NULL, 60000, false, NULL);
    return rc;
}

static void warn_unused(const struct nginx *x, const struct ngx_words *w)
{
    for (size_t i = 0; i < w->from.n; i++)
        if (!w->used[i])
            x->w.svc->log(x->w.h, VB_WLOG_WARNING, "%s: '%s' stands nowhere in the configuration that came", x->words, w->from.v[i]);
}

static int take(struct nginx *x, struct ngx_bytes *b)
{
    struct ngx_tree t = { .v = NULL }, now = { .v = NULL };
    struct ngx_words words;
    char source[VBW_DIGEST_LEN + 1] = "", settings[VBW_DIGEST_LEN + 1], own[VBW_DIGEST_LEN + 1];
    const char *wrong = b->n < VBW_DIGEST_LEN ? "it is cut" : ngx_tree_decode(&t, b->p + VBW_DIGEST_LEN, b->n - VBW_DIGEST_LEN);
    int rc = 0;

    if (wrong == NULL && t.roots != x->roots.n)
        rc = vbw_fail(&x->w, VB_E_CONFIG, "name the same directories with certificates = on both hosts, in the same order",
                      "the source has %u directories, this host has %zu", t.roots, x->roots.n);
    else if (wrong != NULL)
        rc = vbw_fail(&x->w, VB_E_CORRUPT, NULL, "what came cannot be used: %s", wrong);
    if (rc == 0 && (rc = read_words(x, &words, settings)) == 0) {
        memcpy(source, b->p, VBW_DIGEST_LEN);
        ngx_tree_exchange(&t, &words);
        rc = change(x, &t);
        if (rc == 0)
            warn_unused(x, &words);
        ngx_words_clear(&words);
    }
    if (rc == 0 && (rc = own_tree(x, &now)) == 0) {
        digest_of(&now, own);
        if (vbw_carried_remember(x->w.svc->state_dir(x->w.h), own, settings, source) != 0)
            rc = vbw_fail_errno(&x->w, errno, NULL, "the state cannot be remembered");
    }
    ngx_tree_clear(&t);
    ngx_tree_clear(&now);
    return rc;
}

static int deserialize(void *ctx, struct vb_host *h, struct vb_payload *in)
{
    struct nginx *x = ctx;
    struct ngx_bytes b = { NULL, 0, 0 };
    VBW_AUTO char *piece = vbw_alloc(65536, 1);
    long k;

    enter(x, h);
    while ((k = in->read(in, piece, 65536)) > 0) {
        ngx_bytes_add(&b, piece, (size_t)k);
        if (b.n > NGX_MAX_BYTES + (64u << 20)) {
            k = vbw_fail(&x->w, VB_E_LIMIT, NULL, "what came is larger than a configuration may be");
            break;
        }
    }
    int rc = k < 0 ? -1 : take(x, &b);
    free(b.p);
    return rc;
}

/* ---- backup and restore ---- */

static int identify(void *ctx, struct vb_host *h)
{
    struct nginx *x = ctx;
    const struct vb_component_spec c = { .size = sizeof c, .type = VB_COMPONENT_FILEGROUP, .name = "configuration",
                                         .caption = "web server configuration", .selectable = 1 };

    enter(x, h);
    if (x->w.svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0 || x->w.svc->add_component(h, &c) != 0)
        return -1;
    for (size_t i = 0; i < x->roots.n; i++) {
        const struct vb_fileset_spec fs = { .size = sizeof fs, .kind = VB_FILES_GROUP, .path = x->roots.v[i], .filespec = "*", .recursive = 1 };
        if (x->w.svc->add_files(h, NULL, "configuration", &fs) != 0)
            return -1;
    }
    return 0;
}

static int nothing(void *ctx, struct vb_host *h)
{
    (void)ctx;
    (void)h;
    return 0;
}

/* What was put back is tested, and taken up by a server that runs. */
static int post_restore(void *ctx, struct vb_host *h)
{
    struct nginx *x = ctx;

    enter(x, h);
    if (x->w.svc->record_count(h) == 0 || x->w.svc->record_restore_status(x->w.svc->record(h, 0)) != VB_FILE_RESTORE_ALL ||
        x->w.svc->record_restored_to(x->w.svc->record(h, 0), x->roots.v[0]) == NULL ||
        strcmp(x->w.svc->record_restored_to(x->w.svc->record(h, 0), x->roots.v[0]), x->roots.v[0]) != 0)
        return 0;
    return run(x, x->test, "the server refuses the configuration") != 0 ? -1 : reload(x);
}

static int nginx_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct nginx *x = vbw_alloc(1, sizeof *x);

    x->w.svc = svc;
    x->w.h = h;
    *ctx = x;
    return read_options(x) != 0 ? -1 : take_back(x);
}

static void nginx_close(void *ctx)
{
    struct nginx *x = ctx;

    vbw_list_clear(&x->roots);
    vbw_list_clear(&x->local);
    vbw_argv_free(x->test);
    vbw_argv_free(x->reload);
    free(x);
}

static const char *const OPTIONS[] = { "root", "certificates", "local", "substitutions", "command", "test", "reload", "pid", NULL };

static const struct vb_replication REPLICATION = {
    .size = sizeof REPLICATION,
    .flags = VB_REPLICATION_SECRET, /* private keys */
    .signature = signature,
    .serialize = serialize,
    .deserialize = deserialize,
};

static const struct vb_writer WRITER = {
    .size = sizeof WRITER,
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = CLASS_ID,
    .name = NAME,
    .version = "1.0",
    .usage = VB_USAGE_SYSTEM_SERVICE,
    .source = VB_SOURCE_OTHER,
    .options = OPTIONS,
    .open = nginx_open,
    .close = nginx_close,
    .identify = identify,
    .freeze = nothing,
    .thaw = nothing,
    .abort = nothing,
    .post_restore = post_restore,
    .replication = &REPLICATION,
};

VB_REGISTER_WRITER(WRITER)
