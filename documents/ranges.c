/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/ranges.c - reading the byte ranges of a partial file.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "documents/check.h"
#include "documents/ranges.h"

#define BAD VB_E_INVALID_XML_DOCUMENT

void vb_ranges_clear(struct vb_ranges *r)
{
    free(r->v);
    *r = (struct vb_ranges){ .v = NULL };
}

const char *vb_ranges_path(const char *text)
{
    if (text[0] == '/')
        return text;
    return strncmp(text, "File=", 5) == 0 ? text + 5 : NULL;
}

static int by_offset(const void *a, const void *b)
{
    const struct vb_range *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int add(struct vb_ranges *r, uint64_t offset, uint64_t len, struct vb_error *err)
{
    if (r->n >= VB_RANGES_MAX)
        return vb_fail(err, VB_E_LIMIT, "more than %u ranges", VB_RANGES_MAX);
    if (!len)
        return vb_fail(err, BAD, "range '%" PRIu64 ":0' is empty", offset);
    if (len > UINT64_MAX - offset)
        return vb_fail(err, BAD, "range '%" PRIu64 ":%" PRIu64 "' ends beyond any file", offset, len);
    VB_GROW(r->v, r->n, r->cap);
    r->v[r->n++] = (struct vb_range){ offset, len };
    return 0;
}

static int order(struct vb_ranges *r, struct vb_error *err)
{
    if (r->n)
        qsort(r->v, r->n, sizeof *r->v, by_offset);
    for (size_t i = 1; i < r->n; i++) {
        const struct vb_range *a = &r->v[i - 1], *b = &r->v[i];
        if (b->offset < a->offset + a->len)
            return vb_fail(err, BAD, "ranges '%" PRIu64 ":%" PRIu64 "' and '%" PRIu64 ":%" PRIu64 "' overlap", a->offset,
                           a->len, b->offset, b->len);
    }
    return 0;
}

/* One number; *p is moved behind it.  Digits were seen to by vb_check_ranges. */
static bool number(const char **p, uint64_t *v)
{
    size_t n = strspn(*p, "0123456789abcdefABCDEFxX");
    VB_AUTO_FREE char *text = vb_strndup(*p, n);
    *p += n;
    return vb_parse_u64(text, v);
}

int vb_ranges_parse(const char *text, struct vb_ranges *out, struct vb_error *err)
{
    int rc = 0;
    vb_ranges_clear(out);
    if (vb_ranges_path(text))
        return vb_fail(err, BAD, "ranges are in a file");
    if (vb_check_ranges(text, NULL, err) < 0)
        return -1;
    for (const char *p = text; *p && rc == 0;) {
        uint64_t offset = 0, len = 0;
        if (!number(&p, &offset) || *p++ != ':' || !number(&p, &len))
            rc = vb_fail(err, BAD, "ranges are not 'offset:length' pairs joined by commas");
        else
            rc = add(out, offset, len, err);
        p += rc == 0 && *p == ',';
    }
    if (rc == 0)
        rc = order(out, err);
    if (rc < 0)
        vb_ranges_clear(out);
    return rc;
}

static uint64_t little(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

int vb_ranges_decode(const void *data, size_t n, struct vb_ranges *out, struct vb_error *err)
{
    const unsigned char *p = data;
    int rc = 0;
    vb_ranges_clear(out);
    uint64_t count = n >= 8 ? little(p) : 0;
    if (n < 8 || (n - 8) % 16 || count != (n - 8) / 16)
        return vb_fail(err, BAD, "ranges file has %zu bytes, which does not fit %" PRIu64 " ranges", n, count);
    for (uint64_t i = 0; i < count && rc == 0; i++)
        rc = add(out, little(p + 8 + 16 * i), little(p + 16 + 16 * i), err);
    if (rc == 0)
        rc = order(out, err);
    if (rc < 0)
        vb_ranges_clear(out);
    return rc;
}

int vb_ranges_check_size(const struct vb_ranges *r, uint64_t size, struct vb_error *err)
{
    const struct vb_range *last = r->n ? &r->v[r->n - 1] : NULL;
    if (!last || last->offset + last->len <= size)
        return 0;
    return vb_fail(err, BAD, "range '%" PRIu64 ":%" PRIu64 "' reaches beyond the %" PRIu64 " bytes of the file", last->offset,
                   last->len, size);
}
