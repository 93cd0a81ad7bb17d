/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/location_s3.c - s3://bucket/prefix: settings of [repository], the environment, and where the credentials are.
 *
 * Credentials never come from the command line, and are in no message.  In this order: AWS_ACCESS_KEY_ID and
 * AWS_SECRET_ACCESS_KEY, credentials-command, credentials-file (lines "aws_access_key_id = ...", as AWS's tools have them).
 */
#include "config.h"
#include "store/location.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/text.h"
#include "store/link.h"

#define TEXT_MAX 65536u
#define COMMAND_MS 60000u

struct credentials {
    char *id, *secret, *token;
};

static void forget(char **text)
{
    if (*text)
        vb_wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void forget_all(struct credentials *c)
{
    forget(&c->id);
    forget(&c->secret);
    forget(&c->token);
}

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* "name = value" lines; those of other names are left alone, and so are the headers of sections. */
static void take_line(struct credentials *c, const char *line, size_t n)
{
    static const char *const names[] = { "aws_access_key_id", "aws_secret_access_key", "aws_session_token" };
    char **const to[] = { &c->id, &c->secret, &c->token };
    VB_AUTO_FREE char *text = vb_strndup(line, n);
    char *value = strchr(text, '=');
    if (!value)
        return;
    *value++ = '\0';
    text[strcspn(text, " \t")] = '\0';
    value += strspn(value, " \t");
    value[strcspn(value, " \t\r")] = '\0';
    for (size_t i = 0; i < VB_COUNT(names); i++)
        if (strcmp(text, names[i]) == 0 && *value && !*to[i])
            *to[i] = vb_strdup(value);
    vb_wipe(text, n);
}

static int take_text(struct credentials *c, const char *text, const char *where, struct vb_error *err)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        take_line(c, p, n);
        p += n + (p[n] == '\n');
    }
    if (c->id && c->secret)
        return 0;
    vb_fail(err, VB_E_CONFIG, "%s: no credentials", where);
    vb_hint(err, "it has lines of the form: aws_access_key_id = ... and aws_secret_access_key = ...");
    return -1;
}

static int from_file(struct credentials *c, const char *path, struct vb_error *err)
{
    VB_AUTO_BUF text = VB_BUF_INIT;
    VB_AUTO_FREE char *where = vb_printf("credentials file '%s'", path);
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 0077)) {
        vb_fail(err, VB_E_ACCESS_DENIED, "%s: others may read it", where);
        vb_hint(err, "chmod 600 %s", path);
        return -1;
    }
    int result = vb_read_file_at(AT_FDCWD, path, TEXT_MAX, &text, err);
    if (result == 0)
        result = take_text(c, vb_buf_str(&text), where, err);
    if (text.data)
        vb_wipe(text.data, text.len);
    return result;
}

static int from_command(struct credentials *c, const char *command, struct vb_error *err)
{
    struct vb_strv words = { 0 };
    VB_AUTO_FREE char *where = vb_printf("credentials command '%s'", command);
    char *out = NULL;
    for (const char *p = command; *p;) {
        size_t blank = strspn(p, " \t"), n = strcspn(p + blank, " \t");
        if (n)
            vb_strv_take(&words, vb_strndup(p + blank, n));
        p += blank + n;
    }
    const char **argv = vb_alloc_n(words.n + 1, sizeof *argv);
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.v[i];
    struct vb_spawn s = VB_SPAWN_INIT;
    s.argv = argv;
    s.search = true;
    int result = words.n ? vb_run(&s, COMMAND_MS, TEXT_MAX, &out, NULL) : -1;
    if (result < 0) /* what it has printed may be half of a secret */
        vb_fail(err, VB_E_CONFIG, "%s: failed", where);
    else
        result = take_text(c, out ? out : "", where, err);
    forget(&out);
    free(argv);
    vb_strv_clear(&words);
    return result;
}

static int find_credentials(struct credentials *c, const struct vb_config_section *r, struct vb_error *err)
{
    const char *command = r ? vb_section_get(r, "credentials-command") : NULL;
    const char *file = r ? vb_section_get(r, "credentials-file") : NULL;
    if (env("AWS_ACCESS_KEY_ID") && env("AWS_SECRET_ACCESS_KEY")) {
        c->id = vb_strdup(env("AWS_ACCESS_KEY_ID"));
        c->secret = vb_strdup(env("AWS_SECRET_ACCESS_KEY"));
        c->token = vb_strdup(env("AWS_SESSION_TOKEN"));
        return 0;
    }
    if (command)
        return from_command(c, command, err);
    if (file)
        return from_file(c, file, err);
    vb_fail(err, VB_E_CONFIG, "no credentials for the object storage");
    vb_hint(err, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or credentials-file or credentials-command under [repository]");
    return -1;
}

static int fill(struct vb_s3_params *p, const struct vb_config_section *r, struct vb_error *err)
{
    const char *style = r ? vb_section_get(r, "s3-style") : NULL;
    p->region = env("AWS_REGION") ? env("AWS_REGION") : r ? vb_section_get(r, "region") : NULL;
    if (!p->region)
        p->region = "us-east-1";
    p->endpoint = env("AWS_ENDPOINT_URL_S3") ? env("AWS_ENDPOINT_URL_S3") : env("AWS_ENDPOINT_URL");
    if (!p->endpoint && r)
        p->endpoint = vb_section_get(r, "endpoint");
    p->ca_file = r ? vb_section_get(r, "ca-file") : NULL;
    p->virtual_style = !p->endpoint;
    if (style && strcmp(style, "path") != 0 && strcmp(style, "virtual") != 0)
        return vb_fail(err, VB_E_CONFIG, "s3-style: '%s' is not path or virtual", style);
    if (style)
        p->virtual_style = strcmp(style, "virtual") == 0;
    struct vb_rates rates;
    if (vb_location_rates(r, &rates, err) < 0)
        return -1;
    p->rate_up = rates.up;
    p->rate_down = rates.down;
    p->retry_ms = VB_RETRY_LIMIT_MS;
    return r ? vb_section_duration_ms(r, "retry", VB_RETRY_LIMIT_MS, &p->retry_ms, err) : 0;
}

struct vb_backend *vb_location_open_s3(const char *location, enum vb_location_use use,
                                       const struct vb_location_options *o, struct vb_error *err)
{
    const struct vb_config_section *r = o && o->config ? vb_config_find(o->config, "repository", NULL) : NULL;
    const char *rest = location + strlen("s3://"), *slash = strchr(rest, '/');
    VB_AUTO_FREE char *bucket = vb_strndup(rest, slash ? (size_t)(slash - rest) : strlen(rest));
    VB_AUTO_FREE char *clean = slash && slash[1] ? vb_path_clean(slash) : vb_strdup("/"), *aws = NULL;
    struct vb_s3_params p = { .location = location, .bucket = bucket, .prefix = clean + 1, .write = use != VB_LOCATION_READ };
    struct credentials c = { 0 };
    struct vb_backend *b = NULL;
    if (fill(&p, r, err) == 0 && find_credentials(&c, r, err) == 0) {
        aws = vb_printf("https://s3.%s.amazonaws.com", p.region);
        if (!p.endpoint)
            p.endpoint = aws;
        p.access_key = c.id;
        p.secret_key = c.secret;
        p.token = c.token;
        b = vb_backend_s3_open(&p, err);
    }
    forget_all(&c);
    return b;
}
