/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_context.c - contexts and attributes of shadow copies: rules S-3 to S-8, S-10, S-14.
 */
#include "support.h"
#include "documents/context.h"

static bool allowed(uint32_t attributes)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int rc = vb_context_check(attributes, &err);
    if (rc < 0)
        assert_int_equal(err.code, VB_E_UNSUPPORTED_CONTEXT);
    return rc == 0;
}

static const uint32_t all[] = { VB_CTX_BACKUP,       VB_CTX_FILE_SHARE_BACKUP,         VB_CTX_APP_ROLLBACK,
                                VB_CTX_NAS_ROLLBACK, VB_CTX_CLIENT_ACCESSIBLE_WRITERS, VB_CTX_CLIENT_ACCESSIBLE };

static void six_contexts(void **state VB_UNUSED)
{
    uint32_t bits, back;
    size_t found = 0;
    for (uint32_t v = 0; v < 0x20; v++) {
        bool known = false;
        for (size_t i = 0; i < VB_COUNT(all); i++)
            known = known || all[i] == v;
        bits = v & VB_SA_CONTEXT_BITS;
        if (bits != v)
            continue;
        assert_int_equal(allowed(v), known);
        assert_int_equal(vb_context_word(v) != NULL, known);
        if (known) {
            assert_true(vb_context_from_word(vb_context_word(v), &back));
            assert_int_equal(back, v);
            found++;
        }
    }
    assert_int_equal(found, 6);
    assert_false(vb_context_from_word("all", &bits)); /* S-5: for queries only */
    assert_false(allowed(UINT32_MAX));
}

static void persistence(void **state VB_UNUSED)
{
    assert_false(vb_context_kept(VB_CTX_BACKUP));
    assert_false(vb_context_kept(VB_CTX_FILE_SHARE_BACKUP));
    for (size_t i = 2; i < VB_COUNT(all); i++)
        assert_true(vb_context_kept(all[i]));
    assert_false(allowed(VB_SA_PERSISTENT));      /* persistent, but released with its requester */
    assert_false(allowed(VB_SA_NO_AUTO_RELEASE)); /* the other way round */
}

static void additions(void **state VB_UNUSED)
{
    uint32_t bit;
    static const char *const may[] = { "transportable", "differential", "plex", "no-autorecovery",
                                       "rollback-recovery" };
    for (size_t i = 0; i < VB_COUNT(may); i++) {
        assert_true(vb_attribute_from_word(may[i], &bit));
        assert_true(allowed(VB_CTX_APP_ROLLBACK | bit));
    }
    assert_false(vb_attribute_from_word("imported", &bit));
    assert_false(vb_attribute_from_word("persistent", &bit));
    assert_false(allowed(VB_CTX_APP_ROLLBACK | VB_SA_IMPORTED));
    assert_false(allowed(VB_CTX_APP_ROLLBACK | VB_SA_AUTORECOVER));
    assert_false(allowed(VB_CTX_APP_ROLLBACK | VB_SA_EXPOSED_LOCALLY));
    assert_false(allowed(VB_CTX_APP_ROLLBACK | 0x40000000u));
}

static void exclusions(void **state VB_UNUSED)
{
    assert_false(allowed(VB_CTX_NAS_ROLLBACK | VB_SA_DIFFERENTIAL | VB_SA_PLEX));
    assert_false(allowed(VB_CTX_CLIENT_ACCESSIBLE | VB_SA_TRANSPORTABLE));
    assert_false(allowed(VB_CTX_CLIENT_ACCESSIBLE_WRITERS | VB_SA_DIFFERENTIAL));
    assert_false(allowed(VB_CTX_APP_ROLLBACK | VB_SA_NO_AUTORECOVERY | VB_SA_ROLLBACK_RECOVERY));
    assert_false(allowed(VB_CTX_APP_ROLLBACK | VB_SA_TRANSPORTABLE | VB_SA_ROLLBACK_RECOVERY));
    assert_false(allowed(VB_CTX_NAS_ROLLBACK | VB_SA_ROLLBACK_RECOVERY));
    assert_true(allowed(VB_CTX_APP_ROLLBACK | VB_SA_TRANSPORTABLE | VB_SA_NO_AUTORECOVERY));
    assert_true(allowed(VB_CTX_APP_ROLLBACK | VB_SA_DELAYED_POSTSNAPSHOT));
    assert_false(allowed(VB_CTX_NAS_ROLLBACK | VB_SA_DELAYED_POSTSNAPSHOT)); /* no PostSnapshot */
    assert_false(allowed(VB_CTX_BACKUP | VB_SA_DELAYED_POSTSNAPSHOT));       /* nothing would be left */
}

static void words(void **state VB_UNUSED)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_attributes_text(VB_CTX_NAS_ROLLBACK | VB_SA_PLEX | 0x40000000u, &b);
    assert_string_equal(vb_buf_str(&b), "persistent,no-auto-release,no-writers,plex,0x40000000");
    vb_buf_reset(&b);
    vb_attributes_text(0, &b);
    assert_string_equal(vb_buf_str(&b), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "VSS-S-3 VSS-S-4 VSS-S-5 six contexts can be created, all others not", six_contexts, NULL, NULL, NULL },
        { "VSS-S-10 auto-release is never persistent", persistence, NULL, NULL, NULL },
        { "VSS-S-6 what a requester may add", additions, NULL, NULL, NULL },
        { "VSS-S-7 VSS-S-8 VSS-S-14 what excludes what", exclusions, NULL, NULL, NULL },
        { "attributes as words", words, NULL, NULL, NULL },
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
