/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/pass_lab.h - replicas of one scope with real trees in a scratch directory, and passes between them. */
#ifndef VB_TESTS_REPLICA_PASS_LAB_H
#define VB_TESTS_REPLICA_PASS_LAB_H

#include "tests/cm.h"
#include "replica/pass.h"
#include "replica/scan.h"

#define LAB_MAX 5
struct lab {
    size_t n;
    char *dir;                     /* scratch */
    struct vb_scope_settings settings;
    struct vb_scan_result scan[2]; /* of the last pass: source, destination */
    struct vb_buf actions;         /* "create f; " ... of the last pass */
};
extern int64_t lab_now_ms;         /* the stores' clock */

void lab_open(struct lab *l, size_t n); /* n replicas, each with an empty tree */
void lab_close(struct lab *l);
struct vb_place_setup lab_setup(struct lab *l, size_t at); /* state_dir is the lab's */
struct vb_place *lab_place(struct lab *l, size_t at);      /* opened; the caller closes it */
char *lab_path(struct lab *l, size_t at, const char *path); /* caller frees */

void lab_write(struct lab *l, size_t at, const char *path, const char *text); /* parents are made */
void lab_mtime(struct lab *l, size_t at, const char *path, int64_t sec);
void lab_remove(struct lab *l, size_t at, const char *path);
char *lab_read(struct lab *l, size_t at, const char *path); /* NULL: not there */
/* "path=content " of every file and link, "path/ " of every directory, sorted; without our own directory. */
char *lab_tree(struct lab *l, size_t at);
size_t lab_count(struct lab *l, size_t at, const char *part); /* names in the listing that contain it */

/* Both are scanned, then one pass.  Returns the code that the destination, or else the source, ended with. */
enum vb_code lab_pass(struct lab *l, size_t from, size_t to, const struct vb_pass_options *o, struct vb_pass_result *r);
/* A pass that must succeed. */
struct vb_pass_result lab_go(struct lab *l, size_t from, size_t to);
void lab_both(struct lab *l, size_t a, size_t b);
uint64_t lab_tick(struct lab *l, size_t at);
/* Hidden things in a replica's trash: number of files. */
size_t lab_trash(struct lab *l, size_t at);
const char *lab_error(void); /* of the last pass that failed */

#endif
