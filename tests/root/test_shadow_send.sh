#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_shadow_send.sh - a shadow copy from one host to another: whole, as a difference, refused with a reason, and
# interrupted.
. "$abs_top_srcdir/tests/lib/shadow_hosts.sh"

one sh -c 'btrfs -q subvolume create /srv/data && head -c 3000000 /dev/urandom > /srv/data/big && echo one > /srv/data/file && setfattr -n user.a -v b /srv/data/file'
two mkdir /srv/in /srv/in2

# ---- whole ----
first=$(make)
refused "a directory that is not there" 1 OBJECT_NOT_FOUND send "$first" /srv/none --host one --to two
refused "a host that is not known" 2 HOST_UNKNOWN send "$first" /srv/in --host one --to three
run send "$first" /srv/in --host one --to two --dry-run
is "--dry-run sends nothing" "$status $(jq -r .dry_run <<< "$out") $(list_of two)" "0 true "
run send "$first" /srv/in --host one --to two
is "VSS-S-56 a shadow copy goes to another host" "$status $(jq -r '.snapshot_id + " " + (.parent // "whole")' <<< "$out")" "0 $first whole"
[ "$status" = 0 ] || printf '%s\n%s\n' "$out" "$err" | sed 's/^/# /'
at=$(path_of two "$first")
is "VSS-S-57 ... and is the same there" "$(two sh -c "cat $at/file; md5sum < $at/big; getfattr --only-values -n user.a $at/file")" \
    "$(one sh -c 'cat /srv/data/file; md5sum < /srv/data/big; getfattr --only-values -n user.a /srv/data/file')"
is "... with its documents' place, and as imported" \
    "$(shadow list --host two --json "$first" | jq -r '(.attributes | index("imported") != null), (.originating_machine == .service_machine)' | paste -sd' ')" "true false"
refused "VSS-S-57 once only" 1 OBJECT_ALREADY_EXISTS send "$first" /srv/in --host one --to two

# ---- as a difference ----
one sh -c 'echo two > /srv/data/file && rm -f /srv/data/gone && mkdir /srv/data/dir'
second=$(make)
run send "$second" /srv/in --host one --to two
is "only what changed since one that both have" "$status $(jq -r .parent <<< "$out") $(($(jq -r .bytes <<< "$out") < 100000))" "0 $first 1"
at=$(path_of two "$second")
is "... and it is whole there" "$(two sh -c "cat $at/file; md5sum < $at/big; ls -d $at/dir")" \
    "$(one sh -c 'cat /srv/data/file; md5sum < /srv/data/big'; echo "$at/dir")"
run send "$second" /srv/in2 --host one --to two
is "not on the same host twice" "$status" 1
shadow delete --host two -q "$second"
shadow delete --host one -q "$first"
run send "$second" /srv/in --host one --to two
is "without one that both have it goes whole" "$status $(jq -r '.parent // "whole"' <<< "$out")" "0 whole"
third=$(make)
run send "$third" /srv/in --host one --to two --whole
is "--whole" "$status $(jq -r '.parent // "whole"' <<< "$out") $(($(jq -r .bytes <<< "$out") > 2000000))" "0 whole 1"
# what came here goes on under its first identity, and back: the parent is found by what it holds
shadow delete --host one -q "$third"
one mkdir /srv/in
run send "$third" /srv/in --host two --to one
is "back again" "$status $(one cat "$(path_of one "$third")/file")" "0 two"
shadow delete --host two -q "$first"; shadow delete --host two -q "$second"; shadow delete --host two -q "$third"
is "nothing is left of what was deleted" "$(two find /srv/in -mindepth 1 | wc -l) $(list_of two)" "0 "

# ---- refused ----
one btrfs -q subvolume create /srv/data/nested
nested=$(make)
refused "nested subvolumes would be lost" 1 NOT_SUPPORTED send "$nested" /srv/in --host one --to two
soon "... which leaves nothing there" nothing_there "$nested"
shadow delete --host one -q "$nested"; one btrfs -q subvolume delete /srv/data/nested
two mkdir /srv/none; two sh -c 'mount -t tmpfs none /srv/none'
refused "a directory that is not on btrfs" 1 PROVIDER_VETO send "$second" /srv/none --host one --to two
soon "... which leaves nothing there" nothing_there "$second"

# ---- interrupted ----
one sh -c 'head -c 80000000 /dev/urandom > /srv/data/big && sync'
big=$(make)
begin
kill -TERM $pid; wait $pid; status=$?
is "SIGTERM" "$status $(jq -r .code "$T/out")" "1 CANCELLED"
soon "... nothing is left on the other host" nothing_there "$big"
done_testing
