/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hop-by-hop fields, cookies and query parameters: walks over a head, without memory of their own.
 */
#include "protocols/http/fields.h"

#define BIT(known) (UINT64_C(1) << (known))

static const uint64_t hop_by_hop = BIT(KNOWN_CONNECTION) | BIT(KNOWN_KEEP_ALIVE) |
    BIT(KNOWN_PROXY_AUTHENTICATE) | BIT(KNOWN_PROXY_AUTHORIZATION) | BIT(KNOWN_PROXY_CONNECTION) |
    BIT(KNOWN_TE) | BIT(KNOWN_TRAILER) | BIT(KNOWN_TRANSFER_ENCODING) | BIT(KNOWN_UPGRADE);

/*
 * Who may connect must not be able to make us forget where a question came from, or where it ends.
 */
static const uint64_t kept = BIT(KNOWN_HOST) | BIT(KNOWN_CONTENT_LENGTH) | BIT(KNOWN_FORWARDED);

/*
 * Not message_remove: `_` is no `-` here, or Content_Length would be a way around what is kept; and we
 * may still say our own (Via, Date).
 */
static void
strip_option(struct message *m, struct slice option)
{
	enum known known = known_find(option);

	if (((kept | hop_by_hop) >> known & 1) != 0 ||
	    slice_starts_nocase(option, SLICE("X-Forwarded-")))
		return;
	for (unsigned i = 0; i < m->field_count; i++) {
		struct message_field *f = &m->fields[i];

		if (f->known == known && (known != KNOWN_NONE ||
		    slice_equal_nocase(message_field_name(m, f), option)))
			f->removed = true;
	}
	if (known != KNOWN_NONE)
		m->known &= ~BIT(known);
}

/* The names that Connection has are looked for only where there are others than these two. */
static void
strip_options(struct message *m, struct slice options)
{
	struct slice option;

	while (slice_split(&options, ',', &option)) {
		option = slice_trim(option);
		if (option.n > 0 && !slice_equal_nocase(option, SLICE("close")) &&
		    !slice_equal_nocase(option, SLICE("keep-alive")))
			strip_option(m, option);
	}
}

APART static void
strip(struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++) {
		struct message_field *f = &m->fields[i];

		if ((hop_by_hop >> f->known & 1) == 0 || f->removed)
			continue;
		f->removed = true;
		if (f->known == KNOWN_CONNECTION || f->known == KNOWN_PROXY_CONNECTION)
			strip_options(m, message_field_value(m, f));
	}
	m->known &= ~hop_by_hop;
}

void
fields_strip(struct message *m)
{
	if ((m->known & hop_by_hop) != 0)
		strip(m);
}

bool
fields_cookie(const struct message *m, struct slice name, size_t *field, struct slice *rest,
    struct slice *value)
{
	struct slice pair;

	do {
		while (slice_split(rest, ';', &pair)) {
			pair = slice_trim(pair);

			size_t equals = slice_find(pair, '=', 0);

			if (equals == pair.n || !slice_equal(slice_first(pair, equals), name))
				continue;
			*value = slice_after(pair, equals + 1);
			return true;
		}
	} while (message_find(m, KNOWN_COOKIE, SLICE_EMPTY, (*field)++, rest));
	return false;
}

bool
fields_pair(struct slice *query, struct slice *name, struct slice *value)
{
	struct slice pair;

	do {
		if (!slice_split(query, '&', &pair))
			return false;
	} while (pair.n == 0);

	size_t equals = slice_find(pair, '=', 0);

	*name = slice_first(pair, equals);
	*value = equals < pair.n ? slice_after(pair, equals + 1) : slice_make(pair.at + pair.n, 0);
	return true;
}
