#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A repository behind SFTP, by a private sshd: every verb, the host's key, and connections that are killed on the way.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
remote_available || skip_all "$SSHD_WHY"
unset SSH_AUTH_SOCK
# libssh2 1.10 loses a few bytes with an ECDSA signature and with each new key exchange.
printf 'leak:libssh2.so\nleak:CRYPTO_zalloc\n' > "$T/lsan"
export LSAN_OPTIONS="suppressions=$T/lsan:print_suppressions=0"

cat > "$T/vbackup.conf" <<END
[requester]
name = web
allow-live = yes
[repository]
location = sftp://store$T/far
retry = 30s
[host store]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $SSHD_DIR/id_ed25519
known-hosts = $SSHD_DIR/known_hosts
END
chmod 600 "$T/vbackup.conf"
unset VBACKUP_REPOSITORY
mkdir "$T/src"
echo "first page" > "$T/src/page"
head -c 3000000 /dev/urandom > "$T/src/big"

out=$(vb list 2>&1)
like "a missing repository is told with the way to make one" "$out" "sftp://store$T/far.*(not|No such)"
like "... the hint" "$out" "hint: .*vbackup init --repo sftp://store"
ok "init, by the location in the configuration" vb init
ok "... is a directory there" test -e "$T/far/config"
not_ok "a second init is refused" vb init
ok "backup" vb backup "$T/src"
like "list" "$(vb list 2>&1)" "complete"
like "ls" "$(vb ls latest "$T/src" 2>&1)" "page"
ok "check --read-data" vb check --read-data
echo "second page" > "$T/src/page"
ok "another backup" vb backup "$T/src"
rm -rf "$T/back"; mkdir "$T/back"
ok "restore" vb restore latest -q --target "$T/back"
ok "... what was saved" cmp "$T/src/big" "$T/back$T/src/big"
is "... the newest" "$(cat "$T/back$T/src/page")" "second page"
ok "forget" vb forget --keep-last 1
ok "prune" vb prune --delay 0s
ok "... and what is left is whole" vb check --read-data
is "nothing is left below tmp/" "$(find "$T/far/tmp" -type f | wc -l)" 0
ok "the same directory opens as one" vb list --repo "$T/far"

# --- a connection that is killed over and over ---
head -c 30000000 /dev/urandom > "$T/src/bigger"
vb backup "$T/src" > "$T/out" 2>&1 &
pid=$!
cuts=0
while kill -0 $pid 2>/dev/null && [ $cuts -lt 6 ]; do
    sleep 0.3
    for p in $(sshd_sessions); do kill -KILL "$p" 2>/dev/null; done
    cuts=$((cuts + 1))
done
wait $pid
is "a backup whose connection was killed $cuts times" $? 0
ok "... is whole" vb check --read-data
rm -rf "$T/back"; mkdir "$T/back"
vb restore latest -q --target "$T/back" > /dev/null 2>&1
ok "... and comes back" cmp "$T/src/bigger" "$T/back$T/src/bigger"

# --- refusals ---
url=sftp://$SSHD_USER@$SSHD_HOST:$SSHD_PORT$T/far
out=$(HOME=$T vb list --repo "$url" 2>&1)
like "a host that is not known is refused" "$out" "host key is not known"
like "a password in the location is refused" "$(vb list --repo "sftp://me:secret@store$T/far" 2>&1)" "password has no place"
like "a location without a path is refused" "$(vb list --repo sftp://store 2>&1)" "names no path"
like "an unknown kind is refused" "$(vb list --repo gopher://store/x 2>&1)" "no repositories of that kind"
sshd_stop
out=$(vb list 2>&1)
like "a server that is gone: one clear line" "$out" "^vbackup: 'sftp://store$T/far'.*Connection refused"
is "... and no more but the hint" "$(printf '%s\n' "$out" | grep -vc 'hint:')" 1
sshd_start > /dev/null && sed -i "s/^port = .*/port = $SSHD_PORT/" "$T/vbackup.conf" && sshd_record
ok "the next command goes on" vb list
done_testing
