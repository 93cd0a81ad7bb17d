/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/config.c - the configuration file.  Every message begins with file:line and says what was expected.
 */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/io.h"
#include "base/text.h"

#define CONFIG_MAX ((size_t)1 << 20) /* bytes of one file */
#define ENTRIES_MAX 100000           /* over all files */

struct parse {
    struct vb_config *c;
    struct vb_config_section *section; /* the one being filled, NULL before the first header */
    const char *name;
    unsigned line;
    struct vb_strv *includes; /* directories named at the top; NULL: none allowed here */
    const char *no_include;   /* why not */
    size_t total;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

static bool is_word(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_word_char(s[i])) {
            return false;
        }
    }
    return n > 0;
}

static void trim(const char **s, size_t *n)
{
    while (*n > 0 && is_blank(**s)) {
        ++*s;
        --*n;
    }
    while (*n > 0 && is_blank((*s)[*n - 1])) {
        --*n;
    }
}

static char *shown(const char *s, size_t n)
{
    return vb_escape_terminal(s, n > 200 ? 200 : n);
}

static int bad_line(const struct parse *p, struct vb_error *err, const char *what, const char *text, size_t n)
{
    VB_AUTO_FREE char *t = shown(text, n);
    vb_fail(err, VB_E_CONFIG, "%s:%u: %s '%s', expected '[KIND NAME]', 'key = value' or a '#' comment", p->name,
            p->line, what, t);
    vb_hint(err, "Correct line %u of '%s'.", p->line, p->name);
    return -1;
}

struct vb_config *vb_config_empty(void)
{
    return vb_alloc(sizeof(struct vb_config));
}

void vb_config_free(struct vb_config *c)
{
    if (!c) {
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct vb_config_section *s = &c->sections[i];
        for (size_t k = 0; k < s->n; k++) {
            free(s->entries[k].key);
            free(s->entries[k].value);
            free(s->entries[k].file);
        }
        free(s->entries);
        free(s->kind);
        free(s->name);
        free(s->file);
    }
    free(c->sections);
    free(c);
}

/* Words of s joined by one blank each. */
static char *join_words(const char *s, size_t n)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (!is_blank(s[i])) {
            vb_buf_add_char(&b, s[i]);
        } else if (b.len && b.data[b.len - 1] != ' ') {
            vb_buf_add_char(&b, ' ');
        }
    }
    return vb_buf_take_str(&b);
}

static int parse_header(struct parse *p, const char *s, size_t n, struct vb_error *err)
{
    if (s[n - 1] != ']' || memchr(s, ']', n - 1) || memchr(s + 1, '[', n - 1)) {
        return bad_line(p, err, "malformed section header", s, n);
    }
    const char *inner = s + 1;
    size_t len = n - 2;
    trim(&inner, &len);
    size_t k = 0;
    while (k < len && !is_blank(inner[k])) {
        k++;
    }
    if (!is_word(inner, k)) {
        return bad_line(p, err, "malformed section header", s, n);
    }
    VB_AUTO_FREE char *kind = vb_strndup(inner, k);
    const char *rest = inner + k;
    size_t rest_len = len - k;
    trim(&rest, &rest_len);
    VB_AUTO_FREE char *name = join_words(rest, rest_len);
    const struct vb_config_section *same = vb_config_find(p->c, kind, name);
    if (same) {
        VB_AUTO_FREE char *t = shown(s, n);
        vb_fail(err, VB_E_CONFIG, "%s:%u: section '%s' stands already at %s:%u, expected each section once", p->name,
                p->line, t, same->file, same->line);
        vb_hint(err, "Put both into one section, or give the second another name.");
        return -1;
    }
    VB_GROW(p->c->sections, p->c->n, p->c->cap);
    struct vb_config_section *sec = &p->c->sections[p->c->n++];
    memset(sec, 0, sizeof *sec);
    sec->kind = VB_STEAL(kind);
    sec->name = VB_STEAL(name);
    sec->file = vb_strdup(p->name);
    sec->line = p->line;
    p->section = sec;
    return 0;
}

static int parse_top(struct parse *p, const char *key, size_t key_len, const char *value, size_t n,
                     struct vb_error *err)
{
    if (key_len != 7 || memcmp(key, "include", 7) != 0) {
        VB_AUTO_FREE char *t = shown(key, key_len);
        vb_fail(err, VB_E_CONFIG, "%s:%u: '%s' stands before any section, expected '[KIND NAME]' or 'include = DIR'",
                p->name, p->line, t);
        vb_hint(err, "Move it below the section it belongs to.");
        return -1;
    }
    if (!p->includes) {
        return vb_fail(err, VB_E_CONFIG, "%s:%u: 'include' is not possible %s, expected '[KIND NAME]'", p->name,
                       p->line, p->no_include);
    }
    if (n == 0) {
        return vb_fail(err, VB_E_CONFIG, "%s:%u: 'include' has no value, expected a directory", p->name, p->line);
    }
    vb_strv_take(p->includes, vb_strndup(value, n));
    return 0;
}

static int parse_entry(struct parse *p, const char *s, size_t n, struct vb_error *err)
{
    const char *eq = memchr(s, '=', n);
    if (!eq) {
        return bad_line(p, err, "cannot read", s, n);
    }
    const char *key = s, *value = eq + 1;
    size_t key_len = (size_t)(eq - s), value_len = n - key_len - 1;
    trim(&key, &key_len);
    trim(&value, &value_len);
    if (!is_word(key, key_len)) {
        return bad_line(p, err, "malformed key in", s, n);
    }
    if (!p->section) {
        return parse_top(p, key, key_len, value, value_len, err);
    }
    if (++p->total > ENTRIES_MAX) {
        return vb_fail(err, VB_E_CONFIG, "%s:%u: too many entries, expected at most %d", p->name, p->line, ENTRIES_MAX);
    }
    struct vb_config_section *sec = p->section;
    VB_GROW(sec->entries, sec->n, sec->cap);
    struct vb_config_entry *e = &sec->entries[sec->n++];
    e->key = vb_strndup(key, key_len);
    e->value = vb_strndup(value, value_len);
    e->file = vb_strdup(p->name);
    e->line = p->line;
    return 0;
}

static int parse_line(struct parse *p, const char *s, size_t n, struct vb_error *err)
{
    if (n > 0 && s[n - 1] == '\r') {
        n--; /* a file that was edited elsewhere */
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < 0x20 && s[i] != '\t') {
            vb_fail(err, VB_E_CONFIG, "%s:%u: control character 0x%02x in column %zu, expected text", p->name, p->line,
                    (unsigned)(unsigned char)s[i], i + 1);
            vb_hint(err, "Correct line %u of '%s'.", p->line, p->name);
            return -1;
        }
    }
    trim(&s, &n);
    if (n == 0 || *s == '#') {
        return 0;
    }
    return *s == '[' ? parse_header(p, s, n, err) : parse_entry(p, s, n, err);
}

static int parse_text(struct parse *p, const char *text, size_t n, struct vb_error *err)
{
    p->section = NULL;
    p->line = 0;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - (text + at)) : n - at;
        p->line++;
        if (parse_line(p, text + at, len, err) < 0) {
            return -1;
        }
        at += len + 1;
    }
    return 0;
}

struct vb_config *vb_config_parse(const char *name, const char *text, size_t n, struct vb_error *err)
{
    struct parse p = { .c = vb_config_empty(), .name = name, .no_include = "here" };
    if (n > CONFIG_MAX) {
        vb_fail(err, VB_E_CONFIG, "%s:1: the file is larger than %zu bytes, expected less", name, CONFIG_MAX);
    } else if (parse_text(&p, text, n, err) == 0) {
        return p.c;
    }
    vb_config_free(p.c);
    return NULL;
}

/* --- files --- */

/* Whoever may write the file gives orders to whoever runs us (rules ). */
static int check_owner(const char *path, const struct stat *st, bool is_dir, struct vb_error *err)
{
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        vb_fail(err, VB_E_CONFIG, "%s:1: the %s belongs to user id %u, expected root or the user who runs vbackup", path,
                is_dir ? "directory" : "file", (unsigned)st->st_uid);
        vb_hint(err, "Check its contents, then: chown %u '%s'", (unsigned)geteuid(), path);
        return -1;
    }
    mode_t wrong = st->st_mode & (S_IWGRP | S_IWOTH);
    if (wrong && !(is_dir && (st->st_mode & S_ISVTX))) {
        vb_fail(err, VB_E_CONFIG, "%s:1: the %s is writable by others (mode %04o), expected by its owner alone", path,
                is_dir ? "directory" : "file", (unsigned)(st->st_mode & 07777));
        vb_hint(err, "Check its contents, then: chmod go-w '%s'", path);
        return -1;
    }
    return 0;
}

static int read_config_file(const char *path, struct vb_buf *b, struct vb_error *err)
{
    struct stat st;
    VB_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        vb_fail_errno(err, errno, "cannot open configuration '%s'", path);
        vb_hint(err, "Name another file with --config, or write this one (see vbackup.conf(5)).");
        return -1;
    }
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) {
        return 0; /* /dev/null is the empty configuration */
    }
    if (!S_ISREG(st.st_mode)) {
        return vb_fail(err, VB_E_CONFIG, "%s:1: not a regular file, expected a configuration file", path);
    }
    if (check_owner(path, &st, false, err) < 0) {
        return -1;
    }
    while (b->len <= CONFIG_MAX) {
        vb_buf_reserve(b, 65536);
        ssize_t r = read(fd, b->data + b->len, 65536);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return vb_fail_errno(err, errno, "cannot read configuration '%s'", path);
        }
        if (r == 0) {
            return 0;
        }
        b->len += (size_t)r;
    }
    return vb_fail(err, VB_E_CONFIG, "%s:1: the file is larger than %zu bytes, expected less", path, CONFIG_MAX);
}

static int load_one(struct parse *p, const char *path, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (read_config_file(path, &b, err) < 0) {
        return -1;
    }
    p->name = path;
    return parse_text(p, vb_buf_str(&b), b.len, err);
}

static int load_dir(struct parse *p, const char *dir, struct vb_error *err)
{
    struct vb_strv names = { 0 };
    struct stat st;
    VB_AUTO_DIR DIR *d = opendir(dir);
    if (!d || fstat(dirfd(d), &st) < 0) {
        vb_fail_errno(err, errno, "cannot open directory '%s' of 'include'", dir);
        vb_hint(err, "Make the directory, or remove the 'include' line.");
        return -1;
    }
    if (check_owner(dir, &st, true, err) < 0) {
        return -1;
    }
    for (const struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".conf") == 0) {
            vb_strv_add(&names, e->d_name);
        }
    }
    vb_strv_sort(&names);
    int r = 0;
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        VB_AUTO_FREE char *path = vb_path_join(dir, names.v[i]);
        r = load_one(p, path, err);
    }
    vb_strv_clear(&names);
    return r;
}

struct vb_config *vb_config_load(const char *path, struct vb_error *err)
{
    struct vb_strv dirs = { 0 };
    struct parse p = { .c = vb_config_empty(), .includes = &dirs };
    int r = load_one(&p, path, err);
    p.includes = NULL;
    p.no_include = "in an included file";
    const char *slash = strrchr(path, '/');
    VB_AUTO_FREE char *own = slash ? vb_strndup(path, (size_t)(slash - path) + 1) : vb_strdup("");
    for (size_t i = 0; r == 0 && i < dirs.n; i++) {
        VB_AUTO_FREE char *dir = vb_path_join(own, dirs.v[i]);
        r = load_dir(&p, dir, err);
    }
    vb_strv_clear(&dirs);
    if (r < 0) {
        vb_config_free(p.c);
        return NULL;
    }
    return p.c;
}

/* --- access --- */

const struct vb_config_section *vb_config_find(const struct vb_config *c, const char *kind, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct vb_config_section *s = &c->sections[i];
        if (strcmp(s->kind, kind) == 0 && (!name || strcmp(s->name, name) == 0)) {
            return s;
        }
    }
    return NULL;
}

static const struct vb_config_entry *last_entry(const struct vb_config_section *s, const char *key)
{
    for (size_t i = s ? s->n : 0; i > 0; i--) {
        if (strcmp(s->entries[i - 1].key, key) == 0) {
            return &s->entries[i - 1];
        }
    }
    return NULL;
}

const char *vb_section_get(const struct vb_config_section *s, const char *key)
{
    const struct vb_config_entry *e = last_entry(s, key);
    return e ? e->value : NULL;
}

const char **vb_section_list(const struct vb_config_section *s, const char *key, size_t *n)
{
    const char **list = vb_alloc_n(s ? s->n : 0, sizeof *list);
    *n = 0;
    for (size_t i = 0; s && i < s->n; i++) {
        if (strcmp(s->entries[i].key, key) == 0) {
            list[(*n)++] = s->entries[i].value;
        }
    }
    return list;
}

static int bad_value(const struct vb_config_entry *e, const char *expected, struct vb_error *err)
{
    VB_AUTO_FREE char *t = shown(e->value, strlen(e->value));
    vb_fail(err, VB_E_CONFIG, "%s:%u: '%s' is '%s', expected %s", e->file, e->line, e->key, t, expected);
    vb_hint(err, "Correct line %u of '%s'.", e->line, e->file);
    return -1;
}

int vb_section_bool(const struct vb_config_section *s, const char *key, bool def, bool *v, struct vb_error *err)
{
    const struct vb_config_entry *e = last_entry(s, key);
    *v = def;
    return !e || vb_parse_bool(e->value, v) ? 0 : bad_value(e, "yes or no", err);
}

int vb_section_u64(const struct vb_config_section *s, const char *key, uint64_t def, uint64_t *v, struct vb_error *err)
{
    const struct vb_config_entry *e = last_entry(s, key);
    *v = def;
    return !e || vb_parse_u64(e->value, v) ? 0 : bad_value(e, "a whole number", err);
}

int vb_section_duration_ms(const struct vb_config_section *s, const char *key, uint64_t def, uint64_t *v,
                           struct vb_error *err)
{
    const struct vb_config_entry *e = last_entry(s, key);
    *v = def;
    return !e || vb_parse_duration_ms(e->value, v) ? 0 : bad_value(e, "a duration as 90s, 5m, 2h, 1d or 250ms", err);
}

static bool in_list(const char *const *list, const char *s)
{
    for (; *list; list++) {
        if (strcmp(*list, s) == 0) {
            return true;
        }
    }
    return false;
}

int vb_config_check_keys(const struct vb_config_section *s, const char *const *allowed, struct vb_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct vb_config_entry *e = &s->entries[i];
        if (in_list(allowed, e->key)) {
            continue;
        }
        VB_AUTO_BUF b = VB_BUF_INIT;
        for (size_t k = 0; allowed[k]; k++) {
            vb_buf_addf(&b, "%s%s", k ? ", " : "", allowed[k]);
        }
        vb_fail(err, VB_E_CONFIG, "%s:%u: unknown key '%s' in section '[%s%s%s]', expected one of: %s", e->file, e->line,
                e->key, s->kind, *s->name ? " " : "", s->name, vb_buf_str(&b));
        vb_hint(err, "Correct line %u of '%s'.", e->line, e->file);
        return -1;
    }
    return 0;
}

char *vb_section_where(const struct vb_config_section *s, const char *key)
{
    const struct vb_config_entry *e = key ? last_entry(s, key) : NULL;
    return e ? vb_printf("%s:%u", e->file, e->line) : vb_printf("%s:%u", s->file, s->line);
}
