/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/sftp.h - the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02), as far as a store needs it:
 * requests are sent without waiting, replies are taken as they come.
 */
#ifndef VB_STORE_SFTP_H
#define VB_STORE_SFTP_H

#include "base/buf.h"
#include "base/error.h"
#include "store/link.h"

#define VB_SFTP_PACKET_MAX (256u * 1024) /* of what the server may send */

enum vb_sftp_type {
    VB_SFTP_INIT = 1, VB_SFTP_VERSION = 2, VB_SFTP_OPEN = 3, VB_SFTP_CLOSE = 4, VB_SFTP_READ = 5, VB_SFTP_WRITE = 6,
    VB_SFTP_LSTAT = 7, VB_SFTP_OPENDIR = 11, VB_SFTP_READDIR = 12, VB_SFTP_REMOVE = 13, VB_SFTP_MKDIR = 14,
    VB_SFTP_STAT = 17, VB_SFTP_RENAME = 18, VB_SFTP_STATUS = 101, VB_SFTP_HANDLE = 102, VB_SFTP_DATA = 103,
    VB_SFTP_NAME = 104, VB_SFTP_ATTRS = 105, VB_SFTP_EXTENDED = 200, VB_SFTP_EXTENDED_REPLY = 201
};
enum vb_sftp_status { VB_SFTP_OK = 0, VB_SFTP_EOF = 1, VB_SFTP_NO_SUCH_FILE = 2, VB_SFTP_DENIED = 3 };
#define VB_SFTP_FLAG_READ 1u
#define VB_SFTP_FLAG_WRITE 2u
#define VB_SFTP_FLAG_CREATE 8u
#define VB_SFTP_FLAG_TRUNCATE 16u

struct vb_sftp_attrs {
    bool has_size, has_mode, has_time;
    uint64_t size;
    uint32_t mode, mtime;
};
/* One reply; r is what follows the id and is borrowed until the next one is taken. */
struct vb_sftp_reply {
    uint8_t type;
    uint32_t id;
    struct vb_reader r;
};

struct vb_sftp {
    struct vb_link *link;
    struct vb_buf in, out;
    size_t in_at;
    uint32_t next_id, waiting; /* requests whose replies have not come */
    bool fsync, hardlink, limits, statvfs; /* extensions that the server offers */
    uint32_t read_max, write_max; /* data in one request */
    bool broken;
};

/* Takes the link over, greets and waits for the answer. */
struct vb_sftp *vb_sftp_open(struct vb_link *l, struct vb_error *err);
void vb_sftp_free(struct vb_sftp *s); /* NULL ok */

/* Requests; each returns its id.  Nothing is sent before the next vb_sftp_next. */
uint32_t vb_sftp_path(struct vb_sftp *s, enum vb_sftp_type type, const char *path); /* STAT LSTAT OPENDIR REMOVE */
uint32_t vb_sftp_mkdir(struct vb_sftp *s, const char *path, uint32_t mode);
uint32_t vb_sftp_open_file(struct vb_sftp *s, const char *path, uint32_t flags, uint32_t mode);
uint32_t vb_sftp_handle(struct vb_sftp *s, enum vb_sftp_type type, const struct vb_buf *handle); /* CLOSE READDIR */
uint32_t vb_sftp_read(struct vb_sftp *s, const struct vb_buf *handle, uint64_t offset, uint32_t n);
uint32_t vb_sftp_write(struct vb_sftp *s, const struct vb_buf *handle, uint64_t offset, const void *p, size_t n);
uint32_t vb_sftp_rename(struct vb_sftp *s, const char *from, const char *to);
uint32_t vb_sftp_fsync(struct vb_sftp *s, const struct vb_buf *handle);   /* fsync@openssh.com */
uint32_t vb_sftp_link(struct vb_sftp *s, const char *from, const char *to); /* hardlink@openssh.com */
uint32_t vb_sftp_free_space(struct vb_sftp *s, const char *path);          /* statvfs@openssh.com */

/* The next reply, whichever it answers.  -1: the connection is of no use any more. */
int vb_sftp_next(struct vb_sftp *s, struct vb_sftp_reply *reply, struct vb_error *err);
/* The reply to the only request that is waiting. */
int vb_sftp_answer(struct vb_sftp *s, uint32_t id, struct vb_sftp_reply *reply, struct vb_error *err);

/* Reading replies; false or -1: not what it should be. */
/* 0 for a status of OK; else -1 with the error it stands for. */
int vb_sftp_check(struct vb_sftp *s, const struct vb_sftp_reply *reply, const char *what, struct vb_error *err);
/* The code of a status reply; -1: it is none. */
int vb_sftp_status(const struct vb_sftp_reply *reply);
bool vb_sftp_get_attrs(struct vb_reader *r, struct vb_sftp_attrs *a);
bool vb_sftp_get_string(struct vb_reader *r, const unsigned char **p, size_t *n);
/* One whole packet from the front: 1, 0 more bytes are needed, -1 broken.  The entry point of the fuzz target. */
int vb_sftp_parse(const unsigned char *p, size_t n, size_t *used, struct vb_sftp_reply *reply);
/* The names of a NAME reply; false: damaged. */
typedef bool vb_sftp_name_fn(void *arg, const unsigned char *name, size_t n, const struct vb_sftp_attrs *a);
bool vb_sftp_names(const struct vb_sftp_reply *reply, vb_sftp_name_fn *fn, void *arg);

#endif
