# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/sshd.sh - a private sshd on loopback, for tests: . "$abs_top_srcdir/tests/lib/sshd.sh"
#
#   sshd_available            is there an sshd at all? (else sets SSHD_WHY)
#   sshd_init DIR             makes DIR with host keys (ed25519, ecdsa, rsa), client keys, authorized_keys
#   sshd_start [LINE...]      starts sshd with these sshd_config lines put before the defaults; sets SSHD_PORT, SSHD_PID.
#                             Host keys: SSHD_HOST_KEYS="ed25519 ecdsa rsa" (which of them to use)
#   sshd_lets_in              whether this user can log in at all (needs sshd_record; else sets SSHD_WHY)
#   sshd_record [TYPE...]     writes $SSHD_DIR/known_hosts with the host's keys of these types (default ed25519)
#   sshd_stop                 ends it with all of its sessions
#
# The login is the user who runs the test (SSHD_USER) with $SSHD_DIR/id_ed25519, id_ecdsa or id_rsa; no PAM, no root
# needed.  SSHD_HOST (127.0.0.1) may be set to another address of this machine.
SSHD_HOST=${SSHD_HOST:-127.0.0.1}
SSHD_USER=$(id -un)
SSHD_PID=
SSHD_DIR=

sshd_available() {
    SSHD_BIN=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd) || { SSHD_WHY="no sshd (apt-get install openssh-server)"; return 1; }
    case $SSHD_BIN in /*) ;; *) SSHD_WHY="no sshd"; return 1 ;; esac
    if [ "$(id -u)" = 0 ] && ! [ -d /run/sshd ]; then
        mkdir -p -m 755 /run/sshd 2>/dev/null || { SSHD_WHY="no /run/sshd"; return 1; }
    fi
}

sshd_init() {
    local t
    SSHD_DIR=$1
    mkdir -p "$SSHD_DIR" && chmod 700 "$SSHD_DIR" || return 1
    for t in ed25519 ecdsa rsa; do
        ssh-keygen -q -t $t -N '' -C "host-$t" -f "$SSHD_DIR/host_$t" &&
        ssh-keygen -q -t $t -N '' -C "client-$t" -f "$SSHD_DIR/id_$t" || return 1
    done
    cat "$SSHD_DIR"/id_*.pub > "$SSHD_DIR/authorized_keys"
}

# Whether an SSH server answers at SSHD_HOST:SSHD_PORT.
sshd_answers() {
    local line=
    exec 9<>"/dev/tcp/$SSHD_HOST/$SSHD_PORT" || return 1
    IFS= read -r -t 5 line <&9
    exec 9<&- 9>&-
    case $line in SSH-2.0-*) return 0 ;; esac
    return 1
} 2>/dev/null

sshd_start() {
    local try i t
    for try in 1 2 3 4 5 6 7 8; do
        SSHD_PORT=$((20000 + (RANDOM * 32768 + RANDOM + try) % 12000)) # below the ports that connections take
        {
            printf '%s\n' "$@"
            echo "ListenAddress $SSHD_HOST"
            echo "Port $SSHD_PORT"
            for t in ${SSHD_HOST_KEYS:-ed25519 ecdsa rsa}; do echo "HostKey $SSHD_DIR/host_$t"; done
            cat <<END
PidFile none
AuthorizedKeysFile $SSHD_DIR/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxStartups 100
MaxSessions 100
LogLevel DEBUG1
Subsystem sftp internal-sftp
END
        } > "$SSHD_DIR/sshd_config"
        setsid "$SSHD_BIN" -D -e -f "$SSHD_DIR/sshd_config" 2>> "$SSHD_DIR/sshd.log" < /dev/null > /dev/null &
        SSHD_PID=$!
        for i in $(seq 1 100); do
            kill -0 "$SSHD_PID" 2>/dev/null || break
            sshd_answers && return 0
            sleep 0.05
        done
        sshd_stop
    done
    echo "# sshd does not start:"; tail -5 "$SSHD_DIR/sshd.log" | sed 's/^/# /'
    return 1
}

sshd_known_name() {
    if [ "$SSHD_PORT" = 22 ]; then echo "$SSHD_HOST"; else echo "[$SSHD_HOST]:$SSHD_PORT"; fi
}

sshd_record() {
    local t
    [ $# -gt 0 ] || set -- ed25519
    for t in "$@"; do
        echo "$(sshd_known_name) $(cut -d' ' -f1,2 "$SSHD_DIR/host_$t.pub")"
    done > "$SSHD_DIR/known_hosts"
}

# Whether sshd lets this user in at all (not with a locked account, for example; sets SSHD_WHY).
sshd_lets_in() {
    ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o "UserKnownHostsFile=$SSHD_DIR/known_hosts" \
        -o StrictHostKeyChecking=yes -i "$SSHD_DIR/id_ed25519" -p "$SSHD_PORT" "$SSHD_USER@$SSHD_HOST" true \
        < /dev/null > "$SSHD_DIR/let_in" 2>&1 && return 0
    SSHD_WHY="sshd does not let $SSHD_USER in: $(grep -o 'not allowed because.*' "$SSHD_DIR/sshd.log" | head -1)"
    SSHD_WHY="$SSHD_WHY $(tail -1 "$SSHD_DIR/let_in")"
    return 1
}

# Process ids of the sessions (children and their children) of our sshd.
sshd_sessions() {
    local p c
    for p in $(cat "/proc/$SSHD_PID/task/$SSHD_PID/children" 2>/dev/null); do
        echo "$p"
        for c in $(cat "/proc/$p/task/$p/children" 2>/dev/null); do echo "$c"; done
    done
}

sshd_stop() {
    [ -n "$SSHD_PID" ] || return 0
    local p all
    all=$(sshd_sessions)
    kill -KILL "$SSHD_PID" 2>/dev/null
    wait "$SSHD_PID" 2>/dev/null
    for p in $all; do kill -KILL "$p" 2>/dev/null; done
    SSHD_PID=
    return 0
}
