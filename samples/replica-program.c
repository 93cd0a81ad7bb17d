/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program with replicas of its own in a page: notes, one a line of a file, that meet in both directions.
 *
 *     cc replica-program.c $(pkg-config --cflags --libs vbackup) -o replica-program
 *     ./replica-program here.db put greeting hello         a note; its text's first bytes stand for its content
 *     ./replica-program here.db delete greeting
 *     ./replica-program here.db with there.db              both know everything then
 *     ./replica-program here.db list
 *     ./replica-program here.db clean 86400                forgets what was deleted long ago, at most once a day
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vbackup/replica.h>

static int fail(const struct vb_metadata *m, enum vb_code code)
{
    fprintf(stderr, "%s: %s\n", vb_code_name(code), vb_metadata_error(m));
    return (int)vb_code_exit(code);
}

static int show(void *arg, const struct vb_metadata_item *i)
{
    (void)arg;
    if (!i->deleted)
        printf("%s %.*s\n", i->path, VB_HASH_LEN, (const char *)i->content);
    return 0;
}

/* One direction: the source enumerates against what the destination knows, the destination applies. */
static enum vb_code pass(struct vb_metadata *from, struct vb_metadata *to, struct vb_metadata_result *sum)
{
    struct vb_metadata_session *source = vb_metadata_session_begin(from), *destination = vb_metadata_session_begin(to);
    enum vb_code code = source && destination ? VB_OK : VB_E_IO;
    size_t wished = 0;
    struct vb_knowledge *known = destination ? vb_metadata_session_parameters(destination, &wished) : NULL;
    for (int last = 0; code == VB_OK && !last;) {
        struct vb_metadata_batch *batch = vb_metadata_changes(source, known, wished);
        code = batch ? vb_metadata_process(destination, batch, NULL, sum) : VB_E_IO;
        last = batch && vb_metadata_batch_last(batch);
        vb_metadata_batch_free(batch);
    }
    vb_knowledge_free(known);
    vb_metadata_session_end(source);
    vb_metadata_session_end(destination);
    return code;
}

static enum vb_code change(struct vb_metadata *m, const char *name, const char *text)
{
    struct vb_metadata_item i = { .size = sizeof i, .kind = VB_ITEM_FILE, .path = name };
    enum vb_code code = vb_metadata_begin(m);
    if (text)
        strncpy((char *)i.content, text, VB_HASH_LEN - 1);
    if (code == VB_OK)
        code = text ? vb_metadata_note(m, &i, NULL) : vb_metadata_note_deleted(m, name, NULL);
    return code == VB_OK ? vb_metadata_commit(m) : code;
}

static enum vb_code clean(struct vb_metadata *m, const char *seconds)
{
    bool done = false;
    enum vb_code code = vb_metadata_begin(m);
    if (code == VB_OK)
        code = vb_metadata_cleanup(m, strtoull(seconds, NULL, 10) * 1000, &done);
    if (code == VB_OK)
        code = vb_metadata_commit(m);
    if (code == VB_OK)
        puts(done ? "true" : "false");
    return code;
}

int main(int argc, char **argv)
{
    struct vb_metadata_result sum = VB_METADATA_RESULT_INIT;
    struct vb_metadata *other = NULL;
    char *text = NULL;
    enum vb_code code;
    if (argc < 3) {
        fprintf(stderr, "usage: %s STORE list | put NAME TEXT | delete NAME | with STORE | clean SECONDS\n", argv[0]);
        return VB_EXIT_USAGE;
    }
    struct vb_metadata *m = vb_metadata_open(argv[1], NULL, &code, &text);
    if (m && argc == 4 && !strcmp(argv[2], "with")) {
        free(text);
        other = vb_metadata_open(argv[3], NULL, &code, &text);
    }
    if (!m || code != VB_OK) {
        fprintf(stderr, "%s: %s\n", vb_code_name(code), text);
        free(text);
        vb_metadata_close(m);
        return (int)vb_code_exit(code);
    }
    free(text);
    struct vb_metadata *failed = m;
    if (other) {
        code = pass(m, other, &sum);
        failed = other;
        if (code == VB_OK) {
            code = pass(other, m, &sum);
            failed = m;
        }
        printf("%llu applied, %llu conflicts\n", (unsigned long long)sum.applied, (unsigned long long)sum.conflicts);
    } else if (argc == 5 && !strcmp(argv[2], "put")) {
        code = change(m, argv[3], argv[4]);
    } else if (argc == 4 && !strcmp(argv[2], "delete")) {
        code = change(m, argv[3], NULL);
    } else if (argc == 4 && !strcmp(argv[2], "clean")) {
        code = clean(m, argv[3]);
    } else {
        struct vb_metadata_session *s = vb_metadata_session_begin(m);
        struct vb_metadata_batch *all = s ? vb_metadata_full_changes(s, NULL, 0) : NULL;
        for (size_t i = 0; all && i < vb_metadata_batch_count(all); i++)
            show(NULL, vb_metadata_batch_item(all, i));
        vb_metadata_batch_free(all);
        vb_metadata_session_end(s);
    }
    int status = code == VB_OK ? VB_EXIT_DONE : fail(failed, code);
    vb_metadata_close(other);
    vb_metadata_close(m);
    return status;
}
