#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make install puts everything where it is looked for, and the installed headers stand alone in C and in C++.
. "${abs_top_srcdir:?}/tests/tap.sh"
unset MAKEFLAGS MFLAGS MAKELEVEL
root=$T/root
prefix=$(sed -n 's/^prefix = //p' "$abs_top_builddir/Makefile")
ok "make install into an empty root" make -s -C "$abs_top_builddir" install DESTDIR="$root"
cd "$root$prefix" || bail "nothing was installed below $prefix"

has() { # NAME PATTERN: one installed file at least
    local found
    found=$(find . -path "$2" | head -n 1)
    if [ -n "$found" ]; then pass "$1: $found"; else fail "$1" "no $2 among: $(find . -type f | sort)"; fi
}
has "the command" ./bin/vbackup
has "the agent" '*/vbackup-agent'
has "a writer" './lib*/vbackup/writers/*.so'
has "the library for programs" './lib*/libvbackup.so'
has "a grammar" ./share/vbackup/schema/writer-metadata.rng
has "man page of the command" ./share/man/man1/vbackup.1
has "man page of the configuration" ./share/man/man5/vbackup.conf.5
has "shell completion" './share/bash-completion/completions/vbackup'
has "pkg-config" './lib*/pkgconfig/vbackup.pc'
has "the unit that cleans up at boot" ./lib/systemd/system/vbackup-agent.service
is "no static archive or libtool file of a writer" "$(find . -path '*/writers/*' -name '*.a')" ""

for h in "$abs_top_srcdir"/include/vbackup/*.h; do
    h=${h##*/}
    ok "vbackup/$h is installed" test -f "include/vbackup/$h"
    printf '#include <vbackup/%s>\nint main(void) { return 0; }\n' "$h" >"$T/t.c"
    ok "vbackup/$h stands alone in C11" "${CC:-cc}" -std=c11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only "$T/t.c"
    cxx=$(command -v g++ || command -v clang++)
    if [ -n "$cxx" ]; then
        ok "vbackup/$h stands alone in C++" "$cxx" -x c++ -std=c++11 -Wall -Wextra -Werror -Iinclude -fsyntax-only "$T/t.c"
    else
        skip "vbackup/$h stands alone in C++" "no C++ compiler"
    fi
done

pc=$(find . -name vbackup.pc | head -n 1)
pc_get() { PKG_CONFIG_PATH=${pc%/*} pkg-config "$@" vbackup; }
ok "pkg-config knows vbackup" pc_get --exists
like "pkg-config --cflags" "$(pc_get --define-variable=includedir=/x/include --cflags)" '-I/x/include'
ok "pkg-config names the directory of the writers" test -f "$root$(pc_get --variable=writerdir)/vb-writer-null.so"

# programs outside the tree: the installed headers, the installed library, and what pkg-config says of them
san=$(grep -o -- '-fsanitize=address[a-z,]*' "$abs_top_builddir/Makefile" | head -n 1)
read -ra compiler <<< "$(sed -n 's/^CC = //p' "$abs_top_builddir/Makefile")"
read -ra flags <<< "$(pc_get --define-variable=prefix="$root$prefix" --cflags --libs) $san"
for p in backup-program replica-program; do
    ok "$p builds with pkg-config alone" "${compiler[@]}" "$abs_top_srcdir/samples/$p.c" "${flags[@]}" -o "$T/$p"
done

# what was installed runs by itself, away from source and build tree
LD_LIBRARY_PATH=$(dirname "$(find "$PWD" -name libvbackup.so | head -n 1)")
export LD_LIBRARY_PATH
unset VBACKUP_LIBEXECDIR VBACKUP_WRITER_PATH VBACKUP_SCHEMA_DIR
cd / || bail "no root directory"
ok "the installed command runs" "$root$prefix/bin/vbackup" --version
ok "a program with replicas of its own runs" "$T/replica-program" "$T/notes.db" put greeting hello
is "... and remembers" "$("$T/replica-program" "$T/notes.db" list | tr -d '\0')" "greeting hello"
ok "make uninstall" make -s -C "$abs_top_builddir" uninstall DESTDIR="$root"
is "nothing is left after uninstall" "$(find "$root" -type f -o -type l)" ""
done_testing
