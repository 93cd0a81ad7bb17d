/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire/protocol.c - words of numbers that travel. */
#include "config.h"
#include "wire/protocol.h"

const char *vb_repl_call_word(enum vb_repl_call c)
{
    switch (c) {
    case VB_REPL_SIGNATURE: return "signature";
    case VB_REPL_SERIALIZE: return "serialize";
    case VB_REPL_PROPAGATE: return "propagate";
    case VB_REPL_DESERIALIZE: return "deserialize";
    case VB_REPL_PROPAGATE2: return "propagate2";
    case VB_REPL_COUNT: break;
    }
    return "unknown call";
}
