#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_story_three.sh - the story with a third host behind the back end, which points back at the front end (D-51).
. "${abs_top_srcdir:?}/tests/root/story_test.sh"
story_hosts 3 || bail "the hosts cannot be made"
ok "configured" story_configure 1
ok "init" story_vb init
tell_story 1
before "VSS-D-41 chain: the third host's job is sent after the back end's snapshot" '^[0-9]+ backend event PostSnapshot end' '^[0-9]+ third call OPEN'
before "VSS-D-43 chain: the back end completes after the third host" '^[0-9]+ third event BackupComplete end' '^[0-9]+ backend call SetBackupSucceeded'
is "VSS-D-51 the circle back to the front end makes no second job" "$(grep -cE '^[0-9]+ front call OPEN' "$T/events")" 1
is "the third host's files are back" "$(host_exec third vbt-third cat /srv/archive/invoices)" "what the archive holds"
done_testing
