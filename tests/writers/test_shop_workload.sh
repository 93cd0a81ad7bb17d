#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tests/writers/test_shop_workload.sh - the auditor of the sample application finds what is wrong, and nothing else.
. "$abs_top_srcdir/tests/tap.sh"
bin=/usr/lib/postgresql/15/bin
[ -x $bin/initdb ] || skip_all "PostgreSQL 15 is not installed (apt-get install postgresql-15)"
chmod 711 "$T"
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi; }
user=$(as id -un)
mkdir -m 755 "$T/pg"
[ "$(id -u)" != 0 ] || chown postgres: "$T/pg"
tap_cleanup() { as $bin/pg_ctl -D "$T/pg/data" -m immediate stop >/dev/null 2>&1; }

cd /
as $bin/initdb -D "$T/pg/data" -A trust -N >/dev/null || bail "initdb failed"
as $bin/pg_ctl -D "$T/pg/data" -l "$T/pg/log" -w -o "-c listen_addresses= -c unix_socket_directories=$T/pg -c port=5998 -c fsync=off" \
    start >/dev/null || bail "the server does not start"
conninfo="host=$T/pg port=5998 user=$user dbname=postgres"
shop() { "$abs_top_builddir/shop-workload" "$1" --dir "$T/shop" --conninfo "$conninfo" "${@:2}"; }
sql() { as $bin/psql -q -h "$T/pg" -p 5998 postgres -c "$1"; }
front() { sqlite3 "$T/shop/data/shop.db" "$1"; }

ok "init makes both ends" shop init
ok "customers order for two seconds" shop run --journal "$T/journal" --clients 3 --seconds 2
before=$(date +%s%3N)
out=$(shop verify --journal "$T/journal" --before-ms "$before"); status=$?
is "all is right afterwards" "$status" 0
like "commits before the backup were looked for" "$out" 'journal: [0-9]{2,} commits, [0-9]{2,} of them before'
ok "a second run goes on where the first one ended" shop run --journal "$T/journal" --clients 3 --seconds 1
ok "and is right, too" shop verify --journal "$T/journal" --before-ms "$(date +%s%3N)"

front "UPDATE accounts SET balance = balance + 1 WHERE id = 7; UPDATE accounts SET balance = balance - 1 WHERE id = 8"
out=$(shop verify)
like "two wrong accounts whose total is right are found in the front end" "$out" 'wrong: front end: 2 accounts'
front "UPDATE accounts SET balance = balance - 1 WHERE id = 7; UPDATE accounts SET balance = balance + 1 WHERE id = 8"
ok "mended" shop verify
sql "UPDATE accounts SET balance = balance + 1 WHERE id = 7; UPDATE accounts SET balance = balance - 1 WHERE id = 8"
out=$(shop verify)
like "and in the back end" "$out" 'wrong: back end: 2 accounts'
sql "UPDATE accounts SET balance = balance - 1 WHERE id = 7; UPDATE accounts SET balance = balance + 1 WHERE id = 8"
sql "DELETE FROM orders WHERE n = 3"
out=$(shop verify)
like "an order that the back end does not know is found" "$out" 'wrong: [0-9]+ orders of the front end are unknown'
sql "INSERT INTO orders SELECT client, 3 FROM ledger WHERE n = 3"
echo "front 1 99999999 1 2" >>"$T/journal"
out=$(shop verify --journal "$T/journal" --before-ms "$before")
like "a confirmed commit that is missing is found" "$out" 'order 1/99999999 was confirmed before the backup and is missing'
done_testing
