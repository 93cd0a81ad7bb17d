#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A requester that is lost with all it had is made anew from the repository and a sheet of paper.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
umask 077
E=$T/etc; S=$T/src
mkdir -p "$E/conf.d" "$S"; head -c 100000 /dev/urandom > "$S/data"
ssh-keygen -q -t ed25519 -N '' -f "$E/id" 2> /dev/null || { echo private > "$E/id"; echo public > "$E/id.pub"; }
echo "db1.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMTESTTESTTESTTESTTESTTESTTESTTESTTESTTEST00" > "$E/known_hosts"
cat > "$E/vbackup.conf" <<END
include = $E/conf.d
[requester]
name = web
allow-live = yes
[repository]
location = $T/repo
password-file = $E/password
[writer files]
component = src
src.path = $S
END
printf '[host db1]\naddress = db1.example\nidentity = %s\nknown-hosts = %s\n' "$E/id" "$E/known_hosts" > "$E/conf.d/hosts.conf"
cp "$VBACKUP_PASSWORD_FILE" "$E/password"
unset VBACKUP_PASSWORD_FILE VBACKUP_REPOSITORY
export VBACKUP_CONFIG=$E/vbackup.conf
vb init -q > /dev/null && vb backup -q > "$T/log" 2>&1 || bail "no backup to begin with: $(cat "$T/log")"

try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
try "the sheet" 0 "secret 4 " vb key sheet
vb key sheet > "$T/sheet" 2> /dev/null
is "fits a page" "$(awk 'length > 110 { bad = 1 } END { print (NR <= 25 && !bad) }' "$T/sheet")" 1
is "has neither password nor private key" "$(grep -cF -e "$(cat "$E/password")" -e "$(sed -n 2p "$E/id")" "$T/sheet")" 0
is "as JSON" "$(vb key sheet --json | jq -r '.message_type, (.text | length > 300)' | paste -sd' ')" "sheet true"
is "what is stored has the host keys" "$(vb show --document requester | jq -j '.files[] | select(.kind == "known-hosts") | .text' | cksum)" "$(cksum < "$E/known_hosts")"
is "and no private key" "$(vb show --document requester | grep -cF "$(sed -n 2p "$E/id")")" 0
printf '[repository]\npassword = letmein\n' >> "$E/conf.d/hosts.conf" # no key of ours, but people try
sed -i '/^password = /d; /^\[repository\]$/d' "$E/conf.d/hosts.conf"

# everything is lost but the repository, and the sheet is typed in
cp -a "$E" "$T/lost"; rm -rf "$E" "$T/state" "$T/run"; mkdir -m 700 "$T/run"
export VBACKUP_CONFIG=$T/none.conf; : > "$T/none.conf"
echo "a new password" > "$T/new"
tr 'a-z' 'A-Z' < "$T/sheet" | sed 's/^SECRET \([0-9]\)/secret \1/; s/^LOCATION.*/location '"${T//\//\\/}"'\/repo/' > "$T/typed"
try "no sheet" 2 "needs --sheet" vb recover-requester
try "a sheet that is not there" 1 "" vb recover-requester --sheet "$T/nowhere"
try "a sheet of something else" 2 "no line 'repository'" vb recover-requester --sheet "$T/new"
grep -v "^secret 3" "$T/typed" > "$T/gap"
try "a line is missing" 2 "'secret 3' is missing" vb recover-requester --sheet "$T/gap"
wrong=0
for k in 1 2 3 4; do # each character of each line mistyped
    for at in 14 15 16 17 19 22 27 30; do
        sed "/^secret $k/s/\(.\{$((at - 1))\}\)\(.\)/\1$(sed -n "/^secret $k/p" "$T/typed" | cut -c$at | tr '0-9A-Z' '1-9A-Z0')/" "$T/typed" > "$T/mistyped"
        cmp -s "$T/mistyped" "$T/typed" && continue
        vb recover-requester --sheet "$T/mistyped" --target "$T/x" 2>&1 | grep -q "line 'secret $k' \(has\|is\)" || wrong=$((wrong + 1))
    done
done
is "every mistyped character is found, and its line named" "$wrong" 0
sed 's/^secret 1/secret X/; s/^secret 2/secret 1/; s/^secret X/secret 2/' "$T/typed" > "$T/swapped"
try "lines mixed up" 2 "line 'secret [12]' has a mistake" vb recover-requester --sheet "$T/swapped"
VBACKUP_PASSWORD_FILE=$T/new vbackup init -q --repo "$T/other" > /dev/null
try "of another repository" 1 "does not open this repository" vb recover-requester --sheet "$T/typed" --repo "$T/other"
not_ok "nothing was written by any of these" test -e "$T/x"

try "to look at first" 0 "3 files as of backup" vb recover-requester --sheet "$T/typed" --target "$T/look"
ok "it is the configuration" cmp "$T/look$E/vbackup.conf" "$T/lost/vbackup.conf"
try "a lost requester" 0 "key [0-9a-f]{8} added" vb recover-requester --sheet "$T/typed" --new-password-file "$T/new"
like "what must be made anew is named" "$out" "to be made anew: $E/id \(identity\)"
ok "configuration" cmp "$E/vbackup.conf" "$T/lost/vbackup.conf"
ok "its parts" cmp "$E/conf.d/hosts.conf" "$T/lost/conf.d/hosts.conf"
ok "host keys" cmp "$E/known_hosts" "$T/lost/known_hosts"
try "a second time" 5 "is there already" vb recover-requester --sheet "$T/typed"
try "unless it is meant" 0 "3 files" vb recover-requester --sheet "$T/typed" --force

# it works again
export VBACKUP_CONFIG=$E/vbackup.conf
cp "$T/new" "$E/password"
rm "$S/data.lost" 2> /dev/null; cp "$S/data" "$T/data"; rm "$S/data"
try "it lists" 0 "complete" vb list
try "it restores" 0 "" vb restore -q --target "$T/out"
ok "byte by byte" cmp "$T/out$S/data" "$T/data"
cp "$T/data" "$S/data"
try "it backs up" 0 "" vb backup -q
try "all is whole" 0 "no damage found in 2 backups" vb check --read-data

# a host that was broken into cannot have files of its choice written
echo weak > "$T/weak"; vb key add -q --new-password-file "$T/weak" --write-only web > /dev/null
mkdir "$T/evil"; echo "* * * * * root sh" > "$T/evil/job"
printf '[requester]\nname = web\n[host db]\naddress = db.example\nknown-hosts = %s\n' "$T/evil/job" > "$T/evil/conf"
tar -C "$T/evil" -cf "$T/x.tar" job
VBACKUP_PASSWORD_FILE=$T/weak VBACKUP_CONFIG=$T/evil/conf vbackup import -q --repo "$T/repo" --host web "$T/x.tar" > "$T/log" 2>&1 || bail "no hostile import: $(cat "$T/log")"
hostile=$(vb list --json | jq -r .id | tail -1)
umask 022
try "a configuration of a write-only key is not taken" 0 "3 files as of backup" vb recover-requester --sheet "$T/typed" --target "$T/after"
umask 077
not_ok "none of its files is written" test -e "$T/after$T/evil"
ok "but the requester's" cmp "$T/after$E/vbackup.conf" "$T/lost/vbackup.conf"
try "when it is named, not to its places" 5 "write-only key" vb recover-requester --sheet "$T/typed" --force "$hostile"
try "but to look at" 0 "written: $T/see$T/evil/job" vb recover-requester --sheet "$T/typed" --target "$T/see" "$hostile"
try "and over nothing" 5 "is there already" vb recover-requester --sheet "$T/typed" --target "$T/see" --force "$hostile"
is "host keys are for all users to read, the configuration is not" "$(stat -c %a "$T/after$E/known_hosts" "$T/after$E/vbackup.conf" | paste -sd' ')" "644 600"
keys=$(vb key list --json | wc -l)
mkdir -p "$T/full$E"; : > "$T/full$E/conf.d"
try "files that cannot be written" 1 "" vb recover-requester --sheet "$T/typed" --target "$T/full" --new-password-file "$T/new"
is "leave no key behind" "$(vb key list --json | wc -l)" "$keys"

# without encryption there is no secret
vbackup init -q --encryption none --repo "$T/plain" > /dev/null
export VBACKUP_CONFIG=$T/none.conf
try "a sheet without a secret" 0 "no secret is needed" vb key sheet --repo "$T/plain"
vb key sheet --repo "$T/plain" > "$T/sheet.plain" 2> /dev/null
try "of a repository without a configuration" 1 "no backup holds" vb recover-requester --sheet "$T/sheet.plain"
done_testing
