/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The `vbackup` command. */
#include "config.h"
#include "requester/cli.h"

int main(int argc, char **argv)
{
    return vb_cli_main(argc, argv);
}
