/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/facts.c - where the cluster lies.  A server that is down, or gone, cannot be asked; so the last
 * answer is kept in the state directory, and travels in the backup.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "writers/postgresql/pgw.h"

bool pgw_config_outside(const struct pgw_facts *f)
{
    return f->config_file != NULL && f->data_directory != NULL && !vbw_below(f->config_file, f->data_directory);
}

/* ---- asking ---- */

static char *real_path(const char *path)
{
    char *r = path != NULL && *path != '\0' ? realpath(path, NULL) : NULL;

    return r != NULL ? r : path != NULL && *path != '\0' ? vbw_clean(path) : NULL;
}

/* The directory of the program that serves us, as far as the operating system lets us see it. */
static char *program_dir(const char *data_directory)
{
    pid_t pid = pgw_running(data_directory);
    char buf[4096];

    if (pid <= 0)
        return NULL;
    VBW_AUTO char *link = vbw_printf("/proc/%ld/exe", (long)pid);
    ssize_t n = readlink(link, buf, sizeof buf - 1);
    if (n <= 0)
        return NULL;
    buf[n] = '\0';
    return vbw_dirname(buf);
}

int pgw_facts_ask(struct pgw *p)
{
    static const char settings[] =
        "SELECT current_setting('data_directory'), current_setting('config_file'), current_setting('hba_file'), "
        "current_setting('ident_file'), current_setting('server_version_num'), "
        "(SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')";
    struct pgw_facts *f = &p->facts;

    pgw_facts_clear(f);
    PGresult *r = pgw_query(p, p->conn, "read the server's settings", settings, 0, NULL);
    if (r == NULL)
        return -1;
    f->data_directory = real_path(PQgetvalue(r, 0, 0));
    f->config_file = real_path(PQgetvalue(r, 0, 1));
    f->hba_file = real_path(PQgetvalue(r, 0, 2));
    f->ident_file = real_path(PQgetvalue(r, 0, 3));
    f->version = vbw_printf("%lu", strtoul(PQgetvalue(r, 0, 4), NULL, 10) / 10000);
    f->segment_size = strtoul(PQgetvalue(r, 0, 5), NULL, 10);
    PQclear(r);
    if (f->data_directory == NULL || strchr(f->data_directory, '\n') != NULL)
        return vbw_fail(&p->w, VB_E_ACCESS_DENIED, "grant pg_read_all_settings to the role",
                        "the server does not tell its data directory");
    if (strtoul(f->version, NULL, 10) < 15)
        return vbw_fail(&p->w, VB_E_NOT_SUPPORTED, "upgrade the server to version 15 or later",
                        "PostgreSQL %s is not supported by this writer", f->version);
    if (f->segment_size == 0 || (f->segment_size & (f->segment_size - 1)) != 0)
        return vbw_fail(&p->w, VB_E_UNEXPECTED, NULL, "the server names an impossible segment size %lu",
                        f->segment_size);

    r = pgw_query(p, p->conn, "list the tablespaces",
                  "SELECT oid::text, pg_tablespace_location(oid) FROM pg_tablespace ORDER BY oid", 0, NULL);
    if (r == NULL)
        return -1;
    for (int i = 0; i < PQntuples(r); i++) {
        const char *where = PQgetvalue(r, i, 1);
        if (where[0] != '/') /* the built-in ones, and those inside the data directory */
            continue;
        vbw_list_take(&f->ts_oid, vbw_strdup(PQgetvalue(r, i, 0)));
        vbw_list_take(&f->ts_location, real_path(where));
    }
    PQclear(r);

    r = pgw_query(p, p->conn, "read the system identifier", "SELECT system_identifier::text FROM pg_control_system()",
                  0, NULL);
    if (r == NULL)
        return -1;
    f->system_id = vbw_strdup(PQgetvalue(r, 0, 0));
    PQclear(r);
    f->bin_directory = program_dir(f->data_directory);
    return 0;
}

/* ---- remembering ---- */

int pgw_facts_remember(struct pgw *p)
{
    VBW_AUTO char *text = pgw_facts_text(&p->facts);
    VBW_AUTO char *path = vbw_join(p->w.svc->state_dir(p->w.h), "facts");
    VBW_AUTO char *old = vbw_read_file(path, 1 << 20, NULL);

    if (old != NULL && strcmp(old, text) == 0)
        return 0;
    if (vbw_write_file(path, text, strlen(text), 0600) != 0)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot write '%s'", path);
    return 0;
}

/* What the disk tells about a stopped cluster. */
static int from_disk(struct pgw_facts *f, const char *dir)
{
    VBW_AUTO char *version_file = vbw_join(dir, "PG_VERSION");
    VBW_AUTO char *conf = vbw_join(dir, "postgresql.conf");
    VBW_AUTO char *links = vbw_join(dir, "pg_tblspc");

    f->data_directory = real_path(dir);
    f->version = vbw_read_file(version_file, 64, NULL);
    if (f->version != NULL)
        f->version[strcspn(f->version, "\n")] = '\0';
    if (vbw_exists(conf))
        f->config_file = real_path(conf);
    DIR *d = opendir(links);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        VBW_AUTO char *link = vbw_join(links, e->d_name);
        char buf[4096];
        ssize_t n = readlink(link, buf, sizeof buf - 1);
        if (n <= 0 || buf[0] != '/')
            continue;
        buf[n] = '\0';
        vbw_list_take(&f->ts_oid, vbw_strdup(e->d_name));
        vbw_list_take(&f->ts_location, vbw_strdup(buf));
    }
    if (d != NULL)
        closedir(d);
    return 1;
}

int pgw_facts_recall(struct pgw *p)
{
    VBW_AUTO char *path = vbw_join(p->w.svc->state_dir(p->w.h), "facts");
    VBW_AUTO char *text = vbw_read_file(path, 1 << 20, NULL);
    const char *dir = p->w.svc->option(p->w.h, "data-directory");

    pgw_facts_clear(&p->facts);
    if (text != NULL) {
        pgw_facts_parse(&p->facts, text);
        if (p->facts.data_directory != NULL && (dir == NULL || strcmp(dir, p->facts.data_directory) == 0))
            return 1;
        pgw_facts_clear(&p->facts);
    }
    return dir != NULL && dir[0] == '/' ? from_disk(&p->facts, dir) : 0;
}
