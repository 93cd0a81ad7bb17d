/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/check.c - the small rules on names and paths that every document shares.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "documents/check.h"

#define BAD VB_E_INVALID_XML_DOCUMENT

int vb_check_guid(const char *what, const char *s, struct vb_error *err)
{
    if (s && vb_guid_valid(s))
        return 0;
    VB_AUTO_FREE char *shown = vb_escape_terminal(s ? s : "", s ? strlen(s) : 0);
    return vb_fail(err, BAD, "%s '%s' is not a GUID", what, shown);
}

int vb_check_component_name(const char *name, struct vb_error *err)
{
    if (!name || !*name)
        return vb_fail(err, BAD, "a component without a name");
    if (!strchr(name, '\\'))
        return 0;
    VB_AUTO_FREE char *shown = vb_escape_terminal(name, strlen(name));
    return vb_fail(err, BAD, "component name '%s' holds a path separator", shown);
}

char *vb_check_logical_path(const char *path, struct vb_error *err)
{
    if (!path || !*path || strcmp(path, "\\") == 0)
        return vb_strdup("");
    size_t n = strlen(path);
    const char *s = path;
    if (s[0] == '\\' && s[1] != '\\') {
        s++;
        n--;
    }
    if (n > 1 && s[n - 1] == '\\' && s[n - 2] != '\\')
        n--;
    VB_AUTO_FREE char *out = vb_strndup(s, n);
    if (out[0] == '\\' || out[n - 1] == '\\' || strstr(out, "\\\\")) {
        VB_AUTO_FREE char *shown = vb_escape_terminal(path, strlen(path));
        vb_fail(err, BAD, "logical path '%s' has an empty element", shown);
        return NULL;
    }
    return VB_STEAL(out);
}

int vb_check_filespec(const char *spec, struct vb_error *err)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(spec ? spec : "", spec ? strlen(spec) : 0);

    if (!spec || !*spec)
        return vb_fail(err, BAD, "an empty file pattern");
    if (strchr(spec, '/'))
        return vb_fail(err, BAD, "file pattern '%s' has a directory part", shown);
    if (strcmp(spec, ".") == 0 || strcmp(spec, "..") == 0)
        return vb_fail(err, BAD, "file pattern '%s' names a directory", shown);
    return 0;
}

/* Whole element ".." between separators of either system. */
static bool has_dotdot(const char *path, const char *separators)
{
    while (*path) {
        size_t n = strcspn(path, separators);
        if (n == 2 && path[0] == '.' && path[1] == '.')
            return true;
        path += n;
        path += strspn(path, separators);
    }
    return false;
}

int vb_check_directory(const char *path, bool foreign, struct vb_error *err)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(path ? path : "", path ? strlen(path) : 0);

    if (!path || !*path)
        return vb_fail(err, BAD, "an empty path");
    if (has_dotdot(path, foreign ? "/\\" : "/"))
        return vb_fail(err, BAD, "path '%s' has a '..' element", shown);
    if (!foreign && path[0] != '/')
        return vb_fail(err, BAD, "path '%s' is not absolute", shown);
    return 0;
}

int vb_check_service(const char *name, struct vb_error *err)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(name, strlen(name));

    if (!*name || *name == '-')
        return vb_fail(err, BAD, "service name '%s' is empty or begins with a dash", shown);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f || strchr("/;|&$`'\"<>*?", *p))
            return vb_fail(err, BAD, "service name '%s' holds a character no service name has", shown);
    return 0;
}

/* Reads one number of the ranges text; *p is moved behind it. */
static bool range_number(const char **p, uint64_t *v)
{
    size_t n = strspn(*p, "0123456789abcdefABCDEFxX");
    VB_AUTO_FREE char *text = vb_strndup(*p, n);

    *p += n;
    return n > 0 && n < 20 + 2 && vb_parse_u64(text, v);
}

/* Next "offset:length" of a ranges text, and the comma after it. */
static bool next_pair(const char **p, uint64_t *offset, uint64_t *length)
{
    if (!range_number(p, offset) || *(*p)++ != ':' || !range_number(p, length) || *offset > UINT64_MAX - *length)
        return false;
    if (**p == ',')
        return *++*p != '\0';
    return **p == '\0';
}

int vb_check_ranges(const char *ranges, size_t *pairs, struct vb_error *err)
{
    size_t count = 0;

    if (pairs)
        *pairs = 0;
    if (ranges && (strncmp(ranges, "File=", 5) == 0 || ranges[0] == '/'))
        return vb_check_directory(ranges[0] == '/' ? ranges : ranges + 5, false, err);
    if (!ranges || !*ranges)
        return vb_fail(err, BAD, "empty ranges");
    for (const char *p = ranges; *p; count++) {
        uint64_t offset = 0, length = 0;
        if (!next_pair(&p, &offset, &length)) {
            VB_AUTO_FREE char *shown = vb_escape_terminal(ranges, strnlen(ranges, 60));
            return vb_fail(err, BAD, "ranges '%s' are not 'offset:length' pairs joined by commas", shown);
        }
    }
    if (pairs)
        *pairs = count;
    return 0;
}

int vb_check_ranges_match(const char *source, const char *target, struct vb_error *err)
{
    size_t a = 0, b = 0;

    if (vb_check_ranges(source, &a, err) < 0 || vb_check_ranges(target, &b, err) < 0)
        return -1;
    if (a != b)
        return vb_fail(err, BAD, "directed target maps %zu source ranges to %zu", a, b);
    for (size_t i = 0; i < a; i++) {
        uint64_t offset, la = 0, lb = 0;
        if (!next_pair(&source, &offset, &la) || !next_pair(&target, &offset, &lb) || la != lb)
            return vb_fail(err, BAD, "directed target maps a range of %" PRIu64 " bytes to one of %" PRIu64, la, lb);
    }
    return 0;
}
