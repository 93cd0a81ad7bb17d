#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# forget and prune as a user meets them.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
printf '[requester]\nname = here\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
mkdir "$T/src" "$T/other"
echo constant > "$T/src/same"; echo other > "$T/other/file"
ok "init" vb init -q
ids=()
for i in 1 2 3; do
    head -c 300000 /dev/urandom > "$T/src/changing"
    ok "backup $i" vb backup -q "$T/src"
    ids+=("$(vb list --json | jq -rs '.[-1].id')")
done
ok "backup of something else" vb backup -q "$T/other"
size() { du -sb "$T/repo/packs" | cut -f1; }
try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 out status; shift 3
    out=$("$@" 2>&1); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
count() { vb list --json | jq -s length; }

try "no policy" 2 "keeps nothing" vb forget
try "a policy of nothing" 2 "keeps nothing" vb forget --keep-daily 0
try "policy and ids" 2 "not both" vb forget --keep-last 1 "${ids[0]}"
try "dry run" 0 "2 would be forgotten, 2 kept" vb forget --keep-last 1 --dry-run
is "nothing was changed" "$(count)" 4
try "the newest of its set is not meant" 5 "newest usable" vb forget "${ids[2]}"
try "by policy" 0 "forget  ${ids[0]:0:8}" vb forget --keep-last 1
is "two are left, one of each set" "$(count)" 2
try "the forgotten one is not found" 1 "no such backup" vb restore "${ids[0]}" --target "$T/out"
try "called back" 0 "kept again" vb forget --undo "${ids[0]}"
is "it is listed again" "$(count)" 3
ok "and is whole" vb restore -q "${ids[0]}" --target "$T/out"
try "by id" 0 "1 forgotten" vb forget "${ids[0]}"
before=$(size)
try "within the delay nothing is done" 0 "2 forgotten backups can be called back" vb prune
try "prune, first phase" 0 "condemned [1-9]" vb prune --delay 0s
is "nothing is away yet" "$(($(size) >= before))" 1
try "prune, second phase" 0 "removed [1-9]" vb prune --delay 0s
is "the room is free" "$(($(size) < before * 2 / 3))" 1
try "too late to call back" 1 "has been pruned" vb forget --undo "${ids[1]}"
rm -rf "$T/out"
ok "the newest is whole" vb restore -q "${ids[2]}" --target "$T/out"
is "every file is the same" "$(diff -r "$T/src" "$T/out$T/src" && echo same)" same
try "check" 0 "no damage" vb check --read-data
ok "and the next backup" vb backup -q "$T/src"

# what is held stays
try "held" 0 "is held" vb hold --reason 'for the audit' "${ids[2]}"
try "listed" 0 "^${ids[2]:0:8}  20.*  for the audit" vb hold
is "listed as JSON" "$(vb hold --json | jq -r '[.message_type, .id, .reason] | join(" ")')" "hold ${ids[2]} for the audit"
try "by policy it stays" 0 "keep    ${ids[2]:0:8}.*held" vb forget --keep-last 1
try "by id it stays" 5 "is held" vb forget "${ids[2]}"
like "the hint" "$(vb forget "${ids[2]}" 2>&1)" "hint: .*hold --release"
try "released" 0 "is released" vb hold --release "${ids[2]}"
try "which was none" 1 "is not held" vb hold --release "${ids[2]}"
try "of none" 2 "which backup" vb hold --release
try "then it goes" 0 "forget  ${ids[2]:0:8}" vb forget --keep-last 1
ok "and comes back" vb forget --undo -q "${ids[2]}"

# a suspicious change pauses the policy
mkdir "$T/many"; for i in $(seq 120); do echo "$i" > "$T/many/$i"; done
for i in 1 2; do echo "$i" > "$T/many/x"; ok "backup of many files" vb backup -q "$T/many"; done
rm "$T"/many/1* "$T"/many/[5-9]*
ok "most of them are gone in the next" vb backup -q "$T/many"
before=$(count)
try "the policy is not applied to that set" 5 "less than half of the files are left \(34 files.*2 backups that the policy would forget were kept" vb forget --keep-last 1
is "to the others it is" "$(($(count) < before))" 1
is "kept as JSON" "$(vb forget --keep-last 1 -n --json 2> /dev/null | jq -rc 'select(.message_type == "keep" and .reasons == ["paused"]) | .id' | wc -l)" 2
try "prune removes nothing of it" 0 "" vb prune --delay 0s
try "until somebody says that it is meant" 0 "2 forgotten" vb forget --keep-last 1 --accept-change
try "once is enough" 0 "0 forgotten" vb forget --keep-last 1
try "also for the next backups" 0 "" vb backup -q "$T/many"
try "then it is as usual" 0 "1 forgotten" vb forget --keep-last 1

# notes of what was received, which bound the times that write-only keys tell
is "one note, of all" "$(find "$T/repo/received" -type f | wc -l)" 1
is "as JSON" "$(vb prune --dry-run --json | jq -r '"\(.message_type) \(.leases) \(.left_alone)"')" "prune 0 0"
is "reasons as JSON" "$(vb forget --keep-last 1 --keep-daily 1 --dry-run --json | jq -r 'select(.message_type=="keep") | .reasons | join("+")' | sort -u)" last+daily
done_testing
