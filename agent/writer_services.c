/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_services.c - what a writer may ask its host at any time, what it says in Identify, and the snapshot set.
 *
 * Each service enforces where it is legal (rule book 7.2); elsewhere it does nothing and records BAD_STATE.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include "agent/writer_internal.h"
#include "base/text.h"
#include "wire/conn.h"
#include "wire/protocol.h"

uint64_t vb_writer_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t); /* lint: allow clock_gettime, a writer blocks and has no loop */
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

const char *vb_writer_keep(struct vb_host *h, char *taken)
{
    vb_strv_take(&h->scratch, taken);
    return taken;
}

int vb_writer_trouble(struct vb_host *h, struct vb_error *from)
{
    vb_error_clear(&h->trouble);
    return vb_error_move(&h->trouble, from);
}

int vb_writer_bad_state(struct vb_host *h, const char *service, const char *when)
{
    vb_fail(&h->trouble, VB_E_BAD_STATE, "the writer called '%s' in %s, which is legal in %s only", service,
            h->event != VB_EV_NONE ? vb_event_word(h->event) : "no callback", when);
    return -1;
}

static bool between(const struct vb_host *h, enum vb_event from, enum vb_event to)
{
    return h->event >= from && h->event <= to;
}

/* ---- any callback ---- */

static void svc_log(struct vb_host *h, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void svc_log(struct vb_host *h, int level, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    struct vb_msg m = VB_MSG_INIT(VB_M_W_LOG);

    vb_msg_add_u64(&m, VB_F_LEVEL,
                   (uint64_t)(level < VB_WLOG_ERROR   ? VB_WLOG_ERROR
                              : level > VB_WLOG_DEBUG ? VB_WLOG_DEBUG
                                                      : level));
    vb_msg_add_str(&m, VB_F_TEXT, text);
    if (h->hold_log) {
        VB_GROW(h->held, h->n_held, h->cap_held);
        h->held[h->n_held++] = m;
        return;
    }
    if (h->fd >= 0)
        vb_msg_send_fd(h->fd, &m, NULL);
    vb_msg_clear(&m);
}

static int svc_fail(struct vb_host *h, enum vb_code code, const char *text, const char *hint)
{
    vb_fail(&h->failure, code == VB_OK ? VB_E_WRITER_NON_RETRYABLE : code, "%s",
            text != NULL ? text : "no reason given");
    if (hint != NULL)
        vb_hint(&h->failure, "%s", hint);
    return -1;
}

static const char *svc_option_n(struct vb_host *h, const char *key, unsigned n)
{
    if (strcmp(key, "instance") == 0)
        return n == 0 ? h->instance_name : NULL;
    if (strcmp(key, "user") != 0 && !vb_writer_knows_option(&h->w, key))
        return NULL;
    for (size_t i = 0; i < h->cfg.n; i++)
        if (strcmp(h->cfg.entries[i].key, key) == 0 && n-- == 0)
            return h->cfg.entries[i].value;
    return NULL;
}

static const char *svc_option(struct vb_host *h, const char *key)
{
    const char *last = NULL, *v;

    for (unsigned n = 0; (v = svc_option_n(h, key, n)) != NULL; n++)
        last = v;
    return last;
}

static uint64_t svc_deadline_ms(struct vb_host *h)
{
    uint64_t now = vb_writer_now_us();

    if (h->deadline_us == 0)
        return VB_DEFAULT_FREEZE_MS;
    return now >= h->deadline_us ? 0 : (h->deadline_us - now) / 1000u;
}

static int svc_shutting_down(struct vb_host *h)
{
    (void)h;
    return vb_writer_is_ending();
}

static const char *svc_session_id(struct vb_host *h)
{
    return h->session_id;
}

static const char *svc_snapshot_set_id(struct vb_host *h)
{
    bool shown = between(h, VB_EV_PREPARE_SNAPSHOT, VB_EV_ABORT) || h->event == VB_EV_BACKUP_SHUTDOWN;
    return shown ? h->set_id : NULL;
}

static const char *svc_state_dir(struct vb_host *h)
{
    return h->state_dir;
}

/* ---- identify ---- */

#define IDENTIFY_ONLY(h, name)                                                                                         \
    do {                                                                                                               \
        if ((h)->event != VB_EV_IDENTIFY)                                                                              \
            return vb_writer_bad_state((h), (name), "Identify");                                                       \
    } while (0)

static bool service_name_valid(const char *s)
{
    return *s != '-' && *s != '\0' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._:-\\") == strlen(s);
}

static int svc_set_restore_method(struct vb_host *h, enum vb_restore_method method, const char *service,
                                  enum vb_writer_restore when, int reboot_required)
{
    struct vb_error e = VB_ERROR_INIT;

    IDENTIFY_ONLY(h, "set_restore_method");
    if (h->wmd->has_restore_method)
        vb_fail(&e, VB_E_OBJECT_ALREADY_EXISTS, "the restore method was set already");
    else if (method <= VB_RESTORE_UNDEFINED || method > VB_RESTORE_RESTORE_STOP_START)
        vb_fail(&e, VB_E_USAGE, "restore method %d is undefined (R-46)", (int)method);
    else if (when <= VB_WRITER_RESTORE_UNDEFINED || when > VB_WRITER_RESTORE_ALWAYS)
        vb_fail(&e, VB_E_USAGE, "writer restore condition %d is undefined", (int)when);
    else if (service != NULL && !service_name_valid(service))
        vb_fail(&e, VB_E_USAGE, "'%s' is not the name of a service (X-15)", service);
    if (e.code != VB_OK)
        return vb_writer_trouble(h, &e);
    h->wmd->has_restore_method = true;
    h->wmd->method = method;
    h->wmd->writer_restore = when;
    h->wmd->service = vb_strdup(service);
    h->wmd->reboot_required = reboot_required != 0;
    return 0;
}

static int svc_set_backup_schema(struct vb_host *h, uint32_t schema)
{
    IDENTIFY_ONLY(h, "set_backup_schema");
    h->wmd->schema = schema;
    return 0;
}

/* Specs of older writers are shorter: the rest counts as zero. */
#define TAKE_SPEC(copy, given) memcpy(&(copy), (given), (given)->size < sizeof(copy) ? (given)->size : sizeof(copy))

static int svc_add_component(struct vb_host *h, const struct vb_component_spec *given)
{
    struct vb_error e = VB_ERROR_INIT;
    struct vb_component_spec s;

    IDENTIFY_ONLY(h, "add_component");
    memset(&s, 0, sizeof s);
    TAKE_SPEC(s, given);
    struct vb_wm_component *c = vb_wm_add_component(h->wmd, s.type, s.logical_path != NULL ? s.logical_path : "",
                                                    s.name != NULL ? s.name : "", &e);
    if (c == NULL)
        return vb_writer_trouble(h, &e);
    c->caption = vb_strdup(s.caption);
    c->selectable = s.selectable != 0;
    c->selectable_for_restore = s.selectable_for_restore != 0;
    c->flags = s.flags;
    return 0;
}

static int svc_add_files(struct vb_host *h, const char *logical_path, const char *name,
                         const struct vb_fileset_spec *given)
{
    struct vb_error e = VB_ERROR_INIT;
    struct vb_fileset_spec s;

    IDENTIFY_ONLY(h, "add_files");
    memset(&s, 0, sizeof s);
    TAKE_SPEC(s, given);
    VB_AUTO_FREE char *path = vb_strdup(s.path), *spec = vb_strdup(s.filespec), *alt = vb_strdup(s.alternate_path);
    const struct vb_fileset fs = {
        .kind = (int)s.kind,
        .path = path,
        .filespec = spec,
        .recursive = s.recursive != 0,
        .alternate_path = alt,
        .backup_type = s.backup_type != 0 ? s.backup_type : (uint32_t)VB_FSB_DEFAULT,
    };
    if (path == NULL || spec == NULL) {
        vb_fail(&e, VB_E_USAGE, "a file set of component '%s' lacks its path or its file specification", name);
        return vb_writer_trouble(h, &e);
    }
    return vb_wm_add_fileset(h->wmd, logical_path != NULL ? logical_path : "", name, &fs, &e) == 0
               ? 0
               : vb_writer_trouble(h, &e);
}

static int svc_add_exclude(struct vb_host *h, const char *path, const char *filespec, int recursive)
{
    struct vb_error e = VB_ERROR_INIT;

    IDENTIFY_ONLY(h, "add_exclude");
    return vb_wm_add_exclude(h->wmd, false, path, filespec, recursive != 0, &e) == 0 ? 0 : vb_writer_trouble(h, &e);
}

static int svc_leave_out(struct vb_host *h, const char *logical_path, const char *name, const char *rule)
{
    struct vb_error e = VB_ERROR_INIT;

    IDENTIFY_ONLY(h, "leave_out");
    return vb_wm_add_leave_out(h->wmd, logical_path != NULL ? logical_path : "", name, rule, &e) == 0
               ? 0
               : vb_writer_trouble(h, &e);
}

static int svc_add_exclude_from_snapshot(struct vb_host *h, const char *path, const char *filespec, int recursive)
{
    struct vb_error e = VB_ERROR_INIT;

    IDENTIFY_ONLY(h, "add_exclude_from_snapshot");
    return vb_wm_add_exclude(h->wmd, true, path, filespec, recursive != 0, &e) == 0 ? 0 : vb_writer_trouble(h, &e);
}

static int svc_add_alternate_location(struct vb_host *h, const char *path, const char *filespec, int recursive,
                                      const char *alternate_path)
{
    struct vb_error e = VB_ERROR_INIT;

    IDENTIFY_ONLY(h, "add_alternate_location");
    if (!h->wmd->has_restore_method) {
        vb_fail(&e, VB_E_BAD_STATE, "an alternate location needs the restore method to be set before it (R-49)");
        return vb_writer_trouble(h, &e);
    }
    return vb_wm_add_alm(h->wmd, path, filespec, recursive != 0, alternate_path, &e) == 0 ? 0
                                                                                          : vb_writer_trouble(h, &e);
}

static int svc_add_dependency(struct vb_host *h, const char *logical_path, const char *name,
                              const char *target_class_id, const char *target_logical_path, const char *target_name)
{
    struct vb_error e = VB_ERROR_INIT;

    IDENTIFY_ONLY(h, "add_dependency");
    return vb_wm_add_dependency(h->wmd, logical_path != NULL ? logical_path : "", name, target_class_id,
                                target_logical_path != NULL ? target_logical_path : "", target_name, &e) == 0
               ? 0
               : vb_writer_trouble(h, &e);
}

/* ---- session ---- */

static enum vb_backup_type svc_backup_type(struct vb_host *h)
{
    return between(h, VB_EV_PREPARE_BACKUP, VB_EV_BACKUP_COMPLETE) ? h->backup_type : VB_BACKUP_UNDEFINED;
}

static int svc_partial_files_supported(struct vb_host *h)
{
    return between(h, VB_EV_PREPARE_BACKUP, VB_EV_BACKUP_COMPLETE) && h->doc != NULL && h->doc->partial_files;
}

static enum vb_restore_type svc_restore_type(struct vb_host *h)
{
    return between(h, VB_EV_PRE_RESTORE, VB_EV_POST_RESTORE) ? h->restore_type : VB_RESTORE_TYPE_UNDEFINED;
}

/* ---- the shadow copy set ---- */

static bool in_set(const struct vb_host *h)
{
    return between(h, VB_EV_PREPARE_SNAPSHOT, VB_EV_POST_SNAPSHOT);
}

static unsigned svc_volume_count(struct vb_host *h)
{
    return in_set(h) ? (unsigned)h->volumes.n : 0;
}

static const char *svc_volume(struct vb_host *h, unsigned i)
{
    return in_set(h) && i < h->volumes.n ? h->volumes.v[i] : NULL;
}

uint64_t vb_writer_mount_of(const char *path)
{
    struct statx x;

    if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_MNT_ID, &x) != 0)
        return 0;
    if ((x.stx_mask & STATX_MNT_ID) != 0)
        return x.stx_mnt_id;
    return UINT64_C(1) << 63 | (uint64_t)x.stx_dev_major << 32 | x.stx_dev_minor; /* a kernel before 5.8 */
}

/* The mount that holds a path decides, not its name: a directory below a volume may be a mount point itself.  (Not the
 * device number: every btrfs subvolume of one mount has its own.)  A path that does not exist counts by its nearest
 * existing parent. */
static int svc_path_affected(struct vb_host *h, const char *path)
{
    uint64_t mount;

    if (!in_set(h)) {
        vb_writer_bad_state(h, "path_affected", "PrepareForSnapshot to PostSnapshot");
        return 0;
    }
    VB_AUTO_FREE char *p = vb_path_clean(path);
    while ((mount = vb_writer_mount_of(p)) == 0) {
        char *slash = strrchr(p, '/');
        if (slash == NULL || (slash == p && p[1] == '\0'))
            return 0;
        slash[slash == p ? 1 : 0] = '\0';
    }
    for (size_t i = 0; i < h->volumes.n; i++)
        if (h->volume_mount[i] == mount)
            return 1;
    return 0;
}

static const struct vb_wh_map *find_map(const struct vb_host *h, const char *clean)
{
    const struct vb_wh_map *best = NULL;

    for (size_t i = 0; i < h->n_maps; i++)
        if (vb_path_below(clean, h->maps[i].path) && (best == NULL || strlen(h->maps[i].path) > strlen(best->path)))
            best = &h->maps[i];
    return best;
}

static int svc_snapshot_is_writable(struct vb_host *h, const char *path)
{
    VB_AUTO_FREE char *clean = vb_path_clean(path);
    const struct vb_wh_map *best = h->event == VB_EV_POST_SNAPSHOT ? find_map(h, clean) : NULL;

    return best != NULL && best->writable;
}

static const char *svc_snapshot_path(struct vb_host *h, const char *path)
{
    struct vb_error e = VB_ERROR_INIT;

    if (h->event != VB_EV_POST_SNAPSHOT) {
        vb_writer_bad_state(h, "snapshot_path", "PostSnapshot");
        return NULL;
    }
    VB_AUTO_FREE char *clean = vb_path_clean(path);
    const struct vb_wh_map *best = find_map(h, clean);
    if (best == NULL) {
        vb_fail(&e, VB_E_OBJECT_NOT_FOUND, "'%s' is on no volume of the shadow copy set", path);
        vb_writer_trouble(h, &e);
        return NULL;
    }
    const char *rest = clean + strlen(best->path);
    while (*rest == '/')
        rest++;
    return vb_writer_keep(h, *rest != '\0' ? vb_path_join(best->snapshot_path, rest) : vb_strdup(best->snapshot_path));
}

static int svc_snapshot_is_atomic(struct vb_host *h)
{
    return in_set(h) && h->atomic;
}

static int svc_set_consistency(struct vb_host *h, enum vb_consistency level)
{
    if (!between(h, VB_EV_PREPARE_BACKUP, VB_EV_POST_SNAPSHOT))
        return vb_writer_bad_state(h, "set_consistency", "PrepareForBackup to PostSnapshot");
    if (level > VB_CONSISTENCY_UNKNOWN && level <= VB_CONSISTENCY_GROUP &&
        (h->consistency == VB_CONSISTENCY_UNKNOWN || level < h->consistency))
        h->consistency = level;
    return 0;
}

const struct vb_writer_services *vb_writer_service_list(void)
{
    static struct vb_writer_services s;

    if (s.size != 0)
        return &s;
    s.abi = VB_WRITER_ABI;
    s.log = svc_log;
    s.fail = svc_fail;
    s.option = svc_option;
    s.option_n = svc_option_n;
    s.deadline_ms = svc_deadline_ms;
    s.shutting_down = svc_shutting_down;
    s.session_id = svc_session_id;
    s.snapshot_set_id = svc_snapshot_set_id;
    s.state_dir = svc_state_dir;
    s.set_restore_method = svc_set_restore_method;
    s.set_backup_schema = svc_set_backup_schema;
    s.add_component = svc_add_component;
    s.add_files = svc_add_files;
    s.add_exclude = svc_add_exclude;
    s.add_exclude_from_snapshot = svc_add_exclude_from_snapshot;
    s.add_alternate_location = svc_add_alternate_location;
    s.add_dependency = svc_add_dependency;
    s.backup_type = svc_backup_type;
    s.partial_files_supported = svc_partial_files_supported;
    s.restore_type = svc_restore_type;
    s.volume_count = svc_volume_count;
    s.volume = svc_volume;
    s.path_affected = svc_path_affected;
    s.snapshot_path = svc_snapshot_path;
    s.snapshot_is_atomic = svc_snapshot_is_atomic;
    s.set_consistency = svc_set_consistency;
    s.leave_out = svc_leave_out;
    s.snapshot_is_writable = svc_snapshot_is_writable;
    vb_writer_fill_record_services(&s);
    s.size = (uint32_t)sizeof s;
    return &s;
}
