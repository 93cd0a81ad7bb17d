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

const char *vb_change_text(enum vb_change c)
{
    static const char *const texts[] = { "nothing unusual", "less than half of the files are left",
                                         "less than half of the bytes are left", "most of the content is new",
                                         "what is new cannot be compressed any more" };
    return (size_t)c < VB_COUNT(texts) ? texts[c] : "unknown";
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

/* ---- what differs ---- */

#define LOOK_BACK 5u /* backups that one is compared with */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *v, size_t n)
{
    qsort(v, n, sizeof *v, by_number);
    return v[(n - 1) / 2];
}

static uint64_t per_mille(uint64_t part, uint64_t whole)
{
    return !whole ? 0 : part >= whole ? 1000 : part > UINT64_MAX / 1000 ? part / (whole / 1000) : part * 1000 / whole;
}

static bool same_type(const struct vb_retention_item *a, const struct vb_retention_item *b)
{
    return strcmp(a->type ? a->type : "", b->type ? b->type : "") == 0;
}

/* Against those before it that are usable, of its type, and not suspicious themselves. */
static enum vb_change judge(struct vb_retention_item **v, size_t at)
{
    uint64_t files[LOOK_BACK], bytes[LOOK_BACK], fresh[LOOK_BACK], stored = 0, raw = 0;
    size_t n = 0;
    const struct vb_retention_item *it = v[at];
    for (size_t i = at; i-- > 0 && n < LOOK_BACK;) {
        if (!v[i]->usable || v[i]->change || !same_type(v[i], it))
            continue;
        files[n] = v[i]->files;
        bytes[n] = v[i]->bytes;
        fresh[n++] = per_mille(v[i]->added_raw, v[i]->bytes);
        raw += v[i]->added_raw;
        stored += v[i]->added_stored;
        if (v[i]->normal)
            break; /* from there on it is as it is meant */
    }
    if (n == 0)
        return VB_CHANGE_NONE;
    uint64_t usual_files = median(files, n), usual_bytes = median(bytes, n), usual_fresh = median(fresh, n);
    if (usual_files >= VB_CHANGE_MIN_FILES && it->files < usual_files / 2)
        return VB_CHANGE_FEWER_FILES;
    if (usual_bytes >= VB_CHANGE_MIN_BYTES && it->bytes < usual_bytes / 2)
        return VB_CHANGE_FEWER_BYTES;
    if (it->bytes < VB_CHANGE_MIN_BYTES || it->added_raw < VB_CHANGE_MIN_BYTES)
        return VB_CHANGE_NONE;
    uint64_t now = per_mille(it->added_raw, it->bytes);
    if (now > 250 && per_mille(it->added_stored, it->added_raw) > 950 && raw >= VB_CHANGE_MIN_BYTES / 8 &&
        per_mille(stored, raw) < 800)
        return VB_CHANGE_INCOMPRESSIBLE;
    return now > 500 && usual_fresh < 100 ? VB_CHANGE_MOSTLY_NEW : VB_CHANGE_NONE;
}

static void pause_set(struct vb_retention_item **v, size_t n)
{
    bool suspicious = false;
    for (size_t i = 0; i < n; i++) {
        if (v[i]->usable && !v[i]->normal)
            v[i]->change = judge(v, i);
        suspicious = suspicious || v[i]->change;
    }
    for (size_t i = 0; i < n && suspicious; i++) {
        v[i]->paused = !v[i]->kept;
        v[i]->kept = true;
    }
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
    for (size_t i = 0; i < n; i++)
        v[i]->kept = v[i]->kept || v[i]->held;
    pause_set(v, n);
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
        items[i].change = VB_CHANGE_NONE;
        items[i].paused = false;
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

/* ---- when what was received ---- */

static int by_received(const void *a, const void *b)
{
    const struct vb_received *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->wall_ms < y->wall_ms ? -1 : x->wall_ms > y->wall_ms;
}

/* Whether a backup lies behind one number and not behind the other. */
static bool any_between(const uint64_t *numbers, size_t count, uint64_t after, uint64_t to)
{
    size_t lo = 0, hi = count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (numbers[mid] <= after)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < count && numbers[lo] <= to;
}

void vb_received_tidy(struct vb_received *v, size_t *n, const uint64_t *numbers, size_t count)
{
    size_t kept = 0;
    if (*n > 1)
        qsort(v, *n, sizeof *v, by_received);
    for (size_t i = 0; i < *n; i++) {
        if (kept && v[kept - 1].number == v[i].number)
            continue; /* the first time it was known */
        while (kept && v[kept - 1].wall_ms > v[i].wall_ms)
            kept--;
        v[kept++] = v[i];
    }
    *n = kept;
    if (!numbers)
        return;
    kept = 0;
    for (size_t i = 0; i < *n; i++) {
        bool upper = any_between(numbers, count, i ? v[i - 1].number : 0, v[i].number);
        bool lower = any_between(numbers, count, v[i].number, i + 1 < *n ? v[i + 1].number : UINT64_MAX);
        if (upper || lower || i + 1 == *n)
            v[kept++] = v[i];
    }
    *n = kept;
}

uint64_t vb_received_bound(const struct vb_received *v, size_t n, uint64_t number, uint64_t told_ms, uint64_t now_ms)
{
    uint64_t from = 0, to = now_ms;
    for (size_t i = 0; i < n && v[i].wall_ms <= now_ms; i++) {
        if (v[i].number >= number) {
            to = v[i].wall_ms;
            break;
        }
        from = v[i].wall_ms;
    }
    return told_ms < from ? from : told_ms > to ? to : told_ms;
}
