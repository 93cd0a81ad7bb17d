/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_look.c - beginning and ending a look: is there a memory, can it be believed, what does the detector say.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "agent/capture_internal.h"
#include "agent/capture_look_internal.h"
#include "base/log.h"
#include "tracking/generations.h"
#include "tracking/walk.h"

#define FORMAT 1u
#define KEEP_DAYS 60u
#define WALK_AGAIN_NS (86400 * (int64_t)1000000000) /* the journal is not told of inode flags set alone */

/* Only where it is known that every change of content or metadata changes ctime or mtime once the data were synced.
 * tmpfs, for one, never notices a second store through a mapping. */
static bool times_tell(int fd)
{
    static const unsigned long known[] = { 0x9123683e /* btrfs */, 0x58465342 /* xfs */, 0xef53 /* ext2, 3, 4 */,
                                           0x2fc12fc1 /* zfs */ };
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < VB_COUNT(known); i++)
        if ((unsigned long)fs.f_type == known[i])
            return true;
    return false;
}

#define COMPOSED "composed" /* note: it holds files of which not everything was read */

static void add_text(struct vb_buf *b, const char *s)
{
    vb_buf_add_u32(b, s ? (uint32_t)strlen(s) + 1 : 0);
    vb_buf_add_str(b, s ? s : "");
}

/* Everything that decides what the tree looks like, apart from the files themselves: another value, another memory. */
static char *memory_path(const struct vb_capture *c)
{
    const struct vb_cap_component *k = c->cur;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_name repository, hash;
    char hex[VB_NAME_HEX_LEN + 1];
    vb_namer_name(c->namer, VB_CHUNK_DOC, "look", 4, &repository);
    vb_buf_add(&b, repository.b, sizeof repository.b);
    vb_buf_add_u32(&b, FORMAT);
    vb_buf_add_u32(&b, VB_TREE_VERSION);
    vb_buf_add_u32(&b, (uint32_t)geteuid());
    vb_buf_add_u64(&b, c->volume_mix);
    vb_buf_add(&b, c->cut_bytes.data, c->cut_bytes.len);
    vb_buf_add_u8(&b, k->database);
    add_text(&b, k->class_id);
    add_text(&b, k->instance);
    add_text(&b, k->logical_path);
    add_text(&b, k->name);
    add_text(&b, c->set->path);
    add_text(&b, c->set->filespec);
    vb_buf_add_u8(&b, c->set->recursive);
    const struct vb_path_filter *f = &c->set->filter;
    vb_buf_add_u8(&b, f->caches);
    vb_buf_add_u8(&b, f->one_file_system);
    vb_buf_add_u64(&b, f->larger_than);
    for (size_t i = 0; i < f->n; i++) {
        add_text(&b, f->patterns[i].text);
        vb_buf_add_u8(&b, f->patterns[i].fold);
    }
    vb_buf_add_u32(&b, (uint32_t)f->n);
    for (size_t i = 0; i < f->markers.n; i++)
        add_text(&b, f->markers.v[i]);
    vb_buf_add_u32(&b, (uint32_t)f->markers.n);
    for (size_t i = 0; i < k->n_filesets; i++)
        add_text(&b, k->filesets[i].path); /* they decide where a mount point is left out silently */
    for (size_t i = 0; i < k->excludes.n; i++) {
        add_text(&b, k->excludes.v[i].path);
        add_text(&b, k->excludes.v[i].filespec);
        vb_buf_add_u8(&b, k->excludes.v[i].recursive);
        vb_buf_add_u8(&b, k->excludes.v[i].directories);
    }
    vb_sha256(b.data, b.len, &hash);
    vb_name_hex(&hash, hex);
    return vb_printf("%s/%s.look", c->looks, hex);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t); /* lint: allow clock_gettime, compared with times of files */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A file that must be there is looked for by whoever walks: below a directory that is not entered it would be missed. */
static bool named_anywhere(const struct vb_readset *set)
{
    return set->filespec && set->recursive && !vb_readset_is_pattern(set->filespec);
}

static const char *why_not(const struct vb_capture *c, int fd)
{
    if (!c->looks)
        return "no place for a memory";
    if (!c->stable_ids)
        return "inode numbers of the shadow copy are not the original's";
    if (c->set->cross || named_anywhere(c->set))
        return "kind of file set";
    if (!times_tell(fd))
        return "file system whose times do not tell every change";
    return NULL;
}

static bool go_on(void *arg)
{
    struct vb_capture *c = arg;
    return vb_cap_progress(c, false, NULL) == 0;
}

/* The memory must end in a tree that the repository still has. 1 yes, 0 no, -1 lost. */
static int repository_has(struct vb_capture *c, struct vb_cap_look *l, struct vb_error *err)
{
    bool present = false;
    if (!vb_cap_payload_head(l->memory, "", &l->tree, &l->all))
        return 0;
    if (vb_chunk_sender_ask(c->out, VB_CHUNK_TREE, &l->tree, 1, &present, err) < 0)
        return -1;
    return present;
}

static bool began_before(struct vb_cap_look *l)
{
    const unsigned char *p;
    size_t n;
    int64_t then;
    if (vb_look_note(l->memory, "began", &p, &n) != 1 || n != sizeof then)
        return false;
    memcpy(&then, p, sizeof then);
    return then <= l->began;
}

static void mark_again(void *arg, const char *path)
{
    vb_changes_mark(arg, path);
}

/* By the file system's own knowledge, where the last look and this one are snapshots of one btrfs subvolume. */
static bool by_generations(struct vb_cap_look *l, int fd)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_generation then;
    const unsigned char *p;
    size_t n;
    uint64_t inodes;
    if (!l->has_generation || vb_look_note(l->memory, "generation", &p, &n) != 1 || n != sizeof then)
        return false;
    memcpy(&then, p, sizeof then);
    if (vb_generations(fd, &then, &l->generation, l->changes, &inodes, &why) == 0 &&
        vb_look_each_again(l->memory, mark_again, l->changes, &why) == 0) {
        vb_free_ptr(&l->source);
        l->source = vb_printf("generations (%llu inodes changed)", (unsigned long long)inodes);
        return true;
    }
    vb_changes_free(l->changes);
    l->changes = vb_changes_new();
    return false;
}

/* ---- the journal ---- */

/* The living directory of which a shadow copy is read: the same inode, made at the same instant. */
static int open_original(struct vb_capture *c, int fd)
{
    struct statx copy, now;
    const unsigned want = STATX_INO | STATX_BTIME;
    VB_AUTO_FD int live = open(c->set->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (live < 0 || statx(fd, "", AT_EMPTY_PATH, want, &copy) < 0 || statx(live, "", AT_EMPTY_PATH, want, &now) < 0 ||
        (copy.stx_mask & now.stx_mask & want) != want || copy.stx_ino != now.stx_ino ||
        copy.stx_btime.tv_sec != now.stx_btime.tv_sec || copy.stx_btime.tv_nsec != now.stx_btime.tv_nsec)
        return -1;
    return VB_STEAL_FD(live);
}

/* Asked in every look, also where another source answers: files that are open now are looked at in the next one. */
static void ask_journal(struct vb_capture *c, struct vb_cap_look *l, int fd)
{
    struct vb_journal_position then;
    const unsigned char *p;
    size_t n;
    struct stat st;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    l->live = geteuid() != 0 ? -1 : c->set->live ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : open_original(c, fd);
    if (l->live < 0 || fstat(l->live, &st) < 0)
        return;
    bool have = l->memory && vb_look_note(l->memory, "journal", &p, &n) == 1 && n == sizeof then;
    if (have)
        memcpy(&then, p, sizeof then);
    l->asked = vb_journal_ask(vb_journal_socket(), st.st_dev, have ? &then : NULL, false, &l->journal, &why) == 0;
    if (!l->asked && why.code != VB_E_CONNECT)
        l->journal.reason = vb_strdup(vb_error_text(&why));
    if (l->asked && vb_journal_mounts(fd, &l->mounts, &why) < 0)
        l->asked = false;
}

static int64_t time_note(struct vb_look *memory, const char *key)
{
    const unsigned char *p;
    size_t n;
    int64_t v = 0;
    if (vb_look_note(memory, key, &p, &n) == 1 && n == sizeof v)
        memcpy(&v, p, sizeof v);
    return v;
}

static const char *no_journal(struct vb_cap_look *l)
{
    const unsigned char *p;
    size_t n;
    int64_t walked = time_note(l->memory, "walked");
    if (!l->asked || !l->journal.covered)
        return l->journal.reason;
    if (walked <= 0 || l->began - walked > WALK_AGAIN_NS)
        return "the last walk was more than a day ago";
    if (vb_look_note(l->memory, "mounts", &p, &n) != 1 ? l->mounts.len != 0
                                                       : n != l->mounts.len || (n && memcmp(p, l->mounts.data, n) != 0))
        return "other volumes are mounted below";
    return NULL;
}

/* By what the service was told of, where it is running and has no gap. */
static bool by_journal(struct vb_capture *c, struct vb_cap_look *l, int fd)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_walk_options o = { .noatime = c->noatime, .go_on = go_on, .arg = c };
    const struct vb_journal_source src = { .socket = vb_journal_socket(), .live = l->live, .tree = fd };
    unsigned long dirs;
    const char *no = no_journal(l);
    if (!no && l->asked && vb_journal_changes(&src, &l->journal, l->path, &o, l->changes, &dirs, &why) == 0) {
        vb_free_ptr(&l->source);
        l->source = vb_printf("journal (%lu directories examined)", dirs);
        l->walked = time_note(l->memory, "walked");
        return true;
    }
    if (!no && why.code != VB_OK)
        no = vb_error_text(&why);
    if (no) {
        vb_free_ptr(&l->source);
        l->source = vb_printf("walk (no journal: %s)", no);
    }
    vb_changes_free(l->changes);
    l->changes = vb_changes_new();
    return false;
}

/* What the next look will ask for. */
static int note_journal(struct vb_cap_look *l, struct vb_error *err)
{
    struct vb_journal_position next;
    bool have = l->asked && vb_journal_position_at(&l->journal, l->began, &next);
    if (vb_look_set_note(l->memory, "journal", &next, have ? sizeof next : 0, err) < 0 ||
        vb_look_set_note(l->memory, "mounts", l->mounts.data, l->mounts.len, err) < 0)
        return -1;
    return vb_look_set_note(l->memory, "walked", &l->walked, sizeof l->walked, err);
}

static int detect(struct vb_capture *c, struct vb_cap_look *l, int fd, bool single, struct vb_error *why)
{
    struct vb_walk_options o = { .noatime = c->noatime, .go_on = go_on, .arg = c };
    if (c->originals) {
        o.original = vb_cap_originals_statx;
        o.originals = c->originals;
    }
    struct vb_walk_counts counts;
    l->changes = vb_changes_new();
    vb_free_ptr(&l->source);
    l->source = vb_strdup("walk");
    if (single) {
        vb_changes_mark(l->changes, "");
        return 0;
    }
    if (by_generations(l, fd) || by_journal(c, l, fd))
        return 0;
    return vb_walk(l->path, fd, &o, l->changes, &counts, why);
}

static void full(struct vb_cap_look *l, const char *why)
{
    vb_look_close(l->memory);
    vb_changes_free(l->changes);
    l->memory = NULL;
    l->changes = NULL;
    vb_free_ptr(&l->source);
    l->source = vb_printf("full read (%s)", why);
}

/* 0 with l->changes: the memory can be used.  0 without: it cannot, and the source says why.  -1: lost. */
static int use_memory(struct vb_capture *c, struct vb_cap_look *l, int fd, bool single, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (c->no_detector)
        return full(l, "as asked for"), 0;
    l->memory = vb_look_open(l->path, &why);
    if (!l->memory) {
        l->busy = why.code == VB_E_BUSY;
        return full(l, why.code == VB_E_OBJECT_NOT_FOUND ? "first look" : vb_error_text(&why)), 0;
    }
    if (!began_before(l))
        return full(l, "the clock was set back"), 0;
    if (!single)
        ask_journal(c, l, fd);
    int has = repository_has(c, l, err);
    if (has < 0)
        return -1;
    if (!has)
        return full(l, "the repository does not have what the memory ends in"), 0;
    const unsigned char *note;
    size_t n;
    if (vb_look_note(l->memory, COMPOSED, &note, &n) == 1 && n && !vb_cap_is_base(c, &l->tree))
        return full(l, "partial files of the last backup are not taken over"), 0;
    if (detect(c, l, fd, single, &why) < 0) {
        if (why.code == VB_E_CANCELLED)
            return vb_error_move(err, &why);
        full(l, vb_error_text(&why));
    }
    return 0;
}

int vb_cap_look_begin(struct vb_capture *c, int fd, bool single, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_cap_look *l = vb_alloc(sizeof *l);
    c->look = c->root->look = l;
    l->live = -1;
    vb_buf_reset(&c->rel);
    const char *no = why_not(c, fd);
    if (no) {
        l->off = true;
        full(l, no);
        return 0;
    }
    l->path = memory_path(c);
    l->began = now_ns();
    if (c->began && c->began < l->began)
        l->began = c->began;
    l->walked = l->began;
    if (c->set->live)
        syncfs(fd); /* pages that are mapped and dirty: the next store to them must be seen in the times */
    struct stat top;
    l->has_generation = !c->set->live && vb_generation_of(fd, &l->generation, NULL) == 0 && fstat(fd, &top) == 0;
    l->device = l->has_generation ? top.st_dev : 0;
    if (use_memory(c, l, fd, single, err) < 0)
        return -1;
    if (!l->memory && !l->busy) {
        if (!single && !l->asked)
            ask_journal(c, l, fd); /* files are read from here on: what is open now is for the next look */
        l->memory = vb_look_create(l->path, &why);
        l->busy = !l->memory && why.code == VB_E_BUSY;
    }
    if (l->memory && (vb_look_set_note(l->memory, "began", &l->began, sizeof l->began, &why) < 0 ||
                      vb_look_set_note(l->memory, "generation", &l->generation,
                                       l->has_generation ? sizeof l->generation : 0, &why) < 0 ||
                      note_journal(l, &why) < 0))
        full(l, vb_error_text(&why));
    if (!l->memory) {
        l->off = true;
        if (!l->busy)
            vb_log_error(VB_LOG_WARNING, &why);
    }
    return 0;
}

bool vb_cap_look_before(const struct vb_capture *c, struct vb_name *tree)
{
    const struct vb_cap_look *l = c->look;
    if (!l || !l->memory || !l->changes || l->broken)
        return false;
    *tree = l->tree;
    return true;
}

void vb_cap_look_composed(struct vb_capture *c)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_look_set_note(c->look->memory, COMPOSED, "1", 1, &why) < 0)
        vb_cap_look_broken(c, &why);
}

bool vb_cap_look_whole(struct vb_capture *c, struct vb_name *tree, struct vb_cap_totals *all)
{
    const struct vb_cap_look *l = c->look;
    if (!l || !l->changes || vb_changes_of(l->changes, "") != VB_CHANGE_CLEAN)
        return false;
    *tree = l->tree;
    *all = l->all;
    return true;
}

void vb_cap_look_finish(struct vb_cap_look *l, bool keep, bool forget)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (!l)
        return;
    if (l->memory && keep && !l->broken && vb_look_commit(l->memory, &why) < 0)
        vb_log_error(VB_LOG_WARNING, &why);
    vb_look_close(l->memory);
    if (l->path && !l->busy && (l->broken || forget))
        vb_look_remove(l->path);
    vb_changes_free(l->changes);
    vb_journal_answer_clear(&l->journal);
    vb_buf_clear(&l->mounts);
    vb_close_fd(&l->live);
    free(l->path);
    free(l->source);
    free(l);
}

const char *vb_cap_look_source(const struct vb_cap_look *l)
{
    return l ? l->source : NULL;
}

uint64_t vb_cap_look_read(const struct vb_cap_look *l)
{
    return l ? l->read : 0;
}

uint64_t vb_cap_look_bytes_read(const struct vb_cap_look *l)
{
    return l ? l->bytes_read : 0;
}

void vb_cap_look_count_bytes(struct vb_cap_look *l, uint64_t n)
{
    if (l)
        l->bytes_read += n;
}

void vb_cap_looks_sweep(const struct vb_capture *c)
{
    if (c->looks)
        vb_look_sweep(c->looks, KEEP_DAYS);
}
