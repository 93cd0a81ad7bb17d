/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup shadow create, list, providers, volumes, writers, documents: shadow copies made and looked at. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "requester/shadow.h"
#include "wire/protocol.h"

#define HOST_OPT { "host", 0, "HOST", "the host (default: this machine)" }

/* ---- create ---- */

static const struct vb_opt create_opts[] = {
    HOST_OPT,
    { "component", 'C', "[WRITER][:COMPONENT]", "take this component and the volumes it lies on (may repeat)" },
    { "require", 0, "WRITER[:COMPONENT]", "fail unless it takes part (may repeat)" },
    { "exclude", 'x', "WRITER[:COMPONENT]", "leave it out (may repeat)" },
    { "no-writers", 0, NULL, "no writer hears of it: as after a power cut" },
    { "persistent", 'p', NULL, "it outlives this command and reboots" },
    { "client-accessible", 0, NULL, "persistent, for users to look at earlier versions" },
    { "context", 0, "WORD", "the context by name; see vbackup-shadow(1)" },
    { "attribute", 0, "WORD", "add an attribute (may repeat); see vbackup-shadow(1)" },
    { "provider", 0, "NAME", "this provider and no other" },
    { "exec", 0, "COMMAND", "run it while the shadow copies are there; its exit status is ours" },
    { "wait", 0, NULL, "wait for a line on standard input before the end" },
    { "script", 0, "FILE", "write a file for shells that sets variables" },
    { "save", 0, "FILE", "write the bundle of documents" },
    { "note", 0, "TEXT", "a note that stands in lists" },
    { "dry-run", 'n', NULL, "only say what would be made" },
    { NULL, 0, NULL, NULL }
};

static int take_context(const struct vb_cli *cli, uint32_t *attributes, struct vb_error *err)
{
    bool none = vb_cli_flag(cli, "no-writers"), kept = vb_cli_flag(cli, "persistent");
    bool client = vb_cli_flag(cli, "client-accessible");
    const char *word = vb_cli_opt(cli, "context");
    const char **list = NULL;
    size_t n = vb_cli_list(cli, "attribute", &list);
    int rc = 0;
    if (word && (none || kept || client))
        rc = vb_fail(err, VB_E_USAGE, "--context excludes --no-writers, --persistent and --client-accessible");
    else if (word && !vb_context_from_word(word, attributes))
        rc = vb_fail(err, VB_E_USAGE, "--context: '%s' is none that a shadow copy can be created in", word);
    else if (!word)
        *attributes = client ? (none ? VB_CTX_CLIENT_ACCESSIBLE : VB_CTX_CLIENT_ACCESSIBLE_WRITERS)
                      : kept ? (none ? VB_CTX_NAS_ROLLBACK : VB_CTX_APP_ROLLBACK)
                             : (none ? VB_CTX_FILE_SHARE_BACKUP : VB_CTX_BACKUP);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        uint32_t bit;
        if (!vb_attribute_from_word(list[i], &bit))
            rc = vb_fail(err, VB_E_USAGE, "--attribute: '%s' is none that can be added to a context", list[i]);
        else
            *attributes |= bit;
    }
    free(list);
    return rc;
}

static void take_list(const struct vb_cli *cli, const char *option, struct vb_strv *out)
{
    const char **v = NULL;
    size_t n = vb_cli_list(cli, option, &v);
    for (size_t i = 0; i < n; i++)
        vb_strv_add(out, v[i]);
    free(v);
}

static int take_options(const struct vb_cli *cli, struct vb_shadow_make *m, struct vb_error *err)
{
    VB_AUTO_FREE char *cwd = vb_cli_opt(cli, "host") ? NULL : getcwd(NULL, 0);
    if (take_context(cli, &m->attributes, err) < 0)
        return -1;
    for (int i = 0; i < cli->argc; i++) {
        VB_AUTO_FREE char *joined = cwd ? vb_path_join(cwd, cli->argv[i]) : vb_strdup(cli->argv[i]);
        vb_strv_take(&m->volumes, vb_path_clean(joined));
    }
    take_list(cli, "component", &m->components);
    take_list(cli, "require", &m->required);
    take_list(cli, "exclude", &m->excluded);
    m->provider = vb_cli_opt(cli, "provider");
    m->dry_run = vb_cli_flag(cli, "dry-run");
    if (vb_shadow_make_check(m, err) < 0)
        return -1;
    if ((m->attributes & VB_SA_DELAYED_POSTSNAPSHOT) && (vb_cli_opt(cli, "exec") || vb_cli_flag(cli, "wait") ||
                                                         vb_cli_opt(cli, "save") || vb_cli_opt(cli, "note")))
        return vb_fail(err, VB_E_USAGE, "with 'delayed-postsnapshot' this command leaves before the shadow copies are "
                                        "finished: --exec, --wait, --save and --note have nothing to go by");
    if (!vb_context_kept(m->attributes) && !m->dry_run && !vb_cli_opt(cli, "exec") && !vb_cli_flag(cli, "wait")) {
        vb_fail(err, VB_E_USAGE, "a volatile shadow copy goes when this command ends");
        vb_hint(err, "give it something to do with --exec or --wait, or make it --persistent");
        return -1;
    }
    return 0;
}

static int add_note(struct vb_shadow_link *l, const struct vb_shadow_make *m, const char *note, struct vb_error *err)
{
    struct vb_msg f = VB_MSG_INIT(0);
    if (!note || !m->n)
        return 0;
    vb_msg_add_str(&f, VB_F_SNAPSHOT, m->v[0].id); /* the note is the set's */
    vb_msg_add_str(&f, VB_F_REMARK, note);
    return vb_shadow_call(l, "note", &f, err);
}

static void wait_for_line(struct vb_shadow_link *l)
{
    if (!l->cli->quiet)
        fprintf(stderr, "vbackup: the shadow copies are there; press Enter to go on\n");
    for (char c; read(STDIN_FILENO, &c, 1) == 1 && c != '\n';)
        ;
}

/* From the finished set to BackupComplete; the exit status of --exec in *status. */
static int use(struct vb_shadow_link *l, struct vb_shadow_make *m, int *status, struct vb_error *err)
{
    const struct vb_cli *cli = l->cli;
    const char *script = vb_cli_opt(cli, "script"), *save = vb_cli_opt(cli, "save"), *exec = vb_cli_opt(cli, "exec");
    struct vb_strv variables = { NULL, 0, 0 };
    int rc = add_note(l, m, vb_cli_opt(cli, "note"), err);
    if (rc == 0 && script)
        rc = vb_shadow_write_script(m, script, err);
    if (rc == 0 && exec) {
        vb_shadow_variables(m, &variables);
        *status = vb_shadow_exec(l, exec, &variables, err);
        rc = *status < 0 ? -1 : 0;
        vb_strv_clear(&variables);
    }
    if (rc == 0 && vb_cli_flag(cli, "wait"))
        wait_for_line(l);
    if (!(m->attributes & (VB_SA_NO_WRITERS | VB_SA_DELAYED_POSTSNAPSHOT))) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        if (vb_shadow_complete(l, m, rc == 0 && *status == 0, rc < 0 ? &e : err) < 0)
            return -1;
    }
    if (rc == 0 && save) /* after the marks, when the document is final */
        rc = vb_shadow_write_bundle(m, NULL, l->host, save, err);
    return rc;
}

static int run_create(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_shadow_make m = { 0 };
    int exec_status = 0, status = VB_EXIT_DONE;
    size_t n = 0;
    int rc = take_options(cli, &m, &err);
    if (rc == 0) {
        struct vb_job_writer *policies = vb_shadow_policies(&m, &n);
        rc = vb_shadow_open(&l, cli, VB_JOB_BACKUP, policies, n, &err);
        free(policies);
    }
    if (rc == 0)
        rc = vb_shadow_make(&l, &m, &err);
    if (rc == 0) {
        vb_shadow_make_print(&l, &m);
        if (vb_shadow_failed_writers(&l, &m))
            status = VB_EXIT_PARTIAL;
        if (!m.dry_run)
            rc = use(&l, &m, &exec_status, &err);
    }
    vb_shadow_close(&l);
    vb_shadow_make_clear(&m);
    if (rc < 0)
        return vb_cli_fail(cli, &err);
    return exec_status ? exec_status : status;
}

const struct vb_cli_verb vb_verb_shadow_create = { "shadow create", "[VOLUME...]", "make a shadow copy set", create_opts, 0,
                                                   -1, run_create };

/* ---- list ---- */

static const struct vb_opt list_opts[] = { HOST_OPT,
                                           { "set", 0, "SET", "only this set" },
                                           { "volume", 0, "PATH", "only of this volume" },
                                           { "context", 0, "WORD", "only of this context" },
                                           { "orphans", 0, NULL, "only those that nobody owns" },
                                           { "unfinished", 0, NULL, "also those that are being made" },
                                           { NULL, 0, NULL, NULL } };

static bool is_shown(const struct vb_cli *cli, const struct vb_shadow_item *i, uint32_t context)
{
    const char *set = vb_cli_opt(cli, "set"), *volume = vb_cli_opt(cli, "volume");
    if (set && !vb_guid_equal(set, i->set) && (strlen(set) < 4 || strncmp(set, i->set, strlen(set)) != 0))
        return false;
    if (volume && strcmp(volume, i->volume ? i->volume : "") != 0 &&
        strcmp(volume, i->subvolume ? i->subvolume : "") != 0)
        return false;
    if (vb_cli_opt(cli, "context") && (i->attributes & VB_SA_CONTEXT_BITS) != context)
        return false;
    if (vb_cli_flag(cli, "orphans") && !i->orphan)
        return false;
    if (cli->argc && !vb_guid_equal(cli->argv[0], i->id) &&
        (strlen(cli->argv[0]) < 4 || strncmp(cli->argv[0], i->id, strlen(cli->argv[0])) != 0))
        return false;
    return i->state == VB_SS_CREATED || i->orphan || vb_cli_flag(cli, "unfinished"); /* S-20 */
}

static int run_list(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_shadow_items items = { 0 };
    const char *word = vb_cli_opt(cli, "context");
    uint32_t context = 0;
    size_t shown = 0;
    int status = VB_EXIT_DONE, rc = 0;
    if (word && strcmp(word, "all") == 0)
        rc = vb_fail(&err, VB_E_USAGE, "--context: all contexts are listed without it");
    else if (word && !vb_context_from_word(word, &context))
        rc = vb_fail(&err, VB_E_USAGE, "--context: '%s' is not a context", word);
    if (rc == 0 && (rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err)) == 0)
        rc = vb_shadow_list(&l, &items, &err);
    vb_shadow_close(&l);
    for (size_t i = 0; rc == 0 && i < items.n; i++) {
        if (!is_shown(cli, &items.v[i], context))
            continue;
        shown++;
        if (cli->json)
            vb_cli_json(vb_shadow_item_json(&items.v[i]));
        else
            vb_shadow_item_text(&items.v[i]);
    }
    for (size_t i = 0; rc == 0 && i < items.troubles.n; i++) {
        fprintf(stderr, "vbackup: %s\n", items.troubles.v[i]);
        status = VB_EXIT_PARTIAL;
    }
    if (rc == 0 && (cli->argc || vb_cli_opt(cli, "set")) && !shown)
        rc = vb_fail(&err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy%s '%s'", cli->argc ? "" : " set",
                     cli->argc ? cli->argv[0] : vb_cli_opt(cli, "set"));
    else if (rc == 0 && !shown && !cli->json && !cli->quiet)
        fprintf(stderr, "vbackup: there are no shadow copies\n");
    vb_shadow_items_clear(&items);
    return rc < 0 ? vb_cli_fail(cli, &err) : status;
}

const struct vb_cli_verb vb_verb_shadow_list = { "shadow list", "[ID]", "show shadow copies with their properties", list_opts,
                                                 0, 1, run_list };

/* ---- providers, volumes ---- */

typedef void print_fn(const struct vb_cli *cli, const struct vb_msg *g);

/* One call whose answer is groups; each is printed. */
static int ask(struct vb_cli *cli, const char *call, uint16_t tag, print_fn *print)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_field_iter it;
    uint16_t t;
    const unsigned char *p;
    size_t n;
    int status = VB_EXIT_DONE;
    int rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err);
    if (rc == 0 && (rc = vb_shadow_call(&l, call, NULL, &err)) == 0) {
        vb_field_iter_init(&it, &l.reply);
        while (vb_field_next(&it, &t, &p, &n)) {
            struct vb_msg g = vb_msg_view(p, n);
            if (t == tag)
                print(cli, &g);
            if (t == VB_F_FAILED) {
                VB_AUTO_ERROR why = VB_ERROR_INIT;
                VB_AUTO_FREE char *name = vb_msg_str(&g, VB_F_PROVIDER);
                (void)vb_msg_error(&g, &why);
                fprintf(stderr, "vbackup: provider '%s' cannot be asked: %s\n", name ? name : "?", vb_error_text(&why));
                status = VB_EXIT_PARTIAL;
            }
        }
    }
    vb_shadow_close(&l);
    return rc < 0 ? vb_cli_fail(cli, &err) : status;
}

static const char *provider_type(uint64_t type)
{
    static const char *const WORDS[] = { "unknown", "system", "software", "hardware", "file-share" };
    return type < VB_COUNT(WORDS) ? WORDS[type] : WORDS[0];
}

static void print_provider(const struct vb_cli *cli, const struct vb_msg *g)
{
    VB_AUTO_FREE char *name = vb_msg_str(g, VB_F_NAME), *id = vb_msg_str(g, VB_F_PROVIDER_ID),
                      *version = vb_msg_str(g, VB_F_VERSION);
    const char *type = provider_type(vb_msg_u64(g, VB_F_TYPE, 0));
    uint64_t preference = vb_msg_u64(g, VB_F_PREFERENCE, 0);
    if (cli->json) {
        json_t *o = vb_cli_message("shadow_provider");
        json_object_set_new(o, "name", vb_cli_text(name));
        json_object_set_new(o, "provider_id", vb_cli_text(id));
        json_object_set_new(o, "type", json_string(type));
        json_object_set_new(o, "version", vb_cli_text(version));
        json_object_set_new(o, "preference", json_integer((json_int_t)preference));
        vb_cli_json(o);
    } else {
        printf("%-12s %s  %s, version %s, preference %ju\n", name ? name : "?", id ? id : "?", type,
               version ? version : "?", (uintmax_t)preference);
    }
}

static void print_volume(const struct vb_cli *cli, const struct vb_msg *g)
{
    VB_AUTO_FREE char *path = vb_msg_str(g, VB_F_PATH), *sub = vb_msg_str(g, VB_F_SUBVOLUME),
                      *device = vb_msg_str(g, VB_F_DEVICE), *fs = vb_msg_str(g, VB_F_FS_TYPE),
                      *provider = vb_msg_str(g, VB_F_PROVIDER), *remark = vb_msg_str(g, VB_F_REMARK);
    VB_AUTO_BUF attributes = VB_BUF_INIT;
    vb_attributes_text((uint32_t)vb_msg_u64(g, VB_F_ATTRIBUTES, 0), &attributes);
    if (cli->json) {
        json_t *o = vb_cli_message("shadow_volume");
        json_object_set_new(o, "volume", vb_cli_text(path));
        json_object_set_new(o, "subvolume", vb_cli_text(sub));
        json_object_set_new(o, "device", vb_cli_text(device));
        json_object_set_new(o, "file_system", vb_cli_text(fs));
        json_object_set_new(o, "provider", vb_cli_text(provider));
        json_object_set_new(o, "attributes", json_string(vb_buf_str(&attributes)));
        json_object_set_new(o, "remark", vb_cli_text(remark));
        vb_cli_json(o);
        return;
    }
    VB_AUTO_FREE char *shown = vb_escape_terminal(path ? path : "?", strlen(path ? path : "?"));
    printf("%-24s %-8s %s%s%s\n", shown, fs ? fs : "?", provider ? provider : "none", remark ? "  " : "",
           remark ? remark : "");
    if (cli->verbose && provider)
        printf("    attributes %s\n", vb_buf_str(&attributes));
}

static int run_providers(struct vb_cli *cli)
{
    return ask(cli, "providers", VB_F_PROVIDER, print_provider);
}

static int run_volumes(struct vb_cli *cli)
{
    return ask(cli, "volumes", VB_F_VOLUME, print_volume);
}

static const struct vb_opt host_opts[] = { HOST_OPT, { NULL, 0, NULL, NULL } };

const struct vb_cli_verb vb_verb_shadow_providers = { "shadow providers", "", "show the providers of a host", host_opts, 0, 0,
                                                      run_providers };
const struct vb_cli_verb vb_verb_shadow_volumes = { "shadow volumes", "", "show which provider would take which volume",
                                                    host_opts, 0, 0, run_volumes };

/* ---- writers: their states ---- */

static void print_writer(const struct vb_cli *cli, const char *name, const char *class_id, const char *instance,
                         const char *state, const struct vb_error *error)
{
    if (cli->json) {
        json_t *o = vb_cli_message("shadow_writer");
        json_object_set_new(o, "name", vb_cli_text(name));
        json_object_set_new(o, "writer_id", vb_cli_text(class_id));
        json_object_set_new(o, "instance_id", vb_cli_text(instance));
        json_object_set_new(o, "state", json_string(state));
        json_object_set_new(o, "code", error->code ? json_string(vb_code_name(error->code)) : json_null());
        json_object_set_new(o, "text", error->code ? vb_cli_text(vb_error_text(error)) : json_null());
        vb_cli_json(o);
        return;
    }
    printf("%-24s %s\n", name ? name : "?", state);
    if (class_id)
        printf("    class %s%s%s\n", class_id, instance ? ", instance " : "", instance ? instance : "");
    if (error->code)
        printf("    last error: %s\n", vb_error_text(error));
}

static int run_writers(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_link l = { .error = VB_ERROR_INIT };
    struct vb_msg q = VB_MSG_INIT(VB_M_IDENTIFY);
    struct vb_gather_host h = { 0 };
    int status = VB_EXIT_DONE;
    int rc = vb_shadow_open(&l, cli, VB_JOB_IDENTIFY, NULL, 0, &err);
    if (rc == 0 && (rc = vb_shadow_command(&l, &q, &err)) == 0) {
        vb_gather_read_reply(&h, &l.reply);
        for (size_t i = 0; i < h.n_writers; i++) {
            const struct vb_error none = VB_ERROR_INIT;
            print_writer(cli, h.writers[i]->name, h.writers[i]->writer_id, h.writers[i]->instance_id,
                         vb_writer_state_word(VB_WS_STABLE), &none);
        }
        for (size_t i = 0; i < h.n_failed; i++) {
            print_writer(cli, h.failed[i].writer, h.failed[i].class_id, NULL,
                         vb_writer_state_word(VB_WS_FAILED_AT_IDENTIFY), &h.failed[i].error);
            status = VB_EXIT_PARTIAL;
        }
    }
    vb_gather_host_clear(&h);
    vb_shadow_close(&l);
    return rc < 0 ? vb_cli_fail(cli, &err) : status;
}

const struct vb_cli_verb vb_verb_shadow_writers = { "shadow writers", "", "show the writers of a host and their states",
                                                    host_opts, 0, 0, run_writers };
