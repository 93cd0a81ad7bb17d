/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/remote_lock.c - the writer's lock where the store has none: a file that only one can make.
 *
 * Its first line is for people, the second tells machine, start of that machine and process.  A lock whose process is known
 * to be gone, because it was one of this machine, is taken over.
 */
#include "config.h"
#include "store/backend.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"

#define LOCK_NAME "lock"
#define LOCK_MAX 2048u

/* One line of a file of this system, or "". */
static char *line_of(const char *path)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(AT_FDCWD, path, 256, &b, NULL) < 0)
        return vb_strdup("");
    while (b.len > 0 && b.data[b.len - 1] <= ' ')
        b.len--;
    return vb_buf_take_str(&b);
}

/* True when the process that wrote the second line cannot live any more. */
static bool is_gone(const char *line)
{
    VB_AUTO_FREE char *machine = line_of("/etc/machine-id"), *boot = line_of("/proc/sys/kernel/random/boot_id");
    VB_AUTO_FREE char *same_boot = vb_printf("%s %s ", machine, boot);
    VB_AUTO_FREE char *same_machine = vb_printf("%s ", machine);
    uint32_t pid;
    if (!*machine || !*boot || strncmp(line, same_machine, strlen(same_machine)) != 0)
        return false;
    if (strncmp(line, same_boot, strlen(same_boot)) != 0)
        return true; /* the machine has started anew since */
    return vb_parse_u32(line + strlen(same_boot), &pid) && pid > 1 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static int busy(struct vb_backend *b, const struct vb_buf *text, struct vb_error *err)
{
    const char *end = text->len ? memchr(text->data, '\n', text->len) : NULL;
    VB_AUTO_FREE char *who = vb_escape_terminal((const char *)text->data, end ? (size_t)(end - (const char *)text->data) : 0);
    vb_fail(err, VB_E_BUSY, "repository is in use by %s", *who ? who : "another process");
    vb_hint(err, "wait until that has ended; if that process is known to be gone, remove the file 'lock' of '%s'", b->location);
    return -1;
}

int vb_remote_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    VB_AUTO_FREE char *machine = line_of("/etc/machine-id"), *boot = line_of("/proc/sys/kernel/random/boot_id");
    VB_AUTO_FREE char *text = vb_printf("%.*s\n%s %s %ld\n", 512, holder, machine, boot, (long)getpid());
    for (unsigned tries = 0;; tries++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT, gone = VB_ERROR_INIT;
        VB_AUTO_BUF old = VB_BUF_INIT;
        if (b->ops->write(b, LOCK_NAME, text, strlen(text), &why) == 0)
            return 0;
        if (why.code != VB_E_EXISTS)
            return vb_error_move(err, &why);
        uint64_t size = 0;
        if (b->ops->size(b, LOCK_NAME, &size, &gone) < 0 ||
            b->ops->read(b, LOCK_NAME, 0, size < LOCK_MAX ? (size_t)size : LOCK_MAX, &old, &gone) < 0) {
            if (gone.code == VB_E_NOT_FOUND && tries < 3)
                continue;
            return vb_error_move(err, &gone);
        }
        char *second = strchr(vb_buf_str(&old), '\n');
        if (!second || tries >= 3)
            return busy(b, &old, err);
        char *line_end = strchr(second + 1, '\n');
        if (line_end)
            *line_end = '\0';
        if (!is_gone(second + 1))
            return busy(b, &old, err);
        vb_error_clear(&gone);
        if (b->ops->remove(b, LOCK_NAME, &gone) < 0 && gone.code != VB_E_NOT_FOUND)
            return vb_error_move(err, &gone);
    }
}

void vb_remote_unlock(struct vb_backend *b)
{
    b->ops->remove(b, LOCK_NAME, NULL);
}
