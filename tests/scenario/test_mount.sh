#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# mount: the backups as a file system, for root and for an ordinary user; damage is an error and never other bytes.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
umask 077
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
S=$T/src
mkdir -p "$S/d/e" "$T/mnt"
for i in 1 2 3; do head -c $((i * 200000)) /dev/urandom > "$S/d/f$i"; done
for i in $(seq 400); do echo "$i" > "$S/d/e/a file with the number $i"; done
ln -s d/f1 "$S/link"; mkfifo "$S/fifo"; chmod 640 "$S/d/f1"; touch -d '2001-02-03 04:05:06.789' "$S/d/f2"
{ printf 'head'; head -c 100000 /dev/zero; } > "$S/holes"; truncate -s 3000000 "$S/holes"; printf 'tail' >> "$S/holes"; truncate -s 5000000 "$S/holes"
setfattr -n user.note -v kept "$S/d/f3" 2> /dev/null
vb init -q > /dev/null && vb backup -q "$S" > /dev/null || bail "no backup to begin with"
first=$(vb list --json | jq -r '.id[0:8]')
cp -a "$S" "$T/before"
rm -r "$S/d/e"; echo second > "$S/d/f1"
vb backup -q "$S" > /dev/null
second=$(vb list --json | jq -r '.id[0:8]' | tail -1)

try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
try "no directory" 2 "argument is missing" vb mount
try "a directory that is not there" 1 "No such file" vb mount "$T/nowhere"
try "one that is none" 2 "not a directory" vb mount "$T/vbackup.conf"
try "no repository" 1 "" vb mount --repo "$T/none" "$T/mnt"
[ -c /dev/fuse ] && ( : < /dev/fuse ) 2> /dev/null || { skip "mounting" "/dev/fuse cannot be opened here"; done_testing; }

mounted=
tap_cleanup() { [ -z "$mounted" ] || kill "$mounted" 2> /dev/null; wait "$mounted" 2> /dev/null; umount -l "$T/mnt" 2> /dev/null; scenario_cleanup; }
mount_it() { # ARGUMENT...
    : > "$T/log"
    vbackup mount "$T/mnt" "$@" > "$T/log" 2> "$T/err" & mounted=$!
    for _ in $(seq 600); do
        grep -q . "$T/log" && return 0
        kill -0 "$mounted" 2> /dev/null || return 1
        sleep 0.1
    done
    return 1
}
unmount_it() { kill -TERM "$mounted"; wait "$mounted"; status=$?; mounted=; }
if ! mount_it; then
    if [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then fail "it mounts" "$(cat "$T/err")"; else skip "mounting" "$(tail -1 "$T/err")"; fi
    mounted=
    done_testing
fi
unmount_it
# several file sets of one path, and one below: each shows all of it
mkdir -p "$T/two/sub/deep"; for f in a.db b.log sub/c.db sub/d.log sub/deep/e.log; do echo "$f" > "$T/two/$f"; done
printf '[requester]\nname = web\nallow-live = yes\n[writer files]\ncomponent = two\ntwo.path = %s\ntwo.include = *.db\ntwo.include = *.log\ncomponent = deep\ndeep.path = %s\ndeep.include = *.none\n' \
    "$T/two" "$T/two/sub/deep" > "$T/two.conf"
chmod 600 "$T/two.conf"
mkdir -m 700 "$T/run2"
VBACKUP_CONFIG=$T/two.conf vbackup init -q --repo "$T/repo2" > /dev/null
VBACKUP_RUNTIME_DIR=$T/run2 VBACKUP_STATE_DIR=$T/state2 VBACKUP_CONFIG=$T/two.conf vbackup backup -q --repo "$T/repo2" > "$T/log" 2>&1 || fail "two file sets are backed up" "$(cat "$T/log")"
mount_it --repo "$T/repo2" || fail "it mounts" "$(cat "$T/err")"
two=$T/mnt/by-host/web/latest$T/two
ok "all of several file sets of one path" diff -r "$T/two" "$two"
is "each name once" "$(ls "$two" "$two/sub" | paste -sd' ')" "$two: a.db b.log sub  $two/sub: c.db d.log deep"
ok "by component, too" diff -r "$T/two" "$(ls -d "$T/mnt/by-component/web/"*/two/2*)$T/two"
unmount_it
mount_it || fail "it mounts again" "$(cat "$T/err")"
M=$T/mnt
like "it says so" "$(cat "$T/log")" "2 backups mounted at"
is "three views" "$(ls "$M" | paste -sd' ')" "by-component by-host by-time"
one=$(ls -d "$M/by-time/"*"-$first/web") && two=$(ls -d "$M/by-time/"*"-$second/web")
ok "the first backup by time, byte by byte" diff -r --no-dereference --exclude=fifo "$T/before" "$one$S"
ok "the second one by host" diff -r --no-dereference --exclude=fifo "$S" "$M/by-host/web/"*"-$second$S"
ok "latest is the second" cmp "$M/by-host/web/latest$S/d/f1" "$S/d/f1"
is "by component" "$(cat "$M/by-component/web/"*/*/*"-$second$S/d/f1" | head -1)" second
same() { stat -c '%n %A %U %G %s %Y %F' -- f?; stat -c '%n %A %U %G %Y %F' -- e; }
is "modes, owners, sizes, times and types" "$(cd "$one$S/d" && same)" "$(cd "$T/before/d" && same)"
is "nanoseconds" "$(stat -c %y "$one$S/d/f2")" "$(stat -c %y "$T/before/d/f2")"
is "a symbolic link" "$(readlink "$one$S/link")" d/f1
is "a pipe is a pipe" "$(stat -c %F "$one$S/fifo")" "fifo"
is "an extended attribute" "$(getfattr --only-values -n user.note "$one$S/d/f3" 2> /dev/null)" "$(getfattr --only-values -n user.note "$T/before/d/f3" 2> /dev/null)"
is "from the middle of a file" "$(dd if="$one$S/d/f3" bs=1 skip=333333 count=5000 status=none | cksum)" "$(dd if="$T/before/d/f3" bs=1 skip=333333 count=5000 status=none | cksum)"
is "across the ends of holes" "$(dd if="$one$S/holes" bs=1000 skip=2999 count=3 status=none | cksum)" "$(dd if="$T/before/holes" bs=1000 skip=2999 count=3 status=none | cksum)"
is "the end" "$(tail -c 3000000 "$one$S/holes" | cksum)" "$(tail -c 3000000 "$T/before/holes" | cksum)"
not_ok "what is not there" test -e "$one$S/nowhere"
not_ok "nothing can be written" touch "$one$S/new"
not_ok "or changed" sh -c "echo x >> '$one$S/d/f1'"
not_ok "or removed" rm -f "$one$S/d/f1"
is "many names in one directory" "$(ls "$one$S/d/e" | wc -l)" 400
ok "twice, out of the cache" diff -r --no-dereference --exclude=fifo "$T/before" "$one$S"
unmount_it
is "a signal ends it" "$status" 0
not_ok "and nothing is mounted" mountpoint -q "$M"

# damage: an error, and never other bytes
for pack in "$T/repo/packs/"*/*; do
    [ -n "$big" ] && [ "$(stat -c %s "$pack")" -lt "$(stat -c %s "$big")" ] || big=$pack
done
chmod u+w "$big"; printf 'XXXXXXXX' | dd of="$big" bs=1 seek=100000 conv=notrunc status=none
ok "damaged, it mounts" mount_it
wrong=0 errors=0
for f in "$one$S/d/"f? "$one$S/holes"; do
    if cat "$f" > "$T/read" 2> /dev/null; then cmp -s "$T/read" "$T/before/${f#"$one$S/"}" || wrong=$((wrong + 1)); else errors=$((errors + 1)); fi
done
is "nothing is read wrong, one file is an error" "$wrong $errors" "0 1"
unmount_it
like "the reason is told" "$(cat "$T/err")" "data chunk"

# an ordinary user
if [ "$(id -u)" = 0 ] && command -v fusermount3 > /dev/null && command -v setpriv > /dev/null && id nobody > /dev/null 2>&1; then
    mkdir "$T/user" && cp -a "$T/repo" "$T/user/repo" && cp "$T/before/d/f2" "$T/user/f2" && cat "$VBACKUP_PASSWORD_FILE" > "$T/user/password"
    mkdir "$T/user/mnt" "$T/user/state"; chown -R nobody "$T/user"; chmod 755 "$T"
    cat > "$T/user/try" <<END
#!/bin/sh
export VBACKUP_PASSWORD_FILE=$T/user/password VBACKUP_STATE_DIR=$T/user/state VBACKUP_CONFIG= HOME=$T/user
vbackup mount --repo $T/user/repo $T/user/mnt > $T/user/log 2>&1 & pid=\$!
for i in \$(seq 600); do grep -qs . $T/user/log && break; sleep 0.1; done
cmp $T/user/mnt/by-time/*-$first/web$S/d/f2 $T/user/f2 && echo same
fusermount3 -u $T/user/mnt && wait \$pid && echo ended
END
    chmod 755 "$T/user/try"
    unset VBACKUP_CONFIG VBACKUP_REPOSITORY
    # /dev/fuse as it is on an ordinary machine, for this test alone
    out=$(timeout 120 unshare -m sh -c "[ -w /dev/fuse ] && mknod '$T/fuse' c 10 229 && chmod 666 '$T/fuse' && mount --bind '$T/fuse' /dev/fuse; "'exec "$@"' - \
        setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups sh "$T/user/try" 2>&1)
    if grep -q "Operation not permitted\|not permitted\|Permission denied" "$T/user/log" && ! grep -q same <<< "$out"; then
        skip "an ordinary user mounts, reads and unmounts" "$(head -1 "$T/user/log")"
    else
        is "an ordinary user mounts, reads and unmounts" "$out" "same
ended"
    fi
    umount -l "$T/user/mnt" 2> /dev/null
else
    skip "an ordinary user mounts, reads and unmounts" "root, fusermount3 and setpriv are needed for this"
fi
done_testing
