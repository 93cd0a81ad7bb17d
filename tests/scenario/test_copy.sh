#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# copy: into a repository with other keys, once and only once, also after it was interrupted.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
umask 077
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
S=$T/src
mkdir -p "$S/d/e"
for i in 1 2 3 4 5 6; do head -c $((i * 90000)) /dev/urandom > "$S/d/f$i"; done
yes "compressible line" | head -c 3000000 > "$S/text"; ln -s text "$S/link"
head -c 24000000 /dev/urandom > "$S/large" # several packs
printf 'x' > "$S/hole"; truncate -s 1000000 "$S/hole"; setfattr -n user.note -v kept "$S/hole" 2>/dev/null
echo "another password" > "$T/other"
vb init -q > /dev/null && vb backup -q "$S" > /dev/null || bail "no backup to begin with"
cp -a "$S" "$T/before"
echo more > "$S/d/e/new"; rm "$S/d/f1"
vb backup -q "$S" > /dev/null
mapfile -t ids < <(vb list --json | jq -r .id)

try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
second() { VBACKUP_PASSWORD_FILE=$T/other vbackup "$@" --repo "$T/second"; }

try "no place" 2 "needs --to" vb copy
try "a place that is none" 1 "vbackup init" vb copy --to "$T/second"
second init -q > /dev/null
try "the wrong password" 1 "the repository that is copied to: .*wrong password" vb copy --to "$T/second"
try "a password and none" 2 "contradict" vb copy --to "$T/second" --to-unencrypted --to-password-file "$T/other"
try "into itself" 2 "copied from" vb copy --to "$T/repo"
try "a backup that is none" 1 "no such backup" vb copy --to "$T/second" --to-password-file "$T/other" 00000000

if grep -q "^#define VB_FAULT_POINTS 1" "$abs_top_builddir/config.h"; then
    ( vbackup copy -q --to "$T/second" --to-password-file "$T/other" > /dev/null 2>&1 & pid=$!
      for i in $(seq 2000); do [ -z "$(find "$T/second/packs" -type f 2>/dev/null | head -1)" ] || break; sleep 0.005; done
      kill -9 $pid; wait $pid ) 2> /dev/null
    is "killed, it has copied nothing yet, or one" "$(second list -q --json | wc -l | grep -c '[01]')" 1
    try "and left what is whole" 0 "" second check -q --read-data
fi
try "copy" 0 "2 copied, 0 there already|1 copied, 1 there" vb copy --to "$T/second" --to-password-file "$T/other"
is "the ids are the same" "$(second list --json | jq -r .id | sort | paste -sd' ')" "$(printf '%s\n' "${ids[@]}" | sort | paste -sd' ')"
try "all of it is whole" 0 "no damage found in 2 backups" second check --read-data
size=$(du -sk "$T/second" | cut -f1)
is "as large as the first" "$((size * 100 / $(du -sk "$T/repo" | cut -f1) < 115))" 1
try "once more" 0 "0 copied, 2 there already" vb copy --to "$T/second" --to-password-file "$T/other"
is "adds nothing" "$(du -sk "$T/second" | cut -f1)" "$size"
is "no chunk has the name it has in the first" "$(vb copy --json --to "$T/second" --to-password-file "$T/other" | jq -c 'select(.message_type == "summary") | [.copied,.present,.new_bytes]')" "[0,2,0]"
# what was forgotten there is not copied again, and does not keep what is newer from being copied
second forget -q --keep-last 1 > /dev/null
head -c 50000 /dev/urandom > "$S/d/newer"; vb backup -q "$S" > /dev/null
try "one is forgotten there" 0 "1 copied, 2 there already" vb copy --to "$T/second" --to-password-file "$T/other"
is "it stays forgotten" "$(second list --json | jq -r .id | grep -c "${ids[0]}")" 0
second forget -q --undo "${ids[0]}" > /dev/null
second forget -q --force "$(second list --json | jq -r .id | tail -1)" > /dev/null
rm "$S/d/newer"; rm -r "$T/repo"
try "the first is gone: restore" 0 "" second restore -q "${ids[0]:0:8}" --target "$T/out1"
ok "the first backup byte by byte" diff -r "$T/before" "$T/out1$S"
try "the second" 0 "" second restore -q latest --target "$T/out2"
ok "byte by byte" diff -r "$S" "$T/out2$S"
is "holes stay holes, attributes stay" "$(stat -c %b "$T/out2$S/hole") $(getfattr --only-values -n user.note "$T/out2$S/hole" 2>/dev/null)" "$(stat -c %b "$S/hole") $(getfattr --only-values -n user.note "$S/hole" 2>/dev/null)"
is "documents came along" "$(second show --document events "${ids[0]:0:8}" | head -c 1 | grep -c .)" 1

# on to one without encryption, by host, without the damaged one
VBACKUP_PASSWORD_FILE='' vbackup init -q --encryption none --repo "$T/plain" > /dev/null
try "one that is not encrypted must be meant" 5 "not encrypted" second copy --to "$T/plain"
try "of another host" 0 "0 copied" second copy --to "$T/plain" --to-unencrypted --host other
try "of long ago" 0 "0 copied" second copy --to "$T/plain" --to-unencrypted --until 2001-01-01
try "one of them" 0 "NOT BE ENCRYPTED" second copy --to "$T/plain" --to-unencrypted "${ids[0]:0:8}"
is "is there" "$(VBACKUP_PASSWORD_FILE='' vbackup list --json --repo "$T/plain" | jq -r .id)" "${ids[0]}"
record=$(ls "$T/second/catalog/"*"${ids[0]}"*); chmod u+w "$record"; printf x >> "$record"
try "one that is damaged is left out" 3 "1 copied, 0 there already, others cannot be read" second copy --to "$T/plain" --to-unencrypted
done_testing
