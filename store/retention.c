/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/retention.c - see retention.h.
 */
#include "config.h"
#include "store/retention.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

const char *vb_retention_rule_name(enum vb_retention_rule rule)
{
    static const char *const names[VB_KEEP_RULES] = { "last", "hourly", "daily", "weekly", "monthly", "yearly" };
    return rule < VB_KEEP_RULES ? names[rule] : "unknown";
}

static int by_sequence(const void *a, const void *b)
{
    const struct vb_retention_item *x = *(struct vb_retention_item *const *)a, *y = *(struct vb_retention_item *const *)b;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Equal for two times in the same hour, day ...; each backup is a period of its own for VB_KEEP_LAST. */
static int64_t period(enum vb_retention_rule rule, const struct vb_retention_item *it, uint64_t time_ms)
{
    int64_t hours = (int64_t)(time_ms / 3600000u), days = hours / 24;
    time_t t = (time_t)(time_ms / 1000u);
    struct tm tm;
    switch (rule) {
    case VB_KEEP_LAST:
        return (int64_t)it->sequence;
    case VB_KEEP_HOURLY:
        return hours;
    case VB_KEEP_DAILY:
        return days;
    case VB_KEEP_WEEKLY:
        return (days + 3) / 7; /* the first of January 1970 was a Thursday */
    case VB_KEEP_MONTHLY:
    case VB_KEEP_YEARLY:
    case VB_KEEP_RULES:
        break;
    }
    if (!gmtime_r(&t, &tm))
        return INT64_MAX;
    return rule == VB_KEEP_MONTHLY ? (int64_t)tm.tm_year * 12 + tm.tm_mon : tm.tm_year;
}

/* The items of one set, newest last. */
static void apply_rule(enum vb_retention_rule rule, uint32_t keep, struct vb_retention_item **v, const uint64_t *times,
                       size_t n)
{
    int64_t last = 0;
    bool any = false;
    for (size_t i = n; i-- > 0 && keep > 0;) {
        int64_t now = period(rule, v[i], times[i]);
        if (!v[i]->usable || (any && now == last))
            continue;
        v[i]->kept = true;
        v[i]->reasons |= 1u << rule;
        last = now;
        any = true;
        keep--;
    }
}

static void apply_rules(const struct vb_retention_policy *p, struct vb_retention_item **v, const uint64_t *times,
                        size_t n)
{
    for (int rule = 0; rule < VB_KEEP_RULES; rule++)
        apply_rule((enum vb_retention_rule)rule, p->keep[rule], v, times, n);
}

static void apply_set(const struct vb_retention_policy *p, struct vb_retention_item **v, size_t n)
{
    uint64_t *times = vb_alloc_n(n + 1, sizeof *times), latest = 0;
    for (size_t i = 0; i < n; i++) {
        latest = v[i]->time_ms > latest ? v[i]->time_ms : latest;
        times[i] = latest;
    }
    /* A clock that was far behind once must not put all that came before into one period, ... */
    apply_rules(p, v, times, n);
    /* ... and one that was far ahead not all that came after.  Which of them was wrong nobody knows: what either of the
     * two corrections keeps is kept. */
    for (size_t i = n; i-- > 0;) {
        uint64_t next = i + 1 < n ? times[i + 1] : UINT64_MAX;
        times[i] = v[i]->time_ms < next ? v[i]->time_ms : next;
    }
    apply_rules(p, v, times, n);
    for (size_t i = n; i-- > 0 && !v[i]->usable;)
        v[i]->kept = true;
    free(times);
}

int vb_retention_apply(const struct vb_retention_policy *p, struct vb_retention_item *items, size_t n,
                       struct vb_error *err)
{
    uint64_t sum = 0;
    for (int rule = 0; rule < VB_KEEP_RULES; rule++)
        sum += p->keep[rule];
    if (sum == 0) {
        vb_fail(err, VB_E_USAGE, "the policy keeps nothing");
        vb_hint(err, "say what is to be kept, for instance: --keep-daily 7 --keep-weekly 5 --keep-monthly 12");
        return -1;
    }
    struct vb_retention_item **all = vb_alloc_n(n + 1, sizeof *all), **set = vb_alloc_n(n + 1, sizeof *set);
    bool *done = vb_alloc_n(n + 1, sizeof *done);
    for (size_t i = 0; i < n; i++) {
        items[i].kept = false;
        items[i].reasons = 0;
        all[i] = &items[i];
    }
    if (n > 1)
        qsort(all, n, sizeof *all, by_sequence);
    for (size_t i = 0; i < n; i++) {
        size_t members = 0;
        for (size_t k = i; k < n && !done[i]; k++)
            if (!done[k] && strcmp(all[k]->set, all[i]->set) == 0) {
                set[members++] = all[k];
                done[k] = k != i;
            }
        done[i] = true;
        if (members)
            apply_set(p, set, members);
    }
    free(all);
    free(set);
    free(done);
    return 0;
}
