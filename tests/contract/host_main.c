/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/host_main.c - the writer host as a program of its own, without the rest of the agent.
 */
#include "config.h"
#include "agent/writer_host.h"
#include "base/log.h"

int main(int argc, char **argv)
{
    vb_log_init("writer-host");
    return vb_writer_host_main(argc, argv);
}
