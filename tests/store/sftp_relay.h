/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/sftp_relay.h - a program between an SFTP client and sftp-server that cuts the line at the nth request, or
 * turns renames into those that replace.  The test program runs itself as it.
 */
#ifndef VB_TESTS_STORE_SFTP_RELAY_H
#define VB_TESTS_STORE_SFTP_RELAY_H

#include <stdint.h>

#define SFTP_SERVER "/usr/lib/openssh/sftp-server"

/* Shared by the test and all relays through a file of this size. */
struct sftp_relay_state {
    uint64_t requests;  /* that came so far */
    uint64_t cut_at;    /* 0: never */
    uint64_t after;     /* the request is still done, its answer is lost */
    uint64_t replaces;  /* renames replace */
    uint64_t connections;
};

/* main of the relay: STATE-FILE [argument of sftp-server...] */
int sftp_relay_main(int argc, char **argv);

#endif
