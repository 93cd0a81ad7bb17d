/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/components_xml.c - backup components document to and from XML (schema/components.rng).
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "documents/check.h"
#include "documents/component_fields.h"
#include "documents/table.h"
#include "documents/writer_metadata.h"
#include "documents/xml.h"

/* ---- writing ---- */

/* What the field's own documents carry stands on the root, ours in SESSION. */
static void put_session(xmlNode *root, const struct vb_components *c)
{
    vb_xml_set_bool(root, "bootableSystemStateBackup", c->bootable_state);
    vb_xml_set_bool(root, "selectComponents", c->select_components);
    vb_xml_set_bool(root, "partialFileSupport", c->partial_files);
    vb_xml_set(root, "backupType", vb_backup_type_word(c->backup_type));
    vb_xml_set(root, "snapshotSetId", c->snapshot_set_id);
}

static void put_session_element(xmlNode *root, const struct vb_components *c)
{
    xmlNode *e = vb_xml_add(root, "SESSION");

    vb_xml_set_text(e, "host", c->host);
    vb_xml_set(e, "sessionId", c->session_id);
    if (c->restore)
        vb_xml_set(e, "mode", "restore");
    if (c->restore_type != VB_RESTORE_TYPE_UNDEFINED)
        vb_xml_set(e, "restoreType", vb_restore_type_word(c->restore_type));
    vb_xml_set_u64(e, "freezeTimeMs", c->freeze_wall_ms, 0);
    vb_xml_set_u64(e, "windowUs", c->window_us, 0);
    vb_xml_set_u64(e, "skewUs", c->skew_us, 0);
    for (size_t i = 0; i < c->n_phases; i++) {
        xmlNode *p = vb_xml_add(e, "PHASE");
        vb_xml_set_text(p, "name", c->phases[i].name);
        vb_xml_set_u64(p, "beginUs", c->phases[i].begin_us, 0);
        vb_xml_set_u64(p, "us", c->phases[i].us, 0);
        vb_xml_set_u64(p, "innerUs", c->phases[i].inner_us, 0);
    }
}

static void put_snapshots(xmlNode *parent, const struct vb_components *c)
{
    for (size_t i = 0; i < c->n_snapshots; i++) {
        const struct vb_snapshot_record *s = &c->snapshots[i];
        xmlNode *e = vb_xml_add(parent, "SNAPSHOT");
        vb_xml_set(e, "snapshotId", s->snapshot_id);
        vb_xml_set(e, "mountPoint", s->mount_point);
        vb_xml_set(e, "device", s->device);
        vb_xml_set(e, "fileSystem", s->fs_type);
        vb_xml_set(e, "provider", s->provider);
        vb_xml_set(e, "snapshotPath", s->snapshot_path);
        vb_xml_set(e, "remark", s->remark);
        vb_xml_set_yes(e, "atomic", s->atomic);
        vb_xml_set_u64(e, "commitBeginUs", s->commit_begin_us, 0);
        vb_xml_set_u64(e, "commitUs", s->commit_us, 0);
    }
}

static void put_left_mounts(xmlNode *parent, const struct vb_components *c)
{
    for (size_t i = 0; i < c->n_left_mounts; i++) {
        xmlNode *e = vb_xml_add(parent, "LEFT_OUT_MOUNT");
        vb_xml_set(e, "path", c->left_mounts[i].path);
        vb_xml_set(e, "device", c->left_mounts[i].device);
        vb_xml_set(e, "fileSystem", c->left_mounts[i].fs_type);
    }
}

static void put_lists(xmlNode *parent, const struct vb_component *c)
{
    for (size_t k = 0; k < vb_component_n_lists; k++) {
        const struct vb_list_field *l = &vb_component_lists[k];
        for (size_t i = 0; i < vb_list_count(c, l); i++) {
            const char *row = vb_list_row(c, l, i);
            xmlNode *e = vb_xml_add(parent, l->element);
            for (size_t j = 0; j < VB_COUNT(l->columns) && l->columns[j].name; j++) {
                const char *text = vb_field_text(row, l->columns[j].offset);
                vb_xml_set(e, l->columns[j].name, text || l->columns[j].optional ? text : "");
            }
            if (l->recursive != VB_NO_OFFSET)
                vb_xml_set_yes(e, "recursive", row[l->recursive] != 0);
            if (l->mtime != VB_NO_OFFSET) {
                int64_t t;
                memcpy(&t, row + l->mtime, sizeof t);
                vb_xml_set_i64(e, "lastModifyTime", t, 0);
            }
        }
    }
}

/* The child that carries a single value: made when its first value is written. */
static xmlNode *carrier(xmlNode *component, const char *element)
{
    xmlNode *e = element ? vb_xml_next(component, NULL, element) : component;

    return e ? e : vb_xml_add(component, element);
}

static void put_component(xmlNode *parent, const struct vb_component *c)
{
    xmlNode *e = vb_xml_add(parent, "COMPONENT");

    vb_xml_set_text(e, "logicalPath", c->logical_path);
    vb_xml_set(e, "componentName", c->name);
    vb_xml_set(e, "componentType", vb_component_type_word(c->type));
    for (size_t i = 0; i < vb_component_n_texts; i++) {
        const struct vb_text_field *f = &vb_component_texts[i];
        if (vb_field_text(c, f->offset))
            vb_xml_set(carrier(e, f->element), f->name, vb_field_text(c, f->offset));
    }
    for (size_t i = 0; i < vb_component_n_words; i++) {
        const struct vb_word_field *f = &vb_component_words[i];
        if (vb_field_int(c, f->offset))
            vb_xml_set(carrier(e, f->element), f->name, f->word(vb_field_int(c, f->offset)));
    }
    for (size_t i = 0; i < vb_component_n_flags; i++) {
        const struct vb_flag_field *f = &vb_component_flags[i];
        if (vb_field_bool(c, f->offset))
            vb_xml_set(carrier(e, f->element), f->name, "yes");
    }
    if (c->backup_succeeded_set)
        vb_xml_set_bool(carrier(e, "RESULT"), "succeeded", c->backup_succeeded);
    put_lists(e, c);
    for (size_t i = 0; i < c->n_private; i++) {
        xmlNode *p = vb_xml_add(e, "PRIVATE_FILE");
        vb_xml_set(p, "name", c->private_files[i].name);
        vb_xml_set_bytes(p, c->private_files[i].data.data, c->private_files[i].data.len);
    }
    for (size_t i = 0; i < c->restore_subcomponents.n; i++)
        vb_xml_set(vb_xml_add(e, "RESTORE_SUBCOMPONENT"), "fullPath", c->restore_subcomponents.v[i]);
}

static void put_writer(xmlNode *e, const struct vb_writer_components *w)
{
    vb_xml_set(e, "writerId", w->writer_id);
    vb_xml_set(e, "instanceId", w->instance_id);
    vb_xml_set(e, "instanceName", w->instance_name);
    vb_xml_set_text(e, "friendlyName", w->name);
    vb_xml_set_u64(e, "backupSchema", w->schema, 0);
    if (w->state != VB_WS_UNKNOWN)
        vb_xml_set(e, "state", vb_writer_state_word(w->state));
}

static void put_writer_content(xmlNode *e, const struct vb_writer_components *w)
{
    if (w->failure_code != VB_OK || w->failure_text || w->failure_hint) {
        xmlNode *f = vb_xml_add(e, "FAILURE");
        if (w->failure_code != VB_OK)
            vb_xml_set(f, "code", vb_code_name(w->failure_code));
        vb_xml_set(f, "text", w->failure_text);
        vb_xml_set(f, "hint", w->failure_hint);
    }
    for (size_t i = 0; i < w->n_components; i++)
        put_component(e, &w->components[i]);
}

static int check_writer(const struct vb_writer_components *w, struct vb_error *err)
{
    if (vb_check_guid("writer id", w->writer_id, err) < 0 || vb_check_guid("instance id", w->instance_id, err) < 0)
        return -1;
    for (size_t i = 0; i < w->n_components; i++)
        if (w->components[i].type == VB_COMPONENT_UNDEFINED)
            return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "component '%s' of writer '%s' has no type",
                           w->components[i].name, w->name);
    return 0;
}

int vb_components_write(const struct vb_components *c, struct vb_buf *out, struct vb_error *err)
{
    xmlNode *root = NULL;

    for (size_t i = 0; i < c->n_writers; i++)
        if (check_writer(&c->writers[i], err) < 0)
            return -1;
    VB_AUTO_XMLDOC *doc = vb_xml_new("BACKUP_COMPONENTS", &root);
    put_session(root, c);
    put_session_element(root, c);
    put_snapshots(root, c);
    put_left_mounts(root, c);
    for (size_t i = 0; i < c->n_writers; i++) {
        xmlNode *e = vb_xml_add(root, "WRITER_COMPONENTS");
        put_writer(e, &c->writers[i]);
        put_writer_content(e, &c->writers[i]);
    }
    return vb_xml_write(doc, out, err);
}

int vb_writer_components_write(const struct vb_components *c, const struct vb_writer_components *w, struct vb_buf *out,
                               struct vb_error *err)
{
    xmlNode *root = NULL;

    if (check_writer(w, err) < 0)
        return -1;
    VB_AUTO_XMLDOC *doc = vb_xml_new("WRITER_COMPONENTS", &root);
    put_session(root, c);
    put_writer(root, w);
    put_session_element(root, c);
    put_snapshots(root, c);
    put_writer_content(root, w);
    return vb_xml_write(doc, out, err);
}

/* ---- reading ---- */

static void get_session(struct vb_xml *x, struct vb_components *c, const xmlNode *root)
{
    const xmlNode *e = vb_xml_single(x, root, "SESSION", false);
    VB_AUTO_FREE char *mode = e ? vb_xml_get(x, e, "mode") : NULL;

    c->bootable_state = vb_xml_yes(x, root, "bootableSystemStateBackup");
    c->select_components = vb_xml_yes(x, root, "selectComponents");
    c->partial_files = vb_xml_yes(x, root, "partialFileSupport");
    c->backup_type = VB_XML_WORD(x, root, "backupType", vb_backup_type_from_word, VB_BACKUP_UNDEFINED);
    c->snapshot_set_id = vb_xml_get(x, root, "snapshotSetId");
    c->host = e ? vb_xml_get_or(x, e, "host", "") : vb_strdup("");
    if (!e)
        return;
    c->session_id = vb_xml_get(x, e, "sessionId");
    c->restore = mode && strcmp(mode, "restore") == 0;
    c->restore_type = VB_XML_WORD(x, e, "restoreType", vb_restore_type_from_word, VB_RESTORE_TYPE_UNDEFINED);
    c->freeze_wall_ms = vb_xml_u64(x, e, "freezeTimeMs", 0);
    c->window_us = vb_xml_u64(x, e, "windowUs", 0);
    c->skew_us = vb_xml_u64(x, e, "skewUs", 0);
    const xmlNode *p = NULL;
    while ((p = vb_xml_next(e, p, "PHASE"))) {
        VB_AUTO_FREE char *name = vb_xml_get_or(x, p, "name", "");
        vb_components_add_phase(c, name, vb_xml_u64(x, p, "beginUs", 0), vb_xml_u64(x, p, "us", 0),
                                vb_xml_u64(x, p, "innerUs", 0));
    }
}

static void get_snapshots(struct vb_xml *x, struct vb_components *c, const xmlNode *parent)
{
    const xmlNode *e = NULL;

    while ((e = vb_xml_next(parent, e, "SNAPSHOT"))) {
        VB_GROW(c->snapshots, c->n_snapshots, c->cap_snapshots);
        c->snapshots[c->n_snapshots++] = (struct vb_snapshot_record){
            vb_xml_get(x, e, "snapshotId"),   vb_xml_get(x, e, "mountPoint"), vb_xml_get(x, e, "device"),
            vb_xml_get(x, e, "fileSystem"),   vb_xml_get(x, e, "provider"),   vb_xml_get(x, e, "snapshotPath"),
            vb_xml_get(x, e, "remark"),       vb_xml_yes(x, e, "atomic"),     vb_xml_u64(x, e, "commitBeginUs", 0),
            vb_xml_u64(x, e, "commitUs", 0)};
    }
}

static void get_left_mounts(struct vb_xml *x, struct vb_components *c, const xmlNode *parent)
{
    const xmlNode *e = NULL;

    while ((e = vb_xml_next(parent, e, "LEFT_OUT_MOUNT"))) {
        VB_AUTO_FREE char *path = vb_xml_get(x, e, "path"), *device = vb_xml_get(x, e, "device");
        VB_AUTO_FREE char *fs_type = vb_xml_get(x, e, "fileSystem");
        vb_components_add_left_mount(c, path ? path : "", device, fs_type);
    }
}

/* Rules on the rows that the grammar cannot say.  Paths are opened with privilege at restore: absolute, no `..`. */
static int check_row(const struct vb_list_field *l, const void *row, bool foreign, struct vb_error *err)
{
    for (size_t j = 0; j < VB_COUNT(l->columns) && l->columns[j].name; j++) {
        const char *name = l->columns[j].name, *text = vb_field_text(row, l->columns[j].offset);
        if ((strcmp(name, "path") == 0 || strstr(name, "Path")) && vb_check_directory(text, foreign, err) < 0)
            return -1;
        if ((strcmp(name, "filespec") == 0 || strstr(name, "Filespec")) && vb_check_filespec(text, err) < 0)
            return -1;
        if (strcmp(name, "ranges") == 0 && vb_check_ranges(text, NULL, err) < 0)
            return -1;
    }
    if (strcmp(l->element, "DIRECTED_TARGET") == 0) {
        const struct vb_directed_target *d = row;
        return vb_check_ranges_match(d->source_ranges, d->target_ranges, err);
    }
    return 0;
}

static void get_row(struct vb_xml *x, struct vb_component *c, const struct vb_list_field *l, const xmlNode *e)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    char *row = vb_list_grow(c, l);

    for (size_t j = 0; j < VB_COUNT(l->columns) && l->columns[j].name; j++)
        vb_field_set_text(row, l->columns[j].offset, vb_xml_get(x, e, l->columns[j].name));
    if (l->recursive != VB_NO_OFFSET) {
        bool v = vb_xml_yes(x, e, "recursive");
        memcpy(row + l->recursive, &v, sizeof v);
    }
    if (l->mtime != VB_NO_OFFSET) {
        int64_t t = vb_xml_i64(x, e, "lastModifyTime", 0);
        memcpy(row + l->mtime, &t, sizeof t);
    }
    if (check_row(l, row, x->foreign, &why) < 0)
        vb_xml_reject_error(x, e, &why);
}

static void get_private_file(struct vb_xml *x, struct vb_component *c, const xmlNode *e)
{
    VB_GROW(c->private_files, c->n_private, c->cap_private);
    struct vb_private_file *p = &c->private_files[c->n_private++];
    *p = (struct vb_private_file){vb_xml_get_or(x, e, "name", ""), VB_BUF_INIT};
    vb_xml_bytes(x, e, &p->data);
    if (!*p->name || strchr(p->name, '/') || strcmp(p->name, ".") == 0 || strcmp(p->name, "..") == 0)
        vb_xml_reject(x, e, "the name of a private file is empty or has a directory part");
    if (c->n_private > VB_MAX_PRIVATE_FILES)
        vb_xml_reject(x, e, "more than %d private files", VB_MAX_PRIVATE_FILES);
    for (size_t i = 0; i + 1 < c->n_private && c->n_private <= VB_MAX_PRIVATE_FILES; i++)
        if (strcmp(c->private_files[i].name, p->name) == 0)
            vb_xml_reject(x, e, "a second private file of the same name");
}

static bool carried_by(const char *element, const xmlNode *e)
{
    return element ? vb_xml_is(e, element) : vb_xml_is(e, "COMPONENT");
}

/* All single values that this element carries. */
static void get_values(struct vb_xml *x, struct vb_component *c, const xmlNode *e)
{
    for (size_t i = 0; i < vb_component_n_texts; i++) {
        const struct vb_text_field *f = &vb_component_texts[i];
        if (carried_by(f->element, e))
            vb_field_set_text(c, f->offset, vb_xml_get(x, e, f->name));
    }
    for (size_t i = 0; i < vb_component_n_words; i++) {
        const struct vb_word_field *f = &vb_component_words[i];
        VB_AUTO_FREE char *word = carried_by(f->element, e) ? vb_xml_get(x, e, f->name) : NULL;
        if (word)
            vb_field_set_int(c, f->offset, f->from_word(word));
    }
    for (size_t i = 0; i < vb_component_n_flags; i++)
        if (carried_by(vb_component_flags[i].element, e))
            vb_field_set_bool(c, vb_component_flags[i].offset, vb_xml_yes(x, e, vb_component_flags[i].name));
    if (vb_xml_is(e, "RESULT")) {
        VB_AUTO_FREE char *succeeded = vb_xml_get(x, e, "succeeded");
        c->backup_succeeded_set = succeeded;
        c->backup_succeeded = vb_xml_yes(x, e, "succeeded");
    }
}

static void get_child(struct vb_xml *x, struct vb_component *c, const xmlNode *e)
{
    for (size_t k = 0; k < vb_component_n_lists; k++)
        if (vb_xml_is(e, vb_component_lists[k].element)) {
            get_row(x, c, &vb_component_lists[k], e);
            return;
        }
    if (vb_xml_is(e, "PRIVATE_FILE")) {
        get_private_file(x, c, e);
    } else if (vb_xml_is(e, "RESTORE_SUBCOMPONENT")) {
        vb_strv_take(&c->restore_subcomponents, vb_xml_get_or(x, e, "fullPath", ""));
    } else {
        if (vb_xml_next(e->parent, e, (const char *)e->name))
            vb_xml_reject(x, e, "a second %s", (const char *)e->name);
        get_values(x, c, e);
    }
}

static void get_component(struct vb_xml *x, struct vb_writer_components *w, struct vb_table *seen, const xmlNode *e)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_xml_get(x, e, "logicalPath");
    VB_AUTO_FREE char *name = vb_xml_get_or(x, e, "componentName", "");
    VB_AUTO_FREE char *normal = NULL;

    if (vb_check_component_name(name, &why) < 0 || !(normal = vb_check_logical_path(path, &why))) {
        vb_xml_reject_error(x, e, &why);
        return;
    }
    VB_AUTO_FREE char *full = vb_full_path(normal, name);
    if (vb_table_find(seen, full) != VB_TABLE_NONE)
        vb_xml_reject(x, e, "a second record of a component");
    vb_table_add(seen, full, 0);
    VB_GROW(w->components, w->n_components, w->cap_components);
    struct vb_component *c = &w->components[w->n_components++];
    memset(c, 0, sizeof *c);
    c->logical_path = VB_STEAL(normal);
    c->name = VB_STEAL(name);
    c->type = VB_XML_WORD(x, e, "componentType", vb_component_type_from_word, VB_COMPONENT_UNDEFINED);
    get_values(x, c, e);
    for (const xmlNode *n = vb_xml_next(e, NULL, NULL); n; n = vb_xml_next(e, n, NULL))
        get_child(x, c, n);
    if (c->rollforward == VB_ROLLFORWARD_PARTIAL && !c->rollforward_point)
        vb_xml_reject(x, e, "a partial roll-forward without its point");
}

static void get_writer(struct vb_xml *x, struct vb_components *doc, const xmlNode *e)
{
    VB_GROW(doc->writers, doc->n_writers, doc->cap_writers);
    struct vb_writer_components *w = &doc->writers[doc->n_writers];
    struct vb_table seen = {0};
    memset(w, 0, sizeof *w);
    w->writer_id = vb_xml_get_or(x, e, "writerId", "");
    w->instance_id = vb_xml_get_or(x, e, "instanceId", "");
    w->instance_name = vb_xml_get(x, e, "instanceName");
    w->name = vb_xml_get_or(x, e, "friendlyName", "");
    w->schema = vb_xml_u32(x, e, "backupSchema", 0);
    w->state = VB_XML_WORD(x, e, "state", vb_writer_state_from_word, VB_WS_UNKNOWN);
    const xmlNode *f = vb_xml_single(x, e, "FAILURE", false);
    if (f) {
        w->failure_code = VB_XML_WORD(x, f, "code", vb_code_from_name, VB_OK);
        w->failure_text = vb_xml_get(x, f, "text");
        w->failure_hint = vb_xml_get(x, f, "hint");
    }
    if (doc->n_writers >= VB_MAX_WRITERS)
        vb_xml_reject(x, e, "more than %d writers", VB_MAX_WRITERS);
    else if (vb_components_find_writer(doc, w->writer_id, w->instance_name))
        vb_xml_reject(x, e, "a second record of a writer");
    doc->n_writers++;
    const xmlNode *c = NULL;
    while ((c = vb_xml_next(e, c, "COMPONENT")))
        get_component(x, w, &seen, c);
    vb_table_clear(&seen);
}

static struct vb_components *read_document(const char *origin, const void *xml, size_t n, const char *root,
                                           struct vb_error *err)
{
    struct vb_xml x;

    if (vb_xml_read(origin, xml, n, VB_GRAMMAR_COMPONENTS, root, &x, err) < 0)
        return NULL;
    struct vb_components *c = vb_alloc(sizeof *c);
    get_session(&x, c, x.root);
    get_snapshots(&x, c, x.root);
    get_left_mounts(&x, c, x.root);
    if (vb_xml_is(x.root, "WRITER_COMPONENTS")) {
        get_writer(&x, c, x.root);
    } else {
        const xmlNode *e = NULL;
        while ((e = vb_xml_next(x.root, e, "WRITER_COMPONENTS")))
            get_writer(&x, c, e);
    }
    if (vb_xml_done(&x, err) < 0) {
        vb_components_free(c);
        c = NULL;
    }
    vb_xml_clear(&x);
    return c;
}

struct vb_components *vb_components_read(const char *origin, const void *xml, size_t n, struct vb_error *err)
{
    return read_document(origin, xml, n, "BACKUP_COMPONENTS", err);
}

struct vb_components *vb_writer_components_read(const void *xml, size_t n, struct vb_error *err)
{
    return read_document("writer's components", xml, n, "WRITER_COMPONENTS", err);
}
