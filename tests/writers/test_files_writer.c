/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/writers/test_files_writer.c - what the files writer makes of its configuration.
 */
#include "config.h"
#include <fcntl.h>
#include <sys/stat.h>
#include "base/io.h"
#include "tests/cm.h"
#include "tests/contract/host.h"
#include "tests/contract/expect.h"

static struct host H;

static void put(const char *name, const char *text)
{
    VB_AUTO_FREE char *path = host_path(name);
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_ok(vb_write_file_at(AT_FDCWD, path, text, strlen(text), 0644, &err));
}

static void setup_files(void)
{
    VB_AUTO_FREE char *path = host_path("www");

    mkdir(path, 0755);
    put("www/index.html", "hello");
}

static int reset(void **state)
{
    (void)state;
    host_init(&H);
    return 0;
}

static int clear(void **state)
{
    (void)state;
    host_clear(&H);
    host_cleanup();
    return 0;
}

static const struct vb_fileset *fileset(const char *component, size_t i)
{
    const struct vb_wm_component *c = vb_wm_find(H.wmd, "", component);

    assert_non_null(c);
    assert_true(i < c->n_filesets);
    return &c->filesets[i];
}

static void files_components_from_configuration(void **state)
{
    (void)state;
    setup_files();
    put("other.html", "other");
    VB_AUTO_FREE char *config =
        vb_printf("[writer files]\ncomponent = www\nwww.path = %s/www\nwww.include = *.html\n"
                  "www.include = *.css\nwww.exclude = *.tmp\nwww.exclude = cache/\nwww.caption = the site\n"
                  "component = one\none.path = %s/other.html\none.logical-path = a\\b\n"
                  "www.depends = 5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0004|\\\\backend\\main|cluster\n",
                  host_dir(), host_dir());
    GOOD(host_start(&H, "files", "files", config));
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    assert_string_equal(fileset("www", 0)->filespec, "*.html");
    assert_string_equal(fileset("www", 1)->filespec, "*.css");
    assert_true(fileset("www", 0)->recursive);
    const struct vb_wm_component *www = vb_wm_find(H.wmd, "", "www"), *one = vb_wm_find(H.wmd, "a\\b", "one");
    assert_string_equal(www->caption, "the site");
    assert_int_equal(www->n_dependencies, 1);
    assert_string_equal(www->dependencies[0].target_logical_path, "\\\\backend\\main");
    assert_non_null(one);
    assert_string_equal(one->filesets[0].filespec, "other.html");
    assert_false(one->filesets[0].recursive);
    assert_int_equal(H.wmd->n_excludes, 2);
}

static void files_adhoc_paths_are_one_component(void **state)
{
    (void)state;
    setup_files();
    VB_AUTO_FREE char *config = vb_printf("[writer files]\nadhoc-path = %s/www\nadhoc-path = %s/www/index.html\n"
                                          "adhoc-path = %s//vbackup.conf\ncomponent = ignored\nignored.path = /etc\n",
                                          host_dir(), host_dir(), host_dir());
    GOOD(host_start(&H, "files", "files", config));
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    assert_int_equal(H.wmd->n_components, 1);
    const struct vb_wm_component *c = &H.wmd->components[0];
    assert_int_equal(c->n_filesets, 2); /* the file inside the directory is there already */
    assert_string_equal(c->filesets[1].filespec, "vbackup.conf");
    host_clear(&H);
    BAD(host_start(&H, "files", "files", "[writer files]\nadhoc-path = /does/not/exist\n") ||
            host_event(&H, VB_EV_IDENTIFY),
        VB_E_NOT_FOUND, "/does/not/exist");
}

static void files_claim_one_instant_at_most(void **state)
{
    (void)state;
    setup_files();
    VB_AUTO_FREE char *config = vb_printf("[writer files]\npath = %s/www\nexclude = *.tmp\n", host_dir());
    GOOD(host_start(&H, "files", "files", config));
    GOOD(host_choose(&H, false, NULL));
    H.atomic = true;
    GOOD(host_backup(&H));
    assert_int_equal(H.consistency, VB_CONSISTENCY_FILE_SYSTEM);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    H.atomic = false;
    GOOD(host_backup(&H));
    assert_int_equal(H.consistency, VB_CONSISTENCY_NONE);
}

#define T(fn)                                                                                                          \
    {                                                                                                                  \
#fn, fn, reset, clear, NULL                                                                                    \
    }

int main(void)
{
    const struct CMUnitTest t[] = {
        T(files_components_from_configuration),
        T(files_adhoc_paths_are_one_component),
        T(files_claim_one_instant_at_most),
    };
    return CM_RUN("files writer", t);
}
