# shellcheck shell=bash
# tests/lib/scenario.sh - a requester and agents of one user on this machine, for tests without root.
#   . "$abs_top_srcdir/tests/tap.sh"; . "$abs_top_srcdir/tests/lib/scenario.sh"
#
#   vb ARGUMENT...             vbackup with the test's own configuration, state and repository
#   agent_env NAME             prints the environment of a second agent ("host") NAME with directories of its own
#   remote_host NAME           a second agent behind a private sshd on loopback; prints its [host NAME] section.
#                              Its configuration is $T/NAME.conf.  Needs sshd (see remote_available)
#   no_agents_left             succeeds when no process of a job is left (supervisors may idle)
#   held LOG                   null writers of this event log that were frozen and neither thawed nor aborted
# All directories are below $T; supervisors end with the test.
# shellcheck source=tests/lib/sshd.sh
. "$abs_top_srcdir/tests/lib/sshd.sh"

export VBACKUP_STATE_DIR=$T/state VBACKUP_RUNTIME_DIR=$T/run VBACKUP_REPOSITORY=$T/repo VBACKUP_CONFIG=$T/vbackup.conf
mkdir -m 700 "$T/run"
scenario_hosts=

vb() { vbackup "$@"; }

agent_script() { # NAME: the command that sshd runs for this host
    mkdir -p -m 700 "$T/run-$1" "$T/state-$1"
    [ -e "$T/$1.conf" ] || : > "$T/$1.conf"
    cat > "$T/agent-$1" <<END
#!/bin/sh
unset VBACKUP_TEST_KILL VBACKUP_TEST_KILL_FILE
[ ! -e '$T/$1.env' ] || . '$T/$1.env'
export VBACKUP_STATE_DIR='$T/state-$1' VBACKUP_RUNTIME_DIR='$T/run-$1' VBACKUP_CONFIG='$T/$1.conf'
export VBACKUP_LIBEXECDIR='$VBACKUP_LIBEXECDIR' VBACKUP_WRITER_PATH='$VBACKUP_WRITER_PATH'
export VBACKUP_SCHEMA_DIR='$VBACKUP_SCHEMA_DIR' ASAN_OPTIONS='${ASAN_OPTIONS:-}'
exec '$abs_top_builddir/vbackup-agent'
END
    chmod 755 "$T/agent-$1"
    scenario_hosts="$scenario_hosts $1"
}

remote_available() {
    sshd_available || return 1
    [ -n "$SSHD_DIR" ] || { sshd_init "$T/sshd" && sshd_start && sshd_record; } || return 1
    sshd_lets_in
}

remote_host() {
    agent_script "$1"
    cat <<END
[host $1]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $SSHD_DIR/id_ed25519
known-hosts = $SSHD_DIR/known_hosts
agent-command = $T/agent-$1
END
}

# Processes of the test's agents: their environment names the private directories.
agent_pids() { # ROLE-REGEX
    local p
    for p in $(pgrep -f "vbackup-agent.*($1)"); do
        grep -qzF "$T/" "/proc/$p/environ" 2>/dev/null && echo "$p"
    done
    return 0
}
no_agents_left() {
    local i left
    for i in $(seq 50); do
        left=$(agent_pids 'worker|watchdog|writer-host|provider-host|capture|restore|recover')
        [ -n "$left" ] || return 0
        sleep 0.1
    done
    # shellcheck disable=SC2086
    ps -o pid,args -p $left
    return 1
}

held() {
    awk '$3 == "freeze" && $4 == "begin" { h[$2]++ } ($3 == "thaw" || $3 == "abort") && $4 == "end" { h[$2] = 0 }
         END { for (w in h) if (h[w] > 0) print w }' "$1" 2>/dev/null
}

scenario_cleanup() {
    local p
    for p in $(agent_pids '.'); do kill -9 "$p" 2>/dev/null; done
    [ -z "$SSHD_DIR" ] || sshd_stop
}
tap_cleanup() { scenario_cleanup; }
