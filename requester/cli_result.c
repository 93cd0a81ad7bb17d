/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run tells while it goes and when it ends, for people and for machines. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli_run.h"
#include "requester/show.h"

static void on_plan(void *arg, const struct vb_plan *p)
{
    struct vb_cli_run *r = arg;
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!r->show_plan)
        return;
    if (r->cli->json)
        vb_plan_json(p, &b);
    else
        vb_plan_text(p, &b);
    fwrite(b.data, 1, b.len, stdout);
    if (b.len && b.data[b.len - 1] != '\n')
        putchar('\n');
    fflush(stdout);
}

static void on_event(void *arg, const struct vb_run_event *e)
{
    struct vb_cli_run *r = arg;
    if (r->cli->verbose && !r->cli->json)
        vb_progress_note(r->progress, "  %-10s %-8s %-22s %s%s%s", e->host ? e->host : "requester", e->kind ? e->kind : "",
                         e->event ? e->event : "", e->writer ? e->writer : "", e->text ? "  " : "", e->text ? e->text : "");
}

static void on_progress(void *arg, const struct vb_run_progress *p)
{
    struct vb_cli_run *r = arg;
    if (p->phase == VB_PHASE_RUN)
        vb_progress_update(r->progress, p->files, p->bytes_done, p->bytes_total, p->estimate);
}

static void on_warning(void *arg, const char *host, const struct vb_error *w)
{
    struct vb_cli_run *r = arg;
    if (r->cli->json) {
        json_t *o = vb_cli_message("warning");
        json_object_set_new(o, "host", vb_cli_text(host));
        json_object_set_new(o, "code", json_string(vb_code_name(w->code)));
        json_object_set_new(o, "text", vb_cli_text(vb_error_text(w)));
        json_object_set_new(o, "hint", vb_cli_text(w->hint));
        vb_cli_json(o);
        return;
    }
    vb_progress_note(r->progress, "vbackup: warning: %s%s%s", host ? host : "", host ? ": " : "", vb_error_text(w));
    if (w->hint)
        vb_progress_note(r->progress, "  hint: %s", w->hint);
}

static char *component_name(const struct vb_run_result *res, const struct vb_run_component *c)
{
    const char *path = c->logical_path ? c->logical_path : "";
    VB_AUTO_FREE char *raw =
        vb_printf("%s/%s:%s%s%s", res->hosts[c->host].name, c->instance_name ? c->instance_name : c->writer_name, path,
                  *path ? "\\" : "", c->name);
    return vb_escape_terminal(raw, strlen(raw));
}

static const char *component_state(const struct vb_cli_run *r, const struct vb_run_component *c)
{
    if (r->kind == VB_JOB_RESTORE)
        return c->completeness == VB_FAILED ? "failed" : "restored";
    return vb_completeness_word(c->completeness);
}

static void component_text(const struct vb_cli_run *r, const struct vb_run_result *res, const struct vb_run_component *c)
{
    VB_AUTO_FREE char *name = component_name(res, c), *size = vb_size_human(c->bytes);
    printf("  %-44s %-9s %-12s %7llu files %10s\n", name, component_state(r, c),
           r->kind == VB_JOB_RESTORE ? "" : vb_consistency_word(c->consistency), (unsigned long long)c->files, size);
    if (c->left_files || c->left_dirs)
        printf("    left out by exclusions: %llu file%s, %llu director%s\n", (unsigned long long)c->left_files,
               c->left_files == 1 ? "" : "s", (unsigned long long)c->left_dirs, c->left_dirs == 1 ? "y" : "ies");
    if (c->code != VB_OK && c->text) {
        VB_AUTO_FREE char *text = vb_escape_terminal(c->text, strlen(c->text));
        printf("    %s: %s\n", vb_code_name(c->code), text);
        if (c->hint) {
            VB_AUTO_FREE char *hint = vb_escape_terminal(c->hint, strlen(c->hint));
            printf("    hint: %s\n", hint);
        }
    }
}

/* Whether a component's line says it already: once is enough. */
static bool said(const struct vb_run_result *res, const char *text)
{
    for (size_t i = 0; text && i < res->n_components; i++)
        if (res->components[i].code != VB_OK && res->components[i].text && strstr(res->components[i].text, text))
            return true;
    return false;
}

static void result_text(const struct vb_cli_run *r, const struct vb_run_result *res)
{
    VB_AUTO_FREE char *size = vb_size_human(res->bytes), *added = vb_size_human(res->added_bytes);
    VB_AUTO_FREE char *took = vb_duration_human(res->finished_wall_ms - res->started_wall_ms);
    for (size_t i = 0; i < res->n_hosts; i++)
        if (res->hosts[i].code != VB_OK && res->hosts[i].text && !said(res, res->hosts[i].text)) {
            VB_AUTO_FREE char *text = vb_escape_terminal(res->hosts[i].text, strlen(res->hosts[i].text));
            printf("host %s: %s\n", res->hosts[i].name, text);
            if (res->hosts[i].hint)
                printf("  hint: %s\n", res->hosts[i].hint);
        }
    for (size_t i = 0; i < res->n_components; i++)
        component_text(r, res, &res->components[i]);
    if (r->kind == VB_JOB_RESTORE) {
        if (res->exit == VB_EXIT_DONE || res->exit == VB_EXIT_PARTIAL)
            printf("%s: %zu component%s, %llu file%s, %s, in %s\n",
                   res->exit == VB_EXIT_DONE ? "restored" : "partly restored", res->n_components,
                   res->n_components == 1 ? "" : "s", (unsigned long long)res->files, res->files == 1 ? "" : "s", size,
                   took);
        return;
    }
    for (size_t i = 0; i < res->n_hosts; i++)
        if (res->hosts[i].window_us)
            printf("  freeze window on %s: %.1f ms\n", res->hosts[i].name, (double)res->hosts[i].window_us / 1000.0);
    if (res->backup_id)
        printf("backup %.8s %s, consistency %s: %llu file%s, %s (%s added), in %s\n", res->backup_id,
               vb_completeness_word(res->completeness), vb_consistency_word(res->consistency),
               (unsigned long long)res->files, res->files == 1 ? "" : "s", size, added, took);
}

static void result_json(const struct vb_cli_run *r, const struct vb_run_result *res)
{
    json_t *o = vb_cli_message("summary"), *hosts = json_array(), *list = json_array();
    json_object_set_new(o, "verb", json_string(r->kind == VB_JOB_RESTORE ? "restore" : "backup"));
    json_object_set_new(o, "exit_status", json_integer(res->exit));
    json_object_set_new(o, "run", vb_cli_text(res->run_id));
    json_object_set_new(o, "backup", vb_cli_text(res->backup_id));
    json_object_set_new(o, "state", json_string(vb_completeness_word(res->completeness)));
    json_object_set_new(o, "consistency", json_string(vb_consistency_word(res->consistency)));
    json_object_set_new(o, "files", json_integer((json_int_t)res->files));
    json_object_set_new(o, "bytes", json_integer((json_int_t)res->bytes));
    json_object_set_new(o, "added_bytes", json_integer((json_int_t)res->added_bytes));
    json_object_set_new(o, "milliseconds", json_integer((json_int_t)(res->finished_wall_ms - res->started_wall_ms)));
    json_object_set_new(o, "milliseconds_to_first_freeze", json_integer((json_int_t)res->first_freeze_ms));
    json_object_set_new(o, "warnings", json_integer((json_int_t)res->warnings));
    for (size_t i = 0; i < res->n_hosts; i++) {
        json_t *h = json_object();
        json_object_set_new(h, "name", vb_cli_text(res->hosts[i].name));
        json_object_set_new(h, "code", res->hosts[i].code ? json_string(vb_code_name(res->hosts[i].code)) : json_null());
        json_object_set_new(h, "text", vb_cli_text(res->hosts[i].text));
        json_object_set_new(h, "hint", vb_cli_text(res->hosts[i].hint));
        json_object_set_new(h, "window_microseconds", json_integer((json_int_t)res->hosts[i].window_us));
        json_object_set_new(h, "window_phases", vb_show_phases_json(res->hosts[i].phases, res->hosts[i].n_phases));
        json_object_set_new(h, "skew_microseconds", json_integer((json_int_t)res->hosts[i].skew_us));
        json_array_append_new(hosts, h);
    }
    for (size_t i = 0; i < res->n_components; i++) {
        const struct vb_run_component *c = &res->components[i];
        json_t *j = json_object();
        json_object_set_new(j, "host", vb_cli_text(res->hosts[c->host].name));
        json_object_set_new(j, "writer", vb_cli_text(c->writer_name));
        json_object_set_new(j, "instance_name", vb_cli_text(c->instance_name));
        json_object_set_new(j, "logical_path", vb_cli_text(c->logical_path ? c->logical_path : ""));
        json_object_set_new(j, "name", vb_cli_text(c->name));
        json_object_set_new(j, "explicit", json_boolean(c->is_explicit));
        json_object_set_new(j, "state", json_string(component_state(r, c)));
        json_object_set_new(j, "consistency", json_string(vb_consistency_word(c->consistency)));
        json_object_set_new(j, "files", json_integer((json_int_t)c->files));
        json_object_set_new(j, "bytes", json_integer((json_int_t)c->bytes));
        json_object_set_new(j, "left_out_files", json_integer((json_int_t)c->left_files));
        json_object_set_new(j, "left_out_directories", json_integer((json_int_t)c->left_dirs));
        json_object_set_new(j, "code", c->code ? json_string(vb_code_name(c->code)) : json_null());
        json_object_set_new(j, "text", vb_cli_text(c->text));
        json_object_set_new(j, "hint", vb_cli_text(c->hint));
        json_array_append_new(list, j);
    }
    json_object_set_new(o, "hosts", hosts);
    json_object_set_new(o, "components", list);
    if (res->error.code)
        json_object_set_new(o, "error", vb_cli_text(vb_error_text(&res->error)));
    vb_cli_json(o);
}

static void on_done(void *arg, const struct vb_run_result *res)
{
    struct vb_cli_run *r = arg;
    vb_progress_free(r->progress);
    r->progress = NULL;
    r->status = (int)res->exit;
    r->kind = res->kind; /* only now known when a run is resumed */
    if (r->show_plan) { /* the plan was the result */
        if (res->error.code)
            vb_cli_fail(r->cli, &res->error);
    } else {
        if (r->cli->json)
            result_json(r, res);
        else
            result_text(r, res);
        if (res->error.code && !r->cli->json && !said(res, res->error.text))
            vb_cli_fail(r->cli, &res->error);
    }
    vb_loop_stop(r->loop, 0);
}

const struct vb_run_handler vb_cli_run_handler = { on_plan, on_event, on_progress, on_warning, on_done };
