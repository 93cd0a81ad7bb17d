#!/usr/bin/env bash
# tests/scenario/test_bad_host.sh - a back end that cannot be reached: unknown, wrong key, no login, no agent
. "$abs_top_srcdir/tests/scenario/bad.sh"
remote_available || skip_all "no second host: $SSHD_WHY"
bad_hosts

# each NAME STATUS TEXT HINT: by the three policies
each() {
    local name=$1 want=$2 text=$3 hint=$4 before
    forget_events
    before=$(backups)
    run 60 backup --on-missing fail
    said "$name, fail" "$want" "$text" "$hint"
    is "$name, fail: says it once" "$(grep -c '^vbackup: ' "$T/err.txt")" 1
    untouched "$name, fail"
    is "$name, fail: no backup came of it" "$(backups)" "$before"
    forget_events
    run 60 backup --on-missing drop
    said "$name, drop: nothing is left to back up" "$want" "$text" "$hint"
    untouched "$name, drop"
    forget_events
    run 60 backup --on-missing continue
    said "$name, continue" "$want" "$text" "$hint"
    is "$name, continue: D-48 the front end gets BackupComplete" "$(events | grep -c '^backup-complete$')" 1
    like "$name, continue: the dependent is marked" "$out" "front/null writer:app +failed"
    unharmed "$name, continue"
    is "$name, continue: earlier backups are what they were" "$(backups)" "$before"
}

NO_BACKEND=1 bad_config
each "unknown host" 2 "component 'app' of writer 'null writer' on host 'front' needs component 'db' on host 'backend'" \
    "\[host backend\]"

bad_config
cp "$SSHD_DIR/known_hosts" "$T/good"; : > "$SSHD_DIR/known_hosts"
each "host key unknown" 1 "host 'backend': host key is not known" "known_hosts"
is "host key unknown: it is not recorded by us" "$(cat "$SSHD_DIR/known_hosts")" ""

echo "$(sshd_known_name) $(cut -d' ' -f1,2 "$SSHD_DIR/id_ed25519.pub")" > "$SSHD_DIR/known_hosts"
each "host key changed" 1 "host 'backend': host key changed" "ssh-keygen -R"
cp "$T/good" "$SSHD_DIR/known_hosts"

mv "$SSHD_DIR/authorized_keys" "$T/keys"; : > "$SSHD_DIR/authorized_keys"
each "login refused" 1 "host 'backend': login of '$SSHD_USER' refused" "authorized_keys"
mv "$T/keys" "$SSHD_DIR/authorized_keys"

mv "$T/agent-backend" "$T/agent-away"
each "agent missing" 7 "host 'backend'.*agent" "install|agent-command"
mv "$T/agent-away" "$T/agent-backend"

port=$SSHD_PORT; SSHD_PORT=1
bad_config
SSHD_PORT=$port
each "nobody listens" 8 "host 'backend'.*refused" "."
bad_config
sed -i 's/^address = .*/address = no-such-host.invalid/' "$T/vbackup.conf"
each "no such address" 8 "host 'backend'.*no-such-host.invalid" "."

bad_config
run 60 host test
is "host test of good hosts" "$status" 0
run 60 backup
is "after all of it: all is well again" "$status" 0
done_testing
