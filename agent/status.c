/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/status.c - `vbackup-agent status`: what the supervisor of this user is doing.  Starts none.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/supervisor.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/conn.h"
#include "wire/greeting.h"
#include "wire/protocol.h"

static void print_job(const struct vb_msg *g)
{
    VB_AUTO_FREE char *job = vb_msg_str(g, VB_F_JOB), *host = vb_msg_str(g, VB_F_HOST),
                      *phase = vb_msg_str(g, VB_F_PHASE);
    VB_AUTO_FREE char *kind = vb_msg_str(g, VB_F_KIND), *owner = vb_msg_str(g, VB_F_OWNER),
                      *text = vb_msg_str(g, VB_F_TEXT);
    VB_AUTO_FREE char *since = vb_time_iso(vb_msg_u64(g, VB_F_CREATED_SEC, 0) * 1000);
    printf("%s  %s  since %s  %s%s%s%s\n", job ? job : "?", phase ? phase : "?", since, kind ? kind : "",
           kind ? "  " : "", owner ? owner : "", vb_msg_u64(g, VB_F_HOLD, 0) ? "  (holds the snapshot slot)" : "");
    if (host)
        printf("    host '%s'\n", host);
    if (vb_msg_has(g, VB_F_POSITION))
        printf("    waits for the snapshot slot, position %ju\n", (uintmax_t)vb_msg_u64(g, VB_F_POSITION, 0));
    if (text)
        printf("    %s\n", text);
}

static int ask(int fd, struct vb_error *err)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_MSG q = VB_MSG_INIT(VB_M_STATUS);
    struct vb_greet_params p = { .role = "requester" };
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *b;
    size_t n, jobs = 0;
    int rc;
    vb_hello_make(&p, &m);
    q.id = 1;
    if (vb_msg_send_fd(fd, &m, err) < 0 || vb_msg_send_fd(fd, &q, err) < 0)
        return -1;
    while ((rc = vb_msg_recv_fd(fd, &in, &m, err)) == 1 || rc == 0) {
        if (m.type == VB_M_STATUS_REPLY)
            break;
        if (rc == 1)
            return vb_fail(err, VB_E_CONNECTION_LOST, "the supervisor ended");
        if (m.type == VB_M_ERROR && vb_msg_error(&m, err) < 0)
            return -1;
    }
    if (rc < 0)
        return -1;
    vb_field_iter_init(&it, &m);
    while (vb_field_next(&it, &tag, &b, &n))
        if (tag == VB_F_JOB_INFO) {
            struct vb_msg g = vb_msg_view(b, n);
            print_job(&g);
            jobs++;
        }
    if (jobs == 0)
        puts("the supervisor runs, and has no job");
    return 0;
}

int vb_status_main(struct vb_agent *a, int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)argc;
    (void)argv;
    VB_AUTO_FD int fd = vb_unix_connect_at(a->paths.runtime_fd, VB_SUPERVISOR_SOCKET, &err);
    if (fd < 0) {
        puts("no supervisor is running; the next job starts one");
        return VB_EXIT_DONE;
    }
    if (vb_unix_check_peer(fd, &err) < 0 || ask(fd, &err) < 0) {
        vb_log_error(VB_LOG_ERROR, &err);
        return (int)vb_code_exit(err.code);
    }
    return VB_EXIT_DONE;
}
