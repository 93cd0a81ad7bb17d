/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host table, read from the configuration, and the look-up of host texts found in dependencies.
 */
#include "config.h"

#include <netinet/in.h>
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/text.h"
#include "requester/hosts.h"

static const char *const host_keys[] = { "address", "port", "user", "identity", "known-hosts", "agent-command",
                                         "alias", "local", "trust-group", NULL };
static const char *const requester_keys[] = { "name", "missing-dependency", "lease", "allow-live", "allow-freeze", "compression", "state-dir",
                                              "on-writer-failure", "answer-limit", NULL };

static void entry_clear(struct vb_host_entry *e)
{
    free(e->name);
    free(e->address);
    free(e->user);
    free(e->agent_command);
    free(e->where);
    free(e->group);
    vb_strv_clear(&e->identities);
    vb_strv_clear(&e->known_hosts);
    vb_strv_clear(&e->aliases);
}

void vb_hosts_free(struct vb_hosts *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->n; i++)
        entry_clear(&h->v[i]);
    free(h->v);
    free(h);
}

static void read_list(const struct vb_config_section *s, const char *key, struct vb_strv *out)
{
    size_t n = 0;
    VB_AUTO_FREE const char **v = vb_section_list(s, key, &n);
    for (size_t i = 0; i < n; i++)
        vb_strv_add(out, v[i]);
}

static int read_entry(const struct vb_config_section *s, struct vb_host_entry *e, struct vb_error *err)
{
    uint64_t port;
    if (vb_config_check_keys(s, host_keys, err) < 0)
        return -1;
    e->where = vb_printf("%s:%u", s->file, s->line);
    if (!vb_host_text_valid(s->name)) {
        VB_AUTO_FREE char *shown = vb_escape_terminal(s->name, strlen(s->name));
        return vb_fail(err, VB_E_CONFIG, "%s: '%s' is not a host name, expected letters, digits, '.', ':', '_' and '-'",
                       e->where, shown);
    }
    e->name = vb_strdup(s->name);
    const char *address = vb_section_get(s, "address");
    if (address && !vb_host_text_valid(address)) {
        VB_AUTO_FREE char *where = vb_section_where(s, "address");
        VB_AUTO_FREE char *shown = vb_escape_terminal(address, strlen(address));
        return vb_fail(err, VB_E_CONFIG, "%s: '%s' is not an address, expected a name, IPv4 or IPv6 address", where,
                       shown);
    }
    e->address = vb_strdup(address ? address : s->name);
    if (vb_section_u64(s, "port", 22, &port, err) < 0)
        return -1;
    if (port == 0 || port > 65535) {
        VB_AUTO_FREE char *where = vb_section_where(s, "port");
        return vb_fail(err, VB_E_CONFIG, "%s: port %llu is out of range, expected 1 to 65535", where,
                       (unsigned long long)port);
    }
    e->port = (uint32_t)port;
    const char *user = vb_section_get(s, "user");
    if (user && (user[0] == '-' || !*user || strpbrk(user, " \t/:@'\"\\"))) {
        VB_AUTO_FREE char *where = vb_section_where(s, "user");
        return vb_fail(err, VB_E_CONFIG, "%s: '%s' is not a user name", where, user);
    }
    e->user = vb_strdup(user);
    const char *command = vb_section_get(s, "agent-command");
    e->agent_command = vb_strdup(command ? command : "vbackup-agent");
    read_list(s, "identity", &e->identities);
    read_list(s, "known-hosts", &e->known_hosts);
    read_list(s, "alias", &e->aliases);
    for (size_t i = 0; i < e->aliases.n; i++)
        if (!vb_host_text_valid(e->aliases.v[i]))
            return vb_fail(err, VB_E_CONFIG, "%s: alias '%s' is not a host name or address", e->where, e->aliases.v[i]);
    const char *group = vb_section_get(s, "trust-group");
    if (group && !vb_host_text_valid(group)) {
        VB_AUTO_FREE char *where = vb_section_where(s, "trust-group");
        return vb_fail(err, VB_E_CONFIG, "%s: '%s' is not a name, expected letters, digits, '.', ':', '_' and '-'", where,
                       group);
    }
    e->group = vb_strdup(group);
    return vb_section_bool(s, "local", false, &e->local, err);
}

static bool entry_answers_to(const struct vb_host_entry *e, const char *text)
{
    if (strcasecmp(e->name, text) == 0 || (e->address && strcasecmp(e->address, text) == 0))
        return true;
    for (size_t i = 0; i < e->aliases.n; i++)
        if (strcasecmp(e->aliases.v[i], text) == 0)
            return true;
    return false;
}

static int check_unique(const struct vb_hosts *h, struct vb_error *err)
{
    for (size_t i = 0; i < h->n; i++)
        for (size_t k = i + 1; k < h->n; k++) {
            const struct vb_host_entry *a = &h->v[i], *b = &h->v[k];
            if (strcasecmp(a->name, b->name) == 0)
                return vb_fail(err, VB_E_CONFIG, "%s: host '%s' is declared twice, first at %s", b->where, b->name,
                               a->where);
            for (size_t j = 0; j < b->aliases.n; j++)
                if (entry_answers_to(a, b->aliases.v[j]))
                    return vb_fail(err, VB_E_CONFIG, "%s: alias '%s' already means host '%s' (%s)", b->where,
                                   b->aliases.v[j], a->name, a->where);
        }
    return 0;
}

struct vb_hosts *vb_hosts_load(const struct vb_config *c, struct vb_error *err)
{
    struct vb_hosts *h = vb_alloc(sizeof *h);
    const char *self_name = NULL;
    bool have_self = false;

    for (size_t i = 0; c && i < c->n; i++) {
        const struct vb_config_section *s = &c->sections[i];
        if (strcmp(s->kind, "requester") == 0) {
            if (vb_config_check_keys(s, requester_keys, err) < 0)
                goto fail;
            if (vb_section_get(s, "name"))
                self_name = vb_section_get(s, "name");
            if (vb_section_duration_ms(s, "answer-limit", 0, &h->answer_limit_ms, err) < 0)
                goto fail;
        }
        if (strcmp(s->kind, "host") != 0)
            continue;
        VB_GROW(h->v, h->n, h->cap);
        memset(&h->v[h->n], 0, sizeof h->v[0]);
        h->n++;
        if (read_entry(s, &h->v[h->n - 1], err) < 0)
            goto fail;
        if (h->v[h->n - 1].local) {
            if (have_self) {
                vb_fail(err, VB_E_CONFIG, "%s: a second host with 'local = yes', the first is '%s' (%s)",
                        h->v[h->n - 1].where, h->v[h->self].name, h->v[h->self].where);
                goto fail;
            }
            have_self = true;
            h->self = h->n - 1;
        }
    }
    if (!have_self) {
        char node[256] = "";
        if (!self_name) {
            if (gethostname(node, sizeof node - 1) < 0 || !vb_host_text_valid(node))
                strncpy(node, "localhost", sizeof node - 1);
            char *dot = strchr(node, '.');
            if (dot)
                *dot = '\0';
            self_name = node;
        }
        /* A section of the machine's own name that forgot 'local = yes' still means this machine: otherwise one
         * installation would back itself up over the network (D-31). */
        for (size_t i = 0; i < h->n && !have_self; i++)
            if (strcasecmp(h->v[i].name, self_name) == 0) {
                h->self = i;
                h->v[i].local = have_self = true;
            }
        if (!have_self) {
            VB_GROW(h->v, h->n, h->cap);
            struct vb_host_entry *e = &h->v[h->n];
            memset(e, 0, sizeof *e);
            e->name = vb_strdup(self_name);
            e->address = vb_strdup("127.0.0.1");
            e->agent_command = vb_strdup("vbackup-agent");
            e->where = vb_strdup("built in");
            e->port = 22;
            e->local = true;
            h->self = h->n++;
        }
    }
    if (check_unique(h, err) < 0)
        goto fail;
    return h;
fail:
    vb_hosts_free(h);
    return NULL;
}

const struct vb_host_entry *vb_hosts_find(const struct vb_hosts *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcasecmp(h->v[i].name, name) == 0)
            return &h->v[i];
    return NULL;
}

/* Loop-back texts mean the host that wrote them, whichever that is. */
static bool means_itself(const char *text)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(text, "localhost") == 0 || strncasecmp(text, "localhost.", 10) == 0)
        return true;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* One of this machine's own interface addresses. */
static bool own_address(const char *text)
{
    struct ifaddrs *list = NULL;
    bool found = false;
    unsigned char want[16];
    int family = inet_pton(AF_INET, text, want) == 1 ? AF_INET : inet_pton(AF_INET6, text, want) == 1 ? AF_INET6 : 0;
    if (!family || getifaddrs(&list) < 0)
        return false;
    for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != family)
            continue;
        const void *addr = family == AF_INET ? (const void *)&((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr
                                             : (const void *)&((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
        found = memcmp(addr, want, family == AF_INET ? 4 : 16) == 0;
    }
    freeifaddrs(list);
    return found;
}

const char *vb_hosts_resolve(void *resolver, const char *from_host, const char *text)
{
    const struct vb_hosts_resolver *r = resolver;
    const struct vb_hosts *h = r->hosts;

    for (size_t i = 0; i < r->maps.n; i++) {
        const char *eq = strchr(r->maps.v[i], '=');
        if (eq && strlen(text) == (size_t)(eq - r->maps.v[i]) && strncasecmp(text, r->maps.v[i], strlen(text)) == 0) {
            text = eq + 1;
            break;
        }
    }
    if (!vb_host_text_valid(text))
        return NULL;
    const struct vb_host_entry *from = vb_hosts_find(h, from_host);
    if (means_itself(text))
        return from ? from->name : from_host;
    for (size_t i = 0; i < h->n; i++)
        if (entry_answers_to(&h->v[i], text))
            return h->v[i].name;
    if (own_address(text) && from && from->local)
        return h->v[h->self].name;
    return NULL;
}

const char *vb_hosts_group(const struct vb_hosts *h, const char *name)
{
    for (size_t i = 0; h && i < h->n; i++)
        if (strcmp(h->v[i].name, name) == 0)
            return h->v[i].group ? h->v[i].group : name;
    return name;
}
