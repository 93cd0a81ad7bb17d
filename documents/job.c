/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/job.c - the job document in memory and as XML (schema/job.rng).
 */
#include <stdlib.h>
#include <string.h>
#include "base/path_filter.h"
#include "base/text.h"
#include "documents/check.h"
#include "documents/job.h"
#include "documents/xml.h"

struct vb_job *vb_job_new(enum vb_job_kind kind, const char *host)
{
    struct vb_job *j = vb_alloc(sizeof *j);

    j->kind = kind;
    j->host = vb_strdup(host ? host : "");
    j->backup_type = VB_BACKUP_FULL;
    j->min_consistency = VB_CONSISTENCY_NONE;
    return j;
}

void vb_job_free(struct vb_job *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->n_writers; i++)
        free(j->writers[i].writer);
    for (size_t i = 0; i < j->n_visited; i++) {
        free(j->visited[i].host);
        free(j->visited[i].writer_id);
        free(j->visited[i].logical_path);
        free(j->visited[i].name);
    }
    free(j->writers);
    free(j->visited);
    vb_strv_clear(&j->paths);
    vb_strv_clear(&j->path_excludes);
    vb_strv_clear(&j->path_rules);
    free(j->job_id);
    free(j->run_id);
    free(j->host);
    free(j->front_end);
    free(j->requester);
    free(j);
}

static const char *const kinds[] = {"unknown", "backup", "restore", "identify"};
static const char *const policies[] = {"optional", "required", "ignored"};

static int index_of(const char *const *words, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], s) == 0)
            return (int)i;
    return 0;
}

static int kind_from(const char *s)
{
    return index_of(kinds, VB_COUNT(kinds), s);
}

static int policy_from(const char *s)
{
    return index_of(policies, VB_COUNT(policies), s);
}

/* The host of a job is looked up in the agent's log and the store's folders: as strict as for the transport (D-32). */
static int check(const struct vb_job *j, struct vb_error *err)
{
    if (vb_check_guid("job id", j->job_id, err) < 0 || (j->run_id && vb_check_guid("run id", j->run_id, err) < 0))
        return -1;
    if (!vb_host_text_valid(j->host))
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "job '%s' has no valid host name", j->job_id);
    if (j->kind < VB_JOB_BACKUP || j->kind > VB_JOB_IDENTIFY)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "job '%s' is of no known kind", j->job_id);
    for (size_t i = 0; i < j->paths.n; i++)
        if (vb_check_directory(j->paths.v[i], false, err) < 0)
            return -1;
    for (size_t i = 0; i < j->path_excludes.n; i++)
        if (!*j->path_excludes.v[i])
            return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "job '%s' has an empty exclusion", j->job_id);
    int rc = 0;
    struct vb_path_filter f = { .n = 0 };
    for (size_t i = 0; i < j->path_rules.n && rc == 0; i++)
        rc = vb_path_filter_add(&f, j->path_rules.v[i], err);
    vb_path_filter_clear(&f);
    return rc;
}

int vb_job_write(const struct vb_job *j, struct vb_buf *out, struct vb_error *err)
{
    xmlNode *root = NULL, *e = NULL;

    if (check(j, err) < 0)
        return -1;
    VB_AUTO_XMLDOC *doc = vb_xml_new("JOB", &root);
    vb_xml_set(root, "jobId", j->job_id);
    vb_xml_set(root, "host", j->host);
    vb_xml_set(root, "kind", kinds[j->kind]);
    e = vb_xml_add(root, "RUN");
    vb_xml_set(e, "runId", j->run_id);
    vb_xml_set(e, "frontEnd", j->front_end);
    vb_xml_set(e, "requester", j->requester);
    vb_xml_set_u64(e, "createdMs", j->created_ms, ~j->created_ms);
    vb_xml_set_u64(e, "leaseMs", j->lease_ms, ~j->lease_ms);
    e = vb_xml_add(root, "DEMAND");
    vb_xml_set(e, "backupType", vb_backup_type_word(j->backup_type));
    vb_xml_set(e, "minConsistency", vb_consistency_word(j->min_consistency));
    vb_xml_set_u64(e, "freezeLimitMs", j->freeze_limit_ms, 0);
    vb_xml_set_yes(e, "overwrite", j->overwrite);
    vb_xml_set_yes(e, "allowLive", j->allow_live);
    vb_xml_set_yes(e, "allowFreeze", j->allow_freeze);
    for (size_t i = 0; i < j->n_writers; i++) {
        e = vb_xml_add(root, "WRITER_POLICY");
        vb_xml_set(e, "writer", j->writers[i].writer);
        vb_xml_set(e, "policy",
                   policies[(unsigned)j->writers[i].policy < VB_COUNT(policies) ? j->writers[i].policy : 0]);
    }
    for (size_t i = 0; i < j->paths.n; i++)
        vb_xml_set(vb_xml_add(root, "PATH"), "path", j->paths.v[i]);
    for (size_t i = 0; i < j->path_excludes.n; i++)
        vb_xml_set(vb_xml_add(root, "EXCLUDE_FILES"), "filespec", j->path_excludes.v[i]);
    for (size_t i = 0; i < j->path_rules.n; i++)
        vb_xml_set(vb_xml_add(root, "LEAVE_OUT"), "rule", j->path_rules.v[i]);
    for (size_t i = 0; i < j->n_visited; i++) {
        e = vb_xml_add(root, "VISITED");
        vb_xml_set(e, "host", j->visited[i].host);
        vb_xml_set(e, "writerId", j->visited[i].writer_id);
        vb_xml_set_text(e, "logicalPath", j->visited[i].logical_path);
        vb_xml_set(e, "componentName", j->visited[i].name);
    }
    return vb_xml_write(doc, out, err);
}

static void get_run(struct vb_xml *x, struct vb_job *j, const xmlNode *e)
{
    j->run_id = vb_xml_get(x, e, "runId");
    j->front_end = vb_xml_get(x, e, "frontEnd");
    j->requester = vb_xml_get(x, e, "requester");
    j->created_ms = vb_xml_u64(x, e, "createdMs", UINT64_MAX);
    j->lease_ms = vb_xml_u64(x, e, "leaseMs", UINT64_MAX);
}

static void get_demand(struct vb_xml *x, struct vb_job *j, const xmlNode *e)
{
    j->backup_type = VB_XML_WORD(x, e, "backupType", vb_backup_type_from_word, VB_BACKUP_UNDEFINED);
    j->min_consistency = VB_XML_WORD(x, e, "minConsistency", vb_consistency_from_word, VB_CONSISTENCY_UNKNOWN);
    j->freeze_limit_ms = vb_xml_u64(x, e, "freezeLimitMs", 0);
    j->overwrite = vb_xml_yes(x, e, "overwrite");
    j->allow_live = vb_xml_yes(x, e, "allowLive");
    j->allow_freeze = vb_xml_yes(x, e, "allowFreeze");
}

static void get_list_item(struct vb_xml *x, struct vb_job *j, const xmlNode *e)
{
    if (vb_xml_is(e, "WRITER_POLICY")) {
        VB_GROW(j->writers, j->n_writers, j->cap_writers);
        j->writers[j->n_writers++] = (struct vb_job_writer){
            vb_xml_get_or(x, e, "writer", ""),
            (enum vb_writer_policy)VB_XML_WORD(x, e, "policy", policy_from, (int)VB_POLICY_OPTIONAL)};
    } else if (vb_xml_is(e, "PATH")) {
        vb_strv_take(&j->paths, vb_xml_get_or(x, e, "path", ""));
    } else if (vb_xml_is(e, "EXCLUDE_FILES")) {
        vb_strv_take(&j->path_excludes, vb_xml_get_or(x, e, "filespec", ""));
    } else if (vb_xml_is(e, "LEAVE_OUT")) {
        vb_strv_take(&j->path_rules, vb_xml_get_or(x, e, "rule", ""));
    } else if (vb_xml_is(e, "VISITED")) {
        VB_GROW(j->visited, j->n_visited, j->cap_visited);
        j->visited[j->n_visited++] =
            (struct vb_job_visited){vb_xml_get_or(x, e, "host", ""), vb_xml_get_or(x, e, "writerId", ""),
                                    vb_xml_get_or(x, e, "logicalPath", ""), vb_xml_get_or(x, e, "componentName", "")};
    }
}

struct vb_job *vb_job_read(const char *origin, const void *xml, size_t n, struct vb_error *err)
{
    struct vb_xml x;
    VB_AUTO_ERROR why = VB_ERROR_INIT;

    if (vb_xml_read(origin, xml, n, VB_GRAMMAR_JOB, "JOB", &x, err) < 0)
        return NULL;
    struct vb_job *j = vb_alloc(sizeof *j);
    j->job_id = vb_xml_get(&x, x.root, "jobId");
    j->host = vb_xml_get_or(&x, x.root, "host", "");
    j->kind = (enum vb_job_kind)VB_XML_WORD(&x, x.root, "kind", kind_from, 0);
    const xmlNode *run = vb_xml_single(&x, x.root, "RUN", true);
    const xmlNode *demand = vb_xml_single(&x, x.root, "DEMAND", true);
    if (run)
        get_run(&x, j, run);
    if (demand)
        get_demand(&x, j, demand);
    for (const xmlNode *e = vb_xml_next(x.root, NULL, NULL); e; e = vb_xml_next(x.root, e, NULL))
        get_list_item(&x, j, e);
    if (check(j, &why) < 0)
        vb_xml_reject_error(&x, x.root, &why);
    if (vb_xml_done(&x, err) < 0) {
        vb_job_free(j);
        j = NULL;
    }
    vb_xml_clear(&x);
    return j;
}
