#!/usr/bin/env bash
# tests/scenario/test_cli.sh - the command line itself: usage errors, malformed configuration with file and line, and --json that is
# JSON and nothing else, in success and failure, for every verb.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
mkdir "$T/data"; echo one > "$T/data/a"
good() { printf '[requester]\nallow-live = yes\nname = here\n[writer null]\ncomponent = app\napp.path = %s\n' "$T/data" > "$T/vbackup.conf"; chmod 600 "$T/vbackup.conf"; }
good

# ---- usage: exit status 2, and a hint ----
usage() { # NAME ARGUMENT...
    local name=$1; shift
    out=$(vb "$@" 2>&1 < /dev/null); status=$?
    is "usage, $name: exit status" "$status" 2
    like "usage, $name: what to do" "$out" 'usage:|hint:|--help'
}
usage "unknown verb" frobnicate
usage "unknown option" list --frobnicate
usage "option without its value" backup --lease
usage "too many arguments" list one
usage "missing argument" writers metadata
usage "duration that is none" backup --lease soon
usage "policy that is none" backup --on-missing maybe
usage "type that is none" backup --type half
usage "map that is none" restore --repo "$T/none" --map backend
usage "compression that is none" init --compression 99
usage "unknown shell" completion tcsh
VBACKUP_REPOSITORY='' usage "no repository" list
good
is "options of every verb may stand before it" "$(vb --json -c "$T/vbackup.conf" host list | jq -r .message_type | head -1)" \
    "$(vb host list --json | jq -r .message_type | head -1)"
usage "only options" --json --quiet
json_usage() { # NAME ARGUMENT...: one object and nothing else on standard output
    local name=$1; shift
    out=$(vb "$@" 2> /dev/null < /dev/null | jq -r 'select(.message_type == "error" and .hint != null) | "\(.code) \(.exit_status)"')
    is "usage with --json, $name: an error object" "$out" "USAGE 2"
}
json_usage "unknown verb" frobnicate --json
json_usage "unknown option" list --json --frobnicate
json_usage "unknown letter" list --json -Z
json_usage "option without its value" backup --json --lease
json_usage "value for a flag" backup --json --dry-run=5
json_usage "too many arguments" list --json one
json_usage "missing argument" writers metadata --json
json_usage "duration that is none" backup --json --lease soon
VBACKUP_REPOSITORY='' json_usage "no repository" list --json
for verb in init backup restore "plan backup" "plan restore" list show ls export check resume writers "writers metadata" "host list" \
    "host test" "shadow create" "shadow list" "shadow providers" "shadow volumes" "shadow writers" "shadow delete" \
    "shadow expose" "shadow unexpose" "shadow set" "shadow import" "shadow export" "shadow run" "shadow break" "shadow revert" "key list" "key add" "key change" "key remove" "key sheet" recover-requester forget prune find cat diff stats copy mount import completion \
    "scope add" "scope set" "scope list" "scope rm" "scope serve" lock unlock status resolve replicate "bundle create" "bundle verify" "bundle apply" "bundle ack"; do
    # shellcheck disable=SC2086
    ok "help of $verb" vb $verb --help
    page=$abs_top_srcdir/doc/vbackup-${verb%% *}.1
    case $verb in lock | unlock) page=$abs_top_srcdir/doc/vbackup-scope.1 ;; resolve) page=$abs_top_srcdir/doc/vbackup-status.1 ;; esac
    # shellcheck disable=SC2086
    missing=$(vb $verb --help | sed -n '/^Options of every verb/q; s/^ *\(-., \)\{0,1\}  *--\([a-z-]*\).*/\2/p; s/^  -., --\([a-z-]*\).*/\1/p' | sort -u |
        while read -r o; do grep -qE "Fl .?\\\\?-?$o|\\\\-$o" "$page" "$abs_top_srcdir/doc/vbackup-backup.1" "$abs_top_srcdir/doc/vbackup-restore.1" || echo "$o"; done)
    is "every option of $verb stands in its page; missing" "$missing" ""
done

# ---- malformed configuration: file, line, what was expected; exit status 2 ----
config() { # NAME LINE-NUMBER REGEX, the file on standard input
    cat > "$T/vbackup.conf"; chmod 600 "$T/vbackup.conf"
    out=$(vb host list 2>&1); status=$?
    is "configuration, $1: exit status" "$status" 2
    like "configuration, $1: file and line" "$out" "vbackup.conf:$2"
    like "configuration, $1: what" "$out" "$3"
}
out=$(printf 'key = value\n' > "$T/vbackup.conf"; chmod 600 "$T/vbackup.conf"; vb host list --json 2> /dev/null |
    jq -r '"\(.message_type) \(.code) \(.exit_status)"')
is "configuration with --json: an error object" "$out" "error CONFIG 2"
config "no section" 1 'section' <<< 'key = value'
config "unfinished header" 1 'expected|\]' <<< '[host x'
config "no equals sign" 2 '=' <<< $'[host x]\naddress'
config "unknown key" 2 'adress' <<< $'[host x]\nadress = y'
config "port out of range" 2 '65535' <<< $'[host x]\nport = 70000'
config "port is no number" 2 'expected' <<< $'[host x]\nport = ssh'
config "unsafe host name" 1 'not a host name' <<< '[host -oProxyCommand=x]'
config "unsafe address" 2 'not an address' <<< $'[host x]\naddress = a;b'
config "host declared twice" '[12]' 'stands already' <<< $'[host x]\n[host x]'
config "unknown key of the requester" 2 'nmae' <<< $'[requester]\nnmae = x'
config "neither yes nor no" 2 'expected' <<< $'[host x]\nlocal = maybe'
good; chmod 666 "$T/vbackup.conf"
out=$(vb host list 2>&1); status=$?
is "configuration that others may write: exit status" "$status" 2
like "... and why" "$out" 'writ'
good
printf '[writer null]\ncomponent = app\nfrobnicate = 1\n' > "$T/vbackup.conf"
out=$(vb writers 2>&1); status=$?
is "a writer's unknown key: exit status" "$status" 3
like "... reaches the user with file and line" "$out" 'vbackup.conf:3: .*frobnicate'
good

# ---- reading live is never chosen silently ----
good; sed -i '/^allow-live/d' "$T/vbackup.conf"
here=$(stat -f -c %T "$T/data")
if [ "$here" = btrfs ] || [ "$here" = xfs ]; then
    skip "reading live" "a snapshot can be made of $T"
else
    ok "init" vb init -q
    for what in "app of the configuration" "$T/data"; do
        path=; [ ! -e "$what" ] || path=$what
        out=$(vb backup $path 2>&1); status=$?
        is "live reading of $what is refused: exit status" "$status" 1
        like "... naming component and volume" "$out" "component '.*' of writer '.*' lies on volume '/.*no provider can make a shadow copy"
        like "... and what to do" "$out" "hint: .*btrfs or xfs, .*--allow-live.*'allow-live = yes' under \[requester\]"
        is "... and nothing was backed up" "$(vb list --json | grep -c '"state":"complete"')" 0
    done
    out=$(vb plan backup "$T/data"); status=$?
    is "the plan shows it beforehand: exit status" "$status" 3
    like "... with the volume" "$out" "^    here / \(.*\): REFUSED: component 'paths'|^    here /.* \(.*\): REFUSED: component 'paths'"
    is "... and in JSON" "$(vb plan backup --json "$T/data" | jq -r '.volumes[] | "\(.refused) \(.provider)"')" "true null"
    is "... and that it would be read live" "$(vb plan backup --json --allow-live "$T/data" | jq -r '.volumes[] | "\(.refused) \(.provider)"')" "false live"
    out=$(vb backup --allow-live --require-snapshot "$T/data" 2>&1); status=$?
    is "--allow-live against --require-snapshot: exit status" "$status" 2
    out=$(vb backup --allow-live "$T/data" 2>&1); status=$?
    is "with --allow-live it is done: exit status" "$status" 0
    like "... loudly" "$out" "read live while it may change: no shadow copy"
    like "... and recorded" "$out" "complete +none"
    good
    ok "allow-live in the configuration" vb backup -q "$T/data"
    out=$(vb backup --require-snapshot "$T/data" 2>&1); status=$?
    is "--require-snapshot is stronger: exit status" "$status" 1
    rm -rf "$T/repo"
fi
good

# ---- JSON ----
json() { # NAME STATUS ARGUMENT...
    local name=$1 want=$2; shift 2
    vb "$@" --json > "$T/json" 2> "$T/err"; status=$?
    is "json, $name: exit status" "$status" "$want"
    if jq -es 'length > 0 and all(.[]; type == "object" and ((has("message_type") and has("schema")) or has("format")))' "$T/json" > /dev/null 2>&1; then
        pass "json, $name: only objects that say what they are"
    else
        fail "json, $name: only objects that say what they are" "$(cat "$T/json" "$T/err")"
    fi
}
json "list without a repository" 1 list
json "init" 0 init
json "init again" 5 init
json "show, nothing there" 1 show
json "writers" 0 writers
json "writers metadata" 0 writers metadata "null writer"
json "writers metadata of none" 1 writers metadata nobody
json "host list" 0 host list
json "host test" 0 host test
json "host test of an unknown one" 2 host test nobody
json "plan backup" 0 plan backup
json "backup" 0 backup
json "backup of a path that is not there" 1 backup "$T/nothing"
json "list" 0 list
json "show" 0 show
json "ls" 0 ls
json "check" 0 check --read-data
json "plan restore" 0 plan restore
json "restore onto existing data" 5 restore
json "restore elsewhere" 0 restore --target "$T/out"
json "restore of an unknown backup" 1 restore ffffffff
json "resume, nothing there" 1 resume
is "the backup of the null writer's files is back" "$(cat "$T/out$T/data/a")" one
done_testing
