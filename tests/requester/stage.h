/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/stage.h - a front end, its back end and perhaps a spare host in one process, and one mishap: what the tests
 * of the executor stand on.
 */
#ifndef VB_TESTS_STAGE_H
#define VB_TESTS_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/sim/sim.h"

enum { FE, BACKEND, SPARE };
enum { SHOP, OTHER };

struct part { char *host, *name, *text; enum vb_completeness done; enum vb_consistency level; enum vb_code code;
              enum vb_file_restore_status status; };

struct stage {
    struct sim s;
    struct vb_run_env env;
    struct vb_run_options opt;
    struct vb_run_state *state;
    struct vb_rng guids;
    struct vb_run *run;
    bool done;
    /* of the last run */
    enum vb_exit exit;
    enum vb_code code;
    char *backup_id, *error, *plan_text;
    uint64_t ended_ms;
    uint64_t total;            /* most that progress promised */
    bool estimate;
    struct part parts[16];
    size_t n_parts;
    /* the mishap */
    size_t host, writer;
    enum vb_event event;
    enum sim_mishap mishap;
    const char *what;          /* provider call or component */
    uint64_t cancel_after_ms;  /* after the event */
    unsigned seen;
};


extern const struct vb_run_handler stage_handler; /* arg: the stage */

struct stage *set_up(bool with_spare);
void forget(struct stage *t);
void tear_down(struct stage *t);
void settle(struct stage *t);
void begin(struct stage *t);
void backup(struct stage *t);
void restore(struct stage *t);
const struct part *part(const struct stage *t, const char *name);
void is(const struct stage *t, const char *name, enum vb_completeness done, enum vb_code code);
unsigned count(const struct stage *t, size_t host, size_t writer, enum vb_event ev);
bool told(const struct stage *t, size_t host, size_t writer, bool success);
void mishap(struct stage *t, size_t host, size_t writer, enum vb_event ev, enum sim_mishap m);
bool provider_mishap(void *arg, size_t host, const char *call);
bool mover_mishap(void *arg, size_t host, const char *component);
enum sim_mishap writer_mishap(void *arg, size_t host, size_t writer, enum vb_event ev);

#define T(name, fn) { name, fn, NULL, NULL, NULL }

#endif
