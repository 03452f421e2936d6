/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Trailers that go on: what a reader behind us would take for a part of the head
 * does not (RFC 9110 6.5.1), whatever it is called.
 */
#include "protocols/http/trailers.h"

#include "protocols/http/h1_parse.h"

/* What known_find knows belongs into a head, and so do these, and names that begin with the others. */
static const struct slice never[] = {
	SLICE("age"), SLICE("allow"), SLICE("alt-svc"), SLICE("authentication-info"),
	SLICE("clear-site-data"), SLICE("content-disposition"), SLICE("content-encoding"),
	SLICE("content-language"), SLICE("content-location"), SLICE("content-range"),
	SLICE("expires"), SLICE("http2-settings"), SLICE("pragma"), SLICE("range"),
	SLICE("refresh"), SLICE("retry-after"), SLICE("strict-transport-security"), SLICE("vary"),
	SLICE("www-authenticate"),
};

static const struct slice never_beginnings[] = {
	SLICE("accept-"), SLICE("access-control-"), SLICE("content-security-"), SLICE("if-"),
	SLICE("proxy-"), SLICE("sec-"), SLICE("x-forwarded-"),
};

static bool
may_trail(struct slice name, enum known known)
{
	/* CGI reads `_` as `-`: it may be any name */
	if (known != KNOWN_NONE || slice_find(name, '_', 0) < name.n)
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(never); i++)
		if (slice_equal_nocase(name, never[i]))
			return false;
	for (size_t i = 0; i < ARRAY_COUNT(never_beginnings); i++)
		if (slice_starts_nocase(name, never_beginnings[i]))
			return false;
	return true;
}

ssize_t
trailers_take(struct message *m, struct arena *a, struct slice in)
{
	struct message_field fields[H1_TRAILERS];
	struct message section = { .fields = fields, .field_room = H1_TRAILERS };
	ssize_t n = h1_parse_trailers(&section, a, in);
	struct message_edit **end = &m->trailers;

	for (unsigned i = 0; n > 0 && i < section.field_count; i++) {
		const struct message_field *f = &fields[i];
		struct slice name = message_field_name(&section, f);

		if (!may_trail(name, (enum known)f->known))
			continue;

		struct message_edit *e = arena_alloc(a, sizeof(*e));

		*e = (struct message_edit){ arena_slice(a, name),
			arena_slice(a, message_field_value(&section, f)), NULL };
		*end = e;
		end = &e->next;
	}
	return n;
}

size_t
trailers_room(const struct message *m)
{
	size_t room = 2;

	for (const struct message_edit *e = m->trailers; e != NULL; e = e->next)
		room += e->name.n + e->value.n + 4;
	return room;
}

void
trailers_put(struct builder *b, const struct message *m)
{
	for (const struct message_edit *e = m->trailers; e != NULL; e = e->next) {
		builder_slice_put(b, e->name);
		BUILDER_LITERAL(b, ": ");
		builder_slice_put(b, e->value);
		BUILDER_LITERAL(b, "\r\n");
	}
	BUILDER_LITERAL(b, "\r\n");
}
