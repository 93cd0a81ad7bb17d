/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_keys.c - the files in keys/: the repository's root secret, sealed with a password each.
 *
 * The password goes through scrypt with a salt of its own; the 32 bytes that come out seal what the key holds: the
 * root, or for a write-only key the public key and the secrets of one group.  Everything that a key file says is bound
 * to it.  A key is changed by writing another file with the same id and removing the old one.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define KEY_FILE_MAX 65536u
#define KEY_VERSION 1
#define MAX_PASSWORD 65536u
#define USUAL_PASSWORD 8192u /* more than the requester takes */

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

struct key_file {
    struct vb_repo_key key;
    uint8_t salt[VB_KEY_LEN];
    unsigned log2_n;
    struct vb_buf sealed;
    char *bound; /* canonical text of the rest */
};

static void key_file_clear(struct key_file *f)
{
    free(f->key.label);
    free(f->key.host);
    free(f->bound);
    vb_buf_clear(&f->sealed);
    memset(f, 0, sizeof *f);
}

/* ---- hexadecimal ---- */

static char *to_hex(const unsigned char *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *s = vb_alloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        s[2 * i] = digits[p[i] >> 4];
        s[2 * i + 1] = digits[p[i] & 15];
    }
    return s;
}

static bool from_hex(const char *s, struct vb_buf *out)
{
    static const char digits[] = "0123456789abcdef";
    if (!s || strlen(s) % 2 != 0)
        return false;
    for (; *s; s += 2) {
        const char *hi = strchr(digits, s[0]), *lo = strchr(digits, s[1]);
        if (!hi || !lo)
            return false;
        vb_buf_add_u8(out, (uint8_t)((hi - digits) << 4 | (lo - digits)));
    }
    return true;
}

/* ---- password to key ---- */

static int password_key(const struct vb_repo_auth *auth, bool new, struct vb_buf *password, struct vb_error *err)
{
    if (!auth || !auth->password) {
        vb_fail(err, VB_E_ACCESS_DENIED, "the repository is encrypted, and no password was given");
        vb_hint(err, "name a file that holds it in VBACKUP_PASSWORD_FILE, or set password-file or password-command under "
                     "[repository]");
        return -1;
    }
    vb_secret_buf_reserve(password, USUAL_PASSWORD);
    if (auth->password(auth->arg, new, password, err) < 0)
        return -1;
    if (password->len == 0 || password->len > MAX_PASSWORD)
        return vb_fail(err, VB_E_USAGE, "password is %s", password->len ? "too long" : "empty");
    return 0;
}

static int wrapping_key(const struct vb_buf *password, const char *repo_id, const struct key_file *f,
                        uint8_t out[VB_KEY_LEN], struct vb_error *err)
{
    uint8_t hard[VB_KEY_LEN];
    VB_AUTO_FREE char *info = vb_printf("vbackup %d key %s", KEY_VERSION, repo_id);
    if (vb_scrypt(password->data, password->len, f->salt, f->log2_n, hard, err) < 0)
        return -1;
    vb_hkdf(hard, sizeof hard, f->salt, sizeof f->salt, info, strlen(info), out);
    vb_wipe(hard, sizeof hard);
    return 0;
}

/* ---- writing ---- */

static json_t *describe(const char *repo_id, const struct key_file *f)
{
    VB_AUTO_FREE char *salt = to_hex(f->salt, sizeof f->salt);
    json_t *o = json_object();
    json_object_set_new(o, "vbackup", json_string("key"));
    json_object_set_new(o, "format_version", json_integer(KEY_VERSION));
    json_object_set_new(o, "repository", json_string(repo_id));
    json_object_set_new(o, "id", json_string(f->key.id));
    json_object_set_new(o, "created_ms", json_integer((json_int_t)f->key.created_ms));
    json_object_set_new(o, "holds", json_string(f->key.host ? "group" : "root"));
    if (f->key.label)
        json_object_set_new(o, "label", json_string(f->key.label));
    if (f->key.host)
        json_object_set_new(o, "host", json_string(f->key.host));
    json_object_set_new(o, "kdf", json_string("scrypt"));
    json_object_set_new(o, "log2_n", json_integer((json_int_t)f->log2_n));
    json_object_set_new(o, "salt", json_string(salt));
    return o;
}

static int write_file(struct vb_backend *b, json_t *o, char **written, struct vb_error *err)
{
    struct vb_name hash;
    char hex[VB_NAME_HEX_LEN + 1];
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (!text)
        return vb_fail(err, VB_E_UNEXPECTED, "cannot write a key as JSON");
    vb_sha256(text, strlen(text), &hash);
    vb_name_hex(&hash, hex);
    VB_AUTO_FREE char *path = vb_printf("keys/%s", hex);
    int result = vb_backend_write(b, path, text, strlen(text), err);
    free(text);
    if (written)
        *written = vb_strdup(path);
    return result;
}

static int fill_secret(struct vb_keys *keys, const struct vb_repo_key_params *p, uint8_t *secret, size_t *n,
                       struct vb_error *err)
{
    if (p->host) {
        *n = VB_KEYS_APPEND_LEN;
        return vb_keys_append_export(keys, p->host, secret, err);
    }
    const uint8_t *root = vb_keys_root(keys);
    if (!root)
        return vb_fail(err, VB_E_ACCESS_DENIED, "this key cannot make others");
    memcpy(secret, root, VB_KEY_LEN);
    *n = VB_KEY_LEN;
    return 0;
}

static int seal_file(struct key_file *f, const char *repo_id, struct vb_keys *keys, const struct vb_repo_key_params *p,
                     const struct vb_buf *password, struct vb_error *err)
{
    uint8_t wrap[VB_KEY_LEN], secret[VB_KEYS_APPEND_LEN];
    size_t n = 0;
    int result = fill_secret(keys, p, secret, &n, err);
    if (result == 0)
        result = wrapping_key(password, repo_id, f, wrap, err);
    if (result == 0) {
        struct vb_aead *a = vb_aead_new();
        vb_aead_seal(a, wrap, 0, f->bound, strlen(f->bound), secret, n, &f->sealed);
        vb_aead_free(a);
    }
    vb_wipe(wrap, sizeof wrap);
    vb_wipe(secret, sizeof secret);
    return result;
}

static bool host_ok(const char *host)
{
    for (const char *p = host; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '/')
            return false;
    return *host != '\0';
}

int vb_repo_key_write(struct vb_backend *b, const char *repo_id, struct vb_keys *keys, const char *id,
                      const struct vb_repo_key_params *p, char **path, struct vb_error *err)
{
    VB_CLEANUP(key_file_clear) struct key_file f = { .log2_n = p->cost ? p->cost : VB_KEY_COST };
    VB_CLEANUP(vb_secret_buf_clear) struct vb_buf password = VB_BUF_INIT;
    if ((p->label && !vb_utf8_valid(p->label, strlen(p->label))) || (p->host && !vb_utf8_valid(p->host, strlen(p->host))))
        return vb_fail(err, VB_E_USAGE, "label and host of a key must be UTF-8 text");
    /* The empty name is that of keys that read. */
    if (p->host && !host_ok(p->host)) {
        vb_fail(err, VB_E_USAGE, "'%s': not the name of a host", p->host);
        vb_hint(err, "a write-only key is for one host, by the name it has in the backups");
        return -1;
    }
    memcpy(f.key.id, id, VB_GUID_LEN);
    f.key.label = p->label ? vb_strdup(p->label) : NULL;
    f.key.host = p->host ? vb_strdup(p->host) : NULL;
    f.key.created_ms = p->wall_ms;
    if (vb_random(f.salt, sizeof f.salt, err) < 0 || password_key(p->auth, true, &password, err) < 0)
        return -1;
    AUTO_JSON *o = describe(repo_id, &f);
    char *bound = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    f.bound = vb_strdup(bound ? bound : "");
    free(bound);
    if (seal_file(&f, repo_id, keys, p, &password, err) < 0)
        return -1;
    VB_AUTO_FREE char *sealed = to_hex(f.sealed.data, f.sealed.len);
    json_object_set_new(o, "sealed", json_string(sealed));
    return write_file(b, o, path, err);
}

/* ---- reading ---- */

static bool get_text(const json_t *o, const char *name, char **out)
{
    const json_t *v = json_object_get(o, name);
    *out = vb_strdup(json_string_value(v));
    return !v || *out;
}

static int decode(const void *p, size_t len, const char *repo_id, struct key_file *f, struct vb_error *err)
{
    VB_AUTO_BUF salt = VB_BUF_INIT;
    AUTO_JSON *o = json_loadb(p, len, JSON_REJECT_DUPLICATES, NULL);
    const char *kind = json_string_value(json_object_get(o, "vbackup"));
    const json_t *version = json_object_get(o, "format_version"), *cost = json_object_get(o, "log2_n"),
                 *created = json_object_get(o, "created_ms");
    if (!kind || strcmp(kind, "key") != 0 || !json_is_integer(version) || json_integer_value(version) < 1)
        return vb_fail(err, VB_E_CORRUPT, "not a key");
    if (json_integer_value(version) > KEY_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "key of format %lld, this program knows up to %d",
                       (long long)json_integer_value(version), KEY_VERSION);
    const char *repo = json_string_value(json_object_get(o, "repository")),
               *id = json_string_value(json_object_get(o, "id")), *kdf = json_string_value(json_object_get(o, "kdf")),
               *holds = json_string_value(json_object_get(o, "holds"));
    if (!repo || strcmp(repo, repo_id) != 0)
        return vb_fail(err, VB_E_CORRUPT, "key of another repository");
    if (!id || !vb_guid_valid(id) || !kdf || strcmp(kdf, "scrypt") != 0 || !json_is_integer(cost) ||
        json_integer_value(cost) < 1 || json_integer_value(cost) > VB_SCRYPT_MAX || !json_is_integer(created) ||
        json_integer_value(created) < 0 || !holds || !get_text(o, "label", &f->key.label) ||
        !get_text(o, "host", &f->key.host) || strcmp(holds, f->key.host ? "group" : "root") != 0 ||
        !from_hex(json_string_value(json_object_get(o, "salt")), &salt) || salt.len != VB_KEY_LEN ||
        !from_hex(json_string_value(json_object_get(o, "sealed")), &f->sealed))
        return vb_fail(err, VB_E_CORRUPT, "damaged key");
    memcpy(f->key.id, id, VB_GUID_LEN);
    f->key.created_ms = (uint64_t)json_integer_value(created);
    f->log2_n = (unsigned)json_integer_value(cost);
    memcpy(f->salt, salt.data, VB_KEY_LEN);
    json_object_del(o, "sealed");
    char *bound = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    f->bound = vb_strdup(bound ? bound : "");
    free(bound);
    return 0;
}

static int read_file(struct vb_backend *b, const char *path, const char *repo_id, struct key_file *f,
                     struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    struct vb_name want, real;
    if (vb_backend_read_all(b, path, KEY_FILE_MAX, &bytes, err) < 0)
        return -1;
    vb_sha256(bytes.data, bytes.len, &real);
    if (strncmp(path, "keys/", 5) != 0 || !vb_name_parse(path + 5, &want))
        return vb_fail(err, VB_E_CORRUPT, "not the name of a key");
    if (!vb_name_equal(&want, &real))
        return vb_fail(err, VB_E_CORRUPT, "its bytes do not match its name");
    return decode(bytes.data, bytes.len, repo_id, f, err);
}

static int add_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

static int key_paths(struct vb_backend *b, struct vb_strv *paths, struct vb_error *err)
{
    int result = vb_backend_list(b, "keys/", add_path, paths, err);
    vb_strv_sort(paths);
    return result;
}

/* ---- opening ---- */

static struct vb_keys *unseal(const struct key_file *f, const char *repo_id, const struct vb_buf *password)
{
    uint8_t wrap[VB_KEY_LEN];
    VB_CLEANUP(vb_secret_buf_clear) struct vb_buf plain = VB_BUF_INIT;
    struct vb_keys *k = NULL;
    if (wrapping_key(password, repo_id, f, wrap, NULL) < 0)
        return NULL;
    struct vb_aead *a = vb_aead_new();
    int result = vb_aead_open(a, wrap, 0, f->bound, strlen(f->bound), f->sealed.data, f->sealed.len, &plain, NULL);
    if (result == 0 && !f->key.host && plain.len == VB_KEY_LEN)
        k = vb_keys_from_root(repo_id, true, plain.data);
    else if (result == 0 && f->key.host && plain.len == VB_KEYS_APPEND_LEN)
        k = vb_keys_from_append(repo_id, plain.data);
    vb_aead_free(a);
    vb_wipe(wrap, sizeof wrap);
    return k;
}

struct vb_keys *vb_repo_key_open(struct vb_backend *b, const char *repo_id, const struct vb_repo_auth *auth,
                                 char key_id[VB_GUID_LEN + 1], struct vb_error *err)
{
    VB_CLEANUP(vb_secret_buf_clear) struct vb_buf password = VB_BUF_INIT;
    VB_AUTO_ERROR damage = VB_ERROR_INIT;
    struct vb_strv paths = { 0 };
    struct vb_keys *k = NULL;
    if (key_paths(b, &paths, err) < 0 || password_key(auth, false, &password, err) < 0) {
        vb_strv_clear(&paths);
        return NULL;
    }
    for (size_t i = 0; i < paths.n && !k; i++) {
        VB_CLEANUP(key_file_clear) struct key_file f = { .log2_n = 0 };
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (read_file(b, paths.v[i], repo_id, &f, &why) < 0) {
            vb_context(&why, "'%s/%s'", b->location, paths.v[i]);
            vb_error_clear(&damage);
            vb_error_move(&damage, &why);
        } else if ((k = unseal(&f, repo_id, &password))) {
            memcpy(key_id, f.key.id, VB_GUID_LEN + 1);
        }
    }
    if (!k && damage.code != VB_OK) {
        vb_error_move(err, &damage);
    } else if (!k) {
        vb_fail(err, VB_E_ACCESS_DENIED, "'%s': %s", b->location,
                paths.n ? "wrong password, or no key with this password" : "the repository is encrypted and has no keys");
        vb_hint(err, paths.n ? "check where the password comes from" : "bring back the directory keys/ from a copy");
    }
    vb_strv_clear(&paths);
    return k;
}

/* ---- the verbs ---- */

int vb_repo_key_list(struct vb_repo *r, vb_repo_key_fn *fn, void *arg, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = key_paths(r->backend, &paths, err);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        VB_CLEANUP(key_file_clear) struct key_file f = { .log2_n = 0 };
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        bool ok = read_file(r->backend, paths.v[i], r->info.id, &f, &why) == 0;
        f.key.current = ok && strcmp(f.key.id, r->key_id) == 0;
        result = fn(arg, paths.v[i], &f.key, ok ? NULL : &why);
    }
    vb_strv_clear(&paths);
    return result;
}

static int need_root(const struct vb_repo *r, struct vb_error *err)
{
    if (!r->info.encrypted) {
        vb_fail(err, VB_E_BAD_STATE, "'%s': the repository is not encrypted and has no keys", r->backend->location);
        return -1;
    }
    if (vb_keys_root(r->keys))
        return 0;
    vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key cannot manage keys");
    vb_hint(err, "use the password of a key that reads");
    return -1;
}

int vb_repo_secret(struct vb_repo *r, uint8_t *out, struct vb_error *err)
{
    if (need_root(r, err) < 0)
        return -1;
    memcpy(out, vb_keys_root(r->keys), VB_KEY_LEN);
    return 0;
}

int vb_repo_key_add(struct vb_repo *r, const struct vb_repo_key_params *p, char id[VB_GUID_LEN + 1],
                    struct vb_error *err)
{
    if (need_root(r, err) < 0)
        return -1;
    vb_guid_new(id);
    if (vb_repo_key_write(r->backend, r->info.id, r->keys, id, p, NULL, err) < 0)
        return -1;
    return vb_backend_barrier(r->backend, err);
}

struct search {
    const char *which;
    char id[VB_GUID_LEN + 1];
    struct vb_strv paths;   /* of files with that id */
    unsigned others, ids;   /* keys that read besides; different ids that fit */
    bool found_root;
    char *label;            /* of the last one */
};

static int look(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage)
{
    struct search *s = arg;
    if (damage)
        return 0;
    if (strncasecmp(key->id, s->which, strlen(s->which)) != 0) {
        s->others += !key->host;
        return 0;
    }
    if (!s->ids || strcmp(s->id, key->id) != 0)
        s->ids++;
    memcpy(s->id, key->id, sizeof s->id);
    s->found_root = !key->host;
    free(s->label);
    s->label = vb_strdup(key->label);
    vb_strv_add(&s->paths, path);
    return 0;
}

static int remove_paths(struct vb_repo *r, const struct vb_strv *paths, struct vb_error *err)
{
    for (size_t i = 0; i < paths->n; i++)
        if (vb_backend_remove(r->backend, paths->v[i], err) < 0)
            return -1;
    return vb_backend_barrier(r->backend, err);
}

int vb_repo_key_remove(struct vb_repo *r, const char *which, struct vb_error *err)
{
    struct search s = { .which = which };
    if (need_root(r, err) < 0)
        return -1;
    if (strlen(which) < 4)
        return vb_fail(err, VB_E_USAGE, "'%s': at least 4 characters of a key's id are needed", which);
    /* Two who remove at once must not take the last two away. */
    if (vb_backend_lock(r->backend, "removing a key", err) < 0)
        return -1;
    int result = vb_repo_key_list(r, look, &s, err);
    if (result == 0 && s.ids == 0)
        result = vb_fail(err, VB_E_NOT_FOUND, "'%s': no such key", which);
    else if (result == 0 && s.ids > 1)
        result = vb_fail(err, VB_E_USAGE, "'%s': several keys begin so", which);
    else if (result == 0 && s.found_root && s.others == 0) {
        result = vb_fail(err, VB_E_GUARD, "'%s': the last key that reads is not removed", s.id);
        vb_hint(err, "add another first: vbackup key add");
    }
    if (result == 0)
        result = remove_paths(r, &s.paths, err);
    vb_backend_unlock(r->backend);
    vb_strv_clear(&s.paths);
    free(s.label);
    return result;
}

int vb_repo_key_change(struct vb_repo *r, const struct vb_repo_key_params *p, struct vb_error *err)
{
    struct search s = { .which = r->key_id };
    struct vb_repo_key_params q = *p;
    q.host = NULL;
    if (need_root(r, err) < 0)
        return -1;
    int result = vb_repo_key_list(r, look, &s, err);
    if (!q.label)
        q.label = s.label;
    else if (!*q.label)
        q.label = NULL;
    /* The new one first: at no time is there none. */
    if (result == 0)
        result = vb_repo_key_write(r->backend, r->info.id, r->keys, r->key_id, &q, NULL, err);
    if (result == 0)
        result = vb_backend_barrier(r->backend, err);
    if (result == 0)
        result = remove_paths(r, &s.paths, err);
    vb_strv_clear(&s.paths);
    free(s.label);
    return result;
}
