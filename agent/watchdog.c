/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/watchdog.c - the watchdog's process.
 *
 * Freezing may take as long as the flush of a busy file system, and cannot be interrupted.  So it is done by a thread
 * of its own: the main thread keeps its eye on the clock and on the parent, kills the writer hosts when the time is
 * up (what the applications hold goes with them), and thaws the moment the freeze returns.
 *
 * After START nothing is allocated, nothing is logged, and memory is locked.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/watchdog.h"
#include "base/log.h"

#define HOSTS_MAX 1024u
#define STACK_TOUCH 65536u

struct dog {
    int sock;
    int pidfds[HOSTS_MAX];
    size_t n_hosts;
    int mounts[VB_MAX_VOLUMES];  /* in the order they came: mount order */
    size_t n_mounts;
    size_t n_frozen;             /* counted from the last mount backwards */
    uint64_t deadline, hold;     /* ms of our clock, 0: none */
    bool parent_gone, fired;
    /* the freezing thread */
    pthread_t thread;
    bool has_thread, freezing, give_up;
    int go[2], done[2];          /* pipes: one byte each way */
    int freeze_error;
    dev_t forbidden[3];          /* root file system, our state, our sockets */
    dev_t devices[VB_MAX_VOLUMES];
};

static struct dog dog;           /* no stack, no heap: locked with the data segment */

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t); /* lint: allow clock_gettime, it has its own clock */
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void answer(uint32_t call, int error, enum vb_code code, const char *text)
{
    struct vb_wd_answer a;
    memset(&a, 0, sizeof a);
    a.call = call;
    a.error = error;
    a.code = (uint32_t)code;
    strncpy(a.text, text ? text : "", sizeof a.text - 1);
    (void)send(dog.sock, &a, sizeof a, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- freezing ---- */

static void *freeze_thread(void *arg)
{
    (void)arg;
    for (;;) {
        char b;
        if (read(dog.go[0], &b, 1) != 1)
            return NULL;
        dog.freeze_error = 0;
        for (size_t i = dog.n_mounts; i > 0; i--) { /* reverse mount order: what lies on top first */
            if (__atomic_load_n(&dog.give_up, __ATOMIC_SEQ_CST)) {
                dog.freeze_error = ETIMEDOUT;
                break;
            }
            if (ioctl(dog.mounts[i - 1], FIFREEZE, 0) < 0) {
                dog.freeze_error = errno;
                break;
            }
            __atomic_add_fetch(&dog.n_frozen, 1, __ATOMIC_SEQ_CST);
        }
        if (write(dog.done[1], &b, 1) != 1)
            return NULL;
    }
}

/* What is frozen by now, also while the thread still freezes: it counts on, and thaw_all() does all of them again. */
static int thaw_frozen(void)
{
    int error = 0;
    size_t n = __atomic_load_n(&dog.n_frozen, __ATOMIC_SEQ_CST);
    for (size_t i = dog.n_mounts - n; i < dog.n_mounts; i++)
        if (ioctl(dog.mounts[i], FITHAW, 0) < 0 && errno != EINVAL) /* EINVAL: it was thawed before */
            error = errno;
    return error;
}

static int thaw_all(void)
{
    int error = thaw_frozen();
    if (!error) /* else whoever asks next, or our end, tries again */
        __atomic_store_n(&dog.n_frozen, 0, __ATOMIC_SEQ_CST);
    dog.hold = 0;
    return error;
}

static void freeze_done(void)
{
    char b;
    if (read(dog.done[0], &b, 1) != 1)
        return;
    dog.freezing = false;
    if (dog.freeze_error || dog.give_up) {
        int e = dog.freeze_error ? dog.freeze_error : ETIMEDOUT; /* frozen at last, but too late: never a success */
        thaw_all();
        answer(VB_WD_FREEZE, e, e == ETIMEDOUT || dog.give_up ? VB_E_FLUSH_WRITES_TIMEOUT : VB_E_IO,
               e == ETIMEDOUT || dog.give_up ? "freezing the file system took too long"
                                             : "file system cannot be frozen");
    } else {
        answer(VB_WD_FREEZE, 0, VB_OK, NULL);
    }
}

static void start_freeze(uint64_t ms)
{
    char b = 1;
    dog.give_up = false;
    dog.freezing = true;
    dog.hold = now_ms() + ms;
    if (write(dog.go[1], &b, 1) != 1) {
        dog.freezing = false;
        answer(VB_WD_FREEZE, EPIPE, VB_E_IO, "the freezing thread is gone");
    }
}

/* ---- the end ---- */

static void kill_hosts(void)
{
    for (size_t i = 0; i < dog.n_hosts; i++)
        (void)pidfd_send_signal(dog.pidfds[i], SIGKILL, NULL, 0);
}

static bool hosts_left(void)
{
    for (size_t i = 0; i < dog.n_hosts; i++) {
        struct pollfd p = { dog.pidfds[i], POLLIN, 0 };
        if (poll(&p, 1, 0) == 0)
            return true;
    }
    return false;
}

static void fire(const char *text)
{
    dog.fired = true;
    __atomic_store_n(&dog.give_up, true, __ATOMIC_SEQ_CST);
    if (dog.freezing)
        thaw_frozen();
    else
        thaw_all();
    answer(VB_WD_FIRED, 0, VB_E_HOLD_WRITES_TIMEOUT, text);
}

/* The parent is gone: file systems first, then the hosts, which get a moment to release by themselves. */
static int last_will(void)
{
    __atomic_store_n(&dog.give_up, true, __ATOMIC_SEQ_CST);
    if (dog.freezing)
        thaw_frozen();
    else
        thaw_all();
    uint64_t until = now_ms() + VB_WD_HOST_GRACE_MS;
    bool over = false;
    while (dog.freezing || !over) {
        struct pollfd p = { dog.done[0], POLLIN, 0 };
        if (poll(&p, 1, 50) == 1 && dog.freezing)
            freeze_done();
        if (!over && (now_ms() >= until || !hosts_left())) {
            kill_hosts(); /* a freeze that does not return is no reason to let the applications wait */
            over = true;
        }
    }
    return 0;
}

/* ---- the clock ---- */

static int wait_ms(void)
{
    uint64_t next = dog.deadline, now = now_ms();
    if (dog.hold && (!next || dog.hold < next))
        next = dog.hold;
    if (!next)
        return -1;
    return next <= now ? 0 : next - now > 60000 ? 60000 : (int)(next - now);
}

static void look_at_clock(void)
{
    uint64_t now = now_ms();
    if (dog.hold && now >= dog.hold) {
        dog.hold = 0;
        fire("a file system was frozen longer than allowed");
    }
    if (dog.deadline && now >= dog.deadline) {
        dog.deadline = 0;
        fire("the time of the freeze window is over");
        kill_hosts();
    }
}

/* Waits for a freeze that nobody wants any more, with an eye on the clock and on the parent as ever. */
static void finish_freeze(void)
{
    bool orphan = false;
    __atomic_store_n(&dog.give_up, true, __ATOMIC_SEQ_CST);
    while (dog.freezing) {
        struct pollfd p[2] = { { dog.done[0], POLLIN, 0 }, { dog.sock, 0, 0 } };
        (void)poll(p, orphan ? 1 : 2, wait_ms());
        if (!orphan && (p[1].revents & (POLLHUP | POLLERR))) {
            orphan = true;
            dog.deadline = now_ms() + VB_WD_HOST_GRACE_MS;
        }
        look_at_clock();
        if (p[0].revents & POLLIN)
            freeze_done();
    }
}

/* ---- requests ---- */

static int add_mount(int fd)
{
    struct stat st;
    if (fd < 0 || dog.n_mounts == VB_MAX_VOLUMES || fstat(fd, &st) < 0)
        return EINVAL;
    for (size_t i = 0; i < sizeof dog.forbidden / sizeof *dog.forbidden; i++)
        if (st.st_dev == dog.forbidden[i])
            return EBUSY;
    for (size_t i = 0; i < dog.n_mounts; i++)
        if (dog.devices[i] == st.st_dev) { /* mounted twice: frozen once */
            close(fd);
            return 0;
        }
    dog.devices[dog.n_mounts] = st.st_dev;
    dog.mounts[dog.n_mounts++] = fd;
    return 0;
}

static void start(void)
{
    static char pages[STACK_TOUCH];
    memset(pages, 1, sizeof pages);
    if (dog.n_mounts && !dog.has_thread) {
        if (pipe2(dog.go, O_CLOEXEC) < 0 || pipe2(dog.done, O_CLOEXEC) < 0 ||
            pthread_create(&dog.thread, NULL, freeze_thread, NULL) != 0) {
            answer(VB_WD_START, errno, VB_E_IO, "the freezing thread cannot be made");
            return;
        }
        dog.has_thread = true;
    }
    for (size_t i = 0; i < dog.n_mounts; i++)
        (void)syncfs(dog.mounts[i]); /* flush first, freeze second */
    /* Without the right to lock memory we go on: only a file system that we freeze ourselves could make us wait. */
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0 && dog.n_mounts) {
        answer(VB_WD_START, errno, VB_E_ACCESS_DENIED, "memory cannot be locked");
        return;
    }
    answer(VB_WD_START, 0, VB_OK, NULL);
}

static int add_error, host_error;

static bool handle(const struct vb_wd_request *r, int fd)
{
    int e;
    switch (r->call) {
    case VB_WD_ADD_HOST:
        e = dog.n_hosts < HOSTS_MAX ? pidfd_open(r->pid, 0) : -1;
        if (e >= 0)
            dog.pidfds[dog.n_hosts++] = e;
        else if (dog.n_hosts == HOSTS_MAX || errno != ESRCH) /* ESRCH: it has ended, and holds nothing any more */
            host_error = host_error ? host_error : dog.n_hosts == HOSTS_MAX ? E2BIG : errno;
        break;
    case VB_WD_ADD_MOUNT:
        e = add_mount(fd);
        add_error = add_error ? add_error : e;
        if (e && fd >= 0)
            close(fd);
        break;
    case VB_WD_START:
        if (add_error)
            answer(VB_WD_START, add_error, VB_E_VOLUME_NOT_SUPPORTED,
                   add_error == EBUSY ? "the root file system, or the one of our own state, is never frozen"
                                      : "a mount point cannot be used");
        else if (host_error) /* it could not be killed in time */
            answer(VB_WD_START, host_error, VB_E_UNEXPECTED, "the process of a writer cannot be watched");
        else
            start();
        break;
    case VB_WD_ARM:
        dog.deadline = now_ms() + r->ms;
        answer(VB_WD_ARM, 0, VB_OK, NULL);
        break;
    case VB_WD_FREEZE:
        if (dog.fired || !dog.has_thread)
            answer(VB_WD_FREEZE, ETIMEDOUT, VB_E_HOLD_WRITES_TIMEOUT, "the freeze window is over already");
        else
            start_freeze(r->ms);
        break;
    case VB_WD_THAW:
        finish_freeze();
        e = thaw_all();
        answer(VB_WD_THAW, e, e ? VB_E_IO : VB_OK, e ? "a file system cannot be thawed" : NULL);
        break;
    case VB_WD_DISARM: return false;
    default: break;
    }
    return true;
}

static bool receive(void)
{
    struct vb_wd_request r;
    union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } ctl;
    struct iovec iov = { &r, sizeof r };
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.space, .msg_controllen = sizeof ctl.space
    };
    ssize_t n = recvmsg(dog.sock, &h, MSG_CMSG_CLOEXEC);
    int fd = -1;
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n != (ssize_t)sizeof r) {
        dog.parent_gone = true;
        return false;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return handle(&r, fd);
}

int vb_watchdog_main(struct vb_agent *a, int argc, char **argv)
{
    struct stat st;
    (void)argc;
    (void)argv;
    dog.sock = VB_CHILD_SOCKET_FD;
    dog.go[0] = dog.go[1] = dog.done[0] = dog.done[1] = -1;
    if (stat("/", &st) == 0)
        dog.forbidden[0] = st.st_dev;
    if (fstat(a->paths.state_fd, &st) == 0)
        dog.forbidden[1] = st.st_dev;
    if (fstat(a->paths.runtime_fd, &st) == 0)
        dog.forbidden[2] = st.st_dev;
    signal(SIGTERM, SIG_IGN); /* it ends with its parent, not with a service manager's first signal */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (;;) {
        struct pollfd p[2] = { { dog.sock, POLLIN, 0 }, { dog.done[0], POLLIN, 0 } };
        (void)poll(p, dog.has_thread ? 2 : 1, wait_ms());
        look_at_clock();
        if (dog.has_thread && (p[1].revents & POLLIN))
            freeze_done();
        if ((p[0].revents & (POLLIN | POLLHUP)) && !receive())
            break;
    }
    if (dog.parent_gone)
        return last_will();
    finish_freeze();
    thaw_all();
    return 0;
}
