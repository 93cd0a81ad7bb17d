/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup key sheet, recover-requester: what is kept on paper, and a requester made anew from it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/loop.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/kit.h"
#include "requester/password.h"
#include "store/crypto.h"
#include "store/repository.h"

static uint64_t wall_ms(void)
{
    struct vb_loop *loop = vb_loop_new();
    uint64_t now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    return now;
}

/* ---- key sheet ---- */

static int run_sheet(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char machine[256] = "";
    const char *location = vb_cli_repository(cli, &err);
    struct vb_repo *r = location ? vb_cli_open(cli, VB_REPO_READ, &err) : NULL;
    uint8_t *secret = vb_secret_alloc(VB_SHEET_SECRET);
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_FREE char *when = vb_time_iso(wall_ms());
    if (!r || (vb_repo_info(r)->encrypted && vb_repo_secret(r, secret, &err) < 0)) {
        vb_repo_close(r);
        vb_secret_free(secret, VB_SHEET_SECRET);
        return vb_cli_fail(cli, &err);
    }
    if (gethostname(machine, sizeof machine - 1) < 0)
        machine[0] = '\0';
    VB_AUTO_FREE char *full = strstr(location, "://") ? vb_strdup(location) : realpath(location, NULL);
    vb_secret_buf_reserve(&out, 8192);
    vb_sheet_print(vb_repo_info(r)->id, full ? full : location, machine, when, vb_repo_info(r)->encrypted ? secret : NULL, &out);
    if (cli->json) {
        json_t *o = vb_cli_message("sheet");
        json_object_set_new(o, "repository", json_string(vb_repo_info(r)->id));
        json_object_set_new(o, "text", vb_cli_text(vb_buf_str(&out)));
        vb_cli_json(o);
    } else {
        fwrite(out.data, 1, out.len, stdout);
        fflush(stdout);
        if (!cli->quiet && isatty(STDOUT_FILENO) != 1)
            fprintf(stderr, "vbackup: what was written is a secret: print it, and remove the file\n");
    }
    vb_wipe(out.data, out.len);
    vb_secret_free(secret, VB_SHEET_SECRET);
    vb_repo_close(r);
    return VB_EXIT_DONE;
}

static const struct vb_opt sheet_opts[] = { { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_key_sheet = { "key sheet", "", "print what must be kept on paper", sheet_opts, 0, 0, run_sheet };

/* ---- recover-requester ---- */

struct recover {
    struct vb_cli *cli;
    const char *target;
    struct vb_repo *repo;
    struct vb_catalog_entry *entry;
    json_t *kit;
    bool doubtful; /* made with a write-only key */
    size_t written;
};

static int read_sheet(struct vb_cli *cli, struct vb_sheet *sheet, struct vb_error *err)
{
    const char *file = vb_cli_opt(cli, "sheet");
    VB_CLEANUP(vb_secret_buf_clear) struct vb_buf text = VB_BUF_INIT;
    if (!file) {
        vb_fail(err, VB_E_USAGE, "recover-requester needs --sheet FILE: what 'vbackup key sheet' has printed, typed in");
        return -1;
    }
    vb_secret_buf_reserve(&text, 65537);
    if (vb_read_file_at(AT_FDCWD, file, 65536, &text, err) < 0)
        return -1;
    return vb_sheet_read(vb_buf_str(&text), sheet, err);
}

static int open_with_sheet(struct recover *x, const struct vb_sheet *sheet, struct vb_error *err)
{
    const char *given = vb_cli_opt(x->cli, "repo"), *location = given ? given : sheet->location;
    struct vb_repo_auth auth = { .given = sheet->has_secret, .storage = vb_settings_storage(&x->cli->settings),
                                 .root = sheet->has_secret ? sheet->secret : NULL,
                                 .memory = vb_settings_memory(&x->cli->settings) };
    if (!location)
        return vb_fail(err, VB_E_USAGE, "the sheet has no line 'location': give --repo LOCATION");
    x->repo = vb_repo_open_auth(location, VB_REPO_READ, &auth, err);
    if (!x->repo)
        return -1;
    if (strcmp(vb_repo_info(x->repo)->id, sheet->id) != 0)
        return vb_fail(err, VB_E_ACCESS_DENIED, "'%s' is the repository %s, and the sheet is of another", location,
                       vb_repo_info(x->repo)->id);
    return 0;
}

/* The newest backup that has the document; some are made with other programs. */
struct search {
    struct vb_catalog_entry *found;
    char doubtful[VB_GUID_LEN + 1]; /* the newest made with a write-only key: its holder may have made up what is in it */
};

static int newest(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct search *s = arg;
    (void)path, (void)damage;
    if (!*entry || !vb_catalog_find_document(*entry, VB_KIT_DOCUMENT, NULL, NULL))
        return 0;
    if ((*entry)->by_writer_only) {
        memcpy(s->doubtful, (*entry)->id, sizeof s->doubtful);
    } else {
        vb_catalog_entry_free(s->found);
        s->found = VB_STEAL(*entry);
    }
    return 0;
}

static int load_kit(struct recover *x, struct vb_error *err)
{
    struct search s = { .found = NULL };
    VB_AUTO_BUF b = VB_BUF_INIT;
    int rc = 0;
    if (x->cli->argc > 0)
        s.found = vb_repo_find(x->repo, x->cli->argv[0], NULL, err);
    else
        rc = vb_repo_list(x->repo, newest, &s, err);
    if (rc < 0 || (!s.found && x->cli->argc > 0))
        return -1;
    x->entry = s.found;
    const struct vb_catalog_document *d = s.found ? vb_catalog_find_document(s.found, VB_KIT_DOCUMENT, NULL, NULL) : NULL;
    if (!d) {
        vb_fail(err, VB_E_NOT_FOUND, "no backup holds the configuration of a requester%s",
                s.doubtful[0] ? ", but for those made with a write-only key" : "");
        if (s.doubtful[0])
            vb_hint(err, "whoever has the host of such a key can have made it up: look at it with --target DIR %.8s", s.doubtful);
        return -1;
    }
    x->doubtful = s.found->by_writer_only;
    if (x->doubtful && !x->target) {
        vb_fail(err, VB_E_GUARD, "backup %.8s was made with a write-only key: whoever has that host chose its files and their "
                "places", x->entry->id);
        vb_hint(err, "write them below a new directory, and look at each: --target DIR");
        return -1;
    }
    if (vb_repo_get_bytes(x->repo, VB_CHUNK_DOC, &d->content, VB_KIT_MAX, &b, err) < 0)
        return -1;
    x->kit = json_loadb((const char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_array(json_object_get(x->kit, "files")))
        return vb_fail(err, VB_E_CORRUPT, "the configuration in backup %.8s is not what a requester stores", x->entry->id);
    return 0;
}

/* Where it goes; only absolute and clean paths are taken. */
static char *place_of(const struct recover *x, const char *path)
{
    if (!path || *path != '/')
        return NULL;
    VB_AUTO_FREE char *clean = vb_path_clean(path);
    for (const char *p = clean; (p = strstr(p, "/..")); p += 3)
        if (p[3] == '/' || !p[3])
            return NULL;
    if (!x->target)
        return VB_STEAL(clean);
    return vb_printf("%s%s", x->target, clean);
}

static int each_file(struct recover *x, bool write, struct vb_error *err)
{
    size_t i;
    json_t *f;
    struct stat st;
    json_array_foreach(json_object_get(x->kit, "files"), i, f) {
        const char *text = json_string_value(json_object_get(f, "text")), *kind = json_string_value(json_object_get(f, "kind"));
        bool known_hosts = kind && strcmp(kind, "known-hosts") == 0;
        VB_AUTO_FREE char *path = place_of(x, json_string_value(json_object_get(f, "path")));
        if (!path || !text || !kind || (!known_hosts && strcmp(kind, "configuration") != 0))
            return vb_fail(err, VB_E_CORRUPT, "the configuration in backup %.8s is not what a requester stores", x->entry->id);
        if (!write) {
            if (lstat(path, &st) == 0 && (x->doubtful || !vb_cli_flag(x->cli, "force"))) {
                vb_fail(err, VB_E_GUARD, "'%s' is there already", path);
                vb_hint(err, "%s", x->doubtful ? "give --target DIR with a new directory"
                                               : "give --target DIR to look at it first, or --force to replace what is there");
                return -1;
            }
            continue;
        }
        VB_AUTO_FREE char *up = vb_strndup(path, (size_t)(strrchr(path, '/') - path));
        if ((*up && vb_mkdirs_at(AT_FDCWD, up, 0755, err) < 0) ||
            vb_write_file_at(AT_FDCWD, path, text, strlen(text), known_hosts ? 0644 : 0600, err) < 0) /* of all users */
            return -1;
        x->written++;
        if (!x->cli->json && !x->cli->quiet) {
            VB_AUTO_FREE char *shown = vb_escape_terminal(path, strlen(path));
            printf("written: %s\n", shown);
        }
    }
    return 0;
}

static void tell(const struct recover *x, const char *key_id)
{
    size_t i;
    json_t *e, *elsewhere = json_object_get(x->kit, "elsewhere");
    if (x->cli->json) {
        json_t *o = vb_cli_message("recovered");
        json_object_set_new(o, "backup", json_string(x->entry->id));
        json_object_set_new(o, "files", json_integer((json_int_t)x->written));
        json_object_set_new(o, "key", *key_id ? json_string(key_id) : json_null());
        json_object_set(o, "elsewhere", elsewhere);
        vb_cli_json(o);
        return;
    }
    if (x->cli->quiet)
        return;
    VB_AUTO_FREE char *when = vb_time_iso(x->entry->started_ms);
    printf("%zu file%s as of backup %.8s of %s\n", x->written, x->written == 1 ? "" : "s", x->entry->id, when);
    if (*key_id)
        printf("key %.8s added: its password opens the repository\n", key_id);
    json_array_foreach(elsewhere, i, e) {
        const char *path = json_string_value(json_object_get(e, "path"));
        VB_AUTO_FREE char *shown = vb_escape_terminal(path ? path : "", path ? strlen(path) : 0);
        printf("to be made anew: %s (%s)\n", shown, json_string_value(json_object_get(e, "key")));
    }
}

static int run_recover(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct recover x = { .cli = cli, .target = vb_cli_opt(cli, "target") };
    const char *password = vb_cli_opt(cli, "new-password-file");
    char key_id[VB_GUID_LEN + 1] = "";
    struct vb_sheet *sheet = vb_secret_alloc(sizeof *sheet);
    int rc = read_sheet(cli, sheet, &err);
    if (rc == 0)
        rc = open_with_sheet(&x, sheet, &err);
    if (rc == 0)
        rc = load_kit(&x, &err);
    if (rc == 0)
        rc = each_file(&x, false, &err);
    if (rc == 0 && password) {
        struct vb_repo_auth auth;
        vb_password_new(&auth, password);
        struct vb_repo_key_params p = { &auth, "recovered", NULL, wall_ms(), vb_password_cost() };
        rc = vb_repo_key_add(x.repo, &p, key_id, &err);
    }
    if (rc == 0 && each_file(&x, true, &err) < 0) {
        rc = -1;
        if (*key_id) /* else each try would leave one */
            vb_repo_key_remove(x.repo, key_id, NULL);
    }
    if (rc == 0)
        tell(&x, key_id);
    vb_sheet_clear(sheet);
    vb_secret_free(sheet, sizeof *sheet);
    json_decref(x.kit);
    vb_catalog_entry_free(x.entry);
    vb_repo_close(x.repo);
    return rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

static const struct vb_opt recover_opts[] = {
    { "sheet", 0, "FILE", "what 'vbackup key sheet' has printed, typed in" },
    { "target", 0, "DIR", "write the files below this directory instead of to their places" },
    { "new-password-file", 0, "FILE", "add a key with this password: the first line" },
    { "force", 0, NULL, "replace files that are there" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_recover_requester = { "recover-requester", "--sheet FILE [BACKUP]",
                                                       "make a lost requester anew from the repository and its sheet", recover_opts,
                                                       0, 1, run_recover };
