#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_shadow_send_kill_long.sh - a shadow copy on its way to another host, and each of the processes killed: nothing
# of it is left there, some seconds later and without a next start.
. "$abs_top_srcdir/tests/lib/shadow_hosts.sh"

one sh -c 'btrfs -q subvolume create /srv/data'
two mkdir /srv/in
one sh -c 'head -c 80000000 /dev/urandom > /srv/data/big && sync'
big=$(make)
begin
kill -KILL $pid; wait $pid 2> /dev/null
soon "SIGKILL of the requester: nothing is left" nothing_there "$big"
for who in worker provider-host shadow-stream; do
    begin
    two sh -c "kill -KILL \$(pgrep -f 'vbackup-agent $who')"
    wait $pid; status=$?
    is "SIGKILL of the $who that receives: it fails" "$((status != 0))" 1
    soon "... and nothing is left" nothing_there "$big"
done
begin
one sh -c "kill -KILL \$(pgrep -f 'vbackup-agent provider-host')"
two sh -c 'kill -CONT $(pgrep -x btrfs)' 2> /dev/null
wait $pid; status=$?
is "SIGKILL of the provider that sends: it fails, and says on which host" "$((status != 0)) $(jq -r .text "$T/out" | grep -c "host 'one'")" "1 1"
soon "... and nothing is left" nothing_there "$big"
run send "$big" /srv/in --host one --to two
is "after all that it can be sent" "$status $(two sh -c "md5sum < $(path_of two "$big")/big")" "0 $(one sh -c 'md5sum < /srv/data/big')"
is "and the sending host has what it had" "$(list_of one)" "$big"
done_testing
