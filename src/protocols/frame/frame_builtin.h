/* SPDX-License-Identifier: BSD-2-Clause */
/* The protocols that are declared here: what a configuration could say, too, but need not. */
#ifndef MILLRACE_PROTOCOLS_FRAME_FRAME_BUILTIN_H
#define MILLRACE_PROTOCOLS_FRAME_FRAME_BUILTIN_H

#include "protocols/frame/declared.h"

/* The nth of them, in that arena; NULL: there are no more. */
struct declared *frame_builtin(struct arena *a, size_t n);

#endif
