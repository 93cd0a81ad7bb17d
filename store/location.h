/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/location.h - from what the user writes after --repo to an open backend.
 *
 *     /srv/backup, file:///srv/backup            a directory
 *     sftp://[user@]host[:port]/srv/backup       a directory behind SFTP; /~/backup begins in the login's own directory
 *     ssh://[user@]host[:port]/srv/backup        what `vbackup serve` offers there
 *
 *     s3://bucket[/prefix]                       objects; endpoint, region and credentials from settings or environment
 *
 * host may be the name of a section [host NAME] of the configuration, with its address, port, user, identities and known
 * hosts; what stands in the location itself counts more.  Settings of [repository]: see vbackup.conf(5).
 */
#ifndef VB_STORE_LOCATION_H
#define VB_STORE_LOCATION_H

#include "base/config.h"
#include "store/backend.h"

enum vb_location_use { VB_LOCATION_READ, VB_LOCATION_WRITE, VB_LOCATION_CREATE };

struct vb_location_options {
    const struct vb_config *config; /* NULL: nothing is configured */
    const char *state_dir;          /* NULL: no state is kept */
};

/* Opens, and for writing tries out what is taken for granted of the store (vb_backend_probe) unless the kernel itself
 * vouches for it.  options NULL: as usual. */
struct vb_backend *vb_location_open(const char *location, enum vb_location_use use,
                                    const struct vb_location_options *options, struct vb_error *err);

/* Limits of [repository] (NULL: none): rate-limit for both directions, limit-upload and limit-download for one. */
struct vb_rates;
int vb_location_rates(const struct vb_config_section *repository, struct vb_rates *rates, struct vb_error *err);

/* Only for location.c: s3://, with its settings and credentials (location_s3.c). */
struct vb_backend *vb_location_open_s3(const char *location, enum vb_location_use use,
                                       const struct vb_location_options *options, struct vb_error *err);

/* The parts of a location with a host.  The entry point of a fuzz target: host, user, port and path are safe to use. */
struct vb_location_parts {
    char *scheme, *user, *host, *path; /* user NULL: none; path begins with '/' */
    uint32_t port;                     /* 0: none */
};
int vb_location_parse(const char *location, struct vb_location_parts *parts, struct vb_error *err);
void vb_location_parts_clear(struct vb_location_parts *parts);

#endif
