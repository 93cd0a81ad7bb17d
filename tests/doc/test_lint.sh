#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scripts/lint sees what it is there for: a small tree with one fault of each kind.
. "${abs_top_srcdir:?}/tests/tap.sh"
command -v perl >/dev/null || skip_all "perl is not installed"

head='/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* what it is for */'
mkdir -p "$T/tree"
put() { mkdir -p "$T/tree/$(dirname "$1")"; printf '%s\n' "$head" "${@:2}" >"$T/tree/$1"; }
run() { out=$("$abs_top_srcdir/scripts/lint" "$T/tree" 2>&1); status=$?; rm -rf "$T/tree"; mkdir -p "$T/tree"; }

put base/a.c '#include "config.h"' '#include "base/a.h"' '#include <stdio.h>' '/* strcpy(a, b) */' 'char *s = "system(x)";'
run
is "a clean tree passes" "$status" 0
like "a source without a test is listed" "$out" '^  base/a\.c$'

sees() { # NAME REGEX FILE LINES...
    put "${@:3}"
    run
    is "$1: refused" "$status" 1
    like "$1: named" "$out" "$2"
}
sees "base may not include agent" '^base/a.c:3: base may not include agent/b.h' base/a.c '#include "agent/b.h"'
sees "the requester may not include agent" 'requester may not include agent' requester/a.c '#include "agent/b.h"'
sees "agent may use chunks" 'agent may not include store/pack.h' agent/a.c '#include "store/chunk/chunk.h"' '#include "store/pack.h"'
sees "a writer sees nothing of ours" 'writers may not include base/mem.h' writers/x/a.c '#include "base/mem.h"'
sees "include without a room" 'does not name its room' base/a.c '#include "mem.h"'
sees "libxml2 outside documents" '<libxml/tree.h> is for documents only' agent/a.c '#include <libxml/tree.h>'
sees "forbidden call" "a.c:3: 'strcpy' is not for us" base/a.c 'int f(void) { strcpy(a, b); }'
sees "allocation" "'malloc': allocate through" agent/a.c 'void *p = malloc(3);'
sees "waiting" "'usleep': wait" wire/a.c 'void f(void) { usleep(3); }'
sees "tab" 'a.c:3: tab' base/a.c "$(printf '\tint x;')"
sees "trailing blank" 'a.c:3: blank at the end' base/a.c 'int x; '
sees "unfinished work" 'unfinished work' base/a.c "/* TO""DO: later */"
mapfile -t many < <(seq -f 'int x%g;' 1100)
sees "too long a file" 'more than 1000' base/a.c "${many[@]}"

mkdir -p "$T/tree/base"
echo 'int x;' >"$T/tree/base/a.c"
run
like "no SPDX line" "$out" 'a.c:1: first line is not the SPDX line'
put agent/a.c 'void f(void) { usleep(3); } /* lint: allow usleep, a reason */'
run
is "a reasoned exception passes" "$status" 0
done_testing
