#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/lib/same_tree.sh ORIGINAL COPY: fails, with the difference, unless both show the same: kinds, modes, owners, sizes,
# times to the nanosecond, links and which names share an inode, devices, extended attributes, ACLs, flags, contents, holes.
listing() {
    cd "$1" || exit 1
    find . -printf '%p|%y|%m|%U|%G|%T@|%n|%l|' \( -type f -printf '%s' -o -printf '-' \) -printf '\n' | sort
    find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
    # names of one inode, each group under its first
    find . -type f -links +1 -printf '%i %p\n' | sort | awk '{ if ($1 != i) { i = $1; f = $2 } print f, $2 }' | sort
    # (xfs shows its ACLs a second time, in its own form)
    find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex 2> /dev/null | grep -v '^trusted\.SGI_ACL_'
    find . \( -type f -o -type d \) -print0 | sort -z | xargs -0 lsattr -d 2> /dev/null | awk '{ gsub("[eE]", "-", $1); print }'
    find . -type f -print0 | sort -z | xargs -0 sha256sum
}
diff <(listing "$1") <(listing "$2")
