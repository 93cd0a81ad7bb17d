/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One entry of a directory, shown. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "requester/cli.h"
#include "requester/entry_show.h"

char vb_entry_letter(enum vb_tree_type type)
{
    switch (type) {
    case VB_TREE_FILE: return '-';
    case VB_TREE_DIR: return 'd';
    case VB_TREE_SYMLINK: return 'l';
    case VB_TREE_FIFO: return 'p';
    case VB_TREE_SOCKET: return 's';
    case VB_TREE_CHAR: return 'c';
    case VB_TREE_BLOCK: return 'b';
    }
    return '?';
}

static char *owner(const char *name, uint32_t number)
{
    return name && *name ? vb_escape_terminal(name, strlen(name)) : vb_printf("%u", number);
}

char *vb_entry_line(const char *full, const struct vb_tree_entry *e)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
    VB_AUTO_FREE char *user = owner(e->user, e->uid), *group = owner(e->group, e->gid);
    VB_AUTO_FREE char *when = vb_time_iso(e->mtime_sec > 0 ? (uint64_t)e->mtime_sec * 1000 : 0);
    VB_AUTO_FREE char *target = e->type == VB_TREE_SYMLINK && e->target ? vb_escape_terminal(e->target, strlen(e->target))
                                                                       : NULL;
    return vb_printf("%c%04o %-8s %-8s %12llu %s %s%s%s", vb_entry_letter(e->type), (unsigned)e->mode & 07777U, user, group,
                     (unsigned long long)e->size, when, shown, target ? " -> " : "", target ? target : "");
}

void vb_entry_json(json_t *o, const char *full, const struct vb_tree_entry *e)
{
    const char letter[2] = { vb_entry_letter(e->type), 0 };
    uint64_t holes = 0;
    json_object_set_new(o, "path", vb_cli_text(full));
    json_object_set_new(o, "type", json_string(letter));
    json_object_set_new(o, "size", json_integer((json_int_t)e->size));
    json_object_set_new(o, "mode", json_integer((json_int_t)e->mode));
    json_object_set_new(o, "uid", json_integer((json_int_t)e->uid));
    json_object_set_new(o, "gid", json_integer((json_int_t)e->gid));
    json_object_set_new(o, "user", vb_cli_text(e->user));
    json_object_set_new(o, "group", vb_cli_text(e->group));
    json_object_set_new(o, "mtime", json_integer((json_int_t)e->mtime_sec));
    json_object_set_new(o, "mtime_nanoseconds", json_integer((json_int_t)e->mtime_nsec));
    json_object_set_new(o, "target", vb_cli_text(e->target));
    if (e->link_group)
        json_object_set_new(o, "link_group", json_integer((json_int_t)e->link_group));
    if (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK)
        json_object_set_new(o, "device", json_pack("[i,i]", (int)e->rdev_major, (int)e->rdev_minor));
    if (e->inode_flags)
        json_object_set_new(o, "flags", json_integer((json_int_t)e->inode_flags));
    if (e->project)
        json_object_set_new(o, "project", json_integer((json_int_t)e->project));
    for (size_t i = 0; i < e->n_holes; i++)
        holes += e->holes[i].len;
    if (holes)
        json_object_set_new(o, "hole_bytes", json_integer((json_int_t)holes));
    if (e->n_xattrs) {
        json_t *names = json_array();
        for (size_t i = 0; i < e->n_xattrs; i++)
            json_array_append_new(names, vb_cli_text(e->xattrs[i].name));
        json_object_set_new(o, "xattrs", names);
    }
}
