/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_job.c - the job document.
 */
#include "support.h"
#include "base/rng.h"
#include "documents/job.h"
#include "documents/validate.h"

static struct vb_job *sample(void)
{
    struct vb_job *j = vb_job_new(VB_JOB_BACKUP, "be");

    j->job_id = vb_strdup(INSTANCE);
    j->created_ms = 1700000000000;
    j->lease_ms = 60000;
    return j;
}

static struct vb_job *round_trip(const struct vb_job *j, struct vb_buf *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF again = VB_BUF_INIT;

    assert_ok(vb_job_write(j, text, &err), err);
    struct vb_job *r = vb_job_read("round", text->data, text->len, &err);
    if (!r)
        fail_msg("%s\n%s", vb_error_text(&err), vb_buf_str(text));
    assert_ok(vb_job_write(r, &again, &err), err);
    assert_string_equal(vb_buf_str(text), vb_buf_str(&again));
    return r;
}

static void canonical(void **state VB_UNUSED)
{
    struct vb_job *j = sample();
    VB_AUTO_BUF b = VB_BUF_INIT;

    j->front_end = vb_strdup("fe");
    vb_strv_add(&j->paths, "/home/\xe9");
    VB_GROW(j->writers, j->n_writers, j->cap_writers);
    j->writers[j->n_writers++] = (struct vb_job_writer){vb_strdup("postgresql writer"), VB_POLICY_REQUIRED};
    VB_GROW(j->visited, j->n_visited, j->cap_visited);
    j->visited[j->n_visited++] =
        (struct vb_job_visited){vb_strdup("fe"), vb_strdup(ID(1)), vb_strdup(""), vb_strdup("app")};
    struct vb_job *r = round_trip(j, &b);
    assert_string_equal(vb_buf_str(&b),
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                        "<JOB version=\"1.3\" jobId=\"" INSTANCE "\" host=\"be\" kind=\"backup\">\n"
                        "  <RUN frontEnd=\"fe\" createdMs=\"1700000000000\" leaseMs=\"60000\"/>\n"
                        "  <DEMAND backupType=\"full\" minConsistency=\"none\"/>\n"
                        "  <WRITER_POLICY writer=\"postgresql writer\" policy=\"required\"/>\n"
                        "  <PATH encoded=\"path\" path=\"L2hvbWUv6Q==\"/>\n"
                        "  <VISITED host=\"fe\" writerId=\"" ID(1) "\" componentName=\"app\"/>\n"
                        "</JOB>\n");
    assert_string_equal(r->paths.v[0], "/home/\xe9");
    assert_int_equal(r->writers[0].policy, VB_POLICY_REQUIRED);
    assert_int_equal(r->lease_ms, 60000);
    vb_job_free(r);
    vb_job_free(j);
}

static void random_jobs(void **state VB_UNUSED)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct vb_rng r;
        vb_rng_seed(&r, seed);
        VB_AUTO_BUF b = VB_BUF_INIT;
        struct vb_job *j = sample();
        j->kind = (enum vb_job_kind)(1 + vb_rng_below(&r, 3));
        j->created_ms = vb_rng_next(&r);
        j->freeze_limit_ms = vb_rng_below(&r, 100000);
        j->min_consistency = (enum vb_consistency)vb_rng_below(&r, 6);
        j->backup_type = (enum vb_backup_type)vb_rng_below(&r, 7);
        j->overwrite = vb_rng_chance(&r, 500);
        j->allow_live = vb_rng_chance(&r, 500);
        j->allow_freeze = vb_rng_chance(&r, 500);
        j->run_id = vb_rng_chance(&r, 500) ? vb_strdup(INSTANCE) : NULL;
        for (uint64_t n = vb_rng_below(&r, 5); n > 0; n--) {
            VB_AUTO_FREE char *p = vb_printf("/p%c", (char)(1 + vb_rng_below(&r, 255)));
            vb_strv_add(&j->paths, p);
            vb_strv_add(&j->path_excludes, p + 1);
            vb_strv_take(&j->path_rules, vb_printf("pattern:%s", p));
        }
        vb_job_free(round_trip(j, &b));
        vb_job_free(j);
    }
}

static void refused(void **state VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_job *j = sample();

    vb_strv_add(&j->paths, "relative");
    assert_fails(vb_job_write(j, &b, &err), err, VB_E_INVALID_XML_DOCUMENT, "not absolute");
    vb_strv_clear(&j->paths);
    free(j->host);
    j->host = vb_strdup("-oProxyCommand");
    assert_fails(vb_job_write(j, &b, &err), err, VB_E_INVALID_XML_DOCUMENT, "host");
    free(j->job_id);
    j->job_id = NULL;
    assert_fails(vb_job_write(j, &b, &err), err, VB_E_INVALID_XML_DOCUMENT, "GUID");
    vb_job_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("canonical text of a job document", canonical),
        TEST("random jobs make the round trip", random_jobs),
        TEST("VSS-D-32 VSS-X-14 hosts and paths of a job are checked", refused),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
