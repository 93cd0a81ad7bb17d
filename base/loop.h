/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/loop.h - the event loop: timers, descriptors, posted calls, and the only clock.
 *
 * Two kinds behind one type.  The real loop uses poll(2) and CLOCK_BOOTTIME-like monotonic time.  The
 * virtual loop (tests/sim) has no descriptors: when nothing is posted it jumps to the next timer, so
 * hours pass in microseconds and every run with one seed is the same run.  Code in agent/, wire/ and
 * requester/ that waits does so only through this interface; it never sleeps and never asks the
 * system for the time.
 *
 * Single-threaded.  Callbacks may add and cancel anything, themselves included.
 */
#ifndef VB_BASE_LOOP_H
#define VB_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct vb_loop;
struct vb_timer;
struct vb_watch;

typedef void vb_loop_fn(void *arg);
typedef void vb_watch_fn(void *arg, short revents); /* POLLIN, POLLOUT, POLLHUP, POLLERR bits */
typedef void vb_child_fn(void *arg, int wait_status);

struct vb_loop *vb_loop_new(void);
struct vb_loop *vb_loop_new_virtual(uint64_t start_wall_ms); /* wall clock the virtual time starts at */
void vb_loop_free(struct vb_loop *l); /* NULL ok; cancels whatever is left */

uint64_t vb_loop_now_ms(struct vb_loop *l);      /* monotonic */
uint64_t vb_loop_now_us(struct vb_loop *l);      /* monotonic, for measuring windows */
uint64_t vb_loop_wall_ms(struct vb_loop *l);     /* milliseconds since 1970, UTC: for records only, never for deadlines */

/* One-shot timer.  The handle is valid until it has fired or was cancelled.  Cancel NULL: no-op. */
struct vb_timer *vb_loop_after(struct vb_loop *l, uint64_t ms, vb_loop_fn *fn, void *arg);
void vb_timer_cancel(struct vb_timer *t);

/* Calls fn from the loop as soon as possible, in the order of posting. */
void vb_loop_post(struct vb_loop *l, vb_loop_fn *fn, void *arg);
/* Drops every posted call with this arg (an object that is about to be freed calls this). */
void vb_loop_unpost(struct vb_loop *l, void *arg);

/* Watches a descriptor (real loop only; returns NULL on a virtual one). events may be 0. */
struct vb_watch *vb_loop_watch(struct vb_loop *l, int fd, short events, vb_watch_fn *fn, void *arg);
void vb_watch_events(struct vb_watch *w, short events);
void vb_watch_cancel(struct vb_watch *w); /* NULL ok; does not close the descriptor */

/* Calls fn once with the wait status when the child has ended (real loop; reaped by the loop through
 * a pidfd, so no SIGCHLD handler is needed).  Cancel with vb_loop_unchild. */
int vb_loop_child(struct vb_loop *l, int pid, vb_child_fn *fn, void *arg);
void vb_loop_unchild(struct vb_loop *l, int pid);

/* Calls fn from the loop after one of the signals arrived (signalfd; blocks them for the process). */
int vb_loop_signal(struct vb_loop *l, int signo, vb_loop_fn *fn, void *arg);

/* Runs until vb_loop_stop, or until nothing is left to wait for.  Returns the value given to stop, or 0. */
int vb_loop_run(struct vb_loop *l);
void vb_loop_stop(struct vb_loop *l, int value);
/* One turn: handles what is due, waits at most max_ms (real), or one jump (virtual).  False: nothing left. */
bool vb_loop_turn(struct vb_loop *l, uint64_t max_ms);

#endif
