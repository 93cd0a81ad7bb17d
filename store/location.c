/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/location.c - see location.h.
 */
#include "config.h"
#include "store/location.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>

#include "base/mem.h"
#include "base/text.h"
#include "store/chunk/chunk.h"
#include "store/link.h"

#define SERVED_SILENCE_MS 300000u /* a server may have much to list and to sync */

/* ---- parts ---- */

void vb_location_parts_clear(struct vb_location_parts *p)
{
    free(p->scheme);
    free(p->user);
    free(p->host);
    free(p->path);
    memset(p, 0, sizeof *p);
}

static int bad(const char *location, const char *what, struct vb_error *err)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(location, strlen(location));
    vb_fail(err, VB_E_USAGE, "'%s': %s", shown, what);
    vb_hint(err, "write it as SCHEME://[USER@]HOST[:PORT]/PATH");
    return -1;
}

static bool user_fine(const char *s)
{
    if (!*s || *s == '-')
        return false;
    for (; *s; s++)
        if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') && !(*s >= '0' && *s <= '9') && !strchr("._-+", *s))
            return false;
    return true;
}

/* "host", "host:22", "[::1]:22" */
static bool take_host(char *text, struct vb_location_parts *p)
{
    char *port = NULL;
    if (*text == '[') {
        char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        port = end[1] ? end + 2 : NULL;
        *end = '\0';
        text++;
    } else if ((port = strchr(text, ':'))) {
        *port++ = '\0';
    }
    if (port && (!vb_parse_u32(port, &p->port) || p->port == 0 || p->port > 65535))
        return false;
    p->host = vb_strdup(text);
    return vb_host_text_valid(p->host);
}

int vb_location_parse(const char *location, struct vb_location_parts *p, struct vb_error *err)
{
    const char *rest = strstr(location, "://");
    memset(p, 0, sizeof *p);
    if (!rest)
        return bad(location, "names no scheme", err);
    p->scheme = vb_strndup(location, (size_t)(rest - location));
    rest += 3;
    const char *slash = strchr(rest, '/');
    if (!slash || !slash[1])
        return bad(location, "names no path", err);
    VB_AUTO_FREE char *authority = vb_strndup(rest, (size_t)(slash - rest));
    char *host = strrchr(authority, '@');
    if (host) {
        *host++ = '\0';
        if (strchr(authority, ':'))
            return bad(location, "a password has no place in a location: anybody who lists processes could read it", err);
        p->user = vb_strdup(authority);
    } else {
        host = authority;
    }
    if (p->user && !user_fine(p->user))
        return bad(location, "the user's name is not one", err);
    if (!take_host(host, p))
        return bad(location, "the host or its port is not one", err);
    for (const char *c = slash; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return bad(location, "control characters in the path", err);
    p->path = vb_path_clean(slash);
    return 0;
}

/* ---- settings ---- */

static const struct vb_config_section *repository_section(const struct vb_location_options *o)
{
    return o && o->config ? vb_config_find(o->config, "repository", NULL) : NULL;
}

static int retry_limit(const struct vb_location_options *o, uint64_t *ms, struct vb_error *err)
{
    const struct vb_config_section *r = repository_section(o);
    *ms = VB_RETRY_LIMIT_MS;
    return r ? vb_section_duration_ms(r, "retry", VB_RETRY_LIMIT_MS, ms, err) : 0;
}

static int rate(const struct vb_config_section *r, const char *key, uint64_t *v, struct vb_error *err)
{
    const char *text = r ? vb_section_get(r, key) : NULL;
    if (!text || vb_parse_size(text, v))
        return 0;
    return vb_fail(err, VB_E_CONFIG, "%s: '%s' is not a size, expected bytes a second such as 10M", key, text);
}

int vb_location_rates(const struct vb_config_section *r, struct vb_rates *rates, struct vb_error *err)
{
    *rates = (struct vb_rates){ 0, 0 };
    if (rate(r, "rate-limit", &rates->up, err) < 0)
        return -1;
    rates->down = rates->up;
    return rate(r, "limit-upload", &rates->up, err) < 0 || rate(r, "limit-download", &rates->down, err) < 0 ? -1 : 0;
}

static int flag(const struct vb_location_options *o, const char *key, bool *v, struct vb_error *err)
{
    const struct vb_config_section *r = repository_section(o);
    *v = false;
    return r ? vb_section_bool(r, key, false, v, err) : 0;
}

/* How to log in; the lists are freed by the caller, the texts belong to parts and configuration. */
static int fill_ssh(const struct vb_location_parts *p, const struct vb_location_options *o, struct vb_ssh_params *ssh,
                    struct vb_error *err)
{
    const struct vb_config_section *h = o && o->config ? vb_config_find(o->config, "host", p->host) : NULL;
    uint64_t port = 0;
    ssh->name = p->host;
    ssh->user = p->user;
    ssh->port = p->port;
    if (!h)
        return 0;
    ssh->address = vb_section_get(h, "address");
    if (!ssh->user)
        ssh->user = vb_section_get(h, "user");
    if (vb_section_u64(h, "port", 0, &port, err) < 0)
        return -1;
    if (!ssh->port)
        ssh->port = port <= 65535 ? (uint32_t)port : 0;
    ssh->identities = vb_section_list(h, "identity", &ssh->n_identities);
    ssh->known_hosts = vb_section_list(h, "known-hosts", &ssh->n_known_hosts);
    return 0;
}

/* ---- kinds ---- */

static struct vb_backend *open_sftp(const char *location, const struct vb_location_parts *p, enum vb_location_use use,
                                    const struct vb_location_options *o, struct vb_error *err)
{
    struct vb_link_params link = { .command = "sftp", .subsystem = true };
    struct vb_sftp_params s = { .location = location, .link = &link, .create = use == VB_LOCATION_CREATE,
                                .write = use == VB_LOCATION_WRITE };
    struct vb_backend *b = NULL;
    s.path = strncmp(p->path, "/~/", 3) == 0 ? p->path + 3 : p->path;
    if (fill_ssh(p, o, &link.ssh, err) == 0 && vb_location_rates(repository_section(o), &link.rates, err) == 0 &&
        retry_limit(o, &s.retry_ms, err) == 0 && flag(o, "sftp-unsynced", &s.unsynced, err) == 0)
        b = vb_backend_sftp_open(&s, err);
    free((void *)(uintptr_t)link.ssh.identities);
    free((void *)(uintptr_t)link.ssh.known_hosts);
    return b;
}

/* One word of the login shell's there. */
static char *quoted(const char *s)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_char(&b, '\'');
    for (; *s; s++)
        if (*s == '\'')
            vb_buf_add_str(&b, "'\\''");
        else
            vb_buf_add_char(&b, *s);
    vb_buf_add_char(&b, '\'');
    return vb_buf_take_str(&b);
}

static struct vb_backend *open_served(const char *location, const struct vb_location_parts *p, enum vb_location_use use,
                                      const struct vb_location_options *o, struct vb_error *err)
{
    const struct vb_config_section *r = repository_section(o);
    const char *program = r ? vb_section_get(r, "serve-command") : NULL;
    VB_AUTO_FREE char *path = quoted(strncmp(p->path, "/~/", 3) == 0 ? p->path + 3 : p->path);
    VB_AUTO_FREE char *command = vb_printf("%s serve %s", program ? program : "vbackup", path);
    struct vb_link_params link = { .command = command, .silence_ms = SERVED_SILENCE_MS };
    struct vb_served_params s = { .location = location, .link = &link, .create = use == VB_LOCATION_CREATE };
    struct vb_backend *b = NULL;
    if (fill_ssh(p, o, &link.ssh, err) == 0 && vb_location_rates(repository_section(o), &link.rates, err) == 0 &&
        retry_limit(o, &s.retry_ms, err) == 0)
        b = vb_backend_served_open(&s, err);
    free((void *)(uintptr_t)link.ssh.identities);
    free((void *)(uintptr_t)link.ssh.known_hosts);
    return b;
}

/* File systems whose names, sizes and listings are this kernel's own doing. */
static bool kernel_vouches(const char *path)
{
    static const uint32_t known[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, F2FS_SUPER_MAGIC,
                                      0x2fc12fc1 /* zfs */ };
    struct statfs st;
    if (statfs(path, &st) < 0)
        return false;
    for (size_t i = 0; i < VB_COUNT(known); i++)
        if ((uint32_t)st.f_type == known[i])
            return true;
    return false;
}

/* Where files of that repository are kept; NULL: nowhere. Caller frees. */
static char *kept_dir(const char *location, const struct vb_location_options *o)
{
    struct vb_name hash;
    char hex[VB_NAME_HEX_LEN + 1];
    if (!o || !o->state_dir)
        return NULL;
    vb_sha256(location, strlen(location), &hash);
    vb_name_hex(&hash, hex);
    return vb_printf("%s/kept/%.32s", o->state_dir, hex);
}

static struct vb_backend *wrap(struct vb_backend *inner, const char *location, const struct vb_location_options *o)
{
    VB_AUTO_FREE char *dir = kept_dir(location, o);
    return inner ? vb_backend_far_new(inner, dir) : NULL;
}

static struct vb_backend *open_kind(const char *location, enum vb_location_use use, const struct vb_location_options *o,
                                    bool *vouched, struct vb_error *err)
{
    struct vb_location_parts p;
    struct vb_backend *b = NULL;
    const char *scheme = strstr(location, "://");
    if (!scheme || strncmp(location, "file://", 7) == 0) {
        const char *path = scheme ? location + 7 : location;
        b = vb_backend_dir_open(path, use == VB_LOCATION_CREATE, err);
        *vouched = b && use != VB_LOCATION_CREATE && kernel_vouches(path);
        return b;
    }
    if (strncmp(location, "s3://", 5) == 0)
        return wrap(vb_location_open_s3(location, use, o, err), location, o);
    if (vb_location_parse(location, &p, err) == 0) {
        if (strcmp(p.scheme, "sftp") == 0) {
            b = open_sftp(location, &p, use, o, err);
        } else if (strcmp(p.scheme, "ssh") == 0) {
            b = open_served(location, &p, use, o, err);
            *vouched = true; /* the server has tried out its store */
        } else {
            vb_fail(err, VB_E_NOT_SUPPORTED, "'%s': there are no repositories of that kind", location);
            vb_hint(err, "name a directory, sftp:// or ssh://[USER@]HOST[:PORT]/PATH, or s3://BUCKET/PREFIX");
        }
    }
    vb_location_parts_clear(&p);
    return wrap(b, location, o);
}

struct vb_backend *vb_location_open(const char *location, enum vb_location_use use,
                                    const struct vb_location_options *o, struct vb_error *err)
{
    bool vouched = false;
    if (!*location) {
        vb_fail(err, VB_E_USAGE, "no repository named");
        vb_hint(err, "name one with --repo or in VBACKUP_REPOSITORY");
        return NULL;
    }
    struct vb_backend *b = open_kind(location, use, o, &vouched, err);
    if (b && use != VB_LOCATION_READ && !vouched && vb_backend_probe(b, err) < 0) {
        vb_backend_close(b);
        return NULL;
    }
    return b;
}
