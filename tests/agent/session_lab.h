/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/session_lab.h - a host with one writer and one provider, and the first commands of a backup on it.
 */
#ifndef VB_TESTS_AGENT_SESSION_LAB_H
#define VB_TESTS_AGENT_SESSION_LAB_H

#include "tests/cm.h"
#include "tests/fakes/agent_host.h"

static inline struct vb_fake_host *host(void)
{
    struct vb_fake_host *h = vb_fake_host_new();
    vb_fake_add_provider(h, "prov");
    return h;
}

static inline void identify(struct vb_fake_host *h)
{
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
}

static inline const struct vb_msg *prepare(struct vb_fake_host *h)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    vb_fake_bcd(h, false, &b);
    return vb_fake_command(h, VB_M_PREPARE, &b);
}

static inline void until_prepared(struct vb_fake_host *h)
{
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    identify(h);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
}

static inline void assert_order(const struct vb_fake_host *h, const char *const *lines)
{
    size_t last = 0;
    for (; *lines; lines++) {
        size_t at = vb_fake_at(h, *lines);
        if (!at || at < last) {
            vb_fake_print(h);
            fail_msg("'%s' is missing or too early", *lines);
        }
        last = at;
    }
}

#endif
