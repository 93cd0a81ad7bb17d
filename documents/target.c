/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/target.c - reads the target of a dependency: local, or on which host (rule book 5.2).
 *
 * The field's own page declares the prefix `\\host\` in the logical path and looks for it in the component name (K-3);
 * both places are read here, and the joined path as well (D-26).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "documents/check.h"
#include "documents/selection.h"

void vb_target_clear(struct vb_target *t)
{
    free(t->host);
    free(t->logical_path);
    free(t->name);
    memset(t, 0, sizeof *t);
}

static int malformed(const struct vb_dependency *d, const char *why, struct vb_error *err)
{
    VB_AUTO_FREE char *p = vb_escape_terminal(d->target_logical_path, strlen(d->target_logical_path));
    VB_AUTO_FREE char *n = vb_escape_terminal(d->target_name, strlen(d->target_name));

    return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "target path '%s' name '%s': %s", p, n, why);
}

static bool prefixed(const char *s)
{
    return s[0] == '\\' && s[1] == '\\';
}

/* Splits `\\host\rest` or `\\host`; rest is NULL for the latter. */
static int split_host(const struct vb_dependency *d, const char *s, char **host, const char **rest,
                      struct vb_error *err)
{
    size_t n = strcspn(s + 2, "\\");

    if (n == 0)
        return malformed(d, "the host after '\\\\' is empty", err);
    VB_AUTO_FREE char *h = vb_strndup(s + 2, n);
    if (!vb_host_text_valid(h))
        return malformed(d, "the host is not a name or address", err);
    *rest = s[2 + n] ? s + 2 + n + 1 : NULL;
    *host = VB_STEAL(h);
    return 0;
}

/* `a` and `b` as one logical path; either may be empty or a lone separator. */
static char *join(const char *a, const char *b)
{
    bool no_a = !*a || strcmp(a, "\\") == 0;

    if (!*b)
        return vb_strdup(no_a ? "" : a);
    return no_a ? vb_strdup(b) : vb_printf("%s\\%s", a, b);
}

int vb_target_parse(const struct vb_dependency *d, struct vb_target *t, struct vb_error *err)
{
    const char *path = d->target_logical_path ? d->target_logical_path : "";
    const char *name = d->target_name ? d->target_name : "";
    VB_AUTO_FREE char *host = NULL, *host2 = NULL, *joined = NULL;
    const char *rest = NULL;
    struct vb_dependency shown = {d->target_class_id, (char *)(uintptr_t)path, (char *)(uintptr_t)name};

    memset(t, 0, sizeof *t);
    d = &shown;
    if (prefixed(path)) {
        if (split_host(d, path, &host, &rest, err) < 0)
            return -1;
        path = rest ? rest : "";
    }
    if (prefixed(name)) {
        if (split_host(d, name, &host2, &rest, err) < 0)
            return -1;
        if (host && strcasecmp(host, host2) != 0)
            return malformed(d, "path and name carry different hosts", err);
        name = rest ? rest : "";
    }
    if (!host && !host2) {
        /* the joined form: `\` + `host\name`, or an empty path and `\host\name` */
        joined = vb_printf("%s\\%s", path, name);
        if (prefixed(joined) && strchr(name + (*name == '\\'), '\\')) {
            if (split_host(d, joined, &host, &rest, err) < 0)
                return -1;
            path = "";
            name = rest ? rest : "";
        }
    }
    /* a name that carried the prefix may carry a path, too */
    VB_AUTO_FREE char *above = NULL;
    const char *last = strrchr(name, '\\');
    if (last && (host || host2)) {
        VB_AUTO_FREE char *dir = vb_strndup(name, (size_t)(last - name));
        above = join(path, dir);
        path = above;
        name = last + 1;
    }
    if (!*name)
        return malformed(d, "the target has no name", err);
    if (strchr(name, '\\'))
        return malformed(d, "a component name holds no separator", err);
    char *normal = vb_check_logical_path(path, err);
    if (!normal)
        return -1;
    t->both_prefixed = host && host2;
    t->host = host ? VB_STEAL(host) : VB_STEAL(host2);
    t->logical_path = normal;
    t->name = vb_strdup(name);
    return 0;
}
