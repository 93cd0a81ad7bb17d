#!/usr/bin/env bash
# tests/scenario/test_restore.sh - what people do with a backup of plain paths, without a configuration: back where it was, only with
# consent where something is there.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_CONFIG
export HOME=$T/home XDG_CONFIG_HOME=$T/home/.config
mkdir -p "$T/home" "$T/data/sub/deep" "$T/single"
echo one > "$T/data/a"
echo two > "$T/data/sub/b"
echo deep > "$T/data/sub/deep/c"
ln -s a "$T/data/link"
echo alone > "$T/single/file"; echo other > "$T/single/other"
cp -a "$T/data" "$T/before"
ok "init" vb init -q
ok "backup of two paths, one of them a file" vb backup -q --allow-live "$T/data" "$T/single/file"

# ---- back where it was ----
out=$(vb restore 2>&1); status=$?
is "over existing data without consent: exit status" "$status" 5
like "... and what to do" "$out" "hint: .*--target.*--overwrite"
rm -rf "$T/data" "$T/single/file"
out=$(vb restore latest 2>&1); status=$?
is "what is gone comes back where it was: exit status" "$status" 0
ok "... as it was" diff -r --no-dereference "$T/before" "$T/data"
is "... the single file too" "$(cat "$T/single/file")" alone
is "... and nothing else in its directory is touched" "$(cat "$T/single/other")" other
echo spoilt > "$T/data/a"
ok "over existing data with consent" vb restore -q --overwrite
is "... as it was" "$(cat "$T/data/a")" one

# ---- single files and directories ----
rm "$T/data/a"; rm -r "$T/data/sub"
ok "one file" vb restore -q latest "$T/data/a"
is "... is back" "$(cat "$T/data/a")" one
is "... alone" "$(ls "$T/data")" "a
link"
cd "$T" || exit 1
ok "a directory, named relative to here, of the latest backup" vb restore -q data/sub/deep
is "... is back" "$(cat "$T/data/sub/deep/c")" deep
is "... alone" "$(ls "$T/data/sub")" deep
out=$(vb restore "$T/data/a" "$T/data/sub" 2>&1); status=$?
is "what is there already needs consent: exit status" "$status" 5
like "... naming what is there" "$out" "$T/data/a|data/sub/deep/c"
ok "... with it" vb restore -q --overwrite "$T/data/a" "$T/data/sub" "$T/data/sub/deep"
ok "... as it was" diff -r --no-dereference "$T/before" "$T/data"
ok "below another place" vb restore -q latest "$T/data/sub" --target "$T/out"
is "... with its full path, and nothing else" "$(cd "$T/out" && find . -type f | sort)" ".$T/data/sub/b
.$T/data/sub/deep/c"
out=$(vb restore "$T/data/a" "$T/data/nothing" 2>&1); status=$?
is "a path that is not in the backup: exit status" "$status" 1
like "... which one, and where to look" "$out" "data/nothing' is not in backup.*"
like "... and where to look" "$out" "hint: .*vbackup ls"
out=$(vb plan restore "$T/data/sub" --json | jq -r '"\(.in_place) \(.paths[0])"')
is "the plan of it" "$out" "true $T/data/sub"
cd / || exit 1

# ---- what there is ----
like "list says what was backed up" "$(vb list)" "complete +none .* $T/data, $T/single/file"
like "show says how each volume was read" "$(vb show)" "^  volume [^ ]+:/.* \(.*\): (read live|snapshot by)"
like "... and what is in the component" "$(vb show)" "^      $T/data$"
is "... and in JSON" "$(vb show --json | jq -r '.volumes[0].provider | . == "live" or . == "btrfs" or . == "reflink"')" true
is "ls of one directory" "$(vb ls "$T/data/sub" | awk '{ print $NF }')" "$T/data/sub
$T/data/sub/b
$T/data/sub/deep
$T/data/sub/deep/c"
like "ls shows owner, time and target" "$(vb ls "$T/data/link")" "^l0777 +[^ ]+ +[^ ]+ +1 20..-.*Z $T/data/link -> a"
is "ls of one component, as JSON" "$(vb ls -C "files writer:paths" --json | jq -r 'select(.type == "-") | .path' | wc -l)" 4
out=$(vb ls "$T/nothing" 2>&1); is "ls of what is not there: exit status" "$?" 1

like "check says what it looked at" "$(vb check --read-data)" "^no damage found in 1 backup, .* \(every byte was read\)"

# ---- as a tar stream ----
mkdir -p "$T/tree/dir/empty"
printf 'x%.0s' $(seq 5000) > "$T/tree/file"; ln "$T/tree/file" "$T/tree/dir/hard"; ln -s ../file "$T/tree/dir/soft"
mkfifo "$T/tree/pipe"
truncate -s 3M "$T/tree/hole"
truncate -s 4M "$T/tree/sparse"; echo middle | dd of="$T/tree/sparse" bs=1 seek=2000000 conv=notrunc 2> /dev/null
touch -d '2001-02-03 04:05:06.123456789' "$T/tree/dir"
chmod 4711 "$T/tree/dir/hard"; chmod 1777 "$T/tree/dir/empty"
long=$(printf 'n%.0s' $(seq 250)); mkdir -p "$T/tree/$long/$long"; echo long > "$T/tree/$long/$long/$long"
echo odd > "$T/tree/$(printf 'bad\377name')"
if setfattr -n user.test -v value "$T/tree/file" 2> /dev/null; then xattrs=yes; else xattrs=; fi
if setfacl -m u:1234:rw "$T/tree/sparse" 2> /dev/null; then acls=yes; else acls=; fi
listing() { # every attribute
    (cd "$1" && find . -printf '%p %y %m %U %G %s %T@ %n %l\n' | sort; cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum
     [ -z "$xattrs" ] || getfattr -R -d -m '^user' . ; [ -z "$acls" ] || getfacl -R -n . ) 2> /dev/null
}
ok "a backup of a tree with everything" vb backup -q --allow-live "$T/tree"
mkdir "$T/x"
vb export latest 2> "$T/err" | tar -x --xattrs --acls -p -C "$T/x" 2> "$T/tar.err"
is "export | tar -x is the tree with all its attributes" "$(listing "$T/x$T/tree")" "$(listing "$T/tree")"
is "... hard links are links" "$(stat -c %i "$T/x$T/tree/file")" "$(stat -c %i "$T/x$T/tree/dir/hard")"
is "... holes are holes" "$(($(stat -c %b "$T/x$T/tree/sparse") + $(stat -c %b "$T/x$T/tree/hole") < 1000))" 1
like "... and it says what it did" "$(cat "$T/err")" "exported [0-9]+ files"
is "one file" "$(vb export -q latest "$T/tree/$long/$long/$long" | tar -xO)" long
is "one directory" "$(vb export -q "$T/tree/dir" | tar -t | sort)" "$(cd / && find "${T#/}/tree/dir" -type d -printf '%p/\n' -o -printf '%p\n' | sort)"
out=$(vb export --json "$T/tree/dir" -o "$T/o.tar" | jq -r '"\(.message_type) \(.files) \(.left_out)"')
is "into a file, with --json" "$out" "summary 2 0"
is "... which is a whole archive" "$(tar -tf "$T/o.tar" | wc -l)" 4
out=$(vb export -o "$T/o.tar" 2>&1); status=$?
is "a file that is there is not overwritten: exit status" "$status" 5
out=$(vb export "$T/nothing" -o "$T/none.tar" 2>&1); status=$?
is "a path that is not in the backup: exit status" "$status" 1
is "... leaves no file" "$(ls "$T"/none.tar 2> /dev/null)" ""

# ---- several hosts ----
if remote_available; then
    mkdir -p "$T/here" "$T/there/sub"; echo here > "$T/here/a"; echo there > "$T/there/sub/b"; echo more > "$T/there/c"
    { printf '[requester]\nname = front\nallow-live = yes\n'; remote_host backend
      printf '[writer files]\ncomponent = web\nweb.path = %s\nweb.depends = 5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0002|\\\\backend\\|db\n' "$T/here"
    } > "$T/two.conf"
    printf '[writer files]\ncomponent = db\ndb.path = %s\n' "$T/there" > "$T/backend.conf"
    export VBACKUP_RUNTIME_DIR=$T/run2 VBACKUP_STATE_DIR=$T/state2; mkdir -m 700 "$T/run2" # an agent that knows this file
    ok "a backup of two hosts" vb -c "$T/two.conf" backup -q
    rm -r "$T/there/sub"
    ok "one directory of the back end, in place" vb -c "$T/two.conf" restore -q "$T/there/sub"
    is "... is back" "$(cat "$T/there/sub/b")" there
    is "the archive has a directory for each host" "$(vb export -q | tar -t | cut -d/ -f1 | sort -u)" "backend
front"
    is "... or one host without it" "$(vb export -q --host backend "$T/there/c" | tar -xO)" more
    is "... or one component" "$(vb export -q -C "backend/files writer:db" | tar -t | grep -c '/b$')" 1
else
    skip "several hosts" "no sshd here"
fi
out=$(vb export --json 2> /dev/null | jq -r .code); is "--json without --output is refused" "$out" USAGE
done_testing
