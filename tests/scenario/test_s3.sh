#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A repository in object storage, by the scripted server: every verb, where credentials come from, and where they are not.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
command -v python3 > /dev/null || skip_all "no python3 for the scripted server"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3

mkfifo "$T/input"
python3 "$abs_top_srcdir/tests/store/s3_server.py" < "$T/input" > "$T/port" &
server=$!
exec 8> "$T/input"
tap_cleanup() { kill $server 2>/dev/null; scenario_cleanup; }
for i in $(seq 200); do [ ! -s "$T/port" ] || break; sleep 0.05; done
port=$(cat "$T/port")
[ -n "$port" ] || bail "the scripted server does not start"
control() {
    exec 9<> "/dev/tcp/127.0.0.1/$port"
    printf 'GET /__control?kind=%s&at=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$1" "$2" >&9
    cat <&9 > "$T/control"
    exec 9>&-
}
{ echo "[default]"; echo "aws_access_key_id = test-key"; echo "aws_secret_access_key = test/secret"; } > "$T/credentials"
chmod 600 "$T/credentials"
cat > "$T/vbackup.conf" <<END
[requester]
name = web
allow-live = yes
[repository]
location = s3://bucket/some/place
endpoint = http://127.0.0.1:$port
region = us-test-1
credentials-file = $T/credentials
retry = 10s
END
chmod 600 "$T/vbackup.conf"
unset VBACKUP_REPOSITORY
mkdir "$T/src"
echo "first page" > "$T/src/page"
head -c 3000000 /dev/urandom > "$T/src/big"

out=$(vb list 2>&1)
like "no repository: says how to make one" "$out" "hint: .*vbackup init --repo s3://bucket/some/place"
ok "init" vb init
not_ok "a second init is refused" vb init
ok "backup" vb backup "$T/src"
like "list" "$(vb list 2>&1)" complete
ok "check --read-data" vb check --read-data
echo "second page" > "$T/src/page"
ok "another backup" vb backup "$T/src"
ok "restore" vb restore latest -q --target "$T/back"
ok "... what was saved" diff -r "$T/src" "$T/back$T/src"
ok "forget" vb forget --keep-last 1
ok "prune" vb prune --delay 0s
ok "... what is left is whole" vb check --read-data

head -c 20000000 /dev/urandom > "$T/src/bigger"
control 503 12
ok "a server that is busy in the middle of a backup" vb backup "$T/src"
control cut-after 14
echo "third page" > "$T/src/page"
ok "an answer that is lost" vb backup "$T/src"
control clear 0
ok "... all is whole" vb check --read-data

# --- credentials ---
sed '/^credentials-file/d' "$T/vbackup.conf" > "$T/none.conf"; chmod 600 "$T/none.conf"
like "no credentials: says where they come from" "$(vb list -c "$T/none.conf" 2>&1)" "hint: set AWS_ACCESS_KEY_ID"
ok "from the environment" env AWS_ACCESS_KEY_ID=test-key AWS_SECRET_ACCESS_KEY=test/secret vbackup list -c "$T/none.conf"
sed "s|^credentials-file.*|credentials-command = cat $T/credentials|" "$T/vbackup.conf" > "$T/command.conf"; chmod 600 "$T/command.conf"
ok "from a command" vb list -c "$T/command.conf"
chmod 644 "$T/credentials"
like "a file that others can read is refused" "$(vb list 2>&1)" "others may read it"
chmod 600 "$T/credentials"
sed -i 's,test/secret,wrong/secret,' "$T/credentials"
out=$(VBACKUP_LOG=debug vb list -v -v 2>&1)
like "a wrong secret is refused" "$out" "SignatureDoesNotMatch"
unlike "... and is not shown" "$out" "wrong/secret"
like "a bucket that is none" "$(vb list --repo s3://UPPER/x 2>&1)" "not the name of a bucket"
exec 8>&-
done_testing
