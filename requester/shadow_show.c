/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow_show.c - shadow copies for people, for programs, for shells and for the command of --exec.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/process.h"
#include "base/text.h"
#include "requester/shadow.h"

extern char **environ;

static json_t *attributes_json(uint32_t attributes)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    json_t *a = json_array();
    vb_attributes_text(attributes, &b);
    for (const char *p = vb_buf_str(&b), *e; *p; p = *e ? e + 1 : e) {
        e = strchrnul(p, ',');
        json_array_append_new(a, json_stringn(p, (size_t)(e - p)));
    }
    return a;
}

static const char *context_word(uint32_t attributes)
{
    const char *w = vb_context_word(attributes);
    return w ? w : "unknown";
}

static json_t *time_json(uint64_t wall_ms)
{
    VB_AUTO_FREE char *t = wall_ms ? vb_time_iso(wall_ms) : NULL;
    return t ? json_string(t) : json_null();
}

json_t *vb_shadow_item_json(const struct vb_shadow_item *i)
{
    json_t *o = vb_cli_message("shadow");
    json_object_set_new(o, "snapshot_id", vb_cli_text(i->id));
    json_object_set_new(o, "set_id", vb_cli_text(i->set));
    json_object_set_new(o, "snapshots_at_creation", json_integer((json_int_t)i->count));
    json_object_set_new(o, "device", vb_cli_text(i->path));
    json_object_set_new(o, "volume", vb_cli_text(i->volume));
    json_object_set_new(o, "subvolume", vb_cli_text(i->subvolume));
    json_object_set_new(o, "volume_device", vb_cli_text(i->device));
    json_object_set_new(o, "file_system", vb_cli_text(i->fs_type));
    json_object_set_new(o, "originating_machine", vb_cli_text(i->host));
    json_object_set_new(o, "service_machine", vb_cli_text(i->service));
    json_object_set_new(o, "exposed_path", vb_cli_text(i->exposed));
    json_object_set_new(o, "provider", vb_cli_text(i->provider));
    json_object_set_new(o, "provider_id", vb_cli_text(i->provider_id));
    json_object_set_new(o, "context", json_string(context_word(i->attributes)));
    json_object_set_new(o, "attributes", attributes_json(i->attributes));
    json_object_set_new(o, "created", time_json(i->wall_ms));
    json_object_set_new(o, "state", json_string(vb_snapshot_state_word(i->state)));
    json_object_set_new(o, "present", json_boolean(i->active));
    json_object_set_new(o, "orphan", json_boolean(i->orphan));
    json_object_set_new(o, "note", vb_cli_text(i->note));
    return o;
}

static void line(const char *name, const char *text)
{
    if (!text || !*text)
        return;
    VB_AUTO_FREE char *shown = vb_escape_terminal(text, strlen(text));
    printf("    %-10s %s\n", name, shown);
}

void vb_shadow_item_text(const struct vb_shadow_item *i)
{
    VB_AUTO_FREE char *when = i->wall_ms ? vb_time_iso(i->wall_ms) : vb_strdup("not made yet");
    VB_AUTO_BUF attributes = VB_BUF_INIT;
    vb_attributes_text(i->attributes & ~VB_SA_CONTEXT_BITS, &attributes);
    printf("%s  %s  %s%s%s\n", i->id, when, context_word(i->attributes), i->active ? "" : ", MISSING",
           i->orphan ? ", orphan" : "");
    VB_AUTO_FREE char *set = vb_printf("%s (%ju at creation), %s", i->set, (uintmax_t)i->count,
                                       vb_snapshot_state_word(i->state));
    line("set", set);
    line("volume", i->subvolume ? i->subvolume : i->volume);
    line("device", i->path);
    line("provider", i->provider);
    line("attributes", vb_buf_str(&attributes));
    line("exposed", i->exposed);
    line("machine", i->host);
    line("note", i->note);
}

/* ---- the set that was made ---- */

static json_t *component_json(const struct vb_writer_components *w, const struct vb_component *c)
{
    json_t *o = json_object();
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
    json_object_set_new(o, "writer", vb_cli_text(w->name ? w->name : w->writer_id));
    json_object_set_new(o, "component", vb_cli_text(full));
    json_object_set_new(o, "consistency", json_string(vb_consistency_word(c->consistency)));
    return o;
}

static void print_json(const struct vb_shadow_link *l, const struct vb_shadow_make *m)
{
    json_t *o = vb_cli_message(m->dry_run ? "shadow_plan" : "shadow_set"), *list = json_array(), *comps = json_array();
    json_object_set_new(o, "host", vb_cli_text(l->host));
    json_object_set_new(o, "set_id", m->dry_run ? json_null() : vb_cli_text(m->bcd->snapshot_set_id));
    json_object_set_new(o, "context", json_string(context_word(m->attributes)));
    json_object_set_new(o, "attributes", attributes_json(m->attributes));
    json_object_set_new(o, "window_us", json_integer((json_int_t)m->window_us));
    for (size_t i = 0; i < m->n; i++) {
        json_t *s = json_object();
        json_object_set_new(s, "snapshot_id", vb_cli_text(m->v[i].id));
        json_object_set_new(s, "volume", vb_cli_text(m->v[i].volume));
        json_object_set_new(s, "provider", vb_cli_text(m->v[i].provider));
        json_object_set_new(s, "device", vb_cli_text(m->v[i].path));
        json_object_set_new(s, "file_system", vb_cli_text(m->v[i].fs_type));
        json_object_set_new(s, "atomic", json_boolean(m->v[i].atomic));
        json_object_set_new(s, "remark", vb_cli_text(m->v[i].remark));
        json_array_append_new(list, s);
    }
    for (size_t i = 0; m->dry_run && i < m->bcd->n_snapshots; i++) {
        const struct vb_snapshot_record *r = &m->bcd->snapshots[i];
        json_t *s = json_object();
        json_object_set_new(s, "volume", vb_cli_text(r->mount_point));
        json_object_set_new(s, "provider", vb_cli_text(r->provider));
        json_object_set_new(s, "file_system", vb_cli_text(r->fs_type));
        json_object_set_new(s, "atomic", json_boolean(r->atomic));
        json_object_set_new(s, "remark", vb_cli_text(r->remark));
        json_array_append_new(list, s);
    }
    for (size_t i = 0; i < m->bcd->n_writers; i++)
        for (size_t k = 0; k < m->bcd->writers[i].n_components; k++)
            json_array_append_new(comps, component_json(&m->bcd->writers[i], &m->bcd->writers[i].components[k]));
    json_object_set_new(o, "snapshots", list);
    json_object_set_new(o, "components", comps);
    vb_cli_json(o);
}

void vb_shadow_make_print(const struct vb_shadow_link *l, const struct vb_shadow_make *m)
{
    if (l->cli->json) {
        print_json(l, m);
        return;
    }
    if (m->dry_run)
        printf("would be made on host '%s', context %s:\n", l->host, context_word(m->attributes));
    else
        printf("set %s on host '%s', context %s, window %.1f ms\n", m->bcd->snapshot_set_id, l->host,
               context_word(m->attributes), (double)m->window_us / 1000.0);
    for (size_t i = 0; i < m->n; i++) {
        printf("  %s\n", m->v[i].id);
        line("volume", m->v[i].volume);
        line("provider", m->v[i].provider);
        line("device", m->v[i].path);
        line("remark", m->v[i].remark);
    }
    for (size_t i = 0; m->dry_run && i < m->bcd->n_snapshots; i++) {
        line("volume", m->bcd->snapshots[i].mount_point);
        line("provider", m->bcd->snapshots[i].provider);
        line("remark", m->bcd->snapshots[i].remark);
    }
    for (size_t i = 0; i < m->bcd->n_writers; i++)
        for (size_t k = 0; k < m->bcd->writers[i].n_components; k++) {
            const struct vb_component *c = &m->bcd->writers[i].components[k];
            VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
            VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
            printf("  component %s of writer '%s'%s%s\n", shown,
                   m->bcd->writers[i].name ? m->bcd->writers[i].name : m->bcd->writers[i].writer_id,
                   m->dry_run ? "" : ", consistency ", m->dry_run ? "" : vb_consistency_word(c->consistency));
        }
    fflush(stdout);
}

/* ---- for the shell and for commands ---- */

void vb_shadow_variables(const struct vb_shadow_make *m, struct vb_strv *out)
{
    vb_strv_take(out, vb_printf("VBACKUP_SHADOW_SET=%s", m->bcd->snapshot_set_id ? m->bcd->snapshot_set_id : ""));
    vb_strv_take(out, vb_printf("VBACKUP_SHADOW_COUNT=%zu", m->n));
    for (size_t i = 0; i < m->n; i++) {
        vb_strv_take(out, vb_printf("VBACKUP_SHADOW_ID_%zu=%s", i + 1, m->v[i].id ? m->v[i].id : ""));
        vb_strv_take(out, vb_printf("VBACKUP_SHADOW_VOLUME_%zu=%s", i + 1, m->v[i].volume ? m->v[i].volume : ""));
        vb_strv_take(out, vb_printf("VBACKUP_SHADOW_PATH_%zu=%s", i + 1, m->v[i].path ? m->v[i].path : ""));
    }
}

static int write_file(const char *file, const struct vb_buf *b, struct vb_error *err)
{
    return vb_write_file_at(AT_FDCWD, file, b->data, b->len, 0600, err);
}

int vb_shadow_write_script(const struct vb_shadow_make *m, const char *file, struct vb_error *err)
{
    struct vb_strv vars = { NULL, 0, 0 };
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_shadow_variables(m, &vars);
    for (size_t i = 0; i < vars.n; i++) {
        const char *eq = strchr(vars.v[i], '=');
        vb_buf_add(&b, vars.v[i], (size_t)(eq - vars.v[i]) + 1);
        vb_buf_add_char(&b, '\'');
        for (const char *p = eq + 1; *p; p++) {
            if (*p == '\'')
                vb_buf_add_str(&b, "'\\'");
            vb_buf_add_char(&b, *p);
        }
        vb_buf_add_str(&b, "'\n");
    }
    vb_strv_clear(&vars);
    return write_file(file, &b, err);
}

static json_t *xml_json(const struct vb_buf *b)
{
    return json_stringn((const char *)b->data, b->len);
}

int vb_shadow_write_bundle(const struct vb_shadow_make *m, const struct vb_strv *aliases, const char *host,
                           const char *file, struct vb_error *err)
{
    VB_AUTO_BUF xml = VB_BUF_INIT;
    json_t *o = json_object(), *set = json_object(), *list = json_array(), *writers = json_array(), *names = json_object();
    int rc = vb_components_write(m->bcd, &xml, err);
    json_object_set_new(o, "format", json_string("vbackup-shadow-bundle"));
    json_object_set_new(o, "schema", json_integer(1));
    json_object_set_new(set, "set_id", vb_cli_text(m->bcd->snapshot_set_id));
    json_object_set_new(set, "machine", vb_cli_text(host));
    json_object_set_new(set, "attributes", json_integer((json_int_t)m->attributes));
    for (size_t i = 0; i < m->n; i++) {
        json_t *s = json_object();
        json_object_set_new(s, "snapshot_id", vb_cli_text(m->v[i].id));
        json_object_set_new(s, "volume", vb_cli_text(m->v[i].volume));
        json_object_set_new(s, "provider", vb_cli_text(m->v[i].provider));
        json_array_append_new(list, s);
    }
    json_object_set_new(set, "snapshots", list);
    for (size_t i = 0; aliases && i < aliases->n; i++) {
        const char *eq = strchr(aliases->v[i], '=');
        VB_AUTO_FREE char *name = eq ? vb_strndup(aliases->v[i], (size_t)(eq - aliases->v[i])) : NULL;
        if (name)
            json_object_set_new(names, name, vb_cli_text(eq + 1));
    }
    for (size_t i = 0; rc == 0 && i < m->writers.n_writers; i++) {
        VB_AUTO_BUF wm = VB_BUF_INIT;
        json_t *w = json_object();
        rc = vb_wm_write(m->writers.writers[i], &wm, err);
        json_object_set_new(w, "name", vb_cli_text(m->writers.writers[i]->name));
        json_object_set_new(w, "metadata", xml_json(&wm));
        json_array_append_new(writers, w);
    }
    json_object_set_new(o, "set", set);
    json_object_set_new(o, "aliases", names);
    json_object_set_new(o, "backup_components", xml_json(&xml));
    json_object_set_new(o, "writers", writers);
    char *text = rc == 0 ? json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(o);
    if (!text)
        return rc < 0 ? -1 : vb_fail(err, VB_E_UNEXPECTED, "the bundle of documents cannot be written as JSON");
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_addf(&b, "%s\n", text);
    free(text);
    return write_file(file, &b, err);
}

int vb_shadow_exec(struct vb_shadow_link *l, const char *command, const struct vb_strv *variables, struct vb_error *err)
{
    struct vb_strv words = { NULL, 0, 0 };
    size_t n = 0, k = 0;
    for (const char *p = command; *p;) {
        size_t len = strcspn(p, " \t");
        if (len)
            vb_strv_take(&words, vb_strndup(p, len));
        p += len + strspn(p + len, " \t");
    }
    if (!words.n)
        return vb_fail(err, VB_E_USAGE, "the command to run is empty");
    while (environ[n])
        n++;
    VB_AUTO_FREE const char **env = vb_alloc_n(n + variables->n + 1, sizeof *env);
    VB_AUTO_FREE const char **argv = vb_alloc_n(words.n + 1, sizeof *argv);
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "VBACKUP_SHADOW_", 15) != 0)
            env[k++] = environ[i];
    for (size_t i = 0; i < variables->n; i++)
        env[k++] = variables->v[i];
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.v[i];
    struct vb_spawn s = VB_SPAWN_INIT;
    s.argv = argv;
    s.search = !strchr(words.v[0], '/');
    s.env = env;
    s.stdin_fd = STDIN_FILENO;
    s.stdout_fd = l->cli->json ? STDERR_FILENO : STDOUT_FILENO; /* standard output is JSON and nothing else */
    pid_t pid = vb_spawn(&s, err);
    vb_strv_clear(&words);
    if (pid < 0) {
        vb_context(err, "command '%s' cannot be run", command);
        return -1;
    }
    int status = vb_shadow_wait_child(l, pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 1;
}
