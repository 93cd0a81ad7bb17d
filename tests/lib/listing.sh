# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/listing.sh - backs up and restores a tree with every case there is: . "$abs_top_srcdir/tests/lib/listing.sh"
#
#   same_listing WHAT DIRECTORY [OPTION-OF-BACKUP...]   makes the tree and the restored one below DIRECTORY; needs vb and a repository.
#                  LISTING_DEPTH: so many levels of directories

# Deeper than rm can go by names alone where the kernel limits it, and with flags that forbid it.
remove_tree() {
    "$abs_top_builddir/make_tree" -r "$1"
    rm -rf "$1"
}

same_listing() {
    local what=$1 dir=$2 out status
    shift 2
    mkdir -p "$dir"
    ok "$what: a tree with every case" "$abs_top_builddir/make_tree" "$dir/src" "${LISTING_DEPTH:-100}"
    "$abs_top_builddir/list_tree" "$dir/src" > "$T/listing.before"
    out=$(vb backup "$@" "$dir/src" 2>&1); status=$?
    is "$what: backed up" "$status" 0 || printf '%s\n' "$out" | sed 's/^/# /'
    "$abs_top_builddir/list_tree" "$dir/src" > "$T/listing.meanwhile"
    ok "$what: looking at it changed nothing" cmp "$T/listing.before" "$T/listing.meanwhile"
    out=$(vb restore --verify --target "$dir/out" 2>&1); status=$?
    is "$what: restored and verified" "$status" 0 || printf '%s\n' "$out" | sed 's/^/# /'
    "$abs_top_builddir/list_tree" "$dir/out$dir/src" > "$T/listing.after"
    ok "$what: the same listing" cmp "$T/listing.before" "$T/listing.after"
    diff "$T/listing.before" "$T/listing.after" | cut -c1-300 | head -20 | sed 's/^/# /'
    ok "$what: check" vb check -q
    remove_tree "$dir/out$dir/src"
    remove_tree "$dir/src"
    rm -rf "$dir/out" "$dir/outside-name"
}
