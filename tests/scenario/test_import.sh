#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# import: archives and streams as backups, if they are whole and mean no harm.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
command -v tar > /dev/null && command -v python3 > /dev/null || skip_all "tar or python3 is not installed"
printf '[requester]\nname = web\nallow-live = yes\n' > "$T/vbackup.conf"
chmod 600 "$T/vbackup.conf"
vb init -q > /dev/null || bail "no repository"
S=$T/src; mkdir -p "$S/d/e"
head -c 700000 /dev/urandom > "$S/d/large"; echo one > "$S/one"; ln "$S/one" "$S/d/two"; ln -s ../one "$S/d/link"; mkfifo "$S/fifo"
printf x > "$S/holes"; truncate -s 900000 "$S/holes"; chmod 4751 "$S/one"; touch -d '2001-02-03 04:05:06.789' "$S/d"
: > "$S/empty"; echo odd > "$S/$(printf 'a\nb')"; setfattr -n user.note -v kept "$S/d/large" 2> /dev/null

try() { # NAME STATUS REGEX COMMAND...
    local name=$1 want=$2 regex=$3 status; shift 3
    out=$("$@" 2>&1 < /dev/null); status=$?
    is "$name: exit status" "$status" "$want"
    [ -z "$regex" ] || like "$name: says" "$out" "$regex"
}
count() { vb list --json | wc -l; }

# ---- whole ones ----
tar -C "$T" --format=pax --xattrs -cSf "$T/pax.tar" src
tar -C "$T" --format=gnu -cf "$T/gnu.tar" src
try "a pax archive" 0 "files, .*imported" vb import --name www "$T/pax.tar"
out=$(vb import -q < "$T/gnu.tar" 2>&1); is "a GNU archive on standard input" "$?" 0
mkdir "$T/out"; vb export -q -o "$T/back.tar" "$(vb list --json | jq -r .id | head -1)" && tar -C "$T/out" -xf "$T/back.tar" --xattrs
ok "what comes out is what went in" diff -r --no-dereference --exclude=fifo "$S" "$T/out/src"
same() { (cd "$1" && find . ! -name holes -printf '%P %y %m %U %G %T@ %l\n' | sort); }
is "modes, owners, times and types" "$(same "$T/out/src")" "$(same "$S")"
is "hard links" "$(stat -c %h "$T/out/src/one")" 2
is "holes" "$(stat -c %b "$T/out/src/holes")" "$(stat -c %b "$S/holes")"
is "attributes" "$(getfattr --only-values -n user.note "$T/out/src/d/large" 2> /dev/null)" "$(getfattr --only-values -n user.note "$S/d/large" 2> /dev/null)"
is "the component has the name" "$(vb find one --component import:www --json | jq -r .path)" /src/one
ok "one file of it" cmp <(vb cat latest /src/d/large) "$S/d/large"
is "the second stored next to nothing" "$(vb list --json | jq -s '.[1].added_stored < 100000')" true
try "below a path, of a host" 0 "" vb import -q --path /srv --host db1 "$T/pax.tar"
is "is there" "$(vb find one --host db1 --json | jq -r .path)" /srv/src/one
try "from a command" 0 "imported" vb import --from-command "tar -C $T -c src"
try "a stream from a command" 0 "1 files" vb import --from-command "cat $S/d/large" --stream dump.sql --path /dumps
ok "byte by byte" cmp <(vb cat latest /dumps/dump.sql) "$S/d/large"
: > "$T/nothing"; try "a stream of nothing" 0 "1 files" vb import --stream empty "$T/nothing"
try "all is whole" 0 "no damage" vb check --read-data

# ---- what is not, does not count ----
n=$(count)
printf '#!/bin/sh\ntar -C %s -c src; exit 3\n' "$T" > "$T/fails"; chmod 755 "$T/fails"
try "a command that fails at the end" 1 "exit status 3" vb import --from-command "$T/fails"
try "a stream whose command fails" 1 "exit status 1" vb import --stream x --from-command false
try "a command that is none" 7 "" vb import --from-command "$T/nowhere"
try "no command" 2 "is empty" vb import --from-command " "
try "a stream on standard input" 2 "does not tell whether it is whole" sh -c "echo x | vbackup import --stream x"
try "a file that is not there" 1 "No such file" vb import "$T/nowhere"
size=$(stat -c %s "$T/gnu.tar")
for cut in 100 512 5000 $((size / 2)) $((size - 10240)); do
    head -c "$cut" "$T/gnu.tar" > "$T/cut.tar"
    try "cut off after $cut bytes" 1 "damaged|ends before its end mark|cut off" vb import "$T/cut.tar"
done
try "no archive" 1 "no tar archive|damaged" vb import "$T/vbackup.conf"
gzip -c "$T/gnu.tar" > "$T/gnu.tar.gz"
try "a compressed one" 1 "no tar archive|damaged" vb import "$T/gnu.tar.gz"
try "nothing at all" 1 "end mark|damaged|no tar" vb import "$T/nothing"
for o in "--path src" "--name a/b" "--name=" "--host -x"; do
    # shellcheck disable=SC2086
    try "option that is none, $o" 2 "not" vb import $o "$T/gnu.tar"
done

# cut off behind a file that ends in zeros: no end mark
mkdir "$T/cut"; { head -c 5000 /dev/urandom; head -c 4216 /dev/zero; } > "$T/cut/m"; echo z > "$T/cut/z"
tar -C "$T/cut" -cf - m z | head -c $((512 + 9216)) > "$T/zeros.tar"
try "zeros of a file are no end mark" 1 "end mark" vb import "$T/zeros.tar"
{ cat "$T/zeros.tar"; head -c 512 /dev/zero; } > "$T/half.tar"
try "nor is half of one" 1 "end mark" vb import "$T/half.tar"
{ cat "$T/zeros.tar"; head -c 1024 /dev/zero; } > "$T/whole.tar"
try "a whole one is" 0 "1 files" vb import "$T/whole.tar"
n=$(count)

printf '#!/bin/sh\ntrap "" PIPE\nhead -c 10240 /dev/urandom\nexec sleep 600\n' > "$T/stubborn"; chmod 755 "$T/stubborn"
try "a command that prints nonsense and does not end" 1 "no tar archive|damaged" timeout 60 vbackup import --from-command "$T/stubborn"

# ---- hostile ones ----
cat > "$T/hostile.py" <<'END'
import io, sys, tarfile
def tar(name, *members):
    t = tarfile.open(sys.argv[1] + "/" + name + ".tar", "w")
    for m in members:
        i = tarfile.TarInfo(m[0]); i.type = m[1]; i.mtime = 1
        data = b"evil" if i.type == tarfile.REGTYPE else b""
        i.size = len(data); i.linkname = m[2] if len(m) > 2 else ""
        t.addfile(i, io.BytesIO(data))
    t.close()
R, D, L, H = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
tar("dots", ("../evil", R)); tar("middle", ("a", D), ("a/../../evil", R)); tar("through", ("a", L, "/etc"), ("a/passwd", R))
tar("below", ("a", R), ("a/b", R)); tar("swap", ("a/b", R), ("a", L, "/etc")); tar("away", ("a", H, "/etc/passwd"))
tar("later", ("a", H, "b"), ("b", R)); tar("todir", ("d", D), ("a", H, "d")); tar("deep", ("/".join(["x"] * 1200), R))
tar("fine", ("/abs/file", R), ("./rel", R), ("twice", R), ("twice", R))
END
mkdir "$T/bad"; python3 "$T/hostile.py" "$T/bad"
for f in dots middle through below swap away later todir deep; do
    try "hostile: $f" 1 "leads out|no directory|something else|not in the archive|directory|too deep" vb import "$T/bad/$f.tar"
done
is "none of these is a backup" "$(count)" "$n"
try "absolute names lose their beginning, the last of two counts" 0 "3 files" vb import "$T/bad/fine.tar"
is "and nothing was written outside" "$(ls "$T/bad" | wc -l)" 10
try "the repository is whole" 0 "no damage" vb check --read-data
try "restore has no writer for it" 1 "hint: name another one" vb restore latest --target "$T/r"
done_testing
