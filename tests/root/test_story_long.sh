#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/root/test_story_long.sh - the story ten times over in both shapes: twenty backups under load, twenty restores.
STORY_ROUNDS=10 . "${abs_top_srcdir:?}/tests/root/test_story.sh"
