/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/text.c - the facts as text, and the names of log files.  What is read here comes from a backup.
 */
#include "config.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/postgresql/pgw.h"

/* ---- facts ---- */

void pgw_facts_clear(struct pgw_facts *f)
{
    free(f->data_directory);
    free(f->config_file);
    free(f->hba_file);
    free(f->ident_file);
    free(f->version);
    free(f->system_id);
    free(f->bin_directory);
    vbw_list_clear(&f->ts_oid);
    vbw_list_clear(&f->ts_location);
    memset(f, 0, sizeof *f);
}

char *pgw_line(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = text; p != NULL && *p != '\0'; p = strchr(p, '\n') != NULL ? strchr(p, '\n') + 1 : NULL)
        if (strncmp(p, key, n) == 0 && p[n] == '=') {
            size_t k = strcspn(p + n + 1, "\n");
            char *v = vbw_alloc(k + 1, 1);
            memcpy(v, p + n + 1, k);
            return v;
        }
    return NULL;
}

static void append(char **text, const char *key, const char *value)
{
    if (value == NULL || strchr(value, '\n') != NULL)
        return;
    char *more = vbw_printf("%s%s=%s\n", *text != NULL ? *text : "", key, value);
    free(*text);
    *text = more;
}

char *pgw_facts_text(const struct pgw_facts *f)
{
    char *t = vbw_strdup("");
    VBW_AUTO char *size = vbw_printf("%lu", f->segment_size);

    append(&t, "data-directory", f->data_directory);
    append(&t, "config-file", f->config_file);
    append(&t, "hba-file", f->hba_file);
    append(&t, "ident-file", f->ident_file);
    append(&t, "version", f->version);
    append(&t, "system-identifier", f->system_id);
    append(&t, "bin-directory", f->bin_directory);
    append(&t, "segment-size", size);
    for (size_t i = 0; i < f->ts_oid.n; i++) {
        VBW_AUTO char *key = vbw_printf("tablespace.%s", f->ts_oid.v[i]);
        append(&t, key, f->ts_location.v[i]);
    }
    return t;
}

void pgw_facts_parse(struct pgw_facts *f, const char *text)
{
    static const char ts[] = "tablespace.";

    pgw_facts_clear(f);
    f->data_directory = pgw_line(text, "data-directory");
    f->config_file = pgw_line(text, "config-file");
    f->hba_file = pgw_line(text, "hba-file");
    f->ident_file = pgw_line(text, "ident-file");
    f->version = pgw_line(text, "version");
    f->system_id = pgw_line(text, "system-identifier");
    f->bin_directory = pgw_line(text, "bin-directory");
    VBW_AUTO char *size = pgw_line(text, "segment-size");
    f->segment_size = size != NULL ? strtoul(size, NULL, 10) : 0;
    for (const char *p = text; p != NULL && *p != '\0'; p = strchr(p, '\n') != NULL ? strchr(p, '\n') + 1 : NULL) {
        if (strncmp(p, ts, sizeof ts - 1) != 0)
            continue;
        const char *oid = p + sizeof ts - 1;
        size_t n = strcspn(oid, "=\n");
        if (oid[n] != '=')
            continue;
        size_t k = strcspn(oid + n + 1, "\n");
        vbw_list_take(&f->ts_oid, vbw_printf("%.*s", (int)n, oid));
        vbw_list_take(&f->ts_location, vbw_printf("%.*s", (int)k, oid + n + 1));
    }
}

/* ---- the log ---- */

static int hex8(const char *s, unsigned long *v)
{
    *v = 0;
    for (int i = 0; i < 8; i++) {
        const char *digits = "0123456789ABCDEF", *d = s[i] != '\0' ? strchr(digits, s[i]) : NULL;
        if (d == NULL)
            return -1;
        *v = *v * 16 + (unsigned long)(d - digits);
    }
    return 0;
}

/* Timeline and running number of a segment name: three times eight hexadecimal digits. */
static int parse_name(const char *name, unsigned long segment_size, unsigned long *tli, uint64_t *number)
{
    uint64_t per_id = UINT64_C(0x100000000) / segment_size;
    unsigned long id, seg;

    if (strlen(name) != 24 || hex8(name, tli) != 0 || hex8(name + 8, &id) != 0 || hex8(name + 16, &seg) != 0 ||
        seg >= per_id)
        return -1;
    *number = (uint64_t)id * per_id + seg;
    return 0;
}

int pgw_wal_names(const char *first, const char *last, unsigned long segment_size, struct vbw_list *names)
{
    unsigned long t1, t2;
    uint64_t a, b, per_id;

    if (segment_size == 0 || parse_name(first, segment_size, &t1, &a) != 0 ||
        parse_name(last, segment_size, &t2, &b) != 0 || t1 != t2 || a > b || b - a > 1000000)
        return -1;
    per_id = UINT64_C(0x100000000) / segment_size;
    for (; a <= b; a++)
        vbw_list_take(names,
                      vbw_printf("%08lX%08lX%08lX", t1, (unsigned long)(a / per_id), (unsigned long)(a % per_id)));
    return 0;
}

const char *pgw_wal_check(const char *path, const char *name, unsigned long segment_size)
{
    struct {
        uint16_t magic, info;
        uint32_t tli;
        uint64_t address;
    } head; /* XLogPageHeaderData, native byte order */
    unsigned long tli;
    uint64_t number;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return "it cannot be read";
    ssize_t k = read(fd, &head, sizeof head);
    bool whole = fstat(fd, &st) == 0 && st.st_size == (off_t)segment_size;
    close(fd);
    if (!whole)
        return "it has another size than a segment";
    if (k != (ssize_t)sizeof head || parse_name(name, segment_size, &tli, &number) != 0)
        return "it is no segment";
    if (head.address != number * segment_size)
        return "it holds another part of the log (the server has used it again)";
    return head.tli == tli ? NULL : "it holds another timeline";
}

bool pgw_is_history(const char *name)
{
    unsigned long tli;

    return hex8(name, &tli) == 0 && strcmp(name + 8, ".history") == 0;
}
