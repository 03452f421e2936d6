/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who a client is, by the lists that the proxies in front of us wrote: each puts behind what came
 * who had connected to it. So the last that is no trusted proxy is the client, and what stands
 * before it is only its own word. Pure functions: no exchange, no configuration.
 */
#ifndef MILLRACE_CORE_CLIENT_WALK_H
#define MILLRACE_CORE_CLIENT_WALK_H

#include "base/addr.h"

/* The caller sets the first two, and reads the values of all fields of the name, first to last. */
struct client_walk {
	const struct network *trusted;
	size_t trusted_count;
	/*
	 * who it is by what was read so far; n 0: nobody, since there was nothing or what was read
	 * last is no address
	 */
	struct addr client;
};

bool client_is_trusted(const struct network *trusted, size_t count, const struct addr *a);
/*
 * 10.0.0.1, 10.0.0.1:80, ::1, [::1], [::1]:80 (port 0 where there is none), and `unix:` for who
 * came by a Unix socket. No zone: it means something to its own machine only.
 */
MUST_USE bool client_address(struct slice text, struct addr *out);
/* A, B, C (X-Forwarded-For); one address alone (X-Real-IP) is a list, too. */
void client_walk_list(struct client_walk *w, struct slice value);
/* for=A;proto=http, for="[B]:80" (RFC 7239 4). */
void client_walk_forwarded(struct client_walk *w, struct slice value);

#endif
