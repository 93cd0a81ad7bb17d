#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs in the virtual machine (tests/vm/test_lvm.sh): the contract of the lvm provider on real logical volumes, thick and
# thin, ext4 and xfs, and what only real ones can show.
. "$abs_top_srcdir/tests/tap.sh"
prog=$abs_top_builddir/provider_contract
watch="lvs --noheadings -o lv_name,lv_suspended | sort; cut -d' ' -f5 /proc/self/mountinfo | sort | grep -v ^/proc"

modprobe -a dm_mod dm_snapshot dm_thin_pool
vgcreate -q vg /dev/vdc > /dev/null || bail "no volume group"
lvcreate -q -y -L 64M -n thick_ext4 vg > /dev/null
lvcreate -q -y -L 320M -n thick_xfs vg > /dev/null
lvcreate -q -y --type thin-pool -L 160M -n pool vg > /dev/null
lvcreate -q -y -V 64M --thinpool vg/pool -n thin_ext4 > /dev/null
lvcreate -q -y -V 320M --thinpool vg/pool -n thin_xfs > /dev/null
for k in thick thin; do
    for fs in ext4 xfs; do
        mkdir -p "/mnt/$k-$fs"
        "mkfs.$fs" -q "/dev/vg/${k}_$fs" > /dev/null && mount "/dev/vg/${k}_$fs" "/mnt/$k-$fs" || bail "no $k $fs"
    done
done
for k in thick thin; do
    for fs in ext4 xfs; do
        ok "VSS-6.4 the contract of lvm: $k, $fs" "$prog" lvm --volume "/mnt/$k-$fs" --type "$fs" --watch "$watch" -o change-store=32M
    done
done
ok "VSS-S-31 the contract of lvm: two volumes of different kinds in one set" "$prog" lvm \
    --volume /mnt/thick-ext4 --type ext4 --volume /mnt/thin-xfs --type xfs --watch "$watch" -o change-store=32M
is "nothing is left of them" "$(lvs --noheadings -o lv_name | grep -c vbackup)" 0
is "nothing is suspended" "$(lvs --noheadings -o lv_suspended | grep -c suspended)" 0
done_testing
