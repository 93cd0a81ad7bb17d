#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The provider zfs against a scripted command: datasets are directories, snapshots are copies below .zfs/snapshot.
. "$abs_top_srcdir/tests/tap.sh"
prog=$abs_top_builddir/provider_contract

for d in a b c; do mkdir -p "$T/$d/.zfs/snapshot"; done
printf '%s\n' "tank/data $T/a" "tank/more $T/b" "other/c $T/c" > "$T/datasets"
cat > "$T/zfs" << END
#!/bin/bash
# zfs list|snapshot|destroy as far as the provider uses them
T=$T
echo "\$*" >> "\$T/log"
[ ! -e "\$T/broken" ] || { echo "cannot open '/dev/zfs': it is broken" >&2; exit 1; }
mount_of() { awk -v n="\$1" '\$1 == n { print \$2 }' "\$T/datasets"; }
verb=\$1
shift
case \$verb in
list)
    [ "\$1 \$2 \$3 \$4" = "-H -o name -t" ] || exit 2
    case \$5 in
    filesystem) cut -d' ' -f1 "\$T/datasets" ;;
    snapshot) while read -r n m; do for s in "\$m"/.zfs/snapshot/*; do [ ! -e "\$s" ] || echo "\$n@\${s##*/}"; done; done < "\$T/datasets" ;;
    *) exit 2 ;;
    esac ;;
snapshot)
    for o; do # all or none, and never two of one dataset
        m=\$(mount_of "\${o%@*}")
        [ -n "\$m" ] || { echo "cannot open '\${o%@*}': dataset does not exist" >&2; exit 1; }
        [ ! -e "\$m/.zfs/snapshot/\${o#*@}" ] || { echo "cannot create snapshot '\$o': dataset already exists" >&2; exit 1; }
    done
    [ "\$(printf '%s\n' "\${@%@*}" | sort | uniq -d)" = "" ] || { echo "multiple snapshots of same fs not permitted" >&2; exit 1; }
    for o; do
        m=\$(mount_of "\${o%@*}")
        s=\$m/.zfs/snapshot/\${o#*@}
        mkdir "\$T/new.\$\$" && for e in "\$m"/*; do [ ! -e "\$e" ] || cp -a "\$e" "\$T/new.\$\$/"; done && mv "\$T/new.\$\$" "\$s"
    done ;;
destroy)
    [ \$# = 1 ] && [[ \$1 == *@vbackup-* ]] || exit 2
    s=\$(mount_of "\${1%@*}")/.zfs/snapshot/\${1#*@}
    [ -e "\$s" ] || { echo "could not find any snapshots to destroy; check snapshot names." >&2; exit 1; }
    rm -rf "\$s" ;;
*) exit 2 ;;
esac
END
chmod 755 "$T/zfs"
kept="ls -d '$T'/*/.zfs/snapshot/* 2> /dev/null"
zfs() { "$prog" zfs -o "command=$T/zfs" -o delegated=yes --watch "$kept" "$@"; }

ok "zfs: the contract on one dataset" zfs --volume "$T/a" --type zfs --device tank/data --tree "$T/a/tree" --tree "$T/a/tree2"
: > "$T/log"
ok "zfs: two datasets of one pool, and one of another" zfs --quick --volume "$T/a" --type zfs --device tank/data \
    --volume "$T/b" --type zfs --device tank/more --volume "$T/c" --type zfs --device other/c
like "one command for the pool's datasets" "$(grep ^snapshot "$T/log" | head -n 1)" \
    '^snapshot tank/data@vbackup-[0-9a-f-]+ tank/more@vbackup-[0-9a-f-]+$'
is "one command for each pool" "$(grep -c ^snapshot "$T/log")" 2
unlike "nothing is destroyed recursively" "$(grep ^destroy "$T/log")" ' -'
ok "VSS-B-41 zfs: whole set or nothing" zfs --fault --volume "$T/a" --type zfs --device tank/data \
    --volume "$T/b" --type zfs --device tank/gone
: > "$T/log"
ok "VSS-S-31 zfs: a dataset that is mounted twice is snapshotted once" zfs --quick --volume "$T/a" --type zfs --device tank/data \
    --volume "$T/a" --type zfs --device tank/data --tree "$T/a/tree2"
like "one snapshot of it" "$(grep ^snapshot "$T/log" | head -n 1)" '^snapshot tank/data@vbackup-[0-9a-f-]+$'
not_ok "zfs: what is no dataset is not supported" zfs --quick --volume "$T/a" --type zfs --device -rf
: > "$T/broken"
not_ok "zfs: a command that fails is a reason" zfs --quick --volume "$T/a" --type zfs --device tank/data
rm "$T/broken"
chmod 777 "$T/zfs"
not_ok "zfs: a command that others may change is not run" zfs --quick --volume "$T/a" --type zfs --device tank/data
chmod 755 "$T/zfs"
is "no snapshot is left" "$(sh -c "$kept")" ""
done_testing
