#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Whole backups with the lvm provider in the virtual machine: under a write load, with a change store that runs full, and
# with everything killed that can be, the power included.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/vm/vm.sh"
vm_available || skip_all "no virtual machine: $VM_WHY"
vm_new 1G || bail "the virtual machine cannot be made"
vm_boot || bail "the virtual machine does not boot"
echo "# booted in $(vm_boot_ms) ms"

conf=$(vm sh -c 'p=$(dirname "$(dirname "$(command -v vbackup)")"); echo $p/etc/vbackup/vbackup.conf')
# A script in the machine, with what all of them need.
in_vm() {
    { cat <<'END'
export VBACKUP_REPOSITORY=/root/repo VBACKUP_PASSWORD_FILE=/root/password
[ -e /root/password ] || (umask 077; echo secret > /root/password)
# Waits (half a second a time) until a command succeeds.
until_ok() { n=$1; shift; while ! "$@" > /dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.5; done; }
copies() { lvs --noheadings -o lv_name | grep -c vbackup-; }
nothing_left() {
    [ "$(copies)" = 0 ] && ! grep -q 'vbackup-lvm' /proc/self/mountinfo && ! lvs --noheadings -o lv_suspended | grep -q susp &&
        ! dmsetup info -c --noheadings -o suspended | grep -qi '^ *suspended'
}
what_is_left() { lvs; grep vbackup-lvm /proc/self/mountinfo; dmsetup info -c; ps axf | grep vbackup; tail -5 /var/lib/vbackup/agent.log; }
the() { pgrep -o -f "^[^ ]*vbackup-agent $1"; }
# Starts a backup and stops the process that reads at once, so that what comes now comes in the middle.
backup_stopped() {
    head -c 30000000 /dev/urandom > "$1/big" && sync # new content, so that reading takes its time
    vbackup backup "$1" > /tmp/backup.log 2>&1 &
    backup=$!
    n=0
    until reader=$(the capture) && kill -STOP "$reader"; do
        n=$((n + 1))
        [ $n -lt 2000 ] && kill -0 $backup || { cat /tmp/backup.log; return 1; }
    done
}
END
        cat; } | vm_sh "$@"
}
set_conf() {
    printf '%s\n' '[agent]' 'shadow-check = 1s' 'idle-exit = 20s' 'timeout-provider-commit = 60s' 'timeout-provider-start = 120s' \
        '[provider lvm]' "$@" | vm_ssh -- "mkdir -p '$(dirname "$conf")' && cat > '$conf'"
}
reason() { tail -n "${1:-6}" "$T/out"; }

in_vm > "$T/out" 2>&1 <<'END'
set -e
modprobe -a dm_mod dm_snapshot dm_thin_pool
vgcreate -q vg /dev/vdc
lvcreate -q -y -L 96M -n thick vg
lvcreate -q -y --type thin-pool -L 400M -n pool vg
lvcreate -q -y -V 320M --thinpool vg/pool -n thin
mkfs.ext4 -q /dev/vg/thick; mkfs.xfs -q /dev/vg/thin
printf '/dev/vg/thick /srv/thick ext4 defaults 0 0\n/dev/vg/thin /srv/thin xfs defaults 0 0\n' >> /etc/fstab
mkdir -p /srv/thick /srv/thin
systemctl daemon-reload
mount /srv/thick; mount /srv/thin
systemctl -q enable vbackup-agent
for d in thick thin; do
    mkdir "/srv/$d/data"
    head -c 30000000 /dev/urandom > "/srv/$d/data/big"
    echo 0 > "/srv/$d/data/first"; echo 0 > "/srv/$d/data/last"
done
vbackup init -q
END
[ $? = 0 ] || bail "the volumes cannot be made: $(reason)"

# --- consistency under load ---
set_conf 'change-store = 32M'
for d in thick thin; do
    in_vm "$d" > "$T/out" 2>&1 <<'END'
# "last" follows "first" by one at most, at every instant
( i=0; while :; do i=$((i + 1)); echo $i >> /srv/$1/data/first; echo $i >> /srv/$1/data/last; done ) &
load=$!
vbackup backup -v "/srv/$1/data" || exit 1
kill $load
rm -rf /root/out
vbackup restore latest -q --target /root/out || exit 1
at=$(dirname "$(find /root/out -name first)")
cmp "$at/big" "/srv/$1/data/big" || exit 1
f=$(tail -n 1 "$at/first"); l=$(tail -n 1 "$at/last")
echo "first $f last $l now $(tail -n 1 "/srv/$1/data/last")"
[ "$f" -gt 0 ] && [ $((f - l)) -ge 0 ] && [ $((f - l)) -le 1 ] || exit 1
vbackup show latest | grep -q 'complete file system' || { vbackup show latest; exit 1; }
until_ok 40 nothing_left || { what_is_left; exit 1; }
END
    if [ $? = 0 ]; then pass "$d: a backup under a write load is one instant, and restores"; else fail "$d: a backup under a write load is one instant, and restores" "$(reason 20)"; fi
done

# --- a change store that runs full ---
set_conf 'change-store = 8M' 'change-store-max = 8M'
in_vm > "$T/out" 2>&1 <<'END'
before=$(vbackup list --json | grep -c '"state":"complete"')
backup_stopped /srv/thick/data || exit 1
dd if=/dev/urandom of=/srv/thick/data/big bs=1M count=28 conv=notrunc,fsync
until_ok 60 sh -c 'lvs --noheadings -o lv_attr | grep -q "^ *s...I"' || { lvs; exit 1; }
kill -CONT "$reader"
wait "$backup"; status=$?
cat /tmp/backup.log
echo "status $status"
[ $status != 0 ] || exit 1
grep -q 'change store is full' /tmp/backup.log || exit 1
[ "$(vbackup list --json | grep -c '"state":"complete"')" = "$before" ] || { vbackup list; exit 1; }
until_ok 60 nothing_left || { what_is_left; exit 1; }
echo still > /srv/thick/data/last && sync || exit 1
END
if [ $? = 0 ]; then pass "VSS-Q-11 a full change store fails the backup and says so; the volume goes on"; else fail "VSS-Q-11 a full change store fails the backup and says so; the volume goes on" "$(reason 20)"; fi

set_conf 'change-store = 8M'
in_vm > "$T/out" 2>&1 <<'END'
backup_stopped /srv/thick/data || exit 1
size() { lvs --noheadings --nosuffix --units m -o lv_name,lv_size | sed -n 's/^ *vbackup-[^ ]* *\([0-9]*\).*/\1/p'; }
i=0
while [ $i -lt 4 ]; do # slowly enough to be followed
    dd if=/dev/urandom of=/srv/thick/data/big bs=1M count=6 seek=$((i * 6)) conv=notrunc,fsync 2> /dev/null
    i=$((i + 1))
    was=$(size)
    until_ok 60 sh -c "! lvs --noheadings -o lv_name,data_percent | awk '/vbackup-/ && \$2 >= 75 { exit 0 } END { exit 1 }'"
    sleep 2
done
echo "the change store has $(size) MiB"
[ "$(size)" -gt 8 ] || exit 1
kill -CONT "$reader"
wait "$backup" || { cat /tmp/backup.log; exit 1; }
until_ok 60 nothing_left || { what_is_left; exit 1; }
END
if [ $? = 0 ]; then pass "VSS-S-47 a change store grows while the copy is read, and the backup succeeds"; else fail "VSS-S-47 a change store grows while the copy is read, and the backup succeeds" "$(reason 20)"; fi

# --- kills ---
set_conf 'change-store = 32M'
in_vm > "$T/out" 2>&1 <<'END'
backup_stopped /srv/thick/data || exit 1
kill -9 "$(the worker)" || exit 1
until_ok 120 nothing_left || { what_is_left; exit 1; }
wait "$backup" && exit 1
echo alive > /srv/thick/data/last && sync
END
if [ $? = 0 ]; then pass "the worker is killed while the copy is read: nothing is left, without a next start"; else fail "the worker is killed while the copy is read: nothing is left, without a next start" "$(reason 20)"; fi

in_vm > "$T/out" 2>&1 <<'END'
backup_stopped /srv/thin/data || exit 1
kill -9 "$(the provider-host.lvm)" || exit 1
kill -CONT "$reader"
wait "$backup" || { cat /tmp/backup.log; exit 1; }
until_ok 60 nothing_left || { what_is_left; exit 1; }
END
if [ $? = 0 ]; then pass "the provider is killed while the copy is read: the backup goes on, the copy is removed"; else fail "the provider is killed while the copy is read: the backup goes on, the copy is removed" "$(reason 20)"; fi

in_vm > "$T/out" 2>&1 <<'END'
vbackup backup /srv/thick/data > /tmp/backup.log 2>&1 &
backup=$!
n=0
until pgrep -f 'lvm lvcreate' > /dev/null; do n=$((n + 1)); [ $n -lt 5000 ] || exit 1; done
kill -9 "$(the provider-host.lvm)" || exit 1
wait "$backup" && exit 1
cat /tmp/backup.log
until_ok 120 nothing_left || { what_is_left; exit 1; }
timeout 20 sh -c 'echo alive > /srv/thick/data/last && sync' || exit 1
END
if [ $? = 0 ]; then pass "the provider is killed in the middle of lvcreate: nothing is left, nothing is suspended"; else fail "the provider is killed in the middle of lvcreate: nothing is left, nothing is suspended" "$(reason 20)"; fi

# --- the power ---
in_vm > "$T/out" 2>&1 <<'END'
backup_stopped /srv/thick/data || exit 1
[ "$(copies)" = 1 ] || exit 1
sync
END
is "the power goes while the copy is read" $? 0
vm_cut
vm_boot || bail "it does not boot any more"
in_vm > "$T/out" 2>&1 <<'END'
until_ok 120 nothing_left || { what_is_left; exit 1; }
mountpoint -q /srv/thick && mountpoint -q /srv/thin || exit 1
timeout 20 sh -c 'echo alive > /srv/thick/data/last && sync' || exit 1
vbackup backup -q /srv/thick/data || exit 1
vbackup check -q || exit 1
END
if [ $? = 0 ]; then pass "after the next boot no shadow copy is left, nothing is suspended, and backups go on"; else fail "after the next boot no shadow copy is left, nothing is suspended, and backups go on" "$(reason 20)"; fi

# --- a persistent shadow copy outlives a restart ---
in_vm > "$T/out" 2>&1 <<'END'
echo "at that time" > /srv/thin/data/note && sync
vbackup shadow create --no-writers --persistent /srv/thin || exit 1
echo later > /srv/thin/data/note && sync
END
is "a persistent shadow copy is made" $? 0
ok "the machine restarts" vm_reboot
in_vm > "$T/out" 2>&1 <<'END'
vbackup shadow list || exit 1
at=$(find /run/vbackup-lvm -name note)
[ "$(cat "$at")" = "at that time" ] || exit 1
vbackup shadow delete --all --yes || exit 1
until_ok 40 nothing_left || { what_is_left; exit 1; }
END
if [ $? = 0 ]; then pass "VSS-B-64 after a restart it shows what was there, and can be deleted"; else fail "VSS-B-64 after a restart it shows what was there, and can be deleted" "$(reason 40)"; fi
vm_down
done_testing
