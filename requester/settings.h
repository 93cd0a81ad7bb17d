/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/settings.h - where a requester finds its configuration, its hosts, its state and its repository.
 */
#ifndef VB_REQUESTER_SETTINGS_H
#define VB_REQUESTER_SETTINGS_H

#include "base/config.h"
#include "base/error.h"
#include "requester/hosts.h"

struct vb_repo_auth;
struct vb_location_options;
struct vb_settings {
    struct vb_config *config; /* never NULL once loaded */
    char *config_path;        /* NULL: none was found */
    struct vb_hosts *hosts;
    char *state_dir;          /* exists, 0700 */
    struct vb_repo_auth *auth; /* of requester/password.h */
    struct vb_location_options *storage;
    char *memory;             /* directory: what was seen of repositories; NULL until it was asked for */
};

/* path NULL: VBACKUP_CONFIG, the user's place, the system's place, or none.  Sets VBACKUP_CONFIG for children, so that the
 * local agent reads the same file.  On error what was loaded so far is to be cleared by the caller. */
int vb_settings_load(struct vb_settings *s, const char *path, struct vb_error *err);
void vb_settings_clear(struct vb_settings *s);
/* How to reach the place of a repository, for vb_repo_auth and vb_repo_params; lives as long as the settings. */
const struct vb_location_options *vb_settings_storage(struct vb_settings *s);
/* Where this machine keeps what it has seen of repositories; likewise. */
const char *vb_settings_memory(struct vb_settings *s);
/* The given location, else VBACKUP_REPOSITORY, else `location` of [repository]; an error with a hint otherwise. */
const char *vb_settings_repository(const struct vb_settings *s, const char *given, struct vb_error *err);

#endif
