#!/usr/bin/env bash
# tests/scenario/test_bad_agent.sh - a back end's agent that is of another version, sends garbage, hangs or lies
. "$abs_top_srcdir/tests/scenario/bad.sh"
remote_available || skip_all "no second host: $SSHD_WHY"
bad_hosts
cp "$T/agent-backend" "$T/agent-real"

agent_is() { # MODE...: the back end's agent is this fake
    {
        echo '#!/bin/sh'
        printf "exec '%s/fake_agent'" "$abs_top_builddir"; printf " '%s'" "$@"; echo
    } > "$T/agent-new"
    chmod 755 "$T/agent-new"
    mv "$T/agent-new" "$T/agent-backend"
}

# before NAME STATUS TEXT HINT MODE...: it never takes a job
before() {
    local name=$1 want=$2 text=$3 hint=$4; shift 4
    agent_is "$@"
    forget_events
    run 40 backup
    said "$name, fail" "$want" "$text" "$hint"
    untouched "$name, fail"
    forget_events
    run 40 backup --on-missing continue
    said "$name, continue" "$want" "$text" "$hint"
    is "$name, continue: D-48 the front end gets BackupComplete" "$(events | grep -c '^backup-complete$')" 1
    like "$name, continue: the dependent is marked" "$out" "front/null writer:app +failed"
    unharmed "$name, continue"
}

# during NAME TEXT MODE...: it goes wrong in the middle of the run
during() {
    local name=$1 text=$2; shift 2
    agent_is "$@" -- "$T/agent-real"
    forget_events
    run 60 backup
    if [ "$status" != 0 ] && [ "$status" != 124 ]; then
        pass "$name: the run has failed (status $status, $took s)"
    else
        fail "$name: the run has failed" "status $status
$both"
    fi
    like "$name: the text" "$both" "$text"
    if events | grep -q '^freeze$'; then
        is "$name: D-48 the front end gets BackupComplete" "$(events | grep -c '^backup-complete$')" 1
        like "$name: the dependent is marked not succeeded" "$out" "front/null writer:app +failed"
    fi
    unharmed "$name"
}

before "newer version" 7 "host 'backend'.*no common protocol version.*7 to 9" "install a newer vbackup" version 7 9
before "not an agent" 1 "host 'backend'.*calls itself 'requester'" "" role requester
before "garbage" 1 "host 'backend'" "" garbage
before "a login script prints" 1 "host 'backend'.*text instead of a greeting: 'Welcome" "start-up files" text
before "a huge frame" 1 "host 'backend'.*(larger|limit|long)" "" big
before "closes at once" 7 "host 'backend'" "." close
before "hangs before HELLO" 8 "host 'backend': no greeting within" "." silent
before "hangs after HELLO" 8 "host 'backend'" "" hang-open
before "never takes the job" 8 "host 'backend': the agent did not take the job" "host test" deaf-open
before "nonsense instead of OPENED" 1 "host 'backend': unexpected message 55" "" open-reply 55
before "OPENED without a token" 1 "host 'backend'.*token" "" open-reply 11
before "refuses the job" 1 "host 'backend'.*jobs of this requester are not taken" "administrator" open-refuse
before "a broken metadata document" 1 "writer metadata from host 'backend'" "" metadata-broken -- "$T/agent-real"
before "a path that climbs out" 1 "writer metadata from host 'backend'" "" metadata-path -- "$T/agent-real"

for what in 31:PREPARE 32:SNAPSHOT 33:CAPTURE 34:COMPLETE; do
    n=${what%:*} c=${what#*:}
    during "no answer to $c" "host 'backend'|backend:" drop "$n"
    during "nothing moves from $c on" "host 'backend'|backend:" stop "$n"
    during "cut at $c, every time" "host 'backend'|backend:" cut "$n"
    during "noise instead of the answer to $c" "host 'backend'|backend:" noise "$n"
    during "a huge frame instead of the answer to $c" "host 'backend'|backend:" huge "$n"
done
during "unknown component in the reply" "backend" component-unknown
head -c 300000 /dev/urandom > "$T/back/new" # something that is not in the repository yet
during "chunks that do not match their names" "backend.*chunk|chunk.*backend" chunk-bytes
during "chunks under other names" "backend.*chunk|chunk.*backend" chunk-name

cp "$T/agent-real" "$T/agent-backend"
run 60 backup
is "with the real agent all is well again" "$status" 0
ok "the repository is whole" vb check --read-data -q
done_testing
