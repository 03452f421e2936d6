/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When memory runs short: by the budget that `memory` gives a worker, which is
 * looked at ten times a second, or because an allocation has failed. What is
 * new is sent away first; when nothing is left, those who hold most go.
 */
#ifndef MILLRACE_CORE_SHORTAGE_H
#define MILLRACE_CORE_SHORTAGE_H

#include "core/engine.h"

/* The snapshot is another: its budget holds from now on. */
void shortage_adopt(struct engine *e);
/*
 * Between two passes, when memory_is_short: gives back what is idle, and ends
 * connections until the reserve is whole again.
 */
void shortage_relieve(struct engine *e);
void shortage_close(struct engine *e);

#endif
