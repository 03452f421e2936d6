/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the master asks a worker for: a file without a name that begins with the order, behind which the
 * worker writes what it has to say. Who is asked writes at once, and never waits.
 */
#ifndef MILLRACE_SERVER_CONTROL_ORDER_H
#define MILLRACE_SERVER_CONTROL_ORDER_H

#include "core/engine.h"
#include "server/control_request.h"

enum { CONTROL_WORKER_NAME = 32 };

enum control_order_kind { ORDER_CONNECTIONS = 1, ORDER_KICK, ORDER_SNAPSHOTS };

struct control_order {
	uint32_t kind;                  /* enum control_order_kind */
	bool now;                       /* KICK: in no order */
	uint64_t until;                 /* clock_ms(): later, nobody waits for it, and it is not done */
	char worker[CONTROL_WORKER_NAME];       /* what stands in front of the numbers of its connections */
	uint64_t number;                /* KICK: of a connection */
	struct control_filter filter;   /* CONNECTIONS */
};

/* Right behind it, then rows (control_report.h). */
struct control_answer {
	uint64_t matched;               /* how many there are, shown or not */
	uint64_t size;                  /* bytes of rows */
};

/* Follows the order in that file; the descriptor is closed. */
void control_follow(struct engine *e, int fd);

#endif
