#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/dispatch.sh [PAIRS] [MIB] - what it costs to reach an agent, beside plain ssh at the same key exchange and cipher.
#
# Run in the build directory after `make check` or `make ssh_probe` (it drives the transport): ../bench/dispatch.sh
# Interleaved pairs against one private sshd on loopback; medians and ratios.  Both ends share this machine's processors.
: "${abs_top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${abs_top_builddir:=$PWD}"
pairs=${1:-20}
mib=${2:-512}
PROBE=$abs_top_builddir/ssh_probe
[ -x "$PROBE" ] || { echo "dispatch.sh: no $PROBE: make ssh_probe" >&2; exit 1; }
T=$(mktemp -d)
. "$abs_top_srcdir/tests/lib/sshd.sh"
trap 'sshd_stop; rm -rf "$T"' EXIT
sshd_available || { echo "dispatch.sh: $SSHD_WHY" >&2; exit 1; }
sshd_init "$T/sshd" && sshd_start "LogLevel ERROR" && sshd_record && sshd_lets_in || { echo "dispatch.sh: no sshd $SSHD_WHY" >&2; exit 1; }
unset SSH_AUTH_SOCK

plain() { # CIPHER CMD...
    local cipher=$1; shift
    ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o "UserKnownHostsFile=$SSHD_DIR/known_hosts" -i "$SSHD_DIR/id_ed25519" \
        -o KexAlgorithms=curve25519-sha256 -o Ciphers="$cipher" -o MACs=hmac-sha2-256 -p "$SSHD_PORT" \
        "$SSHD_USER@$SSHD_HOST" "$@"
}
ours() {
    "$PROBE" --name bench --port "$SSHD_PORT" --identity "$SSHD_DIR/id_ed25519" --known-hosts "$SSHD_DIR/known_hosts" \
        --no-agent "$SSHD_HOST" "$@"
}
ms() { # FILE CMD...: appends the wall time in ms
    local file=$1 a b; shift
    a=${EPOCHREALTIME/./}
    "$@" > /dev/null < /dev/null || echo "dispatch.sh: failed: $*" >&2
    b=${EPOCHREALTIME/./}
    echo $(((b - a) / 100)) >> "$file"
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) / 10 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

for _ in 1 2; do plain aes128-ctr true; ours greet "$PROBE serve" > /dev/null; done
for _ in $(seq "$pairs"); do
    ms "$T/ssh" plain aes128-ctr true
    ms "$T/ours" ours greet "$PROBE serve"
    ms "$T/default" ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o "UserKnownHostsFile=$SSHD_DIR/known_hosts" \
        -i "$SSHD_DIR/id_ed25519" -p "$SSHD_PORT" "$SSHD_USER@$SSHD_HOST" true
done
a=$(median "$T/ours"); b=$(median "$T/ssh"); c=$(median "$T/default")
echo "dispatch, $pairs pairs, median ms"
echo "  connection, channel, HELLO both ways   $a"
echo "  ssh host true, same key exchange       $b   ratio $(ratio "$a" "$b")"
echo "  ssh host true, default (sntrup761)     $c   ratio $(ratio "$a" "$c")"

for _ in 1 2 3; do
    for dir in down up; do
        if [ $dir = down ]; then far="$PROBE source $mib"; else far="$PROBE sink"; fi
        ours $dir "$mib" "$far" | sed -n 's/^moved \([0-9]*\) in \([0-9]*\) ms$/\1 \2/p' |
            awk '{ print int($1 / $2 / 1000) }' >> "$T/t.ours.$dir"
        for cipher in aes128-ctr chacha20-poly1305@openssh.com; do
            s=${EPOCHREALTIME/./}
            if [ $dir = down ]; then
                plain $cipher "head -c ${mib}M /dev/zero" > /dev/null
            else
                head -c "${mib}M" /dev/zero | plain $cipher "cat > /dev/null"
            fi
            e=${EPOCHREALTIME/./}
            echo $((mib * 1048576 / (e - s))) >> "$T/t.$cipher.$dir"
        done
    done
done
echo "throughput, $mib MiB, median of 3, MB/s (ssh includes its set-up)"
for dir in down up; do
    o=$(sort -n "$T/t.ours.$dir" | sed -n 2p)
    for cipher in aes128-ctr chacha20-poly1305@openssh.com; do
        p=$(sort -n "$T/t.$cipher.$dir" | sed -n 2p)
        printf '  %-4s  messages over a channel %4d   ssh %s %4d   ratio %s\n' $dir "$o" "${cipher%%@*}" "$p" "$(ratio "$o" "$p")"
    done
done
