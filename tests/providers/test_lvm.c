/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/providers/test_lvm.c - the lvm provider over a scripted lvm (tests/fakes/lvm); mounting is only written down.
 *
 * The same on real logical volumes: tests/vm/test_lvm.sh.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "providers/lvm/lvm.h"
#include "tests/cm.h"

extern const struct vb_provider vb_provider_lvm;
#define P vb_provider_lvm

#define SET "11111111-1111-1111-1111-111111111111"
#define ONE "AAAAAAAA-0000-0000-0000-000000000001"
#define NAME "vbackup-aaaaaaaa-0000-0000-0000-000000000001"

static struct {
    char *dir, *state, *command, *mount, *mounts_dir;
    char *option[4];
    enum vb_code code;
    char *text;
    struct vb_buf mounts; /* what was mounted, unmounted ... */
    void *ctx;
    bool restarted; /* the machine: nothing is mounted any more */
} t;

/* ---- what takes the place of the kernel ---- */

uid_t geteuid(void)
{
    return 0;
}

int vb_lvm_mount(const char *device, const char *dir, const char *fs_type)
{
    vb_buf_addf(&t.mounts, "mount %s %s\n", device, fs_type);
    return access(dir, F_OK) < 0 ? ENOENT : 0;
}
int vb_lvm_mount_writable(const char *dir, bool writable)
{
    (void)dir;
    vb_buf_addf(&t.mounts, "writable %d\n", writable);
    return 0;
}
int vb_lvm_device_read_only(const char *device)
{
    vb_buf_addf(&t.mounts, "closed %s\n", device);
    return 0;
}
bool vb_lvm_is_mounted(const char *dir)
{
    (void)dir;
    return !t.restarted;
}
int vb_lvm_unmount(const char *dir)
{
    (void)dir;
    vb_buf_addf(&t.mounts, "unmount\n");
    return 0;
}
int vb_lvm_flush(const char *mount_point)
{
    (void)mount_point;
    return 0;
}

/* ---- the host ---- */

static void svc_log(void *host, int level, const char *fmt, ...)
{
    (void)host;
    (void)level;
    (void)fmt;
}
static int svc_fail(void *host, enum vb_code code, const char *text, const char *hint)
{
    (void)host;
    (void)hint;
    t.code = code;
    vb_free_ptr(&t.text);
    t.text = vb_strdup(text);
    return -1;
}
static const char *svc_option(void *host, const char *key)
{
    (void)host;
    if (!strcmp(key, "command"))
        return t.command;
    if (!strcmp(key, "mounts"))
        return t.mounts_dir;
    for (size_t i = 0; i < VB_COUNT(t.option); i++)
        if (t.option[i] && !strncmp(t.option[i], key, strlen(key)) && t.option[i][strlen(key)] == '=')
            return t.option[i] + strlen(key) + 1;
    return NULL;
}
static const char *svc_state_dir(void *host)
{
    (void)host;
    return t.state;
}
static uint64_t svc_deadline(void *host)
{
    (void)host;
    return 10000;
}
static const struct vb_provider_services SERVICES = { sizeof SERVICES, VB_PROVIDER_ABI, svc_log,      svc_fail,
                                                      svc_option,      svc_state_dir,   svc_deadline };

static void put(const char *name, const char *text)
{
    VB_AUTO_FREE char *path = vb_path_join(t.dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *get(const char *name)
{
    VB_AUTO_FREE char *path = vb_path_join(t.dir, name);
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(AT_FDCWD, path, 1 << 20, &b, NULL) < 0)
        return vb_strdup("");
    return vb_strdup(vb_buf_str(&b));
}

static bool has(const char *name, const char *what)
{
    VB_AUTO_FREE char *text = get(name);
    return strstr(text, what) != NULL;
}

/* The volume under test has the number of the device that the test lies on. */
static void rows(const char *attr, const char *rest_of_row, const char *more)
{
    struct stat st;
    assert_int_equal(stat(t.mount, &st), 0);
    VB_AUTO_FREE char *text = vb_printf("vg|data|%s|1073741824||%s||%u|%u|1073741824|4194304|/dev/mapper/vg-data\n%s", attr,
                                        rest_of_row, major(st.st_dev), minor(st.st_dev), more);
    put("rows", text);
}

static int setup(void **state)
{
    const char *src = getenv("abs_top_srcdir");
    (void)state;
    t.dir = vb_strdup("/tmp/vbackup-lvm.XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    t.state = vb_path_join(t.dir, "state");
    t.mount = vb_path_join(t.dir, "data");
    t.command = vb_path_join(t.dir, "lvm");
    t.mounts_dir = vb_path_join(t.dir, "mounts");
    assert_int_equal(mkdir(t.state, 0700), 0);
    assert_int_equal(mkdir(t.mount, 0700), 0);
    VB_AUTO_FREE char *fake = vb_path_join(src ? src : ".", "tests/fakes/lvm");
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_read_file_at(AT_FDCWD, fake, 1 << 20, &b, NULL), 0);
    put("lvm", vb_buf_str(&b));
    assert_int_equal(chmod(t.command, 0700), 0);
    rows("-wi-ao----", "|", "");
    t.mounts = (struct vb_buf)VB_BUF_INIT;
    assert_int_equal(P.open(NULL, &SERVICES, &t.ctx), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    P.close(t.ctx);
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)vb_remove_tree_at(fd, t.dir + 1, NULL);
    close(fd);
    for (size_t i = 0; i < VB_COUNT(t.option); i++)
        t.option[i] = NULL;
    vb_free_ptr(&t.dir);
    vb_free_ptr(&t.state);
    vb_free_ptr(&t.mount);
    vb_free_ptr(&t.command);
    vb_free_ptr(&t.mounts_dir);
    vb_free_ptr(&t.text);
    vb_buf_clear(&t.mounts);
    t.code = VB_OK;
    t.restarted = false;
    return 0;
}

static struct vb_provider_volume volume(void)
{
    return (struct vb_provider_volume){ .size = sizeof(struct vb_provider_volume),
                                        .snapshot_id = ONE,
                                        .mount_point = t.mount,
                                        .device = "/dev/mapper/vg-data",
                                        .fs_type = "xfs",
                                        .subvolume_root = t.mount };
}

static struct vb_provider_support supports(const char *fs_type)
{
    struct vb_provider_volume v = volume();
    struct vb_provider_support s = { .size = sizeof s };
    v.fs_type = fs_type;
    t.code = VB_OK;
    if (P.supports(t.ctx, &v, &s) < 0)
        assert_int_not_equal(t.code, VB_OK);
    else if (!s.supported)
        assert_int_not_equal(s.why[0], 0);
    return s;
}

static int many(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point, const char *path,
                int64_t created_sec)
{
    (void)snapshot_id, (void)set_id, (void)mount_point, (void)path, (void)created_sec;
    ++*(size_t *)arg;
    return 0;
}

static size_t known(void)
{
    size_t n = 0;
    assert_int_equal(P.query(t.ctx, many, &n), 0);
    return n;
}

#define MUST(call)                                              \
    do {                                                        \
        if ((call) < 0)                                         \
            fail_msg("%s: %s", #call, t.text ? t.text : "?");   \
    } while (0)

static void up_to_commit(void)
{
    struct vb_provider_volume v = volume();
    MUST(P.begin_prepare(t.ctx, SET, &v));
    MUST(P.end_prepare(t.ctx, SET));
    MUST(P.pre_commit(t.ctx, SET));
}

static void make(void)
{
    unsigned n = 0;
    up_to_commit();
    MUST(P.commit(t.ctx, SET));
    MUST(P.post_commit(t.ctx, SET, &n));
    MUST(P.pre_final(t.ctx, SET));
    MUST(P.post_final(t.ctx, SET));
    assert_int_equal(n, 1);
}

/* ---- tests ---- */

static void thick(void **state)
{
    (void)state;
    struct vb_provider_support s = supports("xfs");
    assert_int_equal(s.supported, 1);
    assert_int_equal(s.hold, VB_HOLD_OWN);
    assert_int_equal(s.without_writers, VB_CONSISTENCY_FILE_SYSTEM);
    assert_false(s.group_atomic);
    up_to_commit();
    assert_false(has("log", "lvcreate")); /* nothing is made before the instant */
    assert_int_equal(known(), 1);         /* but the record is there */
    MUST(P.abort(t.ctx, SET));
    assert_int_equal(known(), 0);
    make();
    assert_true(has("log", "lvcreate --yes --quiet --snapshot --addtag vbackup --size 335544320b --name " NAME " vg/data\n"));
    const char *m = vb_buf_str(&t.mounts);
    assert_non_null(strstr(m, "mount /dev/mapper/vg-" NAME " xfs\n"));
    assert_non_null(strstr(m, "closed /dev/mapper/vg-" NAME "\n")); /* VSS-S-45 */
    assert_null(strstr(m, "writable"));                             /* nobody asked for recovery */
    char *path = NULL;
    VB_AUTO_FREE char *file = vb_path_join(t.mount, "dir/file");
    MUST(P.snapshot_path(t.ctx, ONE, file, &path));
    VB_AUTO_FREE char *want = vb_printf("%s/" ONE "/dir/file", t.mounts_dir);
    assert_string_equal(path, want);
    free(path);
    MUST(P.check(t.ctx, ONE));
    MUST(P.delete_snapshot(t.ctx, ONE));
    assert_true(has("log", "lvremove --yes --force --quiet vg/" NAME "\n"));
    assert_int_equal(known(), 0);
    MUST(P.delete_snapshot(t.ctx, ONE)); /* again */
}

static void thin(void **state)
{
    (void)state;
    rows("Vwi-aotz--", "pool|14.06", "vg|pool|twi-aotz--|1073741824|||50.00|11.52|253|4|0|4194304|/dev/mapper/vg-pool\n");
    make();
    assert_true(has("log", "lvcreate --yes --quiet --snapshot --addtag vbackup --name " NAME
                           " --activate y --setactivationskip n vg/data\n"));
    MUST(P.check(t.ctx, ONE));
    MUST(P.delete_snapshot(t.ctx, ONE));
    rows("Vwi-aotz--", "pool|14.06", "vg|pool|twi-aotz--|1073741824|||95.00|11.52|253|4|0|4194304|/dev/mapper/vg-pool\n");
    assert_false(supports("ext4").supported); /* nearly full */
}

static void recovery(void **state)
{
    unsigned n = 0;
    (void)state;
    struct vb_provider_volume v = volume();
    v.attributes = VB_SA_AUTORECOVER;
    MUST(P.begin_prepare(t.ctx, SET, &v));
    MUST(P.end_prepare(t.ctx, SET));
    MUST(P.commit(t.ctx, SET));
    MUST(P.post_commit(t.ctx, SET, &n));
    MUST(P.pre_final(t.ctx, SET));
    assert_non_null(strstr(vb_buf_str(&t.mounts), "writable 1"));
    assert_null(strstr(vb_buf_str(&t.mounts), "closed"));
    MUST(P.post_final(t.ctx, SET));
    const char *again = strstr(vb_buf_str(&t.mounts), "writable 0");
    assert_true(again && strstr(again, "closed"));
}

static void refused(void **state)
{
    (void)state;
    assert_false(supports("btrfs").supported);
    rows("swi-aos---", "data|0.00", ""); /* a snapshot itself */
    assert_false(supports("xfs").supported);
    rows("-wi-so----", "|", ""); /* suspended */
    assert_false(supports("xfs").supported);
    t.option[0] = (char *)(uintptr_t)"change-store=2G"; /* more than is free */
    rows("-wi-ao----", "|", "");
    t.option[0] = (char *)(uintptr_t)"change-store=nonsense";
    assert_false(supports("xfs").supported);
    t.option[0] = NULL;
    assert_true(supports("xfs").supported);
    put("rows", "vg|other|-wi-ao----|1073741824|||||253|250|1073741824|4194304|/dev/mapper/vg-other\n");
    assert_false(supports("xfs").supported);
    put("rows", "what is this\n");
    assert_false(supports("xfs").supported);
    assert_int_equal(t.code, VB_E_PROVIDER_VETO);
    put("fail-lvs", "  Running a command\n  the disk is on fire\n");
    assert_false(supports("xfs").supported);
    assert_non_null(strstr(t.text, "the disk is on fire"));
}

static void failing_commands(void **state)
{
    (void)state;
    put("fail-lvcreate", "  Volume group \"vg\" has insufficient free space\n");
    up_to_commit();
    assert_int_equal(P.commit(t.ctx, SET), -1);
    assert_non_null(strstr(t.text, "insufficient free space"));
    MUST(P.abort(t.ctx, SET));
    assert_int_equal(known(), 0);
    VB_AUTO_FREE char *path = vb_path_join(t.dir, "fail-lvcreate");
    assert_int_equal(unlink(path), 0);
    make();
    put("fail-lvremove", "  Logical volume in use.\n"); /* kept, and tried again */
    assert_int_equal(P.delete_snapshot(t.ctx, ONE), -1);
    assert_int_equal(known(), 1);
    vb_free_ptr(&path);
    path = vb_path_join(t.dir, "fail-lvremove");
    assert_int_equal(unlink(path), 0);
    MUST(P.delete_snapshot(t.ctx, ONE));
    assert_int_equal(known(), 0);
}

/* Changes the row of the shadow copy: attributes and fill. */
static void copy_is(const char *attr, const char *data)
{
    VB_AUTO_FREE char *old = get("rows");
    VB_AUTO_FREE char *text = vb_printf("%.*svg|" NAME "|%s|335544320|data||%s||253|9|1073741824|4194304|/dev/mapper/vg-x\n",
                                        (int)(strchr(old, '\n') - old + 1), old, attr, data);
    put("rows", text);
}

static void full(void **state)
{
    (void)state;
    make();
    copy_is("swi-aos---", "60.00");
    MUST(P.check(t.ctx, ONE));
    assert_false(has("log", "lvextend"));
    copy_is("swi-aos---", "80.00");
    MUST(P.check(t.ctx, ONE));
    assert_true(has("log", "lvextend --yes --quiet --size +167772160b vg/" NAME "\n"));
    copy_is("swi-Ios---", "100.00");
    assert_int_equal(P.check(t.ctx, ONE), -1);
    assert_int_equal(t.code, VB_E_INSUFFICIENT_STORAGE);
    assert_non_null(strstr(t.text, "change store is full"));
    rows("-wi-ao----", "|", ""); /* gone altogether */
    assert_int_equal(P.check(t.ctx, ONE), -1);
    MUST(P.delete_snapshot(t.ctx, ONE));
    assert_int_equal(P.check(t.ctx, ONE), -1);
    assert_int_equal(t.code, VB_E_OBJECT_NOT_FOUND);
}

static void limited(void **state)
{
    (void)state;
    t.option[0] = (char *)(uintptr_t)"change-store=320M";
    t.option[1] = (char *)(uintptr_t)"change-store-max=320M";
    make();
    copy_is("swi-aos---", "80.00");
    MUST(P.check(t.ctx, ONE));
    assert_false(has("log", "lvextend"));
}

static void suspended(void **state)
{
    (void)state;
    make();
    VB_AUTO_FREE char *text = get("rows");
    VB_AUTO_FREE char *more = vb_strdup(strchr(text, '\n') + 1);
    rows("owi-so----", "|", more); /* a killed lvm left it so */
    MUST(P.delete_snapshot(t.ctx, ONE));
    assert_true(has("log", "lvchange --refresh vg/data\n"));
    assert_int_equal(known(), 0);
}

/* The provider is killed while lvcreate runs; who deletes waits for it. */
static void killed_in_commit(void **state)
{
    int status;
    (void)state;
    put("slow-lvcreate", "0.4");
    pid_t pid = fork();
    if (pid == 0) {
        up_to_commit();
        P.commit(t.ctx, SET);
        _exit(0);
    }
    for (int i = 0; i < 500 && !has("log", "lvcreate"); i++)
        usleep(10000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(has("rows", NAME));
    MUST(P.delete_snapshot(t.ctx, ONE));
    assert_false(has("rows", NAME));
    usleep(600000);
    assert_false(has("rows", NAME)); /* nor did it come afterwards */
    assert_true(has("log", "lvremove"));
    assert_int_equal(known(), 0);
}

static void after_a_restart(void **state)
{
    char *path = NULL;
    (void)state;
    make();
    t.restarted = true;
    vb_buf_reset(&t.mounts);
    MUST(P.snapshot_path(t.ctx, ONE, t.mount, &path));
    free(path);
    assert_string_equal(vb_buf_str(&t.mounts), "mount /dev/mapper/vg-" NAME " ext4\nclosed /dev/mapper/vg-" NAME "\n");
    rows("-wi-ao----", "|", "");
    assert_int_equal(P.snapshot_path(t.ctx, ONE, t.mount, &path), -1); /* gone: never an empty directory */
}

static void foreign(void **state)
{
    (void)state;
    struct vb_ps s = { NULL, &SERVICES };
    struct vb_ps_record r = { .snapshot_id = (char *)(uintptr_t)ONE, .set_id = (char *)(uintptr_t)SET,
                              .mount_point = t.mount, .source = t.mount, .object = (char *)(uintptr_t)"vg/data" };
    r.place = vb_printf("%s/" ONE, t.mounts_dir);
    assert_int_equal(vb_ps_record_save(&s, &r), 0);
    assert_int_equal(P.delete_snapshot(t.ctx, ONE), -1);
    assert_int_equal(t.code, VB_E_PROVIDER_VETO);
    assert_false(has("log", "lvremove"));
    free(r.place);
}

int main(void)
{
#define LVM_TEST(name, fn) { name, fn, setup, teardown, NULL }
    const struct CMUnitTest tests[] = {
        LVM_TEST("VSS-6.4 a thick volume from supports to delete", thick),
        LVM_TEST("a thin volume", thin),
        LVM_TEST("VSS-S-13 writable for the writers' repair, closed afterwards", recovery),
        LVM_TEST("what it does not take", refused),
        LVM_TEST("VSS-S-36 commands that fail", failing_commands),
        LVM_TEST("VSS-Q-11 a change store grows, and a full one is said to be full", full),
        LVM_TEST("VSS-S-47 it grows to its limit only", limited),
        LVM_TEST("a device that was left suspended is resumed", suspended),
        LVM_TEST("VSS-S-67 killed in commit: the sweep waits for the command", killed_in_commit),
        LVM_TEST("VSS-B-64 mounted again after a restart of the machine", after_a_restart),
        LVM_TEST("a record cannot have another volume removed", foreign),
    };
    return CM_RUN("lvm", tests);
}
