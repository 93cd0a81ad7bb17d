#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/wire/ssh.sh - the SSH transport against a real, private sshd: keys of hosts, login, channels, ends.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/sshd.sh"

sshd_available || skip_all "$SSHD_WHY"
unset SSH_AUTH_SOCK SSH_AGENT_PID
# libssh2 1.10 loses a few bytes with an ECDSA signature and with each new key exchange.
printf 'leak:libssh2.so\nleak:CRYPTO_zalloc\n' > "$T/lsan"
export LSAN_OPTIONS="suppressions=$T/lsan:print_suppressions=0"
S=$T/sshd
agent_pid=
tap_cleanup() {
    sshd_stop
    [ -z "$agent_pid" ] || kill "$agent_pid" 2>/dev/null
}
sshd_init "$S" || bail "cannot make keys"
PROBE=$abs_top_builddir/ssh_probe
SERVE="$PROBE serve"

# probe [option...] -- MODE ARG...: with the right identity and known_hosts unless given
probe() {
    local opts=() id=1 kh=1
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        case $1 in --identity) id= ;; --known-hosts) kh= ;; esac
        opts+=("$1"); shift
    done
    shift
    [ -z "$id" ] || opts+=(--identity "$S/id_ed25519")
    [ -z "$kh" ] || opts+=(--known-hosts "$S/known_hosts")
    timeout 60 "$PROBE" --name backend --port "$SSHD_PORT" --timeout 8000 "${opts[@]}" "$SSHD_HOST" "$@" 2>&1
}
fingerprint() { ssh-keygen -lf "$1" | cut -d' ' -f2; }

sshd_start || bail "sshd does not start"
sshd_record
sshd_lets_in || skip_all "$SSHD_WHY"

# --- login ---
like "logs in with an Ed25519 key" "$(probe -- connect)" '^ready .* ssh-ed25519 aes128-'
like "logs in with an ECDSA key" "$(probe --identity "$S/id_ecdsa" -- connect)" '^ready '
openssl ecparam -name prime256v1 -genkey -noout -out "$S/pem" 2>/dev/null && chmod 600 "$S/pem"
ssh-keygen -y -f "$S/pem" >> "$S/authorized_keys"
like "logs in with an ECDSA key in PEM form" "$(probe --identity "$S/pem" -- connect)" '^ready '

out=$(probe --identity "$S/id_rsa" -- connect)
like "an RSA identity alone is refused" "$out" '^failed AUTH: host .backend.: no key to log in .*id_rsa \(ssh-rsa: libssh2 .* cannot sign'
like "... with what to do" "$out" '^hint: .*ssh-keygen -t ed25519'
like "an RSA identity beside a good one is skipped" "$(probe --identity "$S/id_rsa" --identity "$S/id_ed25519" -- connect)" '^ready '

ssh-keygen -q -t ed25519 -N '' -C stranger -f "$S/stranger"
out=$(probe --identity "$S/stranger" --identity "$S/id_rsa" -- connect)
like "a login that is refused names the keys" "$out" "^failed AUTH: host 'backend': login of '$SSHD_USER' refused with $S/stranger \\(not tried: $S/id_rsa"
like "... and says how to add one" "$out" '^hint: .*authorized_keys'

ssh-keygen -q -t ed25519 -N secret -C locked -f "$S/locked"
cat "$S/locked.pub" >> "$S/authorized_keys"
like "a key with a passphrase needs an agent" "$(probe --identity "$S/locked" -- connect)" '^failed AUTH: .*protected by a passphrase, and no ssh-agent'
cp "$S/id_ed25519" "$S/open"; chmod 644 "$S/open"
out=$(probe --identity "$S/open" -- connect)
like "a key that others can read is refused" "$out" '^failed AUTH: .*can be reached by other users'
like "a missing identity is named" "$(probe --identity "$S/nothing" -- connect)" "^failed AUTH: .*cannot open the private key '$S/nothing'"
like "a public key is not a private key" "$(probe --identity "$S/id_ed25519.pub" -- connect; chmod 600 "$S/id_ed25519.pub"; probe --identity "$S/id_ed25519.pub" -- connect)" 'is not a private key'

# --- agent ---
eval "$(ssh-agent -s -a "$T/agent" | grep -v echo)"; agent_pid=$SSH_AGENT_PID
export SSH_AUTH_SOCK
like "an agent without keys is no help" "$(probe --identity "$S/locked" -- connect)" '^failed AUTH: .*no ssh-agent holds it'
printf '#!/bin/sh\necho secret\n' > "$T/askpass"; chmod 700 "$T/askpass"
DISPLAY=x SSH_ASKPASS=$T/askpass SSH_ASKPASS_REQUIRE=force ssh-add -q "$S/locked" < /dev/null 2>/dev/null
like "the agent signs for a key with a passphrase" "$(probe --identity "$S/locked" -- connect)" '^ready '
like "--no-agent does not ask it" "$(probe --no-agent --identity "$S/locked" -- connect)" '^failed AUTH'
ssh-add -q -D 2>/dev/null; ssh-add -q "$S/id_rsa" "$S/id_ecdsa" 2>/dev/null
like "the agent's ECDSA key is found behind its RSA key" "$(probe --identity "$S/nothing" -- connect)" '^ready '
ssh-add -q -D 2>/dev/null; ssh-add -q "$S/id_rsa" 2>/dev/null
like "an agent with RSA keys only is refused" "$(probe --identity "$S/nothing" -- connect)" "^failed AUTH: .*agent key 'client-rsa' \\(ssh-rsa: only Ed25519"
kill -STOP "$agent_pid"
like "an agent that hangs does not hang us" "$(probe -- connect)" '^ready '
like "... and is named where it would have helped" "$(probe --identity "$S/locked" -- connect)" '^failed AUTH: .*ssh-agent: does not answer'
kill -CONT "$agent_pid"; kill "$agent_pid"; agent_pid=
like "a dead agent is named and harmless" "$(probe -- connect)" '^ready '
unset SSH_AUTH_SOCK SSH_AGENT_PID

# --- the host's key ---
: > "$T/empty"
out=$(probe --known-hosts "$T/empty" -- connect)
like "an unknown host key is refused with its fingerprint" "$out" "^failed HOST_KEY: host 'backend': host key is not known: .*$(fingerprint "$S/host_ed25519.pub" | sed 's/[+]/\\+/g')"
like "... and the command that records it" "$out" "^hint: .*ssh-keyscan -t ed25519 -p $SSHD_PORT 127.0.0.1 >> $T/empty"
is "... and is not recorded by us" "$(wc -c < "$T/empty")" 0
like "a missing known_hosts file is an empty one" "$(probe --known-hosts "$T/none" -- connect)" '^failed HOST_KEY: .*not known'

ssh-keygen -q -t ed25519 -N '' -f "$T/other"
{ echo "# first line"; echo "$(sshd_known_name) $(cut -d' ' -f1,2 "$T/other.pub")"; } > "$T/changed"
out=$(probe --known-hosts "$T/changed" -- connect)
like "a changed host key is refused" "$out" '^failed HOST_KEY: .*host key changed: it shows ssh-ed25519 SHA256:'
like "... with both fingerprints, file and line" "$out" "$(fingerprint "$S/host_ed25519.pub" | sed 's/[+]/\\+/g'), recorded is ssh-ed25519 $(fingerprint "$T/other.pub" | sed 's/[+]/\\+/g') \\($T/changed:2\\)"
{ cat "$S/known_hosts"; echo "@revoked * $(cut -d' ' -f1,2 "$S/host_ed25519.pub")"; } > "$T/revoked"
like "a revoked host key is refused" "$(probe --known-hosts "$T/revoked" -- connect)" "^failed HOST_KEY: .*revoked \\($T/revoked:2\\)"
cp "$S/known_hosts" "$T/hashed"; ssh-keygen -q -H -f "$T/hashed" > /dev/null 2>&1
not_ok "(the name is hashed)" grep -q 127.0.0.1 "$T/hashed"
like "a hashed name is found" "$(probe --known-hosts "$T/hashed" -- connect)" '^ready '
like "the host's name in the configuration will do" "$(sed "s/127.0.0.1/backend/" "$S/known_hosts" > "$T/named"; probe --known-hosts "$T/named" -- connect)" '^ready '
like "the key of another port will not" "$(sed "s/]:[0-9]*/]:1/" "$S/known_hosts" > "$T/port"; probe --known-hosts "$T/port" -- connect)" '^failed HOST_KEY: .*not known'
like "a second file is read" "$(probe --known-hosts "$T/empty" --known-hosts "$S/known_hosts" -- connect)" '^ready '
sshd_record ecdsa
like "the recorded type is asked for" "$(probe -- connect)" '^ready [^ ]* ecdsa-sha2-nistp256 '
sshd_record rsa
out=$(probe -- connect)
like "only an RSA key recorded: says why not" "$out" "^failed HOST_KEY: .*only a host key of type ssh-rsa is recorded \\($S/known_hosts:1\\)"
sshd_record
if chmod 000 "$T/port" && ! cat "$T/port" > /dev/null 2>&1; then
    like "an unreadable known_hosts file is an error" "$(probe --known-hosts "$T/port" -- connect)" '^failed ACCESS_DENIED: .*cannot read the known host keys'
else
    skip "an unreadable known_hosts file is an error" "root reads everything"
fi

# --- parameters ---
like "a leading dash is no host" "$(timeout 20 "$PROBE" -- -oProxyCommand=x connect 2>&1)" '^failed CONFIG: '
like "a user with a blank is no user" "$(probe --user 'a b' -- connect)" "^failed CONFIG: .*'a b' is not a user name"
like "a name that cannot be found is named" "$(timeout 60 "$PROBE" --name backend --timeout 8000 no-such-host.invalid connect 2>&1)" \
    "^failed (CONNECT|TIMEOUT): host 'backend': cannot find the address of 'no-such-host.invalid'"

if [ "$(getent ahosts localhost | cut -d' ' -f1 | sort -u | tr '\n' ' ')" = "127.0.0.1 ::1 " ]; then
    sed "s/127.0.0.1/localhost/" "$S/known_hosts" > "$T/localhost"
    like "every address of a name is tried" "$(timeout 60 "$PROBE" --port "$SSHD_PORT" --identity "$S/id_ed25519" \
        --known-hosts "$T/localhost" localhost connect 2>&1)" '^ready '
    like "... and named if none answers" "$(timeout 60 "$PROBE" --port 1 localhost connect 2>&1)" \
        'port 1 of (::1: Connection refused; 127.0.0.1|127.0.0.1: Connection refused; ::1): '
else
    skip "every address of a name is tried" "localhost has one address only"
fi

# --- channels ---
like "greets over a channel" "$(probe -- greet "$SERVE")" '^greeted vbackup .* agent 1$'
is "64 MiB there and back" "$(probe -- echo 1 64 "$SERVE")" "echoed 1 67108864"
is "five channels at once" "$(probe -- echo 5 6 "$SERVE")" "echoed 5 31457280"
out=$(probe -- greet no-such-agent-here)
like "a missing agent" "$out" "^AGENT_MISSING: host 'backend': 'no-such-agent-here' cannot be started there: .*not found"
like "... with the key of the host table" "$out" '^hint: .*agent-command'
like "an agent that cannot be run" "$(probe -- greet "$T/empty")" "^AGENT_MISSING: .*cannot be started there"
like "an agent that dies early: its last words" "$(probe -- greet 'echo one >&2; echo cannot open the spool >&2; exit 3')" \
    "^AGENT_MISSING: .*ended before its greeting: exit status 3: cannot open the spool"
like "an agent that is killed" "$(probe -- greet 'kill -SEGV $$')" '^AGENT_MISSING: .*ended before its greeting: killed by signal SEGV'
like "an agent that says nothing and ends" "$(probe -- greet true)" '^AGENT_MISSING: .*exit status 0'
out=$(probe -- greet "echo 'Welcome to backend!'; exec $SERVE")
like "text before the greeting is shown" "$out" "^PROTOCOL: host 'backend': sent text instead of a greeting: 'Welcome to backend!'"
like "... with the usual reason" "$out" '^hint: .*start-up files'
like "junk after the greeting" "$(probe -- hold "$PROBE junk")" "closed PROTOCOL: host 'backend': "
like "escape codes are shown escaped" "$(probe -- greet "printf '\\033[2J'; sleep 1")" '\\x1B\[2J'

is "what the agent writes to stderr is logged" "$(VBACKUP_LOG=info probe -- greet "echo 'a warning' >&2; sleep 0.3; exec $SERVE" | grep -c "host 'backend': a warning")" 1

# --- back-pressure ---
probe -- stall "$PROBE source 256" > "$T/stall" &
pid=$!
for i in $(seq 100); do grep -q held "$T/stall" && break; sleep 0.05; done
sleep 1
child=$(cat /proc/$pid/task/$pid/children); child=$(cat "/proc/${child% }/task/${child% }/children") # through timeout
rss=$(awk '/^VmRSS/ { print $2 }' "/proc/${child% }/status")
ok "a reader that pauses does not take in the rest (RSS ${rss:-?} KiB)" test "${rss:-999999}" -lt 150000
is "... and is still connected" "$(cat "$T/stall")" held
kill "${child% }"; wait $pid 2> /dev/null
like "a server that sends more than is asked for is cut off" "$(probe --memory 512K -- stall "$PROBE source 256")" \
    '^failed LIMIT: .*the server sent .* bytes that nobody asked for'

# --- cuts ---
probe -- hold "$SERVE" > "$T/held" &
pid=$!
for i in $(seq 100); do grep -q held "$T/held" && break; sleep 0.05; done
for p in $(sshd_sessions); do kill -KILL "$p" 2>/dev/null; done
wait $pid
like "a session killed in the middle is a lost connection" "$(cat "$T/held")" "^failed CONNECTION_LOST: host 'backend': connection lost"

# (libssh2 sends at most one sign of life in two seconds)
probe --keepalive 500 --limit 4000 -- hold "$SERVE" > "$T/held" &
pid=$!
for i in $(seq 100); do grep -q held "$T/held" && break; sleep 0.05; done
frozen=$(sshd_sessions)
sleep 5 # quiet, but alive
is "an idle session stays" "$(cat "$T/held")" held
for p in $frozen; do kill -STOP "$p"; done
wait $pid
for p in $frozen; do kill -CONT "$p" 2>/dev/null; done
like "a silent session is given up" "$(cat "$T/held")" '^failed CONNECTION_LOST: .*no sign of life for'
sshd_stop

# --- servers ---
like "a closed port" "$(probe -- connect)" "^failed CONNECT: host 'backend': cannot connect to port $SSHD_PORT of 127.0.0.1: Connection refused"
if command -v perl > /dev/null; then
    # A full backlog: connection requests are dropped without a word.
    perl -MIO::Socket::INET -e '
        my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], Listen => 1, ReuseAddr => 1) or exit 1;
        my @c = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0], Blocking => 0) } 1..8;
        syswrite STDOUT, "full\n"; sleep 60;' "$SSHD_PORT" > "$T/full" &
    pid=$!
    for i in $(seq 100); do grep -q full "$T/full" && break; sleep 0.05; done
    start=$SECONDS
    like "an address that swallows everything" "$(probe --timeout 1500 -- connect)" '^failed TIMEOUT: .*127.0.0.1: no answer in time'
    ok "... ends in time" test $((SECONDS - start)) -lt 6
    kill $pid
else
    skip "an address that swallows everything" "no perl"
fi

SSHD_HOST_KEYS="rsa" sshd_start && sshd_record ed25519
out=$(probe -- connect)
like "a server with an RSA key only" "$out" '^failed HOST_KEY: .*offers only host keys of type rsa-sha2-512.*cannot be checked'
like "... and what to do there" "$out" '^hint: make an Ed25519 key there'
sshd_stop
SSHD_HOST_KEYS="ecdsa rsa" sshd_start && sshd_record ed25519
like "a server without the recorded type" "$(probe -- connect)" "^failed HOST_KEY: .*host key changed: .*$S/known_hosts:1\\) holds a key of type ssh-ed25519, its sshd offers only"
sshd_stop
sshd_start "Ciphers chacha20-poly1305@openssh.com" && sshd_record
out=$(probe -- connect)
like "a server with chacha20 only is refused (Terrapin)" "$out" '^failed CONNECT: .*no common cipher that is safe from the Terrapin attack: the server offers only chacha20'
like "... and what to do there" "$out" '^hint: .*aes128-ctr'
sshd_stop
sshd_start "Ciphers aes128-cbc,aes128-ctr" "MACs hmac-sha2-256-etm@openssh.com" && sshd_record
like "a server with encrypt-then-MAC only is refused (Terrapin)" "$(probe -- connect)" '^failed CONNECT: .*authentication code that is safe from the Terrapin'
sshd_stop
sshd_start "KexAlgorithms sntrup761x25519-sha512@openssh.com" && sshd_record
like "no common key exchange" "$(probe -- connect)" '^failed CONNECT: .*no common key exchange: the server offers only sntrup'
sshd_stop
sshd_start "PubkeyAuthentication no" "KbdInteractiveAuthentication yes" && sshd_record
like "a server that takes no keys" "$(probe -- connect)" '^failed AUTH: .*takes no keys, only '
sshd_stop
sshd_start "MaxSessions 1" && sshd_record
out=$(probe -- echo 2 1 "$SERVE")
like "too many channels" "$out" '^CONNECT: .*refused another channel'
sshd_stop
sshd_start "RekeyLimit 4M" && sshd_record
is "new keys on the way (every 4 MiB)" "$(probe -- echo 2 24 "$SERVE")" "echoed 2 50331648"
sshd_stop
sshd_start "ForceCommand echo no commands here; exit 1" && sshd_record
like "a server that forces another command" "$(probe -- greet "$SERVE")" "sent text instead of a greeting: 'no commands here'"
sshd_stop

# not SSH at all
SSHD_PORT=$((SSHD_PORT + 1))
if command -v perl > /dev/null; then
    perl -MIO::Socket::INET -e '
        my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or exit 1;
        alarm 60;
        for (1..2) { my $c = $s->accept; print $c "220 mail.example.org ESMTP\r\n" if $_ == 1; close $c; }' "$SSHD_PORT" &
    pid=$!
    sleep 0.5
    like "something that is not SSH" "$(probe --timeout 2000 -- connect)" "^failed PROTOCOL: .*no SSH server: it says '220 mail.example.org ESMTP'"
    like "a server that hangs up" "$(probe --timeout 2000 -- connect)" '^failed CONNECT: .*closed the connection before the key exchange'
    kill $pid 2>/dev/null
else
    skip "something that is not SSH" "no perl"
fi
done_testing
