/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A walk from the right is done from the left, since quotes can only be read so: what it
 * would have found is known after each element.
 */
#include "core/client_walk.h"

enum { NODE_MAX = 64 };                 /* bytes of an address, a port and brackets */

bool
client_is_trusted(const struct network *trusted, size_t count, const struct addr *a)
{
	for (size_t i = 0; i < count; i++)
		if (network_has(&trusted[i], a))
			return true;
	return false;
}

bool
client_address(struct slice text, struct addr *out)
{
	if (slice_is(text, "unix:")) {
		*out = (struct addr){ .local.sun_family = AF_UNIX,
			.n = offsetof(struct sockaddr_un, sun_path) };
		return true;
	}
	if (slice_starts(text, SLICE("unix:")) || slice_find(text, '%', 0) < text.n)
		return false;
	if (!addr_parse_host(text, out) && !addr_parse(text, out))
		return false;
	addr_unmap(out);
	return true;
}

/* One more element; NULL: it names no address, and nobody who comes from the right passes it. */
static void
take(struct client_walk *w, const struct addr *a)
{
	if (a == NULL)
		w->client.n = 0;
	else if (w->client.n == 0 || !client_is_trusted(w->trusted, w->trusted_count, a))
		w->client = *a;
}

/* Empty elements are none (RFC 9110 5.6.1.2). */
void
client_walk_list(struct client_walk *w, struct slice value)
{
	struct slice element;
	struct addr a;

	while (slice_split(&value, ',', &element)) {
		element = slice_trim(element);
		if (element.n != 0)
			take(w, client_address(element, &a) ? &a : NULL);
	}
}

/* ------------------------------------------------------------------ RFC 7239 */

static void
skip_spaces(struct slice *s)
{
	while (s->n != 0 && (s->at[0] == ' ' || s->at[0] == '\t'))
		*s = slice_after(*s, 1);
}

static struct slice
take_token(struct slice *s)
{
	size_t n = 0;

	while (n < s->n && ascii_is_token(s->at[n]))
		n++;

	struct slice token = slice_first(*s, n);

	*s = slice_after(*s, n);
	return token;
}

/* A quoted-string (RFC 9110 5.6.4), unquoted; b->full: it is longer than a node can be. */
static bool
take_quoted(struct slice *s, struct builder *b)
{
	for (size_t i = 1; i < s->n; i++) {
		if (s->at[i] == '"') {
			*s = slice_after(*s, i + 1);
			return true;
		}
		if (s->at[i] == '\\' && ++i == s->n)
			return false;
		builder_byte(b, s->at[i]);
	}
	return false;
}

/* token "=" value; false: it is none. */
static bool
take_pair(struct slice *s, struct slice *name, struct builder *value)
{
	*name = take_token(s);
	if (name->n == 0 || s->n == 0 || s->at[0] != '=')
		return false;
	*s = slice_after(*s, 1);
	if (s->n != 0 && s->at[0] == '"')
		return take_quoted(s, value);

	struct slice token = take_token(s);

	builder_slice_put(value, token);
	return token.n != 0;
}

/* RFC 7239 6: a node may hide its name (unknown, _x: no address for us) or only its port (:_x). */
static bool
node_address(const struct builder *value, struct addr *out)
{
	struct slice node = builder_slice(value);
	size_t hidden = slice_find_slice(node, SLICE(":_"));

	return !value->full && client_address(slice_first(node, hidden), out);
}

enum element { ELEMENT_BAD, ELEMENT_EMPTY, ELEMENT_NAMELESS, ELEMENT_ADDRESS };

/* Pairs, ";" between, up to a "," or the end, which *s then begins with. */
static enum element
take_element(struct slice *s, struct addr *out)
{
	enum element found = ELEMENT_EMPTY;
	bool named = false;

	for (;;) {
		char text[NODE_MAX];
		struct builder value = builder_on(text, sizeof(text));
		struct slice name;

		skip_spaces(s);
		if (s->n == 0 || s->at[0] == ',')
			return found;
		if (s->at[0] == ';') {
			*s = slice_after(*s, 1);
			found = MAX_OF(found, ELEMENT_NAMELESS);
			continue;
		}
		if (!take_pair(s, &name, &value))
			return ELEMENT_BAD;
		skip_spaces(s);
		if (s->n != 0 && s->at[0] != ',' && s->at[0] != ';')
			return ELEMENT_BAD;
		found = MAX_OF(found, ELEMENT_NAMELESS);
		if (!slice_equal_nocase(name, SLICE("for")))
			continue;
		if (named)
			return ELEMENT_BAD;
		named = true;
		if (node_address(&value, out))
			found = ELEMENT_ADDRESS;
	}
}

/*
 * What is malformed ends at its first comma, even in quotes: the quote that a client has left open
 * must not swallow what a proxy wrote behind it.
 */
void
client_walk_forwarded(struct client_walk *w, struct slice value)
{
	while (value.n != 0) {
		struct slice rest = value;
		struct addr a;
		enum element found = take_element(&rest, &a);

		if (found == ELEMENT_BAD)
			rest = slice_after(value, slice_find(value, ',', 0));
		if (found != ELEMENT_EMPTY)
			take(w, found == ELEMENT_ADDRESS ? &a : NULL);
		value = slice_after(rest, MIN_OF(rest.n, (size_t)1));
	}
}
