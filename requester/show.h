/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/show.h - how a backup is shown to people and machines; shared by the verbs list, show, backup and restore.
 */
#ifndef VB_REQUESTER_SHOW_H
#define VB_REQUESTER_SHOW_H

#include <jansson.h>
#include <stdio.h>
#include "store/catalog.h"
#include "store/repository.h"

/* One backup as JSON: everything of the entry but the chunk names. */
json_t *vb_show_entry_json(const struct vb_catalog_entry *e);
/* "front, backend"; caller frees. */
char *vb_show_hosts(const struct vb_catalog_entry *e);
/* The lowest consistency of any component that has data: what the whole can be trusted for. Static string. */
const char *vb_show_consistency(const struct vb_catalog_entry *e);
/* Table of hosts and components with state, consistency and error. */
void vb_show_entry_text(FILE *out, const struct vb_catalog_entry *e);
/* "host/writer:path\name" of a component; caller frees. */
char *vb_show_component_name(const char *host, const struct vb_catalog_component *c);

/* What was backed up, short: paths that were named, else "host/writer:component", three at most; caller frees. */
char *vb_show_content(const struct vb_catalog_entry *e);
/* Which provider took which volume of which host, from the stored documents; what cannot be read is left out. */
void vb_show_volumes_text(FILE *out, struct vb_repo *r, const struct vb_catalog_entry *e);
struct vb_window_phase;
json_t *vb_show_phases_json(const struct vb_window_phase *phases, size_t n);
/* Per host: the freeze window, part by part, and the skew of its volumes. */
json_t *vb_show_windows_json(struct vb_repo *r, const struct vb_catalog_entry *e);
/* What was mounted below the files and was left out (B-30). */
json_t *vb_show_left_mounts_json(struct vb_repo *r, const struct vb_catalog_entry *e);
json_t *vb_show_volumes_json(struct vb_repo *r, const struct vb_catalog_entry *e);

#endif
