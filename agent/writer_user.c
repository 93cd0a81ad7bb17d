/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_user.c - the writer's private directory, and becoming its user with no way back.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/writer_internal.h"
#include "base/io.h"
#include "base/text.h"

static const struct passwd *find_user(const char *user, struct vb_error *err)
{
    errno = 0;
    const struct passwd *pw = getpwnam(user);
    if (pw == NULL) {
        vb_fail(err, VB_E_CONFIG, "there is no user '%s' on this host to run the writer as", user);
        vb_hint(err, "correct user = in the writer's section");
    }
    return pw;
}

/* A section name as one file name: blanks become '+', everything but plain characters '%' and hex. */
static char *dir_name(const char *section)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

    for (const char *p = section; *p != '\0'; p++) {
        if (strchr(plain, *p) != NULL || (*p == '.' && p != section))
            vb_buf_add_char(&b, *p);
        else if (*p == ' ')
            vb_buf_add_char(&b, '+');
        else
            vb_buf_addf(&b, "%%%02x", (unsigned)(unsigned char)*p);
    }
    return vb_buf_take_str(&b);
}

int vb_writer_make_state_dir(struct vb_host *h, const char *dir, const char *user, struct vb_error *err)
{
    VB_AUTO_FREE char *name = dir_name(h->section);
    VB_AUTO_FREE char *writers = vb_path_join(dir, "writers");
    VB_AUTO_FREE char *path = vb_path_join(writers, name);
    uid_t uid = geteuid();
    gid_t gid = getegid();
    struct stat st;

    if (user != NULL) {
        const struct passwd *pw = find_user(user, err);
        if (pw == NULL)
            return -1;
        uid = pw->pw_uid;
        gid = pw->pw_gid;
    }
    /* 0711: another user's writer must reach its own directory, and see no other one */
    if (vb_mkdirs_at(AT_FDCWD, writers, 0711, err) != 0)
        return -1;
    if (geteuid() == 0 && chmod(writers, 0711) != 0) /* whatever the umask made of it */
        return vb_fail_errno(err, errno, "cannot let writers pass '%s'", writers);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return vb_fail_errno(err, errno, "cannot create the writer's state directory '%s'", path);
    VB_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return vb_fail_errno(err, errno, "cannot open the writer's state directory '%s'", path);
    if ((st.st_uid != uid || st.st_gid != gid) && geteuid() == 0 && fchown(fd, uid, gid) != 0)
        return vb_fail_errno(err, errno, "cannot give the writer's state directory '%s' to its user", path);
    if ((st.st_mode & 07777) != 0700 && (st.st_uid == geteuid() || geteuid() == 0) && fchmod(fd, 0700) != 0)
        return vb_fail_errno(err, errno, "cannot close the writer's state directory '%s' to others", path);
    h->state_dir = VB_STEAL(path);
    return 0;
}

static int become(const char *user, struct vb_error *err)
{
    const struct passwd *pw = find_user(user, err);

    if (pw == NULL)
        return -1;
    if (pw->pw_uid == geteuid() && pw->pw_uid == getuid())
        return 0; /* already */
    if (geteuid() != 0) {
        vb_fail(err, VB_E_ACCESS_DENIED, "the writer wants to run as user '%s', which only root can do", user);
        vb_hint(err, "run the agent as root or as '%s'", user);
        return -1;
    }
    uid_t uid = pw->pw_uid;
    gid_t gid = pw->pw_gid;
    if (initgroups(user, gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return vb_fail_errno(err, errno, "cannot become user '%s'", user);
    if (uid != 0 && (setuid(0) == 0 || seteuid(0) == 0))
        return vb_fail(err, VB_E_ACCESS_DENIED, "rights of root came back after becoming '%s'", user);
    setenv("HOME", pw->pw_dir, 1);
    setenv("USER", user, 1);
    setenv("LOGNAME", user, 1);
    return 0;
}

int vb_writer_drop(const char *user, struct vb_error *err)
{
    const struct rlimit none = { 0, 0 }, all = { RLIM_INFINITY, RLIM_INFINITY };

    setrlimit(RLIMIT_CORE, &none);
    if (geteuid() == 0)
        setrlimit(RLIMIT_MEMLOCK, &all); /* so that the memory can be locked before a freeze */
    if (user != NULL && become(user, err) != 0)
        return -1;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return vb_fail_errno(err, errno, "cannot give up privileges");
    umask(077);
    if (chdir("/") != 0)
        return vb_fail_errno(err, errno, "cannot change to the root directory");
    return 0;
}
