/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/sftp_relay.c - see sftp_relay.h.
 */
#include <config.h>
#include "tests/store/sftp_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"

static int start_server(int argc, char **argv)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        exit(3);
    if (fork() == 0) {
        char **v = vb_alloc_n((size_t)argc + 2, sizeof *v);
        v[0] = vb_strdup(SFTP_SERVER);
        for (int i = 0; i < argc; i++)
            v[i + 1] = argv[i];
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        execv(SFTP_SERVER, v);
        _exit(127);
    }
    close(pair[1]);
    return pair[0];
}

/* A rename as posix-rename@openssh.com: the id and both names stay as they are. */
static void make_it_replace(const unsigned char *p, size_t n, struct vb_buf *out)
{
    static const char name[] = "posix-rename@openssh.com";
    vb_buf_add_u32(out, (uint32_t)(n - 4 + 4 + sizeof name - 1));
    vb_buf_add_u8(out, 200);
    vb_buf_add(out, p + 5, 4);
    vb_buf_add_u32(out, sizeof name - 1);
    vb_buf_add(out, name, sizeof name - 1);
    vb_buf_add(out, p + 9, n - 9);
}

static uint32_t length_of(const struct vb_buf *b)
{
    return (uint32_t)b->data[0] << 24 | (uint32_t)b->data[1] << 16 | (uint32_t)b->data[2] << 8 | b->data[3];
}

/* Passes whole requests on; true when the line is to be cut now. */
static bool pass_requests(struct sftp_relay_state *s, struct vb_buf *in, int server)
{
    while (in->len >= 4 && in->len - 4 >= length_of(in)) {
        const size_t n = 4 + (size_t)length_of(in);
        bool cut = ++s->requests == s->cut_at;
        VB_AUTO_BUF out = VB_BUF_INIT;
        if (cut && !s->after)
            return true;
        if (s->replaces && in->data[4] == 18)
            make_it_replace(in->data, n, &out);
        else
            vb_buf_add(&out, in->data, n);
        if (vb_write_all(server, out.data, out.len, NULL) < 0)
            return true;
        if (cut)
            return true;
        vb_buf_consume(in, n);
    }
    return false;
}

int sftp_relay_main(int argc, char **argv)
{
    int fd = open(argv[0], O_RDWR | O_CLOEXEC);
    struct sftp_relay_state *s =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    VB_AUTO_BUF in = VB_BUF_INIT;
    unsigned char bytes[65536];
    if (s == MAP_FAILED)
        return 2;
    s->connections++;
    int server = start_server(argc - 1, argv + 1);
    bool cut = false;
    while (!cut) {
        struct pollfd p[2] = { { 0, POLLIN, 0 }, { server, POLLIN, 0 } };
        poll(p, 2, -1);
        if (p[0].revents) {
            ssize_t n = read(0, bytes, sizeof bytes);
            if (n <= 0)
                break;
            vb_buf_add(&in, bytes, (size_t)n);
            cut = pass_requests(s, &in, server);
        }
        if (!cut && p[1].revents) {
            ssize_t n = read(server, bytes, sizeof bytes);
            if (n <= 0 || vb_write_all(1, bytes, (size_t)n, NULL) < 0)
                break;
        }
    }
    /* The server does what it was asked for before it sees the end. */
    shutdown(server, SHUT_WR);
    while (read(server, bytes, sizeof bytes) > 0)
        ;
    wait(NULL);
    return 0;
}
