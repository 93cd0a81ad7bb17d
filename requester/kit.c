/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a lost requester is made anew from: see kit.h. */
#include "config.h"

#include <ctype.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "requester/kit.h"
#include "store/chunk/chunk.h"

/* ---- the document ---- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* A key whose value is a secret itself, and not the name of the place where it lies. */
static bool is_secret(const char *key)
{
    return (strstr(key, "password") || strstr(key, "secret") || strstr(key, "token")) && !ends_with(key, "-file") &&
           !ends_with(key, "-command");
}

static char *without_secrets(const char *text)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    while (*text) {
        size_t n = strcspn(text, "\n");
        const char *equals = memchr(text, '=', n);
        VB_AUTO_FREE char *key = equals ? vb_strndup(text, (size_t)(equals - text)) : NULL;
        for (char *p = key; p && *p; p++)
            *p = (char)tolower((unsigned char)*p);
        while (key && *key && isspace((unsigned char)key[strlen(key) - 1]))
            key[strlen(key) - 1] = '\0';
        if (key && key[strspn(key, " \t")] != '#' && is_secret(key))
            vb_buf_addf(&out, "# %.*s = (a secret, left out of the backup)", (int)(equals - text), text);
        else
            vb_buf_add(&out, text, n);
        text += n;
        if (*text) {
            vb_buf_add_char(&out, '\n');
            text++;
        }
    }
    return vb_buf_take_str(&out);
}

static void add_file(json_t *files, struct vb_strv *seen, const char *kind, const char *path)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FREE char *full = realpath(path, NULL);
    if (!full || vb_strv_has(seen, full))
        return;
    vb_strv_add(seen, full);
    if (vb_read_file_at(AT_FDCWD, full, VB_KIT_MAX / 8, &b, NULL) < 0 || !vb_utf8_valid(vb_buf_str(&b), b.len) ||
        strlen(vb_buf_str(&b)) != b.len)
        return;
    VB_AUTO_FREE char *text = strcmp(kind, "configuration") == 0 ? without_secrets(vb_buf_str(&b)) : vb_strdup(vb_buf_str(&b));
    json_array_append_new(files, json_pack("{s:s,s:s,s:s}", "kind", kind, "path", full, "text", text));
}

static void add_places(json_t *list, const struct vb_config_section *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->entries[i].key, "identity") == 0 || ends_with(s->entries[i].key, "password-file") ||
            ends_with(s->entries[i].key, "secret-file") || ends_with(s->entries[i].key, "key-file"))
            json_array_append_new(list, json_pack("{s:s,s:s}", "key", s->entries[i].key, "path", s->entries[i].value));
}

void vb_kit_make(const struct vb_settings *s, struct vb_buf *out)
{
    char machine[256] = "";
    struct vb_strv seen = { 0 };
    json_t *o = json_object(), *files = json_array(), *elsewhere = json_array();
    const char *home = getenv("HOME");
    bool usual = false;
    if (gethostname(machine, sizeof machine - 1) < 0)
        machine[0] = '\0';
    if (s->config_path)
        add_file(files, &seen, "configuration", s->config_path);
    for (size_t i = 0; i < s->config->n; i++) {
        const struct vb_config_section *section = &s->config->sections[i];
        if (section->file)
            add_file(files, &seen, "configuration", section->file);
        add_places(elsewhere, section);
    }
    for (size_t i = 0; s->hosts && i < s->hosts->n; i++) {
        const struct vb_host_entry *h = &s->hosts->v[i];
        for (size_t k = 0; k < h->known_hosts.n; k++)
            add_file(files, &seen, "known-hosts", h->known_hosts.v[k]);
        usual = usual || (!h->local && h->known_hosts.n == 0);
    }
    if (usual && home) {
        VB_AUTO_FREE char *mine = vb_path_join(home, ".ssh/known_hosts");
        add_file(files, &seen, "known-hosts", mine);
    }
    if (usual)
        add_file(files, &seen, "known-hosts", "/etc/ssh/ssh_known_hosts");
    json_object_set_new(o, "vbackup", json_string("requester"));
    json_object_set_new(o, "schema", json_integer(1));
    json_object_set_new(o, "machine", vb_utf8_valid(machine, strlen(machine)) ? json_string(machine) : json_null());
    json_object_set_new(o, "configuration", s->config_path && vb_utf8_valid(s->config_path, strlen(s->config_path))
                                                ? json_string(s->config_path) : json_null());
    json_object_set_new(o, "files", files);
    json_object_set_new(o, "elsewhere", elsewhere);
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    vb_buf_add_str(out, text ? text : "{}");
    free(text);
    json_decref(o);
    vb_strv_clear(&seen);
}

/* ---- the sheet ---- */

#define LINES 4u
#define PART (VB_SHEET_SECRET / LINES) /* bytes on a line; two more are the checksum */
#define LINE_CHARS 16u                 /* of five bits each */
static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* no i, l, o, u */

static void checksum(const char *id, unsigned line, const uint8_t part[PART], uint8_t out[2])
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_name hash;
    vb_buf_addf(&b, "vbackup sheet 1 %s %u ", id, line);
    vb_buf_add(&b, part, PART);
    vb_sha256(b.data, b.len, &hash);
    memcpy(out, hash.b, 2);
    vb_wipe(b.data, b.len);
}

void vb_sheet_print(const char *id, const char *location, const char *machine, const char *when,
                    const uint8_t secret[VB_SHEET_SECRET], struct vb_buf *out)
{
    vb_buf_addf(out,
                "vbackup: to be kept on paper, where neither this machine nor the repository is\n\n"
                "repository  %s\nlocation    %s\nmachine     %s\nprinted     %s\n\n",
                id, location, machine, when);
    for (unsigned i = 0; secret && i < LINES; i++) {
        uint8_t bytes[PART + 2];
        memcpy(bytes, secret + i * PART, PART);
        checksum(id, i + 1, secret + i * PART, bytes + PART);
        vb_buf_addf(out, "secret %u    ", i + 1);
        for (unsigned c = 0; c < LINE_CHARS; c++) {
            unsigned bit = c * 5, at = bit / 8, two = (unsigned)bytes[at] << 8 | (at + 1 < sizeof bytes ? bytes[at + 1] : 0u);
            vb_buf_addf(out, "%s%c", c % 4 == 0 && c ? " " : "", letters[two >> (11 - bit % 8) & 31]);
        }
        vb_buf_add_char(out, '\n');
        vb_wipe(bytes, sizeof bytes);
    }
    vb_buf_addf(out, "%s\n",
                secret ? "\nWhoever has the secret and the repository can read every backup, whatever its passwords are.\n"
                         "Each line has a checksum: a mistake in typing is found, and in which line.  No letter is i, l, o or u."
                       : "The repository is not encrypted: no secret is needed.");
    vb_buf_add_str(out, "\nA lost requester is made anew, with its configuration, by typing this sheet into a file and\n"
                        "    vbackup recover-requester --sheet FILE --new-password-file FILE\n"
                        "Private SSH keys and passwords are neither here nor there: make new ones.\n");
}

static const char *value_of(const char *line, const char *key)
{
    line += strspn(line, " \t");
    size_t n = strlen(key);
    if (strncasecmp(line, key, n) != 0 || !isspace((unsigned char)line[n]))
        return NULL;
    return line + n + strspn(line + n, " \t");
}

/* 0, or which is wrong with it. */
static const char *read_secret_line(const char *id, unsigned number, const char *text, uint8_t part[PART])
{
    uint8_t bytes[PART + 2] = { 0 }, want[2];
    unsigned n = 0;
    for (; *text; text++) {
        char c = (char)tolower((unsigned char)*text);
        if (isspace((unsigned char)c) || c == '-')
            continue;
        c = c == 'o' ? '0' : c == 'i' || c == 'l' ? '1' : c;
        const char *at = strchr(letters, c);
        if (!at || n == LINE_CHARS)
            return at ? "is too long" : "has a letter that is none of ours";
        unsigned v = (unsigned)(at - letters), bit = n++ * 5;
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] | (v << 11 >> bit % 8) >> 8);
        if (bit / 8 + 1 < sizeof bytes)
            bytes[bit / 8 + 1] = (uint8_t)(bytes[bit / 8 + 1] | ((v << 11 >> bit % 8) & 255));
    }
    if (n != LINE_CHARS)
        return "is too short";
    memcpy(part, bytes, PART);
    checksum(id, number, part, want);
    bool right = memcmp(want, bytes + PART, 2) == 0;
    vb_wipe(bytes, sizeof bytes);
    return right ? NULL : "has a mistake, or belongs to another sheet";
}

int vb_sheet_read(const char *text, struct vb_sheet *out, struct vb_error *err)
{
    struct vb_strv lines = { 0 };
    unsigned found = 0;
    int rc = 0;
    memset(out, 0, sizeof *out);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\r\n");
        vb_strv_take(&lines, vb_strndup(p, n));
        p += n + strspn(p + n, "\r\n");
    }
    for (size_t i = 0; i < lines.n; i++) {
        const char *id = value_of(lines.v[i], "repository"), *location = value_of(lines.v[i], "location");
        VB_AUTO_FREE char *word = id ? vb_strndup(id, strcspn(id, " \t")) : NULL;
        for (char *p = word; p && *p; p++)
            *p = (char)tolower((unsigned char)*p);
        if (word && vb_guid_valid(word))
            memcpy(out->id, word, VB_GUID_LEN);
        if (location && !out->location)
            out->location = vb_strdup(location);
    }
    if (!out->id[0])
        rc = vb_fail(err, VB_E_USAGE, "the sheet has no line 'repository' with an id");
    for (size_t i = 0; i < lines.n && rc == 0; i++)
        for (unsigned k = 1; k <= LINES && rc == 0; k++) {
            VB_AUTO_FREE char *key = vb_printf("secret %u", k);
            const char *value = value_of(lines.v[i], key);
            const char *wrong = value ? read_secret_line(out->id, k, value, out->secret + (k - 1) * PART) : NULL;
            if (wrong)
                rc = vb_fail(err, VB_E_USAGE, "the sheet's line 'secret %u' %s", k, wrong);
            found |= value ? 1u << k : 0;
        }
    for (unsigned k = 1; k <= LINES && rc == 0 && found; k++)
        if (!(found >> k & 1))
            rc = vb_fail(err, VB_E_USAGE, "the sheet's line 'secret %u' is missing", k);
    out->has_secret = found != 0;
    for (size_t i = 0; i < lines.n; i++)
        vb_wipe(lines.v[i], strlen(lines.v[i]));
    vb_strv_clear(&lines);
    if (rc < 0)
        vb_sheet_clear(out);
    return rc;
}

void vb_sheet_clear(struct vb_sheet *s)
{
    free(s->location);
    vb_wipe(s, sizeof *s);
}
