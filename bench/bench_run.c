/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bench_run.c - runs a command and tells what all of its processes took: wall, user and system time in
 * milliseconds, the peak of their memory together in KiB, exit status.
 *
 *     bench_run COMMAND [ARGUMENT...]      figures go to descriptor 3
 *
 * /usr/bin/time knows only what was waited for, and of the memory only the largest process: a supervisor that stays, and
 * what runs below it, would not count.  Here every descendant counts, and those that are left are ended.  Memory is
 * proportional (Pss), so that what processes share counts once.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_NS 10000000
#define MEMORY_STEPS 10
#define MAX_PROCESSES 4096

struct process {
    pid_t pid, parent;
    unsigned long user, system; /* with those of its own that it has waited for; clock ticks */
    int ours;
};

static struct process list[MAX_PROCESSES];
static size_t n_list;

static void read_process(pid_t pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;
    if (f)
        fclose(f);
    line[n] = 0;
    const char *p = strrchr(line, ')'); /* the name may hold anything */
    long parent;
    unsigned long u, s, cu, cs;
    if (!p || n_list == MAX_PROCESSES ||
        sscanf(p + 1, " %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &parent, &u, &s, &cu, &cs) != 5)
        return;
    list[n_list++] = (struct process){ pid, (pid_t)parent, u + cu, s + cs, 0 };
}

/* Marks all below this process. */
static void look(void)
{
    DIR *d = opendir("/proc");
    const struct dirent *e;
    pid_t self = getpid();
    n_list = 0;
    while (d && (e = readdir(d)) != NULL) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (pid > 0 && !*end)
            read_process((pid_t)pid);
    }
    if (d)
        closedir(d);
    for (int more = 1; more;) {
        more = 0;
        for (size_t i = 0; i < n_list; i++) {
            int below = list[i].parent == self;
            for (size_t k = 0; k < n_list && !below; k++)
                below = list[k].ours && list[k].pid == list[i].parent;
            if (below && !list[i].ours)
                list[i].ours = more = 1;
        }
    }
}

static unsigned long memory_of(pid_t pid)
{
    char path[64], line[256];
    unsigned long kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Pss: %lu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static unsigned long memory(void)
{
    unsigned long sum = 0;
    look();
    for (size_t i = 0; i < n_list; i++)
        sum += list[i].ours ? memory_of(list[i].pid) : 0;
    return sum;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double ms(struct timeval t)
{
    return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

/* What stayed behind is counted and ended. */
static void end_rest(double *user, double *system)
{
    double tick = 1e3 / (double)sysconf(_SC_CLK_TCK);
    look();
    for (size_t i = 0; i < n_list; i++)
        if (list[i].ours) {
            *user += (double)list[i].user * tick;
            *system += (double)list[i].system * tick;
        }
    for (int round = 0; round < 200; round++) {
        size_t left = 0;
        look();
        for (size_t i = 0; i < n_list; i++)
            if (list[i].ours && ++left)
                kill(list[i].pid, round < 100 ? SIGTERM : SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (!left)
            return;
        nanosleep(&(struct timespec){ 0, STEP_NS }, NULL);
    }
}

int main(int argc, char **argv)
{
    int status = 0;
    unsigned long peak = 0;
    struct rusage used;
    if (argc < 2)
        return 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    double began = now_ms();
    pid_t child = fork();
    if (child == 0) {
        close(3);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    double wall = 0;
    for (unsigned step = 0; child > 0; step++) {
        int what;
        pid_t got = waitpid(-1, &what, WNOHANG);
        if (got == child) {
            status = what;
            wall = now_ms() - began;
            break;
        }
        if (got > 0)
            continue;
        if (step % MEMORY_STEPS == 0) {
            unsigned long m = memory();
            peak = m > peak ? m : peak;
        }
        nanosleep(&(struct timespec){ 0, STEP_NS }, NULL);
    }
    getrusage(RUSAGE_CHILDREN, &used);
    double user = ms(used.ru_utime), system = ms(used.ru_stime);
    end_rest(&user, &system);
    dprintf(3, "%.0f %.0f %.0f %lu %d\n", wall, user, system, peak, WIFEXITED(status) ? WEXITSTATUS(status) : 255);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}
