/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From bytes to a question that exchange_question takes: what h1.c does with each head, and `server
 * explain` with one that nobody sent.
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_H1_QUESTION_H
#define MILLRACE_PROTOCOLS_HTTP_H1_QUESTION_H

#include "core/hops.h"
#include "core/settings.h"
#include "protocols/http/fields.h"
#include "protocols/http/h1_parse.h"
#include "protocols/http/uri.h"

/* As h1_parse_question, and its target is normalised. */
MUST_USE static inline ssize_t
h1_take_question(struct message *m, struct arena *a, struct slice in, const struct h1_limits *l,
    enum reason *why)
{
	*why = REASON_BAD_MESSAGE;

	ssize_t n = h1_parse_question(m, a, in, l, why);

	if (n > 0 && (!uri_normalise(m, a, why) ||
	    unlikely(hops_matter(m) && !hops_are_sound(m))))
		return -1;
	return n;
}

/* What is between the client and us is marked as removed. */
static inline void
h1_strip_question(struct message *m)
{
	fields_strip(m);
	/* what is expected is expected of us (RFC 9110 10.1.1) */
	if ((m->known >> KNOWN_EXPECT & 1) != 0)
		message_remove(m, KNOWN_EXPECT, SLICE_EMPTY);
}

static inline struct h1_limits
h1_limits_of(const struct listener_settings *s)
{
	return (struct h1_limits){ s->uri_max, s->field_max, s->head_max,
		(size_t)s->field_count_max };
}

#endif
