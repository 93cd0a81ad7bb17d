/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/text.c - names and numbers at the border.
 */
#include <config.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void vb_guid_new(char out[VB_GUID_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char r[16];
    size_t got = 0, at = 0;
    while (got < sizeof r) {
        ssize_t n = getrandom(r + got, sizeof r - got, 0);
        if (n > 0) {
            got += (size_t)n;
        }
    }
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof r; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out[at++] = '-';
        }
        out[at++] = hex[r[i] >> 4];
        out[at++] = hex[r[i] & 15];
    }
    out[at] = 0;
}

bool vb_guid_valid(const char *s)
{
    if (!s || strlen(s) != VB_GUID_LEN) {
        return false;
    }
    for (size_t i = 0; i < VB_GUID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !is_hex(s[i])) {
            return false;
        }
    }
    return true;
}

bool vb_guid_equal(const char *a, const char *b)
{
    return a && b ? strcasecmp(a, b) == 0 : a == b;
}

/* Digits at s; *end is where they stop.  False without a digit or on overflow. */
static bool parse_digits(const char *s, const char **end, uint64_t *v)
{
    uint64_t t = 0;
    if (!is_digit(*s)) {
        return false;
    }
    for (; is_digit(*s); s++) {
        if (__builtin_mul_overflow(t, 10, &t) || __builtin_add_overflow(t, (uint64_t)(*s - '0'), &t)) {
            return false;
        }
    }
    *end = s;
    *v = t;
    return true;
}

bool vb_parse_u64(const char *s, uint64_t *v)
{
    const char *end;
    uint64_t t = 0;
    if (!s) {
        return false;
    }
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        size_t n = strlen(s + 2);
        if (n == 0 || n > 16) {
            return false;
        }
        for (const char *p = s + 2; *p; p++) {
            if (!is_hex(*p)) {
                return false;
            }
            t = t << 4 | (uint64_t)(is_digit(*p) ? *p - '0' : (*p | 32) - 'a' + 10);
        }
    } else if (!parse_digits(s, &end, &t) || *end) {
        return false;
    }
    *v = t;
    return true;
}

bool vb_parse_u32(const char *s, uint32_t *v)
{
    uint64_t t;
    if (!vb_parse_u64(s, &t) || t > UINT32_MAX) {
        return false;
    }
    *v = (uint32_t)t;
    return true;
}

bool vb_parse_bool(const char *s, bool *v)
{
    static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off", "0" };
    for (size_t i = 0; s && i < VB_COUNT(yes); i++) {
        if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
            *v = strcmp(s, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

bool vb_parse_duration_ms(const char *s, uint64_t *ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    const char *end;
    uint64_t t;
    if (!s || !parse_digits(s, &end, &t)) {
        return false;
    }
    for (size_t i = 0; i < VB_COUNT(units); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            return !__builtin_mul_overflow(t, units[i].ms, ms);
        }
    }
    return false;
}

bool vb_parse_size(const char *s, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    const char *end;
    uint64_t t;
    if (!s || !parse_digits(s, &end, &t)) {
        return false;
    }
    if (!*end) {
        *bytes = t;
        return true;
    }
    const char *u = strchr(units, *end);
    if (!u || end[1]) {
        return false;
    }
    return !__builtin_mul_overflow(t, UINT64_C(1) << (10 * (u - units + 1)), bytes);
}

bool vb_host_text_valid(const char *s)
{
    if (!s || !*s || *s == '-' || *s == '.' || strlen(s) > 253) {
        return false;
    }
    for (; *s; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
        if (!letter && !is_digit(*s) && !strchr("._:-", *s)) {
            return false;
        }
    }
    return true;
}

/* --- UTF-8 --- */

/* Length of the well-formed character at p (at most n bytes), 0 if there is none; *cp is its number. */
static size_t utf8_char(const unsigned char *p, size_t n, uint32_t *cp)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (n == 0) {
        return 0;
    }
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 :
                 p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n) {
        return 0;
    }
    uint32_t c = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[len] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff) {
        return 0;
    }
    *cp = c;
    return len;
}

bool vb_utf8_valid(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    while (n > 0) {
        uint32_t cp;
        size_t k = utf8_char(p, n, &cp);
        if (k == 0) {
            return false;
        }
        p += k;
        n -= k;
    }
    return true;
}

/* C0, DEL, C1, and the marks that turn the direction of what is shown. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

char *vb_escape_terminal(const char *s, size_t n)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    const unsigned char *p = (const unsigned char *)s;
    while (n > 0) {
        uint32_t cp = 0;
        size_t k = utf8_char(p, n, &cp);
        bool plain = k > 0 && !is_control(cp);
        if (k == 0) {
            k = 1;
        }
        if (plain) {
            vb_buf_add(&b, p, k);
        }
        for (size_t i = 0; !plain && i < k; i++) {
            vb_buf_addf(&b, "\\x%02X", p[i]);
        }
        p += k;
        n -= k;
    }
    return vb_buf_take_str(&b);
}

/* --- times and sizes --- */

char *vb_time_iso(uint64_t wall_ms)
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900) {
        return vb_printf("@%" PRIu64, wall_ms / 1000);
    }
    return vb_printf("%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
}

static int two_digits(const char *s)
{
    return (s[0] - '0') * 10 + (s[1] - '0');
}

bool vb_time_parse_iso(const char *s, uint64_t *wall_ms)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    if (!s || strlen(s) != sizeof form - 1) {
        return false;
    }
    for (size_t i = 0; form[i]; i++) {
        if (form[i] == 'd' ? !is_digit(s[i]) : s[i] != form[i]) {
            return false;
        }
    }
    struct tm tm = {
        .tm_year = two_digits(s) * 100 + two_digits(s + 2) - 1900, .tm_mon = two_digits(s + 5) - 1,
        .tm_mday = two_digits(s + 8), .tm_hour = two_digits(s + 11), .tm_min = two_digits(s + 14),
        .tm_sec = two_digits(s + 17),
    };
    struct tm want = tm;
    time_t t = timegm(&tm);
    /* timegm brings 31 April to 1 May: what does not stay as it was, was no date */
    if (t < 0 || tm.tm_year != want.tm_year || tm.tm_mon != want.tm_mon || tm.tm_mday != want.tm_mday ||
        tm.tm_hour != want.tm_hour || tm.tm_min != want.tm_min || tm.tm_sec != want.tm_sec) {
        return false;
    }
    *wall_ms = (uint64_t)t * 1000;
    return true;
}

char *vb_size_human(uint64_t bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    if (bytes < 1024) {
        return vb_printf("%" PRIu64 " B", bytes);
    }
    size_t u = 0;
    double v = (double)bytes / 1024;
    while (v >= 1023.95 && u + 1 < VB_COUNT(units)) {
        v /= 1024;
        u++;
    }
    return vb_printf("%.1f %s", v, units[u]);
}

char *vb_duration_human(uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (ms < 1000) {
        return vb_printf("%" PRIu64 " ms", ms);
    }
    if (s < 60) {
        return vb_printf("%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
    }
    if (s < 3600) {
        return vb_printf("%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    }
    if (s < 86400) {
        return vb_printf("%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
    }
    return vb_printf("%" PRIu64 " d %" PRIu64 " h", s / 86400, s % 86400 / 3600);
}

/* --- patterns and paths --- */

static size_t one_char(const char *s)
{
    uint32_t cp;
    size_t k = utf8_char((const unsigned char *)s, strlen(s), &cp);
    return k ? k : 1;
}

bool vb_filespec_match(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = name;
        } else if (*pattern == '?') {
            pattern++;
            name += one_char(name);
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            retry += one_char(retry);
            name = retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return !*pattern;
}

char *vb_path_join(const char *a, const char *b)
{
    if (*b == '/' || !*a) {
        return vb_strdup(b);
    }
    if (!*b) {
        return vb_strdup(a);
    }
    return vb_printf("%s%s%s", a, a[strlen(a) - 1] == '/' ? "" : "/", b);
}

char *vb_path_clean(const char *path)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!*path) {
        return vb_strdup("");
    }
    if (*path == '/') {
        vb_buf_add_char(&b, '/');
    }
    for (const char *p = path;;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (n == 0) {
            break;
        }
        if (n != 1 || *p != '.') {
            if (b.len > 0 && b.data[b.len - 1] != '/') {
                vb_buf_add_char(&b, '/');
            }
            vb_buf_add(&b, p, n);
        }
        p += n;
    }
    if (b.len == 0) {
        vb_buf_add_char(&b, '.');
    }
    return vb_buf_take_str(&b);
}

bool vb_path_below(const char *path, const char *root)
{
    VB_AUTO_FREE char *p = vb_path_clean(path), *r = vb_path_clean(root);
    size_t n = strlen(r);
    if (strcmp(r, "/") == 0) {
        n = 0;
        if (*p != '/') {
            return false;
        }
    }
    if (strncmp(p, r, n) != 0 || (p[n] && p[n] != '/')) {
        return false;
    }
    /* ".." behind the root may lead out of it again */
    for (const char *q = p + n; (q = strstr(q, "/..")); q += 3) {
        if (q[3] == '/' || !q[3]) {
            return false;
        }
    }
    return true;
}

/* Half a byte at a time: a table that is small, constant and needs no start-up. */
/* Eight tables, so that eight bytes are taken at once (the first is the usual one of the reflected polynomial). */
static uint32_t crc_tables[8][256];

__attribute__((constructor)) static void make_crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        crc_tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_tables[t][i] = crc_tables[t - 1][i] >> 8 ^ crc_tables[0][crc_tables[t - 1][i] & 255];
}

uint32_t vb_crc32(const void *p, size_t n)
{
    const unsigned char *b = p;
    uint32_t c = UINT32_MAX;
    for (; n >= 8; n -= 8, b += 8) {
        uint32_t a = c ^ (b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
        c = crc_tables[7][a & 255] ^ crc_tables[6][a >> 8 & 255] ^ crc_tables[5][a >> 16 & 255] ^
            crc_tables[4][a >> 24] ^ crc_tables[3][b[4]] ^ crc_tables[2][b[5]] ^ crc_tables[1][b[6]] ^
            crc_tables[0][b[7]];
    }
    while (n--)
        c = crc_tables[0][(c ^ *b++) & 255] ^ c >> 8;
    return ~c;
}
