#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_story.sh - a front end with SQLite, a back end with PostgreSQL, both shapes of dependencies (D-34, D-35):
# backed up under load, destroyed, restored, audited.  STORY_ROUNDS tells the story several times over (check-long).
. "${abs_top_srcdir:?}/tests/root/story_test.sh"
story_hosts 2 || bail "the hosts cannot be made"
not_ok "the front end cannot open the back end's files" front ls /srv/pg/data
ok "configured" story_configure 1
ok "init" story_vb init
for round in $(seq "${STORY_ROUNDS:-1}"); do
    tell_story 1
    tell_story 2
done

# Shape 2 lets the user choose (D-35).
out=$(story_vb plan backup --component 'shop-front writer':shop)
unlike "VSS-D-35 the files alone need no remote job" "$out" 'host backend'
out=$(story_vb plan backup --component 'shop-front writer':backend)
like "VSS-D-35 VSS-D-36 the file-less component brings the databases" "$out" 'host backend'
out=$(story_vb plan restore --component backend/main:'main\cluster')
like "VSS-D-61 restoring a back end's component brings the front end's dependent" "$out" 'shop-front.*backend'
done_testing
