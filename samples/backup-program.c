/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A requester of one's own in a page: backs up the paths given as arguments and prints what became of each component.
 *
 *     cc backup-program.c $(pkg-config --cflags --libs vbackup) -o backup-program
 *     ./backup-program /srv/repository /etc /srv/www
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <vbackup/requester.h>

static struct vb_requester *requester;

static void stop(int signo)
{
    (void)signo;
    vb_requester_cancel(requester); /* safe in a signal handler; the writers are told, nothing stays frozen */
}

static void warning(void *arg, const char *host, enum vb_code code, const char *text, const char *hint)
{
    (void)arg;
    fprintf(stderr, "%s: %s: %s%s%s\n", host ? host : "-", vb_code_name(code), text, hint ? "; " : "", hint ? hint : "");
}

int main(int argc, char **argv)
{
    static const struct vb_observer observer = { sizeof observer, NULL, NULL, warning };
    struct vb_backup_request request = VB_BACKUP_REQUEST_INIT;
    enum vb_code code;
    char *text = NULL;

    if (argc < 3) {
        fprintf(stderr, "usage: %s REPOSITORY PATH...\n", argv[0]);
        return VB_EXIT_USAGE;
    }
    requester = vb_requester_open(NULL, &code, &text);
    if (!requester) {
        fprintf(stderr, "%s: %s\n", vb_code_name(code), text);
        free(text);
        return (int)vb_code_exit(code);
    }
    signal(SIGINT, stop);

    request.repository = argv[1];
    request.paths = (const char *const *)(argv + 2);
    request.n_paths = (size_t)argc - 2;
    request.min_consistency = VB_CONSISTENCY_NONE; /* plain paths may lie where no snapshot can be made: read live */

    struct vb_report *report = vb_requester_backup(requester, &request, &observer, NULL);
    for (size_t i = 0; i < vb_report_component_count(report); i++) {
        struct vb_component_report c = { .size = sizeof c };
        if (vb_report_component(report, i, &c) == 0)
            printf("%s %s: %s, consistency %s, %llu files\n", c.host, c.name, vb_completeness_word(c.completeness),
                   vb_consistency_word(c.consistency), (unsigned long long)c.files);
    }
    if (vb_report_error(report))
        fprintf(stderr, "%s\n", vb_report_error(report));
    else
        printf("backup %s\n", vb_report_backup_id(report));
    int status = (int)vb_report_exit(report);
    vb_report_free(report);
    vb_requester_close(requester);
    return status;
}
