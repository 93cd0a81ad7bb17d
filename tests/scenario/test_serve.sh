#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A repository served over SSH's forced command: keys that may only add, only write, only read, or do everything.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
remote_available || skip_all "$SSHD_WHY"
unset SSH_AUTH_SOCK
# libssh2 1.10 loses a few bytes with an ECDSA signature and with each new key exchange.
printf 'leak:libssh2.so\nleak:CRYPTO_zalloc\n' > "$T/lsan"
export LSAN_OPTIONS="suppressions=$T/lsan:print_suppressions=0"

# serve NAME OPTIONS: a key, and the command that it is forced to
serve() {
    ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$SSHD_DIR/$1"
    cat > "$T/serve-$1" <<END
#!/bin/sh
unset VBACKUP_CONFIG VBACKUP_PASSWORD_FILE
export VBACKUP_STATE_DIR='$T/serving' ASAN_OPTIONS='${ASAN_OPTIONS:-}'
exec '$abs_top_builddir/vbackup' serve $2 '$T/far'
END
    chmod 755 "$T/serve-$1"
    echo "restrict,command=\"$T/serve-$1\" $(cat "$SSHD_DIR/$1.pub")" >> "$SSHD_DIR/authorized_keys"
    cat > "$T/$1.conf" <<END
[requester]
name = web
allow-live = yes
[repository]
location = ssh://store/ignored
retry = 30s
[host store]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $SSHD_DIR/$1
known-hosts = $SSHD_DIR/known_hosts
END
    chmod 600 "$T/$1.conf"
}
serve all ""
serve add --append-only
serve write --write-only
serve read --read-only
unset VBACKUP_REPOSITORY
as() { VBACKUP_CONFIG=$T/$1.conf vbackup "${@:2}"; }
try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 out status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}

mkdir "$T/src"
echo "first page" > "$T/src/page"
head -c 3000000 /dev/urandom > "$T/src/big"

try "init with a key that may only add" 5 "cannot be made by a key that may only add" as add init
ok "init with one that may do everything" as all init
ok "... lies where the forced command says" test -e "$T/far/config"
ok "backup, append-only" as add backup "$T/src"
before=$(find "$T/far" -path '*/packs/*' -type f | sort)
try "list" 0 complete as add list
ok "check --read-data" as add check --read-data
ok "restore" as add restore latest -q --target "$T/back"
ok "... what was saved" cmp "$T/src/big" "$T/back$T/src/big"
try "forget is refused" 5 "append-only: forget is done on the machine where it lies" as add forget --keep-last 1
try "prune is refused" 5 "append-only: prune is done on the machine where it lies" as add prune --delay 0s
echo "second page" > "$T/src/page"
echo "second password" > "$T/second"; chmod 600 "$T/second"
try "a key is not added by one that may only add" 5 "append-only" as add key add --new-password-file "$T/second" --write-only web
ok "... but on the serving side" as all key add --new-password-file "$T/second" --write-only web
ok "backup, write-only" env VBACKUP_PASSWORD_FILE="$T/second" VBACKUP_CONFIG="$T/write.conf" vbackup backup "$T/src"
# what this machine has read or written itself it may have kept
VBACKUP_STATE_DIR=$T/nothing-kept not_ok "... reads no record" as write list
not_ok "... and restores nothing" as write restore latest -q --target "$T/none"
is "nothing that was there is gone" "$(comm -23 <(echo "$before") <(find "$T/far" -path '*/packs/*' -type f | sort) | wc -l)" 0
try "read-only reads" 0 complete as read list
not_ok "... and adds nothing" as read backup "$T/src"
export VBACKUP_CONFIG=$T/serving.conf; : > "$T/serving.conf"; chmod 600 "$T/serving.conf"
ok "forgotten and pruned on the serving side" vbackup forget --repo "$T/far" --keep-last 1
ok "... pruned" vbackup prune --repo "$T/far" --delay 0s
ok "... what is left is whole" as add check --read-data

# --- a connection that is killed over and over ---
head -c 30000000 /dev/urandom > "$T/src/bigger"
as add backup "$T/src" > "$T/out" 2>&1 &
pid=$!
cuts=0
while kill -0 $pid 2>/dev/null && [ $cuts -lt 5 ]; do
    sleep 0.4
    for p in $(sshd_sessions); do kill -KILL "$p" 2>/dev/null; done
    cuts=$((cuts + 1))
done
wait $pid
is "a backup whose connection was killed $cuts times" $? 0
[ $tap_failed = 0 ] || sed 's/^/# /' "$T/out"
ok "... is whole" as add check --read-data
rm -rf "$T/back"
as read restore latest -q --target "$T/back" > /dev/null 2>&1
ok "... and comes back" cmp "$T/src/bigger" "$T/back$T/src/bigger"

# --- what is no server ---
echo "restrict,command=\"echo Welcome, and do log in by other means\" $(cat "$SSHD_DIR/id_ecdsa.pub")" > "$SSHD_DIR/authorized_keys.new"
grep -v client-ecdsa "$SSHD_DIR/authorized_keys" >> "$SSHD_DIR/authorized_keys.new"
mv "$SSHD_DIR/authorized_keys.new" "$SSHD_DIR/authorized_keys"
sed "s,^identity = .*,identity = $SSHD_DIR/id_ecdsa," "$T/add.conf" > "$T/odd.conf"; chmod 600 "$T/odd.conf"
not_ok "a command that is no server" as odd list
try "serve on two ways at once" 2 "exclude each other" vbackup serve --read-only --append-only "$T/far"
done_testing
