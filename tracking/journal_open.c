/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_open.c - the search through /proc.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "tracking/journal_open.h"

#define INITIAL_PID_NAMESPACE 0xeffffffcu
#define EXITING 4u   /* PF_EXITING: mappings and descriptors are being given up, and are not listed any more */
#define KTHREAD 0x200000u /* PF_KTHREAD */
#define TRIES 40u
#define PAUSE_NS 25000000l
#define SMALL_FILE ((size_t)1 << 20)

struct scan {
    dev_t st_dev, sb_dev;
    vb_journal_open_fn *fn;
    void *arg;
    struct vb_error *why;
    struct vb_buf text;     /* of one file of /proc */
    unsigned *seen;         /* processes looked at in this round, ascending within each pass */
    size_t n_seen, cap_seen;
    struct kind {
        dev_t dev;
        bool stacked;
    } *kinds;
    size_t n_kinds, cap_kinds;
    struct vb_strv ending;  /* "PID/task/TID" of what was ending */
    bool again;             /* descriptors were on their way: look again soon */
};

/* 0 read, 1 gone, -1 failed. */
static int slurp(struct scan *s, int at, const char *name)
{
    VB_AUTO_FD int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
    vb_buf_reset(&s->text);
    if (fd < 0)
        return errno == ENOENT || errno == ESRCH ? 1 : -1;
    for (;;) {
        vb_buf_reserve(&s->text, 16384);
        ssize_t n = read(fd, s->text.data + s->text.len, s->text.cap - s->text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ESRCH || errno == ENOENT ? 1 : -1;
        if (n == 0)
            return 0;
        s->text.len += (size_t)n;
    }
}

static int cannot(struct scan *s, const char *what)
{
    return vb_fail(s->why, VB_E_BAD_STATE, "it is not known which files are open for writing: %s", what);
}

/* The number behind "name:" in a file of lines; base 8 for flags. */
static bool line_number(struct scan *s, const char *name, int base, unsigned long *v)
{
    const char *p = strstr(vb_buf_str(&s->text), name);
    char *end;
    if (!p)
        return false;
    p += strlen(name);
    errno = 0;
    *v = strtoul(p, &end, base);
    return end != p && errno == 0;
}

/* ---- file systems that lie on others ---- */

/* A directory of an overlay's options: is it on the volume, or not to be found from here? */
static bool upper_is_ours(const struct scan *s, const char *options)
{
    const char *p = strstr(options, "upperdir=");
    struct stat st;
    if (!p)
        return false; /* nothing is written through it */
    p += strlen("upperdir=");
    VB_AUTO_FREE char *dir = vb_strndup(p, strcspn(p, ", \n"));
    return strchr(dir, '\\') || stat(dir, &st) < 0 || st.st_dev == s->st_dev;
}

static bool stacked_type(const struct scan *s, const char *type, const char *options)
{
    static const char *const names[] = { "ecryptfs", "aufs", "unionfs", "shiftfs" };
    for (size_t i = 0; i < VB_COUNT(names); i++)
        if (!strcmp(type, names[i]))
            return true;
    return !strcmp(type, "overlay") && upper_is_ours(s, options);
}

/* Of the mount with this number (or else on this device) in a mount table that was read. */
static bool find_mount(struct scan *s, unsigned long id, dev_t dev, bool *stacked)
{
    char *save = NULL;
    for (char *line = strtok_r((char *)(uintptr_t)vb_buf_str(&s->text), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        unsigned long number;
        unsigned maj, min;
        const char *type = strstr(line, " - ");
        if (!type || sscanf(line, "%lu %*u %u:%u", &number, &maj, &min) != 3 ||
            (id ? number != id : makedev(maj, min) != dev))
            continue;
        VB_AUTO_FREE char *word = vb_strndup(type + 3, strcspn(type + 3, " "));
        *stacked = stacked_type(s, word, type);
        return true;
    }
    return false;
}

/* Whether a file that is not the volume's may have its bytes there all the same.  id: number of its mount, 0: not known. */
static bool is_stacked(struct scan *s, int task, unsigned long id, dev_t dev)
{
    bool stacked = false;
    for (size_t i = 0; i < s->n_kinds; i++)
        if (s->kinds[i].dev == dev)
            return s->kinds[i].stacked;
    if (slurp(s, task, "mountinfo") != 0 || !find_mount(s, id, dev, &stacked))
        return false; /* no file system that is mounted: memory, devices of the kernel's own */
    VB_GROW(s->kinds, s->n_kinds, s->cap_kinds);
    s->kinds[s->n_kinds++] = (struct kind){ dev, stacked };
    return stacked;
}

/* ---- one process ---- */

static void told(struct scan *s, int task, const char *dir, const char *name, uint64_t ino)
{
    VB_AUTO_FREE char *link = vb_printf("%s/%s", dir, name);
    VB_AUTO_FREE char *path = vb_alloc(8192);
    ssize_t n = readlinkat(task, link, path, 8191);
    if (n < 0 || path[0] != '/')
        n = 0;
    path[n] = 0;
    s->fn(s->arg, ino, path);
}

static int special(struct scan *s, int task, const char *link, const char *info)
{
    char target[64];
    unsigned long n = 0;
    ssize_t len = readlinkat(task, link, target, sizeof target - 1);
    if (len < 0)
        return 0;
    target[len] = 0;
    bool ring = !strcmp(target, "anon_inode:[io_uring]");
    if (!ring && strncmp(target, "socket:", 7) != 0)
        return 0;
    int rc = slurp(s, task, info);
    if (rc != 0)
        return rc < 0 ? cannot(s, "a descriptor cannot be examined") : 0;
    if (ring && line_number(s, "UserFiles:", 10, &n) && n > 0)
        return cannot(s, "files are registered with an io_uring");
    if (!ring && line_number(s, "scm_fds:", 10, &n) && n > 0)
        s->again = true; /* descriptors wait in it to be received */
    return 0;
}

static int one_fd(struct scan *s, int task, const char *name)
{
    VB_AUTO_FREE char *link = vb_printf("fd/%s", name), *info = vb_printf("fdinfo/%s", name);
    struct statx x;
    unsigned long flags, mount = 0;
    if (statx(task, link, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO | STATX_NLINK, &x) < 0)
        return 0; /* closed meanwhile */
    dev_t dev = makedev(x.stx_dev_major, x.stx_dev_minor);
    unsigned kind = x.stx_mode & S_IFMT;
    bool ours = dev == s->st_dev;
    if (kind == S_IFSOCK || (!ours && x.stx_dev_major == 0 && (kind == 0 || kind == S_IFREG))) {
        if (special(s, task, link, info) < 0)
            return -1;
    }
    if (kind != S_IFREG || (!ours && x.stx_dev_major != 0))
        return 0;
    int rc = slurp(s, task, info);
    if (rc != 0)
        return rc < 0 ? cannot(s, "a descriptor cannot be examined") : 0;
    if (!line_number(s, "flags:", 8, &flags))
        return cannot(s, "a descriptor says nothing of its use");
    if ((flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY)
        return 0;
    if (ours) {
        if (x.stx_nlink > 0)
            told(s, task, "fd", name, x.stx_ino);
        return 0;
    }
    line_number(s, "mnt_id:", 10, &mount);
    return is_stacked(s, task, mount, dev) ? cannot(s, "one is open in a file system that lies on another") : 0;
}

static int list(struct scan *s, int task, const char *dir, int (*fn)(struct scan *s, int task, const char *name))
{
    int fd = openat(task, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ESRCH ? 0 : cannot(s, "a process cannot be examined");
    VB_AUTO_DIR DIR *d = fdopendir(fd);
    int rc = 0;
    if (!d)
        close(fd); /* of a process that is gone */
    for (const struct dirent *e; d && rc == 0 && (e = readdir(d));)
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
            rc = fn(s, task, e->d_name);
    return rc;
}

/* In a test: a process of the machine's own that not even root may look into. */
static bool is_blind_spot(int task)
{
#ifdef VB_FAULT_POINTS
    struct stat a, b;
    const char *pid = getenv("VBACKUP_TEST_BLIND_PID");
    VB_AUTO_FREE char *name = pid ? vb_printf("/proc/%s/task/%s", pid, pid) : NULL;
    return name && fstat(task, &a) == 0 && stat(name, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
#else
    (void)task;
    return false;
#endif
}

/* Shared mappings: "from-to perms offset major:minor inode path". */
static int maps(struct scan *s, int task)
{
    int rc = slurp(s, task, "maps");
    if (rc != 0)
        return rc < 0 && !is_blind_spot(task) ? cannot(s, "the mappings of a process cannot be read") : 0;
    VB_AUTO_FREE char *text = vb_strdup(vb_buf_str(&s->text));
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char perms[5];
        unsigned maj, min;
        unsigned long long ino;
        int at = 0;
        if (sscanf(line, "%*s %4s %*s %x:%x %llu %n", perms, &maj, &min, &ino, &at) < 4 || strlen(perms) != 4)
            return cannot(s, "the mappings of a process are listed in an unknown form");
        if (perms[3] != 's' || ino == 0)
            continue;
        dev_t dev = makedev(maj, min);
        if (dev == s->st_dev || dev == s->sb_dev)
            s->fn(s->arg, ino, at && line[at] == '/' ? line + at : "");
        else if (maj == 0 && is_stacked(s, task, 0, dev))
            return cannot(s, "one is mapped in a file system that lies on another");
    }
    return 0;
}

/* 0 goes on, 1 has ended or is the kernel's own, 2 is ending. */
static int state_of(struct scan *s, int task)
{
    char state = 0;
    unsigned long flags = 0;
    if (slurp(s, task, "stat") != 0)
        return 1;
    const char *p = strrchr(vb_buf_str(&s->text), ')');
    if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %lu", &state, &flags) != 2 || state == 'Z' || state == 'X' ||
        (flags & KTHREAD))
        return 1;
    return flags & EXITING ? 2 : 0;
}

static int one_process(struct scan *s, int proc, const char *name)
{
    VB_AUTO_FREE char *tasks = vb_printf("%s/task", name);
    uint32_t pid;
    if (!vb_parse_u32(name, &pid))
        return 0;
    for (size_t i = 0; i < s->n_seen; i++)
        if (s->seen[i] == pid)
            return 0;
    VB_GROW(s->seen, s->n_seen, s->cap_seen);
    s->seen[s->n_seen++] = pid;
    int fd = openat(proc, tasks, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return 0;
    VB_AUTO_DIR DIR *d = fdopendir(fd);
    long first = 0;
    if (!d)
        close(fd);
    for (const struct dirent *e; d && rc == 0 && (e = readdir(d));) {
        uint32_t tid;
        if (!vb_parse_u32(e->d_name, &tid))
            continue;
        VB_AUTO_FD int task = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (task < 0 || state_of(s, task) == 1)
            continue;
        bool same_files = first && syscall(SYS_kcmp, first, (long)tid, KCMP_FILES, 0, 0) == 0;
        if (!same_files)
            rc = list(s, task, "fd", one_fd);
        if (rc == 0 && !first) /* threads have one memory */
            rc = maps(s, task);
        if (!first)
            first = (long)tid;
        if (rc == 0 && state_of(s, task) == 2) /* since when? it may have had nothing left to list */
            vb_strv_take(&s->ending, vb_printf("%s/%s", tasks, e->d_name));
    }
    return rc;
}

/* ---- the kernel's own users ---- */

static int loops(struct scan *s)
{
    VB_AUTO_DIR DIR *d = opendir("/sys/block");
    if (!d)
        return cannot(s, "there is no /sys/block");
    for (const struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, "loop", 4) != 0)
            continue;
        VB_AUTO_FREE char *name = vb_printf("%s/loop/backing_file", e->d_name), *node = vb_printf("/dev/%s", e->d_name);
        struct loop_info64 info;
        if (faccessat(dirfd(d), name, F_OK, 0) < 0)
            continue;
        VB_AUTO_FD int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0) {
            if (errno == ENXIO || errno == ENOENT)
                continue; /* detached meanwhile */
            return cannot(s, "a loop device cannot be examined");
        }
        if (info.lo_device == (uint64_t)s->st_dev)
            s->fn(s->arg, info.lo_inode, "");
    }
    return 0;
}

static int targets(struct scan *s)
{
    VB_AUTO_DIR DIR *d = opendir("/sys/kernel/config/target/core");
    for (const struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, "fileio_", 7))
            return cannot(s, "an iSCSI target may serve one");
    return 0;
}

/* Before Linux 6.5 nothing is told of writes through an overlay file system. */
static int old_overlays(struct scan *s)
{
    struct utsname u;
    unsigned major_v = 0, minor_v = 0;
    if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major_v, &minor_v) != 2)
        return cannot(s, "the kernel's version is not known");
    if (major_v > 6 || (major_v == 6 && minor_v >= 5))
        return 0;
    VB_AUTO_FD int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slurp(s, proc, "filesystems") != 0 || strstr(vb_buf_str(&s->text), "\toverlay\n"))
        return cannot(s, "this kernel hides what is written through an overlay file system");
    return 0;
}

static int round_once(struct scan *s, int proc)
{
    size_t before;
    s->again = false;
    s->n_seen = 0;
    do { /* what was forked meanwhile has its parent's files, and the parent may be gone */
        before = s->n_seen;
        if (list(s, proc, ".", one_process) < 0)
            return -1;
    } while (s->n_seen != before);
    return 0;
}

/* When it is gone, fanotify has told of all that it closed. */
static int wait_for_ending(struct scan *s, int proc)
{
    unsigned tries = 0;
    for (size_t i = 0; i < s->ending.n;) {
        VB_AUTO_FD int task = openat(proc, s->ending.v[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (task < 0 || state_of(s, task) != 2) {
            i++;
            continue;
        }
        if (++tries == TRIES)
            return cannot(s, "a process takes long to end");
        nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
    }
    vb_strv_clear(&s->ending);
    return 0;
}

int vb_journal_scan_open(dev_t st_dev, dev_t sb_dev, vb_journal_open_fn *fn, void *arg, struct vb_error *why)
{
    struct scan s = { .st_dev = st_dev, .sb_dev = sb_dev, .fn = fn, .arg = arg, .why = why, .again = true };
    struct stat ns;
    VB_AUTO_FD int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (proc < 0 || stat("/proc/self/ns/pid", &ns) < 0)
        rc = cannot(&s, "there is no /proc");
    else if (ns.st_ino != INITIAL_PID_NAMESPACE)
        rc = cannot(&s, "processes outside this PID namespace are not visible");
    else
        rc = old_overlays(&s);
    for (unsigned i = 0; rc == 0 && s.again; i++) {
        if (i == TRIES)
            rc = cannot(&s, "descriptors are waiting in a socket");
        else if (i)
            nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
        if (rc == 0 && (round_once(&s, proc) < 0 || wait_for_ending(&s, proc) < 0))
            rc = -1;
    }
    if (rc == 0 && (loops(&s) < 0 || targets(&s) < 0))
        rc = -1;
    free(s.seen);
    free(s.kinds);
    vb_strv_clear(&s.ending);
    vb_buf_clear(&s.text);
    return rc;
}
