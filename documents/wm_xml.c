/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/wm_xml.c - writer metadata document to and from XML (schema/writer-metadata.rng).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "documents/check.h"
#include "documents/selection.h"
#include "documents/wm_private.h"
#include "documents/xml.h"

#define CAPTURED_NS "x-schema:#VssWriterMetadataInfo"

/* One row per kind of file set: element name by enum vb_fileset_kind. */
static const char *const fileset_names[] = {"FILE_LIST", "DATABASE_FILES", "LOG_FILES"};

/* ---- writing ---- */

static int check(const struct vb_writer_metadata *m, struct vb_error *err)
{
    if (vb_check_guid("writer id", m->writer_id, err) < 0 || vb_check_guid("instance id", m->instance_id, err) < 0)
        return -1;
    if (!*m->name)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "a writer without a name");
    if (m->usage == VB_USAGE_UNDEFINED || m->source == VB_SOURCE_UNDEFINED)
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "writer '%s' leaves its usage or its source undefined", m->name);
    if (m->has_restore_method &&
        (m->method == VB_RESTORE_UNDEFINED || m->writer_restore == VB_WRITER_RESTORE_UNDEFINED))
        return vb_fail(err, VB_E_INVALID_XML_DOCUMENT, "writer '%s' leaves its restore method undefined", m->name);
    return 0;
}

static void put_identification(xmlNode *root, const struct vb_writer_metadata *m)
{
    xmlNode *e = vb_xml_add(root, "IDENTIFICATION");

    vb_xml_set(e, "writerId", m->writer_id);
    vb_xml_set(e, "instanceId", m->instance_id);
    vb_xml_set(e, "friendlyName", m->name);
    vb_xml_set(e, "instanceName", m->instance_name);
    vb_xml_set(e, "writerVersion", m->version);
    vb_xml_set(e, "usage", vb_usage_word(m->usage));
    vb_xml_set(e, "dataSource", vb_source_word(m->source));
    if (m->level != VB_LEVEL_FRONT_END)
        vb_xml_set(e, "level", vb_level_word(m->level));
}

static void put_place(xmlNode *e, const char *path, const char *spec, bool recursive)
{
    vb_xml_set(e, "path", path);
    vb_xml_set(e, "filespec", spec);
    vb_xml_set_yes(e, "recursive", recursive);
}

static void put_restore_method(xmlNode *root, const struct vb_writer_metadata *m)
{
    xmlNode *e = vb_xml_add(root, "RESTORE_METHOD");

    vb_xml_set(e, "method", vb_restore_method_word(m->method));
    vb_xml_set(e, "service", m->service);
    vb_xml_set(e, "writerRestore", vb_writer_restore_word(m->writer_restore));
    vb_xml_set_yes(e, "rebootRequired", m->reboot_required);
    for (size_t i = 0; i < m->n_alms; i++) {
        xmlNode *a = vb_xml_add(e, "ALTERNATE_LOCATION_MAPPING");
        put_place(a, m->alms[i].path, m->alms[i].filespec, m->alms[i].recursive);
        vb_xml_set(a, "alternatePath", m->alms[i].alternate_path);
    }
}

static void put_component(xmlNode *parent, const struct vb_wm_component *c)
{
    xmlNode *e = vb_xml_add(parent, c->type == VB_COMPONENT_DATABASE ? "DATABASE" : "FILE_GROUP");

    vb_xml_set_text(e, "logicalPath", c->logical_path);
    vb_xml_set(e, "componentName", c->name);
    vb_xml_set_text(e, "caption", c->caption);
    vb_xml_set_yes(e, "restoreMetadata", c->restore_metadata);
    vb_xml_set_yes(e, "notifyOnBackupComplete", c->notify_on_backup_complete);
    vb_xml_set_bool(e, "selectable", c->selectable);
    vb_xml_set_yes(e, "selectableForRestore", c->selectable_for_restore);
    vb_xml_set_u64(e, "componentFlags", c->flags, 0);
    for (size_t i = 0; i < c->n_filesets; i++) {
        const struct vb_fileset *f = &c->filesets[i];
        xmlNode *x = vb_xml_add(e, fileset_names[f->kind]);
        put_place(x, f->path, f->filespec, f->recursive);
        vb_xml_set(x, "alternatePath", f->alternate_path);
        vb_xml_set_u64(x, "filespecBackupType", f->backup_type, VB_FSB_DEFAULT);
    }
    for (size_t i = 0; i < c->n_dependencies; i++) {
        xmlNode *x = vb_xml_add(e, "DEPENDENCY");
        vb_xml_set(x, "writerId", c->dependencies[i].target_class_id);
        vb_xml_set_text(x, "logicalPath", c->dependencies[i].target_logical_path);
        vb_xml_set(x, "componentName", c->dependencies[i].target_name);
    }
    for (size_t i = 0; i < c->leave_out.n; i++)
        vb_xml_set(vb_xml_add(e, "LEAVE_OUT"), "rule", c->leave_out.v[i]);
}

int vb_wm_write(const struct vb_writer_metadata *m, struct vb_buf *out, struct vb_error *err)
{
    xmlNode *root = NULL;

    if (check(m, err) < 0)
        return -1;
    VB_AUTO_XMLDOC *doc = vb_xml_new("WRITER_METADATA", &root);
    if (m->foreign)
        xmlNewNs(root, BAD_CAST CAPTURED_NS, NULL);
    vb_xml_set_u64(root, "backupSchema", m->schema, 0);
    put_identification(root, m);
    if (m->has_restore_method)
        put_restore_method(root, m);
    if (m->n_components || m->n_excludes || m->n_snapshot_excludes) {
        xmlNode *e = vb_xml_add(root, "BACKUP_LOCATIONS");
        for (size_t i = 0; i < m->n_excludes; i++)
            put_place(vb_xml_add(e, "EXCLUDE_FILES"), m->excludes[i].path, m->excludes[i].filespec,
                      m->excludes[i].recursive);
        for (size_t i = 0; i < m->n_snapshot_excludes; i++)
            put_place(vb_xml_add(e, "EXCLUDE_FILES_FROM_SNAPSHOT"), m->snapshot_excludes[i].path,
                      m->snapshot_excludes[i].filespec, m->snapshot_excludes[i].recursive);
        for (size_t i = 0; i < m->n_components; i++)
            put_component(e, &m->components[i]);
    }
    return vb_xml_write(doc, out, err);
}

/* ---- reading ---- */

static void get_identification(struct vb_xml *x, struct vb_writer_metadata *m, const xmlNode *e)
{
    m->writer_id = vb_xml_get_or(x, e, "writerId", "");
    m->instance_id = vb_xml_get_or(x, e, "instanceId", "");
    m->name = vb_xml_get_or(x, e, "friendlyName", "");
    m->instance_name = vb_xml_get(x, e, "instanceName");
    m->version = vb_xml_get(x, e, "writerVersion");
    uint32_t major = vb_xml_u32(x, e, "majorVersion", 0), minor = vb_xml_u32(x, e, "minorVersion", 0);
    if (!m->version && (major || minor))
        m->version = vb_printf("%u.%u", major, minor);
    m->usage = VB_XML_WORD(x, e, "usage", vb_usage_from_word, VB_USAGE_UNDEFINED);
    m->source = VB_XML_WORD(x, e, "dataSource", vb_source_from_word, VB_SOURCE_OTHER);
    m->level = VB_XML_WORD(x, e, "level", vb_level_from_word, VB_LEVEL_FRONT_END);
    if (!*m->name)
        vb_xml_reject(x, e, "a writer without a name");
}

static void get_dependency(struct vb_xml *x, struct vb_writer_metadata *m, struct vb_wm_component *c, const xmlNode *e)
{
    struct vb_dependency d = {vb_xml_get_or(x, e, "writerId", ""), vb_xml_get_or(x, e, "logicalPath", ""),
                              vb_xml_get_or(x, e, "componentName", "")};
    struct vb_target t;
    VB_AUTO_ERROR why = VB_ERROR_INIT;

    VB_GROW(c->dependencies, c->n_dependencies, c->cap_dependencies);
    c->dependencies[c->n_dependencies++] = d;
    if (vb_target_parse(&d, &t, &why) < 0) {
        vb_xml_reject_error(x, e, &why);
        return;
    }
    if (!t.host && vb_guid_equal(d.target_class_id, m->writer_id))
        vb_xml_reject(x, e, "component '%s' depends on a component of its own writer", c->name);
    vb_target_clear(&t);
}

static int kind_of(const xmlNode *e)
{
    for (int k = 0; k < (int)VB_COUNT(fileset_names); k++)
        if (vb_xml_is(e, fileset_names[k]))
            return k;
    return -1;
}

static void get_component(struct vb_xml *x, struct vb_writer_metadata *m, const xmlNode *e)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_xml_get(x, e, "logicalPath");
    VB_AUTO_FREE char *name = vb_xml_get(x, e, "componentName");
    struct vb_wm_component *c = vb_wm_add_component(
        m, vb_xml_is(e, "DATABASE") ? VB_COMPONENT_DATABASE : VB_COMPONENT_FILEGROUP, path, name, &why);

    if (!c) {
        vb_xml_reject_error(x, e, &why);
        return;
    }
    size_t at = m->n_components - 1;
    c->caption = vb_xml_get(x, e, "caption");
    if (c->caption && !*c->caption)
        vb_free_ptr(&c->caption);
    c->selectable = vb_xml_yes(x, e, "selectable");
    c->selectable_for_restore = vb_xml_yes(x, e, "selectableForRestore");
    c->notify_on_backup_complete = vb_xml_yes(x, e, "notifyOnBackupComplete");
    c->restore_metadata = vb_xml_yes(x, e, "restoreMetadata");
    c->flags = vb_xml_u32(x, e, "componentFlags", 0);
    for (const xmlNode *n = vb_xml_next(e, NULL, NULL); n; n = vb_xml_next(e, n, NULL)) {
        if (vb_xml_is(n, "DEPENDENCY")) {
            get_dependency(x, m, c, n);
            continue;
        }
        if (vb_xml_is(n, "LEAVE_OUT")) {
            VB_AUTO_FREE char *rule = vb_xml_get_or(x, n, "rule", "");
            if (vb_wm_put_leave_out(c, rule, &why) < 0)
                vb_xml_reject_error(x, n, &why);
            continue;
        }
        VB_AUTO_FREE char *dir = vb_xml_get(x, n, "path");
        VB_AUTO_FREE char *spec = vb_xml_get(x, n, "filespec");
        VB_AUTO_FREE char *alt = vb_xml_get(x, n, "alternatePath");
        struct vb_fileset f = {kind_of(n), dir, spec, vb_xml_yes(x, n, "recursive"), alt,
                               vb_xml_u32(x, n, "filespecBackupType", VB_FSB_DEFAULT)};
        if (vb_wm_put_fileset(m, at, &f, false, &why) < 0)
            vb_xml_reject_error(x, n, &why);
    }
}

static void get_restore_method(struct vb_xml *x, struct vb_writer_metadata *m, const xmlNode *e)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FREE char *service = vb_xml_get(x, e, "service");

    if (vb_wm_set_restore_method(
            m, VB_XML_WORD(x, e, "method", vb_restore_method_from_word, VB_RESTORE_UNDEFINED), service,
            VB_XML_WORD(x, e, "writerRestore", vb_writer_restore_from_word, VB_WRITER_RESTORE_UNDEFINED),
            vb_xml_yes(x, e, "rebootRequired"), &why) < 0)
        vb_xml_reject_error(x, e, &why);
    for (const xmlNode *a = vb_xml_next(e, NULL, NULL); a; a = vb_xml_next(e, a, NULL)) {
        VB_AUTO_FREE char *dir = vb_xml_get(x, a, "path");
        VB_AUTO_FREE char *spec = vb_xml_get(x, a, "filespec");
        VB_AUTO_FREE char *alt = vb_xml_get(x, a, "alternatePath");
        if (vb_wm_add_alm(m, dir, spec, vb_xml_yes(x, a, "recursive"), alt, &why) < 0)
            vb_xml_reject_error(x, a, &why);
    }
}

static void get_locations(struct vb_xml *x, struct vb_writer_metadata *m, const xmlNode *parent)
{
    for (const xmlNode *e = vb_xml_next(parent, NULL, NULL); e; e = vb_xml_next(parent, e, NULL)) {
        bool snapshot = vb_xml_is(e, "EXCLUDE_FILES_FROM_SNAPSHOT");
        if (!snapshot && !vb_xml_is(e, "EXCLUDE_FILES")) {
            get_component(x, m, e);
            continue;
        }
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        VB_AUTO_FREE char *dir = vb_xml_get(x, e, "path");
        VB_AUTO_FREE char *spec = vb_xml_get(x, e, "filespec");
        if (vb_wm_add_exclude(m, snapshot, dir, spec, vb_xml_yes(x, e, "recursive"), &why) < 0)
            vb_xml_reject_error(x, e, &why);
    }
}

struct vb_writer_metadata *vb_wm_read(const char *origin, const void *xml, size_t n, struct vb_error *err)
{
    struct vb_xml x;

    if (vb_xml_read(origin, xml, n, VB_GRAMMAR_WRITER_METADATA, "WRITER_METADATA", &x, err) < 0)
        return NULL;
    struct vb_writer_metadata *m = vb_alloc(sizeof *m);
    const xmlNode *e = vb_xml_single(&x, x.root, "IDENTIFICATION", true);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    m->foreign = x.foreign;
    if (e)
        get_identification(&x, m, e);
    if (!e)
        goto out; /* nothing below makes sense without a name */
    if (vb_wm_set_schema(m, vb_xml_u32(&x, x.root, "backupSchema", 0), &why) < 0)
        vb_xml_reject_error(&x, x.root, &why);
    /* the components before the restore method, whose alternate locations repeat their file sets; any order in
     * the text */
    if ((e = vb_xml_single(&x, x.root, "BACKUP_LOCATIONS", false)))
        get_locations(&x, m, e);
    if ((e = vb_xml_single(&x, x.root, "RESTORE_METHOD", false)))
        get_restore_method(&x, m, e);
out:
    if (vb_xml_done(&x, err) < 0) {
        vb_wm_free(m);
        m = NULL;
    }
    vb_xml_clear(&x);
    return m;
}
