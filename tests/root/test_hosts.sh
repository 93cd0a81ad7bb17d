#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_hosts.sh - the test hosts themselves: are they really separate, reachable, and gone afterwards?
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/hosts.sh"

hosts_available || skip_all "$HOSTS_WHY"
tap_cleanup() { hosts_cleanup; }
passwd_before=$(cksum < /etc/passwd)
hosts_init || bail "no network for the hosts"
host_add frontend || bail "cannot add a host"
host_add backend || bail "cannot add another host"
pass "adds two hosts"

is "each has its user" "$(host_exec backend vbt-backend id -un)" vbt-backend
not_ok "... that the other does not know" host_exec frontend vbt-backend id
is "uids differ" "$(($(host_uid backend) - $(host_uid frontend)))" 1
is "the machine's users are untouched" "$(cksum < /etc/passwd)" "$passwd_before"
is "hosts know their names" "$(host_exec backend vbt-backend hostname)" backend
is "home is the working directory" "$(host_exec backend vbt-backend pwd)" /home/vbt-backend

host_exec_root backend sh -c 'mkdir -p /srv/data /var/lib/vbt; echo secret > /srv/data/file; echo 1 > /var/lib/vbt/x; echo 2 > /run/x'
is "a host reads its data" "$(host_exec_root backend cat /srv/data/file)" secret
not_ok "the other host does not, even as root" host_exec_root frontend cat /srv/data/file
not_ok "... nor by the place where it is kept" host_exec_root frontend sh -c "cat $HOSTS_DIR/backend/up/srv/data/file"
not_ok "nor does the machine" test -e /srv/data/file -o -e /var/lib/vbt -o -e "$HOSTS_DIR/backend/up"
not_ok "/run is private" host_exec_root frontend test -e /run/x
is "a host sees only its own processes" "$(host_exec_root frontend sh -c 'cat /proc/[0-9]*/cmdline' | tr '\0' ' ' | grep -c hosts_init)" 0
host_exec_root backend sh -c 'exec 9>/tmp/vbt.$$; sleep 0' # /tmp is shared, as documented
is "the built tree is visible" "$(host_exec backend vbt-backend sh -c "test -f '$abs_top_srcdir/configure.ac' && echo yes")" yes

S="ssh -F none -o BatchMode=yes -o UserKnownHostsFile=$(host_known_hosts) -o IdentitiesOnly=yes -i $(host_client_key)"
is "ssh by address" "$($S "vbt-backend@$(host_ip backend)" id -un)" vbt-backend
is "ssh as root" "$($S "root@$(host_ip frontend)" hostname)" frontend
not_ok "a host's user is unknown to the other's sshd" $S "vbt-backend@$(host_ip frontend)" true
like "commands get the environment of the tree" "$($S "vbt-backend@$(host_ip backend)" 'echo $PATH; echo $abs_top_builddir')" "$abs_top_builddir"
ok "hosts reach each other by name" host_exec frontend vbt-frontend bash -c 'head -c 8 < /dev/tcp/backend/22 | grep -q SSH'
like "the section for the configuration" "$(host_config backend agent-command=/x/agent user=root | tr '\n' ' ')" \
    "^\\[host backend\\] address = $(host_ip backend) identity = .* known-hosts = .* agent-command = /x/agent user = root"
PROBE=$abs_top_builddir/ssh_probe
is "our transport reaches it" "$("$PROBE" --name backend --user vbt-backend --identity "$(host_client_key)" \
    --known-hosts "$(host_known_hosts)" --no-agent "$(host_ip backend)" echo 2 1 "$PROBE serve")" "echoed 2 2097152"

host_cut backend
start=$SECONDS
not_ok "a cut line carries nothing" timeout 5 $S -o ConnectTimeout=1 "vbt-backend@$(host_ip backend)" true
ok "the others are not concerned" timeout 10 $S "root@$(host_ip frontend)" true
host_heal backend
ok "a healed line carries again" timeout 20 $S "vbt-backend@$(host_ip backend)" true

"$PROBE" --name backend --user vbt-backend --identity "$(host_client_key)" --known-hosts "$(host_known_hosts)" --no-agent \
    --keepalive 500 --limit 4000 "$(host_ip backend)" hold "$PROBE serve" > "$T/held" &
pid=$!
hosts_wait 10 grep -q held "$T/held"
host_cut backend
wait $pid
host_heal backend
like "a session over a cut line is given up" "$(cat "$T/held")" "^failed CONNECTION_LOST: host 'backend': .*no sign of life"

if loopfs_available btrfs; then
    ok "a btrfs of its own" host_loopfs backend btrfs 256M /srv/db
    is "... is one" "$(host_exec_root backend stat -f -c %T /srv/db)" btrfs
    not_ok "... that the machine does not see" mountpoint -q /srv/db
    host_exec_root backend sh -c 'echo x > /srv/db/f; fsfreeze -f /srv/db'
else
    skip "a btrfs of its own" "$LOOPFS_WHY"
fi

# A daemon that left every group and session, and a process that ignores signals.
host_exec_root backend sh -c 'setsid setsid sleep 4711 > /dev/null 2>&1 < /dev/null & trap "" TERM HUP INT; setsid sh -c "trap \"\" TERM; sleep 4712" > /dev/null 2>&1 < /dev/null &'
hosts_wait 5 pgrep -f 'sleep 471[12]' > /dev/null
net=$HOSTS_NET
host_kill frontend
not_ok "... and is gone" timeout 5 $S -o ConnectTimeout=1 "root@10.77.$net.2" true
hosts_cleanup
not_ok "no process is left" pgrep -f 'sleep 471[12]'
not_ok "no interface is left" ip link show "vbt$net"
not_ok "no mount is left" grep -q "$HOSTS_DIR" /proc/mounts
not_ok "no loop device is left" sh -c "losetup -l -n -O BACK-FILE | grep -q '$HOSTS_DIR'"

# In a chroot (a bare machine for tests is one) the hosts' files must not become those of the machine around it.
cat > "$T/jailed.sh" << 'END'
T=$1/j; mkdir -p "$T"; . "$abs_top_srcdir/tests/lib/hosts.sh"
hosts_init && host_add jailed && host_exec_root jailed touch /etc/vbt-leak /srv/vbt-leak &&
    host_exec jailed vbt-jailed test -e /etc/vbt-leak && echo inside
hosts_cleanup
END
mkdir -p "$T/jail"
is "works in a chroot" "$(unshare -m sh -c 'mount --rbind / "$1/jail" && exec chroot "$1/jail" bash "$1/jailed.sh" "$1"' sh "$T" 2>&1 |
    tail -1)" inside
not_ok "... and nothing leaks out of it" test -e /etc/vbt-leak -o -e /srv/vbt-leak -o -e "$T/jail/etc"
rm -f /etc/vbt-leak /srv/vbt-leak

# A test that is killed takes its hosts with it, and the next one cleans its network.
cat > "$T/killed.sh" << END
T=$T/k; mkdir -p \$T; . '$abs_top_srcdir/tests/lib/hosts.sh'; hosts_init && host_add doomed
host_spawn doomed root sleep 4713
echo "\$HOSTS_NET" > '$T/killed.net'; sleep 100 {HOSTS_LOCK}>&-
END
bash "$T/killed.sh" > /dev/null 2>&1 &
pid=$!
hosts_wait 20 test -s "$T/killed.net"
hosts_wait 5 pgrep -f 'sleep 4713' > /dev/null
kill -KILL $pid; wait $pid 2> /dev/null
sleep 0.5
not_ok "a killed test leaves no process" pgrep -f 'sleep 4713'
net=$(cat "$T/killed.net")
ok "(its bridge is still there)" ip link show "vbt$net"
rm -rf "$T/hosts"
hosts_init
is "the next test takes over its network" "$HOSTS_NET" "$net"
hosts_cleanup
done_testing
