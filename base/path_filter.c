/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/path_filter.c - rules by which a walk through directories leaves something out.
 *
 * Both levels of matching, bytes within an element and elements within a path, go back to the last star only: what lies
 * before an earlier one is settled, so nothing is tried twice over.
 */
#include "config.h"

#include "base/path_filter.h"

#include <string.h>

#include "base/text.h"

/* ---- one element ---- */

static unsigned char folded(unsigned char c, bool fold)
{
    return fold && c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

/* The set after '[' against c: 1 in, 0 out, -1 it is no set. *next: behind the ']'. */
static int in_set(const char *p, const char *end, unsigned char c, bool fold, const char **next)
{
    bool negated = p < end && (*p == '!' || *p == '^'), in = false;
    if (negated)
        p++;
    for (const char *first = p; p < end && (*p != ']' || p == first);) {
        unsigned char from = (unsigned char)*p++;
        if (from == '\\' && p < end)
            from = (unsigned char)*p++;
        unsigned char to = from;
        if (p + 1 < end && *p == '-' && p[1] != ']') {
            to = (unsigned char)p[1];
            p += 2;
            if (to == '\\' && p < end)
                to = (unsigned char)*p++;
        }
        in = in || (c >= from && c <= to) ||
             (fold && ((folded(from, true) <= folded(c, true) && folded(c, true) <= folded(to, true))));
    }
    if (p >= end)
        return -1;
    *next = p + 1;
    return in != negated;
}

/* One unit of the pattern at p against the bytes at s. Advances both; false: it does not match. */
static bool match_one(const char **p, const char *p_end, const char **s, const char *s_end, bool fold)
{
    unsigned char c = (unsigned char)**s;
    const char *next = NULL;
    if (**p == '?') {
        do /* a character, not a byte of one */
            (*s)++;
        while (c >= 0xc0 && *s < s_end && ((unsigned char)**s & 0xc0) == 0x80);
        (*p)++;
        return true;
    }
    if (**p == '[') {
        int in = in_set(*p + 1, p_end, c, fold, &next);
        if (in >= 0) {
            *p = next;
            (*s)++;
            return in == 1;
        }
    }
    const char *literal = **p == '\\' && *p + 1 < p_end ? *p + 1 : *p;
    if (folded((unsigned char)*literal, fold) != folded(c, fold))
        return false;
    *p = literal + 1;
    (*s)++;
    return true;
}

static bool match_element(const char *p, size_t np, const char *s, size_t ns, bool fold)
{
    const char *p_end = p + np, *s_end = s + ns, *star = NULL, *from = NULL;
    for (;;) {
        if (p < p_end && *p == '*') {
            star = ++p;
            from = s;
        } else if (s == s_end) {
            return p == p_end;
        } else if (p == p_end || !match_one(&p, p_end, &s, s_end, fold)) {
            if (!star || from == s_end)
                return false;
            s = ++from;
            p = star;
        }
    }
}

/* ---- paths ---- */

static size_t element(const char *s)
{
    return strcspn(s, "/");
}

static const char *behind(const char *s)
{
    s += element(s);
    return s + strspn(s, "/");
}

static bool any_depth(const char *p)
{
    return element(p) == 2 && p[0] == '*' && p[1] == '*';
}

/* p and s stand on elements. */
static bool match_elements(const char *p, const char *s, bool fold)
{
    const char *star = NULL, *from = NULL;
    for (;;) {
        if (*p && any_depth(p)) {
            star = p = behind(p);
            from = s;
            if (!*p)
                return *s != 0; /* what is below, not the place itself */
        } else if (!*p && !*s) {
            return true;
        } else if (*p && *s && match_element(p, element(p), s, element(s), fold)) {
            p = behind(p);
            s = behind(s);
        } else {
            if (!star || !*from)
                return false;
            s = from = behind(from);
            p = star;
        }
    }
}

static const char *skip_slashes(const char *s)
{
    return s + strspn(s, "/");
}

/* The last n elements of a path; NULL when it has fewer. */
static const char *last_elements(const char *path, size_t n)
{
    const char *s = path + strlen(path);
    while (n) {
        while (s > path && s[-1] != '/')
            s--;
        if (s == path && path[0] == '/')
            return NULL;
        if (--n == 0)
            return s;
        if (s == path)
            return NULL;
        s--;
    }
    return s;
}

bool vb_path_pattern_match(const char *pattern, bool fold, const char *path, bool is_dir)
{
    size_t len = strlen(pattern), n = 1;
    if (len && pattern[len - 1] == '/') {
        if (!is_dir)
            return false;
        while (len && pattern[len - 1] == '/')
            len--;
    }
    VB_AUTO_FREE char *p = vb_strndup(pattern, len);
    if (!len)
        return false;
    if (p[0] == '/')
        return match_elements(skip_slashes(p), skip_slashes(path), fold);
    bool deep = any_depth(p);
    for (const char *at = strchr(p, '/'); at; at = strchr(skip_slashes(at), '/')) {
        n++;
        deep = deep || any_depth(skip_slashes(at));
    }
    if (!deep) {
        const char *last = last_elements(path, n);
        return last && match_elements(p, last, fold);
    }
    VB_AUTO_FREE char *anywhere = vb_printf("**/%s", p);
    return match_elements(anywhere, skip_slashes(path), fold);
}

/* ---- rules ---- */

static int no_value(const char *kind, const char *value, struct vb_error *err)
{
    return *value ? vb_fail(err, VB_E_USAGE, "exclusion rule '%s' takes no value", kind) : 0;
}

int vb_path_filter_add(struct vb_path_filter *f, const char *rule, struct vb_error *err)
{
    const char *colon = strchr(rule, ':');
    VB_AUTO_FREE char *kind = vb_strndup(rule, colon ? (size_t)(colon - rule) : strlen(rule));
    const char *value = colon ? colon + 1 : "";
    if (!strcmp(kind, "pattern") || !strcmp(kind, "ipattern")) {
        if (!value[strspn(value, "/")])
            return vb_fail(err, VB_E_USAGE, "exclusion pattern '%s' is empty", value);
        VB_GROW(f->patterns, f->n, f->cap);
        f->patterns[f->n++] = (struct vb_path_pattern){ vb_strdup(value), kind[0] == 'i' };
        return 0;
    }
    if (!strcmp(kind, "marker")) {
        if (!*value || strchr(value, '/') || !strcmp(value, ".") || !strcmp(value, ".."))
            return vb_fail(err, VB_E_USAGE, "'%s' is not the name of a marker file", value);
        vb_strv_add(&f->markers, value);
        return 0;
    }
    if (!strcmp(kind, "larger-than")) {
        if (!vb_parse_size(value, &f->larger_than) || f->larger_than == 0)
            return vb_fail(err, VB_E_USAGE, "'%s' is not a size above 0, such as 500M", value);
        return 0;
    }
    if (!strcmp(kind, "caches")) {
        f->caches = true;
        return no_value(kind, value, err);
    }
    if (!strcmp(kind, "one-file-system")) {
        f->one_file_system = true;
        return no_value(kind, value, err);
    }
    return vb_fail(err, VB_E_USAGE, "'%s' is not an exclusion rule", rule);
}

void vb_path_filter_clear(struct vb_path_filter *f)
{
    for (size_t i = 0; i < f->n; i++)
        vb_free_ptr(&f->patterns[i].text);
    vb_free_ptr(&f->patterns);
    vb_strv_clear(&f->markers);
    vb_buf_clear(&f->path);
    *f = (struct vb_path_filter){ .n = 0 };
}

bool vb_path_filter_drops(struct vb_path_filter *f, const char *dir, const char *name, bool is_dir)
{
    if (!f->n)
        return false;
    vb_buf_reset(&f->path);
    vb_buf_add_str(&f->path, dir);
    if (f->path.len == 0 || f->path.data[f->path.len - 1] != '/')
        vb_buf_add_char(&f->path, '/');
    vb_buf_add_str(&f->path, name);
    const char *path = vb_buf_str(&f->path);
    for (size_t i = 0; i < f->n; i++)
        if (vb_path_pattern_match(f->patterns[i].text, f->patterns[i].fold, path, is_dir))
            return true;
    return false;
}
