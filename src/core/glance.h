/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker is at, for who looks at one that hangs: it reads no orders then, but a signal reaches
 * it, and whoever has interrupted it can say what. On the road that costs a store where an exchange
 * is entered and where bytes are read.
 */
#ifndef MILLRACE_CORE_GLANCE_H
#define MILLRACE_CORE_GLANCE_H

#include <signal.h>

#include "core/engine.h"

/* Ignored by who does not know it. It goes to the thread that the loop runs on. */
enum { GLANCE_SIGNAL = SIGURG };

/*
 * From here on the signal has it written to the engine's shared->tale, which is an answer to what
 * shared->asked was. One engine a process.
 */
MUST_USE bool glance_open(struct engine *e);
void glance_close(void);

#endif
