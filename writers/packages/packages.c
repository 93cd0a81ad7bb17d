/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/packages/packages.c - which packages a Debian system has: saved with backups, and shown, or made alike, on others.
 *
 * What travels is a list: "package NAME ARCHITECTURE manual|auto" for each one that is installed, sorted.  A target compares it
 * with its own, writes what it lacks into a file, and installs it only where its own configuration says so.  It never removes
 * a package.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "writers/support/digest.h"
#include "writers/support/support.h"

#define NAME "packages writer"
#define CLASS_ID "c5a2f3d4-7e1b-4c58-8f0e-6b9d2a4e7702"
#define LIST_MAX (16u << 20)
#define MISSING "missing"

struct packages {
    struct vbw w;
    const char *query, *mark, *get, *automatic;
    bool install, manual_only;
};

/* ---- lists ---- */

static bool word_good(const char *s)
{
    return *s != '\0' && *s != '-' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == strlen(s);
}

/* The lines of a text, cut in place. */
static void lines_of(char *text, struct vbw_list *l)
{
    for (char *at = text, *next; at != NULL && *at != '\0'; at = next) {
        next = at + strcspn(at, "\n");
        if (*next != '\0')
            *next++ = '\0';
        if (*at != '\0')
            vbw_list_take(l, vbw_strdup(at));
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool holds(const struct vbw_list *sorted, const char *s)
{
    return sorted->n > 0 && bsearch(&s, sorted->v, sorted->n, sizeof *sorted->v, by_text) != NULL;
}

/* ---- this system ---- */

/* A program's whole output, through a file of the state directory: such lists are longer than what vbw_run collects. */
static int output_of(const struct packages *x, const char *command, struct vbw_list *l)
{
    VBW_AUTO char *file = vbw_join(x->w.svc->state_dir(x->w.h), "output");
    char **words = vbw_argv(command);
    size_t n = 0, k = 0;
    VBW_AUTO char *said = NULL;

    while (words != NULL && words[n] != NULL)
        n++;
    if (n == 0) {
        vbw_argv_free(words);
        return vbw_fail(&x->w, VB_E_CONFIG, "close the quotes", "command '%s' is broken", command);
    }
    char **argv = vbw_alloc(n + 5, sizeof *argv);
    argv[k++] = (char[]){ "sh" };
    argv[k++] = (char[]){ "-c" };
    argv[k++] = (char[]){ "exec \"$@\" >\"$0\"" };
    argv[k++] = file;
    memcpy(argv + k, words, n * sizeof *argv);
    int status = vbw_run(argv, NULL, 60000, false, &said);
    free(argv);
    vbw_argv_free(words);
    if (status != 0)
        return vbw_fail(&x->w, VB_E_PREREQUISITE, "this writer is for systems with dpkg and apt", "'%s' failed: %s", command,
                        said != NULL ? said : "");
    VBW_AUTO char *text = vbw_read_file(file, LIST_MAX, &n);
    if (text == NULL)
        return vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be read", file);
    lines_of(text, l);
    vbw_list_sort(l);
    return 0;
}

/* "name:arch" and "name", as apt-mark prints one or the other. */
static bool is_manual(const struct vbw_list *manual, const char *name, const char *arch)
{
    VBW_AUTO char *full = vbw_printf("%s:%s", name, arch);

    return holds(manual, name) || holds(manual, full);
}

/* Lines of dpkg-query are "ii name architecture". */
static int own_list(const struct packages *x, struct vbw_list *out)
{
    struct vbw_list all = { NULL, 0, 0 }, manual = { NULL, 0, 0 };
    int rc = output_of(x, x->query, &all) != 0 || output_of(x, x->mark, &manual) != 0 ? -1 : 0;

    for (size_t i = 0; i < all.n && rc == 0; i++) {
        char *state = all.v[i], *name = strchr(state, ' '), *arch = NULL;
        if (name != NULL) {
            name += strspn(name, " ");
            arch = strchr(name, ' ');
        }
        if (arch == NULL || strncmp(state, "ii", 2) != 0)
            continue;
        *arch++ = '\0';
        if (!word_good(name) || !word_good(arch))
            continue;
        bool by_hand = is_manual(&manual, name, arch);
        if (by_hand || !x->manual_only)
            vbw_list_take(out, vbw_printf("package %s %s %s", name, arch, by_hand ? "manual" : "auto"));
    }
    vbw_list_sort(out);
    vbw_list_clear(&all);
    vbw_list_clear(&manual);
    return rc;
}

static char *joined(const struct vbw_list *l)
{
    size_t n = 1;
    for (size_t i = 0; i < l->n; i++)
        n += strlen(l->v[i]) + 1;
    char *text = vbw_alloc(n, 1), *at = text;
    for (size_t i = 0; i < l->n; i++) {
        size_t k = strlen(l->v[i]);
        memcpy(at, l->v[i], k);
        at[k] = '\n';
        at += k + 1;
    }
    return text;
}

/* ---- replication ---- */

static int give(struct packages *x, struct vb_host *h, struct vb_sink *out, bool all)
{
    struct vbw_list l = { NULL, 0, 0 };
    char own[VBW_DIGEST_LEN + 1], sum[VBW_DIGEST_LEN + 1];
    int rc;

    x->w.h = h;
    rc = own_list(x, &l);
    if (rc == 0) {
        VBW_AUTO char *text = joined(&l);
        vbw_digest(text, strlen(text), own);
        vbw_carried_signature(x->w.svc->state_dir(h), own, "1", sum);
        rc = out->write(out, sum, VBW_DIGEST_LEN);
        if (rc == 0 && all) {
            rc = out->write(out, "\n", 1);
            if (rc == 0)
                rc = out->write(out, text, strlen(text));
        }
    }
    vbw_list_clear(&l);
    return rc;
}

static int signature(void *ctx, struct vb_host *h, struct vb_sink *out)
{
    return give(ctx, h, out, false);
}

static int serialize(void *ctx, struct vb_host *h, struct vb_sink *out)
{
    return give(ctx, h, out, true);
}

/* "package NAME ARCH HOW" of the source -> "NAME:ARCH" as apt takes it; NULL: it is no such line. */
static char *wanted(const char *line, bool *manual)
{
    char *copy = vbw_strdup(line), *name = copy + 8, *arch, *how;

    if (strncmp(copy, "package ", 8) != 0 || (arch = strchr(name, ' ')) == NULL || (how = strchr(arch + 1, ' ')) == NULL) {
        free(copy);
        return NULL;
    }
    *arch++ = '\0';
    *how++ = '\0';
    *manual = strcmp(how, "manual") == 0;
    char *result = word_good(name) && word_good(arch) && (*manual || strcmp(how, "auto") == 0) ? vbw_printf("%s:%s", name, arch) : NULL;
    free(copy);
    return result;
}

static int compare(const struct packages *x, const struct vbw_list *theirs, struct vbw_list *missing, struct vbw_list *by_hand)
{
    struct vbw_list own = { NULL, 0, 0 }, have = { NULL, 0, 0 };
    bool manual;
    int rc = own_list(x, &own);

    for (size_t i = 0; i < own.n; i++) {
        char *name = wanted(own.v[i], &manual);
        if (name != NULL)
            vbw_list_take(&have, name);
    }
    vbw_list_sort(&have);
    for (size_t i = 0; i < theirs->n && rc == 0; i++) {
        char *name = wanted(theirs->v[i], &manual);
        if (name == NULL) {
            rc = vbw_fail(&x->w, VB_E_CORRUPT, NULL, "what came is no list of packages");
            break;
        }
        if (holds(&have, name) || (x->manual_only && !manual)) {
            free(name);
            continue;
        }
        if (manual)
            vbw_list_take(by_hand, vbw_strdup(name));
        vbw_list_take(missing, name);
    }
    vbw_list_clear(&own);
    vbw_list_clear(&have);
    return rc;
}

static int show(const struct packages *x, const struct vbw_list *missing)
{
    VBW_AUTO char *text = joined(missing);
    VBW_AUTO char *file = vbw_join(x->w.svc->state_dir(x->w.h), MISSING);
    VBW_AUTO char *some = vbw_strdup("");

    if (vbw_write_file(file, text, strlen(text), 0600) != 0)
        return vbw_fail_errno(&x->w, errno, NULL, "'%s' cannot be written", file);
    for (size_t i = 0; i < missing->n && i < 10; i++) {
        char *more = vbw_printf("%s%s%s", some, i > 0 ? ", " : "", missing->v[i]);
        free(some);
        some = more;
    }
    if (missing->n > 0)
        x->w.svc->log(x->w.h, VB_WLOG_NOTICE, "%zu packages of the source are missing here: %s%s; all of them: %s%s", missing->n, some,
                      missing->n > 10 ? " ..." : "", file, x->install ? "" : "; they are installed with install = yes only");
    return 0;
}

/* PROGRAM WORDS... NAMES... */
static int run_with(const struct packages *x, const char *command, const struct vbw_list *names, const char *what)
{
    char **words = vbw_argv(command);
    size_t n = 0;
    uint64_t left = x->w.svc->deadline_ms(x->w.h);
    VBW_AUTO char *said = NULL;

    while (words != NULL && words[n] != NULL)
        n++;
    if (n == 0) {
        vbw_argv_free(words);
        return vbw_fail(&x->w, VB_E_CONFIG, "close the quotes", "command '%s' is broken", command);
    }
    char **argv = vbw_alloc(n + names->n + 1, sizeof *argv);
    memcpy(argv, words, n * sizeof *argv);
    memcpy(argv + n, names->v, names->n * sizeof *argv);
    char *const env[] = { (char[]){ "DEBIAN_FRONTEND=noninteractive" }, NULL };
    int status = vbw_run(argv, env, left > 5000 ? left - 2000 : left, false, &said);
    free(argv);
    vbw_argv_free(words);
    if (status == 0)
        return 0;
    const char *last = said != NULL ? strrchr(said, '\n') : NULL;
    return vbw_fail(&x->w, VB_E_WRITER_NON_RETRYABLE, "try it by hand: the list is in the writer's state directory", "%s: %s", what,
                    last != NULL ? last + 1 : said != NULL && *said != '\0' ? said : "it failed without a word");
}

static int install(const struct packages *x, const struct vbw_list *missing, const struct vbw_list *by_hand)
{
    struct vbw_list automatic = { NULL, 0, 0 };
    int rc = run_with(x, x->get, missing, "the packages cannot be installed");

    for (size_t i = 0; i < missing->n; i++)
        if (!holds(by_hand, missing->v[i]))
            vbw_list_take(&automatic, vbw_strdup(missing->v[i]));
    if (rc == 0 && automatic.n > 0)
        rc = run_with(x, x->automatic, &automatic, "the packages cannot be marked");
    vbw_list_clear(&automatic);
    return rc;
}

static int remember(const struct packages *x, const char *source)
{
    struct vbw_list l = { NULL, 0, 0 };
    char own[VBW_DIGEST_LEN + 1];
    int rc = own_list(x, &l);

    if (rc == 0) {
        VBW_AUTO char *text = joined(&l);
        vbw_digest(text, strlen(text), own);
        if (vbw_carried_remember(x->w.svc->state_dir(x->w.h), own, "1", source) != 0)
            rc = vbw_fail_errno(&x->w, errno, NULL, "the state cannot be remembered");
    }
    vbw_list_clear(&l);
    return rc;
}

static int take(struct packages *x, char *text, size_t n)
{
    struct vbw_list theirs = { NULL, 0, 0 }, missing = { NULL, 0, 0 }, by_hand = { NULL, 0, 0 }, left = { NULL, 0, 0 };
    int rc;

    if (n < VBW_DIGEST_LEN + 1 || text[VBW_DIGEST_LEN] != '\n' || strlen(text) != n ||
        strspn(text, "0123456789abcdef") != VBW_DIGEST_LEN)
        return vbw_fail(&x->w, VB_E_CORRUPT, NULL, "what came is no list of packages");
    text[VBW_DIGEST_LEN] = '\0';
    lines_of(text + VBW_DIGEST_LEN + 1, &theirs);
    rc = compare(x, &theirs, &missing, &by_hand);
    vbw_list_sort(&by_hand);
    if (rc == 0)
        rc = show(x, &missing);
    if (rc == 0 && missing.n > 0 && x->install) {
        rc = install(x, &missing, &by_hand);
        vbw_list_clear(&by_hand);
        if (rc == 0)
            rc = compare(x, &theirs, &left, &by_hand);
        if (rc == 0)
            rc = show(x, &left);
    }
    /* What is still missing is shown each time, until it is there. */
    if (rc == 0 && (missing.n == 0 || (x->install && left.n == 0)))
        rc = remember(x, text);
    vbw_list_clear(&theirs);
    vbw_list_clear(&missing);
    vbw_list_clear(&by_hand);
    vbw_list_clear(&left);
    return rc;
}

static int deserialize(void *ctx, struct vb_host *h, struct vb_payload *in)
{
    struct packages *x = ctx;
    VBW_AUTO char *text = vbw_alloc(LIST_MAX + 1, 1);
    size_t n = 0;
    long k;

    x->w.h = h;
    while ((k = in->read(in, text + n, LIST_MAX - n)) > 0)
        n += (size_t)k;
    if (k < 0)
        return -1;
    return n >= LIST_MAX ? vbw_fail(&x->w, VB_E_LIMIT, NULL, "what came is too long for a list of packages") : take(x, text, n);
}

/* ---- backup ---- */

static int identify(void *ctx, struct vb_host *h)
{
    static const struct {
        const char *dir, *file;
    } files[] = { { "/var/lib/dpkg", "status" }, { "/var/lib/apt", "extended_states" } };
    struct packages *x = ctx;
    const struct vb_component_spec c = { .size = sizeof c, .type = VB_COMPONENT_FILEGROUP, .name = "selections",
                                         .caption = "installed packages", .selectable = 1 };

    x->w.h = h;
    /* never over the state of a system that runs: the files say what was there, and go somewhere else */
    if (x->w.svc->set_restore_method(h, VB_RESTORE_IF_NOT_THERE, NULL, VB_WRITER_RESTORE_NEVER, 0) != 0 || x->w.svc->add_component(h, &c) != 0)
        return -1;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        VBW_AUTO char *path = vbw_join(files[i].dir, files[i].file);
        const struct vb_fileset_spec fs = { .size = sizeof fs, .kind = VB_FILES_GROUP, .path = files[i].dir, .filespec = files[i].file };
        if (vbw_exists(path) && x->w.svc->add_files(h, NULL, "selections", &fs) != 0)
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

static const char *or(const char *v, const char *def)
{
    return v != NULL ? v : def;
}

static int packages_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct packages *x = vbw_alloc(1, sizeof *x);

    x->w.svc = svc;
    x->w.h = h;
    *ctx = x;
    x->query = or(svc->option(h, "dpkg-query"), "dpkg-query -W '-f=${db:Status-Abbrev} ${Package} ${Architecture}\\n'");
    x->mark = or(svc->option(h, "apt-mark"), "apt-mark showmanual");
    x->automatic = or(svc->option(h, "apt-mark-auto"), "apt-mark auto");
    x->get = or(svc->option(h, "apt-get"), "apt-get -y --no-remove --no-install-recommends install");
    return vbw_bool(&x->w, "install", svc->option(h, "install"), false, &x->install) != 0 ||
                   vbw_bool(&x->w, "manual-only", svc->option(h, "manual-only"), false, &x->manual_only) != 0
               ? -1
               : 0;
}

static void packages_close(void *ctx)
{
    free(ctx);
}

static const char *const OPTIONS[] = { "install", "manual-only", "dpkg-query", "apt-mark", "apt-mark-auto", "apt-get", NULL };

static const struct vb_replication REPLICATION = {
    .size = sizeof REPLICATION,
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
    .usage = VB_USAGE_BOOTABLE_SYSTEM_STATE,
    .source = VB_SOURCE_OTHER,
    .options = OPTIONS,
    .open = packages_open,
    .close = packages_close,
    .identify = identify,
    .freeze = nothing,
    .thaw = nothing,
    .abort = nothing,
    .replication = &REPLICATION,
};

VB_REGISTER_WRITER(WRITER)
