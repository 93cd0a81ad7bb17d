# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/shadow_hosts.sh - hosts "one" and "two", each with a btrfs at /srv of its own and an agent, and `vbackup shadow`
# here, for tests of shadow copies that go from one to the other.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/hosts.sh"
hosts_available || skip_all "$HOSTS_WHY"
loopfs_available btrfs || skip_all "$LOOPFS_WHY"
command -v btrfs > /dev/null || skip_all "no btrfs program"
tap_cleanup() { hosts_cleanup; }
hosts_init || bail "no network for the hosts"
for h in one two; do
    host_add $h || bail "cannot add a host"
    host_loopfs $h btrfs 384M /srv || bail "no btrfs for host $h"
    host_exec_root $h sh -c 'mkdir -p /etc/vbackup && printf "[agent]\nidle-exit = 20s\n" > /etc/vbackup/vbackup.conf'
done
one() { host_exec_root one "$@"; }
two() { host_exec_root two "$@"; }
agent="env VBACKUP_CONFIG=/etc/vbackup/vbackup.conf VBACKUP_STATE_DIR=/var/lib/vbackup VBACKUP_RUNTIME_DIR=/run/vbackup $abs_top_builddir/vbackup-agent"
{
    printf '[requester]\nname = here\n'
    for h in one two; do host_config $h "agent-command=$agent" user=root; done
} > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
export VBACKUP_CONFIG=$T/vbackup.conf VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run HOME=$T
shadow() { "$abs_top_builddir/vbackup" shadow "$@"; }
run() { out=$(shadow "$@" --json 2> "$T/err" < /dev/null); status=$?; err=$(cat "$T/err"); }
refused() { # NAME STATUS CODE ARGUMENT...
    local name=$1 want=$2 code=$3; shift 3
    run "$@"
    is "$name" "$status $(printf '%s' "$out" | jq -r 'select(.message_type == "error").code')" "$want $code"
}
make() { shadow create --host one --persistent --no-writers --json /srv/data | jq -r '.snapshots[0].snapshot_id'; }
path_of() { shadow list --host "$1" --json "$2" | jq -r .device; }
list_of() { shadow list --host "$1" --json --unfinished | jq -r .snapshot_id | sort; }
# Nothing of the shadow copy is on the second host: neither subvolume nor record nor process.
nothing_there() {
    [ "$(two find /srv/in -mindepth 1 | grep -c "$1")" = 0 ] && [ "$(two find /var/lib/vbackup/providers /var/lib/vbackup/agent/shadows -type f -name '*-*' | grep -c -e "$1" -e receive)" = 0 ] &&
        ! shadow list --host two --json --unfinished | grep -q "$1" && ! two pgrep -x btrfs
}
what_is_there() { two find /srv/in -maxdepth 3; two find /var/lib/vbackup/providers /var/lib/vbackup/agent/shadows -type f; two pgrep -a btrfs; }
soon() { # NAME COMMAND...: within a minute
    local name=$1 i; shift
    for i in $(seq 120); do "$@" > /dev/null 2>&1 && { pass "$name"; return; }; sleep 0.5; done
    fail "$name" "$(what_is_there 2>&1)"
}
# The shadow copy $big on its way: whoever takes it is stopped as soon as it has begun; $pid is the requester.
begin() {
    two timeout 60 sh -c "until [ -e /srv/in/.vbackup/$big ]; do sleep 0.01; done; kill -STOP \$(pgrep -x btrfs)" & watcher=$!
    "$abs_top_builddir/vbackup" shadow send "$big" /srv/in --host one --to two --json > "$T/out" 2> "$T/err" < /dev/null & pid=$!
    wait $watcher || { echo "# it was not caught in the middle"; cat "$T/err"; }
}
