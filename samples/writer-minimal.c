/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * samples/writer-minimal.c - a complete writer.  Copy it, and change what is specific to your application.
 *
 *     cc -shared -fPIC -o vb-writer-minimal.so writer-minimal.c $(pkg-config --cflags vbackup)
 *     VBACKUP_WRITER_PATH=$PWD vbackup writers
 *
 * The application of this sample keeps plain files in one directory.  Before it writes it takes a shared lock on the
 * file `lock` there:       flock -s /srv/notes/lock  my-application So whoever holds the exclusive lock knows that
 * nobody is in the middle of a write.  This is what Freeze takes and Thaw gives back; the kernel gives it back, too,
 * should this process die.
 *
 *     [writer minimal]
 *     directory = /srv/notes
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include <vbackup/writer.h>

/* What we carry from one callback to the next.  There is one process per writer, and one thread that calls us. */
struct notes {
    const struct vb_writer_services *svc; /* everything we may ask of the host */
    char *directory;
    int lock; /* descriptor of the lock file while we hold it, or -1 */
};

/* The keys that our section of the configuration may have.  Any other is refused with its file and line. */
static const char *const OPTIONS[] = { "directory", NULL };

/* Once, before anything else. */
static int notes_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    const char *directory = svc->option(h, "directory");
    struct notes *n;

    /* A failing callback says why, and what the user can do about it.  svc->fail returns -1 for us. */
    if (directory == NULL || directory[0] != '/')
        return svc->fail(h, VB_E_CONFIG, "the minimal writer needs an absolute directory", "add directory = /PATH");
    n = calloc(1, sizeof *n);
    if (n == NULL || (n->directory = strdup(directory)) == NULL)
        return svc->fail(h, VB_E_NO_MEMORY, "out of memory", NULL);
    n->svc = svc;
    n->lock = -1;
    *ctx = n;
    return 0;
}

static void notes_close(void *ctx)
{
    struct notes *n = ctx;

    free(n->directory);
    free(n);
}

/* What is there to save?  May be called at any time, also in the middle of a backup: it must change nothing. */
static int notes_identify(void *ctx, struct vb_host *h)
{
    const struct notes *n = ctx;
    const struct vb_component_spec component = {
        .size = sizeof component,
        .type = VB_COMPONENT_FILEGROUP,
        .name = "notes",
        .caption = "all notes",
        .selectable = 1, /* the user may choose it, or leave it out */
    };
    const struct vb_fileset_spec files = {
        .size = sizeof files,
        .path = n->directory,
        .filespec = "*",
        .recursive = 1,
    };

    if (n->svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0 ||
        n->svc->add_component(h, &component) != 0 || n->svc->add_files(h, NULL, "notes", &files) != 0)
        return -1; /* the host knows why */
    return n->svc->add_exclude(h, n->directory, "lock", 0);
}

static int notes_release(void *ctx, struct vb_host *h)
{
    struct notes *n = ctx;

    (void)h;
    if (n->lock >= 0)
        close(n->lock); /* gives the lock back */
    n->lock = -1;
    return 0;
}

/* Hold the application still.  Be quick: everybody waits, and deadline_ms tells how long they will.  From the return of
 * this function to the call of the next one, touch no file. */
static int notes_freeze(void *ctx, struct vb_host *h)
{
    struct notes *n = ctx;
    int dir = open(n->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    n->lock = dir >= 0 ? openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (dir >= 0)
        close(dir);
    if (n->lock < 0)
        return n->svc->fail(h, VB_E_IO, "cannot open the lock file of the notes", "does the directory exist?");
    while (flock(n->lock, LOCK_EX | LOCK_NB) != 0) {
        const struct timespec a_moment = { 0, 1000000 };
        if (n->svc->deadline_ms(h) < 1000 || n->svc->shutting_down(h)) {
            notes_release(ctx, h);
            return n->svc->fail(h, VB_E_WRITER_RETRYABLE, "the application did not pause in time",
                                "try again when it is less busy");
        }
        nanosleep(&a_moment, NULL);
    }
    return 0;
}

/* The snapshot exists: let the application go on.  Fails if what Freeze took is no longer ours. */
static int notes_thaw(void *ctx, struct vb_host *h)
{
    const struct notes *n = ctx;

    if (n->lock < 0)
        return n->svc->fail(h, VB_E_WRITER_RETRYABLE, "the lock was lost", NULL);
    return notes_release(ctx, h);
}

static const struct vb_writer MINIMAL = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "7d3c1a58-2f1e-4a53-8b55-9a3c3c7a0001", /* your own: run uuidgen once, and never change it */
    .name = "minimal writer",
    .version = "1.0",
    .usage = VB_USAGE_USER_DATA,
    .source = VB_SOURCE_OTHER,
    .options = OPTIONS,
    .open = notes_open,
    .close = notes_close,
    .identify = notes_identify,
    .freeze = notes_freeze,
    .thaw = notes_thaw,
    .abort = notes_release, /* comes instead of Thaw when something went wrong: undo everything, twice does no harm */
};
VB_REGISTER_WRITER(MINIMAL)
