/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/plan_checker.h - holds a plan against the rules of the book.
 *
 * Knows the rules and the topology that the plan is for; knows nothing of how plans are made, and uses none of the
 * planner's or the selection's code.
 */
#ifndef VB_TESTS_PLAN_CHECKER_H
#define VB_TESTS_PLAN_CHECKER_H

#include "requester/plan.h"
#include "tests/requester/topology.h"

/* Appends one line per broken rule to faults, each beginning with the rule's number. t may be NULL: the parts of the
 * rules that need no topology. */
void plan_check(const struct vb_plan *p, const struct topo *t, struct vb_strv *faults);

#endif
