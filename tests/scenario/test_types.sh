#!/usr/bin/env bash
# tests/scenario/test_types.sh - incremental, differential and log backups: what they build on, what the writers hear of it, and
# how a chain comes back (rule book, section 9).
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
mkdir "$T/data" "$T/logs"
configure() { # SCHEMA STAMP [MORE]
    cat > "$T/vbackup.conf" <<END
[requester]
name = here
[provider null]
enable = yes
level = 2
atomic = yes
[provider reflink]
enabled = no
[provider btrfs]
enabled = no
[writer null]
schema = $1
component = db
db.type = database
db.path = $T/data
db.logs = $T/logs
db.backup-in = full
db.stamp = $2
event-log = $T/events
${3:-}
END
    chmod 600 "$T/vbackup.conf"
}
back() { : > "$T/events"; out=$(vb backup "$@" 2>&1); status=$?; id=$(vb list --json | jq -rs 'last.id'); }
type_of() { vb show "$1" --json | jq -r '.hosts[0].components[0] | "\(.backup_type) \(.base)"'; }
roots_of() { vb show "$1" --json | jq -r '.hosts[0].components[0].file_sets[].path' | paste -sd ' '; }
heard() { sed -n 's/^[0-9]* null //p' "$T/events" | grep -E "$1"; }
# ---- what a backup builds on ----
configure 0x2a S1                       # incremental, log, timestamped
ok "init" vb init -q
echo base > "$T/data/table"; echo l1 > "$T/logs/1"
back --type incremental
is "VSS-I-21 nothing to build on: exit status" "$status" 0
like "... it is said" "$out" "component 'db' of writer 'null.*' is backed up in full: there is no backup that it could build on"
is "... recorded as what it is" "$(type_of "$id")" "full null"
is "VSS-I-21 ... and no previous stamp is set" "$(heard type=)" "prepare-backup db type=incremental previous=-"
full=$id
configure 0x2a S2
echo l2 > "$T/logs/2"; echo newer > "$T/data/table"
back --type incremental
is "VSS-I-17 an incremental one builds on the full one" "$(type_of "$id")" "incremental $full"
is "VSS-I-16 its writer gets the stamp of the base" "$(heard type=)" "prepare-backup db type=incremental previous=S1"
is "VSS-I-8 it holds what its file sets say" "$(roots_of "$id")" "$T/logs"
first=$id
back --type copy
is "a copy is outside of the chain" "$(type_of "$id")" "copy null"
configure 0x2a S3
rm "$T/logs/1"; echo l3 > "$T/logs/3"
back --type incremental
is "VSS-I-17 the next one builds on the last incremental one" "$(type_of "$id")" "incremental $first"
is "VSS-I-18 ... with the stamp that was set there" "$(heard type=)" "prepare-backup db type=incremental previous=S2"
second=$id
configure 0x2a S4
rm "$T/logs/"*; echo l4 > "$T/logs/4"
back --type log
is "a log backup builds on whatever was last" "$(type_of "$id")" "log $second"
log=$id
like "show says what a backup builds on" "$(vb show "$log")" "log, builds on ${second:0:8}"

# ---- refusals ----
back --type differential
is "VSS-I-1 a type that no writer supports: exit status" "$status" 2
like "... says so" "$out" "no writer of this backup supports the type 'differential'"
out=$(vb backup --allow-live --type incremental "$T/data" 2>&1); status=$?
is "VSS-I-6 plain paths have no writer that could tell: exit status" "$status" 2
out=$(vb backup --type other 2>&1); status=$?
is "an unknown type" "$status" 2
out=$(vb forget "${first:0:8}" 2>&1); status=$?
is "forgetting what others build on: exit status" "$status" 5
like "... is refused" "$out" "needed to restore a later backup"
ok "a policy keeps what it needs" vb forget -q --keep-last 1
is "... the whole chain" "$(vb list --json | jq -r .id | grep -cE "$full|$first|$second|$log")" 4

# ---- the chain comes back ----
rm -r "$T/data" "$T/logs"; : > "$T/events"
ok "VSS-I-34 a chain is restored" vb restore -q "$log"
is "... the oldest first, what later ones hold on top" "$(cd "$T" && grep -r . data logs | sort)" "data/table:base
logs/1:l1
logs/2:l2
logs/3:l3
logs/4:l4"
is "VSS-I-34 in one complete pass for each backup" "$(heard 'pre-restore begin|post-restore begin' | paste -sd ' ')" \
    "pre-restore begin post-restore begin pre-restore begin post-restore begin pre-restore begin post-restore begin pre-restore begin post-restore begin"
is "VSS-R-67 additional restores on all but the last" "$(heard 'post-restore (begin|additional)' | paste -sd ' ')" \
    "post-restore begin post-restore additional restores follow post-restore begin post-restore additional restores follow post-restore begin post-restore additional restores follow post-restore begin"
out=$(vb restore -q "$log" 2>&1); is "over existing data without consent: exit status" "$?" 5
ok "below another place" vb restore -q "$first" --target "$T/out"
is "... up to that backup" "$(cd "$T/out$T" && grep -r . data logs | sort)" "data/table:base
logs/1:l1
logs/2:l2"
is "the plan shows the passes" "$(vb plan restore "$first" | grep -c 'later backups follow')" 1

# ---- a chain with a gap ----
ok "the last of the chain is forgotten" vb forget -q --force "$log"
configure 0x2a S5
back --type log
like "what may lie in it is not guessed at" "$out" "in full: a backup made since the one that it could build on was forgotten"
is "... so it is a full one" "$(type_of "$id")" "full null"

# ---- differential; differenced files ----
configure 0x67 D1 "db.differenced = $T/data/*" # both kinds, exclusive, timestamped, last modify
back --type full
full=$id
echo changed > "$T/data/table"
back --type differential
is "VSS-I-17 a differential one builds on the last full one" "$(type_of "$id")" "differential $full"
is "VSS-I-29 differenced files are taken whatever the bits say" "$(roots_of "$id")" "$T/logs $T/data"
back --type incremental
like "VSS-I-2 exclusive: no incremental one after a differential one" "$out" "in full: its writer does not mix"
back --type full
back --type incremental
incremental=$id
rm -r "$T/data" "$T/logs"
ok "it comes back" vb restore -q "$incremental"
is "... changed" "$(cat "$T/data/table")" changed
configure 0x27 D2 "db.differenced = $T/data/*"
back --type incremental
is "VSS-I-22 differenced files without 'last modify': exit status" "$status" 1
like "... is the writer's error" "$out" "writer error: differenced file '$T/data/\*', and its schema lacks"
configure 0x67 D2 "db.differenced = $T/data/tab*"
back --type incremental
like "VSS-I-24 neither a file set nor apart from all" "$out" "is neither a file set nor apart from all"
done_testing
