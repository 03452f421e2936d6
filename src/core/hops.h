/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Max-Forwards (RFC 9110 7.6.2): OPTIONS and TRACE say how often they may still be forwarded, so
 * that who asks can see where a chain of proxies is broken. With other methods the field means
 * nothing.
 */
#ifndef MILLRACE_CORE_HOPS_H
#define MILLRACE_CORE_HOPS_H

#include "core/message.h"

struct exchange;

static inline bool
hops_matter(const struct message *m)
{
	return (m->known >> KNOWN_MAX_FORWARDS & 1) != 0 &&
	       (m->method == METHOD_OPTIONS || m->method == METHOD_TRACE);
}

/* Where they matter: one number. */
MUST_USE bool hops_are_sound(const struct message *m);
/* Where they matter: hops_take would not answer. */
bool hops_are_left(const struct message *m);
/*
 * Where they matter and are sound: one hop less, once an exchange. False: there was none left, and
 * it was answered here. No TRACE is: it would reflect what the client and the proxies before us
 * have in its head.
 */
MUST_USE bool hops_take(struct exchange *ex);

#endif
