/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that serves: given sockets, logs and bundles by the master over
 * one channel, it builds the snapshot, runs the engine, and shows that it is alive.
 */
#ifndef MILLRACE_SERVER_WORKER_H
#define MILLRACE_SERVER_WORKER_H

#include "base/log.h"
#include "server/shared.h"
#include "server/bundle.h"

enum { WORKER_BEAT = 1000 };             /* ms between two signs of life at the latest */

/* What a worker is born with: the rest comes over the channel. */
struct worker_start {
	uint32_t number;                /* from 0; shown from 1 */
	int channel;
	int error_fd;                   /* of the error log; 2 or its own */
	enum log_level error_level;
	bool background;                /* its standard descriptors go once it serves */
	struct shared shared;           /* becomes the worker's */
	struct worker_shared *mine;     /* in it */
	struct bundle_identity identity;
	uint64_t descriptors;
};

/*
 * Serves to the end: the exit status. All signals are blocked when it is called. Other descriptors
 * than those above are closed.
 */
int worker_run(const struct worker_start *start);

#endif
