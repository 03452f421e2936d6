/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A list that came is joined into one field: there are backends that look at the first or at the
 * last of several only.
 */
#include "protocols/http/forwarded.h"

#define BIT(known) (UINT64_C(1) << (known))

/* A step has said what the peer gets of it, or we did at an earlier attempt. */
static bool
is_settled(const struct message *m, enum known known)
{
	if ((m->refused & BIT(known)) != 0)
		return true;
	for (const struct message_edit *e = m->edits; e != NULL; e = e->next)
		if (slice_equal_nocase(e->name, known_names[known]))
			return true;
	return false;
}

/* How many bytes the values that came take, each with ", " behind. */
static size_t
came_room(const struct message *m, enum known known)
{
	struct slice value;
	size_t room = 0;

	for (size_t i = 0; message_find(m, known, SLICE_EMPTY, i, &value); i++)
		room += value.n + 2;
	return room;
}

/* They go into the list, and so are no fields of their own any more. */
static void
take_came(struct message *m, enum known known, struct builder *list)
{
	for (unsigned i = 0; i < m->field_count; i++) {
		struct message_field *f = &m->fields[i];

		if (f->known != known || f->removed)
			continue;
		f->removed = true;
		if (f->value_n == 0)
			continue;
		builder_slice_put(list, message_field_value(m, f));
		BUILDER_LITERAL(list, ", ");
	}
}

/* ------------------------------------------------------------------ X-Forwarded-For */

/* Without a list of its own the connection was believed by another field: its client comes first. */
static void
tell_x_for(struct exchange *ex)
{
	struct message *m = &ex->question;
	size_t room = came_room(m, KNOWN_X_FORWARDED_FOR) + 2 * ADDR_TEXT + 2;
	struct builder list = builder_on(arena_alloc(&ex->arena, room), room);
	const struct addr *connection = ex->connection_src != NULL ? ex->connection_src : ex->src;
	char text[ADDR_TEXT];

	take_came(m, KNOWN_X_FORWARDED_FOR, &list);
	if (list.n == 0 && connection != ex->src) {
		builder_slice_put(&list, addr_print_host(ex->src, text));
		BUILDER_LITERAL(&list, ", ");
	}
	builder_slice_put(&list, addr_print_host(connection, text));
	message_add_known(m, &ex->arena, KNOWN_X_FORWARDED_FOR, builder_slice(&list));
}

/* ------------------------------------------------------------------ Forwarded */

/* RFC 7239 6: IPv6 in brackets and so in quotes; who came by a Unix socket has no address. */
static void
put_for(struct builder *b, const struct addr *a)
{
	char text[ADDR_TEXT];
	struct slice host = addr_print_host(a, text);

	if (addr_is_unix(a) || a->n == 0) {
		BUILDER_LITERAL(b, "for=unknown");
	} else if (slice_find(host, ':', 0) < host.n) {
		BUILDER_LITERAL(b, "for=\"[");
		builder_slice_put(b, slice_first(host, slice_find(host, '%', 0)));
		BUILDER_LITERAL(b, "]\"");
	} else {
		BUILDER_LITERAL(b, "for=");
		builder_slice_put(b, host);
	}
}

/* token or quoted-string; what Host may have needs no backslash. */
static void
put_host(struct builder *b, struct slice host)
{
	bool token = true;

	for (size_t i = 0; i < host.n; i++) {
		if (host.at[i] == '"' || host.at[i] == '\\')
			return;
		token &= ascii_is_token(host.at[i]);
	}
	if (host.n == 0)
		return;
	BUILDER_LITERAL(b, ";host=");
	builder_put(b, "\"", !token);
	builder_slice_put(b, host);
	builder_put(b, "\"", !token);
}

static void
tell_forwarded(struct exchange *ex, struct slice host)
{
	struct message *m = &ex->question;
	const struct addr *connection = ex->connection_src != NULL ? ex->connection_src : ex->src;
	size_t room = came_room(m, KNOWN_FORWARDED) + 2 * ADDR_TEXT + host.n + 64;
	struct builder list = builder_on(arena_alloc(&ex->arena, room), room);

	take_came(m, KNOWN_FORWARDED, &list);
	if (list.n == 0 && connection != ex->src) {
		put_for(&list, ex->src);
		BUILDER_LITERAL(&list, ", ");
	}
	put_for(&list, connection);
	BUILDER_LITERAL(&list, ";proto=http");
	put_host(&list, host);
	message_add_known(m, &ex->arena, KNOWN_FORWARDED, builder_slice(&list));
}

void
forwarded_tell(struct exchange *ex, struct slice host)
{
	struct message *m = &ex->question;
	enum forwarded how = (enum forwarded)ex->settings->forwarded;

	if (how == FORWARDED_OFF || how == FORWARDED_RFC7239)
		m->refused |= BIT(KNOWN_X_FORWARDED_FOR) | BIT(KNOWN_X_FORWARDED_HOST) |
		    BIT(KNOWN_X_FORWARDED_PROTO);
	else if (ex->trusted && !is_settled(m, KNOWN_X_FORWARDED_FOR))
		tell_x_for(ex);
	if ((how == FORWARDED_RFC7239 || how == FORWARDED_BOTH) &&
	    !is_settled(m, KNOWN_FORWARDED))
		tell_forwarded(ex, host);
}
