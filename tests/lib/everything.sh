# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/everything.sh - trees with everything that a file can have: . "$abs_top_srcdir/tests/lib/everything.sh"
#
#   everything DIR          makes one; unlock_everything DIR before it is removed
#   $same                   command for provider_contract --compare
#   $prog                   the contract
#
# The images of loopfs.sh go to memory, where they can: every test makes and deletes dozens of shadow copies.
LOOPFS_IMAGES=$(mktemp -d /dev/shm/vbackup-test.XXXXXX 2> /dev/null || echo "$LOOPFS_BASE")
tap_cleanup() { loopfs_cleanup; rm -rf "$LOOPFS_IMAGES"; }
prog=$abs_top_builddir/provider_contract
same="bash '$abs_top_srcdir/tests/lib/same_tree.sh' \"\$1\" \"\$2\""

# everything that a file can have
everything() {
    mkdir -p "$1/sub/deep" && cd "$1" || return 1
    local long
    long=$(printf 'n%.0s' {1..255})
    echo text > plain; echo other > sub/second; ln plain sub/linked; ln sub/second sub/deep/again; : > "$long"
    printf 'odd' > "$(printf 'byte\377name')"; ln -s /nowhere dangling; ln -s plain short
    mkfifo pipe; mknod device c 1 3; mknod disk b 7 99
    truncate -s 3M holes; printf x | dd of=holes bs=1 seek=1500000 conv=notrunc status=none
    head -c 300000 /dev/urandom > sub/random
    setfattr -n user.note -v hello plain; setfattr -n user.dir -v there sub; setfattr -n user.long -v "$long$long$long" sub/second
    setfattr -n trusted.secret -v hidden sub/random; setfattr -h -n trusted.link -v onlink short
    setfacl -m u:1234:rw,g:99:r plain; setfacl -d -m u:1234:rwx sub
    cp /bin/true capable; setcap cap_net_raw+ep capable
    chown 1234:4321 sub/second; chown -h 77:88 dangling; chmod 4751 capable; chmod 1777 sub/deep; chmod 000 holes
    chattr +d sub/random; chattr +A "$long"
    touch -h -d '1999-12-31 23:59:59.123456789' plain dangling pipe sub/random sub/deep
    echo fixed > immutable; echo grows > append; mkdir locked; echo in > locked/in
    touch -d '2001-02-03 04:05:06.000000007' locked immutable
    chattr +i immutable locked; chattr +a append
}
unlock_everything() { chattr -i "$1/immutable" "$1/locked"; chattr -a "$1/append"; }
