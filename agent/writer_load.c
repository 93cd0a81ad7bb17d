/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_load.c - finds a writer module, makes sure that only root or our own user can have written it, loads it
 * and checks the handshake.  The only dlopen of the tree.
 */
#include "config.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/writer_internal.h"
#include "base/text.h"

static bool trusted_owner(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* What hangs on one element of the path.  In a sticky directory nobody can replace what root or we own, so it is good
 * enough above a trusted entry; the module itself is never allowed to be writable by others. */
static int check_element(const char *path, const struct stat *st, bool is_dir, struct vb_error *err)
{
    if (!trusted_owner(st->st_uid)) {
        vb_fail(err, VB_E_ACCESS_DENIED, "'%s' belongs to user %lu, neither to root nor to the agent's user", path,
                (unsigned long)st->st_uid);
        vb_hint(err, "chown it to root, or install the writer elsewhere");
        return -1;
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0 && !(is_dir && (st->st_mode & S_ISVTX) != 0)) {
        vb_fail(err, VB_E_ACCESS_DENIED, "'%s' can be written by others than its owner (mode %04o)", path,
                (unsigned)(st->st_mode & 07777));
        vb_hint(err, "chmod go-w %s", path);
        return -1;
    }
    return 0;
}

/* path is real (no links in it): every directory above it, up to the root. */
static int check_parents(const char *path, struct vb_error *err)
{
    VB_AUTO_FREE char *p = vb_strdup(path);
    struct stat st;

    for (;;) {
        char *slash = strrchr(p, '/');
        if (slash == NULL)
            return 0;
        bool root = slash == p;
        slash[root ? 1 : 0] = '\0';
        if (lstat(p, &st) != 0)
            return vb_fail_errno(err, errno, "cannot look at '%s'", p);
        if (check_element(p, &st, true, err) != 0)
            return -1;
        if (root)
            return 0;
    }
}

static int open_module(const char *dir, const char *file, char **path, struct vb_error *err)
{
    VB_AUTO_FREE char *joined = vb_path_join(dir, file);
    VB_AUTO_FREE char *real = realpath(joined, NULL);
    struct stat st;

    if (real == NULL)
        return vb_fail_errno(err, errno, "cannot find '%s'", joined);
    VB_AUTO_FD int fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return vb_fail_errno(err, errno, "cannot open writer module '%s'", real);
    if (!S_ISREG(st.st_mode))
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE, "writer module '%s' is not a regular file", real);
    if (check_element(real, &st, false, err) != 0 || check_parents(real, err) != 0) {
        vb_context(err, "writer module refused");
        return -1;
    }
    *path = VB_STEAL(real);
    return VB_STEAL_FD(fd);
}

int vb_writer_find(const char *module, char **path, struct vb_error *err)
{
    const char *list = getenv("VBACKUP_WRITER_PATH");

    if (*module == '\0' || strspn(module, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(module))
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE, "'%s' is not the name of a writer module", module);
    VB_AUTO_FREE char *file = vb_printf("vb-writer-%s.so", module);
    VB_AUTO_FREE char *dirs = list != NULL && *list != '\0' ? vb_printf("%s:%s/writers", list, VB_PKGLIBDIR)
                                                            : vb_printf("%s/writers", VB_PKGLIBDIR);
    for (char *save = NULL, *d = strtok_r(dirs, ":", &save); d != NULL; d = strtok_r(NULL, ":", &save)) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        if (*d != '/')
            continue;
        int fd = open_module(d, file, path, &e);
        if (fd >= 0)
            return fd;
        if (e.code != VB_E_NOT_FOUND)
            return vb_error_move(err, &e);
    }
    vb_fail(err, VB_E_PREREQUISITE, "writer module '%s' is not installed: no '%s' in %s%s%s/writers", module, file,
            list != NULL ? list : "", list != NULL && *list != '\0' ? ":" : "", VB_PKGLIBDIR);
    vb_hint(err, "install it, or name its directory in VBACKUP_WRITER_PATH");
    return -1;
}

/* The two sizes may differ: fields are only appended, so the smaller one is what both sides know. */
static int take_struct(struct vb_host *h, const struct vb_writer *given, const char *path, struct vb_error *err)
{
    if (given == NULL)
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE, "writer module '%s' offers no writer", path);
    if (given->magic != VB_WRITER_MAGIC)
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE,
                       "writer module '%s' is no writer: magic number 0x%08x, expected 0x%08x", path, given->magic,
                       VB_WRITER_MAGIC);
    if (given->abi != VB_WRITER_ABI) {
        vb_fail(err, VB_E_VERSION, "writer module '%s' was built for writer ABI %u, this agent speaks %u", path,
                given->abi, VB_WRITER_ABI);
        vb_hint(err, "compile the writer against the vbackup/writer.h of this version");
        return -1;
    }
    if (given->size < offsetof(struct vb_writer, identify) + sizeof given->identify)
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE,
                       "writer module '%s': struct size %u is too small to be a writer", path, given->size);
    memset(&h->w, 0, sizeof h->w);
    memcpy(&h->w, given, given->size < sizeof h->w ? given->size : sizeof h->w);
    memset(&h->repl, 0, sizeof h->repl);
    if (h->w.replication != NULL) {
        const struct vb_replication *r = h->w.replication;
        if (r->size < offsetof(struct vb_replication, signature))
            return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE, "writer module '%s': its replication block has a size of %u",
                           path, r->size);
        memcpy(&h->repl, r, r->size < sizeof h->repl ? r->size : sizeof h->repl);
    }

    const struct {
        const char *name;
        bool there;
    } must[] = {
        { "identify", h->w.identify != NULL },
        { "freeze", h->w.freeze != NULL },
        { "thaw", h->w.thaw != NULL },
        { "abort", h->w.abort != NULL },
    };
    for (size_t i = 0; i < VB_COUNT(must); i++)
        if (!must[i].there)
            return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE,
                           "writer module '%s' lacks the callback '%s', which every writer must have (W-42)", path,
                           must[i].name);
    if (h->w.name == NULL || *h->w.name == '\0')
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE, "writer module '%s' has no name", path);
    if (h->w.class_id == NULL || !vb_guid_valid(h->w.class_id))
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE, "writer module '%s': class id '%s' is not a GUID", path,
                       h->w.class_id != NULL ? h->w.class_id : "");
    if (h->w.usage <= VB_USAGE_UNDEFINED || h->w.usage > VB_USAGE_OTHER)
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE,
                       "writer module '%s': usage is undefined, one of VB_USAGE_ must be named", path);
    if (h->w.source == VB_SOURCE_UNDEFINED)
        h->w.source = VB_SOURCE_OTHER;
    if (h->w.level == VB_LEVEL_UNKNOWN)
        h->w.level = VB_LEVEL_FRONT_END;
    if (h->w.freeze_timeout_ms == 0)
        h->w.freeze_timeout_ms = VB_DEFAULT_FREEZE_MS;
    return 0;
}

int vb_writer_load(struct vb_host *h, const char *module, struct vb_error *err)
{
    VB_AUTO_FREE char *path = NULL;
    VB_AUTO_FD int fd = vb_writer_find(module, &path, err);

    if (fd < 0)
        return -1;
    /* by descriptor: what was checked is what is loaded */
    VB_AUTO_FREE char *by_fd = vb_printf("/proc/self/fd/%d", fd);
    h->dl = dlopen(by_fd, RTLD_NOW | RTLD_LOCAL);
    if (h->dl == NULL) {
        const char *why = dlerror();
        return vb_fail(err, VB_E_PREREQUISITE, "cannot load writer module '%s': %s", path,
                       why != NULL ? why : "unknown reason");
    }
    union {
        void *p;
        vb_writer_entry_fn *f;
    } entry = { .p = dlsym(h->dl, VB_WRITER_ENTRY) };
    if (entry.p == NULL)
        return vb_fail(err, VB_E_WRITER_INFRASTRUCTURE,
                       "writer module '%s' does not export '%s' (VB_REGISTER_WRITER is missing)", path,
                       VB_WRITER_ENTRY);
    if (take_struct(h, entry.f(), path, err) != 0)
        return -1;
    h->module_path = VB_STEAL(path);
    return 0;
}

bool vb_writer_knows_option(const struct vb_writer *w, const char *key)
{
    for (size_t i = 0; w->options != NULL && w->options[i] != NULL; i++) {
        const char *o = w->options[i];
        size_t n = strlen(o);
        if (n > 0 && o[n - 1] == '*') {
            if (strncmp(o, key, n - 1) == 0 && strlen(key) > n - 1)
                return true;
        } else if (n > 1 && o[0] == '*') {
            size_t k = strlen(key);
            if (k > n - 1 && strcmp(key + k - (n - 1), o + 1) == 0)
                return true;
        } else if (strcmp(o, key) == 0) {
            return true;
        }
    }
    return false;
}

int vb_writer_check_section(const struct vb_host *h, struct vb_error *err)
{
    static const char *const ours[] = { "module", "instance", "user", "policy", "level", "freeze-timeout" };

    for (size_t i = 0; i < h->cfg.n; i++) {
        const struct vb_config_entry *e = &h->cfg.entries[i];
        bool known = vb_writer_knows_option(&h->w, e->key);
        for (size_t k = 0; k < VB_COUNT(ours); k++)
            known = known || strcmp(ours[k], e->key) == 0;
        if (known)
            continue;
        VB_AUTO_BUF b = VB_BUF_INIT;
        for (size_t k = 0; h->w.options != NULL && h->w.options[k] != NULL; k++)
            vb_buf_addf(&b, "%s, ", h->w.options[k]);
        vb_fail(err, VB_E_CONFIG,
                "%s:%u: writer '%s' does not know the key '%s', expected one of %smodule, instance, user, policy, "
                "level, freeze-timeout",
                e->file, e->line, h->w.name, e->key, vb_buf_str(&b));
        return -1;
    }
    return 0;
}

int vb_writer_apply_section(struct vb_host *h, struct vb_error *err)
{
    static const struct {
        const char *word;
        enum vb_level level;
    } levels[] = {
        { "front-end", VB_LEVEL_FRONT_END },
        { "back-end", VB_LEVEL_BACK_END },
        { "system", VB_LEVEL_SYSTEM },
    };
    const char *level = vb_section_get(&h->cfg, "level");
    uint64_t ms = 0;
    bool found = level == NULL;

    for (size_t i = 0; level != NULL && i < VB_COUNT(levels); i++)
        if (strcmp(level, levels[i].word) == 0) {
            h->w.level = levels[i].level;
            found = true;
        }
    if (!found) {
        VB_AUTO_FREE char *where = vb_section_where(&h->cfg, "level");
        return vb_fail(err, VB_E_CONFIG, "%s: level is '%s', expected front-end, back-end or system", where, level);
    }
    if (vb_section_duration_ms(&h->cfg, "freeze-timeout", h->w.freeze_timeout_ms, &ms, err) != 0)
        return -1;
    if (ms == 0 || ms > VB_DEFAULT_FREEZE_MS * 10u) {
        VB_AUTO_FREE char *where = vb_section_where(&h->cfg, "freeze-timeout");
        return vb_fail(err, VB_E_CONFIG, "%s: freeze-timeout must lie between 1ms and 10m", where);
    }
    h->w.freeze_timeout_ms = (uint32_t)ms;
    return 0;
}
