# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/vm/vm.sh - one small virtual machine for what this kernel lacks (device mapper, systemd as first process, netem,
# reboot), as root: . "$abs_top_srcdir/tests/vm/vm.sh"
#
#   vm_available             can one be run here? (else sets VM_WHY: skip_all "$VM_WHY")
#   vm_new [DISK_SIZE...]    makes one: the image of tests/vm/image (made at first), a private layer over it, the built
#                            tree installed in it, and empty disks (512M) as /dev/vdc, /dev/vdd ...
#   vm_boot                  starts it and waits until SSH answers; vm_boot_ms tells how long it took
#   vm CMD ARG...            runs a command in it as root, words kept as they are; its output and status
#   vm_sh [ARG...]           the same for a script on standard input (bash -e is not set)
#   vm_reboot                orderly restart;   vm_cut  the power goes: what was not yet written is lost
#   vm_down                  orderly end (or vm_cut when it does not end)
#   vm_cleanup               ends it; call it in tap_cleanup
#
# All disks live in $T and survive reboots and power cuts; between vm_cut and vm_boot they can be looked at.  The tests
# directory lies at the same path as here; vbackup is installed where configure was told to put it.
#
# KVM is used where it boots a kernel (tried once), otherwise qemu emulates, some five to ten times slower: VM_SLOW is then 1.
#   VBACKUP_VM_DIR   where the image is kept (vm/ in the build directory);   VM_MEMORY  megabytes (1024);   VM_CPUS (2)
VM_DIR=${VBACKUP_VM_DIR:-$abs_top_builddir/vm}
VM_SLOW=0
VM_QEMU=qemu-system-x86_64

vm_available() {
    local c
    [ "$(uname -m)" = x86_64 ] || { VM_WHY="the machine's kind is not x86_64"; return 1; }
    [ "$(id -u)" = 0 ] || { VM_WHY="not root"; return 1; }
    for c in $VM_QEMU qemu-img debootstrap ssh ssh-keygen mke2fs dpkg-deb; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$c" > /dev/null ||
            { VM_WHY="no $c (scripts/setup --long installs it)"; return 1; }
    done
    if grep -q 'enable_sanitizers.*yes' "$abs_top_builddir/config.log" 2> /dev/null; then
        VM_WHY="a build with sanitizers needs libraries that the machine has not"
        return 1
    fi
    bash "$abs_top_srcdir/tests/vm/image" "$VM_DIR" >&2 || { VM_WHY="its image could not be made (see $VM_DIR/log)"; return 1; }
}

# Some /dev/kvm boot no ordinary kernel: believed only after the first line of a kernel was seen, once per kernel here.
vm_probe_kvm() {
    local log=$T/vm-probe pid i
    if [ "$(cut -d' ' -f1 "$VM_DIR/accel" 2> /dev/null)" != "$(uname -r)" ]; then
        echo "$(uname -r) tcg" > "$VM_DIR/accel"
        if [ -w /dev/kvm ]; then
            "$VM_QEMU" -machine q35 -accel kvm -cpu host,arch-capabilities=off -m 256 -nodefaults -no-user-config \
                -display none -serial "file:$log" -kernel "$VM_DIR/vmlinuz" \
                -append "console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1" -no-reboot > /dev/null 2>&1 &
            pid=$!
            for i in $(seq 80); do
                grep -q 'Linux version' "$log" 2> /dev/null && { echo "$(uname -r) kvm" > "$VM_DIR/accel"; break; }
                kill -0 $pid 2> /dev/null || break
                sleep 0.1
            done
            kill -9 $pid 2> /dev/null
            wait $pid 2> /dev/null
        fi
    fi
    case $(cat "$VM_DIR/accel") in
    *kvm) VM_ACCEL=(-accel kvm -cpu "host,arch-capabilities=off"); VM_SLOW=0 ;;
    *) VM_ACCEL=(-accel "tcg,thread=multi,tb-size=512" -cpu max); VM_SLOW=1
        echo "# warning: no KVM that boots here; the machine is emulated" ;;
    esac
}

# The built tree as a tar archive: installed programs, the contract program, and the tests at their own path.
vm_share() {
    local stage=$T/vm-stage f
    mkdir -p "$stage$abs_top_srcdir/tests" "$stage/usr/local/lib/vbackup-tests" || return 1
    make -s -C "$abs_top_builddir" install "DESTDIR=$stage" > "$T/vm-install.log" 2>&1 ||
        { echo "# make install failed:"; tail -5 "$T/vm-install.log" | sed 's/^/# /'; return 1; }
    cp -a "$abs_top_srcdir"/tests/{tap.sh,lib,vm} "$stage$abs_top_srcdir/tests/" || return 1
    for f in provider_contract ${VM_PROGRAMS:-}; do
        [ -x "$abs_top_builddir/$f" ] || continue
        "$abs_top_builddir/libtool" --quiet --mode=install cp "$abs_top_builddir/$f" "$stage/usr/local/lib/vbackup-tests/$f" || return 1
    done
    find "$stage" -type f -perm /111 -size +64k -exec strip {} + 2> /dev/null
    tar -c -f "$T/vm-share.tar" -C "$stage" . && rm -rf "$stage" && truncate -s %4096 "$T/vm-share.tar"
}

vm_new() {
    local n=0 size
    vm_probe_kvm
    vm_share || return 1
    qemu-img create -q -f qcow2 -b "$(cd "$VM_DIR" && pwd)/root.img" -F raw "$T/vm-root.qcow2" || return 1
    VM_DISKS=()
    for size in "$@"; do
        n=$((n + 1))
        truncate -s "$size" "$T/vm-disk$n" || return 1
        VM_DISKS+=(-drive "file=$T/vm-disk$n,if=virtio,format=raw,discard=unmap")
    done
    : > "$T/vm-console"
    VM_PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    VM_SSH=(-F none -i "$VM_DIR/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR
        -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o ConnectTimeout=10 -o ServerAliveInterval=5
        -o ServerAliveCountMax=12 -o ControlMaster=auto -o "ControlPath=$T/vm.ssh" -o ControlPersist=yes root@127.0.0.1)
}

vm_readies() { grep -c VM-READY "$T/vm-console"; }

# Waits for the (n+1)th word on the console.
vm_wait_ready() {
    local n=$1 i
    for i in $(seq 1200); do
        [ "$(vm_readies)" -gt "$n" ] && return 0
        vm_runs || break
        sleep 0.1
    done
    echo "# the machine did not come up; the end of its console:"
    tail -n 15 "$T/vm-console" | tr -d '\r' | sed 's/^/# /'
    return 1
}

vm_boot() {
    local n try begin
    n=$(vm_readies)
    begin=$(date +%s%N)
    for try in 1 2 3 4 5; do
        "$VM_QEMU" -machine q35 "${VM_ACCEL[@]}" -smp "${VM_CPUS:-2}" -m "${VM_MEMORY:-1024}" -nodefaults -no-user-config -display none \
            -kernel "$VM_DIR/vmlinuz" -initrd "$VM_DIR/initrd" \
            -append "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off panic=-1 ${VM_APPEND:-}" \
            -drive "file=$T/vm-root.qcow2,if=virtio,format=qcow2" \
            -drive "file=$T/vm-share.tar,if=virtio,format=raw,readonly=on" "${VM_DISKS[@]}" \
            -chardev "file,id=con,path=$T/vm-console,append=on" -serial chardev:con \
            -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$VM_PORT-:22" -device virtio-net-pci,netdev=net \
            > "$T/vm-qemu.log" 2>&1 &
        echo $! > "$T/vm-pid"
        echo $VM_PORT > "$T/vm-port"
        sleep 0.5
        vm_runs && break
        grep -q 'host forwarding' "$T/vm-qemu.log" || { sed 's/^/# /' "$T/vm-qemu.log"; return 1; }
        VM_PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 12000)) # taken by somebody: another one
    done
    vm_wait_ready "$n" && vm true || return 1
    echo $((($(date +%s%N) - begin) / 1000000)) > "$T/vm-boot-ms"
}

# Everything that changes lies in files, so that these may be called through ok.
vm_runs() { [ -s "$T/vm-pid" ] && kill -0 "$(cat "$T/vm-pid")" 2> /dev/null; }
vm_boot_ms() { cat "$T/vm-boot-ms"; }
vm_ssh() { ssh -p "$(cat "$T/vm-port")" "${VM_SSH[@]}" "$@"; }
vm() { vm_ssh -- "$(printf '%q ' "$@")" < /dev/null; }
vm_sh() { vm_ssh -- "bash -s -- $(printf '%q ' "$@")"; }

vm_hang_up() {
    vm_ssh -O exit 2> /dev/null
    rm -f "$T/vm.ssh"
}

vm_cut() {
    local pid i
    [ -s "$T/vm-pid" ] || return 0
    pid=$(cat "$T/vm-pid")
    kill -9 "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
    for i in $(seq 100); do kill -0 "$pid" 2> /dev/null || break; sleep 0.05; done
    rm -f "$T/vm-pid"
    vm_hang_up
}

vm_reboot() {
    local n
    n=$(vm_readies)
    vm systemctl --no-block reboot
    vm_hang_up
    vm_wait_ready "$n" && vm true
}

vm_down() {
    local i
    vm_runs || { vm_cut; return 0; }
    vm systemctl --no-block poweroff
    vm_hang_up
    for i in $(seq 300); do
        vm_runs || break
        sleep 0.1
    done
    vm_cut
}

vm_cleanup() { vm_cut; }
tap_cleanup() { vm_cleanup; }
