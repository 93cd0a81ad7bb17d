/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup shadow run: a script of shadow copy commands, in the manner of DiskShadow (rule book 8.2). */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "requester/shadow.h"
#include "requester/shadow_script.h"
#include "wire/protocol.h"

#define MAX_SCRIPT (4u * 1024 * 1024)
#define MAX_BUNDLE (256u * 1024 * 1024)

struct runner {
    struct vb_cli *cli;
    struct vb_shadow_link link;
    bool open, begun;                /* a job of kind backup; "begin backup" */
    struct vb_shadow_make make;
    struct vb_strv aliases;          /* NAME=VALUE */
    struct vb_strv volume_aliases;   /* one per added volume, "" for none */
    char *metadata;
    bool verbose, over;
    int exec_status;
    const struct vb_strv *args;      /* of the line that runs, expanded */
};

static void set_alias(struct runner *r, const char *name, const char *value)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < r->aliases.n; i++)
        if (!strncasecmp(r->aliases.v[i], name, n) && r->aliases.v[i][n] == '=') {
            free(r->aliases.v[i]);
            r->aliases.v[i] = vb_printf("%s=%s", name, value);
            return;
        }
    vb_strv_take(&r->aliases, vb_printf("%s=%s", name, value));
}

static int not_after_create(const struct runner *r, struct vb_error *err)
{
    if (!r->make.made && !r->begun)
        return 0;
    vb_fail(err, VB_E_BAD_STATE, r->make.made ? "the set is made already" : "the backup has begun already");
    vb_hint(err, "'reset' begins anew");
    return -1;
}

/* ---- before a set is made ---- */

static int set_context(struct runner *r, struct vb_error *err)
{
    static const struct { const char *word; uint32_t with, without; } MAP[] = {
        { "volatile", VB_CTX_BACKUP, VB_CTX_FILE_SHARE_BACKUP },
        { "persistent", VB_CTX_APP_ROLLBACK, VB_CTX_NAS_ROLLBACK },
        { "clientaccessible", VB_CTX_CLIENT_ACCESSIBLE, VB_CTX_CLIENT_ACCESSIBLE },
    };
    bool none = r->args->n > 1;
    if (none && strcasecmp(r->args->v[1], "nowriters") != 0)
        return vb_fail(err, VB_E_USAGE, "'%s' is not 'nowriters'", r->args->v[1]);
    if (not_after_create(r, err) < 0)
        return -1;
    for (size_t i = 0; i < VB_COUNT(MAP); i++)
        if (!strcasecmp(MAP[i].word, r->args->v[0]))
            r->make.attributes = none ? MAP[i].without : MAP[i].with;
    return 0;
}

static int set_option(struct runner *r, struct vb_error *err)
{
    static const struct { const char *word; uint32_t bit; } MAP[] = {
        { "differential", VB_SA_DIFFERENTIAL }, { "plex", VB_SA_PLEX }, { "transportable", VB_SA_TRANSPORTABLE },
        { "rollbackrecover", VB_SA_ROLLBACK_RECOVERY }, { "noautorecover", VB_SA_NO_AUTORECOVERY },
    };
    uint32_t attributes = r->make.attributes & VB_SA_CONTEXT_BITS;
    if (not_after_create(r, err) < 0)
        return -1;
    for (size_t k = 0; k < r->args->n; k++) {
        bool known = false;
        for (size_t i = 0; i < VB_COUNT(MAP); i++)
            if (!strcasecmp(MAP[i].word, r->args->v[k])) {
                attributes |= MAP[i].bit;
                known = true;
            }
        if (!known)
            return vb_fail(err, VB_E_USAGE, "there is no option '%s'", r->args->v[k]);
    }
    if (vb_context_check(attributes, err) < 0)
        return -1;
    r->make.attributes = attributes;
    return 0;
}

static int add_volume(struct runner *r, struct vb_error *err)
{
    VB_AUTO_FREE char *cwd = vb_cli_opt(r->cli, "host") ? NULL : getcwd(NULL, 0);
    VB_AUTO_FREE char *joined = cwd ? vb_path_join(cwd, r->args->v[0]) : vb_strdup(r->args->v[0]);
    char *path = vb_path_clean(joined);
    if (not_after_create(r, err) < 0 || vb_strv_has(&r->make.volumes, path)) {
        if (!err->code)
            vb_fail(err, VB_E_OBJECT_ALREADY_EXISTS, "volume '%s' was added already", path);
        free(path);
        return -1;
    }
    vb_strv_take(&r->make.volumes, path);
    vb_strv_add(&r->volume_aliases, r->args->n > 1 ? r->args->v[2] : "");
    return 0;
}

static int open_backup(struct runner *r, struct vb_error *err)
{
    size_t n = 0;
    if (r->open)
        return 0;
    struct vb_job_writer *policies = vb_shadow_policies(&r->make, &n);
    int rc = vb_shadow_open(&r->link, r->cli, VB_JOB_BACKUP, policies, n, err);
    free(policies);
    r->open = true;
    return rc;
}

static int begin_backup(struct runner *r, struct vb_error *err)
{
    if (not_after_create(r, err) < 0)
        return -1;
    if (r->make.attributes & VB_SA_NO_WRITERS)
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "a context without writers has no backup to begin");
    if (open_backup(r, err) < 0 || vb_shadow_identify(&r->link, &r->make, err) < 0)
        return -1;
    r->begun = r->make.full = true;
    return 0;
}

static int create(struct runner *r, struct vb_error *err)
{
    if (r->make.made)
        return not_after_create(r, err);
    if (open_backup(r, err) < 0 || vb_shadow_make(&r->link, &r->make, err) < 0)
        return -1;
    vb_shadow_make_print(&r->link, &r->make);
    (void)vb_shadow_failed_writers(&r->link, &r->make);
    set_alias(r, "VSS_SHADOW_SET", r->make.bcd->snapshot_set_id);
    for (size_t i = 0; i < r->make.n; i++) {
        VB_AUTO_FREE char *name = vb_printf("VSS_SHADOW_%zu", i + 1);
        set_alias(r, name, r->make.v[i].id);
    }
    for (size_t i = 0; i < r->volume_aliases.n; i++) {
        if (!*r->volume_aliases.v[i])
            continue;
        if (r->make.n != r->volume_aliases.n) /* several names of one subvolume */
            return vb_fail(err, VB_E_USAGE, "alias '%s' is not clear: some of the volumes are one and the same",
                           r->volume_aliases.v[i]);
        set_alias(r, r->volume_aliases.v[i], r->make.v[i].id);
    }
    return r->metadata ? vb_shadow_write_bundle(&r->make, &r->aliases, r->link.host, r->metadata, err) : 0;
}

static int end_backup(struct runner *r, struct vb_error *err)
{
    if (!r->begun || !r->make.made)
        return vb_fail(err, VB_E_BAD_STATE, "there is no backup to end: 'begin backup' and 'create' come first");
    if (vb_shadow_complete(&r->link, &r->make, true, err) < 0)
        return -1;
    return r->metadata ? vb_shadow_write_bundle(&r->make, &r->aliases, r->link.host, r->metadata, err) : 0;
}

static int load_metadata(struct runner *r, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    json_error_t why;
    const char *name;
    json_t *value;
    if (vb_read_file_at(AT_FDCWD, r->args->v[0], MAX_BUNDLE, &b, err) < 0)
        return -1;
    json_t *o = json_loadb((const char *)b.data, b.len, JSON_REJECT_DUPLICATES, &why);
    const char *format = o ? json_string_value(json_object_get(o, "format")) : NULL;
    if (!format || strcmp(format, "vbackup-shadow-bundle") != 0) {
        json_decref(o);
        return vb_fail(err, VB_E_CORRUPT, "'%s' is not a bundle of documents", r->args->v[0]);
    }
    json_object_foreach(json_object_get(o, "aliases"), name, value)
        /* they become variables of programs' environments: identifiers of sets and shadow copies, and nothing else */
        if (vb_script_name_valid(name) && json_string_value(value) && vb_guid_valid(json_string_value(value)))
            set_alias(r, name, json_string_value(value));
    json_decref(o);
    return 0;
}

/* ---- commands about what is there: in the job at hand, or in one of their own ---- */

static int borrow(struct runner *r, struct vb_shadow_link *own, struct vb_shadow_link **l, struct vb_error *err)
{
    *l = r->open ? &r->link : own;
    return r->open ? 0 : vb_shadow_open(own, r->cli, VB_JOB_IDENTIFY, NULL, 0, err);
}

static int one_call(struct runner *r, const char *call, const char *id, const char *path, bool live, struct vb_error *err)
{
    struct vb_shadow_link own = { .error = VB_ERROR_INIT }, *l;
    struct vb_shadow_items items = { 0 };
    struct vb_msg f = VB_MSG_INIT(0);
    const struct vb_shadow_item *x = NULL;
    int rc = borrow(r, &own, &l, err);
    if (rc == 0 && !r->open && !strcmp(call, "revert")) {
        struct vb_msg q = VB_MSG_INIT(VB_M_IDENTIFY);
        rc = vb_shadow_command(l, &q, err);
    }
    if (rc == 0 && (rc = vb_shadow_list(l, &items, err)) == 0)
        rc = (x = vb_shadow_find(&items, id, err)) ? 0 : -1;
    if (rc == 0) {
        vb_msg_add_str(&f, VB_F_SNAPSHOT, x->id);
        vb_msg_add_str(&f, VB_F_PATH, path);
        if (live)
            vb_msg_add_u64(&f, VB_F_LIVE, 1);
        rc = vb_shadow_call(l, call, &f, err);
    }
    if (rc == 0 && (r->verbose || r->cli->verbose))
        printf("%s %s\n", call, x->id);
    vb_shadow_items_clear(&items);
    vb_shadow_close(&own);
    return rc;
}

static bool on_volume(const struct vb_shadow_item *i, const char *volume)
{
    return !strcmp(volume, i->volume ? i->volume : "") || !strcmp(volume, i->subvolume ? i->subvolume : "");
}

static bool is_meant(const struct vb_shadow_item *i, const char *how, const char *what)
{
    if (!strcasecmp(how, "set"))
        return vb_guid_equal(i->set, what);
    if (!strcasecmp(how, "id"))
        return vb_guid_equal(i->id, what);
    if (!strcasecmp(how, "exposed"))
        return i->exposed && !strcmp(i->exposed, what);
    if (i->state != VB_SS_CREATED)
        return false;
    return !strcasecmp(how, "all") || on_volume(i, what);
}

static int delete_shadows(struct runner *r, struct vb_error *err)
{
    struct vb_shadow_link own = { .error = VB_ERROR_INIT }, *l;
    struct vb_shadow_items items = { 0 };
    const char *how = r->args->v[0], *what = r->args->n > 1 ? r->args->v[1] : NULL;
    size_t done = 0;
    if (!what != !strcasecmp(how, "all"))
        return vb_fail(err, VB_E_USAGE, "'delete shadows %s' %s", how, what ? "takes no argument" : "lacks its argument");
    int rc = borrow(r, &own, &l, err);
    if (rc == 0)
        rc = vb_shadow_list(l, &items, err);
    for (size_t i = 0; rc == 0 && i < items.n; i++) {
        struct vb_msg f = VB_MSG_INIT(0);
        if (!is_meant(&items.v[i], how, what))
            continue;
        vb_msg_add_str(&f, VB_F_SNAPSHOT, items.v[i].id);
        vb_msg_add_str(&f, VB_F_PROVIDER, items.v[i].provider);
        rc = vb_shadow_call(l, "delete", &f, err);
        if (rc < 0)
            vb_context(err, "%zu deleted, then shadow copy '%s' was not", done, items.v[i].id);
        else
            done++;
        if (!strcasecmp(how, "oldest"))
            break;
    }
    if (rc == 0 && !done && strcasecmp(how, "all") != 0)
        rc = vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy with %s '%s'", how, what);
    vb_shadow_items_clear(&items);
    vb_shadow_close(&own);
    return rc;
}

static void list_writers(const struct vb_gather_host *h)
{
    for (size_t i = 0; i < h->n_writers; i++)
        printf("%-24s %s\n", h->writers[i]->name, vb_writer_state_word(VB_WS_STABLE));
    for (size_t i = 0; i < h->n_failed; i++)
        printf("%-24s %s: %s\n", h->failed[i].writer, vb_writer_state_word(VB_WS_FAILED_AT_IDENTIFY),
               vb_error_text(&h->failed[i].error));
}

static int list(struct runner *r, struct vb_error *err)
{
    struct vb_shadow_link own = { .error = VB_ERROR_INIT }, *l;
    struct vb_shadow_items items = { 0 };
    const char *what = r->args->v[0], *how = r->args->n > 1 ? r->args->v[1] : "all";
    int rc = borrow(r, &own, &l, err);
    if (rc == 0 && !strcasecmp(what, "writers")) {
        struct vb_gather_host h = { 0 };
        struct vb_msg q = VB_MSG_INIT(VB_M_IDENTIFY);
        if (r->open) /* asked once per session (2.2) */
            list_writers(&r->make.writers);
        else if ((rc = vb_shadow_command(l, &q, err)) == 0) {
            vb_gather_read_reply(&h, &l->reply);
            list_writers(&h);
            vb_gather_host_clear(&h);
        }
    } else if (rc == 0 && !strcasecmp(what, "providers")) {
        struct vb_field_iter it;
        uint16_t tag;
        const unsigned char *p;
        size_t n;
        rc = vb_shadow_call(l, "providers", NULL, err);
        vb_field_iter_init(&it, &l->reply);
        while (rc == 0 && vb_field_next(&it, &tag, &p, &n)) {
            struct vb_msg g = vb_msg_view(p, n);
            VB_AUTO_FREE char *name = vb_msg_str(&g, VB_F_NAME), *id = vb_msg_str(&g, VB_F_PROVIDER_ID);
            if (tag == VB_F_PROVIDER)
                printf("%-12s %s\n", name ? name : "?", id ? id : "?");
        }
    } else if (rc == 0 && (rc = vb_shadow_list(l, &items, err)) == 0) {
        for (size_t i = 0; i < items.n; i++)
            if (is_meant(&items.v[i], how, r->args->n > 2 ? r->args->v[2] : "")) {
                if (r->cli->json)
                    vb_cli_json(vb_shadow_item_json(&items.v[i]));
                else
                    vb_shadow_item_text(&items.v[i]);
            }
    }
    fflush(stdout);
    vb_shadow_items_clear(&items);
    vb_shadow_close(&own);
    return rc;
}

static int exec(struct runner *r, struct vb_error *err)
{
    struct vb_shadow_link own = { .error = VB_ERROR_INIT }, *l;
    struct vb_strv variables = { NULL, 0, 0 };
    VB_AUTO_BUF command = VB_BUF_INIT;
    for (size_t i = 0; i < r->args->n; i++) {
        if (strpbrk(r->args->v[i], " \t"))
            return vb_fail(err, VB_E_USAGE, "an argument of 'exec' with a blank is not possible: '%s'", r->args->v[i]);
        vb_buf_addf(&command, "%s%s", i ? " " : "", r->args->v[i]);
    }
    if (borrow(r, &own, &l, err) < 0) {
        vb_shadow_close(&own);
        return -1;
    }
    if (r->make.made)
        vb_shadow_variables(&r->make, &variables);
    for (size_t i = 0; i < r->aliases.n; i++)
        vb_strv_add(&variables, r->aliases.v[i]);
    int rc = vb_shadow_exec(l, vb_buf_str(&command), &variables, err);
    vb_strv_clear(&variables);
    vb_shadow_close(&own);
    if (rc <= 0)
        return rc;
    r->exec_status = rc; /* failure ends the script (8.2) */
    return vb_fail(err, VB_E_CANCELLED, "'%s' ended with exit status %d", vb_buf_str(&command), rc);
}

/* ---- the end of a set ---- */

static int leave(struct runner *r, bool success, struct vb_error *err)
{
    int rc = 0;
    if (r->open && r->make.made && !r->make.completed && !(r->make.attributes & VB_SA_NO_WRITERS) && !r->begun)
        rc = vb_shadow_complete(&r->link, &r->make, success, err);
    vb_shadow_close(&r->link);
    vb_shadow_make_clear(&r->make);
    vb_strv_clear(&r->volume_aliases);
    r->open = r->begun = false;
    return rc;
}

static int add_list(struct runner *r)
{
    for (size_t i = 0; i < r->make.volumes.n; i++)
        printf("%s%s%s\n", r->make.volumes.v[i], *r->volume_aliases.v[i] ? " alias " : "", r->volume_aliases.v[i]);
    for (size_t i = 0; i < r->aliases.n; i++)
        printf("%s\n", r->aliases.v[i]);
    return 0;
}

static int import(struct runner *r, struct vb_error *err)
{
    struct vb_shadow_link own = { .error = VB_ERROR_INIT }, *l;
    struct vb_msg f = VB_MSG_INIT(0);
    VB_AUTO_FREE char *id = NULL;
    vb_msg_add_str(&f, VB_F_PATH, r->args->v[0]);
    vb_msg_add_str(&f, VB_F_TARGET, r->args->v[1]);
    int rc = borrow(r, &own, &l, err);
    if (rc == 0)
        rc = vb_shadow_call(l, "import", &f, err);
    if (rc == 0 && (id = vb_msg_str(&l->reply, VB_F_SNAPSHOT)))
        set_alias(r, "VSS_IMPORTED", id);
    vb_msg_clear(&f);
    vb_shadow_close(&own);
    return rc;
}

static int break_off(struct runner *r, struct vb_error *err)
{
    bool writable = r->args->n == 3;
    if (writable && strcasecmp(r->args->v[0], "writable") != 0)
        return vb_fail(err, VB_E_USAGE, "'%s' is not 'writable'", r->args->v[0]);
    return one_call(r, "break", r->args->v[writable], r->args->v[writable + 1], writable, err);
}

static int step(struct runner *r, enum vb_script_command c, struct vb_error *err)
{
    char *const *a = r->args->v;
    switch (c) {
    case VB_SC_SET_CONTEXT: return set_context(r, err);
    case VB_SC_SET_OPTION: return set_option(r, err);
    case VB_SC_SET_VERBOSE: r->verbose = !strcasecmp(a[0], "on"); return 0;
    case VB_SC_SET_METADATA:
        free(r->metadata);
        r->metadata = vb_strdup(a[0]);
        return 0;
    case VB_SC_LOAD_METADATA: return load_metadata(r, err);
    case VB_SC_WRITER_VERIFY:
    case VB_SC_WRITER_EXCLUDE:
        if (not_after_create(r, err) < 0)
            return -1;
        vb_strv_add(c == VB_SC_WRITER_VERIFY ? &r->make.required : &r->make.excluded, a[0]);
        return 0;
    case VB_SC_ADD_VOLUME: return add_volume(r, err);
    case VB_SC_ADD_ALIAS: set_alias(r, a[0], a[1]); return 0;
    case VB_SC_ADD: return add_list(r);
    case VB_SC_BEGIN_BACKUP: return begin_backup(r, err);
    case VB_SC_END_BACKUP: return end_backup(r, err);
    case VB_SC_CREATE: return create(r, err);
    case VB_SC_EXEC: return exec(r, err);
    case VB_SC_EXPOSE: return one_call(r, "expose", a[0], a[1], false, err);
    case VB_SC_UNEXPOSE: return one_call(r, "unexpose", a[0], NULL, false, err);
    case VB_SC_DELETE: return delete_shadows(r, err);
    case VB_SC_LIST: return list(r, err);
    case VB_SC_REVERT: return one_call(r, "revert", a[0], NULL, false, err);
    case VB_SC_BREAK: return break_off(r, err);
    case VB_SC_RESET: return leave(r, true, err);
    case VB_SC_EXIT: r->over = true; return 0;
    case VB_SC_IMPORT: return import(r, err);
    }
    return vb_fail(err, VB_E_UNEXPECTED, "command %d is not known", (int)c);
}

static int run_line(struct runner *r, const struct vb_script_line *l, struct vb_error *err)
{
    struct vb_strv args = { NULL, 0, 0 };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->args.n; i++) {
        char *word = vb_script_expand(l->args.v[i], &r->aliases, err);
        rc = word ? 0 : -1;
        if (word)
            vb_strv_take(&args, word);
    }
    r->args = &args;
    if (rc == 0)
        rc = step(r, l->command, err);
    if (rc < 0)
        vb_context(err, "line %u", l->number);
    vb_strv_clear(&args);
    return rc;
}

static int run(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF text = VB_BUF_INIT;
    struct vb_script script = { NULL, 0, 0 };
    struct runner r = { .cli = cli, .link = { .error = VB_ERROR_INIT } };
    const char *file = cli->argv[0];
    int rc;
    rc = vb_read_file_at(AT_FDCWD, file, MAX_SCRIPT, &text, &err);
    if (rc == 0 && (rc = vb_script_parse(text.data, text.len, &script, &err)) < 0)
        vb_context(&err, "%s", file);
    for (size_t i = 0; rc == 0 && !r.over && !vb_cli_flag(cli, "dry-run") && i < script.n; i++)
        if ((rc = run_line(&r, &script.v[i], &err)) < 0)
            vb_context(&err, "%s", file);
    VB_AUTO_ERROR end = VB_ERROR_INIT;
    if (leave(&r, rc == 0, &end) < 0 && rc == 0) {
        rc = -1;
        vb_error_copy(&err, &end);
    }
    vb_strv_clear(&r.aliases);
    free(r.metadata);
    vb_script_clear(&script);
    if (rc == 0)
        return VB_EXIT_DONE;
    int status = vb_cli_fail(cli, &err);
    return r.exec_status ? r.exec_status : status;
}

static const struct vb_opt opts[] = { { "host", 0, "HOST", "the host (default: this machine)" },
                                      { "dry-run", 'n', NULL, "only check the script" },
                                      { NULL, 0, NULL, NULL } };

const struct vb_cli_verb vb_verb_shadow_run = { "shadow run", "FILE", "run a script of shadow copy commands", opts, 1, 1, run };
