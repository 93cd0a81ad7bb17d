/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/backend_contract.h - what every backend must keep.  A new one is tested by a file of ten lines that
 * gives a function making an empty backend, and a second handle on the same files.
 */
#ifndef VB_TESTS_STORE_BACKEND_CONTRACT_H
#define VB_TESTS_STORE_BACKEND_CONTRACT_H

#include "store/backend.h"

struct backend_contract {
    const char *name;
    struct vb_backend *(*make)(void);                     /* empty, fresh */
    struct vb_backend *(*again)(struct vb_backend *first); /* a second handle on the same files */
    void (*finish)(void);                                 /* after each test; may be NULL */
    bool threads;                                         /* handles may be used in threads at once, each in its own */
    bool no_lock;                                         /* lock and unlock do nothing */
};

struct CMUnitTest;
/* Runs the suite, and a backend's own tests after it (TAP knows one plan per program); the exit status of main. */
int backend_contract_run(const struct backend_contract *c, const struct CMUnitTest *own, size_t n_own);

#endif
