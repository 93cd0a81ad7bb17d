/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/catalog_json.c - catalog entries to JSON and back.
 *
 * JSON strings are Unicode, paths are bytes: text that is not UTF-8 is written as {"hex": "..."}.
 * Absent members stand for NULL, false and empty lists; numbers that count are always there.
 */
#include "config.h"
#include "store/catalog.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

/* ---- writing ---- */

static json_t *text_json(const char *s)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = strlen(s);
    if (vb_utf8_valid(s, n))
        return json_stringn(s, n);
    VB_AUTO_FREE char *hex = vb_alloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        hex[2 * i] = digits[(unsigned char)s[i] >> 4];
        hex[2 * i + 1] = digits[(unsigned char)s[i] & 15];
    }
    json_t *o = json_object();
    json_object_set_new(o, "hex", json_string(hex));
    return o;
}

static void put_text(json_t *o, const char *key, const char *s)
{
    if (s)
        json_object_set_new(o, key, text_json(s));
}

/* JSON integers are signed here; what does not fit is far beyond any real figure and is written as the largest. */
static void put_number(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer(v > LLONG_MAX ? LLONG_MAX : (json_int_t)v));
}

static void put_flag(json_t *o, const char *key, bool v)
{
    if (v)
        json_object_set_new(o, key, json_true());
}

static void put_name(json_t *o, const char *key, const struct vb_name *n)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(n, hex);
    json_object_set_new(o, key, json_string(hex));
}

static void put_state(json_t *o, enum vb_catalog_state state, enum vb_code code, const char *error)
{
    json_object_set_new(o, "state", json_string(vb_catalog_state_name(state)));
    if (code != VB_OK)
        json_object_set_new(o, "code", json_string(vb_code_name(code)));
    put_text(o, "error", error);
}

static json_t *root_json(const struct vb_catalog_root *r)
{
    json_t *o = json_object();
    put_text(o, "path", r->path);
    put_text(o, "filespec", r->filespec);
    put_flag(o, "recursive", r->recursive);
    if (r->has_tree)
        put_name(o, "tree", &r->tree);
    put_number(o, "files", r->files);
    put_number(o, "dirs", r->dirs);
    put_number(o, "bytes", r->bytes);
    put_number(o, "errors", r->errors);
    if (r->detector) {
        put_text(o, "detector", r->detector);
        put_number(o, "files_read", r->files_read);
        put_number(o, "bytes_read", r->bytes_read);
    }
    return o;
}

static json_t *component_json(const struct vb_catalog_component *c)
{
    json_t *o = json_object(), *roots = json_array();
    put_text(o, "writer_class", c->writer_class);
    put_text(o, "writer_instance", c->writer_instance);
    put_text(o, "instance_name", c->instance_name);
    put_text(o, "writer_name", c->writer_name);
    put_text(o, "logical_path", c->logical_path);
    put_text(o, "name", c->name);
    put_text(o, "caption", c->caption);
    put_text(o, "type", c->type);
    put_text(o, "consistency", c->consistency);
    put_text(o, "backup_type", c->backup_type);
    put_text(o, "base", c->base);
    put_state(o, c->state, c->code, c->error);
    put_flag(o, "explicit", c->is_explicit);
    put_number(o, "bytes", c->bytes);
    put_number(o, "files", c->files);
    if (c->left_files)
        put_number(o, "left_files", c->left_files);
    if (c->left_dirs)
        put_number(o, "left_dirs", c->left_dirs);
    for (size_t i = 0; i < c->n_roots; i++)
        json_array_append_new(roots, root_json(&c->roots[i]));
    json_object_set_new(o, "roots", roots);
    return o;
}

static json_t *host_json(const struct vb_catalog_host *h)
{
    json_t *o = json_object(), *list = json_array();
    put_text(o, "name", h->name);
    put_text(o, "address", h->address);
    put_state(o, h->state, h->code, h->error);
    for (size_t i = 0; i < h->n_components; i++)
        json_array_append_new(list, component_json(&h->components[i]));
    json_object_set_new(o, "components", list);
    return o;
}

static json_t *document_json(const struct vb_catalog_document *d)
{
    json_t *o = json_object(), *refs = json_array();
    put_text(o, "kind", d->kind);
    put_text(o, "host", d->host);
    put_text(o, "writer", d->writer);
    put_number(o, "level", d->content.level);
    for (uint32_t i = 0; i < d->content.n; i++) {
        json_t *ref = json_object();
        put_name(ref, "name", &d->content.refs[i].name);
        put_number(ref, "size", d->content.refs[i].size);
        json_array_append_new(refs, ref);
    }
    json_object_set_new(o, "content", refs);
    return o;
}

int vb_catalog_encode(const struct vb_catalog_entry *e, struct vb_buf *out, struct vb_error *err)
{
    AUTO_JSON *o = json_object();
    json_t *hosts = json_array(), *documents = json_array();
    put_text(o, "vbackup", "backup");
    put_number(o, "format_version", VB_CATALOG_VERSION);
    put_text(o, "id", e->id);
    put_number(o, "sequence", e->sequence);
    if (e->has_previous)
        put_name(o, "previous", &e->previous);
    put_number(o, "started_ms", e->started_ms);
    put_number(o, "finished_ms", e->finished_ms);
    put_text(o, "requester", e->requester);
    put_text(o, "user", e->user);
    put_text(o, "program", e->program);
    put_text(o, "job", e->job);
    put_state(o, e->state, VB_OK, NULL);
    put_number(o, "bytes", e->bytes);
    put_number(o, "files", e->files);
    put_number(o, "added_chunks", e->added_chunks);
    put_number(o, "added_raw", e->added_raw);
    put_number(o, "added_stored", e->added_stored);
    for (size_t i = 0; i < e->n_hosts; i++)
        json_array_append_new(hosts, host_json(&e->hosts[i]));
    json_object_set_new(o, "hosts", hosts);
    for (size_t i = 0; i < e->n_documents; i++)
        json_array_append_new(documents, document_json(&e->documents[i]));
    json_object_set_new(o, "documents", documents);
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (!text)
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write the record of the backup as JSON");
    vb_buf_add_str(out, text);
    vb_buf_add_char(out, '\n');
    free(text);
    return 0;
}

/* ---- reading ---- */

/* The first thing that is wrong is kept; everything after it is read in vain and thrown away. */
struct reader {
    struct vb_error *err;
    bool bad;
};

static void wrong(struct reader *r, const char *key, const char *want)
{
    if (!r->bad)
        vb_fail(r->err, VB_E_CORRUPT, "record of a backup: '%s' is not %s", key, want);
    r->bad = true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *text_of_hex(const char *hex)
{
    size_t n = strlen(hex);
    if (n == 0 || n % 2)
        return NULL;
    VB_AUTO_FREE char *s = vb_alloc(n / 2 + 1);
    for (size_t i = 0; i < n / 2; i++) {
        int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);
        if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
            return NULL;
        s[i] = (char)(hi << 4 | lo);
    }
    return VB_STEAL(s);
}

static char *get_text(struct reader *r, const json_t *o, const char *key, bool required)
{
    const json_t *v = json_object_get(o, key);
    char *s = NULL;
    if (!v && !required)
        return NULL;
    if (json_is_string(v))
        return vb_strdup(json_string_value(v));
    if (json_is_object(v) && json_is_string(json_object_get(v, "hex")))
        s = text_of_hex(json_string_value(json_object_get(v, "hex")));
    if (!s)
        wrong(r, key, "text");
    return s;
}

static uint64_t get_number(struct reader *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        wrong(r, key, "a number");
        return 0;
    }
    return (uint64_t)json_integer_value(v);
}

static bool get_flag(struct reader *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (v && !json_is_boolean(v))
        wrong(r, key, "true or false");
    return json_is_true(v);
}

static bool get_name(struct reader *r, const json_t *o, const char *key, struct vb_name *name)
{
    const json_t *v = json_object_get(o, key);
    if (!v)
        return false;
    if (vb_name_parse(json_string_value(v), name))
        return true;
    wrong(r, key, "a name of 64 hex digits");
    return false;
}

static const json_t *get_list(struct reader *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_array(v))
        wrong(r, key, "a list");
    return v;
}

static enum vb_catalog_state get_state(struct reader *r, const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "state"));
    for (int i = VB_CATALOG_COMPLETE; s && i <= VB_CATALOG_FAILED; i++)
        if (strcmp(s, vb_catalog_state_name((enum vb_catalog_state)i)) == 0)
            return (enum vb_catalog_state)i;
    wrong(r, "state", "complete, partial or failed");
    return VB_CATALOG_FAILED;
}

static enum vb_code get_code(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "code"));
    return s ? vb_code_from_name(s) : VB_OK;
}

static void read_root(struct reader *r, const json_t *o, struct vb_catalog_component *c)
{
    VB_AUTO_FREE char *path = get_text(r, o, "path", true);
    VB_AUTO_FREE char *filespec = get_text(r, o, "filespec", false);
    struct vb_catalog_root *root = vb_catalog_add_root(c, path, filespec, get_flag(r, o, "recursive"));
    root->has_tree = get_name(r, o, "tree", &root->tree);
    root->files = get_number(r, o, "files");
    root->dirs = get_number(r, o, "dirs");
    root->bytes = get_number(r, o, "bytes");
    root->errors = get_number(r, o, "errors");
    root->detector = get_text(r, o, "detector", false);
    if (root->detector) {
        root->files_read = get_number(r, o, "files_read");
        root->bytes_read = json_object_get(o, "bytes_read") ? get_number(r, o, "bytes_read") : 0; /* it came later */
    }
}

static void read_component(struct reader *r, const json_t *o, struct vb_catalog_host *h)
{
    struct vb_catalog_component *c = vb_catalog_add_component(h);
    c->writer_class = get_text(r, o, "writer_class", false);
    c->writer_instance = get_text(r, o, "writer_instance", false);
    c->instance_name = get_text(r, o, "instance_name", false);
    c->writer_name = get_text(r, o, "writer_name", false);
    c->logical_path = get_text(r, o, "logical_path", false);
    c->name = get_text(r, o, "name", false);
    c->caption = get_text(r, o, "caption", false);
    c->type = get_text(r, o, "type", false);
    c->consistency = get_text(r, o, "consistency", false);
    c->backup_type = get_text(r, o, "backup_type", false);
    c->base = get_text(r, o, "base", false);
    c->state = get_state(r, o);
    c->code = get_code(o);
    c->error = get_text(r, o, "error", false);
    c->is_explicit = get_flag(r, o, "explicit");
    c->bytes = get_number(r, o, "bytes");
    c->files = get_number(r, o, "files");
    c->left_files = json_object_get(o, "left_files") ? get_number(r, o, "left_files") : 0;
    c->left_dirs = json_object_get(o, "left_dirs") ? get_number(r, o, "left_dirs") : 0;
    const json_t *roots = get_list(r, o, "roots");
    for (size_t i = 0; i < json_array_size(roots) && !r->bad; i++)
        read_root(r, json_array_get(roots, i), c);
}

static void read_host(struct reader *r, const json_t *o, struct vb_catalog_entry *e)
{
    VB_AUTO_FREE char *name = get_text(r, o, "name", true);
    struct vb_catalog_host *h = vb_catalog_add_host(e, name);
    h->address = get_text(r, o, "address", false);
    h->state = get_state(r, o);
    h->code = get_code(o);
    h->error = get_text(r, o, "error", false);
    const json_t *list = get_list(r, o, "components");
    for (size_t i = 0; i < json_array_size(list) && !r->bad; i++)
        read_component(r, json_array_get(list, i), h);
}

static void read_content(struct reader *r, const json_t *o, struct vb_content *content)
{
    const json_t *list = get_list(r, o, "content");
    size_t n = json_array_size(list);
    uint64_t level = get_number(r, o, "level"), size;
    if (n > VB_CONTENT_MAX_DIRECT || level > VB_CONTENT_MAX_LEVEL || (n == 0 && level != 0)) {
        wrong(r, "content", "a list of chunks");
        return;
    }
    content->level = (uint8_t)level;
    content->refs = n ? vb_alloc_n(n, sizeof *content->refs) : NULL;
    for (size_t i = 0; i < n; i++) {
        struct vb_ref *ref = &content->refs[i];
        const json_t *item = json_array_get(list, i);
        ref->size = get_number(r, item, "size");
        if (!get_name(r, item, "name", &ref->name) || ref->size == 0)
            wrong(r, "content", "a list of chunks");
    }
    content->n = (uint32_t)n;
    if (!vb_content_size(content, &size))
        wrong(r, "content", "a list of chunks");
}

static void read_document(struct reader *r, const json_t *o, struct vb_catalog_entry *e)
{
    struct vb_content content = { 0 };
    VB_AUTO_FREE char *kind = get_text(r, o, "kind", true);
    VB_AUTO_FREE char *host = get_text(r, o, "host", false);
    VB_AUTO_FREE char *writer = get_text(r, o, "writer", false);
    read_content(r, o, &content);
    vb_catalog_add_document(e, kind, host, writer, &content);
}

static void read_entry(struct reader *r, const json_t *o, struct vb_catalog_entry *e)
{
    VB_AUTO_FREE char *id = get_text(r, o, "id", true);
    if (!id || !vb_guid_valid(id))
        wrong(r, "id", "a GUID");
    else
        memcpy(e->id, id, sizeof e->id);
    e->sequence = get_number(r, o, "sequence");
    e->has_previous = get_name(r, o, "previous", &e->previous);
    e->started_ms = get_number(r, o, "started_ms");
    e->finished_ms = get_number(r, o, "finished_ms");
    e->requester = get_text(r, o, "requester", false);
    e->user = get_text(r, o, "user", false);
    e->program = get_text(r, o, "program", false);
    e->job = get_text(r, o, "job", false);
    e->state = get_state(r, o);
    e->bytes = get_number(r, o, "bytes");
    e->files = get_number(r, o, "files");
    e->added_chunks = get_number(r, o, "added_chunks");
    e->added_raw = get_number(r, o, "added_raw");
    e->added_stored = get_number(r, o, "added_stored");
    const json_t *hosts = get_list(r, o, "hosts");
    for (size_t i = 0; i < json_array_size(hosts) && !r->bad; i++)
        read_host(r, json_array_get(hosts, i), e);
    const json_t *documents = get_list(r, o, "documents");
    for (size_t i = 0; i < json_array_size(documents) && !r->bad; i++)
        read_document(r, json_array_get(documents, i), e);
}

struct vb_catalog_entry *vb_catalog_decode(const void *p, size_t len, struct vb_error *err)
{
    json_error_t why;
    struct reader r = { err, false };
    AUTO_JSON *o = json_loadb(p, len, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        vb_fail(err, VB_E_CORRUPT, "record of a backup: line %d: %s", why.line, why.text);
        return NULL;
    }
    const char *kind = json_string_value(json_object_get(o, "vbackup"));
    if (!kind || strcmp(kind, "backup") != 0) {
        vb_fail(err, VB_E_CORRUPT, "not the record of a backup");
        return NULL;
    }
    uint64_t version = get_number(&r, o, "format_version");
    if (!r.bad && version > VB_CATALOG_VERSION) {
        vb_fail(err, VB_E_NEWER_FORMAT, "record of a backup of format %llu, this program knows up to %u",
                (unsigned long long)version, VB_CATALOG_VERSION);
        return NULL;
    }
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    read_entry(&r, o, e);
    if (r.bad) {
        vb_catalog_entry_free(e);
        return NULL;
    }
    return e;
}
