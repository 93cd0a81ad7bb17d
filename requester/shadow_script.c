/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow_script.c - the parser of shadow scripts; no command is run here.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "requester/shadow_script.h"

#define MAX_LINE 65536u
#define MAX_LINES 100000u
#define MAX_WORDS 64u

static const struct {
    const char *words[2];
    enum vb_script_command command;
    size_t min, max;
    const char *usage;
    const char *first; /* what the first argument may be, with blanks around each; NULL: anything */
} COMMANDS[] = {
    { { "set", "context" }, VB_SC_SET_CONTEXT, 1, 2, "clientaccessible | persistent | volatile [nowriters]",
      " clientaccessible persistent volatile " },
    { { "set", "option" }, VB_SC_SET_OPTION, 1, 6, "differential | plex | transportable | rollbackrecover | noautorecover",
      " differential plex transportable rollbackrecover noautorecover " },
    { { "set", "verbose" }, VB_SC_SET_VERBOSE, 1, 1, "on | off", " on off " },
    { { "set", "metadata" }, VB_SC_SET_METADATA, 1, 1, "FILE", NULL },
    { { "load", "metadata" }, VB_SC_LOAD_METADATA, 1, 1, "FILE", NULL },
    { { "writer", "verify" }, VB_SC_WRITER_VERIFY, 1, 1, "WRITER", NULL },
    { { "writer", "exclude" }, VB_SC_WRITER_EXCLUDE, 1, 1, "WRITER", NULL },
    { { "add", "volume" }, VB_SC_ADD_VOLUME, 1, 3, "VOLUME [alias NAME]", NULL },
    { { "add", "alias" }, VB_SC_ADD_ALIAS, 2, 2, "NAME ID", NULL },
    { { "add", NULL }, VB_SC_ADD, 0, 0, "", NULL },
    { { "begin", "backup" }, VB_SC_BEGIN_BACKUP, 0, 0, "", NULL },
    { { "end", "backup" }, VB_SC_END_BACKUP, 0, 0, "", NULL },
    { { "create", NULL }, VB_SC_CREATE, 0, 0, "", NULL },
    { { "exec", NULL }, VB_SC_EXEC, 1, MAX_WORDS, "PROGRAM [ARGUMENT...]", NULL },
    { { "expose", NULL }, VB_SC_EXPOSE, 2, 2, "ID DIR", NULL },
    { { "unexpose", NULL }, VB_SC_UNEXPOSE, 1, 1, "ID", NULL },
    { { "delete", "shadows" }, VB_SC_DELETE, 1, 2, "all | volume V | oldest V | set ID | id ID | exposed DIR",
      " all volume oldest set id exposed " },
    { { "list", "shadows" }, VB_SC_LIST, 0, 2, "[all | set ID | id ID]", " all set id " },
    { { "list", NULL }, VB_SC_LIST, 1, 1, "writers | providers | shadows", " writers providers " },
    { { "import", NULL }, VB_SC_IMPORT, 2, 2, "FILE DIR", NULL },
    { { "revert", NULL }, VB_SC_REVERT, 1, 1, "ID", NULL },
    { { "break", NULL }, VB_SC_BREAK, 2, 3, "[writable] ID DIR", NULL },
    { { "reset", NULL }, VB_SC_RESET, 0, 0, "", NULL },
    { { "exit", NULL }, VB_SC_EXIT, 0, 0, "", NULL },
};

/* Commands of the field that mean nothing here, with what to do instead. */
static const struct { const char *words[2], *why; } FOREIGN[] = {
    { { "begin", "restore" }, "'vbackup restore' restores with the writers" },
    { { "end", "restore" }, "'vbackup restore' restores with the writers" },
    { { "simulate", "restore" }, "'vbackup plan restore' shows what a restore would do" },
    { { "mask", NULL }, "shadow copies are not shown to other hosts, so there is nothing to hide" },
};

bool vb_script_name_valid(const char *name)
{
    if (!*name || (*name >= '0' && *name <= '9') || strlen(name) > 128)
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int split(const char *p, size_t n, unsigned number, struct vb_strv *words, struct vb_error *err)
{
    size_t i = 0;
    while (i < n) {
        VB_AUTO_BUF w = VB_BUF_INIT;
        bool quoted = false;
        if (blank(p[i])) {
            i++;
            continue;
        }
        for (; i < n && (quoted || !blank(p[i])); i++) {
            unsigned char c = (unsigned char)p[i];
            if (c == '"')
                quoted = !quoted;
            else if (c < 0x20 || c == 0x7f)
                return vb_fail(err, VB_E_USAGE, "line %u: control character %u is not possible", number, c);
            else
                vb_buf_add_char(&w, p[i]);
        }
        if (quoted)
            return vb_fail(err, VB_E_USAGE, "line %u: a quote is not closed", number);
        if (words->n == MAX_WORDS)
            return vb_fail(err, VB_E_USAGE, "line %u: more than %u words", number, MAX_WORDS);
        vb_strv_take(words, vb_buf_take_str(&w));
    }
    return 0;
}

static bool named(const struct vb_strv *w, const char *const words[2])
{
    return w->n > 0 && !strcasecmp(w->v[0], words[0]) && (!words[1] || (w->n > 1 && !strcasecmp(w->v[1], words[1])));
}

static bool among(const char *list, const char *word)
{
    VB_AUTO_FREE char *padded = vb_printf(" %s ", word);
    return !strchr(word, ' ') && strcasestr(list, padded) != NULL;
}

static int take(const struct vb_strv *w, unsigned number, struct vb_script *out, struct vb_error *err)
{
    for (size_t i = 0; i < VB_COUNT(FOREIGN); i++)
        if (named(w, FOREIGN[i].words)) {
            vb_fail(err, VB_E_USAGE, "line %u: '%s%s%s' is not possible here", number, FOREIGN[i].words[0],
                    FOREIGN[i].words[1] ? " " : "", FOREIGN[i].words[1] ? FOREIGN[i].words[1] : "");
            vb_hint(err, "%s", FOREIGN[i].why);
            return -1;
        }
    for (size_t i = 0; i < VB_COUNT(COMMANDS); i++) {
        size_t skip = COMMANDS[i].words[1] ? 2 : 1;
        if (!named(w, COMMANDS[i].words) || (COMMANDS[i].command == VB_SC_ADD && w->n > 1))
            continue;
        size_t n = w->n - skip;
        if (n < COMMANDS[i].min || n > COMMANDS[i].max || (n && COMMANDS[i].first && !among(COMMANDS[i].first, w->v[skip])))
            return vb_fail(err, VB_E_USAGE, "line %u: expected '%s%s%s %s'", number, COMMANDS[i].words[0],
                           skip == 2 ? " " : "", skip == 2 ? COMMANDS[i].words[1] : "", COMMANDS[i].usage);
        if (COMMANDS[i].command == VB_SC_ADD_VOLUME &&
            (n == 2 || (n == 3 && (strcasecmp(w->v[3], "alias") != 0 || !vb_script_name_valid(w->v[4])))))
            return vb_fail(err, VB_E_USAGE, "line %u: expected 'add volume VOLUME alias NAME'", number);
        if (COMMANDS[i].command == VB_SC_ADD_ALIAS && !vb_script_name_valid(w->v[2]))
            return vb_fail(err, VB_E_USAGE, "line %u: '%s' is not a name", number, w->v[2]);
        VB_GROW(out->v, out->n, out->cap);
        struct vb_script_line *l = &out->v[out->n++];
        *l = (struct vb_script_line){ number, COMMANDS[i].command, { NULL, 0, 0 } };
        if (l->command == VB_SC_LIST && skip == 2)
            vb_strv_add(&l->args, "shadows");
        for (size_t k = skip; k < w->n; k++)
            vb_strv_add(&l->args, w->v[k]);
        return 0;
    }
    return vb_fail(err, VB_E_USAGE, "line %u: there is no command '%s%s%s'", number, w->v[0], w->n > 1 ? " " : "",
                   w->n > 1 ? w->v[1] : "");
}

int vb_script_parse(const void *text, size_t n, struct vb_script *out, struct vb_error *err)
{
    const char *p = text, *end = p + n;
    for (unsigned number = 1; p < end; number++) {
        const char *e = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((e ? e : end) - p);
        struct vb_strv words = { NULL, 0, 0 };
        if (len > MAX_LINE || number > MAX_LINES)
            return vb_fail(err, VB_E_USAGE, "line %u: too long, or one too many", number);
        size_t at = 0;
        while (at < len && blank(p[at]))
            at++;
        int rc = at < len && p[at] == '#' ? 0 : split(p, len, number, &words, err);
        if (rc == 0 && words.n && strcasecmp(words.v[0], "rem") != 0)
            rc = take(&words, number, out, err);
        vb_strv_clear(&words);
        if (rc < 0)
            return -1;
        p += len + (e != NULL);
    }
    return 0;
}

void vb_script_clear(struct vb_script *s)
{
    for (size_t i = 0; i < s->n; i++)
        vb_strv_clear(&s->v[i].args);
    free(s->v);
    *s = (struct vb_script){ NULL, 0, 0 };
}

char *vb_script_expand(const char *word, const struct vb_strv *aliases, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    for (const char *p = word; *p;) {
        if (*p != '%') {
            vb_buf_add_char(&out, *p++);
            continue;
        }
        const char *e = strchr(p + 1, '%');
        if (!e) {
            vb_fail(err, VB_E_USAGE, "a percent sign stands alone in '%s'", word);
            vb_hint(err, "write two of them for one");
            return NULL;
        }
        size_t n = (size_t)(e - p) - 1;
        const char *value = n ? NULL : "%";
        for (size_t i = 0; !value && i < aliases->n; i++)
            if (!strncasecmp(aliases->v[i], p + 1, n) && aliases->v[i][n] == '=')
                value = aliases->v[i] + n + 1;
        if (!value) {
            vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no alias '%.*s'", (int)(n < 200 ? n : 200), p + 1);
            vb_hint(err, "'add volume VOLUME alias NAME' or 'add alias NAME ID' makes one");
            return NULL;
        }
        vb_buf_add_str(&out, value);
        p = e + 1;
    }
    return vb_buf_take_str(&out);
}
