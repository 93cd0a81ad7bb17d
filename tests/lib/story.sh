# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# tests/lib/story.sh - the story that vbackup exists for, on real parts; shared by scripts/demo, the tests and the bench.
#
# Hosts (tests/lib/hosts.sh): `front` with pages, a setting and an SQLite database on xfs (reflink), and the requester with its
# repository; `backend` with PostgreSQL 15 on btrfs; with a third one, `third`: files, behind a writer on backend and pointing
# back at front.  Customers keep ordering on both sides.
#
#   story_available              else HOSTS_WHY / LOOPFS_WHY is in STORY_WHY
#   story_hosts 2|3              makes the hosts, file systems, applications
#   story_configure SHAPE        configuration of all agents and of the requester (shape of rules D-34, D-35); with STORY_SABOTAGE
#                                a writer takes part that destroys originals between the thaw and the copy
#   story_vb ARGUMENT...         vbackup on front, as its user
#   story_customers_start, story_customers_stop
#   story_destroy                both applications are gone: files removed, database directory gone, server stopped
#   story_auditor [ARGUMENT...]  every account row by row, and the journal of acknowledged commits
#   story_events [BACKUP]        the merged event log of a backup, one JSON object per line
# shellcheck source=tests/lib/hosts.sh
. "$abs_top_srcdir/tests/lib/loopfs.sh"
. "$abs_top_srcdir/tests/lib/hosts.sh"

STORY_PG=/usr/lib/postgresql/15/bin
STORY_THIRD=
STORY_FILES=5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0002
STORY_NULL=

story_available() {
    hosts_available || { STORY_WHY=$HOSTS_WHY; return 1; }
    loopfs_available xfs btrfs || { STORY_WHY=$LOOPFS_WHY; return 1; }
    [ -x $STORY_PG/initdb ] || { STORY_WHY="no PostgreSQL 15 (apt-get install postgresql-15)"; return 1; }
}

front() { host_exec front vbt-front env -u VBACKUP_PASSWORD_FILE "$@"; } # its configuration names its own
backend() { host_exec backend vbt-backend "$@"; }

story_fs() { # HOST TYPE SIZE DIR
    host_loopfs "$1" "$2" "$3" "$4" || return 1
    [ "$2" != btrfs ] || host_exec_root "$1" mount -o remount,user_subvol_rm_allowed "$4" || return 1
    host_exec_root "$1" chown "vbt-$1:" "$4"
}

story_pg_init() {
    host_exec_root backend install -d -o vbt-backend -m 755 /run/pg
    backend $STORY_PG/initdb -D /srv/pg/data -A trust -N > "$T/initdb.log" 2>&1 || { cat "$T/initdb.log"; return 1; }
    backend sh -c 'cat >> /srv/pg/data/postgresql.conf; echo "host all all 10.77.0.0/16 trust" >> /srv/pg/data/pg_hba.conf' <<'END'
listen_addresses = '*'
unix_socket_directories = '/run/pg'
max_wal_size = 256MB
END
    backend $STORY_PG/pg_ctl -D /srv/pg/data -l /run/pg/log -w start > /dev/null
}

story_hosts() {
    chmod 711 "$T"
    mkdir -m 1777 "$T/outside"
    hosts_init && host_add front && host_add backend || return 1
    story_fs front xfs 512M /srv/shop && story_fs backend btrfs 1G /srv/pg || return 1
    STORY_CONN="host=$(host_ip backend) port=5432 user=vbt-backend dbname=postgres"
    story_pg_init || return 1
    front shop-workload init --dir /srv/shop --conninfo "$STORY_CONN" > /dev/null || return 1
    front sh -c 'mkdir -p /srv/shop/content/pages && echo "the page of the backup" > /srv/shop/content/pages/index.html &&
        for i in 1 2 3 4 5 6 7 8; do head -c 200000 /dev/urandom > /srv/shop/content/pages/picture$i; done
        [ -e /srv/shop/shop.conf ] || echo "theme = plain" > /srv/shop/shop.conf'
    front sha256sum -b /srv/shop/content/pages/picture1 > "$T/outside/picture1"
    front sh -c 'mkdir -p .ssh && cat > .ssh/id_vbackup && chmod 600 .ssh/id_vbackup' < "$(host_client_key)"
    if [ "$1" = 3 ]; then
        STORY_THIRD=1
        host_add third && story_fs third btrfs 256M /srv/archive || return 1
        host_exec third vbt-third sh -c 'echo "what the archive holds" > /srv/archive/invoices'
    fi
}

# A writer whose PostSnapshot destroys originals: only what is really read from the snapshot can come back.
story_saboteur() {
    front sh -c 'mkdir -p bin /srv/shop/sabotage && echo x > /srv/shop/sabotage/x && cat > bin/saboteur && chmod 755 bin/saboteur' <<'END'
#!/bin/sh
case $1 in
identify) printf 'component\tsabotage\nfiles\t/srv/shop/sabotage\n' ;;
post-snapshot)
    echo "a later page" > /srv/shop/content/pages/index.html
    rm -f /srv/shop/content/pages/picture1
    echo "theme = spoilt" > /srv/shop/shop.conf ;;
*) exit 2 ;;
esac
END
}

story_configure() {
    local null_id
    null_id=$(vbackup-agent writer-host --dump null | sed -n 's/^class_id=//p')
    [ -z "${STORY_SABOTAGE:-}" ] || story_saboteur
    front sh -c 'umask 077; [ -e repository-password ] || head -c 24 /dev/urandom | base64 > repository-password'
    front sh -c 'cat > vbackup.conf; chmod 600 vbackup.conf' <<END
[requester]
name = front
[repository]
location = /home/vbt-front/repository
password-file = /home/vbt-front/repository-password
$(host_config backend identity=/home/vbt-front/.ssh/id_vbackup)
$([ -z "$STORY_THIRD" ] || host_config third identity=/home/vbt-front/.ssh/id_vbackup)
[writer shop-front]
directory = /srv/shop
backend = backend
backend-path = main
backend-components = cluster config
backend-conninfo = $STORY_CONN
shape = $1
$([ -z "${STORY_SABOTAGE:-}" ] || cat <<ENDS
[writer script saboteur]
program = /home/vbt-front/bin/saboteur
ENDS
)
$([ -z "$STORY_THIRD" ] || cat <<END3
[writer null portal]
component = portal
portal.depends = $null_id|\\\\backend\\|bridge
END3
)
END
    backend sh -c 'mkdir -p .config/vbackup; cat > .config/vbackup/vbackup.conf; chmod 600 .config/vbackup/vbackup.conf' <<END
[writer postgresql main]
conninfo = host=/run/pg port=5432 user=vbt-backend dbname=postgres
data-directory = /srv/pg/data
$([ -z "$STORY_THIRD" ] || cat <<END3
[writer null bridge]
component = bridge
bridge.depends = $STORY_FILES|\\\\third\\|invoices
END3
)
END
    [ -z "$STORY_THIRD" ] || host_exec third vbt-third sh -c \
        'mkdir -p .config/vbackup; cat > .config/vbackup/vbackup.conf; chmod 600 .config/vbackup/vbackup.conf' <<END
[writer files]
component = invoices
invoices.path = /srv/archive
[writer null circle]
component = circle
circle.depends = $null_id|\\\\front\\|portal
END
}

story_vb() { front env VBACKUP_CONFIG=/home/vbt-front/vbackup.conf vbackup "$@"; }

story_customers_start() {
    host_spawn front vbt-front shop-workload run --dir /srv/shop --conninfo "$STORY_CONN" \
        --journal "$T/outside/journal" --clients 4 --seconds "${1:-600}" --pause-us 2000
    hosts_wait 20 sh -c "[ \$(wc -l < '$T/outside/journal') -ge 200 ]"
}
story_customers_stop() {
    host_exec_root front pkill -TERM -x shop-workload
    hosts_wait 10 sh -c "! nsenter -t $(host_pid front) -m -p -r pgrep -x shop-workload > /dev/null"
    return 0
}

story_destroy() {
    front sh -c 'rm -rf /srv/shop/content /srv/shop/shop.conf /srv/shop/data /srv/shop/run /srv/shop/sabotage'
    backend $STORY_PG/pg_ctl -D /srv/pg/data -m immediate stop > /dev/null
    backend sh -c 'rm -rf /srv/pg/data'
    [ -z "$STORY_THIRD" ] || host_exec third vbt-third sh -c 'rm -f /srv/archive/invoices'
}

story_auditor() {
    front shop-workload verify --dir /srv/shop --conninfo "$STORY_CONN" --journal "$T/outside/journal" "$@"
}

story_events() { story_vb show "${1:-latest}" --document events; }
