# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/hosts.sh - real, separate test hosts on one machine, as root: . "$abs_top_srcdir/tests/lib/hosts.sh"
#
#   hosts_available              can they be made here? (else sets HOSTS_WHY: skip_all "$HOSTS_WHY")
#   hosts_init                   network and keys; then
#   host_add NAME                a host of its own:
#       network  namespace with address 10.77.K.N on a bridge of this test; the names of all hosts in its /etc/hosts
#       files    /etc /var /home /root /srv /opt are private (changes go to a tmpfs that no other host can open);
#                /run and /dev/shm are empty and private; the rest, the built tree included, is shared; $T, too
#       processes  a pid namespace: the host sees only its own, and all die with it
#       users    vbt-NAME, in its own passwd only, with a uid that no other host has; root
#       sshd     on port 22 with an Ed25519 key of its own; root and vbt-NAME take the test's client key; commands get
#                the environment of the built tree
#   host_exec NAME USER CMD...   runs there as this user (home as directory); host_exec_root NAME CMD...
#   host_spawn NAME USER CMD...  the same in the background; prints nothing, dies with the host
#   host_ip NAME   host_user NAME   host_uid NAME   host_ssh_port   (22)
#   host_known_hosts             file with the keys of all hosts; host_client_key: the private key
#   host_config NAME [KEY=VALUE...]  prints a [host NAME] section for the configuration
#   host_cut NAME / host_heal NAME   the line is dead: packets vanish, nothing is told
#   host_loopfs NAME TYPE SIZE DIR   btrfs, xfs or ext4 of its own at DIR there
#   host_kill NAME               power off: everything there is killed at once, private files are gone
#   hosts_cleanup                all of it; call it in tap_cleanup
#
# hosts_init, host_add, host_kill and hosts_cleanup change this shell's variables: call them directly, not through ok or
# $(...).  The requester may run here (it reaches all hosts) or on a host.  A test that is killed takes its hosts along; what is
# left of its network is removed by the next hosts_init.
HOSTS_DIR=
HOSTS_NET=
HOSTS_NAMES=()
declare -A HOSTS_PID=() HOSTS_NUMBER=() HOSTS_HOLDER=()
HOSTS_PRIVATE="etc var home root srv opt"

hosts_available() {
    local c
    [ "$(id -u)" = 0 ] || { HOSTS_WHY="not root"; return 1; }
    for c in ip unshare nsenter setpriv sshd:/usr/sbin/sshd ssh-keygen; do
        command -v "${c%%:*}" > /dev/null || [ -x "${c#*:}" ] || { HOSTS_WHY="no ${c%%:*}"; return 1; }
    done
    grep -qw overlay /proc/filesystems || { HOSTS_WHY="the kernel has no overlay file system"; return 1; }
    unshare -m -p -n -u -i --fork true 2> /dev/null || { HOSTS_WHY="namespaces are not allowed here"; return 1; }
    ip link add vbtprobe$$ type veth peer name vbtprobf$$ 2> /dev/null || { HOSTS_WHY="no veth devices here"; return 1; }
    ip link del vbtprobe$$
}

# The first network number that no living test holds; a network left behind by a dead one is removed.
hosts_take_net() {
    mkdir -p /run/vbackup-test
    for HOSTS_NET in $(seq 0 199); do
        exec {HOSTS_LOCK}> "/run/vbackup-test/net.$HOSTS_NET" || return 1
        if flock -n "$HOSTS_LOCK"; then
            ip link del "vbt$HOSTS_NET" 2> /dev/null
            return 0
        fi
        exec {HOSTS_LOCK}>&-
    done
    return 1
}

hosts_init() {
    HOSTS_DIR=$T/hosts
    mkdir -p -m 711 "$HOSTS_DIR" || return 1
    mkdir -p -m 700 "$HOSTS_DIR/client" || return 1
    ssh-keygen -q -t ed25519 -N '' -C requester -f "$HOSTS_DIR/client/id_ed25519" || return 1
    : > "$HOSTS_DIR/known_hosts"
    hosts_take_net || return 1
    ip link add "vbt$HOSTS_NET" type bridge && ip addr add "10.77.$HOSTS_NET.1/24" dev "vbt$HOSTS_NET" &&
        ip link set "vbt$HOSTS_NET" up
}

host_ip() { echo "10.77.$HOSTS_NET.$((HOSTS_NUMBER[$1] + 1))"; }
host_user() { echo "vbt-$1"; }
host_uid() { echo $((70000 + HOSTS_NET * 100 + HOSTS_NUMBER[$1])); }
host_ssh_port() { echo 22; }
host_known_hosts() { echo "$HOSTS_DIR/known_hosts"; }
host_client_key() { echo "$HOSTS_DIR/client/id_ed25519"; }
host_pid() { echo "${HOSTS_PID[$1]}"; }

# Runs as process 1 of a host, in fresh namespaces: private files, then it only reaps.
# shellcheck disable=SC2317 # run by host_add through declare -f
host_init_main() {
    local store=$1 name=$2 d
    exec {HOSTS_LOCK}>&- 2> /dev/null
    mount -t proc proc /proc || return 1
    hostname "$name"
    mount -t tmpfs -o mode=700 vbt-store "$store" || return 1
    for d in $HOSTS_PRIVATE; do
        [ -d "/$d" ] || continue
        mkdir -p "$store/up/$d" "$store/work/$d"
        chmod --reference="/$d" "$store/up/$d"
        mount -t overlay -o "lowerdir=/$d,upperdir=$store/up/$d,workdir=$store/work/$d" vbt "/$d" || return 1
    done
    mount -t tmpfs -o mode=755 vbt-run /run && mkdir -p /run/sshd /run/lock && chmod 1777 /run/lock || return 1
    mount -t tmpfs -o mode=1777 vbt-shm /dev/shm || return 1
    mkdir -p "$store/fs"
    echo "$store" > /run/vbt-host # host_enter looks for it
    ip link set lo up
    touch "$store.ready"
    trap : CHLD TERM INT HUP
    while :; do
        sleep 1000000 &
        wait $!
    done
}

hosts_names_file() {
    local n
    echo "127.0.0.1 localhost $1"
    echo "10.77.$HOSTS_NET.1 requester"
    for n in "${HOSTS_NAMES[@]}"; do [ "$n" = "$1" ] || echo "$(host_ip "$n") $n"; done
}

# The environment of commands that come over ssh: the built tree's.
hosts_sshd_env() {
    local v line="SetEnv"
    for v in PATH VBACKUP_LIBEXECDIR VBACKUP_WRITER_PATH VBACKUP_SCHEMA_DIR abs_top_srcdir abs_top_builddir LC_ALL TZ \
        ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS VBACKUP_FAULT VBACKUP_LOG \
        VBACKUP_PASSWORD_FILE VBACKUP_TEST_KEY_COST; do
        [ -z "${!v+set}" ] || line+=" \"$v=${!v}\""
    done
    echo "$line"
}

host_setup() {
    local name=$1 user uid home n
    user=$(host_user "$name"); uid=$(host_uid "$name"); home=/home/$user
    host_exec_root "$name" bash -s << END || return 1
set -e
echo '$user:x:$uid:$uid:vbackup test host $name:$home:/bin/sh' >> /etc/passwd
echo '$user:*:19000:0:99999:7:::' >> /etc/shadow
echo '$user:x:$uid:' >> /etc/group
for d in /root '$home'; do
    mkdir -p -m 700 "\$d/.ssh"
    chmod 700 "\$d" "\$d/.ssh"
    cat > "\$d/.ssh/authorized_keys" << 'KEY'
$(cat "$HOSTS_DIR/client/id_ed25519.pub")
KEY
done
# Start-up files of the machine's own root are no part of the test.
rm -f /root/.bashrc /root/.profile /root/.bash_profile /root/.ssh/rc /root/.ssh/known_hosts /etc/ssh/sshrc
chown -R '$uid:$uid' '$home'
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C '$name' -f /etc/ssh/ssh_host_ed25519_key
cat > /etc/ssh/vbt_config << 'CONFIG'
Port 22
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 200
MaxSessions 100
Subsystem sftp internal-sftp
$(hosts_sshd_env)
CONFIG
END
    for n in "${HOSTS_NAMES[@]}"; do hosts_names_file "$n" | host_exec_root "$n" tee /etc/hosts > /dev/null; done
    host_exec_root "$name" cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f1,2 |
        sed "s/^/$name,$(host_ip "$name") /" >> "$HOSTS_DIR/known_hosts"
    chmod 644 "$HOSTS_DIR/known_hosts"
    host_spawn "$name" root /usr/sbin/sshd -D -e -f /etc/ssh/vbt_config
}

hosts_wait() { # SECONDS CMD...: until the command succeeds
    local i s=$1; shift
    for i in $(seq $((s * 20))); do "$@" 2> /dev/null && return 0; sleep 0.05; done
    return 1
}
host_answers() { [[ $(timeout 2 head -c 8 < "/dev/tcp/$(host_ip "$1")/22" 2> /dev/null) = SSH-2.0- ]]; }

host_add() {
    local name=$1 store=$HOSTS_DIR/$1 n pid veth
    n=$((${#HOSTS_NAMES[@]} + 1))
    mkdir -m 700 "$store" || return 1
    HOSTS_NUMBER[$name]=$n
    veth=vbt$HOSTS_NET.$n
    setpriv --pdeathsig KILL unshare -m -p -n -u -i --fork --kill-child \
        bash -c "$(declare -p HOSTS_PRIVATE HOSTS_LOCK); $(declare -f host_init_main); host_init_main \"\$@\"" \
        vbt-init "$store" "$name" < /dev/null > "$store.log" 2>&1 &
    HOSTS_HOLDER[$name]=$!
    hosts_wait 10 test -e "$store.ready" || { cat "$store.log"; return 1; }
    pid=$(cat "/proc/${HOSTS_HOLDER[$name]}/task/${HOSTS_HOLDER[$name]}/children")
    HOSTS_PID[$name]=${pid// /}
    HOSTS_NAMES+=("$name")
    ip link del "$veth" 2> /dev/null
    ip link add "$veth" type veth peer name eth0 netns "${HOSTS_PID[$name]}" &&
        ip link set "$veth" master "vbt$HOSTS_NET" up &&
        host_exec_root "$name" ip addr add "$(host_ip "$name")/24" dev eth0 &&
        host_exec_root "$name" ip link set eth0 up &&
        host_exec_root "$name" ip route add default via "10.77.$HOSTS_NET.1" || return 1
    host_setup "$name" || return 1
    hosts_wait 10 host_answers "$name" || { echo "# sshd of $name does not answer"; sed 's/^/# /' "$store.log"; return 1; }
}

# -r matters: in a chroot, a mount namespace that is entered without it shows the machine's own files.  Since commands
# run there as root, whether it is the right place is looked at each time.
host_enter() { # NAME USER CMD...
    local name=$1 user=$2 home as=(); shift 2
    local check='[ "$(cat /run/vbt-host)" = "$0" ] || { echo "hosts: not on the host" >&2; exit 99; }; exec "$@"'
    exec {HOSTS_LOCK}>&-
    home=/root
    if [ "$user" != root ]; then
        home=$(host_home "$name" "$user") || return 1
        as=(setpriv --reuid="$user" --regid="$(host_gid "$name" "$user")" --init-groups)
    fi
    exec nsenter -t "${HOSTS_PID[$name]:?no host $name}" -m -p -n -u -i -r -- sh -c "$check" "$HOSTS_DIR/$name" \
        "${as[@]}" env -C "$home" -u XDG_RUNTIME_DIR -u SSH_AUTH_SOCK HOME="$home" USER="$user" LOGNAME="$user" "$@"
}
host_passwd() { awk -F: -v u="$2" '$1 == u { print; exit }' "/proc/${HOSTS_PID[$1]}/root/etc/passwd"; }
host_home() { local l; l=$(host_passwd "$1" "$2"); [ -n "$l" ] || { echo "host $1 has no user $2" >&2; return 1; }; cut -d: -f6 <<< "$l"; }
host_gid() { host_passwd "$1" "$2" | cut -d: -f4; }
host_exec() { (host_enter "$@"); }
host_exec_root() { local name=$1; shift; (host_enter "$name" root "$@"); }
host_spawn() {
    local store=$HOSTS_DIR/$1
    (host_enter "$@" < /dev/null >> "$store.log" 2>&1) &
    disown $!
}

host_config() {
    local name=$1 kv; shift
    echo "[host $name]"
    echo "address = $(host_ip "$name")"
    for kv in "user=$(host_user "$name")" "identity=$(host_client_key)" "known-hosts=$(host_known_hosts)" "$@"; do
        # A key given by the caller takes the place of ours.
        case " $* " in *" ${kv%%=*}="*) [[ " $* " = *" $kv "* ]] || continue ;; esac
        echo "${kv%%=*} = ${kv#*=}"
    done
    echo
}

host_cut() { ip link set "vbt$HOSTS_NET.${HOSTS_NUMBER[$1]}" nomaster; }
host_heal() { ip link set "vbt$HOSTS_NET.${HOSTS_NUMBER[$1]}" master "vbt$HOSTS_NET"; }

host_loopfs() {
    local name=$1 type=$2 size=$3 dir=$4 image=$HOSTS_DIR/$1/fs/$2.$RANDOM
    host_exec_root "$name" bash -c "$(declare -f loopfs_mkfs)
        mkdir -p \"\$3\" && truncate -s \"\$2\" \"\$4\" && loopfs_mkfs \"\$1\" \"\$4\" && mount -o loop \"\$4\" \"\$3\"" \
        host_loopfs "$type" "$size" "$dir" "$image"
}

host_kill() {
    local name=$1 keep=() n
    # A frozen file system would keep the dying processes that wait for it.
    host_exec_root "$name" sh -c 'awk "\$3 ~ /^(btrfs|xfs|ext4)\$/ { print \$2 }" /proc/mounts |
        grep -v "^/\$" | while read -r d; do fsfreeze -u "$d"; done' > /dev/null 2>&1
    kill -KILL "${HOSTS_PID[$name]}" 2> /dev/null
    kill -KILL "${HOSTS_HOLDER[$name]}" 2> /dev/null
    wait "${HOSTS_HOLDER[$name]}" 2> /dev/null
    hosts_wait 10 bash -c "! test -d /proc/${HOSTS_PID[$name]}" || echo "# host $name does not die"
    ip link del "vbt$HOSTS_NET.${HOSTS_NUMBER[$name]}" 2> /dev/null
    for n in "${HOSTS_NAMES[@]}"; do [ "$n" = "$name" ] || keep+=("$n"); done
    HOSTS_NAMES=("${keep[@]}")
}

hosts_cleanup() {
    local n
    [ -n "$HOSTS_NET" ] || return 0
    for n in "${HOSTS_NAMES[@]}"; do host_kill "$n"; done
    ip link del "vbt$HOSTS_NET" 2> /dev/null
    exec {HOSTS_LOCK}>&-
    HOSTS_NET=
}
