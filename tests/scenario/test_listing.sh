#!/usr/bin/env bash
# tests/scenario/test_listing.sh - a tree with every case that this user and this file system can make, backed up and restored by
# the real programs: the listing of all attributes, holes and checksums is the same.  tests/root/test_listing.sh does it on more
# file systems, and from shadow copies.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
. "$abs_top_srcdir/tests/lib/listing.sh"
unset VBACKUP_CONFIG
export HOME=$T/home XDG_CONFIG_HOME=$T/home/.config
mkdir -p "$T/home"
ok "init" vb init -q
LISTING_DEPTH=4200 # more than VB_TREE_MAX_DEPTH; test_capture goes to 10,000
same_listing "here" "$T/place" --allow-live
done_testing
