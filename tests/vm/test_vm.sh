#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The virtual machine itself: what the other tests need of it is there, a reboot keeps what was written, a power cut loses
# what was not, and a network between two of its namespaces can be made slow and lossy.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/vm/vm.sh"
vm_available || skip_all "no virtual machine: $VM_WHY"
vm_new 64M || bail "the virtual machine cannot be made"
ok "it boots" vm_boot
echo "# boot to the first command: $(vm_boot_ms) ms (emulated: $VM_SLOW)"
vm_runs || bail "no machine"

like "vbackup is installed in it" "$(vm vbackup --version)" '^vbackup [0-9]'
is "systemd is the first process" "$(vm cat /proc/1/comm)" systemd
is "no service has failed" "$(vm systemctl --failed --no-legend)" ""
vm modprobe -a dm_mod dm_snapshot dm_thin_pool sch_netem
targets=$(vm dmsetup targets)
for t in linear snapshot snapshot-origin thin thin-pool; do
    like "the kernel has the device mapper target $t" "$targets" "^$t "
done
is "exit statuses come back" "$(vm bash -c 'exit 37'; echo $?)" 37
is "words are kept as they are" "$(vm printf '%s|' 'a b' "c'd" '$e')" "a b|c'd|\$e|"

# reboot and power cut
vm bash -c 'mkfs.ext4 -q /dev/vdc && mount /dev/vdc /mnt && echo kept > /mnt/synced && sync && cp /proc/sys/kernel/random/boot_id /root/boot'
ok "it restarts in order" vm_reboot
not_ok "after that it is another boot" vm cmp /root/boot /proc/sys/kernel/random/boot_id
vm bash -c 'mount /dev/vdc /mnt && echo more > /mnt/synced2 && sync && echo lost > /mnt/unsynced'
vm_cut
ok "it boots after a power cut" vm_boot
vm mount /dev/vdc /mnt
is "what was synced is there" "$(vm cat /mnt/synced /mnt/synced2)" "kept
more"
not_ok "what was not synced is gone" vm test -s /mnt/unsynced

# 50 ms and a tenth of all packets lost between two hosts
vm_sh <<'END'
set -e
ip netns add a; ip netns add b
ip link add va netns a type veth peer name vb netns b
ip -n a addr add 10.9.0.1/24 dev va; ip -n b addr add 10.9.0.2/24 dev vb
ip -n a link set va up; ip -n b link set vb up
END
fast=$(vm ip netns exec a ping -q -c 3 -i 0.2 10.9.0.2)
like "two namespaces see each other" "$fast" ' 3 received, 0% packet loss'
vm_sh <<'END'
tc -n a qdisc add dev va root netem delay 50ms loss 10%
tc -n b qdisc add dev vb root netem loss 10%
END
slow=$(vm ip netns exec a ping -q -c 200 -i 0.02 -W 2 10.9.0.2)
like "the network is slow: 50 ms at least" "$slow" 'rtt min/avg/max/mdev = (5[0-9]|[6-9][0-9]|[0-9]{3,})\.'
like "and lossy: between 8 and 35 of 100 are lost" "$slow" ' ([89]|[12][0-9]|3[0-5])(\.[0-9]+)?% packet loss'
out=$(vm_sh <<'END'
head -c 40000 /dev/urandom > /tmp/sent
ip netns exec b timeout 60 busybox nc -l -p 7777 > /tmp/got &
sleep 1
ip netns exec a timeout 60 busybox nc 10.9.0.2 7777 < /tmp/sent
wait
cmp /tmp/sent /tmp/got && echo whole
END
)
is "a stream comes through whole all the same" "$out" whole
vm_down
done_testing
