/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stand-in for the road: an exchange whose connection never was, with an engine round it, so that what is
 * asked of questions can be asked of one that nobody sent. It has no loop, no socket and no snapshot.
 */
#ifndef MILLRACE_SERVER_STAGE_H
#define MILLRACE_SERVER_STAGE_H

#include "core/exchange.h"

struct stage {
	struct exchange ex;
	struct engine engine;
	struct worker_shared shared;
	struct conn client;
	struct addr local;
};

/* ex.src is `client`'s, without an address; ex.client is NULL. */
struct stage *stage_open(struct arena *a);
void stage_close(struct stage *s);
/* Its client is connected to that listener, from there. */
void stage_connect(struct stage *s, const struct listener *l, const struct addr *from,
    const struct addr *to);

#endif
