/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/plan_json.c - the plan for programs, and back.
 *
 * Members stand in a fixed order; references are indices into the document's own lists.  Reading checks every index, so
 * that a damaged plan cannot lead the executor astray.
 */
#include "requester/plan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "vbackup-plan"

static const char *const whys[] = { "", "asked", "default", "compulsory", "target", "dependent", "ancestor" };

/* ---- writing ---- */

static json_t *text(const char *s)
{
    if (!s)
        return json_null();
    json_t *j = json_string(s);
    return j ? j : json_string("(not UTF-8)");
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *index_or_null(size_t i)
{
    return i == VB_NO_INDEX ? json_null() : number(i);
}

static json_t *indices(const size_t *v, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, number(v[i]));
    return a;
}

static json_t *strings(const struct vb_strv *l)
{
    json_t *a = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(a, text(l->v[i]));
    return a;
}

static json_t *host_json(const struct vb_plan_host *h)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", text(h->name));
    json_object_set_new(o, "stored_as", text(h->stored_as));
    json_object_set_new(o, "job", text(h->job_id));
    json_object_set_new(o, "reached", json_boolean(h->reached));
    json_object_set_new(o, "code", h->code == VB_OK ? json_null() : text(vb_code_name(h->code)));
    json_object_set_new(o, "error", text(h->text));
    json_object_set_new(o, "hint", text(h->hint));
    json_object_set_new(o, "front_ends", indices(h->front_ends, h->n_front_ends));
    return o;
}

static json_t *volume_json(const struct vb_plan_volume *v)
{
    json_t *o = json_object();
    json_object_set_new(o, "host", number(v->host));
    json_object_set_new(o, "mount_point", text(v->mount_point));
    json_object_set_new(o, "file_system", text(v->fs_type));
    json_object_set_new(o, "provider", text(v->provider));
    json_object_set_new(o, "refused", json_boolean(!v->provider));
    json_object_set_new(o, "remark", text(v->remark));
    return o;
}

static json_t *component_json(const struct vb_plan_component *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "host", number(c->host));
    json_object_set_new(o, "writer_id", text(c->writer_id));
    json_object_set_new(o, "writer", text(c->writer_name));
    json_object_set_new(o, "instance_name", text(c->instance_name));
    json_object_set_new(o, "logical_path", text(c->logical_path));
    json_object_set_new(o, "name", text(c->name));
    json_object_set_new(o, "type", text(vb_component_type_word(c->type)));
    json_object_set_new(o, "explicit", json_boolean(c->is_explicit));
    json_object_set_new(o, "why", text((size_t)c->why < VB_COUNT(whys) ? whys[c->why] : ""));
    json_object_set_new(o, "because", index_or_null(c->because));
    json_object_set_new(o, "subcomponents", strings(&c->subcomponents));
    if (c->base) {
        json_object_set_new(o, "backup_type", text(vb_backup_type_word(c->backup_type)));
        json_object_set_new(o, "base", text(c->base));
        json_object_set_new(o, "previous_stamp", text(c->previous_stamp));
    }
    if (c->additional)
        json_object_set_new(o, "additional_restores", json_true());
    return o;
}

static json_t *missing_json(const struct vb_plan_missing *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "from", index_or_null(m->from));
    json_object_set_new(o, "host_text", text(m->host_text));
    json_object_set_new(o, "host", text(m->host));
    json_object_set_new(o, "writer", text(m->writer));
    json_object_set_new(o, "writer_id", text(m->writer_id));
    json_object_set_new(o, "logical_path", text(m->logical_path));
    json_object_set_new(o, "name", text(m->name));
    json_object_set_new(o, "code", text(vb_code_name(m->code)));
    json_object_set_new(o, "error", text(m->text));
    return o;
}

static json_t *step_json(const struct vb_plan_step *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "id", text(s->id));
    json_object_set_new(o, "host", index_or_null(s->host));
    json_object_set_new(o, "verb", text(vb_verb_word(s->verb)));
    json_object_set_new(o, "components", indices(s->components, s->n_components));
    json_object_set_new(o, "waits_for", indices(s->waits, s->n_waits));
    json_object_set_new(o, "limit_ms", number(s->limit_ms));
    json_object_set_new(o, "on_failure", text(vb_on_failure_word(s->on_failure)));
    return o;
}

void vb_plan_json(const struct vb_plan *p, struct vb_buf *out)
{
    json_t *o = json_object(), *a;
    json_object_set_new(o, "format", text(FORMAT));
    json_object_set_new(o, "schema", number(VB_PLAN_SCHEMA));
    json_object_set_new(o, "run", text(p->run_id));
    json_object_set_new(o, "kind", text(p->kind == VB_JOB_RESTORE ? "restore" : "backup"));
    json_object_set_new(o, "backup_type", text(vb_backup_type_word(p->backup_type)));
    json_object_set_new(o, "backup", text(p->backup_id));
    json_object_set_new(o, "target", text(p->target_dir));
    json_object_set_new(o, "offline", json_boolean(p->offline));
    json_object_set_new(o, "hosts", a = json_array());
    for (size_t i = 0; i < p->n_hosts; i++)
        json_array_append_new(a, host_json(&p->hosts[i]));
    json_object_set_new(o, "components", a = json_array());
    for (size_t i = 0; i < p->n_components; i++)
        json_array_append_new(a, component_json(&p->components[i]));
    json_object_set_new(o, "dependencies", a = json_array());
    for (size_t i = 0; i < p->n_edges; i++) {
        json_t *e = json_object();
        json_object_set_new(e, "from", number(p->edges[i].from));
        json_object_set_new(e, "to", number(p->edges[i].to));
        json_object_set_new(e, "remote", json_boolean(p->edges[i].remote));
        json_object_set_new(e, "cut", json_boolean(p->edges[i].cut));
        json_array_append_new(a, e);
    }
    json_object_set_new(o, "missing", a = json_array());
    for (size_t i = 0; i < p->n_missing; i++)
        json_array_append_new(a, missing_json(&p->missing[i]));
    json_object_set_new(o, "warnings", strings(&p->warnings));
    if (p->paths.n > 0)
        json_object_set_new(o, "paths", strings(&p->paths));
    if (p->in_place)
        json_object_set_new(o, "in_place", json_true());
    if (p->n_volumes > 0) {
        json_t *volumes = json_array();
        for (size_t i = 0; i < p->n_volumes; i++)
            json_array_append_new(volumes, volume_json(&p->volumes[i]));
        json_object_set_new(o, "volumes", volumes);
    }
    json_object_set_new(o, "steps", a = json_array());
    for (size_t i = 0; i < p->n_steps; i++)
        json_array_append_new(a, step_json(&p->steps[i]));
    char *s = json_dumps(o, JSON_INDENT(2));
    vb_buf_add_str(out, s ? s : "{}");
    vb_buf_add_char(out, '\n');
    free(s);
    json_decref(o);
}

/* ---- reading: `bad` collects every deviation and is looked at once at the end ---- */

struct in {
    bool bad;
    const char *what; /* first deviation */
};

static void wrong(struct in *in, const char *what)
{
    if (!in->bad)
        in->what = what;
    in->bad = true;
}

static char *get_text(struct in *in, const json_t *o, const char *key, bool required)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_string(v))
        return vb_strdup(json_string_value(v));
    if (required || (v && !json_is_null(v)))
        wrong(in, key);
    return NULL;
}

static const char *peek(struct in *in, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v))
        wrong(in, key);
    return json_is_string(v) ? json_string_value(v) : "";
}

static bool get_bool(struct in *in, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_boolean(v))
        wrong(in, key);
    return json_is_true(v);
}

static uint64_t to_number(struct in *in, const json_t *v, const char *key)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        wrong(in, key);
        return 0;
    }
    return (uint64_t)json_integer_value(v);
}

/* An index below n, or (if allowed) null. 0 when wrong: the caller throws the plan away before it is used. */
static size_t to_index(struct in *in, const json_t *v, const char *key, size_t n, bool null_ok)
{
    if (null_ok && json_is_null(v))
        return VB_NO_INDEX;
    uint64_t i = to_number(in, v, key);
    if (i >= n) {
        wrong(in, key);
        return 0;
    }
    return (size_t)i;
}

static void get_indices(struct in *in, const json_t *o, const char *key, size_t limit, size_t **v, size_t *n,
                        size_t *cap)
{
    const json_t *a = json_object_get(o, key), *x;
    size_t i;
    if (!json_is_array(a))
        wrong(in, key);
    json_array_foreach(a, i, x) {
        VB_GROW(*v, *n, *cap);
        (*v)[(*n)++] = to_index(in, x, key, limit, false);
    }
}

static void get_strings(struct in *in, const json_t *o, const char *key, struct vb_strv *l)
{
    const json_t *a = json_object_get(o, key), *x;
    size_t i;
    if (!json_is_array(a))
        wrong(in, key);
    json_array_foreach(a, i, x) {
        if (json_is_string(x))
            vb_strv_add(l, json_string_value(x));
        else
            wrong(in, key);
    }
}

static const json_t *get_list(struct in *in, const json_t *o, const char *key)
{
    const json_t *a = json_object_get(o, key);
    if (!json_is_array(a))
        wrong(in, key);
    return a;
}

static void read_hosts(struct in *in, const json_t *a, struct vb_plan *p)
{
    size_t i;
    const json_t *o;
    json_array_foreach(a, i, o) {
        VB_GROW(p->hosts, p->n_hosts, p->cap_hosts);
        struct vb_plan_host *h = &p->hosts[p->n_hosts++];
        memset(h, 0, sizeof *h);
        h->name = get_text(in, o, "name", true);
        h->stored_as = get_text(in, o, "stored_as", false);
        h->job_id = get_text(in, o, "job", true);
        h->reached = get_bool(in, o, "reached");
        VB_AUTO_FREE char *code = get_text(in, o, "code", false);
        h->code = code ? vb_code_from_name(code) : VB_OK;
        h->text = get_text(in, o, "error", false);
        h->hint = get_text(in, o, "hint", false);
        get_indices(in, o, "front_ends", json_array_size(a), &h->front_ends, &h->n_front_ends, &h->cap_front_ends);
    }
}

static void read_components(struct in *in, const json_t *a, struct vb_plan *p)
{
    size_t i;
    const json_t *o;
    json_array_foreach(a, i, o) {
        VB_GROW(p->components, p->n_components, p->cap_components);
        struct vb_plan_component *c = &p->components[p->n_components++];
        memset(c, 0, sizeof *c);
        c->host = to_index(in, json_object_get(o, "host"), "host", p->n_hosts, false);
        c->writer_id = get_text(in, o, "writer_id", true);
        c->writer_name = get_text(in, o, "writer", true);
        c->instance_name = get_text(in, o, "instance_name", false);
        c->logical_path = get_text(in, o, "logical_path", true);
        c->name = get_text(in, o, "name", true);
        c->type = vb_component_type_from_word(peek(in, o, "type"));
        c->is_explicit = get_bool(in, o, "explicit");
        const char *why = peek(in, o, "why");
        for (size_t k = 1; k < VB_COUNT(whys); k++)
            if (strcmp(whys[k], why) == 0)
                c->why = (enum vb_why)k;
        c->because = to_index(in, json_object_get(o, "because"), "because", json_array_size(a), true);
        get_strings(in, o, "subcomponents", &c->subcomponents);
        c->backup_type = VB_BACKUP_FULL;
        c->base = get_text(in, o, "base", false);
        if (c->base) {
            c->backup_type = vb_backup_type_from_word(peek(in, o, "backup_type"));
            c->previous_stamp = get_text(in, o, "previous_stamp", false);
        }
        c->additional = json_is_true(json_object_get(o, "additional_restores"));
    }
}

static void read_edges(struct in *in, const json_t *a, struct vb_plan *p)
{
    size_t i;
    const json_t *o;
    json_array_foreach(a, i, o) {
        VB_GROW(p->edges, p->n_edges, p->cap_edges);
        struct vb_plan_edge *e = &p->edges[p->n_edges++];
        e->from = to_index(in, json_object_get(o, "from"), "from", p->n_components, false);
        e->to = to_index(in, json_object_get(o, "to"), "to", p->n_components, false);
        e->remote = get_bool(in, o, "remote");
        e->cut = get_bool(in, o, "cut");
    }
}

static void read_missing(struct in *in, const json_t *a, struct vb_plan *p)
{
    size_t i;
    const json_t *o;
    json_array_foreach(a, i, o) {
        VB_GROW(p->missing, p->n_missing, p->cap_missing);
        struct vb_plan_missing *m = &p->missing[p->n_missing++];
        memset(m, 0, sizeof *m);
        m->from = to_index(in, json_object_get(o, "from"), "from", p->n_components, true);
        m->host_text = get_text(in, o, "host_text", false);
        m->host = get_text(in, o, "host", false);
        m->writer = get_text(in, o, "writer", false);
        m->writer_id = get_text(in, o, "writer_id", false);
        m->logical_path = get_text(in, o, "logical_path", false);
        m->name = get_text(in, o, "name", false);
        m->code = vb_code_from_name(peek(in, o, "code"));
        m->text = get_text(in, o, "error", false);
    }
}

static void read_steps(struct in *in, const json_t *a, struct vb_plan *p)
{
    size_t i;
    const json_t *o;
    json_array_foreach(a, i, o) {
        VB_GROW(p->steps, p->n_steps, p->cap_steps);
        struct vb_plan_step *s = &p->steps[p->n_steps++];
        memset(s, 0, sizeof *s);
        s->id = get_text(in, o, "id", true);
        s->host = to_index(in, json_object_get(o, "host"), "host", p->n_hosts, true);
        s->verb = vb_verb_from_word(peek(in, o, "verb"));
        if (s->verb == 0)
            wrong(in, "verb");
        get_indices(in, o, "components", p->n_components, &s->components, &s->n_components, &s->cap_components);
        get_indices(in, o, "waits_for", json_array_size(a), &s->waits, &s->n_waits, &s->cap_waits);
        s->limit_ms = to_number(in, json_object_get(o, "limit_ms"), "limit_ms");
        const char *f = peek(in, o, "on_failure");
        for (int k = VB_ON_FAILURE_ABORT_HOST; k <= VB_ON_FAILURE_WARN; k++)
            if (strcmp(vb_on_failure_word((enum vb_on_failure)k), f) == 0)
                s->on_failure = (enum vb_on_failure)k;
        if (s->on_failure == 0)
            wrong(in, "on_failure");
    }
}

struct vb_plan *vb_plan_from_json(const void *json, size_t n, struct vb_error *err)
{
    json_error_t je;
    json_t *o = json_loadb(json, n, JSON_REJECT_DUPLICATES, &je);
    if (!o) {
        vb_fail(err, VB_E_CORRUPT, "stored plan: line %d: %s", je.line, je.text);
        return NULL;
    }
    struct in in = { false, NULL };
    struct vb_plan *p = vb_alloc(sizeof *p);
    if (strcmp(peek(&in, o, "format"), FORMAT) != 0)
        wrong(&in, "format");
    uint64_t schema = to_number(&in, json_object_get(o, "schema"), "schema");
    if (!in.bad && schema > VB_PLAN_SCHEMA) {
        vb_fail(err, VB_E_NEWER_FORMAT, "stored plan has schema %llu, this program knows up to %u",
                (unsigned long long)schema, VB_PLAN_SCHEMA);
        json_decref(o);
        vb_plan_free(p);
        return NULL;
    }
    p->run_id = get_text(&in, o, "run", false);
    p->kind = strcmp(peek(&in, o, "kind"), "restore") == 0 ? VB_JOB_RESTORE : VB_JOB_BACKUP;
    p->backup_type = vb_backup_type_from_word(peek(&in, o, "backup_type"));
    p->backup_id = get_text(&in, o, "backup", false);
    p->target_dir = get_text(&in, o, "target", false);
    p->offline = get_bool(&in, o, "offline");
    read_hosts(&in, get_list(&in, o, "hosts"), p);
    read_components(&in, get_list(&in, o, "components"), p);
    read_edges(&in, get_list(&in, o, "dependencies"), p);
    read_missing(&in, get_list(&in, o, "missing"), p);
    get_strings(&in, o, "warnings", &p->warnings);
    if (json_object_get(o, "paths"))
        get_strings(&in, o, "paths", &p->paths);
    p->in_place = json_is_true(json_object_get(o, "in_place"));
    read_steps(&in, get_list(&in, o, "steps"), p);
    json_decref(o);
    if (in.bad) {
        vb_fail(err, VB_E_CORRUPT, "stored plan: '%s' is missing or wrong", in.what);
        vb_plan_free(p);
        return NULL;
    }
    return p;
}
