#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The writers in the box that replicate: a real nginx on another port as the target, and lists of packages.
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_REPOSITORY
remote_available || skip_all "$SSHD_WHY"
nginx=$(PATH=$PATH:/usr/sbin command -v nginx)

# --- source here, target behind sshd, on the same machine ---
cat > "$T/far-vbackup" <<END
#!/bin/sh
export VBACKUP_STATE_DIR="$T/state-far" VBACKUP_CONFIG="$T/far.conf" VBACKUP_WRITER_PATH="$VBACKUP_WRITER_PATH"
export VBACKUP_LIBEXECDIR="$VBACKUP_LIBEXECDIR" ASAN_OPTIONS="${ASAN_OPTIONS:-}"
exec "$abs_top_builddir/vbackup" "\$@"
END
chmod 755 "$T/far-vbackup"
chmod 711 "$T"
export VBACKUP_REMOTE_COMMAND="$T/far-vbackup"
hosts() {
    cat <<END
[host far]
address = $SSHD_HOST
port = $SSHD_PORT
user = $SSHD_USER
identity = $SSHD_DIR/id_ed25519
known-hosts = $SSHD_DIR/known_hosts
END
}
scopes() { # WRITER
    mkdir -p "$T/files-$1" "$T/far-files-$1" "$T/state-far"
    vb scope add "$1" "$T/files-$1" --writer "$1" -q || return 1
    guid=$(vb scope list "$1" --json | sed 's/.*"guid":"\([^"]*\)".*/\1/')
    "$T/far-vbackup" scope add "$1" "$T/far-files-$1" --join "$guid" --writer "$1" -q
}
run() { vb replicate "$@" > "$T/out" 2>&1; status=$?; }

# --- packages ---
list() { printf 'ii  %s amd64\n' "$@"; }
manual() { printf '%s\n' "$@"; }
list alpha beta gamma > "$T/src-list"
manual alpha gamma > "$T/src-manual"
{ list beta omega; printf 'rc  alpha amd64\n'; } > "$T/far-list"
manual omega > "$T/far-manual"
cat > "$T/fake-apt" <<END
#!/bin/sh
[ "\$1" = install ] || { echo "\$@" >> '$T/marked'; exit 0; }
shift
echo "\$@" >> '$T/installed'
for p; do echo "ii  \${p%:*} \${p#*:}" >> '$T/far-list'; done
END
chmod 755 "$T/fake-apt"
{ hosts; printf '[writer packages]\ndpkg-query = cat %s/src-list\napt-mark = cat %s/src-manual\n' "$T" "$T"; } > "$T/vbackup.conf"
far_packages() {
    printf '[writer packages]\ndpkg-query = cat %s/far-list\napt-mark = cat %s/far-manual\napt-get = %s/fake-apt install\n' "$T" "$T" "$T"
    printf 'apt-mark-auto = %s/fake-apt auto\n' "$T"
    printf '%s\n' "$@"
}
chmod 600 "$T/vbackup.conf"
far_packages > "$T/far.conf"
scopes packages || bail "no scopes"
run packages far:packages
is "a list of packages is carried" "$status" 0
like "... the target tells what it lacks" "$(cat "$T/out")" "2 packages of the source are missing here: alpha:amd64, gamma:amd64"
is "... in a file" "$(cat "$T/state-far/writers/packages/missing")" "$(printf 'alpha:amd64\ngamma:amd64')"
ok "... and installs nothing by itself" test ! -e "$T/installed"
run packages far:packages
like "... but tells it again" "$(cat "$T/out")" "writers carried over: packages"
far_packages "install = yes" > "$T/far.conf"
run packages far:packages
is "with consent it is installed" "$status" 0
is "... what is missing, and no more" "$(cat "$T/installed")" "alpha:amd64 gamma:amd64"
ok "... marked as at the source" test ! -e "$T/marked"
run packages far:packages
unlike "... then both are alike, whatever the target has in addition" "$(cat "$T/out")" "writers carried over"
list delta >> "$T/src-list"
run packages far:packages
like "a new one is carried" "$(cat "$T/out")" "writers carried over: packages"
is "... and marked as automatic" "$(cat "$T/marked")" "auto delta:amd64"
printf 'apt-get = false\n' >> "$T/far.conf"
list epsilon >> "$T/src-list"
run packages far:packages
is "what cannot be installed fails" "$status" 1
like "... with its reason" "$(cat "$T/out")" "writer 'packages': deserialize: the packages cannot be installed"
if command -v dpkg-query > /dev/null && command -v apt-mark > /dev/null; then
    { hosts; echo '[writer packages]'; } > "$T/vbackup.conf"
    echo '[writer packages]' > "$T/far.conf"
    run packages far:packages
    is "the real dpkg and apt-mark are understood" "$status" 0
    unlike "... and the same system is alike" "$(cat "$T/out")" "missing here"
else
    skip "the real dpkg" "no dpkg-query or apt-mark"
fi

# --- nginx ---
if [ -z "$nginx" ]; then
    skip "nginx" "it is not installed (nginx-light)"
    done_testing
    exit
fi
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
P=$(port) Q=$(port)
get() { # PORT: the body, once the server has it
    { exec 9<> "/dev/tcp/127.0.0.1/$1" && printf 'GET / HTTP/1.0\r\nHost: x\r\n\r\n' >&9 && tr -d '\r' <&9 | sed '1,/^$/d'; exec 9>&-; } 2> /dev/null
}
comes() { # TEXT: served soon
    local i
    for i in $(seq 300); do
        [ "$(get "$Q")" = "$1" ] && return 0
        sleep 0.1
    done
    get "$Q"
    return 1
}
base() { # DIRECTORY
    cat <<END
pid nginx.pid;
error_log error.log;
events {}
http {
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    include sites-enabled/*;
}
END
}
site() { # PORT TEXT
    printf 'server {\n    listen 127.0.0.1:%s;\n    server_name www-a.example.org;\n    location / { return 200 "%s\\n"; }\n}\n' "$1" "$2"
}
mkdir -p "$T/src/etc/sites-available" "$T/src/etc/sites-enabled" "$T/src/certs" "$T/far/etc/sites-enabled"
base > "$T/src/etc/nginx.conf"
site "$P" "from the source" > "$T/src/etc/sites-available/shop"
ln -s ../sites-available/shop "$T/src/etc/sites-enabled/shop"
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=www-a.example.org -keyout "$T/src/certs/key.pem" -out "$T/src/certs/cert.pem" 2> /dev/null
chmod 600 "$T/src/certs/key.pem"
base > "$T/far/etc/nginx.conf"
site "$Q" "old" > "$T/far/etc/sites-enabled/default"
{
    hosts
    printf '[writer nginx]\nroot = %s/src/etc\ncertificates = %s/src/certs\ncommand = %s -p %s/src -c %s/src/etc/nginx.conf\npid = %s/src/nginx.pid\n' \
        "$T" "$T" "$nginx" "$T" "$T" "$T"
} > "$T/vbackup.conf"
far_nginx() {
    printf '[writer nginx]\nroot = %s/far/etc\ncertificates = %s/far/certs\ncommand = %s -p %s/far -c %s/far/etc/nginx.conf\npid = %s/far/nginx.pid\n' \
        "$T" "$T" "$nginx" "$T" "$T" "$T"
    printf 'substitutions = %s/words\nlocal = local-*\n' "$T"
    printf '%s\n' "$@"
} > "$T/far.conf"
printf '127.0.0.1:%s => 127.0.0.1:%s\nwww-a.example.org => www-b.example.org\n%s/src => %s/far\n' "$P" "$Q" "$T" "$T" > "$T/words"
far_nginx
far_server() { "$nginx" -p "$T/far" -c "$T/far/etc/nginx.conf" "$@" 2>> "$T/far.log"; }
stop_server() { ! [ -s "$T/far/nginx.pid" ] || kill "$(cat "$T/far/nginx.pid")" 2> /dev/null; }
tap_cleanup() { stop_server; scenario_cleanup; }
ok "a server runs at the target" far_server
ok "... with its old configuration" comes old
echo mine > "$T/far/etc/local-note"
scopes nginx || bail "no scopes"
echo page > "$T/files-nginx/page"
run nginx far:nginx
is "the configuration is carried" "$status" 0
like "... which is told" "$(cat "$T/out")" "writers carried over: nginx"
ok "... and served, on the target's own port" comes "from the source"
like "... under the target's own name" "$(cat "$T/far/etc/sites-available/shop")" "server_name www-b.example.org"
is "... links are links" "$(readlink "$T/far/etc/sites-enabled/shop")" ../sites-available/shop
ok "... what was there only is gone" test ! -e "$T/far/etc/sites-enabled/default"
is "... but not the host's own files" "$(cat "$T/far/etc/local-note")" mine
ok "... certificates came, too" cmp "$T/src/certs/key.pem" "$T/far/certs/key.pem"
is "... as secret as they were" "$(stat -c %a "$T/far/certs/key.pem")" 600
ok "... the configuration before is kept" test -e "$T/far/etc.vbackup-previous/sites-enabled/default"
is "... and the scope's files are there" "$(cat "$T/far-files-nginx/page")" page
run nginx far:nginx
unlike "then both are alike" "$(cat "$T/out")" "writers carried over"
echo "# by hand" >> "$T/far/etc/nginx.conf"
run nginx far:nginx
like "what was edited there differs" "$(cat "$T/out")" "writers carried over: nginx"
unlike "... and is set right" "$(cat "$T/far/etc/nginx.conf")" "by hand"
printf 'nowhere.example.org => x\n' >> "$T/words"
run nginx far:nginx
like "a changed substitution makes it differ, one that fits nothing is told" "$(cat "$T/out")" "'nowhere.example.org' stands nowhere"
site "$P" "broken" > "$T/src/etc/sites-available/shop"
echo "nonsense on;" >> "$T/src/etc/sites-available/shop"
before=$(cat "$T/far/etc/sites-available/shop")
run nginx far:nginx
is "a configuration that the server refuses fails" "$status" 1
like "... with what it says" "$(cat "$T/out")" 'writer .nginx.: deserialize: the server refuses the configuration: .*unknown directive "nonsense"'
is "... the old one is back" "$(cat "$T/far/etc/sites-available/shop")" "$before"
ok "... nothing lies about" test ! -e "$T/far/etc.vbackup-new"
ok "... and is still served" comes "from the source"
site "$P" "second" > "$T/src/etc/sites-available/shop"
far_nginx "test = sleep 30"
vb scope set nginx --writer-limit 4s
run nginx far:nginx
like "a test that hangs is killed" "$(cat "$T/out")" "did not answer deserialize within 4 s"
like "... in the middle of the change" "$(cat "$T/far/etc/sites-available/shop")" second
far_nginx
vb scope set nginx --writer-limit 5m
run nginx far:nginx -n
is "... which is taken back when the writer starts again" "$(cat "$T/far/etc/sites-available/shop")" "$before"
run nginx far:nginx
is "... and made anew" "$status" 0
ok "... to be served" comes second
printf 'no arrow\n' > "$T/words"
run nginx far:nginx
like "a broken substitution is named with its line" "$(cat "$T/out")" "words:1: this is no substitution"
done_testing
