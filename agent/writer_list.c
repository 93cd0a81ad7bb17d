/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_list.c - which writers a configuration names.
 */
#include <stdlib.h>
#include <string.h>
#include "agent/writer_host.h"
#include "base/mem.h"

void vb_writer_entry_clear(struct vb_writer_entry *w)
{
    vb_free_ptr(&w->section);
    vb_free_ptr(&w->module);
    vb_free_ptr(&w->instance);
}

void vb_writers_free(struct vb_writer_entry *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        vb_writer_entry_clear(&list[i]);
    free(list);
}

static bool module_name_valid(const char *s)
{
    return *s != '\0' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(s) && *s != '-';
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

int vb_writer_entry_read(const struct vb_config_section *s, struct vb_writer_entry *w, struct vb_error *err)
{
    const char *module = vb_section_get(s, "module"), *instance = vb_section_get(s, "instance");
    const char *policy = vb_section_get(s, "policy");
    const char *blank = strchr(s->name, ' ');

    memset(w, 0, sizeof *w);
    w->section = vb_strdup(s->name);
    if (module != NULL)
        w->module = vb_strdup(module);
    else
        w->module = blank != NULL ? vb_strndup(s->name, (size_t)(blank - s->name)) : vb_strdup(s->name);
    if (instance != NULL)
        w->instance = vb_strdup(instance);
    else if (blank != NULL && strncmp(w->module, s->name, (size_t)(blank - s->name)) == 0 &&
             w->module[blank - s->name] == '\0')
        w->instance = vb_strdup(blank + 1);
    if (!module_name_valid(w->module)) {
        vb_fail(err, VB_E_CONFIG,
                "%s:%u: '%s' is not the name of a writer module, expected lower case letters, digits and '-'", s->file,
                s->line, w->module);
        vb_hint(err, "write [writer NAME] with the name of a module, or add a line module = NAME");
        return -1;
    }
    if (w->instance != NULL && strchr(w->instance, '\\') != NULL)
        return vb_fail(err, VB_E_CONFIG, "%s:%u: instance name '%s' must not contain a backslash", s->file, s->line,
                       w->instance);
    if (policy != NULL && strcmp(policy, "required") != 0 && strcmp(policy, "optional") != 0) {
        VB_AUTO_FREE char *where = vb_section_where(s, "policy");
        return vb_fail(err, VB_E_CONFIG, "%s: policy is '%s', expected required or optional", where, policy);
    }
    w->required = policy != NULL && strcmp(policy, "required") == 0;
    return 0;
}

int vb_writers_configured(const struct vb_config *c, struct vb_writer_entry **list, size_t *n, struct vb_error *err)
{
    struct vb_writer_entry *l = NULL;
    size_t count = 0, cap = 0;

    for (size_t i = 0; i < c->n; i++) {
        const struct vb_config_section *s = &c->sections[i];
        if (strcmp(s->kind, "writer") != 0)
            continue;
        VB_GROW(l, count, cap);
        struct vb_writer_entry *w = &l[count++];
        if (vb_writer_entry_read(s, w, err) != 0)
            goto fail;
        for (size_t k = 0; k + 1 < count; k++) {
            if (strcmp(l[k].section, w->section) == 0) {
                vb_fail(err, VB_E_CONFIG, "%s:%u: a second section [writer %s]", s->file, s->line, s->name);
                goto fail;
            }
            if (strcmp(l[k].module, w->module) == 0 && same_text(l[k].instance, w->instance)) {
                vb_fail(err, VB_E_CONFIG, "%s:%u: [writer %s] has the same module and instance name as [writer %s]",
                        s->file, s->line, w->section, l[k].section);
                vb_hint(err, "give each a name of its own with instance = NAME");
                goto fail;
            }
        }
    }
    *list = l;
    *n = count;
    return 0;
fail:
    vb_writers_free(l, count);
    return -1;
}
