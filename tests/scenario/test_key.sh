#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Passwords, keys and encryption as a user meets them.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_PASSWORD_FILE
umask 077
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir "$T/src"
echo "a secret sentence of the test" > "$T/src/page"
echo "first password" > "$T/first"
printf 'second password\nand a line that does not count\n' > "$T/second"
echo wrong > "$T/wrong"
: > "$T/empty"

# try NAME STATUS REGEX COMMAND...: exit status, and what it says
try() {
    local name=$1 want=$2 regex=$3 out status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
with() { VBACKUP_PASSWORD_FILE=$T/$1 "${@:2}"; }

try "no source of a password" 1 "no(ne| password) was given" setsid vbackup init
not_ok "and no repository" test -e "$T/repo/config"
try "an empty file" 2 "is empty" with empty vb init
try "a file that is not there" 1 "password file" with nowhere vb init
try "init" 0 "encrypted; keep the password" with first vb init
try "backup" 0 "complete" with first vb backup "$T/src"
is "neither content nor names lie in the repository" "$(grep -rlE 'secret sentence|src/page|first password' "$T/repo" | wc -l)" 0
try "list with the wrong password" 1 "wrong password" with wrong vb list
try "list without" 1 "no password was given" setsid vbackup list
is "no key is asked for by argument" "$(vbackup init --help | grep -ci 'password')" 0

# where it comes from
printf '#!/bin/sh\ncat "$1"\n' > "$T/show" && chmod 755 "$T/show"
try "from a command in the environment" 0 complete env VBACKUP_PASSWORD_COMMAND="$T/show $T/first" vbackup list
try "a command that fails" 2 "password command.*exit status 1" env VBACKUP_PASSWORD_COMMAND="$T/show /nowhere" vbackup list
mkdir "$T/credentials" && cp "$T/first" "$T/credentials/vbackup-password"
try "from a systemd credential" 0 complete env CREDENTIALS_DIRECTORY="$T/credentials" vbackup list
cp "$T/vbackup.conf" "$T/plain.conf"
printf '[repository]\npassword-file = %s/first\n' "$T" >> "$T/vbackup.conf"
try "from the configuration" 0 complete vb list
printf '[repository]\npassword-command = %s/show %s/first\n' "$T" "$T" | cat "$T/plain.conf" - > "$T/vbackup.conf"
try "from a command in the configuration" 0 complete vb list
cp "$T/plain.conf" "$T/vbackup.conf"
if command -v python3 > /dev/null; then
    cat > "$T/terminal.py" <<'END'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
out, typed = b"", False
try:
    while True:
        piece = os.read(fd, 4096)
        if not piece:
            break
        out += piece
        if not typed and b"password of the repository" in out:
            os.write(fd, sys.argv[1].encode() + b"\n")
            typed = True
except OSError:
    pass
sys.stdout.buffer.write(out)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
    try "from the terminal" 0 complete timeout 60 python3 "$T/terminal.py" "first password" vbackup list
    is "which does not show it" "$(timeout 60 python3 "$T/terminal.py" "first password" vbackup list | grep -c first)" 0
else
    skip "from the terminal" "python3 is not installed"
fi

# what the password is kept from
chmod 644 "$T/first"
try "a file that everybody may read" 1 "everybody may read it" with first vb list
like "and what to do" "$(with first vbackup list 2>&1)" "hint: chmod 600 "
chmod 600 "$T/first"
mkdir "$T/libexec"
cat > "$T/libexec/vbackup-agent" <<END
#!/bin/sh
env > "$T/seen"
exit 1
END
chmod 755 "$T/libexec/vbackup-agent"
VBACKUP_LIBEXECDIR=$T/libexec VBACKUP_PASSWORD_COMMAND="cat $T/first" CREDENTIALS_DIRECTORY=$T/credentials with first vbackup writers > "$T/out.writers" 2>&1
ok "an agent was started" grep -q VBACKUP_CONFIG= "$T/seen"
is "agents, and so writers, do not learn where the password lies" "$(grep -cE 'PASSWORD|CREDENTIALS' "$T/seen")" 0
if command -v python3 > /dev/null; then
    cat > "$T/interrupt.py" <<'END'
import os, pty, signal, sys, termios
master, slave = pty.openpty()
pid = os.fork()
if pid == 0:
    os.login_tty(slave) if hasattr(os, "login_tty") else (os.setsid(), __import__("fcntl").ioctl(slave, termios.TIOCSCTTY, 0), [os.dup2(slave, i) for i in range(3)])
    os.close(master)
    os.execvp(sys.argv[1], sys.argv[1:])
echo = lambda: bool(termios.tcgetattr(slave)[3] & termios.ECHO)
out = b""
while b"password of the repository" not in out:
    out += os.read(master, 4096)
print("while asked", echo())
os.write(master, b"half a pass\x03")
status = os.waitpid(pid, 0)[1]
print("ended by", signal.Signals(status).name if os.WIFSIGNALED(status) else status)
print("afterwards", echo())
os.set_blocking(master, False)
try:
    out += os.read(master, 4096)
except BlockingIOError:
    pass
print("shown", b"half" in out)
END
    is "an interrupt gives the terminal back" "$(timeout 60 python3 "$T/interrupt.py" vbackup list | paste -sd, )" \
        "while asked False,ended by SIGINT,afterwards True,shown False"
else
    skip "an interrupt gives the terminal back" "python3 is not installed"
fi

# keys
try "a second key" 0 "key [0-9a-f]{8} added" with first vb key add --new-password-file "$T/second" --label "of the test"
try "opens" 0 complete with second vb list
is "two keys, one in use" "$(with second vbackup key list --json | jq -r 'select(.current) | .label')" "of the test"
second=$(with first vbackup key list --json | jq -r 'select(.label == "of the test") | .id')
try "it is changed" 0 changed with second vb key change --new-password-file "$T/wrong"
try "the old password opens no more" 1 "wrong password" with second vb list
try "the new one does" 0 complete with wrong vb list
is "it keeps its label" "$(with wrong vbackup key list --json | jq -r 'select(.current) | .label')" "of the test"
try "it is removed" 0 removed with first vb key remove "$second"
try "and opens no more" 1 "wrong password" with wrong vb list
first=$(with first vbackup key list --json | jq -r .id)
try "the last key stays" 5 "last key that reads" with first vb key remove "$first"

# write-only
try "a write-only key" 0 added with first vb key add --new-password-file "$T/second" --write-only web
try "a write-only key of no host" 2 "not the name of a host" with first vb key add --new-password-file "$T/second" --write-only ''
echo "another secret" > "$T/src/new"
try "it backs up" 0 complete with second vb backup "$T/src"
try "it lists nothing" 1 "cannot read" with second vb list
try "it restores nothing" 1 "cannot read" with second vb restore latest --target "$T/out"
try "it adds no key" 1 "cannot (manage|make)" with second vb key add --new-password-file "$T/wrong"
try "who reads, reads what it has added" 0 restored with first vb restore latest --target "$T/out"
is "every file is the same" "$(diff -r "$T/src" "$T/out$T/src" && echo same)" same
try "check" 0 "no damage" with first vb check --read-data

# without encryption
try "none must be asked for, and says so" 0 "NOT ENCRYPTED" vbackup init --repo "$T/plain" --encryption none
try "so does every backup" 0 "NOT ENCRYPTED" vbackup backup --repo "$T/plain" "$T/src"
is "and one can see why" "$(grep -rl "another secret" "$T/plain/packs" | wc -l)" 1
try "a password is set, the repository is not encrypted" 5 "not encrypted" with first vbackup backup --repo "$T/plain" "$T/src"
try "the same with a systemd credential" 5 "not encrypted" env CREDENTIALS_DIRECTORY="$T/credentials" vbackup backup --repo "$T/plain" "$T/src"
try "no other encryption" 2 "not aes-256-gcm or none" with first vbackup init --repo "$T/other" --encryption rot13
done_testing
