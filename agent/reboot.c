/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/reboot.c - what waits for the next boot: the records, the places, and carrying it out.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/reboot.h"
#include "agent/safe_open.h"
#include "base/io.h"
#include "base/journal.h"
#include "base/log.h"
#include "base/text.h"

#define RECORDS_MAX ((size_t)16 << 20)
#define ENABLED "/etc/systemd/system/sysinit.target.wants/vbackup-replace.service"

/* ---- the records of one job: lines "stage dir=", "move component= staged= final=", "done ...", "failed ..." ---- */

struct move { char *component, *staged, *final; };
struct plan {
    struct vb_strv stages, told; /* told: lines of what became of it */
    struct move *v; size_t n, cap;
};

static void plan_clear(struct plan *p)
{
    vb_strv_clear(&p->stages);
    vb_strv_clear(&p->told);
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].component);
        free(p->v[i].staged);
        free(p->v[i].final);
    }
    free(p->v);
    *p = (struct plan){ .n = 0 };
}

static void take_line(struct plan *p, const char *line)
{
    if (!strncmp(line, "stage ", 6)) {
        char *dir = vb_journal_value(line, "dir");
        if (dir)
            vb_strv_take(&p->stages, dir);
    } else if (!strncmp(line, "move ", 5)) {
        struct move m = { vb_journal_value(line, "component"), vb_journal_value(line, "staged"),
                          vb_journal_value(line, "final") };
        if (m.component && m.staged && m.final && m.staged[0] == '/' && m.final[0] == '/') {
            VB_GROW(p->v, p->n, p->cap);
            p->v[p->n++] = m;
            return;
        }
        free(m.component);
        free(m.staged);
        free(m.final);
    } else if (!strncmp(line, "done ", 5) || !strncmp(line, "failed ", 7)) {
        vb_strv_add(&p->told, line);
    }
}

static int plan_read(int dir, const char *name, struct plan *p, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    *p = (struct plan){ .n = 0 };
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (vb_read_file_at(dir, name, RECORDS_MAX, &b, err) < 0)
        return -1;
    VB_AUTO_FREE char *text = vb_strdup(vb_buf_str(&b));
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        take_line(p, line);
    return 0;
}

static int plan_write(int dir, const char *name, const struct plan *p, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (p->stages.n == 0 && p->n == 0 && p->told.n == 0) {
        if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
            return vb_fail_errno(err, errno, "record '%s' of what waits for a restart cannot be removed", name);
        return 0;
    }
    for (size_t i = 0; i < p->stages.n; i++) {
        VB_AUTO_FREE char *d = vb_journal_escape(p->stages.v[i]);
        vb_buf_addf(&b, "stage dir=%s\n", d);
    }
    for (size_t i = 0; i < p->n; i++) {
        VB_AUTO_FREE char *c = vb_journal_escape(p->v[i].component), *s = vb_journal_escape(p->v[i].staged);
        VB_AUTO_FREE char *f = vb_journal_escape(p->v[i].final);
        vb_buf_addf(&b, "move component=%s staged=%s final=%s\n", c, s, f);
    }
    for (size_t i = 0; i < p->told.n; i++)
        vb_buf_addf(&b, "%s\n", p->told.v[i]);
    if (vb_write_file_at(dir, name, b.data, b.len, 0600, err) < 0)
        return -1;
    return vb_fsync_dir(dir, err);
}

static int records(const struct vb_paths *p, struct vb_error *err)
{
    if (vb_mkdirs_at(p->state_fd, "reboot", 0700, err) < 0)
        return -1;
    return vb_open_dir_at(p->state_fd, "reboot", err);
}

/* ---- staging ---- */

int vb_reboot_ready(struct vb_error *err)
{
    struct stat st;
    const char *why = geteuid() != 0                ? "only root can have files replaced at a restart"
                      : lstat(ENABLED, &st) < 0     ? "nothing would replace them: vbackup-replace.service is not enabled"
                                                    : NULL;
    if (!why)
        return 0;
    vb_fail(err, VB_E_PREREQUISITE, "its files are to be replaced at a restart of the machine, and %s", why);
    vb_hint(err, "run systemctl enable vbackup-replace.service as root, or restore elsewhere with --target");
    return -1;
}

/* The directory beside `path`, or the nearest one that exists; `path` itself where a file system is mounted. */
static char *beside(const char *path)
{
    struct stat up, st;
    char *dir = vb_path_clean(path);
    VB_AUTO_FREE char *whole = vb_strdup(dir);
    do {
        char *slash = strrchr(dir, '/');
        slash[slash == dir] = 0;
    } while ((lstat(dir, &up) < 0 || !S_ISDIR(up.st_mode)) && strcmp(dir, "/") != 0);
    if (lstat(whole, &st) == 0 && S_ISDIR(st.st_mode) && st.st_dev != up.st_dev) {
        free(dir);
        return VB_STEAL(whole);
    }
    return dir;
}

static int open_place(const char *dir, struct vb_error *err)
{
    struct stat st;
    VB_AUTO_FD int up = vb_safe_open_dir(dir, false, NULL, NULL, err);
    if (up < 0)
        return -1;
    if (mkdirat(up, ".vbackup", 0700) < 0 && errno != EEXIST)
        return vb_fail_errno(err, errno, "directory '%s/.vbackup' cannot be made", dir);
    VB_AUTO_FD int fd = vb_open_beneath(up, ".vbackup", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "directory '%s/.vbackup' cannot be opened", dir);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return vb_fail(err, VB_E_GUARD, "directory '%s/.vbackup' does not belong to this user alone", dir);
    fsetxattr(fd, "user.vbackup.place", "1", 1, 0); /* captures leave it out */
    return VB_STEAL_FD(fd);
}

char *vb_reboot_stage(const struct vb_paths *p, const char *job, size_t n, const char *path, struct vb_error *err)
{
    struct plan plan;
    VB_AUTO_FREE char *dir = beside(path);
    VB_AUTO_FREE char *own = vb_printf("reboot-%s", job), *below = vb_printf("reboot-%s/%zu", job, n);
    VB_AUTO_FREE char *place = vb_path_join(dir, ".vbackup");
    VB_AUTO_FREE char *whole = vb_path_join(place, own);
    VB_AUTO_FD int rec = records(p, err);
    if (rec < 0 || plan_read(rec, job, &plan, err) < 0)
        return NULL;
    int rc = 0;
    if (!vb_strv_has(&plan.stages, whole)) {
        vb_strv_add(&plan.stages, whole);
        rc = plan_write(rec, job, &plan, err);
    }
    plan_clear(&plan);
    VB_AUTO_FD int fd = rc < 0 ? -1 : open_place(dir, err);
    if (fd < 0 || vb_mkdirs_at(fd, below, 0700, err) < 0)
        return NULL;
    return vb_path_join(place, below);
}

int vb_reboot_commit(const struct vb_paths *p, const char *job, const char *component, const struct vb_strv *staged,
                     const struct vb_strv *final, struct vb_error *err)
{
    struct plan plan;
    VB_AUTO_FD int rec = records(p, err);
    if (rec < 0 || plan_read(rec, job, &plan, err) < 0)
        return -1;
    for (size_t i = 0; i < staged->n; i++) {
        VB_GROW(plan.v, plan.n, plan.cap);
        plan.v[plan.n++] = (struct move){ vb_strdup(component), vb_strdup(staged->v[i]), vb_strdup(final->v[i]) };
    }
    sync(); /* lint: what is staged must be on disk before it is promised */
    int rc = plan_write(rec, job, &plan, err);
    plan_clear(&plan);
    return rc;
}

/* A tree by its absolute path; the directory ".vbackup" above goes with its last one. */
static int remove_stage(const char *dir, struct vb_error *err)
{
    VB_AUTO_FREE char *place = vb_strdup(dir);
    char *slash = strrchr(place, '/');
    if (!slash || slash == place || strncmp(slash + 1, "reboot-", 7) != 0)
        return vb_fail(err, VB_E_CORRUPT, "'%s' is no place of ours", dir);
    *slash = 0;
    VB_AUTO_FD int fd = vb_safe_open_dir(place, false, NULL, NULL, NULL);
    if (fd < 0)
        return 0;
    if (faccessat(fd, slash + 1, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && vb_remove_tree_at(fd, slash + 1, err) < 0)
        return -1;
    rmdir(place);
    return 0;
}

static bool promised(const struct plan *p, const char *stage)
{
    for (size_t i = 0; i < p->n; i++)
        if (vb_path_below(p->v[i].staged, stage))
            return true;
    return false;
}

static int discard(int rec, const char *job, struct vb_error *err)
{
    struct plan plan;
    struct vb_strv kept = { NULL, 0, 0 };
    if (plan_read(rec, job, &plan, err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < plan.stages.n; i++)
        if (promised(&plan, plan.stages.v[i]) || remove_stage(plan.stages.v[i], err) < 0)
            vb_strv_add(&kept, plan.stages.v[i]);
    vb_strv_clear(&plan.stages);
    plan.stages = kept;
    rc = plan_write(rec, job, &plan, err);
    plan_clear(&plan);
    return rc;
}

/* Names of the records, the oldest first. */
static int list(int rec, struct vb_strv *names, struct vb_error *err)
{
    int fd = openat(rec, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct vb_strv sorted = { NULL, 0, 0 };
    if (!d) {
        vb_close_fd(&fd);
        return vb_fail_errno(err, errno, "records of what waits for a restart cannot be listed");
    }
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (vb_guid_valid(e->d_name) && fstatat(rec, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            vb_strv_take(&sorted, vb_printf("%020lld.%09ld %s", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, e->d_name));
    }
    vb_strv_sort(&sorted);
    for (size_t i = 0; i < sorted.n; i++)
        vb_strv_add(names, strchr(sorted.v[i], ' ') + 1);
    vb_strv_clear(&sorted);
    return 0;
}

int vb_reboot_discard(const struct vb_paths *p, const char *job, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    if (faccessat(p->state_fd, "reboot", F_OK, 0) < 0)
        return 0;
    VB_AUTO_FD int rec = records(p, err);
    int rc = rec < 0 ? -1 : 0;
    if (rc == 0 && job)
        vb_strv_add(&names, job);
    else if (rc == 0)
        rc = list(rec, &names, err);
    for (size_t i = 0; i < names.n; i++)
        if (discard(rec, names.v[i], err) < 0)
            rc = -1;
    vb_strv_clear(&names);
    return rc;
}

/* ---- at boot ---- */

static void tell(struct plan *p, const char *component, size_t files, const struct vb_error *err)
{
    VB_AUTO_FREE char *c = vb_journal_escape(component), *t = vb_journal_escape(err ? vb_error_text(err) : "");
    if (err)
        vb_strv_take(&p->told, vb_printf("failed component=%s text=%s", c, t));
    else
        vb_strv_take(&p->told, vb_printf("done component=%s files=%zu", c, files));
}

static int carry_out(int rec, const char *job, struct vb_error *err)
{
    struct plan plan, left = { .n = 0 };
    int rc = 0;
    if (plan_read(rec, job, &plan, err) < 0)
        return -1;
    for (size_t i = 0; i < plan.n;) { /* the pairs of a component follow each other */
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        size_t files = 0, first = i;
        for (; i < plan.n && !strcmp(plan.v[i].component, plan.v[first].component); i++) {
            if (vb_reboot_put(plan.v[i].staged, plan.v[i].final, &files, why.code == VB_OK ? &why : NULL) < 0) {
                VB_GROW(left.v, left.n, left.cap);
                left.v[left.n++] = (struct move){ vb_strdup(plan.v[i].component), vb_strdup(plan.v[i].staged),
                                                  vb_strdup(plan.v[i].final) };
            }
        }
        tell(&left, plan.v[first].component, files, why.code != VB_OK ? &why : NULL);
        if (why.code != VB_OK) {
            rc = -1;
            vb_log_error(VB_LOG_ERROR, &why);
            if (err && err->code == VB_OK)
                vb_error_copy(err, &why);
        }
    }
    for (size_t i = 0; plan.n == 0 && i < plan.told.n; i++)
        vb_strv_add(&left.told, plan.told.v[i]);
    /* What is done is no longer promised before its stage goes: a stage that is missing is a failure. */
    for (size_t i = 0; i < plan.stages.n; i++)
        vb_strv_add(&left.stages, plan.stages.v[i]);
    if (plan_write(rec, job, &left, err) < 0) {
        rc = -1;
    } else {
        vb_strv_clear(&left.stages);
        for (size_t i = 0; i < plan.stages.n; i++)
            if (promised(&left, plan.stages.v[i]) || remove_stage(plan.stages.v[i], err) < 0)
                vb_strv_add(&left.stages, plan.stages.v[i]);
        if (plan_write(rec, job, &left, err) < 0)
            rc = -1;
    }
    plan_clear(&plan);
    plan_clear(&left);
    return rc;
}

int vb_reboot_replace(const struct vb_paths *p, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    if (faccessat(p->state_fd, "reboot", F_OK, 0) < 0)
        return 0;
    VB_AUTO_FD int rec = records(p, err);
    int rc = rec < 0 ? -1 : list(rec, &names, err);
    for (size_t i = 0; i < names.n; i++)
        if (carry_out(rec, names.v[i], err) < 0)
            rc = -1;
    vb_strv_clear(&names);
    return rc;
}

int vb_reboot_report(const struct vb_paths *p, struct vb_strv *lines, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    if (faccessat(p->state_fd, "reboot", F_OK, 0) < 0)
        return 0;
    VB_AUTO_FD int rec = records(p, err);
    int rc = rec < 0 ? -1 : list(rec, &names, err);
    for (size_t i = 0; rc == 0 && i < names.n; i++) {
        struct plan plan;
        rc = plan_read(rec, names.v[i], &plan, err);
        for (size_t k = 0; rc == 0 && k < plan.told.n; k++) {
            const char *t = plan.told.v[k];
            VB_AUTO_FREE char *c = vb_journal_value(t, "component"), *why = vb_journal_value(t, "text");
            VB_AUTO_FREE char *files = vb_journal_value(t, "files");
            if (!strncmp(t, "done ", 5))
                vb_strv_take(lines, vb_printf("component '%s' of an earlier restore was put in place at the restart (%s files)",
                                              c ? c : "", files ? files : "?"));
            else
                vb_strv_take(lines, vb_printf("component '%s' of an earlier restore could not be put in place at the restart: "
                                              "%s; it is tried again at the next one", c ? c : "", why ? why : "?"));
        }
        if (rc == 0 && plan.told.n) {
            vb_strv_clear(&plan.told);
            rc = plan_write(rec, names.v[i], &plan, err);
        }
        plan_clear(&plan);
    }
    vb_strv_clear(&names);
    return rc;
}

int vb_reboot_main(struct vb_agent *a, int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)argv;
    if (argc != 1) {
        fprintf(stderr, "usage: vbackup-agent replace\n");
        return VB_EXIT_USAGE;
    }
    int rc = vb_reboot_replace(&a->paths, &err);
    if (rc < 0)
        vb_log_error(VB_LOG_ERROR, &err);
    return rc < 0 ? VB_EXIT_FAILED : VB_EXIT_DONE;
}
