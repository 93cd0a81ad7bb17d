/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/kit.h - what a lost requester is made anew from: its configuration and the host keys it knows, as a document
 * beside each backup, and the sheet of paper that opens the repository without any of its keys.
 */
#ifndef VB_REQUESTER_KIT_H
#define VB_REQUESTER_KIT_H

#include "base/buf.h"
#include "requester/settings.h"

#define VB_KIT_DOCUMENT "requester"
#define VB_KIT_MAX ((size_t)8 << 20)

/* JSON: the configuration files and the files of known host keys, as text.  Private keys and passwords are not in it: a
 * value that looks like one is left out, and what must be brought from elsewhere is named. */
void vb_kit_make(const struct vb_settings *s, struct vb_buf *out);

/* A sheet's lines of a secret, each with a checksum that also tells when lines were mixed up or belong to another
 * repository.  The form is for reading aloud and typing: no letter looks like a digit. */
#define VB_SHEET_SECRET 32u
void vb_sheet_print(const char *id, const char *location, const char *machine, const char *when,
                    const uint8_t secret[VB_SHEET_SECRET], struct vb_buf *out); /* secret NULL: none is needed */
struct vb_sheet {
    char id[37];
    char *location;
    bool has_secret;
    uint8_t secret[VB_SHEET_SECRET];
};
/* What was typed: case, blanks and '-' do not matter, nor do lines that are not ours.  VB_E_USAGE names the line that is
 * missing or wrong. */
int vb_sheet_read(const char *text, struct vb_sheet *out, struct vb_error *err);
void vb_sheet_clear(struct vb_sheet *s);

#endif
