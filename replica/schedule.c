/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/schedule.c - notices, silence, random delays and the states of an import, as functions of time. */
#include <config.h>
#include <string.h>
#include "base/mem.h"
#include "replica/schedule.h"

static int out_of_range(const char *name, uint32_t v, uint32_t low, uint32_t high, const char **key, struct vb_error *err)
{
    if (v >= low && v <= high)
        return 0;
    if (key)
        *key = name;
    return vb_fail(err, VB_E_USAGE, "%s: %u is not between %u and %u", name, v, low, high);
}

int vb_schedule_check(const struct vb_schedule *s, const char **key, struct vb_error *err)
{
    if (out_of_range("interval", s->interval_s, 1, 86400, key, err) < 0 || out_of_range("pulse", s->pulse, 1, 10, key, err) < 0 ||
        out_of_range("guard", s->guard_s, 0, s->interval_s / 2, key, err) < 0 ||
        out_of_range("random", s->random_s, 0, 120, key, err) < 0)
        return -1;
    return 0;
}

/* ---- exporter ---- */

enum vb_notice vb_exporter_due(struct vb_exporter *e, const struct vb_schedule *s, uint64_t tick, int64_t now_ms,
                               int64_t *wait_ms)
{
    int64_t every = (int64_t)s->interval_s * 1000, due = e->last_ms ? e->last_ms + every : now_ms;
    *wait_ms = due > now_ms ? due - now_ms : every;
    if (due > now_ms)
        return VB_NOTICE_NONE;
    enum vb_notice n = e->last_ms == 0 || tick != e->last_tick ? VB_NOTICE_SYNC : VB_NOTICE_PULSE;
    e->last_ms = now_ms;
    e->last_tick = tick;
    return n;
}

bool vb_tree_is_quiet(const struct vb_schedule *s, int64_t last_change_ms, int64_t now_ms, int64_t *wait_ms)
{
    int64_t quiet_at = last_change_ms + (int64_t)s->guard_s * 1000;
    *wait_ms = quiet_at > now_ms ? quiet_at - now_ms : 0;
    return *wait_ms == 0;
}

/* ---- importer ---- */

const char *vb_import_state_word(enum vb_import_state s)
{
    static const char *const words[] = { "OK", "NO_MASTER", "NO_SYNC", "NEVER_REPLICATED" };
    return (unsigned)s < VB_COUNT(words) ? words[s] : "?";
}

const char *vb_import_reason_word(enum vb_import_reason r)
{
    static const char *const words[] = { "", "unreachable", "silent", "locked", "busy", "unstable", "stale", "guard" };
    return (unsigned)r < VB_COUNT(words) ? words[r] : "?";
}

enum vb_import_reason vb_import_reason_of(enum vb_code code)
{
    switch ((int)code) {
    case VB_OK:
        return VB_REASON_NONE;
    case VB_E_BUSY:
        return VB_REASON_BUSY;
    case VB_E_UNSTABLE:
        return VB_REASON_UNSTABLE;
    case VB_E_STALE:
        return VB_REASON_STALE;
    case VB_E_GUARD:
        return VB_REASON_GUARD;
    default:
        return VB_REASON_UNREACHABLE;
    }
}

static int64_t silence_ms(const struct vb_importer *i)
{
    return (int64_t)i->schedule.interval_s * i->schedule.pulse * 1000;
}

/* Out of step, unless it never was in: that word stays until the first success (REP-33). */
static void out_of_step(struct vb_importer *i, enum vb_import_reason why)
{
    if (i->state != VB_IMPORT_NEVER)
        i->state = VB_IMPORT_NO_SYNC;
    i->reason = why;
}

void vb_importer_notice(struct vb_importer *i, const struct vb_schedule *theirs, bool news, int64_t now_ms, struct vb_rng *rng)
{
    i->schedule = *theirs;
    i->has_master = true;
    i->heard_ms = now_ms;
    i->misses = 0;
    i->ask_at_ms = now_ms + silence_ms(i);
    if (i->state == VB_IMPORT_NO_MASTER)
        out_of_step(i, VB_REASON_NONE);
    if (i->pull_at_ms || (!news && i->state == VB_IMPORT_OK))
        return;
    i->pull_at_ms = now_ms + (int64_t)vb_rng_below(rng, (uint64_t)theirs->random_s * 1000 + 1);
    if (!i->pull_at_ms)
        i->pull_at_ms = 1;
}

static int64_t until(int64_t at, int64_t now)
{
    return at > now ? at - now : 0;
}

enum vb_import_action vb_importer_due(struct vb_importer *i, int64_t now_ms, int64_t *wait_ms)
{
    *wait_ms = INT64_MAX;
    if (i->locked) {
        /* Nothing is pulled; that it falls behind is shown after the time a silent master would take. */
        if (i->state == VB_IMPORT_OK && now_ms >= i->heard_ms + silence_ms(i))
            out_of_step(i, VB_REASON_LOCKED);
        return VB_IMPORT_WAIT;
    }
    if (i->pull_at_ms && now_ms >= i->pull_at_ms) {
        i->pull_at_ms = 0;
        return VB_IMPORT_PULL;
    }
    if (i->ask_at_ms && now_ms >= i->ask_at_ms) {
        i->ask_at_ms = 0; /* until it is known what came of the question */
        return VB_IMPORT_ASK;
    }
    if (i->pull_at_ms)
        *wait_ms = until(i->pull_at_ms, now_ms);
    if (i->ask_at_ms && until(i->ask_at_ms, now_ms) < *wait_ms)
        *wait_ms = until(i->ask_at_ms, now_ms);
    return VB_IMPORT_WAIT;
}

void vb_importer_unanswered(struct vb_importer *i, int64_t now_ms)
{
    int64_t pause = silence_ms(i);
    i->misses++;
    if (i->misses >= 2)
        out_of_step(i, VB_REASON_UNREACHABLE);
    for (unsigned n = 2; n < i->misses && pause < VB_ASK_PAUSE_MAX_MS; n++)
        pause *= 2;
    if (i->misses > 2 && pause > VB_ASK_PAUSE_MAX_MS)
        pause = VB_ASK_PAUSE_MAX_MS > silence_ms(i) ? VB_ASK_PAUSE_MAX_MS : silence_ms(i);
    i->ask_at_ms = now_ms + pause;
}

void vb_importer_pulled(struct vb_importer *i, enum vb_code code, int64_t now_ms, int64_t wall_s)
{
    i->reason = vb_import_reason_of(code);
    if (code == VB_OK) {
        i->state = VB_IMPORT_OK;
        i->last_update_s = wall_s;
        i->heard_ms = now_ms;
        i->misses = 0;
        i->ask_at_ms = now_ms + silence_ms(i);
        return;
    }
    out_of_step(i, i->reason);
    i->pull_at_ms = now_ms + (int64_t)i->schedule.interval_s * 1000;
}

void vb_importer_withdrawn(struct vb_importer *i)
{
    i->has_master = false;
    i->state = VB_IMPORT_NO_MASTER;
    i->reason = VB_REASON_NONE;
    i->pull_at_ms = i->ask_at_ms = 0;
}

void vb_importer_lock(struct vb_importer *i, bool locked, int64_t now_ms)
{
    if (i->locked && !locked && i->has_master)
        i->pull_at_ms = now_ms ? now_ms : 1;
    i->locked = locked;
}
