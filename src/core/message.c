/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Heads, whatever the wire: known names, finding fields, editing them. What
 * came is never rewritten, only marked as removed; what is added is a list behind it.
 */
#include "core/message.h"

const struct slice known_names[KNOWN_COUNT] = {
	[KNOWN_NONE] = { "", 0 },
	[KNOWN_ACCEPT] = SLICE("Accept"),
	[KNOWN_ACCEPT_ENCODING] = SLICE("Accept-Encoding"),
	[KNOWN_AUTHORIZATION] = SLICE("Authorization"),
	[KNOWN_CACHE_CONTROL] = SLICE("Cache-Control"),
	[KNOWN_CONNECTION] = SLICE("Connection"),
	[KNOWN_CONTENT_LENGTH] = SLICE("Content-Length"),
	[KNOWN_CONTENT_TYPE] = SLICE("Content-Type"),
	[KNOWN_COOKIE] = SLICE("Cookie"),
	[KNOWN_DATE] = SLICE("Date"),
	[KNOWN_EXPECT] = SLICE("Expect"),
	[KNOWN_FORWARDED] = SLICE("Forwarded"),
	[KNOWN_HOST] = SLICE("Host"),
	[KNOWN_KEEP_ALIVE] = SLICE("Keep-Alive"),
	[KNOWN_LOCATION] = SLICE("Location"),
	[KNOWN_MAX_FORWARDS] = SLICE("Max-Forwards"),
	[KNOWN_ORIGIN] = SLICE("Origin"),
	[KNOWN_PROXY_AUTHENTICATE] = SLICE("Proxy-Authenticate"),
	[KNOWN_PROXY_AUTHORIZATION] = SLICE("Proxy-Authorization"),
	[KNOWN_PROXY_CONNECTION] = SLICE("Proxy-Connection"),
	[KNOWN_REFERER] = SLICE("Referer"),
	[KNOWN_SEC_WEBSOCKET_ACCEPT] = SLICE("Sec-WebSocket-Accept"),
	[KNOWN_SEC_WEBSOCKET_KEY] = SLICE("Sec-WebSocket-Key"),
	[KNOWN_SEC_WEBSOCKET_VERSION] = SLICE("Sec-WebSocket-Version"),
	[KNOWN_SERVER] = SLICE("Server"),
	[KNOWN_SET_COOKIE] = SLICE("Set-Cookie"),
	[KNOWN_TE] = SLICE("TE"),
	[KNOWN_TRAILER] = SLICE("Trailer"),
	[KNOWN_TRANSFER_ENCODING] = SLICE("Transfer-Encoding"),
	[KNOWN_UPGRADE] = SLICE("Upgrade"),
	[KNOWN_USER_AGENT] = SLICE("User-Agent"),
	[KNOWN_VIA] = SLICE("Via"),
	[KNOWN_X_FORWARDED_FOR] = SLICE("X-Forwarded-For"),
	[KNOWN_X_FORWARDED_HOST] = SLICE("X-Forwarded-Host"),
	[KNOWN_X_FORWARDED_PORT] = SLICE("X-Forwarded-Port"),
	[KNOWN_X_FORWARDED_PROTO] = SLICE("X-Forwarded-Proto"),
	[KNOWN_X_REAL_IP] = SLICE("X-Real-IP"),
	[KNOWN_X_REQUEST_ID] = SLICE("X-Request-Id"),
};

_Static_assert(KNOWN_COUNT <= 64, "message.known has a bit for each");

enum { LONGEST_KNOWN = sizeof("Sec-WebSocket-Version") - 1 };

/*
 * A perfect hash of the first, the three-quarters and the last letter, lower case. Two names in
 * one slot are a warning of the compiler (an initializer overridden).
 */
#define SLOT(first, near, last) (((first) * 5 + (near) * 50 + (last)) & 127)

static const uint8_t slots[128] = {
	[SLOT('a', 'p', 't')] = KNOWN_ACCEPT,
	[SLOT('a', 'd', 'g')] = KNOWN_ACCEPT_ENCODING,
	[SLOT('a', 't', 'n')] = KNOWN_AUTHORIZATION,
	[SLOT('c', 't', 'l')] = KNOWN_CACHE_CONTROL,
	[SLOT('c', 'i', 'n')] = KNOWN_CONNECTION,
	[SLOT('c', 'n', 'h')] = KNOWN_CONTENT_LENGTH,
	[SLOT('c', 'y', 'e')] = KNOWN_CONTENT_TYPE,
	[SLOT('c', 'i', 'e')] = KNOWN_COOKIE,
	[SLOT('d', 'e', 'e')] = KNOWN_DATE,
	[SLOT('e', 'c', 't')] = KNOWN_EXPECT,
	[SLOT('f', 'd', 'd')] = KNOWN_FORWARDED,
	[SLOT('h', 't', 't')] = KNOWN_HOST,
	[SLOT('k', 'i', 'e')] = KNOWN_KEEP_ALIVE,
	[SLOT('l', 'o', 'n')] = KNOWN_LOCATION,
	[SLOT('m', 'r', 's')] = KNOWN_MAX_FORWARDS,
	[SLOT('o', 'i', 'n')] = KNOWN_ORIGIN,
	[SLOT('p', 'i', 'e')] = KNOWN_PROXY_AUTHENTICATE,
	[SLOT('p', 'a', 'n')] = KNOWN_PROXY_AUTHORIZATION,
	[SLOT('p', 't', 'n')] = KNOWN_PROXY_CONNECTION,
	[SLOT('r', 'e', 'r')] = KNOWN_REFERER,
	[SLOT('s', 'c', 't')] = KNOWN_SEC_WEBSOCKET_ACCEPT,
	[SLOT('s', 't', 'y')] = KNOWN_SEC_WEBSOCKET_KEY,
	[SLOT('s', 'e', 'n')] = KNOWN_SEC_WEBSOCKET_VERSION,
	[SLOT('s', 'e', 'r')] = KNOWN_SERVER,
	[SLOT('s', 'k', 'e')] = KNOWN_SET_COOKIE,
	[SLOT('t', 'e', 'e')] = KNOWN_TE,
	[SLOT('t', 'e', 'r')] = KNOWN_TRAILER,
	[SLOT('t', 'o', 'g')] = KNOWN_TRANSFER_ENCODING,
	[SLOT('u', 'd', 'e')] = KNOWN_UPGRADE,
	[SLOT('u', 'e', 't')] = KNOWN_USER_AGENT,
	[SLOT('v', 'a', 'a')] = KNOWN_VIA,
	[SLOT('x', '-', 'r')] = KNOWN_X_FORWARDED_FOR,
	[SLOT('x', 'h', 't')] = KNOWN_X_FORWARDED_HOST,
	[SLOT('x', 'p', 't')] = KNOWN_X_FORWARDED_PORT,
	[SLOT('x', 'p', 'o')] = KNOWN_X_FORWARDED_PROTO,
	[SLOT('x', '-', 'p')] = KNOWN_X_REAL_IP,
	[SLOT('x', '-', 'd')] = KNOWN_X_REQUEST_ID,
};

/*
 * Of words of the same place: equal but for the case of letters. `known` has letters and hyphens
 * only.
 */
static inline bool
word_spells(uint64_t known, uint64_t word)
{
	const uint64_t cases = UINT64_C(0x2020202020202020);
	uint64_t differ = known ^ word;

	/* A letter has 0x40 where a hyphen has not: only there may 0x20 differ. */
	return ((differ & ~cases) | ((differ & cases) << 1 & ~known)) == 0;
}

/*
 * Of one size. Cheaper than the general comparison, and every field of every head walks through
 * here: the last eight bytes overlap what came before.
 */
static inline bool
spells(const char *known, const char *name, size_t n)
{
	if (unlikely(n < 8))
		return word_spells(bytes_word(known, n), bytes_word(name, n));
	for (size_t i = 0; i < n - 8; i += 8)
		if (!word_spells(bytes_word(known + i, 8), bytes_word(name + i, 8)))
			return false;
	return word_spells(bytes_word(known + n - 8, 8), bytes_word(name + n - 8, 8));
}

enum known
known_find(struct slice name)
{
	if (name.n == 0)
		return KNOWN_NONE;

	/* What |0x20 does to bytes that are no letters is put right by the comparison. */
	unsigned first = (unsigned char)name.at[0] | 0x20;
	unsigned near = (unsigned char)name.at[name.n * 3 / 4] | 0x20;
	unsigned last = (unsigned char)name.at[name.n - 1] | 0x20;
	enum known known = slots[SLOT(first, near, last)];
	struct slice spelled = known_names[known];

	if (spelled.n != name.n || !spells(spelled.at, name.at, name.n))
		return KNOWN_NONE;
	return known;
}

enum known
known_sounding(struct slice name)
{
	char dashed[LONGEST_KNOWN];

	if (name.n > sizeof(dashed))
		return KNOWN_NONE;
	for (size_t i = 0; i < name.n; i++)
		dashed[i] = name.at[i] == '_' ? '-' : name.at[i];
	return known_find(slice_make(dashed, name.n));
}

void
message_init(struct message *m)
{
	*m = (struct message){ .edits_end = &m->edits };
}

static bool
is_named(const struct message *m, const struct message_field *f, enum known known,
    struct slice name)
{
	if (known != KNOWN_NONE)
		return f->known == known;
	return slice_equal_nocase(message_field_name(m, f), name);
}

bool
message_find(const struct message *m, enum known known, struct slice name, size_t nth,
    struct slice *value)
{
	if (known != KNOWN_NONE) {
		if ((m->known >> known & 1) == 0)
			return false;
		name = known_names[known];
	}
	for (size_t i = 0; i < m->field_count; i++) {
		const struct message_field *f = &m->fields[i];

		if (f->removed || !is_named(m, f, known, name) || nth-- > 0)
			continue;
		*value = message_field_value(m, f);
		return true;
	}
	for (const struct message_edit *e = m->edits; e != NULL; e = e->next) {
		if (!slice_equal_nocase(e->name, name) || nth-- > 0)
			continue;
		*value = e->value;
		return true;
	}
	return false;
}

bool
message_sounds_like(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		char x = a.at[i] == '_' ? '-' : ascii_lower(a.at[i]);
		char y = b.at[i] == '_' ? '-' : ascii_lower(b.at[i]);

		if (x != y)
			return false;
	}
	return true;
}

void
message_remove(struct message *m, enum known known, struct slice name)
{
	if (known == KNOWN_NONE)
		known = known_sounding(name);
	if (known != KNOWN_NONE) {
		name = known_names[known];
		m->refused |= UINT64_C(1) << known;
		m->known &= ~(UINT64_C(1) << known);
	}
	for (size_t i = 0; i < m->field_count; i++)
		if (message_sounds_like(message_field_name(m, &m->fields[i]), name))
			m->fields[i].removed = true;

	struct message_edit **at = &m->edits;

	while (*at != NULL) {
		if (message_sounds_like((*at)->name, name))
			*at = (*at)->next;
		else
			at = &(*at)->next;
	}
	m->edits_end = at;
}

static void
add_edit(struct message *m, struct arena *a, struct slice name, struct slice value)
{
	struct message_edit *e = arena_alloc(a, sizeof(*e));

	*e = (struct message_edit){ name, value, NULL };
	*m->edits_end = e;
	m->edits_end = &e->next;
}

void
message_add_known(struct message *m, struct arena *a, enum known known, struct slice value)
{
	add_edit(m, a, known_names[known], value);
	m->known |= UINT64_C(1) << known;
}

void
message_add(struct message *m, struct arena *a, struct slice name, struct slice value)
{
	enum known known = known_find(name);

	add_edit(m, a, name, value);
	if (known != KNOWN_NONE)
		m->known |= UINT64_C(1) << known;
}

/* Compared as numbers: most slices are of other memory. */
static void
move_slice(struct slice *s, const struct message *m, const char *to)
{
	uintptr_t offset = (uintptr_t)s->at - (uintptr_t)m->base;

	if (offset <= m->size && s->n <= m->size - offset)
		s->at = to + offset;
}

void
message_move(struct message *m, const char *to)
{
	move_slice(&m->host, m, to);
	move_slice(&m->path, m, to);
	move_slice(&m->query, m, to);
	move_slice(&m->forward, m, to);
	for (struct message_edit *e = m->edits; e != NULL; e = e->next) {
		move_slice(&e->name, m, to);
		move_slice(&e->value, m, to);
	}
	m->base = to;
}
