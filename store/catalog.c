/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/catalog.c - the catalog entry as a struct: making, finding, releasing.
 */
#include "config.h"
#include "store/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const char *vb_catalog_state_name(enum vb_catalog_state s)
{
    switch (s) {
    case VB_CATALOG_COMPLETE:
        return "complete";
    case VB_CATALOG_PARTIAL:
        return "partial";
    case VB_CATALOG_FAILED:
        return "failed";
    }
    return "unknown";
}

struct vb_catalog_entry *vb_catalog_entry_new(void)
{
    return vb_alloc(sizeof(struct vb_catalog_entry));
}

static void clear_component(struct vb_catalog_component *c)
{
    for (size_t i = 0; i < c->n_roots; i++) {
        free(c->roots[i].path);
        free(c->roots[i].filespec);
        free(c->roots[i].detector);
    }
    free(c->roots);
    free(c->writer_class);
    free(c->writer_instance);
    free(c->instance_name);
    free(c->writer_name);
    free(c->logical_path);
    free(c->name);
    free(c->caption);
    free(c->type);
    free(c->consistency);
    free(c->backup_type);
    free(c->base);
    free(c->error);
}

void vb_catalog_entry_free(struct vb_catalog_entry *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->n_hosts; i++) {
        struct vb_catalog_host *h = &e->hosts[i];
        for (size_t j = 0; j < h->n_components; j++)
            clear_component(&h->components[j]);
        free(h->components);
        free(h->name);
        free(h->address);
        free(h->error);
    }
    for (size_t i = 0; i < e->n_documents; i++) {
        free(e->documents[i].kind);
        free(e->documents[i].host);
        free(e->documents[i].writer);
        vb_content_clear(&e->documents[i].content);
    }
    free(e->hosts);
    free(e->documents);
    free(e->requester);
    free(e->user);
    free(e->program);
    free(e->job);
    free(e);
}

#define ADD(list, n, cap) __extension__({                                                  \
    VB_GROW(list, n, cap);                                                                 \
    memset(&(list)[n], 0, sizeof *(list));                                                 \
    &(list)[(n)++];                                                                        \
})

struct vb_catalog_host *vb_catalog_add_host(struct vb_catalog_entry *e, const char *name)
{
    struct vb_catalog_host *h = ADD(e->hosts, e->n_hosts, e->cap_hosts);
    h->name = vb_strdup(name);
    return h;
}

struct vb_catalog_component *vb_catalog_add_component(struct vb_catalog_host *h)
{
    return ADD(h->components, h->n_components, h->cap_components);
}

struct vb_catalog_root *vb_catalog_add_root(struct vb_catalog_component *c, const char *path, const char *filespec,
                                            bool recursive)
{
    struct vb_catalog_root *r = ADD(c->roots, c->n_roots, c->cap_roots);
    r->path = vb_strdup(path);
    r->filespec = vb_strdup(filespec);
    r->recursive = recursive;
    return r;
}

struct vb_catalog_document *vb_catalog_add_document(struct vb_catalog_entry *e, const char *kind, const char *host,
                                                    const char *writer, struct vb_content *content)
{
    struct vb_catalog_document *d = ADD(e->documents, e->n_documents, e->cap_documents);
    d->kind = vb_strdup(kind);
    d->host = vb_strdup(host);
    d->writer = vb_strdup(writer);
    if (!vb_content_size(content, &d->size))
        d->size = 0;
    d->content = *content;
    memset(content, 0, sizeof *content);
    return d;
}

static bool is(const char *have, const char *want)
{
    return !want || (have && strcmp(have, want) == 0);
}

const struct vb_catalog_document *vb_catalog_find_document(const struct vb_catalog_entry *e, const char *kind,
                                                           const char *host, const char *writer)
{
    for (size_t i = 0; i < e->n_documents; i++) {
        const struct vb_catalog_document *d = &e->documents[i];
        if (is(d->kind, kind) && is(d->host, host) && is(d->writer, writer))
            return d;
    }
    return NULL;
}

#define SEQUENCE_DIGITS 10u

char *vb_catalog_path(uint64_t sequence, const char *id, const struct vb_name *hash)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(hash, hex);
    return vb_printf("catalog/%010llu-%s-%s", (unsigned long long)sequence, id, hex);
}

bool vb_catalog_path_parse(const char *path, uint64_t *sequence, char id[VB_GUID_LEN + 1], struct vb_name *hash)
{
    const char *p = path + 8;
    char digits[SEQUENCE_DIGITS + 1];
    if (strncmp(path, "catalog/", 8) != 0 ||
        strlen(p) != SEQUENCE_DIGITS + 1 + VB_GUID_LEN + 1 + VB_NAME_HEX_LEN || p[SEQUENCE_DIGITS] != '-' ||
        p[SEQUENCE_DIGITS + 1 + VB_GUID_LEN] != '-' || strspn(p, "0123456789") != SEQUENCE_DIGITS)
        return false;
    memcpy(digits, p, SEQUENCE_DIGITS);
    digits[SEQUENCE_DIGITS] = '\0';
    *sequence = strtoull(digits, NULL, 10);
    memcpy(id, p + SEQUENCE_DIGITS + 1, VB_GUID_LEN);
    id[VB_GUID_LEN] = '\0';
    return *sequence > 0 && vb_guid_valid(id) && vb_name_parse(p + SEQUENCE_DIGITS + 2 + VB_GUID_LEN, hash);
}
