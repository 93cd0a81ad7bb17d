#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Restores that need systemd as first process: a service that is stopped and started, and files that are replaced at the
# next boot, before the services start.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/vm/vm.sh"
vm_available || skip_all "no virtual machine: $VM_WHY"
vm_new || bail "the virtual machine cannot be made"
vm_boot || bail "the virtual machine does not boot"
echo "# booted in $(vm_boot_ms) ms"
tail_of() { tail -n 15 "$T/out"; }
# Runs the script on standard input in the machine; NAME passes if it succeeds.
in_vm() {
    { echo 'export VBACKUP_REPOSITORY=/root/repo VBACKUP_PASSWORD_FILE=/root/password; [ -e /root/password ] || (umask 077; echo secret > /root/password)'; cat; } | vm_sh > "$T/out" 2>&1
    if [ $? = 0 ]; then pass "$1"; else fail "$1" "$(tail_of)"; fi
}

in_vm "a backup of two applications" <<'END'
set -e
mkdir -p /srv/app /srv/core /usr/local/etc/vbackup
echo one > /srv/app/data; echo one > /srv/core/data; echo other > /srv/core/also
# Each notes what it reads when it starts, and that it stops.
for s in app core; do
    cat > /etc/systemd/system/$s.service <<E
[Unit]
After=local-fs.target
[Service]
ExecStart=/bin/sh -c 'echo "start \$(cat /srv/$s/data)" >> /root/$s.log; exec sleep infinity'
ExecStopPost=/bin/sh -c 'echo "stop \$(cat /srv/$s/data)" >> /root/$s.log'
[Install]
WantedBy=multi-user.target
E
done
systemctl daemon-reload
systemctl -q enable --now app core
cat > /usr/local/etc/vbackup/vbackup.conf <<E
[agent]
idle-exit = 5s
[writer null app]
component = app
app.path = /srv/app
app.recursive = yes
restore-method = stop-restore-start
service = app.service
[writer null core]
component = core
core.path = /srv/core
core.recursive = yes
restore-method = at-reboot
E
vbackup init -q
vbackup backup --allow-live
for i in 1 2 3 4 5 6 7 8 9 10; do grep -q start /root/core.log && break; sleep 0.5; done
echo two > /srv/app/data; echo two > /srv/core/data
END

in_vm "VSS-R-38 a service is stopped, its files are restored, it is started" <<'END'
vbackup restore latest --component app --overwrite || exit 1
sleep 1
cat /root/app.log
[ "$(cat /srv/app/data)" = one ] || exit 1
systemctl is-active app.service || exit 1
[ "$(tail -n 2 /root/app.log)" = "stop two
start one" ] || exit 1
END

in_vm "VSS-R-43 without the unit that would do it, nothing is touched" <<'END'
vbackup restore latest --component core --overwrite; status=$?
[ $status = 7 ] || { echo "status $status"; exit 1; }
[ "$(cat /srv/core/data)" = two ] && ! [ -e /srv/.vbackup ]
END

in_vm "VSS-R-43 files wait for the restart, and the user is told" <<'END'
systemctl -q enable vbackup-replace.service || exit 1
vbackup restore latest --component core --overwrite > /tmp/out 2>&1; status=$?
cat /tmp/out
[ $status = 0 ] || { echo "status $status"; exit 1; }
grep -q 'waits for a restart' /tmp/out || exit 1
[ "$(cat /srv/core/data)" = two ] || exit 1
[ -d /srv/.vbackup ] || exit 1
rm /srv/core/also
END

ok "the machine restarts" vm_reboot
in_vm "VSS-R-43 the files were replaced, before the services started" <<'END'
cat /root/core.log
systemctl status vbackup-replace.service
[ "$(cat /srv/core/data)" = one ] && [ "$(cat /srv/core/also)" = other ] && ! [ -e /srv/.vbackup ] || exit 1
[ "$(tail -n 1 /root/core.log)" = "start one" ] || exit 1
END
in_vm "the next run tells that it was done, once" <<'END'
vbackup backup --allow-live > /tmp/out 2>&1 || { cat /tmp/out; exit 1; }
cat /tmp/out
grep -q 'put in place at the restart (2 files)' /tmp/out || exit 1
vbackup backup --allow-live > /tmp/out 2>&1
! grep -q 'put in place' /tmp/out
END

in_vm "once more, and the power goes before the restart" <<'END'
echo three > /srv/core/data
vbackup restore latest --component core --overwrite
END
vm_cut
ok "the machine boots" vm_boot
in_vm "VSS-R-43 what was promised is kept over a power cut" <<'END'
[ "$(cat /srv/core/data)" = one ] && ! [ -e /srv/.vbackup ] && [ -z "$(ls /var/lib/vbackup/reboot | grep -v .)" ]
END
vm_down
done_testing
