/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* requester/replica_jobs.c - a few threads that take the next target until there is none. */
#include <config.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/mem.h"
#include "requester/replica_jobs.h"

static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;

void vb_replica_print_begin(void)
{
    pthread_mutex_lock(&printing);
}

void vb_replica_print_end(void)
{
    pthread_mutex_unlock(&printing);
}

struct pool {
    pthread_mutex_t lock;
    size_t next, n;
    void (*fn)(void *arg, size_t i);
    void *arg;
};

static void *work(void *arg)
{
    struct pool *p = arg;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        size_t i = p->next < p->n ? p->next++ : p->n;
        pthread_mutex_unlock(&p->lock);
        if (i == p->n)
            return NULL;
        p->fn(p->arg, i);
    }
}

void vb_replica_jobs(size_t n, unsigned jobs, void (*fn)(void *arg, size_t i), void *arg)
{
    struct pool p = { .lock = PTHREAD_MUTEX_INITIALIZER, .n = n, .fn = fn, .arg = arg };
    size_t want = jobs < n ? jobs : n, made = 0;
    pthread_t *threads = vb_alloc_n(want ? want : 1, sizeof *threads);
    while (made + 1 < want && pthread_create(&threads[made], NULL, work, &p) == 0)
        made++;
    work(&p); /* the caller works, too: it goes on if no thread can be had */
    for (size_t i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    pthread_mutex_destroy(&p.lock);
}
