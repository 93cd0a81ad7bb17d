/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/password.h - where the password of a repository comes from: never from the command line.
 *
 * In this order: the file that VBACKUP_PASSWORD_FILE names, the command in VBACKUP_PASSWORD_COMMAND, password-file or
 * password-command of [repository], the systemd credential vbackup-password, the terminal.
 */
#ifndef VB_REQUESTER_PASSWORD_H
#define VB_REQUESTER_PASSWORD_H

#include "requester/settings.h"
#include "store/repository.h"

/* Lives as long as the settings and is freed with them. */
const struct vb_repo_auth *vb_settings_auth(struct vb_settings *s);
/* Another source for a new password: a file, or with NULL the terminal, which asks twice.  The caller keeps *auth, and
 * path as long. */
void vb_password_new(struct vb_repo_auth *auth, const char *path);
/* Cost of the derivation for new keys: 0, or what the tests ask for. */
unsigned vb_password_cost(void);

/* For another repository: its password out of a file, or none (NULL); the path is borrowed. */
void vb_password_file(struct vb_settings *s, struct vb_repo_auth *auth, const char *path);

#endif
