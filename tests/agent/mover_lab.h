/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/mover_lab.h - a place to capture and restore in: temporary directory, memory repository, and both
 * ends of the conversation; the capture or restore process is a fork of the test, the requester's end is the real
 * ingest.
 */
#ifndef VB_TESTS_AGENT_MOVER_LAB_H
#define VB_TESTS_AGENT_MOVER_LAB_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/types.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "requester/ingest.h"
#include "store/repository.h"
#include "vbackup/types.h"
#include "wire/msg.h"
#include "wire/protocol.h"

struct lab {
    char *dir;             /* temporary directory, absolute */
    int fd;
    struct vb_backend *files;
    struct vb_repo *repo;
    /* of the last run */
    struct vb_msg reply;
    struct vb_ingest_stats stats;
    struct vb_error end;   /* how the data stream ended */
    struct vb_strv warned; /* "path: CODE" in order */
    uint64_t progress;
    uint64_t gets, get_bytes; /* restore */
    int status;            /* wait status of the process */
    long max_rss_kb;       /* its largest resident size */
    /* knobs for the next run */
    uint64_t cut_after;    /* the data stream is cut after so many messages from the process; 0: never */
    void (*meanwhile)(struct lab *l, pid_t pid); /* called once the process was told what to do */
    const char *base;      /* restore: TARGET of the whole request, relative; NULL: none */
    const char *looks;     /* capture: directory of the change detector's memories; NULL: none */
    bool no_detector;      /* capture: read everything */
    uint64_t wall_ms;      /* capture: when the making of shadow copies began; 0: not told */
    bool as_nobody;        /* the process gives up root first */
    unsigned max_files;    /* the process can have so many files open; 0: as many as this one */
    struct lab_fake *fakes; /* restore: served before the repository is asked */
    size_t n_fakes, cap_fakes;
};

/* A chunk of a hostile requester. */
struct lab_fake {
    struct vb_name name;
    enum vb_chunk_type type;
    struct vb_buf bytes; /* plaintext */
    enum vb_code error;  /* instead of bytes */
};

void lab_open(struct lab *l);
void lab_close(struct lab *l);
/* Opens the repository anew: what was put and not committed is lost. */
void lab_reopen(struct lab *l);
int lab_setup(void **state);    /* *state becomes a struct lab */
int lab_teardown(void **state);

/* ---- making things below l->dir; paths are relative ---- */
void lab_mkdir(struct lab *l, const char *path, mode_t mode);
void lab_file(struct lab *l, const char *path, const void *p, size_t n);
void lab_text(struct lab *l, const char *path, const char *text);
/* n bytes that no one can compress, the same for the same seed */
void lab_noise(struct lab *l, const char *path, size_t n, uint64_t seed);
char *lab_path(struct lab *l, const char *path); /* absolute; kept until lab_close */
bool lab_exists(struct lab *l, const char *path);
char *lab_read(struct lab *l, const char *path); /* whole file as text; caller frees; NULL if it is not there */
/* Everything about a tree as text: kinds, modes, owners, times, targets, attributes, links, holes, hashes.
 * Caller frees. */
char *lab_listing(struct lab *l, const char *path, bool times);

/* ---- requests ---- */
struct vb_msg lab_component(const char *name); /* body of a COMPONENT group */
void lab_fileset(struct lab *l, struct vb_msg *comp, const char *path, const char *read_path, const char *filespec,
                 bool recursive, bool live);
/* Live, recursive, with rules of base/path_filter.h. */
void lab_fileset_rules(struct lab *l, struct vb_msg *comp, const char *path, const char *filespec,
                       const char *const *rules, size_t n);
void lab_exclude(struct lab *l, struct vb_msg *comp, const char *path, const char *filespec, bool recursive);
/* Captures the components (consumed). Leaves the REPLY in l->reply. */
void lab_capture(struct lab *l, struct vb_msg *comps, size_t n);
/* One component "c" of one recursive file set of everything below path. */
void lab_capture_tree(struct lab *l, const char *path);

struct lab_root {
    char path[4096], target[4096];
    struct vb_name name;
    uint64_t files, dirs, bytes, files_read;
    char detector[256];
};
/* What the reply says of component i and its root j. */
enum vb_code lab_code(struct lab *l, size_t i);
char *lab_error(struct lab *l, size_t i);  /* caller frees */
uint64_t lab_u64(struct lab *l, size_t i, uint16_t tag);
bool lab_root(struct lab *l, size_t i, size_t j, struct lab_root *out);
bool lab_warned(struct lab *l, const char *path_end, enum vb_code code);

void lab_restore_root(struct lab *l, struct vb_msg *comp, const struct vb_name *name, const char *target,
                      const char *filespec, bool recursive, const char *source);
enum { LAB_OVERWRITE = 1, LAB_KEEP_OWNER = 2, LAB_RESUME = 4, LAB_NO_KEY = 8, LAB_VERIFY = 16 };
void lab_restore(struct lab *l, struct vb_msg *comps, size_t n, unsigned flags);
/* Serves these bytes as a chunk; its name is right unless `as` is given. */
struct vb_name lab_fake(struct lab *l, enum vb_chunk_type type, const void *p, size_t n, const struct vb_name *as);
void lab_fakes_clear(struct lab *l);
/* A vb_emit_fn with arg = the lab: chunks become fakes. */
int lab_fake_emit(void *lab, enum vb_chunk_type type, const void *p, size_t n, struct vb_name *name,
                  struct vb_error *err);
/* Restores root 0 of component 0 of the last capture to target, as one component. */
void lab_restore_tree(struct lab *l, const struct vb_name *name, const char *target, unsigned flags);

#endif
