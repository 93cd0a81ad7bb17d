/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_options.c - options kept for the length of a run, and beyond the requester's life.
 */
#include "requester/run_options.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *keep(struct vb_run_opts *o, const char *s)
{
    if (!s)
        return NULL;
    vb_strv_add(&o->strings, s);
    return o->strings.v[o->strings.n - 1];
}

static struct vb_ask *keep_asks(struct vb_run_opts *o, const struct vb_ask *v, size_t n)
{
    struct vb_ask *a = vb_alloc_n(n + 1, sizeof *a);
    for (size_t i = 0; i < n; i++)
        a[i] = (struct vb_ask){ keep(o, v[i].host), keep(o, v[i].writer), keep(o, v[i].component) };
    return a;
}

static const char **keep_list(struct vb_run_opts *o, const char *const *v, size_t n, struct vb_strv *list)
{
    const char **a = vb_alloc_n(n + 1, sizeof *a);
    for (size_t i = 0; i < n; i++) {
        a[i] = keep(o, v[i]);
        vb_strv_add(list, v[i]);
    }
    return a;
}

void vb_run_opts_copy(struct vb_run_opts *to, const struct vb_run_options *from)
{
    memset(to, 0, sizeof *to);
    to->o = *from;
    struct vb_run_options *o = &to->o;
    o->front_end = keep(to, from->front_end);
    o->local_host = keep(to, from->local_host);
    o->asks = to->asks = keep_asks(to, from->asks, from->n_asks);
    o->excludes = to->excludes = keep_asks(to, from->excludes, from->n_excludes);
    to->writers = vb_alloc_n(from->n_writers + 1, sizeof *to->writers);
    for (size_t i = 0; i < from->n_writers; i++) {
        vb_strv_add(&to->strings, from->writers[i].writer);
        to->writers[i] = (struct vb_job_writer){ to->strings.v[to->strings.n - 1], from->writers[i].policy };
    }
    o->writers = to->writers;
    o->paths = to->paths = keep_list(to, from->paths, from->n_paths, &to->path_list);
    o->path_rules = to->path_rules =
        keep_list(to, from->path_rules, from->n_path_rules, &to->path_rule_list);
    o->requester = keep(to, from->requester);
    o->requester_host = keep(to, from->requester_host);
    o->user = keep(to, from->user);
    o->program = keep(to, from->program);
    o->job_name = keep(to, from->job_name);
    o->backup = keep(to, from->backup);
    o->backup_host = keep(to, from->backup_host);
    o->target_dir = keep(to, from->target_dir);
    for (size_t i = 0; from->maps && i < from->maps->n; i++)
        vb_strv_add(&to->maps, from->maps->v[i]);
    o->maps = &to->maps;
    if (o->backup_type == VB_BACKUP_UNDEFINED)
        o->backup_type = VB_BACKUP_FULL;
}

void vb_run_opts_clear(struct vb_run_opts *o)
{
    free(o->asks);
    free(o->excludes);
    free(o->writers);
    free(o->paths);
    free(o->path_rules);
    vb_strv_clear(&o->maps);
    vb_strv_clear(&o->path_list);
    vb_strv_clear(&o->path_rule_list);
    vb_strv_clear(&o->strings);
    memset(o, 0, sizeof *o);
}

/* ---- JSON ---- */

static void set_text(json_t *j, const char *key, const char *s)
{
    json_t *v = s ? json_string(s) : NULL;
    if (v)
        json_object_set_new(j, key, v);
}

static void set_list(json_t *j, const char *key, const char *const *v, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, json_string(v[i]));
    json_object_set_new(j, key, a);
}

void vb_run_opts_json(const struct vb_run_options *o, struct vb_buf *out)
{
    json_t *j = json_object(), *a;
    set_text(j, "front_end", o->front_end);
    set_text(j, "local_host", o->local_host);
    json_object_set_new(j, "min_consistency", json_integer(o->min_consistency));
    json_object_set_new(j, "freeze_limit_ms", json_integer((json_int_t)o->freeze_limit_ms));
    json_object_set_new(j, "lease_ms", json_integer((json_int_t)o->lease_ms));
    json_object_set_new(j, "overwrite", json_boolean(o->overwrite));
    json_object_set_new(j, "later_pass", json_boolean(o->later_pass));
    json_object_set_new(j, "verify", json_boolean(o->verify));
    json_object_set_new(j, "allow_live", json_boolean(o->allow_live));
    json_object_set_new(j, "allow_freeze", json_boolean(o->allow_freeze));
    json_object_set_new(j, "no_detector", json_boolean(o->no_detector));
    if (o->level_set)
        json_object_set_new(j, "level", json_integer(o->level));
    json_object_set_new(j, "writers", a = json_array());
    for (size_t i = 0; i < o->n_writers; i++) {
        json_t *w = json_object();
        set_text(w, "writer", o->writers[i].writer);
        json_object_set_new(w, "policy", json_integer(o->writers[i].policy));
        json_array_append_new(a, w);
    }
    set_list(j, "paths", o->paths, o->n_paths);
    set_list(j, "path_rules", o->path_rules, o->n_path_rules);
    set_text(j, "requester", o->requester);
    set_text(j, "requester_host", o->requester_host);
    set_text(j, "user", o->user);
    set_text(j, "program", o->program);
    set_text(j, "job", o->job_name);
    set_text(j, "target", o->target_dir);
    char *s = json_dumps(j, JSON_INDENT(1));
    vb_buf_add_str(out, s ? s : "{}");
    free(s);
    json_decref(j);
}

static const char *text(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static uint64_t number(const json_t *j, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(j, key));
    return v > 0 ? (uint64_t)v : 0;
}

static const char **list(const json_t *j, const char *key, size_t *n)
{
    const json_t *a = json_object_get(j, key);
    const char **v = vb_alloc_n(json_array_size(a) + 1, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (json_is_string(json_array_get(a, i)))
            v[(*n)++] = json_string_value(json_array_get(a, i));
    return v;
}

int vb_run_opts_from_json(struct vb_run_opts *o, const void *json, size_t n, struct vb_error *err)
{
    json_error_t je;
    json_t *j = json_loadb(json, n, 0, &je);
    if (!j)
        return vb_fail(err, VB_E_CORRUPT, "stored options of the run: line %d: %s", je.line, je.text);
    struct vb_run_options f = { 0 };
    f.front_end = text(j, "front_end");
    if (!f.front_end) {
        json_decref(j);
        return vb_fail(err, VB_E_CORRUPT, "stored options of the run: the front end is missing");
    }
    f.local_host = text(j, "local_host");
    f.min_consistency = (enum vb_consistency)number(j, "min_consistency");
    f.freeze_limit_ms = number(j, "freeze_limit_ms");
    f.lease_ms = number(j, "lease_ms");
    f.overwrite = json_is_true(json_object_get(j, "overwrite"));
    f.later_pass = json_is_true(json_object_get(j, "later_pass"));
    f.verify = json_is_true(json_object_get(j, "verify"));
    f.allow_live = json_is_true(json_object_get(j, "allow_live"));
    f.allow_freeze = json_is_true(json_object_get(j, "allow_freeze"));
    f.no_detector = json_is_true(json_object_get(j, "no_detector"));
    f.level_set = json_is_integer(json_object_get(j, "level"));
    f.level = (uint32_t)json_integer_value(json_object_get(j, "level"));
    const json_t *a = json_object_get(j, "writers");
    struct vb_job_writer *w = vb_alloc_n(json_array_size(a) + 1, sizeof *w);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const char *name = text(json_array_get(a, i), "writer");
        if (name)
            w[f.n_writers++] = (struct vb_job_writer){ vb_strdup(name),
                                                       (enum vb_writer_policy)number(json_array_get(a, i), "policy") };
    }
    f.writers = w;
    const char **paths = list(j, "paths", &f.n_paths), **excludes = list(j, "path_rules", &f.n_path_rules);
    f.paths = paths;
    f.path_rules = excludes;
    f.requester = text(j, "requester");
    f.requester_host = text(j, "requester_host");
    f.user = text(j, "user");
    f.program = text(j, "program");
    f.job_name = text(j, "job");
    f.target_dir = text(j, "target");
    vb_run_opts_copy(o, &f);
    for (size_t i = 0; i < f.n_writers; i++)
        free(w[i].writer);
    free(w);
    free(paths);
    free(excludes);
    json_decref(j);
    return 0;
}
