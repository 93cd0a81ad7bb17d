/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/spool.c - the jobs on disk.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/spool.h"
#include "base/io.h"
#include "base/text.h"

#define JOB_XML_MAX (8u * 1024 * 1024)

int vb_spool_open(const struct vb_paths *p, struct vb_error *err)
{
    if (vb_mkdirs_at(p->state_fd, "agent/jobs", 0700, err) < 0)
        return -1;
    return vb_open_dir_at(p->state_fd, "agent/jobs", err);
}

static int check_name(const char *job, struct vb_error *err)
{
    if (!job || !vb_guid_valid(job))
        return vb_fail(err, VB_E_PROTOCOL, "'%s' is not the id of a job", job ? job : "");
    return 0;
}

int vb_spool_create(int spool, const char *job, const void *xml, size_t n, struct vb_error *err)
{
    if (check_name(job, err) < 0)
        return -1;
    if (mkdirat(spool, job, 0700) < 0)
        return vb_fail_errno(err, errno, "spool entry of job '%s' cannot be made", job);
    VB_AUTO_FD int dir = vb_open_dir_at(spool, job, err);
    return dir < 0 ? -1 : vb_write_file_at(dir, "job.xml", xml, n, 0600, err);
}

int vb_spool_job(int spool, const char *job, struct vb_error *err)
{
    return check_name(job, err) < 0 ? -1 : vb_open_dir_at(spool, job, err);
}

struct vb_job *vb_spool_read(int dir, const char *job, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(dir, "job.xml", JOB_XML_MAX, &b, err) < 0)
        return NULL;
    struct vb_job *j = vb_job_read("the job's document", b.data, b.len, err);
    if (j && !vb_guid_equal(j->job_id, job)) {
        vb_fail(err, VB_E_CORRUPT, "spool entry '%s' holds the document of job '%s'", job, j->job_id);
        vb_job_free(j);
        return NULL;
    }
    return j;
}

int vb_spool_lock(int dir, struct vb_error *err)
{
    VB_AUTO_FD int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vb_fail_errno(err, errno, "lock of a spool entry cannot be opened");
    int rc = vb_try_lock(fd, true, err);
    if (rc == 1)
        return vb_fail(err, VB_E_BUSY, "the job is being worked on by another process");
    return rc < 0 ? -1 : VB_STEAL_FD(fd);
}

int vb_spool_remove(int spool, const char *job, struct vb_error *err)
{
    return check_name(job, err) < 0 ? -1 : vb_remove_tree_at(spool, job, err);
}

bool vb_spool_has(int spool, const char *job)
{
    return faccessat(spool, job, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int vb_spool_list(int spool, struct vb_strv *jobs, struct vb_error *err)
{
    int fd = openat(spool, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_fail_errno(err, errno, "spool cannot be read");
        vb_close_fd(&fd);
        return -1;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (vb_guid_valid(e->d_name))
            vb_strv_add(jobs, e->d_name);
    vb_strv_sort(jobs);
    return 0;
}
