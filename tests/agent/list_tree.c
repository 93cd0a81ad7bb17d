/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* list_tree DIRECTORY: everything about a tree on standard output, for shell tests (mover_listing.h). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include "tests/agent/mover_listing.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: list_tree DIRECTORY\n", stderr);
        return 2;
    }
    char *s = listing_of(argv[1], true);
    fputs(s, stdout);
    free(s);
    return 0;
}
