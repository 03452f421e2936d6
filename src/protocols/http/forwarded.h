/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a peer is told of who asks, where it is more than X-Forwarded-* of a client that nobody speaks
 * for: lists that go on, and Forwarded (RFC 7239).
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_FORWARDED_H
#define MILLRACE_PROTOCOLS_HTTP_FORWARDED_H

#include "core/exchange.h"

/*
 * Edits ex->question as its settings say, before it is written to a peer: lists of a trusted connection go on
 * with its address behind, Forwarded is added where it is wanted, and X-Forwarded-* are marked as
 * refused where they are not. What a step has set or removed stays so. Doing it again changes
 * nothing. `host` is what the client asked for.
 */
void forwarded_tell(struct exchange *ex, struct slice host);

#endif
