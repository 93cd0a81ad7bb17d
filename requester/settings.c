/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Configuration, hosts, state directory and repository of a requester. */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "requester/settings.h"
#include "store/location.h"

static char *usual_config(void)
{
    const char *home = getenv("HOME"), *xdg = getenv("XDG_CONFIG_HOME");
    char *user = xdg && *xdg ? vb_printf("%s/vbackup/vbackup.conf", xdg)
                 : home      ? vb_printf("%s/.config/vbackup/vbackup.conf", home)
                             : NULL;
    if (user && access(user, F_OK) == 0)
        return user;
    free(user);
    return access(VB_SYSCONFDIR "/vbackup/vbackup.conf", F_OK) == 0 ? vb_strdup(VB_SYSCONFDIR "/vbackup/vbackup.conf")
                                                                    : NULL;
}

static int make_state_dir(struct vb_settings *s, struct vb_error *err)
{
    const struct vb_config_section *r = vb_config_find(s->config, "requester", NULL);
    const char *dir = getenv("VBACKUP_STATE_DIR"), *home = getenv("HOME"), *xdg = getenv("XDG_STATE_HOME");
    if (r && vb_section_get(r, "state-dir"))
        dir = vb_section_get(r, "state-dir");
    if (dir && *dir)
        s->state_dir = vb_strdup(dir);
    else if (geteuid() == 0)
        s->state_dir = vb_strdup(VB_LOCALSTATEDIR "/lib/vbackup");
    else if (xdg && *xdg)
        s->state_dir = vb_printf("%s/vbackup", xdg);
    else if (home && *home)
        s->state_dir = vb_printf("%s/.local/state/vbackup", home);
    else
        return vb_fail(err, VB_E_CONFIG, "no place for the state: neither VBACKUP_STATE_DIR nor HOME is set");
    if (vb_mkdirs_at(AT_FDCWD, s->state_dir, 0700, err) < 0) {
        vb_context(err, "state directory '%s'", s->state_dir);
        vb_hint(err, "set VBACKUP_STATE_DIR to a directory of your own");
        return -1;
    }
    return 0;
}

int vb_settings_load(struct vb_settings *s, const char *path, struct vb_error *err)
{
    if (!path)
        path = getenv("VBACKUP_CONFIG");
    s->config_path = path && *path ? vb_strdup(path) : usual_config();
    s->config = s->config_path ? vb_config_load(s->config_path, err) : vb_config_empty();
    if (!s->config)
        return -1;
    if (s->config_path) {
        VB_AUTO_FREE char *absolute = realpath(s->config_path, NULL);
        setenv("VBACKUP_CONFIG", absolute ? absolute : s->config_path, 1);
    }
    s->hosts = vb_hosts_load(s->config, err);
    return s->hosts ? make_state_dir(s, err) : -1;
}

void vb_settings_clear(struct vb_settings *s)
{
    vb_hosts_free(s->hosts);
    vb_config_free(s->config);
    free(s->config_path);
    free(s->state_dir);
    free(s->auth);
    free(s->storage);
    free(s->memory);
    memset(s, 0, sizeof *s);
}

const struct vb_location_options *vb_settings_storage(struct vb_settings *s)
{
    if (!s->storage)
        s->storage = vb_alloc(sizeof *s->storage);
    s->storage->config = s->config;
    s->storage->state_dir = s->state_dir;
    return s->storage;
}

const char *vb_settings_memory(struct vb_settings *s)
{
    if (!s->memory)
        s->memory = vb_path_join(s->state_dir, "repositories");
    return s->memory;
}

const char *vb_settings_repository(const struct vb_settings *s, const char *given, struct vb_error *err)
{
    const char *location = given ? given : getenv("VBACKUP_REPOSITORY");
    if (!location || !*location) {
        const struct vb_config_section *r = vb_config_find(s->config, "repository", NULL);
        location = r ? vb_section_get(r, "location") : NULL;
    }
    if (!location) {
        vb_fail(err, VB_E_USAGE, "no repository was named");
        vb_hint(err, "give --repo LOCATION, set VBACKUP_REPOSITORY, or write 'location = ...' under [repository] in the "
                     "configuration");
    }
    return location;
}
